"""What drawings of results share: colours, axes, means with intervals, marks for figures of others.

Measured is solid, with 95 % intervals; what others report is hollow and says so. Colours are those of Okabe & Ito 2008,
apart for any colour vision.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import user_path
from liveavatar.study.measures import Measure, reported
from liveavatar.study.results import Results
from liveavatar.study.table import Estimate, Table
from liveavatar.web.palette import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STUDENT, TEACHER = BLUE, ORANGE
DARK_GREY = "#6e7781"                # of what was not measured here: axes, remarks, figures of others
MODELS = {"student": STUDENT, "teacher": TEACHER}


@dataclass(frozen=True)
class Picture:
    """A finished drawing."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | os.PathLike) -> Path:
        path = user_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.png)
        return path


def axes(columns: int, width: float = 11.0, height: float = 3.4, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with axes side by side."""
    from matplotlib.figure import Figure

    figure = Figure((width, height * rows), dpi=110, layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for one in found:
        one.grid(axis="y", color="#d0d7de", linewidth=0.6)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, found


def finished(figure: Figure, results: Results | None = None, title: str = "") -> Picture:
    cut = [axis for axis in figure.axes if keep_means_in_view(axis)]
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    if results is not None:
        words = results.origin + ("\nIntervals that reach the frame go on beyond it." if cut else "")
        figure.supxlabel(words, fontsize=7.5, color=DARK_GREY, x=0.01, ha="left")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Picture(file.getvalue())


def keep_means_in_view(axis: Axes) -> bool:
    """Let intervals that are many times longer than the differences between means run out of the frame; says whether
    any do."""
    means = [float(y) for line in axis.lines if line.get_marker() in ("o", "D", "s") for y in line.get_ydata()]
    means += [bar.get_height() for bar in axis.patches if bar.get_width() < 1]
    means += [1.5 * y for band in axis.patches if band.get_width() == 1      # what does not matter stays in view
              for y in (band.get_y(), band.get_y() + band.get_height())]
    means += [float(point[1]) for cloud in axis.collections if hasattr(cloud, "get_offsets") and not ends_of(cloud)
              for point in cloud.get_offsets()]
    ends = [y for lines in axis.collections for y in ends_of(lines)]
    if not means or not ends:
        return False
    span = max(max(means) - min(means), 0.15 * max(map(abs, means)))
    bottom, top = axis.get_ylim()
    low, high = max(bottom, min(means) - 1.2 * span), min(top, max(means) + 1.2 * span)
    axis.set_ylim(low, high)
    return min(ends) < low or max(ends) > high


def ends_of(lines: object) -> list[float]:
    """Return the heights at which the lines of a collection end."""
    segments = lines.get_segments() if hasattr(lines, "get_segments") else []
    return [float(y) for segment in segments for _, y in segment]


def nothing(axis: Axes, words: str) -> None:
    """Draw an empty place that says why."""
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color=DARK_GREY, wrap=True)
    axis.set_xticks([])
    axis.set_yticks([])


def course(axis: Axes, estimates: dict[float, Estimate], colour: str, label: str, shift: float = 0.0,
           **options: object) -> None:
    """Draw means as points joined by a line, each with its interval."""
    known = {place: one for place, one in estimates.items() if one.known}
    if not known:
        return
    places = [place + shift for place in known]
    options = {"linestyle": "-"} | options
    axis.plot(places, [one.mean for one in known.values()], marker="o", color=colour, label=label, markersize=5,
              **options)
    bounded = [(place, one) for place, one in zip(places, known.values(), strict=True) if one.bounded]
    axis.vlines([place for place, _ in bounded], [one.low for _, one in bounded], [one.high for _, one in bounded],
                color=colour, linewidth=1.6, alpha=0.75)


def hollow(axis: Axes, places: Sequence[float], values: Sequence[float], source: str = "article") -> None:
    """Draw figures of others as hollow marks."""
    known = reported()["sources"][source]
    axis.plot(places, values, "D", markerfacecolor="none", markeredgecolor=DARK_GREY, markersize=7, linestyle=":",
              color=DARK_GREY, label=f"reported ({known['kind']}, {known['date']}), 14B")


def legend(axis: Axes, **options: object) -> list:
    """Draw the names of what is drawn, where anything is; return their marks."""
    if not axis.get_legend_handles_labels()[1]:
        return []
    return axis.legend(frameon=False, **{"fontsize": 7.5} | options).legend_handles


def whole_numbers(axis: Axes, numbers: Iterable[float], label: str = "sampler steps") -> None:
    axis.set_xticks(sorted(set(numbers)))
    axis.set_xlabel(label)


def has(table: Table, measure: Measure) -> bool:
    return any(row.get(measure.column) is not None for row in table)
