"""Error of wan-s2v-14b's weights in 8 and 4 bits against bf16, on a CPU, with weights that are made here.

    python benchmarks/wan_rounding.py --out benchmarks/results/wan_rounding.md

What is compared stands in ABOUT, which is written into the page too.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from wan_runs import command_here

from liveavatar.backends.wan import nf4
from liveavatar.backends.wan.precision import Fp8Linear, fp8_targets, quantise_rows, replace_module
from liveavatar.backends.wan.preset import TINY
from liveavatar.lora import targets
from liveavatar.sampler import denoise_block, model_levels, released_schedule
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer, Context

MIDDLE = dict(dim=512, ffn_dim=1408, num_heads=8, num_layers=8, freq_dim=64, text_dim=64, text_len=64, audio_dim=32,
              audio_layers=5, audio_inject_layers=(2, 5))
NETWORKS = {"tiny": (TINY["transformer"], 8), "middle": (MIDDLE, 16)}        # configuration, side of the latents
KINDS = ("normal", "outliers")
RANK, ADAPTER = 16, 0.1                     # of the adapter; its size, of the weight's
CHANNELS, TIMES, TAILS = 0.005, 10.0, 5.0
BLOCKS, STEPS = 3, 4

ABOUT = """
Two networks (tiny, and one of 8 layers and 512 channels), each with two kinds of weights: *normal*, every matrix drawn
from a normal distribution; *outliers*, heavy tails (Student's t, 5 degrees of freedom), with 0.5 % of the input
channels of every matrix, and as many of the norm before the text, ten times as large. Every network carries an adapter
of rank 16. The reference is the merged network with weights in bf16, computed in float32; attention and caches are in
float32 throughout. An error is the norm of the difference over the norm of the reference: of all matrices, of the first
velocity, and of the finished latents of three blocks of four steps.
"""
Rounding = Callable[[Tensor], Tensor]       # weight (N, K) -> the weight that is multiplied


# ------------------------------------------------------------------------------------------------ weights

@dataclass(frozen=True)
class Pair:
    """A weight before its adapter, and what the adapter adds."""

    base: Tensor
    added: Tensor

    @property
    def merged(self) -> Tensor:
        return (self.base + self.added).bfloat16().float()


def draw(config: dict, kind: str) -> tuple[CausalS2VTransformer, dict[str, Pair]]:
    """Make a network, merged, in bf16 values and float32 arithmetic; and its matrices before that."""
    torch.manual_seed(0)
    model = CausalS2VTransformer.from_config(config).eval().requires_grad_(False)
    adapted, pairs = set(targets(model)), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            base = matrix(module.weight.shape, kind)
            added = torch.zeros_like(base)
            if name in adapted:
                low = torch.randn(len(base), RANK) @ torch.randn(RANK, base.shape[1])
                added = low * (ADAPTER * base.norm() / low.norm())
            pairs[name] = Pair(base.bfloat16().float(), added)
            module.weight.copy_(pairs[name].merged)
    if kind == "outliers":
        for layer in model.blocks:
            layer.norm3.weight[some_channels(len(layer.norm3.weight))] *= TIMES
    return model, {name: pairs[name] for name in fp8_targets(model)}


def matrix(shape: torch.Size, kind: str) -> Tensor:
    """Draw a weight whose products keep the size of what they are given."""
    if kind == "normal":
        return torch.randn(shape) / shape[1] ** 0.5
    weight = torch.distributions.StudentT(TAILS).sample(shape)
    weight[:, some_channels(shape[1])] *= TIMES
    return weight / weight.norm(dim=1).mean()


def some_channels(count: int) -> Tensor:
    return torch.randperm(count)[:max(round(CHANNELS * count), 1)]


# ------------------------------------------------------------------------------------------------ formats

def to_fp8(weight: Tensor) -> Tensor:
    rows, scale = quantise_rows(weight)
    return rows.float() * scale


def to_int8(rows: Tensor) -> Tensor:
    """One scale a row, as usual for weights and for tokens in 8 bits. rows (N, K)"""
    scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    return (rows / scale).round() * scale


def to_nf4(weight: Tensor, group: int = nf4.GROUP) -> Tensor:
    kept = nf4.GROUP
    nf4.GROUP = group
    try:
        return nf4.dequantise_nf4(*nf4.quantise_nf4(weight), nf4.value_pairs(torch.float32, weight.device))
    finally:
        nf4.GROUP = kept


def to_nf4_by_largest(weight: Tensor, group: int = nf4.GROUP) -> Tensor:
    """The numbers of bitsandbytes' nf4: the largest value is the scale, in float32."""
    groups = weight.reshape(-1, group)
    scale = groups.abs().amax(1, keepdim=True).clamp(min=1e-30)
    values = torch.tensor(nf4.NF4)
    return (values[torch.bucketize(groups / scale, (values[1:] + values[:-1]) / 2)] * scale).view_as(weight)


def to_int4(weight: Tensor, group: int = nf4.GROUP) -> Tensor:
    """16 even steps from a group's smallest to its largest value."""
    groups = weight.reshape(-1, group)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    scale = ((high - low) / 15).clamp(min=1e-30).bfloat16().float()
    zero = (-low / scale).round().clamp(0, 15)
    return ((((groups / scale).round() + zero).clamp(0, 15) - zero) * scale).view_as(weight)


class RoundedTokensLinear(nn.Linear):
    """A linear layer whose tokens are rounded to int8 as well."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(to_int8(x.reshape(-1, x.shape[-1])).view_as(x), self.weight, self.bias)


@dataclass(frozen=True)
class Format:
    """One way to store the weights."""

    name: str
    bits: float
    rounding: Rounding
    kind: str = "weights"        # "weights"; "tokens": int8 tokens too; "fp8": the real layer; "beside": adapter apart


FORMATS = (
    Format("fp8 e4m3, a scale a row, tokens too (`--fp8`)", 8, to_fp8, "fp8"),
    Format("fp8 e4m3, weights alone", 8, to_fp8),
    Format("int8, a scale a row, tokens too", 8, to_int8, "tokens"),
    Format("int8, weights alone", 8, to_int8),
    Format("nf4, groups of 64, scale searched (`--nf4`)", 4.25, to_nf4),
    Format("... with the adapter kept beside", 4.25, to_nf4, "beside"),
    Format("... groups of 32", 4.5, partial(to_nf4, group=32)),
    Format("nf4, groups of 64, scale the largest value (bitsandbytes)", 4.5, to_nf4_by_largest),
    Format("int4, groups of 64, with zero point", 4.31, to_int4),
)


def rounded(model: CausalS2VTransformer, pairs: dict[str, Pair], form: Format) -> CausalS2VTransformer:
    """The network with all matrices that `--fp8` and `--nf4` touch in a format."""
    model = copy.deepcopy(model)
    for name, pair in pairs.items():
        linear = model.get_submodule(name)
        if form.kind == "fp8":
            replace_module(model, name, Fp8Linear(linear))
            continue
        linear.weight.copy_(weight_in(pair, form))
        if form.kind == "tokens":
            linear.__class__ = RoundedTokensLinear
    return model


def weight_in(pair: Pair, form: Format) -> Tensor:
    return form.rounding(pair.base) + pair.added if form.kind == "beside" else form.rounding(pair.merged)


# ------------------------------------------------------------------------------------------------ runs

@torch.inference_mode()
def run(model: CausalS2VTransformer, side: int) -> tuple[Tensor, Tensor]:
    """The first velocity, and the finished latents of all blocks."""
    config, dtype = model.config, model.text_embedding[0].weight.dtype
    generator = torch.Generator().manual_seed(1)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    text = model.encode_text(some(1, config.text_len // 2, config.text_dim))
    condition = model.prefill(some(1, 16, 1, side, side), some(1, 16, 19, side, side), text)
    schedule = released_schedule(STEPS)
    levels = model_levels(model, schedule, "cpu")
    caches = tuple(model.new_cache(condition) for _ in range(STEPS))
    first, finished = None, []
    for block in range(BLOCKS):
        heard = model.encode_audio(some(1, config.audio_layers, config.audio_dim, AUDIO_HISTORY + 12))
        steps = list(denoise_block(model, some(1, 16, 3, side, side), Context(text, heard), condition, caches, schedule,
                                   levels=levels, block=block))
        caches = tuple(step.cache for step in steps)
        first = steps[0].velocity if first is None else first
        finished.append(steps[-1].x)
    return first, torch.cat(finished, 2)


def off(one: Tensor, other: Tensor) -> float:
    return ((one.float() - other.float()).norm() / other.float().norm()).item()


def rows(networks: dict, kinds: tuple[str, ...]) -> Iterator[dict]:
    """One row for each network, kind of weights and format."""
    for network, (config, side) in networks.items():
        for kind in kinds:
            model, pairs = draw(config, kind)
            expected = run(model, side)
            merged = torch.cat([pair.merged.flatten() for pair in pairs.values()])
            own = run(copy.deepcopy(model).bfloat16(), side)
            about = {"network": network, "kind": kind}
            yield about | {"format": "bf16 throughout, against float32 arithmetic", "bits": 16, "weights": 0.0,
                           "velocity": off(own[0], expected[0]), "latents": off(own[1], expected[1])}
            for form in FORMATS:
                weights = torch.cat([weight_in(pair, form).flatten() for pair in pairs.values()])
                made = run(rounded(model, pairs, form), side)
                yield about | {"format": form.name, "bits": form.bits, "weights": off(weights, merged),
                               "velocity": off(made[0], expected[0]), "latents": off(made[1], expected[1])}


def table(found: list[dict], command: str) -> str:
    """A Markdown page."""
    groups = list(dict.fromkeys((row["network"], row["kind"]) for row in found))
    lines = ["# Weights in 8 and 4 bits: relative error against bf16", "", f"    {command}", "",
             ABOUT.strip(),
             "", f"On a CPU, torch {torch.__version__}. Cells: weights / first velocity / finished latents, in %.",
             "", "| | bits | " + " | ".join(f"{network}, {kind}" for network, kind in groups) + " |",
             "|---|---:|" + "---:|" * len(groups)]
    for name in dict.fromkeys(row["format"] for row in found):
        mine = {(row["network"], row["kind"]): row for row in found if row["format"] == name}
        cells = [" / ".join(f"{100 * mine[group][what]:.2f}" for what in ("weights", "velocity", "latents"))
                 if group in mine else "" for group in groups]
        lines.append(f"| {name} | {next(iter(mine.values()))['bits']:g} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *NOTES, ""])


NOTES = (
    "What this cannot tell: how large the error is with the released weights, whose outliers are not known here, and "
    "whether it is seen in a picture. An untrained network has no direction that matters more than another; a trained "
    "one may forgive the error, or not.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="OUT.md is written")
    parser.add_argument("--tiny", action="store_true", help="the tiny network alone")
    asked = parser.parse_args()
    found: list[dict] = []
    for row in rows({"tiny": NETWORKS["tiny"]} if asked.tiny else NETWORKS, KINDS):
        found.append(row)
        print(*(f"{value:.4f}" if isinstance(value, float) else value for value in row.values()), sep=", ", flush=True)
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(table(found, command_here()), encoding="utf-8")
    print(asked.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
