"""Many runs and many workbenches in one process: nothing mixed up, nothing left over."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.attempts import Attempt, chance, in_process, prepare_child, settled_bytes
from faults.killed import digest_of

RUNS, WARM_UP = 200, 40
MOST_GROWTH = 1.02                # of memory over the runs after the warm-up
SECONDS = 0.96                    # of video a run
TOGETHER, ROUNDS = 4, 5           # workbenches in one kernel, and videos of each in an attempt


def handles() -> dict[str, int]:
    """Count what this process holds: open files, threads of Python, threads of all libraries."""
    gc.collect()
    return {"files": len(os.listdir("/proc/self/fd")), "Python threads": threading.active_count(),
            "threads": len(os.listdir("/proc/self/task"))}


def settled_handles() -> dict[str, int]:
    """Count them once threads that are ending have ended."""
    ends = time.monotonic() + 10
    found = handles()
    while time.monotonic() < ends:
        time.sleep(0.2)
        found, before = handles(), found
        if found == before:
            break
    return found


def many_runs(kind: str, runs: int, warm_up: int) -> dict:
    """Make so many runs of a kind in this process -> memory and handles after the warm-up and at the end."""
    prepare_child()
    with tempfile.TemporaryDirectory() as name:
        work = KINDS[kind](Path(name))
        for number in range(warm_up):
            work(number)
        before = settled_bytes(), settled_handles()
        for number in range(warm_up, warm_up + runs):
            work(number)
        after = settled_bytes(), settled_handles()
        left = [path.name for path in Path(name).rglob(".*")]
    return {"memory": after[0] / before[0], "before": before[1], "after": after[1], "left": left,
            "MiB": after[0] / 2**20}


def toy_inputs(number: int = 0) -> tuple[object, ...]:
    """Return a sound, a portrait, words and settings of the toy, different for each number."""
    import fakes

    from liveavatar.config import GenerationConfig

    return (fakes.tone(SECONDS), fakes.face(64, 64), "",
            GenerationConfig(size=(32, 32), sample_steps=2, base_seed=number))


def new_pipeline(**options: object) -> object:
    """Return a pipeline of the toy."""
    import fakes

    from liveavatar.pipeline import Pipeline

    return Pipeline(fakes.FakeBackend(**options))


def as_runs(folder: Path) -> Callable[[int], None]:
    """Runs that write a video and keep their steps."""
    from liveavatar.runs.run import Run

    pipe = new_pipeline()
    return lambda number: Run.of(pipe, *toy_inputs(number), output=folder / "out.mp4").start().result()


def as_stopped_runs(folder: Path) -> Callable[[int], None]:
    """Runs that are stopped after a moment."""
    from liveavatar.runs.run import Run

    pipe = new_pipeline(pause_s=0.005)

    def work(number: int) -> None:
        run = Run.of(pipe, *toy_inputs(number), output=folder / "out.mp4").start()
        time.sleep(0.002 * (number % 20))
        run.stop()
        run.wait(30)

    return work


def as_failed_runs(folder: Path) -> Callable[[int], None]:
    """Runs that end by an error."""
    from liveavatar.runs.run import Run

    pipe = new_pipeline()
    plain = pipe.backend.vae.decode_stream

    def break_off(latents: object, memory: object) -> object:
        if memory is not None:
            raise RuntimeError("broken on purpose")
        return plain(latents, memory)

    pipe.backend.vae.decode_stream = break_off

    def work(number: int) -> None:
        run = Run.of(pipe, *toy_inputs(number), output=folder / "out.mp4").start()
        run.wait(30)
        assert run.state == "failed", run.state

    return work


def as_renders(folder: Path) -> Callable[[int], None]:
    """Calls of `render`, each with a run folder."""
    import shutil

    pipe = new_pipeline()

    def work(number: int) -> None:
        pipe.render(*toy_inputs(number), output=folder / "out.mp4", run_dir=folder / "run", progress=False)
        shutil.rmtree(folder / "run")

    return work


def as_workbench(folder: Path) -> Callable[[int], None]:
    """One workbench that makes one video after the other, with every view drawn."""
    from widgets import Workbench

    page = Workbench(pipeline=new_pipeline(), size="32*32", seconds=SECONDS, output=str(folder / "out.mp4"))

    def work(number: int) -> None:
        page.seed = number
        page.start().result()
        for view in page.views.values():
            view.paint()

    return work


KINDS = {"runs": as_runs, "stopped runs": as_stopped_runs, "failed runs": as_failed_runs, "renders": as_renders,
         "workbench": as_workbench}


def runs_in_one_kernel(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Make 200 runs of a kind in one process: memory, threads and files must be what they were."""
    for number in range(first, first + count):
        kind = list(KINDS)[number % len(KINDS)]
        seen = in_process("faults.load", "many_runs", kind, RUNS, WARM_UP)
        case = f"{number}: {RUNS} {kind}: memory {seen['memory']:.3f} times ({seen['MiB']:.0f} MiB), {seen['after']}"
        grown = [what for what in seen["after"] if seen["after"][what] > seen["before"][what]]
        good = seen["memory"] < MOST_GROWTH and not grown and not seen["left"]
        yield Attempt(case, good, "" if good else f"{case}; before {seen['before']}, left {seen['left']}")


# ------------------------------------------------------------------------------------------------------ at once

def workbenches_at_once(seed: int) -> dict:
    """Let four workbenches make videos at once in this process -> what differs from each alone, and the times."""
    from widgets import Workbench

    prepare_child()
    with tempfile.TemporaryDirectory() as name:
        pages = [Workbench(pipeline=new_pipeline(pause_s=0.01), size="32*32", seconds=3 * SECONDS,
                           output=str(Path(name) / f"{number}.mp4")) for number in range(TOGETHER)]
        wrong, waits_s = [], []
        for turn in range(ROUNDS):
            seeds = [1000 * seed + 10 * turn + number for number in range(TOGETHER)]
            for page, one in zip(pages, seeds, strict=True):
                page.seed = one
            for page in pages:
                page.start()
            for page, one in zip(pages, seeds, strict=True):
                page.result()
                waits_s.append(page.run.first_picture_s)
                alone = Workbench(pipeline=new_pipeline(), size="32*32", seconds=3 * SECONDS, seed=one,
                                  output=str(Path(name) / "alone.mp4"))
                alone.start().result()
                if hashes_of(page.run) != hashes_of(alone.run):
                    wrong.append(f"seed {one}: other latents")
        return {"wrong": wrong, "slowest_s": max(waits_s), "fastest_s": min(waits_s)}


def hashes_of(run: object) -> list[str]:
    """Hash the latents of every step of a run."""
    return [digest_of(step.x) for step in run.trace.replay()]


def four_workbenches(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Let four workbenches in one kernel make videos at once."""
    for number in range(first, first + count):
        seen = in_process("faults.load", "workbenches_at_once", chance("four", seed, number).randrange(10**6))
        case = (f"{number}: {TOGETHER} x {ROUNDS} videos; first picture after {seen['fastest_s']:.2f} to "
                f"{seen['slowest_s']:.2f} s of work")
        yield Attempt(case, not seen["wrong"], "; ".join(seen["wrong"]))
