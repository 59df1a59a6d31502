"""Memory over time: a live curve, who owns what, and what the run was doing; of a run, or of any code."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.lazy import renamed
from liveavatar.runs.info import READY, RUNNING
from liveavatar.types import InputError
from liveavatar.vram.memory_record import FILE, OWNERS, MemoryRecord, Peak
from liveavatar.vram.watch import MemoryWatch
from liveavatar.web.palette import GREY
from widgets._live import Body, Buffers, Cursor, LiveView, do_nothing, sentence
from widgets._render_loop import stop_before_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from liveavatar.runs.run import Run
    from liveavatar.vram.memory_record import Label
    from liveavatar.vram.plan import Plan
    from widgets._live import Source

WORDS = {"weights": "weights", "caches": "caches", "vae": "VAE state", "rest": "the rest",
         "used": "all on this GPU", "process": "this process", "reserved": "held by torch",
         "allocated": "used by torch"}
COLOURS = {"weights": "#5b4fb0", "caches": "#9d8fe0", "vae": "#e3a0c4", "rest": GREY}     # none of a sampler step
LOOKS_HZ = 10
STAGES = ("prepare", "step", "decode", "close")

Forecast = tuple[np.ndarray, np.ndarray]       # seconds, bytes


class MemoryView(LiveView):
    """The memory of a run ten times a second: whole, by owner, with its peak; behind it what the run was doing.

    It begins to look when the run starts. Drag over the curve to zoom in, double-click to see all again. A click moves
    the time cursor to the block that was being made. What was seen is `view.record`; keep it with
    `view.record.save(folder)`. Of code that is no run: `with MemoryWatch() as watch:`, MemoryView(watch).
    """

    script = "memory_view.js"
    nothing = ("No memory to show yet: give a run, MemoryView(run), a MemoryWatch or its record, "
               "or a folder with a saved one.")
    drawn_after = ()                              # but after every look at the memory

    from_zero = traitlets.Bool(True, help="the scale begins at zero; False: only what changes is shown, large").tag(
        sync=True, code=True)
    owners = traitlets.Bool(True, help="show to whom the memory belongs: weights, caches, VAE state, the rest").tag(
        sync=True, code=True)
    zoom = traitlets.List(traitlets.Float(), [], help="seconds of the record in view, [from, to]; []: all").tag(
        sync=True, code=True)
    height_px = traitlets.Int(260, min=120, max=2000, help="height of the plot in pixels").tag(sync=True, code=True)
    _keys = traitlets.Unicode("space: start or pause. Arrow keys: one block back or on. Escape: see all.").tag(
        sync=True)

    def __init__(self, source: Source | MemoryWatch | MemoryRecord | None = None, *, record: MemoryRecord | None = None,
                 forecast: Forecast | None = None, cursor: Cursor | None = None, **traits: object) -> None:
        self.watcher: MemoryWatch | None = None       # looks at the run that is shown
        self._offered: MemoryWatch | None = None      # to be shown, without a run
        self._stop_watching: Callable[[], None] = do_nothing
        self._given: MemoryRecord | None = record     # what is shown where nothing is watched
        self._forecast = forecast                     # given by the caller
        self._plan: Plan | None = None                # else it follows from this
        self._planned_for: Run | None = None
        self._expected: Expected | None = None        # the plan along what the run has done
        self._drawn_forecast: list | None = None      # for JSON
        self._sent_rows = self._sent_labels = self._thinned = 0
        super().__init__(source, cursor=cursor, **traits)

    def watch(self, source: Source | MemoryWatch | MemoryRecord | None) -> None:
        """Show a run that will be, is being or was made, what a MemoryWatch sees or saw, or the record of a folder."""
        self._offered = source if isinstance(source, MemoryWatch) else None
        alone = isinstance(source, MemoryWatch | MemoryRecord)             # without a run
        if isinstance(source, str | os.PathLike):
            self._given = self._read(Path(source))
            alone = self._given is not None and not (Path(source) / "trace.json").exists()
        elif isinstance(source, MemoryRecord):
            self._given = source
        super().watch(None if alone else source)

    def close(self) -> None:
        self._leave_watcher()
        super().close()

    @property
    def shows(self) -> bool:
        return super().shows or self.watcher is not None or self._given is not None

    # ------------------------------------------------------------------ what is on screen

    @property
    def record(self) -> MemoryRecord:
        """Return what was seen so far: times, series by name, labels, peak."""
        if self.watcher is not None and self.watcher.names and (self.watcher.going or self._given is None):
            return self.watcher.record
        if self._given is not None:
            return self._given
        raise InputError(self.nothing if self.run is None else self._missing())

    @property
    def peak(self) -> Peak:
        """Return the most that was seen: bytes, time_s, when (in words)."""
        return self.record.peak

    @property
    def now(self) -> dict[str, int]:
        """Return the newest value of every series, in bytes."""
        record = self.record
        return record.at(record.times_s[-1]) if len(record) else {}

    @property
    def description(self) -> str:
        """Say in a sentence what the curve is."""
        return self.record.description

    words = renamed("words", "description")

    @property
    def forecast(self) -> Forecast | None:
        """Return (seconds, bytes) that were expected of what the run has done so far; None where nothing was."""
        if self._forecast is not None:
            return self._forecast
        labels = self._labels()
        return None if self._plan is None or not labels else forecast_of(self._plan, labels, self._held(labels))

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        self._leave_watcher()
        watcher, stop = self._offered or getattr(self.run, "memory", None), do_nothing
        if watcher is None and self.run is not None and self.run.backend is not None and not self.run.over:
            watcher = MemoryWatch.of(self.run, period_s=1 / LOOKS_HZ)
            stop = watcher.end
            stop_before_exit(watcher)
        if watcher is not None:
            self._given, self.watcher = None, watcher
            unsubscribe = watcher.subscribe(lambda: self.refresh(urgent=False))
            self._stop_watching = lambda: (unsubscribe(), stop())
        self._forget_sent()

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if self._given is None and self.watcher is None:
            raise InputError(self._missing())
        self._plan_ahead()
        if full or (self.watcher is not None and self.watcher.thinned != self._thinned):
            self._forget_sent()
        return self._draw_watched() if self._given is None else self._draw_given()

    def still(self) -> Image | None:
        if self._given is None and self.watcher is None:
            return None
        record = self.record
        return memory_picture(record, 0 if self.run is None else self.run.info.steps) if len(record) else None

    def _draw_watched(self) -> tuple[Body, Buffers]:
        """Draw what is new since the last message; "fresh" in a name says that the browser begins anew."""
        watcher = self.watcher
        times_s, values = watcher.rows(self._sent_rows)
        labels = watcher.labels(self._sent_labels)
        first = "fresh" if self._sent_rows == 0 else str(self._sent_rows)
        self._sent_rows += len(times_s)
        self._sent_labels += len(labels)
        meter = watcher._meter
        body = self._body(watcher.names, meter.main, meter.total, meter.description, watcher.going)
        return body, packed(first, times_s, values, labels)

    def _draw_given(self) -> tuple[Body, Buffers]:
        record = self._given
        body = self._body(tuple(record.series), record.main, record.total, record.description, False)
        if self._sent_rows:
            return body, {}
        self._sent_rows = len(record)
        values = np.stack(list(record.series.values()), axis=1)
        return body, packed("fresh", record.times_s, values, record.labels)

    def _body(self, names: tuple[str, ...], main: str, total: int, words: str, going: bool) -> Body:
        return {"names": names, "main": main, "total": total, "words": words, "going": going, "called": WORDS,
                "owners": self._owners(names), "colours": COLOURS,
                "forecast": self._forecast_as_lists()}

    def _owners(self, names: tuple[str, ...]) -> list[str]:
        """Name whose memory is told apart; nobody's where no run was watched."""
        if self._given is not None:
            known = any(self._given.series[name].any() for name in OWNERS[:-1] if name in names)
        else:
            known = self.watcher.run is not None
        return [name for name in OWNERS if name in names] if known else []

    def _forecast_as_lists(self) -> list | None:
        """Return the forecast for JSON; made anew where the run has gone on."""
        if self._forecast is not None and self._drawn_forecast is None:
            self._drawn_forecast = [np.asarray(one).tolist() for one in self._forecast]
        if self._forecast is not None or self._plan is None:
            return self._drawn_forecast
        if self._expected is None or self._expected.plan is not self._plan:
            labels = self._labels()
            if not labels:
                return None
            self._expected = Expected(self._plan, self._held(labels))
        if self._expected.add(self._labels(self._expected.count)):
            self._drawn_forecast = [one.tolist() for one in self._expected.forecast]
        return self._drawn_forecast if self._expected.count else None

    def _held(self, labels: tuple[Label, ...]) -> int:
        """Return bytes to add to the plan: what the process held beside the model when all was imported and prepared.
        """
        record = self.record
        if not self._plan.settings.on_cpu or record.main != "process" or not len(record):
            return 0
        prepared = record.at(labels[0].ended_s if labels[0].stage == "prepare" else labels[0].began_s)
        return max(prepared["process"] - prepared["weights"], 0)

    def _labels(self, since: int = 0) -> tuple[Label, ...]:
        if self._given is not None:
            return self._given.labels[since:]
        return () if self.watcher is None else self.watcher.labels(since)

    def _plan_ahead(self) -> None:
        """Make the plan once for each run, in a thread of its own; never while the run is going: it takes a while."""
        if self.run is None or self._planned_for is self.run or self.run.state == RUNNING or self._forecast is not None:
            return
        self._planned_for, run = self.run, self.run

        def work() -> None:
            self._plan = planned(run)
            self.refresh()

        threading.Thread(target=work, name="liveavatar-plan").start()        # the end of Python waits for it

    def _missing(self) -> str:
        if self.run.state == READY and self.run.backend is not None:
            return "Nothing was watched yet: start the run."
        return ("No memory was recorded of this run. While it is being made keep the view open, and then "
                "view.record.save(folder).")

    def _read(self, folder: Path) -> MemoryRecord | None:
        if not (folder / FILE).exists():
            return None                                    # the run itself may still be of interest: _missing says so
        try:
            self._report("record", "")
            return MemoryRecord.load(folder)
        except InputError as problem:
            self._report("record", sentence(problem))
            return None

    def _leave_watcher(self) -> None:
        """Leave what was shown, and end the watch if it was the view's own."""
        self._stop_watching()
        self._stop_watching, self.watcher = do_nothing, None

    def _forget_sent(self) -> None:
        self._sent_rows = self._sent_labels = 0
        self._expected = self._drawn_forecast = None
        self._thinned = 0 if self.watcher is None else self.watcher.thinned


