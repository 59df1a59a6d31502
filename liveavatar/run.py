"""A pipeline on a worker thread: the caller stays free, many may watch, and it can be paused, stepped and stopped.

    run = Run.of(pipeline, speech, portrait, "smile", output="out.mp4")
    unsubscribe = run.subscribe(print)       # every Step, Block, Video and Change, called in the worker thread
    run.start()                              # returns at once
    run.result()                             # waits; raises what the worker raised

`replay` gives a saved trace the same face, so whatever watches a run can watch a recording of one.

    ready -> running <-> paused -> finished | stopped | failed

The worker never prints. Subscribers are called one after the other between two steps: they should only take a note of
what they were given. One that raises is dropped and kept in `complaints`; the run goes on.
"""

from __future__ import annotations

import atexit
import json
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from math import ceil
from pathlib import Path
from threading import Condition, Event, RLock, Thread, current_thread
from typing import TYPE_CHECKING, Protocol

from liveavatar.config import GenerationConfig
from liveavatar.decoder import Decoder
from liveavatar.files import user_path, utf8_path, write_whole
from liveavatar.interrupts import result_of, stop_on_interrupt
from liveavatar.runfolder import read_portrait, write_portrait
from liveavatar.signals import exit_on_signals
from liveavatar.sound import Sound
from liveavatar.step_frames import StepFrames
from liveavatar.strength import picture_to_copy
from liveavatar.trace import MIB, Trace
from liveavatar.types import Block, InputError, Phoneme, Portrait, Speech, Step
from liveavatar.video import Video

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

    from liveavatar.backends import Backend, PictureDecoder
    from liveavatar.backends.mini.vae import VideoVAE
    from liveavatar.inputs import Audio, Image
    from liveavatar.pipeline import Pipeline
    from liveavatar.preview import LatentMap
    from liveavatar.types import Prompt
    from liveavatar.vram.watch import MemoryWatch

READY, RUNNING, PAUSED, STOPPED, FINISHED, FAILED = "ready", "running", "paused", "stopped", "finished", "failed"
STATES = (READY, RUNNING, PAUSED, STOPPED, FINISHED, FAILED)
OVER = (STOPPED, FINISHED, FAILED)
LONGEST_GOODBYE_S = 10.0          # that the interpreter waits at its end for runs that are still going

Callback = Callable[[object], None]


@dataclass(frozen=True)
class Change:
    """The run went into another state; sent to subscribers like the other events."""

    state: str
    error: BaseException | None = None
    reached: type | None = None   # Step or Block: the event after which the run was asked to pause


@dataclass(frozen=True)
class Mark:
    """What the worker did and when: for time lines. Clock: `time.perf_counter`."""

    stage: str                    # "prepare", "step", "decode", "close"
    block: int                    # -1 where there is none
    index: int                    # step, -1 where there is none
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Ring:
    """The size and state of the cache of one noise level, without its keys and values."""

    level: int                    # the sampler step it belongs to
    end: int                      # latent frames written since the beginning
    capacity: int                 # latent frames
    frame_tokens: int             # tokens of one latent frame
    condition_tokens: int
    bytes: int
    layers: int = 0               # 0: not known

    @classmethod
    def of(cls, step: Step) -> Ring | None:
        """What a step's cache says of itself; None for a step that was read from a trace."""
        cache = step.cache
        if cache is None:
            return None
        return cls(step.index, cache.end, cache.capacity, cache.frame_tokens, cache.condition_tokens, cache.bytes,
                   cache.k.shape[0])

    @property
    def held(self) -> tuple[int, ...]:
        """The latent frames in the ring, oldest first."""
        return tuple(range(max(0, self.end - self.capacity), self.end))

    @property
    def slot(self) -> int:
        """Where the next latent frame will be written, 0..capacity-1."""
        return self.end % self.capacity

    @property
    def wrapped(self) -> bool:
        """Whether older frames have been overwritten."""
        return self.end > self.capacity

    @property
    def has_motion(self) -> bool:
        """Whether the condition is more than the portrait, which is one latent frame."""
        return self.condition_tokens > self.frame_tokens


