"""Vary how a portrait looks: other colours, light, backgrounds, lenses, codecs. All on whole pictures, once a clip."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.puppets.rig import Rigs

LUMINANCE = (0.299, 0.587, 0.114)
JPEG_TABLE = 16 + 6 * (torch.arange(8)[:, None] + torch.arange(8)[None]).float()     # coarser for finer detail


class Chance:
    """Random draws for N portraits from one generator."""

    def __init__(self, count: int, generator: torch.Generator | None, device: torch.device | str) -> None:
        self.count, self.generator, self.device = count, generator, torch.device(device)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (N, *shape), or (N, 1, 1, 1) where no shape is given"""
        source = self.generator.device if self.generator is not None else self.device
        shape = shape or (1, 1, 1)
        return (low + (high - low) * torch.rand(self.count, *shape, generator=self.generator, device=source)).to(
            self.device)

    def sometimes(self, share: float) -> Tensor:
        """Return (N, 1, 1, 1) 1 with that chance, else 0"""
        return (self.between(0, 1) < share).float()

    def normal(self, *shape: int) -> Tensor:
        source = self.generator.device if self.generator is not None else self.device
        return torch.randn(self.count, *shape, generator=self.generator, device=source).to(self.device)


def vary_appearance(rigs: Rigs, backgrounds: Tensor, generator: torch.Generator | None = None) -> Rigs:
    """Change the pictures of N rigs at random; what they show stays where it is.

    backgrounds (M, 3, S, S) uint8 to put behind some of them
    """
    chance = Chance(len(rigs), generator, rigs.picture.device)
    side = rigs.picture.shape[-1]
    person = F.interpolate(rigs.person[:, None].float(), size=(side, side), mode="bilinear", align_corners=False)
    behind = rigs.background.float() / 255
    chosen = (chance.between(0, 1, 1)[:, 0] * len(backgrounds)).long().clamp(max=len(backgrounds) - 1)
    swap = chance.sometimes(0.3)
    new = torch.lerp(behind, backgrounds[chosen].float() / 255, swap)
    picture = torch.lerp(rigs.picture.float() / 255, torch.lerp(new, rigs.picture.float() / 255, person), swap)
    eyeballs = rigs.eyeballs.float() / 255
    picture = recolour_outside_face(picture, person, rigs_face(rigs, side), chance)
    picture, behind, eyeballs = relight([picture, new, eyeballs], chance)
    picture, behind = soften([picture, behind], chance)
    picture = code(add_grain(picture, chance), chance)
    return replace(rigs, **{name: (255 * value.clamp(0, 1)).round().byte() for name, value in
                            (("picture", picture), ("background", behind), ("eyeballs", eyeballs))})


def rigs_face(rigs: Rigs, side: int) -> Tensor:
    """Return 1 on the face, 0 on hair and clothes: (N, 1, S, S)"""
    line = (2 * torch.arange(side, device=rigs.points.device) + 1) / side - 1
    x, y = line[None, None, None, :] - rigs.pivot[:, 0, None, None, None], line[None, None, :, None] - rigs.pivot[
        :, 1, None, None, None]
    half = 0.5 * rigs.face_height[:, None, None, None]
    radius = ((x / (0.80 * half)) ** 2 + (y / half) ** 2).sqrt()
    return ((1.15 - radius) / 0.25).clamp(0, 1)


def recolour_outside_face(picture: Tensor, person: Tensor, face: Tensor, chance: Chance) -> Tensor:
    """Turn the hue of hair and clothes, and make them lighter or darker, in a third of the pictures; skin stays."""
    grey = grey_of(picture)
    chroma = picture - grey
    skin = (chroma * face).sum((2, 3), keepdim=True) / face.sum((2, 3), keepdim=True).clamp(min=1)
    unlike = (((chroma - skin).norm(dim=1, keepdim=True) - 0.06) / 0.08).clamp(0, 1)
    angle = chance.between(-math.pi, math.pi) * chance.sometimes(0.3)
    cos, sin = angle.cos(), angle.sin()
    rolled = (chroma.roll(1, 1) - chroma.roll(-1, 1)) / math.sqrt(3)               # a quarter turn about the grey axis
    turned = grey * 2 ** (chance.between(-0.6, 0.6) * chance.sometimes(0.3)) + cos * chroma + sin * rolled
    return torch.lerp(picture, turned.clamp(0, 1), unlike * person * (1 - face))


