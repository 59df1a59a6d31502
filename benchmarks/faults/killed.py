"""kill -9 at random moments, damaged run folders, and sweeps: what is gone on with equals what was never disturbed."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from faults.attempts import Attempt, Worker, chance, child_processes, prepare_child, run_command

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

TOY_STEPS = "2"
REFUSED = "refused"


# ---------------------------------------------------------------------------------------------------- one command

def make_inputs(folder: Path, seconds: float) -> list[str]:
    """Write a recording and a portrait -> options that name them."""
    import fakes
    import soundfile

    from liveavatar.avatars.portraits import avatar, save_portrait

    speech = fakes.tone(seconds)
    soundfile.write(folder / "in.wav", speech.wave, speech.rate_hz)
    save_portrait(avatar(3, (64, 64)), folder / "in.png")
    return ["--audio", str(folder / "in.wav"), "--image", str(folder / "in.png")]


def command(folder: Path, inputs: list[str], *more: str) -> list[str]:
    return ["generate", *inputs, "--output", str(folder / "out.mp4"), *more]


def with_mini(folder: Path) -> list[str]:
    """A command that makes 1.5 s of video with mini: 4 blocks of 4 steps."""
    return command(folder, make_inputs(folder, 1.5), "--size", "64*64", "--run_dir", str(folder / "run"))


def with_toy(folder: Path) -> list[str]:
    """The same with the toy backend: 3 s, 7 blocks of 2 steps."""
    return command(folder, make_inputs(folder, 3.0), "--backend", "fake", "--sample_steps", TOY_STEPS, "--run_dir",
                   str(folder / "run"))


def state_of(folder: Path) -> dict[str, str]:
    """Hash the video's pictures and sound, every block of latents, and every step that was kept (or REFUSED)."""
    import av

    from liveavatar.checksums import read_tensors
    from liveavatar.runfolder import RunFolder
    from liveavatar.video import read_frames

    digest = hashlib.sha256()
    for frame in read_frames(folder / "out.mp4"):
        digest.update(frame.tobytes())
    with av.open(str(folder / "out.mp4")) as container:
        for frame in container.decode(audio=0):
            digest.update(frame.to_ndarray().tobytes())
    found = {"video": digest.hexdigest()}
    for path in sorted((folder / "run").glob("block_*.safetensors")):
        found[path.name] = digest_of(read_tensors(path)[0]["latents"])
    return found | steps_of(RunFolder(folder / "run"))


def digest_of(tensor: object) -> str:
    """Return the sha256 of a tensor's numbers."""
    return hashlib.sha256(tensor.float().numpy().tobytes()).hexdigest()


def steps_of(folder: object) -> dict[str, str]:
    """Hash the latents of every step that a run folder has kept; REFUSED where one is refused in one sentence."""
    from liveavatar.types import InputError

    found = {}
    try:
        steps = folder.steps()
    except InputError:
        return found
    for block, index in sorted(steps._numbers):
        try:
            found[f"step {block} {index}"] = digest_of(steps.step(block, index).x)
        except InputError:
            found[f"step {block} {index}"] = REFUSED
    return found


def child_of(arguments: list[str], begun: Event) -> None:
    """Run a command as the whole work of this process; leave with its exit code. begun: set when it begins"""
    prepare_child()
    begun.set()
    code, _, errors = run_command(arguments)
    sys.stderr.write(errors)
    os._exit(code)


def killed_child(arguments: list[str], after_s: float, number: int = signal.SIGKILL,
                 patience_s: float = 60) -> tuple[int, float]:
    """Run a command in a child process and send it a signal -> (its exit code, seconds from the signal to its end).

    A signal that can be answered is sent when the command has begun: before, it meets the process that starts it.
    """
    context = child_processes()
    begun = context.Event()
    process = context.Process(target=child_of, args=(arguments, begun))
    process.start()
    process.join(after_s)
    if number != signal.SIGKILL:
        begun.wait(patience_s)
    if process.is_alive():
        os.kill(process.pid, number)
    sent = time.monotonic()
    process.join(patience_s)
    if process.is_alive():
        process.kill()
        process.join()
        return -999, patience_s
    return process.exitcode, time.monotonic() - sent


def finish(folder: Path, arguments: list[str]) -> tuple[int, str]:
    """Go on with the run in a folder or, where none was begun, begin it -> (exit code, errors)."""
    resumed = ["generate", "--resume", str(folder / "run"), "--output", str(folder / "out.mp4"), "--overwrite"]
    begun = (folder / "run" / "run.json").exists()
    code, _, errors = run_command(resumed if begun else [*arguments, "--overwrite"])
    return code, errors


def half_written(folder: Path) -> str:
    """Return what is wrong with the video under its final name; "" where there is none, or it can be played."""
    from liveavatar.video import read_frames

    if (folder / "out.mp4").exists() and not sum(1 for _ in read_frames(folder / "out.mp4")):
        return "a video without pictures stands under the final name"
    return ""