def packed(first: str, times_s: np.ndarray, values: np.ndarray, labels: tuple) -> Buffers:
    """Pack rows of (time, series ...) and of (began, ended, stage, block, step): float64, as bytes need over 24 bits.
    """
    buffers = {}
    if len(times_s) or first == "fresh":
        buffers[f"rows/{first}"] = np.column_stack([times_s, values]).astype("<f8").tobytes()
    if labels or first == "fresh":
        table = [(label.began_s, label.ended_s, STAGES.index(label.stage), label.block, label.step) for label in labels]
        buffers[f"labels/{first}/{labels[0].began_s if labels else 0}"] = np.array(table, "<f8").tobytes()
    return buffers


def planned(run: Run) -> Plan | None:
    """Predict what `liveavatar.vram.plan` expects of a run; None where it does not know the model."""
    if find_spec("liveavatar.vram.plan") is None:
        return None
    from liveavatar.config import GenerationConfig
    from liveavatar.vram.plan import plan

    about = {} if run.backend is None else run.backend.about()
    weights = {"bfloat16": {"weights": "bf16"}, "float32": {"weights": "float32"}}.get(about.get("dtype"), {})
    weights |= {"libraries": 0} if run.info.backend == "mini" else {}         # what is there is measured by the view
    try:
        return plan(run.info.backend, config=GenerationConfig.from_dict(run.info.config), **weights)
    except Exception:                              # a forecast is a courtesy: the curve is drawn without it
        return None


