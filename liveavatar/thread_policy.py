"""When to use how many threads: what the machine gives is read, and a count is chosen.

    counts   1, 2, 4, ... up to the limit: what `torch.get_num_threads()` says outside (OMP_NUM_THREADS, or one per
             core), but never more than the cores this process may use (its affinity and its container's quota).
    start    the largest count that the cores in use by nobody else can serve.
    fewer    as soon as the cores this process used plus the idle ones are half a core short of the count, or a
             smaller count was faster.
    more     when for a fifth of a second the cores of the larger count were idle. If that proves wrong, the next
             attempt waits, each time twice as long, up to 16 s.

What is not known to be idle (no counters, as on some systems) counts as idle: then the time of a step decides.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from statistics import median

SHORTAGE = 0.5                    # cores that may be missing before a smaller count is used
MISSING_AT_RISE = 0.35            # the same before a larger count is used
STARVED = 0.6                     # share of its threads' time that a process must get, whatever else is idle
WINDOW_S = 0.1                    # shortest time over which idle cores are counted; the counters tick every 10 ms
RISE_S = 0.2                      # how long cores must have been idle
STALE_S = 5.0                     # what was seen longer ago says nothing
EARLY_S = 2.0                     # after this time a larger count was not wrong
WAITS_S = (0.5, 16.0)             # before a larger count is tried again: first and longest
SLOWER = 1.1                      # times slower than a smaller count: go back to it


def thread_counts(limit: int) -> tuple[int, ...]:
    """Return the counts to choose from: powers of two up to the limit."""
    return tuple(2**power for power in range(max(limit, 1).bit_length()))


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
    """Sum the idle time of the cores this process may use. None where the system does not tell."""
    import psutil

    try:
        cores = psutil.cpu_times(percpu=True)
        if hasattr(os, "sched_getaffinity"):
            cores = [cores[number] for number in os.sched_getaffinity(0)]
        idle_s = sum(core.idle + getattr(core, "iowait", 0.0) for core in cores)
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
    """Describe how long a piece of work took the last times."""

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
