"""Watch any diffusers pipeline: its denoising steps become a Run, which every view shows and which can be saved.

    run = liveavatar.watch(pipe)
    with run:
        video = pipe("a cat", num_inference_steps=8)      # called as always, as often as wanted
    StepGrid(run); run.save("folder"); replay("folder", pipeline=run)

Within the `with` the pipeline has a subclass of its class and a copy of its scheduler, of a subclass of that one's;
both are taken back at its end, after an exception too. The numbers that the pipeline computes do not change. Velocity
and clean latent are those after guidance. One call at a time is recorded; others, in other threads, pass by.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from liveavatar.interop.calls import CallRecorder, check_pipeline
from liveavatar.interop.latents import PipelineBackend, fit_pictures
from liveavatar.interop.noise_levels import check_scheduler
from liveavatar.interop.wrapping import watched_class, watched_scheduler
from liveavatar.preview import LatentMap, principal_map, values_of
from liveavatar.runs.info import FAILED, FINISHED, PAUSED, RUNNING, STOPPED, RunInfo, StateChange
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from liveavatar.vram.watch import MemoryWatch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin
    from torch import Tensor

    from liveavatar.trace import Trace
    from liveavatar.types import Block, Step

_attaching = threading.Lock()


def watch(pipe: DiffusionPipeline, *, fps: float | None = None, trace: Trace | None = None) -> WatchedRun:
    """Return a run that records what a diffusers pipeline does within `with run:`.

    fps: of its videos, where the pipeline does not say. trace: where steps are kept. Raises InputError for a pipeline
    whose scheduler is neither of flow matching nor like DDIM. What could not be recorded is in `run.info.remarks`.
    """
    return WatchedRun(pipe, fps, trace)


def latents_after(run: Run, block: int, index: int) -> Tensor:
    """Return the latents (1, C, F, h, w) after a step at the pipeline's own scale; also of a run that was saved."""
    return run.step_record(block, index).x * run.info.config["scales"][index + 1]


def latents_before(run: Run, block: int, index: int) -> Tensor:
    """Return the latents (1, C, F, h, w) that a step was given, at the pipeline's own scale."""
    step = run.step_record(block, index)
    return (step.clean + step.sigma * step.velocity) * run.info.config["scales"][index]


class Calls:
    """The source of a watched run: its events come from calls of the pipeline, not from here."""

    speech = portrait = None

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.backend = PipelineBackend(pipe)
        self.info = RunInfo(backend=self.backend.name)

    def events(self, stop: threading.Event) -> Iterator[Step | Block]:
        raise InputError("a watched pipeline begins when it is called: with run: pipe(...)")


