"""What each denoising step changed in the picture: on the face, on one scale, and in words."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.metrics.block_changes import BlockChanges, changes_of
from liveavatar.metrics.run_pairs import step_difference
from liveavatar.metrics.steps import Box, StepEffect, describe, difference
from liveavatar.preview import encoded, heat, scale_ticks, strip
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from widgets._decoding import CHANGE, decoding
from widgets._live import Body, Buffers, LiveView, run_of
from widgets._run_pair import told

if TYPE_CHECKING:
    from PIL.Image import Image

    from widgets._live import Source

COMPARED = {"wipe": "wipe", "blink": "blink", "side": "side by side"}
AGAINST = {"before": "the step before", "finished": "the finished picture", "other": "the same step of another run"}
PORTRAIT, FOLLOW = -1, -2          # in place of a step
QUALITY = {"quality": 92, "subsampling": 0}
CLOSE_UP, WHOLE = 1.4, 0.9         # side of a close-up in sides of the face; share of a picture from which it is none
BLOCKS_KEPT = 6                    # whose pictures are kept packed


class StepChange(LiveView):
    """Shows what each step changed: the difference of its decoded guess to the one before, on the face, on one scale
    for all steps; step 0 against the portrait. Any two can be compared by a wipe or a blink. With `other`, each step
    can be compared with the same step of another run, such as the parent of a branch.

    The block under the time cursor is shown, as soon as the run pauses. `view.effects` has the numbers,
    `view.changes` the differences, `view.words` says it in sentences.
    """

    script = "step_change.js"
    drawn_after = ()                   # only after a change of the run's state: while it is going there is no decoder
    nothing = "No steps to compare yet: give a run, StepChange(run), or the folder of a saved one."

    against = traitlets.Enum(list(AGAINST), "before", help="what each guess is compared with: before (the step before, "
                             "step 0 the portrait), finished (what is left to do) or other (the same step of the run "
                             "given as `other`)").tag(sync=True, code=True)
    on_face = traitlets.Bool(True, help="draw the differences over the grey picture; False: on black").tag(
        sync=True, code=True)
    compare = traitlets.Enum(list(COMPARED), "wipe", help="how two steps are compared: " + ", ".join(COMPARED)).tag(
        sync=True, code=True)
    first = traitlets.Int(FOLLOW, min=FOLLOW, help="the one compared: a step; -1 the portrait; -2 the step before "
                          "`second`").tag(sync=True, code=True)
    second = traitlets.Int(FOLLOW, min=FOLLOW, help="the other: a step; -1 the portrait; -2 the newest step").tag(
        sync=True, code=True)
    close_up = traitlets.Bool(True, help="show the face alone, enlarged, where two are compared and a face is found"
                              ).tag(sync=True, code=True)
    split = traitlets.Float(0.5, min=0, max=1, help="where the wipe stands: left of it the first, right of it the "
                            "second, 0 to 1").tag(sync=True, code=True)
    blink_s = traitlets.Float(0.6, min=0.1, max=5, help="seconds for which the blink shows each of the two").tag(
        sync=True, code=True)

    def __init__(self, source: Source | None = None, other: Source | None = None, **options: object) -> None:
        self.other: Run | None = None
        self._newest: tuple[Run | None, int, int, BlockChanges | None] = None, 0, 0, None    # run, block, steps made
        self._packs: OrderedDict[tuple, tuple[Body, Buffers]] = OrderedDict()    # (block, steps made, look) -> as sent
        self._sent: tuple = ()
        super().__init__(source, **options)
        if other is not None:
            self.compare_with(other)

    def compare_with(self, other: Source | None) -> None:
        """Take another run, or a saved one, to compare each step with. None: no other run."""
        with self._lock:
            self.other = run_of(other)
            if self.other is None and self.against == "other":
                self.against = "before"
            self.reset()
        self.refresh(full=True)

    def as_code(self) -> str:
        """Return Python that makes this view again, with the choices made in it."""
        return super().as_code().replace("(run", "(run" if self.other is None else "(run, other", 1)

    # ------------------------------------------------------------------ what is on screen

    @property
    def block(self) -> int:
        """Return the block that is shown: the one under the time cursor, or the newest before it."""
        if self.run is None or not self.run.recorded_steps:
            raise InputError(self.nothing)
        return min(self.run.info.block_at(self.time_s), self.run.recorded_steps[-1][0])

    @property
    def shown(self) -> BlockChanges:
        """Return all that is known of the block; what is not decoded yet is decoded now."""
        return self._changes_of(self.run, self.block, self._made(self.block))

    @property
    def effects(self) -> tuple[StepEffect, ...]:
        """Return, for each step, change, left, done, detail, mouth."""
        return self.shown.effects

    @property
    def words(self) -> tuple[str, tuple[str, ...]]:
        """Return a headline, and a sentence for each step."""
        return describe(self.effects)

    @property
    def changes(self) -> tuple[np.ndarray | None, ...]:
        """Return (T, H, W) 0..1 for each step: the difference that is drawn; None where there is nothing to compare
        with."""
        shown = self.shown
        return tuple(shown.change(step, self.against) for step in range(len(shown.guesses)))

    @property
    def compared(self) -> tuple[int, int]:
        """Return the two that are compared: steps, or -1 for the portrait."""
        last = self._made(self.block) - 1
        second = last if self.second == FOLLOW else min(self.second, last)
        return max(second - 1, PORTRAIT) if self.first == FOLLOW else min(self.first, last), second

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        decoding().forget(self)
        self._packs.clear()
        self._newest, self._sent = (None, 0, 0, None), ()

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        run, going = self.run, self.run.state == RUNNING
        body: Body = {"sigmas": run.info.sigmas, "ready": False, "other": self.other is not None,
                      "words": "Pause the run, or make single steps, to see what its steps change." if going else ""}
        if not run.recorded_steps:
            return body, {}
        if not run.decodes:
            raise InputError("no decoder is at hand for this saved run, so its steps cannot be compared as pictures: "
                             "open it with replay(folder, pipeline=pipe)")
        block, made = self.block, self._made(self.block)
        key = block, made, self.against, self.on_face
        if key not in self._packs:
            missing = [step for step in range(made) if run.step_frames.kept(block, step) is None]
            jobs = {(block, step): partial(run.step_frames.decode, block, step) for step in missing}
            decoding().want(self, jobs | {key: partial(self._prepare, run, *key)}, CHANGE)
            if not going:
                body["words"] = f"Decoding block {block}: {made - len(missing)} of {made} steps …"
            return body, {}
        decoding().want(self, {})
        about, buffers = self._packs[key]
        new = full or self._sent != key
        self._sent = key
        return body | about | {"ready": True, "words": ""}, buffers if new else {}

    def still(self) -> Image | None:
        from widgets._stills import change_picture

        shown = self._newest[-1]
        if self.run is None or shown is None:
            return None
        return change_picture(shown.portrait, shown.guesses, self._pictures(shown), self._title(shown),
                              describe(shown.effects), scale_ticks(shown.reach))

    def _made(self, block: int) -> int:
        """Return how many steps of a block are made."""
        return sum(1 for of, _ in self.run.recorded_steps if of == block)

    # ------------------------------------------------------------------ pictures

    def _prepare(self, run: Run, block: int, made: int, against: str, on_face: bool) -> None:
        """Decode a block's guesses, measure and pack them. In the decoding thread."""
        shown = self._changes_of(run, block, made)
        pack = packed(shown, [shown.overlay(step, against, on_face) for step in range(made)])
        pack[0]["apart"] = self._apart(run, shown)
        with self._lock:
            if self.run is run:                            # else the view was given another run meanwhile
                self._packs[block, made, against, on_face] = pack
                while len(self._packs) > BLOCKS_KEPT:
                    self._packs.popitem(last=False)

    def _changes_of(self, run: Run, block: int, made: int) -> BlockChanges:
        known_run, known_block, known_made, known = self._newest
        if known is not None and (known_run, known_block, known_made) == (run, block, made):
            return known
        found = changes_of(run, block, made, self.other)
        with self._lock:
            if self.run is run:
                self._newest = run, block, made, found
        return found

    def _pictures(self, shown: BlockChanges) -> list[np.ndarray]:
        return [shown.overlay(step, self.against, self.on_face) for step in range(len(shown.guesses))]

    def _apart(self, run: Run, shown: BlockChanges) -> list[dict[str, float | None]]:
        """Return for each step how far it is from the other run's, in pictures and in latents; [] without one."""
        return [] if self.other is None else [
            {"pictures": told(math.nan if other is None else difference(guess, other)),
             "latents": told(step_difference(run, self.other, shown.block, step))}
            for step, (guess, other) in enumerate(zip(shown.guesses, shown.others, strict=True))]

    def _title(self, shown: BlockChanges) -> str:
        what = {"before": "What each step changed", "finished": "What is left after each step",
                "other": "Each step against that of the other run"}[self.against]
        return f"{what}, block {shown.block}"


