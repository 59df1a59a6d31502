"""Stage 4: latents -> pictures, block by block, in constant memory.

A video VAE looks back in time: the first pictures of a block depend on the end of the block before. What it has to
remember of it is small and travels in `memory`, so nothing grows with the length of the video.
"""

from __future__ import annotations

import hashlib
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.threads import adapted_threads

if TYPE_CHECKING:
    from liveavatar.backends import Backend

Memory = tuple[Tensor, ...]


class StreamingVAE(torch.nn.Module):
    """A VAE that is decoded block by block."""

    compiled_threads: int | None = None     # the count of threads that compiled code is made for; None: not compiled

    def decode_stream(self, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Decode latents (B, C, F, h, w) -> video (B, 3, T, H, W) in 0..1, and the memory for the next call"""
        raise NotImplementedError


def to_pictures(video: Tensor) -> Tensor:
    """Convert video (1, 3, T, H, W) in 0..1 -> (T, H, W, 3) uint8 in main memory"""
    pixels = video[0].permute(1, 2, 3, 0).float().mul(255).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).contiguous().cpu()                     # a byte a number before they travel


@torch.inference_mode()
def decode_block(vae: StreamingVAE, latents: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
    """Decode one block of latents: (1, C, F, h, w) -> (T, H, W, 3) uint8, and the memory for the next block."""
    weight = next(vae.parameters())
    with adapted_threads(weight.device, ("decode", latents.shape, memory is None), vae.compiled_threads):
        video, memory = vae.decode_stream(latents.to(weight.device, weight.dtype), memory)
        return to_pictures(video), memory


class Decoder:
    """Decodes the blocks of one video in their order. A new video needs a new decoder."""

    def __init__(self, vae: StreamingVAE) -> None:
        self._vae = vae
        self._memory: Memory | None = None

    def decode(self, latents: Tensor) -> Tensor:
        """Decode (1, C, F, h, w) -> (T, H, W, 3) uint8"""
        pictures, self._memory = decode_block(self._vae, latents, self._memory)
        return pictures

    def fork(self) -> Decoder:
        """Return another decoder that goes on from here on its own: what it decodes does not change this one."""
        return copy(self)                                  # a memory is never changed, only replaced


def name_of_vae(owner: torch.nn.Module | Backend) -> str:
    """Name the weights of a VAE, or of a backend's, shortly and the same in every number format; "" without one."""
    vae = owner if isinstance(owner, torch.nn.Module) else owner.vae
    if vae is None:
        return ""
    weight = next(vae.parameters()).detach().to("cpu", torch.bfloat16).float()
    return hashlib.sha256(weight.numpy().tobytes()).hexdigest()[:16]
