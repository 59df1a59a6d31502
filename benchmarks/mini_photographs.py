"""Photographs that mini makes speak, against the true warp: lips, faces, likeness, detail, and a minute without drift.

    python benchmarks/mini_photographs.py --portraits portraits --corpus .train/corpus.npz \\
        --recordings A.wav B.wav --out benchmarks/results/mini_photographs

One clip for each portrait of the split "val", none of which was trained on, said by a voice that was not either. The
truth is what the puppets' warp draws of the same photograph (`liveavatar.puppets`). All rows are read by the same
landmarks of real faces (`liveavatar.faces`). Leaves OUT.json, OUT.md and a sheet of pictures, OUT.png.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from mini_networks import Networks, add_weights, find_networks
from mini_quality import chosen
from quality_clips import PRESSED, Setting, make, network, noise_for, reconstruct
from quality_measures import cut
from quality_report import cell, command_of, plain
from torch import Tensor

from liveavatar.avatars.traits import motion_index
from liveavatar.conditions import controls_vector
from liveavatar.config import GenerationConfig, parse_size
from liveavatar.faces import read_faces
from liveavatar.inspection.faces import shape_change
from liveavatar.metrics.quality import (
    DRAWS,
    BootstrapEstimate,
    closures,
    draw_people,
    lag,
    mean,
    share,
    temporal_correlation,
)
from liveavatar.puppets.world import PuppetWorld
from liveavatar.study.provenance import commit, machine
from liveavatar.training.clips import Clips, World
from liveavatar.training.dataset import ClipCondition, encode, encode_audio
from liveavatar.training.sheets import tile, write_png
from liveavatar.training.vae import detail_strength
from liveavatar.training.worlds import rigs_of_split, speech_of_split
from liveavatar.transformer import AUDIO_HISTORY
from liveavatar.types import Block, Portrait, Prompt

STILL = 0.02              # a place is still where the truth never differs more from its first picture, 0..1
LIPS_MEET = 0.04          # gap of the lips in eye distances below which they are read as closed
MINUTE_S, ENDS_S = 60, 5
VOICED = 16               # photographs that say the real recordings
PICTURED = 6              # on the sheet

Row = dict[str, BootstrapEstimate]
COLUMNS = {   # heading -> key, digits
    "aperture": ("aperture_correlation", 3), "opening": ("opening_ratio", 2), "late": ("late_frames", 2),
    "p b m": ("pressed_share", 2), "face found": ("found_share", 3), "likeness": ("shape_change", 3),
    "detail": ("detail", 2), "still, dB": ("still_psnr_db", 1)}
MEANING = """\
aperture: correlation over time of the gap of the lips, as read, with the true curve, mean of the clips; opening: its
standard deviation against that read off the truth; late: delay in frames (40 ms); p b m: share of these sounds in
which the lips are read as closed; face found: share of the pictures; likeness: how far 48 points of the skull lie from
those of the portrait, in eye distances, less is better; detail: fine structure against that of the truth, 1 is equal;
still: PSNR of the places that do not move in the truth."""


@dataclass(frozen=True)
class Truth:
    """Photographs that speak, as the warp draws them. B clips of T frames."""

    condition: ClipCondition
    portraits: Tensor         # (B, 3, H, W)
    video: Tensor             # (B, 3, T, H, W)
    aperture: Tensor          # (B, T)
    pressed: Tensor           # (B, T) bool: lips together, for p, b and m


@torch.no_grad()
def draw_truth(arguments: argparse.Namespace, networks: Networks, device: torch.device) -> Truth:
    """Draw one clip of each portrait."""
    rigs = rigs_of_split(arguments.portraits, "held", 0, str(device))
    speech = speech_of_split(arguments.corpus, "held", str(device))
    generator, size, drawn = torch.Generator().manual_seed(arguments.seed), parse_size(arguments.size), []
    for index in range(min(len(rigs), arguments.clips)):
        world = World(PuppetWorld(rigs[torch.tensor([index], device=device)], size, vary=False))
        clips = Clips(speech, [world], device, generator)
        drawn.append(clips.draw(1, arguments.frames, portrait=True, lead=AUDIO_HISTORY))
    portraits, mel, motion, controls = (torch.cat([getattr(one, name) for one in drawn])
                                        for name in ("portrait", "mel", "motion", "controls"))
    condition = ClipCondition(encode(networks.vae.encode_portrait, portraits),
                              encode_audio(networks.audio_encoder, mel), controls_vector(controls).to(device))
    return Truth(condition, portraits, torch.cat([one.video for one in drawn]),
                 motion[..., motion_index("mouth_aperture")], motion[..., motion_index("lip_press")] > PRESSED)


@dataclass(frozen=True)
class Readings:
    """What landmarks say of clips."""

    aperture: Tensor          # (B, T) gap of the lips in eye distances, NaN without a face
    found: Tensor             # (B, T) bool
    change: Tensor            # (B,) of the skull's shape against the portrait


def read(video: Tensor, portraits: Tensor) -> Readings:
    """Read faces: video (B, 3, T, H, W), portraits (B, 3, H, W), both 0..1"""
    apertures, found, changes = [], [], []
    for portrait, clip in zip(portraits, video, strict=True):
        track = read_faces(torch.cat([portrait[None], clip.transpose(0, 1)]).clamp(0, 1).float())
        first = torch.zeros(len(track), dtype=torch.bool)
        first[0] = True
        apertures.append(track.mouth_aperture[1:].cpu())
        found.append(track.found[1:].cpu())
        changes.append(shape_change(track, first & track.found.cpu(), ~first & track.found.cpu()))
    return Readings(torch.stack(apertures), torch.stack(found), torch.tensor(changes))


def measure(video: Tensor, seen: Readings, truth: Truth, true: Readings) -> Row:
    """Measure one row of the table."""
    people, curve = draw_people(len(video)), truth.aperture.cpu()
    known = seen.found.all(1) & true.found.all(1)                      # of the others only `found_share` tells
    def of_known(values: Tensor) -> Tensor:
        return torch.where(known, values.cpu().double(), math.nan)

    met, sounds = closures(seen.aperture.nan_to_num(1), truth.pressed.cpu(), LIPS_MEET)
    squares, still, detail = (torch.stack(column).cpu() for column in zip(*map(against, video, truth.video),
                                                                           strict=True))
    return {
        "aperture_correlation": mean(of_known(temporal_correlation(seen.aperture, curve)), people),
        "opening_ratio": mean(of_known(seen.aperture.std(1) / true.aperture.std(1)), people),
        "late_frames": mean(of_known(lag(seen.aperture.nan_to_num(0), curve).frames), people),
        "pressed_share": share(met, sounds, people),
        "found_share": mean(seen.found.double().mean(1), people),
        "shape_change": mean(of_known(seen.change), people),
        "detail": mean(detail.double(), people), "still_psnr_db": share(squares, still, people).decibel()}


def against(clip: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare pictures (3, T, H, W) with true ones. -> sum of the squared differences where the truth stands still,
    number of such places, fine detail as a share of that of the truth"""
    still = (true - true[:, :1]).abs().amax((0, 1)) < STILL                                     # (H, W)
    squares = ((clip - true).square().mean((0, 1)) * still).sum()
    ratio = detail_strength(clip.transpose(0, 1)) / detail_strength(true.transpose(0, 1)).clamp(min=1e-4)
    return squares, still.sum(), ratio.flatten(1).median(1).values.mean()


