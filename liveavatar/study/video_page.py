"""The report of one video: it plays, and says where it came from, what was asked for and what can be measured of it."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.study.page import filled
from liveavatar.types import InputError, Portrait, Speech

if TYPE_CHECKING:
    import numpy

    from liveavatar.metrics.report import Report, Row
    from liveavatar.runs.run import Run

MEASURED_S = 30.0               # of a long video, its first seconds
BARS = 300                      # of the loudness
CHART = (1000, 150)             # width and height of the drawing, px; it is scaled to the page
OPEN = 0.1                      # opening from which on a mouth counts as open
PORTRAIT_PX = 256               # longer side in the page
NAMES = {                       # of a measure -> what a reader calls it
    "lips.late_ms": "Lips behind the sound", "lips.peak": "Mouth follows the loudness",
    "lips.closed_in_silence": "Mouth closed in silence", "lips.lips_meet": "Lips meet in p, b and m",
    "lips.shapes": "Mouth shapes as asked for", "texture.reachable_psnr_db": "Best score there could be",
    "texture.flicker_wall_levels": "Rhythm in the wall", "texture.flicker_ears_levels": "Rhythm in the ears",
    "texture.psnr_db": "Face against the true drawing", "texture.ssim": "Structure against the true drawing",
    "texture.kept": "Fine detail kept", "texture.in_place": "Fine detail in its place",
    "texture.flicker": "Flicker of the still wall", "texture.seam": "Jump where blocks meet",
    "identity.drift": "Colours drift away", "identity.per_minute": "Drift of colours",
    "identity.from_portrait": "Colours against the portrait",
    "motion.hand_jerk": "Hands: jerk", "motion.hand_sparc": "Hands: smoothness",
    "motion.head_jerk": "Head: jerk", "motion.head_sparc": "Head: smoothness"}


@dataclass(frozen=True)
class Material:
    """One video, and what is known of it."""

    path: Path
    about: dict                          # what the file says of its origin
    portrait: Portrait | None = None     # of a run folder
    speech: Speech | None = None
    blocks: str = ""                     # how far a run folder is
    run: Run | None = None               # of a run folder, with its steps


def video_page(path: Path) -> str:
    """Write the page of an mp4 or webm, of whatever origin. Raises InputError where it cannot be played."""
    from liveavatar.video import read_provenance

    fps_of(path)                                 # refuses what is no video
    return page_of(Material(path, read_provenance(path)))


def run_folder_page(folder: Path) -> str:
    """Write the page of a run folder of `liveavatar generate --run_dir`: its video, portrait, speech and steps."""
    from liveavatar.runfolder import RunFolder
    from liveavatar.runs.opening import open_run_folder, video_of_folder

    kept = RunFolder(folder)
    about = kept.read()
    path = video_of_folder(kept)
    if path is None:
        raise InputError(f"the run in {folder} has no video yet (it was to be {about.get('output', 'unknown')}); "
                         f"make it with: liveavatar generate --resume {folder}")
    run = open_run_folder(folder, pictures=False)
    return page_of(Material(path, {"generated": True} | about, run.portrait, run.speech,
                            f"{kept.finished()} finished blocks", run))


def page_of(made: Material) -> str:
    """Put the page together."""
    report, waves = measured(made)
    facts = [*file_facts(made.path), *origin_facts(made)]
    kind = made.path.suffix.lower().removeprefix(".")
    video = base64.b64encode(made.path.read_bytes()).decode()
    side = [f'<video id=video controls playsinline src="data:video/{kind};base64,{video}"></video>']
    if made.portrait is not None:
        side.append(f'<figure><img alt="the portrait" src="data:image/jpeg;base64,{portrait_jpeg(made.portrait)}">'
                    "<figcaption>the portrait</figcaption></figure>")
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in facts)
    steps, section = steps_part(made.run)
    body = (f"<div class=rv-top><div class=rv-side>{''.join(side)}</div><div class=wide><table class=rv-facts>{rows}"
            f"</table></div></div>{section}{chart(report, waves)}{numbers(report)}")
    seconds = report.frames / report.fps
    what = "the file itself" if seconds < MEASURED_S else f"the first {MEASURED_S:g} s of the file itself"
    lead = f"The numbers below were measured on {what}. Click into the curves to go to that moment."
    data = {"duration_s": seconds, "left": LEFT / CHART[0], "right": RIGHT / CHART[0],
            "steps": steps}
    return filled(f"A video: {made.path.name}", lead, data, "report_video.js", (), body)


def steps_part(run: Run | None) -> tuple[dict | None, str]:
    """Return the steps of a run folder for the page's script, and the section that shows them."""
    if run is None:
        return None, ""
    from liveavatar.study.steps_section import effects_table, steps_data, steps_of

    heading = "<h2>What each step predicted and changed</h2>"
    steps = steps_of(run)
    if steps is None:
        return None, (f"{heading}<p>The steps of this run were not kept: it was begun by a version before 0.2, or its "
                      "folder steps/ is gone.</p>")
    return steps_data(run, steps), f"{heading}<section id=steps></section>{effects_table(steps)}"


