"""What is heard in each video frame: nothing, somebody who speaks, or something else (music, noise).

    Speech --sound_kinds--> SoundKinds (silent, speaking, other), (T,) bool each
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.metrics.quality import QUIET_S, silent_frames
from liveavatar.speech.visemes import speaking
from liveavatar.types import Speech
from liveavatar.voice import holds_speech
from liveavatar.voice_activity import INSTALL, speech_probability, speech_segments

LEAST_OTHER_S = 0.3                 # of music or noise beside speech: what is shorter is a pause between words
UNKNOWN = f"speech cannot be told from music and noise; {INSTALL}"
NOBODY = "nobody speaks, the sound is music or noise"


@dataclass(frozen=True)
class SoundKinds:
    """Hold what is heard in each of T video frames; every frame is of one kind."""

    silent: Tensor              # (T,) bool: nothing loud, and nothing around it
    speaking: Tensor            # (T,) bool: somebody speaks, as far as that is known
    other: Tensor               # (T,) bool: something is heard, but nobody speaks: music or noise
    unknown: str = ""           # why speech cannot be told from other sound, which then counts as speech

    @property
    def voiceless(self) -> str:
        """Say why nothing can be told of a voice; empty where somebody speaks, or nobody knows."""
        return NOBODY if bool(self.other.any()) and not bool(self.speaking.any()) else ""

    def part(self, first: int, last: int) -> SoundKinds:
        """Return the kinds of frames first..last - 1."""
        return SoundKinds(self.silent[first:last], self.speaking[first:last], self.other[first:last], self.unknown)

    def other_segments(self, fps: float) -> list[tuple[float, float]]:
        """Return when music or noise is heard: (from, to) in s."""
        return [(first / fps, last / fps) for first, last in _stretches(self.other)]


def sound_kinds(speech: Speech, frames: int, fps: float = 25.0, spoken: bool = False) -> SoundKinds:
    """Tell silence, speech and other sound apart.

    speech: at 16 kHz; frames: T; spoken: its phonemes were known beforehand, so they say when somebody speaks as well

    Speech is found by Silero VAD. Without it a recording in which the rule of `liveavatar.voice` finds no voice is
    other sound as a whole, and all that is heard in any other counts as speech, which `unknown` says.
    """
    silent = silent_frames(torch.from_numpy(speech.wave), frames, speech.rate_hz, fps)
    known = speaking(speech.phonemes, frames / fps, fps)[:frames] if spoken and speech.phonemes else torch.zeros_like(
        silent)
    probability = speech_probability(speech)
    if probability is not None:
        voiced, unknown = known | _frames_of(speech_segments(probability), frames, fps), ""
    elif bool(known.any()) or holds_speech(speech):
        voiced, unknown = torch.ones_like(silent), UNKNOWN
    else:
        voiced, unknown = torch.zeros_like(silent), ""
    other = ~silent & ~voiced
    for first, last in _stretches(other):
        between_words = last - first < LEAST_OTHER_S * fps and bool(voiced[max(first - 1, 0):last + 1].any())
        other[first:last] = not between_words
    return SoundKinds(silent, ~silent & ~other, other, unknown)


def _frames_of(segments: list[tuple[float, float]], frames: int, fps: float) -> Tensor:
    """Return in or next to which frames somebody speaks: (frames,) bool, QUIET_S before and after each segment."""
    begins_s = torch.arange(frames) / fps
    voiced = torch.zeros(frames, dtype=torch.bool)
    for begin_s, end_s in segments:
        voiced |= (begins_s + 1 / fps > begin_s - QUIET_S) & (begins_s < end_s + QUIET_S)
    return voiced


def _stretches(marked: Tensor) -> list[tuple[int, int]]:
    """Return the first and the first one after of each row of marked frames (T,) bool."""
    edges = F.pad(marked.int(), (1, 1)).diff()
    return list(zip((edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist(), strict=True))
