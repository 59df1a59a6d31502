"""RMS norm over channels, then SiLU, in one pass, as a Triton kernel. It rounds wherever diffusers' modules round."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from liveavatar.backends.wan.launch import on_its_device

NUMBERS = 4096           # of a tile


@triton.jit
def norm_silu_kernel(x, gamma, out, rows, scale, WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """Normalise and activate ROWS places of WIDTH channels each."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    at = row[:, None] * WIDTH + channel[None, :]
    here = (row < rows)[:, None] & (channel < WIDTH)[None, :]
    v = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(v * v, 1)), 1e-12)
    v = (v / length[:, None]).to(tl.bfloat16).to(tl.float32)
    v = (v * scale).to(tl.bfloat16).to(tl.float32)
    weight = tl.load(gamma + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)
    v = (v * weight[None, :]).to(tl.bfloat16).to(tl.float32)
    tl.store(out + at, (v * tl.sigmoid(v)).to(tl.bfloat16), mask=here)


@on_its_device
def norm_silu(x: Tensor, gamma: Tensor, scale: float) -> Tensor:
    """Map x (B, C, F, H, W) bfloat16, gamma (C,)  ->  the same shape, channels last in memory"""
    x = x.contiguous(memory_format=torch.channels_last_3d)
    out, width = torch.empty_like(x), x.shape[1]
    block, rows = triton.next_power_of_2(width), x.numel() // width
    tile = max(NUMBERS // block, 1)
    norm_silu_kernel[(triton.cdiv(rows, tile),)](x, gamma, out, rows, scale, width, block, tile, num_warps=8)
    return out
