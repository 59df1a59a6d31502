"""Disks that are full, files that may not be opened, folders that cannot be written or vanish."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.attempts import Attempt, Worker, chance, run_command
from faults.killed import TOY_STEPS, command, finish, half_written, make_inputs, state_of, with_toy


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """Mount a disk in memory of so many bytes (needs root). What it yields can be made larger by `enlarge`."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name], check=True, capture_output=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True, capture_output=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True, capture_output=True)


def refused(code: int, errors: str) -> str:
    """Return what is wrong with a refusal: exit code 2 and one sentence are wanted."""
    lines = [line for line in errors.splitlines() if line.strip() and "s of video [" not in line]
    good = code == 2 and len(lines) == 1 and lines[0].startswith("liveavatar: ")
    return "" if good else f"exit code {code}: {errors[-500:]}"


def whole_run() -> tuple[dict[str, str], int]:
    """Make the toy's video undisturbed -> what came of it, and how many bytes it took."""
    with tempfile.TemporaryDirectory() as name:
        run_command(with_toy(Path(name)))
        return state_of(Path(name)), sum(path.stat().st_size for path in Path(name).rglob("*") if path.is_file())


def try_full_disk(expected: dict[str, str], whole: int, seed: int, number: int) -> tuple[str, str]:
    """Make a video on a disk that is too small, enlarge the disk, go on -> (case, what is wrong)."""
    size = chance("full-disk", seed, number).randrange(16_384, round(1.3 * whole))
    with tempfile.TemporaryDirectory() as inputs, small_disk(size) as disk:
        case = f"{size} bytes"
        arguments = command(disk, make_inputs(Path(inputs), 3.0), "--backend", "fake", "--sample_steps", TOY_STEPS,
                            "--run_dir", str(disk / "run"))
        code, _, errors = run_command(arguments)
        wrong = half_written(disk) or ("" if code == 0 else refused(code, errors))
        if code != 0 and (disk / "out.mp4").exists():
            wrong = wrong or "refused, but a video is there"
        if wrong or code == 0:
            return case, wrong or ("" if state_of(disk) == expected else "another video")
        enlarge(disk)
        code, errors = finish(disk, arguments)
        if code != 0:
            return case, f"with more space: {errors[-300:]}"
        return case, "" if state_of(disk) == expected else "another video after more space was there"


def try_limit(expected: dict[str, str], whole: int, seed: int, number: int) -> tuple[str, str]:
    """Make a video with few open files or small files allowed -> (case, what is wrong)."""
    dice = chance("limits", seed, number)
    kind = dice.choice(("RLIMIT_FSIZE", "RLIMIT_NOFILE"))
    opened = len(os.listdir("/proc/self/fd"))
    limit = dice.randrange(1_000, whole) if kind == "RLIMIT_FSIZE" else opened + dice.randint(2, 24)
    which = getattr(resource, kind)
    before = resource.getrlimit(which)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = with_toy(folder)
        resource.setrlimit(which, (limit, before[1]))
        try:
            code, _, errors = run_command(arguments)
        finally:
            resource.setrlimit(which, before)
        wrong = half_written(folder) or ("" if code == 0 else refused(code, errors))
        if not wrong and code != 0:
            code, errors = finish(folder, arguments)
            wrong = errors[-300:] if code else ""
        same = wrong or state_of(folder) == expected
        return f"{kind} {limit}", wrong or ("" if same else "another video")


def try_folder_gone(expected: dict[str, str], whole: int, seed: int, number: int) -> tuple[str, str]:
    """Remove the run folder, or the folder of the output, while a video is made -> (case, what is wrong)."""
    import shutil

    from fakes import FakeBackend

    from liveavatar.avatars.portraits import avatar
    from liveavatar.config import GenerationConfig
    from liveavatar.pipeline import Pipeline
    from liveavatar.types import InputError

    dice = chance("folder-gone", seed, number)
    which, at = dice.choice(("run", "output")), dice.randint(1, 12)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_toy(folder)
        stream = Pipeline(FakeBackend()).stream(str(folder / "in.wav"), avatar(3, (64, 64)), "",
                                                GenerationConfig(sample_steps=2),
                                                output=folder / "output" / "out.mp4", run_dir=folder / "run")
        try:
            for event_number, _ in enumerate(stream):
                if event_number == at:
                    shutil.rmtree(folder / which)
            wrong = "" if which == "output" and (folder / "output" / "out.mp4").exists() else "nothing was said"
        except InputError as error:
            wrong = "" if "\n" not in str(error) else str(error)
        return f"{which} removed after {at} events", wrong


READ_ONLY = ("output", "run", "inputs", "temporary", "home", "sweep")


def try_read_only(expected: dict[str, str], whole: int, seed: int, number: int) -> tuple[str, str]:
    """Let one folder be on a disk that cannot be written -> (case, what is wrong)."""
    which = READ_ONLY[number % len(READ_ONLY)]
    before, names = dict(os.environ), {"temporary": "TMPDIR", "home": "HOME"}
    with tempfile.TemporaryDirectory() as name, small_disk(2**26) as disk:
        folder, places = Path(name), dict.fromkeys(("output", "run", "inputs"), Path(name)) | {which: disk}
        places["inputs"].mkdir(exist_ok=True)
        inputs = make_inputs(places["inputs"], 3.0)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        arguments = ["generate", *inputs, "--output", str(places["output"] / "out.mp4"), "--backend", "fake",
                     "--sample_steps", TOY_STEPS, "--run_dir", str(places["run"] / "run")]
        if which == "sweep":
            arguments = ["sweep", "--grid", "steps=1,2", "--backend", "fake", "--out", str(disk / "sweep")]
        if which in names:
            os.environ[names[which]] = str(disk)
            tempfile.tempdir = None
        try:
            code, _, errors = run_command(arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
            tempfile.tempdir = None
        if code != 0:
            return f"{which}: refused", refused(code, errors)
        return f"{which}: made", "" if which != "sweep" and state_of(folder) == expected else "another video"


def in_worker(work: object) -> object:
    def attempts(seed: int, first: int, count: int) -> Iterator[Attempt]:
        with Worker() as worker:
            answer, trouble = worker.call(whole_run)
            if trouble:
                raise RuntimeError(trouble)
            expected, whole = answer
            yield from worker.attempts(work, seed, first, count, expected, whole)
    return attempts
