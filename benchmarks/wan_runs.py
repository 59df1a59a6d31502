"""What wan_speed.py and wan_memory.py share: the full-size network with random weights, driven block by block.

Words, sound and portrait are random too, so the text and speech encoders are not needed.
"""

from __future__ import annotations

import gc
import shlex
import sys
import time
from dataclasses import dataclass

import torch

from liveavatar.backends.wan.backend import WanBackend
from liveavatar.backends.wan.networks import bring_transformer, random_source
from liveavatar.backends.wan.preset import TINY
from liveavatar.backends.wan.vae import random_vae
from liveavatar.cache import ConditionCache, RingCache
from liveavatar.sampler import denoise_block, model_levels, released_schedule
from liveavatar.transformer import AUDIO_HISTORY, Context, Modulation

GIB = 2**30
STRIDE = 8                       # picture pixels on a latent pixel's side


def command_here() -> str:
    """What was typed."""
    return shlex.join(["python", *sys.argv])


def device_here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    wait(device)
    return time.perf_counter()


def bring(fp8: bool, tiny: bool) -> WanBackend:
    """Random weights, made on the device."""
    device, sizes = device_here(), TINY if tiny else {"transformer": {}, "vae": {}}
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    network = bring_transformer(sizes["transformer"], random_source(device), device, dtype, fp8=fp8)
    return WanBackend(network, None, None, random_vae(sizes["vae"], device, dtype), {})


def clean() -> None:
    """Let go of all that nobody holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


@dataclass
class Video:
    """A video that is being made."""

    backend: WanBackend
    context: Context
    condition: ConditionCache
    levels: tuple[Modulation, ...]
    size: tuple[int, int]        # (height, width) pixels
    caches: tuple[RingCache, ...] = ()
    latents: torch.Tensor | None = None
    decoder: object = None
    block: int = 0

    @classmethod
    @torch.inference_mode()
    def begin(cls, backend: WanBackend, size: tuple[int, int], steps: int) -> Video:
        """Everything that is computed once."""
        model, device = backend.transformer, backend.device
        config, (h, w) = model.config, (side // STRIDE for side in size)
        generator = torch.Generator(device).manual_seed(0)

        def some(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, device=device).to(model.dtype)

        text = model.encode_text(some(1, config.text_len, config.text_dim))
        portrait, motion = some(1, config.in_dim, 1, h, w), some(1, config.in_dim, 19, h, w)
        condition = model.prefill(portrait, motion, text)
        heard = model.encode_audio(some(1, config.audio_layers, config.audio_dim, AUDIO_HISTORY + 12))
        levels = model_levels(model, released_schedule(steps), device)
        return cls(backend, Context(text, heard), condition, levels, size)

    @torch.inference_mode()
    def lay_rings(self) -> None:
        """Empty rings, one a step."""
        self.caches = self.backend.new_caches(self.condition, len(self.levels))

    @torch.inference_mode()
    def steps(self) -> list[float]:
        """One block; milliseconds of each of its steps. `latents` holds it then."""
        model, device = self.backend.transformer, self.backend.device
        h, w = (side // STRIDE for side in self.size)
        noise = torch.randn(1, model.config.in_dim, 3, h, w, device=device).to(model.dtype)
        caches, spent, began = [], [], clock(device)
        for step in denoise_block(model, noise, self.context, self.condition, self.caches,
                                  released_schedule(len(self.caches)), levels=self.levels, block=self.block):
            caches.append(step.cache)
            spent.append(1000 * (clock(device) - began))
            began = clock(device)
        self.caches, self.latents, self.block = tuple(caches), step.x, self.block + 1
        return spent

    def decode(self) -> float:
        """The block that was just made; milliseconds until its pictures are in main memory."""
        began = clock(self.backend.device)
        if self.decoder is None:
            self.decoder = self.backend.decoder()            # of no portrait: warmed up with the first latent
        self.decoder.decode(self.latents)
        return 1000 * (clock(self.backend.device) - began)