@dataclass(frozen=True)
class Facts:
    """What is constant in a run."""

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
        return max(len(self.sigmas) - 1, 0)

    @property
    def pipeline(self) -> str:
        """Name the diffusers pipeline of a watched run; "" for a run of ours."""
        return self.config.get("pipeline", "")

    @property
    def block_frames(self) -> int:
        """Video frames in a block."""
        first = self.frames_per_latent if self.first_frames is None else self.first_frames
        return first + (self.block_latents - 1) * self.frames_per_latent

    @property
    def block_s(self) -> float:
        """Seconds of video in a block."""
        return self.block_frames / self.fps

    @property
    def blocks(self) -> int:
        return ceil(self.frames / self.block_frames)

    @property
    def total_s(self) -> float:
        return self.frames / self.fps

    def block_at(self, time_s: float) -> int:
        """The block that is seen at a time of the video."""
        last = max(self.blocks - 1, 0) if self.frames else 10**9
        return min(max(int(time_s / self.block_s + 1e-6), 0), last)

    def latent_at(self, time_s: float) -> int:
        """The latent frame that is seen then, counted within its block."""
        inside_s = time_s - self.block_at(time_s) * self.block_s
        return min(max(self.latent_of(int(inside_s * self.fps + 1e-6)), 0), self.block_latents - 1)

    def latent_of(self, frame: int) -> int:
        """Return the latent frame, within its block, that a video frame, counted within the block, belongs to."""
        first = self.frames_per_latent if self.first_frames is None else self.first_frames
        return 0 if frame < first else 1 + (frame - first) // self.frames_per_latent

    def frame_at(self, time_s: float) -> int:
        """The video frame that is seen then."""
        last = self.frames - 1 if self.frames else 10**9
        return min(max(int(time_s * self.fps + 1e-6), 0), last)


class Source(Protocol):
    """Where a run's events come from."""

    facts: Facts
    speech: Speech | None
    portrait: Portrait | None
    backend: Backend | None           # None: no model is at hand

    def events(self, stop: Event) -> Iterator[Step | Block | Video]:
        """The events, ending soon after `stop` is set."""


class Generation:
    """A source that makes a video. Bad input is refused here, in the caller's thread, before any work."""

    def __init__(self, pipeline: Pipeline, audio: Audio, image: Image, prompt: str | Prompt, config: GenerationConfig,
                 output: str | os.PathLike | None, run_dir: str | os.PathLike | None) -> None:
        from liveavatar.inputs import prepare
        from liveavatar.rollout import schedule_of
        from liveavatar.video import check_output

        if output is None and run_dir is not None:
            raise InputError("a run folder is for a video that can be gone on with; give output='out.mp4' as well")
        backend = pipeline.backend
        self._pipeline, self._config, self.backend = pipeline, config, backend
        self._output, self._run_dir = output if output is None else check_output(output), run_dir
        self._inputs = prepare(backend, audio, image, prompt, config)
        if self._output is not None:
            self._inputs.check_output(self._output)
        self.speech, self.portrait = self._inputs.speech, self._inputs.portrait
        frames = ceil(len(self.speech.wave) * backend.fps / self.speech.rate_hz)
        self.facts = Facts(backend.fps, backend.frames_per_latent, backend.block_latents,
                           int(min(frames, config.most_frames)), schedule_of(backend, config).sigmas,
                           config.sample_solver or backend.trained.solver, backend.name, config.to_dict())
        self.provenance = pipeline.provenance(self._inputs, config)

    def events(self, stop: Event) -> Iterator[Step | Block | Video]:
        if self._output is not None:
            return self._pipeline.stream_inputs(self._inputs, self._config, output=self._output,
                                              run_dir=self._run_dir, stop=stop)
        already_cut = replace(self._config, start_s=0.0, duration_s=None)
        return self._pipeline.events(self._inputs.speech, self._inputs.portrait, self._inputs.prompt, already_cut, stop)


