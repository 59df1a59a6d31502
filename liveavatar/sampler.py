"""From noise to picture in a few steps: schedules, and one loop that pauses after every step.

Flow matching: x = (1 - sigma) * clean + sigma * noise, and the network answers with velocity = noise - clean
(Lipman et al. 2022, arXiv:2210.02747). So the finished latent it has in mind is clean = x - sigma * velocity.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor

from liveavatar.cache import ConditionCache, RingCache
from liveavatar.transformer import CausalS2VTransformer, Context, Modulation
from liveavatar.types import InputError, Step
from liveavatar.wording import did_you_mean

Solver = Literal["euler", "renoise"]
Level = TypeVar("Level", float, Tensor)      # one noise level, or one for each clip


@dataclass(frozen=True)
class Schedule:
    """The noise levels of a block, from pure noise down to clean: S steps need S + 1 of them."""

    sigmas: tuple[float, ...]
    name: str = "custom"

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in pairwise(self.sigmas))
        if len(self.sigmas) < 2 or not falls or self.sigmas[0] > 1 or self.sigmas[-1] != 0:
            raise InputError(f"sigmas must fall from at most 1 to exactly 0, got {self.sigmas}; "
                             "for four steps try (1.0, 0.9, 0.75, 0.5, 0.0)")

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def timesteps(self) -> tuple[float, ...]:
        """Return where the network is asked, 0..1000."""
        return tuple(1000 * sigma for sigma in self.sigmas[:-1])

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the part of the path from noise to picture that each step covers; they add up to the first sigma."""
        return tuple(a - b for a, b in pairwise(self.sigmas))


RELEASED_SHIFT = 3.0


