"""A layer in three compiled pieces, with an attention after the first and the second.

The first ends where a block's keys and values lie to be attended to, so they are written once; the last ends in the
precision that flows between layers. Each is compiled once and serves all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from liveavatar.cache import KeysValues
from liveavatar.compiling import compile_function
from liveavatar.transformer import Layer, Past, Rotation, See, attention

Queries = Tensor | tuple[Tensor, ...]
# Read and computed again rather than written down in between: what a piece does to a row fits into one kernel. The
# compiler's own limits would cut it into several, with float32 between them.
WHOLE_ROWS = {"realize_reads_threshold": 32, "realize_acc_reads_threshold": 64, "realize_opcount_threshold": 300}


def ask_and_keep(layer: Layer, x: Tensor, modulation: Tensor, keep: Callable[..., Queries], tables: Rotation,
                 block: KeysValues) -> Queries:
    """Queries of a block; its keys and values are put into their place."""
    return keep(*layer.ask(x, modulation), tables, block)


def take_in(layer: Layer, x: Tensor, seen: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
    return layer.take_in(x, seen, modulation)


def answer(layer: Layer, x: Tensor, read: Tensor, modulation: Tensor, dtype: torch.dtype) -> Tensor:
    return layer.answer(x, read, modulation).to(dtype)


def compile_layers(layers: Iterable[Layer]) -> None:
    """Let every layer run in compiled pieces."""
    pieces = [compile_function(piece, dynamic=False, options=WHOLE_ROWS) for piece in (ask_and_keep, take_in, answer)]
    for layer in layers:
        layer.forward = in_pieces(layer, *pieces)


def in_pieces(layer: Layer, ask_and_keep: Callable, take_in: Callable, answer: Callable) -> Callable[..., Tensor]:
    """What `Layer.forward` does, by these pieces."""
    def forward(x: Tensor, modulation: Tensor, text: KeysValues, see: See) -> Tensor:
        dtype = x.dtype
        if isinstance(see, Past):
            place = see.open(x.shape[1] * x.shape[2])
            q = ask_and_keep(layer, x, modulation, see.keep, see.tables, place.block)
            seen = see.look(q, place)
        else:
            seen = see(*layer.ask(x, modulation))                 # the condition itself
        x, q = take_in(layer, x, seen, modulation)
        return answer(layer, x, attention(q, *text), modulation, dtype)

    return forward