class Expected:
    """A plan laid along what a run does: each of its moments is drawn for as long as the run spent in it.

    held: bytes that are there in any case, and not in the plan.
    """

    def __init__(self, plan: Plan, held: int = 0) -> None:
        self.plan, self.count = plan, 0                # of labels that were added
        self._moments = {(moment.stage, moment.description): moment.bytes + held for moment in plan.moments}
        self._stages = {stage: size for (stage, _), size in self._moments.items()}
        self._edges: list[tuple[float, int]] = []      # (seconds, bytes)

    def add(self, labels: tuple[Label, ...]) -> bool:
        """Add what the run has done since; return False where that is nothing."""
        for label in labels:
            size = self._expected_of(label)
            if size is None:
                continue
            if self._edges and self._edges[-1][1] == size:
                self._edges[-1] = label.ended_s, size  # the same level goes on
            else:
                self._edges += [(label.began_s, size), (label.ended_s, size)]
        self.count += len(labels)
        return bool(labels)

    @property
    def forecast(self) -> Forecast:
        return tuple(np.array(self._edges, np.float64).reshape(-1, 2).T)

    def _expected_of(self, label: Label) -> int | None:
        if label.stage == "step" and label.block == 0:
            return self._moments.get(("step", label.description))
        named = {"prepare": "prefill", "close": "finish"}.get(label.stage, "steady" if label.block else label.stage)
        return self._stages.get(named)


