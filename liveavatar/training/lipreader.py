"""Read lips off latents: a small network that tells a student, while it is distilled, what its mouths say.

Distribution matching asks whether a video looks real, not whether it says what is heard. The clips' true mouths are
known, so this reader is trained on true latents first, then held still; the student is pulled towards mouths that read
as they should. (In the spirit of the sync expert of Wav2Lip, Prajwal et al. 2020, arXiv:2008.10010.) The regressor that
measures quality is another network, on pictures: nothing is trained against it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.speech import VISEME_PARAMETERS
from liveavatar.training.latents import Material
from liveavatar.training.loop import Learner, Recording, autocast, learning_rate_scale

GRID = 4                       # what is left of the picture before it is read
NOISIEST = 0.3                 # a student's latents are not perfect: neither are those the reader learns from


class LipReader(nn.Module):
    """Latents -> the seven mouth parameters of every video frame. A latent frame is read with the one before it."""

    def __init__(self, channels: int = 16, width: int = 64) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(2 * channels, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 2, padding=1), nn.SiLU(),
            nn.AdaptiveAvgPool2d(GRID), nn.Flatten(),
            nn.Linear(2 * width * GRID**2, 4 * width), nn.SiLU(),
            nn.Linear(4 * width, 4 * len(VISEME_PARAMETERS)))

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, F, h, w) -> (B, 4F, 7)"""
        before = torch.cat([latents[:, :, :1], latents[:, :, :-1]], 2)
        both = torch.cat([latents, before], 1).transpose(1, 2)                    # (B, F, 2C, h, w)
        read = self.look(both.flatten(0, 1)).float()
        return read.unflatten(-1, (4, -1)).unflatten(0, both.shape[:2]).flatten(1, 2)

    def error(self, latents: Tensor, mouth: Tensor) -> Tensor:
        """Mean squared error of what is read against the true mouth (B, 4F, 7)."""
        return (self(latents) - mouth).square().mean()


def train_reader(material: Material, steps: int, generator: torch.Generator, batch: int = 64) -> LipReader:
    """Learn from true latents, then stay as it is."""
    device = material.latents.device
    reader = LipReader(material.latents.shape[1]).to(device)
    learner = Learner(reader, lr=2e-3, weight_decay=0.01)

    def learn(clean: Tensor, noise: Tensor, level: Tensor, mouth: Tensor) -> Tensor:
        with autocast(device):
            loss = reader.error(torch.lerp(clean, noise, level), mouth)
        loss.backward()
        return loss.detach()

    step = Recording(learn, learner.parameters)
    batch = min(batch, len(material))
    for number in range(steps):
        chosen = torch.randint(len(material), (batch,), generator=generator, device=device)
        clean = material.latents[chosen].float()
        noise = torch.randn(clean.shape, generator=generator, device=device)
        level = NOISIEST * torch.rand((batch, 1, 1, 1, 1), generator=generator, device=device).square()
        step(clean, noise, level, material.mouth[chosen].float())
        learner.descend(learning_rate_scale(number / steps))
    with torch.no_grad():
        torch._foreach_copy_(learner.parameters, learner.averages)
    return reader.eval().requires_grad_(False)


@torch.no_grad()
def reader_correlation(reader: LipReader, material: Material) -> dict[str, float]:
    """How well it reads true latents: correlation of each parameter over all frames."""
    read = torch.cat([reader(material.latents[i:i + 64].float()) for i in range(0, len(material), 64)]).flatten(0, 1)
    truth = material.mouth.float().flatten(0, 1)
    read, truth = read - read.mean(0), truth - truth.mean(0)
    return dict(zip(VISEME_PARAMETERS, F.cosine_similarity(read, truth, dim=0).tolist(), strict=True))
