"""A rank's part of a video: its steps of every block, between the rank before and the rank after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.config import GenerationConfig
from liveavatar.parallel.group import STOP, RankGroup
from liveavatar.parallel.layout import Layout
from liveavatar.parallel.timeline import SpanRecorder
from liveavatar.rollout import Rollout, constants_of, empty_caches, steps_of_block

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.types import Condition


@torch.inference_mode()
def denoise(backend: Backend, condition: Condition, config: GenerationConfig, group: RankGroup, layout: Layout,
            recorder: SpanRecorder, stop: threading.Event) -> Iterator[tuple[int, Tensor]]:
    """Yield (block, latents) after this rank's last step of every block, and send them to the next rank.

    latents: (1, C, F, h, w) on the backend's device. Raises PeerFailure when another rank has ended.
    """
    steps = layout.owned(group.rank)
    with recorder.span("prepare"):
        constants = constants_of(backend, condition, config)
        caches = empty_caches(backend, constants.cond.portrait, config, len(steps))
    source = group.channel_from(group.rank - 1, empty_latents(backend, condition)) if group.rank else None
    target = group.channel_to(group.rank + 1) if group.rank != layout.vae_rank else None
    for block in range(blocks_of(backend, condition)):
        group.check()
        latents = None
        if source is not None:
            with recorder.span("wait", block):
                number, latents = source.take()
            if number == STOP:
                break
        elif stop.is_set():
            break
        made = steps_of_block(backend, constants, config, Rollout(block, caches), steps, latents)
        taken = []
        for index in steps:
            with recorder.span("step", block, index):
                taken.append(next(made))
        caches, latents = tuple(step.cache for step in taken), taken[-1].x
        if target is not None:
            target.put(block, latents.cpu().contiguous())
        yield block, latents
    if target is not None:
        target.finish()


def receive_latents(backend: Backend, condition: Condition, group: RankGroup,
                    recorder: SpanRecorder) -> Iterator[tuple[int, Tensor]]:
    """Yield (block, latents) that the rank before has finished, at a rank that only decodes."""
    source = group.channel_from(group.rank - 1, empty_latents(backend, condition))
    for block in range(blocks_of(backend, condition)):
        with recorder.span("wait", block):
            number, latents = source.take()
        if number == STOP:
            break
        yield number, latents


def blocks_of(backend: Backend, condition: Condition) -> int:
    """Count the blocks of a video."""
    return ceil(condition.frames / (backend.block_latents * backend.frames_per_latent))


def empty_latents(backend: Backend, condition: Condition) -> Tensor:
    """Return a block's latents as they travel, (1, C, F, h, w), without memory."""
    reference = condition.reference
    return torch.empty((1, reference.shape[1], backend.block_latents, *reference.shape[-2:]),
                       dtype=backend.dtype, device="meta")
