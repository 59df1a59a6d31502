"""Wav files that were joined by writing one behind the other, as text-to-speech servers deliver them.

FFmpeg reads joined mp3, ogg and flac to their end, but of a wav file what its first header promises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

HEADER = re.compile(rb"RIFF....WAVEfmt ", re.DOTALL)
HEADER_BYTES = 16
SEARCHED_BYTES = 256 * 2**20      # of a file in which further headers are looked for
PIECE_BYTES = 2**20               # read at a time: pages of a mapped file would count as this process's memory


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

    A file whose first header promises exactly its length is one. In others headers are looked for: what they say about
    their length is often wrong (0, or 4 GiB) in files that were written to a stream.
    """
    head, size = file.read(12), os.fstat(file.fileno()).st_size
    file.seek(0)
    promised = 8 + int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or head[8:] != b"WAVE" or promised <= size < promised + HEADER_BYTES:
        return iter([])
    starts = list(header_places(file))
    file.seek(0)
    ends = [*starts[1:], size]
    return iter([FilePart(file, *part) for part in zip(starts, ends, strict=True)] if len(starts) > 1 else [])


def header_places(file: BinaryIO) -> Iterator[int]:
    """Yield the bytes at which headers of wav files begin, in the first SEARCHED_BYTES of a file."""
    position, tail = 0, b""
    while position < SEARCHED_BYTES and (piece := file.read(PIECE_BYTES)):
        data = tail + piece
        yield from (position - len(tail) + found.start() for found in HEADER.finditer(data))
        position += len(piece)
        tail = data[-HEADER_BYTES + 1:]
