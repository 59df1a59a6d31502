"""Jupyter kernels that are killed, interrupted and restarted, and several of them at once."""

from __future__ import annotations

import os
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from faults.attempts import ROOT, Attempt, Worker, chance
from faults.killed import half_written, make_inputs, state_of, wrong_after_kill

ANSWERED_S = 10.0             # an interrupt; on a loaded machine, where a step of mini takes some hundredths
SETUP = """
import sys, warnings
sys.path[:0] = {paths!r}
warnings.simplefilter("ignore")
import liveavatar
from liveavatar.config import GenerationConfig
from liveavatar.runs.run import Run
pipe = liveavatar.load("mini")
"""
START = """
run = Run.of(pipe, {folder!r} + "/in.wav", {folder!r} + "/in.png", "", GenerationConfig(size="64*64", base_seed={seed}),
             output={folder!r} + "/out.mp4", run_dir={folder!r} + "/run").start()
"""


@cache
def prepare() -> None:
    """Let kernels begin with the large libraries imported, as those of the tests do."""
    from prepared import prepare_kernels

    prepare_kernels()


class Kernel:
    """A Jupyter kernel with the project imported. Use as a context."""

    def __init__(self) -> None:
        from jupyter_client.manager import KernelManager

        prepare()
        self.manager = KernelManager(kernel_name="python3")
        self.manager.kernel_spec.argv[0] = sys.executable
        self.manager.start_kernel(env=os.environ | {"OMP_NUM_THREADS": "1", "IPYTHONDIR": tempfile.gettempdir()},
                                  stdout=open(os.devnull, "w"), stderr=open(os.devnull, "w"))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(60)
        self.run(SETUP.format(paths=[str(ROOT), str(ROOT / "tests")]))

    @property
    def pid(self) -> int:
        return self.manager.provisioner.pid

    def run(self, code: str, patience_s: float = 120) -> str:
        """Run code -> what it printed. Raises RuntimeError with its error."""
        return self.answer(self.client.execute(code), patience_s)

    def answer(self, request: str, patience_s: float) -> str:
        """Wait for the answer to a request -> what was printed."""
        printed, ends = "", time.monotonic() + patience_s
        while time.monotonic() < ends:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed += content["text"]
            if kind == "error":
                raise RuntimeError(f"{content['ename']}: {content['evalue']}")
            if kind == "status" and content["execution_state"] == "idle":
                return printed
        raise TimeoutError(f"no answer within {patience_s:g} s")

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@contextmanager
def folder_with_inputs() -> Iterator[Path]:
    """Make a folder with a recording and a portrait."""
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name), 1.5)
        yield Path(name)


def whole_run(kernel: Kernel, seed: int = 420) -> tuple[dict[str, str], float]:
    """Make the video undisturbed, twice -> what came of it, and the seconds that the second one took."""
    for _ in range(2):
        with folder_with_inputs() as folder:
            began_s = time.monotonic()
            kernel.run(START.format(folder=str(folder), seed=seed) + "run.result()")
            state, lasts_s = state_of(folder), time.monotonic() - began_s
    return state, lasts_s


