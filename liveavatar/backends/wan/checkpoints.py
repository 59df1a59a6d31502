"""The released folders, as they are downloaded: what must be there, and reading it without running anything.

    Wan2.2-S2V-14B/
        config.json
        diffusion_pytorch_model-0000{1..4}-of-00004.safetensors, diffusion_pytorch_model.safetensors.index.json
        models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl/tokenizer.json
        Wan2.1_VAE.pth
        wav2vec2-large-xlsr-53-english/{config.json, model.safetensors}
    LiveAvatar/liveavatar.safetensors

Everything is looked at before anything is loaded: a download that broke off is found in the first second.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from liveavatar.backends.wan.preset import BASE_REPOSITORY, LORA_FILE, LORA_REPOSITORY
from liveavatar.files import user_path, utf8_path
from liveavatar.types import InputError

CONFIG = "config.json"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
SINGLE = "diffusion_pytorch_model.safetensors"
TEXT = "models_t5_umt5-xxl-enc-bf16.pth"
TOKENIZER = "google/umt5-xxl"
VAE = "Wan2.1_VAE.pth"
AUDIO = "wav2vec2-large-xlsr-53-english"
AUDIO_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
SAME_DOWNLOAD = f"take both from the same download of {BASE_REPOSITORY}"
LFS_POINTER = b"version https://git-lfs"

Source = Callable[[str, torch.Size], Tensor]   # name and shape of a weight -> its values


def fetch_command(repository: str, folder: Path) -> str:
    return f"hf download {repository} --local-dir {folder}"


@dataclass(frozen=True)
class Checkpoint:
    """The folder of the base model, found complete."""

    folder: Path
    config: dict                      # config.json
    shards: Shards

    @property
    def text(self) -> Path:
        return self.folder / TEXT

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER

    @property
    def vae(self) -> Path:
        return self.folder / VAE

    @property
    def audio(self) -> Path:
        return self.folder / AUDIO

    @property
    def fingerprint(self) -> str:
        """Return a short name for these weights, from sizes and headers: hashing 45 GB would take minutes."""
        files = sorted({*self.shards.where.values(), self.text, self.vae, audio_weights(self.audio)})
        return fingerprint_of(files)


def open_checkpoint(folder: str | os.PathLike, transformer: Shards | None = None) -> Checkpoint:
    """Check everything the folder should hold; refuse with one sentence that names all that is missing.

    transformer: its weights, where they come from a file elsewhere; the folder's own are not needed then
    """
    folder = user_path(folder)
    remedy = f"get it with: {fetch_command(BASE_REPOSITORY, folder)} (45 GB), or pass download=True (--download)"
    if not folder.is_dir():
        raise InputError(f"checkpoint_dir {folder} {'is a file' if folder.exists() else 'does not exist'}; {remedy}")
    missing = [name for name in (CONFIG, TEXT, f"{TOKENIZER}/tokenizer.json", VAE, f"{AUDIO}/config.json")
               if not (folder / name).is_file()]
    if transformer is None and not (folder / INDEX).is_file() and not (folder / SINGLE).is_file():
        missing.insert(0, INDEX)
    if audio_weights(folder / AUDIO) is None:
        missing.append(f"{AUDIO}/{AUDIO_WEIGHTS[0]}")
    where = places(folder) if INDEX not in missing and transformer is None else {}
    missing += [path.name for path in sorted(set(where.values())) if not path.is_file()]
    if missing:
        raise InputError(f"checkpoint_dir {folder} lacks {', '.join(missing)}; {remedy}")
    for path in (folder / TEXT, folder / VAE, audio_weights(folder / AUDIO)):
        refuse_pointer(path)
    shards = transformer or Shards(where)
    shards.check_files()
    return Checkpoint(folder, read_json(folder / CONFIG), shards)


def places(folder: Path) -> dict[str, Path]:
    """Tell which file holds which tensor."""
    if not (folder / INDEX).is_file():
        with safetensors_file(folder / SINGLE) as file:
            return dict.fromkeys(file.keys(), folder / SINGLE)
    listed = read_json(folder / INDEX).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise damaged(folder / INDEX, "it has no weight_map")
    return {tensor: folder / Path(name).name for tensor, name in listed.items()}


class Shards:
    """Tensors spread over safetensors files, read one by one."""

    def __init__(self, where: dict[str, Path]) -> None:
        self.where = where
        self._open: dict[Path, Any] = {}

    def check_files(self) -> None:
        """Check that every file is whole and holds the tensors that the index promises."""
        for path in sorted(set(self.where.values())):
            with safetensors_file(path) as file:
                held = set(file.keys())
            absent = sorted(name for name, place in self.where.items() if place == path and name not in held)
            if absent:
                raise damaged(path, f"it lacks {absent[0]}" + (f" and {len(absent) - 1} more" if absent[1:] else ""))

    def check_shapes(self, model: nn.Module) -> None:
        """Refuse a checkpoint that is not what its config.json describes, before anything is read.

        model: the network that config.json asks for, on the meta device
        """
        wanted = {name: value.shape for name, value in model.named_parameters()}
        for name, shape in wanted.items():
            self._find(name, shape)
        stray = sorted(name for name in self.where if name.startswith("blocks.") and name not in wanted)
        if stray:
            raise InputError(f"the checkpoint holds {stray[0]} and {len(stray) - 1} more for which config.json has no "
                             f"place; {SAME_DOWNLOAD}")

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """Read one tensor, in main memory."""
        return self._find(name, shape).get_tensor(name)

    def _find(self, name: str, shape: torch.Size) -> Any:
        """Return the open file that holds a tensor of this shape."""
        from safetensors import safe_open

        path = self.where.get(name)
        if path is None:
            raise InputError(f"the checkpoint holds no {name}, for which config.json asks; {SAME_DOWNLOAD}")
        if path not in self._open:
            self._open[path] = safe_open(utf8_path(path), "pt")
        found = tuple(self._open[path].get_slice(name).get_shape())
        if found != tuple(shape):
            raise InputError(f"{name} in {path.name} is {found}, config.json asks for {tuple(shape)}; {SAME_DOWNLOAD}")
        return self._open[path]

    def close(self) -> None:
        self._open.clear()


@contextmanager
def safetensors_file(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    refuse_pointer(path)
    try:
        file = safe_open(utf8_path(path), "pt")
    except (SafetensorError, OSError) as error:
        raise damaged(path, str(error)) from error
    with file:
        yield file


def read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(values, dict):
        raise damaged(path, "it is not a JSON object")
    return values


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a .pth file of named tensors. Whatever else it may hold is not run: such a file is refused."""
    refuse_pointer(path)
    try:
        state = load_tensors(path)
    except UnpicklingError as error:
        raise InputError(f"{path} holds something other than tensors, or is damaged; it was not opened further, since "
                         "a pickle can run any code: download it again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise damaged(path, "it is not a list of named tensors")
    return state


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):                               # the old file format cannot be mapped
            raise
        return torch.load(path, map_location="cpu", weights_only=True)


