"""Two runs of one length against each other: where their latents and pictures part, and the figures of both.

    run, other --step_difference--> how far their latents are apart after a step
               --block_difference-> how far their pictures are apart in a block
    run        --run_figures------> lips, detail and identity, as far as they can be read
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveavatar.inputs import cut
from liveavatar.metrics.alignment import align
from liveavatar.metrics.footage import footage
from liveavatar.metrics.identity import drift
from liveavatar.metrics.report import is_rendered, read_mouth
from liveavatar.metrics.steps import fine_detail
from liveavatar.preview import values_of

if TYPE_CHECKING:
    from liveavatar.runs.record import RunRecord


@dataclass(frozen=True)
class RunFigures:
    """Hold what can be read off the pictures of a run. NaN: not known."""

    lips_late_ms: float = math.nan       # against the loudness; positive: the lips are late
    lips_peak: float = math.nan          # correlation there; true videos reach 0.5 to 0.8
    mouth: float = math.nan              # mean opening, 0 closed, 1 wide open
    detail_kept: float = math.nan        # fine detail against the portrait's; 1 is as sharp
    identity: float = math.nan           # distance of the colours from the portrait's, 0..1; drawn avatars only


def step_difference(run: RunRecord, other: RunRecord, block: int, step: int) -> float:
    """Return how far the latents after a step are apart, root mean square against that of `other`: 0 is the same, 1.4
    unrelated. NaN where one of the two has not made the step, or their sizes differ."""
    if not all((block, step) in one.recorded_steps for one in (run, other)):
        return math.nan
    a, b = (values_of(one.step_record(block, step).x) for one in (run, other))
    if a.shape != b.shape:
        return math.nan
    size = float(np.square(b).mean())
    return math.sqrt(float(np.square(a - b).mean()) / size) if size > 0 else math.nan


def block_difference(run: RunRecord, other: RunRecord, block: int) -> float:
    """Return the mean absolute difference of the pictures of a block, 0 the same, 1 black against white; NaN where one
    of the two is not decoded or not kept, or their sizes differ."""
    blocks = [one.decoded_block(block) for one in (run, other)]
    if None in blocks or blocks[0].frames.shape != blocks[1].frames.shape:
        return math.nan
    a, b = (one.frames.numpy() for one in blocks)
    return float(np.abs(a.astype(np.int16) - b).mean(dtype=np.float64) / 255)


def first_difference(run: RunRecord, other: RunRecord) -> tuple[int, int] | None:
    """Return (block, step) of the first step after which the latents differ; None where all are the same."""
    both = set(run.recorded_steps) & set(other.recorded_steps)
    return next((key for key in sorted(both) if step_difference(run, other, *key) > 0), None)


def run_figures(run: RunRecord, first_block: int = 0) -> RunFigures:
    """Read lips, detail and identity off the pictures of a run from a block on. Takes seconds: a face is looked for."""
    kept = [block for block in run.blocks if block.index >= first_block]
    if not kept:
        return RunFigures()
    info, frames = run.info, torch.cat([block.frames for block in kept])
    speech = None
    if run.speech is not None and kept[0].start_s < run.speech.duration_s:
        speech = cut(run.speech, kept[0].start_s, None)
    shown = footage(frames, speech, run.portrait, info.fps)
    rendered = is_rendered(shown) if run.portrait is None else not run.shows_photograph
    reading, mouth, faceless = read_mouth(shown, rendered)
    portrait = run.step_frames.portrait(tuple(frames.shape[1:3]))
    detail = math.nan if portrait is None else fine_detail(frames.numpy()) / max(fine_detail(portrait[None]), 1e-9)
    if faceless:
        return RunFigures(detail_kept=detail)
    opening = mouth[:, 0]
    found = None if speech is None else align(opening, speech, info.fps)
    late, peak = (found.late_ms, found.peak) if found is not None and found.applies else (math.nan, math.nan)
    identity = None if run.portrait is None else run.portrait.identity
    away = math.nan if reading is None or identity is None else drift(reading, info.fps, identity).from_portrait
    return RunFigures(late, peak, opening.clamp(0, 1).mean().item(), detail, away)
