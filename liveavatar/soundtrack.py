"""The sound of a video: the user's own recording, encoded beside the pictures.

What the model hears is mono at 16 kHz; what people hear is the recording with its own rate (up to 48 kHz) and channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.files import printable
from liveavatar.sound import GUESSED, mono, mono_weights

if TYPE_CHECKING:
    from av.container import OutputContainer

    from liveavatar.types import Speech

RATES_HZ = {"aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
            "libopus": (8000, 12000, 16000, 24000, 48000)}
OPUS_LAYOUTS = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}      # the only ones that it can say
BIT_RATES = {"aac": (96_000, 64_000), "libopus": (64_000, 32_000)}   # the first channel, and each further one; for
FULL_BAND = {"aac": 32_000, "libopus": 32_000}                       # more than 24 kHz there is this much on top


@dataclass(frozen=True)
class Encoding:
    """Describe how a sound track is written."""

    rate_hz: int
    layout: str
    bit_rate: int


def encoding_of(codec: str, rate_hz: int, layout: str, channels: int) -> Encoding:
    """Choose rate, channels and bits a second: the recording's own, as far as the codec knows them."""
    known = RATES_HZ[codec]
    rate = next((one for one in known if one >= rate_hz), known[-1])
    if channels > len(GUESSED) or layout not in known_layouts():
        layout, channels = "mono", 1
    elif codec == "libopus":
        layout = OPUS_LAYOUTS.get(channels, layout)
    first, further = BIT_RATES[codec]
    wanted = first + further * (channels - 1) + FULL_BAND[codec] * (rate > 24_000)
    return Encoding(rate, layout, min(wanted, 6 * rate * channels))          # an AAC frame cannot hold more


def known_layouts() -> frozenset[str]:
    """Return names of channels that both codecs can be given."""
    return frozenset(("mono", "stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.0(side)", "5.1", "5.1(side)", "6.1",
                      "7.1", "7.1(wide)"))


class Feed:
    """Samples on demand: (n, channels) float32 from a recording, and silence behind its end."""

    def __init__(self, speech: Speech) -> None:
        sound = speech.sound
        if sound is not None and not sound.unchanged:
            warnings.warn(f"{printable(sound.path)} has changed since it was read; the video's sound is what the model "
                          "hears, mono at 16 kHz", stacklevel=5)
            sound = None
        if sound is None:
            self.rate_hz, self.layout, self.channels = speech.rate_hz, "mono", 1
            self._pieces: Iterator[np.ndarray] = iter([speech.wave[:, None]])
        else:
            self.rate_hz, self.layout, self._pieces = sound.rate_hz, sound.layout, sound.pieces()
            self.channels = len(mono_weights(sound.layout))
        self._waiting = next(self._pieces, np.zeros((0, self.channels), np.float32))     # from now on the file is open

    def read(self, count: int) -> np.ndarray:
        """Return the next samples (count, channels)."""
        parts, got = [self._waiting], len(self._waiting)
        while got < count and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            got += len(piece)
        joined = np.concatenate(parts) if len(parts) > 1 else self._waiting
        self._waiting = joined[count:]
        taken = joined[:count]
        if len(taken) < count:
            taken = np.concatenate([taken, np.zeros((count - len(taken), self.channels), np.float32)])
        return taken

    def close(self) -> None:
        """Close the file."""
        if hasattr(self._pieces, "close"):
            self._pieces.close()


class SoundTrack:
    """The sound of one video while it is written."""

    def __init__(self, container: OutputContainer, codec: str, speech: Speech) -> None:
        import av

        self._container, self._feed, self._samples = container, Feed(speech), 0
        feed = self._feed
        self.encoding = encoding_of(codec, feed.rate_hz, feed.layout, feed.channels)
        self._mixed = self.encoding.layout == "mono" and feed.channels > 1      # unknown channels: by our own weights
        self._layout = "mono" if self._mixed else feed.layout
        self._stream = container.add_stream(codec, rate=self.encoding.rate_hz, layout=self.encoding.layout)
        self._stream.bit_rate = self.encoding.bit_rate
        self._resampler = av.AudioResampler(format=self._stream.format, layout=self.encoding.layout,
                                            rate=self.encoding.rate_hz)

    def write_until(self, seconds: Fraction) -> None:
        """Bring the sound up to a time of the video."""
        import av

        rate_hz = self._feed.rate_hz
        end = round(seconds * rate_hz)
        wave = np.clip(self._feed.read(end - self._samples), -1, 1)
        if self._mixed:
            wave = mono(wave, mono_weights(self._feed.layout))[:, None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave).reshape(1, -1), format="flt", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, self._samples, Fraction(1, rate_hz)
        self._encode(self._resampler.resample(frame))
        self._samples = end

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._encode(self._resampler.resample(None))
        self._container.mux(self._stream.encode(None))
        self.close()

    def close(self) -> None:
        self._feed.close()

    def _encode(self, frames: list) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))
