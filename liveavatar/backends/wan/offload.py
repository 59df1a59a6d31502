"""Ring caches in main memory: a GPU holds two layers of one of them at a time, and the next comes while one is used.

Each step reads its whole ring over the bus: at 704*384 that is 10.4 GB, about 0.4 s on PCIe 4. It is for cards on which
the rings do not fit at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from liveavatar.cache import ConditionCache, KeysValues, RingCache


class Desk:
    """Two places on the device, each for one layer of a ring; shared by the rings of all steps."""

    def __init__(self, ring: RingCache, device: torch.device) -> None:
        layers, *shape = ring.k.shape
        shape[2] += ring.condition_tokens
        self.k, self.v = (torch.zeros(2, *shape, dtype=ring.k.dtype, device=device) for _ in "kv")
        self.condition: KeysValues | None = None
        self.holds: list[tuple[int, int] | None] = [None, None]      # which ring's which layer lies in each place
        self.courier = torch.cuda.Stream(device) if device.type == "cuda" else None

    def fetch(self, ring: HostRingCache, layer: int) -> None:
        """Bring a layer's ring to its place; what is still used there is waited for."""
        place = layer % 2
        if self.holds[place] == (id(ring.k), layer):
            return
        if self.courier is not None:
            self.courier.wait_stream(torch.cuda.current_stream(self.k.device))
        with torch.cuda.stream(self.courier):                        # None: no stream, nothing to switch
            for side, host in ((self.k, ring.k), (self.v, ring.v)):
                copy_by_heads(side[place, :, :, ring.condition_tokens:], host[layer])
        self.holds[place] = (id(ring.k), layer)

    def arrived(self) -> None:
        """What was fetched may be used from here on."""
        if self.courier is not None:
            torch.cuda.current_stream(self.k.device).wait_stream(self.courier)

    def send_back(self, ring: HostRingCache, layer: int, first: int, last: int) -> None:
        """Keep one block's new keys and values in main memory."""
        if self.courier is not None:
            self.courier.wait_stream(torch.cuda.current_stream(self.k.device))
        with torch.cuda.stream(self.courier):
            offset = ring.condition_tokens
            for side, host in ((self.k, ring.k), (self.v, ring.v)):
                copy_by_heads(host[layer, :, :, first - offset:last - offset], side[layer % 2, :, :, first:last])


def copy_by_heads(into: Tensor, origin: Tensor) -> None:
    """(B, heads, M, head_dim), a stretch of M. One head is contiguous, so its copy needs no buffer and no waiting."""
    for to, which in zip(into.view(-1, *into.shape[2:]), origin.view(-1, *origin.shape[2:]), strict=True):
        to.copy_(which, non_blocking=True)


@dataclass(frozen=True)
class HostRingCache(RingCache):
    """A ring whose keys and values (layers, B, heads, capacity * frame_tokens, head_dim) rest in main memory.

    The condition tokens are not in it: they stay on the device.
    """

    desk: Desk = field(default=None, repr=False, compare=False)

    def hold_condition(self, k: Tensor, v: Tensor) -> None:
        self.desk.condition = KeysValues(k, v)

    def write(self, layer: int, k: Tensor, v: Tensor) -> KeysValues:
        desk, place = self.desk, layer % 2
        desk.fetch(self, layer)
        desk.arrived()
        first = self.condition_tokens + self.slot * self.frame_tokens
        last = first + k.shape[2]
        for side, condition, new in ((desk.k, desk.condition.k, k), (desk.v, desk.condition.v, v)):
            side[place, :, :, :self.condition_tokens] = condition[layer]
            side[place, :, :, first:last] = new
        desk.send_back(self, layer, first, last)
        if layer + 1 < len(self.k):
            desk.fetch(self, layer + 1)
        else:
            desk.holds = [None, None]                                # the next step has another ring
        valid = desk.k.shape[3] if self.end >= self.capacity else last
        return KeysValues(desk.k[place, :, :, :valid], desk.v[place, :, :, :valid])


def host_rings(condition: ConditionCache, capacity: int, count: int) -> tuple[HostRingCache, ...]:
    """One empty ring for each step, in page-locked memory where there is a GPU, and the desk they share."""
    layers, batch, heads, _, head_dim = condition.k.shape
    frame_tokens, device = condition.grid[0] * condition.grid[1], condition.k.device
    rings = []
    for _ in range(count):
        k, v = (torch.zeros(layers, batch, heads, capacity * frame_tokens, head_dim, dtype=condition.k.dtype,
                            pin_memory=device.type == "cuda") for _ in "kv")
        desk = rings[0].desk if rings else None
        ring = HostRingCache(k, v, condition.tokens, frame_tokens, capacity, 0, desk)
        rings.append(HostRingCache(k, v, condition.tokens, frame_tokens, capacity, 0, desk or Desk(ring, device)))
    return tuple(rings)
