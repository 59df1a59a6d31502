"""Draw rigged photographs in motion: frames, and where mouth and eyes are in them.

Every picture is drawn from the back to the front: background, head and body (upper layer), lower lip and jaw (lower
layer), the inside of the mouth between them, the eyeballs behind the lids. Each layer looks up its own place in the
portrait (`deform.invert`), so edges stay sharp. Letters: B clips, each of one portrait; T pictures of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.avatars.traits import MOTION_COLUMNS
from liveavatar.puppets import topology as mesh
from liveavatar.puppets.deform import (
    Pose,
    View,
    drawn_places,
    forward_maps,
    invert,
    look_up,
    movements_of,
    photograph,
    pose_of,
    sample,
)
from liveavatar.puppets.mouth_interior import Mouths, paint_interior
from liveavatar.puppets.rig import Rigs

WORK_SIDE = 128         # rows and columns on which displacements are inverted
OUTSIDE_PX = -1e4       # of a hand that is not there
MOUTH, LEFT_EYE, RIGHT_EYE = (LANDMARKS.index(name) for name in ("mouth_center", "left_eye", "right_eye"))
LARGEST_EYE_DISTANCE = 0.34     # sides of the picture: of a face that fills 70 % of its height
OPEN_GAP = 0.06         # mouth widths: a portrait whose mouth is open wider than this shows teeth of its own


@dataclass(frozen=True)
class Drawn:
    """Pictures of puppets."""

    pictures: Tensor    # (B, T, 3, H, W) 0..1
    points: Tensor      # (B, T, len(LANDMARKS), 2) x, y in pixels, in the order of LANDMARKS; hands lie far outside
    gap_px: Tensor      # (B, T) opening between the lips


@torch.no_grad()
def render_puppets(rigs: Rigs, motion: Tensor, view: View, mouths: Mouths, size: tuple[int, int],
                   closes: Tensor | None = None) -> Drawn:
    """Draw B clips of T pictures.

    rigs of the B portraits, motion (B, T, NM) as `liveavatar.avatars.talk` gives it, size (height, width);
    closes (B, T) 1 where an open mouth of the portrait is closed first (default), 0 where it is left as it is
    """
    closes = torch.ones(motion.shape[:2], device=motion.device) if closes is None else closes
    pose = pose_of(motion, rigs)
    upper, lower, head = forward_maps(rigs, movements_of(motion, closes), pose)
    small = tuple(max(8, side * WORK_SIDE // max(size)) for side in size)
    wanted = drawn_places(view, small)
    places = [enlarge(invert(displacement, wanted), size) for displacement in (upper, lower, head)]
    points, gap_px = landmarks_of(rigs, upper, lower, view, size)
    return Drawn(compose(rigs, motion, view, mouths, places, points, pose, size), points, gap_px)


@torch.no_grad()
def places_in_portrait(rigs: Rigs, motion: Tensor, pose: Tensor, view: View, grid: tuple[int, int],
                       closes: Tensor) -> tuple[Tensor, Tensor]:
    """Find where in the portrait each place of the pictures is taken from.

    rigs of the B portraits, motion (B, T, NM) of the pictures, pose (B, NM) and closes (B,) of the portraits, grid
    (rows, columns)  ->  displacement (B, T, rows, columns, 2) across and down in cells of the grid, and the person's
    share of each cell (B, T, rows, columns) 0..1. Where the background is seen the displacement means nothing.
    """
    ones = torch.ones(motion.shape[:2], device=motion.device)
    upper, lower, _ = forward_maps(rigs, movements_of(motion, ones), pose_of(motion, rigs))
    at_rest = movements_of(pose[:, None], closes[:, None]), pose_of(pose[:, None], rigs)
    rest_upper, rest_lower, _ = forward_maps(rigs, *at_rest)
    wanted = drawn_places(view, grid)
    in_upper, in_lower = invert(upper, wanted), invert(lower, wanted)
    lies_below = look_up(rigs.lips[:, :1], in_upper)[:, :, 0, ..., None] > 0               # the upper lip's edge
    own = torch.where(lies_below, in_lower, in_upper)
    moved = [look_up(layer[:, 0], own).permute(0, 1, 3, 4, 2) for layer in (rest_upper, rest_lower)]
    in_portrait = own + torch.where(lies_below, moved[1], moved[0])
    cells = (in_portrait - wanted[:, None]) * (max(grid) / 2 / view.scale[:, None, None, None, None])
    return cells, look_up(rigs.person[:, None], own)[:, :, 0]


def enlarge(places: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (B, T, h, w, 2) -> (B, T, H, W, 2)"""
    maps = places.flatten(0, 1).permute(0, 3, 1, 2)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1).unflatten(
        0, places.shape[:2])


