"""The names of all that can be asked of an avatar: who it is (identity) and how it moves (motion).

An identity is a vector of NI numbers, a motion of NM numbers; this module says which column means what. Lengths are in
*units* of the drawing (the height of a face is about 0.85); left and right are those of the picture, not of the person.
The order of both lists is part of the format: trained weights and saved portraits rely on it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liveavatar.types import InputError


class Trait(NamedTuple):
    """One column of an identity or motion vector."""

    name: str
    low: float     # the range that was trained; values beyond it may be drawn, but look odd
    high: float
    doc: str
    default: float = 0.0        # of a portrait or motion that was saved before the trait existed


def _colour(name: str, doc: str) -> tuple[Trait, ...]:
    """Return three columns, red, green and blue, in 0..1."""
    return tuple(Trait(f"{name}_{channel}", 0.0, 1.0, f"{doc}: {channel}") for channel in ("red", "green", "blue"))


IDENTITY: tuple[Trait, ...] = (
    *_colour("skin", "skin"),
    *_colour("hair", "hair, brows and beard"),
    *_colour("iris", "iris of the eyes"),
    *_colour("lips", "lips"),
    *_colour("shirt", "shirt"),
    *_colour("accent", "jacket, pattern and trimming"),
    *_colour("background_top", "wall at its top"),
    *_colour("background_bottom", "wall at its bottom"),
    Trait("face_width", 0.92, 1.07, "width of the head"),
    Trait("jaw_width", 0.80, 1.12, "width of the jaw against the head"),
    Trait("chin_length", -0.5, 1.2, "how far the chin reaches down"),
    Trait("cheek_blush", 0.3, 1.0, "redness of the cheeks"),
    Trait("ear_size", 0.85, 1.10, "size of the ears"),
    Trait("eye_distance", 0.142, 0.160, "from the middle of the face to the middle of an eye, units"),
    Trait("eye_height", -0.035, 0.005, "height of the eyes, units; less is higher"),
    Trait("eye_size", 0.92, 1.16, "size of the eyes"),
    Trait("eye_roundness", 0.85, 1.08, "height of the eyes against their width"),
    Trait("lash_length", 0.2, 1.0, "thickness of the lashes; above 0.7 they have a wing"),
    Trait("brow_thickness", 0.65, 1.35, "thickness of the brows"),
    Trait("brow_arch", 0.35, 1.10, "bend of the brows"),
    Trait("nose_width", 0.75, 1.15, "width of the nose"),
    Trait("nose_height", 0.100, 0.125, "height of the tip of the nose, units; less is higher"),
    Trait("mouth_height", 0.228, 0.248, "height of the mouth, units; less is higher"),
    Trait("mouth_size", 0.92, 1.12, "width of the mouth at rest"),
    Trait("lip_fullness", 0.75, 1.25, "thickness of the lips"),
    Trait("hair_volume", 0.0, 0.19, "how far the hair stands off the head, units"),
    Trait("hairline", -0.60, -0.14, "height of the hair's edge on the forehead, units; less is higher"),
    Trait("hair_sides", -0.60, 0.30, "how far down the hair reaches at the temples, units"),
    Trait("hair_slope", -0.45, 0.45, "slant of the hair's edge; 0 is level"),
    Trait("hair_parting", -0.95, 0.95, "where the parting is, in half widths of the face"),
    Trait("hair_fringe", 0.0, 1.0, "waviness of the hair's edge, against a notch at the parting"),
    Trait("hair_curl", 0.0, 1.2, "curls on the outline"),
    Trait("hair_waves", 5.0, 24.0, "number of curls around the head"),
    Trait("hair_length", 0.0, 0.75, "how far the back hair reaches down, units; 0 is none"),
    Trait("hair_spread", 1.0, 1.25, "width of the back hair"),
    Trait("hair_bun", 0.0, 1.2, "size of a bun on top; 0 is none"),
    Trait("hair_present", 0.0, 1.0, "0 is bald"),
    Trait("beard", 0.0, 1.0, "strength of the beard; 0.3 is stubble"),
    Trait("moustache", 0.0, 1.0, "strength of the moustache"),
    Trait("glasses", 0.0, 1.0, "1 wears glasses"),
    Trait("glasses_size", 0.105, 0.125, "half width of a lens, units"),
    Trait("glasses_square", 0.0, 1.0, "0 round, 1 square"),
    Trait("glasses_accent", 0.0, 0.8, "frame: 0 black, more takes the accent colour"),
    Trait("build", 0.93, 1.10, "width of the shoulders"),
    Trait("neckline_depth", 0.055, 0.16, "depth of the neckline, units"),
    Trait("neckline_v", 0.0, 1.0, "0 round, 1 pointed"),
    Trait("collar", 0.0, 1.0, "1 has a shirt collar"),
    Trait("hoodie", 0.0, 1.0, "1 has a hood and strings"),
    Trait("jacket", 0.0, 1.0, "1 wears an open jacket in the accent colour"),
    Trait("stripes", 0.0, 0.9, "strength of stripes on the shirt"),
    Trait("dots", 0.0, 0.9, "strength of dots on the shirt"),
    Trait("pattern_scale", 2.6, 4.2, "stripes or dots in one unit"),
    Trait("earrings", 0.0, 1.0, "1 wears earrings"),
    Trait("freckles", 0.0, 0.8, "strength of freckles"),
    Trait("scene", 0.0, 3.0, "behind the person: 0..1 discs, 1..2 a window, 2..3 a shelf"),
    Trait("scene_x", -0.68, 0.68, "where the disc, window or shelf is, units"),
    Trait("scene_y", -0.52, -0.30, "its height, units"),
    # of the rich world; a seed shifts a pattern of noise, so that another seed is another pattern of the same kind
    Trait("detail", 0.0, 1.0, "0 is drawn plain, 1 in the rich world's way, with shading and texture"),
    Trait("teeth_tint", 0.0, 1.0, "teeth: 0 white, 1 yellow"),
    Trait("teeth_gap", 0.0, 1.0, "width of the gap between the upper middle teeth"),
    Trait("teeth_width", 0.80, 1.25, "width of a tooth", 1.0),
    Trait("teeth_uneven", 0.0, 1.0, "how different the lengths of the teeth are"),
    Trait("teeth_seed", 0.0, 1.0, "which teeth are longer: seed"),
    Trait("skin_seed", 0.0, 1.0, "freckles and blotches of the skin: seed"),
    Trait("hair_seed", 0.0, 1.0, "strands of hair, brows and beard: seed"),
    Trait("cloth_seed", 0.0, 1.0, "threads and folds of the clothes: seed"),
    Trait("scene_seed", 0.0, 1.0, "leaves, lights, books and grain of the background: seed"),
    Trait("hair_strands", 0.75, 1.35, "number of strands", 1.0),
    Trait("cloth_weave", 0.3, 1.0, "how far the threads of the clothes stand out", 0.6),
    Trait("cloth_scale", 0.8, 1.25, "number of threads", 1.0),
    Trait("cloth_fold", 0.3, 1.0, "depth of the folds of the clothes", 0.6),
    Trait("wall_grain", 0.2, 1.0, "roughness of the wall", 0.5),
    Trait("foliage", 0.0, 1.0, "leaves at the side of the picture: 0 none, 1 many"),
)

_HAND = (("x", "across"), ("y", "down"), ("angle", "turn, radians; 0 points up, more turns clockwise"),
         ("spread", "0 fingers together, 1 apart"), ("curl", "0 open hand, 0.65 only the index finger points, 1 fist"))
_HAND_RANGE = {"y": (0.10, 1.30), "angle": (-1.3, 1.3), "spread": (0.0, 1.0), "curl": (0.0, 1.0)}


def _hand(side: str, low: float, high: float) -> tuple[Trait, ...]:
    """Return five columns that place one hand; `low`, `high` bound how far across it may be."""
    ranges = {"x": (low, high), **_HAND_RANGE}
    return tuple(Trait(f"{side}_hand_{what}", *ranges[what], f"{side} hand in the picture: {doc}")
                 for what, doc in _HAND)


MOTION: tuple[Trait, ...] = (
    Trait("mouth_aperture", 0.0, 1.2, "opening of the mouth; 0 is closed"),
    Trait("mouth_width", -0.6, 1.2, "corners drawn together (less) or apart (more)"),
    Trait("lip_rounding", 0.0, 1.2, "lips rounded as in 'oo'"),
    Trait("teeth", 0.0, 1.0, "how much the upper teeth show when the mouth is open"),
    Trait("tongue", 0.0, 1.0, "how far the tongue is raised"),
    Trait("lip_press", 0.0, 1.0, "lips pressed together as in 'm'"),
    Trait("lip_tuck", 0.0, 1.0, "lower lip under the teeth as in 'f'"),
    Trait("smile", -1.0, 1.0, "corners of the mouth up (more) or down (less)"),
    Trait("jaw", 0.0, 1.2, "drop of the jaw"),
    Trait("blink", 0.0, 1.0, "1 is closed eyes"),
    Trait("gaze_x", -1.0, 1.0, "eyes look left or right"),
    Trait("gaze_y", -1.0, 1.0, "eyes look up or down"),
    Trait("lid_raise", -1.0, 1.0, "upper lids heavy (less) or wide open (more)"),
    Trait("brow_raise", -1.0, 1.5, "brows down or up"),
    Trait("brow_frown", 0.0, 1.0, "inner ends of the brows down"),
    Trait("brow_tilt", -0.5, 0.5, "one brow higher than the other"),
    Trait("breath", -1.0, 1.0, "shoulders sink or rise"),
    Trait("head_x", -0.12, 0.12, "head moves across, units"),
    Trait("head_y", -0.06, 0.06, "head moves down, units"),
    Trait("head_roll", -0.20, 0.20, "head leans, radians"),
    Trait("head_yaw", -1.0, 1.0, "head turns to the picture's left or right"),
    Trait("head_pitch", -0.8, 0.8, "head nods up (less) or down (more)"),
    Trait("zoom", -0.10, 0.20, "camera nearer (more) or farther"),
    *_hand("left", -0.75, -0.25),
    *_hand("right", 0.25, 0.75),
    Trait("light_warm", 0.0, 1.0, "warm evening light"),
    Trait("light_cool", 0.0, 1.0, "cool blue light"),
    Trait("light_spot", 0.0, 1.0, "dark room, spot on the face"),
    # of the rich world; at rest in the plain one
    Trait("lean", -0.08, 0.08, "trunk leans across about the hip, radians"),
    Trait("left_shoulder", -0.3, 1.0, "left shoulder sinks (less) or is raised (more)"),
    Trait("right_shoulder", -0.3, 1.0, "right shoulder sinks (less) or is raised (more)"),
)

WORLDS = ("plain", "rich")
PLAIN_TRAITS = next(column for column, trait in enumerate(IDENTITY) if trait.name == "detail")  # columns before it

IDENTITY_COLUMNS: dict[str, int] = {trait.name: column for column, trait in enumerate(IDENTITY)}
MOTION_COLUMNS: dict[str, int] = {trait.name: column for column, trait in enumerate(MOTION)}


def _index(columns: dict[str, int], name: str, kind: str) -> int:
    if name not in columns:
        from difflib import get_close_matches

        near = get_close_matches(name, columns, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"known: {', '.join(columns)}"
        raise InputError(f"unknown {kind} trait {name!r}; {hint}")
    return columns[name]


def identity_index(name: str) -> int:
    """Return the column of an identity trait; an unknown name is refused with the nearest ones."""
    return _index(IDENTITY_COLUMNS, name, "identity")


def motion_index(name: str) -> int:
    """Return the column of a motion trait; an unknown name is refused with the nearest ones."""
    return _index(MOTION_COLUMNS, name, "motion")


def check_world(world: str) -> None:
    """Refuse a world that does not exist (InputError)."""
    if world not in WORLDS:
        raise InputError(f"world is {world!r}; choose from {', '.join(map(repr, WORLDS))}")


def completed(identity: Tensor) -> Tensor:
    """Give identities (..., N) that were saved before the last columns existed the defaults of these. -> (..., NI)"""
    missing = identity.new_tensor([trait.default for trait in IDENTITY[identity.shape[-1]:]])
    return torch.cat([identity, missing.expand(*identity.shape[:-1], -1)], -1)


class Named:
    """Columns of a (B, N) table by name, each (B, 1, 1) so that it meets (B, H, W) planes."""

    def __init__(self, table: Tensor, columns: dict[str, int]) -> None:
        self.table = table
        self.columns = columns

    def __getitem__(self, name: str) -> Tensor:
        return self.table[:, self.columns[name], None, None]

    def colour(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        return self[name + "_red"], self[name + "_green"], self[name + "_blue"]
