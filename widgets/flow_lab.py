"""Flow matching in two dimensions: modes that are dragged, the exact field, and students distilled while one looks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
import traitlets

from liveavatar.config import SOLVERS
from liveavatar.flow2d.measures import STEP_COUNTS, Figures, figures_of, find_knee, step_curve
from liveavatar.flow2d.mixture import MOST_MODES, Mixture, make_mixture, sample_path, start_noise
from liveavatar.flow2d.students import JOBS, METHODS, MOST_STEPS, Student
from liveavatar.sampler import Schedule, make_schedule
from liveavatar.types import InputError
from widgets._distilling import Training
from widgets._live import Body, Buffers, LiveView

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

POINTS, DRAWN = 512, 240            # measured; drawn
REACH = 3.4                         # the plane shows -3.4 to 3.4
ARROWS, DENSITY_PX = 17, 68         # on a side
SCHEDULE_KINDS = ("linear", "trained")


class FlowLab(LiveView):
    """Drag the modes of a distribution, watch noise flow to them along the exact field, and distil students of it.

    Needs no run and no model. Whatever is on screen is there in Python: `mixture`, `path`, `figures`, `curves`,
    `knees`, `student`, `student_figures`. `distil()` begins a distillation in the background, `wait()` waits for it.
    """

    script = "flow_lab.js"
    nothing = ""

    controls = traitlets.Bool(False, help="buttons of a run; there is none here").tag(sync=True)
    _keys = traitlets.Unicode("arrow keys: noise level, or the mode that has the focus; space: distil or stop").tag(
        sync=True)
    modes = traitlets.Int(5, min=1, max=MOST_MODES, help="number of modes").tag(sync=True, code=True)
    points = traitlets.List(help="[x, y] of each mode where they were dragged; empty: on a circle").tag(
        sync=True, code=True)
    width = traitlets.Float(0.2, min=0.05, max=1.5, help="standard deviation of a mode, in units of the plane").tag(
        sync=True, code=True)
    left_open = traitlets.Int(0, min=0, max=MOST_MODES, help="how many modes the condition leaves possible; "
                                                                  "0: all").tag(sync=True, code=True)
    steps = traitlets.Enum(list(STEP_COUNTS), 4, help="steps through the exact field").tag(sync=True, code=True)
    schedule = traitlets.Enum(list(SCHEDULE_KINDS), "linear", help="where the noise levels come from").tag(
        sync=True, code=True)
    solver = traitlets.Enum(list(SOLVERS), "euler", help="of the exact field: euler or renoise").tag(
        sync=True, code=True)
    sigma = traitlets.Float(0.6, min=0.0, max=1.0, help="noise level in view, 1 is pure noise").tag(
        sync=True, code=True)
    method = traitlets.Enum(list(METHODS), "dmd", help="how students are distilled").tag(sync=True, code=True)
    student_steps = traitlets.Int(1, min=1, max=MOST_STEPS, help="steps of the student").tag(sync=True, code=True)
    jobs = traitlets.List(traitlets.Enum(list(JOBS)), help="the job of each step of the student").tag(
        sync=True, code=True)
    updates = traitlets.Int(1200, min=1, max=20_000, help="of a student's weights").tag(sync=True, code=True)
    seed = traitlets.Int(0, min=0, help="of the noise and of the students").tag(sync=True, code=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        if options.get("points"):
            options["modes"] = len(make_mixture(options["points"]).means)
        self._flows: tuple[tuple, dict] = ((), {})                # settings -> what follows from them
        self._training: Training | None = None
        super().__init__(*arguments, **options)
        self.observe(self._count_moved, "modes")
        self.observe(self._point_moved, "points")
        self.observe(self._lesson_moved, ["modes", "points", "width", "left_open", "schedule", "method",
                                          "student_steps", "jobs", "updates", "seed"])

    # ------------------------------------------------------------------ what is on screen

    @property
    def all_modes(self) -> Mixture:
        """Return all modes, also those that the condition excludes."""
        return make_mixture(self.points or self.modes, self.width)

    @property
    def mixture(self) -> Mixture:
        """Return the data: the modes that the condition leaves open."""
        return self.all_modes.first(min(self.left_open or self.modes, self.modes))

    @property
    def path(self) -> Tensor:
        """Return 512 points on their way through the exact field: (steps + 1, 512, 2)."""
        return self._flow()["path"]

    @property
    def figures(self) -> Figures:
        """Return the quality of what arrives through the exact field."""
        return figures_of(self.path, self.mixture)

    @property
    def curves(self) -> dict[int, dict[int, Figures]]:
        """Return the quality by number of modes left open, then by number of steps."""
        flow = self._flow()
        if "curves" not in flow:
            noise = start_noise(POINTS, self.seed)
            parts = [self.all_modes.first(count) for count in range(1, self.modes + 1)]
            flow["curves"] = {len(part.means): step_curve(part.velocity, part, noise, self.schedule, self.solver)
                              for part in parts}
        return flow["curves"]

    @property
    def knees(self) -> dict[int, int]:
        """Return the number of steps from which more help little, by number of modes left open."""
        return {count: find_knee(curve) for count, curve in self.curves.items()}

    @property
    def chosen_jobs(self) -> tuple[str, ...]:
        """Return the job of each of the student's steps: `jobs`, where they are given and the method can do them."""
        if self.method == "regression":
            return ("mean",) * self.student_steps
        return (*self.jobs, *["distribution"] * self.student_steps)[:self.student_steps]

    @property
    def student(self) -> Student | None:
        """Return the student as it is now; None where none was distilled for these settings."""
        return None if self._training is None or self._training.made is None else self._training.made.student

    @property
    def student_figures(self) -> Figures | None:
        """Return the quality of the student as it is now."""
        return None if self.student is None else figures_of(self._student_path(), self.mixture)

    def distil(self) -> None:
        """Distil a student in the background, from the beginning."""
        self._end_training()
        if self.method != "regression" and "distribution" not in self.chosen_jobs:
            raise InputError(f"every step is to hold the mean, so {self.method} has nothing to do; give one step the "
                             "job 'distribution', or choose the method 'regression'")
        self._training = Training(self)
        self.refresh()

    def wait(self) -> None:
        """Wait until the student has been distilled. Raise what went wrong, if anything did."""
        if self._training is not None:
            self._training.wait()

    def stop(self) -> None:
        """Stop the distillation; the student stays as it is."""
        if self._training is not None:
            self._training.stop()

    def close(self) -> None:
        self._end_training()
        super().close()

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        known, mixture = bool(self._flow()), self.mixture
        figures = self.figures
        flow = self._flow()
        settled = flow.setdefault("drawn", 0) > 0          # curves of all conditions: not while a mode is dragged
        flow["drawn"] += 1
        if known and not settled:
            self.refresh(urgent=False)
        curves = self.curves if settled else {}
        body = {"means": [[round(v, 3) for v in mean] for mean in self.all_modes.means.tolist()],
                "open": len(mixture.means), "overlap": mixture.overlap, "reach": REACH, "arrows": ARROWS,
                "sigmas": list(self._steps_of().sigmas), "figures": asdict(figures), "drawn": DRAWN,
                "curves": {count: [[steps, one.distance] for steps, one in curve.items()]
                           for count, curve in curves.items()},
                "knees": self.knees if curves else {}, "jobs": self.chosen_jobs, "note": self.note, "student": None}
        buffers = {"density": self._density().tobytes(), "field": packed(mixture.velocity(grid(), self.sigma)),
                   "path": packed(self.path[:, :DRAWN])}
        if self.student is not None:
            more, pictures = self._draw_student()
            body["student"] = more
            buffers |= pictures
        return body, buffers

    def _draw_student(self) -> tuple[Body, Buffers]:
        training = self._training
        with training.lock, torch.no_grad():
            path, made = self._student_path(), training.made
            fields = made.fields(grid(), self.sigma)
        body = {"update": training.update, "updates": training.updates, "working": training.working,
                "figures": asdict(figures_of(path, self.mixture)), "sigmas": list(made.student.schedule.sigmas),
                "jobs": made.student.jobs, "method": made.method, "fields": list(fields),
                "step": made.student.step_at(self.sigma)}
        buffers = {f"field {place}": packed(vectors) for place, vectors in enumerate(fields.values())}
        return body, buffers | {"student path": packed(path[:, :DRAWN])}

    @property
    def note(self) -> str:
        """Say in words what the exact field does in so many steps, and what the student does."""
        one, steps = self.figures, f"{self.steps} step{'s' if self.steps > 1 else ''}"
        parts = [f"{steps} through the exact field keep{'' if self.steps > 1 else 's'} {percent(one.spread_kept)} of "
                 f"the spread; {percent(one.between)} of the points lie between the modes."]
        if self.steps == 1 and self.solver == "euler":
            parts = ["One step through the exact field ends at the mean of all that is possible, whatever the noise "
                     "was."]
        if self.student is not None:
            its = self.student_figures
            parts.append(f"The student keeps {percent(its.spread_kept)} of the spread, with {percent(its.between)} of "
                         f"its points between the modes.")
        return " ".join(parts)

    def still(self) -> Image:
        from widgets._stills import flow_picture

        drawn = [(f"exact field, steps: {self.steps}", self.path[-1].numpy())]
        if self.student is not None:
            drawn.append((f"student ({self._training.made.method}), steps: {self.student.schedule.steps}",
                          self._student_path()[-1].numpy()))
        shown = [(f"modes left open: {count}", [(steps, one.distance) for steps, one in curve.items()])
                 for count, curve in self.curves.items()]
        return flow_picture(drawn, self.mixture.means.numpy(), self.width, REACH, shown, self.note)

    # ------------------------------------------------------------------ what follows from the settings

    def _steps_of(self) -> Schedule:
        return make_schedule(self.schedule, self.steps)

    def _flow(self) -> dict:
        """Return what was computed for these settings."""
        settings = (str(self.points), self.modes, self.width, self.left_open, self.schedule, self.solver, self.seed)
        if self._flows[0] != settings:
            self._flows = settings, {}
        flow = self._flows[1]
        if flow.get("steps") != self.steps:
            flow["steps"] = self.steps
            flow["path"] = sample_path(self.mixture.velocity, start_noise(POINTS, self.seed), self._steps_of(),
                                       self.solver, self.seed)
        return flow

    def _density(self) -> Tensor:
        """Return the density at the noise level in view as bytes (68, 68), its highest value 255."""
        log = self.mixture.log_density(grid(DENSITY_PX), max(self.sigma, 0.01))
        return ((log - log.max()).exp() * 255).to(torch.uint8).reshape(DENSITY_PX, DENSITY_PX).numpy()

    def _student_path(self) -> Tensor:
        return self.student.path(start_noise(POINTS, self.seed), self.seed)

    def _count_moved(self, change: traitlets.Bunch) -> None:
        if self.points and len(self.points) != change.new:
            self.points = []

    def _point_moved(self, change: traitlets.Bunch) -> None:
        if change.new:
            self.modes = len(change.new)

    @traitlets.validate("points")
    def _check_points(self, proposal: traitlets.Bunch) -> list[list[float]]:
        if not proposal.value:
            return []
        return [[round(value, 3) for value in mean] for mean in make_mixture(proposal.value).means.tolist()]

    # ------------------------------------------------------------------ distilling

    def _lesson_moved(self, _: traitlets.Bunch) -> None:
        """Let a student that is learning begin anew, as data or lesson are others; one that has learnt goes."""
        training = self._training
        if training is None:
            return
        again = training.working
        self._end_training()
        if again:
            self._guarded(self.distil)

    def _end_training(self) -> None:
        training, self._training = self._training, None
        if training is not None:
            training.stop()

    def on_message(self, kind: str, content: dict) -> None:
        if kind == "distil":
            self.distil()
        elif kind == "stop":
            self.stop()


def grid(side: int = ARROWS) -> Tensor:
    """Return the points of a square grid over the plane, row by row from the top: (side * side, 2)."""
    places = (torch.arange(side) + 0.5) / side * 2 * REACH - REACH
    y, x = torch.meshgrid(-places, places, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def packed(vectors: Tensor) -> bytes:
    """Pack numbers as float32 for the browser."""
    return vectors.detach().float().contiguous().numpy().tobytes()


def percent(share: float) -> str:
    """Write a share in words."""
    return f"{100 * share:.0f} %"