def compose(rigs: Rigs, motion: Tensor, view: View, mouths: Mouths, places: list[Tensor], points: Tensor, pose: Pose,
            size: tuple[int, int]) -> Tensor:
    """Lay the layers over one another. places of upper layer, lower layer and head, (B, T, H, W, 2); points of
    LANDMARKS, px  ->  (B, T, 3, H, W) 0..1"""
    in_upper, in_lower, in_head = places
    below = look_up(rigs.lips[:, :1], in_upper)[:, :, 0]                                   # the upper lip's edge
    own = torch.where(below[..., None] > 0, in_lower, in_upper)
    pixel = (2 * view.scale / max(size))[:, None, None, None]                              # picture units
    still = drawn_places(view, size)[:, None]
    moved = ((own - still).norm(dim=-1) / pixel - 0.5).clamp(0, 1)[:, :, None]         # nothing is uncovered at rest
    behind = torch.lerp(photograph(rigs.picture, still), photograph(rigs.background, still), moved)
    person = look_up(rigs.person[:, None], own) * ((own[..., 1] + 1) / 0.03).clamp(0, 1)[:, :, None]   # not above it
    picture = torch.lerp(behind, photograph(rigs.picture, own), person)
    unit = LARGEST_EYE_DISTANCE * max(size)
    mouth = Window.around(points[:, :, MOUTH], (1.6, 1.4), unit, size)
    mouth.paste(picture, *mouth_interior(rigs, motion, mouths, [mouth.cut(part) for part in places], pixel))
    eyes = Window.around(0.5 * (points[:, :, LEFT_EYE] + points[:, :, RIGHT_EYE]), (2.1, 1.1), unit, size)
    eyes.paste(picture, *eyeballs(rigs, motion, pose, eyes.cut(in_head), pixel))
    return picture.clamp(0, 1)


