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
import json
import math
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mini_networks import Networks, add_weights, find_networks
from torch import Tensor

from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.avatars.motion import CONTROLS, portrait_pose, talk
from liveavatar.avatars.traits import identity_index, motion_index
from liveavatar.backends.mini import bfloat16_is_faster
from liveavatar.conditions import controls_vector
from liveavatar.config import parse_size
from liveavatar.metrics.quality import (
    DRAWS,
    BootstrapEstimate,
    Likeness,
    box_square_error,
    closed,
    closures,
    colour_error,
    corner_square_error,
    draw_people,
    frame_difference,
    lag,
    mean,
    seam,
    share,
    silent_frames,
    square_error,
    temporal_correlation,
)
from liveavatar.metrics.regressor import COLOURS, FaceRegressor
from liveavatar.sampler import trained_schedule
from liveavatar.training.clips import Clips, avatar_clips
from liveavatar.training.dataset import ClipCondition, encode, encode_audio, rollout
from liveavatar.training.sheets import tile, write_png
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer
from liveavatar.types import InputError

BLOCK_FRAMES = 12
# boxes in which quality is measured: width and height, pixels of a 128 px picture
BOXES_PX = {"mouth": (("mouth_center",), 36, 24), "eyes": (("left_eye", "right_eye"), 20, 14),
            "hands": (("left_hand", "right_hand"), 30, 30)}
DECODED_TOGETHER = 8          # clips
READ_TOGETHER = 512           # pictures
SILENT_APERTURE = 0.05        # truth: closed, and nobody speaks
PRESSED = 0.5                 # truth: this much pressed together are lips in p, b and m only
LIPS = {"aperture": "mouth_aperture", "width": "mouth_width", "rounding": "lip_rounding"}
BEAT, POINT = (CONTROLS["gesture"].index(name) for name in ("beat", "point"))


# ---------------------------------------------------------------------------------------------- rows of the table
@dataclass(frozen=True)
class Setting:
    """One way to make the videos."""

    network: str              # "base", or the name of a student
    steps: int
    solver: str = "euler"
    guidance: float = 1.0

    @property
    def name(self) -> str:
        guided = f", guidance {self.guidance:g}" if self.guidance != 1 else ""
        return f"{self.network} {self.steps}{', renoise' if self.solver == 'renoise' else ''}{guided}"

    @property
    def forwards(self) -> int:
        return self.steps * (1 if self.guidance == 1 else 2)


def settings_of(networks: Networks) -> Iterator[Setting]:
    """Every row that these networks allow, the most telling ones first."""
    solver = networks.trained.solver
    yield from (Setting("base", steps) for steps in (32, 4, 2, 1))
    yield from (Setting(name, 4, solver) for name in networks.students)
    for name in networks.students:
        yield from (Setting(name, steps, solver) for steps in (1, 2, 3, 5, 6, 7, 8))
    yield Setting("base", 8)
    yield from (Setting("base", steps, guidance=1.5) for steps in (32, 4))
    other = "renoise" if solver == "euler" else "euler"
    yield from (Setting(name, 4, other) for name in networks.students)


# ---------------------------------------------------------------------------------------------- what is true
@dataclass(frozen=True)
class Truth:
    """Clips of unseen people and voices, and all that is known about them. T frames, without the audio history."""

    told: ClipCondition
    video: Tensor             # (B, 3, T, H, W)
    otherwise: Tensor         # the same people saying the same, but head, hands and eyes move otherwise
    motion: Tensor            # (B, T, NM)
    colours: Tensor           # (B, K, 3) of COLOURS
    points: Tensor            # (B, T, P, 2) in the order of LANDMARKS
    loudness: Tensor          # (B, T) envelope of the speech
    silent: Tensor            # (B, T) bool
    pressed: Tensor           # (B, T) bool: lips together, for p, b and m
    gesture: Tensor           # (B,)

    def trait(self, name: str) -> Tensor:
        return self.motion[..., motion_index(name)]


