"""The whole path of wan-s2v-14b on cards of 24 and 16 GB, emulated on one larger GPU by a cap on torch's memory.

    python benchmarks/wan_small_cards.py --out benchmarks/results/wan_small_cards --budget_s 540
    python benchmarks/wan_small_cards.py --tiny --out /tmp/wan_small_cards    # only to see that it works, no GPU

Full size, random weights, one process: sound, portrait and words are encoded, the transformer's weights are made,
blocks are denoised and decoded. `torch.cuda.set_per_process_memory_fraction` leaves torch what the card has, less
OUTSIDE.
A row fails when torch runs into the cap, or when all that it had reserved at most, with the CUDA context and loaded
kernels, is more than the card has. Combinations that the plan refuses are not run unless --all is given. OUT.md and
OUT.json are written after every row; rows that would begin after --budget_s are skipped and said so.

The cap does not make the GPU slower: seconds are those of the GPU that is here, not of a smaller card.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from wan_runs import GIB, clean, clock, command_here, device_here

from liveavatar.backends.wan import split_cache
from liveavatar.backends.wan.audio import random_audio_encoder
from liveavatar.backends.wan.backend import WanBackend
from liveavatar.backends.wan.networks import DeferredTransformer, bring_transformer, empty_transformer, random_source
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.backends.wan.preset import Networks
from liveavatar.backends.wan.text import random_text_encoder
from liveavatar.backends.wan.vae import random_vae
from liveavatar.config import GenerationConfig, parse_size
from liveavatar.pipeline import Pipeline
from liveavatar.types import Block, Portrait, Speech, Step
from liveavatar.vram.cards import Card
from liveavatar.vram.plan import Plan, plan

CARDS = {24: 22.0, 16: 14.7}            # gigabytes on the box -> GiB that everything must stay below
OUTSIDE = 0.75                          # GiB of a card that torch does not get: CUDA context, loaded kernels
FILLING, TIMED = 4, 2                   # blocks until the ring is full; timed
STEPS, BLOCK_S = 4, 0.48
PROMPT = "a person talks calmly to the camera, in warm light"
BUS_GBS = 25.0                          # of PCIe 4 x16, reached at best: for the estimate alone


@dataclass(frozen=True)
class Row:
    """One combination of options on one card."""

    card_gb: int
    size: str
    weights: str                         # "nf4", "fp8", "bf16"
    fp8_cache: bool = True
    offload: bool = True                 # rings rest in main memory
    compiled: bool = False

    @property
    def name(self) -> str:
        parts = [f"{self.card_gb} GB", self.size, self.weights, "fp8 rings" if self.fp8_cache else "bf16 rings",
                 "in main memory" if self.offload else "on the card", "compiled" if self.compiled else "eager"]
        return ", ".join(parts)

    def planned(self) -> Plan:
        on = Card(f"{self.card_gb} GB card", self.card_gb, CARDS[self.card_gb], source="emulated")
        return plan(gpu=on, size=sides(self.size), steps=STEPS, weights=self.weights,
                    caches="fp8" if self.fp8_cache else "bf16", offload_kv_cache=self.offload)


ROWS = (
    *(Row(gb, size, weights) for gb, size, weights in (
        (24, "704*384", "nf4"), (16, "704*384", "nf4"), (16, "688*368", "nf4"), (24, "688*368", "nf4"),
        (24, "688*368", "fp8"), (24, "704*384", "fp8"))),
    *(Row(24, size, weights, fp8_cache, offload) for weights in ("nf4", "fp8") for size in ("704*384", "688*368")
      for fp8_cache, offload in ((False, True), (True, False), (False, False))),
    *(Row(16, size, weights, fp8_cache, offload) for weights in ("nf4", "fp8") for size in ("704*384", "688*368")
      for fp8_cache, offload in ((False, True), (True, False), (False, False))),
    Row(16, "704*384", "fp8"), Row(16, "688*368", "fp8"),
    Row(24, "704*384", "nf4", compiled=True), Row(24, "688*368", "fp8", compiled=True),
    Row(16, "688*368", "nf4", compiled=True),
)


def sides(size: str) -> tuple[int, int]:
    """(height, width) as the model makes them of a portrait in this shape: multiples of 64."""
    from liveavatar.backends.wan.preset import SIZE_MULTIPLE
    from liveavatar.conditions import released_size

    height, width = parse_size(size)
    return released_size(height, width, (height, width), SIZE_MULTIPLE)


# ------------------------------------------------------------------------------------------------ what is counted

class Bus:
    """Counts what the rings send between the card and main memory."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count in here; all copies between devices of the rings go through one function."""
        plain = split_cache.copy_by_heads

        def copy(into: torch.Tensor, origin: torch.Tensor) -> None:
            if into.device != origin.device:
                self.bytes += origin.nbytes
            plain(into, origin)

        split_cache.copy_by_heads = copy
        try:
            yield
        finally:
            split_cache.copy_by_heads = plain


