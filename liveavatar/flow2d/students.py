"""Students of few steps, distilled from the exact field of a mixture in seconds.

A step of a student has one of two jobs. To *hold the mean* it answers E[clean | x]: that is what plain regression
learns, and where several clean points are possible it lies between them. To *match the distribution* it answers with
points that are distributed as the data are, by one of two methods:

    consistency   every point of one path of the teacher gets the same answer: its end
                  (Song et al. 2023, arXiv:2303.01469, algorithm 2)
    dmd           move answers along the real score minus the score of what the student makes itself, which a second
                  network follows (Yin et al. 2024, arXiv:2311.18828; several steps and no regression as in DMD2,
                  arXiv:2405.14867)

The teacher is the exact field, so nothing that goes wrong here can be the teacher's fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F_
from torch import Tensor, nn

from liveavatar.flow2d.mixture import Mixture, sample_path
from liveavatar.sampler import Schedule, Solver, make_schedule
from liveavatar.types import InputError
from liveavatar.wording import did_you_mean

JOBS = ("mean", "distribution")
METHODS = ("regression", "consistency", "dmd")
MOST_STEPS = 4

WIDTH, BATCH = 64, 256                 # of the networks' layers; points of one update
RATE, DMD_RATE = 1e-2, 5e-3            # of Adam; both fall to a twentieth by a half cosine, the fake network's stays
MEMORY = 0.98                          # share of itself that the averaged student keeps at each update
LEVELS = 24                            # of noise, between which consistency compares neighbours
FAKE_UPDATES = 2                       # of the network that follows the student, for each one of the student
LOWEST, HIGHEST = 0.02, 0.98           # noise levels at which scores are compared


class VelocityNet(nn.Module):
    """A small network from a point and its noise level to a velocity.

    `origin` tells the network that follows a student which step made the point, by that step's noise level.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(),
                                    nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2))
        for layer in self.layers[::2]:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, x: Tensor, sigma: float | Tensor, origin: float = 0.0) -> Tensor:
        """Compute the velocity. x (N, 2), sigma one level or (N, 1)  ->  velocity (N, 2)"""
        sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x), 1)
        waves = [f(math.pi * rate * sigma) for rate in (0.5, 1.0) for f in (torch.sin, torch.cos)]
        return self.layers(torch.cat([x, sigma, torch.full_like(sigma, origin), *waves], 1))

    def clean(self, x: Tensor, sigma: float | Tensor, origin: float = 0.0) -> Tensor:
        """Return the clean point that the velocity means, x - sigma * velocity; at sigma 0 it is x itself."""
        return x - sigma * self(x, sigma, origin)


@dataclass
class Student:
    """A sampler of few steps: one network for each job, and which step has which."""

    schedule: Schedule
    jobs: tuple[str, ...]                # one of JOBS for each step
    solver: Solver
    networks: dict[str, VelocityNet]     # by job

    def step_at(self, sigma: float) -> int:
        """Return the step whose noise level is nearest to sigma."""
        gaps = [abs(level - sigma) for level in self.schedule.sigmas[:-1]]
        return gaps.index(min(gaps))

    def velocity(self, x: Tensor, sigma: float) -> Tensor:
        """Answer as the network of the step whose noise level is nearest: (N, 2) -> (N, 2)."""
        return self.networks[self.jobs[self.step_at(sigma)]](x, sigma)

    def path(self, noise: Tensor, seed: int = 0) -> Tensor:
        """Sample from noise (N, 2)  ->  (steps + 1, N, 2)."""
        return sample_path(self.velocity, noise, self.schedule, self.solver, seed)


@dataclass(frozen=True)
class Progress:
    """The state of a distillation after some updates."""

    update: int
    updates: int
    losses: dict[str, float]     # of the last update, by what was trained: "mean", "distribution", "fake"
    distillation: Distillation   # it goes on learning

    @property
    def student(self) -> Student:
        """Return the student as it is now; it goes on learning, copy it to keep it."""
        return self.distillation.student


