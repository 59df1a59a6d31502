"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): W + alpha / rank * B A. One merge for `mini` and 14B.

Live Avatar is its many-step base plus such an adapter; so is `mini`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from liveavatar.types import InputError

TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")     # suffixes of the adapted modules, as released
_PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.", "model.",     # of peft, ComfyUI and diffusers
             "lora_unet_", "lora_transformer_")                  # of kohya's scripts, which also write _ for every dot


class LowRank(NamedTuple):
    """Hold what an adapter adds to one weight: alpha / rank * b a."""

    a: Tensor        # (rank, in)
    b: Tensor        # (out, rank)
    alpha: float


def targets(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers an adapter touches, by name."""
    return {name: module for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and f".{name}".endswith(tuple("." + suffix for suffix in TARGETS))}


class Adapter(nn.Module):
    """An adapter in training, beside the network that it changes.

    The network stays what it was, a plain one whose target weights are W + alpha / rank * B A: `write` puts them there,
    and `collect` turns the gradients that a backward pass left on them into those of A and B. So the same code, and the
    same compiled code, runs with and without an adapter. It begins as no change at all.
    """

    def __init__(self, model: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        self.alpha, self.names = alpha, list(targets(model))
        self.weights = [layer.weight.requires_grad_(True) for layer in targets(model).values()]
        self.bases = [weight.detach().clone() for weight in self.weights]
        self.A = nn.ParameterList(weight.new_empty(rank, weight.shape[1]) for weight in self.bases)
        self.B = nn.ParameterList(weight.new_zeros(weight.shape[0], rank) for weight in self.bases)
        for a in self.A:
            nn.init.kaiming_uniform_(a, a=5 ** 0.5)

    @torch.no_grad()
    def write(self) -> None:
        """Put W + alpha / rank * B A into the network."""
        for weight, base, a, b in zip(self.weights, self.bases, self.A, self.B, strict=True):
            weight.copy_(adapted(base, a, b, self.alpha))

    @torch.no_grad()
    def collect(self) -> None:
        """Compute the gradients of A and B from those of the network's weights."""
        for weight, a, b in zip(self.weights, self.A, self.B, strict=True):
            step = self.alpha / len(a) * weight.grad
            a.grad, b.grad = b.T @ step, step @ a.T

    def released_state(self) -> dict[str, Tensor]:
        """Return its weights under the released names: base_model.model.<module>.lora_A.default.weight."""
        return {f"base_model.model.{name}.lora_{side}.default.weight": getattr(self, side)[index].detach()
                for index, name in enumerate(self.names) for side in "AB"}


def _parts(key: str) -> tuple[str, str] | None:
    """Split a name: 'base_model.model.blocks.0.ffn.0.lora_A.default.weight' -> ('blocks.0.ffn.0', 'A'); the third part
    is 'alpha'."""
    while prefix := next((one for one in _PREFIXES if key.startswith(one)), None):
        key = key.removeprefix(prefix)
    if key.endswith(".alpha"):
        return key.removesuffix(".alpha"), "alpha"
    module, found, rest = key.replace(".lora_down.", ".lora_A.").replace(".lora_up.", ".lora_B.").partition(".lora_")
    return (module, rest[0]) if found and rest[:1] in "AB" else None


@torch.no_grad()
def merge_lora(model: nn.Module, state: dict[str, Tensor], alpha: float) -> int:
    """Add an adapter to the weights, in float32 with one rounding, and return how many modules it changed.

    alpha: for modules of which the file does not say one. Every target must be matched and every key used: an adapter
    that only half fits is refused (InputError) before anything changes.
    """
    wanted, adapters = targets(model), adapters_of(model, state, alpha)
    for name, adapter in adapters.items():
        weight = wanted[name].weight
        weight.copy_(adapted(weight, *adapter))
    return len(adapters)


def adapters_of(model: nn.Module, state: dict[str, Tensor], alpha: float) -> dict[str, LowRank]:
    """Return what an adapter's file adds to each module. One that does not fit the model wholly is refused."""
    wanted = targets(model)
    spelt = {name.replace(".", "_"): name for name in wanted}
    sides: dict[str, dict[str, Tensor]] = {}
    strangers = []
    for key, value in state.items():
        parts = _parts(key)
        if parts is None:
            strangers.append(key)
        else:
            sides.setdefault(spelt.get(parts[0], parts[0]), {})[parts[1]] = value
    missing = sorted(set(wanted) - {name for name, found in sides.items() if {"A", "B"} <= set(found)})
    strangers += sorted(set(sides) - set(wanted))
    if missing or strangers:
        raise InputError(f"the LoRA matches {len(wanted) - len(missing)} of {len(wanted)} modules; first missing: "
                         f"{missing[:2]}, first unknown: {strangers[:2]}; it was made for another model")
    for name, found in sides.items():
        changed, shape = (found["B"].shape[0], found["A"].shape[-1]), tuple(wanted[name].weight.shape)
        if changed != shape or found["A"].shape[0] != found["B"].shape[-1]:
            raise InputError(f"the LoRA's {name} changes a weight of {changed}, the model's is {shape}; it was made "
                             "for another model")
    return {name: LowRank(found["A"], found["B"], float(found.get("alpha", alpha))) for name, found in sides.items()}


def adapted(weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Return a weight with its adapter added, in float32. weight (out, in), a (rank, in), b (out, rank)"""
    a, b = (side.to(weight.device, torch.float32) for side in (a, b))
    return weight.float() + alpha / len(a) * (b @ a)
