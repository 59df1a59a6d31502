"""liveavatar plan: will it fit, how fast, what should be changed. Nothing is loaded.

    liveavatar plan --backend wan-s2v-14b --size "704*384" --sample_steps 4 --gpu "RTX 4090" --gpus 5
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from liveavatar.files import user_path, write_whole
from liveavatar.switches import add_switch
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.vram.plan import Plan

BAD_PLAN = 3       # exit code of a plan that is refused


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the options, with the names of `generate` where they mean the same."""
    parser.add_argument("--backend", default="wan-s2v-14b", help="wan-s2v-14b or mini (default: %(default)s)")
    parser.add_argument("--gpu", help='a card such as "RTX 4090", H100, H200, or a size: "24 GB" (default: H100)')
    parser.add_argument("--gpus", type=int, default=1, help="how many of them (default: 1)")
    parser.add_argument("--spread", choices=("tpp", "fsdp"), default="tpp",
                        help="over several GPUs: steps (tpp, default) or weights (fsdp)")
    parser.add_argument("--size", help="width*height (default: the model's)")
    parser.add_argument("--sample_steps", type=int, default=4, help="(default: 4)")
    parser.add_argument("--infer_frames", type=int, default=48, help="video frames in a clip (default: 48)")
    parser.add_argument("--num_clip", type=int, default=50, help="clips (default: 50)")
    for name, default, text in (("--fp8", False, "weights of layers in 8 bits"),
                                ("--nf4", False, "weights of layers in 4 bits"),
                                ("--fp8_cache", False, "keys and values in 8 bits"),
                                ("--offload_model", True, "encoders rest in main memory (default)"),
                                ("--offload_kv_cache", False, "caches rest in main memory"),
                                ("--fp8_attention", False, "self-attention in 8 bits, its caches with it"),
                                ("--condition_in_rings", False, "portrait and motion in every step's cache"),
                                ("--enable_online_decode", True, "each block is decoded when it is ready (default)")):
        add_switch(parser, name, default, text)
    parser.add_argument("--explain", action="store_true", help="say why, with the plan's own numbers")
    parser.add_argument("--figure", metavar="FILE.png", help="draw the predicted curve; an older figure is replaced")
    parser.add_argument("--cards", action="store_true", help="list the cards that are known, with their sources")
    parser.add_argument("--force", action="store_true", help="exit with 0 even when the plan is refused")
    parser.set_defaults(run=run_plan)


def run_plan(asked: argparse.Namespace) -> int:
    """Print the plan; exit code 0 when it may be run, 3 when it is refused."""
    if asked.cards:
        print(card_table())
        return 0
    from liveavatar.backends import find
    from liveavatar.vram.plan import plan
    from liveavatar.vram.settings import weights_named

    settings = {"steps": asked.sample_steps, "infer_frames": asked.infer_frames, "num_clip": asked.num_clip,
                "enable_online_decode": asked.enable_online_decode}
    if asked.size is not None:
        settings["size"] = asked.size
    if find(asked.backend).on_card:
        settings |= {"gpus": asked.gpus, "spread": asked.spread, "weights": weights_named(asked.fp8, asked.nf4),
                     "caches": "fp8" if asked.fp8_cache else "bf16", "offload_model": asked.offload_model,
                     "offload_kv_cache": asked.offload_kv_cache, "condition_in_rings": asked.condition_in_rings,
                     "fp8_attention": asked.fp8_attention}
    made = plan(asked.backend, gpu=asked.gpu, **settings)
    print(made.table())
    if asked.explain:
        print("\nwhy:\n" + "\n".join(f"  {sentence}" for sentence in made.explain()))
    if asked.figure is not None:
        draw_to(made, asked.figure)
    refused = any(one.refused for one in made.advice)
    return BAD_PLAN if refused and not asked.force else 0


def draw_to(made: Plan, path: str) -> None:
    path = user_path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"--figure is {path}; figures are written as .png, .svg or .pdf")
    try:
        form = path.suffix.lower().removeprefix(".")
        write_whole(path, lambda part: made.figure().savefig(part, dpi=120, format=form))
    except OSError as error:
        raise InputError(f"--figure {path} cannot be written: {error.strerror or error}; choose another") from error


def card_table() -> str:
    """Return all cards, with where their figures come from."""
    from liveavatar.vram.cards import cards

    rows = [f"{'card':16}{'usable GiB':>11}{'GB/s':>7}{'bf16':>7}{'fp8':>7}  source (TFLOP/s, dense)"]
    rows += [f"{one.name:16}{one.usable_gib:11.1f}{one.bandwidth_gbs:7.0f}{one.bf16_tflops:7.0f}"
             f"{one.fp8_tflops or 0:7.0f}  {one.source} ({one.mark})" for one in cards()]
    return "\n".join(rows)
