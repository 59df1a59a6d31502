"""From a condition to decoded blocks, and from blocks to a video file that grows while they come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from torch import Tensor

from liveavatar.config import GenerationConfig
from liveavatar.progress import ProgressBar, Stopwatch
from liveavatar.rollout import Rollout, roll_out
from liveavatar.runfolder import RunFolder, StepWriter
from liveavatar.types import Block, Condition, Step
from liveavatar.video import Video, VideoWriter

if TYPE_CHECKING:
    from liveavatar.backends import PictureDecoder
    from liveavatar.inputs import Inputs
    from liveavatar.pipeline import Pipeline


class BlockStream:
    """One video between its condition and its pictures: makes blocks, decodes them, saves them where wanted."""

    def __init__(self, pipeline: Pipeline, condition: Condition, config: GenerationConfig, watch: Stopwatch,
                 folder: RunFolder | None = None, keep_latents: bool = False) -> None:
        self._trim = pipeline.backend.trim_frames                   # pictures left out at the beginning
        self.frames = max(condition.frames - self._trim, 0)    # of the whole video
        self.fps = pipeline.backend.fps
        self.first_picture_s = 0.0
        self.watch = watch
        self._backend, self._block_frames = pipeline.backend, pipeline.block_frames
        self._condition, self._config, self._folder = condition, config, folder
        self._steps = None if folder is None else StepWriter(folder)
        self._decoder: PictureDecoder = pipeline.backend.decoder(condition)
        self._waiting: list[Tensor] = []                       # latents of blocks made but not decoded
        self._kept: list[Tensor] | None = [] if keep_latents else None
        self._decoded = 0                                      # blocks
        self._from_before = 0                                  # blocks that an earlier process made

    def events(self, stop: Event | None = None) -> Iterator[Step | Block]:
        """Yield steps, and blocks when they are decoded: each at once, or all after the last step."""
        if self._folder is not None:
            yield from self._earlier_blocks(stop)
        steps = self._roll_out()
        while not (stop is not None and stop.is_set()):
            with self.watch.measure("denoise"):
                step, rollout = next(steps, (None, None))
            if step is None:
                break
            if self._steps is not None:
                with self.watch.measure("save"):
                    self._steps.write(step)
            if rollout is not None:
                self._finish(step.x, rollout)
            yield step
            if rollout is not None and self._config.enable_online_decode:
                yield from self.waiting()
        yield from self.waiting()

    def waiting(self) -> Iterator[Block]:
        """Decode the blocks that wait for it; yield each with its pictures."""
        while self._waiting:
            latents = self._waiting.pop(0)
            began, first = time.perf_counter(), max(self._decoded * self._block_frames - self._trim, 0)
            with self.watch.measure("decode"):
                pictures = self._decoder.decode(latents)
                pictures = pictures[0 if self._decoded else self._trim:][:self.frames - first]
            spent_ms = (time.perf_counter() - began) * 1000
            self._decoded += 1
            if self._decoded == 1:
                self.first_picture_s = self.watch.total_s
            yield Block(self._decoded - 1, latents, pictures, first / self.fps, spent_ms)

    @property
    def x_realtime(self) -> float:
        """Return seconds of video per second of work, so far. What an earlier process made does not count as made."""
        frames = min(self._decoded * self._block_frames, self.frames)
        made = max(frames - self._from_before * self._block_frames, 0) or frames
        return made / self.fps / max(self.watch.total_s, 1e-9)

    def video(self, path: Path, frames: int, size: tuple[int, int]) -> Video:
        """Describe the file that was written; frames: how many it has, size: (height, width) in pixels"""
        return Video(path, frames, size, self.fps, self.x_realtime, self.first_picture_s,
                     dict(self.watch.seconds), frames == self.frames,
                     None if self._kept is None else tuple(self._kept),
                     None if self._folder is None else self._folder.path)

    def _roll_out(self) -> Iterator[tuple[Step, Rollout | None]]:
        """Make the steps of all blocks that are left."""
        return roll_out(self._backend, self._condition, self._config, self._go_on)

    def _go_on(self, empty: Rollout) -> Rollout:
        return empty if self._folder is None else self._folder.rollout(empty, self._backend.device)

    def _earlier_blocks(self, stop: Event | None) -> Iterator[Block]:
        """Decode again what an earlier process made, for the new file."""
        for block in range(self._folder.next_block()):
            if stop is not None and stop.is_set():
                return
            self._from_before += 1
            self.add(self._folder.latents(block))
            yield from self.waiting()

    def _finish(self, latents: Tensor, rollout: Rollout) -> None:
        self.add(latents)
        if self._folder is not None:
            with self.watch.measure("save"):
                self._folder.save_block(latents, rollout)

    def add(self, latents: Tensor) -> None:
        """Take a finished block, (1, C, F, h, w), to be decoded by `waiting`."""
        self._waiting.append(latents)
        if self._kept is not None:
            self._kept.append(latents.detach().to("cpu", copy=True))


def write_video(stream: BlockStream, events: Iterable[Step | Block], path: Path, inputs: Inputs, metadata: dict,
                label: bool, progress: bool,
                keep_after: tuple[type[BaseException], ...] = ()) -> Iterator[Step | Block | Video]:
    """Yield the events of a stream while its blocks are written; the last one is the Video.

    keep_after: errors after which the file is finished as it stands, as after an interrupt; after others it is removed
    """
    size = inputs.size
    with VideoWriter(path, size, stream.fps, inputs.speech, metadata, label) as writer, \
            ProgressBar(stream.frames / stream.fps, progress) as bar:
        del inputs                         # an hour of sound is 230 MB; what the video needs is read from its file
        try:
            for event in events:
                if isinstance(event, Block):
                    with stream.watch.measure("encode"):
                        writer.write(event.frames)
                    bar.update(event.start_s + len(event.frames) / stream.fps, stream.x_realtime)
                yield event
        except (GeneratorExit, KeyboardInterrupt, SystemExit, *keep_after):
            for block in stream.waiting():
                writer.write(block.frames)
            writer.close()
            raise
        with stream.watch.measure("encode"):
            writer.close()
    yield stream.video(writer.path, writer.frames, size)
