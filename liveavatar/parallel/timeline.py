"""Which rank did which step of which block when: recorded, saved as JSON, drawn as a Gantt chart."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

from liveavatar.files import user_path, write_whole
from liveavatar.types import InputError

KINDS = ("prepare", "wait", "step", "decode")       # of a rank's work
MAX_RANKS = 10_000


@dataclass(frozen=True)
class Span:
    """A stretch of one rank's time."""

    rank: int
    what: str                # one of KINDS
    block: int               # -1 where there is none
    step: int
    began_s: float           # since the run began; the ranks' clocks are those of their machines
    ended_s: float


@dataclass(frozen=True)
class Timeline:
    """The spans of all ranks of a run."""

    spans: tuple[Span, ...]
    ranks: int

    def of(self, rank: int, what: str) -> tuple[Span, ...]:
        """Return a rank's spans of one kind."""
        return tuple(span for span in self.spans if span.rank == rank and span.what == what)

    def busy(self, rank: int) -> float:
        """Return the share of the time between the first step and the last picture in which a rank worked, 0..1."""
        work = [span for span in self.spans if span.what in ("step", "decode")]
        if not work:
            return 0.0
        whole_s = max(span.ended_s for span in work) - min(span.began_s for span in work)
        return sum(span.ended_s - span.began_s for span in work if span.rank == rank) / max(whole_s, 1e-9)

    def save(self, path: str | os.PathLike) -> Path:
        """Write a JSON file and return its path."""
        path = user_path(path)
        text = json.dumps({"ranks": self.ranks, "spans": [asdict(span) for span in self.spans]})
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Timeline:
        """Read a file that `save` has written. Raises InputError where it cannot be read."""
        try:
            about = json.loads(user_path(path).read_text(encoding="utf-8"))
            timeline = cls(tuple(Span(**span) for span in about["spans"]), about["ranks"])
            timeline._check()
            return timeline
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no time line that can be read ({error}); one is written beside every video "
                             "made by torchrun") from error

    def _check(self) -> None:
        """Raise ValueError where a value is not what it should be."""
        if isinstance(self.ranks, bool) or not isinstance(self.ranks, int) or not 1 <= self.ranks <= MAX_RANKS:
            raise ValueError(f"{self.ranks!r} ranks")
        for span in self.spans:
            whole = all(isinstance(value, int) for value in (span.rank, span.block, span.step))
            timed = all(isinstance(value, (int, float)) and isfinite(value) for value in (span.began_s, span.ended_s))
            if not whole or not timed or not 0 <= span.rank < self.ranks or span.what not in KINDS:
                raise ValueError(f"{span}")


class SpanRecorder:
    """Records the spans of one rank while it works."""

    def __init__(self, rank: int, began_s: float) -> None:
        self.spans: list[Span] = []
        self._rank, self._began_s = rank, began_s

    @contextmanager
    def span(self, what: str, block: int = -1, step: int = -1) -> Iterator[None]:
        """Record how long the body of the `with` takes, unless it raises."""
        began = time.time()
        yield
        self.spans.append(Span(self._rank, what, block, step, began - self._began_s, time.time() - self._began_s))


def gantt(timeline: Timeline, blocks: int = 8) -> object:
    """Draw a time line as a matplotlib Figure: a row a rank, a bar a step, one colour a block, waiting in grey.

    Raises InputError where there is nothing to draw.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shown = [span for span in timeline.spans if -1 <= span.block < blocks and span.what != "prepare"]
    if not shown:
        raise InputError("the time line is empty; it is recorded while a video is made by several processes")
    began_s = min((span.began_s for span in shown if span.what == "step"), default=shown[0].began_s)
    figure = Figure(figsize=(9, 0.9 + 0.5 * timeline.ranks), layout="constrained")
    axes = figure.subplots()
    for span in shown:
        length_s = span.ended_s - span.began_s
        left_s = max(span.began_s - began_s, 0.0)
        if span.what == "wait":
            axes.barh(span.rank, length_s - max(began_s - span.began_s, 0), left=left_s, height=0.18, color="#c8c8c8")
            continue
        axes.barh(span.rank, length_s, left=left_s, height=0.7, color=colormaps["tab10"](span.block % 10),
                  edgecolor="white", hatch="//" if span.what == "decode" else None)
        axes.text(left_s + length_s / 2, span.rank, "VAE" if span.what == "decode" else str(span.step), fontsize=7,
                  ha="center", va="center", color="white", clip_on=True)
    axes.set(yticks=range(timeline.ranks), yticklabels=[f"rank {rank}" for rank in range(timeline.ranks)],
             xlabel="seconds since the first step; one colour is one block, numbers are steps, grey is waiting")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure
