"""Rings without the condition in them: it is kept once for all steps, and the rings may be in 8 bits or in main memory.

Attention wants one stretch of keys, so a layer's condition and ring are copied side by side into a staging buffer.
It has two places: while one is attended to, the next layer's ring comes to the other, on a stream of its own on a GPU.

    plain     as wide as what flows. At 704*384 each step spares 2.0 GiB that a ring with its own condition would take
    fp8       float8 e4m3, one scale for each layer and head: half the memory
    on host   in main memory: each step reads its whole ring over the bus, 10.4 GB at 704*384, about 0.4 s on PCIe 4

The scales come from the condition's own keys and values: HEADROOM times their largest. So they need no pass of their
own, and a ring that was saved is read again with the scales that its condition yields again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from liveavatar.backends.wan.launch import FP8, LARGEST
from liveavatar.backends.wan.precision import multiplies_fp8
from liveavatar.cache import CacheSlices, ConditionCache, KeysValues, RingCache, copy_vectorized
from liveavatar.compiling import compile_function

HEADROOM = 4.0       # e4m3 is as exact far below its largest value as near it, so room above costs nothing


class StagingBuffer:
    """Two places on the device, each for the condition and ring of one layer; shared by the rings of all steps."""

    def __init__(self, condition: ConditionCache, ring_tokens: int, compiled: bool = False) -> None:
        _, batch, heads, _, head_dim = condition.k.shape
        shape = (2, batch, heads, condition.tokens + ring_tokens, head_dim)
        self.k, self.v = (torch.zeros(shape, dtype=condition.k.dtype, device=condition.k.device) for _ in "kv")
        compiled = compiled and (multiplies_fp8(self.k.device) or not self.k.is_cuda)      # older cards: not by Triton
        self.dequantize, self.quantize = (compile_once(work) if compiled else work for work in (dequantize, quantize))
        self.contents: list[tuple[int, int] | None] = [None, None]      # which ring's which layer lies in each place
        self.copy_stream = torch.cuda.Stream(condition.k.device) if condition.k.is_cuda else None
        if self.copy_stream is not None:
            for side in (self.k, self.v):
                side.record_stream(self.copy_stream)                     # not given to others while it is still written

    def fetch(self, ring: SplitKVCache, layer: int, tokens: int) -> None:
        """Copy a layer's ring to its place, but for what a block of so many tokens will write over.

        What is still used there is waited for.
        """
        place, offset = layer % 2, ring.condition_tokens
        if self.contents[place] == (id(ring.k), layer):
            return
        first, last, valid = ring.bounds(tokens)
        with self.on_copy_stream():
            for side, stored, scale in zip((self.k[place], self.v[place]), *ring.stored(layer), strict=True):
                for begin, end in ((offset, first), (last, valid)):
                    if begin < end:
                        self.load(side[:, :, begin:end], stored[:, :, begin - offset:end - offset], scale)
        self.contents[place] = (id(ring.k), layer)

    def load(self, side: Tensor, stored: Tensor, scale: Tensor | None) -> None:
        if scale is None:
            copy_by_heads(side, stored)
            return
        if stored.device != side.device:
            here = torch.empty(stored.shape, dtype=stored.dtype, device=side.device)
            copy_by_heads(here, stored)
            stored = here
        self.dequantize(side, stored, scale)

    def write_back(self, ring: SplitKVCache, layer: int, block: KeysValues) -> None:
        """Write one block's new keys and values to their ring."""
        tokens = block.k.shape[2]
        first = ring.slot * ring.frame_tokens
        with self.on_copy_stream():
            for new, stored, scale in zip(block, *ring.stored(layer), strict=True):
                stored = stored[:, :, first:first + tokens]
                if scale is None:
                    copy_by_heads(stored, new)
                elif stored.device == new.device:
                    self.quantize(stored, new, scale)
                else:
                    here = torch.empty(new.shape, dtype=stored.dtype, device=new.device)
                    self.quantize(here, new, scale)
                    copy_by_heads(stored, here)

    def wait_for_copies(self) -> None:
        """Let the current stream wait for the copies that are under way."""
        if self.copy_stream is not None:
            torch.cuda.current_stream(self.k.device).wait_stream(self.copy_stream)

    def on_copy_stream(self) -> torch.cuda.StreamContext | nullcontext:
        """Run on the copy stream, after all work queued so far."""
        if self.copy_stream is None:
            return nullcontext()
        self.copy_stream.wait_stream(torch.cuda.current_stream(self.k.device))
        return torch.cuda.stream(self.copy_stream)


