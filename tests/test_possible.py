"""What is possible: weights, means and distances against constructed clouds, and a small true one."""

import math

import numpy as np
import pytest
import torch

import liveavatar
from liveavatar.metrics import possible
from liveavatar.metrics.possible import Gathering, Possible, PossibleStep, Rendering, describe, what_is_possible
from liveavatar.study.possible_figure import draw_possible
from liveavatar.study.possible_study import PossibleStudy, open_possible
from liveavatar.types import InputError

EVERYWHERE = {"picture": torch.ones(2, 2, dtype=torch.bool)}


def rendering(latents: list[float], grey: float) -> Rendering:
    return Rendering(torch.full((1, 2, 2, 3), grey), torch.tensor(latents).view(1, 2, 1, 1, 1))


def gathered(x: list[float], sigma: float, guess: Rendering, cloud: list[Rendering], parts=EVERYWHERE):
    gathering = Gathering([(torch.tensor(x).view(1, 2, 1, 1, 1), sigma)], [guess], parts)
    for one in cloud:
        gathering.add(one)
    return gathering.finish()


SQUARE = [rendering([a, b], 0.5 + 0.25 * a) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]


def test_pure_noise_leaves_all_renderings_possible_and_expects_their_mean():
    (step,), spread, apart, mean, (expected,) = gathered([5.0, -3.0], 1.0, rendering([0, 0], 0.5), SQUARE)
    assert step.remaining == pytest.approx(4)
    assert step.to_mean == step.to_expected == {"picture": pytest.approx(0), "latents": pytest.approx(0)}
    assert torch.allclose(expected, mean) and torch.allclose(mean, torch.tensor(0.5))
    assert step.to_nearest == {"picture": pytest.approx(0.25), "latents": pytest.approx(1)}
    assert spread["latents"] == pytest.approx(math.sqrt(4 / 3)) and apart == pytest.approx(math.sqrt(2))
    assert spread["picture"] == pytest.approx(0.25 * math.sqrt(4 / 3))


def test_the_weights_are_those_of_bayes():
    sigma, x = 0.5, [0.4, -0.1]
    (step,), _, _, _, (expected,) = gathered(x, sigma, rendering([1, 1], 0.75), SQUARE)
    cloud = torch.stack([one.latents.flatten() for one in SQUARE])
    density = torch.exp(-(torch.tensor(x) - (1 - sigma) * cloud).square().sum(1) / (2 * sigma**2))
    weights = density / density.sum()
    assert step.remaining == pytest.approx(float(1 / weights.square().sum()), rel=1e-5)
    away = torch.ones(2) - weights @ cloud
    assert step.to_expected["latents"] == pytest.approx(float(away.square().mean().sqrt()), rel=1e-5)
    grey = sum(float(weight) * float(one.pictures[0, 0, 0, 0]) for weight, one in zip(weights, SQUARE, strict=True))
    assert torch.allclose(expected, torch.tensor(grey))


def test_little_noise_leaves_one_rendering_even_where_all_are_far_away():
    far = [700.0, 900.0]                                    # densities of 0 in floating point
    (step,), *_, (expected,) = gathered(far, 0.01, rendering([1, 1], 0.75), SQUARE)
    assert step.remaining == pytest.approx(1) and torch.allclose(expected, SQUARE[3].pictures)
    assert step.to_expected["latents"] == pytest.approx(0) == step.to_nearest["latents"]


def test_the_order_of_the_renderings_does_not_matter():
    there, back = (gathered([0.4, -0.1], 0.5, rendering([1, 0], 0.7), cloud) for cloud in (SQUARE, SQUARE[::-1]))
    assert torch.allclose(there[-1][0], back[-1][0]) and there[0][0].remaining == pytest.approx(back[0][0].remaining)


def test_a_part_is_measured_by_itself():
    parts = EVERYWHERE | {"mouth": torch.tensor([[True, False], [False, False]])}
    guess = rendering([0, 0], 0.5)
    guess.pictures[:, 0, 0] = 0.9
    (step,), *_ = gathered([0, 0], 1.0, guess, SQUARE, parts)
    assert step.to_mean["mouth"] == pytest.approx(0.4) and step.to_mean["picture"] == pytest.approx(0.2)


def found_with(shares: list[float], spread: float = 1.0) -> Possible:
    steps = [PossibleStep(n, 1.0, 64.0, {"latents": share}, {}, {}) for n, share in enumerate(shares)]
    none = np.zeros((1, 1, 1, 3), np.uint8)
    return Possible(0, 64, tuple(steps), {"latents": spread}, 1.0, none, (), none, ())


@pytest.mark.parametrize(("shares", "said"), [
    ([0.3, 0.6, 0.9, 1.0], "it holds the mean; from step 2 on it is as far away as a sample (the last: 0.99)"),
    ([0.9, 1.0], "a sample already"), ([0.6, 0.7], "no later step comes as far"),
    ([0.2, 0.3], "it holds the mean; no later step"),
    ([0.5, 0.9, 1.4], "as far away as a sample (the last: 1.39, further than true videos are")])