class Recording:
    """A source that shows again what a trace holds, with the pictures where they were kept."""

    def __init__(self, trace: Trace, facts: Facts, blocks: dict[int, Block], pace: float, backend: Backend | None,
                 speech: Speech | None = None) -> None:
        self.facts, self.speech, self.portrait, self.backend = facts, speech, None, backend
        self._trace, self._blocks, self._pace = trace, blocks, pace

    def events(self, stop: Event) -> Iterator[Step | Block]:
        for step in self._trace.replay():
            if stop.wait(step.milliseconds / 1000 / self._pace if self._pace else 0):
                return
            yield step
            if step.last and step.block in self._blocks:
                yield self._blocks[step.block]


class Run:
    """One video being made, or replayed, by a worker thread. Made by `Run.of` and `replay`."""

    def __init__(self, source: Source, trace: Trace | None = None, *, record: bool = True,
                 keep_bytes: int = 256 * MIB) -> None:
        self.trace = trace if trace is not None else Trace()
        self.facts, self.speech, self.portrait = source.facts, source.speech, source.portrait
        self.backend = source.backend                    # what decodes its latents; None when no model is at hand
        self.keep_bytes = keep_bytes                     # of pictures; the oldest are let go
        self.error: BaseException | None = None          # what ended a failed run
        self.complaints: list[tuple[Callback, Exception]] = []
        self.began_s = 0.0                               # time.perf_counter() when it was started
        self.first_picture_s: float | None = None        # seconds of work until the first block was decoded
        self.rings: dict[int, Ring] = {}                 # noise level -> its cache, as last seen
        self._source, self._record = source, record
        self._changed = Condition(RLock())
        self._stop = Event()
        self._state = READY
        self._held = False                               # pause was asked for
        self._until: type | None = None                  # the kind of event after which to rest again
        self._asked_since = False                        # going on was asked for after the last event
        self._subscribers: dict[int, Callback] = {}
        self._next_number = 0
        self._thread: Thread | None = None
        self._blocks: dict[int, Block] = {}
        self._marks: deque[Mark] = deque(maxlen=100_000)
        self._seen: tuple[tuple[int, int], ...] = ()
        self._done_s = self._work_s = 0.0
        self._last: Step | None = None
        self._video: Video | None = None
        self._latent_map: LatentMap | None = None
        self.provenance: dict = getattr(source, "provenance", {})      # what its video says of its origin
        self._saved_vae = ""                             # of a saved run: the name of the VAE that decoded it
        self.step_frames = StepFrames(self)              # its steps as decoded pictures
        self.memory: MemoryWatch | None = None           # what looked at the memory meanwhile, where something did

    @classmethod
    def of(cls, pipeline: Pipeline, audio: Audio, image: Image, prompt: str | Prompt = "",
           config: GenerationConfig | None = None, *, output: str | os.PathLike | None = None,
           run_dir: str | os.PathLike | None = None, trace: Trace | None = None) -> Run:
        """A run that is ready to start. With `output` the video is written, else only watched.

        Bad input raises InputError here.
        """
        return cls(Generation(pipeline, audio, image, prompt, config or GenerationConfig(), output, run_dir), trace)

    def __repr__(self) -> str:
        return f"Run({self.state}, {self.done_s:.2f} of {self.total_s:.2f} s, {self.x_realtime:.2f}x real time)"

    # ------------------------------------------------------------------ what can be asked

    @property
    def state(self) -> str:
        """"ready", "running", "paused", "stopped", "finished" or "failed"."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether the worker is at work."""
        return self._state == RUNNING

    @property
    def over(self) -> bool:
        return self._state in OVER

    @property
    def stopping(self) -> bool:
        """Stop was asked for and has not happened yet."""
        return self._stop.is_set() and not self.over

    @property
    def stepping(self) -> bool:
        """Whether it makes a single step or block and will pause after it."""
        return self._until is not None

    @property
    def done_s(self) -> float:
        """Seconds of video that are decoded."""
        return self._done_s

    @property
    def total_s(self) -> float:
        """Seconds of video in all."""
        return self.facts.total_s

    @property
    def progress(self) -> float:
        """The share that is done, 0..1."""
        return min(self._done_s / self.total_s, 1.0) if self.total_s else 0.0

    @property
    def work_s(self) -> float:
        """Seconds of work so far; pauses do not count."""
        return self._work_s

    @property
    def x_realtime(self) -> float:
        """Seconds of video per second of work so far."""
        return self._done_s / self._work_s if self._work_s else 0.0

    @property
    def last_step(self) -> Step | None:
        """The newest step."""
        return self._last

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What the worker did and when."""
        return self.marks_from(0)

    def marks_from(self, number: int) -> tuple[Mark, ...]:
        """The same without the first ones."""
        with self._changed:
            return tuple(islice(self._marks, number, None))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The decoded blocks that are kept in memory, in order."""
        with self._changed:
            return tuple(self._blocks[index] for index in sorted(self._blocks))

    def decoded_block(self, index: int) -> Block | None:
        """Return one decoded block; None when it is not decoded yet, or no longer kept."""
        return self._blocks.get(index)

    @property
    def video(self) -> Video | None:
        """The file, once it is whole."""
        return self._video

    def picture_at(self, time_s: float) -> Tensor | None:
        """The video frame (H, W, 3) uint8 that is seen then; None when it is not decoded yet, or no longer kept."""
        block = self._blocks.get(self.facts.block_at(time_s))
        if block is None:
            return None
        frame = self.facts.frame_at(time_s) - self.facts.block_at(time_s) * self.facts.block_frames
        return block.frames[min(frame, len(block.frames) - 1)]

    @property
    def seen(self) -> tuple[tuple[int, int], ...]:
        """(block, step) of every step in the trace, in the order of the run. Safe while the worker records."""
        with self._changed:
            if len(self._seen) != len(self.trace):        # steps are added, never taken away
                self._seen = tuple(sorted(self.trace._numbers))
            return self._seen

    def look(self, block: int, index: int) -> Step:
        """One step of the trace. Safe while the worker records. A number below 0 counts from the end."""
        with self._changed:
            return self.trace.step(block, index)

    def ring_at(self, block: int, index: int, level: int) -> Ring | None:
        """The cache of a noise level as it was after step `index` of a block; None when its size is not known."""
        ring = self.rings.get(level) or next(iter(self.rings.values()), None)
        if ring is None:
            return None
        written = block + (1 if level <= index else 0)
        return replace(ring, level=level, end=written * self.facts.block_latents)

    def latent_map(self) -> LatentMap | None:
        """What turns its latents into colours; None while there is nothing to make one from. The first call takes
        a moment."""
        from liveavatar.preview import map_of, principal_map, values_of

        if self._latent_map is None:
            if self.backend is not None:
                self._latent_map = map_of(self.backend)
            elif self.seen:
                self._latent_map = principal_map(values_of(self.look(-1, -1).clean))
        return self._latent_map

    @property
    def decodes(self) -> bool:
        """Whether a decoder for its latents is at hand: that of its model, or the one in the package."""
        from liveavatar.preview import shipped_maps

        return self.backend is not None or self._saved_vae in shipped_maps()

    def new_decoder(self) -> PictureDecoder | None:
        """Return a decoder that has decoded nothing yet; None where no VAE is at hand for these latents.

        A saved run is decoded by the VAE of the package where its weights are the ones that made the run.
        """
        from liveavatar.preview import shipped_vae

        if self.backend is None:
            vae = shipped_vae(self._saved_vae) if self._saved_vae else None
        elif getattr(self.backend, "copies_portrait", False):
            vae = self.backend.vae
        else:
            return self.backend.decoder()
        return None if vae is None else Decoder(vae, self._picture_to_copy(vae))

    def _picture_to_copy(self, vae: VideoVAE) -> Tensor | None:
        """Return what a VAE that copies from the portrait was shown of it: (1, 3, H, W)"""
        if vae.portrait_copy is None or self._last is None:
            return None
        height, width = (vae.config.stride * side for side in self._last.x.shape[-2:])
        return picture_to_copy(self.portrait, (height, width), self.facts.config.get("portrait_strength", 1.0))

    # ------------------------------------------------------------------ watching

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Call back with every event from now on, in the worker thread. Returns what ends it."""
        with self._changed:
            number, self._next_number = self._next_number, self._next_number + 1
            self._subscribers[number] = callback

        def unsubscribe() -> None:
            with self._changed:
                self._subscribers.pop(number, None)
        return unsubscribe

    def events(self, size: int = 256) -> Stream:
        """An iterator over the events from now on, ending with the run. A slow reader loses the oldest."""
        return Stream(self, size)

    # ------------------------------------------------------------------ steering

    def start(self) -> Run:
        """Begin, or go on after a pause. Returns at once."""
        self._go(until=None)
        return self

    def pause(self) -> None:
        """Rest after the step that is being made."""
        with self._changed:
            if self._state != RUNNING:
                return
            self._held, self._until = True, None
            self._state = PAUSED
        self._tell(Change(PAUSED))

    def resume(self) -> None:
        """Go on after a pause."""
        self._go(until=None)

    def step(self) -> None:
        """Make one sampler step and rest."""
        self._go(until=Step)

    def next_block(self) -> None:
        """Go on until the next block is decoded, and rest."""
        self._go(until=Block)

    def toggle(self) -> None:
        """Start, pause or go on: what one key or button does."""
        if self._state == RUNNING:
            self.pause()
        elif not self.over:
            self.start()

    def stop(self) -> None:
        """End within one sampler step. What is done is kept, and its video can be played."""
        with self._changed:
            self._stop.set()
            never_began = self._state == READY
            if never_began:
                self._state = STOPPED
            self._changed.notify_all()
        if never_began:
            self._tell(Change(STOPPED))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False when it has not come in time."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or self._state == READY, timeout_s)
        if self.over and self._thread is not None and self._thread is not current_thread():
            self._thread.join(timeout_s)                 # until the last subscriber has been told
        return self.over

    def result(self) -> Video | Trace:
        """Wait for the end and return the Video, or the Trace of a run without output.

        Raises what the worker raised. An interrupt, or a signal that ends the process, stops the run, waits for its
        last step and is passed on.
        """
        if self._state == READY:
            raise InputError("this run has not begun; call run.start() first")
        if current_thread() is self._thread:
            raise InputError("a subscriber cannot wait for the run that calls it")
        try:
            with exit_on_signals():
                self.wait()
        except (KeyboardInterrupt, SystemExit):
            self.stop()
            self.wait()
            raise
        if self.error is not None:
            raise self.error
        return self._video if self._video is not None else self.trace

    def __await__(self) -> Generator:
        return result_of(self).__await__()

    # ------------------------------------------------------------------ keeping

    def save(self, folder: str | os.PathLike) -> Path:
        """Write all that `replay(folder)` needs: trace, facts, kept pictures, speech and portrait."""
        from safetensors.torch import save_file

        from liveavatar.preview import name_of_vae

        saved = self.trace.save(folder)
        folder = utf8_path(saved)
        blocks, latent_map = self.blocks, self.latent_map()
        save_file({f"{block.index:05d}": block.frames.contiguous() for block in blocks}, folder / "frames.safetensors")
        speech = None if self.speech is None else save_speech(self.speech, folder / "speech.safetensors")
        if self.portrait is not None:
            write_portrait(folder / "portrait.safetensors", self.portrait)
        description = {
            "format": 1, "facts": asdict(self.facts), "speech": speech, "provenance": self.provenance,
            "vae": self._saved_vae if self.backend is None else name_of_vae(self.backend),
            "latent_map": None if latent_map is None else latent_map.to_dict(),
            "rings": [asdict(ring) for ring in self.rings.values()],
            "blocks": [[block.index, block.start_s, block.milliseconds] for block in blocks],
            "marks": [[mark.stage, mark.block, mark.index, mark.began_s - self.began_s, mark.ended_s - self.began_s]
                      for mark in self.marks],
            "done_s": self._done_s, "work_s": self._work_s, "first_picture_s": self.first_picture_s}
        text = json.dumps(description, indent=1)
        write_whole(folder / "run.json", lambda part: part.write_text(text, encoding="utf-8"))
        if self.memory is not None:
            self.memory.record.save(folder)
        return saved

    def show_finished(self, blocks: dict[int, Block], vae: str = "") -> None:
        """Become a run that is over and has made these blocks, without any work: of a video that exists already.

        vae: the name (`name_of_vae`) of what decodes its latents, where it has some
        """
        self._blocks, self._done_s, self._state, self._saved_vae = dict(blocks), self.total_s, FINISHED, vae
        self._last = self.trace.step(-1, -1) if len(self.trace) else None      # its size tells that of the pictures

    # ------------------------------------------------------------------ the worker

    def _go(self, until: type | None) -> None:
        with self._changed:
            if self.over:
                raise InputError(f"this run is over ({self._state}); make a new one to go again")
            begins = self._thread is None
            self._ask(until)
            if begins:
                self.began_s = time.perf_counter()
                self._thread = Thread(target=self._work, name="liveavatar-run", daemon=True)
            self._changed.notify_all()
        self._tell(Change(RUNNING))
        if begins:
            _going.add(self)
            stop_on_interrupt(self)
            self._thread.start()

    def _ask(self, until: type | None) -> None:
        """Let the worker go on, up to the next event of a kind; called with the lock held."""
        self._held, self._until, self._state = until is not None, until, RUNNING
        self._asked_since = True

    def _work(self) -> None:
        """Draw the events from the source, one by one, as far as is allowed."""
        error, events = None, None
        try:
            events = self._source.events(self._stop)
            while True:
                self._rest_if_asked()
                began_s = time.perf_counter()
                event = next(events, None)
                if event is None:
                    break
                self._note(event, began_s, time.perf_counter())
                self._tell(event)
                self._rest_after(event)
        except BaseException as raised:                  # kept for result(), never lost in a thread
            error = raised
        finally:
            if hasattr(events, "close"):
                events.close()
        self._end(error)

    def _rest_if_asked(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._until is not None or self._stop.is_set())

    def _rest_after(self, event: object) -> None:
        with self._changed:
            answers = self._until is not None and not self._asked_since and isinstance(event, self._until)
            reached = self._until if answers else None
            if reached is not None:
                self._until, self._state = None, PAUSED
        if reached is not None:
            self._tell(Change(PAUSED, reached=reached))

    def _note(self, event: Step | Block | Video, began_s: float, ended_s: float) -> None:
        with self._changed:
            self._asked_since = False
            self._work_s += ended_s - began_s
            self._marks.extend(marks_of(event, began_s, ended_s))
            if isinstance(event, Step):
                self._last = replace(event, cache=None)
                self.rings |= {ring.level: ring for ring in [Ring.of(event)] if ring is not None}
                if self._record:
                    self.trace.record(event)
            elif isinstance(event, Block):
                self._keep(event)
                self._done_s = event.start_s + len(event.frames) / self.facts.fps
                if self.first_picture_s is None:
                    self.first_picture_s = self._work_s
            else:
                self._video = event

    def _keep(self, block: Block) -> None:
        self._blocks[block.index] = block
        while len(self._blocks) > 1 and sum(kept.frames.nbytes for kept in self._blocks.values()) > self.keep_bytes:
            del self._blocks[min(self._blocks)]

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self.error = error
            stopped = self._stop.is_set() and self._done_s + 0.5 / self.facts.fps < self.total_s
            self._state = FAILED if error is not None else STOPPED if stopped else FINISHED
            self._changed.notify_all()
        self._tell(Change(self._state, error))

    def _tell(self, event: object) -> None:
        with self._changed:
            subscribers = tuple(self._subscribers.items())
        for number, callback in subscribers:
            try:
                callback(event)
            except Exception as error:                   # whoever only looks cannot hurt the run
                with self._changed:
                    self._subscribers.pop(number, None)
                    self.complaints.append((callback, error))


class Stream:
    """The events of a run as an iterator. It holds at most `size`; `lost` counts those it had to let go."""

    def __init__(self, run: Run, size: int) -> None:
        self.lost = 0
        self._waiting: deque[object] = deque(maxlen=size)
        self._arrived = Condition()
        self._ended = run.over
        self._unsubscribe = run.subscribe(self._put)
        if run.over:
            self.close()

    def _put(self, event: object) -> None:
        with self._arrived:
            self.lost += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(event)
            self._ended |= isinstance(event, Change) and event.state in OVER
            self._arrived.notify_all()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> object:
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                return self._waiting.popleft()
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Stop listening."""
        self._unsubscribe()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()


