"""The blocks of a video some of whose steps are changed: the sampler's loop, cut where something else holds.

Each stretch of a block between two changes is made by `rollout.steps_of_block`, with its own configuration and
condition. So a video without changes is made of the same calls as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from math import ceil
from threading import Event
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.inputs import Inputs
from liveavatar.rollout import (
    Branch,
    Constants,
    Rollout,
    beginning,
    block_generator,
    branch_of,
    clean_level_of,
    schedule_of,
    steps_of_block,
)
from liveavatar.runs.changes import Change, Lineage, Settings
from liveavatar.runs.kept_caches import Level, filled
from liveavatar.sampler import Modulation, Schedule, model_levels
from liveavatar.threads import adapted_threads, draw_adapted, held_threads
from liveavatar.types import Condition, Step

if TYPE_CHECKING:
    from liveavatar.config import GenerationConfig
    from liveavatar.pipeline import Pipeline

Made = Iterator[tuple[Step, Rollout | None]]


class ChangedRollout:
    """Makes the blocks of a branch. Conditions are encoded when a step first needs them; the newest is kept."""

    def __init__(self, pipeline: Pipeline, inputs: Inputs, config: GenerationConfig, lineage: Lineage) -> None:
        """Take what the first run was made from. config: its sound is cut already"""
        self.pipeline, self.backend, self.lineage = pipeline, pipeline.backend, lineage
        self._inputs, self._config = inputs, config
        self._base = Settings(config, inputs.prompt, inputs.speech)
        self._encoded: tuple[tuple, Condition] | None = None
        self._branches: tuple[tuple, Branch, Branch | None] | None = None
        self._levels: dict[tuple[float, ...], tuple[Modulation, ...]] = {}

    # ------------------------------------------------------------------ what holds where

    def settings(self, block: int, step: int) -> Settings:
        """Return what is in force at a step."""
        return self._base.after(one for one in self.lineage.changes if one.point <= (block, step))

    def condition(self, block: int, step: int) -> Condition:
        """Encode what steers a step, or return it where the step before had the same."""
        settings = self.settings(block, step)
        key = self._key(settings)
        if self._encoded is None or self._encoded[0] != key:
            config = replace(settings.config, base_seed=self._config.base_seed)      # the noise of a weak sound stays
            inputs = replace(self._inputs, speech=settings.speech, prompt=settings.prompt)
            self._encoded = key, self.pipeline.encode_inputs(inputs, config)
            self.pipeline.load_weights()
        return self._encoded[1]

    @staticmethod
    def _key(settings: Settings) -> tuple:
        return (id(settings.prompt), id(settings.speech), settings.config.portrait_strength,
                settings.config.sound_strength)

    def schedule(self, block: int, step: int) -> Schedule:
        """Return the noise levels that a step knows: those of the video, and those changed in this block so far."""
        schedule = schedule_of(self.backend, self._config)
        sigmas = list(schedule.sigmas)
        for change in self.lineage.in_block(block):
            if change.sigma is not None and change.step <= step:
                sigmas[change.step] = change.sigma
        return replace(schedule, sigmas=tuple(sigmas))

    def constants(self, block: int, step: int) -> Constants:
        """Return all that the sampler needs at a step beside caches and latents."""
        settings, condition, schedule = self.settings(block, step), self.condition(block, step), self.schedule(block,
                                                                                                           step)
        key, backend = self._key(settings), self.backend
        if self._branches is None or self._branches[0] != key:
            guided = self._config.guidance != 1.0
            self._branches = (key, branch_of(backend, condition),
                              branch_of(backend, backend.unconditional(condition)) if guided else None)
        if schedule.sigmas not in self._levels:
            with torch.inference_mode():
                self._levels[schedule.sigmas] = model_levels(backend.transformer, schedule, backend.device)
        return Constants(schedule, settings.config.sample_solver or backend.trained.solver,
                         self._levels[schedule.sigmas], *self._branches[1:], self._clean_level)

    @cached_property
    def _clean_level(self) -> Modulation | None:
        """Return one object for all blocks: recorded steps are told apart by it."""
        return clean_level_of(self.backend, self._config)

    # ------------------------------------------------------------------ making

    def roll_out(self, kept: tuple[Level, ...], begins: int, first: tuple[int, int], stop: Event) -> Made:
        """Yield every step from `first` on and, with the last one of each block, what the next block depends on.

        kept: the caches at the beginning of block `begins`, () for block 0. From that block on what comes before
        `first` is computed again, for its keys and values only
        """
        fixed = self.backend.compiled_threads
        with adapted_threads(self.backend.device, fixed=fixed):
            rollout = filled(beginning(self.backend, self.constants(begins, 0), self._config), kept, begins)
        block_frames = self.backend.block_latents * self.backend.frames_per_latent
        frames, shape = self.condition(begins, 0).frames, self.condition(begins, 0).reference.shape
        with held_threads():
            for block in range(begins, ceil(frames / block_frames)):
                caches = []
                for step in draw_adapted(self.steps(rollout), self.backend.device, ("step", shape), fixed):
                    caches.append(step.cache)
                    if step.last:
                        ends = tuple(cache.advance(self.backend.block_latents) for cache in rollout.uncond_caches)
                        rollout = Rollout(block + 1, tuple(caches), ends)
                    if (block, step.index) >= first:
                        yield step, rollout if step.last else None
                    elif stop.is_set():
                        return

    def steps(self, rollout: Rollout) -> Iterator[Step]:
        """Yield the steps of the block that comes next, stretch by stretch."""
        latents, before = None, None
        for steps in self.stretches(rollout.block):
            change = self.lineage.at(rollout.block, steps.start) or Change(rollout.block, steps.start)
            latents = latents if change.latents is None else change.latents
            made = (self._repeated(rollout, change, latents) if change.repeat > 1 else
                    self._made(rollout, steps, latents))
            for step in made:
                before = skipped(step, before) if change.skip and before is not None else step
                latents = before.x
                yield before

    def stretches(self, block: int) -> list[range]:
        """Cut the steps of a block where something changes; a step that is skipped or repeated stands alone."""
        steps, cuts = self._config.sample_steps, {0}
        for change in self.lineage.in_block(block):
            cuts |= {change.step, change.step + 1} if change.skip or change.repeat > 1 else {change.step}
        edges = [*sorted(cut for cut in cuts if cut < steps), steps]
        return [range(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def _made(self, rollout: Rollout, steps: range, latents: Tensor | None) -> Iterator[Step]:
        """Yield the steps of a stretch. latents: (1, C, F, h, w) that enter it; None: noise"""
        part = replace(rollout, caches=rollout.caches[steps.start:steps.stop])
        constants, config = (self.constants(rollout.block, steps.start),
                             self.settings(rollout.block, steps.start).config)
        with torch.inference_mode():                       # as `rollout.roll_out`: the same kernels, the same numbers
            return steps_of_block(self.backend, constants, config, part, steps, latents)

    def _repeated(self, rollout: Rollout, change: Change, latents: Tensor | None) -> Iterator[Step]:
        """Make one step several times: its guess is mixed with fresh noise to the level where the step starts, and the
        step is made again (resampling as in RePaint, arXiv:2201.09865). Yield the last time."""
        alone, spent_ms = range(change.step, change.step + 1), 0.0
        seed = self.settings(*change.point).config.base_seed
        for number in range(change.repeat):
            [step] = self._made(rollout, alone, latents)
            spent_ms += step.milliseconds
            generator = block_generator(seed, f"{change.block} repeat {change.step} {number}")
            noise = torch.randn(step.x.shape, generator=generator).to(step.x.device)
            mixed = (1 - step.sigma) * step.clean.float() + step.sigma * noise
            latents = mixed.to(step.x.dtype)
        yield replace(step, milliseconds=spent_ms)


def skipped(step: Step, before: Step) -> Step:
    """Carry the guess of the step before to the level where this step ends, in place of this step's answer.

    Its keys and values stay: later blocks attend to them.
    """
    x, velocity = before.x.float(), (before.x.float() - before.clean.float()) / max(step.sigma, 1e-6)
    moved = x + (step.sigma_next - step.sigma) * velocity
    return replace(step, x=moved.to(step.x.dtype), clean=before.clean, velocity=velocity.to(step.x.dtype))