def test_the_sentence_says_which_step_holds_the_mean(shares, said):
    assert said in describe(found_with(shares))


def test_the_error_of_a_mean_of_few_is_taken_from_the_distance():
    generator = torch.Generator().manual_seed(0)
    clouds = [[Rendering(torch.zeros(1, 2, 2, 3), torch.randn(1, 500, 1, 1, 1, generator=generator)) for _ in range(4)]
              for _ in range(2)]
    guess = Rendering(torch.zeros(1, 2, 2, 3), torch.full((1, 500, 1, 1, 1), 0.5))      # half a sample's way from 0
    for cloud in clouds:
        gathering = Gathering([(torch.zeros(1, 500, 1, 1, 1), 1.0)], [guess], EVERYWHERE)
        for one in cloud:
            gathering.add(one)
        steps, spread, apart, *_ = gathering.finish()
        none = np.zeros((1, 1, 1, 3), np.uint8)
        assert Possible(0, 4, tuple(steps), spread, apart, none, (), none, ()).share(0) == pytest.approx(0.5, abs=0.05)


def test_the_interval_of_a_distance_holds_the_true_one_nearly_always():
    generator, held = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        low, high = possible.share_interval(torch.randn(8, 40, generator=generator) - 0.5)  # half a sample's way away
        held += low <= 0.5 <= high
    assert 170 <= held <= 199
    assert possible.share_interval(torch.randn(3, 40)) == possible.share_interval(torch.ones(8, 40)) == (None, None)


def test_where_nothing_is_open_the_sentence_says_so():
    assert "Nothing is left to chance" in describe(found_with([0.1], 0.0))
    with pytest.raises(InputError, match="part is 'nose'"):
        found_with([0.1]).share(0, "nose")


@pytest.fixture(scope="module")
def run():
    run = liveavatar.Run.of(liveavatar.load("mini"), liveavatar.samples()["welcome"],
                            liveavatar.avatar(seed=7, size=(64, 64), world="plain"), "waving",
                            liveavatar.GenerationConfig(start_s=0.96, duration_s=0.32, size="64*64", sample_steps=2))
    run.start().result()
    return run


def test_a_run_is_compared_with_true_renderings(run):
    found = what_is_possible(run, renderings=2)
    assert found.mean.shape == found.sample.shape == found.guesses[1].shape == (8, 64, 64, 3)
    assert [one.sigma for one in found.steps] == list(run.info.sigmas[:2]) and found.steps[0].remaining == 2
    assert set(found.spread) == {*possible.PARTS, "latents"}
    assert all(0 < found.steps[0].to_mean[part] < 0.5 for part in possible.PARTS)
    assert draw_possible(found).png.startswith(b"\x89PNG")
    one, other, again = (possible.draw_rendering(run, 0, seed) for seed in (0, 1, 0))
    assert torch.equal(one.pictures, again.pictures) and torch.equal(one.latents, again.latents)
    assert not torch.equal(one.pictures, other.pictures) and one.pictures.shape == (12, 64, 64, 3)


def test_renderings_are_kept_in_a_folder_and_gone_on_with(run, tmp_path, monkeypatch):
    study = PossibleStudy(run, renderings=2, folder=tmp_path / "kept").start().wait()
    study.stop()
    assert study.done and study.found.count == 2 and study.found.start_s == 0
    monkeypatch.setattr("liveavatar.study.possible_study.draw_pictures", lambda *_: 1 / 0)       # none is drawn anew
    again = PossibleStudy(run, renderings=2, folder=tmp_path / "kept")
    assert [found is None for found in again.compared()] == [True, False]
    assert again.found.steps == study.found.steps
    same = open_possible(again.save(tmp_path / "found.safetensors"))
    assert same.steps == again.found.steps and np.array_equal(same.expected[1], again.found.expected[1])
    assert describe(same) == describe(again.found)
    monkeypatch.setattr(run, "portrait", liveavatar.avatar(seed=8, size=(64, 64), world="plain"))
    with pytest.raises(InputError, match="other portrait"):
        PossibleStudy(run, folder=tmp_path / "kept")


def test_what_cannot_be_rendered_is_refused(run, monkeypatch):
    with pytest.raises(InputError, match="renderings"):
        what_is_possible(run, renderings=1)
    with pytest.raises(InputError, match="block 5 has no step 0"):
        what_is_possible(run, block=5)
    monkeypatch.setattr(run, "speech", None)
    with pytest.raises(InputError, match="phonemes"):
        what_is_possible(run)
    monkeypatch.setattr(run, "portrait", None)
    with pytest.raises(InputError, match="avatars only"):
        what_is_possible(run)
