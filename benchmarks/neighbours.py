"""How fast mini is beside other work: as it chooses its threads itself, against each fixed choice, in one run.

    python benchmarks/neighbours.py [--rounds 5] [--seconds 6] [--out benchmarks/results/neighbours]

Situations, on two cores:

    alone                 nothing else works
    beside a busy loop    an endless loop begins after some blocks
    alone again           the loop has ended
    two at once           two processes make videos from their start, both with the same choice

Choices take turns, round after round, each in fresh processes. Two blocks after every change are not counted: that is
the time a choice has to adapt. "x real time" is seconds of video per second of work: higher is better; of two at once
it is the mean of both. Ratios are of one round: its own choice against the fixed one that is best over all rounds.
Whatever else the machine does disturbs this more than anything, so it is printed. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CORES = 2
BLOCK_S = 0.48                    # of video
UNCOUNTED = 2                     # blocks after a change
LONGEST_S = 40.0                  # of one situation: a choice may be as slow as one block in 20 s
OWN = "as it chooses itself"
CHOICES: dict[str, dict[str, str]] = {        # words -> environment
    OWN: {},
    "1 thread": {"LIVEAVATAR_THREADS": "1"},
    "2 threads": {"LIVEAVATAR_THREADS": "2"},
    "2 threads, torch's own spinning": {"LIVEAVATAR_THREADS": "2", "GOMP_SPINCOUNT": "300000"},
    "2 threads, no spinning": {"LIVEAVATAR_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}
SETTINGS = ("LIVEAVATAR_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
ALONE, LOOP, AGAIN, TWO = "alone", "beside a busy loop", "alone again", "two at once"
SITUATIONS = (ALONE, LOOP, AGAIN, TWO)


# ---------------------------------------------------------------------------------------------- what runs in a process
def block_times(dtype: str) -> Iterator[float]:
    """Seconds of each block of a video that does not end."""
    import numpy as np

    import liveavatar
    from liveavatar.types import Speech

    clips = list(liveavatar.samples().values())
    speech = Speech(np.resize(clips[0].wave, clips[0].rate_hz * 3600), clips[0].rate_hz)
    pipeline = liveavatar.load("mini", dtype=dtype)
    condition = pipeline.condition(speech, liveavatar.avatar(1), "smiling")
    began = time.perf_counter()
    for event in pipeline.events(condition):
        if isinstance(event, liveavatar.Block):
            yield time.perf_counter() - began
            began = time.perf_counter()


def rate(blocks: Iterator[float], seconds: float) -> float:
    """x real time of the next blocks, without the first two."""
    counted, ends = [], time.perf_counter() + LONGEST_S
    for _ in range(UNCOUNTED):
        last = next(blocks)
        if time.perf_counter() > ends:
            return BLOCK_S / last
    while (sum(counted) < seconds or len(counted) < 3) and time.perf_counter() < ends:
        counted.append(next(blocks))
    return BLOCK_S * len(counted) / sum(counted)


def work(dtype: str, seconds: float, beside_loop: bool) -> None:
    """Measure one process: print "ready", wait for a line, print what was found."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    blocks = block_times(dtype)
    for _ in range(UNCOUNTED):
        next(blocks)
    print("ready", flush=True)
    sys.stdin.readline()
    if not beside_loop:
        print(json.dumps({TWO: rate(blocks, seconds)}), flush=True)
        sys.stdin.readline()                                 # the other one must not be left alone
        return
    found = {ALONE: rate(blocks, seconds)}
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        found[LOOP] = rate(blocks, seconds)
    finally:
        loop.kill()
        loop.wait()
    print(json.dumps(found | {AGAIN: rate(blocks, seconds)}), flush=True)


# ---------------------------------------------------------------------------------------------- what starts them
@dataclass
class Busy:
    """What the machine did beside our own processes, in cores."""

    seen: list[float]

    def watch(self, what: Callable[[], dict]) -> dict:
        import resource

        import psutil

        def own_s() -> float:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime

        def all_s() -> float:
            times = psutil.cpu_times()
            return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)

        began_s, own, every = time.perf_counter(), own_s(), all_s()
        found = what()
        self.seen.append(max(all_s() - every - own_s() + own, 0.0) / (time.perf_counter() - began_s))
        return found


def measure_choice(choice: str, dtype: str, seconds: float, processes: int) -> dict[str, float]:
    """Start so many processes with a choice, let them go together; the mean of what they found."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | CHOICES[choice]
    command = [sys.executable, __file__, "--worker", json.dumps([dtype, seconds, processes == 1])]
    workers = [subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for _ in range(processes)]
    try:
        for worker in workers:
            if worker.stdout.readline() != "ready\n":
                raise SystemExit(f"a process with {choice} failed")
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = [json.loads(worker.stdout.readline()) for worker in workers]
        for worker in workers:
            worker.communicate("done\n")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return {name: statistics.fmean(one[name] for one in found) for name in found[0]}


def measure(rounds: int, seconds: float, dtype: str = "auto") -> dict:
    """All choices in all situations, in turns."""
    from tqdm import tqdm

    busy, made = Busy([]), []
    with tqdm(total=rounds * len(CHOICES) * 2, desc="neighbours") as bar:
        for number in range(rounds):
            order = list(CHOICES)[number % len(CHOICES):] + list(CHOICES)[:number % len(CHOICES)]
            found: dict[str, dict[str, float]] = {}
            for choice in order:
                found[choice] = {}
                for processes in (1, 2):
                    bar.set_postfix_str(choice)
                    found[choice] |= busy.watch(lambda choice=choice, processes=processes: measure_choice(
                        choice, dtype, seconds, processes))
                    bar.update()
            made.append(found)
    return {"rounds": made, "others": busy.seen, "seconds": seconds, "dtype": dtype}


def lines(found: dict) -> Iterator[str]:
    """The figures as markdown."""
    rounds = found["rounds"]
    yield "| x real time, median of rounds | " + " | ".join(CHOICES) + " | its own choice / best fixed one |"
    yield "| --- |" + " ---: |" * (len(CHOICES) + 1)
    for situation in SITUATIONS:
        medians = {choice: statistics.median(one[choice][situation] for one in rounds) for choice in CHOICES}
        best = max((choice for choice in CHOICES if choice != OWN), key=medians.get)
        ratios = [one[OWN][situation] / one[best][situation] for one in rounds]
        yield (f"| {situation} | " + " | ".join(f"{value:.2f}" for value in medians.values())
               + f" | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {best} |")
    others = found["others"]
    yield ""
    yield (f"{len(rounds)} rounds, {found['seconds']:g} s each; {UNCOUNTED} blocks after every change are not counted. "
           "Ratios are of the same round: median, least and largest. Wanted: 0.95 in every situation.")
    yield (f"Other programs used {statistics.median(others):.2f} cores while this was measured (at most "
           f"{max(others):.2f}); above 0.1 the figures say little.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="counted in each situation")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(*json.loads(asked.worker))
        return
    found = measure(asked.rounds, asked.seconds, asked.dtype)
    text = "\n".join(["# mini beside other work", "", f"    python benchmarks/neighbours.py --rounds {asked.rounds} "
                      f"--seconds {asked.seconds:g}", "", *lines(found), ""])
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.with_suffix(".md").write_text(text)
        asked.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