def killed_kernels(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Kill a kernel (-9) at any moment of a Run of mini, go on with its run folder, and compare."""
    with Worker(60) as worker:
        with Kernel() as kernel:
            expected, lasts_s = whole_run(kernel)
        for number in range(first, first + count):
            after_s = chance("killed-kernel", seed, number).uniform(0, lasts_s)
            with folder_with_inputs() as folder, Kernel() as kernel:
                kernel.client.execute(START.format(folder=str(folder), seed=420))
                time.sleep(after_s)
                os.kill(kernel.pid, signal.SIGKILL)
                time.sleep(0.1)
                blocks = len(list((folder / "run").glob("block_*")))
                arguments = ["generate", "--audio", str(folder / "in.wav"), "--image", str(folder / "in.png"),
                             "--size", "64*64", "--run_dir", str(folder / "run"), "--output", str(folder / "out.mp4")]
                wrong = wrong_after_kill(worker, folder, arguments, expected)
            yield Attempt(f"{number}: killed after {after_s:.2f} s, {blocks} blocks made", not wrong, wrong)


def interrupted_kernels(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Interrupt a kernel at any moment of a Run, in a cell that waits for it or between cells."""
    with Kernel() as kernel:
        _, lasts_s = whole_run(kernel)
        for number in range(first, first + count):
            dice = chance("interrupted-kernel", seed, number)
            after_s, waits = dice.uniform(0, 0.8 * lasts_s), dice.random() < 0.5
            with folder_with_inputs() as folder:
                wrong = interrupted(kernel, folder, after_s, waits)
            yield Attempt(f"{number}: {'in a cell' if waits else 'between cells'} after {after_s:.2f} s", not wrong,
                          wrong)


def interrupted(kernel: Kernel, folder: Path, after_s: float, waits: bool) -> str:
    """Interrupt one run -> what is wrong."""
    kernel.run("run = None")
    start = START.format(folder=str(folder), seed=420)
    request = kernel.client.execute(start + "run.result()" if waits else start)
    if not waits:
        kernel.answer(request, 30)
    time.sleep(after_s)
    kernel.manager.interrupt_kernel()
    began_s = time.monotonic()
    if waits:
        try:
            kernel.answer(request, 60)
        except RuntimeError as error:
            if "KeyboardInterrupt" not in str(error):
                return str(error)
    kernel.run("if run is not None: run.wait(30)", 60)
    spent_s = time.monotonic() - began_s
    state = kernel.run("print('none' if run is None else run.state)").strip()
    left = [path.name for path in folder.rglob(".*.part")]
    if spent_s > ANSWERED_S:
        return f"it took {spent_s:.1f} s to end"
    if state not in ("stopped", "finished", "none") or left:
        return f"{state}; left behind: {left}"
    return half_written(folder) or ("" if kernel.run("print(1 + 1)").strip() == "2" else "the kernel does not answer")


def restarted_kernels(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Restart a kernel at any moment of a Run: its process is gone, and a new run in it gives the same video."""
    with Kernel() as kernel:
        expected, lasts_s = whole_run(kernel)
        for number in range(first, first + count):
            after_s = chance("restarted-kernel", seed, number).uniform(0, lasts_s)
            with folder_with_inputs() as folder:
                kernel.client.execute(START.format(folder=str(folder), seed=420))
                time.sleep(after_s)
                before = kernel.pid
                kernel.manager.restart_kernel(now=False)
                kernel.client.wait_for_ready(60)
                wrong = "the old process is still there" if os.path.exists(f"/proc/{before}") else ""
                wrong = wrong or half_written(folder)
                kernel.run(SETUP.format(paths=[str(ROOT), str(ROOT / "tests")]))
                begun = (folder / "run" / "run.json").exists()
                again = f"pipe.resume({str(folder / 'run')!r}, progress=False)" if begun else \
                    START.format(folder=str(folder), seed=420) + "run.result()"
                kernel.run(again)
                wrong = wrong or ("" if state_of(folder) == expected else "another video")
            yield Attempt(f"{number}: restarted after {after_s:.2f} s", not wrong, wrong)


def four_kernels(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Let four kernels make videos at once, each with a seed of its own, and compare with each alone."""
    kernels = [Kernel() for _ in range(4)]
    try:
        for number in range(first, first + count):
            seeds = [chance("four-kernels", seed, number).randrange(10**6) + place for place in range(4)]
            expected = [whole_run(kernels[0], one)[0] for one in seeds]
            with tempfile.TemporaryDirectory() as name:
                folders = [Path(name) / str(one) for one in seeds]
                for folder in folders:
                    folder.mkdir()
                    make_inputs(folder, 1.5)
                requests = [kernel.client.execute(START.format(folder=str(folder), seed=one) + "run.result()\n"
                                                  "print(run.first_picture_s)")
                            for kernel, folder, one in zip(kernels, folders, seeds, strict=True)]
                waits = [float(kernel.answer(request, 120)) for kernel, request in zip(kernels, requests, strict=True)]
                odd = [folder.name for folder, state in zip(folders, expected, strict=True)
                       if state_of(folder) != state]
            case = f"{number}: first picture after {min(waits):.2f} to {max(waits):.2f} s of work"
            yield Attempt(case, not odd, f"another video of seed {odd}" if odd else "")
    finally:
        for kernel in kernels:
            kernel.__exit__()
