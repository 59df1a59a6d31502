"""Decode the pictures of any video file with their time stamps, in chunks, so that long videos fit into memory.

    path --decode--> Chunk (times, pictures of at most MOST_PX, thumbnails), chunk after chunk
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.files import fault_of
from liveavatar.types import InputError

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

MOST_PX = 960               # longer side of the pictures in which faces are read; larger ones are made smaller
THUMBNAIL_PX = 96           # shorter side of the pictures whose brightness and change are measured
CHUNK = 32                  # pictures that are decoded before they are looked at
GUESSED_FPS = 25.0          # of a file that holds one picture and says nothing
KINDS = "mp4, mov, webm, mkv or avi"


@dataclass(frozen=True)
class Header:
    """Hold what a file says of its pictures."""

    size: tuple[int, int]           # (height, width) px as shown, turned by the file's own rotation
    codec: str
    fps: float                      # mean; 0 where the file does not say
    sound_tracks: int


@dataclass(frozen=True)
class Chunk:
    """Some pictures in a row."""

    times_s: np.ndarray             # (B,) float64 when each picture begins, by the clock of the file
    key: np.ndarray                 # (B,) bool: decoded by itself, without others
    pictures: np.ndarray            # (B, h, w, 3) uint8, longer side at most MOST_PX
    thumbnails: np.ndarray          # (B, h, w, 3) uint8, shorter side about THUMBNAIL_PX


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a video file. Raises InputError where it cannot be read or holds no pictures."""
    import av

    fault = fault_of(path)
    if fault == "does not exist":
        raise InputError(f"there is no file {path}; check the name, relative paths start at {Path.cwd()}")
    if fault:
        raise InputError(f"{path} {fault}; give a video ({KINDS})")
    try:
        with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no pictures, only sound; give a video ({KINDS})")
            yield container
    except (OSError, av.error.FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a video that can be read ({getattr(error, 'strerror', None) or error}); "
                         f"give {KINDS}") from error


def read_header(path: Path) -> Header:
    """Read what a file says of its pictures. Raises InputError for what is no video."""
    with opened(path) as container:
        stream = container.streams.video[0]
        frame = next(frames_of(container), None)
        if frame is None:
            raise InputError(f"{path} holds no picture that can be decoded; give a video ({KINDS})")
        size = (frame.height, frame.width) if frame.rotation % 180 == 0 else (frame.width, frame.height)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        return Header(size, stream.codec_context.name, fps, len(container.streams.audio))


def frames_of(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """Decode the pictures of the first stream, one by one; damaged ones are left out, as players do."""
    import av

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def decode(path: Path, duration_s: float = math.inf, most_px: int = MOST_PX) -> Iterator[Chunk]:
    """Decode a video in chunks of at most CHUNK pictures.

    Pictures whose time stamp does not grow are left out. Raises InputError for what is no video.
    """
    with opened(path) as container:
        scaler, waiting = Scaler(most_px), []
        began_s = last_s = None
        step_s = 1 / float(container.streams.video[0].average_rate or GUESSED_FPS)
        for frame in frames_of(container):
            time_s = frame.time if frame.time is not None else (0.0 if last_s is None else last_s + step_s)
            began_s = time_s if began_s is None else began_s
            if last_s is not None and time_s <= last_s:
                continue
            if time_s - began_s >= duration_s:
                break
            last_s = time_s
            waiting.append((time_s, frame.key_frame, *scaler(frame)))
            if len(waiting) == CHUNK or len(waiting) > 1 and waiting[0][2].shape != waiting[-1][2].shape:
                yield from chunks_of(waiting)
                waiting = []
        yield from chunks_of(waiting)


def chunks_of(rows: list[tuple]) -> Iterator[Chunk]:
    """Stack decoded pictures; where their size changes, a new chunk begins."""
    while rows:
        count = next((at for at, row in enumerate(rows) if row[2].shape != rows[0][2].shape), len(rows))
        times, keys, pictures, thumbnails = zip(*rows[:count], strict=True)
        yield Chunk(np.array(times), np.array(keys, bool), np.stack(pictures), np.stack(thumbnails))
        rows = rows[count:]


class Scaler:
    """Convert decoded frames to RGB pictures and thumbnails, upright as players show them."""

    def __init__(self, most_px: int) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._most_px, self._area = most_px, Interpolation.AREA
        self._large, self._small = VideoReformatter(), VideoReformatter()
        self._thumbnail: tuple[int, int] | None = None      # (width, height), that of the first picture

    def __call__(self, frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture and its thumbnail: (h, w, 3) uint8 each."""
        if self._thumbnail is None:
            self._thumbnail = fitted(frame, min(1.0, THUMBNAIL_PX / min(frame.width, frame.height)))
        factor = min(1.0, self._most_px / max(frame.width, frame.height))
        picture = self._scaled(self._large, frame, fitted(frame, factor))
        return picture, self._scaled(self._small, frame, self._thumbnail)

    def _scaled(self, reformatter: VideoReformatter, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        shrinks = size[0] < frame.width or size[1] < frame.height
        made = reformatter.reformat(frame, *size, format="rgb24", interpolation=self._area if shrinks else None)
        pixels = made.to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def fitted(frame: av.VideoFrame, factor: float) -> tuple[int, int]:
    """Return width and height of a picture scaled by a factor, in even numbers."""
    return tuple(max(2, 2 * round(side * factor / 2)) if factor != 1 else side for side in (frame.width, frame.height))


def even_pictures(path: Path, fps: float, duration_s: float = math.inf, most_px: int = MOST_PX) -> Iterator[np.ndarray]:
    """Yield the picture that is seen in the middle of each 1 / fps seconds: (h, w, 3) uint8, even sides, one size.

    The last picture is shown for as long as the one before it.
    """
    began_s = shown_s = size = last = None
    step_s, number = 1 / fps, 0
    for chunk in decode(path, duration_s, most_px):
        for time_s, picture in zip(chunk.times_s, chunk.pictures, strict=True):
            began_s = time_s if began_s is None else began_s
            step_s = step_s if shown_s is None else time_s - shown_s
            while last is not None and began_s + (number + 0.5) / fps < time_s:
                yield last
                number += 1
            last = picture[:picture.shape[0] // 2 * 2, :picture.shape[1] // 2 * 2]
            size = size or last.shape
            if last.shape != size:                               # the size changes on the way
                last = enlarged(last, size[:2])
            shown_s = time_s
    while last is not None and (number + 0.5) / fps < shown_s + step_s - began_s - 1e-9:
        yield last
        number += 1


def enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a picture (h, w, 3) uint8 to a size (height, width)."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))
