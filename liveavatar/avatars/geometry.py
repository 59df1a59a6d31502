"""Where things are: picture, body, head, mouth, eyes and hands.

Drawing and landmarks share these functions, so that they agree. Two frames:

    view   the whole picture in units; y grows downwards; the origin is near the tip of the nose of a head at rest
    head   moves and leans with the head; the origin is between the eyes
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .drawing import box, ellipse, melt, smoothstep, stroke
from .traits import Named

FRAMING = 1.17          # half heights of a square picture in one unit
LIFT = 0.03             # the figure sits this much lower, half heights
TALL_LIFT = 0.3         # share of a tall picture's extra half height that moves the figure up
NECK = 0.345            # the head leans about this point, units below the origin of the view
NECK_TO_EYES = 0.44     # from there to the origin of the head
HAND_SCALE = 0.125      # half width of a palm, units


class View(NamedTuple):
    x: Tensor           # (B, 1, W) units
    y: Tensor           # (B, H, 1)
    pixel: Tensor       # (B, 1, 1) units in a pixel


class Head(NamedTuple):
    x: Tensor           # (B, H, W) units, in the frame of the head
    y: Tensor
    yaw: Tensor         # (B, 1, 1)
    pitch: Tensor
    half_width: Tensor  # of the skull, units
    pixel: Tensor


class Mouth(NamedTuple):
    """All (B, 1, 1), units, in the frame of the head."""

    x: Tensor
    y: Tensor
    half_width: Tensor
    up: Tensor          # how far the upper lip's edge is above the closed line, in the middle
    down: Tensor        # how far the lower lip's edge is below it
    lift: Tensor        # how far a smile raises the corners
    lip: Tensor         # thickness of the lips, about 1


class Lips(NamedTuple):
    """The edges of the opening between the lips, and where a pixel lies against them. All (B, H, W), units."""

    x: Tensor           # from the middle of the mouth
    y: Tensor
    half_width: Tensor
    bow: Tensor         # 1 in the middle, 0 at the corners
    line: Tensor        # height of the closed mouth's line
    upper: Tensor       # height of the upper lip's edge
    lower: Tensor
    ends: Tensor        # distance beyond the corners, below 0 between them

    @property
    def inside(self) -> Tensor:
        """Return the distance to the outline of the opening, below 0 within."""
        return torch.maximum(torch.maximum(self.upper - self.y, self.y - self.lower), self.ends)


class Glasses(NamedTuple):
    """Describe where glasses are. All (B, H, W), units."""

    u: Tensor           # outward from a lens' centre
    v: Tensor
    side: Tensor        # -1 or 1: the lens that a pixel belongs to
    lens: Tensor        # distances: to the outline of the lens,
    arm: Tensor         # the middle of the arm
    bridge: Tensor      # and the middle of the bridge
    seen: Tensor        # how far the arm is seen, 0..1


class Hand(NamedTuple):
    """The hand on a pixel's side of the picture. Planes (B, H, W)."""

    side: Tensor        # -1 or 1
    out: Tensor         # from the middle of the picture outward, units
    down: Tensor
    wrist: tuple[Tensor, Tensor]
    u: Tensor           # in palms, in the frame of the hand: the thumb at u > 0
    v: Tensor           # fingers at v < 0
    spread: Tensor
    curl: Tensor
    pixel: Tensor       # palms


# ---------------------------------------------------------------- picture and view

def _tall_shift(size: tuple[int, int]) -> float:
    height, width = size
    return TALL_LIFT * (height / min(size) - 1)


