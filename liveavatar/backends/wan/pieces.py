"""A layer in three compiled pieces, with an attention after the first and the second.

The first ends where a block's keys and values lie to be attended to, so they are written once; the last ends in the
precision that flows between layers. Each is compiled once and serves all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor

from liveavatar.cache import KeysValues
from liveavatar.compiling import compile_function
from liveavatar.transformer import AttentionFunction, CachedAttention, Layer, RopeTable, attention

Queries: TypeAlias = Tensor | tuple[Tensor, ...]
# Read and computed again rather than written down in between: what a piece does to a row fits into one kernel. The
# compiler's own limits would cut it into several, with float32 between them.
WHOLE_ROWS = {"realize_reads_threshold": 32, "realize_acc_reads_threshold": 64, "realize_opcount_threshold": 300}


def qkv_to_cache(layer: Layer, x: Tensor, modulation: Tensor, write_block: Callable[..., Queries], table: RopeTable,
                 block: KeysValues) -> Queries:
    """Write keys and values of a block to the cache; return its queries."""
    return write_block(*layer.qkv(x, modulation), table, block)


def self_attention_residual(layer: Layer, x: Tensor, attended: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
    return layer.self_attention_residual(x, attended, modulation)


def cross_attention_ffn(layer: Layer, x: Tensor, attended: Tensor, modulation: Tensor, dtype: torch.dtype) -> Tensor:
    return layer.cross_attention_ffn(x, attended, modulation).to(dtype)


def compile_layers(layers: Iterable[Layer]) -> None:
    """Let every layer run in compiled pieces."""
    pieces = [compile_function(piece, dynamic=False, options=WHOLE_ROWS) for piece in
              (qkv_to_cache, self_attention_residual, cross_attention_ffn)]
    for layer in layers:
        layer.forward = in_pieces(layer, *pieces)


def in_pieces(layer: Layer, qkv_to_cache: Callable, self_attention_residual: Callable,
              cross_attention_ffn: Callable) -> Callable[..., Tensor]:
    """Do what `Layer.forward` does, by these pieces."""
    def forward(x: Tensor, modulation: Tensor, text: KeysValues, self_attention: AttentionFunction) -> Tensor:
        dtype = x.dtype
        if isinstance(self_attention, CachedAttention):
            slices = self_attention.open(x.shape[1] * x.shape[2])
            q = qkv_to_cache(layer, x, modulation, self_attention.write_block, self_attention.table, slices.block)
            attended = self_attention.attend(q, slices)
        else:
            attended = self_attention(*layer.qkv(x, modulation))                 # the condition itself
        x, q = self_attention_residual(layer, x, attended, modulation)
        return cross_attention_ffn(layer, x, attention(q, *text), modulation, dtype)

    return forward