def cap(device: torch.device, card_gb: int) -> None:
    """Leave torch what a card of this size would."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction((CARDS[card_gb] - OUTSIDE) * GIB / total, device)


def memory(device: torch.device) -> dict[str, float]:
    """GiB: handed out at most, reserved at most, and that with what is used outside of torch."""
    if device.type != "cuda":
        return {"peak": 0.0, "reserved": 0.0, "card": 0.0}
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.max_memory_reserved(device)
    outside = total - free - torch.cuda.memory_reserved(device)
    return {"peak": torch.cuda.max_memory_allocated(device) / GIB, "reserved": reserved / GIB,
            "card": (reserved + outside) / GIB}


# ------------------------------------------------------------------------------------------------ the path

class Bench:
    """Holds the encoders, which all rows share, in main memory."""

    def __init__(self, tiny: bool) -> None:
        self.tiny, self.device = tiny, device_here()
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.networks, policy = Networks.asked("tiny" if tiny else None), OffloadPolicy(self.device, to_host=True)
        self.text = random_text_encoder(self.networks.text, self.dtype, policy)
        self.audio = random_audio_encoder(self.networks.audio, self.dtype, policy)
        self.vae = random_vae(self.networks.vae, self.device, self.dtype)

    def backend(self, row: Row) -> WanBackend:
        """A backend whose transformer is still to come."""
        config, device, dtype = self.networks.transformer, self.device, self.dtype

        def load() -> torch.nn.Module:
            return bring_transformer(config, random_source(device), device, dtype, fp8=row.weights == "fp8",
                                     nf4=row.weights == "nf4")

        deferred = DeferredTransformer(empty_transformer(config), device, dtype, load)
        backend = WanBackend(deferred, self.text, self.audio, self.vae, {"student": True, "untrained": True},
                             conditioning="multi-gpu" if self.tiny else "single-gpu",      # the quicker one to try
                             offload_kv_cache=row.offload, fp8_cache=row.fp8_cache)
        if row.compiled:
            backend.compile()
        return backend

    def measure(self, row: Row) -> dict:
        """Figures of one row."""
        clean()
        cap(self.device, row.card_gb)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        found, began = {}, clock(self.device)
        height, width = (64, 64) if self.tiny else sides(row.size)
        pipe, config = Pipeline(self.backend(row)), GenerationConfig(size=(height, width), sample_steps=STEPS)
        condition = pipe.condition(recording((FILLING + TIMED) * BLOCK_S), portrait(height, width), PROMPT, config)
        found |= {"encode_s": clock(self.device) - began, "encode_peak": memory(self.device)["peak"]}
        began = clock(self.device)
        pipe.load_weights()
        found |= {"load_s": clock(self.device) - began, "load_peak": memory(self.device)["peak"]}
        bus = Bus()
        with bus.counted():
            found |= self.blocks(pipe, condition, config, bus)
        return found | memory(self.device)

    def blocks(self, pipe: Pipeline, condition: object, config: GenerationConfig, bus: Bus) -> dict:
        """Seconds of steps and decoding once the ring is full, and bytes over the bus in each step."""
        steps, decodes, carried, began, before = [], [], [], clock(self.device), bus.bytes
        for event in pipe.events(condition, config=config):
            now = clock(self.device)
            timed = (event.block if isinstance(event, Step) else event.index) >= FILLING
            if timed and isinstance(event, Step):
                steps.append(now - began)
                carried.append(bus.bytes - before)
            elif timed and isinstance(event, Block):
                decodes.append(now - began)
            began, before = clock(self.device), bus.bytes
        step_s, decode_s = median(steps), median(decodes)
        return {"step_s": step_s, "decode_s": decode_s, "block_s": STEPS * step_s + decode_s,
                "bus_bytes": median(carried)}


def recording(seconds: float) -> Speech:
    """A tone that swells; the random encoders hear nothing in it anyway."""
    time_s = np.arange(round(seconds * WanBackend.rate_hz)) / WanBackend.rate_hz
    wave = 0.3 * np.sin(2 * np.pi * 200 * time_s) * np.sin(2 * np.pi * 1.5 * time_s)
    return Speech(wave.astype(np.float32), WanBackend.rate_hz)


def portrait(height: int, width: int) -> Portrait:
    """A slope of colours in the shape of the video."""
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    pixels = [rows.expand(-1, width), columns.expand(height, -1), 0.5 * (rows + columns)]
    return Portrait(torch.stack(pixels), source="slope")


def run(bench: Bench, rows: list[Row], budget_s: float, everything: bool = False) -> Iterator[dict]:
    """Figures of every row; a row that fails does not take the others with it."""
    began = time.monotonic()
    for row in rows:
        made = row.planned()
        found = {"name": row.name, "card_gb": row.card_gb, "planned": made.peak.bytes / GIB, "verdict": made.verdict}
        spent_s = time.monotonic() - began
        if made.verdict == "does not fit" and not everything:
            found["skipped"] = "the plan says that it does not fit; not run"
        elif spent_s > budget_s:
            found["skipped"] = f"{spent_s:.0f} s of {budget_s:g} were spent"
        else:
            try:
                found |= bench.measure(row)
                if found["card"] > CARDS[row.card_gb]:
                    found["error"] = f"{found['card']:.2f} GiB are more than the card's {CARDS[row.card_gb]} GiB"
            except Exception as error:
                found["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                found |= memory(bench.device)
            clean()
        print(f"{time.monotonic() - began:4.0f} s", sentence(found), flush=True)
        yield found


# ------------------------------------------------------------------------------------------------ what is written

def sentence(found: dict) -> str:
    if "skipped" in found:
        return f"{found['name']}: {found['skipped']} (planned {found['planned']:.2f} GiB)"
    figures = f"planned {found['planned']:.2f} GiB, peak {found['peak']:.2f}, reserved {found['reserved']:.2f}, " \
              f"on the card {found['card']:.2f}"
    if "error" in found:
        return f"{found['name']}: FAILED, {found['error']}; {figures}"
    return (f"{found['name']}: {figures}; encoding {found['encode_s']:.1f} s, weights {found['load_s']:.1f} s, step "
            f"{found['step_s']:.3f} s, decoding {found['decode_s']:.3f} s, block {found['block_s']:.2f} s, over the "
            f"bus {found['bus_bytes'] / 1e9:.2f} GB a step")


HEAD = ("| | planned, GiB | peak | reserved | with context | encoding peak | s a step | s decoding | s a block "
        "| times real time | GB over the bus a step | s for that on PCIe 4 |")


def line(found: dict) -> str:
    start = f"| {found['name']} | {found['planned']:.2f}"
    if "skipped" in found:
        return f"{start} | {found['skipped']} |" + " |" * 9
    used = f"{found['peak']:.2f} | {found['reserved']:.2f} | {found['card']:.2f}"
    if "error" in found:
        return f"{start} | {used} | **failed**: {found['error']} |" + " |" * 6
    bus_gb = found["bus_bytes"] / 1e9
    cells = [f"{found['encode_peak']:.2f}", f"{found['step_s']:.3f}", f"{found['decode_s']:.3f}",
             f"{found['block_s']:.2f}", f"{BLOCK_S / found['block_s']:.2f}", f"{bus_gb:.2f}", f"{bus_gb / BUS_GBS:.2f}"]
    return f"{start} | {used} | {' | '.join(cells)} |"


def write(rows: list[dict], about: str, command: str, out: Path) -> None:
    """OUT.md and OUT.json."""
    out.parent.mkdir(parents=True, exist_ok=True)
    caps = ", ".join(f"{gb} GB: {usable} GiB" for gb, usable in CARDS.items())
    lines = ["# wan-s2v-14b on small cards, emulated by a cap", "", f"    {command}", "", about, "",
             f"Everything must stay below: {caps}. {FILLING} blocks fill the ring, {TIMED} are timed, {STEPS} steps. "
             "Seconds are those of the GPU that is here; the seconds on PCIe 4 x16 are an estimate at "
             f"{BUS_GBS:g} GB/s. `planned` includes the CUDA context, `peak` is what torch had handed out.",
             "", HEAD, "|---|" + "---:|" * 11, *map(line, rows), ""]
    out.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    text = json.dumps({"about": about, "command": command, "rows": rows}, indent=1)
    out.with_suffix(".json").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="OUT.md and OUT.json are written")
    parser.add_argument("--budget_s", type=float, default=540, help="rows that would begin later are skipped")
    parser.add_argument("--only", default="", help="rows in whose name (24 GB, 704*384, nf4, ...) this regular "
                                                   "expression is found")
    parser.add_argument("--all", action="store_true", help="run what the plan refuses, too")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try this script")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", message="no voice was found")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: no memory is measured"
    about = f"Random weights, everything encoded; {gpu}, torch {torch.__version__}, {time.strftime('%F')}"
    rows: list[dict] = []
    began = time.monotonic()
    bench = Bench(asked.tiny)
    print(f"encoders made in {time.monotonic() - began:.0f} s", flush=True)
    chosen = [row for row in ROWS if re.search(asked.only, row.name)]
    for found in run(bench, chosen, asked.budget_s - (time.monotonic() - began), asked.all):
        rows.append(found)
        write(rows, about, command_here(), asked.out)
    print(asked.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