class WatchedRun(Run):
    """A Run whose worker is whoever calls the pipeline within `with run:`. Made by `watch`.

    stop() ends a call after its step, where the pipeline can be interrupted. pause(), step() and next_block() work
    while the pipeline is called in a thread of its own: in the main thread nobody could end the pause.
    """

    def __init__(self, pipe: DiffusionPipeline, fps: float | None = None, trace: Trace | None = None) -> None:
        check_pipeline(pipe)
        check_scheduler(pipe.scheduler)
        if fps is not None and not fps > 0:
            raise InputError(f"fps is {fps!r}; give the frames per second of the video, for example 16")
        super().__init__(Calls(pipe), trace)
        self.pipe, self.fps = pipe, fps
        self.blocks_begun = 0                              # videos and images whose first step was recorded
        self.memory = MemoryWatch.of(self)
        self._call: CallRecorder | None = None
        self._caller: threading.Thread | None = None
        self._original: tuple[type, SchedulerMixin] | None = None
        self._wrapped: SchedulerMixin | None = None
        self._mapped = -1                                  # decoded blocks that the latent map was fitted on

    def __repr__(self) -> str:
        return (f"WatchedRun({self.info.backend}, {self.state}, {len(self.trace)} steps of {self.blocks_begun} "
                f"{'video' if self.info.block_frames > 1 else 'picture'}s)")

    # ------------------------------------------------------------------ the `with`

    def __enter__(self) -> WatchedRun:
        if self.over or self._original is not None:
            raise InputError("this run has been recorded already; make a new one: liveavatar.watch(pipe)")
        with _attaching:
            if hasattr(type(self.pipe), "watched_by"):
                raise InputError(f"this {self.info.backend} is being watched already; leave the other `with` first")
            check_scheduler(self.pipe.scheduler)
            self._attach()
        self.memory.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with _attaching:
            self._detach()
        with self._changed:
            stopped = self._stop.is_set() or isinstance(error, KeyboardInterrupt)
            self.error = None if stopped else error
            self._state = STOPPED if stopped else FINISHED if error is None else FAILED
            self._changed.notify_all()
        self._notify(StateChange(self._state, self.error))
        self.memory.stop()

    def _attach(self) -> None:
        original = type(self.pipe), self.pipe.scheduler
        self._wrapped = watched_scheduler(self.pipe.scheduler, self)
        try:
            self.pipe.scheduler = self._wrapped
            self.pipe.__class__ = watched_class(original[0], self)
        except BaseException:
            self.pipe.scheduler = original[1]
            raise
        self._original = original

    def _detach(self) -> None:
        """Give the pipeline its class and scheduler back, the latter as the last call left it."""
        kind, scheduler = self._original
        self.pipe.__class__ = kind
        vars(scheduler).update(vars(self._wrapped))
        if self.pipe.scheduler is self._wrapped:           # else it was given another one meanwhile, which stays
            self.pipe.scheduler = scheduler

    # ------------------------------------------------------------------ a call of the pipeline

    def called(self, function: Callable, args: tuple, kwargs: dict) -> object:
        """Call the pipeline and record what it does."""
        with self._changed:
            mine = self._call is None
            if mine:
                self._call, self._caller = CallRecorder(self, function, args, kwargs), threading.current_thread()
                self.began_s = self.began_s or time.perf_counter()
                self._state, self._pause_asked, self._pause_after = RUNNING, False, None
        if not mine:
            return function(self.pipe, *args, **kwargs)
        self._notify(StateChange(RUNNING))
        call = self._call
        try:
            result = function(self.pipe, *call.args, **call.kwargs)
            self.guarded(call.finish, result)
            return result
        finally:
            self.guarded(call.flush)
            with self._changed:
                self._call, self._state = None, PAUSED
            self._notify(StateChange(PAUSED))

    def recorder(self) -> CallRecorder | None:
        """Return what records the call that this thread is in."""
        return self._call if self._caller is threading.current_thread() else None

    def guarded(self, record: Callable, *arguments: object) -> None:
        """Record something; what fails becomes a remark, since whoever only looks cannot hurt the call."""
        try:
            record(*arguments)
        except Exception as error:
            self.remark(f"something could not be recorded ({type(error).__name__}: {error})")

    def made(self, event: Step | Block, began_s: float, ended_s: float) -> None:
        """Add an event, notify the subscribers, and pause where that was asked for."""
        self._add(event, began_s, ended_s)
        self._notify(event)
        self._pause_if_due(event)
        self._wait_while_paused()
        if self._stop.is_set():
            self._interrupt()

    def _interrupt(self) -> None:
        if hasattr(type(self.pipe), "interrupt"):
            self.pipe._interrupt = True                    # as diffusers documents it; each call begins with False
        else:
            self.remark(f"{self.info.backend} cannot be stopped between two steps: the call runs to its end")

    def remark(self, text: str) -> None:
        """Say what could not be recorded, once."""
        if text not in self.info.remarks:
            self.info = replace(self.info, remarks=(*self.info.remarks, text))

    def fits(self, shape: tuple[int, ...], levels: int) -> bool:
        """Tell whether a loop has the latents (C, F, h, w) and the number of noise levels of those before it."""
        return tuple(self.step_record(0, 0).x.shape[1:]) == tuple(shape) and levels == len(self.info.sigmas)

    def extend_to(self, blocks: int) -> None:
        """Count so many videos or images."""
        self.blocks_begun = max(self.blocks_begun, blocks)
        self.info = replace(self.info, frames=self.blocks_begun * self.info.block_frames)

    # ------------------------------------------------------------------ steering

    def pause(self) -> None:
        self._refuse_main_thread()
        super().pause()

    def _continue(self, pause_after: type | None) -> None:
        if self.over:
            raise InputError(f"this run is over ({self.state}); watch the pipeline again to go on")
        if self._call is None:
            raise InputError("a watched pipeline begins when it is called: with run: pipe(...)")
        self._refuse_main_thread()
        with self._changed:
            self._set_running(pause_after)
            self._changed.notify_all()
        self._notify(StateChange(RUNNING))

    def _refuse_main_thread(self) -> None:
        if self._caller is threading.main_thread() and self._call is not None:
            raise InputError("the pipeline was called in the main thread, where a pause could not be ended; call it in "
                             "a thread of its own to go step by step")

    # ------------------------------------------------------------------ what views ask

    @property
    def decodes(self) -> bool:
        return self._last is not None and self.backend.decodes(self._last.x.shape[1])  # type: ignore[attr-defined]

    def latent_map(self) -> LatentMap | None:
        """Return the map from latents to colours: fitted to the first pictures that were returned, before that one
        whose colours mean nothing."""
        blocks = self.blocks[:1]
        if self._mapped != len(blocks) or self._latent_map is None:
            fitted = fit_pictures(blocks[0]) if blocks else None
            self._latent_map = fitted or self._principal_map()
            self._mapped = len(blocks)
        return self._latent_map

    def _principal_map(self) -> LatentMap | None:
        return principal_map(values_of(self.step_record(-1, -1).clean)) if self.recorded_steps else None
