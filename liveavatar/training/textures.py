"""Pictures of nothing, with the statistics of photographs: overlapping shapes with shading and fractal texture.

They show a VAE edges and textures that no person of its worlds has. Dead leaves: Lee, Mumford and Huang 2001 (IJCV 41).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAVES = 120
POOL = 1024           # pictures held; a few are made anew now and then
PICTURE_SIDE = 352    # of which a camera sees a part


class Draw:
    """Random numbers for B pictures."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator, self.device = count, generator, generator.device

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw (B, *shape) evenly between two limits."""
        return low + (high - low) * torch.rand(self.count, *shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Draw (B, *shape) from the standard normal distribution."""
        return torch.randn(self.count, *shape, generator=self.generator, device=self.device)


def fractal_noise(draw: Draw, side: int, channels: int = 1) -> Tensor:
    """Make noise whose amplitude falls as 1 / frequency^a, a between 0.9 and 2: (B, channels, side, side), spread 1"""
    fy = torch.fft.fftfreq(side, device=draw.device)[:, None]
    fx = torch.fft.rfftfreq(side, device=draw.device)
    frequency = (fx.square() + fy.square()).sqrt().clamp(min=1 / side)
    spectrum = torch.fft.rfft2(draw.normal(channels, side, side)) * frequency ** -draw.between(0.9, 2.0, 1, 1, 1)
    noise = torch.fft.irfft2(spectrum, s=(side, side))
    return noise / noise.std((2, 3), keepdim=True)


def colour_of(draw: Draw, centre: Tensor, width: Tensor) -> Tensor:
    """Choose a colour near the picture's own. (B, 3, 1, 1)"""
    return (centre + width * (draw.normal(1, 1, 1) + 0.5 * draw.normal(3, 1, 1))).clamp(0, 1)


def dead_leaves(draw: Draw, side: int) -> Tensor:
    """Draw shapes of all sizes over one another. (B, 3, side, side) 0..1"""
    grey = draw.between(0.15, 0.85, 1, 1, 1)
    centre = grey + draw.between(-0.3, 0.3, 3, 1, 1) * draw.between(0, 1, 1, 1, 1)
    width = draw.between(0.08, 0.35, 1, 1, 1)
    texture = fractal_noise(draw, side)
    line = torch.arange(side, device=draw.device) + 0.5
    picture = colour_of(draw, centre, width) + 0.1 * fractal_noise(draw, side)
    smallest, largest = draw.between(2, 10, 1, 1), 0.45 * side
    for leaf in range(LEAVES):
        share = draw.between(0, 1, 1, 1)
        radius = (smallest ** -1.2 + share * (largest ** -1.2 - smallest ** -1.2)) ** (-1 / 1.2)     # a power law
        angle, squash, power = draw.between(0, 6.3, 1, 1), draw.between(0.25, 1, 1, 1), draw.between(1.3, 6, 1, 1)
        dx = line[None, None, :] - draw.between(0, side, 1, 1)
        dy = line[None, :, None] - draw.between(0, side, 1, 1)
        u = dx * angle.cos() + dy * angle.sin()
        v = (dy * angle.cos() - dx * angle.sin()) / squash
        distance = (u.abs().clamp(min=1e-3) ** power + v.abs().clamp(min=1e-3) ** power) ** (1 / power)
        edge = 1 + 6 * draw.between(0, 1, 1, 1) ** 4
        cover = ((radius - distance) * squash / edge + 0.5).clamp(0, 1)[:, None]
        shade = (u / radius * draw.between(-0.15, 0.15, 1, 1) + distance / radius * draw.between(-0.15, 0.1, 1, 1))
        paint = colour_of(draw, centre, width) + shade[:, None]
        paint = paint + 0.14 * draw.between(0, 1, 1, 1, 1).square() * texture.roll((37 * leaf, 91 * leaf), (2, 3))
        picture = torch.lerp(picture, paint, cover)
    return picture.clamp(0, 1)


class Textures:
    """A pool of still pictures, filmed by a camera that drifts."""

    def __init__(self, generator: torch.Generator, count: int = POOL, side: int = PICTURE_SIDE) -> None:
        self.generator, self.side = generator, side
        self.pictures = torch.empty(count, 3, side, side, dtype=torch.uint8, device=generator.device)
        for first in range(0, count, 32):
            self.renew(first)

    @torch.no_grad()
    def renew(self, first: int) -> None:
        """Draw up to 32 pictures anew."""
        first %= len(self.pictures)
        made = dead_leaves(Draw(min(32, len(self.pictures) - first), self.generator), self.side)
        self.pictures[first:first + len(made)] = (255 * made).round().byte()

    @torch.no_grad()
    def film(self, count: int, frames: int, size: tuple[int, int]) -> Tensor:
        """Draw clips. -> (B, 3, T, H, W) 0..1"""
        draw = Draw(count, self.generator)
        chosen = torch.randint(len(self.pictures), (count,), generator=self.generator, device=self.generator.device)
        time = torch.arange(frames, device=draw.device) - frames / 2
        moves = (draw.between(0, 1, 1) < 0.7).float()

        def drift(start: Tensor, speed: float) -> Tensor:
            return start + speed * moves * draw.normal(1) * time                                     # (B, T)

        scale = drift(draw.between(0.75, 1.25, 1) * max(size) / self.side, 0.002)
        angle, x, y = drift(draw.between(-0.4, 0.4, 1), 0.004), *(drift(draw.between(-0.15, 0.15, 1), 0.004)
                                                                  for _ in "xy")
        rows = [torch.stack([scale * angle.cos(), -scale * angle.sin(), x], -1),
                torch.stack([scale * angle.sin(), scale * angle.cos(), y], -1)]
        places = F.affine_grid(torch.stack(rows, -2).flatten(0, 1), (count * frames, 3, *size), align_corners=False)
        still = self.pictures[chosen].float().div(255).repeat_interleave(frames, 0)
        film = F.grid_sample(still, places, padding_mode="reflection", align_corners=False)
        return film.unflatten(0, (count, frames)).transpose(1, 2)
