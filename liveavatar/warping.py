"""Take pixels of a picture, or of latents, from elsewhere in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(picture: Tensor, displacement: Tensor) -> Tensor:
    """Take each pixel from elsewhere: picture (B, C, 1, h, w), displacement (B, 2, T, h, w) across and down in pixels
    ->  (B, C, T, h, w), bilinear between pixels, the edge repeated beyond it"""
    frames, h, w = displacement.shape[2:]
    x, y = (torch.arange(n, device=displacement.device, dtype=displacement.dtype) for n in (w, h))
    places = torch.stack([(2 * (x + displacement[:, 0]) + 1) / w - 1,
                          (2 * (y[:, None] + displacement[:, 1]) + 1) / h - 1], -1)
    taken = F.grid_sample(picture[:, :, 0], places.flatten(1, 2), padding_mode="border", align_corners=False)
    return taken.unflatten(2, (frames, h))
