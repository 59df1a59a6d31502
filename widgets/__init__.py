"""Things to look through: one widget a file, each showing what a run has recorded.

Widgets import liveavatar; nothing in liveavatar imports widgets. A widget is given what it draws and owns no run.
Names are loaded when they are first used, so `import widgets` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {   # public name -> module
    "StepGrid": "step_grid", "ScheduleView": "schedule_view", "CacheView": "cache_view",
    "LipView": "lip_view", "MemoryView": "memory_view", "Player": "player", "Designer": "designer",
    "SweepView": "sweep_view", "Workbench": "workbench", "Planner": "planner", "Cursor": "_live", "LiveView": "_live",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"widgets has no {name!r}; it has {', '.join(_HOME)}")
    value = getattr(import_module(f"widgets.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
