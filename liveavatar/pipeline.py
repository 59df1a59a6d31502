"""Stages 1 to 5 joined: speech + portrait + prompt -> a talking video, through stages that can be called one by one.

    listen -> hear --+
    look ------------+-> condition -> steps -> decode -> film, render
    read ------------+

`steps` pauses after every step, `events` after every step and every block, `stream` does the same while it writes the
file, `render` runs through. Stop between any two steps, by closing the generator or by setting an Event, leaves a
video of what is done.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.backends import find, find_for
from liveavatar.config import GenerationConfig
from liveavatar.decoder import name_of_vae
from liveavatar.files import printable, user_path
from liveavatar.inputs import (
    Audio,
    Image,
    Inputs,
    encode_audio,
    prepare,
    prepare_audio,
    prepare_portrait,
    prepare_prompt,
    remark_on,
)
from liveavatar.rollout import Rollout, block_generator, roll_out
from liveavatar.runfolder import RunFolder, StepWriter, check_new
from liveavatar.signals import exit_on_signals
from liveavatar.strength import picture_to_copy, weaken_portrait, weaken_sound
from liveavatar.threads import adapted_threads
from liveavatar.types import AudioFeatures, Block, Condition, InputError, Prompt, Speech, Step
from liveavatar.version import __version__
from liveavatar.video import Video, VideoWriter, check_output

if TYPE_CHECKING:
    from liveavatar.backends import Backend, PictureDecoder

DEFAULTS = GenerationConfig()


def load(name: str = "mini", **options: object) -> Pipeline:
    """Bring a model's weights and return the pipeline that drives it.

    mini takes student=4 (a student that the weights hold; False: the many-step base), dtype="auto" | "float32" |
    "bfloat16", compile=False,
    weights="shipped" | "random" | a folder, device="auto" | "cpu" | "cuda".
    wan-s2v-14b takes checkpoint_dir=..., lora=... or weights="random", and more: `backends.wan.WanBackend.load`.
    """
    return Pipeline(find(name).load(**options))


def load_once(name: str, options: dict[str, object]) -> Pipeline:
    """Like `load`, for a process that makes one video and nothing else."""
    pipeline = load(name, **options)
    pipeline.keep_encoders = False
    return pipeline


def generate(audio: Audio, image: Image, prompt: str | Prompt = "", config: GenerationConfig = DEFAULTS, *,
             output: str | os.PathLike = "out.mp4", backend: str = "mini", run_dir: str | os.PathLike | None = None,
             stop: Event | None = None, progress: bool = True, **options: object) -> Video:
    """Inputs to video in one call. Whatever cannot be used is refused before any weights are loaded."""
    kind = find_for(backend, options)
    path = check_output(output)
    if run_dir is not None:
        check_new(run_dir)
    inputs = prepare(kind, audio, image, prompt, config)
    inputs.check_output(path)
    pipeline = load_once(backend, options)
    remark_on(pipeline.backend, inputs, config)
    return run_through(pipeline.stream_inputs(inputs, config, output=output, run_dir=run_dir, stop=stop,
                                            progress=progress))


def resume(run_dir: str | os.PathLike, *, output: str | os.PathLike | None = None, stop: Event | None = None,
           progress: bool = True) -> Video:
    """Go on with a run that was stopped or killed, with the weights it was begun with."""
    about = RunFolder(user_path(run_dir)).read()["backend"]
    return load_once(about["name"], load_options(about)).resume(run_dir, output=output, stop=stop, progress=progress)


def load_options(about: dict) -> dict:
    """Return the options of `load` that bring the weights a backend told about."""
    return about.get("options") or {name: about[name] for name in ("student", "dtype", "weights") if name in about}


def run_through(film: Iterator[Step | Block | Video]) -> Video:
    """Exhaust a film and return its video. A signal that ends the process leaves a file that can be played."""
    with exit_on_signals():
        return deque(film, maxlen=1).pop()


@dataclass
class Stopwatch:
    """Seconds of work by stage. What the caller does between two events does not count."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


