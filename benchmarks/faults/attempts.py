"""What a row of the campaign is, and how an attempt is made in a process that may hang or die."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOY = "fakes:FakeBackend"               # tests/fakes.py: the real sampler and transformer at toy size
HANG_S = 20.0                           # an attempt that takes longer is counted as a hang
PATIENCE_S = 6 * 3600.0                 # of `in_process`: hours of video
MOST_BYTES = 2 * 2**30                  # of main memory in one attempt
PRELOADED = ["av", "PIL.Image", "fakes", "soundfile", "liveavatar.cli", "liveavatar.pipeline", "liveavatar.decoder",
             "liveavatar.transformer", "liveavatar.video", "liveavatar.backends.mini", "liveavatar.study.sweep"]


@dataclass(frozen=True)
class Attempt:
    """One attempt: what was tried, whether the promise held, and what was seen where it did not."""

    case: str
    survived: bool
    seen: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str                                                  # for --only
    topic: str                                                 # the paragraph of the campaign it belongs to
    promise: str                                               # what must hold at every attempt, one sentence
    attempts: Callable[[int, int, int], Iterator[Attempt]]     # (seed, first, count)
    count: int                                                 # attempts of a full campaign
    measured: bool = False                                     # what its attempts say of themselves is kept, too


def chance(row: str, seed: int, number: int) -> random.Random:
    """Make the source of chance of one attempt: it does not depend on the attempts before it."""
    return random.Random(f"{row}:{seed}:{number}")


# ------------------------------------------------------------------------------------------------- in a child process

def prepare_child() -> None:
    """Make the toy backend known, and let Ctrl-C end this process."""
    if str(ROOT / "tests") not in sys.path:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import torch

    from liveavatar.backends import BACKENDS

    torch.set_num_threads(1)
    BACKENDS["fake"] = TOY


def run_command(arguments: list[str]) -> tuple[int, str, str]:
    """Run the command line in this process: (exit code, output, errors). What C libraries print is part of errors."""
    from liveavatar import cli

    said, errors = StringIO(), StringIO()
    with tempfile.TemporaryFile() as printed, stderr_into(printed), redirect_stdout(said), redirect_stderr(errors):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = end.code
        sys.stderr.flush()
        printed.seek(0)
        return code, said.getvalue(), errors.getvalue() + printed.read().decode("utf-8", "replace")


@contextmanager
def stderr_into(file: object) -> Iterator[None]:
    """Let file descriptor 2 be this file for a while."""
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def memory_bytes(name: str) -> int:
    """Return a figure of this process: VmRSS, its memory now; VmHWM, the most since `forget_peak`; VmSize."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def settled_bytes() -> int:
    """Return this process's memory after garbage is collected and free pages are given back."""
    import ctypes

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)                           # glibc's
    return memory_bytes("VmRSS")


def heap_bytes() -> tuple[int, int]:
    """Return the bytes that malloc (glibc's) has given out, and those that it keeps free between them."""
    import ctypes

    class Mallinfo(ctypes.Structure):
        """The struct mallinfo2 of malloc.h."""

        _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                         "fsmblks", "uordblks", "fordblks", "keepcost")]

    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = Mallinfo
    info = tell()
    return info.uordblks + info.hblkhd, info.fordblks


def forget_peak() -> None:
    """Let the kernel count the peak of memory from here on."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def serve(pipe: object) -> None:
    """Answer calls until the pipe is closed: (function, arguments) -> (result, peak of memory, traceback)."""
    import traceback

    prepare_child()
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        forget_peak()
        try:
            answer = work(*arguments), memory_bytes("VmHWM"), ""
        except BaseException:
            answer = None, memory_bytes("VmHWM"), traceback.format_exc(limit=-4)
        pipe.send(answer)


# ------------------------------------------------------------------------------------------------ in the parent process

def child_processes() -> multiprocessing.context.BaseContext:
    """Return a way to start processes whose imports are made once, also when they are killed one after the other."""
    for place in (str(ROOT), str(ROOT / "tests")):
        if place not in sys.path:
            sys.path.insert(0, place)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


CHILD = """
import json, sys
sys.path[:0] = {paths!r}
from {module} import {function}
print(json.dumps({function}(*{arguments!r})))
"""


def in_process(module: str, function: str, *arguments: object, **environment: str) -> object:
    """Call a function in a new process, whose memory and environment are its own -> what it returned, through JSON."""
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
    code = CHILD.format(paths=paths, module=module, function=function, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-600:])
    return json.loads(done.stdout.splitlines()[-1])


class Worker:
    """A process that makes one attempt after the other; it is replaced when one hangs or kills it. Use as a context."""

    def __init__(self, hang_s: float = HANG_S, most_bytes: int = MOST_BYTES) -> None:
        self.hang_s, self.most_bytes = hang_s, most_bytes
        self._context = child_processes()
        self._process = None

    def attempts(self, work: Callable, seed: int, first: int, count: int, *given: object) -> Iterator[Attempt]:
        """Make numbered attempts of work(*given, seed, number) -> (case, what is wrong)."""
        for number in range(first, first + count):
            answer, trouble = self.call(work, *given, seed, number)
            case, wrong = answer or ("", trouble)
            yield Attempt(f"{number}: {case}", not wrong, wrong)

    def call(self, work: Callable, *arguments: object) -> tuple[object, str]:
        """Run work(*arguments) there: (result, "") or (None, what went wrong)."""
        if self._process is None:
            self._start()
        self._pipe.send((work, arguments))
        if not self._pipe.poll(self.hang_s):
            self._end()
            return None, f"no answer within {self.hang_s:g} s"
        try:
            result, peak, trouble = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._process = None
            return None, f"the process died ({signal.Signals(-code).name if code < 0 else code})"
        if not trouble and peak > self.most_bytes:
            trouble = f"it took {peak / 2**30:.1f} GiB"
        return (None, trouble) if trouble else (result, "")

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.send((prepare_child, ()))
        self._pipe.recv()                                    # imports are made: from here on time counts

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._end()
