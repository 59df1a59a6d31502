"""What a claim, its evidence and a verdict are, and the ways in which judges compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from liveavatar.study.measures import Measure, reported, usual
from liveavatar.study.table import Estimate, Table

CONFIRMED, REFUTED, UNTESTED = "confirmed", "refuted", "cannot be tested here"
VERDICTS = (CONFIRMED, REFUTED, UNTESTED)
IDLE_SHARE = 0.05            # of the path: a step below is nearly idle


@dataclass(frozen=True)
class Verdict:
    """The answer of the results to a claim."""

    verdict: str
    why: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All that a judge may use."""

    table: Table
    reported: dict = field(default_factory=reported)


@dataclass(frozen=True)
class Claim:
    """One sentence of the article."""

    name: str
    part: str            # of the article
    text: str
    test: str            # what is computed
    judge: Callable[[Evidence], Verdict]


REGISTERED: list[Claim] = []


def claim(name: str, part: str, text: str, test: str) -> Callable:
    """Return a decorator that registers a function as the judge of a claim."""
    def enter(judge: Callable[[Evidence], Verdict]) -> Callable[[Evidence], Verdict]:
        REGISTERED.append(Claim(name, part, text, test, judge))
        return judge
    return enter


# ------------------------------------------------------------------------------------------- ways to judge

def judged(holds: bool, why: str, **numbers: float) -> Verdict:
    """Return confirmed or refuted."""
    return Verdict(CONFIRMED if holds else REFUTED, why, numbers)


def untested(why: str) -> Verdict:
    """Return that the claim cannot be tested here."""
    return Verdict(UNTESTED, why)


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
    if measure.better > 0:
        return difference
    return Estimate(-difference.mean, -difference.high, -difference.low, difference.count)


def gained(measure: Measure, gain: Estimate, names: tuple[str, str]) -> str:
    """Say in words how the second of two compares with the first. gain: positive is better, as `compared` has it."""
    if gain.bounded and gain.high < 0:
        lost = Estimate(-gain.mean, -gain.high, -gain.low, gain.count)
        return f"{measure.label}: {names[1]} is worse than {names[0]} by {lost:.3g} {measure.unit}".rstrip()
    if gain.bounded and gain.low <= 0:
        return (f"{measure.label}: {names[1]} differs from {names[0]} by {gain:.3g} {measure.unit}".rstrip()
                + ", where more than 0 is better")
    return f"{measure.label}: {names[1]} is better than {names[0]} by {gain:.3g} {measure.unit}".rstrip()


def better(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str]) -> Verdict:
    """Judge whether `second` is better than `first`."""
    missing = lacking(table, measure)
    if missing:
        return untested(missing)
    gain = compared(table, measure, first, second)
    says = gained(measure, gain, names)
    if not gain.bounded:
        return untested(f"{says}: more videos are needed")
    if gain.low > 0 and gain.mean >= measure.worth:
        return judged(True, says, gain=gain.mean)
    if gain.high < measure.worth:
        small = "" if gain.high < 0 else f": less than matters ({measure.worth:g})"
        return judged(False, says + small, gain=gain.mean)
    return untested(f"{says}: the interval is too wide, more videos are needed")


def same(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str]) -> Verdict:
    """Judge whether `second` gains nothing over `first`."""
    missing = lacking(table, measure)
    if missing:
        return untested(missing)
    gain = compared(table, measure, first, second)
    says = gained(measure, gain, names)
    if not gain.bounded:
        return untested(f"{says}: more videos are needed")
    if gain.high < measure.worth:
        return judged(True, f"{says}: less than matters ({measure.worth:g})", gain=gain.mean)
    if gain.low > 0 and gain.mean >= measure.worth:
        return judged(False, says, gain=gain.mean)
    return untested(f"{says}: the interval is too wide, more videos are needed")


def agrees(found: Estimate, said: float, tolerance: float, says: str) -> Verdict:
    """Judge whether a figure of the article is what was measured, within `tolerance`."""
    if not found.bounded:
        return untested(f"{says}: more videos are needed")
    numbers = {"measured": found.mean, "reported": said}
    if not found.low - tolerance <= said <= found.high + tolerance:
        return judged(False, says, **numbers)
    if found.high - found.low <= 4 * tolerance:
        return judged(True, says, **numbers)
    return untested(f"{says}: the interval is too wide, more videos are needed")


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Join several parts of one claim: one refuted part refutes it, one untested part leaves it open."""
    parts = list(verdicts)
    verdict = next((word for word in (REFUTED, UNTESTED) if any(part.verdict == word for part in parts)), CONFIRMED)
    return Verdict(verdict, "; ".join(part.why for part in parts),
                   {name: number for part in parts for name, number in part.numbers.items()})


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Join several ways in which a claim may be right: one confirmed way confirms it, only all refuted refute it."""
    parts = list(verdicts)
    verdict = next((word for word in (CONFIRMED, UNTESTED) if any(part.verdict == word for part in parts)), REFUTED)
    return Verdict(verdict, "; ".join(part.why for part in parts),
                   {name: number for part in parts for name, number in part.numbers.items()})


def student(evidence: Evidence, **changes: object) -> Table:
    """Return the rows of the fast student at usual settings."""
    return usual(evidence.table, **changes).where(model="student")


def needs_rows(evidence: Evidence, need: str, **conditions: object) -> Verdict:
    """Judge a claim about machines or models of which there are no results."""
    rows = [row for row in evidence.table.finished
            if all(row.get(name) == wanted for name, wanted in conditions.items())]
    asked = ", ".join(f"{name} {value}" for name, value in conditions.items())
    backends, devices = (", ".join(sorted({str(row[name]) for row in evidence.table if row.get(name)})) or "nothing"
                         for name in ("backend", "device"))
    if rows:
        return untested(f"there are {len(rows)} results ({asked}), but nothing here judges them yet")
    return untested(f"it needs {need}; the results hold {backends} on {devices}")
