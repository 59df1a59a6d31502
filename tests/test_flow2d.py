"""Flow matching in two dimensions against closed forms: fields, paths, distances, and what students learn."""

import math

import pytest
import torch

from liveavatar.flow2d import (
    distance,
    distil,
    figures_of,
    find_knee,
    make_mixture,
    sample_path,
    start_noise,
    step_curve,
)
from liveavatar.sampler import linear_schedule
from liveavatar.types import InputError

UNEVEN = [[1.5, 0.3], [-1.0, 1.2], [0.2, -1.4]]


def some_points(count: int = 200) -> torch.Tensor:
    return 1.5 * torch.randn(count, 2, generator=torch.Generator().manual_seed(3))


def learnt(mixture, method, jobs, updates=300, **options):
    *_, last = distil(mixture, method, jobs, updates=updates, **options)
    return last.student


# ------------------------------------------------------------------------------------------- the exact field

@pytest.mark.parametrize("sigma", [0.05, 0.4, 0.9])
def test_the_density_integrates_to_one_and_the_score_is_its_gradient(sigma):
    mixture, x = make_mixture(UNEVEN, 0.3), some_points().requires_grad_()
    log = mixture.log_density(x, sigma)
    gradient, = torch.autograd.grad(log.sum(), x)
    assert torch.allclose(mixture.score(x, sigma), gradient, atol=1e-3, rtol=1e-4)
    places = torch.linspace(-6, 6, 401)
    grid = torch.cartesian_prod(places, places)
    assert float(mixture.log_density(grid, sigma).exp().sum()) * (12 / 400) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.9])
def test_the_velocity_carries_the_density_from_level_to_level(sigma):
    """The continuity equation, d p / d sigma = -div(p v), in float64 and with the derivatives of torch."""
    mixture = make_mixture(UNEVEN, 0.4)
    mixture = type(mixture)(mixture.means.double(), mixture.width)
    x = some_points(60).double().requires_grad_()
    level = torch.full((60, 1), sigma, dtype=torch.float64, requires_grad=True)
    changes, = torch.autograd.grad(mixture.log_density(x, level).exp().sum(), level)
    flux = mixture.log_density(x, sigma).exp().unsqueeze(1) * mixture.velocity(x, sigma)
    divergence = sum(torch.autograd.grad(flux[:, axis].sum(), x, retain_graph=True)[0][:, axis] for axis in (0, 1))
    assert torch.allclose(changes.squeeze(1), -divergence, atol=1e-9)


def test_velocity_noise_and_clean_point_belong_together_at_every_level():
    mixture, x = make_mixture(UNEVEN, 0.3), some_points()
    for sigma in (0.1, 0.7, 1.0):
        clean, noise = mixture.expected_clean(x, sigma), mixture.expected_noise(x, sigma)
        assert torch.allclose((1 - sigma) * clean + sigma * noise, x, atol=1e-5)
        assert torch.allclose(x - sigma * mixture.velocity(x, sigma), clean, atol=1e-5)
    assert torch.allclose(mixture.posterior(x, 0.5).sum(1), torch.ones(len(x)))
    assert torch.allclose(mixture.expected_clean(x, 0.0), x, atol=1e-5)          # nothing is left to guess


def test_the_overlap_of_two_modes_is_the_integral_of_the_smaller_density():
    mixture = make_mixture([[0.0, 0.0], [1.2, 0.0]], 0.5)
    x = torch.linspace(-6, 8, 200_001, dtype=torch.float64)
    densities = [torch.exp(-((x - at) / 0.5) ** 2 / 2) / (0.5 * math.sqrt(2 * math.pi)) for at in (0.0, 1.2)]
    assert mixture.overlap == pytest.approx(float(torch.minimum(*densities).sum() * (x[1] - x[0])), abs=1e-6)
    assert make_mixture(1).overlap == 0


# ------------------------------------------------------------------------------------------- paths and measures

def test_one_euler_step_ends_at_the_mean_whatever_the_noise():
    mixture = make_mixture(UNEVEN, 0.3)
    path = sample_path(mixture.velocity, start_noise(64), linear_schedule(1))
    assert torch.allclose(path[-1], mixture.mean.expand(64, 2), atol=1e-5)
    assert figures_of(path, mixture).spread_kept == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("steps", [2, 3, 8])
def test_euler_steps_to_one_gaussian_are_a_product_of_factors(steps):
    """With one mode the field is linear: each step scales what is noise by 1 + (sigma' - sigma) * slope(sigma)."""
    width, mixture = 0.5, make_mixture([[1.0, -0.5]], 0.5)
    sigmas, factor = linear_schedule(steps).sigmas, 1.0
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        factor *= 1 + (after - now) * (now - (1 - now) * width ** 2) / ((1 - now) ** 2 * width ** 2 + now ** 2)
    noise = start_noise(128)
    path = sample_path(mixture.velocity, noise, linear_schedule(steps))
    assert torch.allclose(path[-1], mixture.mean + factor * noise, atol=1e-5)
    spread = figures_of(path, mixture).spread_kept
    assert spread == pytest.approx((factor / width) ** 2, rel=0.05)


