"""Text -> speech whose phoneme times are known, and phonemes -> the movements of a mouth.

    text --speak--> Speech(wave, phonemes) --viseme_curves--> (T, 7) mouth, one row per video frame

Two free synthesisers are used, both optional: espeak-ng through its library (only the library tells when each
phoneme starts; its command line does not), be it that of the system or that of the wheel espeakng-loader (extra
`speech`), and flite through its program (`-psdur` prints when each phone ends).
Letters: N audio samples, T video frames. Times in seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import ctypes.util
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liveavatar.types import InputError, Phoneme, Speech
from liveavatar.wording import did_you_mean

RATE_HZ = 16000
INSTALL = ("install one with: pip install 'liveavatar[speech]' (espeak-ng), or apt-get install espeak-ng flite "
           "(Debian, Ubuntu), or brew install espeak-ng (macOS)")

# --------------------------------------------------------------------------------------------------------------
# Visemes: how the mouth looks while a sound is made
# --------------------------------------------------------------------------------------------------------------

VISEME_PARAMETERS = ("aperture", "width", "rounding", "teeth", "tongue", "press", "tuck")
"""aperture 0 closed..1 wide open; width -1 narrow..1 spread; rounding 0..1; teeth, tongue 0 hidden..1 seen;
press 1: lips pressed together (p, b, m); tuck 1: lower lip under the upper teeth (f, v)."""

VISEMES: dict[str, tuple[float, ...]] = {
    #           aperture width rounding teeth tongue press tuck | dominance: how strongly it holds its own
    "sil":      (0.00,  0.00,  0.05,  0.00,  0.00,  0.10,  0.00,  0.70),
    "i":        (0.22,  0.85,  0.00,  0.65,  0.15,  0.00,  0.00,  0.90),
    "ih":       (0.28,  0.50,  0.00,  0.50,  0.10,  0.00,  0.00,  0.80),
    "e":        (0.42,  0.60,  0.00,  0.60,  0.10,  0.00,  0.00,  0.90),
    "eh":       (0.55,  0.40,  0.00,  0.55,  0.05,  0.00,  0.00,  1.00),
    "a":        (0.95,  0.20,  0.00,  0.50,  0.00,  0.00,  0.00,  1.10),
    "ah":       (0.90, -0.05,  0.10,  0.35,  0.00,  0.00,  0.00,  1.10),
    "uh":       (0.55,  0.10,  0.05,  0.40,  0.00,  0.00,  0.00,  0.85),
    "schwa":    (0.36,  0.10,  0.10,  0.35,  0.05,  0.00,  0.00,  0.55),
    "er":       (0.38, -0.05,  0.40,  0.30,  0.10,  0.00,  0.00,  0.80),
    "aw":       (0.68, -0.20,  0.55,  0.20,  0.00,  0.00,  0.00,  1.00),
    "o":        (0.50, -0.20,  0.80,  0.10,  0.00,  0.00,  0.00,  1.00),
    "oe":       (0.42, -0.10,  0.75,  0.20,  0.05,  0.00,  0.00,  1.00),
    "u":        (0.26, -0.30,  1.00,  0.00,  0.00,  0.00,  0.00,  1.00),
    "oo":       (0.32, -0.20,  0.70,  0.10,  0.00,  0.00,  0.00,  0.90),
    "y":        (0.24, -0.20,  0.95,  0.15,  0.10,  0.00,  0.00,  1.00),
    "p":        (0.00,  0.05,  0.05,  0.00,  0.00,  1.00,  0.00,  3.20),
    "f":        (0.12,  0.15,  0.00,  0.75,  0.00,  0.00,  1.00,  2.40),
    "th":       (0.24,  0.15,  0.00,  0.65,  0.85,  0.00,  0.00,  1.70),
    "t":        (0.22,  0.20,  0.00,  0.60,  0.45,  0.00,  0.00,  0.75),
    "s":        (0.14,  0.35,  0.00,  0.95,  0.10,  0.00,  0.00,  1.50),
    "sh":       (0.22, -0.20,  0.75,  0.80,  0.05,  0.00,  0.00,  1.70),
    "l":        (0.34,  0.10,  0.00,  0.45,  0.80,  0.00,  0.00,  0.80),
    "r":        (0.26, -0.10,  0.55,  0.35,  0.15,  0.00,  0.00,  0.90),
    "w":        (0.14, -0.30,  1.00,  0.00,  0.00,  0.00,  0.00,  1.80),
    "k":        (0.30,  0.05,  0.00,  0.35,  0.00,  0.00,  0.00,  0.35),
    "h":        (0.34,  0.05,  0.00,  0.30,  0.00,  0.00,  0.00,  0.25),
    "j":        (0.24,  0.60,  0.00,  0.55,  0.10,  0.00,  0.00,  0.80),
}

_IPA_BY_VISEME = {
    "i": "i", "ih": "ɪɨᵻ", "e": "e", "eh": "ɛ", "a": "æa", "ah": "ɑ", "uh": "ɐʌ", "schwa": "əɘɤ", "er": "ɚɜɝ",
    "aw": "ɒɔ", "o": "o", "oe": "øœɞɵ", "u": "uʉɯ", "oo": "ʊ", "y": "yʏ",
    "p": "pbmβɓʙ", "f": "fvʋɱɸ", "th": "θð", "t": "tdnɾɲʈɖɳɗ", "s": "sz", "sh": "ɕʑʃʒʂʐ", "l": "lʎɫɬɭʟɮ",
    "r": "rɹɻɽɺ", "w": "wɥʍ", "k": "kgɡŋxɣχqʁʀcɟɢɴɠ", "h": "hħɦʔʕ", "j": "jçʝ",
}
IPA = {character: viseme for viseme, characters in _IPA_BY_VISEME.items() for character in characters}
IPA_MARKS = "ːˑˈˌʲʰʷˠˤ.-_()|:;ˀˢ'`^ \u200d\u0303\u0325\u0329\u032a\u032f\u031e\u031f\u0320\u0361\u02de"

ARPABET = {
    "aa": "ah", "ae": "a", "ah": "uh", "ao": "aw", "aw": "a oo", "ax": "schwa", "axr": "er", "ay": "a ih", "eh": "eh",
    "er": "er", "ey": "e ih", "ih": "ih", "iy": "i", "ow": "o oo", "oy": "aw ih", "uh": "oo", "uw": "u",
    "b": "p", "ch": "t sh", "d": "t", "dh": "th", "dx": "t", "el": "l", "em": "p", "en": "t", "f": "f", "g": "k",
    "hh": "h", "hv": "h", "jh": "t sh", "k": "k", "l": "l", "m": "p", "n": "t", "ng": "k", "p": "p", "r": "r",
    "s": "s", "sh": "sh", "t": "t", "th": "th", "v": "f", "w": "w", "y": "j", "z": "s", "zh": "sh",
    "pau": "sil", "sil": "sil", "brth": "sil", "h#": "sil", "ssil": "sil",
}
PAUSE_SYMBOLS = ("pau", "_", "_:", "sil", "")

CURVE_HZ = 200                                                    # inner resolution of the coarticulated curves
SMOOTHING_S = (0.028, 0.045, 0.045, 0.035, 0.035, 0.022, 0.024)   # per parameter: lips spread slower than they close


def viseme_of(symbol: str) -> tuple[str, ...]:
    """Name the visemes of one phoneme: "m" -> ("p",), "aɪ" -> ("a", "ih"), "ch" -> ("t", "sh"), "_:" -> ("sil",).

    Symbols are ARPAbet when that table knows them and they are longer than one letter, else IPA read letter by letter;
    stress, length and tie marks say nothing about the lips. A symbol of unknown letters rests: ("sil",).
    """
    if symbol in PAUSE_SYMBOLS:
        return ("sil",)
    if len(symbol) > 1 and symbol in ARPABET:
        return tuple(ARPABET[symbol].split())
    visemes = tuple(IPA[character] for character in symbol if character in IPA)
    return visemes or ("sil",)


def is_pause(phoneme: Phoneme) -> bool:
    """Tell whether nothing is said and the mouth rests."""
    return viseme_of(phoneme.symbol) == ("sil",)


def viseme_curves(phonemes: Iterable[Phoneme], duration_s: float, fps: float = 25.0) -> Tensor:
    """Draw the seven mouth parameters through time, neighbouring sounds melting into each other.

    -> (T, 7) float32, T = ceil(duration_s * fps), sampled in the middle of each video frame; order VISEME_PARAMETERS.
    Coarticulation by dominance (Cohen and Massaro 1993): every sound pulls towards its own target with its own
    weight, and what is seen is the weighted mean under a Gaussian: sum(w * target * G) / sum(w * G).
    """
    frames = math.ceil(round(duration_s * fps, 6))
    samples = math.ceil(duration_s * CURVE_HZ) + 1
    targets = np.tile(np.array(VISEMES["sil"]), (samples, 1))                 # (samples, 7 + dominance)
    for phoneme in phonemes:
        visemes = viseme_of(phoneme.symbol)
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(visemes) + 1)  # diphthongs are split evenly
        for viseme, start_s, end_s in zip(visemes, edges[:-1], edges[1:], strict=True):
            start = round(start_s * CURVE_HZ)
            targets[start:max(round(end_s * CURVE_HZ), start + 1)] = VISEMES[viseme]
    dominance = targets[:, -1]
    middle_s = (np.arange(frames) + 0.5) / fps
    time_s = np.arange(samples) / CURVE_HZ
    curves = np.empty((frames, len(VISEME_PARAMETERS)), np.float32)
    for column, sigma_s in enumerate(SMOOTHING_S):
        pulled = _gaussian(targets[:, column] * dominance, sigma_s) / _gaussian(dominance, sigma_s)
        curves[:, column] = np.interp(middle_s, time_s, pulled)
    return torch.from_numpy(curves)


def speaking(phonemes: Iterable[Phoneme], duration_s: float, fps: float = 25.0) -> Tensor:
    """Say in which video frames something is spoken: (T,) bool, true where the middle of the frame lies in a sound."""
    frames = math.ceil(round(duration_s * fps, 6))
    middle_s = (torch.arange(frames) + 0.5) / fps
    spoken = torch.zeros(frames, dtype=torch.bool)
    for phoneme in phonemes:
        if not is_pause(phoneme):
            spoken |= (middle_s >= phoneme.start_s) & (middle_s < phoneme.end_s)
    return spoken


def _gaussian(curve: np.ndarray, sigma_s: float) -> np.ndarray:
    """Smooth a curve of CURVE_HZ by a Gaussian, holding its ends."""
    reach = math.ceil(4 * sigma_s * CURVE_HZ)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / CURVE_HZ / sigma_s) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), "valid")


# --------------------------------------------------------------------------------------------------------------
# speak
# --------------------------------------------------------------------------------------------------------------

def speak(text: str, voice: str = "espeak:en-us", rate: float = 1.0, pitch: float = 1.0, melody: float = 1.0) -> Speech:
    """Let a synthesiser say the text; every phoneme knows when it is heard.

    voice   "espeak:<language>[+<variant>]", e.g. "espeak:en-us+f3", or "flite:<voice>", e.g. "flite:slt"
    rate    1 the voice's own pace, 2 twice as fast (0.4..2.5)
    pitch   1 the voice's own, 2 an octave up (0.5..2); flite's `rms` keeps its own
    melody  1 the voice's own ups and downs, 0 monotone (0..2)
    -> mono float32 at 16 kHz

    espeak-ng keeps some state between calls: the same words twice in one process differ in phase and by a few
    milliseconds of final silence. The phoneme times always belong to the wave they come with.
    """
    if not text.strip():
        raise InputError("the text to speak is empty; give at least one word")
    for name, value, low, high in (("rate", rate, 0.4, 2.5), ("pitch", pitch, 0.5, 2.0), ("melody", melody, 0.0, 2.0)):
        if not low <= value <= high:
            raise InputError(f"{name}={value:g} is outside {low:g}..{high:g}; 1 is the voice's own")
    engine, _, name = voice.partition(":")
    engines = {"espeak": _speak_espeak, "flite": _speak_flite}
    if engine not in engines or not name:
        raise InputError(f"unknown voice {voice!r}; a voice is 'espeak:<language>[+<variant>]' or 'flite:<voice>', "
                         "for example 'espeak:en-us', 'espeak:en-us+f3', 'flite:slt'" + did_you_mean(engine, engines))
    wave, rate_hz, phonemes = engines[engine](text, name, rate, pitch, melody)
    if not any(not is_pause(phoneme) for phoneme in phonemes):
        raise InputError(f"nothing in {text[:40]!r} can be spoken by {voice}; give words in that voice's language")
    return Speech(_resample(wave, rate_hz), RATE_HZ, tuple(phonemes), text)


def join(parts: Sequence[Speech], gaps_s: Sequence[float]) -> Speech:
    """Put speeches one after another with silence around them.

    gaps_s holds len(parts) + 1 gaps: before, between, after. Phonemes keep their sounds; the gaps become pauses ("_").
    """
    if len(gaps_s) != len(parts) + 1:
        raise ValueError(f"{len(parts)} parts need {len(parts) + 1} gaps (before, between, after), got {len(gaps_s)}")
    rate_hz = parts[0].rate_hz
    pieces: list[np.ndarray] = []
    phonemes: list[Phoneme] = []
    length = 0                                                    # samples so far

    def add(wave: np.ndarray, sounds: Iterable[Phoneme]) -> None:
        nonlocal length
        begin_s = length / rate_hz
        phonemes.extend(Phoneme(p.symbol, p.start_s + begin_s, p.end_s + begin_s) for p in sounds)
        pieces.append(wave)
        length += len(wave)

    for gap_s, part in zip(gaps_s, (*parts, None), strict=True):
        silence = np.zeros(round(gap_s * rate_hz), np.float32)
        if len(silence):
            add(silence, [Phoneme("_", 0.0, len(silence) / rate_hz)])
        if part is not None:
            add(part.wave, part.phonemes)
    return Speech(np.concatenate(pieces), rate_hz, tuple(phonemes), " ".join(part.text for part in parts))


def available_voices() -> tuple[str, ...]:
    """Name the voices of this machine; every espeak voice may be followed by "+" and one of available_variants()."""
    espeak = tuple(f"espeak:{language}" for language in _espeak().languages) if _espeak() else ()
    return espeak + tuple(f"flite:{name}" for name in _flite_voices())


def available_variants() -> tuple[str, ...]:
    """Name the espeak variants: throats, from "f1" and "m1" to "whisper"."""
    return _espeak().variants if _espeak() else ()


def _resample(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    if rate_hz == RATE_HZ:
        return wave
    import soxr

    return np.ascontiguousarray(soxr.resample(wave, rate_hz, RATE_HZ), np.float32)


# --------------------------------------------------------------------------------------------------------------
# espeak-ng, through its library
# --------------------------------------------------------------------------------------------------------------

class _EspeakId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _EspeakEvent(ctypes.Structure):
    """espeak_EVENT of espeak-ng/speak_lib.h."""

    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", _EspeakId)]


class _EspeakVoice(ctypes.Structure):
    """espeak_VOICE of espeak-ng/speak_lib.h."""

    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
                ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte),
                ("reserved", ctypes.c_ubyte), ("score", ctypes.c_int), ("spare", ctypes.c_void_p)]


_ESPEAK_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                                    ctypes.POINTER(_EspeakEvent))
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_NAMES, _NEVER_EXIT = 2, 1, 2, 0x8000
_UTF8, _RATE, _PITCH, _RANGE = 1, 1, 3, 4                          # espeakCHARS_UTF8; espeak_PARAMETER
_EVENT_END, _EVENT_PHONEME = 0, 7                                  # espeak_EVENT_TYPE
_ESPEAK_WORDS_PER_MINUTE = 175


class _Espeak:
    """libespeak-ng: one per process, with state of its own, so one thread at a time."""

    def __init__(self, library: ctypes.CDLL, data: Path | None = None) -> None:
        """Load the library. Raises OSError without voices.

        data: folder with the voices; None: where the library itself looks
        """
        self._library = library
        self._lock = threading.Lock()
        self._callback = _ESPEAK_CALLBACK(self._receive)           # must live as long as the library may call it
        self._pieces: list[np.ndarray] = []
        self._marks: list[tuple[int, str]] = []                    # (sample, phoneme), in order
        options = _PHONEME_EVENTS | _IPA_NAMES | _NEVER_EXIT
        folder = None if data is None else os.fsencode(data)
        self.rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, folder, options)
        if self.rate_hz <= 0:
            raise OSError("espeak-ng finds no voices")
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_EspeakVoice))
        self.languages = tuple(sorted(self._list(None)))
        self.variants = tuple(sorted(self._list(b"variant")))
        self.synthesise("one", "en", _ESPEAK_WORDS_PER_MINUTE, 50, 50)   # the very first call loses its first sound

    def _list(self, language: bytes | None) -> set[str]:
        """Return names of voice files ("en": its tag, "en-gb", is refused); mbrola's, which need more packages, left
        out."""
        wanted = ctypes.byref(_EspeakVoice(languages=language)) if language else None
        voices, names, index = self._library.espeak_ListVoices(wanted), set(), 0
        while voices[index]:
            folder, _, name = voices[index].contents.identifier.decode().rpartition("/")
            if folder != "mb":
                names.add(name if language else name.lower())
            index += 1
        return names

    def _receive(self, samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if count > 0 and samples:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_PHONEME:
                raw = ctypes.string_at(ctypes.addressof(events[index].id), 8).split(b"\0")[0]   # 8 bytes, maybe no zero
                self._marks.append((events[index].sample, raw.decode("utf-8", "ignore")))
            index += 1
        return 0

    def synthesise(self, text: str, name: str, words_per_minute: int, pitch: int, melody: int
                   ) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Return wave (N,) int16 at rate_hz, and where each phoneme starts."""
        library = self._library
        with self._lock:
            # An unknown name returns 2 and silently keeps the voice of the call before: never trust it unchecked.
            if library.espeak_SetVoiceByName(name.encode()) != 0:
                raise InputError(f"espeak-ng does not know the voice {name!r}; languages: {', '.join(self.languages)}")
            for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, melody)):
                library.espeak_SetParameter(parameter, value, 0)
            self._pieces, self._marks = [], []
            data = text.encode() + b"\0"
            status = library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _UTF8, None, None)
            pieces, marks = self._pieces, self._marks
        if status != 0 or not pieces:
            raise InputError(f"espeak-ng made no sound of {text[:40]!r} (status {status}); give a plain sentence")
        return np.concatenate(pieces), marks


