"""Draw a step's guess beside what is possible, and how the distance grows over the steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.metrics.possible import A_SAMPLE, LATENTS, THE_MEAN, TOO_FAR, Possible, describe
from liveavatar.metrics.steps import change_map
from liveavatar.study.drawing import DARK_GREY, STUDENT, Picture, course, finished, legend
from liveavatar.study.table import Estimate
from liveavatar.web.palette import GREEN, ORANGE, PURPLE, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

COLOURS = {"latents": STUDENT, "face": ORANGE, "mouth": PURPLE, "background": SKY, "picture": GREEN}
TITLE_LETTERS = 140      # on a line, so that it is no wider than the figure
ROWS = ("the guess", "expected:\nmean of what\nis possible", "the difference")


def draw_possible(found: Possible, shares: Mapping[str, Sequence[Estimate]] | None = None, title: str = "") -> Picture:
    """Draw, step by step, the guess, the mean of what is still possible and the difference of the two, in the middle of
    the block; beside them one possible video, and the distance from the mean of all, against a true video's.

    shares: the distance after each step in each part, over more blocks than this one; title: instead of the sentence of
    this one
    """
    from matplotlib.figure import Figure

    count = len(found.steps)
    figure = Figure((1.62 * (count + 1) + 5.6, 5.9), dpi=90, layout="constrained")
    grid = figure.add_gridspec(3, count + 2, width_ratios=(*(count + 1) * [1.0], 2.9))
    draw_pictures(figure, grid, found)
    if shares is None:
        shares = {part: [one_block(found, step, part) for step in range(count)] for part in found.spread}
    curve(figure.add_subplot(grid[:, count + 1]), shares)
    return finished(figure, None, textwrap.fill(title or describe(found), TITLE_LETTERS))


def draw_pictures(figure: Figure, grid: GridSpec, found: Possible) -> None:
    """Draw a column for each step, and one of a true video: guess, mean, difference, in the middle of the block."""
    middle = len(found.mean) // 2
    columns = [(guess, expected, f"step {of.index}, sigma {of.sigma:.2f}", f"{of.remaining:.1f} of {found.count} left")
               for of, guess, expected in zip(found.steps, found.guesses, found.expected, strict=True)]
    columns.append((found.sample, found.mean, "a true video", f"mean of all {found.count}"))
    for place, (guess, mean, *titles) in enumerate(columns):
        pictures = guess[middle], mean[middle], change_map(guess[middle], mean[middle])
        for row, (picture, title) in enumerate(zip(pictures, (*titles, ""), strict=True)):
            axis = figure.add_subplot(grid[row, place])
            show(axis, picture, title)
            if place == 0:
                axis.set_ylabel(ROWS[row], fontsize=9, rotation=0, ha="right", va="center")


def one_block(found: Possible, step: int, part: str) -> Estimate:
    """Return the distance in one block; its interval is over the renderings, and known in latents."""
    of = found.steps[step]
    if part != LATENTS or of.low is None or of.high is None:
        return Estimate(found.share(step, part), math.nan, math.nan, 1)
    return Estimate(found.share(step, part), of.low, of.high, 1)


def show(axis: Axes, picture: np.ndarray, title: str) -> None:
    """Show a picture, or a map of differences 0..1 of which 0.3 is white."""
    axis.imshow(picture, cmap="magma", vmin=0, vmax=0.3)
    axis.set_title(title, fontsize=8.5)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def curve(axis: Axes, shares: Mapping[str, Sequence[Estimate]]) -> None:
    """Draw the distance from the mean of all renderings after each step, against a true video's."""
    places = range(len(next(iter(shares.values()))))
    axis.axhspan(0, THE_MEAN, color=SKY, alpha=0.13, linewidth=0)
    axis.axhline(1, color=DARK_GREY, linewidth=1, linestyle="--")
    for part, some in shares.items():
        if part != LATENTS:
            axis.plot(places, [one.mean for one in some], "o-", color=COLOURS.get(part, DARK_GREY), label=part,
                      linewidth=1, markersize=3)
    course(axis, dict(enumerate(shares[LATENTS])), COLOURS[LATENTS], LATENTS, linewidth=2.4)
    top = max(1.25, 1.05 * max(one.mean for some in shares.values() for one in some))
    axis.axhspan(A_SAMPLE, TOO_FAR, color=ORANGE, alpha=0.13, linewidth=0)
    for height, words in ((A_SAMPLE + 0.03, "one sample"), (0.03, "holds the mean")):
        axis.text(places[-1], height, words, ha="right", fontsize=8, color=DARK_GREY)
    axis.set_ylim(0, top)
    axis.set_xticks(list(places))
    axis.set_xlabel("after step")
    axis.set_title("distance of the guess from the mean, a true video's is 1", fontsize=9.5)
    axis.spines[["top", "right"]].set_visible(False)
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3)
