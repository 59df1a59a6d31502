"""Two runs that the player compares: their differences as they come, and the figures of both, measured once."""

from __future__ import annotations

import math

from liveavatar.metrics.run_pairs import RunFigures, block_difference, first_difference, run_figures, step_difference
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import Run
from widgets._live import Body

MOST_BLOCKS = 400                 # that are compared step by step
STEPS_A_DRAWING = 64              # that are looked at in one go


class RunPair:
    """Differences and figures of two runs. What is known stays known."""

    def __init__(self, run: Run, other: Run) -> None:
        self.run, self.other = run, other
        self._latents: dict[tuple[int, int], float] = {}
        self._pixels: dict[int, float] = {}
        self._figures: tuple[tuple, dict[str, RunFigures]] = ((), {})

    @property
    def latents(self) -> dict[tuple[int, int], float]:
        """Return (block, step) -> difference of the latents, for all steps that both have made."""
        while self._look():
            pass
        return dict(self._latents)

    @property
    def pixels(self) -> dict[int, float]:
        """Return block -> difference of the pictures, for all blocks that both have decoded."""
        while self._look():
            pass
        return dict(self._pixels)

    @property
    def figures(self) -> dict[str, RunFigures]:
        """Return the figures of both, "a" and "b", from the block on where they part; measured now where needed."""
        key = self._key
        if self._figures[0] != key:
            first = first_difference(self.run, self.other)
            block = 0 if first is None else first[0]
            self._figures = key, {name: run_figures(one, block) for name, one in (("a", self.run), ("b", self.other))}
        return self._figures[1]

    @property
    def waits(self) -> bool:
        """Tell whether the figures are to be measured: both rest, and there are new pictures."""
        going = RUNNING in (self.run.state, self.other.state)
        return not going and self._figures[0] != self._key and all(self._key)

    @property
    def _key(self) -> tuple[int, int]:
        return len(self.run.blocks), len(self.other.blocks)

    def body(self) -> tuple[Body, bool]:
        """Return what a browser is told, and whether there is more to look at."""
        more = self._look()
        steps, blocks = max(self.run.info.steps, 1), min(self.run.info.blocks or MOST_BLOCKS, MOST_BLOCKS)
        known = self._figures[1] if self._figures[0] == self._key else {}
        return {"steps": steps, "blocks": blocks,
                "latents": [[told(self._latents.get((block, step))) for block in range(blocks)]
                            for step in range(steps)],
                "pixels": [told(self._pixels.get(block)) for block in range(blocks)],
                "figures": {name: {field: told(value) for field, value in vars(one).items()}
                            for name, one in known.items()}}, more

    def _look(self) -> bool:
        """Compare some more steps and blocks; tell whether there are still more."""
        both = sorted(set(self.run.recorded_steps) & set(self.other.recorded_steps))
        missing = [key for key in both if key[0] < MOST_BLOCKS and key not in self._latents]
        for key in missing[:STEPS_A_DRAWING]:
            self._latents[key] = step_difference(self.run, self.other, *key)
        for block in {block for block, _ in both if block < MOST_BLOCKS} - self._pixels.keys():
            found = block_difference(self.run, self.other, block)
            if not math.isnan(found):
                self._pixels[block] = found
        return len(missing) > STEPS_A_DRAWING


def told(value: float | None) -> float | None:
    """Return a number for JSON: None where it is not known."""
    return None if value is None or math.isnan(value) else round(value, 5)


def pair_names(run: Run, other: Run) -> tuple[str, str] | None:
    """Name two runs of which one is a branch; None where neither is."""
    if not (run.lineage.calls or other.lineage.calls):
        return None
    names = [one.lineage.description or "first run" for one in (run, other)]
    for at, (one, parent) in enumerate(((run, other), (other, run))):
        if one.parent is parent:
            names[1 - at] = "its parent"
    return names[0], names[1]
