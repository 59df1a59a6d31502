"""How an avatar moves while it talks: lips from visemes, beats from loudness, moods and gestures from controls."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .rich import motion as rich_motion
from .rich.articulation import articulate
from .sampling import REST, Dice, rest_pose, within
from .traits import MOTION, MOTION_COLUMNS, check_world

FPS = 25
VISEMES = tuple(trait.name for trait in MOTION[:7])
CONTROLS: dict[str, tuple[str, ...]] = {
    "gesture": ("rest", "beat", "wave", "point"),
    "mood": ("neutral", "happy", "serious", "surprised"),
    "lighting": ("neutral", "warm", "cool", "spot"),
    "energy": ("calm", "normal", "lively"),
}
VIGOUR = (0.45, 1.0, 1.7)                       # of calm, normal, lively
BLINKS_PER_S = 0.30
BLINK = (0.35, 0.95, 1.0, 0.6, 0.2)             # share of closure in successive frames
#             neutral  happy  serious surprised
MOODS = {
    "smile":      (0.35, 0.85, -0.55, 0.05),
    "brow_raise": (0.00, 0.20, -0.30, 1.00),
    "brow_frown": (0.00, 0.00, 0.90, 0.00),
    "lid_raise":  (0.00, 0.00, -0.75, 1.00),
}


def talk(visemes: Tensor, loudness: Tensor, controls: Tensor, generator: torch.Generator | None = None,
         world: str = "plain") -> Tensor:
    """Move a batch of avatars for T video frames.

    visemes (B, T, 7) mouth shapes in the order of MOTION's first seven, loudness (B, T) 0..1 envelope of the speech,
    controls (B, 4) long: which of each of CONTROLS  ->  motion (B, T, NM), every trait in its range.
    Plain world: lips, nods and hand beats follow from the arguments; sways, glances and blinks are drawn from
    `generator`. Rich world: head, shoulders, hands and the way the lips say it are chance too (`rich.motion`,
    `rich.articulation`). Raises InputError for an unknown world.
    """
    check_world(world)
    B, T = loudness.shape
    dice = Dice(B, generator, loudness.device)
    gesture, mood, light, energy = controls.to(loudness.device).unbind(1)
    vigour = torch.tensor(VIGOUR, device=loudness.device)[energy][:, None]                  # (B, 1)
    if world == "rich":
        moves = _rich(dice, visemes, loudness, gesture, mood, vigour)
    else:
        moves = dict(zip(VISEMES, visemes.unbind(2), strict=True))
        moves |= _head(dice, loudness, vigour) | _face(dice, loudness, mood, vigour)
        moves |= _hands(dice, loudness, gesture, vigour)
        moves |= dict.fromkeys(("lean", "left_shoulder", "right_shoulder"), torch.zeros(1, 1, device=loudness.device))
    moves["jaw"] = moves["mouth_aperture"]
    for kind, name in enumerate(("light_warm", "light_cool", "light_spot"), start=1):
        moves[name] = (light == kind)[:, None].to(loudness.dtype)
    moves["zoom"] = torch.zeros(1, 1, device=loudness.device)
    motion = torch.stack([moves[trait.name].expand(B, T) for trait in MOTION], 2)
    return within(motion, MOTION)


def _rich(dice: Dice, visemes: Tensor, loudness: Tensor, gesture: Tensor, mood: Tensor,
          vigour: Tensor) -> dict[str, Tensor]:
    """Return the columns of the rich world, but for light, zoom and jaw."""
    felt = {name: torch.tensor(values, device=dice.device)[mood][:, None] for name, values in MOODS.items()}
    moves = dict(zip(VISEMES, articulate(dice, visemes, loudness).unbind(2), strict=True))
    moves |= rich_motion.pose(dice, loudness, vigour) | rich_motion.face(dice, loudness, felt, vigour)
    return moves | rich_motion.hands(dice, loudness, gesture, vigour)


def _sway(dice: Dice, T: int, slowest_hz: float, fastest_hz: float) -> Tensor:
    """Return (B, T) a smooth wandering, about -1..1: four sines of random pace, phase and strength."""
    pace = slowest_hz + (fastest_hz - slowest_hz) * dice.uniform(4, 1)
    turns = pace * torch.arange(T, device=dice.device) / FPS + dice.uniform(4, 1)
    return 0.8 * (torch.sin(2 * math.pi * turns) * dice.uniform(4, 1)).sum(1)


def _head(dice: Dice, loudness: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    """Let the head wander, nod with the voice, and breathe."""
    T = loudness.shape[1]
    nod = vigour * (loudness - 0.3)
    breath = dice.uniform(1) + 0.27 * torch.arange(T, device=dice.device) / FPS
    return {
        "head_yaw": 0.42 * vigour.sqrt() * _sway(dice, T, 0.05, 0.40),
        "head_pitch": 0.18 * _sway(dice, T, 0.08, 0.40) + 0.45 * nod,
        "head_roll": 0.055 * vigour.sqrt() * _sway(dice, T, 0.05, 0.35),
        "head_x": 0.030 * vigour.sqrt() * _sway(dice, T, 0.05, 0.30),
        "head_y": 0.008 * _sway(dice, T, 0.10, 0.35) + 0.020 * nod,
        "breath": torch.sin(2 * math.pi * breath),
    }


def _face(dice: Dice, loudness: Tensor, mood: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    """Make the mood's face; let brows rise with the voice, eyes wander and blink."""
    B, T = loudness.shape
    felt = {name: torch.tensor(values, device=dice.device)[mood][:, None] for name, values in MOODS.items()}
    felt["brow_raise"] = felt["brow_raise"] + 0.15 * _sway(dice, T, 0.10, 0.50) + 0.45 * vigour * loudness
    starts = (dice.uniform(T + 4) < BLINKS_PER_S / FPS).float()                             # (B, T + 4)
    shape = torch.tensor(BLINK, device=dice.device).flip(0)
    return felt | {
        "blink": functional.conv1d(starts[:, None], shape[None, None])[:, 0].clamp(0, 1),
        "gaze_x": 0.45 * _sway(dice, T, 0.05, 0.30),
        "gaze_y": 0.30 * _sway(dice, T, 0.05, 0.30),
        "brow_tilt": 0.15 * _sway(dice, T, 0.05, 0.20),
    }


