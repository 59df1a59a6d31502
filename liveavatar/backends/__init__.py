"""What a model must offer to be driven by the pipeline, and the models that are known.

A backend is a class whose plain attributes can be read before any weights are loaded, so that bad input is refused
first, and a classmethod `load` that brings the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol

from liveavatar.types import InputError
from liveavatar.wording import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from liveavatar.transformer import CausalS2VTransformer
    from liveavatar.types import AudioFeatures, Condition, Portrait, Prompt, Speech


@dataclass(frozen=True)
class Trained:
    """What the weights were trained for: used where the caller does not say otherwise."""

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


class Backend(Protocol):
    """A model and its encoders, as the pipeline sees them.

    A backend may offer more, which is used where it is there: free_text (the prompt is read, not searched for phrases),
    size_of (its own rule for a video's size), check (of a configuration, before weights load), encode_pose (a video),
    new_caches (rings where it wants them), load_transformer and release_encoders (for networks that are on the device
    one after the other: `transformer` is then not asked for before everything is encoded), trim_frames (pictures left
    out at the beginning, their sound kept), remarks (what its weights were not trained for, of speech and a
    configuration), blocks_join (False: each block is a video of its own, decoded without the one before),
    copies_portrait (True: the condition also holds the portrait's picture, for the decoder), for_weights (the class as
    the weights of these options of `load` expect inputs).
    """

    name: ClassVar[str]
    fps: ClassVar[float]
    rate_hz: ClassVar[int]                  # of the sound it listens to
    block_latents: ClassVar[int]            # latent frames in a block
    frames_per_latent: ClassVar[int]        # video frames in a latent frame
    size_multiple: ClassVar[int]            # sides are multiples of it
    default_size: ClassVar[tuple[int, int]]   # (height, width)
    expects_rendered: ClassVar[bool]        # trained on rendered avatars only
    expects_head_and_shoulders: ClassVar[bool]    # of a photograph: the face about 45 % of the height
    sees_past_sound: ClassVar[bool]         # a block hears the sound before it (else its own first frame repeated)

    transformer: CausalS2VTransformer
    device: torch.device
    dtype: torch.dtype                      # of what flows through the transformer
    trained: Trained

    @classmethod
    def load(cls, **options: object) -> Backend:
        """Bring the weights."""

    def encode_audio(self, speech: Speech) -> AudioFeatures:
        """Return what the model hears during each video frame. A class method where no weights are needed for it."""

    def encode_text(self, prompt: Prompt) -> Tensor:
        """Return (1, L, text_dim)"""

    def encode_image(self, portrait: Portrait, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Return reference (1, C, 1, h, w), motion (1, C, 19, h, w) or None"""

    def unconditional(self, condition: Condition) -> Condition:
        """Return the condition without words and sound: the other branch of guidance."""

    def decoder(self, condition: Condition | None = None) -> PictureDecoder:
        """Return a fresh decoder for one video; some begin from what the condition shows."""

    def about(self) -> dict:
        """Tell which weights these are: enough to load the same again, and to say in a video what made it."""


BACKENDS: dict[str, str] = {   # name -> module:class
    "mini": "liveavatar.backends.mini:MiniBackend",
    "wan-s2v-14b": "liveavatar.backends.wan.backend:WanBackend",
}


def find_for(name: str, options: dict[str, object]) -> type[Backend]:
    """Return the class of a backend as the weights that these options bring expect inputs; no weights are loaded."""
    kind = find(name)
    return kind.for_weights(**options) if hasattr(kind, "for_weights") else kind


def find(name: str) -> type[Backend]:
    """Return the class of a backend, without its weights."""
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r}; known: {', '.join(map(repr, BACKENDS))}"
                         + did_you_mean(name, BACKENDS))
    module, _, member = BACKENDS[name].partition(":")
    return getattr(import_module(module), member)
