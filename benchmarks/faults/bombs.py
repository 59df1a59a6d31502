"""Small files that unpack to huge ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from faults.bad_input import generate_with
from faults.saved_files import SOUNDS, good_files


def zip_bomb_png(side: int) -> bytes:
    """A PNG of side x side black pixels, a few kilobytes for each hundred megapixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(bytes(1 + side)) for _ in range(side)] + [packer.flush()])
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb_png(size: int) -> bytes:
    """A small PNG with a compressed text chunk that unpacks to `size` bytes."""
    import io

    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("note", "a" * size, zip=True)
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=notes)
    return file.getvalue()


def long_flac(seconds: int) -> bytes:
    """Silence of many hours in few bytes."""
    import io

    import numpy as np
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC", subtype="PCM_16") as flac:
        for _ in range(seconds // 600):
            flac.write(np.zeros(8000 * 600, np.int16))
    return file.getvalue()


BOMBS = {"PNG of 20,000 x 20,000 px": ("png", lambda: zip_bomb_png(20_000)),
         "PNG of 7,900 x 7,900 px": ("png", lambda: zip_bomb_png(7_900)),
         "PNG with 200 MB of text": ("png", lambda: text_bomb_png(200_000_000)),
         "FLAC of 24 hours, 1 s asked for": ("flac", lambda: long_flac(86_400))}


def try_bomb(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Give a small file that unpacks to a huge one -> (case, what is wrong)."""
    ending, make = BOMBS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, picture = good_files(folder)
        given = folder / f"given.{ending}"
        given.write_bytes(make())
        pair = [str(given), str(picture)] if ending in SOUNDS else [str(sound), str(given)]
        return kind, generate_with(["--audio", pair[0], "--image", pair[1], "--duration", "1", "--crop", "none"],
                                   folder)
