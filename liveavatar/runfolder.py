"""A run that survives its process: what was asked, what is finished, and the caches to go on from.

    run/run.json                   configuration, hashes of the inputs, versions, which weights
        audio.wav                  the sound as the model heard it, float32: exact
        sound.original             the recording as it was given, for the sound of the video
        portrait.safetensors       the picture, exact;  portrait.png shows it
        block_00000.safetensors    latents of each finished block
        caches_0.safetensors       keys and values after the newest block, or the one before: two files in turn
        caches_1.safetensors
        steps/                         the first blocks after each of their steps: a trace, for reports and views

A block attends to earlier blocks as they were at its own noise level, and those to earlier ones: keys and values cannot
be made again from finished latents. So they are written after every block (mini: about 30 MB), newest only. Every file
appears whole or not at all, so a run may be killed at any moment. All but portrait.png are checked against checksums
when the run is gone on with: a damaged block or cache is made again, a damaged input is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.cache import RingCache
from liveavatar.checksums import check_values, pack_tensors, read_tensors, with_crc
from liveavatar.config import GenerationConfig
from liveavatar.files import printable, user_path, utf8_path, write_whole
from liveavatar.rollout import Rollout
from liveavatar.sound import KEPT, Sound
from liveavatar.trace import MIB, Trace
from liveavatar.types import InputError, Portrait, Prompt, Speech, Step

FORMAT = 1
STEPS_BYTES = 128 * MIB            # of steps that are kept: those of mini's first minute and more
WHOLE_BYTES, END_BYTES = 512 * MIB, 16 * MIB       # of a recording: hashed whole up to; of each end beyond that
ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}      # names of files need not be UTF-8


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run. It only looks at what the pipeline hands it."""

    path: Path

    @classmethod
    def create(cls, path: str | os.PathLike, description: dict, speech: Speech, portrait: Portrait) -> RunFolder:
        """Begin a run: write what was asked and copies of the inputs."""
        folder = cls(check_new(path))
        try:
            files = folder._write_inputs(speech, portrait)
            sound = None if speech.sound is None else speech.sound.keep(folder.path)
            if sound is not None:
                files[KEPT] = sha256_of(folder.path / KEPT)
            values = {"format": FORMAT, **description, "sound": sound, "files": files}
            text = json.dumps(with_crc(values), indent=1, ensure_ascii=False)
            write_whole(folder.path / "run.json", lambda part: part.write_text(text + "\n", **ENCODING))
        except OSError as error:
            raise InputError(f"run folder {folder.path} cannot be written ({error.strerror or error}); "
                             "choose another with --run_dir") from error
        return folder

    def _write_inputs(self, speech: Speech, portrait: Portrait) -> dict[str, str]:
        """Write what the model hears and sees -> sha256 of the files that hold no checksum of their own."""
        import soundfile
        from PIL import Image

        write_portrait(self.path / "portrait.safetensors", portrait)       # the first: see check_new
        data = io.BytesIO()            # soundfile opens UTF-8 names only, and does not say that a disk is full
        soundfile.write(data, speech.wave, speech.rate_hz, subtype="FLOAT", format="WAV")
        write_whole(self.path / "audio.wav", lambda part: part.write_bytes(data.getbuffer()))
        pixels = portrait.pixels.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy(force=True)
        write_whole(self.path / "portrait.png", lambda part: Image.fromarray(pixels).save(part, "PNG"))
        return {"audio.wav": hashlib.sha256(data.getbuffer()).hexdigest()}

    def read(self) -> dict:
        """Read what the run was asked for."""
        try:
            description = check_values(json.loads((self.path / "run.json").read_text(**ENCODING)))
            known = description["format"] == FORMAT
        except FileNotFoundError:
            raise InputError(f"{self.path} holds no run (no run.json); give the folder that was passed as run_dir "
                             "when the video was begun") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path / 'run.json'} cannot be read ({error}); begin the video again") from error
        if not known:
            raise InputError(f"{self.path} was written by another version (format {description['format']}, this one "
                             f"reads {FORMAT}); begin the video again")
        return description

    @property
    def config(self) -> GenerationConfig:
        return GenerationConfig.from_dict(self.read()["config"])

    def inputs(self) -> tuple[Speech, Portrait, Prompt]:
        """Read sound, picture and words exactly as the run used them."""
        import soundfile

        about = self.read()
        try:
            for name, sha256 in about.get("files", {}).items():
                if sha256_of(self.path / name) != sha256:
                    raise ValueError(f"{name} was changed or damaged: its checksum does not fit")
            wave, rate_hz = soundfile.read(utf8_path(self.path / "audio.wav"), dtype="float32")
            portrait = read_portrait(self.path / "portrait.safetensors")
        except Exception as error:
            raise InputError(f"the inputs in {self.path} are missing or damaged ({error}); "
                             "begin the video again") from error
        origin = about["inputs"]
        speech = Speech(wave, rate_hz).with_sound(Sound.kept(self.path, about.get("sound")))
        return speech, replace(portrait, **origin["portrait"]), Prompt(**origin["prompt"])

    def block_path(self, block: int) -> Path:
        return self.path / f"block_{block:05d}.safetensors"

    def save_block(self, latents: Tensor, rollout: Rollout) -> None:
        """Write a finished block and what the next one needs. rollout.block is the next block."""
        finished = rollout.block - 1
        try:
            data = pack_tensors({"latents": latents}, {"block": str(finished)})
            write_whole(self.block_path(finished), lambda part: part.write_bytes(data))
            tensors, about = pack(rollout)
            state = pack_tensors(tensors, about)
            write_whole(self.path / f"caches_{finished % 2}.safetensors", lambda part: part.write_bytes(state))
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> InputError:
        """Say that the disk refused something of this run, and what to do."""
        return InputError(f"run folder {self.path} cannot be written ({error.strerror or error}); free some space, "
                          f"then go on with resume({str(self.path)!r})")

    def steps(self) -> Trace:
        """Open the steps that were kept; an empty trace where there are none, as in the folders of version 0.1."""
        path = self.path / "steps"
        return Trace.load(path) if (path / "trace.json").is_file() else Trace(folder=path, velocity=False)

    def finished(self) -> int:
        """Return how many blocks in a row are there and whole."""
        block = 0
        while self.block_path(block).exists():
            try:
                self._read_block(block)
            except Exception:                                      # safetensors raises errors of many kinds
                break
            block += 1
        return block

    def _read_block(self, block: int) -> Tensor:
        tensors, about = read_tensors(self.block_path(block))
        if about.get("block", str(block)) != str(block):
            raise ValueError(f"it is block {about['block']}")
        return tensors["latents"]

    def latents(self, block: int) -> Tensor:
        try:
            return self._read_block(block)
        except Exception as error:
            raise InputError(f"{self.block_path(block)} is damaged ({error}); delete it and all later blocks, "
                             "then begin the video again") from error

    def next_block(self) -> int:
        """Return where to go on: after the newest finished block whose caches are there."""
        return max((block for block, _ in self._states()), default=0)

    def rollout(self, empty: Rollout, device: torch.device) -> Rollout:
        """Return the newest state that can be gone on from; `empty`, which also says what fits, when there is none."""
        states = sorted(self._states())
        if not states:
            return empty
        path = states[-1][1]
        try:
            tensors, about = read_tensors(path)
            return unpack({name: tensor.to(device) for name, tensor in tensors.items()}, about, empty)
        except Exception as error:
            raise InputError(f"{path} cannot be used ({error}); begin the video again") from error

    def _states(self) -> list[tuple[int, Path]]:
        """Return (next block, file) of the whole cache files that belong to finished blocks."""
        states, finished = [], self.finished()
        for path in self.path.glob("caches_[01].safetensors"):
            try:
                block = int(read_tensors(path)[1]["block"])
            except Exception:                         # a damaged file: the other one of the pair may serve
                continue
            if block <= finished:
                states.append((block, path))
        return states