@torch.no_grad()
def judge_recordings(arguments: argparse.Namespace, networks: Networks, setting: Setting, truth: Truth) -> dict:
    """Let photographs say real recordings, a piece each. -> correlation of the lips with the loudness at the best
    delay, that delay, share of the silent frames with closed lips"""
    parts = zip(*(cut(path, arguments.frames, networks) for path in arguments.recordings), strict=True)
    audio, loudness, silent = (torch.cat(pieces)[:VOICED] for pieces in parts)
    device, count = truth.video.device, min(len(audio), len(truth.portraits))
    condition = ClipCondition(truth.condition.reference[:count], audio[:count].to(device), truth.condition.text[:count])
    noise = noise_for(condition, arguments.frames, seed=6)
    video = make(networks, network(networks, setting), setting, condition, noise, arguments.batch)
    aperture = read(video, truth.portraits[:count]).aperture.nan_to_num(0)
    agreement, people = lag(aperture, loudness[:count]), draw_people(count)
    silent = silent[:count]
    return {"pieces": count, "loudness_correlation": mean(agreement.correlation, people),
            "late_frames": mean(agreement.frames, people), "silent_frames": int(silent.sum()),
            "closed_share": share(((aperture < LIPS_MEET) & silent).sum(1), silent.sum(1), people)}


