"""Speed of wan-s2v-14b on one GPU, an optimisation at a time: predicted, measured, kept or not.

    python benchmarks/wan_speed.py --out benchmarks/results/wan_speed --budget_s 540
    python benchmarks/wan_speed.py --tiny --out /tmp/wan_speed          # only to see that it works, also without a GPU

Full size, random weights, one process. A row that fails is written down with its error; rows that no longer fit into
--budget_s are skipped and said so. Files are written after every row.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.nn.attention import SDPBackend
from wan_runs import GIB, Video, bring, clean, clock, command_here, device_here

from liveavatar import transformer
from liveavatar.config import parse_size

FILLING, RECORDING, TIMED = 4, 4, 4       # blocks until the ring is full; until compiled steps are recorded; timed
CUDNN_FIRST = transformer.KERNELS
FLASH_FIRST = tuple(kernel for kernel in CUDNN_FIRST if kernel is not SDPBackend.CUDNN_ATTENTION)


@dataclass(frozen=True)
class Row:
    """One way to run it. predicted_ms: of one step, from products at the rates in the issue and traffic."""

    name: str
    predicted_ms: float
    against: str = ""                     # the row it is to be better than
    fp8: bool = False
    fp8_cache: bool = False
    compiled: bool = False
    cudnn: bool = True
    copy_stream: bool = True              # rings are fetched on a stream of their own
    own_condition: bool = False           # each ring holds the condition: nothing is fetched, 2 GiB more a step
    fp8_attention: bool = False
    recorded: bool = True                 # steps are repeated as one launch, where they are compiled
    steps: int = 4


ROWS = (
    Row("bf16 eager, flash attention", 325, cudnn=False),
    Row("bf16 eager, cuDNN attention", 285, "bf16 eager, flash attention"),
    Row("bf16 compiled", 205, "bf16 eager, cuDNN attention", compiled=True),
    Row("fp8 compiled", 162, "bf16 compiled", fp8=True, compiled=True),
    Row("fp8 compiled, fp8 caches", 164, "fp8 compiled", fp8=True, compiled=True, fp8_cache=True),
    Row("fp8 compiled, rings fetched on the same stream", 169, "fp8 compiled", fp8=True, compiled=True,
        copy_stream=False),
    Row("fp8 compiled, a condition in each ring", 162, "fp8 compiled", fp8=True, compiled=True, own_condition=True),
    Row("fp8 compiled, steps not recorded", 169, "fp8 compiled", fp8=True, compiled=True, recorded=False),
    Row("fp8 eager", 300, "bf16 eager, cuDNN attention", fp8=True),
    Row("fp8 compiled, attention in 8 bits", 133, "fp8 compiled", fp8=True, compiled=True, fp8_attention=True),
)
LISTED = 24                               # kernels that are printed, the longest first
ORDER = (0, 1, 2, 8, 3, 9, 4, 6, 7, 5)    # what is compiled stays so: eager rows of a precision first
OWNERS = {"fused by the compiler": ("triton",),      # first: their names list all that was fused, "copy" too
          "attention": ("fmha", "flash", "cudnn", "sdpa", "attention", "attend_kernel"),
          "our kernels for rounding": ("plain_rows", "modulated_rows"),
          "products": ("gemm", "nvjet", "cutlass", "scaled_mm", "cublas", "matmul"),
          "copies": ("memcpy", "memset", "copy")}


class Bench:
    """Holds one backend at a time, and what was found."""

    def __init__(self, size: tuple[int, int], tiny: bool) -> None:
        self.size, self.tiny, self.device = size, tiny, device_here()
        self.backend, self.fp8 = None, None
        self.ways: dict[bool, Callable] = {}     # to run the layers of a step: recorded or not

    def prepare(self, row: Row) -> None:
        """The backend that a row needs; weights are made anew only for another precision."""
        if self.backend is None or self.fp8 != row.fp8:
            self.backend = None
            clean()
            self.ways = {}
            began = clock(self.device)
            self.backend, self.fp8 = bring(row.fp8, self.tiny), row.fp8
            print(f"  weights made in {clock(self.device) - began:.1f} s", flush=True)
        if row.compiled and not self.ways:
            model = self.backend.transformer
            plain = model.run_layers
            self.backend.compile()
            self.ways = {True: model.run_layers, False: plain}
        if self.ways:
            self.backend.transformer.run_layers = self.ways[row.recorded]
        self.backend.fp8_cache, self.backend.condition_in_rings = row.fp8_cache, row.own_condition
        self.backend.compiled, self.backend.fp8_attention = row.compiled, row.fp8_attention
        transformer.KERNELS = CUDNN_FIRST if row.cudnn else FLASH_FIRST

    def measure(self, row: Row) -> dict:
        """Figures of one row: ms, s, GiB."""
        self.prepare(row)
        clean()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = clock(self.device)
        video = Video.begin(self.backend, self.size, row.steps)
        video.lay_rings()
        if not row.copy_stream:
            video.caches[0].staging.copy_stream = None
        prepared_s = clock(self.device) - began
        video.steps()
        video.decode()
        first_s = clock(self.device) - began
        for _ in range(FILLING - 1 + (RECORDING if row.compiled else 0)):
            video.steps()
            video.decode()
        steps, decodes = [], []
        for _ in range(TIMED):
            steps.append(video.steps())
            decodes.append(video.decode())
        spent = [sum(block) + decode for block, decode in zip(steps, decodes, strict=True)]
        peak = reserved = 0.0
        if self.device.type == "cuda":
            peak, reserved = torch.cuda.max_memory_allocated() / GIB, torch.cuda.max_memory_reserved() / GIB
        return {"step_ms": median(step for block in steps for step in block), "decode_ms": median(decodes),
                "block_ms": median(spent), "prepared_s": prepared_s, "first_block_s": first_s, "peak_gib": peak,
                "reserved_gib": reserved, "owners_ms": owners(video)}


def owners(video: Video) -> dict[str, float]:
    """GPU time of one step by who spends it, ms. They may add up to more than a step: two streams work at once."""
    if video.backend.device.type != "cuda":
        return {}
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        video.steps()
    steps = len(video.caches)
    found, kernels = dict.fromkeys((*OWNERS, "rest"), 0.0), {}
    for kernel in seen.key_averages():
        name = kernel.key.lower()
        owner = next((owner for owner, words in OWNERS.items() if any(word in name for word in words)), "rest")
        spent_ms = kernel.self_device_time_total / 1000 / steps
        found[owner] += spent_ms
        kernels[kernel.key[:110]] = spent_ms, kernel.count / steps
    for name, (spent_ms, count) in sorted(kernels.items(), key=lambda pair: -pair[1][0])[:LISTED]:
        print(f"    {spent_ms:6.2f} ms, {count:5.0f} times: {name}")
    return found | {"nothing runs": idle_ms(seen) / steps}


def idle_ms(seen: object) -> float:
    """Time between the first kernel and the last in which the GPU had nothing to do."""
    spans = sorted((event.time_range.start, event.time_range.end) for event in seen.events()
                   if event.device_type == torch.autograd.DeviceType.CUDA)
    idle, until = 0.0, spans[0][0]
    for start, end in spans:
        idle, until = idle + max(0.0, start - until), max(until, end)
    return idle / 1000


def run(bench: Bench, rows: list[Row], budget_s: float) -> Iterator[dict]:
    """Row after row: what was found, or why not."""
    began = time.monotonic()
    for row in rows:
        spent_s = time.monotonic() - began
        found = {"name": row.name, "against": row.against, "predicted_ms": row.predicted_ms}
        if spent_s > budget_s:
            print(f"{row.name}: skipped, {spent_s:.0f} s of {budget_s:g} are spent", flush=True)
            yield found | {"skipped": f"{spent_s:.0f} s of {budget_s:g} were spent"}
            continue
        print(f"{row.name} (after {spent_s:.0f} s)", flush=True)
        try:
            found |= bench.measure(row)
            print("  " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()
                                   if isinstance(value, float)), found["owners_ms"], flush=True)
        except Exception as error:                       # one row must not take the others with it
            found["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
            print("  failed:", found["error"], flush=True)
            bench.backend = None                         # who knows in what state it is
        clean()
        yield found


def kept(found: dict, by_name: dict[str, dict]) -> str:
    """Whether a row is better than the one it is compared with: a step or block 1 % faster, or a GiB less."""
    other = by_name.get(found["against"])
    if other is None or "step_ms" not in other:
        return ""
    gains = [words for words, better in (
        ("faster step", found["step_ms"] < 0.99 * other["step_ms"]),
        ("faster block", found["block_ms"] < 0.99 * other["block_ms"]),
        ("smaller", found["peak_gib"] < other["peak_gib"] - 1)) if better]
    return f"yes: {', '.join(gains)}" if gains else "no"


def table(results: list[dict]) -> Iterator[str]:
    """Markdown."""
    by_name = {found["name"]: found for found in results}
    heads = ("predicted step, ms", "step, ms", "decode, ms", "block, ms", "first block, s", "peak, GiB",
             "reserved, GiB", "better than its base")
    yield "| | " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * 7 + " --- |"
    for found in results:
        if "step_ms" not in found:
            reason = found.get("error") or f"skipped: {found['skipped']}"
            yield f"| {found['name']} | {found['predicted_ms']:.0f} | {reason} |"
            continue
        yield (f"| {found['name']} | {found['predicted_ms']:.0f} | {found['step_ms']:.1f} | {found['decode_ms']:.0f} | "
               f"{found['block_ms']:.0f} | {found['first_block_s']:.1f} | {found['peak_gib']:.1f} | "
               f"{found['reserved_gib']:.1f} | {kept(found, by_name)} |")
    split = [found for found in results if found.get("owners_ms")]
    if split:
        yield ""
        yield "| GPU time of a step, ms | " + " | ".join(split[0]["owners_ms"]) + " |"
        yield "| --- |" + " ---: |" * len(split[0]["owners_ms"])
        for found in split:
            cells = (f"{ms:.1f}" for ms in found["owners_ms"].values())
            yield f"| {found['name']} | " + " | ".join(cells) + " |"


def write(results: list[dict], about: str, command: str, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {"about": about, "command": command, "rows": results}
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    lines = ["# Speed of wan-s2v-14b, random weights", "", f"    {command}", "", about, "", *table(results), ""]
    out.with_suffix(".md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="704*384", help="width*height")
    parser.add_argument("--out", type=Path, required=True, help="OUT.md and OUT.json are written")
    parser.add_argument("--budget_s", type=float, default=540, help="rows that would begin later are skipped")
    parser.add_argument("--only", default="", help="rows in whose name this regular expression is found")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try this script")
    asked = parser.parse_args()
    bench = Bench(parse_size(asked.size), asked.tiny)
    name = torch.cuda.get_device_name() if bench.device.type == "cuda" else "no GPU"
    about = (f"{asked.size}, {FILLING} blocks fill the ring, {RECORDING} more where steps are recorded, medians of "
             f"{TIMED} after them, 12 frames a block. {name}, "
             f"torch {torch.__version__}.{' A small network: the figures mean nothing.' if asked.tiny else ''}")
    print(about, flush=True)
    rows = [ROWS[place] for place in ORDER if re.search(asked.only, ROWS[place].name)]
    results: list[dict] = []
    for found in run(bench, rows, asked.budget_s):
        results.append(found)
        write(results, about, command_here(), asked.out)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
