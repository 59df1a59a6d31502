"""Draw a step's guess beside what is possible, and how the distance grows over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from liveavatar.metrics.possible import Possible, describe
from liveavatar.metrics.steps import change_map
from liveavatar.study.drawing import DARK_GREY, STUDENT, Picture, finished, legend
from liveavatar.web.palette import GREEN, ORANGE, PURPLE, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"latents": STUDENT, "face": ORANGE, "mouth": PURPLE, "background": SKY, "picture": GREEN}
ROWS = ("the guess", "expected:\nmean of what\nis possible", "the difference")


def draw_possible(found: Possible) -> Picture:
    """Draw, step by step, the guess, the mean of what is still possible and the difference of the two, in the middle of
    the block; beside them one possible video, and the distance from the mean of all, against a true video's."""
    from matplotlib.figure import Figure

    count, middle = len(found.steps), len(found.mean) // 2
    figure = Figure((2 * count + 6.2, 6.6), dpi=90, layout="constrained")
    grid = figure.add_gridspec(3, count + 3)
    for step, (guess, expected) in enumerate(zip(found.guesses, found.expected, strict=True)):
        apart = change_map(guess[middle], expected[middle])
        of = found.steps[step]
        titles = (f"step {step}, sigma {of.sigma:.2f}", f"{of.remaining:.1f} of {found.count} remain", "")
        for row, (picture, title) in enumerate(zip((guess[middle], expected[middle], apart), titles, strict=True)):
            axis = figure.add_subplot(grid[row, step])
            show(axis, picture, title)
            if step == 0:
                axis.set_ylabel(ROWS[row], fontsize=9, rotation=0, ha="right", va="center")
    show(figure.add_subplot(grid[0, count]), found.sample[middle], "one possible video")
    show(figure.add_subplot(grid[1, count]), found.mean[middle], f"mean of all {found.count}")
    curve(figure.add_subplot(grid[:, count + 1:]), found)
    return finished(figure, None, describe(found).replace("; ", ";\n", 1))


def show(axis: Axes, picture: np.ndarray, title: str) -> None:
    """Show a picture, or a map of differences 0..1 of which 0.3 is white."""
    axis.imshow(picture, cmap="magma", vmin=0, vmax=0.3)
    axis.set_title(title, fontsize=8.5)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def curve(axis: Axes, found: Possible) -> None:
    """Draw the distance from the mean of all renderings after each step, against a true video's."""
    places = range(len(found.steps))
    for part in found.spread:
        axis.plot(places, [found.share(step, part) for step in places], "o-", color=COLOURS.get(part, DARK_GREY),
                  label=part, linewidth=2.4 if part == "latents" else 1.2)
    axis.axhline(0, color=DARK_GREY, linewidth=1)
    axis.axhline(1, color=DARK_GREY, linewidth=1, linestyle="--")
    axis.text(places[-1], 1.02, "as far as a sample", ha="right", fontsize=8, color=DARK_GREY)
    axis.text(places[-1], 0.02, "the mean", ha="right", fontsize=8, color=DARK_GREY)
    axis.set_ylim(-0.05, max(1.25, axis.get_ylim()[1]))
    axis.set_xticks(list(places))
    axis.set_xlabel("after step")
    axis.set_title("distance of the guess from the mean,\na true video's is 1", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3)
