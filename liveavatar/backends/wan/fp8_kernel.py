"""Attention in 8 bits as one Triton kernel.

Softmax is gathered on the way, in float32 (FlashAttention-2, Dao 2023, arXiv:2307.08691); both products are in 8 bits.
Weights are kept 2^8 times as large as they are, so that small ones do not vanish in 8 bits; the sum they are divided by
is, too.

Hopper's units add 8-bit products with some 14 bits. Over thousands of keys a small weight would vanish beside the sum
of the earlier ones, so what a tile yields is added up in float32 (as in DeepSeek-V3, arXiv:2412.19437, section 3.3.2).

Values lie by columns, (head_dim, M): these units read both sides along what is summed over.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

LOG2_E = math.log2(math.e)
ROWS, COLUMNS = 64, 128           # queries and keys of a tile
WARPS, STAGES = 4, 3


@triton.jit
def take_in(keys, values, head, first, left, q, scale, peak, total, seen,
            COLUMNS: tl.constexpr, WIDTH: tl.constexpr, LAST: tl.constexpr):
    """See one tile of keys more. peak, total: the largest score and the sum of weights so far, of each query."""
    k = keys.load([head, first, 0]).reshape(COLUMNS, WIDTH)
    scores = tl.dot(q, k.T)
    if LAST:
        scores = tl.where((tl.arange(0, COLUMNS) < left)[None, :], scores, -float("inf"))
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    weights = tl.math.exp2(scores * scale[:, None] - (higher - 8.0)[:, None])
    shrink = tl.math.exp2(peak - higher)
    v = values.load([head, 0, first]).reshape(WIDTH, COLUMNS)
    seen = seen * shrink[:, None] + tl.dot(weights.to(v.dtype), v.T)
    return higher, total * shrink + tl.sum(weights, 1), seen


@triton.jit
def attend_kernel(queries, query_scales, keys, values, k_scales, v_scales, out, rows, count, heads,
                  scale_batch, scale_row,
                  ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, STAGES: tl.constexpr):
    """One tile of queries of one head attends to all `count` keys."""
    head, asked = tl.program_id(1), tl.program_id(0) * ROWS
    batch, of_batch = head // heads, head % heads
    q = queries.load([batch, of_batch, asked, 0]).reshape(ROWS, WIDTH)
    row = asked + tl.arange(0, ROWS)
    scale = tl.load(query_scales + batch * scale_batch + row * scale_row, mask=row < rows,
                    other=1.0) * tl.load(k_scales + head)
    peak = tl.full((ROWS,), -float("inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    seen = tl.zeros((ROWS, WIDTH), tl.float32)

    tiles = (count - 1) // COLUMNS                    # whole ones; the last tile, perhaps not whole, comes first
    first = tiles * COLUMNS
    peak, total, seen = take_in(keys, values, head, first, count - first, q, scale, peak, total, seen,
                                COLUMNS, WIDTH, True)
    for tile in tl.range(0, tiles, num_stages=STAGES):
        peak, total, seen = take_in(keys, values, head, tile * COLUMNS, COLUMNS, q, scale, peak, total, seen,
                                    COLUMNS, WIDTH, False)
    seen = seen * (tl.load(v_scales + head) / total)[:, None]
    out.store([batch, of_batch, asked, 0], seen.to(out.dtype).reshape(1, 1, ROWS, WIDTH))


def attend(q: Tensor, q_scale: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor, dtype: torch.dtype
           ) -> Tensor:
    """What `fp8_attention.attend_plainly` computes, and with the same arguments."""
    batch, heads, rows, width = q.shape
    out = torch.empty(batch, rows, heads, width, dtype=dtype, device=q.device).transpose(1, 2)
    attend_kernel[(triton.cdiv(rows, ROWS), batch * heads)](
        tiles_of(q, (1, 1, ROWS, width)), q_scale, tiles_of(k.flatten(0, 1), (1, COLUMNS, width)),
        tiles_of(v.flatten(0, 1), (1, width, COLUMNS)), k_scale.float().flatten() * (LOG2_E / math.sqrt(width)),
        v_scale.float().flatten(), tiles_of(out, (1, 1, ROWS, width)), rows, k.shape[2], heads, q_scale.stride(0),
        q_scale.stride(2), ROWS, COLUMNS, width, STAGES, num_warps=WARPS, num_stages=STAGES)
    return out


def tiles_of(x: Tensor, tile: tuple[int, ...]) -> TensorDescriptor:
    """How the card's copying unit is told of a tensor, and of the size of a tile."""
    return TensorDescriptor(x, list(x.shape), list(x.stride()), list(tile))
