"""Attention in 8 bits as one Triton kernel.

Softmax is gathered on the way, in float32 (FlashAttention-2, Dao 2023, arXiv:2307.08691); both products are in 8 bits.
Before a tile of keys is weighed, the next one's product with the queries has already been asked for: products and
exponentials run beside each other, as in FlashAttention-3 (Shah et al. 2024, arXiv:2407.08608). Weights are kept 2^8
times as large as they are, so that small ones do not vanish in 8 bits; the sum they are divided by is, too.

Values lie by columns, (head_dim, M): Hopper's 8-bit products read both sides along what is summed over.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

LOG2_E = math.log2(math.e)
ROWS, COLUMNS = 128, 128          # queries and keys of a tile
WARPS, STAGES = 8, 3


@triton.jit
def weigh(scores, scale, peak, total):
    """Weights of a tile of scores; the largest score and the sum of weights of each row; how earlier sums shrink."""
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    weights = tl.math.exp2(scores * scale[:, None] - (higher - 8.0)[:, None])
    shrink = tl.math.exp2(peak - higher)
    return weights, higher, total * shrink + tl.sum(weights, 1), shrink


@triton.jit
def attend_kernel(queries, query_scales, keys, values, k_scales, v_scales, out, rows, count, heads,
                  scale_batch, scale_row,
                  ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, STAGES: tl.constexpr):
    """One tile of queries of one head attends to all `count` keys."""
    head, first = tl.program_id(1), tl.program_id(0) * ROWS
    batch, of_batch = head // heads, head % heads
    q = queries.load([batch, of_batch, first, 0]).reshape(ROWS, WIDTH)
    row = first + tl.arange(0, ROWS)
    scale = tl.load(query_scales + batch * scale_batch + row * scale_row, mask=row < rows,
                    other=1.0) * tl.load(k_scales + head)
    peak = tl.full((ROWS,), -float("inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    seen = tl.zeros((ROWS, WIDTH), tl.float32)

    tiles = (count - 1) // COLUMNS                    # whole ones; the last tile, perhaps not whole, is begun with
    scores = tl.dot(q, keys.load([head, tiles * COLUMNS, 0]).reshape(COLUMNS, WIDTH).T)
    scores = tl.where((tiles * COLUMNS + tl.arange(0, COLUMNS) < count)[None, :], scores, -float("inf"))
    for tile in tl.range(0, tiles, num_stages=STAGES):
        after = tl.dot(q, keys.load([head, tile * COLUMNS, 0]).reshape(COLUMNS, WIDTH).T)
        weights, peak, total, shrink = weigh(scores, scale, peak, total)
        before = tl.where(tile == 0, tiles, tile - 1)
        v = values.load([head, 0, before * COLUMNS]).reshape(WIDTH, COLUMNS)
        seen = tl.dot(weights.to(v.dtype), v.T, seen * shrink[:, None])
        scores = after
    weights, peak, total, shrink = weigh(scores, scale, peak, total)
    v = values.load([head, 0, tl.maximum(tiles - 1, 0) * COLUMNS]).reshape(WIDTH, COLUMNS)
    seen = tl.dot(weights.to(v.dtype), v.T, seen * shrink[:, None])

    seen = seen * (tl.load(v_scales + head) / total)[:, None]
    out.store([batch, of_batch, first, 0], seen.to(out.dtype).reshape(1, 1, ROWS, WIDTH))


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
