"""Damage to files, drawn by chance: most of it in the header, where readers believe what they read."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

HEADER = 512               # bytes at the beginning that are hit most often
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
KINDS = ("as it is", "truncated", "bits flipped", "numbers replaced", "zeroed", "inserted", "removed", "doubled",
         "garbage behind", "shuffled")


def place(data: bytes, chance: random.Random) -> int:
    """Draw where the damage is: three times of four in the header."""
    end = min(HEADER, len(data)) if chance.random() < 0.75 else len(data)
    return chance.randrange(max(end, 1))


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[:place(data, chance) if chance.random() < 0.5 else chance.randrange(len(data))]


def bits_flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def numbers_replaced(data: bytes, chance: random.Random) -> bytes:
    """Write extreme numbers of one, two or four bytes over what is there, in either order of bytes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        form = chance.choice(("<B", "<H", "<I", ">H", ">I"))
        size = struct.calcsize(form)
        at = min(place(data, chance), max(len(data) - size, 0))
        value = chance.choice(EXTREMES) & (256**size - 1)
        changed[at:at + size] = struct.pack(form, value)
    return bytes(changed)


def zeroed(data: bytes, chance: random.Random) -> bytes:
    at, length = place(data, chance), chance.choice((1, 4, 64, 4096, len(data)))
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length:]


def inserted(data: bytes, chance: random.Random) -> bytes:
    at = place(data, chance)
    return data[:at] + chance.randbytes(chance.choice((1, 4, 64, 4096))) + data[at:]


def removed(data: bytes, chance: random.Random) -> bytes:
    at = place(data, chance)
    return data[:at] + data[at + chance.choice((1, 2, 4, 64, 1024)):]


def doubled(data: bytes, chance: random.Random) -> bytes:
    at, length = place(data, chance), chance.choice((4, 64, 1024))
    return data[:at] + data[at:at + length] * chance.choice((2, 8)) + data[at + length:]


def garbage_behind(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.choice((1, 100, 10_000)))


def shuffled(data: bytes, chance: random.Random) -> bytes:
    one, other = sorted((place(data, chance), place(data, chance)))
    return data[:one] + data[other:other + 16] + data[one:other] + data[other + 16:]


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = dict(zip(KINDS, (
    lambda data, _: data, truncated, bits_flipped, numbers_replaced, zeroed, inserted, removed, doubled,
    garbage_behind, shuffled), strict=True))


def damaged(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Damage a file's bytes in one of these ways: (which, the bytes)."""
    kind = chance.choice(KINDS[1:])
    return kind, MUTATIONS[kind](data, chance)
