"""Quality of mini on people, voices and sentences it never met; and on real recordings.

    python benchmarks/mini_quality.py --corpus .train/corpus.npz --weights .train --device cuda
    python benchmarks/mini_quality.py --corpus .train/corpus.npz --device cpu --clips 8 --rows "student-4 4" \\
        --recordings A.wav B.wav --out out/recordings

Every row speaks the same sentences with the same faces, from the same noise; `--rows` picks some. All blocks of a clip
are made in parallel, which equals streaming (tests/test_transformer.py). Leaves OUT.json, OUT.md and two sheets of
pictures, OUT.png and OUT_steps.png. What the columns mean stands under the table, and in liveavatar/metrics/quality.py.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from pathlib import Path

import torch
from mini_networks import Networks, add_weights, find_networks
from quality_clips import (
    BLOCK_FRAMES,
    Setting,
    draw_truth,
    make,
    network,
    noise_for,
    read,
    reconstruct,
    settings_of,
)
from quality_measures import Judge, judge_recordings, measure, measure_boxes
from quality_report import MOVED, TRUE, Report, command_of, write
from torch import Tensor

from liveavatar.backends.devices import bfloat16_is_faster
from liveavatar.config import parse_size
from liveavatar.study.provenance import commit
from liveavatar.training.clips import Clips, avatar_clips


def run(arguments: argparse.Namespace, networks: Networks, clips: Clips, report: Report) -> None:
    """Row by row, as long as there is time."""
    began = time.monotonic()
    networks.to(clips.device)
    truth = draw_truth(clips, networks, arguments.clips, arguments.frames)
    seen = read(networks.regressor, truth.video)
    judge = Judge.of(truth, seen)
    noise = noise_for(truth.condition, arguments.frames, arguments.seed)

    def add(name: str, video: Tensor) -> None:
        report.add(name, measure(video, read(networks.regressor, video), judge), video)

    report.add(TRUE, measure(truth.video, seen, judge), truth.video)
    add(MOVED, truth.otherwise)
    if wanted("VAE", arguments.rows):
        video = reconstruct(networks, truth.video)
        add("VAE", video)
        report.rows["VAE"] |= measure_boxes(video, judge)
    for setting in settings_of(networks):
        if wanted(setting.name, arguments.rows) and time.monotonic() - began < 60 * arguments.within:
            model = network(networks, setting)
            add(setting.name, make(networks, model, setting, truth.condition, noise, arguments.batch))
    if arguments.recordings:
        setting = chosen(networks)
        report.recordings = judge_recordings(arguments.recordings, networks, network(networks, setting), setting, clips,
                                             arguments.frames, arguments.batch) | {"row": setting.name}


def chosen(networks: Networks) -> Setting:
    """The row that goals are asked of: four steps of the first student, or of the base where there is none."""
    name = next(iter(networks.students), None)
    return Setting("base", 4) if name is None else Setting(name, 4, networks.trained.solver)


def wanted(name: str, rows: list[str] | None) -> bool:
    return not rows or name in rows


def describe(arguments: argparse.Namespace, networks: Networks, argv: list[str]) -> dict:
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    name += ", videos in bfloat16" if device.type == "cuda" or bfloat16_is_faster() else ""
    return {"command": command_of("mini_quality.py", argv), "device": name,
            "torch": torch.__version__, "commit": commit(), "clips": arguments.clips, "frames": arguments.frames,
            "size": arguments.size, "seed": arguments.seed, "weights": networks.origin}


def main(argv: list[str] | None = None) -> Report:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="speech file made by liveavatar.training.corpus")
    add_weights(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=96, help="video frames of a clip, a multiple of 12")
    parser.add_argument("--size", default="256*256", help="width*height (default: %(default)s)")
    parser.add_argument("--world", choices=("plain", "rich"), default="plain", help="of rendered people")
    parser.add_argument("--batch", type=int, default=32, help="clips made together")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--within", type=float, default=math.inf, metavar="MINUTES", help="begin no row after so long")
    parser.add_argument("--rows", nargs="+", help='only these, for example "base 32" "student-4 4"')
    parser.add_argument("--recordings", type=Path, nargs="+", help="real voices")
    parser.add_argument("--people", type=int, default=4, help="on the sheets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mini_quality")
    arguments = parser.parse_args(argv)
    if arguments.frames % BLOCK_FRAMES or arguments.frames < 24:
        parser.error(f"--frames {arguments.frames}: clips are made of blocks of {BLOCK_FRAMES} frames, two at least; "
                     f"try {max(24, round(arguments.frames / BLOCK_FRAMES) * BLOCK_FRAMES)}")
    began = time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    networks = find_networks(arguments)
    clips = avatar_clips(arguments.corpus, "held", arguments.device, parse_size(arguments.size),
                         torch.Generator().manual_seed(arguments.seed), world=arguments.world)
    report = Report(describe(arguments, networks, sys.argv[1:] if argv is None else argv))
    run(arguments, networks, clips, report)
    report.about["seconds"] = time.monotonic() - began
    write(report, chosen(networks).name, arguments)
    return report


if __name__ == "__main__":
    main()
