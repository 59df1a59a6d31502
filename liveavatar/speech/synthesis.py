"""Text -> speech whose phoneme times are known, by one of two free synthesisers, both optional.

    text --speak--> Speech(wave, phonemes)

Letters: N audio samples. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from liveavatar.speech.espeak import open_espeak, speak_espeak
from liveavatar.speech.flite import flite_voices, speak_flite
from liveavatar.speech.visemes import is_pause
from liveavatar.types import InputError, Phoneme, Speech
from liveavatar.wording import did_you_mean

RATE_HZ = 16000


def speak(text: str, voice: str = "espeak:en-us", rate: float = 1.0, pitch: float = 1.0, melody: float = 1.0) -> Speech:
    """Let a synthesiser say the text; every phoneme knows when it is heard.

    voice   "espeak:<language>[+<variant>]", e.g. "espeak:en-us+f3", or "flite:<voice>", e.g. "flite:slt"
    rate    1 the voice's own pace, 2 twice as fast (0.4..2.5)
    pitch   1 the voice's own, 2 an octave up (0.5..2); flite's `rms` keeps its own
    melody  1 the voice's own ups and downs, 0 monotone (0..2)
    -> mono float32 at 16 kHz. Raises InputError for an empty text, a value out of reach and an unknown voice.

    espeak-ng keeps some state between calls: the same words twice in one process differ in phase and by a few
    milliseconds of final silence. The phoneme times always belong to the wave they come with.
    """
    if not text.strip():
        raise InputError("the text to speak is empty; give at least one word")
    for name, value, low, high in (("rate", rate, 0.4, 2.5), ("pitch", pitch, 0.5, 2.0), ("melody", melody, 0.0, 2.0)):
        if not low <= value <= high:
            raise InputError(f"{name}={value:g} is outside {low:g}..{high:g}; 1 is the voice's own")
    engine, _, name = voice.partition(":")
    engines = {"espeak": speak_espeak, "flite": speak_flite}
    if engine not in engines or not name:
        raise InputError(f"unknown voice {voice!r}; a voice is 'espeak:<language>[+<variant>]' or 'flite:<voice>', "
                         "for example 'espeak:en-us', 'espeak:en-us+f3', 'flite:slt'" + did_you_mean(engine, engines))
    wave, rate_hz, phonemes = engines[engine](text, name, rate, pitch, melody)
    if not any(not is_pause(phoneme) for phoneme in phonemes):
        raise InputError(f"nothing in {text[:40]!r} can be spoken by {voice}; give words in that voice's language")
    return Speech(resample(wave, rate_hz), RATE_HZ, tuple(phonemes), text)


def join(parts: Sequence[Speech], gaps_s: Sequence[float]) -> Speech:
    """Put speeches one after another with silence around them.

    gaps_s holds len(parts) + 1 gaps: before, between, after. Phonemes keep their sounds; the gaps become pauses ("_").
    Raises ValueError for another number of gaps.
    """
    if len(gaps_s) != len(parts) + 1:
        raise ValueError(f"{len(parts)} parts need {len(parts) + 1} gaps (before, between, after), got {len(gaps_s)}")
    rate_hz = parts[0].rate_hz
    pieces: list[np.ndarray] = []
    phonemes: list[Phoneme] = []
    length = 0                                                    # samples so far

    def add(wave: np.ndarray, sounds: Iterable[Phoneme]) -> None:
        nonlocal length
        begin_s = length / rate_hz
        phonemes.extend(Phoneme(p.symbol, p.start_s + begin_s, p.end_s + begin_s) for p in sounds)
        pieces.append(wave)
        length += len(wave)

    for gap_s, part in zip(gaps_s, (*parts, None), strict=True):
        silence = np.zeros(round(gap_s * rate_hz), np.float32)
        if len(silence):
            add(silence, [Phoneme("_", 0.0, len(silence) / rate_hz)])
        if part is not None:
            add(part.wave, part.phonemes)
    return Speech(np.concatenate(pieces), rate_hz, tuple(phonemes), " ".join(part.text for part in parts))


def available_voices() -> tuple[str, ...]:
    """Name the voices of this machine; every espeak voice may be followed by "+" and one of available_variants()."""
    espeak = tuple(f"espeak:{language}" for language in open_espeak().languages) if open_espeak() else ()
    return espeak + tuple(f"flite:{name}" for name in flite_voices())


def available_variants() -> tuple[str, ...]:
    """Name the espeak variants: throats, from "f1" and "m1" to "whisper"."""
    return open_espeak().variants if open_espeak() else ()


def resample(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Bring a wave (N,) float32 to RATE_HZ."""
    if rate_hz == RATE_HZ:
        return wave
    import soxr

    return np.ascontiguousarray(soxr.resample(wave, rate_hz, RATE_HZ), np.float32)
