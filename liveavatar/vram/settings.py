"""What is planned: model, size, steps, cards, number formats."""

from __future__ import annotations

from dataclasses import dataclass

from liveavatar.backends import find
from liveavatar.config import check_choice, check_infer_frames, check_ring_frames, check_whole, parse_size, size_text
from liveavatar.types import InputError
from liveavatar.vram.shapes import Shapes, shapes

SPREADS = ("one", "tpp", "fsdp")


def weights_named(fp8: object, nf4: object) -> str:
    """Return the name that `Settings.weights` has for two switches of the command line; both together are refused."""
    if fp8 and nf4:
        raise InputError("fp8 and nf4 are two ways to round the same weights; leave one of them out")
    return "nf4" if nf4 else "fp8" if fp8 else "bf16"


@dataclass(frozen=True)
class Settings:
    """Hold what is planned. Names as in `GenerationConfig` where they mean the same."""

    backend: str = "wan-s2v-14b"
    size: tuple[int, int] = (384, 704)    # (height, width)
    steps: int = 4
    gpus: int = 1
    spread: str = "one"                   # "one", "tpp" (steps over GPUs), "fsdp" (weights over GPUs)
    weights: str = "bf16"                 # "bf16", "fp8", "nf4", "float32"
    caches: str = "bf16"                  # "bf16", "fp8"
    offload_model: bool = True            # encoders rest in main memory when they have nothing to do
    offload_kv_cache: bool = False        # caches rest in main memory; two layers of one of them are on the GPU
    condition_in_rings: bool = False      # the condition in every ring instead of once
    fp8_attention: bool = False           # self-attention in 8 bits; fp8 caches, the condition in each, come with it
    enable_online_decode: bool = True
    infer_frames: int = 48
    num_clip: int = 50
    ring_frames: int | None = None        # latent frames of a ring; None: as the weights were trained
    layout: str = "ours"                  # "released": how the released code lays its caches out
    libraries: int | None = None          # mini: bytes that its process holds without it; None: measured in this one

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", parse_size(self.size))
        check_whole("steps", self.steps, 1, 50, "4 is what the model was distilled for")
        check_whole("gpus", self.gpus, 1, 64, "1 to 64 of one kind")
        check_whole("num_clip", self.num_clip, 1, 10**6, "50 clips of 48 frames are 96 seconds")
        check_infer_frames(self.infer_frames)
        check_choice("spread", self.spread, SPREADS)
        check_ring_frames(self.ring_frames)
        check_choice("weights", self.weights, ("bf16", "fp8", "nf4", "float32"))
        check_choice("caches", self.caches, ("bf16", "fp8"))
        check_choice("layout", self.layout, ("ours", "released"))
        if self.condition_in_rings and (self.caches == "fp8" or self.offload_kv_cache):
            raise InputError("condition_in_rings is for caches on the GPU in bf16; leave it out, or fp8 caches and "
                             "offload_kv_cache")
        if self.fp8_attention and (self.condition_in_rings or self.offload_kv_cache):
            raise InputError("fp8_attention has caches of its own on the GPU, the condition in each; leave it out, or "
                             "condition_in_rings and offload_kv_cache")
        if self.fp8_attention:
            object.__setattr__(self, "caches", "fp8")
        if self.spread == "one" and self.gpus > 1:
            object.__setattr__(self, "spread", "tpp")
        if self.gpus == 1:
            object.__setattr__(self, "spread", "one")

    @property
    def shapes(self) -> Shapes:
        """Return the sizes of all that is held at these settings, counted without memory."""
        by_frame = self.offload_kv_cache and not self.on_cpu
        return shapes(self.backend, self.size, self.weights, self.caches, by_frame, self.ring_frames)

    @property
    def on_cpu(self) -> bool:
        """Say whether the plan is for main memory."""
        return not find(self.backend).on_card

    @property
    def description(self) -> str:
        """Describe the settings in a line."""
        spread = {"one": "one device", "tpp": f"steps over {self.gpus} GPUs (TPP)",
                  "fsdp": f"weights over {self.gpus} GPUs (FSDP)"}[self.spread]
        more = [f"{self.weights} weights", f"{self.caches} caches" if self.caches == "fp8" else "",
                "" if self.offload_model or self.on_cpu else "encoders stay",
                "offload_kv_cache" if self.offload_kv_cache else "",
                "attention in 8 bits" if self.fp8_attention else "",
                "condition in each ring" if self.condition_in_rings else ""]
        return ", ".join([self.backend, size_text(self.size), f"{self.steps} steps", spread, *filter(None, more)])
