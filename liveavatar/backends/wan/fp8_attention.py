"""Attention in 8 bits: queries, keys and values in float8 e4m3, multiplied as they lie.

    queries    one scale for each layer: no query can be larger, since they are normed
    keys       one scale for each layer and head, as rings in 8 bits have; normed and rotated before they are rounded
    values     likewise; they lie by columns, (head_dim, M), and each 16 of them in the order that the products want,
               where the numbers of tokens are multiples of 16

Each ring holds the condition too. So nothing is copied together and nothing is widened before it is attended to. The
kernel needs Triton and a card with units for fp8; elsewhere the same rounded numbers are widened and attended to
plainly, which is slow and serves tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from liveavatar.backends.wan.launch import FP8, LARGEST
from liveavatar.backends.wan.precision import has_fp8_kernels
from liveavatar.backends.wan.split_cache import power_of_two, scale_of
from liveavatar.cache import ConditionCache, RingCache
from liveavatar.compiling import compile_function
from liveavatar.transformer import CachedAttention, CausalS2VTransformer, RopeTable, apply_rope, attention

ALIGNED = 16                 # bytes: where a row of values may begin
GROUP = 16                   # values that are shuffled among themselves


class Scales(NamedTuple):
    """Hold what numbers in 8 bits have to be multiplied by, in float32. Powers of two: that rounds nothing."""

    q: Tensor                # (1, 1, 1, 1)
    k: Tensor                # (B, heads, 1, 1)
    v: Tensor


class Fp8KeysValues(NamedTuple):
    """Keys and values in 8 bits."""

    k: Tensor                # (B, heads, M, head_dim)
    v: Tensor                # (B, heads, head_dim, M)
    scales: Scales
    shuffled: bool = False   # whether values lie in the products' order


class QueriesValues(NamedTuple):
    """Queries of a block in 8 bits, and its values, which are still to be written to the cache."""

    q: Tensor                # (B, heads, N, head_dim)
    v: Tensor


class Fp8CacheSlices(NamedTuple):
    """Parts of one layer's buffers: the block's own, and all that it may attend to."""

    block: Fp8KeysValues
    visible: Fp8KeysValues


def to_fp8(x: Tensor, scale: Tensor) -> Tensor:
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FP8)


def write_block(q: Tensor, k: Tensor, v: Tensor, table: RopeTable, block: Fp8KeysValues) -> QueriesValues:
    """Write a block's rotated keys where they are attended to; return the rotated queries. All in 8 bits.

    Not the values: put by columns in the pass that does the rest row by row, they would be written number by number.
    """
    write_keys(block.k, k, table, block.scales.k)
    return QueriesValues(to_fp8(apply_rope(q, table), block.scales.q), v)


def write_keys(into: Tensor, k: Tensor, table: RopeTable, scale: Tensor) -> None:
    into.copy_(to_fp8(apply_rope(k, table), scale))


def write_values(into: Tensor, v: Tensor, scale: Tensor, shuffled: bool = False) -> None:
    columns = to_fp8(v, scale).transpose(-1, -2)
    into.copy_(shuffle(columns) if shuffled else columns)


def shuffle(columns: Tensor) -> Tensor:
    """Reorder each 16 of them in the order 0 1 8 9 2 3 10 11 4 5 12 13 6 7 14 15. (..., M)"""
    return columns.unflatten(-1, (-1, 2, 4, 2)).transpose(-3, -2).flatten(-4)


def unshuffle(columns: Tensor) -> Tensor:
    return columns.unflatten(-1, (-1, 4, 2, 2)).transpose(-3, -2).flatten(-4)


@cache
def compile_once(work: Callable[..., None]) -> Callable[..., None]:
    return compile_function(work, dynamic=False)


class Fp8CachedAttention(CachedAttention):
    """Self-attention of one layer, with keys and values in 8 bits."""

    write_block = staticmethod(write_block)

    def open(self, tokens: int) -> Fp8CacheSlices:
        ring = self.cache
        first, last, valid = ring.bounds(tokens)
        self.write_condition(ring.part(self.layer, 0, ring.condition_tokens))
        return Fp8CacheSlices(ring.part(self.layer, first, last), ring.part(self.layer, ring.first_visible, valid))

    def write_condition(self, place: Fp8KeysValues) -> None:
        """Turn the portrait's keys for this block. All else of the condition is there since the first block."""
        ring, condition = self.cache, self.condition
        keys, values = map(self.compile_once, (write_keys, write_values))
        there = ring.written.condition is condition
        turning = slice(0, condition.reference_tokens if there else condition.tokens)
        condition_table = RopeTable(*(table[turning] for table in self.condition_table))
        keys(place.k[:, :, turning], condition.k[self.layer][:, :, turning], condition_table, place.scales.k)
        if not there:
            values(place.v, condition.v[self.layer], place.scales.v, place.shuffled)
            if self.layer + 1 == len(ring.k):
                ring.written.condition = condition

    def attend(self, queries: QueriesValues, slices: Fp8CacheSlices) -> Tensor:
        self.compile_once(write_values)(slices.block.v, queries.v, slices.block.scales.v, slices.block.shuffled)
        return kernel_for(queries.q)(queries.q, *slices.visible, self.condition.k.dtype)

    def compile_once(self, work: Callable[..., None]) -> Callable[..., None]:
        return compile_once(work) if self.cache.compiled else work


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, scales: Scales, shuffled: bool, dtype: torch.dtype) -> Tensor:
    """Attend: q (B, heads, N, head_dim), k (B, heads, M, head_dim), v (B, heads, head_dim, M) -> (B, heads, N,
    head_dim)"""
    v = (unshuffle(v) if shuffled else v).transpose(-1, -2)
    return attention(*(x.to(dtype) * scale.to(dtype) for x, scale in zip((q, k, v), scales, strict=True)))