def grid(size: tuple[int, int], device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return centres of pixels in half lengths of its short side: x (1, 1, W), y (1, H, 1). size (height, width)"""
    height, width = size
    pixel = 2.0 / min(size)
    x = (torch.arange(width, device=device, dtype=dtype) + 0.5 - width / 2) * pixel
    y = (torch.arange(height, device=device, dtype=dtype) + 0.5 - height / 2) * pixel
    return x[None, None, :], y[None, :, None] + _tall_shift(size)


def look(motion: Named, x: Tensor, y: Tensor) -> View:
    """Return the grid as the camera sees it."""
    zoom = FRAMING * (1 + motion["zoom"])
    pixel = x[:, :, 1:2] - x[:, :, :1]
    return View(x / zoom, (y - LIFT) / zoom - 0.01, pixel / zoom)


def to_pixels(motion: Named, x: Tensor, y: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Map from the view back to the picture: pixels from its upper left corner, 0.5 being the centre of the first one.
    """
    height, width = size
    zoom = FRAMING * (1 + motion["zoom"])
    half = min(size) / 2
    return x * zoom * half + width / 2, ((y + 0.01) * zoom + LIFT - _tall_shift(size)) * half + height / 2


# ---------------------------------------------------------------- head

def head_frame(identity: Named, motion: Named, view: View) -> Head:
    """Carry the view into the frame of the head."""
    cos, sin = torch.cos(motion["head_roll"]), torch.sin(motion["head_roll"])
    x, y = view.x - motion["head_x"], view.y - motion["head_y"] - NECK
    return Head(cos * x + sin * y, cos * y - sin * x + NECK_TO_EYES, motion["head_yaw"], motion["head_pitch"],
                0.345 * identity["face_width"], view.pixel)


def head_to_view(motion: Named, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Map back from the frame of the head to the view."""
    cos, sin = torch.cos(motion["head_roll"]), torch.sin(motion["head_roll"])
    y = y - NECK_TO_EYES
    return cos * x - sin * y + motion["head_x"], sin * x + cos * y + motion["head_y"] + NECK


def head_distance(identity: Named, motion: Named, head: Head, down: float = 0.0, grow: float = 0.0) -> Tensor:
    """Return distance to the outline of the face: a skull and a jaw, melted together. `down` moves it, `grow` widens
    it."""
    x, y = head.x - head.yaw * 0.025, head.y - down
    jaw = motion["jaw"]
    skull = ellipse(x, y + 0.10, head.half_width + (0.012 + grow), 0.385 + grow)
    chin = ellipse(x - head.yaw * 0.03, y - 0.12 - jaw * 0.018, head.half_width * 0.82 * identity["jaw_width"] + grow,
                   0.275 + grow + 0.03 * identity["chin_length"] + jaw * 0.042)
    return melt(skull, chin, 0.10)


# ---------------------------------------------------------------- mouth

def mouth(identity: Named, motion: Named) -> Mouth:
    """Place and shape of the mouth. The opening grows fast at first, so that a small one is seen."""
    rounding, smile = motion["lip_rounding"], motion["smile"]
    opening = (motion["mouth_aperture"].clamp(min=0) + 1e-6) ** 0.8 - 1e-6 ** 0.8
    width = 1 + 0.20 * motion["mouth_width"] + 0.20 * smile.clamp(min=0) - 0.46 * rounding
    return Mouth(
        x=motion["head_yaw"] * 0.135,
        y=identity["mouth_height"] + motion["head_pitch"] * 0.09 + motion["jaw"] * 0.010,
        half_width=0.154 * identity["mouth_size"] * width.clamp(0.38, 1.5),
        up=opening * 0.048 * (1 - 0.3 * rounding),
        down=opening * 0.152 * (1 - 0.12 * rounding),
        lift=smile * 0.062 + smile.clamp(min=0) * 0.036 * identity["detail"],
        lip=identity["lip_fullness"] * (1 + 0.35 * rounding) * (1 - 0.5 * motion["lip_press"]),
    )


def lip_line(shape: Mouth, across: Tensor | float) -> Tensor:
    """Return the height of the closed mouth's line, `across` -1..1 from corner to corner."""
    return shape.lift * (0.30 - across * across)


def lip_edges(shape: Mouth, motion: Named, head: Head) -> Lips:
    """Place the edges of the lips."""
    x, y = head.x - shape.x, head.y - shape.y
    half_width = shape.half_width * (1 - 0.14 * head.yaw * torch.sign(x))
    across = (x / half_width).clamp(-1, 1)
    bow = 1 - across * across
    arc = torch.sqrt(bow + 1e-6) - 1e-3
    opening = 0.75 * bow + 0.25 * arc
    opening = opening + (arc - opening) * 0.7 * motion["lip_rounding"]    # rounder lips, rounder hole
    line = lip_line(shape, across)
    return Lips(x, y, half_width, bow, line, line - shape.up * opening,
                line + shape.down * opening - tuck_depth(motion) * bow, x.abs() - half_width)


def tuck_depth(motion: Named) -> Tensor:
    """Return how far 'f' draws the lower lip up, units."""
    return motion["lip_tuck"] * 0.014


# ---------------------------------------------------------------- eyes and hands

def eye_centre(identity: Named, motion: Named, side: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the centre of an eye in the frame of the head; side -1 is the picture's left, 1 its right."""
    yaw = motion["head_yaw"]
    far = (side * yaw).clamp(min=0)
    return (side * (identity["eye_distance"] - far * 0.012) + yaw * 0.120,
            identity["eye_height"] + motion["head_pitch"] * 0.085)


def glasses_frame(identity: Named, head: Head) -> Glasses:
    """Place two lenses, a bridge and the arms."""
    size, square = identity["glasses_size"], identity["glasses_square"]
    middle, apart = head.x - head.yaw * 0.130, identity["eye_distance"] + 0.006
    side = torch.sign(middle)
    far = (side * head.yaw).clamp(min=0)
    u = (middle.abs() - apart + far * 0.012) / (1 - 0.14 * far)
    v = head.y - identity["eye_height"] - 0.012 - head.pitch * 0.09
    lens = box(u, v, size, size * (0.96 - 0.14 * square), size * (0.95 - 0.55 * square))
    arm, _ = stroke(u, v, (size, -0.03), (head.half_width + 0.02 - apart - side * head.yaw * 0.13, -0.02))
    gap = apart - size + 0.004
    bridge, _ = stroke(middle, v + 0.024 + 2.2 * middle * middle, (-gap, 0.0), (gap, 0.0))
    return Glasses(u, v, side, lens, arm, bridge, smoothstep(0.9, 0.3, head.yaw * side))


def hand_frame(motion: Named, view: View) -> Hand:
    """Carry the view into the frame of the hand on each side."""
    side = torch.sign(view.x)
    x, y, angle, spread, curl = hand_pose(motion, side)
    cos, sin = torch.cos(angle * side), torch.sin(angle * side)         # mirrored: x grows away from the middle
    out, down = view.x.abs(), view.y
    palm_x, palm_y = x.abs(), y
    wrist = palm_x - sin * 0.085, palm_y + cos * 0.085
    u, v = out - palm_x, down - palm_y
    u, v = -(cos * u + sin * v) / HAND_SCALE, (cos * v - sin * u) / HAND_SCALE
    return Hand(side, out, down, wrist, u, v, spread, curl, view.pixel / HAND_SCALE)


def hand_pose(motion: Named, side: Tensor | int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return (x, y, angle, spread, curl) of one hand; `side` may be a plane, -1 where the left hand is meant."""
    names = ("x", "y", "angle", "spread", "curl")
    if isinstance(side, int):
        return tuple(motion[f"{'left' if side < 0 else 'right'}_hand_{name}"] for name in names)
    return tuple(torch.where(side < 0, motion[f"left_hand_{name}"], motion[f"right_hand_{name}"]) for name in names)