@torch.no_grad()
def draw_truth(clips: Clips, networks: Networks, count: int, frames: int) -> Truth:
    drawn = clips.draw(count, frames, portrait=True, lead=AUDIO_HISTORY)
    motion = drawn.motion
    columns = [identity_index(f"{name}_{channel}") for name in COLOURS for channel in ("red", "green", "blue")]
    resting = motion[..., motion_index("mouth_aperture")] < SILENT_APERTURE
    silent = resting & (drawn.speaking == 0)
    otherwise = talk(drawn.visemes.cpu(), drawn.loudness.cpu(), drawn.controls.cpu(), clips.generator, clips.chance)
    otherwise = otherwise.to(clips.device)
    told = ClipCondition(encode(networks.vae.encode_portrait, drawn.portrait),
                         encode_audio(networks.audio_encoder, drawn.mel), controls_vector(drawn.controls))
    return Truth(told, drawn.video, clips.worlds[0].source.film(drawn.identity, otherwise)[0], motion,
                 drawn.identity[:, columns].unflatten(1, (-1, 3)), drawn.points, drawn.loudness, silent,
                 motion[..., motion_index("lip_press")] > PRESSED, drawn.controls[:, 0])


# ---------------------------------------------------------------------------------------------- what was made
@dataclass(frozen=True)
class Readings:
    """What the regressor reads off videos."""

    traits: dict[str, Tensor]     # name -> (B, T)
    colours: Tensor               # (B, T, K, 3)
    features: Tensor              # (B, T, 192)
    textures: Tensor              # (B, T, 288)


@torch.no_grad()
def read(regressor: FaceRegressor, video: Tensor) -> Readings:
    """video (B, 3, T, H, W)"""
    B, _, T = video.shape[:3]
    pictures = video.transpose(1, 2).flatten(0, 1)
    pieces = [piece.contiguous() for piece in pictures.split(READ_TOGETHER)]
    readings = [regressor(piece) for piece in pieces]
    names = (*LIPS.values(), "left_hand_y", "right_hand_y")
    traits = {name: torch.cat([one[name] for one in readings]).float().view(B, T) for name in names}
    return Readings(traits, torch.cat([one.colours for one in readings]).float().view(B, T, -1, 3),
                    torch.cat([one.features for one in readings]).unflatten(0, (B, T)),
                    torch.cat([regressor.textures(piece) for piece in pieces]).unflatten(0, (B, T)))


def as_it_runs(device: torch.device) -> torch.autocast:
    """On a CPU whatever mini would choose there for a video; a GPU makes its own choice."""
    return torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu" and bfloat16_is_faster())


@torch.no_grad()
def decode(networks: Networks, latents: Tensor) -> Tensor:
    """(B, C, F, h, w) -> (B, 3, T, H, W) float"""
    return torch.cat([encode(networks.vae.decode, piece) for piece in latents.split(DECODED_TOGETHER)])


@torch.no_grad()
def reconstruct(networks: Networks, video: Tensor) -> Tensor:
    with as_it_runs(video.device):
        latents = torch.cat([encode(networks.vae.encode, piece) for piece in video.split(DECODED_TOGETHER)])
        return decode(networks, latents)


def make(networks: Networks, model: CausalS2VTransformer, setting: Setting, told: ClipCondition, noise: Tensor,
         batch: int) -> Tensor:
    """Videos (B, 3, T, H, W) of one setting; noise (B, C, F, h, w)."""
    made = []
    for first in range(0, len(noise), batch):
        part = slice(first, first + batch)
        fresh = torch.Generator(noise.device).manual_seed(first)
        with as_it_runs(noise.device):
            schedule = trained_schedule(setting.steps, networks.trained.shift)
            latents, _ = rollout(model, noise[part], told[part], schedule, setting.solver, fresh, setting.guidance)[-1]
            made.append(decode(networks, latents))
    return torch.cat(made)


# ---------------------------------------------------------------------------------------------- measures of a row
Row = dict[str, BootstrapEstimate]


@dataclass(frozen=True)
class Judge:
    """What every row is measured against."""

    truth: Truth
    people: Tensor            # (1 + R, B) of draw_people
    likeness: dict[str, Likeness]

    @classmethod
    def of(cls, truth: Truth, seen: Readings) -> Judge:
        """seen: what is read off the true videos"""
        people = draw_people(len(truth.video))
        return cls(truth, people, {name: Likeness(getattr(seen, name), people) for name in LIKENESSES})


LIKENESSES = {"features": "content", "textures": "texture"}     # of Readings -> as they are called in the table


