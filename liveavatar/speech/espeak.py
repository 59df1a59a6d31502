"""espeak-ng through its library: only that tells when each phoneme starts; its command line does not.

The library is that of the system, else that of the wheel espeakng-loader (extra `speech`).
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import math
import os
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from liveavatar.types import InputError, Phoneme
from liveavatar.wording import did_you_mean

INSTALL = ("install one with: pip install 'liveavatar[speech]' (espeak-ng), or apt-get install espeak-ng flite "
           "(Debian, Ubuntu), or brew install espeak-ng (macOS)")


class EspeakId(ctypes.Union):
    """The union `id` of espeak_EVENT in espeak-ng/speak_lib.h."""
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class EspeakEvent(ctypes.Structure):
    """espeak_EVENT of espeak-ng/speak_lib.h."""

    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", EspeakId)]


class EspeakVoice(ctypes.Structure):
    """espeak_VOICE of espeak-ng/speak_lib.h."""

    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
                ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte),
                ("reserved", ctypes.c_ubyte), ("score", ctypes.c_int), ("spare", ctypes.c_void_p)]


_ESPEAK_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                                    ctypes.POINTER(EspeakEvent))
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_NAMES, _NEVER_EXIT = 2, 1, 2, 0x8000
_UTF8, _RATE, _PITCH, _RANGE = 1, 1, 3, 4                          # espeakCHARS_UTF8; espeak_PARAMETER
_EVENT_END, _EVENT_PHONEME = 0, 7                                  # espeak_EVENT_TYPE
_ESPEAK_WORDS_PER_MINUTE = 175


class Espeak:
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
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(EspeakVoice))
        self.languages = tuple(sorted(self._list(None)))
        self.variants = tuple(sorted(self._list(b"variant")))
        self.synthesise("one", "en", _ESPEAK_WORDS_PER_MINUTE, 50, 50)   # the very first call loses its first sound

    def _list(self, language: bytes | None) -> set[str]:
        """Return names of voice files ("en": its tag, "en-gb", is refused); mbrola's, which need more packages, left
        out."""
        wanted = ctypes.byref(EspeakVoice(languages=language)) if language else None
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
        """Return wave (N,) int16 at rate_hz, and at which sample each phoneme starts. Raises InputError for an unknown
        voice and where no sound comes."""
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
def open_espeak() -> Espeak | None:
    """Open espeak-ng, that of the system before that of the wheel; None where there is none."""
    for name, data in (*_system_libraries(), *_wheel_library()):
        with contextlib.suppress(OSError):
            return Espeak(ctypes.CDLL(name), data)
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


def speak_espeak(text: str, name: str, rate: float, pitch: float, melody: float
                  ) -> tuple[np.ndarray, int, list[Phoneme]]:
    """Let espeak-ng say a text. -> wave (N,) float32 in [-1, 1], its rate in Hz, phonemes with their times

    name: "<language>[+<variant>]"; rate, pitch, melody as in `synthesis.speak`. Raises InputError where espeak-ng is
    missing, does not know the name, or makes no sound.
    """
    engine = open_espeak()
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
