"""Every sampler step of every block, as a grid of pictures that fills while the video is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.preview import (
    StepNumbers,
    decode_exactly,
    histogram,
    jpeg,
    numbers_of,
    signed_bytes,
    strip,
    values_of,
)
from liveavatar.types import InputError, Step
from widgets._live import Body, Buffers, LiveView

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = {   # what can be drawn -> in words
    "clean": "clean guess", "x": "noisy latent x", "velocity": "velocity",
    "difference": "difference to the step before", "channel": "one latent channel", "mean": "channel mean",
}
DECODABLE = ("clean", "x")
CHANNEL_REACH, MEAN_REACH, DIFFERENCE_REACH = 3.0, 1.0, 0.7     # drawn in full colour; latents have unit variance
CELLS_A_MESSAGE = 24          # so that a click is answered soon, however many cells there are
CELLS_KEPT = 4000
THUMBNAIL_PX = 96             # height of decoded thumbnails

Key = tuple[int, int]         # (block, step)


class StepGrid(LiveView):
    """Rows are sampler steps, columns are blocks. A click, or the arrow keys, opens a cell: moving pictures, all
    channels, a histogram and numbers.

    The numbers of the chosen cell can be had by name: `grid.numbers.velocity_norm`, `grid.channels`, `grid.histogram`.
    """

    script = "step_grid.js"
    nothing = "No steps to show yet: give a run, StepGrid(run), a Trace, or the folder of a saved one."

    show = traitlets.Enum(list(SHOWN), "clean", help="what is drawn: " + ", ".join(SHOWN)).tag(sync=True, code=True)
    exact = traitlets.Bool(False, help="draw x and clean with the real decoder: sharp, but it takes time from the run; "
                                       "False: by a fitted matrix").tag(sync=True, code=True)
    channel = traitlets.Int(0, min=0, help="latent channel, for show='channel'").tag(sync=True, code=True)
    block = traitlets.Int(-1, help="block of the chosen cell; -1 is the newest").tag(sync=True, code=True)
    step = traitlets.Int(-1, help="sampler step of the chosen cell; -1 is the newest").tag(sync=True, code=True)
    detail = traitlets.Bool(True, help="show the chosen cell large, with its channels and numbers").tag(
        sync=True, code=True)
    cell_px = traitlets.Int(0, min=0, max=256, help="width of a cell in pixels; 0: as there is room").tag(
        sync=True, code=True)
    _visible = traitlets.List(traitlets.Int(), [0, 40], help="first and last block in view").tag(sync=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        self._pictures: dict[tuple, tuple[list, bytes]] = {}     # (block, step, what) -> description, bytes
        self._sent: set[tuple] = set()
        self._detail_sent: tuple = ()                            # (block, step, what) of the chosen cell
        self._detail_body: Body = {}                             # and what was said of it
        self._looked: tuple[tuple, np.ndarray | None] = ((), None)   # (block, step, what) -> values, of the last look
        super().__init__(*arguments, **options)
        self.observe(self._cursor_moved, "time_s")
        self.observe(self._looked_elsewhere, ["show", "exact", "channel"])

    # ------------------------------------------------------------------ what is on screen

    @property
    def chosen(self) -> Key:
        """(block, step) of the cell that is shown large."""
        if self.run is None or not self.run.seen:
            raise InputError(self.nothing)
        seen = self.run.seen
        block = seen[-1][0] if self.block < 0 else min(self.block, seen[-1][0])
        steps = [step for of, step in seen if of == block] or [seen[-1][1]]
        return block, steps[-1] if self.step < 0 else min(self.step, steps[-1])

    @property
    def values(self) -> np.ndarray:
        """(C, F, h, w) float32: what is drawn in the chosen cell, before it becomes colours."""
        return self._values(*self.chosen)

    @property
    def channels(self) -> np.ndarray:
        """(C, F, h, w) float32: all channels of it; of the clean guess where one channel or their mean is drawn."""
        return self._channels(self.values, self.run.look(*self.chosen))

    @property
    def numbers(self) -> StepNumbers:
        """Of the chosen cell: sigma, share of the path, norm, cosine, milliseconds, moments of `values`."""
        block, index = self.chosen
        return numbers_of(self.run.look(block, index), self._before(block, index), self.values,
                          self.run.facts.sigmas[0] if self.run.facts.sigmas else 1.0)

    @property
    def histogram(self) -> list[int]:
        """Of `values`, 48 equal bins from -4 to 4."""
        return histogram(self.values)

    @property
    def picture(self) -> np.ndarray:
        """(frames, H, W, 3) uint8: the chosen cell as it is drawn, in latent frames, or in video frames when exact."""
        return self._frames(*self.chosen)

    # ------------------------------------------------------------------ drawing

    def begin(self) -> None:
        self._pictures.clear()
        self._looked = (), None
        self._forget_sent()
        if self.run is not None and self.run.backend is not None:
            self.run.latent_map()                        # now, where it does not take time from the run

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if full:
            self._forget_sent()
        seen = self.run.seen
        body: Body = {"seen": seen, "what": self._what, "shown": SHOWN[self.show], "sigmas": self.run.facts.sigmas,
                      "words": self._words(seen)}
        if not seen:
            return body, {}
        buffers = {}
        for key in tuple(self._missing(seen)):
            description, picture = self._picture(*key)
            buffers[name_of("cell", *key, *description)] = picture
            self._sent.add(key)
        if any(self._missing(seen)):
            self.refresh(urgent=not self._decodes)
        if self.detail:
            detail, more = self._detail()
            body["detail"] = detail
            buffers |= more
        return body, buffers

    def still(self) -> Image | None:
        from widgets._stills import grid_picture

        if self.run is None or not self.run.seen:
            return None
        pictures = {key: self._colours(self._values(*key))[-1] for key in self.run.seen if key[0] < 16}
        return grid_picture(pictures, self.run.facts, SHOWN[self.show])

    @property
    def _decodes(self) -> bool:
        return self.exact and self.show in DECODABLE

    @property
    def _what(self) -> str:
        """A name of what is drawn; pictures of another what are of no use."""
        return f"{self.show} {self.channel if self.show == 'channel' else ''} {self._decodes}"

    def _words(self, seen: tuple[Key, ...]) -> str:
        """How to read the colours, in a sentence."""
        if self.show == "difference":
            return "Bright: the guess changed much in this step. The first one has no step before it."
        if self.show in ("channel", "mean"):
            return "Blue below zero, red above."
        if self.show == "velocity":
            return "Noise minus picture, as colours around grey."
        if self._decodes:
            return "As the decoder draws it."
        colours = self.run.latent_map() if seen else None
        if colours is None or colours.source == "fitted":
            known = "" if colours is None else f"; it shows {max(colours.explained, 0):.0%} of the colours"
            return f"Colours by one fitted matrix{known}."
        return "This trace does not know its model: shapes are true, colours are not."

    def _missing(self, seen: tuple[Key, ...]) -> Iterator[Key]:
        """Cells in view that the browser does not have yet, as many as one message takes; decoding is one at a time."""
        first, last = self._visible
        most = 1 if self._decodes else CELLS_A_MESSAGE
        changed_least = 1 if self.show == "difference" else 0          # the first step has no step before it
        found = (key for key in seen if first <= key[0] <= last and key[1] >= changed_least and key not in self._sent)
        for key, _ in zip(found, range(most), strict=False):
            yield key

    def _picture(self, block: int, index: int) -> tuple[list, bytes]:
        """[kind, frames, width, height] and the bytes of a cell."""
        key = block, index, self._what
        if key not in self._pictures:
            while len(self._pictures) >= CELLS_KEPT:
                del self._pictures[next(iter(self._pictures))]
            self._pictures[key] = self._make_picture(block, index)
        return self._pictures[key]

    def _make_picture(self, block: int, index: int) -> tuple[list, bytes]:
        if self._decodes:
            return packed_jpeg(self._thumbnail(block, index), THUMBNAIL_PX)
        return packed(self._colours(self._values(block, index)), self.show)

    def _colours(self, values: np.ndarray) -> np.ndarray:
        """What is drawn of values (C, F, h, w): (F, h, w, 3) colours, or (F, h, w) where the browser colours it."""
        if self.show in DECODABLE:
            return self.run.latent_map().colours(values)
        if self.show == "velocity":
            return self.run.latent_map().directions(values)
        if self.show == "difference":
            return signed_bytes(np.sqrt((values ** 2).mean(0)) * 2 - DIFFERENCE_REACH, DIFFERENCE_REACH)
        if self.show == "mean":
            return signed_bytes(values.mean(0), MEAN_REACH)
        if self.channel >= len(values):
            raise InputError(f"channel is {self.channel}; these latents have channels 0 to {len(values) - 1}")
        return signed_bytes(values[self.channel], CHANNEL_REACH)

    def _values(self, block: int, index: int) -> np.ndarray:
        key = block, index, self.show
        looked = self._looked
        if looked[0] != key:                           # a new cell is drawn small, large and in numbers
            looked = self._looked = key, self._fresh_values(block, index)
        return looked[1]

    def _fresh_values(self, block: int, index: int) -> np.ndarray:
        step = self.run.look(block, index)
        if self.show == "difference":
            before = self._before(block, index)
            return np.zeros_like(values_of(step.clean)) if before is None else (
                values_of(step.clean) - values_of(before.clean))
        if self.show in ("x", "velocity"):
            tensor = getattr(step, self.show)
            if tensor is None:
                raise InputError("this trace was kept without velocities; record with Trace(velocity=True)")
            return values_of(tensor)
        return values_of(step.clean)

    def _channels(self, values: np.ndarray, step: Step) -> np.ndarray:
        return values_of(step.clean) if self.show in ("channel", "mean") else values

    def _frames(self, block: int, index: int) -> np.ndarray:
        """The moving picture of a cell (frames, H, W, 3) uint8, or (frames, h, w) where the browser colours it."""
        if not self._decodes:
            return self._colours(self._values(block, index))
        step = self.run.look(block, index)
        known = next((one for one in self.run.blocks if one.index == block), None)
        if step.last and known is not None:
            return known.frames.numpy()                    # what the run itself has decoded
        if self.run.backend is None:
            raise InputError("no decoder is at hand for a saved trace: open it with replay(folder, pipeline=pipe), "
                             "or leave exact off")
        before = self.run.look(block - 1, -1).x if (block - 1, 0) in self.run.seen else None
        return decode_exactly(self.run.backend, step.clean if self.show == "clean" else step.x, before)

    def _thumbnail(self, block: int, index: int) -> np.ndarray:
        """One decoded picture of a cell, (1, H, W, 3): a third of the work of all its frames."""
        step = self.run.look(block, index)
        if step.last or self.run.backend is None:
            return self._frames(block, index)[5:6]
        latents = (step.clean if self.show == "clean" else step.x)[:, :, :2]
        return decode_exactly(self.run.backend, latents)[5:6]

    def _before(self, block: int, index: int) -> Step | None:
        return self.run.look(block, index - 1) if index > 0 else None

    def _detail(self) -> tuple[Body, Buffers]:
        """The chosen cell: numbers always, pictures when they are new."""
        block, index = self.chosen
        key = block, index, self._what
        if key == self._detail_sent:
            return self._detail_body, {}
        values, step = self._values(block, index), self.run.look(block, index)
        numbers = numbers_of(step, self._before(block, index), values, self.run.facts.sigmas[0])
        self._detail_body = {"block": block, "step": index, "numbers": dict(vars(numbers)),
                             "histogram": histogram(values)}
        channels = self._channels(values, step)
        large = packed_jpeg(self._frames(block, index), None) if self._decodes else self._picture(block, index)
        description, picture = large
        self._detail_sent = key
        C, F, h, w = channels.shape
        return self._detail_body, {name_of("picture", 0, 0, *description): picture,
                      name_of("channels", 0, 0, "signed", C * F, w, h):
                          signed_bytes(channels, CHANNEL_REACH).tobytes()}

    def _forget_sent(self) -> None:
        self._sent.clear()
        self._detail_sent = ()

    # ------------------------------------------------------------------ what moves

    def _looked_elsewhere(self, _: traitlets.Bunch) -> None:
        self.refresh(full=True)

    def _cursor_moved(self, change: traitlets.Bunch) -> None:
        """The chosen cell goes to the block under the cursor."""
        if self.run is not None and self.run.seen:
            self.block = min(self.run.facts.block_at(change.new), self.run.seen[-1][0])


def name_of(*parts: object) -> str:
    """A buffer's name says what it is: "cell/block/step/kind/frames/width/height"."""
    return "/".join(map(str, parts))


def packed(frames: np.ndarray, show: str) -> tuple[list, bytes]:
    """Small pictures as raw bytes: (F, h, w, 3) colours, or (F, h, w) that the browser colours."""
    kind = "rgb" if frames.ndim == 4 else "heat" if show == "difference" else "signed"
    count, height, width = frames.shape[:3]
    return [kind, count, width, height], frames.tobytes()


def packed_jpeg(frames: np.ndarray, height: int | None) -> tuple[list, bytes]:
    """Pictures (F, H, W, 3) side by side in one JPEG."""
    row = strip(frames, height)
    return ["jpeg", len(frames), row.shape[1] // len(frames), row.shape[0]], jpeg(row, 88)
