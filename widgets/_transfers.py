"""Files from the browser to the workbench, and from the workbench to the browser."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from liveavatar.inputs import cut
from liveavatar.types import InputError
from widgets._inputs import load_picture, load_speech, temporary, wav_of
from widgets._live import sentence
from widgets._save import KINDS, name_for
from widgets._uploads import Uploads

if TYPE_CHECKING:
    from widgets.workbench import Workbench


class Transfers:
    """The files that are on their way between a workbench and its browser."""

    def __init__(self, page: Workbench) -> None:
        self.saving = ""                                 # what is being written for the browser
        self._page = page
        self._uploads = Uploads()

    def cancel(self, what: str) -> None:
        """Forget the pieces of a file that is not wanted any more. what: "sound" or "face" """
        self._uploads.drop(what)

    def receive(self, content: dict, buffers: list) -> None:
        """Take a piece of a file from the browser; the last one makes it whole."""
        number = content["number"]
        self._page._report("background", "")
        try:
            path = self._uploads.receive(*(content[name] for name in ("what", "number", "name", "part", "parts")),
                                         bytes(buffers[0]) if buffers else b"")
        except InputError:
            self._page.send({"kind": "upload", "number": number, "over": True})
            raise
        self._page.send({"kind": "upload", "number": number, "arrived": content["part"] + 1})
        if path is not None:
            self._in_background(lambda: self._choose(content["what"], number, str(path)))

    def _choose(self, what: str, number: int, path: str) -> None:
        """Read a file that has arrived, and choose it where it can be used."""
        try:
            if what in ("sound", "microphone"):
                load_speech("recording", path)
                if what == "microphone":
                    self._page.seconds = 0.0             # all that was spoken is used
                self._page.recording, self._page.sound = path, "recording"
            else:
                load_picture(path)
                self._page.picture, self._page.face = path, "picture"
        finally:
            self._page.send({"kind": "upload", "number": number, "over": True})

    def send_file(self, suffix: str) -> None:
        """Write a file and hand it to the browser, which puts it where downloads go."""
        if self.saving:
            raise InputError(f"{self.saving} is still being written; wait for it")
        if self._page.run is None:
            raise InputError("nothing has been made yet; click Run first")
        self.saving = KINDS[suffix].title
        self._in_background(lambda: self._write_and_send(suffix))

    def _write_and_send(self, suffix: str) -> None:
        try:
            name = name_for(self._page.run, suffix, self._page.cursor.time_s)
            data = self._page.save(temporary() / name).read_bytes()
            self._page.send({"kind": "file", "name": name, "mime": KINDS[suffix].mime}, [data])
        finally:
            self.saving = ""

    def send_sound(self) -> None:
        """Let the browser play the part of the sound that is used."""
        self._in_background(self._cut_and_send)

    def _cut_and_send(self) -> None:
        speech = cut(self._page.speech, self._page.start_s, self._page.seconds or None)
        self._page.send({"kind": "sound"}, [wav_of(speech)])

    def _in_background(self, work: Callable[[], None]) -> None:
        """Do what takes long in a thread; what it raises is shown until the next click."""
        def worker() -> None:
            try:
                work()
            except Exception as problem:
                self._page._report("background", sentence(problem))
            self._page.refresh()

        threading.Thread(target=worker, name="liveavatar-files").start()
