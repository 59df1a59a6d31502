"""The names of `liveavatar.runs` under the module name of version 0.1, and its older names until version 0.3."""

from __future__ import annotations

import warnings

from liveavatar.runs import info, sources
from liveavatar.runs.loading import replay
from liveavatar.runs.run import Run

__all__ = ["Run", "replay"]

RENAMED = {"Facts": info.RunInfo, "Mark": info.StageSpan, "Ring": info.RingState, "Change": info.StateChange,
           "OVER": info.ENDED, "Recording": sources.TraceSource, "Generation": sources.GenerationSource}


def __getattr__(name: str) -> object:
    """Find a state of a run, or a name of version 0.1 with a DeprecationWarning."""
    if name in RENAMED:
        now = getattr(RENAMED[name], "__name__", "ENDED")
        warnings.warn(f"liveavatar.run.{name} is now liveavatar.runs.{now}; the old name goes with version 0.3",
                      DeprecationWarning, stacklevel=2)
        return RENAMED[name]
    if name.isupper() and hasattr(info, name):
        return getattr(info, name)
    raise AttributeError(f"liveavatar.run has no {name!r}")
