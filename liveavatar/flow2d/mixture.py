"""A mixture of Gaussians in the plane, noised: its density, score and velocity in closed form, and paths along it.

Flow matching (Lipman et al. 2022, arXiv:2210.02747) mixes x = (1 - sigma) * clean + sigma * noise. Where clean is drawn
from a mixture of isotropic Gaussians, x is one too, and all conditional means are known exactly: of component k they
are those of two jointly Gaussian variables, and the components are weighted by Bayes' rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from liveavatar.sampler import Schedule, Solver, move
from liveavatar.types import InputError

Field = Callable[[Tensor, float], Tensor]      # points (N, 2) and a noise level -> a vector for each point (N, 2)

MOST_MODES = 8
RADIUS = 2.0                                   # of the circle on which modes stand by default, in units of the plane


@dataclass(frozen=True)
class Mixture:
    """Equally likely isotropic Gaussians: the data. All lengths in units of the plane, noise has unit variance."""

    means: Tensor        # (K, 2) float32
    width: float         # standard deviation of each along any direction

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.means.shape[1] != 2 or not 1 <= len(self.means) <= MOST_MODES:
            raise InputError(f"modes have shape {tuple(self.means.shape)}; give 1 to {MOST_MODES} points [x, y]")
        if not bool(self.means.isfinite().all()):
            raise InputError("a mode has a coordinate that is not a finite number; give numbers such as [2.0, 0.0]")
        if not (self.width > 0 and math.isfinite(self.width)):
            raise InputError(f"width is {self.width}; give the standard deviation of a mode, above 0, such as 0.3")

    # ------------------------------------------------------------------ the data

    @property
    def mean(self) -> Tensor:
        """Return the mean of the data (2,)."""
        return self.means.mean(0)

    @property
    def variance(self) -> float:
        """Return the total variance of the data, the sum over both coordinates."""
        return 2 * self.width ** 2 + float((self.means - self.mean).square().sum(1).mean())

    @property
    def overlap(self) -> float:
        """Return the overlapping share of the two nearest modes, 0..1: the integral of the smaller of both densities.

        For equal Gaussians at distance d this is 2 Phi(-d / (2 width)) (Inman & Bradley 1989); 0 for a single mode.
        """
        if len(self.means) < 2:
            return 0.0
        nearest = float(torch.pdist(self.means).min())
        return math.erfc(nearest / (2 * math.sqrt(2) * self.width))

    def first(self, count: int) -> Mixture:
        """Return the mixture of the first modes only: what a condition leaves open. Raise InputError if there are
        fewer."""
        if not 1 <= count <= len(self.means):
            raise InputError(f"the condition leaves {count} modes open, but there are {len(self.means)}; "
                             f"give 1 to {len(self.means)}")
        return replace(self, means=self.means[:count])

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw points of the data (count, 2)."""
        modes = torch.randint(len(self.means), (count,), generator=generator)
        return self.means[modes] + self.width * torch.randn(count, 2, generator=generator)

    # ------------------------------------------------------------------ noised to a level sigma

    def spread(self, sigma: float | Tensor) -> float | Tensor:
        """Return the variance of each noised component along any direction: (1 - sigma)^2 width^2 + sigma^2."""
        return (1 - sigma) ** 2 * self.width ** 2 + sigma ** 2

    def log_joint(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the log density of each component at x, its weight included: (N, 2) -> (N, K).

        sigma: one level 0..1, or (N, 1) of them
        """
        spread = self.spread(sigma)
        squares = (x.unsqueeze(1) - self._centres(sigma)).square().sum(-1)
        log_norm = torch.log(torch.as_tensor(2 * math.pi * spread)) + math.log(len(self.means))
        return -squares / (2 * spread) - log_norm

    def log_density(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the log density of the noised data at x: (N, 2) -> (N,)."""
        return self.log_joint(x, sigma).logsumexp(1)

    def posterior(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return how likely each mode is the origin of x: (N, 2) -> (N, K), rows add up to one."""
        return self.log_joint(x, sigma).softmax(1)

    def expected_noise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return E[noise | x]: (N, 2) -> (N, 2)."""
        return self._weighted(x, sigma, sigma / self.spread(sigma))

    def expected_clean(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return E[clean | x], the mean of all data that x may have come from: (N, 2) -> (N, 2)."""
        modes = self.posterior(x, sigma) @ self.means
        return modes + self._weighted(x, sigma, (1 - sigma) * self.width ** 2 / self.spread(sigma))

    def velocity(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return E[noise - clean | x], what a perfectly trained network answers: (N, 2) -> (N, 2)."""
        return self.expected_noise(x, sigma) - self.expected_clean(x, sigma)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return the gradient of `log_density`, -E[noise | x] / sigma (Tweedie's formula): (N, 2) -> (N, 2)."""
        return -self._weighted(x, sigma, 1 / self.spread(sigma))

    def _centres(self, sigma: float | Tensor) -> Tensor:
        """Return where the noised components stand: (K, 2), or (N, K, 2) for levels (N, 1)."""
        keep = 1 - sigma
        return keep * self.means if isinstance(keep, float | int) else keep.unsqueeze(-1) * self.means

    def _weighted(self, x: Tensor, sigma: float | Tensor, factor: float | Tensor) -> Tensor:
        """Return the posterior mean of factor * (x - centre): (N, 2) -> (N, 2)."""
        keep = 1 - sigma
        return factor * (x - keep * (self.posterior(x, sigma) @ self.means))


def make_mixture(modes: int | Sequence[Sequence[float]] = 5, width: float = 0.3) -> Mixture:
    """Make a mixture: so many modes on a circle of radius 2, the first at the right, or modes at points of one's own.

    width: standard deviation of a mode, above 0. Raise InputError for other numbers of modes than 1 to 8.
    """
    if isinstance(modes, int):
        if not 1 <= modes <= MOST_MODES:
            raise InputError(f"{modes} modes are asked for; give 1 to {MOST_MODES}, or a list of points [x, y]")
        angles = 2 * math.pi * torch.arange(modes) / modes
        return Mixture(RADIUS * torch.stack([angles.cos(), angles.sin()], 1), width)
    try:
        points = torch.tensor([[float(x), float(y)] for x, y in modes])
    except (TypeError, ValueError) as error:
        raise InputError(f"modes are {modes!r}; give a number of modes, or a list of points [x, y]") from error
    return Mixture(points.reshape(-1, 2), width)


# ------------------------------------------------------------------------------------------- paths

def start_noise(count: int, seed: int = 0) -> Tensor:
    """Return points (count, 2) of a standard normal distribution, spread evenly (scrambled Sobol points): figures from
    them vary less than from independent ones."""
    even = torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(count).clamp(1e-6, 1 - 1e-6)
    return math.sqrt(2) * torch.erfinv(2 * even - 1)


@torch.no_grad()
def sample_path(velocity: Field, noise: Tensor, schedule: Schedule, solver: Solver = "euler",
                seed: int = 0) -> Tensor:
    """Carry points from noise to data in the steps of a schedule, by the sampler's own `move`.

    velocity: the field; noise (N, 2); seed: of the fresh noise of "renoise"  ->  (steps + 1, N, 2), the noise first
    """
    path, generator = [noise], torch.Generator().manual_seed(seed)
    for sigma, sigma_next in zip(schedule.sigmas[:-1], schedule.sigmas[1:], strict=True):
        x = path[-1]
        fresh = torch.randn(x.shape, generator=generator) if solver == "renoise" else None
        path.append(move(x, velocity(x, sigma), sigma, sigma_next, solver, fresh))
    return torch.stack(path)