@cache
def _espeak() -> _Espeak | None:
    """Open espeak-ng, that of the system before that of the wheel; None where there is none."""
    for name, data in (*_system_libraries(), *_wheel_library()):
        with contextlib.suppress(OSError):
            return _Espeak(ctypes.CDLL(name), data)
    return None


def _system_libraries() -> list[tuple[str, None]]:
    """List names under which the system may know the library."""
    names = ("libespeak-ng.so.1", ctypes.util.find_library("espeak-ng"), "libespeak-ng.dylib")
    return [(name, None) for name in names if name]


def _wheel_library() -> list[tuple[str, Path]]:
    """List the library of the wheel espeakng-loader and its voices, where it is installed."""
    if find_spec("espeakng_loader") is None:
        return []
    import espeakng_loader

    return [(espeakng_loader.get_library_path(), Path(espeakng_loader.get_data_path()))]


def _speak_espeak(text: str, name: str, rate: float, pitch: float, melody: float
                  ) -> tuple[np.ndarray, int, list[Phoneme]]:
    engine = _espeak()
    if engine is None:
        raise InputError(f"the voice 'espeak:{name}' needs espeak-ng, which is not installed; {INSTALL}")
    language, _, variant = name.partition("+")
    if variant and variant not in engine.variants:
        raise InputError(f"espeak-ng does not know the variant {variant!r} of {name!r}; known: "
                         f"{', '.join(engine.variants)}{did_you_mean(variant, engine.variants)}")
    octaves = math.log2(pitch)                                     # espeak: 0..99, 50 points an octave around 50
    wave, marks = engine.synthesise(text, name, round(_ESPEAK_WORDS_PER_MINUTE * rate),
                                    min(99, round(50 + 50 * octaves)), min(99, round(50 * melody)))
    marks = [(sample, symbol) for sample, symbol in marks if not symbol.startswith("(")]   # "(en)": a language switch
    ends = [sample for sample, _ in marks[1:]] + [len(wave)]
    phonemes = [Phoneme(symbol or "_", start / engine.rate_hz, end / engine.rate_hz)
                for (start, symbol), end in zip(marks, ends, strict=True) if end > start]
    return wave.astype(np.float32) / 32768, engine.rate_hz, phonemes


