"""What a branch changes, and what is in force at each step after it.

`seed`, `solver`, `prompt`, `sound` and the two strengths hold from the point on; `sigma`, `skip`, `repeat` and `latent`
concern the one step at the point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from liveavatar.checksums import pack_tensors, read_tensors
from liveavatar.config import GenerationConfig
from liveavatar.files import write_whole
from liveavatar.types import Prompt, Speech

LASTING = {"seed": "base_seed", "solver": "sample_solver", "portrait_strength": "portrait_strength",
           "sound_strength": "sound_strength"}           # of a change -> name in the configuration

SHORT = re.compile(r"latent=(ScaleChannel|ReplaceRegion)\(.*\)")       # whose arguments no name of a branch needs


class Changes(TypedDict, total=False):
    """Hold what `Run.branch` can change."""

    seed: int
    solver: str
    portrait_strength: float
    sound_strength: float
    prompt: str | Prompt
    sound: object                        # "silent", "shuffled", "reversed", or a recording: a file or Speech
    sigma: float
    skip: bool
    repeat: int
    latent: object                       # a function of latents, ScaleChannel or ReplaceRegion


@dataclass(frozen=True)
class Change:
    """Hold what is different from one step of one block on. All values are final: nothing is drawn or read later."""

    block: int
    step: int
    seed: int | None = None
    solver: str | None = None
    portrait_strength: float | None = None
    sound_strength: float | None = None
    prompt: Prompt | None = None
    speech: Speech | None = None         # of the whole video, the same as before up to the block
    sigma: float | None = None           # noise level from which the step starts
    skip: bool = False                   # the network's answer is not used
    repeat: int = 1                      # how often the step is made
    edited: bool = False                 # the latents were edited
    latents: Tensor | None = field(default=None, compare=False)   # (1, C, F, h, w) that enter the step; None: as made

    @property
    def point(self) -> tuple[int, int]:
        """Return (block, step)."""
        return self.block, self.step

    @property
    def alters(self) -> bool:
        """Tell whether anything becomes different."""
        return any(self.names())

    def names(self) -> list[str]:
        """List what it alters, by the names of `Run.branch`; "edited" stands for a latent edit."""
        return [one.name for one in fields(self) if one.name not in ("block", "step", "latents")
                and getattr(self, one.name) not in (one.default, None)]

    def to_dict(self) -> dict:
        """Describe it for JSON, without latents and sound."""
        values = {name: getattr(self, name) for name in self.names()}
        if self.prompt is not None:
            values["prompt"] = {"text": self.prompt.text, "slots": self.prompt.slots}
        if self.speech is not None:
            values["speech"] = {"rate_hz": self.speech.rate_hz}
        return {"block": self.block, "step": self.step, **values}


@dataclass(frozen=True)
class Lineage:
    """Describe how a branch came about: all changes from the first run on, and the calls of `branch` as Python."""

    changes: tuple[Change, ...] = ()     # by their points
    calls: tuple[str, ...] = ()          # "branch(2, 1, seed=7)", the first run's branch first
    point: tuple[int, int] | None = None    # of the last call

    @property
    def recipe(self) -> str:
        """Return Python that makes the branch again from the first run, `run`."""
        edits = [name for name in ("ReplaceRegion", "ScaleChannel") if any(f"{name}(" in call for call in self.calls)]
        lines = [f"branch = {'branch' if number else 'run'}.{call}" for number, call in enumerate(self.calls)]
        return "\n".join([*([f"from liveavatar import {', '.join(edits)}"] if edits else []), *lines])

    @property
    def description(self) -> str:
        """Say what the last branch changed, and where; "" for a run that is no branch."""
        if not self.calls:
            return ""
        block, step, *changes = self.calls[-1].removeprefix("branch(").removesuffix(")").split(", ", 2)
        words = SHORT.sub(lambda found: found[1], changes[0]) if changes else "nothing changed"
        return f"{words} at block {block}, step {step}"

    def branched(self, change: Change, call: str) -> Lineage:
        """Return the lineage of a branch. What was changed later on is kept only where nothing else is."""
        before = [one for one in self.changes if one.point < change.point]
        here = next((one for one in self.changes if one.point == change.point), None)
        later = [] if change.alters else [one for one in self.changes if one.point > change.point]
        return Lineage((*before, change if here is None else joined(here, change), *later), (*self.calls, call),
                       change.point)

    def at(self, block: int, step: int) -> Change | None:
        """Return the change at a step."""
        return next((one for one in self.changes if one.point == (block, step)), None)

    def in_block(self, block: int) -> list[Change]:
        """List the changes within a block, in order."""
        return [one for one in self.changes if one.block == block]


def joined(first: Change, second: Change) -> Change:
    """Join two changes at one step; where both change the same the second holds."""
    kept = {name: getattr(first, name) for name in first.names() if name not in second.names()}
    return replace(second, **kept)


@dataclass(frozen=True)
class Settings:
    """All that steers a step and lasts: the configuration, the words and the sound."""

    config: GenerationConfig             # its base_seed is that of the steps, not of the sound's noise
    prompt: Prompt
    speech: Speech

    def after(self, changes: Iterable[Change]) -> Settings:
        """Return what is in force after some changes. Raises InputError for values that cannot be."""
        config, prompt, speech = self.config, self.prompt, self.speech
        for change in changes:
            lasting = {ours: getattr(change, name) for name, ours in LASTING.items()
                       if getattr(change, name) is not None}
            config = replace(config, **lasting)
            prompt = prompt if change.prompt is None else change.prompt
            speech = speech if change.speech is None else change.speech
        return Settings(config, prompt, speech)


# ------------------------------------------------------------------------------------------- in a folder

FILE = "branch.safetensors"              # of a saved run: latents and sound of its changes


def save_lineage(lineage: Lineage, folder: Path) -> dict:
    """Write the tensors of a lineage into a folder; return what is left, for JSON."""
    tensors: dict[str, Tensor] = {}
    for number, change in enumerate(lineage.changes):
        if change.latents is not None:
            tensors[f"{number}.latents"] = change.latents.contiguous()
        if change.speech is not None:
            tensors[f"{number}.wave"] = torch.from_numpy(np.ascontiguousarray(change.speech.wave))
    write_whole(folder / FILE, lambda part: part.write_bytes(pack_tensors(tensors, {})))
    return {"point": lineage.point, "calls": list(lineage.calls),
            "changes": [change.to_dict() for change in lineage.changes]}


def load_lineage(folder: Path, about: dict | None) -> Lineage:
    """Read what `save_lineage` wrote; about: what it returned, None for a run that is no branch"""
    if about is None:
        return Lineage()
    tensors, _ = read_tensors(folder / FILE)
    changes = []
    for number, values in enumerate(about["changes"]):
        prompt, speech = values.get("prompt"), values.get("speech")
        if prompt is not None:
            values = values | {"prompt": Prompt(**prompt)}
        if speech is not None:
            values = values | {"speech": Speech(tensors[f"{number}.wave"].numpy(), speech["rate_hz"])}
        changes.append(Change(**values, latents=tensors.get(f"{number}.latents")))
    return Lineage(tuple(changes), tuple(about["calls"]), tuple(about["point"]))