def forecast_of(plan: Plan, labels: tuple[Label, ...], held: int = 0) -> Forecast:
    """Lay the moments of a plan along what a run did; see `Expected`."""
    expected = Expected(plan, held)
    expected.add(labels)
    return expected.forecast


def memory_picture(record: MemoryRecord, steps: int) -> Image:
    """Draw the curve by owner, with its peak: for a saved notebook."""
    from liveavatar.vram.memory_record import thin_record
    from liveavatar.web.palette import VERMILION, of_step
    from widgets._stills import INK, SOFT, letters, sheet

    width, left, top, tall = 900, 90, 50, 190
    page, pen = sheet(width, top + tall + 70, f"Memory of {record.device}")
    record = thin_record(record, width - left - 20)
    end_s, most = max(float(record.times_s[-1]), 1e-3), 1.1 * max(int(record.values.max()), 1)

    def x(time_s: float) -> float:
        return left + time_s / end_s * (width - left - 14)

    def y(size: float) -> float:
        return top + tall - size / most * tall

    floor = np.zeros(len(record))
    for name in (name for name in OWNERS if name in record.series):
        roof = floor + record.series[name]
        edge = [(x(t), y(v)) for t, v in zip(record.times_s, roof, strict=True)]
        base = [(x(t), y(v)) for t, v in zip(record.times_s, floor, strict=True)]
        if len(edge) > 1:
            pen.polygon(edge + base[::-1], COLOURS[name])
        floor = roof
    for label in record.labels:
        colour = of_step(label.step) if label.stage == "step" else "#c0c6cc"
        pen.rectangle((x(max(label.began_s, 0)), top + tall + 6, x(max(label.ended_s, 0)), top + tall + 14), colour)
    peak = record.peak
    pen.line((x(peak.time_s), y(peak.bytes), x(peak.time_s), y(peak.bytes) - 12), VERMILION, 2)
    pen.text((min(x(peak.time_s), width - 220), y(peak.bytes) - 30),
             f"peak {peak.bytes / 2**20:.0f} MiB: {peak.when}", VERMILION, letters(12))
    for share in (0, 0.5, 1):
        pen.text((left - 8, y(share * most)), f"{share * most / 2**20:.0f} MiB", SOFT, letters(11), "rm")
    pen.text((left, top + tall + 22), f"0 to {end_s:.1f} s" + (f"; the strip: {steps} sampler steps of every block"
                                                                 if record.labels else ""), SOFT, letters(11))
    for column, name in enumerate(name for name in OWNERS if name in record.series):
        pen.rectangle((left + 150 * column, top + tall + 46, left + 150 * column + 10, top + tall + 56), COLOURS[name])
        pen.text((left + 150 * column + 16, top + tall + 44), WORDS[name], INK, letters(12))
    return page
