"""Read the true shapes of the mouth off the tokens that show it: a second loss, which training alone has.

    tokens after the last layer, where the mouth is --MouthReader--> its shapes --shape_loss--> one number
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.backends.mini.vae import FRAMES_PER_LATENT
from liveavatar.metrics.regressor import MOUTH

SMALL = 0.1      # errors below count as squares; in shares of a trait's range


class MouthReader(nn.Module):
    """Read the shapes by a linear layer, on the mean of the tokens at the mouth."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.read = nn.Linear(dim, FRAMES_PER_LATENT * len(MOUTH))

    def forward(self, tokens: Tensor, mouth: Tensor) -> Tensor:
        """Read shapes: tokens (B, F, n, D), mouth (B, F, n) how much of it each shows  ->  (B, 4F, len(MOUTH))"""
        at_mouth = (self.norm(tokens) * mouth[..., None]).sum(2)
        return self.read(at_mouth).unflatten(2, (FRAMES_PER_LATENT, len(MOUTH))).flatten(1, 2)


def shape_loss(read: Tensor, true: Tensor) -> Tensor:
    """Compute the error of shapes (B, T, len(MOUTH)), in shares of their ranges: a scalar."""
    return F.smooth_l1_loss(read, true, beta=SMALL)
