"""Every denoising step of every block, as a grid of pictures that fills while the video is made."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.preview import StepNumbers, histogram, numbers_of, signed_bytes, values_of
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import Run
from liveavatar.types import InputError, Step
from widgets._cells import (
    CHANNEL_REACH,
    DECODED,
    SHOWN,
    colours,
    name_of,
    packed,
    packed_jpeg,
    previews,
    step_before,
    values_shown,
)
from widgets._decoding import CELLS, decoding
from widgets._live import Body, Buffers, LiveView

if TYPE_CHECKING:
    from PIL.Image import Image

    from widgets.branch_tree import BranchTree

CELLS_A_MESSAGE = 24          # so that a click is answered soon, however many cells there are
CELLS_KEPT = 4000
THUMBNAIL_PX = 96             # height of decoded thumbnails
STILL_BLOCKS = 16

Key = tuple[int, int]         # (block, step)


class StepGrid(LiveView):
    """Rows are denoising steps, columns are blocks. A click, or the arrow keys, opens a cell: moving pictures, all
    channels, a histogram and numbers.

    While the run pauses, pictures come from the real decoder. While it is going they are previews, and marked as such.
    The numbers of the chosen cell can be had by name: `grid.numbers.velocity_norm`, `grid.channels`, `grid.histogram`.
    """

    script = "step_grid.js"
    nothing = "No steps to show yet: give a run, StepGrid(run), a Trace, or the folder of a saved one."

    show = traitlets.Enum(list(SHOWN), "both", help="what is drawn: " + ", ".join(SHOWN)).tag(sync=True, code=True)
    exact = traitlets.Bool(True, help="draw x and guess with the real decoder as soon as the run pauses; False: by a "
                                      "fitted matrix, always").tag(sync=True, code=True)
    channel = traitlets.Int(0, min=0, help="latent channel, for show='channel'").tag(sync=True, code=True)
    block = traitlets.Int(-1, help="block of the chosen cell; -1 is the newest").tag(sync=True, code=True)
    step = traitlets.Int(-1, help="denoising step of the chosen cell; -1 is the newest").tag(sync=True, code=True)
    detail = traitlets.Bool(True, help="show the chosen cell large, with its channels and numbers").tag(
        sync=True, code=True)
    cell_px = traitlets.Int(0, min=0, max=256, help="width of a picture in a cell, in pixels; 0: as there is "
                                                    "room").tag(sync=True, code=True)
    _branching = traitlets.Bool(False, help="whether a branch can be made at the chosen cell").tag(sync=True)
    _visible = traitlets.List(traitlets.Int(), [0, 40], help="first and last block in view").tag(sync=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        self._pictures: dict[tuple, tuple[list, bytes]] = {}     # (block, step, what) -> description, bytes
        self._sent: dict[Key, bool] = {}                         # cell -> whether it was sent as it will stay
        self._detail_sent: tuple = ()                            # (block, step, what, final) of the chosen cell
        self._detail_body: Body = {}                             # and what was said of it
        self._looked: tuple[tuple, np.ndarray | None] = ((), None)   # (block, step, what) -> values, of the last look
        self._branches: BranchTree | None = None
        super().__init__(*arguments, **options)
        self.observe(self._cursor_moved, "time_s")
        self.observe(self._looked_elsewhere, ["show", "exact", "channel"])

    def offer_branches(self, branches: BranchTree) -> None:
        """Show the button "Branch here", which makes the branch that the form of a tree asks for at the chosen cell."""
        self._branches, self._branching = branches, True

    # ------------------------------------------------------------------ what is on screen

    @property
    def chosen(self) -> Key:
        """Return (block, step) of the cell that is shown large."""
        if self.run is None or not self.run.recorded_steps:
            raise InputError(self.nothing)
        seen = self.run.recorded_steps
        block = seen[-1][0] if self.block < 0 else min(self.block, seen[-1][0])
        steps = [step for of, step in seen if of == block] or [seen[-1][1]]
        return block, steps[-1] if self.step < 0 else min(self.step, steps[-1])

    @property
    def values(self) -> np.ndarray:
        """Return (C, F, h, w) float32: what is drawn in the chosen cell, before it becomes colours; the guess of
        "both"."""
        return self._values(*self.chosen)

    @property
    def channels(self) -> np.ndarray:
        """Return (C, F, h, w) float32: all channels of it; of the clean guess where one channel or their mean is drawn.
        """
        return self._channels(self.values, self.run.step_record(*self.chosen))

    @property
    def numbers(self) -> StepNumbers:
        """Return of the chosen cell: sigma, share of the path, norm, cosine, milliseconds, moments of `values`."""
        block, index = self.chosen
        return numbers_of(self.run.step_record(block, index), step_before(self.run, block, index), self.values,
                          self.run.info.sigmas[0] if self.run.info.sigmas else 1.0)

    @property
    def histogram(self) -> list[int]:
        """Return the histogram of `values`, 48 equal bins from -4 to 4."""
        return histogram(self.values)

    @property
    def picture(self) -> np.ndarray:
        """Return (frames, H, W, 3) uint8: the chosen cell as it is drawn once the run pauses, in video frames where it
        is decoded, else in latent frames; of "both" x on the left, the guess on the right."""
        block, index = self.chosen
        if not self._decodes:
            return self._undecoded(block, index)
        return np.concatenate([self.run.step_frames.decode(block, index, what) for what in DECODED[self.show]], 2)

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        decoding().forget(self)
        self._pictures.clear()
        self._looked = (), None
        self._forget_sent()
        if self.run is not None and self.run.backend is not None:
            self.run.latent_map()                        # now, where it does not take time from the run

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if full:
            self._forget_sent()
        seen = self.run.recorded_steps
        body: Body = {"seen": seen, "what": self._what, "shown": SHOWN[self.show], "sigmas": self.run.info.sigmas,
                      "words": self._words(seen), "remarks": self._remarks, "decodes": self._decodes,
                      "pictures": len(DECODED.get(self.show, " "))}
        if not seen:
            return body, {}
        buffers = {}
        for key in tuple(self._missing(seen)):
            description, picture = self._picture(*key)
            buffers[name_of("cell", *key, *description)] = picture
            self._sent[key] = self._final(*key)
        if any(self._missing(seen)):
            self.refresh(urgent=True)
        if self.detail:
            detail, more = self._detail()
            body["detail"] = detail
            buffers |= more
        self._ask(seen)
        return body, buffers

    def still(self) -> Image | None:
        from widgets._stills import grid_picture

        if self.run is None or not self.run.recorded_steps:
            return None
        cells = [key for key in self.run.recorded_steps if key[0] < STILL_BLOCKS]
        marked = {key for key in cells if not self._final(*key)}
        return grid_picture({key: self._small(*key) for key in cells}, self.run.info, SHOWN[self.show], marked)

    @property
    def _decodes(self) -> bool:
        """Tell whether cells are to be drawn by the real decoder, as soon as there is time."""
        return self.exact and self.show in DECODED and self.run is not None and self.run.decodes

    @property
    def _what(self) -> str:
        """Return a name of what is drawn; pictures of another what are of no use."""
        return f"{self.show} {self.channel if self.show == 'channel' else ''} {self._decodes}"

    def _words(self, seen: tuple[Key, ...]) -> str:
        """Return how to read the colours, in a sentence."""
        if self.show == "difference":
            return "Bright: the guess changed much in this step. The first one has no step before it."
        if self.show in ("channel", "mean"):
            return "Blue below zero, red above."
        if self.show == "velocity":
            return "Noise minus picture, as colours around grey."
        if self._decodes:
            if all(self._final(*key) for key in seen if self._in_view(key[0])):
                return "As the decoder draws it."
            return "Red corner: a preview" + (", until the run pauses." if self.run.state == RUNNING else ".")
        colours = self.run.latent_map() if seen else None
        if colours is None or colours.source == "fitted":
            known = "" if colours is None else f"; it shows {max(colours.explained, 0):.0%} of the colours"
            return f"Previews: colours by one fitted matrix{known}."
        return "This trace does not know its model: shapes are true, colours are not."

    @property
    def _remarks(self) -> str:
        """Return what could not be recorded of the run, in sentences."""
        return " ".join(f"{remark[0].upper()}{remark[1:]}." for remark in self.run.info.remarks)

    def _in_view(self, block: int) -> bool:
        first, last = self._visible
        return first <= block <= last

    def _missing(self, seen: tuple[Key, ...]) -> Iterator[Key]:
        """Yield cells in view that the browser does not have yet, or only as previews; as many as one message takes."""
        changed_least = 1 if self.show == "difference" else 0          # the first step has no step before it
        count = 0
        for key in seen:
            if not self._in_view(key[0]) or key[1] < changed_least or self._sent.get(key):
                continue
            if key in self._sent and not self._final(*key):            # a preview, and there is nothing better yet
                continue
            yield key
            count += 1
            if count == CELLS_A_MESSAGE:
                return

    def _final(self, block: int, index: int) -> bool:
        """Tell whether a cell's picture is at hand as it will stay: decoded where it is to be decoded."""
        known = not self._decodes or (block, index, self._what) in self._pictures
        return known or self._parts(block, index) is not None

    def _ask(self, seen: tuple[Key, ...]) -> None:
        """Ask for the cells in view decoded: the chosen one first, then the newest."""
        cells: dict[Key, bool] = {}                      # -> whether all its frames are needed
        if self._decodes:
            if self.detail and self._parts(*self.chosen) is None:
                cells[self.chosen] = True
            for key in self._nearest_first(seen):
                if not self._final(*key):
                    cells.setdefault(key, False)
        decoding().want(self, {(*key, self.show, large): partial(self._decode, self.run, self.show, large, *key)
                               for key, large in cells.items()}, CELLS)

    def _nearest_first(self, seen: tuple[Key, ...]) -> list[Key]:
        """Return the cells in view, block by block as they are near the chosen one: a block is begun only once."""
        chosen = self.chosen[0]
        return sorted((key for key in seen if self._in_view(key[0])), key=lambda key: (abs(key[0] - chosen), *key))

    def _decode(self, run: Run, show: str, large: bool, block: int, index: int) -> None:
        """Decode a cell, all its frames or the one that is seen small. In the decoding thread: a click may have changed
        meanwhile what is wanted."""
        frames = run.step_frames
        if large:
            for part in DECODED[show]:
                frames.decode(block, index, part)
        small = np.concatenate([frames.middle(block, index, part) for part in DECODED[show]], 1)
        with self._lock:
            if self.run is run and self.show == show:
                self._keep_picture((block, index, self._what), packed_jpeg(small[None], THUMBNAIL_PX))

    def _parts(self, block: int, index: int) -> list[np.ndarray] | None:
        """Return the decoded pictures (T, H, W, 3) of a cell, from left to right; None where one is not at hand."""
        kept = [self.run.step_frames.kept(block, index, what) for what in DECODED.get(self.show, ())]
        return None if not kept or any(part is None for part in kept) else kept

    def _picture(self, block: int, index: int) -> tuple[list, bytes]:
        """Return [kind, frames, width, height] and the bytes of a cell: one picture as JPEG where it is decoded."""
        key = block, index, self._what
        if key not in self._pictures:
            parts = self._parts(block, index) if self._decodes else None
            if parts is None:
                made = packed(self._undecoded(block, index), self.show)
                if self._decodes:
                    return made                          # a preview is not kept
            else:
                middle = np.concatenate([frames[len(frames) // 2] for frames in parts], 1)
                made = packed_jpeg(middle[None], THUMBNAIL_PX)
            self._keep_picture(key, made)
        return self._pictures[key]

    def _keep_picture(self, key: tuple, made: tuple[list, bytes]) -> None:
        while len(self._pictures) >= CELLS_KEPT:
            del self._pictures[next(iter(self._pictures))]
        self._pictures[key] = made

    def _small(self, block: int, index: int) -> np.ndarray:
        """Return the middle picture of a cell, as it is drawn: (H, W, 3), or (h, w) where the browser colours it."""
        (kind, count, width, height), data = self._picture(block, index)
        if kind == "jpeg":
            from PIL import Image

            return np.asarray(Image.open(BytesIO(data)))
        shape = (count, height, width, 3) if kind == "rgb" else (count, height, width)
        return np.frombuffer(data, np.uint8).reshape(shape)[count // 2]

    def _undecoded(self, block: int, index: int) -> np.ndarray:
        """Return what is drawn without the decoder: (F, h, w, 3), or (F, h, w) where the browser colours it."""
        if self.show in DECODED:
            return previews(self.run, self.show, block, index)
        return colours(self.run, self.show, self.channel, self._values(block, index))

    def _values(self, block: int, index: int) -> np.ndarray:
        key = block, index, self.show
        looked = self._looked
        if looked[0] != key:                           # a new cell is drawn small, large and in numbers
            looked = self._looked = key, values_shown(self.run, self.show, block, index)
        return looked[1]

    def _channels(self, values: np.ndarray, step: Step) -> np.ndarray:
        return values_of(step.clean) if self.show in ("channel", "mean") else values

    def _detail(self) -> tuple[Body, Buffers]:
        """Return the chosen cell: numbers always, pictures when they are new, or sharper."""
        block, index = self.chosen
        parts = self._parts(block, index) if self._decodes else None
        key = block, index, self._what, parts is not None
        if key == self._detail_sent:
            return self._detail_body, {}
        values, step = self._values(block, index), self.run.step_record(block, index)
        numbers = numbers_of(step, step_before(self.run, block, index), values, self.run.info.sigmas[0])
        self._detail_body = {"block": block, "step": index, "numbers": dict(vars(numbers)),
                             "histogram": histogram(values)}
        channels = self._channels(values, step)
        description, picture = (packed(self._undecoded(block, index), self.show) if parts is None
                                else packed_jpeg(np.concatenate(parts, 2)))
        self._detail_sent = key
        C, F, h, w = channels.shape
        return self._detail_body, {name_of("picture", 0, 0, *description): picture,
                                   name_of("channels", 0, 0, "signed", C * F, w, h):
                                       signed_bytes(channels, CHANNEL_REACH).tobytes()}

    def on_message(self, kind: str, content: dict) -> None:
        """Handle a click on "Branch here": open the form of the tree for the chosen cell."""
        if kind == "branch" and self._branches is not None:
            self.block, self.step = self.chosen
            self._branches.ask()

    def _forget_sent(self) -> None:
        self._sent.clear()
        self._detail_sent = ()

    # ------------------------------------------------------------------ what moves

    def _looked_elsewhere(self, _: traitlets.Bunch) -> None:
        self.refresh(full=True)

    def _cursor_moved(self, change: traitlets.Bunch) -> None:
        """Move the chosen cell to the block under the cursor; one that follows the newest goes on following."""
        if self.run is not None and self.run.recorded_steps:
            newest = self.run.recorded_steps[-1][0]
            block = min(self.run.info.block_at(change.new), newest)
            if self.block >= 0 or block != newest:
                self.block = block

