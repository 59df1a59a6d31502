"""The sound of a run from some moment on replaced: by silence, by itself shuffled or reversed, by another recording.

The length stays, so that both futures have the same time line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveavatar.config import GenerationConfig
from liveavatar.inputs import prepare_audio
from liveavatar.rollout import block_generator
from liveavatar.types import InputError, Phoneme, Speech
from liveavatar.wording import did_you_mean

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.inputs import Audio

PIECE_S = 0.2                            # that are put into another order: about a syllable
KINDS = ("silent", "shuffled", "reversed")


def with_other_sound(speech: Speech, sound: Audio, from_s: float, seed: int, backend: Backend) -> Speech:
    """Return speech whose sound is another one from a moment on; as long as before, and with its phonemes where known.

    sound: "silent", "shuffled" (pieces of PIECE_S in another order), "reversed", or a recording, which begins at that
    moment; where it is shorter silence follows.
    Raises InputError where the recording cannot be read.
    """
    first = min(round(from_s * speech.rate_hz), len(speech.wave))
    rest = speech.wave[first:]
    known: tuple[Phoneme, ...] = ()
    if sound == "silent":
        other = np.zeros_like(rest)
    elif sound == "reversed":
        other = rest[::-1]
    elif sound == "shuffled":
        other = shuffled(rest, round(PIECE_S * speech.rate_hz), seed)
    else:
        recording = read_sound(sound, backend)
        other, known = recording.wave, recording.phonemes
    wave = speech.wave.copy()
    wave[first:] = np.pad(other, (0, max(len(rest) - len(other), 0)))[:len(rest)]
    kept = tuple(phoneme for phoneme in speech.phonemes if phoneme.end_s <= from_s)
    moved = tuple(replace(phoneme, start_s=phoneme.start_s + from_s, end_s=phoneme.end_s + from_s) for phoneme in known
                  if phoneme.end_s + from_s <= speech.duration_s)
    return replace(speech, wave=wave, phonemes=kept + moved, text="")


def read_sound(sound: Audio, backend: Backend) -> Speech:
    """Read another recording. Raises InputError, for a word that was meant as a kind too."""
    if isinstance(sound, str) and not any(mark in sound for mark in "./\\"):
        raise InputError(f"sound is {sound!r}; known: {', '.join(KINDS)}, or a recording: a file or Speech"
                         + did_you_mean(sound, KINDS))
    return prepare_audio(backend, sound, GenerationConfig())


def shuffled(wave: np.ndarray, piece: int, seed: int) -> np.ndarray:
    """Put pieces of a sound (N,) into another order."""
    pieces = [wave[at:at + piece] for at in range(0, len(wave), piece)]
    order = torch.randperm(len(pieces), generator=block_generator(seed, "shuffled"))
    return np.concatenate([pieces[at] for at in order.tolist()]) if pieces else wave
