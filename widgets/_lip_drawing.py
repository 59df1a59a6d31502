"""What the lip view draws: numbers for its page, and its still picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.audio import RATE_HZ
from liveavatar.metrics.lips import ACCEPTABLE_MS, DETECTABLE_MS, REACH_MS, SHAPES, OffsetCurve, PhonemeReport
from liveavatar.speech import viseme_of
from liveavatar.types import Phoneme
from widgets._live import Body
from widgets._mouth import Lips

if TYPE_CHECKING:
    from PIL.Image import Image


PEAKS_HZ = 400               # of the drawn wave
WEAK = 0.3                   # a peak below it says little


def shape_of(phoneme: Phoneme) -> int:
    """Return index into SHAPES of what the mouth does; -1: silence, -2: no shape of its own."""
    viseme = viseme_of(phoneme.symbol)[0]
    if viseme == "sil":
        return -1
    return next((index for index, visemes in enumerate(SHAPES.values()) if viseme in visemes), -2)


def peaks_of(wave: np.ndarray, rate_hz: int) -> bytes:
    """Return lowest and highest sample of each 1/400 s, as signed bytes; the loudest sample is 127."""
    size = max(rate_hz // PEAKS_HZ, 1)
    count = max(math.ceil(len(wave) / size), 1)
    pieces = np.pad(wave, (0, count * size - len(wave))).reshape(count, size)
    most = max(float(np.abs(wave).max(initial=0)), 1e-6)
    both = np.stack([pieces.min(1), pieces.max(1)], 1) / most * 127
    return both.round().astype(np.int8).tobytes()


def resampled(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resample to the rate that mel is made of."""
    if rate_hz == RATE_HZ:
        return wave
    import soxr

    return soxr.resample(wave, rate_hz, RATE_HZ).astype(np.float32)


def curve_of(curve: OffsetCurve) -> Body:
    """Return an offset curve in JSON."""
    if not curve.applies:
        return {"lags_ms": [-REACH_MS, REACH_MS], "correlation": [], "best_ms": None, "peak": None,
                "reason": curve.reason}
    return {"lags_ms": curve.lags_ms.tolist(), "correlation": curve.correlation.tolist(), "best_ms": curve.best_ms,
            "peak": curve.peak, "reason": ""}


def checks_of(report: PhonemeReport | None) -> list:
    """Return [name, of how many, share, share that can be reached]"""
    checks = report.checks if report is not None else ()
    return [[check.name, check.of, check.share, check.reachable] for check in checks if check.of]


def verdict_of(curve: OffsetCurve) -> str:
    """Return what people would say of a delay."""
    if not curve.applies:
        return curve.reason
    if curve.peak < WEAK:
        return "they agree too little to tell"
    if DETECTABLE_MS[0] <= curve.best_ms <= DETECTABLE_MS[1]:
        return "people do not notice"
    if ACCEPTABLE_MS[0] <= curve.best_ms <= ACCEPTABLE_MS[1]:
        return "people notice, few mind"
    return "people mind"


def enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge (h, w, 3) to (H, W, 3) uint8"""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))


def lips_picture(lips: Lips, fps: float) -> Image:
    """Draw loudness, mouth and what was expected: for a saved notebook."""
    from liveavatar.web.palette import BLUE, ORANGE
    from widgets._stills import INK, SOFT, letters, sheet

    width, left, top, tall = 900, 14, 56, 150
    page, pen = sheet(width, top + tall + 56, "Lips against sound")
    T = len(lips.opening)

    def line(values: np.ndarray, colour: str, thick: int) -> None:
        points = [(left + frame / T * (width - 2 * left), top + tall - value * tall)
                  for frame, value in enumerate(values) if not np.isnan(value)]
        if len(points) > 1:
            pen.line(points, colour, thick)

    line(lips.loudness, "#d0d7de", 1)
    line(lips.expected, ORANGE, 2)
    line(lips.opening, BLUE, 3)
    pen.line((left, top + tall, width - left, top + tall), SOFT)
    curve = lips.curve
    words = f"lips {curve.best_ms:+.0f} ms (correlation {curve.peak:.2f}): {verdict_of(curve)}" if curve.applies else (
        curve.reason)
    pen.text((left, top + tall + 10), words, INK, letters(13))
    pen.text((left, top + tall + 32), "blue: opening of the mouth, read off the video. orange: expected from the "
             f"{lips.against}. grey: loudness. 0 to {T / fps:.2f} s", SOFT, letters(11))
    return page
