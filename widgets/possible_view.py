"""What is possible: each step's guess beside the mean of true renderings by other chance, and how far it is from it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.metrics.possible import (
    A_SAMPLE,
    LATENTS,
    MOST,
    PARTS,
    THE_MEAN,
    TOO_FAR,
    Possible,
    describe,
    verdict,
)
from liveavatar.metrics.possible_renderings import check_run
from liveavatar.metrics.steps import change_map, common_reach
from liveavatar.preview import heat, jpeg, on_scale, scale_ticks
from liveavatar.runs.info import RUNNING, StateChange
from liveavatar.study.possible_study import LIVE_RENDERINGS, PossibleStudy, open_possible
from liveavatar.types import InputError
from widgets._live import Body, Buffers, LiveView, sentence
from widgets._study_end import StudyEnd

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from widgets._live import Source

SAVED = ".safetensors"              # ending of what PossibleStudy.save writes


class PossibleView(LiveView):
    """Show, step by step, the guess of a block, the mean of the videos that are still possible then, and the
    difference; with the distance from the mean of all as a number, in words and as a curve.

    The other videos are true renderings of the same person, sound and wishes, drawn in the background: `start()` and
    `stop()` do what the button does. The block is that under the time cursor, so is the picture within it.
    `view.found` has the numbers and pictures, `view.save(path)` keeps them and `PossibleView(path)` shows them again.
    """

    script = "possible_view.js"
    drawn_after = ()                    # only after a change of the run's state: while it goes on nothing is drawn
    nothing = ""

    renderings = traitlets.Int(LIVE_RENDERINGS, min=2, max=MOST, help="other videos that are drawn").tag(
        sync=True, code=True)
    part = traitlets.Enum([LATENTS, *PARTS], LATENTS, help="where the distance is measured: in the latents, or in a "
                          "part of the picture").tag(sync=True, code=True)
    _keys = traitlets.Unicode("Left and right: one picture back or on. Up and down: one block. Space: draw or stop."
                              ).tag(sync=True)

    def __init__(self, source: Source | Possible | None = None, **traits: object) -> None:
        """Show a run, the folder of one, what was saved of a comparison, or a Possible; None shows what to do."""
        self._studies: dict[int, PossibleStudy] = {}            # block -> what was drawn of it
        self._saved: Possible | None = None
        self._sent: dict[str, tuple] = {}                       # buffer -> what of it the browser has
        self._ends: list[Callable[[], None]] = []               # of the subscriptions
        super().__init__(None, **traits)
        self.watch(source)

    # ------------------------------------------------------------------ for users

    def watch(self, source: Source | Possible | None) -> None:
        """Show another run, or what was found before. Raises InputError for a file that holds no comparison."""
        saved = source if isinstance(source, Possible) else None
        if isinstance(source, str | os.PathLike) and os.fspath(source).endswith(SAVED):
            saved = open_possible(source)
        super().watch(source if saved is None else None)
        with self._lock:
            self._saved = saved
            if saved is not None:
                self.time_s = saved.start_s + (len(saved.mean) // 2 + 0.5) / saved.fps
        self.refresh(full=True)

    @property
    def block(self) -> int:
        """Return the block that is shown."""
        if self._saved is not None:
            return self._saved.block
        return 0 if self.run is None else min(self.run.info.block_at(self.time_s), max(self.run.info.blocks - 1, 0))

    @property
    def study(self) -> PossibleStudy | None:
        """Return what draws the block that is shown; None before `start`."""
        return self._studies.get(self.block)

    @property
    def found(self) -> Possible | None:
        """Return what is known of the block that is shown; None before its second rendering."""
        return self._saved or (None if self.study is None else self.study.found)

    def start(self) -> None:
        """Draw other videos of the block that is shown, or go on with them. Raises InputError where this run has no
        truth that can be rendered."""
        if self.run is None:
            raise InputError("No run whose block could be drawn again: give one, PossibleView(run).")
        for other in self._studies.values():
            other.stop()
        study = self.study
        if study is None:
            study = self._studies[self.block] = PossibleStudy(self.run, self.block, renderings=self.renderings)
            self._ends.append(study.subscribe(partial(self._progressed, study)))
        study.renderings = self.renderings
        self._report("study", "")
        study.start()
        self._study_end = StudyEnd(study)                # kept: workers are known by weak references
        self.refresh()

    def stop(self) -> None:
        """End after the video that is being drawn; what was found stays, `start` goes on."""
        for study in self._studies.values():
            study.stop()

    def save(self, path: str | os.PathLike) -> Path:
        """Write what was found of the block that is shown. Raises InputError before its second rendering."""
        if self.study is None:
            raise InputError("nothing was drawn yet; start it, and wait for the second rendering")
        return self.study.save(path)

    def as_code(self) -> str:
        """Return Python that makes this view again, with the choices made in it."""
        first = "found" if self._saved is not None else "run" if self.run is not None else ""
        return f"PossibleView({', '.join([*([first] if first else []), *self._choices()])})"

    def still(self) -> Image | None:
        """Draw guesses, means and the curve of the block that is shown."""
        from PIL import Image

        from liveavatar.study.possible_figure import draw_possible

        found = self.found
        return None if found is None else Image.open(io.BytesIO(draw_possible(found).png))

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        """Stop what is drawn of another run, and forget it."""
        self.stop()
        while self._ends:
            self._ends.pop()()
        self._studies.clear()
        self._sent.clear()

    def on_event(self, event: object) -> None:
        """Stop drawing when the run goes on: it needs the cores."""
        if isinstance(event, StateChange) and event.state == RUNNING:
            self.stop()

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Return the numbers of each step, and the pictures under the time cursor that are new."""
        if full:
            self._sent.clear()
        study, found, block = self.study, self.found, self.block
        body: Body = {"block": block, "words": self._words(), "running": study is not None and study.running,
                      "done": study is not None and study.count >= self.renderings, "begun": found is not None,
                      "can_draw": not self._problem(), "saved": self._saved is not None, "blocks": self._blocks(),
                      "part": self.part, "steps": [], "note": self._note(found)}
        if found is None:
            return body, {}
        part = self.part if self.part in found.spread else LATENTS
        frame = min(max(math.floor((self.time_s - found.start_s) * found.fps + 1e-6), 0), len(found.mean) - 1)
        middle = len(found.mean) // 2
        reach = common_reach([change_map(guess[middle], mean[middle]) for guess, mean
                              in zip((*found.guesses, found.sample), (*found.expected, found.mean), strict=True)])
        body |= {"part": part, "count": found.count, "frame": frame, "frames": len(found.mean), "fps": found.fps,
                 "start_s": found.start_s, "limits": [THE_MEAN, A_SAMPLE, TOO_FAR], "ticks": scale_ticks(reach),
                 "scale": heat(np.linspace(0, 1, 64)[None])[0].tolist(),
                 "steps": steps_of(found, part), "shares": shares_of(found)}
        return body, self._new_pictures(found, frame, reach)

    def _new_pictures(self, found: Possible, frame: int, reach: float) -> Buffers:
        """Return the pictures of one frame that the browser does not have yet, as JPEG."""
        columns = {str(step): pair for step, pair in enumerate(zip(found.guesses, found.expected, strict=True))}
        columns["true"] = found.sample, found.mean
        key, buffers = (found.block, found.count, frame), {}
        for name, (guess, mean) in columns.items():
            if self._sent.get(name) == key:
                continue
            self._sent[name] = key
            apart = heat(on_scale(change_map(guess[frame], mean[frame]), reach), guess[frame])
            buffers |= {f"{kind} {name}": jpeg(picture) for kind, picture
                        in (("guess", guess[frame]), ("mean", mean[frame]), ("apart", apart))}
        return buffers

    def _words(self) -> str:
        """Say how far the drawing is."""
        study = self.study
        if self._saved is not None:
            return f"saved: {self._saved.count} renderings of block {self._saved.block}"
        if self.run is None:
            return "No run yet: give one of a drawn avatar, PossibleView(run)."
        if study is None or not (study.count or study.running):
            return self._problem() or f"ready: {self.renderings} renderings of block {self.block}, seconds each"
        made = f"{study.count} of {max(study.renderings, self.renderings)} renderings of block {self.block}"
        left = "" if study.left_s is None else f", {math.ceil(study.left_s)} s to go"
        if study.running:
            return f"stopping: {made}" if study.stopping else f"drawing: {made}{left}"
        return f"done: {made}" if study.count >= self.renderings else f"stopped: {made}"

    def _problem(self) -> str:
        """Say why the block that is shown cannot be drawn again; "" where it can."""
        if self.run is None:
            return ""
        try:
            check_run(self.run, self.block)
        except InputError as problem:
            return sentence(problem)
        return ""

    def _blocks(self) -> list[float]:
        """Return where each block begins, s."""
        if self._saved is not None or self.run is None:
            return []
        return [block * self.run.info.block_s for block in range(self.run.info.blocks)]

    def _note(self, found: Possible | None) -> str:
        """Say what was found, in words."""
        if found is None:
            return ""
        later = ("" if found.block == 0 else " The renderings do not know what earlier blocks have decided, and the "
                 "guess does: compare block 0 for what the steps themselves do.")
        return describe(found, self.part if self.part in found.spread else LATENTS) + later

    def _progressed(self, study: PossibleStudy, count: int | None) -> None:
        """Draw soon, in the thread of the study: take a note, nothing more."""
        if count is None:
            if study.error is not None:
                self._report("study", sentence(study.error))
            self.keep_still()
        self.refresh(urgent=count is None)

    def on_message(self, kind: str, content: dict) -> None:
        """Handle the button, and the space key."""
        if kind == "study":
            self.stop() if self.study is not None and self.study.running else self.start()


def steps_of(found: Possible, part: str) -> list[Body]:
    """Return each step in numbers for the browser: distances as shares of a true video's from the mean of all."""
    spread, steps = found.spread[part], []
    for step in found.steps:
        share = found.share(step.index, part)
        near = step.to_expected[part] / spread if spread > 0 else math.nan
        low, high = (step.low, step.high) if part == LATENTS else (None, None)
        steps.append({"low": low, "high": high, "sigma": step.sigma, "remaining": step.remaining,
                      "share": finite(share),
                      "to_expected": finite(near), "verdict": verdict(share)})
    return steps


def shares_of(found: Possible) -> dict[str, list[float | None]]:
    """Return the distance of each step's guess from the mean, for each part."""
    return {part: [finite(found.share(step, part)) for step in range(len(found.steps))] for part in found.spread}


def finite(value: float) -> float | None:
    """Return a number as JSON takes it: None for NaN."""
    return None if math.isnan(value) else round(value, 4)
