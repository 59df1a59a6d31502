"""The noise levels of a schedule as a picture: how far each step goes on the way from noise to picture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.backends import Trained
from liveavatar.backends.mini.preset import SHIFT
from liveavatar.config import SOLVERS
from liveavatar.preview import to_bytes
from liveavatar.sampler import RELEASED_SHIFT, SCHEDULES, Schedule, make_schedule
from liveavatar.types import InputError, Step
from widgets._live import Body, Buffers, LiveView

if TYPE_CHECKING:
    from PIL.Image import Image

IDLE, HEAVY = 0.05, 0.45      # shares of the path below and above which a step deserves a word
EXAMPLE_PX = 64


class ScheduleView(LiveView):
    """The path from noise to picture, and the share of it that each step covers.

    Needs no run. With one it begins with that run's schedule and shows which step is being made. What is chosen can be
    handed on: `GenerationConfig(**view.choice)`.
    """

    script = "schedule_view.js"
    nothing = ""

    schedule = traitlets.Enum([*SCHEDULES, "own"], "trained", help="trained (mini), released (Live Avatar), linear, or "
                                                                   "own: the noise levels in `sigmas`").tag(
        sync=True, code=True)
    steps = traitlets.Int(4, min=1, max=50, help="sampler steps").tag(sync=True, code=True)
    shift = traitlets.Float(SHIFT, min=0.1, max=100, help="moves the noise levels towards 1; trained and released").tag(
        sync=True, code=True)
    solver = traitlets.Enum(list(SOLVERS), "euler", help="euler: follow the velocity; renoise: jump to the clean guess "
                                                         "and add fresh noise").tag(sync=True, code=True)
    sigmas = traitlets.List(traitlets.Float(), help="noise levels from at most 1 down to 0, one more than steps").tag(
        sync=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        self._times: dict[int, list[float]] = {}         # step -> milliseconds it took, seen live
        self._now: tuple[int, int] | None = None         # (block, step) that was made last
        self._settling = False
        self._trained_shift = SHIFT                      # of the model's own schedule
        given = options.pop("sigmas", None)
        if options.get("schedule") == "released":
            options.setdefault("shift", RELEASED_SHIFT)
        super().__init__(*arguments, **options)
        self._settle()
        if given is not None:
            self.use(given)
        self.observe(self._choice_moved, ["schedule", "steps", "shift"])
        self.observe(self._sigmas_moved, "sigmas")

    # ------------------------------------------------------------------ what is on screen

    @property
    def result(self) -> Schedule:
        """Return the schedule that is shown."""
        return Schedule(tuple(self.sigmas), self.schedule if self.schedule != "own" else "custom")

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the part of the path that each step covers, 0..1."""
        return tuple(share / self.sigmas[0] for share in self.result.shares)

    @property
    def timesteps(self) -> tuple[float, ...]:
        """Return where the network is asked, 0..1000."""
        return self.result.timesteps

    @property
    def milliseconds(self) -> tuple[float | None, ...]:
        """Return the median time of each step of the run; None where there is none."""
        return tuple(median(self._times[step]) if step in self._times else None for step in range(len(self.sigmas) - 1))

    @property
    def choice(self) -> dict:
        """Return the arguments for GenerationConfig(**view.choice).

        A shift that was not touched is left out: it is the model's own.
        """
        own = self.schedule == "own"
        shift = {} if own or self.shift == self._usual_shift() else {"shift": self.shift}
        return {"sample_steps": self.result.steps, "schedule": tuple(self.sigmas) if own else self.schedule,
                "sample_solver": self.solver} | shift

    def _usual_shift(self, schedule: str | None = None) -> float:
        """Return the shift of a schedule where nothing is asked for."""
        return self._trained_shift if (schedule or self.schedule) == "trained" else RELEASED_SHIFT

    @property
    def note(self) -> str:
        """Return what is remarkable about it, in words."""
        shares = self.shares
        heavy = [f"Step {i} covers {percent(share)} of the path by itself." for i, share in enumerate(shares)
                 if share >= HEAVY and len(shares) > 2]
        idle = [f"Step {i} covers {percent(share)} and takes as long as any other: it is nearly idle."
                for i, share in enumerate(shares) if share < IDLE]
        return " ".join(self._left() + heavy + idle) or "No step is idle, and none does more than half of the way."

    def _left(self) -> list[str]:
        """Say where a run ended before noise 0, as some schedulers do."""
        info = None if self.run is None else self.run.info
        if info is None or not info.sigmas or info.sigmas[-1] == 0 or len(self.sigmas) != len(info.sigmas) + 1:
            return []
        return [f"The run ends at noise {info.sigmas[-1]:.3f}: the last part of the path was not gone."]

    def use(self, times: Iterable[float] | str) -> None:
        """Take an own list: noise levels from 1 to 0, or time steps from 1000 (a closing 0 may be left out)."""
        if isinstance(times, str):
            times = [float(number) for number in re.findall(r"\d+\.?\d*(?:e-?\d+)?", times)]
        levels = [float(time) for time in times]
        if levels and max(levels) > 1:
            levels = [level / 1000 for level in levels]
        if levels and levels[-1] != 0:
            levels.append(0.0)
        Schedule(tuple(levels))                          # refuses nonsense in words
        self._put(levels, own=True)

    def as_code(self) -> str:
        if self.schedule != "own":
            return super().as_code()
        run = ["run"] if self.run is not None else []
        solver = [f"solver={self.solver!r}"] if self.solver != "euler" else []
        return f"ScheduleView({', '.join([*run, *solver, f'sigmas={[round(sigma, 4) for sigma in self.sigmas]}'])})"

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        self._times.clear()
        self._now = None
        if self.run is None or not self.run.info.sigmas:
            return
        config, sigmas = self.run.info.config, list(self.run.info.sigmas)
        for block, step in self.run.recorded_steps:
            self._times.setdefault(step, []).append(self.run.step_record(block, step).milliseconds)
        self.solver = self.run.info.solver or self.solver
        name = config.get("schedule", "own")
        known = isinstance(name, str) and name in SCHEDULES and len(sigmas) > 1
        trained = self.run.backend.trained if known and self.run.backend is not None else Trained()
        self._trained_shift = trained.shift or RELEASED_SHIFT
        shift = trained.shift_for(name, config.get("shift")) or RELEASED_SHIFT
        if known and np.allclose(make_schedule(name, len(sigmas) - 1, shift).sigmas, sigmas):
            self.schedule, self.steps, self.shift = name, len(sigmas) - 1, shift
        else:
            self._use_of_run(sigmas)

    def _use_of_run(self, sigmas: list[float]) -> None:
        """Show the noise levels of a run; those of some schedulers do not fall with every step, which is said."""
        try:
            self.use(sigmas)
            self._report("levels", "")
        except InputError:
            levels = ", ".join(f"{sigma:.2f}" for sigma in sigmas)
            self._report("levels", f"The noise levels of this run do not fall with every step ({levels}), so their "
                                   f"shares cannot be shown. The schedule below is not the run's.")

    def on_event(self, event: object) -> None:
        if isinstance(event, Step):
            self._now = event.block, event.index
            times = self._times.setdefault(event.index, [])
            times.append(event.milliseconds)
            del times[:-100]

    def on_message(self, kind: str, content: dict) -> None:
        if kind == "list":
            self.use(content["text"])

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        body = {"note": self.note, "milliseconds": self.milliseconds, "now": self._now, "choice": self.choice}
        if not full:
            return body, {}
        example = self._example()
        return body, {} if example is None else {"example": example.tobytes()}

    def still(self) -> Image | None:
        from widgets._stills import schedule_picture

        return schedule_picture(self.result, self.note)

    def _example(self) -> np.ndarray | None:
        """Return the run's portrait, (64, 64, 3) uint8, to be drowned in noise."""
        if self.run is None or self.run.portrait is None:
            return None
        import torch

        pixels = self.run.portrait.pixels
        side = min(pixels.shape[1:])
        top, left = ((extent - side) // 2 for extent in pixels.shape[1:])
        square = pixels[None, :, top:top + side, left:left + side]
        small = torch.nn.functional.interpolate(square, (EXAMPLE_PX, EXAMPLE_PX), mode="area")[0]
        return to_bytes(small.permute(1, 2, 0).numpy())

    # ------------------------------------------------------------------ what moves

    def _settle(self) -> None:
        """Set the noise levels that follow from the other choices."""
        if self.schedule == "own":
            return
        self._put(list(make_schedule(self.schedule, self.steps, self.shift).sigmas), own=False)

    def _put(self, sigmas: list[float], own: bool) -> None:
        """Show these noise levels; the other choices follow."""
        self._settling = True
        try:
            self.sigmas = sigmas
            if own:
                self.schedule, self.steps = "own", len(sigmas) - 1
        finally:
            self._settling = False

    def _choice_moved(self, change: traitlets.Bunch) -> None:
        if self._settling:
            return
        if change.name == "steps" and self.schedule == "own" and change.new != len(self.sigmas) - 1:
            self.schedule = "trained"                    # an own list cannot grow by itself
        if change.name == "schedule" and self.shift == self._usual_shift(change.old):
            self._settling = True
            self.shift = self._usual_shift()
            self._settling = False
        self._settle()
        self._report("click", "")                        # a list that was refused is forgotten

    def _sigmas_moved(self, change: traitlets.Bunch) -> None:
        if self._settling:
            return
        try:
            self.use(change.new)
            self._report("click", "")
        except InputError as problem:
            self._put(change.old, own=False)
            self._report("click", str(problem))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