def shifted(sigma: Level, shift: float) -> Level:
    """Move a noise level towards 1, as high resolutions need (Esser et al. 2024, arXiv:2403.03206, eq. 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def trained_schedule(steps: int, shift: float = RELEASED_SHIFT) -> Schedule:
    """Return even steps, shifted once: 4 steps at shift 3 are 1, 0.9, 0.75, 0.5; at shift 6, which `mini` is distilled
    on, 1, 0.947, 0.857, 0.667."""
    return Schedule((*(shifted(1 - i / steps, shift) for i in range(steps)), 0.0), "trained")


def linear_schedule(steps: int) -> Schedule:
    """Return even steps, not shifted."""
    return Schedule((*(1 - i / steps for i in range(steps)), 0.0), "linear")


def released_schedule(steps: int, shift: float = RELEASED_SHIFT) -> Schedule:
    """Return what Live Avatar's own call yields: 4 steps at 1000, 857.7, 602.2 and 8.9.

    The same numbers as `diffusers.FlowMatchEulerDiscreteScheduler(shift=3).set_timesteps(steps)`, which shifts both the
    end points and the grid between them: the last step is left with 0.9 % of the path.
    """
    lowest = shifted(1 / 1000, shift)
    grid = [1 + (lowest - 1) * i / max(steps - 1, 1) for i in range(steps)]
    return Schedule((*(shifted(sigma, shift) for sigma in grid), 0.0), "released")


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "trained": trained_schedule, "released": released_schedule, "linear": linear_schedule}


def make_schedule(kind: str | tuple[float, ...], steps: int, shift: float | None = None) -> Schedule:
    """Return a schedule by name, or one's own list of noise levels. shift: None is that of the released model"""
    if not isinstance(kind, str):
        schedule = Schedule(tuple(kind))
        if schedule.steps != steps:
            raise InputError(f"{len(kind)} sigmas make {schedule.steps} steps, but sample_steps is {steps}; "
                             f"give {steps + 1} sigmas, the last 0")
        return schedule
    if kind not in SCHEDULES:
        raise InputError(f"unknown schedule {kind!r}; known: {', '.join(SCHEDULES)}, or a list of sigmas ending at 0"
                         + did_you_mean(kind, SCHEDULES))
    if kind == "linear":
        return SCHEDULES[kind](steps)
    return SCHEDULES[kind](steps, RELEASED_SHIFT if shift is None else shift)


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6): exaggerate what the conditions change.

    Only the many-step base uses it. The unconditional branch has a past of its own, so it has its own caches.
    """

    scale: float
    context: Context                 # no words, no sound
    condition: ConditionCache        # of the same portrait, without words
    caches: tuple[RingCache, ...]


def move(x: Tensor, velocity: Tensor, sigma: float, sigma_next: float, solver: Solver, noise: Tensor | None) -> Tensor:
    """Carry a latent from one noise level to the next.

    euler    follow the velocity in a straight line
    renoise  jump to the clean guess and add fresh noise (as in Self-Forcing, arXiv:2506.08009, algorithm 1)
    """
    if solver == "euler" or sigma_next == 0:
        return (x.float() + (sigma_next - sigma) * velocity.float()).to(velocity.dtype)
    clean = x.float() - sigma * velocity.float()
    return ((1 - sigma_next) * clean + sigma_next * noise.float()).to(velocity.dtype)


@torch.inference_mode()
def denoise_block(model: CausalS2VTransformer, noise: Tensor, context: Context, condition: ConditionCache,
                  caches: tuple[RingCache, ...], schedule: Schedule, *, levels: tuple[Modulation, ...] | None = None,
                  solver: Solver = "euler", generator: torch.Generator | None = None, block: int = 0,
                  guidance: Guidance | None = None, pose: Tensor | None = None,
                  steps: range | None = None, clean_level: Modulation | None = None) -> Iterator[Step]:
    """Carry one block from noise to picture, pausing after every step.

    noise     (B, C, F, h, w) of unit variance; where `steps` begins later, the latents after the step before it
    context   text, and the audio of the block's own frames
    caches    one per step, as earlier blocks left them; each Step carries the one that follows
    levels    `model_levels(model, schedule)`, if it was computed before
    generator needed by solver="renoise" for its fresh noise; the draws of earlier steps are made as well
    steps     which steps of the schedule; None: all. Guidance needs all
    clean_level  of noise level 0, where all `caches` are one: the finished block goes through the network once more
              with it, and leaves its keys and values for the blocks that follow
    Raises InputError where caches and steps differ in number.
    """
    steps = range(schedule.steps) if steps is None else steps
    if len(caches) != len(steps):
        raise InputError(f"{len(steps)} steps need as many caches, got {len(caches)}; "
                         "one noise level's keys cannot serve another")
    levels = levels or model_levels(model, schedule, noise.device)
    x, rope = noise, model.rope_tables(caches[0].end, noise.shape[2], condition)
    for index, (sigma, sigma_next) in enumerate(pairwise(schedule.sigmas[:steps.stop + 1])):
        draws = solver == "renoise" and sigma_next > 0
        if index < steps.start:                           # made elsewhere; only its random draw has to be passed
            if draws:
                torch.randn(x.shape, generator=generator, dtype=torch.float32)
            continue
        began = time.perf_counter()
        velocity, cache = model(x, levels[index], context, condition, caches[index - steps.start], pose, rope)
        if guidance is not None:
            uncond, _ = model(x, levels[index], guidance.context, guidance.condition, guidance.caches[index], pose,
                              rope)
            velocity = uncond + guidance.scale * (velocity - uncond)
        fresh = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x) if draws else None
        clean = (x.float() - sigma * velocity.float()).to(velocity.dtype)
        x = move(x, velocity, sigma, sigma_next, solver, fresh)
        if clean_level is not None and sigma_next == 0:
            model(x, clean_level, context, condition, caches[-1], pose, rope)
            if guidance is not None:
                model(x, clean_level, guidance.context, guidance.condition, guidance.caches[-1], pose, rope)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        yield Step(block, index, schedule.steps, sigma, sigma_next, x, clean, velocity, cache,
                   (time.perf_counter() - began) * 1000, {"caches": cache.bytes})


def model_levels(model: CausalS2VTransformer, schedule: Schedule, device: torch.device | str) -> tuple[Modulation, ...]:
    """Return the modulations of every step, computed once for a whole video."""
    return tuple(model.modulate(torch.full((1, 1), t, device=device)) for t in schedule.timesteps)
