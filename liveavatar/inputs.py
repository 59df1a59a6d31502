"""What a person gives, read and found usable before any weights are loaded."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.config import GenerationConfig
from liveavatar.files import printable, rereadable, same_file, user_path
from liveavatar.memory_errors import freed_on_out_of_memory
from liveavatar.runfolder import fingerprint_of, sha256_of
from liveavatar.types import AudioFeatures, InputError, Phoneme, Portrait, Prompt, Speech

if TYPE_CHECKING:
    from liveavatar.backends import Backend

Audio = str | os.PathLike | Speech
Image = str | os.PathLike | Portrait

OR_NO_CROP = ', or crop="none" (--crop none)'      # what else can be done about it, but not on the page
WORDS_NAMED = 12     # unknown words of a prompt that are listed in a warning


@dataclass(frozen=True)
class Inputs:
    """Everything a video is made from."""

    speech: Speech               # as it will be heard in the video
    portrait: Portrait
    prompt: Prompt
    size: tuple[int, int]        # (height, width) of the video
    origin: dict                 # of each: where it came from, and sha256
    files: tuple[Path, ...] = () # that were read

    def check_output(self, path: Path) -> None:
        """Refuse an output that would destroy one of the inputs."""
        for file in self.files:
            if same_file(file, path):
                raise InputError(f"output {path} is one of the inputs ({file.name}), which would be lost; "
                                 "choose another name with --output")


def files_read(speech: Speech, audio: Audio, portrait: Portrait, config: GenerationConfig) -> tuple[Path, ...]:
    """Return the files that a video is made from, as far as they are known."""
    known = [None if isinstance(audio, Speech) else audio, speech.sound and speech.sound.path, portrait.source,
             config.pose_video]
    return tuple(user_path(path) for path in known if path)


def prepare(backend: Backend | type[Backend], audio: Audio, image: Image, prompt: str | Prompt,
            config: GenerationConfig) -> Inputs:
    """Read the inputs and refuse what cannot be used. Needs the backend's plain attributes only, no weights."""
    backend.check(config)
    with freed_on_out_of_memory():
        inputs = read_inputs(backend, audio, image, prompt, config)
    remark_on(backend, inputs, config)
    return inputs


def read_inputs(backend: Backend | type[Backend], audio: Audio, image: Image, prompt: str | Prompt,
                config: GenerationConfig) -> Inputs:
    """Read the inputs. Raises InputError where one cannot be used."""
    if not isinstance(audio, Speech):
        name, audio = Path(audio).name, rereadable(audio)
    else:
        name = "speech"
    speech = prepare_audio(backend, audio, config)
    portrait, size = prepare_portrait(backend, image, config)
    words = prepare_prompt(backend, prompt)
    origin = {
        "audio": {"source": printable(name), "sha256": fingerprint_of(audio)},
        "portrait": {"source": printable(Path(portrait.source).name), "sha256": sha256_of(portrait)},
        "prompt": {"text": words.text, "slots": words.slots},
    }
    if portrait.drawn is not None:
        origin["portrait"]["drawn"] = portrait.drawn
    return Inputs(speech, portrait, words, size, origin, files_read(speech, audio, portrait, config))


def remark_on(backend: Backend | type[Backend], inputs: Inputs, config: GenerationConfig) -> None:
    """Warn of what a model's weights were not trained for. A class has no weights yet: it says nothing."""
    if not isinstance(backend, type):
        for remark in backend.remarks(inputs.speech, config):
            warnings.warn(remark, stacklevel=3)


def prepare_audio(backend: Backend | type[Backend], audio: Audio, config: GenerationConfig) -> Speech:
    """Read the stretch of sound that the video will have, mono at the backend's rate."""
    if not isinstance(audio, Speech):
        from liveavatar.audio import load_audio

        return load_audio(audio, config.start_s, config.duration_s, backend.rate_hz)
    check_wave(audio)
    if audio.rate_hz != backend.rate_hz:
        raise InputError(f"the speech is at {audio.rate_hz} Hz, {backend.name} listens at {backend.rate_hz} Hz; "
                         "pass a file instead, files are resampled")
    if config.start_s >= audio.duration_s:
        raise InputError(f"start_s is {config.start_s}, but the speech lasts {audio.duration_s:.2f} s; start earlier")
    return cut(audio, config.start_s, config.duration_s) if config.start_s or config.duration_s is not None else audio


