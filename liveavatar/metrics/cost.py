"""Cost: what a video takes in time and memory, from the events of its run.

    Steps and Blocks say their milliseconds, Steps the bytes of their caches, the Video its seconds by stage.

A finished mp4 alone says nothing of what it took: then the cost does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from liveavatar.types import Block, Step
from liveavatar.video import Video

if TYPE_CHECKING:
    from liveavatar.backends import Backend


@dataclass(frozen=True)
class Cost:
    """Time and memory of one video."""

    ms_per_frame: float              # of work, whatever stages are known
    ms_per_block: float              # denoising (and decoding, where blocks were seen); NaN without steps
    ms_per_step: tuple[float, ...]   # mean over blocks, one value for each sampler step
    decode_ms_per_block: float       # NaN when no block was seen
    x_realtime: float                # seconds of video per second of work: higher is better
    first_picture_s: float           # seconds of work until the first picture
    seconds: dict[str, float] = field(default_factory=dict)     # of work, by stage
    peak_bytes: dict[str, int] = field(default_factory=dict)    # by owner: weights, caches, latents, pictures
    blocks: int = 0
    frames: int = 0
    applies: bool = True
    reason: str = ""


def cost(events: Iterable[object] = (), video: Video | None = None, backend: Backend | None = None, fps: float = 25.0,
         frames_per_latent: int = 4) -> Cost:
    """Measure what the events of a run took.

    events: Steps and Blocks of a run, or a Trace (steps only); video: its Video, which also counts reading, hearing
    and encoding; backend: to count the weights. Steps of the first block count like the others.
    """
    steps: list[Step] = []
    blocks: list[Block] = []
    for event in events:
        if isinstance(event, Step):
            steps.append(event)
        elif isinstance(event, Block):
            blocks.append(event)
        elif isinstance(event, Video):
            video = event
    if not steps and not blocks and video is None:
        nothing = (math.nan, math.nan, (), math.nan, math.nan, math.nan)
        return Cost(*nothing, applies=False, reason="a finished video does not say what it took; give the Video, the "
                                                    "trace or the run that made it")
    per_step = _per_step(steps)
    decode_ms = _mean([block.milliseconds for block in blocks])
    made = {step.block for step in steps} or {block.index for block in blocks}
    frames = _frames(steps, blocks, video, frames_per_latent)
    seconds = dict(video.seconds) if video is not None else _seconds(steps, blocks)
    work_s = sum(seconds.values())
    first_s = video.first_picture_s if video is not None else _first_picture_s(steps, blocks)
    block_ms = sum(per_step) + (0 if math.isnan(decode_ms) else decode_ms) if per_step else math.nan
    x_realtime = video.x_realtime if video is not None else frames / fps / max(work_s, 1e-9)
    return Cost(1000 * work_s / max(frames, 1), block_ms, per_step, decode_ms, x_realtime, first_s, seconds,
                peak_bytes(steps, blocks, backend), len(made), frames)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _per_step(steps: list[Step]) -> tuple[float, ...]:
    """Return mean milliseconds of each sampler step, over blocks."""
    by_index: dict[int, list[float]] = {}
    for step in steps:
        by_index.setdefault(step.index, []).append(step.milliseconds)
    return tuple(_mean(by_index[index]) for index in sorted(by_index))


def _frames(steps: list[Step], blocks: list[Block], video: Video | None, frames_per_latent: int) -> int:
    if video is not None:
        return video.frames
    if blocks:
        return sum(len(block.frames) for block in blocks)
    return sum(step.x.shape[2] * frames_per_latent for step in steps if step.last and step.x is not None)


def _seconds(steps: list[Step], blocks: list[Block]) -> dict[str, float]:
    stages = {"denoise": sum(step.milliseconds for step in steps), "decode": sum(one.milliseconds for one in blocks)}
    return {stage: spent_ms / 1000 for stage, spent_ms in stages.items() if spent_ms}


def _first_picture_s(steps: list[Step], blocks: list[Block]) -> float:
    """Return the seconds of the first block's steps and its decoding; NaN when no picture was seen."""
    if not blocks:
        return math.nan
    return (sum(step.milliseconds for step in steps if step.block == 0) + blocks[0].milliseconds) / 1000


def peak_bytes(steps: list[Step], blocks: list[Block], backend: Backend | None = None) -> dict[str, int]:
    """Return the most that each owner held at once; what a step reports as "caches" is that of its own noise level."""
    most: dict[str, int] = {}
    if backend is not None:
        parts = [backend.transformer, backend.vae]
        most["weights"] = sum(tensor.nbytes for part in parts if part is not None for tensor in part.parameters())
    levels: dict[int, int] = {}
    for step in steps:
        for owner, count in step.bytes.items():
            if owner == "caches":
                levels[step.index] = max(levels.get(step.index, 0), count)
            else:
                most[owner] = max(most.get(owner, 0), count)
    if levels:
        most["caches"] = sum(levels.values())
    tensors = [step.x.nbytes * 3 for step in steps if step.x is not None]
    if tensors:
        most["latents"] = max(tensors)                  # x, clean and velocity of one step
    if blocks:
        most["pictures"] = max(block.frames.nbytes for block in blocks)
    return most
