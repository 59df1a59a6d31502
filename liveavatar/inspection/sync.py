"""Lips against sound in any video: the delay with its curve, its drift, its jumps, and how sure each of them is.

    opening, speech  --sync_of-->  Sync

Both curves are brought to RATE_HZ. Products of the mouth, moved by every delay, with the loudness of the vowels are
summed over short segments; every question is answered from this table (segments x delays): the correlation of the
whole, of a window, or of everything along a delay that drifts and jumps. Leaving out one part after the other
(jackknife, Quenouille 1956) tells how far the delay depends on single moments. A drift or a jump is believed when it
explains so much more that chance would not (Schwarz 1978: the gain in likelihood against the number of parameters).

Sign: positive = the lips are late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from liveavatar.metrics.alignment import BIAS_MS, SPREAD_MS, vowel_envelope
from liveavatar.metrics.lips import OffsetCurve, spline_peak
from liveavatar.types import Speech

RATE_HZ = 100.0
SEGMENT_S = 0.5
WINDOW_S, HOP_S = 4.0, 1.0          # of the course over time
FOLD_S = 2.0                        # of what the jackknife leaves out at a time
SHORTEST_S = 2.0                    # of video in which a delay is looked for
SHORT_REACH_S, LONG_REACH_S = 0.4, 1.0
LONG_S = 15.0                       # of video from which on delays up to LONG_REACH_S are looked for
SLOW_S = 1.0                        # changes slower than this are left out: posture, distance, loudness of a sentence
SMOOTH_S = 0.03                     # sigma: pictures that are shown for different times become alike
INDEPENDENT_HZ = 6.0                # independent values a second of what the loudness does not explain
LEAST_PEAK = 0.32                   # of a delay that is named
LEAST_WINDOW_PEAK = 0.4             # the same, of a window of 4 s
DRIFT_RANGE_MS = 600.0              # a minute, either way
MOST_DRIFT_IN_ALL_MS = 1500.0       # over the whole video
DRIFT_STEPS = 40                    # of the search, on either side
LEAST_DRIFT_S = 10.0                # of video in which a drift is looked for
LEAST_PIECE_S = 2.0                 # between two jumps
LEAST_JUMP_MS = 40.0
JUMP_EVIDENCE = 8.0                 # gain in log likelihood that a jump must bring; 40 videos without gave 5.6 at most
DRIFT_EVIDENCE = 5.0                # the same of a drift; 3.1 at most
JUMP_COST, DRIFT_COST = 4.0, 4.0    # in log likelihood, where both are believed and one must be chosen
SEEN = 3.0                          # fall of the log likelihood over which its curvature is read
MOST_SPREAD_MS = 80.0               # of a delay that is named, unless its correlation is SURE_PEAK or more
SURE_PEAK = 0.45


@dataclass(frozen=True)
class Jump:
    """A moment at which the delay changes at once."""

    time_s: float
    by_ms: float                # positive: the lips are later from then on
    evidence: float             # gain in log likelihood


@dataclass(frozen=True)
class Sync:
    """Describe how lips and sound go together."""

    curve: OffsetCurve          # of the whole video; of the longest piece between jumps, in its middle if it drifts
    offset_ms: float            # its peak. Positive: the lips are late; NaN where it cannot be told
    uncertainty_ms: float       # standard deviation
    time_s: Tensor              # (W,) middle of each window
    window_ms: Tensor           # (W,) delay there, NaN where mouth and sound do not agree
    window_peak: Tensor         # (W,) correlation there
    drift_ms_per_minute: float  # positive: the lips fall behind; NaN where the video is too short
    drift_uncertainty: float    # standard deviation, ms a minute
    drifts: bool                # whether the drift is more than chance
    jumps: tuple[Jump, ...]
    reason: str = ""            # why there is no delay

    @property
    def applies(self) -> bool:
        """Say whether a delay was found."""
        return not self.reason


def sync_of(opening: Tensor, known: Tensor, speech: Speech) -> Sync:
    """Find how late the lips are, and whether that changes.

    opening (N,) of the mouth at RATE_HZ, in the middle of each step; known (N,) bool: where it was read; speech: heard
    from the same moment on
    """
    length_s = len(opening) / RATE_HZ
    reach = round(RATE_HZ * (LONG_REACH_S if length_s >= LONG_S else SHORT_REACH_S))
    envelope = vowel_envelope(speech, len(opening), RATE_HZ).double()
    if length_s < SHORTEST_S:
        return unknown(f"{length_s:.1f} s are too short to tell a delay; {SHORTEST_S:g} s are needed", reach)
    if envelope.std() < 1e-4:
        return unknown("the sound does not change", reach)
    if opening.isnan().any() or opening.std() < 1e-3:
        return unknown("the mouth does not move", reach)
    table = Products.of(band_pass(opening), band_pass(envelope), known, reach)
    course = best_course(table)
    steady = table.along(course)
    curve = steady.correlation()
    place, peak = spline_peak(curve)
    delay_ms = (place - reach) * 1000 / RATE_HZ - BIAS_MS
    spread = math.hypot(jackknife(steady), SPREAD_MS * max(1.0, 3.0 / steady.length_s))
    disagree = peak < LEAST_PEAK or not 0 < place < 2 * reach or (spread > MOST_SPREAD_MS and peak < SURE_PEAK)
    reason = f"mouth and sound hardly agree: the correlation is {peak:.2f} at best" if disagree else ""
    found = OffsetCurve(table.lags_ms, curve.float(), math.nan if disagree else delay_ms, peak, RATE_HZ, not disagree,
                        reason)
    times_s, delays, peaks = windows(table)
    if disagree:
        return Sync(found, math.nan, math.nan, times_s, delays, peaks, math.nan, math.nan, False, (), reason)
    drift = (course.drift, course.uncertainty) if length_s >= LEAST_DRIFT_S else (math.nan, math.nan)
    jumps = tuple(Jump(float(table.starts_s[at]), by_ms, gain) for at, by_ms, gain in course.jumps)
    return Sync(found, delay_ms, spread, times_s, delays, peaks, *drift, course.drifts, jumps)


def unknown(reason: str, reach: int = round(RATE_HZ * SHORT_REACH_S)) -> Sync:
    """Return the result where nothing can be told, with its reason."""
    lags_ms, none = torch.arange(-reach, reach + 1) * 1000 / RATE_HZ, torch.empty(0)
    curve = OffsetCurve(lags_ms, torch.full((2 * reach + 1,), math.nan), math.nan, math.nan, RATE_HZ, False, reason)
    return Sync(curve, math.nan, math.nan, none, none, none, math.nan, math.nan, False, (), reason)


def band_pass(curve: Tensor) -> Tensor:
    """Take out of a curve (N,) what changes more slowly than SLOW_S or faster than SMOOTH_S; its spread becomes 1."""
    from scipy.ndimage import gaussian_filter1d

    values = gaussian_filter1d(curve.double().numpy(), SMOOTH_S * RATE_HZ, mode="nearest")
    fast = torch.from_numpy(values - gaussian_filter1d(values, SLOW_S / 2 * RATE_HZ, mode="nearest"))
    return fast / fast.std().clamp(min=1e-9)


# ------------------------------------------------------------------------------------------------- the table

@dataclass(frozen=True)
class Products:
    """Sums over S segments of the sound, at L delays."""

    products: Tensor            # (S, L) of mouth and loudness
    mouth: Tensor               # (S, L) of the mouth with itself
    sound: Tensor               # (S, L) of the loudness with itself, where the mouth is known
    starts_s: Tensor            # (S,)
    length_s: float

    @classmethod
    def of(cls, mouth: Tensor, sound: Tensor, known: Tensor, reach: int) -> Products:
        """Sum products. mouth, sound (N,) at RATE_HZ; known (N,) bool; reach: most delay in steps"""
        count, size = len(mouth), round(SEGMENT_S * RATE_HZ)
        weight = known.double()
        held = torch.nn.functional.pad(torch.stack([mouth * weight, weight]), (reach, reach))
        segments = math.ceil(count / size)
        filled = torch.nn.functional.pad(sound, (0, segments * size - count))
        tables = torch.empty(3, segments, 2 * reach + 1, dtype=torch.float64)
        for delay in range(2 * reach + 1):
            moved, seen = (torch.nn.functional.pad(one[delay:delay + count], (0, segments * size - count))
                           for one in held)
            for table, values in zip(tables, (moved * filled, moved.square(), filled.square() * seen), strict=True):
                table[:, delay] = values.view(segments, size).sum(1)
        return cls(*tables, torch.arange(segments) * SEGMENT_S, count / RATE_HZ)

    @cached_property
    def smooth(self) -> np.ndarray:
        """Compute (S, L) coefficients of cubic splines through the products."""
        from scipy.ndimage import spline_filter1d

        return spline_filter1d(self.products.numpy(), order=3, axis=1, mode="mirror")

    @property
    def lags_ms(self) -> Tensor:
        """Return (L,) the delays."""
        reach = self.products.shape[1] // 2
        return torch.arange(-reach, reach + 1) * 1000 / RATE_HZ

    def along(self, course: Course) -> Products:
        """Return the longest piece between the jumps of a course, with its drift taken out."""
        cuts = [0, *(at for at, *_ in course.jumps), len(self.starts_s)]
        first, last = max(pairwise(cuts), key=lambda ends: ends[1] - ends[0])
        rows = slice(first, last)
        products = without_drift(self, course.drift if course.drifts else 0.0)[rows]
        length_s = min(last * SEGMENT_S, self.length_s) - first * SEGMENT_S
        return Products(products, self.mouth[rows], self.sound[rows], self.starts_s[rows], length_s)

    def correlation(self, weights: Tensor | None = None) -> Tensor:
        """Return the correlation at each delay (L,), of all segments or with weights (S,), or (K, S) -> (K, L)."""
        weights = torch.ones(len(self.starts_s), dtype=torch.float64) if weights is None else weights
        sums = [weights @ table for table in (self.products, self.mouth, self.sound)]
        return sums[0] / (sums[1] * sums[2]).sqrt().clamp(min=1e-9)


def jackknife(table: Products) -> float:
    """Return the standard deviation of the delay, ms, from leaving out one part after the other, FOLD_S or a sixth."""
    fold_s = max(SEGMENT_S, min(FOLD_S, table.length_s / 6))
    fold = ((table.starts_s - table.starts_s[0]) / fold_s).long()
    folds = int(fold.max()) + 1
    if folds < 3:
        return 0.0
    kept = (fold[None] != torch.arange(folds)[:, None]).double()
    places = torch.tensor([spline_peak(curve)[0] for curve in table.correlation(kept)], dtype=torch.float64)
    return float(((folds - 1) * places.var(correction=0)).sqrt() * 1000 / RATE_HZ)


def windows(table: Products) -> tuple[Tensor, Tensor, Tensor]:
    """Return middle, s, delay, ms, and correlation of windows of WINDOW_S: (W,) each."""
    width, hop = round(WINDOW_S / SEGMENT_S), round(HOP_S / SEGMENT_S)
    first = torch.arange(0, max(len(table.starts_s) - width, 0) + 1, hop)
    number = torch.arange(len(table.starts_s))
    inside = (number >= first[:, None]) & (number < first[:, None] + width)
    found = [spline_peak(curve) for curve in table.correlation(inside.double())]
    reach = table.products.shape[1] // 2
    delays = torch.tensor([(place - reach) * 1000 / RATE_HZ - BIAS_MS if peak >= LEAST_WINDOW_PEAK
                           and 0 < place < 2 * reach else math.nan for place, peak in found])
    middle_s = (first * SEGMENT_S + torch.clamp((first + width) * SEGMENT_S, max=table.length_s)) / 2
    return middle_s, delays, torch.tensor([peak for _, peak in found])


# ------------------------------------------------------------------------------------------------- drift and jumps

@dataclass(frozen=True)
class Course:
    """Describe how the delay goes through the video: pieces between jumps, one slope."""

    drift: float                # ms a minute
    uncertainty: float
    drifts: bool
    jumps: tuple[tuple[int, float, float], ...]     # segment that begins it, ms, gain in log likelihood


def best_course(table: Products) -> Course:
    """Choose among a constant delay, a drift, jumps, and both."""
    energy = float((table.mouth.sum(0).max() * table.sound.sum(0).max()).sqrt())
    values = INDEPENDENT_HZ * table.length_s
    drift_alone = fit_drift(table, (), energy, values)[0]
    candidates = []
    for cuts in {(), find_jumps(table, 0.0, energy, values), find_jumps(table, drift_alone, energy, values)}:
        slope, uncertainty = fit_drift(table, cuts, energy, values)
        still, moving = (likelihood(path_score(table, cuts, one), energy, values) for one in (0.0, slope))
        drifts = (moving - still >= DRIFT_EVIDENCE and table.length_s >= LEAST_DRIFT_S
                  and abs(slope) < 0.99 * DRIFT_RANGE_MS)
        rank = (moving if drifts else still) - JUMP_COST * len(cuts) - DRIFT_COST * drifts
        candidates.append((rank, -len(cuts), cuts, slope, uncertainty, drifts))
    _, _, cuts, slope, uncertainty, drifts = max(candidates)
    jumps = describe_jumps(table, cuts, slope if drifts else 0.0, energy, values)
    return Course(slope, uncertainty, drifts, jumps)


def likelihood(score: float, energy: float, values: float) -> float:
    """Return the log likelihood of a fit with this sum of products, against no connection at all."""
    correlation = min(max(score / energy, 0.0), 0.999)
    return -values / 2 * math.log(1 - correlation ** 2)


def without_drift(table: Products, slope: float) -> Tensor:
    """Move products (S, L) so that a drift of `slope` ms a minute becomes a constant delay; cubic between steps."""
    if not slope:
        return table.products
    from scipy.ndimage import map_coordinates

    minutes = (table.starts_s + SEGMENT_S / 2 - table.length_s / 2) / 60
    move = (minutes * slope * RATE_HZ / 1000).numpy()                    # (S,) steps
    S, L = table.products.shape
    rows, places = np.meshgrid(np.arange(S), np.arange(L), indexing="ij")
    moved = map_coordinates(table.smooth, [rows, places + move[:, None]], order=3, prefilter=False, mode="constant")
    return torch.from_numpy(moved)


def path_score(table: Products, cuts: tuple[int, ...], slope: float) -> float:
    """Return the sum of products along the best delays of the pieces between cuts."""
    products = without_drift(table, slope)
    return sum(float(products[first:last].sum(0).max()) for first, last in pairwise([0, *cuts, len(products)]))


def fit_drift(table: Products, cuts: tuple[int, ...], energy: float, values: float) -> tuple[float, float]:
    """Return the slope that explains most, ms a minute, and its standard deviation.

    Both from a parabola through the log likelihoods within SEEN of the highest.
    """
    most = min(DRIFT_RANGE_MS, MOST_DRIFT_IN_ALL_MS * 60 / table.length_s)
    slopes = np.linspace(-most, most, 2 * DRIFT_STEPS + 1)
    for _ in range(2):
        found = np.array([likelihood(path_score(table, cuts, slope), energy, values) for slope in slopes])
        best = int(found.argmax())
        near = np.flatnonzero(found < found[best] - SEEN) - best
        low, high = best + max(near[near < 0], default=-best - 1) + 1, best + min(near[near > 0], default=len(found))
        if high - low >= 7:
            break
        slopes = np.linspace(slopes[max(best - 3, 0)], slopes[min(best + 3, len(slopes) - 1)], 2 * DRIFT_STEPS + 1)
    low, high = max(min(low, best - 2), 0), min(max(high, best + 3), len(slopes))
    curve, middle, _ = np.polyfit(slopes[low:high] - slopes[best], found[low:high], 2)
    if curve >= 0:
        return float(slopes[best]), math.inf
    at = float(np.clip(slopes[best] - middle / (2 * curve), slopes[low], slopes[high - 1]))
    return at, 1 / math.sqrt(-2 * curve)


def find_jumps(table: Products, slope: float, energy: float, values: float) -> tuple[int, ...]:
    """Cut where two delays explain enough more than one, again and again (binary segmentation)."""
    products, least = without_drift(table, slope), round(LEAST_PIECE_S / SEGMENT_S)
    cuts: list[int] = []
    while True:
        score = sum(float(products[a:b].sum(0).max()) for a, b in pairwise([0, *cuts, len(products)]))
        best = max(((*best_cut(products[a:b], least), a) for a, b in pairwise([0, *cuts, len(products)])),
                   key=lambda one: one[0])
        gain = likelihood(score + best[0], energy, values) - likelihood(score, energy, values)
        if gain < JUMP_EVIDENCE or best[1] == 0:
            return tuple(cuts)
        cuts = sorted([*cuts, best[1] + best[2]])


def best_cut(products: Tensor, least: int) -> tuple[float, int]:
    """Return the gain in score of the best cut, and before which row it lies; products (S, L)."""
    if len(products) < 2 * least:
        return 0.0, 0
    before = products.cumsum(0)
    after = before[-1] - before
    score = before.amax(1) + after.amax(1)                                # cut after each row
    apart = (before.argmax(1) - after.argmax(1)).abs() * 1000 / RATE_HZ >= LEAST_JUMP_MS
    score = torch.where(apart, score, -math.inf)
    score[:least - 1] = score[len(score) - least:] = -math.inf
    at = int(score.argmax())
    if not math.isfinite(score[at]):
        return 0.0, 0
    return float(score[at] - before[-1].max()), at + 1


def describe_jumps(table: Products, cuts: tuple[int, ...], slope: float, energy: float, values: float
                   ) -> tuple[tuple[int, float, float], ...]:
    """Return each jump with its height in ms and the likelihood it brings."""
    products = without_drift(table, slope)
    pieces = list(pairwise([0, *cuts, len(products)]))
    places = [spline_peak(products[first:last].sum(0))[0] for first, last in pieces]
    whole = likelihood(path_score(table, cuts, slope), energy, values)
    jumps = []
    for number, cut in enumerate(cuts):
        without = tuple(one for one in cuts if one != cut)
        gain = whole - likelihood(path_score(table, without, slope), energy, values)
        jumps.append((cut, (places[number + 1] - places[number]) * 1000 / RATE_HZ, gain))
    return tuple(jumps)
