"""The values that cross a stage's door: frozen, named, with shapes and units.

Letters used in shapes, here and everywhere:

    B batch        T video frames        F latent frames     N audio samples
    C channels     H, W pixels           h, w latent pixels  A audio features per video frame
    L text tokens  D width of a token    S sampler steps     M tokens in a cache

A *step* is one denoising step (0..S-1), a *block* is 3 latent frames, a *clip* is `infer_frames` video frames.
Time is in seconds (`_s`) or milliseconds (`_ms`); pictures are 0..1 as float or 0..255 as uint8.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

    from liveavatar.cache import RingCache
    from liveavatar.sound import Sound


def escape_controls(text: str) -> str:
    """Return text without characters that steer a terminal or end a line: each becomes \\xNN or \\uNNNN."""
    return "".join(repr(letter)[1:-1] if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") else letter
                   for letter in text)


class InputError(ValueError):
    """An input that cannot be used: the message names the value and the remedy."""

    def __str__(self) -> str:
        """Return the message as one line that can be printed, whatever the names of files in it are."""
        return escape_controls(super().__str__().encode("utf-8", "replace").decode())


@dataclass(frozen=True)
class Phoneme:
    """One sound of speech and when it is heard."""

    symbol: str      # as the synthesiser names it: IPA (espeak-ng) or ARPAbet (flite)
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """A recording: mono sound, and the phonemes when they are known."""

    wave: numpy.ndarray                 # (N,) float32 in [-1, 1]
    rate_hz: int
    phonemes: tuple[Phoneme, ...] = ()  # empty when the speech was recorded, not synthesised
    text: str = ""
    sound: Sound | None = field(default=None, init=False, repr=False, compare=False)   # the same as it was recorded,
    # with its own rate and channels: what the video gets. `replace` drops it, since another wave is another sound

    @property
    def duration_s(self) -> float:
        return len(self.wave) / self.rate_hz

    def with_sound(self, sound: Sound | None) -> Speech:
        """Return the same speech, knowing the recording that it was made from."""
        speech = replace(self)
        object.__setattr__(speech, "sound", sound)
        return speech


@dataclass(frozen=True)
class AudioFeatures:
    """Hold what the model hears during each video frame."""

    values: Tensor   # (1, layers, A, T) float32
    fps: float
    rms: Tensor      # (T,) loudness of each video frame, 0..1

    @property
    def frames(self) -> int:
        return self.values.shape[-1]


@dataclass(frozen=True)
class Portrait:
    """The picture that will speak."""

    pixels: Tensor                     # (3, H, W) float32, 0..1
    identity: Tensor | None = None     # (traits,) when the renderer made it: the ground truth
    source: str = ""                   # file name, or "rendered"
    sha256: str = ""                   # of the file's bytes, or of the pixels
    drawn: dict | None = None          # arguments of `liveavatar.avatar` that draw it again


@dataclass(frozen=True)
class Prompt:
    """Hold what the words ask for. `mini` knows a small vocabulary; the rest is reported, not swallowed."""

    text: str
    slots: dict[str, str] = field(default_factory=dict)   # e.g. {"gesture": "wave", "mood": "happy"}
    unknown: tuple[str, ...] = ()                          # words that changed nothing


@dataclass(frozen=True)
class Condition:
    """All that steers the sampler, already encoded for the transformer. What is constant is computed once."""

    reference: Tensor          # (1, C, 1, h, w) latent of the portrait
    motion: Tensor | None      # (1, C, 19, h, w) latents before the first block, or None where unused
    text: Tensor               # (1, L, text_dim)
    audio: Tensor              # (1, layers, A, T) one column per video frame
    frames_per_latent: int     # video frames in one latent frame
    pose: Tensor | None = None   # (1, C, F, h, w) latents of a pose video, F latent frames or more than are made

    @property
    def frames(self) -> int:
        return self.audio.shape[-1]


@dataclass(frozen=True)
class Step:
    """One sampler step of one block, as seen from outside."""

    block: int                 # 0..blocks-1
    index: int                 # 0..S-1
    steps: int                 # S
    sigma: float               # noise level the step started from: 1 pure noise, 0 clean
    sigma_next: float
    x: Tensor                  # (1, C, F, h, w) latent after the step
    clean: Tensor              # (1, C, F, h, w) the model's guess of the finished latent, x - sigma * velocity
    velocity: Tensor           # (1, C, F, h, w) noise - clean
    cache: RingCache | None    # of this noise level, after the step; None: read from a trace
    milliseconds: float
    bytes: dict[str, int] = field(default_factory=dict)    # by owner: weights, caches, ...

    @property
    def last(self) -> bool:
        return self.index == self.steps - 1


@dataclass(frozen=True)
class Block:
    """A finished block: its latents and its pictures."""

    index: int
    latents: Tensor            # (1, C, F, h, w)
    frames: Tensor             # (T, H, W, 3) uint8
    start_s: float             # when its first frame is shown
    milliseconds: float        # spent on decoding
