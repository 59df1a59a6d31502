"""Rings without the condition in them: it is kept once for all steps, and the rings may be in 8 bits or in main memory.

Attention wants one stretch of keys, so a layer's condition and ring are laid side by side on a desk. The desk has two
places: while one is attended to, the next layer's ring comes to the other, on a stream of its own on a GPU.

    plain     as wide as what flows. At 704*384 each step spares 2.0 GiB that a ring with its own condition would take
    fp8       float8 e4m3, one scale for each layer and head: half the memory
    on host   in main memory: each step reads its whole ring over the bus, 10.4 GB at 704*384, about 0.4 s on PCIe 4

The scales come from the condition's own keys and values: HEADROOM times their largest. So they need no pass of their
own, and a ring that was saved is read again with the scales that its condition yields again.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from liveavatar.backends.wan.precision import FP8, LARGEST
from liveavatar.cache import ConditionCache, KeysValues, RingCache

HEADROOM = 4.0       # e4m3 is as exact far below its largest value as near it, so room above costs nothing


class Desk:
    """Two places on the device, each for the condition and ring of one layer; shared by the rings of all steps."""

    def __init__(self, condition: ConditionCache, ring_tokens: int) -> None:
        _, batch, heads, _, head_dim = condition.k.shape
        shape = (2, batch, heads, condition.tokens + ring_tokens, head_dim)
        self.k, self.v = (torch.zeros(shape, dtype=condition.k.dtype, device=condition.k.device) for _ in "kv")
        self.holds: list[tuple[int, int] | None] = [None, None]      # which ring's which layer lies in each place
        self.courier = torch.cuda.Stream(condition.k.device) if condition.k.is_cuda else None
        if self.courier is not None:
            for side in (self.k, self.v):
                side.record_stream(self.courier)                     # not given to others while it is still written

    def fetch(self, ring: ApartRing, layer: int) -> None:
        """Bring a layer's ring to its place; what is still used there is waited for."""
        place = layer % 2
        if self.holds[place] == (id(ring.k), layer):
            return
        with self.by_courier():
            for side, stored, scale in zip((self.k[place], self.v[place]), *ring.stored(layer), strict=True):
                side = side[:, :, ring.condition_tokens:]
                if stored.device != side.device:
                    stored = brought(stored, side.device)
                side.copy_(stored)
                if scale is not None:
                    side.mul_(scale)
        self.holds[place] = (id(ring.k), layer)

    def send_back(self, ring: ApartRing, layer: int, first: int, last: int) -> None:
        """Keep one block's new keys and values in their ring."""
        place, offset = layer % 2, ring.condition_tokens
        with self.by_courier():
            for side, stored, scale in zip((self.k[place], self.v[place]), *ring.stored(layer), strict=True):
                new = side[:, :, first:last]
                if scale is not None:
                    new = (new / scale).clamp(-LARGEST, LARGEST).to(FP8)
                copy_by_heads(stored[:, :, first - offset:last - offset], new)

    def arrived(self) -> None:
        """What the courier carries may be used from here on."""
        if self.courier is not None:
            torch.cuda.current_stream(self.k.device).wait_stream(self.courier)

    def by_courier(self) -> torch.cuda.StreamContext | nullcontext:
        """What is done inside is done beside the work, but after all that has been asked for so far."""
        if self.courier is None:
            return nullcontext()
        self.courier.wait_stream(torch.cuda.current_stream(self.k.device))
        return torch.cuda.stream(self.courier)


def copy_by_heads(into: Tensor, origin: Tensor) -> None:
    """(B, heads, M, head_dim), a stretch of M. One head is contiguous, so its copy needs no buffer and no waiting."""
    if into.device == origin.device:
        into.copy_(origin)
        return
    for to, which in zip(into.flatten(0, 1), origin.flatten(0, 1), strict=True):
        to.copy_(which, non_blocking=True)


def brought(stored: Tensor, device: torch.device) -> Tensor:
    """The same on the device, as narrow as it was stored."""
    here = torch.empty(stored.shape, dtype=stored.dtype, device=device)
    copy_by_heads(here, stored)
    return here


@dataclass(frozen=True)
class ApartRing(RingCache):
    """A ring of keys and values (layers, B, heads, capacity * frame_tokens, head_dim), anywhere, in any precision.

    The condition tokens are not in it; `condition_tokens` says how many are laid before it on the desk.
    """

    desk: Desk = field(default=None, repr=False, compare=False)
    scales: KeysValues | None = field(default=None, repr=False, compare=False)     # (layers, B, heads, 1, 1) each

    def stored(self, layer: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, Tensor | None]]:
        """Keys and values of a layer as they are kept, and what they have to be multiplied by."""
        scales = (None, None) if self.scales is None else (self.scales.k[layer], self.scales.v[layer])
        return (self.k[layer], self.v[layer]), scales

    def write(self, layer: int, k: Tensor, v: Tensor, condition: KeysValues) -> KeysValues:
        desk, place = self.desk, layer % 2
        if layer == 0:
            desk.holds = [None, None]                                # the step before, perhaps broken off, had another
        desk.fetch(self, layer)
        desk.arrived()
        first, last, valid = self.places(k.shape[2])
        for side, front, new in ((desk.k[place], condition.k, k), (desk.v[place], condition.v, v)):
            side[:, :, :self.condition_tokens] = front
            side[:, :, first:last] = new
        desk.send_back(self, layer, first, last)
        if layer + 1 < len(self.k):
            desk.fetch(self, layer + 1)
        else:
            desk.arrived()                                           # whoever looks at the ring finds it whole
        return KeysValues(desk.k[place, :, :, :valid], desk.v[place, :, :, :valid])


def apart_rings(condition: ConditionCache, capacity: int, count: int, *, fp8: bool = False,
                on_host: bool = False) -> tuple[ApartRing, ...]:
    """One empty ring for each step, and the desk they share. On the host in page-locked memory where there is a GPU.

    condition keys and values (layers, B, heads, M, head_dim); capacity in latent frames
    """
    layers, batch, heads, _, head_dim = condition.k.shape
    frame_tokens = condition.grid[0] * condition.grid[1]
    shape = (layers, batch, heads, capacity * frame_tokens, head_dim)
    device = torch.device("cpu") if on_host else condition.k.device
    desk = Desk(condition, capacity * frame_tokens)
    scales = KeysValues(scale_of(condition.k), scale_of(condition.v)) if fp8 else None
    rings = []
    for _ in range(count):
        k, v = (torch.zeros(shape, dtype=FP8 if fp8 else condition.k.dtype, device=device,
                            pin_memory=on_host and condition.k.is_cuda) for _ in "kv")
        if k.is_cuda:
            k.record_stream(desk.courier)
            v.record_stream(desk.courier)
        rings.append(ApartRing(k, v, condition.tokens, frame_tokens, capacity, 0, desk, scales))
    return tuple(rings)


def scale_of(values: Tensor) -> Tensor:
    """One scale for each layer and head, so that HEADROOM times the largest value still fits. (layers, B, heads, 1, 1)

    A power of two: to multiply by it rounds nothing.
    """
    largest = torch.stack([layer.abs().amax((-2, -1), keepdim=True) for layer in values]).float()
    return torch.exp2((largest * HEADROOM / LARGEST).clamp(min=2**-40).log2().ceil()).to(values.dtype)
