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
appears whole or not at all, so a run may be killed at any moment.
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
from liveavatar.config import GenerationConfig
from liveavatar.files import printable, user_path, utf8_path, write_whole
from liveavatar.rollout import Rollout
from liveavatar.sound import Sound
from liveavatar.trace import MIB, Trace
from liveavatar.types import InputError, Portrait, Prompt, Speech, Step

FORMAT = 1
STEPS_BYTES = 128 * MIB            # of steps that are kept: those of mini's first minute and more
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
            folder._write_inputs(speech, portrait)
            sound = None if speech.sound is None else speech.sound.keep(folder.path)
            text = json.dumps({"format": FORMAT, **description, "sound": sound}, indent=1, ensure_ascii=False)
            write_whole(folder.path / "run.json", lambda part: part.write_text(text + "\n", **ENCODING))
        except OSError as error:
            raise InputError(f"run folder {folder.path} cannot be written ({error.strerror or error}); "
                             "choose another with --run_dir") from error
        return folder

    def _write_inputs(self, speech: Speech, portrait: Portrait) -> None:
        import soundfile
        from PIL import Image

        data = io.BytesIO()                                   # soundfile would open UTF-8 names only
        soundfile.write(data, speech.wave, speech.rate_hz, subtype="FLOAT", format="WAV")
        write_whole(self.path / "audio.wav", lambda part: part.write_bytes(data.getvalue()))
        write_portrait(self.path / "portrait.safetensors", portrait)
        pixels = portrait.pixels.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy(force=True)
        write_whole(self.path / "portrait.png", lambda part: Image.fromarray(pixels).save(part, "PNG"))

    def read(self) -> dict:
        """What was asked."""
        try:
            description = json.loads((self.path / "run.json").read_text(**ENCODING))
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
        """Sound, picture and words exactly as the run used them."""
        import soundfile

        try:
            wave, rate_hz = soundfile.read(utf8_path(self.path / "audio.wav"), dtype="float32")
            portrait = read_portrait(self.path / "portrait.safetensors")
        except Exception as error:
            raise InputError(f"the inputs in {self.path} are missing or damaged ({error}); "
                             "begin the video again") from error
        about = self.read()
        origin = about["inputs"]
        speech = Speech(wave, rate_hz).with_sound(Sound.kept(self.path, about.get("sound")))
        return speech, replace(portrait, **origin["portrait"]), Prompt(**origin["prompt"])

    def block_path(self, block: int) -> Path:
        return self.path / f"block_{block:05d}.safetensors"

    def save_block(self, latents: Tensor, rollout: Rollout) -> None:
        """Write a finished block and what the next one needs. rollout.block is the next block."""
        from safetensors.torch import save

        finished = rollout.block - 1
        try:
            data = save({"latents": latents.cpu().contiguous()})
            write_whole(self.block_path(finished), lambda part: part.write_bytes(data))
            tensors, about = pack(rollout)
            state = save(tensors, about)
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
        """How many blocks in a row are there."""
        block = 0
        while self.block_path(block).exists():
            block += 1
        return block

    def latents(self, block: int) -> Tensor:
        from safetensors.torch import load_file

        try:
            return load_file(utf8_path(self.block_path(block)))["latents"]
        except Exception as error:
            raise InputError(f"{self.block_path(block)} is damaged ({error}); delete it and all later blocks, "
                             "then begin the video again") from error

    def next_block(self) -> int:
        """Where to go on: after the newest finished block whose caches are there."""
        return max((block for block, _ in self._states()), default=0)

    def rollout(self, empty: Rollout, device: torch.device) -> Rollout:
        """The newest state that can be gone on from; `empty`, which also says what fits, when there is none."""
        from safetensors import safe_open

        states = sorted(self._states())
        if not states:
            return empty
        path = states[-1][1]
        try:
            with safe_open(utf8_path(path), "pt") as file:
                tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}   # noqa: SIM118
                return unpack(tensors, file.metadata(), empty)
        except Exception as error:
            raise InputError(f"{path} cannot be used ({error}); begin the video again") from error

    def _states(self) -> list[tuple[int, Path]]:
        """(next block, file) of the cache files that belong to finished blocks."""
        from safetensors import SafetensorError, safe_open

        states = []
        for path in self.path.glob("caches_[01].safetensors"):
            try:
                with safe_open(utf8_path(path), "pt") as file:
                    block = int(file.metadata()["block"])
            except (OSError, SafetensorError, TypeError, KeyError, ValueError):
                continue                              # a damaged file: the other one of the pair may serve
            if block <= self.finished():
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
    """Refuse a run folder that cannot be written or has a run in it already."""
    path = user_path(path)
    if (path / "run.json").exists():
        raise InputError(f"{path} already holds a run; go on with resume({str(path)!r}) (--resume on the command "
                         "line) or choose another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_whole(path / "run.test", lambda part: part.touch())
        (path / "run.test").unlink()
    except OSError as error:
        raise InputError(f"run folder {path} cannot be written ({error.strerror or error}); choose another") from error
    return path


def pack(rollout: Rollout) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A rollout as tensors and text."""
    tensors = {}
    for kind, caches in (("told", rollout.caches), ("free", rollout.uncond_caches)):
        for step, cache in enumerate(caches):
            tensors[f"{kind}.{step}.k"], tensors[f"{kind}.{step}.v"] = cache.k.cpu(), cache.v.cpu()
    return tensors, {"block": str(rollout.block), "end": str(rollout.caches[0].end)}


def unpack(tensors: dict[str, Tensor], about: dict[str, str], empty: Rollout) -> Rollout:
    """The other way round, into rings of the shapes `empty` has."""
    def filled(kind: str, caches: tuple[RingCache, ...]) -> tuple[RingCache, ...]:
        rings = []
        for step, cache in enumerate(caches):
            k, v = tensors[f"{kind}.{step}.k"], tensors[f"{kind}.{step}.v"]
            if k.shape != cache.k.shape or k.dtype != cache.k.dtype:
                raise ValueError(f"it holds {k.dtype} {tuple(k.shape)}, this model needs {cache.k.dtype} "
                                 f"{tuple(cache.k.shape)}")
            rings.append(replace(cache, k=k, v=v, end=int(about["end"])))
        return tuple(rings)

    return Rollout(int(about["block"]), filled("told", empty.caches), filled("free", empty.uncond_caches))


def sha256_of(value: str | os.PathLike | Speech | Portrait) -> str:
    """Of a file's bytes, or of the numbers."""
    if isinstance(value, Portrait):
        return value.sha256 or hashlib.sha256(value.pixels.numpy(force=True).tobytes()).hexdigest()
    if isinstance(value, Speech):
        return hashlib.sha256(value.wave.tobytes()).hexdigest()
    digest = hashlib.sha256()
    with open(value, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def write_portrait(path: Path, portrait: Portrait) -> None:
    """Write a portrait, exactly, as safetensors: pixels, and the identity of a rendered one."""
    from safetensors.torch import save

    tensors = {"pixels": portrait.pixels.contiguous()}
    if portrait.identity is not None:
        tensors["identity"] = portrait.identity.contiguous()
    about = {"source": printable(portrait.source), "sha256": portrait.sha256}
    write_whole(path, lambda part: part.write_bytes(save(tensors, about)))


def read_portrait(path: Path) -> Portrait:
    """Read what `write_portrait` wrote."""
    from safetensors import safe_open

    from liveavatar.avatars.traits import completed

    with safe_open(utf8_path(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        identity = completed(tensors["identity"]) if "identity" in tensors else None     # older runs have fewer traits
        return Portrait(tensors["pixels"], identity, **(file.metadata() or {}))
