"""Results as rows: csv in, csv out, selection, and means with intervals.

An interval is a 95 % percentile bootstrap (Efron 1979) over what a result should not depend on: the people, the
recordings and the seeds. Each of the three is drawn anew by itself and a video counts as often as its person, its
recording and its seed were drawn together (the pigeonhole bootstrap of Owen 2007, arXiv:0711.2137), because videos of
one person are no independent samples. A factor that goes hand in hand with another one is not drawn twice; a single
person, recording or seed cannot vary, and says nothing about others.

A bootstrap over few groups underestimates the error. So intervals are widened by sqrt(n / (n - 1)) * t(n - 1) / z, as
Hesterberg 2015 (arXiv:1411.5279, section 3) proposes, with n the levels of the factor that is most to blame for the
spread: 1.3 times for 8 people, 9 times for 2.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liveavatar.files import user_path, write_whole
from liveavatar.types import InputError

FACTORS = ("portrait", "recording", "seed")     # what a result should not depend on
DRAWS = 2000                                    # of the bootstrap
CONFIDENCE = 0.95
FINISHED = ""                                   # `after_step` of the finished video


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval in which it lies with 95 % confidence."""

    mean: float
    low: float
    high: float
    count: int           # videos

    @property
    def known(self) -> bool:
        return self.count > 0 and math.isfinite(self.mean)

    @property
    def bounded(self) -> bool:
        """Tell whether there was more than one video to draw from."""
        return self.known and math.isfinite(self.low) and math.isfinite(self.high)

    def __format__(self, form: str) -> str:
        form = form or ".3g"
        if not self.known:
            return "unknown"
        if not self.bounded:
            return f"{self.mean:{form}} (one video)"
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}}, {self.count} videos)"

    def __str__(self) -> str:
        return format(self, "")


class Table:
    """Rows of equal columns. Values are numbers, or text; what is missing is None."""

    def __init__(self, rows: Sequence[dict]) -> None:
        self.rows = tuple(rows)
        self.columns = tuple(dict.fromkeys(name for row in self.rows for name in row))

    @classmethod
    def from_rows(cls, rows: Iterable[dict]) -> Table:
        return cls([{name: plain(value) for name, value in row.items()} for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict]:
        return iter(self.rows)

    def __add__(self, other: Table) -> Table:
        return Table(self.rows + other.rows)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows of {len(self.columns)} columns)"

    # ------------------------------------------------------------------ choosing

    def where(self, **conditions: object) -> Table:
        """Return the rows that fit: where(steps=4), where(steps=(3, 4)), where(noise_db=None)."""
        for name in conditions:
            if self.rows and name not in self.columns:
                raise InputError(f"the table has no column {name!r}; it has {', '.join(self.columns)}")

        def fits(row: dict) -> bool:
            return all(row.get(name) in (wanted if isinstance(wanted, (tuple, list, set)) else (wanted,))
                       for name, wanted in conditions.items())
        return Table([row for row in self.rows if fits(row)])

    @property
    def finished(self) -> Table:
        """Return the rows of finished videos."""
        return Table([row for row in self.rows if row.get("after_step") in (None, FINISHED)
                      and row.get("state", "made") == "made"])

    @property
    def guesses(self) -> Table:
        """Return the rows of guesses after a sampler step."""
        return Table([row for row in self.rows if isinstance(row.get("after_step"), (int, float))])

    @property
    def failed(self) -> Table:
        return Table([row for row in self.rows if row.get("state") == "failed"])

    def values(self, column: str) -> np.ndarray:
        """Return a column of numbers; NaN where it has none."""
        return np.array([number(row.get(column)) for row in self.rows], dtype=float)

    def distinct(self, column: str) -> list:
        """Return the values of a column, each once, sorted."""
        found = {row.get(column) for row in self.rows} - {None}
        return sorted(found, key=lambda value: (isinstance(value, str), value))

    # ------------------------------------------------------------------ estimating

    def estimate(self, column: str) -> Estimate:
        """Return the mean of a column over its rows, with its interval."""
        values = self.values(column)
        known = ~np.isnan(values)
        return bootstrap(values[known], [row for row, keep in zip(self.rows, known, strict=True) if keep])

    def by(self, column: str, value: str) -> dict[object, Estimate]:
        """Return the estimate of `value` for every value of `column`."""
        return {one: self.where(**{column: one}).estimate(value) for one in self.distinct(column)}

    def difference(self, column: str, first: dict, second: dict, relative: bool = False) -> Estimate:
        """Return how much more `second` has than `first`, person by person, recording by recording, seed by seed: the
        same noise on both sides. relative: as a share of the mean of `first`."""
        before, after = (self.where(**conditions).cases(column) for conditions in (first, second))
        both = [case for case in before if case in after]
        values = np.array([after[case] - before[case] for case in both])
        if relative and both:
            values = values / np.mean([before[case] for case in both])
        return bootstrap(values, [dict(zip(FACTORS, case, strict=True)) for case in both])

    def shared(self, column: str) -> Table:
        """Keep only the people, recordings and seeds that have been seen at every value of `column`: what remains can
        be compared by eye."""
        def case(row: dict) -> tuple:
            return tuple(row.get(name) for name in FACTORS)

        groups: dict[object, set] = {}
        for row in self.rows:
            groups.setdefault(row.get(column), set()).add(case(row))
        common = set.intersection(*groups.values()) if groups else set()
        return Table([row for row in self.rows if case(row) in common])

    def cases(self, column: str) -> dict[tuple, float]:
        """Return (person, recording, seed) -> value, the mean where there are several."""
        found: dict[tuple, list[float]] = {}
        for row, value in zip(self.rows, self.values(column), strict=True):
            if not math.isnan(value):
                found.setdefault(tuple(row.get(name) for name in FACTORS), []).append(value)
        return {case: float(np.mean(values)) for case, values in found.items()}

    # ------------------------------------------------------------------ keeping

    def write(self, path: str | os.PathLike) -> Path:
        """Write csv, in UTF-8; missing values are empty."""
        path = user_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self._write)
        return path

    def _write(self, path: Path) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: "" if value is None else value for name, value in row.items()}
                             for row in self.rows)


