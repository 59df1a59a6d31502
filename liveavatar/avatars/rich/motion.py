"""How people of the rich world move: the tiers of chance that a video leaves open.

    pose     the head turns, nods and leans, shoulders shrug: minimum-jerk movements at random times
    hands    gestures to random places, with fingers spread and curled
    mouth    one of many ways to say it (articulation)

Controls keep their meaning: the gesture says which hands move, the mood sets the face, the energy how much and how
often.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..sampling import REST, Dice
from .movements import FPS, Movements, at_start, kept, movements, pulses, shares, visited

BLINKS_PER_S = 0.32
BLINK = (0.35, 0.95, 1.0, 0.6, 0.2)             # share of closure in successive frames
TO_CAMERA = 0.40                                # share of turns and glances that come back to the camera
HAND = ("x", "y", "angle", "spread", "curl")
SHAPES = torch.tensor([[0.30, 0.10], [0.75, 0.02], [0.20, 0.35], [0.30, 0.66], [0.30, 0.92]])   # spread, curl
SHAPE_WEIGHTS = torch.tensor([3.0, 3.0, 3.0, 1.5, 1.0])


def pose(dice: Dice, loudness: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    """Draw the movements of head, trunk and shoulders. loudness (B, T), vigour (B, 1)  ->  motion columns (B, T)"""
    T, strength, pace = loudness.shape[1], vigour.sqrt(), vigour ** 0.4
    turns = movements(dice, T, 1.5, (0.35, 0.95), pace)
    K = turns.start_s.shape[1]
    spread = torch.tensor([0.36, 0.13, 0.050, 0.020, 0.008], device=dice.device)            # yaw pitch roll x y
    targets = dice.normal(K, 5).clamp(-2, 2) * spread * strength[..., None]
    targets[..., 3] = targets[..., 3] + 0.035 * targets[..., 0]                             # turns carry it along
    targets = targets * (dice.uniform(K, 1) >= TO_CAMERA)
    yaw, pitch, roll, head_x, head_y = visited(turns, targets).unbind(2)
    leans = movements(dice, T, 3.5, (0.7, 1.6), pace)
    lean = visited(leans, 0.026 * strength[..., None] * dice.normal(leans.start_s.shape[1], 1).clamp(-2, 2))[..., 0]
    nod = _nods(dice, loudness, vigour) + 0.16 * vigour * (loudness - 0.3)
    breath = dice.uniform(1) + (0.20 + 0.12 * dice.uniform(1)) * torch.arange(T, device=dice.device) / FPS
    left, right = _shrugs(dice, T, pace)
    return {"head_yaw": yaw, "head_pitch": pitch + nod, "head_roll": roll + 0.7 * lean,
            "head_x": head_x + 1.05 * lean, "head_y": head_y + 0.035 * nod, "lean": lean,
            "left_shoulder": left, "right_shoulder": right, "breath": torch.sin(2 * math.pi * breath)}


def _nods(dice: Dice, loudness: Tensor, vigour: Tensor) -> Tensor:
    """Return the dips of the head, now and then upwards; larger and surer while the voice is loud. (B, T)"""
    moves = movements(dice, loudness.shape[1], 1.2, (0.16, 0.32), vigour ** 0.3, least_s=0.35)
    K = moves.start_s.shape[1]
    size = 0.42 * dice.uniform(K) ** 1.5 * torch.where(dice.uniform(K) < 0.2, -0.6, 1.0)
    loud = 0.25 + 0.75 * at_start(loudness, moves)
    return pulses(moves, size * loud * vigour.sqrt(), 0.12 * dice.uniform(K))


def _shrugs(dice: Dice, T: int, pace: Tensor) -> tuple[Tensor, Tensor]:
    """Move the shoulders: a slow unevenness, and shrugs with one or both. (B, T) each"""
    moves = movements(dice, T, 5.0, (0.25, 0.50), pace, least_s=1.5)
    K = moves.start_s.shape[1]
    height, hold = 0.25 + 0.75 * dice.uniform(K), 0.1 + 0.6 * dice.uniform(K)
    which = dice.uniform(K)
    settled = movements(dice, T, 4.0, (0.6, 1.2), pace)
    uneven = visited(settled, 0.10 * dice.normal(settled.start_s.shape[1], 2).clamp(-2, 2))
    left = pulses(moves, height * (which < 0.78), hold) + uneven[..., 0]
    return left, pulses(moves, height * (which > 0.22), hold) + uneven[..., 1]


def face(dice: Dice, loudness: Tensor, felt: dict[str, Tensor], vigour: Tensor) -> dict[str, Tensor]:
    """Draw glances, blinks and brows around what is felt: (B, 1) of smile, brow_raise, brow_frown and lid_raise."""
    T = loudness.shape[1]
    glances = movements(dice, T, 1.0, (0.05, 0.11), vigour ** 0.3, least_s=0.25)
    K = glances.start_s.shape[1]
    there = dice.uniform(K, 1) >= TO_CAMERA
    gaze = visited(glances, dice.normal(K, 2).clamp(-2, 2) * torch.tensor([0.40, 0.24], device=dice.device) * there)
    lifts = movements(dice, T, 2.2, (0.15, 0.35), vigour ** 0.4, least_s=0.5)
    raised = pulses(lifts, 0.75 * dice.uniform(lifts.start_s.shape[1]) * (0.3 + 0.7 * at_start(loudness, lifts)),
                    0.5 * dice.uniform(lifts.start_s.shape[1]))
    moods = movements(dice, T, 3.0, (0.5, 1.0), vigour ** 0.3)
    change = visited(moods, 0.12 * dice.normal(moods.start_s.shape[1], 2).clamp(-2, 2))
    starts = (dice.uniform(T + 4) < BLINKS_PER_S / FPS).float()                             # (B, T + 4)
    shape = torch.tensor(BLINK, device=dice.device).flip(0)
    return felt | {
        "smile": felt["smile"] + change[..., 0],
        "brow_raise": felt["brow_raise"] + raised + 0.20 * vigour * loudness,
        "brow_tilt": 0.8 * change[..., 1],
        "gaze_x": gaze[..., 0], "gaze_y": gaze[..., 1],
        "blink": torch.nn.functional.conv1d(starts[:, None], shape[None, None])[:, 0].clamp(0, 1),
    }


# ---------------------------------------------------------------- hands

def hands(dice: Dice, loudness: Tensor, gesture: Tensor, vigour: Tensor) -> dict[str, Tensor]:
    """Move the hands: they rest; both make free gestures; the right one waves; the left one points. gesture (B,) long
    """
    rest = torch.tensor([[REST[f"{side}_hand_{what}"] for what in HAND] for side in ("left", "right")],
                        device=dice.device)                                                 # (2, 5)
    still = rest[:, None, None].expand(-1, *loudness.shape, -1)                             # (2, B, T, 5)
    free = _gesturing(dice, loudness, vigour)
    left = _chosen(gesture, {1: free[0], 3: _pointing(dice, loudness, vigour)}, still[0])
    right = _chosen(gesture, {1: free[1], 2: _waving(dice, loudness, vigour)}, still[1])
    return {f"{side}_hand_{what}": path[..., column] for side, path in (("left", left), ("right", right))
            for column, what in enumerate(HAND)}


def _chosen(gesture: Tensor, paths: dict[int, Tensor], otherwise: Tensor) -> Tensor:
    for kind, path in paths.items():
        otherwise = torch.where((gesture == kind)[:, None, None], path, otherwise)
    return otherwise


def _fingers(dice: Dice, K: int) -> Tensor:
    """Spread and curl of K hands: one of a few shapes, never twice quite the same. (B, K, 2)"""
    shape = SHAPES.to(dice.device)[dice.choose(SHAPE_WEIGHTS, K)]
    return (shape + 0.10 * dice.normal(K, 2)).clamp(0, 1)


def _places(dice: Dice, K: int) -> Tensor:
    """Return where a hand of the right side may go in a gesture: x, y, angle. (B, K, 3)"""
    u = dice.uniform(K, 2)
    return torch.cat([0.36 + 0.36 * u[..., :1], 0.38 + 0.34 * u[..., 1:], 0.35 * dice.normal(K, 1).clamp(-2, 2)], 2)


def _gesturing(dice: Dice, loudness: Tensor, vigour: Tensor) -> tuple[Tensor, Tensor]:
    """Free gestures: from home to random places and back, with both hands alike or each for itself. (B, T, 5) each"""
    moves = movements(dice, loudness.shape[1], 0.95, (0.24, 0.60), vigour ** 0.6)
    K = moves.start_s.shape[1]
    spoken = at_start(loudness, moves)
    home = (dice.uniform(K) < 0.22 + 0.5 * (spoken < 0.12)) | (dice.uniform(K) > 0.45 + 0.6 * vigour)
    alike = (dice.uniform(K) < 0.55)[..., None]
    first = torch.cat([_places(dice, K), _fingers(dice, K)], 2)
    second = torch.where(alike, first + 0.03 * dice.normal(K, 5), torch.cat([_places(dice, K), _fingers(dice, K)], 2))
    lift = (0.10 * vigour * spoken)[..., None] * torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0], device=dice.device)
    paths = []
    for side, targets in ((-1, first), (1, second)):
        low = torch.cat([0.44 + 0.10 * dice.uniform(K, 1), 0.80 + 0.16 * dice.uniform(K, 1),
                         -0.35 + 0.15 * dice.normal(K, 1), _fingers(dice, K)], 2)
        targets = torch.where(home[..., None], low, targets - lift)
        targets = kept(targets, dice.uniform(K) < 0.80)
        mirrored = torch.tensor([side, 1.0, side, 1.0, 1.0], device=dice.device)
        paths.append(visited(moves, targets * mirrored))
    return paths[0], paths[1]


def _swings(dice: Dice, T: int, pace: Tensor) -> Movements:
    """Return half swings that follow one another without a pause, now and then with one."""
    count = int(6.0 * (T / FPS + 2)) + 4
    duration = (0.22 + 0.12 * dice.uniform(count)) / pace
    pause = 0.9 * dice.uniform(count) * (dice.uniform(count) < 0.14)
    start = (duration + pause).cumsum(1) - 2.0
    return Movements(start, duration, shares(start, duration, T))


def _waving(dice: Dice, loudness: Tensor, vigour: Tensor) -> Tensor:
    """Swing the raised right hand from side to side about its wrist. (B, T, 5)"""
    T = loudness.shape[1]
    swings = _swings(dice, T, vigour ** 0.3)
    K = swings.start_s.shape[1]
    direction = torch.where(torch.arange(K, device=dice.device) % 2 == 0, 1.0, -1.0)
    swing = visited(swings, (direction * (0.16 + 0.34 * dice.uniform(K)) * vigour ** 0.4)[..., None])[..., 0]
    moves = movements(dice, T, 2.0, (0.4, 0.8), vigour ** 0.4)
    K = moves.start_s.shape[1]
    place = visited(moves, torch.cat([0.54 + 0.12 * dice.uniform(K, 1), 0.28 + 0.16 * dice.uniform(K, 1)], 2))
    fingers = visited(moves, torch.cat([0.55 + 0.4 * dice.uniform(K, 1), 0.10 * dice.uniform(K, 1)], 2))
    return torch.stack([place[..., 0] + 0.06 * swing, place[..., 1], 0.02 + swing, *fingers.unbind(2)], 2)


def _pointing(dice: Dice, loudness: Tensor, vigour: Tensor) -> Tensor:
    """Let the left hand point here and there, with the index finger out. (B, T, 5)"""
    moves = movements(dice, loudness.shape[1], 1.2, (0.25, 0.60), vigour ** 0.5)
    K = moves.start_s.shape[1]
    lift = 0.10 * (vigour * at_start(loudness, moves))[..., None]
    targets = torch.cat([-0.42 - 0.28 * dice.uniform(K, 1), 0.40 + 0.24 * dice.uniform(K, 1) - lift,
                         0.10 + 0.32 * dice.normal(K, 1).clamp(-2, 2), 0.15 + 0.25 * dice.uniform(K, 1),
                         0.63 + 0.06 * dice.uniform(K, 1)], 2)
    return visited(moves, targets)
