"""What a model must offer to be driven by the pipeline, and the models that are known.

A backend is a class whose plain attributes can be read before any weights are loaded, so that bad input is refused
first, and a classmethod `load` that brings the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol

from liveavatar.types import InputError
from liveavatar.wording import did_you_mean

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import torch
    from torch import Tensor

    from liveavatar.cache import ConditionCache, RingCache
    from liveavatar.config import GenerationConfig
    from liveavatar.transformer import CausalS2VTransformer
    from liveavatar.types import AudioFeatures, Condition, Portrait, Prompt, Speech


@dataclass(frozen=True)
class Trained:
    """Hold what the weights were trained for: used where the caller does not say otherwise."""

    steps: int = 4
    solver: str = "euler"        # "euler" | "renoise"
    schedule: str = "trained"    # a name `sampler.make_schedule` knows
    shift: float = 3.0
    guidance: float = 1.0
    size: tuple[int, int] | None = None     # (height, width); None: the backend's
    photographs: bool = False               # of heads and shoulders, beside rendered avatars

    def shift_for(self, schedule: object, asked: float | None) -> float | None:
        """Choose the shift of a schedule, by name or its own levels: the one asked for, or for "trained" that of
        training; None is the released model's."""
        return self.shift if asked is None and schedule == "trained" else asked


class PictureDecoder(Protocol):
    def decode(self, latents: Tensor) -> Tensor:
        """Decode (1, C, F, h, w) -> (T, H, W, 3) uint8; blocks come in order"""

    def fork(self) -> PictureDecoder:
        """Return another decoder that goes on from here on its own."""


class Backend(ABC):
    """A model and its encoders, as the pipeline sees them. What has a default here need not be written for a model."""

    name: ClassVar[str]
    fps: ClassVar[float]
    rate_hz: ClassVar[int]                  # of the sound it listens to
    block_latents: ClassVar[int]            # latent frames in a block
    frames_per_latent: ClassVar[int]        # video frames in a latent frame
    size_multiple: ClassVar[int]            # sides are multiples of it
    default_size: ClassVar[tuple[int, int]]   # (height, width)
    default_is_area: ClassVar[bool] = False   # the default size takes the shape of the portrait too
    expects_rendered: ClassVar[bool] = False  # trained on rendered avatars only
    expects_head_and_shoulders: ClassVar[bool] = False    # of a photograph: the face about 45 % of the height
    sees_past_sound: ClassVar[bool] = True  # a block hears the sound before it (else its own first frame repeated)
    on_card: ClassVar[bool] = False         # planned for the memory of a GPU, not for that of the process
    free_text: ClassVar[bool] = False       # every word of the prompt is read, not only known phrases

    trim_frames: int = 0                    # pictures left out at the beginning of a video; their sound is kept
    blocks_join: bool = True                # False: each block is a video of its own, decoded without the one before
    compiled_threads: int | None = None     # the count of threads that compiled code is made for; None: not compiled
    vae: torch.nn.Module | None = None

    transformer: CausalS2VTransformer
    device: torch.device
    dtype: torch.dtype                      # of what flows through the transformer
    trained: Trained

    # ------------------------------------------------------------------ before weights load

    @classmethod
    def for_weights(cls, **options: object) -> type[Backend]:
        """Return the class as the weights of these options of `load` expect inputs; nothing is loaded."""
        return cls

    @classmethod
    def check(cls, config: GenerationConfig) -> None:
        """Refuse a configuration that this model cannot follow. Raises InputError."""
        if config.pose_video is not None:
            raise InputError(f"{cls.name} follows no pose video; leave out pose_video, or use backend 'wan-s2v-14b'")

    @staticmethod
    def fit_size(area: tuple[int, int], portrait: Portrait, multiple: int) -> tuple[int, int]:
        """Return the (height, width) of a video: an area in the shape of the portrait, its sides whole multiples."""
        from liveavatar.conditions import fit_size

        return fit_size(area, portrait, multiple)

    @classmethod
    @abstractmethod
    def load(cls, **options: object) -> Backend:
        """Bring the weights. Raises InputError where they cannot be read."""

    @classmethod
    def for_audio(cls) -> Backend | type[Backend]:
        """Return what encodes sound where no weights are named: itself, or shipped weights. Raises InputError."""
        raise InputError(f"{cls.name} hears with networks of its own; from Python: "
                         f"liveavatar.load({cls.name!r}, ...).encode_audio(\"speech.wav\")")

    @classmethod
    def fingerprint(cls, **options: object) -> str:
        """Return a short name for the weights that these options of `load` bring: the options, where they name no
        files. Raises InputError where files are missing."""
        return " ".join(f"{name}={value}" for name, value in sorted(options.items()))

    # ------------------------------------------------------------------ weights that come late and go early

    def load_transformer(self) -> None:                    # noqa: B027   a default, not a duty
        """Bring the transformer's weights where `load` has put that off until everything is encoded."""

    def drop_transformer(self) -> None:
        """Give the transformer's memory back in a process that only decodes."""
        import torch

        torch.nn.Module.to(self.transformer, "meta")       # diffusers' own `to` refuses the meta device

    def release_encoders(self) -> None:                    # noqa: B027   likewise
        """Let go of encoders when nothing more is to be encoded."""

    # ------------------------------------------------------------------ stages

    @abstractmethod
    def encode_audio(self, speech: Speech) -> AudioFeatures:
        """Return what the model hears during each video frame. A class method where no weights are needed for it."""

    @abstractmethod
    def encode_text(self, prompt: Prompt) -> Tensor:
        """Return (1, L, text_dim)"""

    @abstractmethod
    def encode_image(self, portrait: Portrait, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Return reference (1, C, 1, h, w), motion (1, C, 19, h, w) or None"""

    def encode_pose(self, pose_video: str | os.PathLike, size: tuple[int, int], frames: int,
                    clip_frames: int) -> Tensor:
        """Return latents (1, C, F, h, w) of a pose video; `check` has allowed it."""
        raise NotImplementedError

    @abstractmethod
    def unconditional(self, condition: Condition) -> Condition:
        """Return the condition without words and sound: the other branch of guidance."""

    def new_caches(self, condition: ConditionCache, steps: int, frames: int | None = None) -> tuple[RingCache, ...]:
        """Return an empty ring for each step. frames: latent frames that it holds; None: as trained"""
        return tuple(self.transformer.new_cache(condition, frames) for _ in range(steps))

    @abstractmethod
    def decoder(self, condition: Condition | None = None) -> PictureDecoder:
        """Return a fresh decoder for one video; some begin from what the condition shows."""

    # ------------------------------------------------------------------ words

    @abstractmethod
    def about(self) -> dict:
        """Tell which weights these are: enough to load the same again, and to say in a video what made it."""

    def remarks(self, speech: Speech, config: GenerationConfig) -> Iterable[str]:
        """Say what these weights were not trained for, a sentence each."""
        return ()


BACKENDS: dict[str, str] = {   # name -> module:class
    "mini": "liveavatar.backends.mini:MiniBackend",
    "wan-s2v-14b": "liveavatar.backends.wan.backend:WanBackend",
}


def find_for(name: str, options: dict[str, object]) -> type[Backend]:
    """Return the class of a backend as the weights that these options bring expect inputs; no weights are loaded."""
    return find(name).for_weights(**options)


def find(name: str) -> type[Backend]:
    """Return the class of a backend, without its weights."""
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r}; known: {', '.join(map(repr, BACKENDS))}"
                         + did_you_mean(name, BACKENDS))
    module, _, member = BACKENDS[name].partition(":")
    return getattr(import_module(module), member)
