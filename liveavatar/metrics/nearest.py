"""The nearest true picture: the known person, drawn in the pose that fits a generated picture best.

Head, eyes and lips of a generated video move freely, so there is no true video to compare with. But whoever the
portrait shows can be drawn in any pose. The regressor gives a first guess of it; mood and light, which it does not
read, are the ones of mini's vocabulary that fit all pictures best; then the pose is refined by least squares
(Levenberg-Marquardt, derivatives by differences), coarse before fine, on a box around the face only.

On true pictures of 128 px this reaches 28 dB within the box (the first guess 20), in 0.07 s a picture on one core.
What remains between a picture and its nearest true one is what is wrong with it, plus what the search did not find.
The latter is found out by doing the same with the true pictures themselves, in the same poses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.drawing import Planes
from liveavatar.avatars.geometry import FRAMING, grid
from liveavatar.avatars.landmarks import LANDMARKS, landmarks
from liveavatar.avatars.motion import MOODS
from liveavatar.avatars.renderer import LAYERS, world_of
from liveavatar.avatars.sampling import rest_pose
from liveavatar.avatars.traits import MOTION, MOTION_COLUMNS
from liveavatar.metrics.reader import as_pictures
from liveavatar.metrics.regressor import Reading

# Traits that are looked for: (step of the difference, how far the truth may be from the first guess).
# Those of eyes and lips are seen in different rows, so two of them are tried in one picture.
HEAD = {"head_x": (0.010, 0.02), "head_y": (0.010, 0.015), "head_roll": (0.020, 0.05), "head_yaw": (0.06, 0.10),
        "head_pitch": (0.06, 0.15)}
EYES = {"gaze_x": (0.15, 0.4), "gaze_y": (0.15, 0.3), "blink": (0.10, 0.10), "brow_raise": (0.15, 0.5),
        "brow_tilt": (0.15, 0.12), "lid_raise": (0.20, 0.15), "brow_frown": (0.20, 0.1)}
LIPS = {"mouth_aperture": (0.06, 0.05), "mouth_width": (0.10, 0.10), "lip_rounding": (0.10, 0.08),
        "teeth": (0.15, 0.08), "lip_press": (0.15, 0.15), "smile": (0.10, 0.10), "lip_tuck": (0.20, 0.15)}
SOUGHT = HEAD | EYES | LIPS
COLUMNS = torch.tensor([MOTION_COLUMNS[name] for name in SOUGHT])
STEPS, REACHES = (torch.tensor(values) for values in zip(*SOUGHT.values(), strict=True))
LOW, HIGH = (torch.tensor([getattr(trait, end) for trait in MOTION]) for end in ("low", "high"))

NOISE = 0.05                # of a pixel, 0..1: what weighs pixels against the first guess
DAMPING = (0.0, 1.0)        # tried at once; the best one counts
ROLLS = (-0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.12)
GAZES = ((0.0, 0.0), (-0.5, 0.0), (0.5, 0.0), (0.0, -0.3), (0.0, 0.3))
# Hands are left out: they hardly ever come near a face, and where they do the pixels around them do not count.
HAND_UNITS = 0.32           # from the palm to the tips of the fingers
FELT = tuple({name: MOODS[name][mood] for name in ("smile", "brow_frown", "lid_raise")} for mood in range(4))
LIGHTS = ({}, {"light_warm": 1.0}, {"light_cool": 1.0}, {"light_spot": 1.0})
COARSE_PX, FINE_PX = 32, 64         # shorter side of the whole picture while searching


@dataclass(frozen=True)
class Boxes:
    """The faces of K pictures: where they are, and what is there. One size for all."""

    x: Tensor                # (K, 1, w) positions of the pixels, as avatars.geometry.grid counts
    y: Tensor                # (K, h, 1)
    pictures: Tensor         # (K, 3, h, w) 0..1
    below_nose: Tensor       # (K, h, 1) bool: rows of the lips
    clear: Tensor            # (K, h, w) 1 where no hand is near, else 0


@dataclass(frozen=True)
class Nearest:
    """K pictures and their nearest true ones."""

    motion: Tensor           # (K, NM) the pose that fits best
    seen: Tensor             # (K, 3, h, w) the boxes around the faces, 0..1
    true: Tensor             # (K, 3, h, w) the same person, drawn in these poses
    clear: Tensor            # (K, h, w) 1 where no hand is near: only this counts
    box_px: tuple[int, int]  # height, width


@torch.inference_mode()
def nearest_truth(frames: Tensor, reading: Reading, identity: Tensor, videos: Tensor | None = None) -> Nearest:
    """Find for each picture the true one that is nearest.

    frames (K, H, W, 3) uint8, reading of the same K pictures, identity (NI,) of the portrait; videos (K,) long tells
    pictures of several videos apart: mood and light are the same within one.
    """
    pictures = as_pictures(frames)
    motion = guess(reading)
    videos = torch.zeros(len(pictures), dtype=torch.long) if videos is None else videos
    coarse, fine = (shrunk(pictures, side_px) for side_px in (COARSE_PX, FINE_PX))
    who = identity.to(torch.float32).expand(len(pictures), -1)
    motion = choose_for_all(coarse, who, motion, videos, [mood | light for mood, light in product(FELT, LIGHTS)])
    motion = try_all(coarse, who, motion, [{"head_roll": roll} for roll in ROLLS])
    motion = try_all(fine, who, motion, [{"gaze_x": x, "gaze_y": y} for x, y in GAZES])
    motion = refine(fine, who, motion, tuple(HEAD), rounds=1)
    motion = choose_for_all(fine, who, motion, videos, FELT)
    motion = refine(fine, who, motion, tuple(SOUGHT), rounds=2)
    found = boxes(pictures, who, motion)
    return Nearest(motion, found.pictures, paint(who, motion, found), found.clear, tuple(found.pictures.shape[-2:]))


def guess(reading: Reading) -> Tensor:
    """Return what the regressor read, and the pose of rest for what it does not read. -> (K, NM)"""
    motion = rest_pose(len(reading.motion))
    for column, name in enumerate(reading.names):
        motion[:, MOTION_COLUMNS[name]] = reading.motion[:, column]
    return within_range(motion)


def within_range(motion: Tensor) -> Tensor:
    """Clamp every trait; the jaw drops with the opening of the mouth. (..., NM)"""
    motion = torch.maximum(torch.minimum(motion, HIGH), LOW)
    motion[..., MOTION_COLUMNS["jaw"]] = motion[..., MOTION_COLUMNS["mouth_aperture"]]
    return motion


def changed(motion: Tensor, values: dict[str, float]) -> Tensor:
    motion = motion.clone()
    for name, value in values.items():
        motion[..., MOTION_COLUMNS[name]] = value
    return within_range(motion)


def shrunk(pictures: Tensor, side_px: int) -> Tensor:
    """Halve the picture until its shorter side is about side_px. (K, 3, H, W)"""
    times = 2 ** max(0, round(math.log2(min(pictures.shape[-2:]) / side_px)))
    return F.avg_pool2d(pictures, times) if times > 1 else pictures


def boxes(pictures: Tensor, who: Tensor, motion: Tensor) -> Boxes:
    """Cut out faces from above the brows to below the chin, where poses (K, NM) say that they are."""
    K, _, H, W = pictures.shape
    points = landmarks(who, motion, (H, W))
    eyes = (points[:, LANDMARKS.index("left_eye")] + points[:, LANDMARKS.index("right_eye")]) / 2
    lips = points[:, LANDMARKS.index("mouth_center")]
    length = (lips - eyes).norm(dim=1).mean().item()                     # from the eyes to the mouth, pixels
    h, w = (min(round(2.6 * length), side) for side in (H, W))
    left = (eyes[:, 0] - w / 2).round().long().clamp(0, W - w)
    top = (eyes[:, 1] - 0.95 * length).round().long().clamp(0, H - h)
    columns, rows = left[:, None] + torch.arange(w), top[:, None] + torch.arange(h)     # (K, w), (K, h)
    x, y = grid((H, W), pictures.device)
    cut = pictures[torch.arange(K)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    nose = (eyes[:, 1] + lips[:, 1]) / 2
    below_nose = rows[:, :, None] > nose[:, None, None]
    palms = torch.stack([points[:, LANDMARKS.index(f"{side}_hand")] for side in ("left", "right")])      # (2, K, 2)
    away = torch.hypot(columns[:, None, :] + 0.5 - palms[..., 0, None, None],
                       rows[:, :, None] + 0.5 - palms[..., 1, None, None]).amin(0)                       # (K, h, w)
    clear = (away > HAND_UNITS * FRAMING * min(H, W) / 2).to(pictures.dtype)
    return Boxes(x[0, 0][columns][:, None, :], y[0, :, 0][rows][:, :, None], cut, below_nose, clear)


def paint(who: Tensor, motion: Tensor, where: Boxes, behind: Planes | None = None) -> Tensor:
    """Draw boxes only. who (K, NI), motion (K, NM) or many of them, (G, K, NM)  ->  (K, 3, h, w) or (G, K, 3, h, w)

    behind: what `paint_behind` drew in about the same pose saves a third of the work.
    """
    if motion.ndim == 3:
        G = len(motion)
        many = replace(where, x=where.x.repeat(G, 1, 1), y=where.y.repeat(G, 1, 1))
        if behind is not None:
            behind = tuple(plane.repeat(G, 1, 1) for plane in behind)
        return paint(who.repeat(G, 1), motion.flatten(0, 1), many, behind).unflatten(0, (G, -1))
    image = paint_behind(who, motion, where) if behind is None else behind
    layers = LAYERS[world_of(who)]
    for layer in (*layers.head, layers.light):
        image = layer(image, who, motion, where.x, where.y)
    return torch.stack(image, 1)


def paint_behind(who: Tensor, motion: Tensor, where: Boxes) -> Planes:
    """Paint the wall, long hair, shoulders and clothes in the boxes."""
    image = None
    for layer in LAYERS[world_of(who)].behind:
        image = layer(image, who, motion, where.x, where.y)
    return image


def misfit(drawn: Tensor, where: Boxes) -> Tensor:
    """Return the sum of squares over the box, in units of the pixels' noise. (..., K, 3, h, w) -> (..., K)"""
    return (((drawn - where.pictures) / NOISE).square() * where.clear[:, None]).sum((-3, -2, -1))


