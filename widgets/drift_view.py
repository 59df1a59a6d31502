"""The drift laboratory: streams that differ in one switch, their curves while they are made, now beside the first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.metrics.stream_drift import CURVES, DriftPoint
from liveavatar.study.drift import DriftStudy, row_of
from liveavatar.study.drift_stream import DriftStream
from liveavatar.types import InputError
from widgets._live import Body, Buffers, LiveView, sentence
from widgets._study_end import StudyEnd

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_POINTS = 240                   # of a curve that is drawn: longer ones are averaged


class DriftView(LiveView):
    """Curves of identity, colours, static corners and seams of the streams of a DriftStudy, while they are made.

    `view.study` is the study and `view.study.table()` the numbers; `view.shown` are the streams whose curves are drawn
    and `view.chosen` the one drawn strongly. `start()` and `stop()` do what the button does.
    """

    script = "drift_view.js"
    nothing = ""

    chosen = traitlets.Unicode("", help="name of the stream that is drawn strongly; empty: the first").tag(
        sync=True, code=True)
    hidden = traitlets.List(traitlets.Unicode(), help="names of the streams whose curves are not drawn").tag(
        sync=True, code=True)
    _keys = traitlets.Unicode("Up and down: the stream drawn strongly. Space: start or stop.").tag(sync=True)

    def __init__(self, study: DriftStudy | None = None, **traits: object) -> None:
        """Show a study; None shows what to do."""
        self.study: DriftStudy | None = None
        self._sent: dict[str, int] = {}                  # buffer -> its block, as the browser has it
        super().__init__(None, **traits)
        self.watch(study)

    # ------------------------------------------------------------------ for users

    def watch(self, source: DriftStudy | None) -> None:
        """Show another study. None shows nothing. Raises InputError for anything else."""
        if source is not None and not isinstance(source, DriftStudy):
            raise InputError(f"DriftView shows a DriftStudy, not a {type(source).__name__}: "
                             "DriftView(DriftStudy(pipeline, \"speech.wav\", \"portrait.png\"))")
        self._unsubscribe()
        with self._lock:
            self.study = source
            self._sent.clear()
        self._unsubscribe: Callable[[], None] = (lambda: None) if source is None else source.subscribe(self._progressed)
        self.refresh(full=True)

    def start(self) -> None:
        """Make the streams, or go on with them. Raises InputError where there is no study, or it is at work."""
        if self.study is None:
            raise InputError("No streams to make yet: give a study, DriftView(DriftStudy(...)).")
        self._report("study", "")
        self.study.start()
        self._study_end = StudyEnd(self.study)           # kept: workers are known by weak references
        self.refresh()

    def stop(self) -> None:
        """End after the block that is being made; curves stay, `start` goes on."""
        if self.study is not None:
            self.study.stop()

    @property
    def shown(self) -> tuple[DriftStream, ...]:
        """Return the streams whose curves are drawn, in the order of the study."""
        streams = () if self.study is None else self.study.streams
        return tuple(stream for stream in streams if stream.setting.name not in self.hidden)

    def as_code(self) -> str:
        """Return Python that makes this view again, with the choices made in it."""
        return f"DriftView({', '.join([*(['study'] if self.study is not None else []), *self._choices()])})"

    def still(self) -> Image | None:
        """Draw the curves, and the first and the newest picture of each stream."""
        from widgets._drift_drawing import drift_picture

        streams = [stream for stream in self.shown if stream.points]
        return drift_picture(streams, self._order()) if streams else None

    def __repr__(self) -> str:
        return f"DriftView({self.study!r})" if self.study is not None else "DriftView()"

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Return the numbers of each stream, and the curves and pictures that are new."""
        if self.study is None:
            return {"streams": [], "words": "No streams yet: give a study, DriftView(DriftStudy(pipeline, sound, "
                                            "portrait)).", "total": 0}, {}
        if full:
            self._sent.clear()
        study, buffers = self.study, {}
        made = {stream.setting.name: stream for stream in study.streams}
        streams = []
        for number, setting in enumerate(study.settings):
            stream = made.get(setting.name)
            points = [] if stream is None else list(stream.points)
            streams.append({"name": setting.name, **numbers_of(points, study.block_s)})
            if stream is not None:
                self._add_new(buffers, number, stream, points)
        blocks = max([stream.blocks for stream in study.streams], default=0)
        done = sum(len(stream.points) for stream in study.streams)
        total = blocks * len(study.settings)
        words = (f"{done} of {total} blocks" if total else f"{len(study.settings)} streams of {study.seconds:g} s")
        state = "making" if study.running else "done" if study.done else "stopped" if done else "ready"
        return {"streams": streams, "words": f"{state}: {words}", "running": study.running, "done": study.done,
                "block_s": study.block_s, "seconds": study.seconds, "curves": CURVES}, buffers

    def _add_new(self, buffers: Buffers, number: int, stream: DriftStream, points: list[DriftPoint]) -> None:
        """Add what the browser does not have yet: the curve, the first picture, the newest one."""
        if points and self._sent.get(f"curve/{number}") != len(points):
            self._sent[f"curve/{number}"] = len(points)
            buffers[f"curve/{number}"] = thinned(points).tobytes()
        for name, block, picture in (("first", 0, stream.thumbnails.get(0)), ("now", len(points), stream.newest)):
            key = f"{name}/{number}"
            if picture is not None and self._sent.get(key) != block:
                self._sent[key] = block
                height, width = picture.shape[:2]
                buffers[f"{key}/{width}/{height}"] = picture.numpy().tobytes()

    def _order(self) -> list[str]:
        return [] if self.study is None else [setting.name for setting in self.study.settings]

    def _progressed(self, point: DriftPoint | None) -> None:
        """Draw soon, in the thread of the study: take a note, nothing more."""
        if point is None and self.study is not None:
            if self.study.error is not None:
                self._report("study", sentence(self.study.error))
            self.keep_still()
        self.refresh(urgent=point is None)

    def on_message(self, kind: str, content: dict) -> None:
        """Handle the button, and the space key."""
        if kind == "study":
            self.stop() if self.study is not None and self.study.running else self.start()


def numbers_of(points: list[DriftPoint], block_s: float) -> Body:
    """Return a stream in numbers for the browser: the newest tenth against the first, and what was found."""
    if not points:
        return {"blocks": 0, "first": None, "last": None, "found": []}
    row = row_of("", points, block_s)
    found = [*([block, "jump"] for block in row.jumps), *([block, "colours"] for block in row.shifts)]
    return {"blocks": len(points), "first": finite(row.first), "last": finite(row.last), "found": found}


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON takes them: None for NaN."""
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}


def thinned(points: list[DriftPoint]) -> np.ndarray:
    """Return a curve for the browser: rows of block, identity, colours, corners_db, seam, float32; of a long one means
    of neighbouring blocks, of the seam the largest, so that no jump is lost."""
    rows = np.array([[point.block, *(getattr(point, name) for name in CURVES)] for point in points], np.float32)
    size = -(-len(rows) // MOST_POINTS)
    if size > 1:
        pieces = [rows[at:at + size] for at in range(0, len(rows), size)]
        rows = np.array([[*piece[:, :-1].mean(0), np.nanmax(piece[:, -1])] for piece in pieces], np.float32)
    return rows
