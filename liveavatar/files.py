"""Names of files as people give them, and files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from liveavatar.types import InputError, escape_controls

try:
    import fcntl
except ImportError:                               # Windows
    fcntl = None

Stamp = tuple[int, int, int, int]
LONGEST_HINT = 24            # characters of a file's name that its unfinished file repeats: any name leaves room for it
ABANDONED_S = 600.0          # an unfinished file that nobody holds and nobody has written to for so long is removed


# ------------------------------------------------------------------------------------------------ names

def user_path(path: str | os.PathLike) -> Path:
    """Return the path that a person means: a leading ~ is the home folder, as in a shell.

    Raises InputError for what is no name of a file.
    """
    try:
        path = Path(path)
    except TypeError:
        raise InputError(f"{path!r:.80} is no name of a file or folder; give text or a Path") from None
    try:
        return path.expanduser()
    except RuntimeError:                          # nobody has that name, so it is the name of a file
        return path


def printable(name: str | os.PathLike) -> str:
    """Return a file name as text that can be printed and encoded, also where its bytes are not UTF-8 or control."""
    return escape_controls(os.fsencode(name).decode("utf-8", "replace"))


def ffmpeg_url(path: Path) -> str:
    """Return a path in the form that FFmpeg takes for a file's name even when it holds a colon."""
    return f"file:{path}"


def fault_of(path: Path) -> str:
    """Return why there is no file of that name that could be read, in words; "" when there is one (or a pipe)."""
    try:
        about = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return "is a folder" if stat.S_ISDIR(about.st_mode) else ""


def stamp(path: str | os.PathLike) -> Stamp | None:
    """Return what changes when a file is replaced or written (device, number, bytes, time); None without a file."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def same_file(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Tell whether two names lead to one file, through links too."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def free_name(path: Path) -> Path:
    """Return the path, or with a number the next one that is free: out.mp4, out-2.mp4, out-3.mp4."""
    found, number = path, 1
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


# ------------------------------------------------------------------------------------------------ reading

def rereadable(path: str | os.PathLike) -> Path:
    """Return a path that can be read again and again.

    What comes through a pipe (`<(...)`, /dev/stdin) can be read once only: it is copied into a temporary file, which
    goes with the process.
    """
    path = user_path(path)
    if not os.path.exists(path) or os.path.isdir(path) or os.path.isfile(path):
        return path
    copy = _temporary() / f"{secrets.token_hex(4)}-{path.name}"
    with open(path, "rb") as pipe, open(copy, "wb") as file:
        shutil.copyfileobj(pipe, file, 2**20)
    return copy


def utf8_path(path: Path) -> Path:
    """Return a path to the same file for libraries that take UTF-8 names only: where it is none, a temporary link."""
    try:
        str(path).encode()
        return path
    except UnicodeEncodeError:
        link = _temporary() / secrets.token_hex(4)
        link.symlink_to(path.absolute())
        return link


@cache
def _temporary() -> Path:
    _kept.append(tempfile.TemporaryDirectory(prefix="liveavatar-", ignore_cleanup_errors=True))
    return Path(_kept[-1].name)


_kept: list[tempfile.TemporaryDirectory] = []


# ------------------------------------------------------------------------------------------------ writing

def target_of(path: Path) -> Path:
    """Return the file that is written under this name: a link stays a link, what it points to is replaced."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def part_path(path: Path) -> Path:
    """Return a hidden name beside a file for the time until it is whole; never the same twice."""
    remove_abandoned(path)
    return path.with_name(f".{path.name[:LONGEST_HINT]}.{secrets.token_hex(4)}.part")


def hold(part: Path) -> BinaryIO | None:
    """Mark an unfinished file, which need not exist yet, as one that is being written.

    The mark goes when what is returned is closed, or when the process ends.
    """
    if fcntl is None:
        return None
    held = open(part, "ab")
    with suppress(OSError):                                        # not every file system knows locks
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return held


def is_held(part: Path) -> bool:
    """Tell whether a process holds this file by `hold`."""
    try:
        with open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except (OSError, AttributeError):                              # held, or no locks here
        return fcntl is not None


def remove_abandoned(path: Path) -> None:
    """Remove the unfinished files of a name that processes have left which were killed (SIGKILL, power)."""
    hint = glob.escape(path.name[:LONGEST_HINT])
    for part in path.parent.glob(f".{hint}.????????.part") if fcntl is not None else ():
        with suppress(OSError), open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)       # raises where somebody holds it
            if time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_S:
                part.unlink()


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file its name. What stood there hands on its mode and, where that is allowed, its owner."""
    with suppress(FileNotFoundError):
        before = path.stat()
        with suppress(OSError, AttributeError):                    # owners are handed on by root only
            os.chown(part, before.st_uid, before.st_gid)
        os.chmod(part, stat.S_IMODE(before.st_mode))
    os.replace(part, path)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a hidden name, then rename: the file appears whole or not at all."""
    path = target_of(path)
    part = part_path(path)
    try:
        write(part)
        put_in_place(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