class Pipeline:
    """Drives one backend. It keeps no state between calls: two videos never meet."""

    def __init__(self, backend: Backend, keep_encoders: bool = True) -> None:
        """keep_encoders: False where one video is made and nothing else, so encoders are released once it is encoded"""
        self.backend, self.keep_encoders = backend, keep_encoders

    def __repr__(self) -> str:
        about = {key: value for key, value in self.backend.about().items() if key not in ("trained", "options")}
        return f"Pipeline({', '.join(f'{key}={value!r}' for key, value in about.items())})"

    @property
    def block_frames(self) -> int:
        """Video frames in a block."""
        return self.backend.block_latents * self.backend.frames_per_latent

    # ------------------------------------------------------------------ stages that can be called alone

    def load_audio(self, audio: Audio, config: GenerationConfig = DEFAULTS) -> Speech:
        """A recording, or the asked stretch of it, as it will be heard in the video."""
        return prepare_audio(self.backend, audio, config)

    def encode_audio(self, audio: Audio, config: GenerationConfig = DEFAULTS) -> AudioFeatures:
        """Sound -> what the model hears during each video frame."""
        return encode_audio(self.backend, self.load_audio(audio, config), config)

    def encode_image(self, image: Image, config: GenerationConfig = DEFAULTS) -> tuple[Tensor, Tensor | None]:
        """Portrait -> reference latent (1, C, 1, h, w), and motion latents where the model uses them."""
        return self.backend.encode_image(*prepare_portrait(self.backend, image, config))

    def encode_text(self, prompt: str | Prompt) -> Tensor:
        """Words -> text features (1, L, text_dim)."""
        return self.backend.encode_text(prepare_prompt(self.backend, prompt))

    def condition(self, audio: Audio, image: Image, prompt: str | Prompt = "",
                  config: GenerationConfig = DEFAULTS) -> Condition:
        """All that steers the sampler."""
        return self.encode_inputs(prepare(self.backend, audio, image, prompt, config), config)

    def steps(self, audio: Audio | Condition, image: Image | None = None, prompt: str | Prompt = "",
              config: GenerationConfig = DEFAULTS) -> Iterator[Step]:
        """Every step of every block, pausing after each. Takes what a person gives, or a Condition made before."""
        self._check(config)
        condition = audio if isinstance(audio, Condition) else self.condition(audio, image, prompt, config)
        self.load_weights()
        for step, _ in roll_out(self.backend, condition, config):
            yield step

    def decode(self, latents: Iterable[Tensor], frames: int | None = None,
               condition: Condition | None = None) -> Iterator[Tensor]:
        """Latents of each block, in order -> its pictures (T, H, W, 3) uint8; at most `frames` in all."""
        decoder, done = self.backend.decoder(condition), 0
        for block in latents:
            pictures = decoder.decode(block)[:None if frames is None else frames - done]
            done += len(pictures)
            yield pictures

    # ------------------------------------------------------------------ the whole river

    def events(self, audio: Audio | Condition, image: Image | None = None, prompt: str | Prompt = "",
               config: GenerationConfig = DEFAULTS, stop: Event | None = None) -> Iterator[Step | Block]:
        """Every step as it is made and every block as it is decoded; no file is written."""
        self._check(config)
        condition = audio if isinstance(audio, Condition) else self.condition(audio, image, prompt, config)
        self.load_weights()
        yield from BlockStream(self, condition, config, Stopwatch()).events(stop)

    def film(self, *arguments: object, **options: object) -> Iterator[Step | Block | Video]:
        """Call `stream`: the name of version 0.1, which goes with version 0.3."""
        warnings.warn("Pipeline.film is now Pipeline.stream; the old name goes with version 0.3", DeprecationWarning,
                      stacklevel=2)
        return self.stream(*arguments, **options)

    def stream(self, audio: Audio, image: Image, prompt: str | Prompt = "", config: GenerationConfig = DEFAULTS, *,
               output: str | os.PathLike = "out.mp4", run_dir: str | os.PathLike | None = None,
               stop: Event | None = None, keep_latents: bool = False,
               progress: bool = False) -> Iterator[Step | Block | Video]:
        """Yield the same events while the video is written; the last one is the Video.

        Closing the generator, an interrupt or the Event ends the file where it stands: what is done can be played.
        """
        self._check(config)
        check_output(output)
        watch = Stopwatch()
        with watch.measure("read files"):
            inputs = prepare(self.backend, audio, image, prompt, config)
        yield from self.stream_inputs(inputs, config, output=output, run_dir=run_dir, stop=stop,
                                    keep_latents=keep_latents, progress=progress, watch=watch)

    def render(self, audio: Audio, image: Image, prompt: str | Prompt = "", config: GenerationConfig = DEFAULTS, *,
               output: str | os.PathLike = "out.mp4", run_dir: str | os.PathLike | None = None,
               stop: Event | None = None, keep_latents: bool = False, progress: bool = True) -> Video:
        """Make the whole video. With a run_dir it can be gone on with after a crash: `resume(run_dir)`."""
        return run_through(self.stream(audio, image, prompt, config, output=output, run_dir=run_dir, stop=stop,
                                     keep_latents=keep_latents, progress=progress))

    def resume(self, run_dir: str | os.PathLike, *, output: str | os.PathLike | None = None,
               stop: Event | None = None, keep_latents: bool = False, progress: bool = True) -> Video:
        """Go on with a run that was stopped or killed: the same latents as if nothing had happened."""
        folder = RunFolder(user_path(run_dir))
        asked = folder.read()
        ours = self.backend.about()
        for name in ("name", "student", "dtype", "fingerprint"):
            if ours.get(name) != asked["backend"].get(name):
                raise InputError(f"the run in {run_dir} was begun with {name} {asked['backend'].get(name)!r}, this "
                                 f"pipeline has {ours.get(name)!r}; liveavatar.resume({str(run_dir)!r}) loads the same")
        inputs = Inputs(*folder.inputs(), tuple(asked["size"]), asked["inputs"])
        path = check_output(output if output is not None else asked["output"])
        return run_through(self._stream(inputs, folder.config, path, folder, stop, keep_latents, progress, Stopwatch()))

    def stream_inputs(self, inputs: Inputs, config: GenerationConfig = DEFAULTS, *,
                      output: str | os.PathLike = "out.mp4", run_dir: str | os.PathLike | None = None,
                      stop: Event | None = None, keep_latents: bool = False, progress: bool = False,
                      watch: Stopwatch | None = None) -> Iterator[Step | Block | Video]:
        """`stream` for inputs that were read before."""
        self._check(config)
        path, folder = check_output(output), None
        inputs.check_output(path)
        if run_dir is not None:
            description = self._describe(inputs, config) | {"output": str(path.absolute()),
                                                            "vae": name_of_vae(self.backend)}
            folder = RunFolder.create(run_dir, description, inputs.speech, inputs.portrait)
        yield from self._stream(inputs, config, path, folder, stop, keep_latents, progress, watch or Stopwatch())

    def _stream(self, inputs: Inputs, config: GenerationConfig, path: Path, folder: RunFolder | None,
              stop: Event | None, keep_latents: bool, progress: bool,
              watch: Stopwatch) -> Iterator[Step | Block | Video]:
        condition = self.encode_inputs(inputs, config, watch)
        self.load_weights()
        stream = BlockStream(self, condition, config, watch, folder, keep_latents)
        about = self.provenance(inputs, config)
        with VideoWriter(path, inputs.size, self.backend.fps, inputs.speech, about, config.label) as writer, \
                Progress(stream.frames / self.backend.fps, progress) as shown:
            try:
                for event in stream.events(stop):
                    if isinstance(event, Block):
                        with watch.measure("encode"):
                            writer.write(event.frames)
                    shown.update(event, stream)
                    yield event
            except (GeneratorExit, KeyboardInterrupt, SystemExit):
                for block in stream.waiting():
                    writer.write(block.frames)
                writer.close()
                raise
            with watch.measure("encode"):
                writer.close()
        yield stream.video(writer.path, writer.frames, inputs.size)

    # ------------------------------------------------------------------ what the stages share

    def load_weights(self) -> None:
        """Bring weights to the device that the backend has put off until everything is encoded (wan-s2v-14b).

        No stage of the stopwatch: what loads a model is not work on a video.
        """
        if hasattr(self.backend, "load_transformer"):
            self.backend.load_transformer()

    def encode_inputs(self, inputs: Inputs, config: GenerationConfig, watch: Stopwatch | None = None) -> Condition:
        """Encode sound, portrait, words and pose video. Needs the encoders only, not the transformer."""
        watch = watch or Stopwatch()
        with adapted_threads(self.backend.device):
            with watch.measure("encode audio"):
                features = encode_audio(self.backend, inputs.speech, config)
            with watch.measure("encode image"):
                portrait = weaken_portrait(inputs.portrait, inputs.size, config.portrait_strength)
                reference, motion = self.backend.encode_image(portrait, inputs.size)
                if config.portrait_strength == 0:
                    reference = torch.zeros_like(reference)
            text = self.backend.encode_text(inputs.prompt)
        frames = int(min(features.frames, config.most_frames))
        pose = None
        if config.pose_video is not None:
            with watch.measure("encode pose"):
                pose = self.backend.encode_pose(config.pose_video, inputs.size, frames, config.infer_frames)
        if not self.keep_encoders and hasattr(self.backend, "release_encoders"):
            self.backend.release_encoders()
        audio = weaken_sound(features.values[..., :frames], config.sound_strength,
                             block_generator(config.base_seed, "sound"))
        picture = None
        if getattr(self.backend, "copies_portrait", False):
            picture = picture_to_copy(inputs.portrait, inputs.size, config.portrait_strength)
        return Condition(reference, motion, text, audio, self.backend.frames_per_latent, pose, picture)

    def _check(self, config: GenerationConfig) -> None:
        if config.guidance != 1.0 and self.backend.about().get("student"):
            raise InputError(f"guidance is {config.guidance}; the distilled student has it built in: leave it at 1.0, "
                             "or load the many-step base with student=False (--teacher)")

    def provenance(self, inputs: Inputs, config: GenerationConfig) -> dict:
        """Return what a video says of its origin. Folders are nobody's business: names and fingerprints say enough."""
        about = {"generated": True} | self._describe(inputs, config)
        for private in ("weights", "options"):
            about["backend"].pop(private, None)
        if config.pose_video is not None:
            about["config"]["pose_video"] = printable(Path(config.pose_video).name)
        return about

    def _describe(self, inputs: Inputs, config: GenerationConfig) -> dict:
        """What a run folder and a video say about their origin."""
        return {"by": f"liveavatar {__version__}", "torch": torch.__version__, "backend": self.backend.about(),
                "seed": config.base_seed, "config": config.to_dict(), "size": list(inputs.size),
                "inputs": inputs.origin}


