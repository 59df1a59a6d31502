"""What mini_quality.py leaves: goals, tables and sheets of pictures."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from quality_measures import BOXES_PX, LIKENESSES, Row
from torch import Tensor

from liveavatar.metrics.quality import (
    DRAWS,
    BootstrapEstimate,
)
from liveavatar.training.sheets import tile, write_png


@dataclass
class Report:
    """What a run found."""

    about: dict
    rows: dict[str, Row] = field(default_factory=dict)
    recordings: dict | None = None
    pictures: dict[str, Tensor] = field(default_factory=dict)     # row -> (people, times, 3, H, W), for the sheets

    def add(self, name: str, row: Row, video: Tensor) -> None:
        self.rows[name] = row
        times = torch.linspace(4, video.shape[2] - 4, 6).long()
        self.pictures[name] = video[:4, :, times].transpose(1, 2).float().cpu()
        print(f"{name:28}", *(f"{key} {row[key]:.3f}" for key in SHOWN), flush=True)


def command_of(script: str, argv: list[str]) -> str:
    """Return the command that made a report; of absolute paths the names only: folders are nobody's business."""
    words = [Path(word).name if word.startswith("/") else word for word in argv]
    return shlex.join(["python", f"benchmarks/{script}", *words])


SHOWN = ("aperture_correlation", "lag_frames", "pressed_share", "corner_psnr_db", "content_distance",
         "texture_distance")
TRUE, MOVED = "truth", "truth, moved otherwise"


@dataclass(frozen=True)
class Goal:
    """A wish, and what came of it."""

    wish: str
    wanted: float
    found: BootstrapEstimate
    most: bool = False        # the wish is an upper limit

    @property
    def reached(self) -> bool:
        return self.found.value <= self.wanted if self.most else self.found.value >= self.wanted

    @property
    def sure(self) -> bool:
        """Whether the answer would be the same with other people, 95 times in 100."""
        low, high = self.found.interval
        return not low <= self.wanted <= high

    def __str__(self) -> str:
        answer = ("yes" if self.reached else "**no**") + ("" if self.sure else ", within the interval")
        return f"| {self.wish} | {'<=' if self.most else '>='} {self.wanted:.3g} | {self.found:.3f} | {answer} |"


def goals(report: Report, student: str) -> Iterator[Goal]:
    """What was asked of mini, as far as the rows that were made can tell."""
    rows = report.rows
    true, vae, made = rows[TRUE], rows.get("VAE"), rows.get(student)
    for name, least in (("aperture", 0.95), ("width", 0.9), ("rounding", 0.85)):
        yield Goal(f"regressor on true pictures, {name} correlation", least, true[f"{name}_correlation"])
    if vae:
        yield Goal("VAE, whole picture, dB", 32, vae["psnr_whole_db"])
        yield Goal("VAE, mouth, dB", 28, vae["psnr_mouth_db"])
    if made:
        yield Goal(f"{student}: aperture correlation", 0.85, made["aperture_correlation"])
        yield Goal(f"{student}: mean absolute lag, frames", 0.15, made["lag_frames"], most=True)
        yield Goal(f"{student}: static corners, dB", 39, made["corner_psnr_db"])
        yield Goal(f"{student}: colour error against that of truth", 1.2, made["colour_error"] / true["colour_error"],
                   most=True)
        yield Goal(f"{student}: closed in silence, share of frames", 0.95, made["closed_share"])
    for kind in LIKENESSES.values():
        def against(one: str, other: str, kind: str = kind) -> BootstrapEstimate | None:
            both = [rows[name][f"{kind}_distance"] for name in (one, other) if name in rows]
            return both[0] / both[1] if len(both) == 2 else None

        if found := against(student, "base 32"):
            yield Goal(f"{student}: Frechet distance, {kind}, against base 32", 1.05, found, most=True)
        if found := against(student, "base 4"):
            yield Goal(f"{student}: Frechet distance, {kind}, against base 4, equal forwards", 1.0, found, most=True)
        for steps in (2, 1):
            if found := against(f"base {steps}", "base 32"):
                yield Goal(f"base {steps} visibly worse: Frechet distance, {kind}, against base 32", 1.1, found)
    real = report.recordings
    if real and made:
        yield Goal("real recordings: loudness correlation against synthetic speech", 0.9,
                   real["loudness_correlation"] / made["loudness_correlation"])
    if real:
        yield Goal("real recordings: closed in silence, share of frames", 0.95, real["closed_share"])


TABLES = (    # heading -> key, digits
    {"aperture": ("aperture_correlation", 3), "lag": ("lag_frames", 2), "width": ("width_correlation", 3),
     "rounding": ("rounding_correlation", 3), "p b m": ("pressed_share", 2), "silence": ("closed_share", 3),
     "hands": ("hand_correlation", 2)},
    {"content": ("content_distance", 3), "texture": ("texture_distance", 4), "colour": ("colour_error", 4),
     "corners": ("corner_psnr_db", 1), "last 8": ("corner_psnr_last_db", 1), "change": ("frame_difference", 4),
     "seam": ("seam", 2)})