# ------------------------------------------------------------------------------------------- measuring

def measured(made: Material) -> tuple[Report, Speech | None]:
    """Measure the beginning of the video; and its sound."""
    import torch

    from liveavatar.audio import load_audio
    from liveavatar.metrics.report import measure
    from liveavatar.video import read_frames

    fps = fps_of(made.path)
    frames = [torch.from_numpy(frame) for frame in islice(read_frames(made.path), round(MEASURED_S * fps))]
    if not frames:
        raise InputError(f"{made.path} holds no pictures; give a video")
    try:
        speech = made.speech or load_audio(made.path, duration_s=MEASURED_S)
    except InputError:                           # without a sound, or with too little of it
        speech = None
    rendered = made.about.get("backend", {}).get("name") == "mini"
    return measure(torch.stack(frames), speech, made.portrait, fps=fps, rendered=rendered), speech


def fps_of(path: Path) -> float:
    """Return how many frames a second a file shows. Raises InputError for what is no video."""
    import av

    try:
        with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
            return float(container.streams.video[0].average_rate or 25)
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path} is not a video that can be read ({error}); give an mp4 or a webm") from error


# ------------------------------------------------------------------------------------------- facts

def file_facts(path: Path) -> Iterator[tuple[str, str]]:
    """Say what the file is."""
    import av

    with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
        pictures = container.streams.video[0]
        yield "Length", (f"{(container.duration or 0) / 1e6:.2f} s, {float(pictures.average_rate or 0):g} frames a "
                         "second")
        yield "Picture", f"{pictures.width} x {pictures.height} px ({pictures.codec_context.name})"
        for sound in container.streams.audio[:1]:
            yield "Sound", f"{sound.rate / 1000:g} kHz, {sound.layout.name} ({sound.codec_context.name})"
    size = path.stat().st_size
    yield "File", f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def origin_facts(made: Material) -> Iterator[tuple[str, str]]:
    """Say where the video came from, as far as it says so itself."""
    about = made.about
    if not about.get("generated"):
        yield "Origin", "the file says nothing about it"
        return
    model, config, inputs = about.get("backend", {}), about.get("config", {}), about.get("inputs", {})
    if model:
        kind = ", fast student" if model.get("student") else ", many-step base" if "student" in model else ""
        weights = f", weights {model['fingerprint']}" if model.get("fingerprint") else ""
        yield "Model", f"{model.get('name', 'unknown')}{kind if model.get('name') == 'mini' else ''}, " \
                       f"{model.get('dtype', '')}{weights}"
    if config:
        yield "Steps", steps_text(config, model.get("trained", {}))
    if "seed" in about:
        yield "Seed", str(about["seed"])
    prompt = inputs.get("prompt", {})
    if prompt.get("text"):
        slots = ", ".join(f"{slot} {value}" for slot, value in prompt.get("slots", {}).items())
        yield "Prompt", f"“{prompt['text']}”" + (f", understood as: {slots}" if slots else "")
    if inputs.get("audio"):
        yield "Recording", inputs["audio"].get("source", "") + stretch_text(config)
    if inputs.get("portrait"):
        yield "Portrait", inputs["portrait"].get("source", "")
    if made.blocks:
        yield "Run folder", made.blocks
    yield "Made by", f"{about.get('by', 'unknown')}, torch {about.get('torch', 'unknown')}"


def steps_text(config: dict, trained: dict) -> str:
    """Say in words how a block was denoised."""
    schedule = config.get("schedule", "trained")
    levels = schedule if isinstance(schedule, str) else "own levels " + ", ".join(f"{level:g}" for level in schedule)
    return (f"{config.get('sample_steps', '?')} a block, noise levels: {levels}, solver: "
            f"{config.get('sample_solver') or trained.get('solver', 'as trained')}")


def stretch_text(config: dict) -> str:
    """Say which stretch of the recording was used, and whether it was cleaned."""
    said = []
    if config.get("start_s"):
        said.append(f"from {config['start_s']:g} s")
    if config.get("duration_s"):
        said.append(f"{config['duration_s']:g} s of it")
    if config.get("clean"):
        said.append(f"cleaned for the model: {config['clean']}")
    return f" ({', '.join(said)})" if said else ""


def portrait_jpeg(portrait: Portrait) -> str:
    """Encode a portrait, not larger than needed, for the page."""
    from PIL import Image

    pixels = portrait.pixels.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy(force=True)
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((PORTRAIT_PX, PORTRAIT_PX))
    picture.save(file, "JPEG", quality=88)
    return base64.b64encode(file.getvalue()).decode()


# ------------------------------------------------------------------------------------------- drawing