def measure(video: Tensor, seen: Readings, judge: Judge) -> Row:
    """One row of the table."""
    truth, people = judge.truth, judge.people
    aperture, true_aperture = seen.traits["mouth_aperture"], truth.trait("mouth_aperture")
    late = lag(aperture, true_aperture).frames
    change, corners = frame_difference(video), corner_square_error(video, truth.video)
    row = {f"{name}_correlation": mean(temporal_correlation(seen.traits[trait], truth.trait(trait)), people)
           for name, trait in LIPS.items()}
    row |= {f"{name}_distance": judge.likeness[key].distance(getattr(seen, key)) for key, name in LIKENESSES.items()}
    return row | {
        "lag_frames": mean(late.abs(), people), "late_frames": mean(late, people),
        "aperture_error": mean((aperture - true_aperture).abs().mean(1), people),
        "closed_share": share((closed(aperture) & truth.silent).sum(1), truth.silent.sum(1), people),
        "pressed_share": share(*closures(aperture, truth.pressed), people),
        "hand_correlation": hand_correlation(seen, truth, people),
        "colour_error": mean(colour_error(seen.colours, truth.colours), people),
        "corner_psnr_db": mean(corners.mean(1), people).decibel(),
        "corner_psnr_last_db": mean(corners[:, -8:].mean(1), people).decibel(),
        "frame_difference": mean(change.mean(1), people), "seam": mean(seam(change, BLOCK_FRAMES), people),
        "loudness_correlation": mean(lag(aperture, truth.loudness).correlation, people)}


def hand_correlation(seen: Readings, truth: Truth, people: Tensor) -> BootstrapEstimate:
    """Height of the hands that follow the voice: both when they beat, the left one when it points."""
    scores = []
    for side, gestures in (("left", (BEAT, POINT)), ("right", (BEAT,))):
        moves = torch.stack([truth.gesture == gesture for gesture in gestures]).any(0)
        name = f"{side}_hand_y"
        scores.append(temporal_correlation(seen.traits[name], truth.trait(name)).where(moves, math.nan))
    both = torch.stack(scores)
    return share(both.nan_to_num(0).sum(0), (~both.isnan()).sum(0), people)


def measure_boxes(video: Tensor, judge: Judge) -> Row:
    """PSNR in dB of whole pictures and of boxes around mouth, eyes and hands."""
    truth, people = judge.truth, judge.people
    row = {"psnr_whole_db": mean(square_error(video, truth.video).mean(1), people).decibel()}
    scale = min(video.shape[-2:]) / 128
    for name, (places, width, height) in BOXES_PX.items():
        boxes = [box_square_error(video, truth.video, truth.points[:, :, LANDMARKS.index(place)],
                                  (width * scale, height * scale)) for place in places]
        squares, pixels = (sum(one.sum(1) for one in part) for part in zip(*boxes, strict=True))
        row[f"psnr_{name}_db"] = share(squares, pixels, people).decibel()
    return row


# ---------------------------------------------------------------------------------------------- real recordings
@torch.no_grad()
def judge_recordings(paths: list[Path], networks: Networks, model: CausalS2VTransformer, setting: Setting, clips: Clips,
                     frames: int, batch: int) -> dict:
    """Real voices, cut into pieces of `frames`, each spoken by another unseen face.

    Correlation of the mouth's opening with the loudness envelope at the best delay, mean over pieces; the share of
    silent frames with a closed mouth.
    """
    pieces_of = [cut(path, frames, networks) for path in paths]
    heard, loudness, silent = (torch.cat(parts) for parts in zip(*pieces_of, strict=True))
    dice = torch.Generator().manual_seed(5)
    B = len(heard)
    avatars = clips.worlds[0].source
    identity = avatars.identities[torch.randperm(len(avatars.identities), generator=dice)[:B]]
    controls = torch.stack([torch.randint(len(choices), (B,), generator=dice) for choices in CONTROLS.values()], 1)
    pose = portrait_pose(B, dice).to(clips.device)
    portraits = avatars.portrait(identity, pose)
    told = ClipCondition(encode(networks.vae.encode_portrait, portraits), heard.to(clips.device),
                         controls_vector(controls).to(clips.device))
    noise = noise_for(told, frames, seed=6)
    video = make(networks, model, setting, told, noise, batch)
    aperture = read(networks.regressor, video).traits["mouth_aperture"]
    agreement = lag(aperture, loudness.to(aperture.device))
    silent, pieces = silent.to(aperture.device), draw_people(B)
    return {"pieces": B, "frames": frames, "loudness_correlation": mean(agreement.correlation, pieces),
            "late_frames": mean(agreement.frames, pieces), "silent_frames": int(silent.sum()),
            "closed_share": share((closed(aperture) & silent).sum(1), silent.sum(1), pieces)}


