"""Does a long video stay what it was? Half an hour through the public pipeline, watched at its corners and colours.

    python benchmarks/drift.py                     30 minutes of video: an hour on two cores, minutes on a GPU
    python benchmarks/drift.py --minutes 2 --every 5
    python benchmarks/drift.py --switches out/switches --minutes 10      a stream for each switch, in turn; stopped at
                                                   any moment, by --within too, the same command goes on

Every block is denoised, each from the caches the one before left. Only one block in `--every` is decoded, with the two
blocks before it as a warm-up: the decoder looks back less than five latent frames, so what is measured equals what a
whole video would show. The portrait, lit neutrally, is the truth: its wall must stay, and its colours. With --switches
every block is decoded and measured (`liveavatar.study.drift`), and results go to drift_switches.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mini_networks import Networks, add_weights, find_networks
from speed import long_speech
from torch import Tensor

import liveavatar
from liveavatar.avatars.traits import identity_index
from liveavatar.backends.devices import choose_device, choose_dtype
from liveavatar.backends.mini import MiniBackend
from liveavatar.metrics.quality import colour_error, corner_square_error, decibel
from liveavatar.metrics.regressor import COLOURS, FaceRegressor
from liveavatar.metrics.stream_drift import CURVES
from liveavatar.study.drift import DriftStudy, stability_settings
from liveavatar.training.sheets import tile, write_png

WARM_UP_BLOCKS = 2
BLOCK_S = 0.48
FAULT_BLOCK, FAULT_MINUTES = 20, 0.3
MEAN_BLOCKS = 5
TITLES = {"identity": "identity (0 portrait, 1 another person)", "colours": "colours moved, levels of 255",
          "corners_db": "corners, dB", "seam": "seam, times the change within a block"}
PROMPT = "neutral light"          # that of the portrait, so that the wall's true colours are known


@dataclass(frozen=True)
class Moment:
    """One decoded block."""

    minute: float
    corner_square: float      # mean squared error of the corners against the portrait
    colour_error: float       # mean absolute error of the colours read, against the identity
    colour_moved: float       # of the colours read, against those of the first minute


def watch(pipeline: liveavatar.Pipeline, regressor: FaceRegressor, portrait: liveavatar.Portrait, minutes: float,
          every: int, seed: int) -> Iterator[tuple[Moment, Tensor]]:
    """Make the video and yield what is measured of it, with one picture (3, H, W) of the block."""
    from tqdm import tqdm

    config = liveavatar.GenerationConfig(base_seed=seed)
    condition = pipeline.condition(long_speech(60 * minutes), portrait, PROMPT, config)
    recent: deque[Tensor] = deque(maxlen=WARM_UP_BLOCKS + 1)
    first: list[Tensor] = []
    columns = [identity_index(f"{name}_{channel}") for name in COLOURS for channel in ("red", "green", "blue")]
    truth = portrait.identity[columns].view(1, -1, 3)
    with tqdm(total=round(60 * minutes), unit="s", desc="drift") as progress:
        for step in pipeline.steps(condition, config=config):
            if not step.last:
                continue
            progress.update(round(BLOCK_S * (step.block + 1)) - progress.n)
            recent.append(step.x)
            if step.block % every or len(recent) <= WARM_UP_BLOCKS:
                continue
            video = decode_last(pipeline, tuple(recent))
            read = regressor(video[0].transpose(0, 1)).colours[None]                   # (1, T, K, 3)
            minute = step.block * BLOCK_S / 60
            if minute < 1:
                first.append(read.mean(1))
            start = torch.stack(first).mean(0)
            corners = corner_square_error(video, portrait.pixels[None, :, None]).mean().item()
            yield Moment(minute, corners, colour_error(read, truth).item(),
                         colour_error(read.mean(1, keepdim=True), start).item()), video[0, :, 0]


def pipeline_of(networks: Networks, dtype: str, device: str) -> liveavatar.Pipeline:
    """The pipeline that drives these networks: the first student, or the base where there is none."""
    name, transformer = next(iter(networks.students.items()), ("base", networks.base))
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    about = {"name": "mini", "student": name != "base", "dtype": str(kind).removeprefix("torch.")}
    for network in (transformer, networks.vae):
        torch.nn.Module.to(network, place, kind)
    return liveavatar.Pipeline(MiniBackend(transformer, networks.vae, networks.audio_encoder, networks.trained, about))


def decode_last(pipeline: liveavatar.Pipeline, blocks: tuple[Tensor, ...]) -> Tensor:
    """Pictures of the last of these blocks, (1, 3, T, H, W) in 0..1; those before warm the decoder's memory."""
    *_, pictures = pipeline.decode(blocks)
    return pictures.permute(3, 0, 1, 2)[None].float() / 255


