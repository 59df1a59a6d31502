"""Stages 1 to 5 joined: speech + portrait + prompt -> a talking video, through stages that can be called one by one.

    load_audio -> encode_audio --+
    encode_image ----------------+-> condition -> steps -> decode -> stream, render
    encode_text -----------------+

`steps` pauses after every step, `events` after every step and every block, `stream` does the same while it writes the
file, `render` runs through. Stop between any two steps, by closing the generator or by setting an Event, leaves a
video of what is done.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
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
from liveavatar.memory_errors import freed_on_out_of_memory
from liveavatar.progress import Stopwatch
from liveavatar.rollout import block_generator, roll_out
from liveavatar.runfolder import RunFolder, check_new
from liveavatar.signals import exit_on_signals
from liveavatar.streaming import BlockStream, write_video
from liveavatar.strength import weaken_portrait, weaken_sound
from liveavatar.threads import adapted_threads
from liveavatar.types import AudioFeatures, Block, Condition, InputError, Prompt, Speech, Step
from liveavatar.version import __version__
from liveavatar.video import Video, check_output, wants_label

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.types import Portrait

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
    """Load as `load` does, for a process that makes one video and nothing else."""
    pipeline = load(name, **options)
    pipeline.keep_encoders = False
    return pipeline


def generate(audio: Audio, image: Image, prompt: str | Prompt = "", config: GenerationConfig = DEFAULTS, *,
             output: str | os.PathLike = "out.mp4", backend: str = "mini", run_dir: str | os.PathLike | None = None,
             stop: Event | None = None, progress: bool = True, **options: object) -> Video:
    """Make a video from inputs in one call. Whatever cannot be used is refused before any weights are loaded."""
    kind = find_for(backend, options)
    path = check_output(output)
    if run_dir is not None:
        check_new(run_dir)
    inputs = prepare(kind, audio, image, prompt, config)
    inputs.check_output(path)
    pipeline = load_once(backend, options)
    remark_on(pipeline.backend, inputs, config)
    stream = pipeline.stream_inputs(inputs, config, output=output, run_dir=run_dir, stop=stop, progress=progress)
    del inputs                                             # the stream lets the sound go once it is encoded
    return run_through(stream)


def resume(run_dir: str | os.PathLike, *, output: str | os.PathLike | None = None, stop: Event | None = None,
           progress: bool = True) -> Video:
    """Go on with a run that was stopped or killed, with the weights it was begun with."""
    about = RunFolder(user_path(run_dir)).read()["backend"]
    return load_once(about["name"], load_options(about)).resume(run_dir, output=output, stop=stop, progress=progress)


def load_options(about: dict) -> dict:
    """Return the options of `load` that bring the weights a backend told about."""
    return about.get("options") or {name: about[name] for name in ("student", "dtype", "weights") if name in about}


def run_through(events: Iterator[Step | Block | Video]) -> Video:
    """Exhaust the events of a stream and return its video. A signal that ends the process leaves a playable file."""
    with exit_on_signals(), freed_on_out_of_memory():
        return deque(events, maxlen=1).pop()


class Pipeline:
    """Drives one backend. It keeps no state between calls: two videos never meet."""

    def __init__(self, backend: Backend, keep_encoders: bool = True) -> None:
        """Drive a backend. keep_encoders: False where one video is made and nothing else, so encoders are released once
        it is encoded"""
        self.backend, self.keep_encoders = backend, keep_encoders

    def __repr__(self) -> str:
        about = {key: value for key, value in self.backend.about().items() if key not in ("trained", "options")}
        return f"Pipeline({', '.join(f'{key}={value!r}' for key, value in about.items())})"

    @property
    def block_frames(self) -> int:
        """Return video frames in a block."""
        return self.backend.block_latents * self.backend.frames_per_latent

    # ------------------------------------------------------------------ stages that can be called alone

    def load_audio(self, audio: Audio, config: GenerationConfig = DEFAULTS) -> Speech:
        """Read a recording, or the asked stretch of it, as it will be heard in the video."""
        return prepare_audio(self.backend, audio, config)

    def encode_audio(self, audio: Audio, config: GenerationConfig = DEFAULTS) -> AudioFeatures:
        """Encode sound: what the model hears during each video frame."""
        return encode_audio(self.backend, self.load_audio(audio, config), config)

    def encode_image(self, image: Image, config: GenerationConfig = DEFAULTS) -> tuple[Tensor, Tensor | None]:
        """Encode a portrait: reference latent (1, C, 1, h, w), and motion latents where the model uses them."""
        return self.backend.encode_image(*prepare_portrait(self.backend, image, config))

    def encode_text(self, prompt: str | Prompt) -> Tensor:
        """Encode words: text features (1, L, text_dim)."""
        return self.backend.encode_text(prepare_prompt(self.backend, prompt))

    def condition(self, audio: Audio, image: Image, prompt: str | Prompt = "",
                  config: GenerationConfig = DEFAULTS) -> Condition:
        """Encode all that conditions the sampler."""
        return self.encode_inputs(prepare(self.backend, audio, image, prompt, config), config)

    def steps(self, audio: Audio | Condition, image: Image | None = None, prompt: str | Prompt = "",
              config: GenerationConfig = DEFAULTS) -> Iterator[Step]:
        """Yield every step of every block, pausing after each. Takes what a person gives, or a Condition made before.
        """
        self._check(config)
        condition = audio if isinstance(audio, Condition) else self.condition(audio, image, prompt, config)
        self.load_weights()
        for step, _ in roll_out(self.backend, condition, config):
            yield step

    def decode(self, latents: Iterable[Tensor], frames: int | None = None,
               condition: Condition | None = None) -> Iterator[Tensor]:
        """Decode the latents of each block, in order; yield its pictures (T, H, W, 3) uint8; at most `frames` in all.
        """
        decoder, done = self.backend.decoder(condition), 0
        for block in latents:
            pictures = decoder.decode(block)[:None if frames is None else frames - done]
            done += len(pictures)
            yield pictures

    # ------------------------------------------------------------------ the whole

    def events(self, audio: Audio | Condition, image: Image | None = None, prompt: str | Prompt = "",
               config: GenerationConfig = DEFAULTS, stop: Event | None = None) -> Iterator[Step | Block]:
        """Yield every step as it is made and every block as it is decoded; no file is written."""
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
        stream = self.stream_inputs(inputs, config, output=output, run_dir=run_dir, stop=stop,
                                    keep_latents=keep_latents, progress=progress, watch=watch)
        del inputs
        yield from stream

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
        stream = self._stream(inputs, folder.config, path, folder, stop, keep_latents, progress, Stopwatch())
        del inputs
        return run_through(stream)

    def stream_inputs(self, inputs: Inputs, config: GenerationConfig = DEFAULTS, *,
                      output: str | os.PathLike = "out.mp4", run_dir: str | os.PathLike | None = None,
                      stop: Event | None = None, keep_latents: bool = False, progress: bool = False,
                      watch: Stopwatch | None = None) -> Iterator[Step | Block | Video]:
        """Yield what `stream` does, for inputs that were read before."""
        self._check(config)
        path, folder = check_output(output), None
        inputs.check_output(path)
        if run_dir is not None:
            description = self._describe(inputs, config) | {"output": str(path.absolute()),
                                                            "vae": name_of_vae(self.backend)}
            folder = RunFolder.create(run_dir, description, inputs.speech, inputs.portrait)
        stream = self._stream(inputs, config, path, folder, stop, keep_latents, progress, watch or Stopwatch())
        del inputs
        yield from stream

    def _stream(self, inputs: Inputs, config: GenerationConfig, path: Path, folder: RunFolder | None,
                stop: Event | None, keep_latents: bool, progress: bool,
                watch: Stopwatch) -> Iterator[Step | Block | Video]:
        condition = self.encode_inputs(inputs, config, watch)
        self.load_weights()
        stream = BlockStream(self, condition, config, watch, folder, keep_latents)
        about = self.provenance(inputs, config)
        label = wants_label(inputs.portrait, config.label)
        video = write_video(stream, stream.events(stop), path, inputs, about, label, progress)
        del inputs
        yield from video

    # ------------------------------------------------------------------ what the stages share

    def load_weights(self) -> None:
        """Bring weights to the device that the backend has put off until everything is encoded (wan-s2v-14b).

        No stage of the stopwatch: what loads a model is not work on a video.
        """
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
        if not self.keep_encoders:
            self.backend.release_encoders()
        values = features.values if frames == features.frames else features.values[..., :frames].clone()
        audio = weaken_sound(values, config.sound_strength, block_generator(config.base_seed, "sound"))
        return Condition(reference, motion, text, audio, self.backend.frames_per_latent, pose)

    def _check(self, config: GenerationConfig) -> None:
        if config.guidance != 1.0 and self.backend.about().get("student"):
            raise InputError(f"guidance is {config.guidance}; the distilled student has it built in: leave it at 1.0, "
                             "or load the many-step base with student=False (--teacher)")

    def provenance(self, inputs: Inputs, config: GenerationConfig) -> dict:
        """Return what a video says of its origin."""
        return without_folders(self._describe(inputs, config), inputs.portrait)

    def _describe(self, inputs: Inputs, config: GenerationConfig) -> dict:
        """Return what a run folder and a video say about their origin."""
        return {"by": f"liveavatar {__version__}", "torch": torch.__version__, "backend": self.backend.about(),
                "seed": config.base_seed, "config": config.to_dict(), "size": list(inputs.size),
                "inputs": inputs.origin}


PUBLISHED = ("by", "torch", "backend", "seed", "config", "size", "inputs")     # of a description, in a video
PRIVATE = ("weights", "options")                                           # of its model: they name folders


def without_folders(about: dict, portrait: Portrait) -> dict:
    """Return what a video says of its origin. Folders are nobody's business: names and fingerprints say enough.

    about: the description of a run or of its folder; it is left as it is
    """
    published = {"generated": True} | {name: about[name] for name in PUBLISHED if name in about}
    published["backend"] = {name: value for name, value in about["backend"].items() if name not in PRIVATE}
    published["config"] = published["config"] | {"label": wants_label(portrait, published["config"].get("label"))}
    if published["config"].get("pose_video") is not None:
        published["config"]["pose_video"] = printable(Path(published["config"]["pose_video"]).name)
    return published
