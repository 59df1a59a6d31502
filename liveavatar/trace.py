"""What was seen on the way: a bounded record of the steps of a run that can be saved, loaded and replayed.

A trace only looks. Tensors are copied to main memory as they are; once there are more bytes than `limit_bytes`, the
oldest blocks move to safetensors files in a folder and are read back when they are asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from torch import Tensor

from liveavatar.checksums import check_values, pack_each, read_each, with_crc
from liveavatar.files import user_path, write_whole
from liveavatar.types import InputError, Step

TENSORS = ("x", "clean", "velocity")
NUMBERS = ("block", "index", "steps", "sigma", "sigma_next", "milliseconds", "bytes")
MIB = 2**20


class Trace:
    """Steps by block and index. Feed it with `record`, read it with `step(block, index)` or by iterating.

    velocity=False saves a third of the memory; replayed steps then have None in its place. Caches are never kept.
    """

    def __init__(self, limit_bytes: int = 512 * MIB, folder: str | os.PathLike | None = None,
                 velocity: bool = True) -> None:
        if limit_bytes <= 0:
            raise InputError(f"limit_bytes is {limit_bytes}; a trace needs memory, for example {512 * MIB}")
        self.limit_bytes = limit_bytes
        self.bytes = 0                                        # in main memory now
        self._kept = TENSORS if velocity else TENSORS[:2]
        self._numbers: dict[tuple[int, int], dict] = {}       # (block, index) -> what is not a tensor
        self._tensors: dict[tuple[int, int], dict[str, Tensor]] = {}
        self._files: dict[int, Path] = {}                     # block -> where it was spilled
        self._folder = user_path(folder) if folder is not None else None
        self._origin: Trace | None = None                     # whose files it reads

    def record(self, event: object) -> None:
        """Keep a step; anything else in a stream of events is let pass."""
        if not isinstance(event, Step):
            return
        key = event.block, event.index
        self._forget(key)
        self._numbers[key] = {name: getattr(event, name) for name in NUMBERS}
        tensors = {name: getattr(event, name) for name in self._kept}
        self._tensors[key] = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
        self.bytes += sum(value.nbytes for value in self._tensors[key].values())
        while self.bytes > self.limit_bytes:
            self._spill(min(block for block, _ in self._tensors))

    def watch(self, events: Iterator) -> Iterator:
        """Let a stream of events pass through and record its steps."""
        for event in events:
            self.record(event)
            yield event

    def step(self, block: int, index: int) -> Step:
        """Return one step as it was. A negative number counts from the end, of the video or of the block."""
        if (block, index) not in self._numbers:
            block = self._resolve(block, self.blocks, "block")
            index = self._resolve(index, tuple(i for b, i in self._numbers if b == block), "step")
        if (block, index) in self._tensors:
            return self._rebuild(block, index, self._tensors[block, index])
        return self._rebuild(block, index, self._read(block, index))

    def until(self, block: int, index: int) -> Trace:
        """Return a trace of the steps before one, which goes on from there; tensors in memory are shared."""
        other = Trace(self.limit_bytes, velocity="velocity" in self._kept)
        for key in [key for key in self._numbers if key < (block, index)]:
            other._numbers[key] = self._numbers[key]
            if key[0] in self._files and key[0] != block and key not in self._tensors:
                other._files[key[0]] = self._files[key[0]]
            else:
                other._tensors[key] = self._tensors.get(key) or self._read(*key)
        other._origin = self                                  # whose folder goes with it
        other.bytes = sum(value.nbytes for step in other._tensors.values() for value in step.values())
        return other

    @property
    def blocks(self) -> tuple[int, ...]:
        return tuple(sorted({block for block, _ in self._numbers}))

    @property
    def spilled(self) -> tuple[int, ...]:
        """Return the blocks that are on disk."""
        return tuple(sorted(self._files))

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Step]:
        return self.replay()

    def __repr__(self) -> str:
        return (f"Trace({len(self)} steps of {len(self.blocks)} blocks, {self.bytes / MIB:.1f} of "
                f"{self.limit_bytes / MIB:.0f} MiB in memory, {len(self._files)} blocks on disk)")

    def replay(self) -> Iterator[Step]:
        """Yield all steps in the order of the run, with the values they had."""
        for block, index in sorted(self._numbers):
            yield self.step(block, index)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the trace into a folder: trace.json and one safetensors file a block."""
        folder = user_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for block in self.blocks:
            steps = [self.step(*key) for key in sorted(self._numbers) if key[0] == block]
            tensors = {f"{step.index}.{name}": getattr(step, name) for step in steps for name in self._kept}
            write_whole(folder / block_file(block), partial(write_tensors, tensors))
        self._write_description(folder)
        return folder

    def flush(self) -> int:
        """Move all that is in memory to the trace's folder, so that `load(folder)` finds it even if this process ends
        now. Returns the bytes of the files there."""
        for block in sorted({block for block, _ in self._tensors}):
            self._spill(block)
        self._write_description(self._spill_folder())
        return sum(path.stat().st_size for path in self._files.values())

    @classmethod
    def load(cls, folder: str | os.PathLike, limit_bytes: int = 512 * MIB) -> Trace:
        """Open a saved trace. Its tensors stay in the folder until a step is asked for."""
        folder = user_path(folder)
        try:
            description = check_values(json.loads((folder / "trace.json").read_text(encoding="utf-8")))
            trace = cls(limit_bytes, folder)
            trace._kept = tuple(name for name in TENSORS if name in description["kept"])
            trace._numbers = {(step["block"], step["index"]): step for step in description["steps"]}
            trace._files = {block: folder / block_file(block) for block in trace.blocks}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no trace that can be read ({error}); "
                             "give a folder written by Trace.save") from error
        return trace

    def _write_description(self, folder: Path) -> None:
        """Write trace.json: what is not a tensor."""
        numbers = [self._numbers[key] for key in sorted(self._numbers)]
        text = json.dumps(with_crc({"format": 1, "kept": list(self._kept), "steps": numbers}), indent=1)
        write_whole(folder / "trace.json", lambda part: part.write_text(text, encoding="utf-8"))

    def _resolve(self, number: int, known: tuple[int, ...], name: str) -> int:
        if number < 0 and -number <= len(known):
            number = sorted(known)[number]
        if number not in known:
            seen = f"{name}s {min(known)} to {max(known)}" if known else "nothing"
            raise InputError(f"{name} {number} is not in this trace; it has {seen}")
        return number

    def _rebuild(self, block: int, index: int, tensors: dict[str, Tensor]) -> Step:
        try:
            return Step(**self._numbers[block, index], cache=None, **{name: tensors.get(name) for name in TENSORS})
        except TypeError as error:
            raise InputError(f"step {index} of block {block} of this trace is damaged ({error}); record the run "
                             "again") from error

    def _read(self, block: int, index: int) -> dict[str, Tensor]:
        from safetensors import SafetensorError

        path = self._files[block]
        try:
            tensors = read_each(path, [f"{index}.{name}" for name in self._kept])
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"{path} of this trace is missing or damaged ({error}); record the run again") from error
        return {name: tensors[f"{index}.{name}"] for name in self._kept}

    def _read_block(self, path: Path) -> dict[str, Tensor]:
        """Read all that a file holds; nothing where it is missing or damaged: what comes anew matters more."""
        from safetensors import SafetensorError

        try:
            return read_each(path)
        except (OSError, SafetensorError, ValueError):
            return {}

    def _spill(self, block: int) -> None:
        """Move one block from memory to disk, joining what is there of it already."""
        path = self._spill_folder() / block_file(block)
        tensors = self._read_block(self._files[block]) if block in self._files else {}
        for key in [key for key in self._tensors if key[0] == block]:
            tensors |= {f"{key[1]}.{name}": value for name, value in self._tensors.pop(key).items()}
        write_whole(path, partial(write_tensors, tensors))
        self._files[block] = path
        self.bytes = sum(value.nbytes for step in self._tensors.values() for value in step.values())

    def _spill_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="liveavatar-trace-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)      # with the trace, or at exit
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def _forget(self, key: tuple[int, int]) -> None:
        """Forget the first of two steps of the same number."""
        self.bytes -= sum(value.nbytes for value in self._tensors.pop(key, {}).values())


def block_file(block: int) -> str:
    return f"trace_{block:05d}.safetensors"


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file with checksums under any name."""
    path.write_bytes(pack_each(tensors))
