"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): W + alpha / rank * B A. One merge for `mini` and 14B.

Live Avatar is its many-step base plus such an adapter; so is `mini`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.types import InputError

TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")     # suffixes of the adapted modules, as released
_PREFIXES = ("base_model.model.", "diffusion_model.", "model.")


class LoRALinear(nn.Module):
    """A frozen linear layer and its adapter, which begins as no change at all."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.lora_A, a=5 ** 0.5)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scale


def targets(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers an adapter touches, by name."""
    return {name: module for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and f".{name}".endswith(tuple("." + suffix for suffix in TARGETS))}


def attach_lora(model: nn.Module, rank: int, alpha: float) -> list[nn.Parameter]:
    """Put an adapter on every target, freeze all else, and return what is left to train."""
    model.requires_grad_(False)
    adapted = []
    for name, linear in targets(model).items():
        parent, _, child = name.rpartition(".")
        wrapped = LoRALinear(linear, rank, alpha)
        setattr(model.get_submodule(parent), child, wrapped)
        adapted += [wrapped.lora_A, wrapped.lora_B]
    return adapted


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights under the released names: base_model.model.<module>.lora_A.default.weight."""
    return {f"base_model.model.{name}.{side}.default.weight": getattr(module, side).detach()
            for name, module in model.named_modules() if isinstance(module, LoRALinear)
            for side in ("lora_A", "lora_B")}


def _plain(key: str) -> tuple[str, str] | None:
    """'base_model.model.blocks.0.ffn.0.lora_A.default.weight' -> ('blocks.0.ffn.0', 'A')"""
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    module, found, rest = key.replace(".lora_down.", ".lora_A.").replace(".lora_up.", ".lora_B.").partition(".lora_")
    return (module, rest[0]) if found and rest[:1] in "AB" else None


@torch.no_grad()
def merge_lora(model: nn.Module, state: dict[str, Tensor], alpha: float) -> int:
    """Add an adapter to the weights, in float32 with one rounding, and return how many modules it changed.

    Every target must be matched and every key used: an adapter that only half fits is refused before anything changes.
    """
    wanted, adapters = targets(model), adapters_of(model, state)
    for name, (a, b) in adapters.items():
        weight = wanted[name].weight
        weight.copy_(adapted(weight, a, b, alpha))
    return len(adapters)


def adapters_of(model: nn.Module, state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name -> its A and B. An adapter that does not fit the model wholly is refused."""
    sides: dict[str, dict[str, Tensor]] = {}
    strangers = []
    for key, value in state.items():
        if key.endswith(".alpha"):
            continue
        plain = _plain(key)
        if plain is None:
            strangers.append(key)
        else:
            sides.setdefault(plain[0], {})[plain[1]] = value
    wanted = targets(model)
    missing = sorted(set(wanted) - {name for name, pair in sides.items() if len(pair) == 2})
    strangers += sorted(set(sides) - set(wanted))
    if missing or strangers:
        raise InputError(f"the LoRA matches {len(wanted) - len(missing)} of {len(wanted)} modules; first missing: "
                         f"{missing[:2]}, first unknown: {strangers[:2]}; it was made for another model")
    for name, pair in sides.items():
        changed, shape = (pair["B"].shape[0], pair["A"].shape[-1]), tuple(wanted[name].weight.shape)
        if changed != shape or pair["A"].shape[0] != pair["B"].shape[-1]:
            raise InputError(f"the LoRA's {name} changes a weight of {changed}, the model's is {shape}; it was made "
                             "for another model")
    return {name: (pair["A"], pair["B"]) for name, pair in sides.items()}


def adapted(weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """A weight with its adapter added, in float32. weight (out, in), a (rank, in), b (out, rank)"""
    a, b = (side.to(weight.device, torch.float32) for side in (a, b))
    return weight.float() + alpha / len(a) * (b @ a)
