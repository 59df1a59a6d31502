"""Which views are on the page of the workbench, where, and how they are made."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import widgets
from widgets._live import STATIC
from widgets._message_gate import PAUSE_S, Throttle

if TYPE_CHECKING:
    from widgets._live import LiveView
    from widgets.workbench import Workbench

VIEWS = {"player": "Player", "grid": "StepGrid", "tree": "BranchTree", "change": "StepChange", "lips": "LipView",
         "memory": "MemoryView", "path": "ScheduleView", "caches": "CacheView", "designer": "Designer",
         "gallery": "RunGallery"}                                 # name in the workbench -> widget

PAGES = {"change": "change", "branch": "tree", "cell": "grid", "lips": "lips", "memory": "memory", "path": "path",
         "caches": "caches", "avatar": "designer", "runs": "gallery"}     # at the bottom -> name of the view
OPTIONS = {"Player": {"height_px": 240}, "StepGrid": {"cell_px": 60}, "MemoryView": {"height_px": 230}}
WAITING = {"Player": "Here somebody will speak.",
           "StepGrid": "Here every sampler step appears while it is made: one row a step, one column a block.",
           "StepChange": "Click Step four times: what each step changes in the picture appears here, in words as well."}
PAUSES_S = {"MemoryView": 0.0, "CacheView": 0.4, "ScheduleView": 0.4}    # a live curve is a live curve; the others
                                                          # are a mark that moves: less often will do


def available(view: str) -> bool:
    """Tell whether a view is part of this installation."""
    module = widgets._HOME[view]
    return find_spec(f"widgets.{module}") is not None and (STATIC / f"{module}.js").exists()


def make_view(page: Workbench, view: str) -> LiveView:
    """Make a view of a workbench's page."""
    if view == "Designer":
        return widgets.Designer(size=page.size or page._own_size)
    options = OPTIONS.get(view, {})
    if view == "BranchTree":
        options = {"grid": page.views["grid"], "show": page.show_branch, "asked": page.open_branches}
    if view == "RunGallery":
        options = {"show": lambda run: page.show_branch(run, None)}
    made = getattr(widgets, view)(cursor=page.cursor, controls=False, **options)
    made.part_of = page
    made._gate = Throttle(PAUSES_S.get(view, PAUSE_S))
    made.nothing = made.nothing and WAITING.get(view, "A click on Run fills this.")
    return made
