"""Lips that are one of many answers to the same sound.

What is heard does not fix how far a mouth opens: people differ by a factor of two, syllables of one person by a
quarter, and lips begin to move tens of milliseconds before or after the sound (anticipatory coarticulation).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..sampling import Dice
from .movements import FPS, shifted

GAIN = (0.6, 1.4)           # of a speaker: how far the mouth opens against the average
SYLLABLE = 0.25             # a syllable's own gain is 1 +- this
ONSET_S = 0.018             # standard deviation of a syllable's onset; it is at most twice as early or late: 36 ms
SHAPES = 0.5                # how much of the gain widths and roundings take
APERTURE, WIDTH, ROUNDING, TEETH, TONGUE, PRESS, TUCK = range(7)


def articulate(dice: Dice, visemes: Tensor, loudness: Tensor) -> Tensor:
    """Draw one way to say it. visemes (B, T, 7) in the order of MOTION, loudness (B, T) 0..1  ->  (B, T, 7)

    A closed mouth stays closed (its opening is multiplied), and lips that press do so in full, a little earlier or
    later.
    """
    syllable = syllables(visemes[..., APERTURE], loudness)
    visemes = shifted(visemes, onsets(dice, syllable))
    own = _smooth(_of_syllable(1 + SYLLABLE * (2 * dice.uniform(syllable.shape[1]) - 1), syllable))
    gain = (GAIN[0] + (GAIN[1] - GAIN[0]) * dice.uniform(1)) * own                          # (B, T)
    shape = (1 + SHAPES * (gain - 1))[..., None]
    parts = list(visemes.split(1, 2))
    parts[APERTURE] = parts[APERTURE] * gain[..., None]
    parts[WIDTH], parts[ROUNDING] = parts[WIDTH] * shape, parts[ROUNDING] * shape
    return torch.cat(parts, 2)


def syllables(aperture: Tensor, loudness: Tensor) -> Tensor:
    """Number the syllables of B utterances: one begins where mouth and voice are least open.

    aperture, loudness (B, T)  ->  (B, T) long, from 0
    """
    openness = aperture + 0.3 * loudness
    before, after = openness[:, :-2], openness[:, 2:]
    lowest = (openness[:, 1:-1] < before) & (openness[:, 1:-1] <= after)
    return functional.pad(lowest.long(), (1, 1))[:, :openness.shape[1]].cumsum(1)


def onsets(dice: Dice, syllable: Tensor) -> Tensor:
    """Return how many frames late each frame's lips are, one draw a syllable, smooth between them. (B, T) long -> (B,
    T)"""
    late = ONSET_S * FPS * dice.normal(syllable.shape[1]).clamp(-2, 2)
    return _smooth(_of_syllable(late, syllable))


def _of_syllable(draws: Tensor, syllable: Tensor) -> Tensor:
    """Map draws (B, T), one for each syllable there might be  ->  (B, T) the draw of each frame's syllable"""
    return draws.gather(1, syllable)


def _smooth(curve: Tensor) -> Tensor:
    """Return a running mean over five frames with the ends held. (B, T)"""
    held = functional.pad(curve[:, None], (2, 2), mode="replicate")
    return functional.avg_pool1d(held, 5, 1)[:, 0]
