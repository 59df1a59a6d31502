"""What the model remembers: one ring of keys and values per noise level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import traitlets

from liveavatar.runs.info import RingState
from liveavatar.types import InputError
from widgets._live import Body, Buffers, LiveView

if TYPE_CHECKING:
    from PIL.Image import Image


class CacheView(LiveView):
    """One ring per noise level: the latent frames it holds, where it wraps, its condition tokens and its bytes.

    Live it shows the newest state. Choose an earlier one with `block` and `step`, or by moving the time cursor.
    """

    script = "cache_view.js"
    nothing = "No caches to show yet: give a run, CacheView(run), or a saved one, CacheView('folder')."

    block = traitlets.Int(-1, help="block after which the caches are shown; -1 is the newest").tag(sync=True, code=True)
    step = traitlets.Int(-1, help="sampler step of that block; -1 is its newest").tag(sync=True, code=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.observe(self._cursor_moved, "time_s")

    @property
    def rings(self) -> tuple[RingState, ...]:
        """Return the caches on screen, one per noise level."""
        block, step = self._moment()
        return tuple(self.run.ring_at(block, step, level) for level in range(self.run.info.steps))

    @property
    def bytes(self) -> int:
        """Return the bytes of all rings together."""
        return sum(ring.bytes for ring in self.rings)

    @property
    def single_bytes(self) -> int:
        """Return what one clean cache would need instead."""
        return self.rings[0].bytes

    @property
    def note(self) -> str:
        """Return what one clean cache would hold, and what it would cost."""
        return note_on(self.rings)

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if not self.run.recorded_steps:
            return {"rings": []}, {}
        block, step = self._moment()
        info, held = self.run.info, self.rings
        rings = [{"level": ring.level, "held": ring.held, "end": ring.end, "slot": ring.slot, "wrapped": ring.wrapped,
                  "capacity": ring.capacity, "frame_tokens": ring.frame_tokens, "bytes": ring.bytes,
                  "condition_tokens": ring.condition_tokens, "motion": ring.has_motion,
                  "sigma": info.sigmas[ring.level], "sigma_next": info.sigmas[ring.level + 1]} for ring in held]
        return {"rings": rings, "block": block, "step": step, "note": note_on(held),
                "bytes": sum(ring.bytes for ring in held), "single_bytes": held[0].bytes,
                "frame_s": info.frames_per_latent / info.fps}, {}

    def still(self) -> Image | None:
        from widgets._stills import rings_picture

        return rings_picture(self.rings, self.run.info) if self.run is not None and self.run.recorded_steps else None

    def _moment(self) -> tuple[int, int]:
        """Return (block, step) after which the caches are shown."""
        if self.run is None or not self.run.recorded_steps:
            raise InputError(self.nothing)
        seen = self.run.recorded_steps
        block = seen[-1][0] if self.block < 0 else min(self.block, seen[-1][0])
        steps = [step for of, step in seen if of == block]
        step = steps[-1] if self.step < 0 or self.step not in steps else self.step
        if self.run.info.pipeline:
            raise InputError(f"{self.run.info.pipeline} keeps no keys and values between its steps: there are no "
                             "caches to show.")
        if self.run.ring_at(block, step, 0) is None:
            raise InputError("This trace was saved without its run, so the size of the caches is not known. "
                             "Save with run.save(folder) and open that folder.")
        return block, step

    def _cursor_moved(self, change: traitlets.Bunch) -> None:
        """Show the caches as they were when the block under the cursor was done; the newest when it is the last."""
        if self.run is not None and self.run.recorded_steps:
            block = self.run.info.block_at(change.new)
            self.block = -1 if block >= self.run.recorded_steps[-1][0] else block


def note_on(rings: tuple[RingState, ...]) -> str:
    """Compare rings with one clean cache, in words."""
    ring, levels = rings[0], len(rings)
    return (f"One clean cache would hold the same {ring.capacity} latent frames once: {size_words(ring.bytes)} "
            f"instead of {size_words(sum(one.bytes for one in rings))}. But filling it takes one more pass through the "
            f"network after every block: {levels + 1} instead of {levels}, {100 / levels:.0f} % more work, and the "
            f"next block could only begin when this one is clean. With a ring per noise level, step {levels - 1} of "
            "one block and step 0 of the next need nothing from each other.")


def size_words(count: int) -> str:
    """Return bytes in words."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB" if count >= 2**20 else (
        f"{int(count / 2**10 + 0.5)} KiB")             # halves up, as the browser rounds
