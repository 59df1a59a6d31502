"""A world of photographs that speak: people, how they move, and the pictures of it, drawn at random without end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.avatars.scene import lighting
from liveavatar.avatars.traits import MOTION_COLUMNS
from liveavatar.puppets.appearance import Chance, vary_appearance
from liveavatar.puppets.deform import View
from liveavatar.puppets.mouth_interior import Mouths
from liveavatar.puppets.render import Drawn, places_in_portrait, render_puppets
from liveavatar.puppets.rig import Rigs

FACE_SHARE = (0.20, 0.70)            # height of the face against that of the picture
USUAL_SHARE = (0.36, 0.56)           # of three quarters of the clips
LARGEST_SCALE = 1.4                  # of the view against the portrait: beyond it too little is known
MIRRORED = ("head_yaw", "head_roll", "head_x", "gaze_x", "brow_tilt")
PICTURES_AT_ONCE = {"cuda": 192, "cpu": 12}


class Cast(NamedTuple):
    """The people of B clips, and how each is seen."""

    rigs: Rigs
    view: View
    mouths: Mouths
    mirror: Tensor       # (B,) 1 where left and right are exchanged
    leave_open: Tensor   # (B,) 1 where the portrait's mouth may stay open while nobody speaks


@dataclass(frozen=True)
class PuppetWorld:
    """Photographs made ready to speak."""

    rigs: Rigs
    size: tuple[int, int]            # (height, width)
    vary: bool = True                # change colours, light, background, lens and codec at random

    def cast(self, count: int, generator: torch.Generator | None = None) -> Cast:
        """Choose people and how they are seen."""
        device = self.rigs.points.device
        chance = Chance(count, generator, device)
        chosen = (chance.between(0, 1, 1)[:, 0] * len(self.rigs)).long().clamp(max=len(self.rigs) - 1)
        rigs = self.rigs[chosen]
        if self.vary:
            rigs = vary_appearance(rigs, self.rigs.background, generator)
        flag = lambda share: chance.sometimes(share).flatten()                       # noqa: E731
        return Cast(rigs, draw_view(rigs, self.size, chance), Mouths.draw(count, generator, device), flag(0.5),
                    flag(0.5))

    def film(self, cast: Cast, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Draw clips. motion (B, T, NM)  ->  video (B, 3, T, H, W) 0..1, points (B, T, len(LANDMARKS), 2) px"""
        drawn = self.draw(cast, motion, torch.ones(motion.shape[:2], device=motion.device))
        return drawn.pictures.transpose(1, 2), drawn.points

    def portrait(self, cast: Cast, pose: Tensor) -> Tensor:
        """Draw the portraits that the model is shown. pose (B, NM)  ->  (B, 3, H, W)"""
        closes = 1 - cast.leave_open * (cast.rigs.gap > 0.02)
        return self.draw(cast, pose[:, None], closes[:, None]).pictures[:, 0]

    def displacement(self, cast: Cast, motion: Tensor, pose: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Find where in the portrait of this pose (B, NM) each place of the clips is taken from: see
        `render.places_in_portrait`. -> (B, T, rows, columns, 2) in cells of the grid, share (B, T, rows, columns)"""
        closes = 1 - cast.leave_open * (cast.rigs.gap > 0.02)
        flip = cast.mirror[:, None, None, None] > 0
        moves, pose = mirrored(motion, cast.mirror), mirrored(pose[:, None], cast.mirror)[:, 0]
        cells, share = places_in_portrait(cast.rigs, moves, pose, cast.view, grid, closes)
        cells = torch.where(flip[..., None], cells.flip(-2) * cells.new_tensor([-1, 1]), cells)
        return cells, torch.where(flip, share.flip(-1), share)

    def draw(self, cast: Cast, motion: Tensor, closes: Tensor) -> Drawn:
        """Draw pictures, some clips at a time."""
        clips = max(1, PICTURES_AT_ONCE[motion.device.type] // motion.shape[1])
        parts = [self._draw_some(cast, motion, closes, slice(at, at + clips)) for at in range(0, len(motion), clips)]
        return Drawn(*(torch.cat([getattr(part, name) for part in parts]) for name in ("pictures", "points", "gap_px")))

    def _draw_some(self, cast: Cast, motion: Tensor, closes: Tensor, part: slice) -> Drawn:
        mirror = cast.mirror[part]
        moves = mirrored(motion[part], mirror)
        drawn = render_puppets(cast.rigs[part], moves, View(*(value[part] for value in cast.view)),
                               Mouths(*(value[part] for value in cast.mouths)), self.size, closes[part])
        flip = mirror[:, None, None, None, None] > 0
        pictures = torch.where(flip, drawn.pictures.flip(-1), drawn.pictures)
        return replace(drawn, pictures=lit(pictures, motion[part]),
                       points=mirrored_points(drawn.points, mirror, self.size[1]))


def draw_view(rigs: Rigs, size: tuple[int, int], chance: Chance) -> View:
    """Frame the faces: mostly head and shoulders, sometimes nearer or farther, the face a little above the middle."""
    usual = chance.between(0, 1, 1)[:, 0] < 0.75
    share = torch.where(usual, chance.between(*USUAL_SHARE, 1)[:, 0], chance.between(*FACE_SHARE, 1)[:, 0])
    height, width = size
    drawn = 2 * height / max(size)                                     # of the picture, before scaling
    scale = (rigs.face_height / share / drawn).clamp(max=LARGEST_SCALE)
    half = torch.stack([scale * width / max(size), scale * height / max(size)], 1)
    offset = torch.cat([0.10 * chance.normal(1), 0.06 * chance.normal(1) + 0.10], 1).clamp(-0.3, 0.3)
    centre = rigs.pivot[:, :2] + offset * 2 * half
    room = (1 - half).clamp(min=0)
    centre = torch.where(half < 1, torch.maximum(torch.minimum(centre, room), -room), centre * 0)
    centre[:, 1] = torch.where(half[:, 1] > 1, 1 - half[:, 1], centre[:, 1])     # beyond the edges: stand on the lower
    return View(centre, scale)


def mirrored(motion: Tensor, mirror: Tensor) -> Tensor:
    """Mirror motion (B, T, NM) as seen in a mirror, where mirror (B,) says so."""
    sign = torch.ones_like(motion[0, 0])
    sign[[MOTION_COLUMNS[name] for name in MIRRORED]] = -1
    return torch.where(mirror[:, None, None] > 0, motion * sign, motion)


def mirrored_points(points: Tensor, mirror: Tensor, width: int) -> Tensor:
    """Mirror points (B, T, P, 2) as seen in a mirror: what was left is right."""
    swap = {"left": "right", "right": "left"}
    others = ("_".join(swap.get(word, word) for word in name.split("_")) for name in LANDMARKS)
    mirrored = points[:, :, [LANDMARKS.index(name) for name in others]] * points.new_tensor([-1, 1])
    flipped = mirrored + points.new_tensor([width, 0])
    return torch.where(mirror[:, None, None, None] > 0, flipped, points)


def lit(pictures: Tensor, motion: Tensor) -> Tensor:
    """Warm, cool or spot light, as the motion says. pictures (B, T, 3, H, W)"""
    B, T, _, H, W = pictures.shape
    x = (torch.arange(W, device=pictures.device) + 0.5 - W / 2)[None, None] * (2 / min(H, W))
    y = (torch.arange(H, device=pictures.device) + 0.5 - H / 2)[None, :, None] * (2 / min(H, W))
    planes = lighting(pictures.flatten(0, 1).unbind(1), motion.flatten(0, 1), motion.flatten(0, 1), x, y)
    return torch.stack(planes, 1).unflatten(0, (B, T))