# --------------------------------------------------------------------------------------------------------------
# flite, through its program
# --------------------------------------------------------------------------------------------------------------

_FLITE_PITCH_HZ = {"slt": 167.0, "awb": 128.0, "kal": 95.0, "kal16": 95.0}     # each voice's own mean


@cache
def _flite_voices() -> tuple[str, ...]:
    if shutil.which("flite") is None:
        return ()
    listed = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=False).stdout
    names = listed.partition(":")[2].split()
    return tuple(name for name in names if name != "awb_time")     # awb_time only tells the time


def _speak_flite(text: str, name: str, rate: float, pitch: float, melody: float
                 ) -> tuple[np.ndarray, int, list[Phoneme]]:
    import soundfile

    voices = _flite_voices()
    if not voices:
        raise InputError(f"the voice 'flite:{name}' needs flite, which is not installed; {INSTALL}")
    if name not in voices:
        raise InputError(f"flite does not know the voice {name!r}; known: {', '.join(voices)}"
                         + did_you_mean(name, voices))
    if pitch != 1.0 and name not in _FLITE_PITCH_HZ:
        warnings.warn(f"flite's voice {name!r} keeps its own pitch; pitch={pitch:g} is ignored", stacklevel=3)
    settings = [f"duration_stretch={1 / rate:.4f}"]
    if pitch != 1.0 and name in _FLITE_PITCH_HZ:
        settings.append(f"int_f0_target_mean={_FLITE_PITCH_HZ[name] * pitch:.1f}")
    if melody != 1.0:
        settings.append(f"int_f0_target_stddev={15 * melody:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "speech.wav"))
        command = ["flite", "-voice", name, "-t", text, "-o", path, "-psdur"]
        command += [part for setting in settings for part in ("--setf", setting)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not Path(path).exists():
            raise InputError(f"flite could not speak {text[:40]!r}: {done.stderr.strip()[:200]}; give plain words")
        wave, rate_hz = soundfile.read(path, dtype="float32")
    phonemes, start_s = [], 0.0
    for symbol, end in re.findall(r"(\S+):([0-9.]+)", done.stdout):
        if float(end) > start_s:
            phonemes.append(Phoneme(symbol, start_s, float(end)))
        start_s = float(end)
    return wave, rate_hz, phonemes


# --------------------------------------------------------------------------------------------------------------
# The three clips that come with the package
# --------------------------------------------------------------------------------------------------------------

SAMPLES = Path(__file__).parent / "samples"
_SAMPLE_TEXTS = {
    "welcome": ("flite:slt", 1.0, "Hello, and welcome. I am made of numbers, but I move my lips when you speak. "),
    "river": ("espeak:en-us+m3", 0.9, "Maybe we should begin by the river. Five boats float past, and people wave."),
    "steps": ("flite:rms", 1.0, "Every picture begins as noise. Four small steps later, somebody looks back at you."),
}


def samples() -> dict[str, Speech]:
    """Load the clips that come with the package, phoneme times included: no synthesiser needed."""
    import soundfile

    clips = {}
    for name, entry in json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8")).items():
        wave, rate_hz = soundfile.read(SAMPLES / entry["file"], dtype="float32")
        phonemes = tuple(Phoneme(symbol, start_s, end_s) for symbol, start_s, end_s in entry["phonemes"])
        clips[name] = Speech(wave, rate_hz, phonemes, entry["text"])
    return clips


def write_samples(folder: Path = SAMPLES) -> None:
    """Make the three clips anew: FLAC files and samples.json with text, voice and phoneme times."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for name, (voice, rate, text) in _SAMPLE_TEXTS.items():
        speech = join([speak(text.strip(), voice, rate)], [0.3, 0.3])
        soundfile.write(folder / f"{name}.flac", speech.wave, speech.rate_hz, subtype="PCM_16")
        index[name] = {"file": f"{name}.flac", "text": speech.text, "voice": voice, "rate": rate,
                       "duration_s": round(speech.duration_s, 3),
                       "phonemes": [[p.symbol, round(p.start_s, 4), round(p.end_s, 4)] for p in speech.phonemes]}
    rows = (f"  {json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in index.items())
    (folder / "samples.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", action="store_true", help="make the package's sample clips anew")
    parser.add_argument("--voices", action="store_true", help="list the voices of this machine")
    arguments = parser.parse_args()
    if arguments.samples:
        write_samples()
        print(f"wrote {', '.join(sorted(path.name for path in SAMPLES.iterdir()))} in {SAMPLES}")
    if arguments.voices:
        print("\n".join(available_voices()))
        print("variants of espeak voices:", ", ".join(available_variants()))


if __name__ == "__main__":
    main()
