"""The key-value caches: one ring of keys and values per noise level, and one condition cache shared by all.

Timestep forcing (Live Avatar, section 3): at sampler step i a block attends to earlier blocks *as they were at step i*,
so every noise level keeps a cache of its own and no extra clean pass is needed. The released system always keeps four;
here there are as many as there are steps. With one clean cache all steps read the same ring: each writes its block
over the last one's, and a pass at noise level 0 leaves the finished block there (as in Self-Forcing, arXiv:2506.08009).

    keys of one layer, one level:  [ condition | slot 0 | slot 1 | ... ]      one slot = one latent frame
                                     "sink"      a ring: the newest block overwrites the oldest

Large buffers are written in place; the counts that say what is valid are immutable and travel with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor


class KeysValues(NamedTuple):
    """Keys and values of one attention, split into heads."""

    k: Tensor   # (B, heads, M, head_dim)
    v: Tensor   # (B, heads, M, head_dim)


class CacheSlices(NamedTuple):
    """Parts of one layer's buffers, for one block: two to be written, and all that the block may then attend to."""

    condition: KeysValues   # (B, heads, condition_tokens, head_dim)
    block: KeysValues       # (B, heads, F * frame_tokens, head_dim)
    visible: KeysValues     # (B, heads, M, head_dim), the other two included


WIDE = torch.complex128     # 16 bytes, the most that a GPU's thread reads at once


def copy_vectorized(into: Tensor, origin: Tensor) -> None:
    """Copy stretches of heads (B, heads, M, head_dim). No two of them are neighbours, so torch would copy number by
    number, which takes a GPU several times as long as 16 bytes at once."""
    if into.is_cuda and not torch.compiler.is_compiling():
        into, origin = widest_views(into, origin)
    into.copy_(origin)


def widest_views(into: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """View the same bytes as fewer, wider numbers, where their strides allow it."""
    if into.dtype != origin.dtype or torch.is_grad_enabled() or not (is_aligned(into) and is_aligned(origin)):
        return into, origin
    return into.view(WIDE), origin.view(WIDE)


def is_aligned(x: Tensor) -> bool:
    """Say whether all stretches begin and end at multiples of 16 bytes."""
    steps = (x.storage_offset(), x.shape[-1], *x.stride()[:-1])
    return x.stride(-1) == 1 and all(step * x.element_size() % WIDE.itemsize == 0 for step in steps)


@dataclass(frozen=True)
class ConditionCache:
    """Keys and values of the condition tokens (portrait, motion), computed once. Keys are normed but not rotated:
    the portrait keeps its distance to the block being made, so its rotation changes with every block."""

    k: Tensor               # (layers, B, heads, M, head_dim)
    v: Tensor
    reference_tokens: int   # the first of the M tokens: those of the portrait
    grid: tuple[int, int]   # tokens of a latent frame, rows x columns
    reference: Tensor | None = None     # (B, C, 1, h, w) latent of the portrait, for a model that copies from it

    @property
    def tokens(self) -> int:
        return self.k.shape[3]

    @property
    def bytes(self) -> int:
        return self.k.nbytes + self.v.nbytes


class RingPosition:
    """Tell which latent frames a ring holds, from two counts of its subclass."""

    capacity: int           # latent frames
    end: int                # latent frames written since the beginning; the next block starts here

    @property
    def held(self) -> tuple[int, ...]:
        """Return the latent frames in the ring, oldest first."""
        return tuple(range(max(0, self.end - self.capacity), self.end))

    @property
    def slot(self) -> int:
        """Return where the next latent frame will be written, 0..capacity-1."""
        return self.end % self.capacity


@dataclass(frozen=True)
class RingCache(RingPosition):
    """Keys and values of one noise level: condition tokens in front, then a ring of `capacity` latent frames."""

    k: Tensor               # (layers, B, heads, condition_tokens + capacity * frame_tokens, head_dim)
    v: Tensor
    condition_tokens: int
    frame_tokens: int       # tokens of one latent frame
    capacity: int
    end: int = 0
    sink: bool = field(default=True, kw_only=True)     # False: once the ring is full, the condition is not seen

    attention_class = None  # of the self-attention that reads it, where that is not `transformer.CachedAttention`

    @classmethod
    def empty(cls, layers: int, batch: int, heads: int, head_dim: int, *, condition_tokens: int, frame_tokens: int,
              capacity: int, dtype: torch.dtype, device: torch.device | str) -> RingCache:
        shape = (layers, batch, heads, condition_tokens + capacity * frame_tokens, head_dim)
        k, v = (torch.zeros(shape, dtype=dtype, device=device) for _ in "kv")
        return cls(k, v, condition_tokens, frame_tokens, capacity)

    @property
    def bytes(self) -> int:
        return self.k.nbytes + self.v.nbytes

    @property
    def first_visible(self) -> int:
        """Return the first token that the next block sees: 0, or the ring's first where the condition is forgotten."""
        return 0 if self.sink or self.end < self.capacity else self.condition_tokens

    def open(self, layer: int, tokens: int) -> CacheSlices:
        """Return where one block of so many tokens goes: latent frames that fit the ring without crossing its seam.

        Nothing is copied: the caller fills `condition`, its keys rotated for this block, and `block`; then `close`.
        """
        return self.slices(self.k[layer], self.v[layer], tokens)

    def close(self, layer: int, slices: CacheSlices) -> None:
        """Note that the slices are filled."""

    def slices(self, k: Tensor, v: Tensor, tokens: int) -> CacheSlices:
        """Cut out the parts of one layer's buffers (B, heads, condition_tokens + capacity * frame_tokens, head_dim)."""
        first, last, valid = self.bounds(tokens)
        parts = slice(0, self.condition_tokens), slice(first, last), slice(self.first_visible, valid)
        return CacheSlices(*(KeysValues(k[:, :, part], v[:, :, part]) for part in parts))

    def bounds(self, tokens: int) -> tuple[int, int, int]:
        """Return where a block of so many tokens begins and ends and where the visible ones end, condition included."""
        first = self.condition_tokens + self.slot * self.frame_tokens
        last = first + tokens
        wrapped = self.end >= self.capacity
        return first, last, self.condition_tokens + self.capacity * self.frame_tokens if wrapped else last

    def advance(self, frames: int) -> RingCache:
        """Return the same buffers, `frames` latent frames later."""
        return replace(self, end=self.end + frames)

    def clone(self) -> RingCache:
        """Copy the ring, so that later blocks do not overwrite it: for branching and for saving."""
        return replace(self, k=self.k.clone(), v=self.v.clone())
