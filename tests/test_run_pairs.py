"""Two runs against each other: differences that are known beforehand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import face, tone

from liveavatar.metrics.run_pairs import block_difference, first_difference, run_figures, step_difference
from liveavatar.runs import replay
from liveavatar.runs.info import RunInfo
from liveavatar.strength import blur_portrait
from liveavatar.trace import Trace
from liveavatar.types import Block, Step


def run_with(*values):
    """A trace of one block of two steps whose latents are constant."""
    trace = Trace()
    for index, value in enumerate(values):
        x = torch.full((1, 4, 3, 2, 2), float(value))
        trace.record(Step(0, index, 2, 1 - index / 2, 0.5 - index / 2, x, x, x, None, 1.0))
    return replay(trace)


def shown(pictures):
    """What `run_figures` looks at of a run: one block of pictures (T, H, W, 3) uint8."""
    portrait = face(64, 64)
    block = Block(0, torch.empty(0), pictures, 0.0, 1.0)
    fitted = (portrait.pixels.permute(1, 2, 0) * 255).byte().numpy()
    return SimpleNamespace(blocks=(block,), decoded_block=lambda index: block if index == 0 else None, info=RunInfo(),
                           speech=tone(0.48), portrait=portrait, shows_photograph=portrait.identity is None,
                           step_frames=SimpleNamespace(portrait=lambda _: fitted))


def test_latents_are_apart_by_their_difference_against_the_others_size():
    one, other = run_with(2, 3), run_with(2, 2)
    assert step_difference(one, other, 0, 0) == 0 and step_difference(one, other, 0, 1) == pytest.approx(0.5)
    assert first_difference(one, other) == (0, 1) and first_difference(one, one) is None
    assert math.isnan(step_difference(one, other, 1, 0))


def test_pictures_are_apart_by_their_mean_difference_and_a_blur_costs_detail():
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (12, 64, 64, 3), np.uint8))
    blurred = (blur_portrait(noise.permute(0, 3, 1, 2).float() / 255, 8.0) * 255).byte().permute(0, 2, 3, 1)
    sharp, brighter, soft = (shown(frames.contiguous()) for frames in (noise, noise + 51, blurred))
    assert block_difference(sharp, brighter, 0) == pytest.approx(0.2) and block_difference(sharp, sharp, 0) == 0
    assert math.isnan(block_difference(sharp, brighter, 1))
    figures = [run_figures(one) for one in (sharp, soft)]
    assert figures[1].detail_kept < 0.5 * figures[0].detail_kept
    assert math.isnan(figures[0].lips_late_ms) and math.isnan(figures[0].identity)         # there is no face