class BlockStream:
    """One video on its way from condition to pictures: what is made, what waits to be decoded, what was saved."""

    def __init__(self, pipeline: Pipeline, condition: Condition, config: GenerationConfig, watch: Stopwatch,
                 folder: RunFolder | None = None, keep_latents: bool = False) -> None:
        self._trim = getattr(pipeline.backend, "trim_frames", 0)   # pictures left out at the beginning
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
        """Steps, and blocks when they are decoded: each at once, or all after the last step."""
        if self._folder is not None:
            yield from self._earlier_blocks(stop)
        steps = roll_out(self._backend, self._condition, self._config, self._go_on)
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
        """Decode the blocks that wait for it."""
        while self._waiting:
            latents = self._waiting.pop(0)
            began, first = time.perf_counter(), max(self._decoded * self._block_frames - self._trim, 0)
            with self.watch.measure("decode"):
                pictures = self._decoder.decode(latents)[0 if self._decoded else self._trim:][:self.frames - first]
            spent_ms = (time.perf_counter() - began) * 1000
            self._decoded += 1
            if self._decoded == 1:
                self.first_picture_s = self.watch.total_s
            yield Block(self._decoded - 1, latents, pictures, first / self.fps, spent_ms)

    @property
    def x_realtime(self) -> float:
        """Seconds of video per second of work, so far. What an earlier process made does not count as made."""
        frames = min(self._decoded * self._block_frames, self.frames)
        made = max(frames - self._from_before * self._block_frames, 0) or frames
        return made / self.fps / max(self.watch.total_s, 1e-9)

    def video(self, path: Path, frames: int, size: tuple[int, int]) -> Video:
        """What came of it."""
        return Video(path, frames, size, self.fps, self.x_realtime, self.first_picture_s,
                     dict(self.watch.seconds), frames == self.frames,
                     None if self._kept is None else tuple(self._kept),
                     None if self._folder is None else self._folder.path)

    def _go_on(self, empty: Rollout) -> Rollout:
        return empty if self._folder is None else self._folder.rollout(empty, self._backend.device)

    def _earlier_blocks(self, stop: Event | None) -> Iterator[Block]:
        """What an earlier process made is decoded again for the new file."""
        for block in range(self._folder.next_block()):
            if stop is not None and stop.is_set():
                return
            self._from_before += 1
            self._keep(self._folder.latents(block))
            yield from self.waiting()

    def _finish(self, latents: Tensor, rollout: Rollout) -> None:
        self._keep(latents)
        if self._folder is not None:
            with self.watch.measure("save"):
                self._folder.save_block(latents, rollout)

    def _keep(self, latents: Tensor) -> None:
        self._waiting.append(latents)
        if self._kept is not None:
            self._kept.append(latents.detach().to("cpu", copy=True))


class Progress:
    """A bar that counts seconds of video and says how many times real time it goes."""

    def __init__(self, total_s: float, shown: bool) -> None:
        from tqdm.auto import tqdm

        form = "{percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} s of video [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(total=total_s, disable=not shown, bar_format=form)
        self._total_s = total_s

    def update(self, event: Step | Block, stream: BlockStream) -> None:
        if not isinstance(event, Block):
            return
        done_s = min(event.start_s + len(event.frames) / stream.fps, self._total_s)
        self._bar.set_postfix_str(f"{stream.x_realtime:.2f}x real time", refresh=False)
        self._bar.update(done_s - self._bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
