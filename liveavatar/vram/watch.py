"""Memory by owner, sampled twenty times a second while a run is going, or within any `with` block.

    with MemoryWatch() as watch:         # of any code: the process, or the GPU that torch works on
        ...
    MemoryView(watch)                    # its curve, live or afterwards; also MemoryView(watch.record)

    watch = MemoryWatch.of(run)          # begins and ends with the run
    run.start().result()
    watch.record.peak                    # Peak(bytes=..., time_s=..., when="block 3, step 1")
    watch.record.save("seen")
    watch.oom_report                     # of a run that ran out of memory: who grew, what was planned, what would fit

On an NVIDIA GPU: all that is used on it and by this process (NVML), and what torch's allocator holds and has handed
out. Elsewhere: the resident memory of this process, and `record.description` says so. What is known of its owners
(weights, caches, VAE state) is counted from their tensors; `rest` is what remains: activations, libraries, Python.

One sample takes some 5 microseconds without a GPU, so the thread stays far below a hundredth of a core.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable

import numpy as np

from liveavatar.memory_errors import is_out_of_memory, release_frames
from liveavatar.runs.info import ENDED, RUNNING, StateChange
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError, Step
from liveavatar.vram.memory_record import OWNERS, Label, MemoryRecord
from liveavatar.vram.meters import MemoryMeter, meter_for
from liveavatar.vram.oom import OutOfMemoryReport, explain
from liveavatar.vram.owned import bytes_of_vae_state, bytes_of_weights

PERIOD_S = 0.05
MAX_SAMPLES = 36_000           # half an hour at 20 Hz; then every two become one


class MemoryWatch:
    """Samples memory in a thread of its own. `MemoryWatch.of(run)` begins and ends with a run."""

    def __init__(self, run: Run | None = None, period_s: float = PERIOD_S, meter: MemoryMeter | None = None) -> None:
        if not 0.001 <= period_s <= 10:
            raise InputError(f"period_s is {period_s:g}; give seconds between two samples, 0.001 to 10")
        self.run, self.period_s = run, period_s
        self.oom_report: OutOfMemoryReport | None = None      # why the run ended, if memory did not suffice
        self.thinned = 0                                  # how often two samples were merged
        self.max_samples = MAX_SAMPLES
        self._meter = meter if meter is not None else meter_for(None if run is None else run.backend)
        self._names = (*self._meter.names, *OWNERS)
        self._clock_s = 0.0                               # time.perf_counter() of the record's beginning
        self._times = array("d")
        self._values = array("q")                         # rows of len(self._names)
        self._owned = {"weights": bytes_of_weights(None if run is None else run.backend), "caches": 0, "vae": 0}
        self._run_ended_s = float("inf")
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._subscribers: tuple[Callable[[], None], ...] = ()
        self._unsubscribe: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, run: Run, **options: object) -> MemoryWatch:
        """Return a watch that starts with a run and stops at its end."""
        watch = cls(run, **options)
        watch._unsubscribe = run.subscribe(watch._on_event)
        if run.state == RUNNING:
            watch.start()
        return watch

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every sample of the thread, in that thread. Returns what ends it."""
        with self._lock:
            self._subscribers = (*self._subscribers, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(one for one in self._subscribers if one is not callback)
        return unsubscribe

    def start(self) -> MemoryWatch:
        """Begin to sample, or go on: the first sample is taken here, before anything else can happen. Returns at once.
        """
        if self._thread is not None and self._thread.is_alive():
            return self
        self._ended.clear()
        self._clock_s = self._clock_s or time.perf_counter()
        self.sample()
        self._thread = threading.Thread(target=self._work, name="liveavatar-memory", daemon=True)
        self._thread.start()
        return self

    def end(self) -> None:
        """End sampling. Returns at once."""
        self._unsubscribe()
        self._ended.set()

    def stop(self) -> MemoryRecord:
        """End sampling, wait for the thread and return the record."""
        self.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2)
        return self.record

    def __enter__(self) -> MemoryWatch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.sample()                                       # a short block has an end too
        self.stop()

    def __repr__(self) -> str:
        return f"MemoryWatch({self.record!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the columns of `rows`."""
        return self._names

    @property
    def going(self) -> bool:
        """Tell whether the thread is sampling."""
        return self._thread is not None and self._thread.is_alive()

    def sample(self, now_s: float | None = None) -> dict[str, int]:
        """Take a sample now, beside those of the thread. Returns the bytes of each series of the meter.

        now_s: the moment that is written down, of `time.perf_counter`; None is now.
        """
        reading = self._meter.read()
        if self._owned["vae"] < 0:
            self._owned["vae"] = bytes_of_vae_state(self.run.backend, self.run.last_step.x)
        owned = dict(self._owned)
        owned["rest"] = max(reading.get(self._meter.main, 0) - sum(owned.values()), 0)
        row = [reading.get(name, 0) for name in self._meter.names] + [owned[name] for name in OWNERS]
        with self._lock:
            self._times.append((time.perf_counter() if now_s is None else now_s) - self._clock_s)
            self._values.extend(row)
            if len(self._times) >= self.max_samples:
                self._thin()
        return reading

    @property
    def record(self) -> MemoryRecord:
        """Return what was sampled so far."""
        times_s, values = self.rows()
        series = {name: values[:, column].copy() for column, name in enumerate(self._names)}
        meter = self._meter
        return MemoryRecord(times_s, series, meter.main, self.labels(), meter.device, meter.total, meter.description)

    def rows(self, since: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples from number `since` on: times (n,) in seconds, values (n, names) in bytes."""
        width = len(self._names)
        with self._lock:
            times = np.array(self._times[since:], np.float64)
            values = np.array(self._values[since * width:], np.int64)
        return times, values.reshape(-1, width)

    def labels(self, since: int = 0) -> tuple[Label, ...]:
        """Return what the run did, from number `since` on."""
        if self.run is None or not self._clock_s:
            return ()
        return tuple(Label(span.began_s - self._clock_s, span.ended_s - self._clock_s, span.stage, span.block,
                           span.index) for span in self.run.spans_from(since))

    # ------------------------------------------------------------------ what happens in the run's thread

    def _on_event(self, event: object) -> None:
        if isinstance(event, Step):
            self._owned["caches"] = sum(ring.bytes for ring in tuple(self.run.rings.values()))
            if event.index == 0:                          # weights may come after all is encoded, encoders may go
                self._owned["weights"] = bytes_of_weights(self.run.backend)
        elif isinstance(event, Block) and event.index == 0:
            self._owned["vae"] = -1                       # there is one now; measured in the watch's own thread
        elif isinstance(event, StateChange) and event.state == RUNNING:
            self._run_ended_s = float("inf")
            self.start()
        elif isinstance(event, StateChange) and event.state in ENDED:
            self._run_ended_s = time.perf_counter()            # one more sample: what comes later is not the run's
            if is_out_of_memory(event.error):
                self._explain(event.error)

    def _explain(self, error: BaseException) -> None:
        """Report an out-of-memory error, add a note to it, and release what it still holds."""
        _, values = self.rows()
        grown = (values[-1] - values[0])[-len(OWNERS):] if len(values) else [0] * len(OWNERS)
        try:
            self.oom_report = explain(self.run, error, dict(zip(OWNERS, map(int, grown), strict=True)))
            error.add_note(self.oom_report.description)
        finally:
            release_frames(error)

    # ------------------------------------------------------------------ what happens in its own

    def _work(self) -> None:
        due_s = time.perf_counter() + self.period_s
        while not self._ended.wait(max(due_s - time.perf_counter(), 0)):
            now_s = time.perf_counter()
            self.sample()
            for callback in self._subscribers:
                callback()
            if now_s > self._run_ended_s:
                break
            due_s = max(due_s + self.period_s, now_s)

    def _thin(self) -> None:
        """Keep the larger one of every two samples, and sample half as often."""
        width, main = len(self._names), self._names.index(self._meter.main)
        values = np.array(self._values, np.int64).reshape(-1, width)
        pairs = len(values) // 2
        rows = 2 * np.arange(pairs) + (values[1:2 * pairs:2, main] > values[0:2 * pairs:2, main])
        self._times = array("d", np.array(self._times)[rows].tolist())
        self._values = array("q", values[rows].reshape(-1).tolist())
        self.period_s *= 2
        self.thinned += 1