def choose_for_all(pictures: Tensor, who: Tensor, motion: Tensor, videos: Tensor,
                   choices: Iterable[dict[str, float]]) -> Tensor:
    """Choose what fits the pictures of each video best together."""
    where = boxes(pictures, who, motion)
    candidates = torch.stack([changed(motion, choice) for choice in choices])
    each = misfit(paint(who, candidates, where, paint_behind(who, motion, where)), where)       # (G, K)
    together = torch.zeros(len(each), int(videos.max()) + 1).index_add(1, videos, each)
    return candidates[together.argmin(0)[videos], torch.arange(len(motion))]


def try_all(pictures: Tensor, who: Tensor, motion: Tensor, choices: Iterable[dict[str, float]]) -> Tensor:
    """Find the best of some choices, for each picture by itself."""
    where = boxes(pictures, who, motion)
    candidates = torch.stack([changed(motion, choice) for choice in choices])
    best = misfit(paint(who, candidates, where, paint_behind(who, motion, where)), where).argmin(0)
    return candidates[best, torch.arange(len(motion))]


def refine(pictures: Tensor, who: Tensor, motion: Tensor, names: tuple[str, ...], rounds: int) -> Tensor:
    """Refine by Levenberg-Marquardt: (K, NM) -> (K, NM). A round that makes a picture worse leaves its pose as it was.
    """
    where, first = boxes(pictures, who, motion), motion
    sought = torch.tensor([name in names for name in SOUGHT])
    for _ in range(rounds):
        behind = paint_behind(who, motion, where)
        drawn = paint(who, motion, where, behind)
        slopes = derivatives(who, motion, drawn, where, behind, names)[:, sought] / NOISE       # (K, P, n)
        left_over = ((where.pictures - drawn) / NOISE * where.clear[:, None]).flatten(1)
        pull = ((first - motion)[:, COLUMNS] / REACHES.square())[:, sought]      # towards the first guess
        normal = slopes @ slopes.transpose(1, 2) + torch.diag(1 / REACHES[sought].square())
        towards = torch.einsum("kpn,kn->kp", slopes, left_over) + pull
        candidates = [motion]
        for damping in DAMPING:
            system = normal + damping * torch.diag_embed(normal.diagonal(dim1=1, dim2=2))
            step = torch.zeros(len(motion), len(SOUGHT))
            step[:, sought] = torch.linalg.solve(system, towards)
            candidates.append(moved(motion, step))
        pictured = torch.cat([drawn[None], paint(who, torch.stack(candidates[1:]), where, behind)])
        candidates = torch.stack(candidates)
        away = ((candidates - first)[..., COLUMNS] / REACHES).square().sum(-1)
        best = (misfit(pictured, where) + away).argmin(0)
        each = torch.arange(len(motion))
        motion = candidates[best, each]
    return motion


