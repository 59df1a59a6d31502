"""The sampler is one loop that can be watched: known answers from a network whose answer is known."""

from dataclasses import dataclass

import pytest
import torch

from liveavatar.sampler import (
    Schedule,
    denoise_block,
    linear_schedule,
    make_schedule,
    move,
    released_schedule,
    trained_schedule,
)
from liveavatar.types import InputError


@dataclass
class Remembered:
    """Stands in for a ring: counts how often it was written."""

    written: int = 0
    bytes: int = 0
    end: int = 6


class StraightTo:
    """A network whose answer is known: every latent flows straight to `target`."""

    def __init__(self, target):
        self.target = target

    def modulate(self, timestep):
        return timestep.item() / 1000

    def rope_tables(self, start, frames, condition):
        return start, frames

    def __call__(self, x, sigma, context, condition, cache, pose, rope):
        assert rope == (cache.end, x.shape[2])
        return (x - self.target) / sigma, Remembered(cache.written + 1)


def walk(schedule, solver="euler", seed=0):
    target = torch.full((1, 4, 3, 8, 8), 0.5)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    caches = tuple(Remembered() for _ in range(schedule.steps))
    return target, list(denoise_block(StraightTo(target), noise, None, None, caches, schedule, solver=solver,
                                      generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("steps", range(1, 9))
@pytest.mark.parametrize("solver", ["euler", "renoise"])
def test_any_number_of_steps_lands_on_the_target(steps, solver):
    target, walked = walk(trained_schedule(steps), solver)
    assert [step.index for step in walked] == list(range(steps))
    torch.testing.assert_close(walked[-1].x, target)
    assert all(step.cache.written == 1 for step in walked)


def test_the_same_seed_renoises_alike_and_another_does_not():
    (_, a), (_, b), (_, c) = (walk(trained_schedule(4), "renoise", seed) for seed in (7, 7, 8))
    assert torch.equal(a[1].x, b[1].x) and not torch.equal(a[1].x, c[1].x)


def test_released_schedule_is_what_diffusers_yields():
    diffusers = pytest.importorskip("diffusers")
    for steps in range(1, 9):
        theirs = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3)
        theirs.set_timesteps(steps)
        ours = released_schedule(steps)
        assert ours.sigmas == pytest.approx(theirs.sigmas.tolist(), abs=1e-6)
        assert ours.timesteps == pytest.approx(theirs.timesteps.tolist(), abs=1e-3)


def test_an_euler_step_is_what_diffusers_does():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3)
    theirs.set_timesteps(4)
    x, velocity = torch.randn(2, 1, 4, 3, 8, 8)
    sigmas = released_schedule(4).sigmas
    expected = theirs.step(velocity, theirs.timesteps[0], x).prev_sample
    torch.testing.assert_close(move(x, velocity, sigmas[0], sigmas[1], "euler", None), expected)


def test_the_released_third_step_covers_most_of_the_path_and_the_fourth_next_to_nothing():
    assert released_schedule(4).shares == pytest.approx((0.142, 0.256, 0.593, 0.009), abs=1e-3)
    assert trained_schedule(4).shares == pytest.approx((0.1, 0.15, 0.25, 0.5))
    assert linear_schedule(4).shares == pytest.approx((0.25,) * 4)


@pytest.mark.parametrize("sigmas", [(1.0, 0.5), (0.5, 1.0, 0.0), (1.5, 0.0), (0.0,)])
def test_refuses_noise_levels_that_do_not_fall_to_zero(sigmas):
    with pytest.raises(InputError, match="sigmas must fall"):
        Schedule(sigmas)


def test_refuses_a_list_of_another_length_and_an_unknown_name():
    with pytest.raises(InputError, match="make 2 steps, but sample_steps is 4"):
        make_schedule((1.0, 0.5, 0.0), 4)
    with pytest.raises(InputError, match="unknown schedule 'cosine'"):
        make_schedule("cosine", 4)


def test_refuses_caches_of_another_number_of_steps():
    with pytest.raises(InputError, match="4 steps need as many caches, got 3"):
        next(denoise_block(StraightTo(0), torch.randn(1), None, None, (Remembered(),) * 3, trained_schedule(4)))
