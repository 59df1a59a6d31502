"""The way of the latents from noise to picture, in two dimensions: principal components of one or several runs.

    paths_of(run)          -> LatentPath of each block: x, clean guesses, velocities; length and straightness
    plane_of([paths, ...]) -> Plane: the two directions in which x and guesses vary most (Pearson 1901)
    plane.project(x)       -> (N, 2)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.runs.edits import latents_before
from liveavatar.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.runs.record import RunRecord


@dataclass(frozen=True)
class LatentPath:
    """One block on its way. D: all numbers of its latents."""

    block: int
    x: np.ndarray              # (S + 1, D) where the sampler stood: the noise, then after each step
    clean: np.ndarray          # (S, D) the guess of each step
    sigmas: tuple[float, ...]  # (S + 1,) noise levels of x

    @property
    def length(self) -> float:
        """Return the length of the path, against the distance that a normal distribution has from 0: sqrt(D)."""
        return float(np.linalg.norm(np.diff(self.x, axis=0), axis=1).sum()) / math.sqrt(self.x.shape[1])

    @property
    def straightness(self) -> float:
        """Return the distance between both ends over the length of the path: 1 is straight."""
        direct = float(np.linalg.norm(self.x[-1] - self.x[0])) / math.sqrt(self.x.shape[1])
        return direct / self.length if self.length > 0 else math.nan


@dataclass(frozen=True)
class Plane:
    """Two orthogonal directions through a centre."""

    centre: np.ndarray                    # (D,)
    axes: np.ndarray                      # (2, D) of length 1
    explained: tuple[float, float]        # share of the variance along each

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where points (N, D) lie: (N, 2)"""
        return (points - self.centre) @ self.axes.T


def path_of(run: RunRecord, block: int) -> LatentPath | None:
    """Return the path of a block as far as its steps are made; None where none is, or where its noise is not known."""
    steps = sorted(step for of, step in run.recorded_steps if of == block)
    if not steps or steps[0] != 0:
        return None
    made = [run.step_record(block, step) for step in steps]
    try:
        first = latents_before(run, block, 0)
    except InputError:                                        # kept without velocities
        return None
    return LatentPath(block, np.stack([flat(x) for x in (first, *(one.x for one in made))]),
                      np.stack([flat(one.clean) for one in made]),
                      (*(one.sigma for one in made), made[-1].sigma_next))


def paths_of(run: RunRecord, most: int = 32) -> tuple[LatentPath, ...]:
    """Return the paths of the first blocks of a run, at most so many."""
    blocks = sorted({block for block, _ in run.recorded_steps})[:most]
    return tuple(path for path in (path_of(run, block) for block in blocks) if path is not None)


def plane_of(paths: Sequence[LatentPath]) -> Plane:
    """Fit the plane in which x and guesses of some paths vary most. Raises InputError for latents of several sizes."""
    sizes = {path.x.shape[1] for path in paths}
    if len(sizes) != 1:
        raise InputError(f"the paths have latents of {sorted(sizes)} numbers; compare runs of one size")
    points = np.concatenate([part for path in paths for part in (path.x, path.clean)])
    centre = points.mean(0)
    away = points - centre
    values, vectors = np.linalg.eigh((away @ away.T).astype(np.float64))            # few points, many dimensions
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    axes = (vectors[:, :2].T @ away) / np.sqrt(np.maximum(values[:2], 1e-12))[:, None]
    total = max(float(values.sum()), 1e-12)
    return Plane(centre, axes.astype(np.float32), (float(values[0]) / total, float(values[1]) / total))


def flat(latents: Tensor) -> np.ndarray:
    """Return latents (1, C, F, h, w) as one row of float32."""
    return latents.float().reshape(-1).numpy()
