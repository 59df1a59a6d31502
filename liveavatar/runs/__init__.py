"""Runs: one video being made while many watch, and videos that were made before, listed, compared and made again.

    pipeline, inputs --Run.of--> Run --save--> folder --replay--> Run

    Run  --branch(block, step, ...)-->  Run      another future from a step on; the code is in `branching`

    folder or file  --open_run-->     Run, for views and reports
    folder          --list_runs-->    entries with recipe and figures; delete(entry)
    video           --read_recipe-->  Recipe; inputs_of(recipe) finds the inputs by their hashes
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {
    "Run": "run", "replay": "loading", "EventStream": "events",
    "RunInfo": "info", "StateChange": "info", "StageSpan": "info", "RingState": "info",
    "READY": "info", "RUNNING": "info", "PAUSED": "info", "STOPPED": "info", "FINISHED": "info", "FAILED": "info",
    "ENDED": "info",
    "open_run": "opening", "open_run_folder": "opening",
    "list_runs": "history", "matching": "history", "Entry": "history", "delete": "history", "thumbnail": "history",
    "read_recipe": "recipe", "Recipe": "recipe", "find_inputs": "recipe", "inputs_of": "recipe",
    "differences": "recipe",
    "ScaleChannel": "edits", "ReplaceRegion": "edits", "Change": "changes", "Lineage": "changes",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
