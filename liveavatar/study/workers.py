"""Cells side by side: how many processes with how many threads, and their results as they come."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

from liveavatar.study.cell_result import Result
from liveavatar.threads import available_cores
from liveavatar.types import InputError

THREADS = 2                       # of one process: mini gains nothing from more
LOOK_S = 1.0                      # between two looks whether the process that started a worker lives

Value = TypeVar("Value")


def share_cores(jobs: int | None, threads: int | None, available: int | None = None) -> tuple[int, int]:
    """Choose how many processes with how many threads each, so that together they ask for no more than there is.

    jobs -1 leaves the number to the backend (dask: all workers), with 2 threads each.
    """
    available = available or available_cores()
    if jobs is not None and (jobs == 0 or jobs < -1):
        raise InputError(f"jobs is {jobs}; give 1 or more, or -1 for as many as there are workers")
    if jobs == -1:
        return -1, threads or THREADS
    jobs = jobs or max(1, available // (threads or THREADS))
    return jobs, threads or max(1, available // jobs)


def in_parallel(work: Callable, tasks: list[tuple], jobs: int, stop: threading.Event) -> Iterator[Result]:
    """Yield results as they come, through joblib; once `stop` is set no more are asked for."""
    if not tasks:
        return
    import joblib

    if jobs == 1:
        for task in tasks:
            if stop.is_set():
                return
            yield work(*task)
        return
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    coming = parallel(joblib.delayed(work_for)(os.getpid(), work, *task) for task in until(tasks, stop))
    yield from coming


def work_for(parent: int, work: Callable[..., Value], *arguments: object) -> Value:
    """Return work(*arguments). A worker that the process `parent` started ends soon after that was killed: joblib's
    would wait for work for five minutes."""
    if os.getppid() == parent:                  # not so in a thread, nor on another machine
        end_with(parent)
    return work(*arguments)


@cache
def end_with(parent: int) -> None:
    """End this process once its parent is gone, watched by a thread; only the first call begins one."""
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="end_with", daemon=True).start()


def until(tasks: list[tuple], stop: threading.Event) -> Iterator[tuple]:
    """Yield tasks as long as nobody wants to stop: those that run are finished, no new ones begin."""
    for task in tasks:
        if stop.is_set():
            return
        yield task


def bar(total: int, done: int, shown: bool):
    from tqdm.auto import tqdm

    return tqdm(total=total, initial=done, disable=not shown, unit="video")
