"""The runs and videos of a folder: thumbnail, recipe and figures of each; search, compare, make again, delete."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import traitlets

from liveavatar.files import free_name, user_path
from liveavatar.preview import jpeg
from liveavatar.runs import delete, differences, inputs_of, list_runs, matching, open_run, thumbnail
from liveavatar.types import InputError
from widgets._live import Body, Buffers, LiveView, sentence

if TYPE_CHECKING:
    import os

    from PIL.Image import Image as PictureFile

    from liveavatar.inputs import Audio, Image
    from liveavatar.runs.history import Entry
    from liveavatar.runs.run import Run
    from liveavatar.video import Video

MOST = 200                                 # entries in view
MOST_IN_STILL = 12


class RunGallery(LiveView):
    """The runs and videos of a folder and its subfolders, newest first: `RunGallery("out")`.

    What is on screen can be had in Python: `gallery.entries`, `gallery.compared` (the two that are compared),
    `gallery.differences`; `gallery.open_chosen()` is the chosen one as a Run for any view. `gallery.again(entry)` makes
    a video again and `gallery.delete(entry)` deletes it.
    """

    script = "run_gallery.js"
    nothing = ""

    folder = traitlets.Unicode(".", help="the folder whose runs are shown").tag(sync=True, code=True)
    search = traitlets.Unicode("", help="words that must occur in the name, the prompt or the settings").tag(
        sync=True, code=True)
    chosen = traitlets.List(traitlets.Unicode(), help="paths of those that are chosen, the newest choice last; two are "
                                                      "compared").tag(sync=True)
    _keys = traitlets.Unicode("arrows: move; space: choose; delete: delete, after a question").tag(sync=True)

    def __init__(self, folder: str | os.PathLike = ".", *, show: Callable[[Run], None] | None = None,
                 **traits: object) -> None:
        """Show the runs of a folder. show(run): shows one elsewhere; then every run has a button Open"""
        self._thumbnails: dict[tuple[str, float], bytes] = {}
        self._sent: set[tuple[str, float]] = set()
        self._show = show
        self._doing = ""                       # in words, what its thread is at
        super().__init__(None, folder=str(folder), **traits)

    # ------------------------------------------------------------------ for users

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return those in view, newest first. Raises InputError where the folder cannot be read."""
        return list_runs(self.folder, self.search)[:MOST]

    @property
    def compared(self) -> tuple[Entry, ...]:
        """Return the two entries that were chosen last, in the order of the choice; fewer where fewer are."""
        return self._compared_of(list_runs(self.folder))

    @property
    def differences(self) -> list[tuple[str, object, object]]:
        """Return (setting, first, second) of all that differs between the two; [] unless two are chosen."""
        return differences_of(self.compared)

    def open_chosen(self) -> Run:
        """Return the entry that was chosen last as a Run, for any view. Raises InputError where none is chosen."""
        if not self.compared:
            raise InputError("nothing is chosen; click one of the pictures first")
        return open_run(self.compared[-1].path)

    def again(self, entry: Entry, audio: Audio | None = None, image: Image | None = None,
              output: str | os.PathLike | None = None) -> Video:
        """Make a video again from its recipe, beside the old one, and wait for it.

        audio, image: instead of those that are found by their hashes; output: where to, else the next free name
        Raises InputError where an input is not found.
        """
        from liveavatar.pipeline import generate, load_options

        recipe = entry.recipe
        audio, image = inputs_of(recipe, audio, image, [self.folder])
        stem = entry.path if entry.kind == "video" else entry.path.with_name(f"{entry.path.name}.mp4")
        video = generate(audio, image, recipe.prompt, recipe.config, output=output or free_name(stem),
                         backend=recipe.backend.get("name", "mini"), progress=False, **load_options(recipe.backend))
        self.refresh(full=True)
        return video

    def delete(self, entry: Entry) -> None:
        """Delete an entry from the disk. Raises InputError where it cannot be."""
        delete(entry)
        self.chosen = [path for path in self.chosen if path != str(entry.path)]
        self.refresh(full=True)

    def as_code(self) -> str:
        chosen = [choice for choice in self._choices() if not choice.startswith("folder=")]
        return f"RunGallery({', '.join([repr(self.folder), *chosen])})"

    def still(self) -> PictureFile | None:
        """Return the newest ones on one sheet; None where there are none."""
        from widgets._stills import sweep_picture

        pictures = [(f"{entry.name}, seed {entry.recipe.config.base_seed}", thumbnail(entry))
                    for entry in self.entries[:MOST_IN_STILL]]
        found = [(label, picture) for label, picture in pictures if picture is not None]
        return sweep_picture(found, title=f"The newest {len(found)} runs") if found else None

    # ------------------------------------------------------------------ drawing

    def _compared_of(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        known = {str(entry.path): entry for entry in entries}
        return tuple(known[path] for path in self.chosen if path in known)[-2:]

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if full:
            self._sent.clear()
        every = list_runs(self.folder)                     # read once for all that is shown
        entries, pair = matching(every, self.search)[:MOST], self._compared_of(every)
        body: Body = {"entries": [described(entry) for entry in entries], "doing": self._doing,
                      "opens": self._show is not None,
                      "compared": [entry.name for entry in pair],
                      "differences": [[name, shown(one), shown(other)] for name, one, other in differences_of(pair)],
                      "where": str(user_path(self.folder).absolute())}
        return body, self._pictures(entries)

    def _pictures(self, entries: Iterable[Entry]) -> Buffers:
        """Return the thumbnails that the browser does not have, as JPEG files."""
        buffers: Buffers = {}
        for entry in entries:
            key = str(entry.path), entry.modified_s
            if key in self._sent:
                continue
            if key not in self._thumbnails:
                picture = thumbnail(entry)
                self._thumbnails[key] = b"" if picture is None else jpeg(picture)
            self._sent.add(key)
            if self._thumbnails[key]:
                buffers[str(entry.path)] = self._thumbnails[key]
        return buffers

    def on_message(self, kind: str, content: dict) -> None:
        if kind in ("again", "open") and not self._doing:
            entry = self._entry(content["path"])
            self._doing = f"{'making' if kind == 'again' else 'opening'} {entry.name}{' again' * (kind == 'again')} …"
            threading.Thread(target=self._work, args=(kind, entry), daemon=True, name=f"liveavatar-{kind}").start()
        elif kind == "delete":
            self.delete(self._entry(content["path"]))
        self.refresh(full=kind == "look")

    def _entry(self, path: str) -> Entry:
        """Return an entry of this folder; the browser can name no other file."""
        found = next((entry for entry in list_runs(self.folder) if str(entry.path) == path), None)
        if found is None:
            raise InputError(f"{Path(path).name} is not there any more; look again")
        return found

    def _work(self, kind: str, entry: Entry) -> None:
        """Make a video again, or open it. In a thread of its own."""
        try:
            if kind == "again":
                self.again(entry)
            elif self._show is not None:
                self._show(open_run(entry.path))
            self._report(kind, "")
        except Exception as problem:
            self._report(kind, sentence(problem))
        self._doing = ""
        self.refresh(full=True)


def differences_of(pair: tuple[Entry, ...]) -> list[tuple[str, object, object]]:
    """Return (setting, first, second) of all that differs between two entries; [] for fewer."""
    return differences(pair[0].recipe, pair[1].recipe) if len(pair) == 2 else []


def described(entry: Entry) -> dict[str, object]:
    """Return what the browser shows of an entry, as text."""
    config = entry.recipe.config
    settings = [f"seed {config.base_seed}", f"{config.sample_steps} step{'s' if config.sample_steps != 1 else ''}"]
    return {"path": str(entry.path), "name": entry.name, "kind": entry.kind, "modified": entry.modified,
            "prompt": entry.recipe.prompt, "settings": settings, "figures": list(entry.figures.values()),
            "bytes": entry.bytes}


def shown(value: object) -> str:
    """Write a setting as text."""
    return "not set" if value is None or value == "" else str(value)
