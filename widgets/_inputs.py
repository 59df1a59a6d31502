"""What goes into a video on the workbench: sound, portrait and size, read once and remembered."""

from __future__ import annotations

import io
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.caught_warnings import caught_warnings
from liveavatar.conditions import fit_portrait, load_portrait, sample_portraits
from liveavatar.config import size_text
from liveavatar.files import stamp, user_path
from liveavatar.inputs import OR_NO_CROP, prepare_portrait
from liveavatar.speech import INSTALL
from liveavatar.types import InputError, Portrait, Speech

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.config import GenerationConfig

SAMPLES = ("welcome", "river", "steps")
VOICES = ("espeak:en-us", "espeak:en+f3", "espeak:de", "espeak:es", "espeak:fr", "flite:slt", "flite:rms",
          "flite:kal16")                                  # of these, the ones that this machine has
NO_VOICE = f"No synthetic voice on this machine; {INSTALL}"
LONGEST_TEXT = 600                                        # characters that are spoken
WAVE_POINTS = 120                                         # of the drawing of the sound
THUMBNAIL_PX = 192                                        # longer side of the drawing of the portrait
SHAPES = ((0.75, 0.75), (1.25, 0.75), (0.75, 1.25), (1.5, 1.5))   # (width, height) of other sizes, of the model's own
KEPT = 8                                                  # sounds that are remembered


# ------------------------------------------------------------------------------------------------------- files

@cache
def temporary() -> Path:
    """Return a folder that goes when Python does."""
    _folders.append(tempfile.TemporaryDirectory(prefix="liveavatar-"))
    return Path(_folders[-1].name)


_folders: list[tempfile.TemporaryDirectory] = []


# ------------------------------------------------------------------------------------------------------- sound

def load_speech(source: str, *what: str) -> Speech:
    """Read speech from a sample, from text or from a file: ("sample", name), ("text", words, voice) or
    ("recording", path). Raises InputError where it cannot be read."""
    key = (source, *what, stamp(user_path(what[0])) if source == "recording" else None)
    if key not in _speeches:
        speech = READERS[source](*what)
        while len(_speeches) >= KEPT:
            _speeches.pop(next(iter(_speeches)), None)
        _speeches[key] = speech
    return _speeches[key]


_speeches: dict[tuple, Speech] = {}


def load_sample(name: str) -> Speech:
    from liveavatar.speech import samples

    return samples()[name]


def speak_text(text: str, voice: str) -> Speech:
    from liveavatar.speech import speak

    if len(text) > LONGEST_TEXT:
        raise InputError(f"the text has {len(text)} letters; at most {LONGEST_TEXT} are spoken here: shorten it")
    return speak(text, voice)


def load_recording(path: str) -> Speech:
    from liveavatar.audio import load_audio

    if not path:
        raise InputError("no recording yet: choose a sound file, or take one of the samples")
    return load_audio(path)


READERS: dict[str, Callable[..., Speech]] = {"sample": load_sample, "text": speak_text, "recording": load_recording}


@cache
def voices() -> list[str]:
    """List the voices of this machine that are offered."""
    from liveavatar.speech import available_voices

    there = set(available_voices())
    return [voice for voice in VOICES if voice.split("+")[0] in there]


@cache
def sample_texts() -> list[list[str]]:
    """List [name, text] of the recordings that are shipped."""
    from liveavatar.speech import samples

    return [[name, speech.text] for name, speech in samples().items() if name in SAMPLES]


def outline(wave: np.ndarray, points: int = WAVE_POINTS) -> np.ndarray:
    """Reduce a sound (samples,) to the loudest moment of each of its parts: (points,) float32, 0..1."""
    edges = np.linspace(0, len(wave), points + 1).astype(int)
    peaks = [np.abs(wave[a:max(b, a + 1)]).max(initial=0) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return np.asarray(peaks, "<f4") / max(max(peaks), 1e-6)


def wav_of(speech: Speech) -> bytes:
    """Return a sound as the bytes of a wav file of 16 bits."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, speech.wave, speech.rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------- warnings


# ------------------------------------------------------------------------------------------- portrait and size

def load_picture(path: str) -> Portrait:
    """Read a portrait from a file. Raises InputError where it cannot be read."""
    if not path:
        raise InputError("no picture yet: choose a picture file, or take the avatar")
    key = path, stamp(user_path(path))                   # one that was replaced under its name is read again
    if key not in _pictures:
        with caught_warnings():                          # said again, and shown, when the run begins
            portrait = load_portrait(path)
        _pictures.clear()
        _pictures[key] = portrait
    return _pictures[key]


_pictures: dict[tuple, Portrait] = {}


@cache
def load_sample_portrait(name: str) -> Portrait:
    """Load one of the portraits that are shipped."""
    return sample_portraits()[name]


@dataclass(frozen=True)
class Framed:
    """Hold a portrait as a model will get it."""

    portrait: Portrait           # cropped
    frame: tuple[int, int]       # (height, width) of the video, in pixels
    warning: str                 # what was noticed, "" for nothing


def portrait_in_frame(backend: Backend | type[Backend], portrait: Portrait, config: GenerationConfig) -> Framed:
    """Crop a portrait as the video will show it. The last few answers are kept: finding a face takes a while."""
    key = portrait, backend.name, backend.default_size, backend.expects_head_and_shoulders, config.size
    known = next((framed for asked, framed in tuple(_framed) if asked[0] is portrait and asked[1:] == key[1:]), None)
    if known is None:
        with caught_warnings() as noticed:
            cropped, frame = prepare_portrait(backend, portrait, config)
        warning = " ".join(str(one.message) for one in noticed)
        known = Framed(cropped, frame, warning.replace(OR_NO_CROP, ""))       # the page has no such setting
        _framed.append((key, known))
    return known


_framed: deque[tuple[tuple, Framed]] = deque(maxlen=KEPT)


def sizes_of(backend: Backend | type[Backend]) -> list[str]:
    """List the sizes that are offered beside the model's own: smaller, wider, taller, larger, as "W*H"."""
    height, width = backend.default_size
    multiple = backend.size_multiple

    def side(length: float) -> int:
        return max(round(length / multiple), 2) * multiple

    return [size_text((side(height * tall), side(width * wide))) for wide, tall in SHAPES]


def thumbnail(portrait: Portrait, frame: tuple[int, int]) -> np.ndarray:
    """Draw a portrait as the video will show it, cropped to `frame` (height, width): (h, w, 3) uint8, small."""
    scale = min(THUMBNAIL_PX / max(frame), 1.0)
    small = max(round(frame[0] * scale), 1), max(round(frame[1] * scale), 1)
    return (fit_portrait(portrait, small) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
