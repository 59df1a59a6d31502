"""What is known of a run beside its events: its constants, states, spans of work and the caches of its noise levels."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from liveavatar.cache import RingPosition
from liveavatar.types import Block, Step
from liveavatar.video import Video

READY, RUNNING, PAUSED, STOPPED, FINISHED, FAILED = "ready", "running", "paused", "stopped", "finished", "failed"
ENDED = (STOPPED, FINISHED, FAILED)


@dataclass(frozen=True)
class StateChange:
    """The run went into another state; sent to subscribers like the other events."""

    state: str
    error: BaseException | None = None
    reached: type | None = None   # Step or Block: the event after which the run was asked to pause


@dataclass(frozen=True)
class StageSpan:
    """A stretch of the worker's time, for time lines. Clock: `time.perf_counter`."""

    stage: str                    # "prepare", "step", "decode", "close"
    block: int                    # -1 where there is none
    index: int                    # step, -1 where there is none
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class RingState(RingPosition):
    """Size and position of the ring buffer of one noise level, without its keys and values."""

    level: int                    # the sampler step it belongs to
    end: int
    capacity: int
    frame_tokens: int             # tokens of one latent frame
    condition_tokens: int
    bytes: int
    layers: int = 0               # 0: not known

    @classmethod
    def of(cls, step: Step) -> RingState | None:
        """Describe a step's cache; None for a step that was read from a trace."""
        cache = step.cache
        if cache is None:
            return None
        return cls(step.index, cache.end, cache.capacity, cache.frame_tokens, cache.condition_tokens, cache.bytes,
                   cache.k.shape[0])

    @property
    def wrapped(self) -> bool:
        """Tell whether older frames have been overwritten."""
        return self.end > self.capacity

    @property
    def has_motion(self) -> bool:
        """Tell whether the condition is more than the portrait, which is one latent frame."""
        return self.condition_tokens > self.frame_tokens


@dataclass(frozen=True)
class RunInfo:
    """The constants of a run."""

    fps: float = 25.0
    frames_per_latent: int = 4        # video frames in a latent frame
    block_latents: int = 3            # latent frames in a block
    frames: int = 0                   # video frames in all; 0: not known
    sigmas: tuple[float, ...] = ()    # noise levels, one more than steps
    solver: str = ""
    backend: str = ""
    config: dict = field(default_factory=dict)
    first_frames: int | None = None   # video frames in a block's first latent frame; None: as in the others
    remarks: tuple[str, ...] = ()     # what could not be recorded, a sentence each

    @property
    def steps(self) -> int:
        """Return the steps of a block; 0: not known"""
        return max(len(self.sigmas) - 1, 0)

    @property
    def pipeline(self) -> str:
        """Name the diffusers pipeline of a watched run; "" for a run of ours."""
        return self.config.get("pipeline", "")

    @property
    def block_frames(self) -> int:
        """Return the video frames in a block."""
        first = self.frames_per_latent if self.first_frames is None else self.first_frames
        return first + (self.block_latents - 1) * self.frames_per_latent

    @property
    def block_s(self) -> float:
        """Return the seconds of video in a block."""
        return self.block_frames / self.fps

    @property
    def blocks(self) -> int:
        """Return the blocks of the video; 0: not known"""
        return ceil(self.frames / self.block_frames)

    @property
    def total_s(self) -> float:
        """Return the seconds of the video; 0: not known"""
        return self.frames / self.fps

    def block_at(self, time_s: float) -> int:
        """Return the block that is shown at a time of the video."""
        last = max(self.blocks - 1, 0) if self.frames else 10**9
        return min(max(int(time_s / self.block_s + 1e-6), 0), last)

    def latent_at(self, time_s: float) -> int:
        """Return the latent frame that is shown at a time of the video, counted within its block."""
        inside_s = time_s - self.block_at(time_s) * self.block_s
        return min(max(self.latent_of(int(inside_s * self.fps + 1e-6)), 0), self.block_latents - 1)

    def latent_of(self, frame: int) -> int:
        """Return the latent frame, within its block, that a video frame, counted within the block, belongs to."""
        first = self.frames_per_latent if self.first_frames is None else self.first_frames
        return 0 if frame < first else 1 + (frame - first) // self.frames_per_latent

    def frame_at(self, time_s: float) -> int:
        """Return the video frame that is shown at a time of the video."""
        last = self.frames - 1 if self.frames else 10**9
        return min(max(int(time_s * self.fps + 1e-6), 0), last)


def spans_of(event: Step | Block | Video, began_s: float, ended_s: float) -> list[StageSpan]:
    """Return what was done between two events: a step or a decoding; before the first step of all, preparations."""
    if isinstance(event, Step):
        stepped_s = max(ended_s - event.milliseconds / 1000, began_s)
        spans = [StageSpan("step", event.block, event.index, stepped_s, ended_s)]
        first = event.block == 0 and event.index == 0
        return [StageSpan("prepare", -1, -1, began_s, stepped_s), *spans] if first else spans
    if isinstance(event, Block):
        return [StageSpan("decode", event.index, -1, began_s, ended_s)]
    return [StageSpan("close", -1, -1, began_s, ended_s)]
