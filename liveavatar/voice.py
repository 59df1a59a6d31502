"""Is there a voice in a recording? By Silero VAD where it is installed (`liveavatar.voice_activity`), else by a rule.

The rule looks at pitch and spectrum: noise, clicks and hum have no voice; most recorded music is taken for one. A voice
has a pitch that holds or glides while the spectrum keeps changing, many times a second. Noise and clicks have
no pitch; a hum and the notes of an instrument have one, but a spectrum that stands still; chords have several at once.
Whispering has no pitch either and is not found.
"""

from __future__ import annotations

import numpy as np

from liveavatar.audio import MEL_HOP, MEL_WINDOW, RATE_HZ, frame_power, mel_filters
from liveavatar.types import Speech
from liveavatar.voice_activity import speech_probability, speech_segments

LOWEST_HZ, HIGHEST_HZ = 70, 400          # of a voice's pitch
PERIODIC = 0.6                           # autocorrelation at the pitch, from which on a sound counts as voiced
CHANGING = 0.04                          # mean change of the log10 mel spectrum in 20 ms
GLIDING = 0.08                           # largest change of pitch in 20 ms, as a share
ACTIVE_DB = 25.0                         # below the loud moments, where there is nothing to decide about
RANGE = 4.0                              # powers of ten of the spectrum that are compared
ENOUGH_S = 0.1                           # of voice within WINDOW_S
LONG_ENOUGH_S = 0.25                     # of speech by Silero VAD
WINDOW_S = 2.0
PIECE_S = 10.0                           # looked at before it is decided whether that was enough


def holds_speech(speech: Speech) -> bool:
    """Tell whether a voice speaks (or sings, in the manner of speech) anywhere in a recording at 16 kHz.

    Raises ValueError for another rate. Measured on shipped and synthetic voices: found in all, also in pink noise as
    loud as the voice; not found in white and pink noise, clicks, typing, knocking, hum, breath, a melody and synthetic
    chords with drums. Silence holds none. Of recorded music only Silero VAD knows that it is none
    (benchmarks/results/no_voice.md).
    """
    if speech.rate_hz != RATE_HZ:
        raise ValueError(f"the speech is at {speech.rate_hz} Hz; this looks at {RATE_HZ} Hz")
    probability = speech_probability(speech)
    if probability is None:
        return follows_rule(speech)
    return any(end_s - begin_s >= LONG_ENOUGH_S for begin_s, end_s in speech_segments(probability))


def follows_rule(speech: Speech) -> bool:
    """Tell by pitch and spectrum alone whether a voice speaks in a recording at 16 kHz."""
    wave, piece = speech.wave, round(PIECE_S * RATE_HZ)
    threshold = _activity_threshold(wave)
    overlap = round(WINDOW_S * RATE_HZ)
    return any(most_voice_s(wave[first:first + piece + overlap], threshold) >= ENOUGH_S
               for first in range(0, max(len(wave), 1), piece))


def _activity_threshold(wave: np.ndarray) -> float:
    """Return the mean power of 20 ms from which on something is heard; infinite for silence."""
    whole = len(wave) // MEL_HOP * MEL_HOP
    power = frame_power(wave[:whole], MEL_HOP)
    power = power[power > 1e-8]
    return float(np.quantile(power, 0.98)) * 10 ** (-ACTIVE_DB / 10) if len(power) else np.inf


def most_voice_s(wave: np.ndarray, threshold: float) -> float:
    """Return the most seconds of voice within WINDOW_S. wave (N,) at 16 kHz; threshold: power from which it counts."""
    if len(wave) < MEL_WINDOW:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(wave, MEL_WINDOW)[::MEL_HOP].astype(np.float64)     # (M, 640)
    active = np.square(frames).mean(1) > threshold
    strength, lag = pitch_of(frames)
    voiced = active & (strength > PERIODIC)
    change, glide = np.abs(np.diff(log_mel_of(frames), axis=0)).mean(1), np.abs(np.diff(np.log(lag)))
    voice = voiced[1:] & voiced[:-1] & (change > CHANGING) & (glide < GLIDING)
    hop_s = MEL_HOP / RATE_HZ
    total = np.concatenate([[0], np.cumsum(voice)])
    reach = min(round(WINDOW_S / hop_s), len(voice))
    return float((total[reach:] - total[:len(total) - reach]).max(initial=0)) * hop_s


def pitch_of(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how periodic each frame (M, 640) is, 0..1, and the period in samples, by autocorrelation (Boersma 1993):
    that of the frame over that of its window."""
    window = np.hanning(MEL_WINDOW)
    windowed = (frames - frames.mean(1, keepdims=True)) * window
    own = np.fft.irfft(np.abs(np.fft.rfft(windowed, 2 * MEL_WINDOW)) ** 2)
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * MEL_WINDOW)) ** 2)
    first, last = RATE_HZ // HIGHEST_HZ, RATE_HZ // LOWEST_HZ
    curve = own[:, first:last] / np.maximum(own[:, :1], 1e-12) / (of_window[first:last] / of_window[0])
    return curve.max(1), curve.argmax(1) + first


def log_mel_of(frames: np.ndarray) -> np.ndarray:
    """Return the log10 mel power of frames (M, 640), RANGE powers of ten below the loudest: (M, 64)."""
    mel = np.abs(np.fft.rfft(frames * np.hanning(MEL_WINDOW))) ** 2 @ mel_filters().T
    log = np.log10(np.maximum(mel, 1e-12))
    return np.maximum(log, log.max() - RANGE)
