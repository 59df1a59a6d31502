"""Weights as safetensors files of at most 16 MiB, listed in a manifest with their sha256, checked on load.

    weights/manifest.json          what the parts are, how they are configured, which files they are made of
    weights/base-00.safetensors    a part is the union of its files
    weights/base-01.safetensors

Matrices may be stored in 8 bits, each row with a scale of its own: half the room of float16, an error of about 0.6 %.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import Stamp, stamp, user_path
from liveavatar.types import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILE_BYTES = 16 * 2**20
PIECE_BYTES = FILE_BYTES - 256 * 2**10      # of tensors; the rest is for the header
SMALLEST_MATRIX = 4096               # numbers; smaller ones are not worth a scale
SCALE = ".row_scale"
REMEDY = "install liveavatar again, or restore the file with git"


@dataclass(frozen=True)
class Manifest:
    """Hold what a folder of weights holds."""

    folder: Path
    config: dict[str, dict]              # part -> how it is configured
    parts: dict[str, tuple[str, ...]]    # part -> its files
    sha256: dict[str, str]               # file -> hash

    @property
    def fingerprint(self) -> str:
        """Return one short name for exactly these weights."""
        lines = "".join(f"{name} {self.sha256[name]}\n" for name in sorted(self.sha256))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Read what a folder of weights holds; the files themselves are not opened."""
    path = user_path(folder) / "manifest.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: tuple(files) for part, files in values["parts"].items()}
        files = [name for names in parts.values() for name in names]
        strange = [name for name in files if not isinstance(name, str) or Path(name).name != name]
        if strange:
            raise ValueError(f"{strange[0]!r} is not the name of a file in this folder")
        if not all(isinstance(values["sha256"].get(name), str) for name in files):
            raise ValueError("a file has no sha256")
        return Manifest(path.parent, dict(values["config"]), parts, dict(values["sha256"]))
    except FileNotFoundError:
        raise InputError(f'weights are missing: {path} does not exist; {REMEDY}, or look around with '
                         'load("mini", weights="random")') from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"weights are damaged: {path} cannot be read ({error}); {REMEDY}") from error


def manifest_stamp(folder: str | os.PathLike) -> Stamp | None:
    """Return what changes when other weights are put into a folder; None where there is none ("shipped", "random")."""
    return stamp(user_path(folder) / "manifest.json")


def load_part(manifest: Manifest, part: str) -> dict[str, Tensor]:
    """Read one part, checking every file against its hash."""
    if part not in manifest.parts:
        raise InputError(f"{manifest.folder} holds no weights named {part!r}; it has {', '.join(manifest.parts)}")
    tensors: dict[str, Tensor] = {}
    for name in manifest.parts[part]:
        tensors |= read_checked(manifest.folder / name, manifest.sha256.get(name, ""))
    return from_8_bits(tensors)


def read_checked(path: Path, sha256: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"weights are missing: {path} cannot be read ({error.strerror}); {REMEDY}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise InputError(f"weights are damaged: {path} has {len(data)} bytes with sha256 {found[:12]}..., expected "
                         f"{sha256[:12]}...; {REMEDY}")
    try:
        return load(data)
    except SafetensorError as error:
        raise InputError(f"weights are damaged: {path} is not a safetensors file ({error}); {REMEDY}") from error


def save_part(folder: Path, part: str, tensors: dict[str, Tensor], config: dict | None = None,
              dtype: torch.dtype | None = None) -> Manifest:
    """Write one part in files of at most 16 MiB and enter it into the folder's manifest, replacing what it was.

    dtype: keep floating-point tensors as they are (None), in another float type, or matrices in 8 bits (torch.int8)
    """
    from safetensors.torch import save_file

    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    values = {"config": {}, "parts": {}, "sha256": {}}
    if path.exists():
        values = json.loads(path.read_text(encoding="utf-8"))
    for name in values["parts"].pop(part, ()):
        values["sha256"].pop(name, None)
        (folder / name).unlink(missing_ok=True)
    names = []
    if str(dtype) == "torch.int8":
        tensors, dtype = to_8_bits(tensors), None
    for number, piece in enumerate(split_by_size(tensors, dtype)):
        names.append(f"{part}-{number:02d}.safetensors")
        save_file(piece, folder / names[-1])
        values["sha256"][names[-1]] = hashlib.sha256((folder / names[-1]).read_bytes()).hexdigest()
    values["parts"][part] = names
    values["config"][part] = config or {}
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return read_manifest(folder)


def to_8_bits(tensors: dict[str, Tensor], smallest: int = SMALLEST_MATRIX) -> dict[str, Tensor]:
    """Store matrices of `smallest` numbers or more as int8 and a scale for each row; everything else in float16."""
    import torch

    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() >= smallest:
            rows = tensor.detach().float().flatten(1)
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
            stored[name] = (rows / scale).round().to(torch.int8).view(tensor.shape)
            stored[name + SCALE] = scale.squeeze(1)
        else:
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
    return stored


def from_8_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Restore what `to_8_bits` stored, in float32; other tensors as they are."""
    return {name: (tensor.float().flatten(1) * tensors[name + SCALE][:, None]).view(tensor.shape)
            if name + SCALE in tensors else tensor
            for name, tensor in tensors.items() if not name.endswith(SCALE)}


def split_by_size(tensors: dict[str, Tensor], dtype: torch.dtype | None = None,
                  limit_bytes: int = PIECE_BYTES) -> list[dict[str, Tensor]]:
    """Distribute tensors over files that stay within the limit, in their order."""
    pieces: list[dict[str, Tensor]] = [{}]
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        if sum(kept.nbytes for kept in pieces[-1].values()) + tensor.nbytes > limit_bytes and pieces[-1]:
            pieces.append({})
        pieces[-1][name] = tensor.contiguous()
    return pieces