def moved(motion: Tensor, step: Tensor) -> Tensor:
    """Add steps (..., P) of the traits sought."""
    motion = motion.expand(*step.shape[:-1], -1).clone()
    motion[..., COLUMNS] += step
    return within_range(motion)


def derivatives(who: Tensor, motion: Tensor, drawn: Tensor, where: Boxes, behind: Planes,
                names: tuple[str, ...]) -> Tensor:
    """Return how the boxes change with each trait: (K, P, n); rows of traits that are not in `names` are 0.

    An eye trait and a lip trait share a picture: what changes above the nose is the former's, below it the latter's.
    """
    order = list(SOUGHT)
    heads = [(name,) for name in HEAD if name in names]
    eyes, lips = ([name for name in group if name in names] for group in (EYES, LIPS))
    pairs = [tuple(filter(None, pair)) for pair in zip_all(eyes, lips)]
    K = len(motion)
    steps = torch.zeros(len(heads + pairs), K, len(order))
    for row, together in enumerate(heads + pairs):
        for name in together:
            place = order.index(name)
            room = HIGH[COLUMNS[place]] - motion[:, COLUMNS[place]]
            steps[row, :, place] = torch.where(room < STEPS[place], -STEPS[place], STEPS[place])
    change = paint(who, moved(motion, steps), where, behind) - drawn                                # (G, K, 3, h, w)
    slopes = torch.zeros(K, len(order), *drawn.shape[1:])
    below = where.below_nose[:, None].to(drawn.dtype)
    for row, together in enumerate(heads + pairs):
        for name in together:
            place = order.index(name)
            share = 1.0 if name in HEAD else below if name in LIPS else 1 - below
            slopes[:, place] = change[row] * share / steps[row, :, place, None, None, None]
    return slopes.flatten(2)


def zip_all(first: list[str], second: list[str]) -> list[tuple[str | None, str | None]]:
    longest = max(len(first), len(second))
    return [(first[place] if place < len(first) else None, second[place] if place < len(second) else None)
            for place in range(longest)]
