"""How good what a sampler makes is, against a mixture that is known: distance, spread, points between the modes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from liveavatar.flow2d.mixture import Field, Mixture, sample_path
from liveavatar.sampler import Solver, make_schedule

DIRECTIONS = 16          # along which the distance is measured, evenly over half a turn
FAR_WIDTHS = 3.0         # from every mode: a point that is further away lies between the modes
KNEE_GAP = 0.3           # of a distance, in units of the plane: less than this is not worth another step
STEP_COUNTS = (1, 2, 3, 4, 8, 32)


@dataclass(frozen=True)
class Figures:
    """The quality of points that a sampler made, against the data that it was to make."""

    distance: float      # to the data, see `distance`; 0 is best
    spread_kept: float   # variance of the points over that of the data: 0 is one point, 1 is right
    between: float       # share of points further than 3 widths from every mode; exact samples: 0.011
    straightness: float  # straight distance over the length of the path, averaged: 1 is straight


def quantiles(mixture: Mixture, directions: Tensor, count: int) -> Tensor:
    """Return the (i + 1/2) / count quantiles of a mixture along unit vectors: (D, 2) -> (D, count).

    The distribution function along a line is a mean of normal ones; it is inverted by interpolation in a table of 2001
    values, whose error is below 0.001 widths but in the outermost tails.
    """
    centres = directions @ mixture.means.T                                               # (D, K)
    low, high = centres.min(1).values, centres.max(1).values
    places = torch.linspace(0, 1, 2001)
    margin = 5.5 * mixture.width
    table = (low - margin).unsqueeze(1) + (high - low + 2 * margin).unsqueeze(1) * places               # (D, 2001)
    below = torch.special.ndtr((table.unsqueeze(2) - centres.unsqueeze(1)) / mixture.width).mean(2)     # (D, 2001)
    levels = ((torch.arange(count) + 0.5) / count).expand(len(directions), count).contiguous()
    right = torch.searchsorted(below.contiguous(), levels).clamp(1, table.shape[1] - 1)
    left = right - 1
    from_, to = below.gather(1, left), below.gather(1, right)
    share = ((levels - from_) / (to - from_).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(table.gather(1, left), table.gather(1, right), share)


def distance(points: Tensor, mixture: Mixture) -> float:
    """Return how far points (N, 2) are from a mixture: their sliced 2-Wasserstein distance times sqrt(2).

    In one dimension the distance compares sorted points with exact quantiles; here it is averaged over 16 directions
    (Bonneel et al. 2015). With the factor it is the 2-Wasserstein distance itself wherever one distribution is the
    other one shifted, or an isotropic Gaussian of another width. In units of the plane; lower is better. Exact samples
    are not at 0: 512 independent ones of five modes at radius 2 are about 0.2 away, since their shares vary.
    """
    angles = math.pi * torch.arange(DIRECTIONS) / DIRECTIONS
    directions = torch.stack([angles.cos(), angles.sin()], 1)
    along = (points @ directions.T).T.sort(1).values                                     # (D, N)
    return float((2 * (along - quantiles(mixture, directions, len(points))).square().mean()).sqrt())


def figures_of(path: Tensor, mixture: Mixture) -> Figures:
    """Measure what arrived. path (steps + 1, N, 2), noise first; mixture: the data."""
    points = path[-1]
    gaps = torch.cdist(points, mixture.means).min(1).values
    lengths = path.diff(dim=0).norm(dim=2).sum(0)
    straight = (path[-1] - path[0]).norm(dim=1) / lengths.clamp(min=1e-9)
    spread = float((points - points.mean(0)).square().sum(1).mean())
    return Figures(distance(points, mixture), spread / mixture.variance,
                   float((gaps > FAR_WIDTHS * mixture.width).float().mean()), float(straight.clamp(max=1).mean()))


def step_curve(velocity: Field, mixture: Mixture, noise: Tensor, schedule: str = "linear", solver: Solver = "euler",
               counts: Sequence[int] = STEP_COUNTS) -> dict[int, Figures]:
    """Measure a field at several numbers of steps from the same noise (N, 2): {steps: Figures}."""
    return {count: figures_of(sample_path(velocity, noise, make_schedule(schedule, count), solver), mixture)
            for count in counts}


def find_knee(curve: Mapping[int, Figures]) -> int:
    """Return the fewest steps from which more steps no longer help: the distance stays within 0.3 of the last one."""
    counts = sorted(curve)
    last = curve[counts[-1]].distance
    enough = [count for count in counts if all(curve[more].distance <= last + KNEE_GAP for more in counts
                                               if more >= count)]
    return enough[0]