def read_table(path: str | os.PathLike) -> Table:
    """Read what `Table.write` wrote. Numbers become numbers again, empty fields None; text stays text."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return Table([{name: parsed(name, value) for name, value in row.items()} for row in csv.DictReader(file)])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} holds no table that can be read ({error}); make one with `liveavatar sweep`, or "
                         "python benchmarks/study.py") from error


WORDS = ("key", "model", "schedule", "solver", "size", "prompt", "portrait", "recording", "clean", "backend", "weights",
         "state", "error", "device", "dtype", "machine", "commit", "weights_id",
         "options")                                                 # columns of text, even where they look like numbers


def parsed(name: str, text: str | None) -> object:
    if name in WORDS:
        return text or ""
    if text in (None, ""):
        return FINISHED if name == "after_step" else None
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def plain(value: object) -> object:
    """Convert numbers of numpy and torch as Python's own."""
    return value.item() if hasattr(value, "item") else value


def number(value: object) -> float:
    return float(value) if isinstance(value, (bool, int, float)) else math.nan


def bootstrap(values: np.ndarray, rows: Sequence[dict], draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Return the mean of values and its interval; see the top of this module. rows say whose each value is."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    factors = independent_factors(rows)
    if not factors:
        return Estimate(mean, math.nan, math.nan, len(values))
    generator = np.random.default_rng(seed)
    weights = np.ones((draws, len(values)))
    for levels in factors:                                         # (n,) the level of each value, 0..L-1
        count = levels.max() + 1
        weights *= generator.multinomial(count, np.full(count, 1 / count), draws)[:, levels]
    total = weights.sum(1)
    means = (weights @ values)[total > 0] / total[total > 0]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    wider = small_sample_factor(effective_groups(values, factors))
    return Estimate(mean, mean - wider * (mean - float(low)), mean + wider * (float(high) - mean), len(values))


def effective_groups(values: np.ndarray, factors: Sequence[np.ndarray]) -> int:
    """Return the number of levels of the factor whose levels make the mean most uncertain."""
    def squared_error(levels: np.ndarray) -> float:
        count = levels.max() + 1
        means = np.bincount(levels, values, count) / np.bincount(levels, minlength=count)
        return means.var(ddof=1) / count

    return int(max(factors, key=squared_error).max()) + 1


def small_sample_factor(count: int) -> float:
    """Return the factor that makes a percentile interval of so many groups as wide as that of Student's t."""
    from scipy.special import ndtri, stdtrit

    place = (1 + CONFIDENCE) / 2
    return float(np.sqrt(count / (count - 1)) * stdtrit(count - 1, place) / ndtri(place))


def independent_factors(rows: Sequence[dict]) -> list[np.ndarray]:
    """Return the level of every row in each factor that varies; of factors that go hand in hand only the finest."""
    found: list[np.ndarray] = []
    for name in FACTORS:
        names = [str(row.get(name)) for row in rows]
        levels = np.unique(names, return_inverse=True)[1]
        if levels.max(initial=0) > 0:
            found.append(levels)
    found.sort(key=lambda levels: -levels.max())
    kept: list[np.ndarray] = []
    for levels in found:
        if not any(decides(finer, levels) for finer in kept):
            kept.append(levels)
    return kept


def decides(finer: np.ndarray, coarser: np.ndarray) -> bool:
    """Tell whether the level of one factor always says that of the other."""
    return len(set(zip(finer.tolist(), coarser.tolist(), strict=True))) == len(set(finer.tolist()))
