"""Choose how many threads torch uses on a CPU, and adapt the number while a video is made.

torch starts one thread per core, and a thread that waits for another spins, that is, it keeps its core busy. Beside
another process that works, the thread it waits for has no core, and everything takes many times longer. With one
thread nobody waits, but half of two idle cores is wasted. So the number follows what the machine gives; how is said in
`thread_policy`. OMP_NUM_THREADS, or `torch.set_num_threads`, is the most that is used.

Spinning can only be set before torch is loaded: `import liveavatar` does it (`set_environment`), unless the caller's
environment already has a value of its own. LIVEAVATAR_THREADS=2 in the environment keeps exactly two threads.

The numbers of a video do not depend on the count: counts are powers of two, because an operation that is divided
evenly handles every element in the same way, and MKL is asked for sums in a fixed order. `liveavatar doctor` checks it.
Code compiled by `torch.compile` is made for one count: that of the moment when it is loaded (`threads_now`).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from liveavatar.thread_policy import STALE_S, WINDOW_S, CpuReading, ThreadTuner, thread_counts
from liveavatar.types import InputError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

SETTING = "LIVEAVATAR_THREADS"
SPIN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SPIN_COUNT = 10_000               # of GNU's OpenMP; its own default, 300,000, is about 10 ms on one core
BLOCK_TIME_MS = 1                 # of LLVM's and Intel's OpenMP; their own default is 200 ms


def set_environment(environment: dict[str, str] | os._Environ = os.environ) -> None:
    """Set what OpenMP and MKL read when they are loaded, for this process and those it starts. Values that are there
    are kept."""
    if not any(name in environment for name in SPIN_SETTINGS):
        environment["GOMP_SPINCOUNT"], environment["KMP_BLOCKTIME"] = str(SPIN_COUNT), str(BLOCK_TIME_MS)
    environment.setdefault("MKL_CBWR", "AUTO,STRICT")       # sums in an order that does not depend on the count


def available_cores() -> int:
    """Count the cores this process may use: affinity and the quota of its container are respected."""
    import joblib

    return joblib.cpu_count()


def requested_threads() -> int | None:
    """Read LIVEAVATAR_THREADS. Return None where it is unset or "auto"; raise InputError where it is no number."""
    text = os.environ.get(SETTING, "auto").strip().lower()
    if text in ("", "auto"):
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{SETTING} is {text!r}; give a number of threads such as 2, or auto")
    return int(text)


# ------------------------------------------------------------------------------------------- in this process

class ThreadSections:
    """The sections of a process that are made with an adapted count; they share its cores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tuner = ThreadTuner(1)
        self._chosen = False                  # what was seen sufficed for a choice
        self._active = 0                      # sections at work now
        self._before: CpuReading | None = None
        self._work_s = self._threads_s = 0.0  # processor time in sections since then; time of all their threads

    def enter(self, outside: int) -> int:
        """Begin a section and return its count. outside: torch's own, which is not exceeded."""
        with self._lock:
            if self._before is None or time.perf_counter() - self._before.clock_s > STALE_S:
                self._tuner, self._chosen = ThreadTuner(available_cores()), False
                self._look()
            self._active += 1
            most = min(max(self._tuner.count // self._active, 1), outside)
            return thread_counts(most)[-1]

    def leave(self, kind: Hashable | None, spent_s: float, own_s: float, count: int) -> None:
        """End a section, and adapt the count where enough was seen since the last time."""
        with self._lock:
            self._active -= 1
            now_s, tuner = time.perf_counter(), self._tuner
            if kind is not None:
                self._work_s += own_s
                self._threads_s += spent_s * count
                if count == tuner.count:
                    tuner.note_time(kind, 1000 * spent_s, now_s)
            if now_s - self._before.clock_s < WINDOW_S:
                return
            before, share = self._before, self._work_s / self._threads_s if self._threads_s else 1.0
            self._look()
            cores = self._before.cores_since(before)
            if self._chosen:
                tuner.observe(cores, share, now_s)
            else:
                tuner.start(cores)
                self._chosen = True

    def _look(self) -> None:
        self._before, self._work_s, self._threads_s = CpuReading.now(), 0.0, 0.0


class _ThisThread(threading.local):
    """Hold what is known of the calling thread."""

    inside = held = False                     # in a section; between sections the count stays
    count = outside = 0                       # what was set; what torch had before


SECTIONS = ThreadSections()
_here = _ThisThread()


@contextmanager
def adapted_threads(device: torch.device, kind: Hashable | None = None, fixed: int | None = None) -> Iterator[None]:
    """Run what is inside with as many threads of torch as the machine gives; then restore torch's own count.

    device    where the work is done: beside a GPU nothing is changed
    kind      names work that all threads can share, so that its times can be compared: the same kind is the same
              amount of work
    fixed     the count of code that was compiled for it
    """
    if device.type != "cpu" or _here.inside:
        yield
        return
    import torch

    current = torch.get_num_threads()
    outside = _here.outside if _here.held and current == _here.count else current
    fixed = fixed or requested_threads()
    count = fixed or SECTIONS.enter(outside)
    if count != current:
        set_threads_here(count, outside)
    began_s, own_s, _here.inside = time.perf_counter(), time.process_time(), True
    try:
        yield
    finally:
        _here.inside = False
        if _here.held:
            _here.count, _here.outside = count, outside
        elif count != current:
            set_threads_here(current, current)
        if not fixed:
            SECTIONS.leave(kind, time.perf_counter() - began_s, time.process_time() - own_s, count)


@contextmanager
def held_threads() -> Iterator[None]:
    """Restore torch's count only at the end of what is inside: setting it makes torch forget what it had prepared."""
    if _here.held:
        yield
        return
    import torch

    _here.held, _here.count = True, 0
    try:
        yield
    finally:
        _here.held = False
        if not sys.is_finalizing() and torch.get_num_threads() == _here.count:
            set_threads_here(_here.outside, _here.outside)


def set_threads_here(count: int, others: int | None = None) -> None:
    """Set torch's count in the calling thread. Setting it also sets what threads that come later begin with: that is
    put back to `others`, by default to what this thread had, from a thread that ends at once."""
    import torch

    before = torch.get_num_threads()          # asking also keeps torch from setting it later, when it is first needed
    others = before if others is None else others
    torch.set_num_threads(count)
    if count != others:
        helper = threading.Thread(target=torch.set_num_threads, args=(others,))
        helper.start()
        helper.join()


def draw_adapted(items: Iterator[Item], device: torch.device, kind: Hashable,
                 fixed: int | None = None) -> Iterator[Item]:
    """Draw from an iterator, each item under `adapted_threads`."""
    while True:
        with adapted_threads(device, kind, fixed):
            item = next(items, None)
        if item is None:
            return
        yield item


def threads_now() -> int:
    """Choose a count by looking at the machine for a tenth of a second."""
    import torch

    tuner, before = ThreadTuner(min(torch.get_num_threads(), available_cores())), CpuReading.now()
    time.sleep(WINDOW_S)
    tuner.start(CpuReading.now().cores_since(before))
    return requested_threads() or tuner.count


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let torch use at most so many threads inside, as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
