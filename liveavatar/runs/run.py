"""A pipeline on a worker thread: the caller stays free, many may watch, and it can be paused, stepped and stopped.

    run = Run.of(pipeline, speech, portrait, "smile", output="out.mp4")
    unsubscribe = run.subscribe(print)       # every Step, Block, Video and StateChange, called in the worker thread
    run.start()                              # returns at once
    run.result()                             # waits; raises what the worker raised

`replay` gives a saved trace the same face, so whatever watches a run can watch a recording of one.

    ready -> running <-> paused -> finished | stopped | failed

The worker never prints. Subscribers are called one after the other between two steps: they should only take a note of
what they were given. One that raises is dropped and kept in `subscriber_errors`; the run goes on.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable, Generator
from threading import Event, Thread, current_thread
from typing import TYPE_CHECKING, Unpack

from liveavatar.config import GenerationConfig
from liveavatar.interrupts import result_of, stop_on_interrupt
from liveavatar.lazy import renamed
from liveavatar.memory_errors import is_out_of_memory, release_frames
from liveavatar.runs.events import EventStream
from liveavatar.runs.info import ENDED, FAILED, FINISHED, PAUSED, READY, RUNNING, STOPPED, StateChange
from liveavatar.runs.record import RunRecord
from liveavatar.runs.sources import EventSource, GenerationSource
from liveavatar.signals import exit_on_signals
from liveavatar.trace import MIB, Trace
from liveavatar.types import Block, InputError, Step
from liveavatar.video import Video

if TYPE_CHECKING:
    from liveavatar.inputs import Audio, Image
    from liveavatar.pipeline import Pipeline
    from liveavatar.runs.changes import Changes
    from liveavatar.types import Prompt

EXIT_TIMEOUT_S = 10.0             # that the interpreter waits at its end for runs that are still going

Callback = Callable[[object], None]


class Run(RunRecord):
    """One video being made, or replayed, by a worker thread. Made by `Run.of` and `replay`."""

    def __init__(self, source: EventSource, trace: Trace | None = None, *, record: bool = True,
                 keep_bytes: int = 256 * MIB) -> None:
        """Begin in the state "ready". keep_bytes: of decoded pictures, the oldest of which are dropped. record: False
        where the trace has all"""
        super().__init__(source, trace, record, keep_bytes)
        self.error: BaseException | None = None          # what ended a failed run
        self.subscriber_errors: list[tuple[Callback, Exception]] = []
        self._source = source
        self._stop = Event()
        self._pause_asked = False
        self._pause_after: type | None = None            # the kind of event after which to pause again
        self._resumed = False                            # going on was asked for after the last event
        self._subscribers: dict[int, Callback] = {}
        self._next_number = 0
        self._thread: Thread | None = None

    @classmethod
    def of(cls, pipeline: Pipeline, audio: Audio, image: Image, prompt: str | Prompt = "",
           config: GenerationConfig | None = None, *, output: str | os.PathLike | None = None,
           run_dir: str | os.PathLike | None = None, trace: Trace | None = None) -> Run:
        """Return a run that is ready to start. With `output` the video is written, else only watched.

        Bad input raises InputError here.
        """
        config = config or GenerationConfig()
        return cls(GenerationSource(pipeline, audio, image, prompt, config, output, run_dir), trace)

    def __repr__(self) -> str:
        return f"Run({self.state}, {self.done_s:.2f} of {self.total_s:.2f} s, {self.x_realtime:.2f}x real time)"

    facts, marks, seen = renamed("facts", "info"), renamed("marks", "spans"), renamed("seen", "recorded_steps")
    look, complaints = renamed("look", "step_record"), renamed("complaints", "subscriber_errors")

    # ------------------------------------------------------------------ state

    @property
    def state(self) -> str:
        """Return "ready", "running", "paused", "stopped", "finished" or "failed"."""
        return self._state

    @property
    def running(self) -> bool:
        """Tell whether the worker is at work."""
        return self._state == RUNNING

    @property
    def over(self) -> bool:
        """Tell whether it is stopped, finished or failed."""
        return self._state in ENDED

    @property
    def stopping(self) -> bool:
        """Tell whether stop was asked for and has not happened yet."""
        return self._stop.is_set() and not self.over

    @property
    def stepping(self) -> bool:
        """Tell whether it makes a single step or block and will pause after it."""
        return self._pause_after is not None

    # ------------------------------------------------------------------ watching

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Call back with every event from now on, in the worker thread. Returns what ends it."""
        with self._changed:
            number, self._next_number = self._next_number, self._next_number + 1
            self._subscribers[number] = callback

        def unsubscribe() -> None:
            with self._changed:
                self._subscribers.pop(number, None)
        return unsubscribe

    def events(self, size: int = 256) -> EventStream:
        """Return an iterator over the events from now on, ending with the run. A slow reader loses the oldest."""
        return EventStream(self, size)

    # ------------------------------------------------------------------ control

    def start(self) -> Run:
        """Begin, or go on after a pause. Returns at once."""
        self._continue(pause_after=None)
        return self

    def pause(self) -> None:
        """Pause after the step that is being made."""
        with self._changed:
            if self._state != RUNNING:
                return
            self._pause_asked, self._pause_after = True, None
            self._state = PAUSED
        self._notify(StateChange(PAUSED))

    def resume(self) -> None:
        """Go on after a pause."""
        self._continue(pause_after=None)

    def step(self) -> None:
        """Make one sampler step and pause."""
        self._continue(pause_after=Step)

    def next_block(self) -> None:
        """Go on until the next block is decoded, and pause."""
        self._continue(pause_after=Block)

    def toggle(self) -> None:
        """Start, pause or go on: what one key or button does."""
        if self._state == RUNNING:
            self.pause()
        elif not self.over:
            self.start()

    def stop(self) -> None:
        """End within one sampler step. What is done is kept, and its video can be played."""
        with self._changed:
            self._stop.set()
            never_began = self._state == READY
            if never_began:
                self._state = STOPPED
            self._changed.notify_all()
        if never_began:
            self._notify(StateChange(STOPPED))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False when it has not come in time."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or self._state == READY, timeout_s)
        if self.over and self._thread is not None and self._thread is not current_thread():
            self._thread.join(timeout_s)                 # until the last subscriber has been called
        return self.over

    def result(self) -> Video | Trace:
        """Wait for the end and return the Video, or the Trace of a run without output.

        Raises what the worker raised. An interrupt, or a signal that ends the process, stops the run, waits for its
        last step and is passed on.
        """
        if self._state == READY:
            raise InputError("this run has not begun; call run.start() first")
        if current_thread() is self._thread:
            raise InputError("a subscriber cannot wait for the run that calls it")
        try:
            with exit_on_signals():
                self.wait()
        except (KeyboardInterrupt, SystemExit):
            self.stop()
            self.wait()
            raise
        if self.error is not None:
            raise self.error
        return self._video if self._video is not None else self.trace

    def __await__(self) -> Generator:
        return result_of(self).__await__()

    # ------------------------------------------------------------------ another future

    def branch(self, block: int, step: int, **changes: Unpack[Changes]) -> Run:
        """Return another future of this run, from a step of a block on; ready to start. Before it all is the same.

        From the step on: seed (of random draws), solver ("euler", "renoise"), prompt, sound ("silent", "shuffled",
        "reversed", a recording that begins with the block), portrait_strength and sound_strength (0..1).
        Of this step alone: sigma (the noise level from which it starts), skip (its answer is not used), repeat (make
        it so many times, re-noised between), latent (an edit of the latents (1, C, F, h, w) that enter it: a function,
        `ScaleChannel` or `ReplaceRegion`).
        Without changes the branch is the same bit for bit. Numbers below 0 count from the end. Later changes of this
        run, where it is a branch itself, are dropped. Keys and values before the point are computed again, from the
        newest of the copies that a run keeps (`kept_caches`, at most 128 MiB) or from the beginning of the video.
        Raises InputError for a run that is going, a point it has not reached, and values that cannot be.
        """
        from liveavatar.runs.branching import branch

        return branch(self, block, step, **changes)

    # ------------------------------------------------------------------ the worker

    def _continue(self, pause_after: type | None) -> None:
        with self._changed:
            if self.over:
                raise InputError(f"this run is over ({self._state}); make a new one to go again")
            begins = self._thread is None
            self._set_running(pause_after)
            if begins:
                self.began_s = time.perf_counter()
                self._thread = Thread(target=self._work, name="liveavatar-run", daemon=True)
            self._changed.notify_all()
        self._notify(StateChange(RUNNING))
        if begins:
            _active.add(self)
            stop_on_interrupt(self)
            self._thread.start()

    def _set_running(self, pause_after: type | None) -> None:
        """Let the worker go on, up to the next event of a kind; called with the lock held."""
        self._pause_asked, self._pause_after, self._state = pause_after is not None, pause_after, RUNNING
        self._resumed = True

    def _work(self) -> None:
        """Take the events from the source, one by one, as far as is allowed."""
        error, events = None, None
        try:
            events = self._source.events(self._stop)
            while True:
                self._wait_while_paused()
                began_s = time.perf_counter()
                event = next(events, None)
                if event is None:
                    break
                self._add(event, began_s, time.perf_counter())
                self._notify(event)
                self._pause_if_due(event)
        except BaseException as raised:                  # kept for result(), never lost in a thread
            error = raised
        finally:
            if hasattr(events, "close"):
                events.close()
        self._end(error)

    def _wait_while_paused(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._pause_asked or self._pause_after is not None
                                   or self._stop.is_set())

    def _add(self, event: Step | Block | Video, began_s: float, ended_s: float) -> None:
        with self._changed:
            self._resumed = False
            super()._add(event, began_s, ended_s)

    def _pause_if_due(self, event: object) -> None:
        with self._changed:
            due = self._pause_after is not None and not self._resumed and isinstance(event, self._pause_after)
            reached = self._pause_after if due else None
            if reached is not None:
                self._pause_after, self._state = None, PAUSED
        if reached is not None:
            self._notify(StateChange(PAUSED, reached=reached))

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self.error = error
            stopped = self._stop.is_set() and self._done_s + 0.5 / self.info.fps < self.total_s
            self._state = FAILED if error is not None else STOPPED if stopped else FINISHED
            self._changed.notify_all()
        self._notify(StateChange(self._state, error))
        if is_out_of_memory(error):                      # else the error would keep what filled the memory
            release_frames(error)

    def _notify(self, event: object) -> None:
        with self._changed:
            subscribers = tuple(self._subscribers.items())
        for number, callback in subscribers:
            try:
                callback(event)
            except Exception as error:                   # a subscriber's error cannot end the run
                with self._changed:
                    self._subscribers.pop(number, None)
                    self.subscriber_errors.append((callback, error))


# ------------------------------------------------------------------------------------------- the end of the process

_active: weakref.WeakSet[Run] = weakref.WeakSet()


@atexit.register
def stop_all_runs() -> None:
    """Stop every worker before the interpreter takes its network away."""
    runs = [run for run in _active if not run.over]
    for run in runs:
        run.stop()
    ends = time.monotonic() + EXIT_TIMEOUT_S
    for run in runs:
        run.wait(max(ends - time.monotonic(), 0))
