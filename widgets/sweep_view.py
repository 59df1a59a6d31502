"""All videos of a sweep side by side: they play together, one is heard; a plot to choose from; sorted by any number."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.study.cell_result import Result
from liveavatar.study.summary import named, summary
from liveavatar.study.sweep import Progress, Sweep
from liveavatar.types import InputError
from liveavatar.video import read_frames
from widgets._live import Body, Buffers, LiveView, sentence

if TYPE_CHECKING:
    from PIL.Image import Image


class SweepView(LiveView):
    """The videos of a sweep, finished or being made.

    What is on screen can be had in Python: `view.shown` are the results in view, in their order; `view.selected` the
    keys that a box on the plot holds. Give a Sweep, or its folder.
    """

    script = "sweep_view.js"
    nothing = ""

    sort = traitlets.Unicode("steps", help="setting or column to sort by").tag(sync=True, code=True)
    descending = traitlets.Bool(False, help="largest first").tag(sync=True, code=True)
    x = traitlets.Unicode("ms_per_frame", help="setting or column across the plot").tag(sync=True, code=True)
    y = traitlets.Unicode("lips.error_frames", help="setting or column up the plot").tag(sync=True, code=True)
    selected = traitlets.List(traitlets.Unicode(), help="keys of the videos to show; empty: all").tag(sync=True)
    most = traitlets.Int(24, min=1, max=200, help="videos in view at most").tag(sync=True, code=True)
    heard = traitlets.Unicode("", help="key of the video whose sound is heard").tag(sync=True)

    def __init__(self, source: Sweep | str | os.PathLike | None = None, **traits: object) -> None:
        self.sweep: Sweep | None = None
        self._sent: set[str] = set()
        super().__init__(None, **traits)
        self.watch(source)

    # ------------------------------------------------------------------ for users

    def watch(self, source: Sweep | str | os.PathLike | None) -> None:
        """Show a sweep, or the folder of one. None shows nothing."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        with self._lock:
            try:
                self.sweep = source if source is None or isinstance(source, Sweep) else Sweep.open(source)
                self._report("watch", "")
            except InputError as problem:
                self.sweep = None
                self._report("watch", sentence(problem))
        if self.sweep is not None:
            self._unsubscribe = self.sweep.subscribe(self._progressed)
        self.refresh(full=True)

    @property
    def shown(self) -> tuple[Result, ...]:
        """Return the results in view, in their order."""
        if self.sweep is None:
            return ()
        found = [result for result in self.sweep.results if not self.selected or result.key in self.selected]

        def rank(result: Result) -> tuple:
            value = result.numbers.get(self.sort, getattr(result.cell, self.sort, None))
            return isinstance(value, str), value

        known = [result for result in found if rank(result)[1] is not None]
        unknown = [result for result in found if rank(result)[1] is None]
        return tuple((sorted(known, key=rank, reverse=self.descending) + unknown)[:self.most])

    def as_code(self) -> str:
        chosen = super().as_code().removeprefix("SweepView(").removesuffix(")")
        source = [] if self.sweep is None else [repr(str(self.sweep.folder))]
        return f"SweepView({', '.join(filter(None, [*source, chosen]))})"

    def still(self) -> Image | None:
        """Draw the middle picture of every video in view, on one sheet."""
        from widgets._stills import sweep_picture

        middles = [(named(asdict(result.cell), self._differ), middle_picture(result.video)) for result in self.shown
                   if result.video is not None and result.video.is_file()]
        return sweep_picture(middles) if middles else None

    @property
    def _differ(self) -> list[str]:
        return summary(self.sweep.results)["settings"]

    def __repr__(self) -> str:
        return f"SweepView({self.sweep!r})" if self.sweep is not None else "SweepView()"

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if self.sweep is None:
            words = "No sweep yet: give one, SweepView(sweep)."
            return {"cells": [], "measures": [], "settings": [], "words": words}, {}
        if full:
            self._sent.clear()
        results = self.sweep.results
        wanted = [result for result in self.shown if result.video is not None and result.key not in self._sent]
        buffers = {result.key: result.video.read_bytes() for result in wanted if result.video.is_file()}
        self._sent.update(buffers)
        going = self.sweep.running
        words = f"{len(results)} of {len(self.sweep.cells)} made" + (", going on" if going else "")
        return summary(results) | {"words": words, "running": going, "done": len(results),
                                   "total": len(self.sweep.cells)}, buffers

    def on_message(self, kind: str, content: dict) -> None:
        if kind == "sweep" and self.sweep is not None:
            self.sweep.stop() if self.sweep.running else self.sweep.start()
            self.refresh()

    def _progressed(self, progress: Progress) -> None:
        if self.sweep is not None and self.sweep.error is not None:
            self._report("sweep", sentence(self.sweep.error))
        self.refresh()


def middle_picture(path: Path) -> np.ndarray:
    """Return (H, W, 3) uint8"""
    frames = list(read_frames(path))
    return frames[len(frames) // 2]
