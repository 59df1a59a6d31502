"""Wrap a diffusers pipeline and its scheduler so that a run is told of calls and steps; no class is changed."""

from __future__ import annotations

import copy
import inspect
from functools import wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

    from liveavatar.interop.watching import WatchedRun


def watched_class(kind: type, run: WatchedRun) -> type:
    """Make a subclass of a pipeline's class that tells a run of its calls; named like it, so that it saves the same."""
    @wraps(kind.__call__)
    def call(self: DiffusionPipeline, *args: object, **kwargs: object) -> object:
        return run.called(kind.__call__, args, kwargs)

    def progress_bar(self: DiffusionPipeline, *args: object, **kwargs: object) -> object:
        if run.recorder() is not None:
            run.recorder().progress_began()
        return kind.progress_bar(self, *args, **kwargs)  # type: ignore[attr-defined]

    return type(kind.__name__, (kind,), {"__call__": call, "progress_bar": progress_bar, "watched_by": run,
                                         "__module__": kind.__module__, "__qualname__": kind.__qualname__})


def watched_scheduler(scheduler: SchedulerMixin, run: WatchedRun) -> SchedulerMixin:
    """Copy a scheduler into a subclass of its class that tells a run of its steps. Copies of it tell nothing."""
    kind = type(scheduler)
    signature = inspect.signature(kind.step)

    @wraps(kind.step)
    def step(self: SchedulerMixin, *args: object, **kwargs: object) -> object:
        recorder = run.recorder() if self is wrapped else None
        if recorder is None:
            return kind.step(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        result = kind.step(self, *args, **kwargs)
        run.guarded(recorder.stepped, self, given["sample"], given["model_output"], given["timestep"], result)
        return result

    @wraps(kind.set_timesteps)
    def set_timesteps(self: SchedulerMixin, *args: object, **kwargs: object) -> object:
        result = kind.set_timesteps(self, *args, **kwargs)
        if self is wrapped and run.recorder() is not None:
            run.guarded(run.recorder().timesteps_set)
        return result

    wrapped = copy.copy(scheduler)
    wrapped.__class__ = type(kind.__name__, (kind,), {"step": step, "set_timesteps": set_timesteps,
                                                      "__module__": kind.__module__, "__qualname__": kind.__qualname__})
    return wrapped