def cut(speech: Speech, start_s: float, duration_s: float | None) -> Speech:
    """Cut a stretch out of speech, with the phonemes that are heard in it at their new times."""
    first = round(start_s * speech.rate_hz)
    last = None if duration_s is None else first + round(duration_s * speech.rate_hz)
    wave = speech.wave[first:last]
    length_s = len(wave) / speech.rate_hz
    moved = ((max(p.start_s - start_s, 0.0), min(p.end_s - start_s, length_s), p.symbol) for p in speech.phonemes)
    heard = tuple(Phoneme(symbol, begin, end) for begin, end, symbol in moved if end > begin)
    sound = None if speech.sound is None else speech.sound.cut(start_s, duration_s)
    return replace(speech, wave=wave, phonemes=heard).with_sound(sound)


def check_wave(speech: Speech) -> None:
    """Refuse speech with samples that cannot be used: what was not read by `load_audio` may hold anything."""
    wave = speech.wave
    if wave.ndim != 1 or wave.dtype != np.float32:
        raise InputError(f"the speech is {wave.dtype} of shape {wave.shape}; give mono float32 samples in [-1, 1]")
    if not len(wave):
        raise InputError("the speech is empty; give at least 0.2 s of sound")
    if not np.isfinite(wave).all():
        raise InputError(f"the speech holds {wave[~np.isfinite(wave)][0]}; sound must be finite")


def encode_audio(backend: Backend | type[Backend], speech: Speech, config: GenerationConfig) -> AudioFeatures:
    """Encode what the model hears during each video frame, after cleaning where that was asked for."""
    if config.clean is not None:
        from liveavatar.audio import clean

        speech = clean(speech, config.clean)
    return backend.encode_audio(speech)


def prepare_portrait(backend: Backend | type[Backend], image: Image,
                     config: GenerationConfig) -> tuple[Portrait, tuple[int, int]]:
    """Read the portrait, and the (height, width) of its video: the backend's own or, from an area, shaped like it."""
    from liveavatar.conditions import load_portrait

    portrait = load_portrait(image, expects_rendered=backend.expects_rendered)
    portrait = cropped(portrait, backend, config)
    # Sums depend on the layout in memory, and a run that is gone on with reads dense pixels from its folder.
    portrait = replace(portrait, pixels=portrait.pixels.contiguous())
    return portrait, size_of_video(backend, config.size, portrait)


def size_of_video(backend: Backend | type[Backend], area: tuple[int, int] | None,
                  portrait: Portrait) -> tuple[int, int]:
    """Choose the (height, width) of a video: the model's own or, from an area, in the shape of the portrait."""
    if area is None and not backend.default_is_area:
        return backend.default_size
    return backend.fit_size(area or backend.default_size, portrait, backend.size_multiple)


def cropped(portrait: Portrait, backend: Backend | type[Backend], config: GenerationConfig) -> Portrait:
    """Crop a photograph: to head and shoulders where the model was trained on such portraits, or to a box."""
    height, width = portrait.pixels.shape[-2:]
    if config.crop == "none" or (config.crop == "auto" and (portrait.identity is not None or
                                                            not backend.expects_head_and_shoulders)):
        return portrait
    if config.crop != "auto":
        left, top, right, bottom = config.crop
        if left < 0 or top < 0 or right > width or bottom > height:
            raise InputError(f"crop is {left},{top},{right},{bottom}, but {portrait.source or 'the picture'} is "
                             f"{width} x {height} px; the box must lie inside")
        return replace(portrait, pixels=portrait.pixels[:, top:bottom, left:right], identity=None)
    from liveavatar.faces import crop_to_head_and_shoulders

    aspect = backend.default_size[1] / backend.default_size[0] if config.size is None else width / height
    framing = crop_to_head_and_shoulders(portrait.pixels, aspect=min(max(aspect, 0.5), 2.0), required=False)
    if framing is None:
        warnings.warn(f"no face was found in {portrait.source or 'the picture'}: all of it is used; give a picture in "
                      f"which the face looks towards the camera{OR_NO_CROP}", stacklevel=3)
        return portrait
    return replace(portrait, pixels=framing.pixels)


def prepare_prompt(backend: Backend | type[Backend], prompt: str | Prompt) -> Prompt:
    """Read what the words ask for; words that change nothing are named in a warning."""
    from liveavatar.conditions import parse_prompt

    words = prompt if isinstance(prompt, Prompt) else parse_prompt(prompt)
    if backend.free_text:                          # it reads every word
        return Prompt(words.text)
    if words.unknown:
        named = ", ".join(map(repr, words.unknown[:WORDS_NAMED]))
        more = f" and {len(words.unknown) - WORDS_NAMED} more" if len(words.unknown) > WORDS_NAMED else ""
        warnings.warn(f"{backend.name} does not know {named}{more}: these words of the prompt change nothing",
                      stacklevel=2)
    return words
