"""Layers of paint with few passes over memory: what `drawing.over`, `mix` and `dim` do, in fused operations."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing import Colour, Ink, Planes


def blend(start: Ink, end: Ink, share: Ink) -> Ink:
    """Go from `start` (share 0) to `end` (share 1)."""
    if isinstance(start, float) or isinstance(share, float):
        return start + (end - start) * share
    if isinstance(end, float):
        return torch.addcmul(start, end - start, share)
    return torch.lerp(start, end, share)


def mix(start: Colour, end: Colour, share: Ink) -> Colour:
    """Blend two colours."""
    return tuple(blend(p, q, share) for p, q in zip(start, end, strict=True))


def over(image: Planes, colour: Colour, alpha: Tensor) -> Planes:
    """Paint `colour` where alpha (B, H, W) says."""
    return mix(image, colour, alpha)


def dim(image: Planes, factor: tuple[float, float, float], alpha: Tensor) -> Planes:
    """Darken by `factor` where alpha (B, H, W) says."""
    return tuple(torch.addcmul(plane, plane * (part - 1), alpha) for plane, part in zip(image, factor, strict=True))
