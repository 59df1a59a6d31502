"""Memory that does not suffice at any stage of a video, and memory that must come back."""

from __future__ import annotations

import gc
import resource
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.attempts import Attempt, Worker, chance, memory_bytes, run_command, settled_bytes
from faults.killed import finish, half_written, state_of, with_toy

MOST_GROWTH = 1.02                # of memory after a failure against before
STAGES = {                        # where an allocation fails: module, class or "", function, calls in a run of 7 blocks
    "read sound": ("liveavatar.sound", "Track", "stretch", 1),
    "read portrait": ("liveavatar.conditions", "", "load_portrait", 1),
    "encode audio": ("fakes", "FakeBackend", "encode_audio", 1),
    "encode image": ("fakes", "FakeBackend", "encode_image", 1),
    "encode text": ("fakes", "FakeBackend", "encode_text", 1),
    "prefill": ("liveavatar.transformer", "CausalS2VTransformer", "prefill", 1),
    "caches": ("liveavatar.transformer", "CausalS2VTransformer", "new_cache", 2),
    "step": ("liveavatar.transformer", "CausalS2VTransformer", "forward", 14),
    "decode": ("fakes", "PlainVAE", "decode_stream", 7),
    "open video": ("liveavatar.video", "VideoWriter", "_open", 1),
    "write pictures": ("liveavatar.video", "VideoWriter", "write", 7),
    "write sound": ("liveavatar.soundtrack", "SoundTrack", "write_until", 7),
    "close video": ("liveavatar.video", "VideoWriter", "close", 1),
    "begin run folder": ("liveavatar.runfolder", "RunFolder", "create", 1),
    "keep step": ("liveavatar.runfolder", "StepWriter", "write", 14),
    "save block": ("liveavatar.runfolder", "RunFolder", "save_block", 7),
}
BALLAST = 2**24                   # numbers of 4 bytes that the failing function holds: 64 MiB, never cached


def errors() -> dict[str, Callable[[], BaseException]]:
    """Return the ways in which memory that does not suffice is reported."""
    import av
    import torch

    return {"Python": MemoryError, "numpy": lambda: MemoryError("Unable to allocate 7.28 TiB for an array"),
            "torch on a CPU": lambda: RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                "to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"),
            "torch on a GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 TiB"),
            "FFmpeg": lambda: av.error.MemoryError(12, "Cannot allocate memory")}


@contextmanager
def failing(stage: str, call: int, make_error: Callable[[], BaseException]) -> Iterator[list]:
    """Let a call of a stage fail; yields a list that will hold a weak reference to what the function held."""
    import importlib

    import torch

    module, owner, name, _ = STAGES[stage]
    place = importlib.import_module(module)
    place = getattr(place, owner) if owner else place
    plain, calls, held = place.__dict__[name], [], []
    work = plain.__func__ if isinstance(plain, classmethod | staticmethod) else plain

    def fail(*given: object, **options: object) -> object:
        calls.append(0)
        ballast = torch.ones(BALLAST)
        if len(calls) == call:
            held.append(weakref.ref(ballast))
            raise make_error()
        return work(*given, **options)

    setattr(place, name, classmethod(fail) if isinstance(plain, classmethod) else fail)
    try:
        yield held
    finally:
        setattr(place, name, plain)


def try_out_of_memory(expected: dict[str, str], seed: int, number: int) -> tuple[str, str]:
    """Let memory not suffice at one stage, on the command line or in a Run; then make the video -> (case, wrong)"""
    dice = chance("out-of-memory", seed, number)
    stage = list(STAGES)[number % len(STAGES)]
    call, kind = dice.randint(1, STAGES[stage][3]), dice.choice(list(errors()))
    by = dice.choice((fail_command, fail_run, fail_render))
    case = f"{stage}, call {call}, {kind}, {by.__name__.removeprefix('fail_')}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = with_toy(folder)
        with failing(stage, call, errors()[kind]) as held:
            wrong = by(folder, arguments)
        gc.collect()
        if held and held[0]() is not None:
            wrong = wrong or "what the failing function held is still there"
        if not held:
            wrong = wrong or "the stage was never reached"
        wrong = wrong or half_written(folder)
        left = [path.name for path in folder.rglob(".*.part")]
        if left:
            wrong = wrong or f"left behind: {left}"
        code, said = finish(folder, arguments)
        if code != 0:
            return case, wrong or f"the next run: {said[-300:]}"
        return case, wrong or ("" if state_of(folder) == expected else "the next run made another video")


