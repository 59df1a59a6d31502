"""Make every video of a grid, measure each, keep what is done: stop it, start it again, and only the rest is made.

    sweep = Sweep(Grid(steps=range(1, 9), model=("student", "teacher")), "out/sweep")
    table = sweep.run()                       # tqdm; a few processes, each with its share of the cores

    out/sweep/sweep.json                      the grid
              table.csv                       one row a video, and one for the guess after each sampler step
              cells/4f0c.../cell.json         one video: its settings, what was measured, or why it failed
                             video.mp4        the video
                             after_0.mp4      by_step: what the model took for the finished video after step 0, 1, ...

A cell's folder is named by a hash of its settings, its sound and portrait, and the weights: it is made once. Parallel
work goes through joblib. On a cluster the same call runs on dask, with a folder that all machines see:

    with dask.distributed.Client(address), joblib.parallel_config(backend="dask"):
        sweep.run(jobs=-1)
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from liveavatar.checksums import check_values, with_crc
from liveavatar.files import is_held, user_path
from liveavatar.study.background import BackgroundWork
from liveavatar.study.cell_result import (
    FAILED,
    FORMAT,
    HELD,
    MADE,
    Measure,
    Result,
    key_of,
    make_cell,
    measure_cell,
    measure_video,
    write_json,
)
from liveavatar.study.grid import Cell, Grid
from liveavatar.study.workers import bar, in_parallel, share_cores
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.study.table import Table


@dataclass(frozen=True)
class Progress:
    """One cell more is done; sent to whoever watches a sweep."""

    done: int
    total: int
    result: Result | None          # None: the sweep has begun, or ended


class Sweep(BackgroundWork[Progress]):
    """A grid of videos in a folder."""

    what = "sweep"

    def __init__(self, grid: Grid | Sequence[Cell], folder: str | os.PathLike, *,
                 measure: Measure | None = None) -> None:
        """Begin a sweep. measure(video, materials) -> numbers; what `liveavatar.metrics.measure` finds, where it is
        left out. It must be a function that other processes can import.
        """
        super().__init__()
        self.folder = user_path(folder)
        self.cells = grid.cells() if isinstance(grid, Grid) else tuple(dict.fromkeys(grid))
        self._measure = measure or measure_video
        self._results: dict[Cell, Result] = {}

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Sweep:
        """Open a sweep that was begun before, with all that is made of it."""
        path = user_path(folder) / "sweep.json"
        try:
            values = check_values(json.loads(path.read_text(encoding="utf-8")))
            cells = [Cell(**values) for values in values["cells"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no sweep that can be read ({error}); give the folder that "
                             "`liveavatar sweep --out` wrote") from error
        sweep = cls(cells, folder)
        found = (Result.read(path) for path in sorted((sweep.folder / "cells").glob("[!.]*")))
        sweep._results = {result.cell: result for result in found if result is not None}
        return sweep

    def __repr__(self) -> str:
        failed = sum(result.state == FAILED for result in self.results)
        words = f", {failed} failed" if failed else ""
        return f"Sweep({len(self.results)} of {len(self.cells)} videos in {str(self.folder)!r}{words})"

    @property
    def results(self) -> tuple[Result, ...]:
        """Return what is done, in the order of the grid."""
        return tuple(self._results[cell] for cell in self.cells if cell in self._results)

    def table(self) -> Table:
        """Return the results as rows."""
        from liveavatar.study.table import Table

        return Table.from_rows(row for result in self.results for row in result.rows())

    # ------------------------------------------------------------------ watching and steering

    def start(self, **options: object) -> Sweep:
        """Run it in a thread, for notebooks. `stop` ends it, `wait` waits for it."""
        self._start(lambda: self.run(progress=False, **options))
        return self

    def wait(self, timeout_s: float | None = None) -> Table:
        """Wait for a sweep that was started; raises what it raised."""
        self._wait(timeout_s)
        return self.table()

    def run(self, jobs: int | None = None, *, threads: int | None = None, progress: bool = True,
            retry: bool = False) -> Table:
        """Make what is missing and return the table, which is also written to table.csv.

        jobs: processes at a time; left out, as many as the cores can serve. threads: of each process; left out, the
        cores are shared out, so that together they ask for no more than there are. retry: try failed cells again.
        """
        jobs, threads = share_cores(jobs, threads)
        if threading.current_thread() is not self._thread:
            self._stop.clear()
        self._begin()
        missing = self.find_made(retry)
        self._tell(None)
        tasks = [(cell, key, str(self.folder), self._measure, threads) for cell, key in missing]
        with bar(len(self.cells), len(self.results), progress) as shown:
            for result in in_parallel(make_cell, tasks, jobs, self._stop):
                self._results[result.cell] = result
                shown.set_postfix_str(result.cell.label + (" FAILED" if result.state == FAILED else ""), refresh=False)
                shown.update()
                self._tell(result)
        table = self.table()
        table.write(self.folder / "table.csv")
        self._tell(None)
        return table

    def measure_again(self, jobs: int | None = None, *, threads: int | None = None, progress: bool = True) -> Table:
        """Measure the videos that are there once more, after the measures have changed; nothing is made anew."""
        jobs, threads = share_cores(jobs, threads)
        self._stop.clear()
        made = [result for result in self.results if result.state == MADE]
        with bar(len(made), 0, progress) as shown:
            for result in in_parallel(measure_cell, [(one, self._measure, threads) for one in made], jobs, self._stop):
                self._results[result.cell] = result
                shown.update()
                self._tell(result)
        table = self.table()
        table.write(self.folder / "table.csv")
        return table

    def _begin(self) -> None:
        """Write down what is to be made; clear away what a killed process left half made."""
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        for left in (self.folder / "cells").glob(".*"):
            if not is_held(left / HELD):                           # else another sweep is making it now
                shutil.rmtree(left, ignore_errors=True)
        about = {"format": FORMAT, "cells": [asdict(cell) for cell in self.cells]}
        write_json(self.folder / "sweep.json", with_crc(about))

    def find_made(self, retry: bool = False) -> list[tuple[Cell, str]]:
        """Take over what earlier calls made; the cells that are missing, with their keys."""
        missing = []
        for cell in self.cells:
            key = key_of(cell)
            found = Result.read(self.folder / "cells" / key)
            if found is None or (retry and found.state == FAILED):
                missing.append((cell, key))
                self._results.pop(cell, None)
            else:
                self._results[cell] = found
        return missing

    def _tell(self, result: Result | None) -> None:
        super()._tell(Progress(len(self.results), len(self.cells), result))
