"""Attention in 8 bits as one Triton kernel.

Softmax is gathered on the way, in float32 (FlashAttention-2, Dao 2023, arXiv:2307.08691); both products are in 8 bits.

Weights are powers of 2, and a float8's byte is nearly a logarithm: it grows by 8 for each factor of 2, and evenly in
between (Schraudolph 1999, Neural Computation 11(4), for 32 bits). So a weight's byte is its exponent times 8, rounded:
one multiply-add, neither exp2 nor conversion. A weight is then off by up to 6 % besides the 6 % of rounding to 8 bits.
They are divided by the sum of what was really multiplied, so they still add up to 1.

Hopper's units add 8-bit products with some 14 bits. Over thousands of keys a small weight would vanish beside the sum
of the earlier ones, so what a tile yields is added up in float32 (as in DeepSeek-V3, arXiv:2412.19437, section 3.3.2).

Values lie by columns, (head_dim, M): these units read both sides along what is summed over. And they want a row's
weights in the order 0 1 8 9 2 3 10 11 4 5 12 13 6 7 14 15 of how they put out its scores. Where values lie in that
order too (`shuffled`), weights stay in the registers they are in.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from liveavatar.backends.wan.launch import on_its_device

LOG2_E = math.log2(math.e)
ROWS, COLUMNS = 64, 128           # queries and keys of a tile
WARPS, STAGES = 4, 2
WHOLE = tl.constexpr(1.5 * 2**23)               # what float32 adds to this is rounded to a whole number
LARGEST_BYTE = tl.constexpr(8 * (7 + 8))        # of 2^8, which the largest weight is near: 7 is what exponents begin at


@triton.jit
def take_in(keys, values, head, first, left, q, scale, peak, total, seen, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
            WIDTH: tl.constexpr, SHUFFLED: tl.constexpr, LAST: tl.constexpr):
    """See one tile of keys more. peak: the largest score so far, in eighths of an exponent, a whole number. total: the
    sum of weights so far, 16 times beside each other."""
    k = keys.load([head, first, 0]).reshape(COLUMNS, WIDTH)
    scores = tl.dot(q, k.T)
    if LAST:
        scores = tl.where((tl.arange(0, COLUMNS) < left)[None, :], scores, -float("inf"))
    higher = tl.maximum(peak, tl.ceil(tl.max(scores, 1) * scale))
    bytes = tl.maximum(scores * scale - (higher - (WHOLE + LARGEST_BYTE))[:, None], WHOLE)
    bytes = bytes.to(tl.int32, bitcast=True)                              # the last 8 bits
    if SHUFFLED:
        bytes = tl.permute(tl.reshape(bytes, (ROWS, COLUMNS // 16, 2, 4, 2)), (0, 1, 3, 2, 4))
        bytes = tl.reshape(bytes, (ROWS, COLUMNS))
    weights = bytes.to(tl.int8).to(tl.float8e4nv, bitcast=True)
    shrink = tl.math.exp2((peak - higher) / 8)[:, None]
    ones = tl.full((COLUMNS, 16), 1.0, tl.float32).to(tl.float8e4nv)
    v = values.load([head, 0, first]).reshape(WIDTH, COLUMNS)
    return higher, total * shrink + tl.dot(weights, ones), seen * shrink + tl.dot(weights, v.T)


@triton.jit
def attend_kernel(queries, keys, values, q_scale, k_scales, v_scales, out, count, heads, eighths,
                  ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, SHUFFLED: tl.constexpr,
                  STAGES: tl.constexpr):
    """Let one tile of queries of one head attend to all `count` keys."""
    head, asked = tl.program_id(1), tl.program_id(0) * ROWS
    batch, of_batch = head // heads, head % heads
    q = queries.load([batch, of_batch, asked, 0]).reshape(ROWS, WIDTH)
    scale = tl.load(q_scale) * tl.load(k_scales + head) * eighths
    peak = tl.full((ROWS,), -1e6, tl.float32)
    total = tl.zeros((ROWS, 16), tl.float32)
    seen = tl.zeros((ROWS, WIDTH), tl.float32)

    tiles = (count - 1) // COLUMNS                    # whole ones; the last tile, perhaps not whole, comes first
    first = tiles * COLUMNS
    peak, total, seen = take_in(keys, values, head, first, count - first, q, scale, peak, total, seen,
                                ROWS, COLUMNS, WIDTH, SHUFFLED, True)
    for tile in tl.range(0, tiles, num_stages=STAGES):
        peak, total, seen = take_in(keys, values, head, tile * COLUMNS, COLUMNS, q, scale, peak, total, seen,
                                    ROWS, COLUMNS, WIDTH, SHUFFLED, False)
    seen = seen * (tl.load(v_scales + head) / tl.max(total, 1))[:, None]
    out.store([batch, of_batch, asked, 0], seen.to(out.dtype).reshape(1, 1, ROWS, WIDTH))


@on_its_device
def attend(q: Tensor, k: Tensor, v: Tensor, scales: tuple[Tensor, Tensor, Tensor], shuffled: bool, dtype: torch.dtype
           ) -> Tensor:
    """Compute what `fp8_attention.attend_plainly` does, with the same arguments."""
    batch, heads, rows, width = q.shape
    eighths = 8 * LOG2_E / math.sqrt(width)                              # of an exponent, in a score
    out = torch.empty(batch, rows, heads, width, dtype=dtype, device=q.device).transpose(1, 2)
    attend_kernel[(triton.cdiv(rows, ROWS), batch * heads)](
        tiles_of(q, (1, 1, ROWS, width)), tiles_of(k.flatten(0, 1), (1, COLUMNS, width)),
        tiles_of(v.flatten(0, 1), (1, width, COLUMNS)), *(scale.flatten() for scale in scales),
        tiles_of(out, (1, 1, ROWS, width)), k.shape[2], heads, eighths, ROWS, COLUMNS, width, shuffled, STAGES,
        num_warps=WARPS, num_stages=STAGES)
    return out


def tiles_of(x: Tensor, tile: tuple[int, ...]) -> TensorDescriptor:
    """Describe to the card's copying unit a tensor, and of the size of a tile."""
    return TensorDescriptor(x, list(x.shape), list(x.stride()), list(tile))