@dataclass
class Distillation:
    """All that is trained: a student and, for dmd, the network that follows what the student makes."""

    mixture: Mixture
    student: Student
    method: str
    seed: int = 0
    fake: VelocityNet | None = None
    _optimizers: dict[str, torch.optim.Adam] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        if self.method == "dmd" and "distribution" in self.student.jobs:
            self.fake = VelocityNet(self.generator)
            self._optimizers["fake"] = torch.optim.Adam(self.fake.parameters(), DMD_RATE, betas=(0.5, 0.99))
        self._averaged = deepcopy(self.student.networks.get("distribution"))
        self._learning = dict(self.student.networks)           # the student itself holds the averaged one
        if self._averaged is not None:
            self.student.networks["distribution"] = self._averaged
        for job, network in self._learning.items():
            betas = (0.5, 0.99) if self._moves_along_scores(job) else (0.9, 0.99)
            self._optimizers[job] = torch.optim.Adam(network.parameters(), betas=betas)

    def _moves_along_scores(self, job: str) -> bool:
        return job == "distribution" and self.method == "dmd"

    @torch.no_grad()
    def fields(self, x: Tensor, sigma: float) -> dict[str, Tensor]:
        """Return what the step nearest to a noise level is taught, as vectors at points x (N, 2), by name.

        A step that holds the mean: "exact mean", where E[clean | x] lies from x; "student", where its answer does;
        "difference". By consistency "end of the path" instead of the mean. By dmd "real score" and "fake score",
        both times sigma, and "student". sigma is taken to be at least 0.02.
        """
        sigma = max(sigma, LOWEST)
        student, step = self.student, self.student.step_at(sigma)
        answer = -sigma * student.velocity(x, sigma)
        if self._moves_along_scores(student.jobs[step]):
            origin = student.schedule.sigmas[step]
            fake = -(x + (1 - sigma) * self.fake(x, sigma, origin))        # -E[noise | x] = sigma * score
            return {"real score": sigma * self.mixture.score(x, sigma), "fake score": fake, "student": answer}
        if student.jobs[step] == "mean":
            name, target = "exact mean", self.mixture.expected_clean(x, sigma) - x
        else:
            down = Schedule(tuple(sigma * (1 - i / LEVELS) for i in range(LEVELS)) + (0.0,))
            name, target = "end of the path", sample_path(self.mixture.velocity, x, down)[-1] - x
        return {name: target, "student": answer, "difference": answer - target}

    # ------------------------------------------------------------------ one update

    def update(self, share: float) -> dict[str, float]:
        """Train every network once. share: of the updates that are done, 0..1. Return the losses."""
        losses = {}
        falling = 0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2
        for job in self._learning:
            for group in self._optimizers[job].param_groups:
                group["lr"] = falling * (DMD_RATE if self._moves_along_scores(job) else RATE)
        if "mean" in self._learning:
            losses["mean"] = self._step("mean", self._regression_loss())
        if "distribution" in self._learning:
            if self.method == "dmd":
                losses["fake"] = [self._step("fake", self._fake_loss()) for _ in range(FAKE_UPDATES)][-1]
            loss = self._dmd_loss() if self.method == "dmd" else self._consistency_loss()
            losses["distribution"] = self._step("distribution", loss)
            with torch.no_grad():
                for kept, new in zip(self._averaged.parameters(), self._learning["distribution"].parameters(),
                                     strict=True):
                    kept.lerp_(new, 1 - MEMORY)
        return losses

    def _step(self, name: str, loss: Tensor) -> float:
        self._optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self._optimizers[name].step()
        return float(loss.detach())

    def _noise(self) -> Tensor:
        return torch.randn(BATCH, 2, generator=self.generator)

    def _level(self) -> Tensor:
        """Draw noise levels (BATCH, 1) at which scores are compared."""
        return LOWEST + (HIGHEST - LOWEST) * torch.rand(BATCH, 1, generator=self.generator)

    # ------------------------------------------------------------------ the losses

    def _regression_loss(self) -> Tensor:
        """Regress the clean points from noised ones, at the levels of the steps that hold the mean."""
        student = self.student
        steps = [step for step, job in enumerate(student.jobs) if job == "mean"]
        chosen = torch.randint(len(steps), (BATCH, 1), generator=self.generator)
        sigma = torch.tensor(student.schedule.sigmas)[torch.tensor(steps)][chosen]
        clean, noise = self.mixture.sample(BATCH, self.generator), self._noise()
        x = (1 - sigma) * clean + sigma * noise
        return F_.mse_loss(self._learning["mean"].clean(x, sigma), clean)

    def _consistency_loss(self) -> Tensor:
        """Let neighbours on a path of the teacher have the same answer; at noise 0 it is the point itself.

        The lower neighbour's answer is that of the network as it is (Song & Dhariwal 2023, arXiv:2310.14189): an
        average of the past would hand the end of the path upwards more slowly.
        """
        learning = self._learning["distribution"]
        highest = max(sigma for sigma, job in zip(self.student.schedule.sigmas, self.student.jobs, strict=False)
                      if job == "distribution")
        place = torch.randint(LEVELS, (BATCH, 1), generator=self.generator)
        sigma, below = (highest * (place + more) / LEVELS for more in (1, 0))
        clean, noise = self.mixture.sample(BATCH, self.generator), self._noise()
        x = (1 - sigma) * clean + sigma * noise
        with torch.no_grad():
            target = learning.clean(teacher_step(self.mixture, x, sigma, below), below)
        return F_.mse_loss(learning.clean(x, sigma), target)

    def _made(self) -> tuple[Tensor, float]:
        """Make clean points (BATCH, 2) as one of the steps that match the distribution does, with gradients in that
        step only. Return them and that step's noise level."""
        student = self.student
        steps = [step for step, job in enumerate(student.jobs) if job == "distribution"]
        step = steps[int(torch.randint(len(steps), (1,), generator=self.generator))]
        sigmas = student.schedule.sigmas
        x, learning = self._noise(), self._learning
        if step:
            def velocity(x: Tensor, sigma: float) -> Tensor:
                return learning[student.jobs[sigmas.index(sigma)]](x, sigma)

            seed = int(torch.randint(2**31, (1,), generator=self.generator))
            x = sample_path(velocity, x, Schedule((*sigmas[:step + 1], 0.0)), student.solver, seed)[step]
        return learning["distribution"].clean(x, sigmas[step]), sigmas[step]

    def _fake_loss(self) -> Tensor:
        """Regress the student's own points from noised ones: so the fake score follows the student."""
        with torch.no_grad():
            made, origin = self._made()
        sigma, noise = self._level(), self._noise()
        return F_.mse_loss(self.fake((1 - sigma) * made + sigma * noise, sigma, origin), noise - made)

    def _dmd_loss(self) -> Tensor:
        """Move what the student makes along the difference of the two clean predictions (DMD, equations 7 and 8)."""
        made, origin = self._made()
        sigma, noise = self._level(), self._noise()
        with torch.no_grad():
            x = (1 - sigma) * made + sigma * noise
            real, fake = self.mixture.expected_clean(x, sigma), self.fake.clean(x, sigma, origin)
            weight = (made - real).abs().mean(1, keepdim=True).clamp(min=0.05)
            target = made - (fake - real) / weight
        return 0.5 * F_.mse_loss(made, target)


