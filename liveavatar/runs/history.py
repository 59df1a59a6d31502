"""The runs and videos of a folder, newest first: what made them, what was measured, how they look.

    for entry in list_runs("out"):
        print(entry.name, entry.recipe.prompt, entry.figures)
    delete(entry)
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np

from liveavatar.files import user_path
from liveavatar.runfolder import ENCODING
from liveavatar.runs.recipe import Recipe, files_in, read_recipe
from liveavatar.types import InputError
from liveavatar.video import FORMATS, read_frames

VIDEO, RUN_FOLDER, SAVED_RUN = "video", "run folder", "saved run"
OURS = ("run.json", "audio.wav", "sound.original", "portrait.safetensors", "portrait.png", "trace.json",
        "frames.safetensors", "speech.safetensors", "block_*.safetensors", "caches_?.safetensors",
        "trace_*.safetensors", "memory*.json", "memory*.npz", "memory*.safetensors")      # files of a run
THUMBNAIL_PX = 160
SHOWN_FRAME = 11                        # of a video, or its last one: faces move by then


@dataclass(frozen=True)
class Entry:
    """One video or run of a folder."""

    path: Path
    kind: str                            # "video", "run folder" or "saved run"
    recipe: Recipe
    modified_s: float                    # seconds since 1970
    bytes: int
    figures: dict[str, str] = field(default_factory=dict)     # what is known of the result, with units

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def modified(self) -> str:
        """Return when it was written, in local time."""
        return datetime.fromtimestamp(self.modified_s).strftime("%Y-%m-%d %H:%M")

    @property
    def text(self) -> str:
        """Return all words that a search looks at."""
        settings = self.recipe.settings()
        return " ".join([self.name, self.kind, self.modified, *(f"{name} {value}" for name, value in settings.items())])


def list_runs(folder: str | os.PathLike = ".", search: str = "") -> tuple[Entry, ...]:
    """List the videos and runs of ours in a folder and its subfolders, newest first; those in which every word of
    `search` occurs. Raises InputError where there is no such folder."""
    folder = user_path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds videos or runs")
    entries = [entry for path in files_in(folder) for entry in [entry_of(path)] if entry is not None]
    return matching(sorted(entries, key=lambda entry: entry.modified_s, reverse=True), search)


def matching(entries: Iterable[Entry], search: str) -> tuple[Entry, ...]:
    """Return the entries in which every word of `search` occurs."""
    words = search.lower().split()
    return tuple(entry for entry in entries if all(word in entry.text.lower() for word in words))


def entry_of(path: Path) -> Entry | None:
    """Return the entry of a video or of the folder whose run.json this is; None for what is not ours."""
    is_run = path.name == "run.json"
    if not is_run and path.suffix.lower() not in FORMATS:
        return None
    place = path.parent if is_run else path
    try:
        recipe, about = read_recipe(place), os.stat(path)
        kind = VIDEO if not is_run else SAVED_RUN if (place / "trace.json").is_file() else RUN_FOLDER
        used = sum(one.stat().st_size for one in files_in(place)) if is_run else about.st_size
        return Entry(place, kind, recipe, about.st_mtime, used, figures_of(place, kind, recipe))
    except (InputError, OSError):
        return None


def figures_of(path: Path, kind: str, recipe: Recipe) -> dict[str, str]:
    """Tell what is known of a result: length, size in pixels, speed where it was kept."""
    figures: dict[str, str] = {}
    if kind == VIDEO:
        import av

        with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
            figures["length"] = f"{(container.duration or 0) / 1e6:.2f} s"
    elif kind == SAVED_RUN:
        about = json.loads((path / "run.json").read_text(**ENCODING))
        figures["length"] = f"{about['done_s']:.2f} s"
        if about["work_s"]:
            figures["speed"] = f"{about['done_s'] / about['work_s']:.2f}x real time"
    else:
        figures["blocks"] = str(sum(1 for _ in path.glob("block_*.safetensors")))
    size: Sequence[int] = recipe.about.get("size") or ()
    if len(size) == 2:
        figures["picture"] = f"{size[1]} x {size[0]} px"
    return figures


def thumbnail(entry: Entry) -> np.ndarray | None:
    """Return a picture of an entry, (h, w, 3) uint8, its longer side THUMBNAIL_PX; None where there is none."""
    from PIL import Image

    try:
        picture = picture_of(entry)
    except (OSError, ValueError, KeyError, InputError):            # damaged files have no picture
        return None
    if picture is None:
        return None
    small = Image.fromarray(picture)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.asarray(small)


def picture_of(entry: Entry) -> np.ndarray | None:
    """Return a picture from the first second of a video or run, (H, W, 3) uint8; of a run folder, its portrait."""
    if entry.kind == VIDEO:
        return next(iter(deque(islice(read_frames(entry.path), SHOWN_FRAME), maxlen=1)), None)
    if entry.kind == RUN_FOLDER:
        from PIL import Image

        with Image.open(entry.path / "portrait.png") as picture:
            return np.asarray(picture.convert("RGB"))
    from safetensors.numpy import load_file

    frames = load_file(entry.path / "frames.safetensors")
    return next(iter(frames.values()))[-1] if frames else None


def delete(entry: Entry) -> None:
    """Delete a video, or the files of a run. Other files in the run's folder stay, and the folder with them.

    Raises InputError where it cannot be deleted.
    """
    try:
        if entry.kind == VIDEO:
            entry.path.unlink()
            return
        if entry.kind == RUN_FOLDER and (entry.path / "steps" / "trace.json").is_file():
            shutil.rmtree(entry.path / "steps")
        for pattern in OURS:
            for path in entry.path.glob(pattern):
                path.unlink()
        if not any(entry.path.iterdir()):
            entry.path.rmdir()
    except OSError as error:
        raise InputError(f"{entry.path} cannot be deleted ({error.strerror or error})") from error
