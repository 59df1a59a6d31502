"""Speed of wan-s2v-14b over several GPUs (timestep pipelining), beside one GPU alone in the same run.

    torchrun --nproc_per_node 2 benchmarks/wan_tpp.py --out benchmarks/results/wan_tpp
    torchrun --nproc_per_node 2 benchmarks/wan_tpp.py --tiny --out /tmp/wan_tpp     # only to see that it works

Full size, random weights, fp8 layers, attention in 8 bits, compiled. Every rank first makes blocks alone; then all make
a video together. Counted are blocks after the ring is full and steps are recorded. OUT.md, OUT.json and, where there is
matplotlib, OUT.png: who did which step of which block when.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from wan_runs import STRIDE, Video, bring, clean, command_here, device_here
from wan_speed import FILLING, RECORDING

from liveavatar.backends.wan.backend import WanBackend
from liveavatar.config import GenerationConfig, parse_size
from liveavatar.parallel import (
    Layout,
    RankGroup,
    Span,
    SpanRecorder,
    Timeline,
    denoise,
    gantt,
    gather_timeline,
    share_spans,
)
from liveavatar.types import Condition

STEADY, COUNTED = FILLING + RECORDING, 12          # blocks before, and blocks that count
FRAMES = 12                                        # of a block; 25 a second


def some_condition(backend: WanBackend, size: tuple[int, int], blocks: int) -> Condition:
    """Random words, sound and portrait, the same on every rank."""
    generator, config = torch.Generator().manual_seed(0), backend.transformer.config
    h, w = (side // STRIDE for side in size)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(backend.dtype)

    return Condition(some(1, config.in_dim, 1, h, w), some(1, config.in_dim, 19, h, w),
                     some(1, config.text_len, config.text_dim),
                     some(1, config.audio_layers, config.audio_dim, FRAMES * blocks), 4)


def alone_ms(backend: WanBackend, size: tuple[int, int], steps: int) -> float:
    """One GPU does it all: milliseconds from block to block."""
    video = Video.begin(backend, size, steps)
    video.lay_rings()
    spent = []
    for _ in range(STEADY + COUNTED):
        began = time.perf_counter()
        video.steps()
        video.decode()
        spent.append(1000 * (time.perf_counter() - began))
    return median(spent[STEADY:])


def together(backend: WanBackend, size: tuple[int, int], steps: int) -> tuple[Timeline, Layout] | None:
    """All ranks make one video; the one that decodes tells who did what when."""
    config = GenerationConfig(sample_steps=steps)
    condition = some_condition(backend, size, STEADY + COUNTED)
    with RankGroup() as group:
        layout, recorder = Layout.of(steps, group.ranks), SpanRecorder(group.rank, group.began_s)
        decoder = backend.decoder(condition) if group.rank == layout.vae_rank else None
        for block, latents in denoise(backend, condition, config, group, layout, recorder, threading.Event()):
            if decoder is not None:
                with recorder.span("decode", block):
                    decoder.decode(latents)
        share_spans(group, recorder)
        return (gather_timeline(group), layout) if decoder is not None else None


def steady(timeline: Timeline) -> Timeline:
    """The blocks that count, numbered from 0."""
    spans = [replace(span, block=span.block - STEADY) for span in timeline.spans if span.block >= STEADY]
    return replace(timeline, spans=tuple(spans))


def for_a_while(timeline: Timeline, rank: int, blocks: int = 6) -> Timeline:
    """What all did while this rank worked at its first blocks: the ranks before it are some blocks ahead."""
    began_s = timeline.of(rank, "step")[0].began_s
    until_s = timeline.of(rank, "decode")[:blocks][-1].ended_s
    return replace(timeline, spans=tuple(span for span in timeline.spans
                                         if span.began_s >= began_s and span.ended_s <= until_s))


def interval_ms(timeline: Timeline, rank: int) -> float:
    """From the end of one block's pictures to the end of the next one's."""
    ends = [span.ended_s for span in timeline.of(rank, "decode")]
    return 1000 * median(later - earlier for earlier, later in pairwise(ends))


def median_ms(spans: Sequence[Span]) -> float:
    return 1000 * median(span.ended_s - span.began_s for span in spans) if spans else 0.0


def lines(timeline: Timeline, layout: Layout, alone: float, about: str, command: str) -> list[str]:
    """Markdown."""
    every, real = interval_ms(timeline, layout.vae_rank), 1000 * FRAMES / 25
    rows = []
    for rank in range(timeline.ranks):
        step, decode = (median_ms(timeline.of(rank, what)) for what in ("step", "decode"))
        busy = (len(layout.owned(rank)) * step + decode) / every
        rows.append(f"| {rank} | {layout.description(rank)} | {busy:.0%} | {step:.0f} | {decode:.0f} |")
    return [f"# wan-s2v-14b over {timeline.ranks} GPUs, random weights", "", f"    {command}", "", about, "",
            f"A block ({FRAMES} pictures, {real:.0f} ms of video) every {every:.0f} ms: {real / every:.2f}x real time. "
            f"One GPU alone, in the same run: every {alone:.0f} ms, {real / alone:.2f}x. Together {alone / every:.2f} "
            "times as fast.", "", "| rank | does | at work | step, ms | decode, ms |",
            "| --- | --- | ---: | ---: | ---: |", *rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="OUT.md, OUT.json and OUT.png are written")
    parser.add_argument("--size", default="704*384")
    parser.add_argument("--sample_steps", type=int, default=4)
    parser.add_argument("--tiny", action="store_true", help="a small network, to try this script")
    asked = parser.parse_args()
    width, height = (64, 64) if asked.tiny else reversed(parse_size(asked.size))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = bring(True, asked.tiny)
    backend.fp8_attention = True
    if device_here().type == "cuda":
        backend.compile()
    alone = alone_ms(backend, (height, width), asked.sample_steps)
    clean()
    found = together(backend, (height, width), asked.sample_steps)
    if found is None:
        return
    timeline, layout = steady(found[0]), found[1]
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: the figures mean nothing"
    about = (f"{width}*{height}, {asked.sample_steps} steps, fp8 layers, attention in 8 bits, compiled; {COUNTED} "
             f"blocks after {STEADY}; {name}, torch {torch.__version__}.")
    text = lines(timeline, layout, alone, about, f"torchrun --nproc_per_node {timeline.ranks} "
                 + command_here().removeprefix("python "))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.with_suffix(".md").write_text("\n".join([*text, ""]))
    timeline.save(asked.out.with_suffix(".json"))
    print("\n".join(text))
    try:
        gantt(for_a_while(timeline, layout.vae_rank), STEADY + COUNTED).savefig(asked.out.with_suffix(".png"), dpi=110)
    except ImportError:
        print("no matplotlib here: liveavatar.parallel.gantt(Timeline.load(OUT.json)) draws it elsewhere")


if __name__ == "__main__":
    main()
