"""Weaken what steers the model: a blurred portrait, a noisy sound. mini is trained on all strengths.

A strength is 1 (full) to 0 (nothing). Between them a portrait keeps only what is left of it on a coarse grid, and
features of the sound are mixed with noise. What the condition leaves open is what the sampler has to decide.
"""

from __future__ import annotations

from math import ceil, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.types import InputError

SHARPEST_BLUR_PX, STRONGEST_BLUR_PX = 8.0, 128.0      # side of the grid's cells just below strength 1, and above 0


def check_strength(name: str, strength: float) -> None:
    """Refuse a strength that is not in 0..1. Raises InputError."""
    if not 0 <= strength <= 1:
        raise InputError(f"{name} is {strength}; give a number from 0 (nothing) to 1 (full)")


def blur_px(strength: float) -> float:
    """Side of the cells, in pixels of the video, to which a portrait of a strength between 0 and 1 is reduced."""
    return SHARPEST_BLUR_PX * (STRONGEST_BLUR_PX / SHARPEST_BLUR_PX) ** (1 - strength)


def blur_portrait(pictures: Tensor, cell_px: float) -> Tensor:
    """Keep only the mean colours of cells of so many pixels, interpolated. (B, 3, H, W) 0..1 -> (B, 3, H, W)"""
    H, W = pictures.shape[-2:]
    grid = max(1, ceil(H / cell_px - 0.5)), max(1, ceil(W / cell_px - 0.5))
    means = F.interpolate(pictures, size=grid, mode="area")
    return F.interpolate(means, size=(H, W), mode="bicubic", align_corners=False).clamp(0, 1)


def weaken_sound(features: Tensor, strength: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mix features of unit variance with noise so that the variance stays; at 0 they are zero.

    features (B, layers, A, T), strength a number or (B, 1, 1, 1)  ->  the same shape
    """
    if isinstance(strength, float | int):
        if strength in (0, 1):
            return features * strength
        return strength * features + sqrt(1 - strength**2) * _noise_like(features, generator)
    mixed = strength * features + (1 - strength.square()).clamp(min=0).sqrt() * _noise_like(features, generator)
    return torch.where(strength > 0, mixed, torch.zeros_like(mixed))


def _noise_like(features: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else features.device
    return torch.randn(features.shape, generator=generator, device=device).to(features)
