"""Alignment without ground truth: the opening of the mouth against the loudness of the sound, for any recording.

    opening (T,), wave --align--> how late the lips are, and how sure that is

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

from liveavatar.metrics.lips import DETECTABLE_MS, REACH_MS, OffsetCurve, OffsetTrack, offset_curve, offset_track
from liveavatar.types import Speech

if TYPE_CHECKING:
    from liveavatar.metrics.lips import Curve

VOWELS_HZ = (300.0, 2500.0)
SMOOTHING_S = 0.02
BIAS_MS = 1.0               # what the delay of true openings reads
SPREAD_MS = 10.0            # standard deviation of it over pieces of CALIBRATED_S or more
CALIBRATED_S = 3.0
LEAST_PEAK = 0.4            # true openings reach 0.57 to 0.8; below this the delay is a guess


@dataclass(frozen=True)
class Alignment:
    """How late the lips are, from the sound alone."""

    late_ms: float           # positive: the lips are late; the bias is taken off. NaN when it does not apply
    spread_ms: float         # standard deviation of late_ms on true videos of this length
    peak: float              # correlation there; 0.7 is usual for true videos
    noticeable: bool         # whether people notice such a delay (ITU-R BT.1359-1: 125 ms early, 45 ms late)
    curve: OffsetCurve       # the bias is taken off its best_ms, not off its lags
    track: OffsetTrack       # through time
    applies: bool = True
    reason: str = ""


def vowel_envelope(speech: Speech, frames: int, fps: float = 25.0) -> Tensor:
    """Loudness between 300 and 2500 Hz in the middle of each video frame: (frames,) 0..1, square root of the amplitude.

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
    if not curve.applies:
        return Alignment(math.nan, math.nan, curve.peak, False, curve, track, False, curve.reason)
    late_ms = curve.best_ms - BIAS_MS
    spread_ms = SPREAD_MS * max(CALIBRATED_S * fps / len(envelope), 1.0)
    early, late = DETECTABLE_MS
    curve = replace(curve, best_ms=late_ms)
    return Alignment(late_ms, spread_ms, curve.peak, not early <= late_ms <= late, curve, track)
