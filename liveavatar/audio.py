"""A sound file -> mono speech -> cleaned speech -> what the model hears during each video frame.

    file --load_audio--> Speech --clean--> Speech --hear--> AudioFeatures (1, 1, 768, T)

`hear` is the ear of the mini model: log-mel of 64 bands, 50 times a second, of speech brought to one loudness.
Video frame f hears the mel frames 2f-4 .. 2f+7, so 80 ms of past and 160 ms of future.
Letters: N audio samples, M mel frames, T video frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from liveavatar.types import AudioFeatures, InputError, Speech

RATE_HZ = 16000
MEL_BANDS = 64
MEL_LOW_HZ, MEL_HIGH_HZ = 50.0, 7600.0
MEL_WINDOW, MEL_HOP = 640, 320            # samples: 40 ms seen every 20 ms, so 50 mel frames a second
MEL_PER_FRAME = 2                         # mel frames in one video frame at 25 fps
MEL_BEFORE, MEL_AFTER = 4, 8              # video frame f hears mel frames 2f - 4 .. 2f + 7
MEL_FLOOR = 1e-5                          # power below which all is silence
FEATURES = (MEL_BEFORE + MEL_AFTER) * MEL_BANDS
SPEECH_RMS = 0.08                         # loudness to which the speaking parts are brought
SHORTEST_S = 0.2


# --------------------------------------------------------------------------------------------------------------
# Loudness
# --------------------------------------------------------------------------------------------------------------

def active_rms(wave: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    """Measure how loud the speech is while somebody speaks: RMS of the active 20 ms frames; 0 for silence.

    Active is what comes within 22 dB of the loud frames (98th percentile of the frames that are not digital silence),
    so pauses, noise floors and a lone click hardly count; louder frames count at most as four times that power.
    """
    power = _frame_power(wave, round(0.02 * rate_hz))
    power = power[power > 1e-8]                                   # -80 dB: nothing
    if not len(power):
        return 0.0
    loud = float(np.quantile(power, 0.98))
    return math.sqrt(np.minimum(power[power >= loud * 10 ** -2.2], 4 * loud).mean())


def speech_gain(wave: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    """The factor that brings the speaking parts to SPEECH_RMS; 1 for silence."""
    rms = active_rms(wave, rate_hz)
    return SPEECH_RMS / rms if rms > 0 else 1.0


def loudness_envelope(wave: np.ndarray, fps: float = 25.0, rate_hz: int = RATE_HZ, sigma_s: float = 0.09) -> Tensor:
    """Follow how loudly somebody speaks, smoothly: (T,) float32 in 0..1; 0.5 is the mean loudness of the active speech.

    This envelope of the clean sound drives head nods and hand beats in the training videos.
    """
    hop = round(0.01 * rate_hz)
    rms = np.sqrt(_frame_power(wave, hop)) * speech_gain(wave, rate_hz) / (2 * SPEECH_RMS)
    reach = math.ceil(4 * sigma_s * 100)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 100 / sigma_s) ** 2)
    smooth = np.convolve(np.pad(rms, reach), kernel / kernel.sum(), "valid")
    T = frame_count(len(wave), fps, rate_hz)
    envelope = np.interp((np.arange(T) + 0.5) / fps, (np.arange(len(smooth)) + 0.5) * hop / rate_hz, smooth)
    return torch.from_numpy(envelope.clip(0, 1).astype(np.float32))


def frame_count(samples: int, fps: float = 25.0, rate_hz: int = RATE_HZ) -> int:
    """Video frames that cover so many samples: T = ceil(N * fps / rate_hz)."""
    return math.ceil(round(samples * fps / rate_hz, 6))


def _frame_power(wave: np.ndarray, size: int) -> np.ndarray:
    """Mean power of successive frames of `size` samples, the last one padded with silence."""
    frames = max(math.ceil(len(wave) / size), 1)
    power = np.empty(frames)
    whole = len(wave) // size
    power[:whole] = np.einsum("ij,ij->i", *[wave[:whole * size].reshape(whole, size)] * 2, dtype=np.float64) / size
    if whole < frames:
        power[whole] = np.square(wave[whole * size:], dtype=np.float64).sum() / size
    return power


# --------------------------------------------------------------------------------------------------------------
# Log-mel
# --------------------------------------------------------------------------------------------------------------

@cache
def mel_filters() -> np.ndarray:
    """Triangles on Slaney's mel scale, each of unit area, as in librosa: (bands, 1 + window / 2) float64."""
    def mel(hz: np.ndarray | float) -> np.ndarray:
        return np.where(np.less(hz, 1000), np.multiply(hz, 3 / 200),
                        15 + np.log(np.maximum(hz, 1000) / 1000) * 27 / np.log(6.4))

    def hertz(mels: np.ndarray) -> np.ndarray:
        return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))

    edges_hz = hertz(np.linspace(mel(MEL_LOW_HZ), mel(MEL_HIGH_HZ), MEL_BANDS + 2))
    bins_hz = np.arange(MEL_WINDOW // 2 + 1) * RATE_HZ / MEL_WINDOW
    rise = (bins_hz - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    fall = (edges_hz[2:, None] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall)) * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]


