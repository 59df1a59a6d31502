"""nf4: linear layers whose weight takes 4 bits a number, in groups that share one scale.

W[i, j] ~ NF4[code[i, j]] * scale[i, j // group], where NF4 holds the 16 values of NormalFloat (Dettmers et al. 2023,
arXiv:2305.14314, appendix E). Two codes lie in a byte and 64 numbers share a scale in bfloat16: 4.25 bits a number.

Plain torch, no library: a step has thousands of tokens, so the product takes the time, and the wide weight is made
before it, as bitsandbytes does for many tokens. The codes are those of its nf4 where the scale is the largest value.
Here the scale is searched: it is the one that leaves the smallest squared error of those tried.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 64                       # numbers of a row that share a scale
SCALE = torch.bfloat16
NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)      # of the largest value: what is tried as a group's scale
PIECE = 2**22                    # numbers that are rounded or unpacked at a time, so that little is held besides


def group_of(in_features: int) -> int:
    """Return how many numbers of a row share a scale: GROUP, or the largest power of two that divides the row."""
    return math.gcd(in_features, GROUP)


def quantise_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight to 4 bits.

    weight (N, K), K even  ->  packed (N, K / 2) uint8, the code of the even column in the high half of each byte, and
    scale (N, K / group) bfloat16
    """
    pieces = [round_rows(rows) for rows in weight.split(rows_at_a_time(weight.shape[1]))]
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Apply `quantise_nf4` to some rows."""
    values = torch.tensor(NF4, device=rows.device)
    edges = (values[1:] + values[:-1]) / 2
    groups = rows.float().unflatten(1, (-1, group_of(rows.shape[1])))                    # (n, K / group, group)
    largest = groups.abs().amax(2, keepdim=True).clamp(min=1e-30)
    codes = scales = errors = None
    for shrink in SHRINKS:
        code = torch.bucketize(groups / (largest * shrink), edges, out_int32=True)
        value = values[code]
        scale = ((value * groups).sum(2, keepdim=True) / value.square().sum(2, keepdim=True).clamp(min=1e-30)).to(SCALE)
        error = (value * scale.float() - groups).square().sum(2, keepdim=True)
        if codes is None:
            codes, scales, errors = code, scale, error
        else:
            better = error < errors
            codes, scales = torch.where(better, code, codes), torch.where(better, scale, scales)
            errors = torch.where(better, error, errors)
    codes = codes.flatten(1).to(torch.uint8)
    return codes[:, 0::2] << 4 | codes[:, 1::2], scales[:, :, 0]


def value_pairs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the two values of every byte: (256, 2)."""
    values = torch.tensor(NF4, device=device)
    return torch.stack([values.repeat_interleave(16), values.repeat(16)], 1).to(dtype)


def dequantise_nf4(packed: Tensor, scale: Tensor, pairs: Tensor) -> Tensor:
    """Unpack packed (N, K / 2) uint8, scale (N, K / group), pairs of `value_pairs`  ->  weight (N, K) in their dtype"""
    if torch.compiler.is_compiling():
        return unpack_rows(packed, scale, pairs)
    rows = rows_at_a_time(2 * packed.shape[1])
    weight = torch.empty(packed.shape[0], 2 * packed.shape[1], dtype=pairs.dtype, device=pairs.device)
    for part, codes, scales in zip(weight.split(rows), packed.split(rows), scale.split(rows), strict=True):
        part.copy_(unpack_rows(codes, scales, pairs))
    return weight


def unpack_rows(packed: Tensor, scale: Tensor, pairs: Tensor) -> Tensor:
    """Apply `dequantise_nf4` to some rows."""
    groups = F.embedding(packed.int(), pairs).flatten(1).unflatten(1, (scale.shape[1], -1))
    return (groups * scale.to(pairs.dtype)[:, :, None]).flatten(1)


def rows_at_a_time(columns: int) -> int:
    return max(PIECE // columns, 1)


class Nf4Linear(nn.Module):
    """Stands in for nn.Linear. Made after adapters are merged: 4 bits cannot take small changes.

    It computes in the linear layer's own dtype. A row needs an even number of columns.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype
        packed, scale = quantise_nf4(linear.weight.detach())
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())
        self.register_buffer("pairs", value_pairs(self.dtype, packed.device), persistent=False)

    @property
    def weight(self) -> Tensor:
        """Tell the layer's shape and dtype; it holds no numbers, which are in `packed` and `scale`."""
        return torch.empty(self.out_features, self.in_features, dtype=self.dtype, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) -> (..., out_features)"""
        return F.linear(x, dequantise_nf4(self.packed, self.scale, self.pairs), self.bias)