def judge_minute(arguments: argparse.Namespace, truth: Truth) -> dict:
    """Stream a minute of the first portrait. -> detail and likeness of its end against its beginning"""
    import numpy as np

    from liveavatar import Speech, load, load_audio

    speech = load_audio(arguments.recordings[0])
    wave = np.tile(speech.wave, math.ceil(MINUTE_S * speech.rate_hz / len(speech.wave)))[:MINUTE_S * speech.rate_hz]
    pipe = load("mini", weights=str(arguments.weights), device=arguments.device)
    portrait = Portrait(truth.portraits[0].float().cpu())
    events = pipe.events(Speech(wave, speech.rate_hz), portrait, Prompt(""), GenerationConfig(size=arguments.size))
    frames = torch.cat([event.frames for event in events if isinstance(event, Block)])
    ends = [frames[:round(ENDS_S * 25)], frames[-round(ENDS_S * 25):]]
    pictures = [end.permute(0, 3, 1, 2).float() / 255 for end in ends]
    detail = [detail_strength(one).median().item() for one in pictures]
    change = [float(read(one.transpose(0, 1)[None], portrait.pixels[None]).change) for one in pictures]
    return {"seconds": len(frames) / 25, "detail_ratio": detail[1] / detail[0], "shape_change_first": change[0],
            "shape_change_last": change[1],
            "brightness_change": float(pictures[1].mean() - pictures[0].mean())}


def samples(video: Tensor) -> Tensor:
    """Pick some pictures for the sheet: (B, 3, T, H, W) -> (people, times, 3, H, W)"""
    times = torch.linspace(4, video.shape[2] - 5, 7).long()
    return video[:PICTURED, :, times].transpose(1, 2).float().cpu()


