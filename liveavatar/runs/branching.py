"""Another future of a run, from a step of a block on: `Run.branch`.

    branch = run.branch(2, 1, seed=7)        # ready; branch.start() makes what is left
    print(branch.recipe)

The steps and pictures before the point are those of the parent. What comes after attends to keys and values of earlier
blocks: they are computed again from the newest kept copy (`kept_caches`), at worst from the beginning of the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import index
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.config import GenerationConfig, check_between, check_choice, check_whole
from liveavatar.inputs import Inputs, prepare_prompt
from liveavatar.pipeline import Pipeline
from liveavatar.progress import Stopwatch
from liveavatar.rollout import block_generator
from liveavatar.runs.changed_rollout import ChangedRollout, Made
from liveavatar.runs.changes import Change, Lineage, Settings
from liveavatar.runs.edits import EditPlace, edited, name_of_edit
from liveavatar.runs.info import RUNNING
from liveavatar.runs.kept_caches import Level
from liveavatar.runs.other_sounds import with_other_sound
from liveavatar.runs.record import RunRecord, SavedState
from liveavatar.runs.sources import GenerationSource
from liveavatar.sampler import Schedule
from liveavatar.streaming import BlockStream
from liveavatar.types import Block, InputError, Prompt, Speech, Step

if TYPE_CHECKING:
    from liveavatar.runs.run import Run

MOST_REPEATS = 8
LOOKED_BACK = 16                  # blocks that a new decoder decodes again: more than any of the VAEs remembers


class BranchSource(GenerationSource):
    """Makes what is left of a branch."""

    def __init__(self, run: RunRecord, lineage: Lineage) -> None:
        """Take the parent and all changes since the first run. Raises InputError where it cannot be gone on with."""
        self.pipeline, self.inputs, self.config = origin_of(run)
        self.backend, self.info, self.portrait = self.pipeline.backend, run.info, run.portrait
        self.lineage, self._parent = lineage, run
        self.rollout = ChangedRollout(self.pipeline, self.inputs, self.config, lineage)
        last = self.rollout.settings(run.info.blocks, 0)
        self.speech = last.speech
        self.info = replace(run.info, solver=last.config.sample_solver or self.backend.trained.solver)
        self.provenance = run.provenance | {"branch": [change.to_dict() for change in lineage.changes]}
        self.trace = run.trace.until(*lineage.point)
        self.decoded = decoded_blocks(run, lineage.point[0])

    def events(self, stop: Event) -> Iterator[Step | Block]:
        """Yield the steps from the point on, and the blocks whose pictures are decoded."""
        kept, begins = nearest_caches(self._parent, self.lineage.point)
        yield from BranchStream(self, kept, begins, stop).events(stop)


class BranchStream(BlockStream):
    """Makes and decodes the blocks of a branch."""

    def __init__(self, source: BranchSource, kept: tuple[Level, ...], begins: int, stop: Event) -> None:
        """Take caches that are kept, the block at whose beginning they were copied, and what ends the work."""
        self._source, self._kept_caches, self._begins, self._stop = source, kept, begins, stop
        super().__init__(source.pipeline, source.rollout.condition(begins, 0), source.config, Stopwatch())
        self._decoded = self._from_before = source.decoded
        self._begun = False                                # the decoder has decoded the blocks before

    def events(self, stop: Event | None = None) -> Iterator[Step | Block]:
        """Yield the blocks that the parent has made and not decoded, then the steps and blocks of the branch."""
        for block in range(self._decoded, self._source.lineage.point[0]):
            self.add(self._source.trace.step(block, -1).x)
        if self._config.enable_online_decode:
            yield from self.waiting()
        yield from super().events(stop)

    def waiting(self) -> Iterator[Block]:
        """Decode the blocks that wait for it, with a decoder that has decoded the blocks before them."""
        if self._waiting and not self._begun:
            self._begun, source = True, self._source
            condition = source.rollout.condition(source.lineage.point[0], source.info.steps - 1)
            self._decoder = source.backend.decoder(condition)
            for block in range(max(self._decoded - LOOKED_BACK, 0), self._decoded):
                self._decoder.decode(source.trace.step(block, -1).x)
        yield from super().waiting()

    def _roll_out(self) -> Made:
        return self._source.rollout.roll_out(self._kept_caches, self._begins, self._source.lineage.point, self._stop)


# ------------------------------------------------------------------------------------------- what it begins from

def origin_of(run: RunRecord) -> tuple[Pipeline, Inputs, GenerationConfig]:
    """Return what a run is made from: pipeline, inputs and configuration, whose sound is cut already.

    Raises InputError where the model or an input is missing, as in a bare trace or a video of another origin.
    """
    if isinstance(run.source, GenerationSource):
        return run.source.pipeline, run.source.inputs, replace(run.source.config, start_s=0.0, duration_s=None)
    if run.info.config.keys() - GenerationConfig.__dataclass_fields__.keys():
        raise InputError("this run was not made by liveavatar; only runs of its pipelines can be branched")
    if run.backend is None:
        raise InputError("no model is at hand to go on with; open the run with replay(folder, pipeline=pipe)")
    about = run.provenance
    if run.speech is None or run.portrait is None or not {"size", "inputs", "backend"} <= about.keys():
        raise InputError("this run was saved without its portrait, sound or recipe; save it with run.save(folder), by "
                         "this version")
    ours = run.backend.about()
    for name in ("name", "student", "dtype", "fingerprint"):
        if ours.get(name) != about["backend"].get(name):
            raise InputError(f"the run was made with {name} {about['backend'].get(name)!r}, this pipeline has "
                             f"{ours.get(name)!r}; load the same model to branch it")
    first = run.first_speech if run.first_speech is not None else run.speech
    inputs = Inputs(first, run.portrait, Prompt(**about["inputs"]["prompt"]), tuple(about["size"]), about["inputs"])
    return Pipeline(run.backend), inputs, replace(GenerationConfig.from_dict(run.info.config), start_s=0.0,
                                                  duration_s=None)


def nearest_caches(run: RunRecord | None, point: tuple[int, int]) -> tuple[tuple[Level, ...], int]:
    """Return kept caches, of a run or of those it was branched from, and the block at whose beginning they were copied:
    the nearest before a point; (), 0 where none are kept. They stay whole when the run goes on and lets go of some."""
    levels: tuple[Level, ...] = ()
    nearest = 0
    while run is not None:
        with run._changed:
            block = run.kept_caches.newest_before(point[0])
            if block > nearest:
                levels, nearest = run.kept_caches.at(block), block
        point, run = min(point, run.lineage.point or point), run.parent      # later the ancestor made something else
    return levels, nearest


def decoded_blocks(run: RunRecord, block: int) -> int:
    """Return how many of the blocks before a block are decoded. A run that pauses between the last step of a block and
    its pictures has made more; of a run whose pictures are no longer kept, or were not read, all are."""
    kept = [one.index for one in run.blocks if one.index < block]
    return max(kept) + 1 if kept else block if run.done_s else 0


# ------------------------------------------------------------------------------------------- making one

def branch(run: Run, block: int, step: int, *, seed: int | None = None, sigma: float | None = None,
           solver: str | None = None, prompt: str | Prompt | None = None, sound: object = None,
           portrait_strength: float | None = None, sound_strength: float | None = None, skip: bool = False,
           repeat: int = 1, latent: object = None) -> Run:
    """Return another future of a run, ready to start; see `Run.branch`, also for what raises InputError."""
    if run.state == RUNNING:
        raise InputError("the run is being made; pause it first: run.pause()")
    pipeline, inputs, config = origin_of(run)
    block, step = resolved(run, block, step)
    call = call_of(block, step, seed=seed, sigma=sigma, solver=solver, prompt=prompt, sound=sound,
                   portrait_strength=portrait_strength, sound_strength=sound_strength, skip=skip or None,
                   repeat=None if repeat == 1 else repeat, latent=latent)
    check_change(run, block, step, skip, repeat, solver)
    before = ChangedRollout(pipeline, inputs, config, run.lineage)
    now = before.settings(block, step)
    words = None if prompt is None else prepare_prompt(pipeline.backend, prompt)
    change = Change(block, step, seed, solver, portrait_strength, sound_strength, words, None, sigma, skip, repeat,
                    latent is not None)
    after = now.after([change])                          # refuses what cannot be
    if sound is not None:
        speech = with_other_sound(now.speech, sound, block * run.info.block_s, after.config.base_seed, pipeline.backend)
        change = replace(change, speech=speech)
    change = replace(change, latents=entering(run, before.schedule(block, step - 1), change, after, latent))
    with run._changed:                                   # a run that pauses may still finish its step
        source = BranchSource(run, run.lineage.branched(change, call))
        return begun(type(run)(source, source.trace), run, source)


def begun(made: Run, parent: Run, source: BranchSource) -> Run:
    """Give a new branch what its parent has made before the point."""
    block, step = source.lineage.point
    rings = {level: ring for level in parent.rings if (ring := parent.ring_at(block, step - 1, level)) is not None}
    blocks = {one.index: one for one in parent.blocks if one.index < block}
    done_s = max((one.start_s + len(one.frames) / parent.info.fps for one in blocks.values()), default=0.0)
    made.restore(SavedState(blocks, done_s, rings=rings, latent_map=parent._latent_map, provenance=source.provenance,
                            portrait=parent.portrait, lineage=source.lineage, first_speech=source.inputs.speech))
    made.parent = parent
    parent.add_branch(made)
    return made


def resolved(run: RunRecord, block: int, step: int) -> tuple[int, int]:
    """Return a point as numbers from 0; below 0 they count from the end of what is made.

    Raises InputError for what is no whole number, and where the run has not come so far.
    """
    try:
        block, step = index(block), index(step)
    except TypeError:
        raise InputError(f"a branch begins at block {block!r}, step {step!r}; give whole numbers, for example "
                         "branch(2, 1)") from None
    made = run.recorded_steps
    if not made:
        raise InputError("this run has made no step yet; start it, pause it, then branch")
    blocks = sorted({at for at, _ in made})
    block = blocks[block] if -len(blocks) <= block < 0 else block
    step = run.info.steps + step if -run.info.steps <= step < 0 else step
    last_block, last_step = made[-1]
    following = (last_block, last_step + 1) if last_step + 1 < run.info.steps else (last_block + 1, 0)
    if (block, step) not in made and ((block, step) != following or block >= run.info.blocks):
        raise InputError(f"there is no step {step} of block {block} to branch at; this run has made steps 0 to "
                         f"{run.info.steps - 1} of blocks {blocks[0]} to {last_block}")
    return block, step


def check_change(run: RunRecord, block: int, step: int, skip: bool, repeat: int, solver: object) -> None:
    """Refuse changes of one step that cannot be made."""
    check_whole("repeat", repeat, 1, MOST_REPEATS, "1 makes the step once, as ever")
    if solver is not None:
        check_choice("solver", solver, ("euler", "renoise"))
    if skip and step == 0:
        raise InputError(f"step 0 of block {block} cannot be skipped: there is no guess before it; skip a later step")
    if skip and repeat > 1:
        raise InputError(f"a step cannot be skipped and made {repeat} times; choose one")


def entering(run: RunRecord, schedule: Schedule, change: Change, after: Settings, edit: object) -> Tensor | None:
    """Return the latents (1, C, F, h, w) that enter the changed step; None where the noise of its block does.

    Those of the parent, moved to another noise level where that is changed, then edited. Raises InputError for a level
    that is not between those of its neighbours, and for an edit that cannot be made.
    """
    block, step = change.point
    sigmas, seed = schedule.sigmas, after.config.base_seed
    if change.sigma is not None:
        check_between("sigma", change.sigma, 0, 1)
        least, most = sigmas[step + 1], sigmas[step - 1] if step else 1.0
        if not (least < change.sigma < most or (step == 0 and change.sigma == 1)):
            raise InputError(f"sigma is {change.sigma}; at step {step} it must lie between {least:.3g} and {most:.3g}, "
                             "the noise levels of its neighbours")
    here = run.lineage.at(block, step)
    fresh = step == 0 and change.seed is not None
    x = None if here is None or fresh else here.latents
    if x is None and step > 0:
        x = run.step_record(block, step - 1).x
    if x is not None and step > 0 and change.sigma is not None:
        now = sigmas[step] if here is None or here.sigma is None else here.sigma
        x = at_level(x, run.step_record(block, step - 1).clean, now, change.sigma)
    if edit is None:
        return x
    if x is None:
        x = noise_of(run, block, seed)
    return edited(edit, x, EditPlace(block, step, seed))


def at_level(x: Tensor, clean: Tensor, sigma: float, other: float) -> Tensor:
    """Move latents x (1, C, F, h, w) to another noise level, on the line through their guess `clean`."""
    noise = (x.float() - (1 - sigma) * clean.float()) / sigma
    return ((1 - other) * clean.float() + other * noise).to(x.dtype)


def noise_of(run: RunRecord, block: int, seed: int) -> Tensor:
    """Draw the noise (1, C, F, h, w) that a block begins with, as the sampler does."""
    x = run.step_record(-1, -1).x
    return torch.randn(x.shape, generator=block_generator(seed, block)).to(x.dtype)


def call_of(block: int, step: int, **changes: object) -> str:
    """Return the call of `branch` as Python."""
    given = [f"{name}={value_of(name, value)}" for name, value in changes.items() if value is not None]
    return f"branch({', '.join([str(block), str(step), *given])})"


def value_of(name: str, value: object) -> str:
    """Return a value of a change as Python; recordings and functions by a name."""
    if name == "latent":
        return name_of_edit(value)
    if isinstance(value, Speech):
        return "recording"
    if isinstance(value, Prompt):
        return repr(value.text)
    if isinstance(value, float):
        return repr(float(value))                        # of numpy too
    return repr(str(value)) if isinstance(value, Path) else repr(value)