LEFT, RIGHT = 70, CHART[0] - 8          # of the time axis, px
SOUND, MOUTH = (8, 56), (68, 124)       # from and to of the two lanes, px


def chart(report: Report, speech: Speech | None) -> str:
    """Draw the sound and the opening of the mouth over time, as SVG."""
    seconds = report.frames / report.fps

    def x(time_s: float) -> float:
        return LEFT + (RIGHT - LEFT) * time_s / seconds

    parts = [f'<text x=0 y={SOUND[1] - 20}>sound</text>']
    if speech is not None:
        loud, middle = loudness_of(speech, seconds), (SOUND[0] + SOUND[1]) / 2
        for index, value in enumerate(loud):
            tall = max(value * (SOUND[1] - SOUND[0]), 1)
            parts.append(f'<rect class=rv-sound x={x(index * seconds / BARS):.1f} y={middle - tall / 2:.1f} '
                         f'width={(RIGHT - LEFT) / BARS * 0.8:.2f} height={tall:.1f} />')
    parts += [f'<text x=0 y={MOUTH[0] + 12}>mouth</text><text class=rv-small x=0 y={MOUTH[0] + 28}>open 1</text>'
              f'<text class=rv-small x=0 y={MOUTH[1]}>closed 0</text>',
              f'<path class=rv-axis d="M{LEFT} {MOUTH[0]}H{RIGHT}M{LEFT} {MOUTH[1]}H{RIGHT}" />']
    if readable(report):
        height = MOUTH[1] - MOUTH[0]
        points = " ".join(f"{x((frame + 0.5) / report.fps):.1f},{MOUTH[1] - min(max(value, 0), 1) * height:.1f}"
                          for frame, value in enumerate(report.opening.tolist()))
        parts.append(f'<polyline class=rv-mouth points="{points}" />')
    else:
        parts.append(f'<text class=rv-small x={LEFT + 8} y={MOUTH[0] + 32}>not read: the reader of mouths was trained '
                     "on rendered avatars only</text>")
    step = next(step for step in (0.5, 1, 2, 5, 10) if seconds / step <= 12)
    ticks = [step * tick for tick in range(int(seconds / step) + 1)]
    parts += [f'<text class=rv-small text-anchor=middle x={x(tick):.0f} y={CHART[1] - 4}>{tick:g} s</text>'
              for tick in ticks]
    parts.append(f'<line class=rv-cursor x1={LEFT} x2={LEFT} y1=0 y2={MOUTH[1]} />')
    return (f'<h2>Mouth and sound</h2><svg id=chart class=rv-chart viewBox="0 0 {CHART[0]} {CHART[1]}" role=img '
            f'aria-label="sound and opening of the mouth over time">{"".join(parts)}</svg>')


def loudness_of(speech: Speech, seconds: float) -> numpy.ndarray:
    """Reduce the sound of the first seconds to its loudest moments: (BARS,), 0..1."""
    import numpy as np

    wave = np.zeros(round(seconds * speech.rate_hz), np.float32)
    heard = speech.wave[:len(wave)]
    wave[:len(heard)] = np.abs(heard)
    peaks = np.array([piece.max(initial=0) for piece in np.array_split(wave, BARS)])
    return peaks / max(float(peaks.max()), 1e-6)


def value_text(row: Row) -> str:
    """Write a number with its unit; shares as percentages."""
    if row.unit == "share":
        return f"{row.value:.0%}"
    unit = {"0..1": "of 1", "levels": "of 255"}.get(row.unit, row.unit)
    return f"{row.value:.3g} {unit}".strip()


def readable(report: Report) -> bool:
    """Tell whether the opening of the mouth means something: the reader knows rendered faces only."""
    return report.motion.applies or report.identity.applies


def numbers(report: Report) -> str:
    """List what was measured, in words; and what was not, and why."""
    rows = [row for row in report.rows() if not row.name.startswith("cost.")]
    known = [row for row in rows if not math.isnan(row.value)]
    lines = [f"<tr><th>{html.escape(NAMES.get(row.name, row.name.partition('.')[2].replace('_', ' ')))}</th>"
             f"<td class=rv-number>{html.escape(value_text(row))}</td><td>{html.escape(row.note)}</td></tr>"
             for row in known]
    if readable(report):
        share = (report.opening > OPEN).float().mean().item()
        lines.insert(0, f"<tr><th>Mouth open</th><td class=rv-number>{share:.0%}</td>"
                        f"<td>of the frames: opening above {OPEN:g}</td></tr>")
    reasons = dict.fromkeys(row.note for row in rows if math.isnan(row.value) and row.note)
    missing = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    return (f"<h2>What was measured</h2><div class=wide><table>{''.join(lines)}</table></div>"
            + (f"<details><summary>What could not be measured, and why</summary><ul>{missing}</ul></details>"
               if missing else ""))
