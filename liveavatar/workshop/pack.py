"""Make the folder that participants of a workshop get: it installs everything without a network.

    wheels/         the project with its weights, and every library in the version that is installed here
    notebooks/      the lessons with their solutions; benchmarks/results/ and docs/, to which they refer
    install.py      makes an environment and installs into it; README.txt says how to begin
    pack.json       what is inside: versions, Python, platform, SHA-256 of each wheel

Wheels fit the Python version and the kind of machine they were collected on, so each kind of machine needs its own
folder. Synthetic voices (espeak-ng, GPL-3.0) are left out.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

from liveavatar.files import user_path
from liveavatar.types import InputError
from liveavatar.version import __version__
from liveavatar.workshop.closure import needed_versions
from liveavatar.workshop.install_pack import digest_of

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = Path(__file__).with_name("install_pack.py")
TORCH_INDEX = "https://download.pytorch.org/whl"               # builds such as 2.13.0+cpu are there, not on PyPI
FOLDERS = ("notebooks", "benchmarks/results", "docs")
SOURCES = ("liveavatar", "widgets", "pyproject.toml", "README.md", "LICENSE")
EXTRAS = ("wan",)                                              # lessons on the 14B model are built with transformers
LEFT_OUT = ("__pycache__", ".ipynb_checkpoints", "*.mp4", "*.webm", ".*")
MIB = 2**20

Collect = Callable[[Sequence[str], Path], None]                # (arguments of `pip wheel`, folder of wheels)

README = """Live Avatar workbench {version}: everything for the workshop, without a network.

It is for Python {python} on {platform}.

1. Copy this folder to your disk (a stick is slow).
2. In a terminal, in this folder:       python{python} install.py
                                        (Windows: py -{python} install.py)
3. Is the machine ready?                .venv/bin/liveavatar workshop
                                        (Windows: .venv\\Scripts\\liveavatar workshop)
4. The lessons, in the browser:         .venv/bin/liveavatar lab
                                        (Windows: .venv\\Scripts\\liveavatar lab)

Lessons are in notebooks/, solutions of their exercises in notebooks/solutions/. Weights are inside the wheel of
liveavatar. Licences: LICENSE, and those inside each wheel; that of av holds FFmpeg with x264 and x265 (GPL).
"""


def make_pack(folder: str | os.PathLike, collect: Collect | None = None, say: Callable[[str], object] = print) -> Path:
    """Make the folder; it appears whole or not at all. -> its path

    collect: how wheels come into a folder; None: `pip wheel`. say: is given a sentence before each thing that takes
    time. Raises InputError where the folder is the current one or not empty, without a checkout, or where pip fails.
    """
    folder = user_path(folder).resolve()                        # where a link leads to
    if folder == Path.cwd():                                 # else a terminal in it is left in a folder that is gone
        raise InputError(f"{folder} is the current folder; name a new one in it, for example --pack workshop")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; name a new folder")
    if not (ROOT / "pyproject.toml").is_file():
        raise InputError("a pack is made from a checkout of the project, and this is an installed copy; "
                         "see README.md for how to get one")
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        fill(part, collect or run_pip, say)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}; choose another") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def fill(part: Path, collect: Collect, say: Callable[[str], object]) -> None:
    """Put everything into a new folder."""
    versions = needed_versions("liveavatar", EXTRAS)
    say(f"collecting {len(versions)} libraries; this takes some minutes, most of it for torch {versions['torch']}")
    wheels = part / "wheels"
    wheels.mkdir()
    torch = [f"torch=={versions['torch']}"]                    # alone: pip asks an index for all that it is asked for
    collect([*index_of(versions), *torch], wheels)
    collect([f"{name}=={version}" for name, version in versions.items() if name != "torch"], wheels)
    say("packing the project with its weights")
    source = part / "source"                   # a copy: building leaves files beside what it builds
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    collect([str(source)], wheels)
    shutil.rmtree(source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, part / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copy(ROOT / "LICENSE", part)
    shutil.copy(INSTALLER, part / "install.py")
    names = sorted(path.name for path in wheels.iterdir())
    about = {"version": __version__, "install": f"liveavatar[{','.join(EXTRAS)}]=={__version__}",
             "python": ".".join(map(str, sys.version_info[:2])), "platform": sysconfig.get_platform(),
             "libraries": versions,
             "wheels": {name: digest_of(wheels / name) for name in names}}
    (part / "pack.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (part / "README.txt").write_text(README.format(**about), encoding="utf-8")


def index_of(versions: dict[str, str]) -> list[str]:
    """Return the option that leads pip to a build of torch such as 2.13.0+cpu; nothing for one of PyPI."""
    build = re.fullmatch(r".+\+(cpu|cu\d+)", versions["torch"])
    return ["--extra-index-url", f"{TORCH_INDEX}/{build[1]}"] if build else []


def run_pip(arguments: Sequence[str], wheels: Path) -> None:
    """Put wheels into a folder: those of an index, or made from a source. Raises InputError where pip fails."""
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels),
                           *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"pip could not collect the wheels: {said[-1] if said else 'it said nothing'}; is there a "
                         "network, and room on the disk?")


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(folder: str | os.PathLike) -> int:
    """Make a pack, say how large it is and what to do with it; return the exit code."""
    made = make_pack(folder, say=lambda sentence: print(sentence, flush=True))
    print(f"{made}: {len(list((made / 'wheels').iterdir()))} wheels, {size_of(made) / MIB:.0f} MiB. Try it on a "
          "machine without a network:\n  python3 install.py")
    return 0
