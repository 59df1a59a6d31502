"""Things to look through: one widget a file, each showing what a run has recorded.

Widgets import liveavatar; nothing in liveavatar imports widgets. A widget is given what it draws and owns no run.
Names are loaded when they are first used, so `import widgets` costs nothing.
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {   # public name -> module
    "StepGrid": "step_grid", "ScheduleView": "schedule_view", "CacheView": "cache_view",
    "StepChange": "step_change", "LipView": "lip_view", "MemoryView": "memory_view", "Player": "player",
    "Designer": "designer", "FlowLab": "flow_lab", "AttentionView": "attention_view",
    "BranchTree": "branch_tree", "TrajectoryView": "trajectory_view", "DriftView": "drift_view",
    "PossibleView": "possible_view",
    "SweepView": "sweep_view", "RunGallery": "run_gallery",
    "Workbench": "workbench", "Planner": "planner", "Cursor": "_live", "LiveView": "_live",
}

__all__ = [*_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