def packed(shown: BlockChanges, overlays: Sequence[np.ndarray | None]) -> tuple[Body, Buffers]:
    """Pack all that a browser needs of a block: numbers and words, and strips of JPEGs by name."""
    headline, sentences = describe(shown.effects)
    effects = [{name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in vars(effect).items()} for effect in shown.effects]
    body: Body = {"block": shown.block, "made": len(shown.guesses), "headline": headline, "sentences": sentences,
                  "effects": effects, "portrait": shown.portrait is not None, "finished": shown.finished,
                  "face": face_part(shown.face, shown.guesses[0].shape[1:3]),
                  "ticks": scale_ticks(shown.reach), "scale": heat(np.linspace(0, 1, 64)[None])[0].tolist()}
    named = {f"guess/{step}": guess for step, guess in enumerate(shown.guesses)}
    named |= {f"change/{step}": colours for step, colours in enumerate(overlays) if colours is not None}
    if shown.portrait is not None:
        named[f"guess/{PORTRAIT}"] = shown.portrait[None]
    return body, {f"{name}/{len(frames)}/{frames.shape[2]}/{frames.shape[1]}": encoded(strip(frames), "JPEG", **QUALITY)
                  for name, frames in named.items()}


def face_part(face: Box | None, size: tuple[int, int]) -> list[float] | None:
    """Return the part of a picture of a size (height, width) that shows a face alone, in the picture's own shape: its
    left, its top and its side, as shares. None where there is no face, or where it fills the picture anyway."""
    if face is None:
        return None
    share = CLOSE_UP * max((part.stop - part.start) / length for part, length in zip(face, size, strict=True))
    if share > WHOLE:
        return None
    top, left = (min(max((part.start + part.stop) / 2 / length - share / 2, 0), 1 - share)
                 for part, length in zip(face, size, strict=True))
    return [left, top, share]