def mouth_interior(rigs: Rigs, motion: Tensor, mouths: Mouths, places: list[Tensor],
                   pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Draw what is seen between the lips (B, T, 3, h, w), and where (B, T, 1, h, w) 0..1"""
    in_upper, in_lower, in_head = places
    lips = look_up(rigs.lips, in_upper)
    below, over = lips[:, :, 0], -look_up(rigs.lips[:, 1:], in_lower)[:, :, 0]             # of one lip, over the other
    width = rigs.mouth_width[:, None, None, None]
    offset = in_head - rigs.mouth[:, None, None, None]
    across = 2 * (offset * rigs.right[:, None, None, None]).sum(-1) / width
    inside = paint_interior(mouths, across, below / width, over / width, rigs.light,
                            motion[..., MOTION_COLUMNS["teeth"]], motion[..., MOTION_COLUMNS["tongue"]])
    # a portrait whose mouth is open shows its own teeth
    shown = (torch.minimum(below, -lips[:, :, 1]) / (0.02 * width)).clamp(0, 1)
    shown = shown * (rigs.gap > OPEN_GAP)[:, None, None, None]
    inside = torch.lerp(inside, photograph(rigs.picture, in_upper), shown[:, :, None])
    opened = (torch.minimum(below, over) / pixel).clamp(0, 1) * (across.abs() < 1.1)
    return inside, opened[:, :, None]


def eyeballs(rigs: Rigs, motion: Tensor, pose: Pose, in_head: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Draw what is seen between the lids (B, T, 3, h, w), and where (B, T, 1, h, w) 0..1"""
    under_lid, over_lid, drop = look_up(rigs.eyes, in_head).unbind(2)
    blink = motion[..., MOTION_COLUMNS["blink"], None, None]
    opening = torch.minimum(under_lid - blink * drop, over_lid)
    seen = photograph(rigs.eyeballs, in_head - pose.gaze[:, :, None, None])
    return seen, (opening / pixel).clamp(0, 1)[:, :, None]


class Window:
    """A window of one size that moves over the pictures of clips."""

    def __init__(self, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> None:
        self.shape = rows.shape[-1], columns.shape[-1]
        self._index = (rows[..., :, None] * size[1] + columns[..., None, :]).flatten(-2)        # (B, T, h * w)

    @classmethod
    def around(cls, centres: Tensor, sides: tuple[float, float], unit: float, size: tuple[int, int]) -> Window:
        """Place windows around centres (B, T, 2) px, sides across and down in `unit` px, at most the whole picture"""
        edges = [min(length, 8 * math.ceil(side * unit / 8)) for side, length in zip(sides, size[::-1],
                                                                                        strict=True)]
        starts = [(centres[..., axis].round().long() - edge // 2).clamp(0, length - edge)
                  for axis, (edge, length) in enumerate(zip(edges, size[::-1], strict=True))]
        columns, rows = (start[..., None] + torch.arange(edge, device=start.device)
                         for start, edge in zip(starts, edges, strict=True))
        return cls(rows, columns, size)

    def cut(self, places: Tensor) -> Tensor:
        """Cut (B, T, H, W, 2) -> (B, T, h, w, 2)"""
        flat = places.flatten(2, 3)
        return flat.gather(2, self._index[..., None].expand(-1, -1, -1, 2)).unflatten(2, self.shape)

    def paste(self, picture: Tensor, paint: Tensor, cover: Tensor) -> None:
        """Lay paint (B, T, 3, h, w) over pictures (B, T, 3, H, W), in place, as far as cover (B, T, 1, h, w) says."""
        flat = picture.flatten(3)
        index = self._index[:, :, None].expand(-1, -1, 3, -1)
        flat.scatter_(3, index, torch.lerp(flat.gather(3, index), paint.flatten(3), cover.flatten(3)))


def landmarks_of(rigs: Rigs, upper: Tensor, lower: Tensor, view: View,
                 size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Find LANDMARKS in the drawn pictures (B, T, len(LANDMARKS), 2) px, and the opening of the mouth (B, T) px."""
    flat = rigs.points[..., :2]
    eyes = [0.5 * (flat[:, lid[0]] + flat[:, lid[-1]]) for lid in mesh.UPPER_LID]
    on_upper = torch.stack([flat[:, mesh.MOUTH_CORNERS[0]], flat[:, mesh.MOUTH_CORNERS[1]],
                            flat[:, mesh.LIP_MIDDLE[0]], *eyes, rigs.pivot[:, :2]], 1)
    top, bottom = (carried(places, displacement, view, size) for places, displacement in
                   ((on_upper, upper), (flat[:, mesh.LIP_MIDDLE[1], None], lower)))
    left, right, top, left_eye, right_eye, middle = top.unbind(2)
    bottom, down = bottom[:, :, 0], torch.stack([-rigs.right[:, 1], rigs.right[:, 0]], -1)
    hand = torch.full_like(top, OUTSIDE_PX)
    named = {"mouth_center": 0.5 * (top + bottom), "mouth_left": left, "mouth_right": right, "lip_upper": top,
             "lip_lower": bottom, "left_eye": left_eye, "right_eye": right_eye, "left_hand": hand,
             "right_hand": hand, "head_center": middle}
    gap = ((bottom - top) * down[:, None]).sum(-1).clamp(min=0)
    return torch.stack([named[name] for name in LANDMARKS], 2), gap


def carried(places: Tensor, displacement: Tensor, view: View, size: tuple[int, int]) -> Tensor:
    """Return where places of the portraits (B, n, 2) are drawn: (B, T, n, 2) px"""
    B, T = displacement.shape[:2]
    many = places[:, None].expand(-1, T, -1, -1)
    moved = many + sample(displacement.flatten(0, 1), many.reshape(B * T, 1, -1, 2))[:, :, 0].mT.unflatten(0, (B, T))
    drawn = (moved - view.centre[:, None, None]) / view.scale[:, None, None, None]
    height, width = size
    return 0.5 * drawn * max(size) + 0.5 * drawn.new_tensor([width, height])
