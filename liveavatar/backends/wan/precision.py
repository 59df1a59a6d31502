"""fp8: a linear layer whose weight takes one byte a number, with one scale per row.

W[i, j] ~ rows[i, j] * scale[i], rows in float8 e4m3 (largest value 448); tokens likewise, with one scale each, measured
when they come. Scales per row keep one large value from coarsening all others, which one scale per tensor does not.
On GPUs with fp8 units (sm_89 and newer) `torch._scaled_mm` multiplies them directly; elsewhere the same numbers are
multiplied in float32, which is slow and serves tests.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.backends.wan.launch import FP8, HAS_TRITON, LARGEST
from liveavatar.transformer import NORM_EPS, layer_norm

FP8_PARTS = ("blocks.", "audio_injector.")     # the linear layers in them, as released


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise x (N, D) -> fp8 (N, D) and scale (N, 1) float32, so that x ~ fp8 * scale

    Multiplied by 1 / LARGEST, as GPUs do when they are asked to divide: the same scales, bit for bit, everywhere.
    """
    scale = (x.abs().amax(1, keepdim=True).float() * (1 / LARGEST)).clamp(min=1e-12)
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


class RoundedTokens(NamedTuple):
    """Tokens in 8 bits, for several layers that read the same ones."""

    tokens: Tensor           # (N, D) fp8
    scale: Tensor            # (N, 1) float32
    shape: torch.Size        # of them all, but for D

    def flatten(self, first: int, last: int) -> RoundedTokens:
        """Flatten as `Tensor.flatten` would the tokens before they were rounded."""
        merged = math.prod(self.shape[first:last + 1])
        return self._replace(shape=torch.Size((*self.shape[:first], merged, *self.shape[last + 1:])))


class Fp8Linear(nn.Module):
    """Stands in for nn.Linear. Made after adapters are merged: one byte cannot take small changes.

    after_attention: what it reads comes from a kernel of its own, so the compiler has nothing to fuse the rounding with
    """

    def __init__(self, linear: nn.Linear, after_attention: bool = False) -> None:
        super().__init__()
        self.after_attention = after_attention
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype
        rows, scale = quantise_rows(linear.weight.detach())
        self.register_buffer("rows", rows)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())

    @property
    def weight(self) -> Tensor:
        """Return a tensor that tells the layer's shape and dtype; it holds no numbers, which are in `rows` and `scale`.
        """
        return torch.empty(self.out_features, self.in_features, dtype=self.dtype, device="meta")

    def ready(self, x: Tensor) -> RoundedTokens:
        """Return the input in a form that `forward` takes as well."""
        return round_tokens(x, by_kernel=self.after_attention)

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor, parts: tuple[Tensor, Tensor] | None
                  ) -> RoundedTokens:
        """Do what `transformer.modulated` does, rounded."""
        if has_fp8_kernels(x.device) and shift.numel() == scale.numel() == self.in_features:
            from liveavatar.backends.wan.rows_kernel import round_modulated

            first, plus = parts or (x, None)
            rows = (None if part is None else part.reshape(-1, self.in_features) for part in (first, plus))
            return RoundedTokens(*round_modulated(*rows, shift.flatten(), scale.flatten(), NORM_EPS), x.shape[:-1])
        return self.ready(torch.addcmul(shift, layer_norm(x), 1 + scale).to(self.dtype))

    def forward(self, x: Tensor | RoundedTokens) -> Tensor:
        tokens, scale, shape = self.ready(x) if isinstance(x, Tensor) else x
        if multiplies_fp8(tokens.device) and self.in_features % 16 == self.out_features % 16 == 0:
            y = torch._scaled_mm(tokens, self.rows.t(), scale_a=scale, scale_b=self.scale.t(),
                                 bias=self.bias.bfloat16(), out_dtype=torch.bfloat16, use_fast_accum=True)
        else:
            y = F.linear(tokens.float(), self.rows.float()) * scale * self.scale.t() + self.bias.float()
        return y.to(self.dtype).unflatten(0, shape)


class RoundedGelu(nn.Module):
    """GELU between two such layers: the second gets its tokens rounded, so nothing wide is written in between."""

    def forward(self, x: Tensor) -> RoundedTokens:
        return round_tokens(x, by_kernel=True, gelu=True)


def round_tokens(x: Tensor, by_kernel: bool, gelu: bool = False) -> RoundedTokens:
    """Round x (..., D), or GELU of it. by_kernel: by our own where it runs, else as the compiler sees fit"""
    rows = x.reshape(-1, x.shape[-1])
    if by_kernel and has_fp8_kernels(x.device):
        from liveavatar.backends.wan.rows_kernel import round_rows

        return RoundedTokens(*round_rows(rows, gelu), x.shape[:-1])
    return RoundedTokens(*quantise_rows(F.gelu(rows, approximate="tanh") if gelu else rows), x.shape[:-1])


@torch.compiler.assume_constant_result
def has_fp8_kernels(device: torch.device) -> bool:
    """Tell whether our own kernels run here: they need Triton and fp8 units."""
    return HAS_TRITON and multiplies_fp8(device)


@torch.compiler.assume_constant_result
def multiplies_fp8(device: torch.device) -> bool:
    """Tell whether this device has fp8 units. Compiled code asks once."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def fp8_targets(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that fp8 touches, by name."""
    return {name: module for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and name.startswith(FP8_PARTS)}


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