def test_many_steps_reach_the_data_and_half_as_long_steps_halve_the_error():
    mixture = make_mixture([[1.0, 0.0]], 0.5)
    noise = start_noise(64)
    exact = mixture.mean + 0.5 * noise
    errors = [float((sample_path(mixture.velocity, noise, linear_schedule(steps))[-1] - exact).abs().max())
              for steps in (64, 128, 256)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05) and errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_the_distance_is_that_of_a_shift_and_of_another_width():
    mixture = make_mixture(UNEVEN, 0.3)
    exact = mixture.sample(40_000, torch.Generator().manual_seed(1))
    assert distance(exact, mixture) < 0.08
    assert distance(exact + torch.tensor([0.6, -0.8]), mixture) == pytest.approx(1.0, abs=0.03)
    round_one = make_mixture([[0.0, 0.0]], 0.5)
    assert distance(0.9 * start_noise(4096), round_one) == pytest.approx(math.sqrt(2) * 0.4, abs=0.01)


def test_figures_know_exact_samples_and_points_between_the_modes():
    mixture = make_mixture(4, 0.2)
    exact = mixture.sample(20_000, torch.Generator().manual_seed(2))
    figures = figures_of(torch.stack([exact, exact]), mixture)
    assert figures.spread_kept == pytest.approx(1, abs=0.02)
    assert figures.between == pytest.approx(math.exp(-4.5), abs=0.003)           # beyond 3 widths in the plane
    assert figures_of(torch.zeros(2, 50, 2), mixture).between == 1
    bent = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]).unsqueeze(1)
    assert figures_of(bent, mixture).straightness == pytest.approx(math.sqrt(2) / 2)


def test_the_knee_moves_with_what_the_condition_leaves_open():
    mixture, noise = make_mixture(5, 0.2), start_noise(512)
    knees = [find_knee(step_curve(part.velocity, part, noise)) for part in (mixture.first(1), mixture.first(3))]
    assert knees[0] == 1 and knees[1] > 3


# ------------------------------------------------------------------------------------------- students

def test_regression_learns_the_mean_and_so_averages():
    mixture = make_mixture([[1.5, 0.0], [-1.5, 0.0]], 0.3)
    student = learnt(mixture, "regression", ["mean", "mean"])
    for sigma in student.schedule.sigmas[:-1]:
        x = (1 - sigma) * mixture.sample(400, torch.Generator().manual_seed(5)) + sigma * start_noise(400)
        gap = (student.networks["mean"].clean(x, sigma) - mixture.expected_clean(x, sigma)).square().mean().sqrt()
        assert float(gap.detach()) < 0.2
    assert figures_of(learnt(mixture, "regression", ["mean"]).path(start_noise(256)), mixture).spread_kept < 0.02


def test_consistency_and_dmd_keep_in_one_step_what_the_exact_field_loses():
    mixture = make_mixture([[1.5, 0.0], [-1.5, 0.0]], 0.3)
    noise = start_noise(256)
    assert figures_of(sample_path(mixture.velocity, noise, linear_schedule(1)), mixture).spread_kept < 1e-6
    made = learnt(mixture, "consistency", ["distribution"]).path(noise)
    assert figures_of(made, mixture).spread_kept > 0.6
    ends = sample_path(mixture.velocity, noise, linear_schedule(100))[-1]
    sides = (made[-1][:, 0] > 0) == (ends[:, 0] > 0)
    assert float(sides.float().mean()) > 0.9                                     # each noise ends where its path ends
    made = figures_of(learnt(mixture, "dmd", ["distribution"]).path(noise), mixture)
    assert 0.7 < made.spread_kept < 1.3 and made.distance < 0.4


def test_a_step_that_holds_the_mean_decides_nothing_and_the_last_one_decides():
    mixture = make_mixture([[1.5, 0.0], [-1.5, 0.0]], 0.3)
    student = learnt(mixture, "consistency", ["mean", "distribution"])
    guess = student.networks["mean"].clean(start_noise(256), 1.0)
    assert float(guess.detach().square().sum(1).mean()) / mixture.variance < 0.05
    assert figures_of(student.path(start_noise(256)), mixture).spread_kept > 0.6


def test_one_seed_makes_one_student():
    made = [learnt(make_mixture(3), "dmd", ["mean", "distribution"], updates=5, seed=seed).path(start_noise(16))
            for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_the_fields_of_a_lesson_are_the_exact_ones_and_the_students():
    mixture = make_mixture(3)
    *_, last = distil(mixture, "dmd", ["mean", "distribution"], updates=3)
    x = some_points(20)
    held, matched = last.distillation.fields(x, 1.0), last.distillation.fields(x, 0.4)
    assert torch.allclose(held["exact mean"], mixture.expected_clean(x, 1.0) - x)
    assert torch.allclose(held["difference"], held["student"] - held["exact mean"])
    assert torch.allclose(matched["real score"], 0.4 * mixture.score(x, 0.4)) and set(matched) == {
        "real score", "fake score", "student"}


@pytest.mark.parametrize(("call", "words"), [
    (lambda: make_mixture(9), "9 modes"),
    (lambda: make_mixture([[1.0]]), "list of points"),
    (lambda: make_mixture(2, width=0.0), "width is 0.0"),
    (lambda: make_mixture([[float("nan"), 0.0]]), "finite"),
    (lambda: make_mixture(3).first(4), "leaves 4 modes open"),
    (lambda: distil(make_mixture(2), "dmdd"), "did you mean 'dmd'"),
    (lambda: distil(make_mixture(2), "dmd", ["averaging"]), "unknown job 'averaging'"),
    (lambda: distil(make_mixture(2), "dmd", ["mean"] * 5), "5 steps"),
    (lambda: distil(make_mixture(2), "regression", ["distribution"]), "cannot match"),
])
def test_nonsense_is_refused_in_a_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()
