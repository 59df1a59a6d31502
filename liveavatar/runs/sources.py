"""Where the events of a run come from: a pipeline at work, or a trace that is shown again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from threading import Event
from typing import TYPE_CHECKING, Protocol

from liveavatar.config import GenerationConfig
from liveavatar.inputs import prepare
from liveavatar.rollout import schedule_of
from liveavatar.runs.info import RunInfo
from liveavatar.trace import Trace
from liveavatar.types import Block, InputError, Portrait, Speech, Step
from liveavatar.video import Video, check_output

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.inputs import Audio, Image
    from liveavatar.pipeline import Pipeline
    from liveavatar.types import Prompt


class EventSource(Protocol):
    """An origin of a run's events: a pipeline at work, or a trace."""

    info: RunInfo
    speech: Speech | None
    portrait: Portrait | None
    backend: Backend | None           # None: no model is at hand

    def events(self, stop: Event) -> Iterator[Step | Block | Video]:
        """Yield the events, ending soon after `stop` is set."""


class GenerationSource:
    """Makes a video. Bad input is refused here, in the caller's thread, before any work."""

    def __init__(self, pipeline: Pipeline, audio: Audio, image: Image, prompt: str | Prompt, config: GenerationConfig,
                 output: str | os.PathLike | None, run_dir: str | os.PathLike | None) -> None:
        """Read the inputs. Raises InputError."""
        if output is None and run_dir is not None:
            raise InputError("a run folder is for a video that can be gone on with; give output='out.mp4' as well")
        backend = pipeline.backend
        self.pipeline, self.config, self.backend = pipeline, config, backend
        self._output, self._run_dir = output if output is None else check_output(output), run_dir
        self.inputs = prepare(backend, audio, image, prompt, config)
        if self._output is not None:
            self.inputs.check_output(self._output)
        self.speech, self.portrait = self.inputs.speech, self.inputs.portrait
        frames = ceil(len(self.speech.wave) * backend.fps / self.speech.rate_hz)
        self.info = RunInfo(backend.fps, backend.frames_per_latent, backend.block_latents,
                            int(min(frames, config.most_frames)), schedule_of(backend, config).sigmas,
                            config.sample_solver or backend.trained.solver, backend.name, config.to_dict())
        self.provenance = pipeline.provenance(self.inputs, config)

    def events(self, stop: Event) -> Iterator[Step | Block | Video]:
        """Yield the events of the pipeline; without an output no file is written."""
        if self._output is not None:
            yield from self.pipeline.stream_inputs(self.inputs, self.config, output=self._output,
                                                   run_dir=self._run_dir, stop=stop)
        else:
            condition = self.pipeline.encode_inputs(self.inputs, self.config)      # not cropped and cut once more
            yield from self.pipeline.events(condition, config=self.config, stop=stop)


class TraceSource:
    """Yields again what a trace holds, with the pictures where they were kept."""

    def __init__(self, trace: Trace, info: RunInfo, blocks: dict[int, Block], pace: float, backend: Backend | None,
                 speech: Speech | None = None) -> None:
        self.info, self.speech, self.portrait, self.backend = info, speech, None, backend
        self._trace, self._blocks, self._pace = trace, blocks, pace

    def events(self, stop: Event) -> Iterator[Step | Block]:
        """Yield each step and, after the last one of a block, its pictures."""
        for step in self._trace.replay():
            if stop.wait(step.milliseconds / 1000 / self._pace if self._pace else 0):
                return
            yield step
            if step.last and step.block in self._blocks:
                yield self._blocks[step.block]
