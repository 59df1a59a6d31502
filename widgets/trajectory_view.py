"""The way of the latents from noise to picture in two dimensions, of one run or of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.metrics.trajectories import LatentPath, Plane, paths_of, plane_of
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError
from widgets._live import Body, Buffers, LiveView, run_of
from widgets._run_pair import pair_names

if TYPE_CHECKING:
    from PIL.Image import Image

    from widgets._live import Source

MOST_BLOCKS = 32                    # of each run that are drawn


class TrajectoryView(LiveView):
    """Show where the sampler stood after each step, what it guessed, and where its velocity pointed; one path a block,
    in the plane in which they vary most (principal components). The block under the time cursor is drawn strongly.

    With `others` several runs are in one picture, such as a branch and its parent. `view.paths` and `view.plane` are
    what is drawn, `view.paths[0][2].straightness` is a number of it.
    """

    script = "trajectory_view.js"
    drawn_after = (Block,)
    nothing = "No steps to follow yet: give a run, TrajectoryView(run), or the folder of a saved one."

    guesses = traitlets.Bool(True, help="draw the clean guess of each step").tag(sync=True, code=True)
    velocities = traitlets.Bool(False, help="draw where each velocity points").tag(sync=True, code=True)
    every_block = traitlets.Bool(True, help="draw the other blocks faintly").tag(sync=True, code=True)
    _keys = traitlets.Unicode("Left and right: one block back or on. Space: start or pause.").tag(sync=True)

    def __init__(self, source: Source | None = None, *others: Source, **options: object) -> None:
        """Show a run; others: runs in the same picture, with latents of the same size"""
        self.others: list[Run] = [run for run in map(run_of, others) if run is not None]
        self._known: tuple[tuple, list[tuple[LatentPath, ...]], Plane | None] = ((), [], None)
        super().__init__(source, **options)

    # ------------------------------------------------------------------ what is on screen

    @property
    def runs(self) -> list[Run]:
        """Return the runs in the picture, the first one first."""
        return [run for run in (self.run, *self.others) if run is not None]

    @property
    def paths(self) -> list[tuple[LatentPath, ...]]:
        """Return the paths of each run, one a block. Raises InputError where nothing is made yet."""
        return self._fitted()[0]

    @property
    def plane(self) -> Plane:
        """Return the plane in which they are drawn."""
        return self._fitted()[1]

    def as_code(self) -> str:
        """Return Python that makes this view again, with the choices made in it."""
        others = "".join(", other" if len(self.others) == 1 else f", others[{n}]" for n in range(len(self.others)))
        return super().as_code().replace("(run", f"(run{others}", 1)

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        """Forget what was fitted to another run."""
        self._known = (), [], None

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Return the paths in two dimensions."""
        if not self.run.recorded_steps:
            return {"runs": [], "words": "No step is made yet."}, {}
        if self.run.state == RUNNING:
            return {"runs": [], "words": "Pause the run, or wait for its end, to see the way of its latents."}, {}
        paths, plane = self._fitted()
        drawn = [{"name": name, "paths": [projected(path, plane) for path in some]}
                 for name, some in zip(self._names(), paths, strict=True)]
        return {"runs": drawn, "words": "", "explained": plane.explained}, {}

    def still(self) -> Image | None:
        """Draw the paths of the first run."""
        from widgets._stills import paths_picture

        if self.run is None or not self._known[1]:
            return None
        paths, plane = self._known[1], self._known[2]
        return paths_picture([plane.project(path.x) for path in paths[0]], "The way of the latents")

    def _names(self) -> list[str]:
        if len(self.runs) == 2:
            return list(pair_names(*self.runs) or ("A", "B"))
        return [run.lineage.description or f"run {number}" for number, run in enumerate(self.runs)]

    def _fitted(self) -> tuple[list[tuple[LatentPath, ...]], Plane]:
        if self.run is None or not self.run.recorded_steps:
            raise InputError(self.nothing)
        key = tuple((id(run), len(run.recorded_steps)) for run in self.runs)
        if self._known[0] != key:
            paths = [paths_of(run, MOST_BLOCKS) for run in self.runs]
            if not paths[0]:
                raise InputError("this trace was kept without velocities, so the noise it began with is not known")
            self._known = key, paths, plane_of([path for some in paths for path in some])
        return self._known[1], self._known[2]


def projected(path: LatentPath, plane: Plane) -> Body:
    """Return a path for the browser: points in the plane, length and straightness."""
    x, clean = plane.project(path.x), plane.project(path.clean)
    velocity = (x[:-1] - clean) / np.maximum(np.asarray(path.sigmas[:-1]), 1e-6)[:, None]    # noise minus picture
    return {"block": path.block, "x": x.round(3).tolist(), "clean": clean.round(3).tolist(),
            "velocity": velocity.round(3).tolist(), "length": path.length, "straightness": path.straightness}
