"""Hide keys from queries: what changes when a place can no longer look where it looked?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from liveavatar.inspect.calls import Call, CallHooks, HidingAttention, chosen_steps, numbers, wrapped
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline


class Hiding(CallHooks):
    """Self-attention in which chosen queries do not see chosen keys, as long as the `with` lasts."""

    def __init__(self, pipe: Pipeline, keys: tuple[int, ...], queries: tuple[int, ...] | None,
                 layers: tuple[int, ...], steps: tuple[int, ...] | None, blocks: tuple[int, ...] | None) -> None:
        super().__init__(pipe, steps, blocks)
        self.keys, self.queries, self.layers = keys, queries, layers

    def _begin(self, model: CausalS2VTransformer, call: Call) -> None:
        if max(self.keys) >= call.visible or len(self.keys) >= call.visible:
            raise InputError(f"{len(self.keys)} keys up to number {max(self.keys)} are to be hidden, but block "
                             f"{call.block} sees {call.visible}; hide fewer than all, numbers below that")
        kept = torch.ones(call.visible, dtype=torch.bool)
        kept[list(self.keys)] = False
        queries = torch.arange(call.tokens) if self.queries is None else torch.tensor(self.queries)
        more = {"queries": queries.to(call.x.device), "kept": kept.nonzero().flatten().to(call.x.device)}

        def replace(_: object, arguments: tuple) -> tuple:
            *others, attend = arguments
            return *others, wrapped(HidingAttention, attend, **more)

        self.inner += [model.blocks[layer].register_forward_pre_hook(replace) for layer in self.layers]


def hide(pipe: Pipeline, keys: Sequence[int], *, queries: Sequence[int] | None = None,
         layers: Sequence[int] | None = None, step: int | Sequence[int] | None = None,
         blocks: Sequence[int] | None = None) -> Hiding:
    """Return a context in which self-attention passes over some keys, for runs of a pipeline made within it.

    keys: numbers in the order of `AttentionWeights.keys` of that block; queries: tokens of the block, None for all
    layers, step, blocks: where; None for all. The other keys share the attention, as if the hidden ones were not there.

    Raise InputError for layers that are not there, and, when a run begins, for keys that a block does not see.
    """
    if hasattr(pipe, "load_weights"):
        pipe.load_weights()
    count = pipe.backend.transformer.config.num_layers
    return Hiding(pipe, numbers("keys", keys), None if queries is None else numbers("queries", queries),
                  tuple(range(count)) if layers is None else numbers("layers", layers, count), chosen_steps(step),
                  None if blocks is None else numbers("blocks", blocks))
