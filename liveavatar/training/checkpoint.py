"""Tensors in safetensors files of at most 16 MiB each: checkpoints and weights of training."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from liveavatar.types import InputError
from liveavatar.weights import PIECE_BYTES, split_by_size


def save_pieces(tensors: dict[str, Tensor], directory: Path, stem: str, metadata: dict[str, str] | None = None,
                limit_bytes: int = PIECE_BYTES) -> list[Path]:
    """Write tensors as `stem.safetensors`, or `stem-0.safetensors` and on when one file would pass the limit."""
    from safetensors.torch import save_file

    pieces = split_by_size(tensors, limit_bytes=limit_bytes)
    names = [f"{stem}.safetensors"] if len(pieces) == 1 else [f"{stem}-{i}.safetensors" for i in range(len(pieces))]
    for name, piece in zip(names, pieces, strict=True):
        save_file(piece, str(directory / f"{name}.new"), metadata=(metadata or {}) | {"pieces": str(len(pieces))})
    for old in find_pieces(directory, stem):
        if old.name not in names:
            old.unlink()
    for name in names:
        os.replace(directory / f"{name}.new", directory / name)
    return [directory / name for name in names]


def find_pieces(directory: Path, stem: str) -> list[Path]:
    """List the files that `save_pieces` wrote, in order; none where there is nothing."""
    one = directory / f"{stem}.safetensors"
    return sorted(directory.glob(f"{stem}-[0-9]*.safetensors")) or ([one] if one.exists() else [])


def load_pieces(directory: Path, stem: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_pieces` wrote; pieces of different saves are refused."""
    from safetensors import safe_open
    paths = find_pieces(directory, stem)
    if not paths:
        raise InputError(f"no {stem}.safetensors in {directory}; train that stage first, or start without --resume")
    tensors, metadata = {}, []
    for path in paths:
        with safe_open(str(path), framework="pt") as file:
            metadata.append(file.metadata() or {})
            tensors |= {name: file.get_tensor(name) for name in file.keys()}   # noqa: SIM118
    expected = int(metadata[0].get("pieces", len(paths)))
    if len(paths) != expected or any(one != metadata[0] for one in metadata):
        raise InputError(f"{len(paths)} files of {stem} in {directory} do not belong together ({expected} expected); "
                         "copy all pieces of one save, or start without --resume")
    return tensors, metadata[0]
