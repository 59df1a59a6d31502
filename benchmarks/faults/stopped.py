"""Signals at random moments, and disks that fill up."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults.attempts import Attempt, chance
from faults.killed import (
    half_written,
    killed_child,
    undisturbed,
    with_mini,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWERED_S = 10.0             # on a loaded machine; one step of mini takes a few hundredths of a second


def stopped_runs(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Send Ctrl-C, SIGTERM or SIGHUP at any moment of a run of mini: it ends soon and leaves a video, or nothing."""
    _, lasts_s = undisturbed(with_mini)
    for number in range(first, first + count):
        dice = chance("stopped", seed, number)
        after_s, which = dice.uniform(0, lasts_s), dice.choice(SIGNALS)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            code, spent_s = killed_child(with_mini(folder), after_s, which)
            wrong = half_written(folder)
            if code not in (0, 128 + which, -which):
                wrong = wrong or f"exit code {code}"
            if code == -which and (folder / "out.mp4").exists():
                wrong = wrong or "killed by the signal although a video was there"
            if spent_s > ANSWERED_S:
                wrong = wrong or f"it took {spent_s:.1f} s to end"
            left = [path.name for path in folder.rglob(".*.part")]
            if left and code != -which:
                wrong = wrong or f"left behind: {left}"
        yield Attempt(f"{number}: {which.name} after {after_s:.2f} s of {lasts_s:.2f}", not wrong, wrong)