def cut(path: Path, frames: int, networks: Networks) -> tuple[Tensor, Tensor, Tensor]:
    """A recording in whole pieces: audio (B, 1, D, history + T), loudness (B, T), silent (B, T)."""
    from liveavatar.audio import load_audio, loudness_envelope, mel_features
    from liveavatar.rollout import audio_of_block

    speech = load_audio(path)
    features = mel_features(speech)
    count = features.frames // frames
    if count == 0:
        raise InputError(f"{path} lasts {speech.duration_s:.1f} s; give recordings of {frames / features.fps:.1f} s or "
                         "more, or fewer --frames")
    told = networks.audio_encoder.listen(features.values[0, 0])[None, None]
    heard = torch.cat([audio_of_block(told, piece, frames, True) for piece in range(count)])
    loudness = loudness_envelope(speech.wave)[:count * frames].view(count, frames)
    silent = silent_frames(torch.from_numpy(speech.wave), features.frames)[:count * frames].view(count, frames)
    return heard, loudness, silent


def noise_for(told: ClipCondition, frames: int, seed: int) -> Tensor:
    """Noise of whole clips, the same on every device. (B, C, F, h, w)"""
    B, C, _, h, w = told.reference.shape
    noise = torch.randn(B, C, frames // 4, h, w, generator=torch.Generator().manual_seed(seed))
    return noise.to(told.reference.device)


# ---------------------------------------------------------------------------------------------- the whole run
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


SHOWN = ("aperture_correlation", "lag_frames", "pressed_share", "corner_psnr_db", "content_distance",
         "texture_distance")
TRUE, MOVED = "truth", "truth, moved otherwise"


def run(arguments: argparse.Namespace, networks: Networks, clips: Clips, report: Report) -> None:
    """Row by row, as long as there is time."""
    began = time.monotonic()
    networks.to(clips.device)
    truth = draw_truth(clips, networks, arguments.clips, arguments.frames)
    seen = read(networks.regressor, truth.video)
    judge = Judge.of(truth, seen)
    noise = noise_for(truth.told, arguments.frames, arguments.seed)

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
            add(setting.name, make(networks, network(networks, setting), setting, truth.told, noise, arguments.batch))
    if arguments.recordings:
        setting = chosen(networks)
        report.recordings = judge_recordings(arguments.recordings, networks, network(networks, setting), setting, clips,
                                             arguments.frames, arguments.batch) | {"row": setting.name}


def network(networks: Networks, setting: Setting) -> CausalS2VTransformer:
    return networks.base if setting.network == "base" else networks.students[setting.network]


def chosen(networks: Networks) -> Setting:
    """The row that goals are asked of: four steps of the first student, or of the base where there is none."""
    name = next(iter(networks.students), None)
    return Setting("base", 4) if name is None else Setting(name, 4, networks.trained.solver)


def wanted(name: str, rows: list[str] | None) -> bool:
    return not rows or name in rows


# ---------------------------------------------------------------------------------------------- goals
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


# ---------------------------------------------------------------------------------------------- paper
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


def describe(arguments: argparse.Namespace, networks: Networks, argv: list[str]) -> dict:
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    name += ", videos in bfloat16" if device.type == "cuda" or bfloat16_is_faster() else ""
    words = [Path(word).name if word.startswith("/") else word for word in argv]      # folders are nobody's business
    return {"command": shlex.join(["python", "benchmarks/mini_quality.py", *words]), "device": name,
            "torch": torch.__version__, "commit": commit(), "clips": arguments.clips, "frames": arguments.frames,
            "size": arguments.size, "seed": arguments.seed, "weights": networks.origin}


def commit() -> str:
    """Of the code that measures; a copy without its history does not know."""
    try:
        asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                               cwd=Path(__file__).parent)
    except OSError:
        return "unknown"
    return asked.stdout.strip() or "unknown"


def main(argv: list[str] | None = None) -> Report:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="speech file made by liveavatar.training.corpus")
    add_weights(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=96, help="video frames of a clip, a multiple of 12")
    parser.add_argument("--size", default="128*128", help="width*height")
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


if __name__ == "__main__":
    main()
