"""Choose how many threads torch uses on a CPU, and adapt the number while a video is made.

torch starts one thread per core, and a thread that waits for another spins, that is, it keeps its core busy. Beside
another process that works, the thread it waits for has no core, and everything takes many times longer. With one
thread nobody waits, but half of two idle cores is wasted. So the number follows what the machine gives:

    counts   1, 2, 4, ... up to the limit: what `torch.get_num_threads()` says outside (OMP_NUM_THREADS, or one per
             core), but never more than the cores this process may use (its affinity and its container's quota).
    start    the largest count that the cores in use by nobody else can serve.
    fewer    as soon as the cores this process used plus the idle ones are half a core short of the count, or a
             smaller count was faster.
    more     when for a fifth of a second the cores of the larger count were idle. If that proves wrong, the next
             attempt waits, each time twice as long, up to 16 s.

What is not known to be idle (no counters, as on some systems) counts as idle: then the time of a step decides.

Spinning can only be set before torch is loaded: `import liveavatar` does it (`set_environment`), unless the caller's
environment already has a value of its own. LIVEAVATAR_THREADS=2 in the environment keeps exactly two threads.

The numbers of a video do not depend on the count: counts are powers of two, because an operation that is divided
evenly handles every element in the same way, and MKL is asked for sums in a fixed order. `liveavatar doctor` checks it.
Code compiled by `torch.compile` is made for one count: that of the moment when it is loaded (`threads_now`).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from liveavatar.types import InputError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

SETTING = "LIVEAVATAR_THREADS"
SPIN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SPIN_COUNT = 10_000               # of GNU's OpenMP; its own default, 300,000, is about 10 ms on one core
BLOCK_TIME_MS = 1                 # of LLVM's and Intel's OpenMP; their own default is 200 ms
SHORTAGE = 0.5                    # cores that may be missing before a smaller count is used
MISSING_AT_RISE = 0.35            # the same before a larger count is used
STARVED = 0.6                     # share of its threads' time that a process must get, whatever else is idle
WINDOW_S = 0.1                    # shortest time over which idle cores are counted; the counters tick every 10 ms
RISE_S = 0.2                      # how long cores must have been idle
STALE_S = 5.0                     # what was seen longer ago says nothing
EARLY_S = 2.0                     # after this time a larger count was not wrong
WAITS_S = (0.5, 16.0)             # before a larger count is tried again: first and longest
SLOWER = 1.1                      # times slower than a smaller count: go back to it


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


def thread_counts(limit: int) -> tuple[int, ...]:
    """Return the counts to choose from: powers of two up to the limit."""
    return tuple(2**power for power in range(max(limit, 1).bit_length()))


def requested_threads() -> int | None:
    """Read LIVEAVATAR_THREADS. Return None where it is unset or "auto"; raise InputError where it is no number."""
    text = os.environ.get(SETTING, "auto").strip().lower()
    if text in ("", "auto"):
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{SETTING} is {text!r}; give a number of threads such as 2, or auto")
    return int(text)


# ------------------------------------------------------------------------------------------- what the machine gives

@dataclass(frozen=True)
class CpuReading:
    """State of the counters at one moment, in seconds."""

    clock_s: float
    own_s: float                  # processor time of this process
    idle_s: float | None          # of all cores together, time in which nobody needed them; None: not known

    @classmethod
    def now(cls) -> CpuReading:
        return cls(time.perf_counter(), time.process_time(), idle_seconds())

    def cores_since(self, before: CpuReading) -> float:
        """Return the cores that this process used or could have used since then."""
        if self.idle_s is None or before.idle_s is None:
            return float("inf")
        spent_s = max(self.clock_s - before.clock_s, 1e-6)
        return max(self.own_s - before.own_s + self.idle_s - before.idle_s, 0.0) / spent_s


def idle_seconds() -> float | None:
    """Sum the idle time of the cores this process may use; work of lower priority than ours counts as idle."""
    import psutil

    try:
        cores = psutil.cpu_times(percpu=True)
        if hasattr(os, "sched_getaffinity"):
            cores = [cores[number] for number in os.sched_getaffinity(0)]
        niced = hasattr(os, "nice") and os.nice(0) > 0
        idle_s = sum(core.idle + getattr(core, "iowait", 0.0) + (0.0 if niced else getattr(core, "nice", 0.0))
                     for core in cores)
    except (OSError, IndexError, RuntimeError, NotImplementedError, psutil.Error):
        return None
    return idle_s or None                                   # counters that stand at 0 are not kept here


# ------------------------------------------------------------------------------------------- the policy

@dataclass
class ThreadTuner:
    """Choose a count of threads from what was observed. It knows neither torch nor a clock: times are passed in."""

    limit: int                                # the largest count
    count: int = 1                            # the current choice; `start` and `observe` change it
    _idle_since_s: float | None = None
    _rose_s: float = float("-inf")
    _retry_s: float = float("-inf")           # a larger count is not tried before
    _wait_s: float = WAITS_S[0]
    _paces: dict[tuple[Hashable, int], Pace] = field(default_factory=dict)      # of each kind of work with each count

    @property
    def counts(self) -> tuple[int, ...]:
        return thread_counts(self.limit)

    def start(self, cores: float) -> None:
        """Choose for the first time. cores: those that were idle or used by this process."""
        self.count = self._served_by(cores, MISSING_AT_RISE)

    def note_time(self, kind: Hashable, milliseconds: float, now_s: float) -> None:
        """Remember how long a piece of work took with the current count."""
        self._paces.setdefault((kind, self.count), Pace()).add(milliseconds, now_s)

    def observe(self, cores: float, share: float, now_s: float) -> None:
        """Adapt the count to what was seen since the last call.

        cores   that were idle or used by this process
        share   processor time this process got while it worked, of the time of all its threads, 0..1
        """
        if share < STARVED:                                 # a container's quota does not show in idle times
            cores = min(cores, share * self.count)
        if cores < self.count - SHORTAGE or self._smaller_was_faster(now_s):
            self._fall(cores, now_s)
        elif self.count == self.counts[-1] or cores < 2 * self.count - MISSING_AT_RISE:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s - WINDOW_S
        elif now_s - self._idle_since_s >= RISE_S and now_s >= self._retry_s:
            self._rise(now_s)

    def _served_by(self, cores: float, missing: float) -> int:
        """Return the largest count that so many cores serve."""
        return max((count for count in self.counts if count - missing <= cores), default=1)

    def _smaller_was_faster(self, now_s: float) -> bool:
        pairs = [(pace, self._paces.get((kind, count // 2))) for (kind, count), pace in self._paces.items()
                 if count == self.count]
        return any(smaller is not None and pace.known(now_s) and smaller.known(now_s)
                   and pace.median_ms > SLOWER * smaller.median_ms for pace, smaller in pairs)

    def _rise(self, now_s: float) -> None:
        self.count *= 2
        self._rose_s, self._idle_since_s = now_s, None
        self._paces = {key: pace for key, pace in self._paces.items() if key[1] != self.count}

    def _fall(self, cores: float, now_s: float) -> None:
        too_early = now_s - self._rose_s < EARLY_S
        self._wait_s = min(2 * self._wait_s, WAITS_S[1]) if too_early else WAITS_S[0]
        self._retry_s = now_s + self._wait_s if too_early else now_s
        self.count = max(min(self._served_by(cores, SHORTAGE), self.count // 2), 1)
        self._idle_since_s = None


@dataclass
class Pace:
    """How long a piece of work took the last times."""

    newest_ms: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    when_s: float = float("-inf")

    def add(self, milliseconds: float, now_s: float) -> None:
        self.newest_ms.append(milliseconds)
        self.when_s = now_s

    def known(self, now_s: float) -> bool:
        """Tell whether there are enough times, and new ones."""
        return len(self.newest_ms) >= 3 and now_s - self.when_s < STALE_S

    @property
    def median_ms(self) -> float:
        return median(self.newest_ms)


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


SECTIONS = ThreadSections()
_here = threading.local()                     # inside: this thread is in a section already


@contextmanager
def adapted_threads(device: torch.device, kind: Hashable | None = None, fixed: int | None = None) -> Iterator[None]:
    """Run what is inside with as many threads of torch as the machine gives; then restore torch's own count.

    device    where the work is done: beside a GPU nothing is changed
    kind      names work that all threads can share, so that its times can be compared: the same kind is the same
              amount of work
    fixed     the count of code that was compiled for it
    """
    if device.type != "cpu" or getattr(_here, "inside", False):
        yield
        return
    import torch

    outside, fixed = torch.get_num_threads(), fixed or requested_threads()
    count = fixed or SECTIONS.enter(outside)
    if count != outside:
        torch.set_num_threads(count)
    began_s, own_s, _here.inside = time.perf_counter(), time.process_time(), True
    try:
        yield
    finally:
        _here.inside = False
        if count != outside:
            torch.set_num_threads(outside)
        if not fixed:
            SECTIONS.leave(kind, time.perf_counter() - began_s, time.process_time() - own_s, count)


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
