"""Bad input: damaged files and saved folders. One sentence and exit code 2, or a correct result."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.attempts import Attempt, Worker, chance, run_command
from faults.mutations import damaged
from faults.saved_files import SOUNDS, good_files, open_folder, write_folder, write_picture, write_sound

Try = Callable[[str, str, int, int], tuple[str, str]]


def attempts_of(row: str, work: Try, kinds: tuple[str, ...]) -> Callable[[int, int, int], Iterator[Attempt]]:
    """Make the attempts of a row: kinds take turns, each in the same child process until it hangs or dies."""
    def attempts(seed: int, first: int, count: int) -> Iterator[Attempt]:
        with Worker() as worker:
            for number in range(first, first + count):
                kind = kinds[number % len(kinds)]
                answer, trouble = worker.call(work, row, kind, seed, number)
                case, wrong = answer or (kind, trouble)
                yield Attempt(f"{number}: {case}", not wrong, wrong)
    return attempts


def judged(code: int, said: str, errors: str, output: Path) -> str:
    """Return what is wrong with an answer of the command line; "" when it is as promised."""
    from liveavatar.video import read_frames

    notes = [line for line in errors.splitlines() if line.strip() and not line.startswith("note: ")]
    notes = [line for line in notes if "s of video [" not in line]                   # the progress bar
    if any(ord(letter) < 32 and letter not in "\n\r" or ord(letter) == 127 for letter in said + errors):
        return f"control characters are printed: {errors!r}"
    if code == 2:
        if output.exists() or len(notes) != 1 or not notes[0].startswith("liveavatar: "):
            return f"exit code 2 with {notes}, output {'there' if output.exists() else 'not there'}"
        return ""
    if code != 0:
        return f"exit code {code}: {errors[-300:]}"
    if notes:
        return f"printed beside notes: {notes[:3]}"
    return "" if sum(1 for _ in read_frames(output)) else "no pictures in the video"


def generate_with(arguments: list[str], folder: Path) -> str:
    """Run `generate` with the toy backend -> what is wrong, "" for nothing."""
    from fakes import FakeBackend

    output = folder / "out.mp4"
    FakeBackend.loaded = 0
    code, said, errors = run_command(["generate", "--backend", "fake", "--sample_steps", "1", "--output", str(output),
                                      *arguments])
    if code == 2 and FakeBackend.loaded:
        return f"refused only after weights were loaded: {errors[-200:]}"
    return judged(code, said, errors, output)


def try_media(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Damage one sound or picture and make a video with it -> (case, what is wrong)."""
    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, picture = good_files(folder)
        given = folder / f"given.{kind}"
        (write_sound if kind in SOUNDS else write_picture)(given)
        how, data = damaged(given.read_bytes(), dice)
        given.write_bytes(data)
        pair = [str(given), str(picture)] if kind in SOUNDS else [str(sound), str(given)]
        return f"{kind}, {how}", generate_with(["--audio", pair[0], "--image", pair[1]], folder)


def try_folder(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Damage one file of something that was saved, and open it -> (case, what is wrong)."""
    from liveavatar.types import InputError

    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved"
        victim = dice.choice(write_folder(kind, folder))
        how, data = damaged(victim.read_bytes(), dice)
        victim.write_bytes(data)
        case = f"{kind}, {victim.name}, {how}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                open_folder(kind, folder)
        except InputError as refused:
            return case, "" if "\n" not in str(refused) else f"more than one line: {refused}"
        return case, ""


def try_inspection(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Damage a video and have it inspected -> (case, what is wrong)."""
    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        video, page = Path(name) / "clip.mp4", Path(name) / "report.html"
        write_sound(video)
        how, data = damaged(video.read_bytes(), dice)
        video.write_bytes(data)
        code, _, errors = run_command(["inspect-video", str(video), "--report", str(page)])
        lines = [line for line in errors.splitlines() if not line.startswith("note: ") and str(page) not in line]
        if code == 2 and len(lines) == 1 and not page.exists() or code == 0 and not lines and page.exists():
            return f"{kind}, {how}", ""
        return f"{kind}, {how}", f"exit code {code}: {errors[-400:]}"


def try_json(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Replace one value of a saved JSON file by one of another type, and open it -> (case, what is wrong)."""
    from liveavatar.types import InputError

    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved"
        victim = dice.choice([path for path in write_folder(kind, folder) if path.suffix == ".json"])
        values = json.loads(victim.read_text())
        case = f"{kind}, {victim.name}, {spoiled(values, dice)}"
        victim.write_text(json.dumps(values))
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            open_folder(kind, folder)
        return case, ""


def spoiled(values: object, dice: random.Random) -> str:
    """Change one value somewhere inside, in place -> what was changed."""
    where = []
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = dice.choice(keys)
        where.append(str(key))
        if isinstance(values[key], (dict, list)) and values[key] and dice.random() < 0.8:
            values = values[key]
            continue
        if dice.random() < 0.3:
            del values[key]
            return f"without {'.'.join(where)}"
        values[key] = dice.choice([None, -1, 1e30, "", "../../etc/passwd", [], {}, True, [[]], "<script>", 2**70])
        return f"{'.'.join(where)} = {values[key]!r}"
