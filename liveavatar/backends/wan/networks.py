"""The transformer, brought to its device weight by weight.

Each weight is read, moved, merged with its adapter and, for fp8 and nf4, rounded before the next one is read. So the
most that is ever held is the finished network and one layer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from liveavatar.backends.wan.nf4 import Nf4Linear
from liveavatar.backends.wan.precision import Fp8Linear, RoundedGelu, fp8_targets, replace_module
from liveavatar.backends.wan.preset import LORA_ALPHA
from liveavatar.lora import adapted, adapters_of

if TYPE_CHECKING:
    from liveavatar.backends.wan.checkpoints import Source
    from liveavatar.transformer import CausalS2VTransformer


MOST_DRAWN = 2**22       # random numbers for one weight; a larger one repeats them, as drawing billions takes minutes


@dataclass(frozen=True)
class DeferredTransformer:
    """A transformer that is described completely, and whose weights are read only when they are needed.

    Words, sound and portrait are encoded first, so text encoder and transformer are never on the device together.
    """

    empty: CausalS2VTransformer      # on the meta device: the configuration and the shapes
    device: torch.device             # where the weights go
    dtype: torch.dtype
    load: Callable[[], CausalS2VTransformer]


def empty_transformer(config: dict) -> CausalS2VTransformer:
    """Return the network's shape without weights, on the meta device."""
    from liveavatar.transformer import CausalS2VTransformer

    with torch.device("meta"):
        return CausalS2VTransformer.from_config(config)


def bring_transformer(config: dict, source: Source, device: torch.device, dtype: torch.dtype,
                      lora: dict[str, Tensor] | None = None, fp8: bool = False,
                      nf4: bool = False) -> CausalS2VTransformer:
    """Fill an empty network from `source`. An adapter that does not fit is refused before anything is read.

    fp8, nf4: how the linear layers of `FP8_PARTS` are rounded; at most one of them
    """
    model = empty_transformer(config)
    adapters = {} if lora is None else adapters_of(model, lora, LORA_ALPHA)
    rounded = set(fp8_targets(model)) if fp8 or nf4 else set()
    for place in [name for name, _ in model.named_modules()]:     # names alone: a rounded layer's wide weight must go
        module = model.get_submodule(place)
        for name, parameter in list(module.named_parameters(recurse=False)):
            weight = source(f"{place}.{name}".removeprefix("."), parameter.shape).to(device)
            if name == "weight" and place in adapters:
                weight = adapted(weight, *adapters[place])
            setattr(module, name, nn.Parameter(weight.to(dtype), requires_grad=False))
        if place in rounded:
            replace_module(model, place, Nf4Linear(module) if nf4 else
                           Fp8Linear(module, after_attention=place.endswith(".o")))
    if fp8:
        for layer in model.blocks:
            layer.ffn[1] = RoundedGelu()
    return model.eval()


def random_source(device: torch.device, seed: int = 0) -> Source:
    """Return untrained weights that keep signals in range; each depends on its name alone."""
    def source(name: str, shape: torch.Size) -> Tensor:
        if name.endswith("gamma") or "norm" in name and name.endswith("weight") and len(shape) == 1:
            return torch.ones(shape, device=device)
        if name.endswith("bias"):
            return torch.zeros(shape, device=device)
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
        count = math.prod(shape)
        some = torch.empty(min(count, MOST_DRAWN), device=device).normal_(0, 0.02, generator=generator)
        return some.repeat(-(-count // MOST_DRAWN))[:count].view(shape)

    return source


@torch.no_grad()
def randomise(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Give any module made on the meta device untrained weights."""
    source = random_source(device)
    state = {name: source(name, value.shape).to(dtype) for name, value in module.state_dict().items()}
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()
