"""Sweeps that are killed, damaged, or run twice on one folder at once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faults.attempts import ROOT, Attempt, Worker, chance
from faults.killed import damage


def weigh(path: Path, materials: object) -> dict:
    """Measure a video by the hash of its bytes: enough to tell two apart."""
    return {"weight.bytes": path.stat().st_size, "weight.hash": int(hashlib.sha256(path.read_bytes()).hexdigest()[:8],
                                                                    16)}


SWEEP = """
import sys
sys.path[:0] = {paths!r}
from faults.sweeps import weigh
from liveavatar.study.grid import Grid
from liveavatar.study.sweep import Sweep
grid = Grid(backend="mini", size="64*64", seconds=0.5, steps=(1, 2, 3, 4), seed=(1, 2))
Sweep(grid, {folder!r}, measure=weigh).run(jobs=2, threads=1, progress=False)
"""


def sweep_process(folder: Path) -> subprocess.Popen:
    """Begin a sweep of 8 cells with 2 jobs in a process of its own."""
    paths = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen([sys.executable, "-c", SWEEP.format(paths=paths, folder=str(folder))], env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def table_of(folder: Path) -> list[tuple]:
    """The columns of a sweep's table that do not depend on how fast the machine was."""
    import csv

    with open(folder / "table.csv", newline="") as file:
        return [tuple(row[name] for name in ("key", "steps", "seed", "state", "frames", "weight.bytes", "weight.hash"))
                for row in csv.DictReader(file)]


def killed_sweeps(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Kill a sweep of 8 cells with 2 jobs, run it again while its orphans may still work, and compare the tables."""
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        sweep_process(Path(name) / "whole").communicate()
        lasts_s, expected = time.monotonic() - began, table_of(Path(name) / "whole")
    for number in range(first, first + count):
        after_s = chance("killed-sweep", seed, number).uniform(0, lasts_s)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            folder = Path(name) / "sweep"
            process = sweep_process(folder)
            time.sleep(after_s)
            process.kill()
            process.communicate()                # ends when its workers have ended as well: they hold its stderr
            made = len(list(folder.glob("cells/[!.]*")))
            _, errors = sweep_process(folder).communicate()
            wrong = errors[-400:] if not (folder / "table.csv").exists() else ""
            wrong = wrong or ("" if table_of(folder) == expected else "another table")
        yield Attempt(f"{number}: killed after {after_s:.1f} s of {lasts_s:.1f}, {made} cells made", not wrong, wrong)


def two_sweeps(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Run two sweeps on one folder at once; both end, and their table is that of one."""
    with tempfile.TemporaryDirectory() as name:
        sweep_process(Path(name) / "whole").communicate()
        expected = table_of(Path(name) / "whole")
    for number in range(first, first + count):
        with tempfile.TemporaryDirectory() as name:
            folder, apart_s = Path(name) / "sweep", chance("two-sweeps", seed, number).uniform(0, 3)
            one = sweep_process(folder)
            time.sleep(apart_s)
            other = sweep_process(folder)
            said = [process.communicate()[1] for process in (one, other)]
            codes = [one.returncode, other.returncode]
            left = [path.name for path in (folder / "cells").glob(".*")]
            wrong = "" if codes == [0, 0] and table_of(folder) == expected and not left else f"{codes} {left} {said}"
        yield Attempt(f"{number}: {apart_s:.1f} s apart", not wrong, wrong)


def damaged_cells(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Damage any file of a finished sweep of the toy backend, run it again, and compare."""
    with Worker() as worker:
        yield from worker.attempts(try_cell, seed, first, count)


def try_cell(seed: int, number: int) -> tuple[str, str]:
    from liveavatar.study.grid import Grid
    from liveavatar.study.sweep import Sweep

    dice = chance("damaged-cell", seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "sweep"
        grid = Grid(backend="fake", size="32*32", seconds=0.6, steps=(1, 2))
        Sweep(grid, folder, measure=weigh).run(jobs=1, threads=1, progress=False)
        expected, videos = table_of(folder), hashes(folder)
        victims = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "table.csv"]
        case = damage(dice.choice(victims), dice)
        Sweep(grid, folder, measure=weigh).run(jobs=1, threads=1, progress=False)
        same = table_of(folder) == expected and hashes(folder) == videos
        return case, "" if same else "another table or other videos"


def hashes(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.mp4"))]