def kernel_for(q: Tensor) -> Callable[..., Tensor]:
    """Return the kernel, where there is Triton, a card with units for fp8, and a width that it can take."""
    width = q.shape[-1]
    if width >= 32 and math.log2(width).is_integer() and has_fp8_kernels(q.device):
        from liveavatar.backends.wan.fp8_kernel import attend

        return attend
    return attend_plainly


@dataclass
class WrittenCondition:
    """Describe which condition a ring holds."""

    condition: ConditionCache | None = None


@dataclass(frozen=True)
class Fp8Ring(RingCache):
    """Condition and ring of one noise level in 8 bits: keys as in `RingCache`, values by columns, aligned."""

    scales: Scales | None = field(default=None, repr=False, compare=False)        # each with the layers in front
    compiled: bool = False
    written: WrittenCondition = field(default_factory=WrittenCondition, repr=False, compare=False)

    attention_class = Fp8CachedAttention

    def part(self, layer: int, first: int, last: int) -> Fp8KeysValues:
        """Return tokens first..last of a layer."""
        return Fp8KeysValues(self.k[layer][:, :, first:last], self.v[layer][..., first:last],
                       Scales(*(scale[layer] for scale in self.scales)),
                       self.condition_tokens % GROUP == self.frame_tokens % GROUP == 0)

    def clone(self) -> Fp8Ring:
        return replace(super().clone(), written=WrittenCondition(self.written.condition))


def query_scales(model: CausalS2VTransformer) -> Tensor:
    """Return one for each layer: (layers, 1, 1, 1, 1). Squares of a token's normed numbers add up to `dim`, so none of
    them is larger than sqrt(dim) times the norm's largest weight; nor is it when its pair is rotated."""
    largest = torch.stack([layer.self_attn.norm_q.weight.abs().amax() for layer in model.blocks]).float()
    return power_of_two(largest * math.sqrt(model.config.dim)).view(-1, 1, 1, 1, 1)


def fp8_rings(condition: ConditionCache, q_scales: Tensor, capacity: int, count: int,
              compiled: bool = False) -> tuple[Fp8Ring, ...]:
    """Return one empty ring for each step. capacity in latent frames"""
    layers, batch, heads, _, head_dim = condition.k.shape
    frame_tokens = math.prod(condition.grid)
    tokens = condition.tokens + capacity * frame_tokens
    room = -(-tokens // ALIGNED) * ALIGNED
    scales = Scales(q_scales, scale_of(condition.k).float(), scale_of(condition.v).float())
    rings = []
    for _ in range(count):
        k = torch.zeros(layers, batch, heads, tokens, head_dim, dtype=FP8, device=condition.k.device)
        v = torch.zeros(layers, batch, heads, head_dim, room, dtype=FP8, device=condition.k.device)
        rings.append(Fp8Ring(k, v, condition.tokens, frame_tokens, capacity, 0, scales, compiled))
    return tuple(rings)