def teacher_step(mixture: Mixture, x: Tensor, sigma: Tensor, below: Tensor) -> Tensor:
    """Follow the exact field from level sigma (N, 1) to `below` by one step of Heun's method: (N, 2) -> (N, 2)."""
    first = mixture.velocity(x, sigma)
    ahead = x + (below - sigma) * first
    return x + (below - sigma) * 0.5 * (first + mixture.velocity(ahead, below))


def distil(mixture: Mixture, method: str = "dmd", jobs: Sequence[str] | None = None, steps: int = 1, *,
           schedule: str = "linear", solver: Solver = "renoise", updates: int = 1200,
           seed: int = 0) -> Iterator[Progress]:
    """Distil a student from the exact field of a mixture, pausing after every update.

    method: of METHODS, for the steps that match the distribution; "regression" has none of them
    jobs: of JOBS, one for each step; None is "mean" for regression, else "distribution" for all
    steps: 1 to 4, where no jobs are given; schedule, solver: as in `GenerationConfig`

    One seed makes one student. Raise InputError where the choices do not go together.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; known: {', '.join(METHODS)}" + did_you_mean(method, METHODS))
    if jobs is None:
        jobs = ("mean" if method == "regression" else "distribution",) * steps
    jobs = tuple(jobs)
    if not 1 <= len(jobs) <= MOST_STEPS:
        raise InputError(f"a student of {len(jobs)} steps is asked for; give 1 to {MOST_STEPS}")
    for job in jobs:
        if job not in JOBS:
            raise InputError(f"unknown job {job!r}; known: {', '.join(JOBS)}" + did_you_mean(job, JOBS))
    if method == "regression" and "distribution" in jobs:
        raise InputError("regression holds the mean and cannot match the distribution; choose the method "
                         "'consistency' or 'dmd', or give all steps the job 'mean'")
    return _distil(mixture, method, Student(make_schedule(schedule, len(jobs)), jobs, solver, {}), updates, seed)


def _distil(mixture: Mixture, method: str, student: Student, updates: int, seed: int) -> Iterator[Progress]:
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(seed)
        student.networks.update({job: VelocityNet(generator) for job in JOBS if job in student.jobs})
        distillation = Distillation(mixture, student, method, seed)
    for update in range(updates):
        with torch.enable_grad():
            losses = distillation.update(update / updates)
        yield Progress(update + 1, updates, losses, distillation)
