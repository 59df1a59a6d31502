"""Alignment without ground truth: the opening of the mouth against the loudness of the sound, for any recording.

    opening (T,), wave --align----------> how late the lips are, and how sure that is
    frames, wave       --align_pictures-> the same for faces that the regressor cannot read: no face model at all

Mouths open for what sounds between 300 and 2500 Hz: vowels. Their loudness rises and falls with the opening, but is
not the opening (nasals sound with closed lips, "s" with narrow ones), so the peak of the curve stays below 1: 0.7 for
perfect videos. Its place was calibrated on true openings of eleven synthetic voices (benchmarks/lip_calibration.py):
over pieces of 3 s or more the bias is BIAS_MS, the standard deviation SPREAD_MS, and nine of ten read within +-27 ms.
Real faces are
another matter: in real speech the mouth leads the sound by up to 200 ms and follows it by up to 40 ms (Schwartz and
Savariaux 2014, PLoS Comput Biol 10:e1003743), so between real videos compare differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.metrics.lips import (
    DETECTABLE_MS,
    REACH_MS,
    OffsetCurve,
    OffsetTrack,
    offset_curve,
    offset_track,
    spline_peak,
)
from liveavatar.metrics.reader import LUMINANCE, as_frames
from liveavatar.types import Speech

if TYPE_CHECKING:
    from liveavatar.metrics.lips import Curve

VOWELS_HZ = (300.0, 2500.0)
SMOOTHING_S = 0.02
BIAS_MS = 1.0               # what the delay of true openings reads
SPREAD_MS = 10.0            # standard deviation of it over pieces of CALIBRATED_S or more
CALIBRATED_S = 3.0
CELLS = 24                  # the shorter side of a picture in cells, where no opening is known
BEST_CELLS = 0.01           # share of the cells that are listened to
SLOW_S = 0.6                # changes slower than this are left out: light, posture
LEAST_CONTRAST = 1.35       # of the peak against the median of the curve: right sound has 1.4 to 1.8, wrong 1.1 to 1.3
LEAST_PEAK = 0.4            # true openings reach 0.57 to 0.8; below this the delay is a guess


@dataclass(frozen=True)
class Alignment:
    """Describe how late the lips are, from the sound alone."""

    late_ms: float           # positive: the lips are late; the bias is taken off. NaN when it does not apply
    spread_ms: float         # standard deviation of late_ms on true videos of this length
    peak: float              # correlation there; 0.7 is usual for true videos
    noticeable: bool         # whether people notice such a delay (ITU-R BT.1359-1: 125 ms early, 45 ms late)
    curve: OffsetCurve       # the bias is taken off its best_ms, not off its lags
    track: OffsetTrack       # through time
    applies: bool = True
    reason: str = ""


def vowel_envelope(speech: Speech, frames: int, fps: float = 25.0) -> Tensor:
    """Return the loudness between 300 and 2500 Hz in the middle of each video frame: (frames,) 0..1, square root of the
    amplitude.

    Filtered forwards and backwards, so that it has no delay of its own; past the end of the sound it is 0.
    """
    from scipy.signal import butter, sosfiltfilt

    wave = np.asarray(speech.wave, np.float64)
    hop = round(0.01 * speech.rate_hz)
    if len(wave) < 10 * hop:
        return torch.zeros(frames)
    vowels = sosfiltfilt(butter(4, VOWELS_HZ, "bandpass", fs=speech.rate_hz, output="sos"), wave)
    power = np.square(np.pad(vowels, (0, -len(vowels) % hop))).reshape(-1, hop).mean(1)         # 100 a second
    loudness = power ** 0.25
    loudness = loudness / max(loudness.max(), 1e-10)
    reach = math.ceil(4 * SMOOTHING_S * 100)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 100 / SMOOTHING_S) ** 2)
    smooth = np.convolve(np.pad(loudness, reach), kernel / kernel.sum(), "valid")
    middle_s = (np.arange(frames) + 0.5) / fps
    envelope = np.interp(middle_s, (np.arange(len(smooth)) + 0.5) * hop / speech.rate_hz, smooth, right=0.0)
    return torch.from_numpy(envelope.astype(np.float32))


def align(opening: Curve, speech: Speech, fps: float = 25.0, reach_ms: float = REACH_MS) -> Alignment:
    """Find how late the lips are without knowing what they should do.

    opening (T,) one value for each video frame (`mouth_opening`, or any curve that grows with the opening of a mouth)
    """
    envelope = vowel_envelope(speech, len(opening), fps)
    curve, track = offset_curve(opening, envelope, fps, reach_ms), offset_track(opening, envelope, fps)
    if curve.applies and curve.peak < LEAST_PEAK:
        curve = replace(curve, applies=False, best_ms=math.nan, reason=f"mouth and sound hardly agree: the peak is "
                        f"{curve.peak:.2f}, and {LEAST_PEAK} is the least that tells anything")
    return _judged(curve, track, len(envelope), fps)


def no_alignment(reason: str, frames: int, fps: float = 25.0) -> Alignment:
    """Return the result of what does not apply, with its reason."""
    none = torch.full((1,), math.nan)
    curve = OffsetCurve(none, none, math.nan, math.nan, fps, False, reason)
    return _judged(curve, OffsetTrack(*[torch.empty(0)] * 4, False, reason), frames, fps)


def _judged(curve: OffsetCurve, track: OffsetTrack, T: int, fps: float) -> Alignment:
    if not curve.applies:
        return Alignment(math.nan, math.nan, curve.peak, False, curve, track, False, curve.reason)
    late_ms = curve.best_ms - BIAS_MS
    spread_ms = SPREAD_MS * max(CALIBRATED_S * fps / T, 1.0)
    early, late = DETECTABLE_MS
    curve = replace(curve, best_ms=late_ms)
    return Alignment(late_ms, spread_ms, curve.peak, not early <= late_ms <= late, curve, track)


def align_pictures(frames: Tensor | np.ndarray, speech: Speech, fps: float = 25.0,
                   reach_ms: float = REACH_MS) -> Alignment:
    """Find how late the lips are in any video, without knowing where they are.

    frames (T, H, W, 3) uint8. Mouths are the parts of a picture that darken and brighten with the vowels. Every picture
    is averaged into cells, 24 along its shorter side; each cell's brightness is compared with the loudness at every
    delay; at each delay the hundredth of the cells that agree best, in either sign, is what the curve shows (root mean
    square of their correlations). So the curve is never near 0: what tells is how far its peak stands out. On true
    videos of avatars it finds planted delays within 15 ms, and refuses the sound of other videos. Whatever else moves
    with the voice, nods and hands, pulls it towards its own delay.
    """
    frames = as_frames(frames)
    T, reach = len(frames), round(reach_ms / 1000 * fps)
    envelope = vowel_envelope(speech, T, fps)
    lags_ms = torch.arange(-reach, reach + 1) * 1000 / fps
    nowhere = OffsetTrack(*[torch.empty(0)] * 4, False, "no place in the picture goes with the sound")

    def refused(reason: str, correlation: Tensor | None = None, peak: float = math.nan) -> Alignment:
        shown = torch.full((2 * reach + 1,), math.nan) if correlation is None else correlation.float()
        return _judged(OffsetCurve(lags_ms, shown, math.nan, peak, fps, False, reason), nowhere, T, fps)

    if T < 2 * reach + 3:
        return refused(f"{T} frames are too few to look {reach} frames around: {2 * reach + 3} are needed")
    cells, loudness = quick(brightness(frames), fps), quick(envelope[None], fps)[0]
    cells = cells[cells.std(1) > 0.3]                                   # levels of 255: the others only hold noise
    if not len(cells) or loudness.std() < 1e-4:
        return refused("the pictures do not change" if not len(cells) else "the sound does not change")
    agreement = torch.stack([correlations(cells, loudness, d) for d in range(-reach, reach + 1)])       # (L, cells)
    count = max(4, round(BEST_CELLS * CELLS ** 2))
    curve = agreement.square().topk(min(count, len(cells)), 1).values.mean(1).sqrt()
    place, peak = spline_peak(curve)
    if not 0 < place < 2 * reach or peak < LEAST_CONTRAST * curve.median():
        return refused("no place in the picture goes with the sound at one delay rather than at others", curve, peak)
    there = agreement[round(place)]
    chosen = there.abs().topk(min(count, len(cells))).indices
    opening = (cells[chosen] * there[chosen].sign()[:, None]).mean(0)
    found = OffsetCurve(lags_ms, curve.float(), (place - reach) * 1000 / fps, peak, fps)
    return _judged(found, offset_track(opening, loudness, fps), T, fps)


def brightness(frames: Tensor) -> Tensor:
    """Measure (T, H, W, 3) uint8 -> (cells, T) mean luminance of the cells, levels of 255"""
    side = max(1, min(frames.shape[1:3]) // CELLS)
    pieces = [torch.nn.functional.avg_pool2d((piece.float() @ torch.tensor(LUMINANCE))[:, None], side)
              for piece in frames.split(64)]
    return torch.cat(pieces).flatten(1).T


def quick(curves: Tensor, fps: float) -> Tensor:
    """Return curves (N, T) without what changes more slowly than SLOW_S; float64"""
    half = round(SLOW_S * fps / 2)
    held = torch.nn.functional.pad(curves.double()[:, None], (half, half), mode="replicate")
    return curves - torch.nn.functional.avg_pool1d(held, 2 * half + 1, 1)[:, 0]


def correlations(cells: Tensor, loudness: Tensor, d: int) -> Tensor:
    """Return the Pearson correlation of every cell (N, T), d frames late, with the loudness (T,): (N,)"""
    T = len(loudness)
    late, heard = cells[:, max(d, 0):T + min(d, 0)], loudness[max(-d, 0):T - max(d, 0)]
    late, heard = late - late.mean(1, keepdim=True), heard - heard.mean()
    return (late @ heard) / (late.square().sum(1) * heard.square().sum()).sqrt().clamp(min=1e-9)