def grey_of(picture: Tensor) -> Tensor:
    """Convert (N, 3, H, W) -> (N, 1, H, W)"""
    return (picture * picture.new_tensor(LUMINANCE)[None, :, None, None]).sum(1, keepdim=True)


def relight(pictures: list[Tensor], chance: Chance) -> list[Tensor]:
    """Apply one light for all the pictures of a rig: brightness, colour, contrast, saturation, and a fall-off to one
    side."""
    often = chance.sometimes(0.7)
    gain = 2 ** (often * (0.35 * chance.between(-1, 1) + 0.09 * chance.normal(3, 1, 1)))
    contrast = 2 ** (chance.sometimes(0.5) * chance.between(-0.35, 0.35))
    colour = torch.where(chance.sometimes(0.08) > 0, torch.zeros_like(contrast),
                         2 ** (chance.sometimes(0.5) * chance.between(-0.7, 0.5)))
    slope = 0.35 * chance.normal(2, 1, 1).clamp(-1.5, 1.5) * chance.sometimes(0.35)
    lit = []
    for picture in pictures:
        H, W = picture.shape[-2:]
        y, x = torch.linspace(-1, 1, H, device=picture.device)[:, None], torch.linspace(-1, 1, W, device=picture.device)
        light = 1 + slope[:, :1] * x + slope[:, 1:] * y
        picture = (picture * gain * light.clamp(0.3, 1.7) - 0.45) * contrast + 0.45
        lit.append(torch.lerp(grey_of(picture), picture, colour).clamp(0, 1))
    return lit


def soften(pictures: list[Tensor], chance: Chance) -> list[Tensor]:
    """Add lens blur: a little on a third of the pictures."""
    strength = chance.between(0, 1) * chance.sometimes(0.35)
    return [torch.lerp(picture, F.avg_pool2d(F.pad(picture, (2, 2, 2, 2), mode="reflect"), 5, stride=1), strength)
            for picture in pictures]


def add_grain(picture: Tensor, chance: Chance) -> Tensor:
    """Add noise of the camera, baked into the picture, in a third of them."""
    return picture + 0.025 * chance.between(0, 1) * chance.sometimes(0.3) * chance.normal(*picture.shape[1:])


def code(picture: Tensor, chance: Chance) -> Tensor:
    """Leave what a codec of the JPEG kind leaves: 8 x 8 cosines rounded, in a third of the pictures."""
    N, C, H, W = picture.shape
    basis = cosine_basis(picture.device)
    step = JPEG_TABLE.to(picture.device) / 255 * (0.25 + 1.25 * chance.between(0, 1))
    tiles = picture.unflatten(2, (H // 8, 8)).unflatten(4, (W // 8, 8)).transpose(3, 4)       # (N, C, h, w, 8, 8)
    step = step[:, None, None]
    again = basis.mT @ ((basis @ tiles @ basis.mT / step).round() * step) @ basis
    again = again.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return torch.lerp(picture, again, chance.sometimes(0.33)).clamp(0, 1)


def cosine_basis(device: torch.device) -> Tensor:
    """Return orthonormal cosine transform of 8 numbers (Ahmed et al. 1974). (8, 8)"""
    n = torch.arange(8, device=device).float()
    rows = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None])
    return rows * torch.where(n[:, None] == 0, math.sqrt(1 / 8), math.sqrt(2 / 8))
