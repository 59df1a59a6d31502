"""Read portraits with their landmarks, and make new people out of pairs of them.

A folder of portraits holds `index.csv` (columns file, split, identity), `landmarks.npz` (names; points (n, 478, 3) in
pixels; person (n, m * m / 8) packed bits of a square mask) and the pictures, in a folder for each split.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.puppets import topology as mesh
from liveavatar.puppets.rig import FaceFrame, Rigs, build_rigs, from_centre, map_grid, smoothstep, spread_out
from liveavatar.types import InputError

BATCH = 8        # portraits made ready at a time
BLEND_SIDE = 96


@dataclass(frozen=True)
class Portraits:
    """Square pictures of people and where their faces are."""

    picture: Tensor      # (N, 3, S, S) uint8
    points: Tensor       # (N, 478, 3) landmarks, pixels
    person: Tensor       # (N, m, m) 1 where the person is
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: Tensor) -> Portraits:
        return Portraits(self.picture[index], self.points[index], self.person[index],
                         tuple(self.names[i] for i in index.tolist()))


def read_portraits(folder: str | Path, split: str) -> Portraits:
    """Read the portraits of one split ("train" or "val")."""
    from PIL import Image

    folder = Path(folder)
    if not (folder / "index.csv").exists():
        raise InputError(f"{folder} holds no index.csv; give a folder of portraits with landmarks "
                         "(see liveavatar.puppets.people)")
    with open(folder / "index.csv", newline="", encoding="utf-8") as file:
        chosen = [row["file"] for row in csv.DictReader(file) if row["split"] == split]
    with np.load(folder / "landmarks.npz") as marks:
        place = {str(name).split(".")[0]: index for index, name in enumerate(marks["names"])}
        index = [place[name.split(".")[0]] for name in chosen]
        points, bits = marks["points"][index].astype(np.float32), marks["person"][index]
    side = int((8 * bits.shape[1]) ** 0.5)
    person = np.unpackbits(bits, axis=1).reshape(-1, side, side)
    pictures = [np.asarray(Image.open(folder / split / name).convert("RGB")) for name in chosen]
    return Portraits(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(points),
                     torch.from_numpy(person), tuple(chosen))


def rigs_of(portraits: Portraits, device: torch.device | str = "cpu") -> Rigs:
    """Build the rigs of many portraits, a few at a time."""
    parts = zip(*(values.split(BATCH) for values in (portraits.picture, portraits.points, portraits.person)),
                strict=True)
    return Rigs.cat([build_rigs(*(values.to(device) for values in part)) for part in parts])


def blend_people(portraits: Portraits, count: int, generator: torch.Generator,
                 device: torch.device | str = "cpu") -> Portraits:
    """Make new people: the head of one portrait with much of the face of another, in shape and texture."""
    made = []
    for first in range(0, count, BATCH):
        number = min(BATCH, count - first)
        host, guest = torch.randint(len(portraits), (2, number), generator=generator)
        shape, texture = torch.rand(2, number, generator=generator)
        made.append(blend(portraits[host], portraits[guest], 0.8 * shape, 0.4 + 0.6 * texture, device))
    return Portraits(torch.cat([part.picture for part in made]), torch.cat([part.points for part in made]),
                     torch.cat([part.person for part in made]), tuple(name for part in made for name in part.names))


def blend(host: Portraits, guest: Portraits, shape: Tensor, texture: Tensor,
          device: torch.device | str = "cpu") -> Portraits:
    """Give each host part of the guest's face. shape, texture (N,) shares 0..1"""
    side = host.picture.shape[-1]
    own, other = ((portraits.points.to(device) * (2 / side)) - torch.tensor([1.0, 1.0, 0.0], device=device)
                  for portraits in (host, guest))
    aligned = align(other, own)
    target = torch.lerp(own, aligned, shape.to(device)[:, None, None])
    frame, grid = FaceFrame.of(target), map_grid(BLEND_SIDE, device)
    radius = torch.sqrt(sum((2 * axis) ** 2 for axis in from_centre(frame, grid)))
    pictures = []
    for portraits, points in ((host, own), (guest, other)):
        offset = spread_out(frame, target, (points - target)[:, :mesh.FACE_POINTS, :2], grid)    # (N, 2, G * G)
        if portraits is host:
            offset = offset * (1 - smoothstep(1.0, 2.0, radius))[:, None]
        places = (offset.unflatten(-1, (BLEND_SIDE, BLEND_SIDE)) + grid.T.unflatten(-1, (BLEND_SIDE, BLEND_SIDE)))
        places = F.interpolate(places, size=(side, side), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        pictures.append(F.grid_sample(portraits.picture.to(device).float(), places, mode="bicubic",
                                      padding_mode="reflection", align_corners=False))
    mask = (1 - smoothstep(0.62, 0.95, radius)).unflatten(-1, (1, BLEND_SIDE, BLEND_SIDE))
    mask = F.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False)
    picture = torch.lerp(pictures[0], match_colours(pictures[1], pictures[0], mask),
                         mask * texture.to(device)[:, None, None, None])
    points = (target + torch.tensor([1.0, 1.0, 0.0], device=device)) * (side / 2)
    return Portraits(picture.round().clamp(0, 255).byte().cpu(), points.cpu(), host.person,
                     tuple(f"{a}+{b}" for a, b in zip(host.names, guest.names, strict=True)))


def align(points: Tensor, target: Tensor) -> Tensor:
    """Move faces (N, 478, 3) onto others by shift, turn and scale in the picture (Umeyama 1991, in two dimensions)."""
    a, b = (torch.view_as_complex(p[..., :2].contiguous()) for p in (points, target))
    middle_a, middle_b = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    turn = ((b - middle_b) * (a - middle_a).conj()).sum(1, keepdim=True) / (a - middle_a).abs().square().sum(
        1, keepdim=True)
    flat = torch.view_as_real((a - middle_a) * turn + middle_b)
    return torch.cat([flat, points[..., 2:] * turn.abs()[..., None]], -1)


def match_colours(picture: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Give a picture the mean and spread of another's colours inside a mask. (N, 3, H, W) each, mask (N, 1, H, W)"""
    def moments(values: Tensor) -> tuple[Tensor, Tensor]:
        total = mask.sum((2, 3), keepdim=True).clamp(min=1)
        mean = (values * mask).sum((2, 3), keepdim=True) / total
        return mean, (((values - mean).square() * mask).sum((2, 3), keepdim=True) / total).sqrt()

    (mean, spread), (target_mean, target_spread) = moments(picture), moments(target)
    return (picture - mean) * (target_spread / spread.clamp(min=1)).clamp(0.6, 1.6) + target_mean