def wrong_after_kill(worker: Worker, folder: Path, arguments: list[str], expected: dict[str, str]) -> str:
    """Finish a run that was killed, and say what is wrong with what it left or became; empty: nothing."""
    wrong = half_written(folder)
    answer, trouble = worker.call(finish, folder, arguments)
    if trouble or answer[0] != 0:
        return wrong or f"{trouble or answer}"
    return wrong or ("" if state_of(folder) == expected else "another video or other latents")


def undisturbed(make: Callable[[Path], list[str]]) -> tuple[dict[str, str], float]:
    """Run a command to its end, twice -> (what came of it, seconds that the second one took)."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("warm", "timed"):
            folder = Path(name) / part
            folder.mkdir()
            began = time.monotonic()
            code, _ = killed_child(make(folder), 120)
            if code != 0:
                raise RuntimeError(f"the undisturbed run ended with {code}")
        return state_of(folder), time.monotonic() - began


def killed_runs(make: Callable[[Path], list[str]]) -> Callable[[int, int, int], Iterator[Attempt]]:
    """Kill a run at a moment drawn evenly from its whole life, go on with it, and compare."""
    def attempts(seed: int, first: int, count: int) -> Iterator[Attempt]:
        expected, lasts_s = undisturbed(make)
        with Worker(60) as worker:
            for number in range(first, first + count):
                after_s = chance("killed", seed, number).uniform(0, lasts_s)
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    arguments = make(folder)
                    killed_child(arguments, after_s)
                    blocks = len(list((folder / "run").glob("block_*")))
                    wrong = wrong_after_kill(worker, folder, arguments, expected)
                yield Attempt(f"{number}: killed after {after_s:.2f} s, {blocks} blocks made", not wrong, wrong)
    return attempts


# ------------------------------------------------------------------------------------------------- damaged folders

DAMAGES = ("truncated", "zeroed", "one bit flipped")


def damage(path: Path, dice: object) -> str:
    """Damage a file at any byte -> how."""
    data, how = path.read_bytes(), dice.choice(DAMAGES)
    at = dice.randrange(max(len(data), 1))
    if how == "truncated":
        data = data[:at]
    elif how == "zeroed":
        data = data[:at] + bytes(min(dice.choice((1, 512, 4096)), len(data) - at)) + data[at + 4096:]
    elif data:
        data = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1:]
    path.write_bytes(data)
    return f"{path.name}, {how} at byte {at}"


def begun_run(folder: Path, blocks: int) -> None:
    """Leave a run folder as a process leaves it that is stopped after some blocks, moved where it was begun."""
    from fakes import FakeBackend

    from liveavatar.avatars.portraits import avatar
    from liveavatar.config import GenerationConfig
    from liveavatar.pipeline import Pipeline
    from liveavatar.types import Block

    make_inputs(folder, 3.0)
    stream = Pipeline(FakeBackend()).stream(str(folder / "in.wav"), avatar(3, (64, 64)), "",
                                            GenerationConfig(sample_steps=int(TOY_STEPS)),
                                            output=folder / "out.mp4", run_dir=folder / "run")
    for event in stream:
        if isinstance(event, Block) and event.index == blocks - 1:
            stream.close()
    (folder / "out.mp4").unlink()


def try_damage(expected: dict[str, str], seed: int, number: int) -> tuple[str, str]:
    """Damage one file of a run that was stopped, and go on with it -> (case, what is wrong)."""
    dice = chance("damaged-run", seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun_run(folder, dice.randint(1, 6))
        victims = sorted(path for path in (folder / "run").rglob("*")
                         if path.is_file() and path.name != "portrait.png")
        case = damage(dice.choice(victims), dice)
        code, errors = finish(folder, [])
        lines = [line for line in errors.splitlines() if line.strip() and "s of video [" not in line]
        if code == 2 and len(lines) == 1 and lines[0].startswith("liveavatar: ") and not (folder / "out.mp4").exists():
            return f"{case}: refused", ""
        if code != 0:
            return case, f"exit code {code}: {errors[-400:]}"
        found = state_of(folder)
        wrong = [name for name in expected if found.get(name) != expected[name]
                 and not (name.startswith("step ") and found.get(name) in (None, REFUSED))]
        return f"{case}: gone on with", "" if not wrong else f"silently another {wrong}"


def reference_of_toy() -> dict[str, str]:
    """Make the toy's video undisturbed -> what came of it."""
    with tempfile.TemporaryDirectory() as name:
        code, _, errors = run_command(with_toy(Path(name)))
        if code != 0:
            raise RuntimeError(errors)
        return state_of(Path(name))


def damaged_runs(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Damage a run folder anywhere; it is gone on with correctly, or refused in one sentence."""
    with Worker() as worker:
        expected, trouble = worker.call(reference_of_toy)
        if trouble:
            raise RuntimeError(trouble)
        yield from worker.attempts(try_damage, seed, first, count, expected)
