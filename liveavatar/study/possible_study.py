"""What is possible, drawn while one looks: renderings of a block by other chance, one after the other.

    study = PossibleStudy(run, block=1)
    study.start()                         # in a thread; study.stop(), study.wait()
    study.found                           # a Possible of all renderings so far, from the second on
    study.save("block1.safetensors")      # open_possible("block1.safetensors")

With a folder the pictures of the renderings are kept. They depend on person, sound and wishes alone: with other weights
of the model only their latents are computed anew.

    folder/study.json                     what was drawn
           0000.safetensors               the pictures of one rendering
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from liveavatar.checksums import check_values, pack_tensors, read_tensors, with_crc
from liveavatar.config import check_whole
from liveavatar.files import user_path, utf8_path, write_whole
from liveavatar.metrics.possible import MOST, Comparison, Possible, PossibleStep
from liveavatar.metrics.possible_renderings import check_run, draw_pictures, encoded
from liveavatar.runfolder import sha256_of
from liveavatar.study.background import StepwiseWork
from liveavatar.study.cell_result import write_json
from liveavatar.threads import held_threads
from liveavatar.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.runs.run import Run

LIVE_RENDERINGS = 8                  # enough to tell a mean from a sample, drawn within a minute at 256 px
FORMAT = 1


class PossibleStudy(StepwiseWork[int | None]):
    """Draw other renderings of a block of a run, one by one, and compare each step's guess with them. Watchers hear how
    many are compared."""

    what = "study"

    def __init__(self, run: Run, block: int = 0, *, renderings: int = LIVE_RENDERINGS, seed: int = 0,
                 folder: str | os.PathLike | None = None) -> None:
        """Prepare a study; nothing is drawn yet.

        run: of a drawn avatar, speech with phonemes, by mini; block: one whose steps are all made; renderings: 2 to
        1024; seed: of the first rendering, the next has the next; folder: where pictures are kept, one that holds some
        of the same study is gone on with. Raises InputError where the truth is not known, where steps of the block are
        missing, and for a folder of another study.
        """
        super().__init__()
        check_whole("renderings", renderings, 2, MOST, "8 tell a mean from a sample")
        check_run(run, block)
        self.run, self.block, self.renderings, self.seed = run, block, renderings, seed
        self.found: Possible | None = None
        self._comparison: Comparison | None = None
        self._times_s: list[float] = []                    # that each rendering took
        self.folder = None if folder is None else user_path(folder)
        if self.folder is not None:
            self._open_folder()

    def __repr__(self) -> str:
        return f"PossibleStudy(block {self.block}, {self.count} of {self.renderings} renderings)"

    @property
    def count(self) -> int:
        """Return how many renderings were compared so far."""
        return 0 if self._comparison is None else self._comparison.count

    @property
    def done(self) -> bool:
        """Tell whether all renderings that were asked for are compared."""
        return self.count >= self.renderings

    @property
    def stopping(self) -> bool:
        """Tell whether it was stopped and still draws its last rendering."""
        return self.running and self._stop.is_set()

    @property
    def left_s(self) -> float | None:
        """Return the seconds that it will still take; None before the first rendering."""
        return statistics.median(self._times_s) * max(self.renderings - self.count, 0) if self._times_s else None

    # ------------------------------------------------------------------ drawing

    def compared(self) -> Iterator[Possible | None]:
        """Draw the renderings that are missing; yield after each what is known by then, None after the first.

        Closing it, or `stop`, ends after the rendering that is being drawn; calling it again goes on there.
        Raises InputError while it runs in a thread.
        """
        self._take_over()
        with held_threads():
            if self._comparison is None:
                self._comparison = Comparison(self.run, self.block)
            while not (self._stop.is_set() or self.done):
                began_s = time.monotonic()
                self._comparison.add(encoded(self.run, self._pictures(self.seed + self.count)))
                if self.count > 1:
                    self.found = self._comparison.result()
                self._times_s.append(time.monotonic() - began_s)
                self._tell(self.count)
                yield self.found

    _parts = compared

    def save(self, path: str | os.PathLike) -> Path:
        """Write what was found into a file, for `open_possible`. Raises InputError before the second rendering."""
        if self.found is None:
            raise InputError("nothing was compared yet; start the study and wait for its second rendering")
        return save_possible(self.found, path)

    # ------------------------------------------------------------------ the folder

    def _pictures(self, seed: int) -> Tensor:
        """Return the pictures of a rendering, kept ones where there are."""
        path = None if self.folder is None else self.folder / f"{seed:04d}.safetensors"
        if path is not None and path.is_file():
            try:
                return read_tensors(path)[0]["pictures"]
            except Exception as error:                      # safetensors raises errors of many kinds
                raise InputError(f"{path} is damaged ({error}); delete it, and it is drawn again") from error
        pictures = draw_pictures(self.run, self.block, seed)
        if path is not None:
            packed = pack_tensors({"pictures": pictures})
            write_whole(path, lambda part: part.write_bytes(packed))
        return pictures

    def _open_folder(self) -> None:
        """Write what is drawn, or check that the folder holds the same. Raises InputError where not."""
        about = {"format": FORMAT, "sound": sha256_of(self.run.speech), "portrait": sha256_of(self.run.portrait),
                 "prompt": self.run.provenance["inputs"]["prompt"]["slots"], "block": self.block,
                 "size": list(self.run.step_frames.decode(self.block, 0).shape[1:3])}
        path = self.folder / "study.json"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, with_crc(about))
            return
        try:
            found = check_values(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); choose another folder") from error
        differ = sorted(name for name in about if found.get(name) != about[name])
        if differ:
            raise InputError(f"{self.folder} holds renderings with other {' and '.join(differ)}; choose another folder")


# ---------------------------------------------------------------------------------------------- what was found, kept
def save_possible(found: Possible, path: str | os.PathLike) -> Path:
    """Write what was found: numbers and pictures, some 20 MB at 256 px. Returns the path."""
    pictures = {"mean": found.mean, "sample": found.sample}
    for name, some in (("expected", found.expected), ("guess", found.guesses)):
        pictures |= {f"{name} {step}": one for step, one in enumerate(some)}
    numbers = {"block": found.block, "count": found.count, "steps": [asdict(step) for step in found.steps],
               "spread": found.spread, "apart": found.apart, "start_s": found.start_s, "fps": found.fps}
    tensors = {name: torch.from_numpy(one) for name, one in pictures.items()}
    packed = pack_tensors(tensors, {"possible": json.dumps(numbers)})
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_bytes(packed))
    return path


def open_possible(path: str | os.PathLike) -> Possible:
    """Read what `save_possible` wrote. Raises InputError for other files and damaged ones."""
    path = utf8_path(user_path(path))
    try:
        pictures, about = read_tensors(path)
        numbers = json.loads(about["possible"])
        steps = tuple(PossibleStep(**step) for step in numbers.pop("steps"))
        expected, guesses = (tuple(pictures[f"{name} {step}"].numpy() for step in range(len(steps)))
                             for name in ("expected", "guess"))
        return Possible(steps=steps, mean=pictures["mean"].numpy(), sample=pictures["sample"].numpy(),
                        expected=expected, guesses=guesses, **numbers)
    except Exception as error:                              # safetensors raises errors of many kinds
        raise InputError(f"{path} holds no comparison that can be read ({type(error).__name__}: {error}); give a file "
                         "written by PossibleStudy.save") from error
