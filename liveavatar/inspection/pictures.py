"""What the pictures of a video do as a whole: brighten, flicker, jump where blocks meet, repeat, cut.

    thumbnails (T, h, w, 3)  -->  changes (T - 1,), brightness (T,)  -->  seams, cuts, flicker, unrest

All are in levels of 255 and measured on small pictures (shorter side 96 px), so that noise of single pixels is averaged
out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.metrics.texture import grey

SHORTEST_BLOCK = 6              # pictures; what repeats faster is the cadence of a converted frame rate
LONGEST_BLOCK = 250
LEAST_SEAMS = 4
AROUND = 3                      # pictures on either side with which a change is compared
CLEAR = 5.5                     # standard deviations by which seams must stand out when their place is searched for
GIVEN_CLEAR = 3.5               # the same where the length of a block is given
LEAST_RATIO = 1.1
CUT_RATIO, CUT_LEVELS = 4.0, 6.0
SAME_LEVELS = 0.05              # change below which a picture repeats the one before
QUIET_SHARE = 0.1               # of the cells: what hardly moves
CELLS = 24                      # along the shorter side


@dataclass(frozen=True)
class Seams:
    """Describe where a video jumps at regular distances."""

    period: int                 # pictures; 0: none found
    first: int                  # the first picture that begins a block
    ratio: float                # change there against the pictures around; 1 is no seam
    clarity: float              # standard deviations above what chance gives
    at_key_frames: bool         # the codec's key frames lie there: it may be the codec

    @property
    def found(self) -> bool:
        """Say whether there are seams at all."""
        return self.period > 0


def luminance_of(pictures: Tensor) -> Tensor:
    """Convert pictures (T, h, w, 3) uint8 -> luminance (T, h, w), levels of 255"""
    return torch.cat([grey(part) for part in pictures.split(128)])


def changes_of(pictures: Tensor) -> Tensor:
    """Return the mean absolute change from each picture to the next, levels of 255: (T, h, w, 3) uint8 -> (T - 1,)."""
    parts = [pictures[at:at + 129].short().diff(dim=0).abs().float().mean((1, 2, 3))
             for at in range(0, len(pictures) - 1, 128)]
    return torch.cat(parts) if parts else torch.zeros(0)


def prominence(changes: Tensor) -> Tensor:
    """Return the logarithm of each change against the median of those around it: (T - 1,), 0 is as around."""
    if len(changes) < 2 * AROUND + 1:
        return torch.zeros_like(changes)
    held = F.pad(changes[None, None], (AROUND, AROUND), mode="reflect")[0, 0]
    near = held.unfold(0, 2 * AROUND + 1, 1)
    others = torch.cat([near[:, :AROUND], near[:, AROUND + 1:]], 1).median(1).values
    return ((changes + SAME_LEVELS) / (others + SAME_LEVELS)).log()


def find_seams(changes: Tensor, key: Tensor, block_frames: int | None = None) -> Seams:
    """Look for changes that stand out at regular distances.

    changes (T - 1,), key (T,) bool key frames; block_frames: the distance where it is known, else all are tried
    """
    excess = prominence(changes).clamp(-1.5, 1.5)
    count = len(excess)
    most = min(LONGEST_BLOCK, count // LEAST_SEAMS)
    periods = [block_frames] if block_frames else range(2, most + 1)
    best = (0.0, 0, 0)
    middle, spread = excess.mean(), excess.std().clamp(min=1e-6)
    for period in periods:
        if count < period * (2 if block_frames else LEAST_SEAMS):
            continue
        rows = F.pad(excess - middle, (0, -count % period)).view(-1, period)
        members = torch.div(count - 1 - torch.arange(period), period, rounding_mode="floor") + 1
        clarity = rows.sum(0) / members.sqrt() / spread
        if clarity.max() > best[0]:
            best = (float(clarity.max()), period, int(clarity.argmax()))
    clarity, period, phase = best
    if not period:
        return Seams(0, 0, math.nan, 0.0, False)
    ratio = float(excess[phase::period].mean().exp())
    first = phase + 1                                                     # the change leads to the next picture
    keyed = float(key[first::period].float().mean()) > 0.8 and float(key.float().mean()) < 0.5
    clear = clarity >= (GIVEN_CLEAR if block_frames else CLEAR) and ratio >= LEAST_RATIO
    return Seams(period if clear or block_frames else 0, first, ratio, clarity, keyed)


def cuts_of(changes: Tensor) -> Tensor:
    """Return the numbers of the pictures that show something else at once: (K,)"""
    stands_out = (prominence(changes) > math.log(CUT_RATIO)) & (changes > CUT_LEVELS)
    return stands_out.nonzero()[:, 0] + 1


def repeated_share(changes: Tensor) -> float:
    """Return the share of pictures that repeat the one before; NaN of a single picture."""
    return float((changes < SAME_LEVELS).float().mean()) if len(changes) else math.nan


def unrest_of(brightness: Tensor) -> float:
    """Return how much the quietest parts change from picture to picture, levels of 255.

    brightness (T, h, w). Cells, 24 along the shorter side; of the tenth that changes least, the mean absolute change.
    """
    side = max(1, min(brightness.shape[1:]) // CELLS)
    cells = F.avg_pool2d(brightness[:, None], side).flatten(1)            # (T, cells)
    change = cells.diff(dim=0).abs().mean(0)
    quiet = max(1, round(QUIET_SHARE * len(change)))
    return float(change.topk(quiet, largest=False).values.mean())


def lab_of(colours: Tensor) -> Tensor:
    """Convert sRGB (..., 3) of 0..255 to CIE L*a*b*, D65 (IEC 61966-2-1, CIE 15)."""
    value = colours.double() / 255
    linear = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                           [0.0193339, 0.1191920, 0.9503041]], dtype=torch.float64)
    xyz = linear @ to_xyz.T / to_xyz.sum(1)
    bent = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def slope_per_minute(times_s: Tensor, values: Tensor) -> float:
    """Return the least-squares slope of values (T,) over times (T,) s, a minute."""
    known = ~values.isnan()
    if int(known.sum()) < 3:
        return math.nan
    times, values = times_s[known].double(), values[known].double()
    centred = times - times.mean()
    return float(60 * (centred @ values) / centred.square().sum().clamp(min=1e-9))


def ends_of(times_s: Tensor, values: Tensor, length_s: float) -> tuple[Tensor, Tensor]:
    """Return the means of values (T,) or (T, C) over the first and the last length_s."""
    first, last = times_s < length_s, times_s >= times_s[-1] - length_s
    return values[first].nanmean(0), values[last].nanmean(0)