MEANING = (
    """\
Lips and hands. aperture, width, rounding: correlation over time of what the regressor reads off the lips with the true
curves, mean of the clips; lag: mean absolute delay of the aperture in frames (40 ms); p b m: share of these sounds in
which the lips meet (aperture < 0.15); silence: share of silent frames (true aperture < 0.05, nobody speaks) in which
aperture < 0.1 is read; hands: correlation of the height of hands that follow the voice.""",
    """\
Pictures. content, texture: Frechet distance of the regressor's features from those of the true videos of the same
people, for one feature on average, in squares of its spread: 0 is alike. Content is what the regressor read (192
features); texture the mean, spread and fine detail of its first 96 channels (288), which blur, noise and wrong colours
change. In the row "truth, moved otherwise" the same people say the same while head, hands and eyes move by another
draw: so much comes from movement alone. colour: mean absolute error of the colours of skin, hair, shirt and wall;
corners: PSNR in dB of the two top corners (24 of 128 px) against the true video, of all and of the last 8 frames;
change: mean absolute difference of successive frames; seam: change where a block begins against elsewhere.""")


def cell(figure: BootstrapEstimate | None, digits: int) -> str:
    known = figure is not None and figure.value < 119                  # dB of what is equal
    return f"{figure:.{digits}f}" if known else "-"


def markdown(report: Report, student: str) -> str:
    about = report.about
    lines = ["# Quality of mini", "", f"    {about['command']}", "",
             f"{about['clips']} clips of {about['frames']} frames ({about['size']} px) of unseen people, voices and "
             f"sentences. {about['device']}, torch {about['torch']}, commit {about['commit']}, "
             f"{about['seconds']:.0f} s in all. ±: half of the interval in which 95 % lie when as many people are "
             f"drawn from these (bootstrap, {DRAWS} draws).", ""]
    for columns, meaning in zip(TABLES, MEANING, strict=True):
        lines += ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for name, row in report.rows.items():
            cells = (cell(row.get(key), digits) for key, digits in columns.values())
            lines.append(f"| {f'**{name}**' if name == student else name} | {' | '.join(cells)} |")
        lines += ["", meaning, ""]
    if "VAE" in report.rows:
        vae = report.rows["VAE"]
        parts = ", ".join(f"{name} {vae[f'psnr_{name}_db']:.1f} dB" for name in ("whole", *BOXES_PX))
        lines += [f"VAE reconstruction, PSNR: {parts}.", ""]
    if report.recordings:
        lines += [recordings_line(report.recordings), ""]
    lines += ["| wanted | limit | found | reached |", "| --- | ---: | ---: | --- |"]
    return "\n".join([*lines, *map(str, goals(report, student)), ""])


def recordings_line(real: dict) -> str:
    return (f"Real recordings, {real['row']}, {real['pieces']} pieces of {real['frames']} frames: correlation of the "
            f"aperture with the loudness envelope {real['loudness_correlation']:.3f}, lips {real['late_frames']:.2f} "
            f"frames late; closed in {real['closed_share']:.3f} of {real['silent_frames']} silent frames.")


def plain(values: object) -> object:
    """For JSON: a figure becomes its value and its interval, what is not known null; six digits are kept."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    if isinstance(values, BootstrapEstimate):
        return plain([values.value, *values.interval])
    if isinstance(values, float):
        return None if math.isnan(values) else float(f"{values:.6g}")
    return values


def save_sheet(report: Report, rows: list[str], path: Path, people: int, scale: int = 2) -> None:
    """People below each other, for each the rows; times go across. 128 px pictures are doubled."""
    rows = [name for name in rows if name in report.pictures]
    if not rows:
        return
    people = min(people, len(report.pictures["truth"]))
    lines = [report.pictures[name][person] for person in range(people) for name in rows]
    sheet = tile(torch.stack(lines)).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    try:
        from PIL import Image
    except ImportError:
        write_png(sheet, path)
        return
    pixels = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def write(report: Report, student: str, arguments: argparse.Namespace) -> None:
    """OUT.json, OUT.md and the sheets."""
    stem = arguments.out.with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    found = plain({"about": report.about, "rows": report.rows, "recordings": report.recordings, "goals": [
        {"wish": goal.wish, "wanted": goal.wanted, "most": goal.most, "found": goal.found, "reached": goal.reached,
         "sure": goal.sure} for goal in goals(report, student)]})
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(report, student))
    print(markdown(report, student), flush=True)
    network = student.split()[0]
    save_sheet(report, ["truth", "VAE", "base 32", student], stem.with_suffix(".png"), arguments.people)
    steps = [f"{network} {count}" for count in (1, 2, 3, 4)] + [f"base {count}" for count in (1, 2, 4)]
    save_sheet(report, steps, stem.with_name(stem.name + "_steps.png"), max(1, arguments.people // 2))
