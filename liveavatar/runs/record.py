"""All that is known of a run while it is made and afterwards: steps, pictures, spans of work, caches, progress.

Views read a record from any thread; only the run's worker adds to it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Condition, RLock
from typing import TYPE_CHECKING

from liveavatar.decoder import Decoder
from liveavatar.runs.changes import Lineage
from liveavatar.runs.info import READY, RingState, StageSpan, spans_of
from liveavatar.runs.kept_caches import KeptCaches
from liveavatar.runs.saving import save_run
from liveavatar.runs.sources import EventSource
from liveavatar.step_frames import StepFrames
from liveavatar.trace import Trace
from liveavatar.types import Block, Portrait, Speech, Step
from liveavatar.video import Video

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.backends import PictureDecoder
    from liveavatar.preview import LatentMap
    from liveavatar.vram.watch import MemoryWatch


@dataclass(frozen=True)
class SavedState:
    """Hold what a run that exists already has made, for `RunRecord.restore`."""

    blocks: dict[int, Block]
    done_s: float                             # seconds of video that were decoded
    work_s: float = 0.0
    first_picture_s: float | None = None
    rings: dict[int, RingState] = field(default_factory=dict)
    spans: tuple[StageSpan, ...] = ()
    latent_map: LatentMap | None = None
    vae: str = ""                             # `name_of_vae` of what decoded it
    provenance: dict = field(default_factory=dict)
    portrait: Portrait | None = None
    state: str = READY                        # "finished": there is nothing to show again by `start`
    lineage: Lineage = Lineage()              # of a branch
    first_speech: Speech | None = None        # of a branch: that of the run it all began from


class RunRecord:
    """Hold what a run has made so far. Safe to read while the worker adds to it."""

    def __init__(self, source: EventSource, trace: Trace | None, record: bool, keep_bytes: int) -> None:
        """Begin an empty record. trace: where steps are kept. record: False where they are in it already. keep_bytes:
        of pictures"""
        self.trace = trace if trace is not None else Trace()
        self.source = source
        self.info, self.speech, self.portrait = source.info, source.speech, source.portrait
        self.parent: RunRecord | None = None             # of a branch: what it was branched from, while that is known
        self.lineage = Lineage()                         # of a branch: all that was changed
        self.first_speech: Speech | None = None          # of a branch: that of the run it all began from
        self.kept_caches = KeptCaches()                  # where a branch of it may begin
        self.backend = source.backend                    # what decodes its latents; None when no model is at hand
        self.keep_bytes = keep_bytes                     # of pictures; the oldest are dropped
        self.began_s = 0.0                               # time.perf_counter() when it was started
        self.first_picture_s: float | None = None        # seconds of work until the first block was decoded
        self.rings: dict[int, RingState] = {}            # noise level -> its cache after the newest step
        self.provenance: dict = getattr(source, "provenance", {})      # what its video says of its origin
        self.step_frames = StepFrames(self)              # its steps as decoded pictures
        self.memory: MemoryWatch | None = None           # what measures the memory meanwhile, where something does
        self._record = record
        self._changed = Condition(RLock())
        self._state = READY
        self._blocks: dict[int, Block] = {}
        self._spans: deque[StageSpan] = deque(maxlen=100_000)
        self._step_keys: tuple[tuple[int, int], ...] = ()
        self._done_s = self._work_s = 0.0
        self._last: Step | None = None
        self._video: Video | None = None
        self._latent_map: LatentMap | None = None
        self._saved_vae = ""                             # of a saved run: the name of the VAE that decoded it
        self._begun_s = 0.0                              # seconds of video that it had before any work
        self._branches: list[weakref.ref[RunRecord]] = []

    @property
    def done_s(self) -> float:
        """Return the seconds of video that are decoded."""
        return self._done_s

    @property
    def total_s(self) -> float:
        """Return the seconds of video in all."""
        return self.info.total_s

    @property
    def progress(self) -> float:
        """Return the share that is done, 0..1."""
        return min(self._done_s / self.total_s, 1.0) if self.total_s else 0.0

    @property
    def work_s(self) -> float:
        """Return the seconds of work so far; pauses do not count."""
        return self._work_s

    @property
    def x_realtime(self) -> float:
        """Return seconds of video per second of work so far."""
        return (self._done_s - self._begun_s) / self._work_s if self._work_s else 0.0

    @property
    def recipe(self) -> str:
        """Return Python that makes a branch from the first run, which it calls `run`; "" for a run that is none."""
        return self.lineage.recipe

    @property
    def branches(self) -> tuple[RunRecord, ...]:
        """Return its branches that are still in memory, oldest first."""
        return tuple(one for one in (known() for known in self._branches) if one is not None)

    def add_branch(self, other: RunRecord) -> None:
        """Note that another run was branched from this one."""
        self._branches.append(weakref.ref(other))

    @property
    def shows_photograph(self) -> bool:
        """Tell whether its pictures show a photograph's face: where the model was shown no portrait (strength 0) it
        draws somebody, whatever the portrait is."""
        strength = self.info.config.get("portrait_strength", 1.0)
        return self.portrait is not None and self.portrait.identity is None and strength > 0

    @property
    def last_step(self) -> Step | None:
        """Return the newest step, without its cache."""
        return self._last

    @property
    def spans(self) -> tuple[StageSpan, ...]:
        """Return what the worker did and when, in order."""
        return self.spans_from(0)

    def spans_from(self, number: int) -> tuple[StageSpan, ...]:
        """Return the spans without the first ones."""
        with self._changed:
            return tuple(islice(self._spans, number, None))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Return the decoded blocks that are kept in memory, in order."""
        with self._changed:
            return tuple(self._blocks[index] for index in sorted(self._blocks))

    def decoded_block(self, index: int) -> Block | None:
        """Return one decoded block; None when it is not decoded yet, or no longer kept."""
        return self._blocks.get(index)

    @property
    def video(self) -> Video | None:
        """Return the file, once it is whole."""
        return self._video

    def picture_at(self, time_s: float) -> Tensor | None:
        """Return the video frame (H, W, 3) uint8 at a time; None when it is not decoded yet, or no longer kept."""
        block = self._blocks.get(self.info.block_at(time_s))
        if block is None:
            return None
        frame = self.info.frame_at(time_s) - self.info.block_at(time_s) * self.info.block_frames
        return block.frames[min(frame, len(block.frames) - 1)]

    @property
    def recorded_steps(self) -> tuple[tuple[int, int], ...]:
        """Return (block, step) of every step in the trace, in the order of the run."""
        with self._changed:
            if len(self._step_keys) != len(self.trace):  # steps are added, never taken away
                self._step_keys = tuple(sorted(self.trace._numbers))
            return self._step_keys

    def step_record(self, block: int, index: int) -> Step:
        """Return one step of the trace. A number below 0 counts from the end. Raises InputError where it is missing."""
        with self._changed:
            return self.trace.step(block, index)

    def ring_at(self, block: int, index: int, level: int) -> RingState | None:
        """Return the cache of a noise level as it was after step `index` of a block; None when its size is unknown."""
        ring = self.rings.get(level) or next(iter(self.rings.values()), None)
        if ring is None:
            return None
        written = block + (1 if level <= index else 0)
        return replace(ring, level=level, end=written * self.info.block_latents)

    def latent_map(self) -> LatentMap | None:
        """Return the map from its latents to colours; None while there is nothing to make one from.

        The first call takes a moment.
        """
        from liveavatar.preview import map_of, principal_map, values_of

        if self._latent_map is None:
            if self.backend is not None:
                self._latent_map = map_of(self.backend)
            elif self.recorded_steps:
                self._latent_map = principal_map(values_of(self.step_record(-1, -1).clean))
        return self._latent_map

    @property
    def decodes(self) -> bool:
        """Tell whether a decoder for its latents is at hand: that of its model, or the one in the package."""
        from liveavatar.preview import shipped_maps

        return self.backend is not None or self._saved_vae in shipped_maps()

    def new_decoder(self) -> PictureDecoder | None:
        """Return a decoder that has decoded nothing yet; None where no VAE is at hand for these latents.

        A saved run is decoded by the VAE of the package where its weights are the ones that made the run.
        """
        from liveavatar.preview import shipped_vae

        if self.backend is not None:
            return self.backend.decoder()
        vae = shipped_vae(self._saved_vae) if self._saved_vae else None
        return None if vae is None else Decoder(vae)

    # ------------------------------------------------------------------ adding and keeping

    def save(self, folder: str | os.PathLike) -> Path:
        """Write all that `replay(folder)` needs: trace, constants, kept pictures, speech and portrait."""
        return save_run(self, folder)

    def restore(self, saved: SavedState) -> None:
        """Show what was made before, without any work."""
        self._blocks, self._done_s, self._work_s = dict(saved.blocks), saved.done_s, saved.work_s
        self.first_picture_s, self.rings = saved.first_picture_s, dict(saved.rings)
        self._spans.extend(saved.spans)
        self._latent_map, self._saved_vae, self._state = saved.latent_map, saved.vae, saved.state
        self.provenance = saved.provenance or self.provenance
        self.lineage, self.first_speech = saved.lineage, saved.first_speech
        self._begun_s = 0.0 if saved.work_s else saved.done_s
        self.portrait = saved.portrait or self.portrait
        self._last = self.trace.step(-1, -1) if len(self.trace) else None      # its size tells that of the pictures

    def _add(self, event: Step | Block | Video, began_s: float, ended_s: float) -> None:
        """Add an event that took the worker from `began_s` to `ended_s`."""
        with self._changed:
            self._work_s += ended_s - began_s
            self._spans.extend(spans_of(event, began_s, ended_s))
            if isinstance(event, Step):
                self._last = replace(event, cache=None)
                if self.info.config.get("guidance", 1.0) == 1.0:       # its other branch's caches are not seen here
                    self.kept_caches.add(event)
                self.rings |= {ring.level: ring for ring in [RingState.of(event)] if ring is not None}
                if self._record:
                    self.trace.record(event)
            elif isinstance(event, Block):
                self._keep(event)
                self._done_s = event.start_s + len(event.frames) / self.info.fps
                if self.first_picture_s is None:
                    self.first_picture_s = self._work_s
            else:
                self._video = event

    def _keep(self, block: Block) -> None:
        self._blocks[block.index] = block
        while len(self._blocks) > 1 and sum(kept.frames.nbytes for kept in self._blocks.values()) > self.keep_bytes:
            del self._blocks[min(self._blocks)]
