"""A sound file -> mono speech -> cleaned speech -> what the model hears during each video frame.

    file --load_audio--> Speech --clean--> Speech --hear--> AudioFeatures (1, 1, 768, T)

`mel_features` is what the mini model hears: log-mel of 64 bands, 50 times a second, of speech brought to one loudness.
Video frame f hears the mel frames 2f-4 .. 2f+7, so 80 ms of past and 160 ms of future.
Letters: N audio samples, M mel frames, T video frames.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liveavatar.files import fault_of, rereadable, stamp
from liveavatar.sound import FORMATS, Sound, Track, mono, mono_weights
from liveavatar.types import AudioFeatures, InputError, Speech
from liveavatar.wording import did_you_mean

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
PIECE_S = 30.0                            # listened to at a time: spectra of an hour would fill the memory


# --------------------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------------------

def load_audio(path: str | os.PathLike, start_s: float = 0.0, duration_s: float | None = None, rate_hz: int = RATE_HZ
               ) -> Speech:
    """Read a recording, or the sound of a video: mixed down to mono, resampled, trimmed.

    -> Speech, wave (N,) float32 in [-1, 1]; its `sound` is the same stretch at the file's own rate and with its own
    channels, for the video. What is wrong is said in one sentence (InputError); silence, an early end and samples
    beyond full scale are warned of.
    """
    path = rereadable(path)
    _check_stretch(path, start_s, duration_s)
    before = stamp(path)
    with Track(path) as track:
        first = round(start_s * track.rate_hz)
        last = None if duration_s is None else first + round(duration_s * track.rate_hz)
        loudest, weights = [0.0], mono_weights(track.layout)
        pieces = _checked(track.stretch(first, last), path, track.rate_hz, loudest)
        wave = _resampled((mono(piece, weights) for piece in pieces), track.rate_hz, rate_hz)
        track.warn()
    length_s = len(wave) / rate_hz
    if length_s == 0 and start_s > 0:
        raise InputError(f"start_s={start_s:g} is beyond the end of {path}; start earlier")
    if length_s < SHORTEST_S:
        raise InputError(f"{path} holds {1000 * length_s:.0f} ms of sound, at least {1000 * SHORTEST_S:.0f} ms "
                         "are needed; give a longer recording")
    if max(loudest) > 1.05:
        warnings.warn(f"{path} goes up to {max(loudest):.3g} times full scale; it is turned down to 1", stacklevel=2)
    if active_rms(wave, rate_hz) == 0.0:
        warnings.warn(f"{path} is silent; the mouth will stay closed", stacklevel=2)
    wave /= np.float32(max(float(wave.max()), -float(wave.min()), 1.0))          # in place: hours of sound are large
    speech = Speech(wave, rate_hz)
    gain = 1 / max(*loudest, 1.0)
    return speech.with_sound(Sound(path, track.rate_hz, track.layout, first, last, gain, before))


def _check_stretch(path: Path, start_s: float, duration_s: float | None) -> None:
    """Refuse what can be refused without reading."""
    if not (start_s >= 0 and math.isfinite(start_s)):
        raise InputError(f"start_s={start_s:g} is not a time in the recording; give 0 or more seconds")
    if duration_s is not None and not (SHORTEST_S <= duration_s < math.inf):
        raise InputError(f"duration_s={duration_s:g} is too short or no number; give {SHORTEST_S} s or more")
    fault = fault_of(path)
    if fault == "does not exist":
        raise InputError(f"there is no file {path}; check the name, relative paths start at {Path.cwd()}")
    if fault:
        raise InputError(f"{path} {fault}; give a sound file ({FORMATS})")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give a sound file ({FORMATS})")


def _checked(pieces: Iterator[np.ndarray], path: Path, native_hz: int, loudest: list[float]) -> Iterator[np.ndarray]:
    """Refuse NaN and infinity, naming where the first one is; note the loudest sample of every piece."""
    position = 0
    for piece in pieces:
        finite = np.isfinite(piece).all(axis=1)
        if not finite.all():
            bad = int(np.argmin(finite))
            value = piece[bad][~np.isfinite(piece[bad])][0]
            raise InputError(f"{path} holds {value} at {(position + bad) / native_hz:.3f} s of the stretch read; "
                             "sound must be finite: save the recording anew")
        position += len(piece)
        loudest.append(float(np.abs(piece).max(initial=0)))
        yield piece


def _resampled(pieces: Iterator[np.ndarray], native_hz: int, rate_hz: int) -> np.ndarray:
    if native_hz == rate_hz:
        return _joined(piece.astype(np.float32, copy=False) for piece in pieces)
    import soxr

    stream = soxr.ResampleStream(native_hz, rate_hz, 1, dtype="float32")

    def parts() -> Iterator[np.ndarray]:
        for piece in pieces:
            yield stream.resample_chunk(piece.astype(np.float32, copy=False))
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

    return _joined(parts())


def _joined(parts: Iterator[np.ndarray]) -> np.ndarray:
    """Join pieces (n,) float32 as they come. The array grows by a half where it is full: no second copy at the end."""
    wave, filled = np.empty(0, np.float32), 0
    for part in parts:
        end = filled + len(part)
        if end > len(wave):
            wave.resize(end + end // 2, refcheck=False)
        wave[filled:end] = part
        filled = end
    wave.resize(filled, refcheck=False)
    return wave


# --------------------------------------------------------------------------------------------------------------
# Cleaning
# --------------------------------------------------------------------------------------------------------------

CLEANERS = ("wiener", "noisereduce")


def clean(speech: Speech, method: str = "wiener") -> Speech:
    """Take steady noise away; length, timing and phonemes stay.

    "wiener"       own decision-directed Wiener filter, see `wiener`
    "noisereduce"  spectral gating by the library of that name, stationary, as articles recommend
    """
    cleaners = {"wiener": wiener, "noisereduce": _noisereduce}
    if method not in cleaners:
        raise InputError(f"unknown cleaning method {method!r}; known: {', '.join(map(repr, cleaners))}"
                         + did_you_mean(method, cleaners))
    if len(speech.wave) < SHORTEST_S * speech.rate_hz:
        raise InputError(f"{1000 * speech.duration_s:.0f} ms of sound are too short to tell noise from speech; "
                         f"give at least {1000 * SHORTEST_S:.0f} ms")
    return Speech(cleaners[method](speech.wave, speech.rate_hz), speech.rate_hz, speech.phonemes, speech.text)


def wiener(wave: np.ndarray, rate_hz: int = RATE_HZ, memory: float = 0.98, floor_db: float = -20.0) -> np.ndarray:
    """Apply the Wiener filter with the decision-directed estimate of Ephraim and Malah (1984): (N,) -> (N,).

    Noise is the mean power of the quietest tenth of the frames. In every frame and frequency, `after` is the power over
    the noise (a posteriori); `before`, the speech over the noise (a priori), is mostly what the last frame's gain left
    over and partly what this frame shows; the gain is before / (1 + before), never below floor_db.
    """
    size = 1 << round(math.log2(0.032 * rate_hz))                 # 32 ms, hop a quarter of it
    hop = size // 4
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))      # squared and overlapped: sums to 2
    padded = np.pad(wave, (size - hop, size + -len(wave) % hop)).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]        # (frames, size), a view
    noise = np.maximum(_quiet_power(frames, window), 1e-12)
    floor = 10 ** (floor_db / 20)
    cleaned = np.zeros(len(padded))
    left_over = np.ones(size // 2 + 1)                            # gain^2 * after, of the frame before
    for index, frame in enumerate(frames):
        spectrum = np.fft.rfft(frame * window)
        after = np.minimum((spectrum.real ** 2 + spectrum.imag ** 2) / noise, 1e6)
        before = memory * left_over + (1 - memory) * np.maximum(after - 1, 0)
        gain = np.maximum(before / (1 + before), floor)
        left_over = gain ** 2 * after
        cleaned[index * hop:index * hop + size] += np.fft.irfft(spectrum * gain) * window / 2
    return cleaned[size - hop:size - hop + len(wave)].astype(np.float32)


def _quiet_power(frames: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return mean spectrum of the quietest tenth of the frames that are not digital silence: (frequencies,)."""
    level = np.einsum("ij,ij->i", frames, frames) / frames.shape[1]
    sounding = np.flatnonzero(level > 1e-10)                      # -100 dB
    if not len(sounding):
        return np.zeros(len(window) // 2 + 1)
    quiet = sounding[np.argsort(level[sounding], kind="stable")[:max(len(sounding) // 10, 3)]]
    return np.mean([np.abs(np.fft.rfft(frames[index] * window)) ** 2 for index in quiet], axis=0)


def _noisereduce(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    try:
        import noisereduce
    except ImportError as error:
        raise InputError("clean='noisereduce' needs the library noisereduce: pip install noisereduce, "
                         "or use 'wiener', which needs nothing") from error
    return noisereduce.reduce_noise(y=wave, sr=rate_hz, stationary=True).astype(np.float32)


# --------------------------------------------------------------------------------------------------------------
# Loudness
# --------------------------------------------------------------------------------------------------------------

def active_rms(wave: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    """Measure how loud the speech is while somebody speaks: RMS of the active 20 ms frames; 0 for silence.

    Active is what comes within 22 dB of the loud frames (98th percentile of the frames that are not digital silence),
    so pauses, noise floors and a lone click hardly count; louder frames count at most as four times that power.
    """
    power = frame_power(wave, round(0.02 * rate_hz))
    power = power[power > 1e-8]                                   # -80 dB: nothing
    if not len(power):
        return 0.0
    loud = float(np.quantile(power, 0.98))
    return math.sqrt(np.minimum(power[power >= loud * 10 ** -2.2], 4 * loud).mean())


def speech_gain(wave: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    """Return the factor that brings the speaking parts to SPEECH_RMS; 1 for silence."""
    rms = active_rms(wave, rate_hz)
    return SPEECH_RMS / rms if rms > 0 else 1.0


def loudness_envelope(wave: np.ndarray, fps: float = 25.0, rate_hz: int = RATE_HZ, sigma_s: float = 0.09) -> Tensor:
    """Follow how loudly somebody speaks, smoothly: (T,) float32 in 0..1; 1 is 1.2 times the speech's own mean loudness.

    This envelope of the clean sound drives head nods and hand beats in the training videos.
    """
    hop = round(0.01 * rate_hz)
    rms = np.sqrt(frame_power(wave, hop)) * speech_gain(wave, rate_hz) / (1.2 * SPEECH_RMS)
    reach = math.ceil(4 * sigma_s * 100)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 100 / sigma_s) ** 2)
    smooth = np.convolve(np.pad(rms, reach), kernel / kernel.sum(), "valid")
    T = frame_count(len(wave), fps, rate_hz)
    envelope = np.interp((np.arange(T) + 0.5) / fps, (np.arange(len(smooth)) + 0.5) * hop / rate_hz, smooth)
    return torch.from_numpy(envelope.clip(0, 1).astype(np.float32))


def frame_count(samples: int, fps: float = 25.0, rate_hz: int = RATE_HZ) -> int:
    """Return video frames that cover so many samples: T = ceil(N * fps / rate_hz)."""
    return math.ceil(round(samples * fps / rate_hz, 6))


def frame_power(wave: np.ndarray, size: int) -> np.ndarray:
    """Return mean power of successive frames of `size` samples, the last one padded with silence."""
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
    """Return triangles on Slaney's mel scale, each of unit area, as in librosa: (bands, 1 + window / 2) float64."""
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

    feed(piece) -> the mel frames (m, 64) that became known; finish() -> the last ones. Together they are the
    1 + N // 320 frames of librosa.feature.melspectrogram(n_fft=640, hop_length=320, center=True); frame m is centred
    on sample 320 m.
    """

    def __init__(self) -> None:
        self._waiting = np.zeros(MEL_WINDOW // 2, np.float32)     # centred: half a window of silence comes first
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(MEL_WINDOW) / MEL_WINDOW)    # periodic Hann

    def feed(self, piece: np.ndarray) -> Tensor:
        """Map piece (n,) float32 -> (m, 64) float32"""
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
        """End the wave with half a window of silence ends the wave: -> (m, 64)"""
        return self.feed(np.zeros(MEL_WINDOW // 2, np.float32))


def normalise(log_mel: Tensor) -> Tensor:
    """Map log10 mel power to the numbers the network sees, about -1.7 (silence) to 2.5."""
    return (log_mel + 2.5) / 1.5


SILENCE = (math.log10(MEL_FLOOR) + 2.5) / 1.5     # normalised log-mel of nothing


def mel_of(wave: np.ndarray, gain: float | None = None) -> Tensor:
    """Return normalised log-mel of a whole 16 kHz wave at speech loudness: (2 T, 64), two mel frames per video frame.

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


def _log_mel_pieces(wave: np.ndarray, gain: float) -> Iterator[Tensor]:
    stream = LogMel()
    piece_samples = round(PIECE_S * RATE_HZ)
    for start in range(0, len(wave), piece_samples):
        yield stream.feed(wave[start:start + piece_samples] * np.float32(gain))
    yield stream.finish()


def pad_mel(mel: Tensor) -> Tensor:
    """Put silence around the mel of a whole recording, so that every frame has its neighbours.

    (..., 2 T, 64) -> (..., 2 T + 10, 64)
    """
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


def mel_features(speech: Speech, fps: float = 25.0) -> AudioFeatures:
    """Listen: what the mini model hears during each video frame.

    speech at 16 kHz, any length  ->  values (1, 1, 768, T), rms (T,); T = ceil(N * fps / 16000)
    The recording is brought to one loudness first (see active_rms), so a whisper and a shout look alike.
    """
    if speech.rate_hz != RATE_HZ:
        raise InputError(f"speech is at {speech.rate_hz} Hz, mini listens at {RATE_HZ} Hz; read it with load_audio")
    if fps * MEL_PER_FRAME * MEL_HOP != RATE_HZ:
        raise InputError(f"fps={fps:g} does not suit mini, which hears {MEL_PER_FRAME} mel frames a video frame: "
                         f"use {RATE_HZ / MEL_HOP / MEL_PER_FRAME:g}")
    if len(speech.wave) == 0:
        raise InputError(f"the speech is empty; give at least {SHORTEST_S} s of sound")
    values = windows(pad_mel(mel_of(speech.wave)))[None, None]
    rms = np.sqrt(frame_power(speech.wave, MEL_PER_FRAME * MEL_HOP)).clip(0, 1)
    return AudioFeatures(values, fps, torch.from_numpy(rms.astype(np.float32)))