class LogMel:
    """log10 of the mel power of a wave that arrives in pieces; the same however it is cut.

    feed(piece) -> the mel frames (m, 64) that became known; finish() -> the last ones. Together they are the 1 + N // 320
    frames of librosa.feature.melspectrogram(n_fft=640, hop_length=320, center=True), mel frame m centred on sample 320 m.
    """

    def __init__(self) -> None:
        self._waiting = np.zeros(MEL_WINDOW // 2, np.float32)     # centred: half a window of silence comes first
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(MEL_WINDOW) / MEL_WINDOW)    # periodic Hann

    def feed(self, piece: np.ndarray) -> Tensor:
        """piece (n,) float32 -> (m, 64) float32"""
        wave = np.concatenate([self._waiting, piece])
        count = max((len(wave) - MEL_WINDOW) // MEL_HOP + 1, 0)
        self._waiting = wave[count * MEL_HOP:]
        if count == 0:
            return torch.empty(0, MEL_BANDS)
        frames = np.lib.stride_tricks.sliding_window_view(wave, MEL_WINDOW)[::MEL_HOP][:count]
        power = np.abs(np.fft.rfft(frames * self._window)) ** 2
        mel = power @ mel_filters().T
        return torch.from_numpy(np.log10(np.maximum(mel, MEL_FLOOR)).astype(np.float32))

    def finish(self) -> Tensor:
        """Half a window of silence ends the wave: -> (m, 64)"""
        return self.feed(np.zeros(MEL_WINDOW // 2, np.float32))


def normalise(log_mel: Tensor) -> Tensor:
    """log10 mel power -> the numbers the network sees, about -1.7 (silence) to 2.5."""
    return (log_mel + 2.5) / 1.5


SILENCE = (math.log10(MEL_FLOOR) + 2.5) / 1.5     # normalised log-mel of nothing


def mel_of(wave: np.ndarray, gain: float | None = None) -> Tensor:
    """Normalised log-mel of a whole 16 kHz wave at speech loudness: (2 T, 64), two mel frames per video frame.

    gain: what brings the speech to its loudness; measured on this wave when not given.
    """
    gain = speech_gain(wave) if gain is None else gain
    M = MEL_PER_FRAME * frame_count(len(wave))
    mel = torch.full((M, MEL_BANDS), SILENCE)
    first = 0
    for piece in _log_mel_pieces(wave, gain):
        last = min(first + len(piece), M)                         # a wave of whole frames has one mel frame more
        mel[first:last] = normalise(piece[:last - first])
        first = last
    return mel


def _log_mel_pieces(wave: np.ndarray, gain: float, piece_samples: int = 30 * RATE_HZ) -> Iterator[Tensor]:
    stream = LogMel()
    for start in range(0, len(wave), piece_samples):              # in pieces: memory does not grow with length
        yield stream.feed(wave[start:start + piece_samples] * np.float32(gain))
    yield stream.finish()


def pad_mel(mel: Tensor) -> Tensor:
    """Put silence around the mel of a whole recording so that every frame has its neighbours: (..., 2T, 64) -> (..., 2T + 10, 64)."""
    return torch.nn.functional.pad(mel, (0, 0, MEL_BEFORE, MEL_AFTER - MEL_PER_FRAME), value=SILENCE)


def windows(mel: Tensor) -> Tensor:
    """Cut what each video frame hears: mel (..., M, 64) -> (..., 768, T), M = 2 T + 10.

    Frame major: values[..., :, f] = mel[2f : 2f + 12].reshape(768), where the caller has put MEL_BEFORE = 4 mel frames
    before and 6 after the frames wanted (neighbours, or silence: pad_mel). A view when mel is contiguous: no memory.
    """
    M = mel.shape[-2]
    if M < MEL_BEFORE + MEL_AFTER or M % MEL_PER_FRAME:
        raise ValueError(f"{M} mel frames make no windows; give 2 T + {MEL_BEFORE + MEL_AFTER - MEL_PER_FRAME} of them")
    return mel.flatten(-2).unfold(-1, FEATURES, MEL_PER_FRAME * MEL_BANDS).transpose(-1, -2)


def hear(speech: Speech, fps: float = 25.0) -> AudioFeatures:
    """Listen: what the mini model hears during each video frame.

    speech at 16 kHz, any length  ->  values (1, 1, 768, T), rms (T,); T = ceil(N * fps / 16000)
    The recording is brought to one loudness first (see active_rms), so a whisper and a shout look alike.
    """
    if speech.rate_hz != RATE_HZ:
        raise InputError(f"speech is at {speech.rate_hz} Hz, mini listens at {RATE_HZ} Hz; read it with load_audio")
    if fps * MEL_PER_FRAME * MEL_HOP != RATE_HZ:
        raise InputError(f"fps={fps:g} does not suit mini, which hears {MEL_PER_FRAME} mel frames a video frame; use 25")
    if len(speech.wave) == 0:
        raise InputError(f"the speech is empty; give at least {SHORTEST_S} s of sound")
    values = windows(pad_mel(mel_of(speech.wave)))[None, None]
    rms = np.sqrt(_frame_power(speech.wave, MEL_PER_FRAME * MEL_HOP)).clip(0, 1)
    return AudioFeatures(values, fps, torch.from_numpy(rms.astype(np.float32)))
