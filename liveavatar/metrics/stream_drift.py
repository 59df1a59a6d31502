"""Drift of a stream, measured block by block in bounded memory: identity, colours, static corners, seams.

    pictures of a block  --DriftMeter.measure-->  DriftPoint
    DriftPoints          --find_jumps-->   blocks that do not follow from the block before
                         --find_shifts-->  blocks from which on the colours are others
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from liveavatar.metrics.quality import corner_square_error, decibel, frame_difference
from liveavatar.metrics.reader import as_frames, as_pictures, framed, load_reader
from liveavatar.metrics.texture import sample_places
from liveavatar.types import InputError

LOOKED_AT = 3               # pictures of a block in which the person is looked at
OTHER_PERSON = 0.77         # mean distance of ten drawn portraits and two photographs; within a video 0.03
JUMP_TIMES = 2.5            # the usual seam: what is more is a jump
SHIFT_LEVELS = 4.0          # of 255: a smaller step of the mean colour is no shift; mini's own blocks reach 3.5
CLEAR = 6.0                 # standard deviations above the usual
LEAST_VALUES = 5


@dataclass(frozen=True)
class DriftPoint:
    """Hold what was measured of one block."""

    block: int
    time_s: float               # where it begins
    identity: float             # distance from the portrait: 0 is the portrait, 1 as far as another person
    colours: float              # how far the mean colour has moved since the first block, levels of 255
    corners_db: float           # the two upper corners against the portrait: higher is stiller
    seam: float                 # change where the block begins against the change within it; NaN for the first one
    mean_colour: tuple[float, float, float]     # red, green, blue of the whole picture, levels of 255
    colour_step: tuple[float, float, float]     # by which it changes with the first picture; 0 in the first block


CURVES = ("identity", "colours", "corners_db", "seam")


class DriftMeter:
    """Measures the blocks of one stream in their order. It keeps one picture and one colour, whatever the length."""

    def __init__(self, portrait: Tensor, block_s: float = 0.48) -> None:
        """Begin a stream. portrait: (3, H, W) 0..1, in the size of the video; block_s: seconds of a block"""
        self._truth, self._block_s = portrait.float().cpu()[None, :, None], block_s
        self._person = person_features(portrait.cpu()[None])[0]
        self._last: Tensor | None = None              # (H, W, 3) uint8, the last picture of the block before
        self._first: Tensor | None = None             # (3,) mean colour of the first block

    def measure(self, block: int, frames: Tensor | np.ndarray) -> DriftPoint:
        """Measure a block. frames (T, H, W, 3) uint8, T of at least 2. Raises InputError for others."""
        frames = as_frames(frames).cpu()
        if len(frames) < 2 or frames.shape[1:3] != self._truth.shape[-2:]:
            raise InputError(f"frames have shape {tuple(frames.shape)}; give at least two pictures in the size of the "
                             f"portrait, {tuple(self._truth.shape[-2:])}")
        colour = frames.float().mean((0, 1, 2))
        self._first = colour if self._first is None else self._first
        sampled = as_pictures(frames[sample_places(len(frames), LOOKED_AT)])
        apart = (person_features(sampled) - self._person).norm(dim=1).mean().item() / OTHER_PERSON
        corners = corner_square_error(as_pictures(frames).transpose(0, 1)[None], self._truth).mean().item()
        before = frames[0] if self._last is None else self._last
        step = frames[0].float().mean((0, 1)) - before.float().mean((0, 1))
        point = DriftPoint(block, block * self._block_s, apart, (colour - self._first).abs().mean().item(),
                           decibel(corners), self._seam(frames), tuple(colour.tolist()), tuple(step.tolist()))
        self._last = frames[-1].clone()
        return point

    def state(self) -> dict[str, Tensor]:
        """Return what the next block is measured against."""
        return {} if self._last is None else {"last": self._last, "first": self._first}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self._last, self._first = state.get("last"), state.get("first")

    def _seam(self, frames: Tensor) -> float:
        if self._last is None:
            return math.nan
        joined = torch.cat([self._last[None], frames]).permute(3, 0, 1, 2)[None] / 255
        change = frame_difference(joined)[0]
        return (change[0] / change[1:].mean().clamp(min=1e-6)).item()


@torch.inference_mode()
def person_features(pictures: Tensor) -> Tensor:
    """Describe who is seen, not what they do. (B, 3, H, W) 0..1  ->  (B, N)

    Two pictures of one person in one place are about 0 apart, those of two people OTHER_PERSON.
    They are means and spreads of the channels of the first stages of the shipped face regressor: colours and textures
    of skin, hair, clothes and wall, wherever head and hands are (Gatys et al. 2015, arXiv:1508.06576, without the
    correlations).
    """
    reader = load_reader()
    return reader.textures(pictures[..., framed(pictures.shape[-2:]), :])


def find_jumps(points: Sequence[DriftPoint]) -> list[int]:
    """Return the blocks whose first picture does not follow from the block before.

    Their seam stands out in the stream and is JUMP_TIMES the usual one. At least six blocks are needed.
    """
    known = [point for point in points if not math.isnan(point.seam)]
    seams = np.array([point.seam for point in known])
    return [known[at].block for at in outliers(seams, JUMP_TIMES * float(np.median(seams)) if len(seams) else 0)]


def find_shifts(points: Sequence[DriftPoint]) -> list[int]:
    """Return the blocks from which on the mean colour is another.

    It changes with their first picture more than is usual in the stream and than SHIFT_LEVELS, and half of that is
    still seen over the whole block. At least six blocks are needed.
    """
    steps = np.array([point.colour_step for point in points[1:]]).reshape(-1, 3)
    colours = np.array([point.mean_colour for point in points]).reshape(-1, 3)
    lasting = np.abs(np.diff(colours, axis=0)).max(1, initial=0) if len(points) > 1 else steps
    sizes = np.abs(steps).max(1, initial=0)
    return [points[at + 1].block for at in outliers(sizes, SHIFT_LEVELS) if lasting[at] >= sizes[at] / 2]


def outliers(values: np.ndarray, least: float) -> list[int]:
    """Return where values exceed `least` and the median by CLEAR standard deviations; these are estimated by 1.4826
    times the median absolute deviation, which the outliers do not move. Nothing where there are fewer than five."""
    if len(values) < LEAST_VALUES:
        return []
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    return np.flatnonzero((values > middle + CLEAR * spread) & (values > least)).tolist()
