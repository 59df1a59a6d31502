"""Checksums inside the files that a run is gone on from: a bit that flipped on a disk must not become another video.

CRC-32 finds every change of a few bits and all but one in four thousand million others; it is no protection against
people. Files of versions before checksums have none and are read as they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import utf8_path

if TYPE_CHECKING:
    from torch import Tensor

CRC = "crc32"                            # the name of the checksum, in metadata and in JSON


def crc_of_values(values: dict) -> str:
    """Return the checksum of JSON values, whatever their order and layout in a file."""
    text = json.dumps({key: value for key, value in values.items() if key != CRC}, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def with_crc(values: dict) -> dict:
    """Return JSON values with their checksum."""
    return {**values, CRC: crc_of_values(values)}


def check_values(values: dict) -> dict:
    """Return the values, or raise ValueError when they are not those that `with_crc` was given."""
    if CRC in values and values[CRC] != crc_of_values(values):
        raise ValueError("it was changed or damaged: its checksum does not fit")
    return values


def crc_of_tensors(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """Return the checksum of names, types, shapes and numbers, and of the text stored with them."""
    import torch

    form = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in tensors.items()}
    crc = zlib.crc32(json.dumps([form, {key: about[key] for key in about if key != CRC}], sort_keys=True).encode())
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"


def crc_of_tensor(name: str, tensor: Tensor) -> str:
    """Return the checksum of one tensor of a file: its name, type, shape and numbers."""
    return crc_of_tensors({name: tensor}, {})


def pack_each(tensors: dict[str, Tensor]) -> bytes:
    """Return a safetensors file that holds a checksum for each tensor, so that one can be read without the others."""
    from safetensors.torch import save

    return save(tensors, {f"{CRC} {name}": crc_of_tensor(name, tensor) for name, tensor in tensors.items()})


def read_each(path: Path, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Read tensors by name, or all, from a file of `pack_each` into main memory.

    Raises ValueError when a checksum does not fit, and what safetensors raises for files it cannot read.
    """
    from safetensors import safe_open

    with safe_open(utf8_path(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
        known = file.metadata() or {}
    for name, tensor in tensors.items():
        if known.get(f"{CRC} {name}", crc_of_tensor(name, tensor)) != crc_of_tensor(name, tensor):
            raise ValueError(f"{name} was changed or damaged: its checksum does not fit")
    return tensors


def pack_tensors(tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> bytes:
    """Return a safetensors file that holds its own checksum."""
    from safetensors.torch import save

    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    about = about or {}
    return save(tensors, {**about, CRC: crc_of_tensors(tensors, about)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file into main memory -> its tensors and its text, without the checksum.

    Raises ValueError when the checksum does not fit, and what safetensors raises for files it cannot read.
    """
    from safetensors import safe_open

    with safe_open(utf8_path(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}                # noqa: SIM118
        about = dict(file.metadata() or {})
    crc = about.pop(CRC, None)
    if crc is not None and crc != crc_of_tensors(tensors, about):
        raise ValueError("it was changed or damaged: its checksum does not fit")
    return tensors, about
