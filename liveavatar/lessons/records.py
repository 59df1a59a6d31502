"""A learner's progress: one small file of the user, in the folder that the system has for the data of programs.

LIVEAVATAR_PROGRESS names another file. It appears whole or not at all, and is read again before each change, so that
several notebooks may be open. What cannot be written is remembered until the kernel ends, and said.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from liveavatar.files import free_name, printable, user_path, write_whole
from liveavatar.types import InputError

SETTING = "LIVEAVATAR_PROGRESS"
VERSION = 1


@dataclass(frozen=True)
class Attempts:
    """Hold what happened with one exercise."""

    failed: int = 0                      # wrong answers before the first right one
    solved: str = ""                     # when: ISO 8601, in UTC; "" while it is open


_unsaved: dict[str, Attempts] = {}       # of this process, where the file cannot be written


def progress_file() -> Path:
    """Return the file that keeps the progress: LIVEAVATAR_PROGRESS, or progress.json among the user's data."""
    named = os.environ.get(SETTING)
    return user_path(named) if named else Path(platformdirs.user_data_dir("liveavatar", False)) / "progress.json"


def read_progress() -> dict[str, Attempts]:
    """Return what is known of each exercise that was tried: {name: attempts}. A damaged file counts as empty."""
    return {name: Attempts(max(0, int(one.get("failed", 0))), str(one.get("solved", "")))
            for name, one in _read().items()} | _unsaved


def note_failure(name: str) -> tuple[int, str]:
    """Count a wrong answer. -> (wrong answers so far, why that was not kept or "")

    An exercise that is solved stays solved, and its count stays.
    """
    before = read_progress().get(name, Attempts())
    after = before if before.solved else Attempts(before.failed + 1)
    return after.failed, _write(name, after)


def note_success(name: str) -> tuple[int, str]:
    """Remember that an exercise is solved. -> (wrong answers before, why that was not kept or "")"""
    before = read_progress().get(name, Attempts())
    after = before if before.solved else Attempts(before.failed, datetime.now(UTC).isoformat(timespec="seconds"))
    return after.failed, _write(name, after)


def reset_progress() -> None:
    """Forget all that was tried and solved, for the next learner at this machine.

    Raises InputError where the file cannot be taken away.
    """
    _unsaved.clear()
    try:
        progress_file().unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{printable(progress_file())} cannot be taken away ({error.strerror or error}); "
                         f"{SETTING} names another file") from error


def _read() -> dict[str, dict]:
    """Return the exercises of the file; empty where there is none, or where it cannot be understood."""
    try:
        kept = json.loads(progress_file().read_text(encoding="utf-8"))["exercises"]
        return {str(name): one for name, one in kept.items() if isinstance(one, dict)
                and isinstance(one.get("failed", 0), int)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _write(name: str, attempts: Attempts) -> str:
    """Replace what is known of one exercise. -> why it could not be kept, or "" """
    path, kept = progress_file(), _read()
    changed = kept | {name: asdict(attempts)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not kept and path.is_file() and path.stat().st_size:      # damaged: kept beside, for whoever can mend it
            path.rename(free_name(path.with_name(f"{path.stem}-damaged{path.suffix}")))
        text = json.dumps({"version": VERSION, "exercises": changed}, indent=1)
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        _unsaved[name] = attempts
        return (f"progress is kept only until the kernel ends: {printable(path)} cannot be written "
                f"({error.strerror or error}); {SETTING} names another file")
    _unsaved.pop(name, None)
    return ""
