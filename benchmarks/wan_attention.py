"""Self-attention of one layer of wan-s2v-14b at 704*384, in bf16 and in 8 bits: time and error.

    python benchmarks/wan_attention.py --out benchmarks/results/wan_attention
    python benchmarks/wan_attention.py --tiny --out /tmp/wan_attention     # only to see that it works

A block of 3168 tokens looks at the condition and a full ring, 15,312. Numbers are drawn from a normal distribution: no
key stands out and values cancel. Compared with attention in float32, by the norm.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from wan_runs import clock, command_here, device_here

from liveavatar.backends.wan.fp8_attention import FP8, Scales, attend_plainly, has_fp8_kernels, to_fp8, write_values
from liveavatar.transformer import attention

HEADS, HEAD_DIM, ASKED, SEEN = 40, 128, 3168, 15_312
SCALE = 2.0**-6                      # of them all: a power of two, as rings have
TRIES = 20


@dataclass(frozen=True)
class Told:
    """The same queries, keys and values in both precisions."""

    plain: tuple[Tensor, ...]        # (1, heads, N | M, head_dim) each
    rounded: tuple                   # arguments of `attend_plainly`

    @classmethod
    def random(cls, heads: int, asked: int, seen: int, device: torch.device) -> Told:
        generator = torch.Generator(device).manual_seed(0)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        q, k, v = (torch.randn(1, count, heads, HEAD_DIM, generator=generator, device=device).to(dtype).transpose(1, 2)
                   for count in (asked, seen, seen))
        scale = torch.full((1, heads, 1, 1), SCALE, device=device)
        of_q = torch.full((1, 1, 1, 1), SCALE, device=device)
        columns = torch.zeros(1, heads, HEAD_DIM, seen, device=device).to(FP8)
        write_values(columns, v, scale, shuffled=True)
        return cls((q, k, v), (to_fp8(q, of_q), to_fp8(k, scale).contiguous(), columns, Scales(of_q, scale, scale),
                               True, dtype))

    def head(self, index: int) -> tuple:
        """Arguments of `attend_plainly` for one head, in float32: a whole one would not fit."""
        q, k, v, scales, shuffled, _ = self.rounded
        one = slice(index, index + 1)
        return (*(x[:, one] for x in (q, k, v)), Scales(scales.q, scales.k[:, one], scales.v[:, one]), shuffled,
                torch.float32)


def by_heads(work: Callable[[int], Tensor], heads: int) -> Tensor:
    return torch.cat([work(head) for head in range(heads)], 1)


def off(one: Tensor, other: Tensor) -> float:
    return ((one.float() - other.float()).norm() / other.float().norm()).item()


def milliseconds(work: Callable[[], Tensor], device: torch.device) -> float:
    """Of one call, the mean of many."""
    work()
    began = clock(device)
    for _ in range(TRIES):
        work()
    return 1000 * (clock(device) - began) / TRIES


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="OUT.md is written")
    parser.add_argument("--tiny", action="store_true", help="two heads and few tokens, to try this script")
    asked = parser.parse_args()
    device = device_here()
    heads, count, seen = (2, 96, 464) if asked.tiny else (HEADS, ASKED, SEEN)
    told = Told.random(heads, count, seen, device)
    exact = by_heads(lambda head: attention(*(x[:, head:head + 1].float() for x in told.plain)), heads)
    rows = [("bf16, the first kernel that can" if device.type == "cuda" else "float32", lambda: attention(*told.plain))]
    if has_fp8_kernels(device):
        from liveavatar.backends.wan.fp8_kernel import attend

        rows.append(("8 bits, our kernel", lambda: attend(*told.rounded)))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU: the figures mean nothing"
    lines = ["# Self-attention of one layer, in bf16 and in 8 bits", "", f"    {command_here()}", "",
             f"{count} tokens ask {seen}, {heads} heads. {name}, torch {torch.__version__}.", "",
             "| | ms | TFLOP/s | error of the norm |", "| --- | ---: | ---: | ---: |"]
    for words, work in rows:
        spent_ms = milliseconds(work, device)
        rate = 4 * heads * count * seen * HEAD_DIM / spent_ms / 1e9
        lines.append(f"| {words} | {spent_ms:.3f} | {rate:.0f} | {off(work(), exact):.4f} |")
    plainly = by_heads(lambda head: attend_plainly(*told.head(head)), heads)
    lines.append(f"| queries, keys and values rounded, the rest in float32 | | | {off(plainly, exact):.4f} |")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.with_suffix(".md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
