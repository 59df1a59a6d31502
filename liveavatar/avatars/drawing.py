"""Pencils and paint: distances to shapes, and layers laid over a picture.

Everything here is plain elementwise torch. A shape is its signed distance (negative inside, in units); a picture is
three planes (B, H, W), red, green and blue, and painting returns new planes.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Ink: TypeAlias = Tensor | float
Colour = tuple[Ink, Ink, Ink]
Planes = tuple[Tensor, Tensor, Tensor]


# ---------------------------------------------------------------- shapes

def smoothstep(start: Ink, end: Ink, value: Tensor) -> Tensor:
    """Return 0 at `start`, 1 at `end`, smooth between; `start` may be the greater one."""
    t = ((value - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def circle(x: Tensor, y: Tensor, radius: Ink) -> Tensor:
    return torch.sqrt(x * x + y * y + 1e-9) - radius


def ellipse(x: Tensor, y: Tensor, radius_x: Ink, radius_y: Ink) -> Tensor:
    """Return the distance to an ellipse, to first order: exact at its edge."""
    u, v = x / radius_x, y / radius_y
    length = torch.sqrt(u * u + v * v + 1e-9)
    u, v = u / radius_x, v / radius_y
    return length * (length - 1) / torch.sqrt(u * u + v * v + 1e-9)


def box(x: Tensor, y: Tensor, half_width: Ink, half_height: Ink, radius: Ink) -> Tensor:
    """Return the distance to a box with round corners."""
    u, v = x.abs() - half_width + radius, y.abs() - half_height + radius
    outside = torch.sqrt(u.clamp(min=0) ** 2 + v.clamp(min=0) ** 2 + 1e-12)
    return outside + torch.maximum(u, v).clamp(max=0) - radius


def stroke(x: Tensor, y: Tensor, start: tuple[Ink, Ink], end: tuple[Ink, Ink]) -> tuple[Tensor, Tensor]:
    """Return the distance to a line from `start` to `end`, and how far along it (0..1) the nearest point is."""
    x, y = x - start[0], y - start[1]
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x * dx + y * dy) / (dx * dx + dy * dy + 1e-9)).clamp(0, 1)
    x, y = x - dx * along, y - dy * along
    return torch.sqrt(x * x + y * y + 1e-12), along


def melt(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Return union of two shapes whose joint is rounded."""
    t = (0.5 + 0.5 * (b - a) / radius).clamp(0, 1)
    return b + (a - b) * t - radius * t * (1 - t)


def coverage(distance: Tensor, pixel: Tensor, blur: float = 1.0) -> Tensor:
    """Return the share of a pixel that a shape covers, 0..1; `blur` > 1 softens the edge to that many pixels."""
    return (0.5 - distance / (pixel * blur)).clamp(0, 1)


def soft(distance: Tensor, width: float) -> Tensor:
    """Return a blot whose edge is `width` units wide, at any picture size."""
    return smoothstep(0.5 * width, -0.5 * width, distance)


# ---------------------------------------------------------------- colours

def mix(a: Colour, b: Colour, share: Ink) -> Colour:
    """Mix two values: `share` 0 is a, 1 is b."""
    return tuple(p + (q - p) * share for p, q in zip(a, b, strict=True))


def scaled(colour: Colour, factor: float) -> Colour:
    return tuple(p * factor for p in colour)


def lighter(colour: Colour, share: float) -> Colour:
    return tuple(p + (1 - p) * share for p in colour)


def shadow_of(skin: Colour) -> Colour:
    """Return the colour of shaded skin, which keeps its red."""
    return skin[0] * 0.82, skin[1] * 0.70, skin[2] * 0.68


# ---------------------------------------------------------------- paint

def over(image: Planes, colour: Colour, alpha: Tensor) -> Planes:
    """Paint `colour` where alpha (B, H, W) says."""
    return tuple(paper + (ink - paper) * alpha for paper, ink in zip(image, colour, strict=True))


def dim(image: Planes, factor: tuple[float, float, float], alpha: Tensor) -> Planes:
    """Darken by `factor` where alpha (B, H, W) says."""
    return tuple(paper * (1 - alpha * (1 - part)) for paper, part in zip(image, factor, strict=True))
