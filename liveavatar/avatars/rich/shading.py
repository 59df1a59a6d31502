"""Light on round things: slopes of a relief, and what a lamp at the upper left makes of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..drawing import Colour, Ink, Planes, lighter, scaled, shadow_of, smoothstep
from .paint import mix, over

LAMP = (-0.46, -0.56, 0.69)             # direction towards the light, unit length; z points at the viewer
GLOSS = (-0.25, -0.305, 0.92)           # half way between the lamp and the viewer, unit length


class Slopes(NamedTuple):
    """A surface seen from the front: components of its normal, not of unit length."""

    x: Tensor
    y: Tensor
    z: Tensor

    def mound(self, x: Tensor, y: Tensor, width: Ink, height: Ink, rise: Ink) -> Slopes:
        """Raise a Gaussian mound (a hollow where rise < 0): x, y from its middle, all in units."""
        u, v = x / width, y / height
        bell = torch.exp(-(u * u) - v * v) * (2 * rise) * self.z
        return Slopes(self.x + bell * u / width, self.y + bell * v / height, self.z)

    def mounds(self, x: Tensor, apart: Ink, y: Tensor, width: Ink, height: Ink, rise: Ink) -> Slopes:
        """Raise two mounds, `apart` units to the left and right of the middle, where x is 0."""
        u, v = (x.abs() - apart) / width, y / height
        bell = torch.exp(-(u * u) - v * v) * (2 * rise) * self.z
        return Slopes(self.x + bell * u / width * torch.sign(x), self.y + bell * v / height, self.z)

    def light(self) -> Tensor:
        """Return the share of the lamp's light, about 0..1."""
        return self._towards(LAMP)

    def gloss(self) -> Tensor:
        """Return how nearly the lamp is mirrored, 0..1."""
        return self._towards(GLOSS)

    def _towards(self, direction: tuple[float, float, float]) -> Tensor:
        length = torch.sqrt(self.x * self.x + self.y * self.y + self.z * self.z)
        return ((self.x * direction[0] + self.y * direction[1] + self.z * direction[2]) / length).clamp(min=0)


def rounded(x: Tensor, y: Tensor) -> Slopes:
    """Return the front of an ellipsoid; x, y in its half axes."""
    return Slopes(x, y, torch.sqrt((1 - x * x - y * y).clamp(min=0.03)))


def skin_in(light: Tensor, skin: Colour) -> Colour:
    """Return skin in full light, half light and shade: the red stays longest."""
    shade = shadow_of(skin)
    colour = mix(scaled(shade, 0.72), skin, smoothstep(-0.05, 0.72, light))
    bright = tuple(part * (1.20 - 0.18 * part) + 0.02 for part in skin)
    return mix(colour, bright, smoothstep(0.62, 1.02, light))


def cloth_in(light: Tensor, colour: Colour) -> Colour:
    """Return cloth in light and shade; shade is cooler."""
    shade = colour[0] * 0.42, colour[1] * 0.42, colour[2] * 0.52
    colour = mix(shade, colour, smoothstep(-0.10, 0.92, light))
    return mix(colour, lighter(colour, 0.25), smoothstep(0.72, 1.10, light) * 0.6)


def shine(image: Planes, gloss: Tensor, alpha: Tensor) -> Planes:
    """Lay a soft highlight over a picture: gloss of `Slopes`."""
    sharp = gloss * gloss
    sharp = sharp * sharp
    sharp = sharp * sharp
    sharp = sharp * sharp
    return over(image, (1.0, 0.98, 0.95), sharp * sharp * alpha)