def dequantize(into: Tensor, stored: Tensor, scale: Tensor) -> None:
    """Convert out of 8 bits. (B, heads, M, head_dim), scale (B, heads, 1, 1)"""
    into.copy_(stored)
    into.mul_(scale)


def quantize(into: Tensor, new: Tensor, scale: Tensor) -> None:
    """Convert into 8 bits."""
    into.copy_((new / scale).clamp(-LARGEST, LARGEST))


@cache
def compile_once(work: Callable[..., None]) -> Callable[..., None]:
    """Compile so that memory is read and written once, for any length: it changes until the ring is full."""
    return compile_function(work, dynamic=True)


def copy_by_heads(into: Tensor, origin: Tensor) -> None:
    """Copy (B, heads, M, head_dim), a stretch of M. One head is contiguous, so to or from main memory its copy needs no
    buffer and no waiting."""
    if into.device == origin.device:
        copy_vectorized(into, origin)
        return
    for to, which in zip(into.flatten(0, 1), origin.flatten(0, 1), strict=True):
        to.copy_(which, non_blocking=True)


@dataclass(frozen=True)
class SplitKVCache(RingCache):
    """A ring of keys and values (layers, B, heads, capacity * frame_tokens, head_dim), anywhere, in any precision.

    The condition tokens are not in it; `condition_tokens` says how many come before it in the staging buffer.
    """

    staging: StagingBuffer = field(default=None, repr=False, compare=False)
    scales: KeysValues | None = field(default=None, repr=False, compare=False)     # (layers, B, heads, 1, 1) each

    def stored(self, layer: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, Tensor | None]]:
        """Return keys and values of a layer as they are kept, and what they have to be multiplied by."""
        scales = (None, None) if self.scales is None else (self.scales.k[layer], self.scales.v[layer])
        return (self.k[layer], self.v[layer]), scales

    def open(self, layer: int, tokens: int) -> CacheSlices:
        staging, place = self.staging, layer % 2
        if layer == 0:
            staging.contents = [None, None]    # the step before, perhaps broken off, had another
        staging.fetch(self, layer, tokens)
        staging.wait_for_copies()
        return self.slices(staging.k[place], staging.v[place], tokens)

    def close(self, layer: int, slices: CacheSlices) -> None:
        staging = self.staging
        staging.write_back(self, layer, slices.block)
        if layer + 1 < len(self.k):
            staging.fetch(self, layer + 1, slices.block.k.shape[2])
        else:
            staging.wait_for_copies()      # whoever reads the ring next finds it whole


def split_caches(condition: ConditionCache, capacity: int, count: int, *, fp8: bool = False,
                on_host: bool = False, compiled: bool = False) -> tuple[SplitKVCache, ...]:
    """Make one empty ring for each step, and the staging buffer they share. On the host: page-locked, with a GPU.

    condition keys and values (layers, B, heads, M, head_dim); capacity in latent frames
    """
    layers, batch, heads, _, head_dim = condition.k.shape
    frame_tokens = condition.grid[0] * condition.grid[1]
    shape = (layers, batch, heads, capacity * frame_tokens, head_dim)
    device = torch.device("cpu") if on_host else condition.k.device
    staging = StagingBuffer(condition, capacity * frame_tokens, compiled)
    scales = KeysValues(scale_of(condition.k), scale_of(condition.v)) if fp8 else None
    rings = []
    for _ in range(count):
        k, v = (torch.zeros(shape, dtype=FP8 if fp8 else condition.k.dtype, device=device,
                            pin_memory=on_host and condition.k.is_cuda) for _ in "kv")
        if k.is_cuda:
            k.record_stream(staging.copy_stream)
            v.record_stream(staging.copy_stream)
        rings.append(SplitKVCache(k, v, condition.tokens, frame_tokens, capacity, 0, staging, scales))
    return tuple(rings)


def scale_of(values: Tensor) -> Tensor:
    """Return one scale for each layer and head, so that HEADROOM times the largest value still fits. (layers, B, heads,
    1, 1)

    A power of two: to multiply by it rounds nothing.
    """
    largest = torch.stack([layer.abs().amax((-2, -1), keepdim=True) for layer in values]).float()
    return power_of_two(largest * HEADROOM).to(values.dtype)


def power_of_two(largest: Tensor) -> Tensor:
    """Return the smallest scale with which a number as large as this fits into 8 bits."""
    return torch.exp2((largest / LARGEST).clamp(min=2**-40).log2().ceil())