def save_sheet(pictures: dict[str, Tensor], portraits: Tensor, path: Path) -> None:
    """Draw a portrait, then the same times of every row below each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [torch.cat([portraits[person][None].float().cpu(), row[person]])
             for person in range(min(PICTURED, len(portraits))) for row in pictures.values()]
    write_png(tile(torch.stack(lines)), path)


def markdown(found: dict) -> str:
    """Write the table and what came of the goals."""
    about, rows = found["about"], found["rows"]
    lines = ["# Photographs that mini makes speak", "", f"    {about['command']}", "",
             f"{about['clips']} portraits that were not trained on, {about['frames']} frames of {about['size']} px "
             f"each, unseen voices. {about['device']}, commit {about['commit']}, {about['seconds']:.0f} s in all.", "",
             "±: half of the interval in which 95 % lie when as many people are drawn from these (bootstrap, "
             f"{DRAWS} draws).", "",
             "| | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(cell(row[key], digits) for key, digits in COLUMNS.values()) + " |")
    lines += ["", MEANING, "", "| wanted | limit | found |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {wish} | {limit} | {value} |" for wish, limit, value in goals(found)), ""])


def goals(found: dict) -> list[tuple[str, str, str]]:
    """Compare what was found with what was wanted."""
    rows, real, minute = found["rows"], found["recordings"], found["minute"]
    true, made = rows["truth"], rows[found["about"]["row"]]
    wishes = [
        ("aperture, against what is read off the truth", ">= 0.92",
         f"{made['aperture_correlation'] / true['aperture_correlation']:.3f}"),
        ("lips meet at p, b, m", ">= 0.88", f"{made['pressed_share']:.3f} (truth {true['pressed_share']:.3f})"),
        ("face found", ">= 0.995", f"{made['found_share']:.4f}"),
        ("likeness, against the truth's own", "<= 1.3", f"{made['shape_change'] / true['shape_change']:.2f}"),
        ("still parts, dB", ">= 33", f"{made['still_psnr_db']:.1f}"), ("detail", ">= 0.9", f"{made['detail']:.2f}")]
    if real:
        wishes += [(f"lips against loudness, {real['pieces']} pieces of real recordings", ">= 0.55",
                    f"{real['loudness_correlation']:.3f}, {real['late_frames']:.2f} frames late"),
                   (f"closed in {real['silent_frames']} silent frames", ">= 0.95", f"{real['closed_share']:.3f}")]
    if minute:
        wishes.append((f"{minute['seconds']:.0f} s: detail of the last {ENDS_S} s against the first", "0.95 to 1.05",
                       f"{minute['detail_ratio']:.3f}; likeness {minute['shape_change_first']:.3f}, then "
                       f"{minute['shape_change_last']:.3f}; brightness {minute['brightness_change']:+.3f}"))
    return wishes


def run(arguments: argparse.Namespace, command: str) -> dict:
    """Measure every row; returns all that was found."""
    began, device = time.monotonic(), torch.device(arguments.device)
    networks = find_networks(arguments).to(device)
    truth = draw_truth(arguments, networks, device)
    print(f"{len(truth.video)} clips drawn, {time.monotonic() - began:.0f} s", flush=True)
    true, setting = read(truth.video, truth.portraits), chosen(networks)
    noise = noise_for(truth.condition, arguments.frames, arguments.seed)
    pictures, rows = {"truth": samples(truth.video)}, {"truth": measure(truth.video, true, truth, true)}
    made = {"VAE": lambda: reconstruct(networks, truth.video)}
    for one in (setting, *(Setting("base", steps) for steps in arguments.base_steps)):
        made[one.name] = lambda one=one: make(networks, network(networks, one), one, truth.condition, noise,
                                              arguments.batch)
    for name, how in made.items():
        video = how().clamp(0, 1)
        pictures[name], rows[name] = samples(video), measure(video, read(video, truth.portraits), truth, true)
        print(f"{name:14}", *(f"{key} {rows[name][key]:.3f}" for key, _ in COLUMNS.values()),
              f"{time.monotonic() - began:.0f} s", flush=True)
    save_sheet(pictures, truth.portraits, arguments.out.with_suffix(".png"))
    real = judge_recordings(arguments, networks, setting, truth) if arguments.recordings else None
    minute = judge_minute(arguments, truth) if arguments.recordings and arguments.minute else None
    about = {"command": command, "clips": len(truth.video), "frames": arguments.frames, "size": arguments.size,
             "device": machine(arguments.device), "commit": commit(), "row": setting.name, "weights": networks.origin,
             "seconds": time.monotonic() - began}
    return {"about": about, "rows": rows, "recordings": real, "minute": minute}


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, required=True, help="folder of photographs with landmarks")
    parser.add_argument("--corpus", required=True, help="speech file made by liveavatar.training.corpus")
    add_weights(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, default=64, help="portraits at most")
    parser.add_argument("--frames", type=int, default=96, help="video frames of a clip, a multiple of 12")
    parser.add_argument("--size", default="256*256", help="width*height")
    parser.add_argument("--batch", type=int, default=8, help="clips made together")
    parser.add_argument("--base_steps", type=int, nargs="*", default=[16], help="also the base, with so many steps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--recordings", type=Path, nargs="*", default=[], help="real voices")
    parser.add_argument("--minute", action="store_true", help="also a minute, streamed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mini_photographs")
    arguments = parser.parse_args(argv)
    found = run(arguments, command_of("mini_photographs.py", sys.argv[1:] if argv is None else argv))
    stem = arguments.out.with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(plain(found), indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(found))
    print(markdown(found), flush=True)
    return found


if __name__ == "__main__":
    main()
