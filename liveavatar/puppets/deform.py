"""Move rigged faces: where every point of a portrait goes, and back from the drawn picture to the portrait.

Letters: B clips, each of one portrait; T pictures of each; G rows and columns of a map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.traits import MOTION_COLUMNS
from liveavatar.puppets.rig import MOVEMENTS, Rigs, map_grid

YAW_DEG, PITCH_DEG = 9.0, 8.0        # at a head_yaw or head_pitch of 1
FACE_UNITS = 0.85                    # height of a drawn avatar's face in its units
SHRUG = 4.0                          # shoulders raised wholly, in breaths
NEUTRAL_SMILE = 0.35                 # of the mood "neutral": a photograph smiles as it does
INVERSION_STEPS, INVERSION_RATE = 9, 0.55
WORK_SIDE = 128                      # rows and columns on which displacements are inverted


class Pose(NamedTuple):
    """Describe how heads are held."""

    turn: Tensor      # (B, T, 3, 3) rotation
    shift: Tensor     # (B, T, 2) picture units
    gaze: Tensor      # (B, T, 2) eyes against the head, picture units


class View(NamedTuple):
    """Describe which part of a portrait is drawn: portrait = centre + scale * drawn, both in picture units."""

    centre: Tensor    # (B, 2)
    scale: Tensor     # (B,)


def movements_of(motion: Tensor, closes: Tensor) -> Tensor:
    """Find the strength of each of MOVEMENTS. motion (B, T, NM) as drawn avatars have it, closes (B, T) 1 where an open
    mouth of the portrait is closed first  ->  (B, T, K)"""
    def column(name: str) -> Tensor:
        return motion[..., MOTION_COLUMNS[name]]

    strength = {
        "open": column("mouth_aperture").clamp(min=0), "close": closes, "width": 0.8 * column("mouth_width"),
        "rounding": 0.85 * column("lip_rounding"), "smile": 0.8 * (column("smile") - NEUTRAL_SMILE),
        "press": column("lip_press"), "tuck": column("lip_tuck"), "blink": column("blink"),
        "brow_raise": 0.9 * column("brow_raise"), "brow_frown": column("brow_frown"),
        "breath": column("breath") + SHRUG * (column("left_shoulder") + column("right_shoulder")) / 2,
    }
    return torch.stack([strength[name] for name in MOVEMENTS], -1)


def pose_of(motion: Tensor, rigs: Rigs) -> Pose:
    """Find how heads are held. motion (B, T, NM)"""
    def column(name: str) -> Tensor:
        return motion[..., MOTION_COLUMNS[name]]

    yaw, pitch = (torch.deg2rad(degrees * column(name)) for degrees, name in
                  ((YAW_DEG, "head_yaw"), (PITCH_DEG, "head_pitch")))
    shift = torch.stack([column("head_x"), column("head_y")], -1) * (rigs.face_height / FACE_UNITS)[:, None, None]
    gaze = torch.stack([0.11 * column("gaze_x"), 0.05 * column("gaze_y")], -1) * rigs.eye_width[:, None, None]
    return Pose(rotation(yaw, pitch, column("head_roll")), shift, gaze)


def rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Compose roll after pitch after yaw, radians (...). -> (..., 3, 3)"""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (torch.cos, torch.sin))
    about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).unflatten(-1, (3, 3))
    about_x = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1).unflatten(-1, (3, 3))
    about_z = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    return about_z @ about_x @ about_y


def forward_maps(rigs: Rigs, strength: Tensor, pose: Pose) -> tuple[Tensor, Tensor, Tensor]:
    """Return displacement of the upper layer, of the lower layer, and of the head without expression: (B, T, 2, G, G)
    each.

    rigs of the B clips, strength (B, T, K) of MOVEMENTS
    """
    side = rigs.depth.shape[-1]
    grid = map_grid(side, strength.device).T.unflatten(-1, (side, side))                      # (2, G, G)
    layers = [torch.einsum("btk,bkcij->btcij", strength, basis.float()) for basis in (rigs.upper, rigs.lower)]
    layers.append(torch.zeros_like(layers[0][:, :1]))
    depth = (rigs.depth.float() - rigs.pivot[:, 2, None, None])[:, None, None]                # (B, 1, 1, G, G)
    share = rigs.head.float()[:, None, None]
    by_depth = pose.turn[..., :2, 2, None, None] * depth + pose.shift[..., None, None]
    turn = pose.turn[..., :2, :2] - torch.eye(2, device=grid.device)
    offset = grid - rigs.pivot[:, None, :2, None, None]
    return tuple(moved + share * (torch.einsum("btcd,btdij->btcij", turn, (offset + moved).expand(
        *turn.shape[:2], -1, -1, -1)) + by_depth) for moved in layers)


def invert(displacement: Tensor, wanted: Tensor) -> Tensor:
    """Find the places that a displacement carries to the wanted ones, by damped fixed-point iteration.

    displacement (B, T, 2, G, G), wanted (B, h, w, 2)  ->  (B, T, h, w, 2), all in picture units
    """
    maps = displacement.flatten(0, 1)
    wanted = wanted[:, None].expand(-1, displacement.shape[1], -1, -1, -1).flatten(0, 1)
    places = wanted
    for _ in range(INVERSION_STEPS):
        moved = places + sample(maps, places).permute(0, 2, 3, 1)
        places = places - INVERSION_RATE * (moved - wanted)
    return places.unflatten(0, displacement.shape[:2])


def sample(maps: Tensor, places: Tensor) -> Tensor:
    """Sample maps (N, C, G, G) at places (N, h, w, 2). -> (N, C, h, w)"""
    return F.grid_sample(maps, places, padding_mode="border", align_corners=False)


def look_up(maps: Tensor, places: Tensor) -> Tensor:
    """Sample maps of each clip (B, C, G, G) at places in all its pictures (B, T, h, w, 2). -> (B, T, C, h, w)"""
    B, T, h, w, _ = places.shape
    return sample(maps.float(), places.flatten(1, 2)).unflatten(2, (T, h)).transpose(1, 2)


def photograph(picture: Tensor, places: Tensor) -> Tensor:
    """Return colours of pictures (B, 3, S, S) uint8 at places (B, T, H, W, 2), mirrored beyond the edges -> (B, T, 3,
    H, W)"""
    B, T, H, W, _ = places.shape
    colours = F.grid_sample(picture.float() / 255, places.flatten(1, 2), mode="bicubic", padding_mode="reflection",
                            align_corners=False)
    return colours.unflatten(2, (T, H)).transpose(1, 2)


def drawn_places(view: View, size: tuple[int, int]) -> Tensor:
    """Return positions in the portraits of what is drawn. -> (B, h, w, 2)"""
    height, width = size
    device = view.centre.device
    x = ((2 * torch.arange(width, device=device) + 1) / width - 1) * (width / max(size))
    y = ((2 * torch.arange(height, device=device) + 1) / height - 1) * (height / max(size))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    return view.centre[:, None, None] + view.scale[:, None, None, None] * grid
