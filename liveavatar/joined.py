"""Wav files that were joined by writing one behind the other, as text-to-speech servers deliver them.

FFmpeg reads joined mp3, ogg and flac to their end, but of a wav file what its first header promises.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO


class FilePart:
    """A stretch of an open file that reads like a file of its own. first, end: bytes of the file."""

    def __init__(self, file: BinaryIO, first: int, end: int) -> None:
        self._file, self._first, self._size, self._position = file, first, end - first, 0

    def read(self, count: int = -1) -> bytes:
        """Read up to so many bytes; all that are left when count is negative."""
        left = max(self._size - self._position, 0)
        self._file.seek(self._first + self._position)
        data = self._file.read(left if count < 0 else min(count, left))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a byte, counted from the beginning (0), from here (1) or from the end (2)."""
        self._position = max(offset + (0, self._position, self._size)[whence], 0)
        return self._position

    def tell(self) -> int:
        """Return the byte that is read next."""
        return self._position


def wav_parts(file: BinaryIO) -> Iterator[FilePart]:
    """Find the wav files that are joined in a file; nothing where there are not several.

    Their headers are looked for: what they say about their length is often wrong (0, or 4 GiB) in files that were
    written to a stream.
    """
    head = file.read(12)
    file.seek(0)
    starts: list[int] = []
    ends: list[int] = []
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        with suppress(OSError), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:    # some disks cannot
            starts = [found.start() for found in re.finditer(rb"RIFF....WAVEfmt ", data, re.DOTALL)]
            ends = [*starts[1:], len(data)]
    return iter([FilePart(file, *part) for part in zip(starts, ends, strict=True)] if len(starts) > 1 else [])
