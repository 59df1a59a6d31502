"""Weaken what steers the model: a blurred portrait, a noisy sound. mini is trained on all strengths.

A strength is 1 (full) to 0 (nothing). Between them a portrait keeps only what is left of it on a coarse grid, and
features of the sound are mixed with noise. What the condition leaves open is what the sampler has to decide.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.types import Portrait

SHARPEST_BLUR_PX, STRONGEST_BLUR_PX = 8.0, 128.0      # side of the grid's cells just below strength 1, and above 0


def blur_px(strength: float) -> float:
    """Return side of the cells, in pixels of the video, to which a portrait of a strength between 0 and 1 is reduced.
    """
    return SHARPEST_BLUR_PX * (STRONGEST_BLUR_PX / SHARPEST_BLUR_PX) ** (1 - strength)


def blur_portrait(pictures: Tensor, cell_px: float) -> Tensor:
    """Keep only the mean colours of cells of so many pixels, interpolated. (B, 3, H, W) 0..1 -> (B, 3, H, W)"""
    H, W = pictures.shape[-2:]
    grid = max(1, ceil(H / cell_px - 0.5)), max(1, ceil(W / cell_px - 0.5))
    means = F.interpolate(pictures, size=grid, mode="area")
    return F.interpolate(means, size=(H, W), mode="bicubic", align_corners=False).clamp(0, 1)


def weaken_portrait(portrait: Portrait, size: tuple[int, int], strength: float) -> Portrait:
    """Fit a portrait to the video's (height, width) and blur it as its strength says; at 1 it stays as it is."""
    if strength == 1:
        return portrait
    from liveavatar.conditions import fit_portrait

    pixels = fit_portrait(portrait, size)
    return replace(portrait, pixels=blur_portrait(pixels[None], blur_px(strength))[0])


def weaken_sound(features: Tensor, strength: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mix features of the sound with noise of the same power, so that the power stays; at 0 they are zero.

    features (B, layers, A, T), strength a number or (B, 1, 1, 1)  ->  the same shape; at the number 1 the features
    themselves, no copy: those of an hour are 92 MB
    """
    if isinstance(strength, float | int):
        if strength in (0, 1):
            return features if strength else torch.zeros_like(features)
        strength = torch.full((1, 1, 1, 1), float(strength))
    strength = strength.to(features)
    device = generator.device if generator is not None else features.device
    noise = torch.randn(features.shape, generator=generator, device=device).to(features)
    power = features.square().mean((2, 3), keepdim=True).sqrt()
    mixed = strength * features + (1 - strength.square()).clamp(min=0).sqrt() * power * noise
    return torch.where(strength > 0, mixed, torch.zeros_like(mixed))
