"""Sound files of every kind, read by FFmpeg (through PyAV) in pieces.

    file --Track--> pieces (n, channels) float32 at the file's own rate --mono--> (n,)
    Sound           a stretch of a file that is read again while a video is written

FFmpeg reads joined mp3 and chained ogg to their end; joined wav files are read here, one after the other. Of several
sound tracks the one marked as default is taken.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from liveavatar.files import Stamp, stamp, write_whole
from liveavatar.joined import FilePart, wav_parts
from liveavatar.types import InputError

if TYPE_CHECKING:
    import av
    from av import AudioFrame

FORMATS = "wav, flac, mp3, ogg, m4a, webm or mp4"
BLOCK = 1 << 15                    # samples of each channel that are handed on at once
BREAK_S = 0.5                      # a file that ends so much earlier than its header promises is said to break off
KEPT = "sound.original"            # the name of a copied recording in a folder
MIDDLE, SURROUND = 0.5 ** 0.5, 0.5 ** 1.5
WEIGHTS = {"FL": 0.5, "FR": 0.5, "FC": MIDDLE, "LFE": 0.0, "LFE2": 0.0, "BC": 0.5, "FLC": 0.5, "FRC": 0.5}
GUESSED = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}   # as FFmpeg guesses
WITH_DURATION = {"mov", "matroska", "flac"}     # containers that say how long they are; of others FFmpeg guesses
SEEKABLE = ("pcm_", "flac")        # codecs whose packets stand alone: samples are the same wherever reading begins
SEEK_FROM_S = 60.0                 # stretches that begin earlier are read from the beginning of the file


def mono_weights(layout: str) -> np.ndarray:
    """Return the share of each channel in the mono mix (channels,): ITU-R BS.775, then the mean of left and right.

    The middle counts 0.71 times, surround channels 0.35 times, the bass channel not at all. Mono and stereo are
    averaged, and so are channels of which nobody knows where they stand.
    """
    import av

    names = [channel.name for channel in av.AudioLayout(layout).channels]
    if len(names) < 3 or "NONE" in names:
        return np.full(len(names), 1 / len(names), np.float32)
    return np.array([WEIGHTS.get(name, SURROUND) for name in names], np.float32)


def mono(piece: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mix (n, channels) down to (n,)."""
    return piece.mean(axis=1) if piece.shape[1] < 3 else piece @ weights


