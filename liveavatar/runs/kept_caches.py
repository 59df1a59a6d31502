"""Copies of a run's key-value caches at the beginnings of some blocks, so that a branch need not start at block 0.

At most KEPT_BYTES are kept in main memory, evenly spread over the video: as soon as there are more, every second copy
goes, and from then on half as many are made. mini at 256 x 256 has about four. Where two copies would not fit, as with
the 14-billion model at its usual size, none is made, and a branch computes the blocks before it again.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from liveavatar.rollout import Rollout
from liveavatar.trace import MIB
from liveavatar.types import Step

KEPT_BYTES = 128 * MIB

Level = tuple[Tensor, Tensor, int]       # keys, values, and how many latent frames were written


class KeptCaches:
    """Hold what was kept of one run. Fed with its steps, by its worker."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.every = 1                                       # at the beginning of every so many blocks
        self._kept: dict[int, tuple[Level, ...]] = {}        # next block -> its caches, one a step
        self._begun: list[Level] = []                        # of the block that is being made

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return the blocks at whose beginning caches are kept. Block 0 needs none: it begins with empty ones."""
        return tuple(sorted(self._kept))

    @property
    def bytes(self) -> int:
        """Count what is kept."""
        return sum(k.nbytes + v.nbytes for levels in self._kept.values() for k, v, _ in levels)

    def add(self, step: Step) -> None:
        """Copy the cache of a step where the next block is one whose beginning is kept."""
        cache, block = step.cache, step.block + 1
        if cache is None or block % self.every or 2 * step.steps * cache.bytes > self.limit_bytes:
            return
        if step.index == 0:
            self._begun = []
        self._begun.append((cache.k.to("cpu", copy=True), cache.v.to("cpu", copy=True), cache.end))
        if step.last and len(self._begun) == step.steps:
            self._kept[block], self._begun = tuple(self._begun), []
            while self.bytes > self.limit_bytes:
                self.every *= 2
                self._kept = {at: levels for at, levels in self._kept.items() if at % self.every == 0}

    def newest_before(self, block: int) -> int:
        """Return the last block up to this one whose beginning is kept; 0 where there is none."""
        return max((at for at in self._kept if at <= block), default=0)

    def at(self, block: int) -> tuple[Level, ...]:
        """Return the caches at the beginning of a block, one for each step; () for block 0 and where none are kept."""
        return self._kept.get(block, ())


def filled(empty: Rollout, levels: tuple[Level, ...], block: int) -> Rollout:
    """Copy kept caches into the rings of an empty state: the state at the beginning of a block.

    levels: of `KeptCaches.at`; () leaves the state as it is
    """
    if not levels:
        return empty
    rings = []
    for ring, (k, v, end) in zip(empty.caches, levels, strict=True):
        ring.k.copy_(k)
        ring.v.copy_(v)
        rings.append(replace(ring, end=end))
    return Rollout(block, tuple(rings))
