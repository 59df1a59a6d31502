"""The steps of a run as decoded pictures: each is decoded once, the newest are kept.

    frames = run.step_frames
    frames.decode(block=0, step=1)       # (T, H, W, 3) uint8: the guess after step 1, through the real decoder
    frames.kept(block=0, step=1)         # the same where it was decoded before, else None; takes no time
    frames.preview(block=0, step=1)      # (F, h, w, 3) uint8: one picture per latent frame, by a fitted matrix
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np

from liveavatar.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.backends import PictureDecoder
    from liveavatar.runs.run import Run

    What = Literal["clean", "x"]
    Key = tuple[int, int, What]

LIMIT_BYTES = 64 * 2**20          # of decoded pictures that are kept


class StepFrames:
    """Decode latents of a run's steps. Safe in any thread; two threads may decode at once."""

    def __init__(self, run: Run, limit_bytes: int = LIMIT_BYTES) -> None:
        self._run, self._limit_bytes = run, limit_bytes
        self._frames: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._begun: tuple[int, PictureDecoder | None] = -1, None       # a block, and what has decoded all before it
        self._lock = Lock()

    def kept(self, block: int, step: int, what: What = "clean") -> np.ndarray | None:
        """Return the pictures (T, H, W, 3) uint8 of a step where they are known already, else None."""
        finished = self._run.decoded_block(block)
        if finished is not None and step == self._run.info.steps - 1:       # then x and the guess are the block
            return finished.frames.numpy()
        with self._lock:
            found = self._frames.get((block, step, what))
            if found is not None:
                self._frames.move_to_end((block, step, what))
            return found

    def decode(self, block: int, step: int, what: What = "clean") -> np.ndarray:
        """Decode the latents of a step, after those of the finished block before: (T, H, W, 3) uint8.

        what: "clean", the guess of the finished latent, or "x", the latent after the step. T is 12, and less in a last
        block that the sound does not fill. Raises InputError where no decoder is at hand.
        """
        known = self.kept(block, step, what)
        if known is not None:
            return known
        frames = self._cut(block, self._decoder_at(block).decode(self._latents(block, step, what)).numpy())
        self._keep((block, step, what), frames)
        return frames

    def middle(self, block: int, step: int, what: What = "clean") -> np.ndarray:
        """Decode the middle picture of a step, (H, W, 3) uint8, and no later ones: less work than all of them."""
        place = self.frames_of(block) // 2
        known = self.kept(block, step, what)
        if known is not None:
            return known[min(place, len(known) - 1)]
        trim = self._trim if block == 0 else 0
        latents = self._latents(block, step, what)[:, :, :self._run.info.latent_of(place + trim) + 1]
        frames = self._decoder_at(block).decode(latents).numpy()
        return frames[min(place + trim, len(frames) - 1)]

    def portrait(self, size: tuple[int, int]) -> np.ndarray | None:
        """Fit the portrait as for the model: (H, W, 3) uint8 at a size (height, width); None where it is not known."""
        from liveavatar.conditions import fit_portrait
        from liveavatar.preview import to_bytes

        portrait = self._run.portrait
        return None if portrait is None else to_bytes(fit_portrait(portrait, size).permute(1, 2, 0).numpy())

    def frames_of(self, block: int) -> int:
        """Return how many pictures a block has in the video: fewer in a last one that the sound does not fill."""
        info = self._run.info
        first = max(block * info.block_frames - self._trim, 0)
        whole = info.block_frames - (self._trim if block == 0 else 0)
        return max(min(whole, info.frames - self._trim - first), 1) if info.frames else whole

    def preview(self, block: int, step: int, what: What = "clean") -> np.ndarray:
        """Colour the latents by one fitted matrix: (F, h, w, 3) uint8, at the size of the latents."""
        from liveavatar.preview import values_of

        made = self._run.step_record(block, step)
        return self._run.latent_map().colours(values_of(made.clean if what == "clean" else made.x))

    @property
    def _trim(self) -> int:
        """Return pictures that the backend leaves out at the beginning of a video."""
        return 0 if self._run.backend is None else self._run.backend.trim_frames

    def _latents(self, block: int, step: int, what: What) -> Tensor:
        made = self._run.step_record(block, step)
        return made.clean if what == "clean" else made.x

    def _decoder_at(self, block: int) -> PictureDecoder:
        """Return a decoder that has seen the finished block before, so that this one goes on from it."""
        with self._lock:
            begun, decoder = self._begun
        if begun != block or decoder is None:
            run, decoder = self._run, self._run.new_decoder()
            if decoder is None:
                raise InputError("no decoder is at hand for a saved trace: open it with replay(folder, pipeline=pipe), "
                                 "or leave exact off")
            joined = run.backend is None or run.backend.blocks_join
            if joined and block > 0 and (block - 1, run.info.steps - 1) in run.recorded_steps:
                decoder.decode(run.step_record(block - 1, -1).x)
            with self._lock:
                self._begun = block, decoder
        return decoder.fork()

    def _cut(self, block: int, frames: np.ndarray) -> np.ndarray:
        """Leave out what the video leaves out: some backends' first pictures, and those after the sound's end."""
        return frames[self._trim if block == 0 else 0:][:self.frames_of(block)]

    def _keep(self, key: Key, frames: np.ndarray) -> None:
        with self._lock:
            self._frames[key] = frames
            while len(self._frames) > 1 and sum(kept.nbytes for kept in self._frames.values()) > self._limit_bytes:
                self._frames.popitem(last=False)
