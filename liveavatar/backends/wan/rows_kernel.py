"""Tokens rounded to 8 bits in the same pass that makes them, as Triton kernels: a row is read once and kept till its
scale is known.

What the compiler makes of the same work reads a row again for each thing it has to know of all of it: mean, variance,
largest number. Its tanh is exact; the one here is the card's own, off by at most 2^-10.99 (PTX ISA, `tanh.approx.f32`),
where rounding is off by up to 2^-4.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from liveavatar.backends.wan.launch import FP8, LARGEST, on_its_device


@triton.jit
def put(y, row, at, here, rounded, scales, width, LARGEST: tl.constexpr):
    """Write a row down, rounded, and its scale."""
    scale = tl.maximum(tl.max(tl.abs(y), 0) * (1 / LARGEST), 1e-12)
    y = tl.clamp(y / scale, -LARGEST, LARGEST)
    tl.store(rounded + row * width + at, y.to(tl.float8e4nv), mask=here)
    tl.store(scales + row, scale)


@triton.jit
def plain_rows(x, rounded, scales, width, stride, LARGEST: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    here = at < width
    y = tl.load(x + row * stride + at, mask=here, other=0.0).to(tl.float32)
    if GELU:
        inner = 0.7978845608028654 * (y + 0.044715 * y * y * y)                # sqrt(2 / pi); Hendrycks & Gimpel 2016
        y = 0.5 * y * (1 + tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [inner], dtype=tl.float32,
                                                     is_pure=True, pack=1))
    put(y, row, at, here, rounded, scales, width, LARGEST)


@triton.jit
def modulated_rows(x, plus, shift, scale, rounded, scales, width, EPS: tl.constexpr, LARGEST: tl.constexpr,
                   BLOCK: tl.constexpr, ADDS: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    here = at < width
    y = tl.load(x + row * width + at, mask=here, other=0.0).to(tl.float32)
    if ADDS:
        y += tl.load(plus + row * width + at, mask=here, other=0.0).to(tl.float32)
    y = tl.where(here, y - tl.sum(y, 0) / width, 0.0)
    y = y * tl.rsqrt(tl.sum(y * y, 0) / width + EPS)
    y = y * (1 + tl.load(scale + at, mask=here, other=0.0)) + tl.load(shift + at, mask=here, other=0.0)
    put(y, row, at, here, rounded, scales, width, LARGEST)


@on_its_device
def round_rows(x: Tensor, gelu: bool = False) -> tuple[Tensor, Tensor]:
    """Compute `quantise_rows(x)`, or that of GELU(x): x (N, D) -> fp8 (N, D) and scale (N, 1) float32"""
    rounded, scales, block, warps = room(x)
    plain_rows[(len(x),)](x, rounded, scales, x.shape[1], x.stride(0), LARGEST, block, gelu, num_warps=warps)
    return rounded, scales


@on_its_device
def round_modulated(x: Tensor, plus: Tensor | None, shift: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Compute `quantise_rows` of the layer norm of x + plus, times 1 + scale, plus shift. x, plus (N, D); shift, scale
    (D,)"""
    rounded, scales, block, warps = room(x)
    modulated_rows[(len(x),)](x, x if plus is None else plus, shift, scale, rounded, scales, x.shape[1], eps, LARGEST,
                              block, plus is not None, num_warps=warps)
    return rounded, scales


def room(x: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """Allocate what is written; tell how many numbers and warps a row takes."""
    rows, width = x.shape
    block = triton.next_power_of_2(width)
    return (torch.empty(rows, width, dtype=FP8, device=x.device),
            torch.empty(rows, 1, dtype=torch.float32, device=x.device), block, min(max(block // 512, 1), 32))
