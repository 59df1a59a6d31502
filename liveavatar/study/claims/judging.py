"""The ways in which judges compare rows of a table. Each returns an `Answer`: plain words, and figures for a table.

Differences are taken person by person from the same noise, with 95 % intervals (see `table`):

    better     the interval lies on the better side of zero, and its mean matters (`Measure.worth`): true; it holds no
               gain that matters: false; else the results are too few to say
    the same   the other way round
    a figure   it lies outside the interval, widened by a little room: false; inside a narrow one: true; else too few
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from liveavatar.study.claims.levels import Answer, Evidence, Figure
from liveavatar.study.measures import Measure, usual
from liveavatar.study.table import Estimate, Table

IDLE_SHARE = 0.05            # of the path: a step below is nearly idle
MORE_VIDEOS = "more videos are needed"


def unknown(why: str) -> Answer:
    """Return that a question cannot be answered from what is there."""
    return Answer(None, why)


def lacking(table: Table, measure: Measure) -> str:
    """Say why a measure cannot be read from these rows; "" when it can."""
    if not len(table):
        return "the table has no rows of these settings"
    if measure.column not in table.columns or not np.isfinite(table.values(measure.column)).any():
        return f"the table has no {measure.label}"
    return ""


def compared(table: Table, measure: Measure, first: dict, second: dict) -> Estimate:
    """Estimate how much better `second` is than `first`: positive is better, whatever the measure."""
    difference = table.difference(measure.column, first, second)
    return difference if measure.better > 0 else turned(difference)


def turned(estimate: Estimate) -> Estimate:
    """Return an estimate with the other sign."""
    return Estimate(-estimate.mean, -estimate.high, -estimate.low, estimate.count)


def gained(measure: Measure, gain: Estimate, names: tuple[str, str]) -> str:
    """Say in words how the second of two compares with the first. gain: positive is better, as `compared` has it."""
    first, second = names
    if not gain.bounded:
        return f"{measure.label}: too few videos of {first} and {second}, {MORE_VIDEOS}"
    if max(abs(gain.low), abs(gain.high)) < measure.worth:
        return f"{measure.label}: no difference that matters between {first} and {second}"
    if gain.high < 0:
        return f"{measure.label}: worse with {second} than with {first}"
    if gain.low > 0:
        matters = "" if gain.mean >= measure.worth else ", by less than matters"
        return f"{measure.label}: better with {second} than with {first}{matters}"
    if gain.high < measure.worth:
        return f"{measure.label}: nothing that matters is gained with {second} over {first}"
    return f"{measure.label}: too few videos to tell {second} from {first}"


def difference(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str],
               ) -> tuple[Estimate, Answer]:
    """Return the gain of `second` over `first`, and an answer that holds its words and figures but says nothing yet."""
    gain = compared(table, measure, first, second)
    figure = Figure(f"{measure.label}: gain of {names[1]} over {names[0]}", gain, measure.unit, measure.worth)
    return gain, Answer(None, gained(measure, gain, names), {"gain": gain.mean} if gain.known else {}, (figure,))


def better(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str]) -> Answer:
    """Answer whether `second` is better than `first`."""
    if missing := lacking(table, measure):
        return unknown(missing)
    gain, answer = difference(table, measure, first, second, names)
    if gain.bounded and gain.low > 0 and gain.mean >= measure.worth:
        return Answer(True, answer.why, answer.numbers, answer.figures)
    if gain.bounded and gain.high < measure.worth:
        return Answer(False, answer.why, answer.numbers, answer.figures)
    return answer


def same(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str]) -> Answer:
    """Answer whether `second` gains nothing over `first`."""
    opposite = better(table, measure, first, second, names)
    holds = None if opposite.holds is None else not opposite.holds
    return Answer(holds, opposite.why, opposite.numbers, opposite.figures)


def agrees(found: Estimate, said: float, tolerance: float, what: str, form: str, unit: str = "") -> Answer:
    """Answer whether a figure of the article is what was measured, within `tolerance`. form: how to write both."""
    figures = (Figure(what, found, unit),)
    if not found.bounded:
        return Answer(None, f"{what}: too few videos, {MORE_VIDEOS}", {}, figures)
    says = f"{what}: the article says {said:{form}}, mini has {found.mean:{form}} {unit}".rstrip()
    numbers = {"measured": found.mean, "reported": said}
    if not found.low - tolerance <= said <= found.high + tolerance:
        return Answer(False, says, numbers, figures)
    if found.high - found.low <= 4 * tolerance:
        return Answer(True, says, numbers, figures)
    return Answer(None, f"{says}, and the interval is too wide", numbers, figures)


def all_of(answers: Iterable[Answer]) -> Answer:
    """Join several parts of one question: one that is false makes it false, one that is unknown leaves it open."""
    parts = list(answers)
    holds = False if any(part.holds is False for part in parts) else \
        None if any(part.holds is None for part in parts) else True
    return joined(parts, holds)


def any_of(answers: Iterable[Answer]) -> Answer:
    """Join several ways in which something may be true: one that is true is enough, only all false make it false."""
    parts = list(answers)
    holds = True if any(part.holds for part in parts) else None if any(part.holds is None for part in parts) else False
    return joined(parts, holds)


def joined(parts: list[Answer], holds: bool | None) -> Answer:
    return Answer(holds, "; ".join(part.why for part in parts),
                  {name: number for part in parts for name, number in part.numbers.items()},
                  tuple(figure for part in parts for figure in part.figures))


def student(evidence: Evidence, **changes: object) -> Table:
    """Return the rows of the fast student at usual settings."""
    return usual(evidence.table, **changes).where(model="student")