def summary(moments: list[Moment]) -> dict[str, float]:
    """The first minute against the last (or the first and last tenth of a short video)."""
    end = moments[-1].minute
    stretch = min(1.0, end / 10)
    early = [moment for moment in moments if moment.minute <= stretch + moments[0].minute]
    late = [moment for moment in moments if moment.minute >= end - stretch]

    def mean(name: str, part: list[Moment]) -> float:
        return sum(getattr(moment, name) for moment in part) / len(part)

    corners = [decibel(mean("corner_square", part)) for part in (early, late)]
    colours = [mean("colour_error", part) for part in (early, late)]
    worst = decibel(max(moment.corner_square for moment in moments))
    return {"minutes": end, "blocks_decoded": len(moments), "corners_first_db": corners[0],
            "corners_last_db": corners[1], "corners_drift_db": corners[1] - corners[0], "corners_worst_db": worst,
            "colour_error_first": colours[0], "colour_error_last": colours[1],
            "colour_drift_db": decibel(colours[1] ** 2) - decibel(colours[0] ** 2),
            "colours_moved_last": mean("colour_moved", late)}


def table(moments: list[Moment], rows: int = 10) -> Iterator[str]:
    """The course of it in so many lines."""
    yield "| minute | corners, dB | colour error | colours moved |"
    yield "| ---: | ---: | ---: | ---: |"
    size = -(-len(moments) // rows)
    for part in (moments[at:at + size] for at in range(0, len(moments), size)):
        means = [sum(getattr(moment, name) for moment in part) / len(part)
                 for name in ("corner_square", "colour_error", "colour_moved")]
        yield (f"| {part[0].minute:.1f} to {part[-1].minute:.1f} | {decibel(means[0]):.1f} | {means[1]:.4f} | "
               f"{means[2]:.4f} |")


def draw(moments: list[Moment], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (corners, colours) = pyplot.subplots(1, 2, figsize=(9, 2.8))
    minutes = [moment.minute for moment in moments]
    corners.plot(minutes, [decibel(moment.corner_square) for moment in moments], linewidth=0.7)
    corners.set(title="static corners, dB", xlabel="minute")
    colours.plot(minutes, [moment.colour_error for moment in moments], linewidth=0.7, label="error")
    colours.plot(minutes, [moment.colour_moved for moment in moments], linewidth=0.7, label="moved since the start")
    colours.set(title="colours of the person", xlabel="minute", ylim=(0, None))
    colours.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


# ---------------------------------------------------------------------------------------------- the switches

def compare_switches(arguments: argparse.Namespace) -> None:
    """Make a stream for each switch, as far as `--within` allows, and write what was found so far."""
    from tqdm import tqdm

    pipeline = pipeline_of(find_networks(arguments), arguments.dtype, arguments.device)
    until = time.monotonic() + 60 * arguments.within
    studies = []
    for name, chosen, minutes in (("faults", True, FAULT_MINUTES), ("switches", False, arguments.minutes)):
        settings = [setting for setting in stability_settings(pipeline, FAULT_BLOCK)
                    if (setting.fault is not None) == chosen]
        study = DriftStudy(pipeline, long_speech(60 * minutes), liveavatar.avatar(arguments.person), PROMPT,
                           settings=settings, seconds=60 * minutes, folder=arguments.switches / name,
                           config=liveavatar.GenerationConfig(base_seed=arguments.seed))
        for _ in tqdm(study.blocks(), desc=name, unit="block"):
            if time.monotonic() > until:
                study.stop()
        studies.append(study)
    stem = arguments.out.with_name(arguments.out.stem + "_switches")
    stem.parent.mkdir(parents=True, exist_ok=True)
    faults, switches = studies
    text = switches_text(arguments, pipeline, switches, faults)
    print(text)
    stem.with_suffix(".md").write_text(text)
    draw_switches(switches, stem.with_suffix(".webp"))


def switches_text(arguments: argparse.Namespace, pipeline: liveavatar.Pipeline, switches: DriftStudy,
                  faults: DriftStudy) -> str:
    """Write the tables: a row for each switch, a row for each planted fault."""
    heads = ("stream", "video, s", *(f"{TITLES[curve]}, first to last tenth" for curve in CURVES), "jumps", "shifts")
    lines = ["# What keeps mini's stream stable", "",
             f"    python benchmarks/drift.py --switches out/switches --minutes {arguments.minutes:g}", "",
             f"{pipeline.backend.dtype} on a {platform.machine()} {pipeline.backend.device.type}, torch "
             f"{torch.__version__}, seed {arguments.seed}, portrait avatar({arguments.person}). Each row says how much "
             f"video it rests on; {60 * arguments.minutes:g} s were asked for. mini is a small network whose head "
             "copies from the portrait: what it does says how the switches work, not how the 14B model would do.", "",
             "| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row in switches.table():
        values = [f"{row.first[curve]:.3g} to {row.last[curve]:.3g}" for curve in CURVES]
        found = f"{len(row.jumps)} | {len(row.shifts)}"
        lines.append(f"| {row.name} | {row.seconds:.0f} | {' | '.join(values)} | {found} |")
    lines += ["", *reading(switches), "",
              f"Faults put into finished pictures at block {FAULT_BLOCK}, which the measures must find there and "
              "nowhere else:", "", "| fault | video, s | jumps found at blocks | shifts of colour found at blocks |",
              "| --- | ---: | --- | --- |"]
    lines += [f"| {row.name} | {row.seconds:.0f} | {row.jumps or 'none'} | {row.shifts or 'none'} |"
              for row in faults.table()]
    return "\n".join([*lines, ""])


def reading(study: DriftStudy) -> Iterator[str]:
    """Say which streams differ from the first one, by their means over all blocks but the first."""
    for curve, times, words in (("identity", 2.0, "are at least twice as far from the portrait as the one as trained"),
                                ("colours", 2.0, "have moved their colours at least twice as far"),
                                ("seam", 1.2, "have seams at least 1.2 times as large")):
        kept, *others = (sum(getattr(point, curve) for point in stream.points[1:]) / max(len(stream.points) - 1, 1)
                         for stream in study.streams)
        found = [stream.setting.name for stream, mean in zip(study.streams[1:], others, strict=True)
                 if mean >= times * kept]
        yield f"* On the mean, these {words}: {', '.join(found) or 'none'}."


def draw_switches(study: DriftStudy, path: Path) -> None:
    """Draw the four curves of each stream, means over MEAN_BLOCKS blocks."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot

    figure, panes = pyplot.subplots(2, 2, figsize=(10, 6))
    streams = [stream for stream in study.streams if len(stream.points) >= MEAN_BLOCKS]
    for pane, curve in zip(panes.flat, CURVES, strict=True):
        for number, stream in enumerate(streams):
            values = np.array([getattr(point, curve) for point in stream.points[1:]])
            smooth = np.convolve(values, np.ones(MEAN_BLOCKS) / MEAN_BLOCKS, "valid")
            minutes = (np.arange(len(smooth)) + MEAN_BLOCKS / 2) * study.block_s / 60
            pane.plot(minutes, smooth, linewidth=1.8 if number == 0 else 0.9, color=f"C{number}",
                      label=stream.setting.name)
        pane.set(title=TITLES[curve], xlabel="minute")
    figure.legend(*panes.flat[0].get_legend_handles_labels(), loc="lower center", ncol=5, fontsize=8)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=90, pil_kwargs={"quality": 70, "method": 6})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_weights(parser)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--within", type=float, default=math.inf, metavar="MINUTES", help="of work; then report so far")
    parser.add_argument("--every", type=int, default=10, help="decode one block in so many")
    parser.add_argument("--seed", type=int, default=420)
    parser.add_argument("--person", type=int, default=1, help="seed of the portrait")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--switches", type=Path, metavar="FOLDER", help="compare the switches; curves are kept here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "drift")
    arguments = parser.parse_args()
    if arguments.switches is not None:
        compare_switches(arguments)
        return
    began = time.monotonic()
    networks = find_networks(arguments)
    pipeline = pipeline_of(networks, arguments.dtype, arguments.device)
    portrait = liveavatar.avatar(arguments.person)
    moments, pictures = [], []
    with torch.inference_mode():
        for moment, picture in watch(pipeline, networks.regressor, portrait, arguments.minutes, arguments.every,
                                     arguments.seed):
            moments.append(moment)
            pictures.append(picture)
            if time.monotonic() - began > 60 * arguments.within:
                break
    found = summary(moments)
    took = (time.monotonic() - began) / 60
    device = pipeline.backend.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    heading = ["# Drift of mini", "",
               f"    python benchmarks/drift.py --minutes {arguments.minutes:g} --every {arguments.every}", "",
               f"{found['minutes']:.1f} minutes of video in {took:.1f} minutes, {name}, {pipeline.backend.dtype}, "
               f"torch {torch.__version__}; wanted: corners and colours within 1 dB of the beginning.", ""]
    text = "\n".join([*heading, *table(moments), "", *(f"* {name}: {value:.4g}" for name, value in found.items()), ""])
    print(text)
    stem = arguments.out.with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps(
        {"summary": found, "moments": [asdict(moment) for moment in moments]}, indent=1) + "\n")
    chosen = torch.linspace(0, len(pictures) - 1, 8).long().tolist()
    write_png(tile(torch.stack([portrait.pixels, *(pictures[at] for at in chosen)])[None]), stem.with_suffix(".png"))
    draw(moments, stem.with_name(stem.name + "_curves.png"))


if __name__ == "__main__":
    main()