def fail_command(folder: Path, arguments: list[str]) -> str:
    """Run the command -> what is wrong; exit code 1 and one sentence are wanted."""
    code, _, said = run_command(arguments)
    lines = [line for line in said.splitlines() if line.strip() and "s of video [" not in line]
    good = code in (1, 2) and len(lines) == 1 and "memory" in lines[0] and lines[0].startswith("liveavatar: ")
    return "" if good else f"exit code {code}: {said[-500:]}"


def inputs_of(folder: Path) -> tuple[object, ...]:
    """Return what the toy's command uses, as arguments of `Run.of` and `Pipeline.render`."""
    from liveavatar.config import GenerationConfig

    return str(folder / "in.wav"), str(folder / "in.png"), "", GenerationConfig(sample_steps=2)


def fail_run(folder: Path, _: list[str]) -> str:
    """Make a Run in this process; the error that it keeps must hold no memory -> what is wrong."""
    return fail_in_process(folder, lambda pipe, *given, **named: make_run(pipe, *given, **named).start().result())


def fail_render(folder: Path, _: list[str]) -> str:
    """Call `render` as in a notebook, which keeps the last error -> what is wrong."""
    return fail_in_process(folder, lambda pipe, *given, **named: pipe.render(*given, progress=False, **named))


def make_run(pipe: object, *given: object, **named: object) -> object:
    from liveavatar.runs.run import Run

    _kept.append(Run.of(pipe, *given, **named))                # as a notebook keeps what a cell has named
    return _kept[-1]


_kept: list = []                                               # of what a notebook would keep: runs and errors


def fail_in_process(folder: Path, work: Callable) -> str:
    """Fail twice, so that what is loaded once does not count, and compare the memory -> what is wrong."""
    from fakes import FakeBackend

    from liveavatar.memory_errors import is_out_of_memory
    from liveavatar.pipeline import Pipeline

    _kept.clear()
    pipe = Pipeline(FakeBackend())
    try:
        work(pipe, *inputs_of(folder), output=folder / "out.mp4", run_dir=folder / "run")
    except Exception as error:
        _kept.append(error)
        return "" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
    return "nothing was raised"


def out_of_memory(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Let memory not suffice at every stage in turn."""
    with Worker() as worker:
        expected, trouble = worker.call(whole_state)
        if trouble:
            raise RuntimeError(trouble)
        for other in range(len(STAGES)):                       # what is loaded once does not count
            worker.call(try_out_of_memory, expected, seed + 1, other)
        before = worker.call(settled_bytes)[0]
        for number in range(first, first + count):
            answer, trouble = worker.call(try_out_of_memory, expected, seed, number)
            case, wrong = answer or ("", trouble)
            after = worker.call(settled_bytes)[0]
            if after > before * MOST_GROWTH:
                wrong = wrong or f"memory went from {before / 2**20:.0f} to {after / 2**20:.0f} MiB"
            yield Attempt(f"{number}: {case}", not wrong, wrong)


def whole_state() -> dict[str, str]:
    """Make the toy's video undisturbed -> what came of it."""
    with tempfile.TemporaryDirectory() as name:
        run_command(with_toy(Path(name)))
        return state_of(Path(name))


# ------------------------------------------------------------------------------------------------------- real limits

def try_memory_limit(expected: dict[str, str], whole: int, seed: int, number: int) -> tuple[str, str]:
    """Allow a process a little more memory than it has (ulimit -v), then as much as it wants -> (case, wrong)"""
    more = chance("memory-limit", seed, number).randrange(1, 400) * 2**20
    before = resource.getrlimit(resource.RLIMIT_AS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = with_toy(folder)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes("VmSize") + more, before[1]))
        try:
            code, _, said = run_command(arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        lines = [line for line in said.splitlines() if line.strip() and "s of video [" not in line]
        wrong = half_written(folder)
        if code != 0 and not (code in (1, 2) and len(lines) == 1 and lines[0].startswith("liveavatar: ")):
            wrong = wrong or f"exit code {code}: {said[-400:]}"
        if code != 0:
            code, said = finish(folder, arguments)
            wrong = wrong or (said[-300:] if code else "")
        return f"{more >> 20} MiB more", wrong or ("" if state_of(folder) == expected else "another video")