# ------------------------------------------------------------------------------------------- from a trace

def replay(trace: Trace | str | os.PathLike, pace: float = 0.0, facts: Facts | None = None,
           pipeline: Pipeline | None = None) -> Run:
    """A saved run, or a trace, as a Run: everything it holds can be looked at at once, `start()` shows it again.

    pace 1.0 takes as long as the steps once took, 0 no time at all. With a pipeline its decoder can be asked.
    """
    from safetensors import SafetensorError

    backend = None if pipeline is None else pipeline.backend
    if isinstance(trace, Trace):
        known = facts or facts_of(trace)
        return Run(Recording(trace, known, {}, pace, backend), trace, record=False)
    folder = utf8_path(user_path(trace))
    try:
        return replay_folder(folder, pace, facts, pipeline)
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds a run that is damaged ({type(error).__name__}: {error}); record it "
                         "again") from error


def replay_folder(folder: Path, pace: float, facts: Facts | None, pipeline: Pipeline | None) -> Run:
    """Open a folder that `Run.save` or `Trace.save` has written."""
    from liveavatar.preview import LatentMap

    backend = None if pipeline is None else pipeline.backend
    loaded = load_trace(folder)
    if not (folder / "run.json").exists():
        return replay(loaded, pace, facts, pipeline)
    about = read_description(folder / "run.json")
    constant = about["facts"]
    known = Facts(**{**constant, "sigmas": tuple(constant["sigmas"]), "config": read_config(constant["config"]),
                     "remarks": tuple(constant.get("remarks", ()))})
    blocks = load_blocks(folder, about, loaded)
    speech = load_speech(folder, about["speech"])
    run = Run(Recording(loaded, known, blocks, pace, backend, speech), loaded, record=False)
    run._latent_map = about["latent_map"] and LatentMap.from_dict(about["latent_map"])
    run._saved_vae, run.provenance = about.get("vae", ""), about.get("provenance", {})
    if (folder / "portrait.safetensors").exists():       # runs saved by version 0.1 have none
        run.portrait = read_portrait(folder / "portrait.safetensors")
    run.rings = {ring["level"]: Ring(**ring) for ring in about["rings"]}
    run._blocks, run._done_s, run._work_s = dict(blocks), about["done_s"], about["work_s"]
    run.first_picture_s = about["first_picture_s"]
    run._marks.extend(Mark(*mark) for mark in about["marks"])
    run._last = loaded.step(-1, -1) if len(loaded) else None
    return run