def part_of_pieces(pieces: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """Keep samples first..last of a sound in pieces."""
    position = 0
    for piece in pieces:
        if last is not None and position >= last:
            return
        yield piece[max(first - position, 0):None if last is None else last - position]
        position += len(piece)


@dataclass(frozen=True)
class Sound:
    """A stretch of a sound file as it was recorded: its own rate, its own channels. It is read when it is needed."""

    path: Path
    rate_hz: int
    layout: str                # FFmpeg's name of the channels: mono, stereo, 5.1
    first: int                 # sample where the stretch begins
    last: int | None           # and ends; None: at the end of the file
    gain: float                # what brings sound beyond full scale down to it
    stamp: Stamp | None        # of the file when it was read

    @property
    def unchanged(self) -> bool:
        """Tell whether the file is still the one that was read."""
        return self.stamp is not None and stamp(self.path) == self.stamp

    def pieces(self) -> Iterator[np.ndarray]:
        """Read the stretch again: (n, channels) float32."""
        with Track(self.path) as track:
            for piece in track.stretch(self.first, self.last):
                yield piece * np.float32(self.gain)

    def cut(self, start_s: float, duration_s: float | None) -> Sound:
        """Return a stretch of the stretch."""
        first = self.first + round(start_s * self.rate_hz)
        ends = [end for end in (self.last, None if duration_s is None else first + round(duration_s * self.rate_hz))
                if end is not None]
        return Sound(self.path, self.rate_hz, self.layout, first, min(ends, default=None), self.gain, self.stamp)

    def keep(self, folder: Path) -> dict | None:
        """Copy the file into a folder and return, for JSON, which stretch of it is meant; None when it has changed."""
        if not self.unchanged:
            return None
        write_whole(folder / KEPT, lambda part: shutil.copyfile(self.path, part))
        return {name: getattr(self, name) for name in ("rate_hz", "layout", "first", "last", "gain")}

    @classmethod
    def kept(cls, folder: Path, about: dict | None) -> Sound | None:
        """Return what `keep` has put into a folder; None when there is nothing."""
        path = folder / KEPT
        return None if about is None or not path.is_file() else cls(path=path, stamp=stamp(path), **about)


class Track:
    """The sound track of an open file. Use as a context.

    path: a file. Raises InputError when there is no sound in it that can be read.
    """

    def __init__(self, path: Path) -> None:
        import av

        self.path = path
        self.notes: list[str] = []               # what was noticed while reading, one sentence each
        self._damaged, self._tail_damaged, self._broken = 0, 0, False
        self._end_s = 0.0                        # of the last packet of any stream, by the file's own clock
        self._samples = 0                        # that were read
        self.began_s = 0.0                       # when its first sample is heard, by the file's own clock
        try:
            self._file = open(path, "rb")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error
        self._parts = wav_parts(self._file)
        try:
            self._container_file = next(self._parts, self._file)
            self._container = av.open(self._container_file, metadata_errors="ignore")
        except (av.error.FFmpegError, ValueError) as error:
            beginning = _beginning(self._file)
            self._file.close()
            raise InputError(f"{path} is not a sound file that can be read (it begins with {beginning}); "
                             f"give {FORMATS}") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._stream = self._chosen()
        self._frames = self._decoded()
        self._first = next(self._frames, None)
        if self._first is None and self._damaged:
            raise InputError(f"{self.path} is damaged: no sound can be decoded; give {FORMATS}")
        self.began_s = 0.0 if self._first is None else self._first.time or 0.0
        self.rate_hz = self._stream.rate if self._first is None else self._first.rate
        if not self.rate_hz:
            raise InputError(f"{self.path} does not say how many samples a second it has; save it anew as wav or flac")
        layout = (self._first or self._stream).layout
        known = "NONE" not in (channel.name for channel in layout.channels)
        self.layout = layout.name if known else GUESSED.get(layout.nb_channels, layout.name)
        self.channels = layout.nb_channels

    def _chosen(self) -> av.AudioStream:
        """Return the track that is marked as default, else the first."""
        import av

        tracks = self._container.streams.audio
        if not tracks:
            raise InputError(f"{self.path} has no sound in it; give a recording, or a video with sound ({FORMATS})")
        default = next((track for track in tracks if track.disposition & av.stream.Disposition.default), tracks[0])
        if len(tracks) > 1:
            number = list(tracks).index(default) + 1
            self.notes.append(f"{self.path} has {len(tracks)} sound tracks; number {number}"
                              f"{name_of(default)} is used, as players do")
        return default

    def stretch(self, first: int, last: int | None) -> Iterator[np.ndarray]:
        """Read samples first..last, None: to the end. -> (n, channels) float32, about BLOCK samples at a time

        What lies before is skipped where the format allows it: a stretch of a day's recording needs no day.
        """
        skipped = self._skip_towards(first)
        return part_of_pieces(self.pieces(), first - skipped, None if last is None else last - skipped)

    def _skip_towards(self, sample: int) -> int:
        """Go to a packet at or before a sample -> the number of the sample that is read next."""
        import av

        joined = isinstance(self._container_file, FilePart)
        alone = self._stream.codec_context.name.startswith(SEEKABLE)
        if joined or not alone or sample < SEEK_FROM_S * self.rate_hz or self._first is None:
            return 0
        begins, time_base = self._first.pts or 0, self._stream.time_base
        try:
            target = begins + int(sample / self.rate_hz / time_base)
            self._container.seek(target, stream=self._stream)
            self._frames = self._decoded()
            frame = next(self._frames, None)
        except av.error.FFmpegError:
            frame = None
        at = -1 if frame is None or frame.pts is None else round((frame.pts - begins) * time_base * self.rate_hz)
        if not 0 <= at <= sample:                                    # damaged: count from the beginning
            self._container.seek(0)
            self._frames = self._decoded()
            self._first = next(self._frames, None)
            return 0
        self._first, self._samples = frame, at
        return at

    def pieces(self) -> Iterator[np.ndarray]:
        """Read on to the end: (n, channels) float32, about BLOCK samples at a time."""
        waiting, count = [], 0
        for part in self._converted():
            waiting.append(part)
            count += len(part)
            self._samples += len(part)
            if count >= BLOCK:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)
        self._look_back()

    def _converted(self) -> Iterator[np.ndarray]:
        """Bring every frame to the rate and the channels of the first one: joined files may change them."""
        import av

        if self._first is None:
            return
        first = kind = kind_of(self._first)
        resampler = av.AudioResampler(format="flt")
        frame: AudioFrame | None = self._first
        while frame is not None:
            if kind_of(frame) != kind:
                yield from (array_of(part) for part in resampler.resample(None))
                kind = kind_of(frame)
                same = kind[1:] == first[1:]
                resampler = av.AudioResampler("flt") if same else av.AudioResampler("flt", self.layout, self.rate_hz)
            yield from (array_of(part) for part in resampler.resample(frame))
            frame = next(self._frames, None)
        yield from (array_of(part) for part in resampler.resample(None))

    def _decoded(self) -> Iterator[AudioFrame]:
        """Decode to the end of the file, through all wav files that are joined in it."""
        import av

        yield from self._decoded_part()
        for part in self._parts:
            try:
                container = av.open(part, metadata_errors="ignore")
                self._stream = container.streams.audio[0]
                self._container.close()
                self._container = container
            except (av.error.FFmpegError, ValueError, IndexError):         # cut off within its header
                self._broken = True
                return
            yield from self._decoded_part()

    def _decoded_part(self) -> Iterator[AudioFrame]:
        """Decode packet by packet. What is damaged is left out, as players do."""
        import av

        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self._broken = True
                return
            if packet.pts is not None:
                self._end_s = max(self._end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != self._stream.index:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._damaged += 1
                self._tail_damaged += 1
                continue
            self._tail_damaged = 0 if frames else self._tail_damaged
            yield from frames

    def _look_back(self) -> None:
        """Note what was wrong, now that all has been read."""
        begins_s = (self._container.start_time or 0) / 1e6
        early = self._end_s - begins_s < self._promised_s() - BREAK_S
        read_s = self._samples / self.rate_hz
        if self._broken or self._tail_damaged or early:
            self.notes.append(f"{self.path} breaks off after {read_s:.2f} s (damaged or cut off); that much is used")
        inside = self._damaged - self._tail_damaged
        if inside:
            self.notes.append(f"{self.path} is damaged in {inside} place{'s' * (inside > 1)}; the rest is used")

    def _promised_s(self) -> float:
        """Return how long the file says that it is; 0 where it says nothing and FFmpeg guesses from the bit rate."""
        kind = self._container.format.name.split(",")[0]
        if kind == "mp3":
            return mp3_frames(self._file) * (1152 if self.rate_hz >= 32_000 else 576) / self.rate_hz
        return (self._container.duration or 0) / 1e6 if kind in WITH_DURATION else 0.0

    def warn(self) -> None:
        """Say what was noticed."""
        for note in self.notes:
            warnings.warn(note, stacklevel=3)
        self.notes.clear()

    def close(self) -> None:
        self._container.close()
        self._file.close()

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kind_of(frame: AudioFrame) -> tuple[str, str, int]:
    """Return what a resampler must know of its input."""
    return frame.format.name, frame.layout.name, frame.rate


def array_of(frame: AudioFrame) -> np.ndarray:
    """Turn an interleaved frame into (n, channels) float32."""
    return frame.to_ndarray().reshape(frame.samples, -1)


def name_of(track: av.AudioStream) -> str:
    """Return what a file calls one of its tracks, in brackets."""
    words = [track.metadata.get(key, "") for key in ("title", "language")]
    named = ", ".join(word for word in words if word and word != "und")
    return f" ({named})" if named else ""


def mp3_frames(file: BinaryIO) -> int:
    """Return how many frames the first frame of an mp3 counts (in a tag Xing, Info or VBRI); 0 where it does not."""
    file.seek(0)
    head = file.read(10)
    size = 0
    if head[:3] == b"ID3":                       # the size has seven bits a byte
        size = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(size)
    frame = file.read(256) + bytes(18)
    for tag, place in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = frame.find(tag)
        if at >= 0:
            counts = tag == b"VBRI" or frame[at + 7] & 1
            return int.from_bytes(frame[at + place:at + place + 4], "big") if counts else 0
    return 0


def _beginning(file: BinaryIO) -> str:
    file.seek(0)
    return repr(file.read(12))
