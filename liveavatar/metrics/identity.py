"""Identity: do skin, hair, shirt and wall keep their colours to the end?

The colours are read off every picture by the regressor, so that light and shadow do not count. Its own constant error
(0.02 on true pictures) cancels in the drift, which is counted from the beginning of the video.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from liveavatar.avatars.traits import identity_index
from liveavatar.metrics.regressor import COLOURS, Reading

BEGINNING_S = 0.48          # one block of mini
END_S = 1.0
PERSON = ("skin", "hair", "shirt")


@dataclass(frozen=True)
class Drift:
    """Describe how the colours of a person and the wall wander. Distances: mean over red, green and blue, 0..1."""

    time_s: Tensor               # (T,)
    distance: Tensor             # (T,) of skin, hair and shirt from the beginning, mean of the three
    parts: dict[str, Tensor]     # colour -> (T,) the same of each, the wall included
    end: float                   # mean distance over the last second: 0 is no drift
    per_minute: float            # slope of the distance, by least squares
    from_portrait: float         # mean distance from the true colours of the portrait; NaN when they are unknown
    applies: bool = True
    reason: str = ""


def drift(reading: Reading, fps: float = 25.0, identity: Tensor | None = None) -> Drift:
    """Follow the colours through T pictures; identity (NI,) of the portrait where the renderer drew it."""
    T = len(reading.colours)
    time_s = torch.arange(T) / fps
    first = max(1, round(BEGINNING_S * fps))
    wander = (reading.colours - reading.colours[:first].mean(0)).abs().mean(2)           # (T, 4)
    parts = {name: wander[:, column] for column, name in enumerate(COLOURS)}
    distance = torch.stack([parts[name] for name in PERSON]).mean(0)
    off = math.nan if identity is None else (reading.colours - true_colours(identity)).abs().mean().item()
    if T < 2 * first:
        return Drift(time_s, distance, parts, math.nan, math.nan, off, False,
                     f"{T} frames are too few to drift: {2 * first} are needed")
    centred = (time_s - time_s.mean()).double()
    slope = (centred * distance.double()).sum() / centred.square().sum()
    last = max(1, round(END_S * fps))
    return Drift(time_s, distance, parts, distance[-last:].mean().item(), 60 * slope.item(), off)


def true_colours(identity: Tensor) -> Tensor:
    """Map identity (NI,) -> (4, 3) red, green, blue of COLOURS"""
    columns = [[identity_index(f"{name}_{channel}") for channel in ("red", "green", "blue")] for name in COLOURS]
    return identity[torch.tensor(columns)]
