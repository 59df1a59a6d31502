"""Files that a browser sends to the kernel in pieces, so that it can show how far it is.

    browser   {"kind": "upload", "what": "sound", "number": 3, "name": "me.wav", "part": 0, "parts": 28} and its bytes
    kernel    {"kind": "upload", "number": 3, "arrived": 1}
"""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import mkdtemp

from liveavatar.types import InputError
from widgets._inputs import temporary

LARGEST_BYTES = 256 * 2**20


class Uploads:
    """Join the pieces of files, one file at a time for each input ("sound", "microphone" or "face").

    Pieces may come in any order: a kernel can handle two messages of a page in two threads.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, dict[int, bytes]] = {}   # of the file that is on its way to each input
        self._newest: dict[str, int] = {}                # its number, counted by the browser; older ones are left out
        self._lock = threading.Lock()

    def receive(self, what: str, number: int, name: str, part: int, parts: int, data: bytes) -> Path | None:
        """Take one piece; the last one makes the file whole and returns its path, which keeps the user's name.

        Raises InputError for a file above LARGEST_BYTES.
        """
        with self._lock:
            if number > self._newest.get(what, -1):
                self._newest[what], self._pieces[what] = number, {}
            pieces = self._pieces.get(what)
            if pieces is None or number != self._newest[what]:
                return None
            pieces[part] = data
            if sum(map(len, pieces.values())) > LARGEST_BYTES:
                del self._pieces[what]
                raise InputError(f"{name} is larger than {LARGEST_BYTES // 2**20} MiB; give a shorter one, or its "
                                 f"path: workbench.{'picture' if what == 'face' else 'recording'} = '...'")
            if len(pieces) < parts:
                return None
            del self._pieces[what]
        path = Path(mkdtemp(prefix="upload-", dir=temporary())) / (Path(name).name or "file")
        path.write_bytes(b"".join(pieces[part] for part in range(parts)))
        return path

    def drop(self, what: str) -> None:
        """Forget the pieces of a file that is not wanted any more."""
        with self._lock:
            self._pieces.pop(what, None)


def without_folder(text: str) -> str:
    """Name uploaded files in a sentence as their owner does, without the folder they were put into."""
    folder = str(temporary())
    if folder not in text:
        return text
    words = text.split(folder + "/")
    return words[0] + "".join(rest.partition("/")[2] if rest.startswith("upload-") else rest for rest in words[1:])