def _hands(dice: Dice, loudness: Tensor, gesture: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    """Move the hands: they rest; both beat with the voice; the right one waves; the left one points."""
    beat, wave, point = ((gesture == kind)[:, None] for kind in (1, 2, 3))
    moves = {}
    for side, other in ((-1, point), (1, wave)):
        name = "left" if side < 0 else "right"
        pose = _beating(dice, loudness, vigour, side)
        alone = _pointing(dice, loudness, vigour) if side < 0 else _waving(dice, loudness, vigour)
        for what in pose:
            rest = torch.tensor(REST[f"{name}_hand_{what}"], device=dice.device)
            moves[f"{name}_hand_{what}"] = torch.where(beat, pose[what], torch.where(other, alone[what], rest))
    return moves


def _beating(dice: Dice, loudness: Tensor, vigour: Tensor, side: int) -> dict[str, Tensor]:
    T, lift = loudness.shape[1], vigour * loudness
    return {
        "x": side * (0.53 + 0.03 * lift) + 0.03 * _sway(dice, T, 0.10, 0.50),
        "y": 0.70 - 0.20 * lift + 0.03 * _sway(dice, T, 0.10, 0.50),
        "angle": side * (-0.15 + 0.20 * lift) + 0.10 * _sway(dice, T, 0.10, 0.50),
        "spread": 0.35 + 0.40 * lift + 0.10 * _sway(dice, T, 0.10, 0.50),
        "curl": 0.25 - 0.20 * lift + 0.10 * _sway(dice, T, 0.10, 0.50),
    }


def _waving(dice: Dice, loudness: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    T = loudness.shape[1]
    pace_hz = 0.75 + 0.35 * vigour + 0.2 * dice.uniform(1)
    swing = torch.sin(2 * math.pi * (pace_hz * torch.arange(T, device=dice.device) / FPS + dice.uniform(1)))
    steady = torch.ones_like(swing)
    return {
        "x": 0.60 + 0.03 * swing + 0.01 * _sway(dice, T, 0.10, 0.50),
        "y": 0.34 + 0.02 * _sway(dice, T, 0.10, 0.50),
        "angle": 0.02 + (0.24 + 0.12 * vigour) * swing,
        "spread": 0.80 * steady,
        "curl": 0.0 * steady,
    }


def _pointing(dice: Dice, loudness: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    T, lift = loudness.shape[1], vigour * loudness
    steady = torch.ones_like(loudness)
    return {
        "x": -0.58 + 0.02 * _sway(dice, T, 0.10, 0.50),
        "y": 0.52 - 0.16 * lift + 0.02 * _sway(dice, T, 0.10, 0.50),
        "angle": 0.10 + 0.06 * _sway(dice, T, 0.10, 0.50),
        "spread": 0.25 * steady,
        "curl": 0.66 * steady,
    }


def portrait_pose(count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Return a mild pose for portraits: mouth closed, slight smile, head turned a little, hands at rest. -> (count, NM)
    """
    dice = Dice(count, generator, device)
    pose = rest_pose(count, device)
    turn = {"head_yaw": 0.12, "head_pitch": 0.06, "head_x": 0.012, "head_roll": 0.012}
    for name, width in turn.items():
        pose[:, MOTION_COLUMNS[name]] = width * dice.normal().clamp(-2, 2)
    pose[:, MOTION_COLUMNS["smile"]] = 0.45
    return pose
