"""Block after block: the sampler's loop carried through a whole video.

Random draws: block b draws its noise, and re-noising its fresh noise after it, from a torch.Generator of its own whose
seed is the first 63 bits of sha256("liveavatar:{base_seed}:{b}"). So one seed is one video, a run can be gone on with
without repeating the draws before, and the noise of a block does not depend on the number of steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.cache import ConditionCache, KeysValues, RingCache
from liveavatar.config import GenerationConfig
from liveavatar.sampler import (
    Guidance,
    Modulation,
    Schedule,
    denoise_block,
    make_schedule,
    model_levels,
)
from liveavatar.threads import adapted_threads, draw_adapted, held_threads
from liveavatar.transformer import AUDIO_HISTORY, Context
from liveavatar.types import Condition, Step

if TYPE_CHECKING:
    from liveavatar.backends import Backend


@dataclass(frozen=True)
class Rollout:
    """Describe where a video stands between two blocks: all that later blocks depend on."""

    block: int                               # the next block to be made
    caches: tuple[RingCache, ...]            # one per step
    uncond_caches: tuple[RingCache, ...] = ()  # of guidance's unconditional branch


@dataclass(frozen=True)
class Branch:
    """A condition, and what the model makes of it once for a whole video."""

    condition: Condition
    text: tuple[KeysValues, ...]
    portrait: ConditionCache

    def seen_with(self, ring: RingCache) -> ConditionCache:
        """Return the portrait as the next block of this ring sees it."""
        return self._forgotten if ring.first_visible else self.portrait

    @cached_property
    def _forgotten(self) -> ConditionCache:
        """Return the portrait of blocks that no longer see it: what is copied from it is empty, as at strength 0."""
        reference = self.portrait.reference
        return self.portrait if reference is None else replace(self.portrait, reference=torch.zeros_like(reference))


@dataclass(frozen=True)
class Constants:
    """Hold what does not change from block to block."""

    schedule: Schedule
    solver: str
    levels: tuple[Modulation, ...]
    cond: Branch
    uncond: Branch | None            # without words and sound; None when there is no guidance
    clean_level: Modulation | None = None   # of the pass that fills one clean cache; None: a cache for each noise level


def block_generator(base_seed: int, block: int | str) -> torch.Generator:
    """Make the source of every random draw of one block; see the top of this module. Draws for a whole video have
    a name instead of a number: "sound"."""
    digest = hashlib.sha256(f"liveavatar:{base_seed}:{block}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def audio_of_block(audio: Tensor, block: int, frames: int, sees_past: bool) -> Tensor:
    """Return the sound of a block, with nine frames of history: (1, layers, A, T) -> (1, layers, A, 9 + frames).

    Nine frames of history come first: the sound before the block or, where the model was trained without, the block's
    own first frame repeated. Before the beginning and past the end the nearest frame stands in.
    """
    first = block * frames
    wanted = torch.arange(first - AUDIO_HISTORY, first + frames)
    if not sees_past:
        wanted = wanted.clamp(min=first)
    return audio[..., wanted.clamp(0, audio.shape[-1] - 1)]


def schedule_of(backend: Backend, config: GenerationConfig) -> Schedule:
    """Return the noise levels of a block: the ones asked for, or those the weights were trained on."""
    kind = backend.trained.schedule if config.schedule == "trained" else config.schedule
    return make_schedule(kind, config.sample_steps, backend.trained.shift_for(kind, config.shift))


@torch.inference_mode()
def branch_of(backend: Backend, condition: Condition) -> Branch:
    """Encode the words and look at the portrait, once."""
    model, device = backend.transformer, backend.device
    text = model.encode_text(condition.text.to(device))
    motion = None if condition.motion is None else condition.motion.to(device)
    return Branch(condition, text, model.prefill(condition.reference.to(device), motion, text))


@torch.inference_mode()
def constants_of(backend: Backend, condition: Condition, config: GenerationConfig) -> Constants:
    """Compute all that is constant in a video.

    Without gradients, whoever calls: torch takes other kernels for attention where gradients are recorded, and every
    process of a run must get the same numbers.
    """
    schedule = schedule_of(backend, config)
    guided = config.guidance != 1.0
    return Constants(schedule, config.sample_solver or backend.trained.solver,
                     model_levels(backend.transformer, schedule, backend.device), branch_of(backend, condition),
                     branch_of(backend, backend.unconditional(condition)) if guided else None,
                     clean_level_of(backend, config))


@torch.inference_mode()
def clean_level_of(backend: Backend, config: GenerationConfig) -> Modulation | None:
    """Return the noise level 0 where finished blocks go through the network once more; None where they do not."""
    if config.cache_level != "clean":
        return None
    return backend.transformer.modulate(torch.zeros(1, 1, device=backend.device))


def beginning(backend: Backend, constants: Constants, config: GenerationConfig | None = None) -> Rollout:
    """Return the state before the first block, with empty caches. config: says which; None: as trained"""
    config = config or GenerationConfig()
    branches = [branch for branch in (constants.cond, constants.uncond) if branch is not None]
    return Rollout(0, *(empty_caches(backend, branch.portrait, config, constants.schedule.steps)
                        for branch in branches))


def empty_caches(backend: Backend, portrait: ConditionCache, config: GenerationConfig,
                 steps: int) -> tuple[RingCache, ...]:
    """Return a ring for each of so many steps; with `cache_level="clean"` all of them are one and the same."""
    clean = config.cache_level == "clean"
    rings = backend.new_caches(portrait, 1 if clean else steps, config.ring_frames)
    if not config.portrait_sink:
        rings = tuple(replace(ring, sink=False) for ring in rings)
    return rings * steps if clean else rings


@torch.inference_mode()
def roll_out(backend: Backend, condition: Condition, config: GenerationConfig,
             go_on: Callable[[Rollout], Rollout] | None = None) -> Iterator[tuple[Step, Rollout | None]]:
    """Yield every step of every block and, with the last step of each, what the next block will depend on.

    go_on may put a state from an earlier run in the place of the empty one it is shown.
    """
    fixed = backend.compiled_threads
    with adapted_threads(backend.device, fixed=fixed):
        constants = constants_of(backend, condition, config)
        rollout = beginning(backend, constants, config)
    if go_on is not None:
        rollout = go_on(rollout)
    block_frames = backend.block_latents * backend.frames_per_latent
    with held_threads():
        for block in range(rollout.block, ceil(condition.frames / block_frames)):
            caches = []
            steps = steps_of_block(backend, constants, config, rollout)
            for step in draw_adapted(steps, backend.device, ("step", condition.reference.shape), fixed):
                caches.append(step.cache)
                if step.last:
                    uncond_caches = tuple(cache.advance(backend.block_latents) for cache in rollout.uncond_caches)
                    rollout = Rollout(block + 1, tuple(caches), uncond_caches)
                yield step, rollout if step.last else None


def steps_of_block(backend: Backend, constants: Constants, config: GenerationConfig, rollout: Rollout,
                   steps: range | None = None, latents: Tensor | None = None) -> Iterator[Step]:
    """Yield the steps of the block that comes next.

    steps: those that this process makes, of which `rollout` holds the caches; None: all
    latents: (1, C, F, h, w) after the step before the first one; None: begin with noise
    """
    model, block = backend.transformer, rollout.block
    frames = backend.block_latents * backend.frames_per_latent

    def context(branch: Branch) -> Context:
        audio = audio_of_block(branch.condition.audio, block, frames, backend.sees_past_sound)
        return Context(branch.text, model.encode_audio(audio.to(backend.device)))

    cond, uncond = constants.cond, constants.uncond
    reference = cond.condition.reference
    generator = block_generator(config.base_seed, block)
    noise = torch.randn(1, reference.shape[1], backend.block_latents, *reference.shape[-2:], generator=generator)
    guidance = None
    if uncond is not None:
        guidance = Guidance(config.guidance, context(uncond), uncond.seen_with(rollout.uncond_caches[0]),
                            rollout.uncond_caches)
    pose = cond.condition.pose
    if pose is not None:
        first = block * backend.block_latents
        pose = pose[:, :, first:first + backend.block_latents].to(backend.device)
    x = (noise if latents is None else latents).to(backend.device, model.dtype)
    return denoise_block(model, x, context(cond), cond.seen_with(rollout.caches[0]), rollout.caches, constants.schedule,
                         levels=constants.levels, solver=constants.solver, generator=generator, block=block,
                         guidance=guidance, pose=pose, steps=steps, clean_level=constants.clean_level)