class StepWriter:
    """Keeps the steps of a run's first blocks in its folder, up to STEPS_BYTES: x and the clean prediction of each."""

    def __init__(self, folder: RunFolder) -> None:
        try:
            self._trace = folder.steps()
        except InputError:                            # damaged: the run matters more
            self._trace = Trace(folder=folder.path / "steps", velocity=False)
        self._folder, self._full = folder, False

    def write(self, step: Step) -> None:
        """Take a step; after the last one of a block they are on disk. Raises InputError where they cannot be."""
        if self._full:
            return
        self._trace.record(step)
        if step.last:
            try:
                self._full = self._trace.flush() >= STEPS_BYTES
            except OSError as error:
                raise self._folder.unwritable(error) from error


def check_new(path: str | os.PathLike) -> Path:
    """Refuse a run folder that cannot be written, or holds a run already, or files that are not of a run but named so.

    What a run that was killed while it began has left behind is replaced: portrait.safetensors is its first file.
    """
    path = user_path(path)
    if (path / "run.json").exists():
        raise InputError(f"{path} already holds a run; go on with resume({str(path)!r}) (--resume on the command "
                         "line) or choose another folder")
    taken = [name for name in ("audio.wav", "portrait.png", KEPT) if (path / name).exists()]
    if taken and not (path / "portrait.safetensors").exists():
        raise InputError(f"run folder {path} has a file {taken[0]}, which a run would replace; choose a new folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_whole(path / "run.test", lambda part: part.touch())
        (path / "run.test").unlink()
    except OSError as error:
        raise InputError(f"run folder {path} cannot be written ({error.strerror or error}); choose another") from error
    return path


def pack(rollout: Rollout) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a rollout as tensors and text."""
    tensors = {}
    for kind, caches in (("told", rollout.caches), ("free", rollout.uncond_caches)):
        for step, cache in enumerate(caches):
            if step and cache.k is caches[0].k:              # all steps have the one clean cache
                continue
            tensors[f"{kind}.{step}.k"], tensors[f"{kind}.{step}.v"] = cache.k.cpu(), cache.v.cpu()
    return tensors, {"block": str(rollout.block), "end": str(rollout.caches[0].end)}


def unpack(tensors: dict[str, Tensor], about: dict[str, str], empty: Rollout) -> Rollout:
    """Return a rollout from tensors, in rings of the shapes `empty` has."""
    def filled(kind: str, caches: tuple[RingCache, ...]) -> tuple[RingCache, ...]:
        rings = []
        for step, cache in enumerate(caches):
            where = 0 if cache.k is caches[0].k else step
            k, v = tensors[f"{kind}.{where}.k"], tensors[f"{kind}.{where}.v"]
            if k.shape != cache.k.shape or k.dtype != cache.k.dtype:
                raise ValueError(f"it holds {k.dtype} {tuple(k.shape)}, this model needs {cache.k.dtype} "
                                 f"{tuple(cache.k.shape)}")
            rings.append(replace(cache, k=k, v=v, end=int(about["end"])))
        return tuple(rings)

    return Rollout(int(about["block"]), filled("told", empty.caches), filled("free", empty.uncond_caches))


def sha256_of(value: str | os.PathLike | Speech | Portrait) -> str:
    """Return the SHA-256 of a file's bytes, or of the numbers."""
    if isinstance(value, Portrait):
        return value.sha256 or hashlib.sha256(value.pixels.numpy(force=True).tobytes()).hexdigest()
    if isinstance(value, Speech):
        import numpy as np

        return hashlib.sha256(np.ascontiguousarray(value.wave)).hexdigest()
    digest = hashlib.sha256()
    with open(value, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def fingerprint_of(value: str | os.PathLike | Speech | Portrait) -> str:
    """Return the sha256 by which an input is found again; of a file of more than WHOLE_BYTES that of its length and
    its two ends, so that a recording of a day is not read whole."""
    if isinstance(value, Speech | Portrait) or os.stat(value).st_size <= WHOLE_BYTES:
        return sha256_of(value)
    size = os.stat(value).st_size
    digest = hashlib.sha256(str(size).encode())
    with open(value, "rb") as file:
        for place in (0, size - END_BYTES):
            file.seek(place)
            digest.update(file.read(END_BYTES))
    return digest.hexdigest()


def write_portrait(path: Path, portrait: Portrait) -> None:
    """Write a portrait, exactly, as safetensors: pixels, and the identity of a rendered one."""
    tensors = {"pixels": portrait.pixels}
    if portrait.identity is not None:
        tensors["identity"] = portrait.identity
    about = {"source": printable(portrait.source), "sha256": portrait.sha256}
    write_whole(path, lambda part: part.write_bytes(pack_tensors(tensors, about)))


def read_portrait(path: Path) -> Portrait:
    """Read what `write_portrait` wrote."""
    from liveavatar.avatars.traits import completed

    tensors, about = read_tensors(path)
    identity = completed(tensors["identity"]) if "identity" in tensors else None         # older runs have fewer traits
    return Portrait(tensors["pixels"], identity, about.get("source", ""), about.get("sha256", ""))
