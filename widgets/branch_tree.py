"""The branches of a notebook as a small tree, and a form that makes one more at the chosen step."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import traitlets

from liveavatar.metrics.run_pairs import step_difference
from liveavatar.runs.changes import Changes
from liveavatar.runs.edits import ReplaceRegion, ScaleChannel
from liveavatar.runs.info import FINISHED, READY
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError
from widgets._linked import link_traits
from widgets._live import Body, Buffers, LiveView
from widgets._run_pair import told

if TYPE_CHECKING:
    from PIL.Image import Image

    from widgets._live import Source
    from widgets.step_grid import StepGrid

MOST_RUNS = 12                    # that the tree holds; the oldest without a branch goes first
REGIONS = {"mouth": (0.35, 0.55, 0.65, 0.75), "left half": (0.0, 0.0, 0.5, 1.0), "upper half": (0.0, 0.0, 1.0, 0.5),
           "middle": (0.25, 0.25, 0.75, 0.75)}
SOUNDS, SOLVERS = ("silent", "shuffled", "reversed"), ("renoise", "euler")

FORM: dict[str, tuple[str, dict, str]] = {   # what is changed -> words, control of the page, value to begin with
    "nothing": ("nothing", {}, ""),
    "seed": ("seed of what is left", {"kind": "number", "min": 0, "max": 10**9, "step": 1}, "7"),
    "sigma": ("noise level of this step", {"kind": "number", "min": 0, "max": 1, "step": 0.01}, "0.9"),
    "solver": ("solver", {"kind": "select", "options": SOLVERS}, SOLVERS[0]),
    "prompt": ("prompt", {"kind": "text"}, "surprised, waving"),
    "sound": ("sound", {"kind": "select", "options": SOUNDS}, SOUNDS[0]),
    "portrait_strength": ("portrait strength", {"kind": "number", "min": 0, "max": 1, "step": 0.05}, "0.3"),
    "sound_strength": ("sound strength", {"kind": "number", "min": 0, "max": 1, "step": 0.05}, "0"),
    "skip": ("skip this step", {}, ""),
    "repeat": ("make this step several times", {"kind": "number", "min": 2, "max": 8, "step": 1}, "2"),
    "channel": ("remove a latent channel", {"kind": "number", "min": 0, "max": 15, "step": 1}, "0"),
    "region": ("noise in a region", {"kind": "select", "options": tuple(REGIONS)}, "mouth"),
}


class BranchTree(LiveView):
    """The run that is shown, the runs branched from it, and a form: what to change from which step on.

    `tree.branch()` makes the branch that the form asks for and shows it; `tree.runs` are all runs of the tree,
    `tree.recipe` is the one that is shown as Python. With `grid` the point is the cell that is chosen there.
    """

    script = "branch_tree.js"
    drawn_after = (Block,)
    nothing = "No run to branch yet: give a run, BranchTree(run)."

    block = traitlets.Int(-1, help="block of the point; -1 is the newest").tag(sync=True, code=True)
    step = traitlets.Int(-1, help="step of the point; -1 is the newest of the block").tag(sync=True, code=True)
    change = traitlets.Enum(list(FORM), "seed", help="what the next branch changes").tag(sync=True, code=True)
    value = traitlets.Unicode(FORM["seed"][2], help="to what, as text").tag(sync=True, code=True)
    _keys = traitlets.Unicode("Tab: the form, then the runs of the tree.").tag(sync=True)

    def __init__(self, source: Source | None = None, *, grid: StepGrid | None = None,
                 show: Callable[[Run, Run | None], None] | None = None, asked: Callable[[], None] | None = None,
                 **options: object) -> None:
        """Show the tree of a run. grid: whose chosen cell is the point; show(run, parent): shows a run elsewhere too;
        asked(): called when somebody has clicked "Branch here" in the grid"""
        self._tree: list[Run] = []
        self._show, self._asked = show, asked
        self._forgotten: weakref.WeakSet[Run] = weakref.WeakSet()
        self._one_at_a_time = threading.Lock()
        super().__init__(source, **options)
        self.observe(self._change_chosen, "change")
        if grid is not None:
            link_traits(grid, self, "block", "step")
            grid.offer_branches(self)

    # ------------------------------------------------------------------ what is on screen

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the runs of the tree, each after its parent."""
        return tuple(run for run, _ in self._ordered())

    @property
    def point(self) -> tuple[int, int]:
        """Return (block, step) where the next branch begins. Raises InputError where nothing is made yet."""
        if self.run is None or not self.run.recorded_steps:
            raise InputError("No step is made yet: run, pause, then branch.")
        last_block, last_step = self.run.recorded_steps[-1]
        block = last_block if self.block < 0 else min(self.block, last_block)
        most = last_step if block == last_block else self.run.info.steps - 1
        return block, most if self.step < 0 else min(self.step, most)

    @property
    def changes(self) -> Changes:
        """Return what the form asks for, as `Run.branch` takes it. Raises InputError for a value that is no number."""
        if self.change == "nothing":
            return {}
        if self.change == "skip":
            return {"skip": True}
        if self.change in ("prompt", "sound", "solver"):
            return {self.change: self.value}                                         # type: ignore[misc]
        if self.change == "region":
            if self.value not in REGIONS:
                raise InputError(f"region is {self.value!r}; known: {', '.join(REGIONS)}")
            return {"latent": ReplaceRegion(REGIONS[self.value])}
        whole = self.change in ("seed", "repeat", "channel")
        try:
            number = int(self.value) if whole else float(self.value)
        except ValueError:
            raise InputError(f"{FORM[self.change][0]} is {self.value!r}; give a {'whole ' if whole else ''}number"
                             ) from None
        if self.change == "channel":
            return {"latent": ScaleChannel(int(number), 0.0)}
        return {self.change: number}                                                 # type: ignore[misc]

    @property
    def recipe(self) -> str:
        """Return the run that is shown as Python; "" for one that is no branch."""
        return "" if self.run is None else self.run.recipe

    # ------------------------------------------------------------------ what it does

    def ask(self) -> None:
        """Bring the form into view: somebody wants to branch at the chosen cell."""
        if self._asked is not None:
            self._asked()

    def branch(self) -> Run:
        """Make the branch that the form asks for, start it and show it. Raises InputError where that cannot be."""
        with self._one_at_a_time:
            going = next((run for run in self._tree if run.running), None)
            if going is not None:
                raise InputError("One video at a time: pause or stop the one that is being made, then branch.")
            parent, point = self.run, self.point
            made = parent.branch(*point, **self.changes)
            self._turn_to(made)
            made.start()
        return made

    def select(self, number: int) -> None:
        """Show another run of the tree; number: its place in `runs`. Raises InputError where there is none."""
        run = self._numbered(number)
        if run is not self.run:
            self._turn_to(run)

    def forget(self, number: int) -> None:
        """Take a run without branches out of the tree; number: its place in `runs`. Raises InputError for one that is
        shown or has branches, and where there is none."""
        run = self._numbered(number)
        if run is self.run or any(other.parent is run for other in self._tree):
            raise InputError("a run that is shown, or has branches, stays in the tree")
        with self._lock:
            self._tree.remove(run)
            self._forgotten.add(run)
        self.refresh(full=True)

    def _numbered(self, number: int) -> Run:
        """Return a run by its place in `runs`. Raises InputError where there is none."""
        runs = self.runs
        if not 0 <= number < len(runs):
            has = f"it has runs 0 to {len(runs) - 1}" if runs else "it has none"
            raise InputError(f"run {number} is not in the tree; {has}")
        return runs[number]

    def _turn_to(self, run: Run) -> None:
        """Show a run here and elsewhere, beside its parent where that is known."""
        parent = run.parent if isinstance(run.parent, Run) else None
        if self._show is None:
            self.watch(run)
        else:
            self._show(run, parent)

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        """Put the run that is shown into the tree; trees without a branch go when another run is shown."""
        if self.run is None:
            return
        first = self.run
        while isinstance(first.parent, Run):
            first = first.parent
        self._forgotten.discard(self.run)
        family = [run for run in descent(first) if run not in self._forgotten]
        branched = {id(run.parent) for run in self._tree if run.parent is not None}
        self._tree = [run for run in self._tree if run.parent is not None or id(run) in branched or run in family]
        self._tree += [run for run in family if run not in self._tree]
        while len(self._tree) > MOST_RUNS:
            parents = {id(run.parent) for run in self._tree}
            leaf = next((run for run in self._tree if id(run) not in parents and run is not self.run), None)
            if leaf is None:
                break
            self._tree.remove(leaf)

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Return the tree and the form."""
        body: Body = {"nodes": [self._node(run, depth) for run, depth in self._ordered()],
                      "form": [[name, words, control] for name, (words, control, _) in FORM.items()],
                      "point": None, "preview": ""}
        if self.run.recorded_steps:
            block, step = self.point
            sigmas = self.run.info.sigmas
            body["point"] = {"block": block, "step": step, "sigma": sigmas[step] if step < len(sigmas) else None}
        return body, {}

    def still(self) -> Image | None:
        """Draw the tree as lines of text."""
        from widgets._stills import lines_picture

        if self.run is None:
            return None
        nodes = [(self._node(run, depth), depth) for run, depth in self._ordered()]
        lines = [(depth, str(node["words"]), bool(node["shown"])) for node, depth in nodes]
        return lines_picture("Branches", lines, self.recipe)

    def on_message(self, kind: str, content: dict) -> None:
        """Handle a click on the page."""
        if kind == "branch":
            self.branch()
        elif kind == "select":
            self.select(int(content["number"]))
        elif kind == "forget":
            self.forget(int(content["number"]))
        self.refresh()

    def _ordered(self) -> Iterator[tuple[Run, int]]:
        """Yield each run after its parent, with how deep it lies."""
        def below(parent: Run | None, depth: int) -> Iterator[tuple[Run, int]]:
            for run in tuple(self._tree):
                known = run.parent if run.parent in self._tree else None
                if known is parent:
                    yield run, depth
                    yield from below(run, depth + 1)

        yield from below(None, 0)

    def _node(self, run: Run, depth: int) -> Body:
        seed = run.info.config.get("base_seed")
        apart = None
        if run.parent is not None and run.recorded_steps and run.state != READY:
            apart = told(step_difference(run, run.parent, *run.recorded_steps[-1]))
        leaf = not any(other.parent is run for other in self._tree)
        firsts = [other for other in self._tree if not other.lineage.description]
        number = firsts.index(run) + 1 if run in firsts else 0
        words = run.lineage.description or f"{f'tree {number}: ' if number > 1 else ''}first run, seed {seed}"
        whole = run.state == READY and run.done_s >= run.total_s > 0                 # one that was saved and opened
        return {"depth": depth, "words": words, "state": FINISHED if whole else run.state,
                "done_s": run.done_s, "total_s": run.total_s, "recipe": run.recipe, "shown": run is self.run,
                "leaf": leaf, "apart": apart}

    def _change_chosen(self, change: traitlets.Bunch) -> None:
        self.value = FORM[change.new][2]


def descent(run: Run) -> Iterator[Run]:
    """Yield a run and all that was branched from it, as far as it is in memory, each after its parent."""
    yield run
    for branch in run.branches:
        yield from descent(branch)                                                   # type: ignore[arg-type]