def read_lora(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read an adapter's file, or the folder it was downloaded into."""
    file = lora_file(path)
    if file.suffix in (".pt", ".pth", ".bin"):
        return read_pickle(file)
    with safetensors_file(file) as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}   # noqa: SIM118


def lora_file(path: str | os.PathLike) -> Path:
    given = user_path(path)
    file = given / LORA_FILE if given.is_dir() else given
    if not file.is_file():
        hint = " (a name on the Hub is not looked up unless asked)" if str(path).count("/") == 1 else ""
        command = fetch_command(LORA_REPOSITORY, Path("ckpt/LiveAvatar"))
        raise InputError(f"lora {file} does not exist{hint}; get it with: {command}, or pass download=True "
                         "(--download)")
    return file


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    """Give a module made on the meta device its weights."""
    wanted = module.state_dict()
    absent, stray = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if absent or stray:
        raise damaged(path, f"it lacks {len(absent)} tensors ({', '.join(absent[:2])}) and has {len(stray)} unknown "
                            f"({', '.join(stray[:2])})")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise damaged(path, f"{name} is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}")
    module.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)


def audio_weights(folder: Path) -> Path | None:
    return next((folder / name for name in AUDIO_WEIGHTS if (folder / name).is_file()), None)


def refuse_pointer(path: Path) -> None:
    """Refuse the note of 130 bytes that Git leaves in the place of a large file it did not fetch."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(len(LFS_POINTER))
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if beginning == LFS_POINTER:
        raise InputError(f"{path} is only git's pointer to the file, not the file; in its folder run: git lfs pull")


def damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} cannot be used ({reason.strip().splitlines()[0]}); the download may have broken off: "
                      "remove this file and download it again")


def fingerprint_of(files: list[Path]) -> str:
    """Return a fingerprint from names, sizes, beginnings and ends."""
    digest, edge = hashlib.sha256(), 2**16
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with open(path, "rb") as file:
            digest.update(file.read(edge))
            file.seek(max(size - edge, 0))
            digest.update(file.read(edge))
    return digest.hexdigest()[:16]


def download(folder: str | os.PathLike, lora: str | os.PathLike | None) -> None:
    """Bring what is not there yet. Only called when the user asks for it."""
    from huggingface_hub import snapshot_download

    snapshot_download(BASE_REPOSITORY, local_dir=user_path(folder))
    if lora is not None and not user_path(lora).is_file():
        snapshot_download(LORA_REPOSITORY, local_dir=user_path(lora), allow_patterns=[LORA_FILE])