def read_config(values: dict) -> dict:
    """Read the configuration of a saved run: a GenerationConfig as a dict, or what was chosen in a watched call."""
    ours = values.keys() <= GenerationConfig.__dataclass_fields__.keys()
    return GenerationConfig.from_dict(values).to_dict() if ours else values


def facts_of(trace: Trace) -> Facts:
    """What can be read from a trace alone. Frames per second and per latent frame are those of both known models."""
    if not len(trace):
        return Facts()
    first = [step for step in trace.replay() if step.block == trace.blocks[0]]
    block_latents = first[0].x.shape[2]
    plain = Facts(block_latents=block_latents, sigmas=(*(step.sigma for step in first), first[-1].sigma_next))
    return replace(plain, frames=(trace.blocks[-1] + 1) * plain.block_frames)


def load_trace(folder: Path) -> Trace:
    """A trace of the version that is understood here, or InputError."""
    read_description(folder / "trace.json")
    return Trace.load(folder)


def read_description(path: Path) -> dict:
    try:
        description = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path.parent} holds no run that can be read ({error}); "
                         "give a folder written by Run.save or Trace.save") from error
    if description.get("format") != 1:
        raise InputError(f"{path} is of format {description.get('format')!r}, this version reads format 1; "
                         "record the run again, or open it with the version that wrote it")
    return description


