"""What looks where: point at a place in the picture and see the portrait, the earlier blocks, words and sounds it
attends to; point at a word or a sound and see who attends to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import traitlets

from liveavatar.inspect import AttentionWeights, Recording, sound_lag_ms
from liveavatar.preview import jpeg
from liveavatar.runs.info import RUNNING
from liveavatar.transformer import AUDIO_HISTORY
from liveavatar.types import InputError
from widgets._attention import add_at, heats_of_keys, heats_of_queries, lips_delay_ms, listed, smaller, wave_peaks
from widgets._decoding import CELLS, decoding
from widgets._live import Body, Buffers, Cursor, LiveView

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from widgets._live import Source

MOUTH = 0.66, 0.5             # of the picture's height and width: where the mouth of a portrait is, roughly
TEXT_SHOWN = 12               # words that are listed, the most attended first


class AttentionView(LiveView):
    """Heat over the picture: what a chosen token attends to, at a chosen step, layer and head.

    `seen` is what `liveavatar.inspect.record` has recorded of the run. Click at the picture, or move the token with the
    arrow keys; click at a word or a sound to see which tokens attend to it. The block is that under the time cursor.
    """

    script = "attention_view.js"
    nothing = ("No attention to show yet: record it, with liveavatar.inspect.record(pipe, layers=[2]) as seen: run, "
               "and give both, AttentionView(run, seen=seen).")

    step = traitlets.Int(-1, min=-1, help="sampler step; -1 is the last one recorded").tag(sync=True, code=True)
    layer = traitlets.Int(-1, min=-1, help="layer of the transformer; -1 is the first one recorded").tag(
        sync=True, code=True)
    head = traitlets.Int(-1, min=-1, help="head of the attention; -1 averages those recorded").tag(
        sync=True, code=True)
    frame = traitlets.Int(1, min=0, help="latent frame of the token within its block").tag(sync=True, code=True)
    row = traitlets.Int(-1, min=-1, help="row of the token; -1: where a mouth usually is").tag(sync=True, code=True)
    column = traitlets.Int(-1, min=-1, help="column of the token; -1: the middle").tag(sync=True, code=True)
    target = traitlets.Unicode("", help='what is pointed at instead of a token: "text 0", "sound 1"; empty: the '
                                        "token").tag(sync=True, code=True)
    _keys = traitlets.Unicode("arrow keys: move the token; page up and down: latent frame; escape: back to the token; "
                              "space: start or pause the run").tag(sync=True)

    def __init__(self, source: Source | None = None, *, seen: Recording | None = None, cursor: Cursor | None = None,
                 **traits: object) -> None:
        self.seen = seen
        self._profiles: dict[tuple, Tensor] = {}
        self._lips: tuple[object, float | None] = None, None
        self._sent: dict[str, object] = {}
        super().__init__(source, cursor=cursor, **traits)

    # ------------------------------------------------------------------ what is on screen

    @property
    def place(self) -> tuple[int, int, int]:
        """Return (block, step, layer) in view: the block under the time cursor, or the nearest recorded before it.

        Raise InputError where nothing was recorded of what is asked for.
        """
        keys = self._keys_of()
        block = self.run.info.block_at(self.time_s)
        blocks = sorted({key[0] for key in keys})
        block = max((one for one in blocks if one <= block), default=blocks[0])
        here = [key for key in keys if key[0] == block]
        step = max(key[1] for key in here) if self.step < 0 else self.step
        layer = min(key[2] for key in here) if self.layer < 0 else self.layer
        if (block, step, layer) not in here:
            raise InputError(f"step {step}, layer {layer} was not recorded; recorded are steps "
                             f"{listed(key[1] for key in here)} and layers {listed(key[2] for key in here)}")
        return block, step, layer

    @property
    def weights(self) -> AttentionWeights:
        """Return the self-attention in view."""
        return self.seen.attention(*self.place)

    @property
    def query(self) -> int:
        """Return the number of the chosen token among the recorded ones."""
        weights, (rows, columns) = self.weights, self.grid
        row = int(MOUTH[0] * rows) if self.row < 0 else min(self.row, rows - 1)
        column = int(MOUTH[1] * columns) if self.column < 0 else min(self.column, columns - 1)
        first = self.place[0] * self.run.info.block_latents
        return weights.queries.at(first + min(self.frame, self.run.info.block_latents - 1), row, column)

    @property
    def grid(self) -> tuple[int, int]:
        """Return how many rows and columns of tokens a latent frame has."""
        keys = self.weights.keys
        there = keys.are("portrait")
        return int(keys.row[there].max()) + 1, int(keys.column[there].max()) + 1

    @property
    def shares(self) -> dict[str, float]:
        """Return how much of its attention the token gives to portrait, motion, earlier blocks and its own block."""
        return {kind: float(self._one_head(share[:, self.query])) for kind, share in self.weights.shares().items()}

    @property
    def heats(self) -> dict[str, Tensor]:
        """Return where the token looks: {"portrait" or "frame 7": (rows, columns)}; with a `target`, which tokens of
        the block attend to it, instead."""
        weights, grid = self.weights, self.grid
        if not self.target:
            return heats_of_keys(self._one_head(weights.weights[:, self.query]), weights.keys, grid)
        part, number = self._target()
        weights = self.seen.attention(*self.place, part)
        return heats_of_queries(self._one_head(weights.weights[:, :, number]), weights.queries, grid)

    @property
    def words(self) -> list[tuple[str, float]]:
        """Return the words of the prompt and how much the token attends to each."""
        return list(zip(self._labels_of_text(), self._row("text"), strict=True))

    @property
    def sounds(self) -> list[tuple[str, float]]:
        """Return the sound tokens of the token's latent frame and how much it attends to each; empty where the layer
        does not attend to the sound."""
        values = self._row("sound")
        names = [*(f"sound {place}" for place in range(len(values) - 1)), "learned"][:len(values)]
        return list(zip(names, values, strict=True))

    @property
    def lane(self) -> dict[int, np.ndarray]:
        """Return how much the chosen place listens to each video frame of the sound: {step: (T,)}, over all recorded
        blocks; a place that looks at nothing but the learned token is dark."""
        layer, info = self.place[2], self.run.info
        lanes = {}
        for step in sorted({key[1] for key in self._keys_of()}):
            lane = np.zeros(max(info.frames, info.block_frames) + info.block_frames)
            for block in sorted({key[0] for key in self._keys_of() if key[1:] == (step, layer)}):
                profile = self._profile(block, step, layer)
                if profile is None:
                    return {}
                add_at(lane, block * info.block_frames - AUDIO_HISTORY, profile.sum(0).numpy())
            lanes[step] = lane[:info.frames or None]
        return lanes

    @property
    def lags_ms(self) -> dict[int, float]:
        """Return how long before (negative) the picture the sound lies that the place listens to: {step: ms}, the mean
        over all recorded blocks."""
        layer, found = self.place[2], {}
        for step in sorted({key[1] for key in self._keys_of()}):
            profiles = [self._profile(block, step, layer) for block, at, of in self._keys_of()
                        if (at, of) == (step, layer)]
            lags = [sound_lag_ms(one, self.run.info.fps) for one in profiles if one is not None]
            if lags:
                found[step] = float(torch.cat(lags).nanmean())
        return found

    @property
    def lips_ms(self) -> float | None:
        """Return the measured delay of the lips, positive: late; None until the run is over, or where none is found."""
        return self._lips[1] if self._lips[0] is self.run else None

    def as_code(self) -> str:
        """Return Python that makes this view again, with the choices made in it."""
        return super().as_code().replace("(run", "(run, seen=seen", 1)

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        decoding().forget(self)
        self._profiles.clear()
        self._sent = {}

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        block, step, layer = self.place
        weights, keys = self.weights, self._keys_of()
        query, (rows, columns) = self.query, self.grid
        heats, lane = self.heats, self.lane
        pictures = self._pictures(block, step, heats)
        places = weights.queries
        here = [key for key in keys if key[0] == block]
        body = {"block": block, "step": step, "layer": layer, "rows": rows, "columns": columns,
                "steps": sorted({key[1] for key in here}), "layers": sorted({key[2] for key in here}),
                "heads": list(weights.heads), "first": block * self.run.info.block_latents,
                "token": [int(places.frame[query]), int(places.row[query]), int(places.column[query])],
                "shares": self.shares, "words": self._most_attended(), "sounds": self.sounds,
                "heats": list(heats), "pictures": list(pictures), "lags": self.lags_ms, "lips": self.lips_ms,
                "lane_steps": list(lane), "note": self.note}
        buffers = {f"heat {name}": heat.float().numpy().tobytes() for name, heat in heats.items()}
        buffers |= {f"lane {at}": values.astype("<f4").tobytes() for at, values in lane.items()}
        for name, picture in pictures.items():
            if full or self._sent.get(name) is not picture:
                self._sent[name] = picture
                buffers[f"picture {name}"] = jpeg(picture)
        if full:
            buffers["wave"] = wave_peaks(self.run.speech).tobytes()
        return body, buffers

    @property
    def note(self) -> str:
        """Say in a sentence where the chosen token looks, or who looks at the target."""
        if self.target:
            return f"Brighter: these places attend more to {self.target}."
        words = {"portrait": "the portrait", "motion": "the motion before", "past": "earlier blocks",
                 "block": "its own block"}
        most_first = sorted(self.shares.items(), key=lambda share: -share[1])
        parts = [f"{100 * share:.0f} % to {words[kind]}" for kind, share in most_first]
        return f"This place gives {', '.join(parts)}."

    def still(self) -> Image | None:
        from widgets._stills import attention_picture

        if self.run is None or self.seen is None or not self.seen.keys:
            return None
        block, step, layer = self.place
        pictures = self._pictures(block, step, self.heats)
        return attention_picture({name: (pictures.get(name), heat.numpy()) for name, heat in self.heats.items()},
                                 f"What the token looks at: block {block}, step {step}, layer {layer}", self.note)

    # ------------------------------------------------------------------ what it is made of

    def _keys_of(self) -> tuple[tuple[int, int, int], ...]:
        if self.run is None or self.seen is None or not self.seen.keys:
            raise InputError(self.nothing)
        return tuple(key for key in self.seen.keys if key[0] * self.run.info.block_s < (self.run.total_s or 1e9))

    def _one_head(self, values: Tensor) -> Tensor:
        """Take one head, (H, ...) -> (...): the chosen head, or the mean."""
        heads = self.weights.heads
        if self.head < 0 or not heads:
            return values.mean(0)
        if self.head not in heads:
            raise InputError(f"head {self.head} was not recorded; recorded are heads {listed(heads)}")
        return values[heads.index(self.head)]

    def _target(self) -> tuple[str, int]:
        part, _, number = self.target.partition(" ")
        count = {"text": len(self._labels_of_text()), "sound": len(self.sounds)}.get(part, 0)
        if not number.isdigit() or int(number) >= count:
            raise InputError(f'target is {self.target!r}; give "text 0" to "text {len(self._labels_of_text()) - 1}", '
                             'or "sound 0" to "sound 4" in a layer that attends to the sound')
        return part, int(number)

    def _most_attended(self) -> list[tuple[str, float, int]]:
        """Return the words that are listed: label, weight and number; of many those that are attended to most."""
        words = [(label, weight, place) for place, (label, weight) in enumerate(self.words)]
        return words if len(words) <= TEXT_SHOWN else sorted(words, key=lambda word: -word[1])[:TEXT_SHOWN]

    def _row(self, part: str) -> list[float]:
        """Return what the token gives to each word, or each sound; nothing where the layer has none."""
        try:
            weights = self.seen.attention(*self.place, part)
        except InputError:
            return []
        return self._one_head(weights.weights[:, self.query]).tolist()

    def _labels_of_text(self) -> list[str]:
        """Name the text tokens: of mini its slots and their values, else numbers."""
        try:
            count = len(self.seen.attention(*self.place, "text").keys)
        except InputError:
            return []
        if self.run.info.backend == "mini":
            from liveavatar.conditions import UNSAID

            slots = UNSAID | self.run.provenance.get("inputs", {}).get("prompt", {}).get("slots", {})
            return [f"{slot}: {value}" for slot, value in slots.items()][:count]
        return [f"word {place}" for place in range(count)]

    def _profile(self, block: int, step: int, layer: int) -> Tensor | None:
        """Return which video frames of the sound the chosen place listens to in a block: (F, 9 + 4F)."""
        queries = self.weights.queries
        row, column = int(queries.row[self.query]), int(queries.column[self.query])
        key = block, step, layer, row, column
        if key not in self._profiles:
            try:
                places = self.seen.attention(block, step, layer, "sound").queries
                chosen = ((places.row == row) & (places.column == column)).nonzero().flatten()
                self._profiles[key] = self.seen.sound_profile(block, step, layer, chosen.tolist())
            except InputError:                             # this layer does not attend to the sound
                return None
        return self._profiles[key]

    def _pictures(self, block: int, step: int, heats: dict) -> dict[str, np.ndarray]:
        """Return a picture (H, W, 3) uint8 for each heat, and ask for those that are not decoded yet."""
        run, info = self.run, self.run.info
        found, jobs, seen = {}, {}, set(run.recorded_steps)
        for name in heats:
            if name == "portrait":
                continue
            of, inside = divmod(int(name.split()[1]), info.block_latents)
            at = step if of == block else info.steps - 1
            if (of, at) not in seen:
                continue
            frames = run.step_frames.kept(of, at)
            if frames is None:
                jobs[of, at] = partial(run.step_frames.decode, of, at)
                found[name] = self._cached(("preview", of, at, inside), lambda of=of, at=at, i=inside:
                                           run.step_frames.preview(of, at)[i])
            else:
                place = min(inside * info.frames_per_latent + info.frames_per_latent // 2, len(frames) - 1)
                found[name] = self._cached(("frame", of, at, inside), lambda frames=frames, i=place: smaller(frames[i]))
        if "portrait" in heats and found:
            size = next(iter(found.values())).shape[:2]
            portrait = self._cached(("portrait", size), lambda: run.step_frames.portrait(size))
            if portrait is not None:
                found["portrait"] = portrait
        if run.over and self._lips[0] is not run:
            jobs["lips"] = self._measure_lips
        if run.state != RUNNING and run.decodes:
            decoding().want(self, jobs, CELLS)
        return found

    def _cached(self, key: tuple, make: object) -> np.ndarray:
        kept = self._sent.setdefault("pictures", {})
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def _measure_lips(self) -> None:
        """Measure the delay of the lips, once. In the decoding thread."""
        run = self.run
        self._lips = run, lips_delay_ms(run)