def load_blocks(folder: Path, about: dict, trace: Trace) -> dict[int, Block]:
    """The pictures that were kept, joined with their latents."""
    from safetensors.torch import load_file

    path = folder / "frames.safetensors"
    frames = load_file(path) if path.exists() else {}
    return {index: Block(index, trace.step(index, -1).x, frames[f"{index:05d}"], start_s, milliseconds)
            for index, start_s, milliseconds in about["blocks"] if f"{index:05d}" in frames}


def save_speech(speech: Speech, path: Path) -> dict:
    """The samples go into a file; what is left is returned, for JSON."""
    from safetensors.numpy import save_file

    save_file({"wave": speech.wave}, path)
    phonemes = [[phoneme.symbol, phoneme.start_s, phoneme.end_s] for phoneme in speech.phonemes]
    sound = None if speech.sound is None else speech.sound.keep(path.parent)
    return {"rate_hz": speech.rate_hz, "text": speech.text, "phonemes": phonemes, "sound": sound}


def load_speech(folder: Path, about: dict | None) -> Speech | None:
    if about is None:
        return None
    from safetensors.numpy import load_file

    wave: numpy.ndarray = load_file(folder / "speech.safetensors")["wave"]
    speech = Speech(wave, about["rate_hz"], tuple(Phoneme(*phoneme) for phoneme in about["phonemes"]), about["text"])
    return speech.with_sound(Sound.kept(folder, about.get("sound")))


def marks_of(event: Step | Block | Video, began_s: float, ended_s: float) -> list[Mark]:
    """What was done between two events: a step or a decoding and, before the first step of all, the preparations."""
    if isinstance(event, Step):
        stepped_s = max(ended_s - event.milliseconds / 1000, began_s)
        marks = [Mark("step", event.block, event.index, stepped_s, ended_s)]
        first = event.block == 0 and event.index == 0
        return [Mark("prepare", -1, -1, began_s, stepped_s), *marks] if first else marks
    if isinstance(event, Block):
        return [Mark("decode", event.index, -1, began_s, ended_s)]
    return [Mark("close", -1, -1, began_s, ended_s)]


# ------------------------------------------------------------------------------------------- the end of the process

_going: weakref.WeakSet[Run] = weakref.WeakSet()


@atexit.register
def stop_all_runs() -> None:
    """Let every worker leave its network before the interpreter takes it away."""
    runs = [run for run in _going if not run.over]
    for run in runs:
        run.stop()
    ends = time.monotonic() + LONGEST_GOODBYE_S
    for run in runs:
        run.wait(max(ends - time.monotonic(), 0))
