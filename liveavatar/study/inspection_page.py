"""The report of an inspected video: it plays and scrubs, every curve follows it, every figure has its sentence."""

from __future__ import annotations

import base64
import html
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.inspection.findings import Finding, Inspection, shown
from liveavatar.study.page import filled
from liveavatar.study.video_page import BARS, loudness_of

if TYPE_CHECKING:
    from liveavatar.inspection.clip import Clip

PLAYABLE = {".mp4": ("h264", "av1"), ".webm": ("vp8", "vp9", "av1")}        # what every browser shows
PLAYABLE_SOUND = ("aac", "opus", "vorbis", "mp3", "mp3float")
MOST_KEPT_BYTES = 12_000_000        # of a file that is put into the page as it is
PAGE_PX = 512                       # longer side of a video that is encoded anew for the page
MOST_FPS = 30.0
WIDTH, LEFT, RIGHT = 1000, 110, 992         # of the drawings, px; they are scaled to the page
GROUPS = (("Lips and sound", ("offset_ms", "drift_ms_per_minute", "jumps_count", "loudness_correlation",
                              "opening_share", "silence_motion_ratio", "silence_open_share", "nonspeech_share",
                              "nonspeech_motion_ratio", "closure_share", "sounds_correlation")),
          ("Pictures", ("seam_ratio", "block_frames", "cuts_count", "repeated_share", "brightness_change_levels",
                        "brightness_drift_levels_per_minute", "flicker_levels", "unrest_levels")),
          ("Face", ("skin_change_delta_e", "identity_change_share", "frozen_head_share", "head_motion_deg",
                    "blinks_per_minute", "mouth_detail_ratio", "teeth_share")))
STATES = {"fine": "✓", "notable": "!", "fault": "✗", "unknown": "–", "neutral": "·"}
UNITS = {"ms": "ms", "ms_per_minute": "ms/min", "count": "", "ratio": "times", "levels": "of 255",
         "levels_per_minute": "of 255/min", "delta_e": "ΔE", "deg": "°", "per_minute": "/min", "frames": "pictures",
         "correlation": ""}


def inspection_page(found: Inspection) -> str:
    """Write the page of an inspection."""
    clip = found.clip
    kind, video = playable(clip)
    data = base64.b64encode(video).decode()
    height, width = clip.header.size
    rate = f"{clip.fps:.3g} pictures a second{', at uneven times' if clip.variable_rate else ''}"
    lead = f"{clip.duration_s:.1f} s, {width} x {height} px, {rate} ({clip.header.codec})."
    verdict = "".join(f"<p>{html.escape(one)}</p>" for one in sentences(found))
    body = (f'<div class=rv-top><div class=rv-side><video id=video controls playsinline '
            f'src="data:video/{kind};base64,{data}"></video></div><div class=iv-verdict>{verdict}{notes(found)}'
            f"{offset_chart(found)}</div></div><h2>Over time</h2><p class=iv-hint>Click or drag in the curves to go to "
            f"that moment.</p>{time_charts(found)}{tables(found)}")
    about = {"duration_s": clip.duration_s, "left": LEFT / WIDTH, "right": RIGHT / WIDTH}
    return filled(f"Inspected: {clip.path.name}", lead, about, "report_video.js",
                  ("report_inspection.css",), body)


def sentences(found: Inspection) -> list[str]:
    """Split the verdict into its sentences, one for each finding that stands out."""
    verdicts = [one.verdict for one in found.findings if one.verdict in found.verdict]
    quiet = ["Nothing else stands out."] if found.verdict.endswith("Nothing else stands out.") else []
    return list(dict.fromkeys([found.findings[0].verdict, *verdicts])) + quiet


def notes(found: Inspection) -> str:
    """List what was noticed while reading."""
    clip = found.clip
    said = list(clip.notes)
    if clip.most_faces > 1:
        said.append(f"{clip.most_faces} faces are seen at once; the largest, most central one is read.")
    return "".join(f"<p class=iv-hint>{html.escape(one)}</p>" for one in said)


# ------------------------------------------------------------------------------------------------- the video

def playable(clip: Clip) -> tuple[str, bytes]:
    """Return kind and bytes of a video that every browser plays: the file itself, else a small copy."""
    ending = clip.path.suffix.lower()
    if clip.header.codec in PLAYABLE.get(ending, ()) and clip.path.stat().st_size <= MOST_KEPT_BYTES and plain(clip):
        return ending.removeprefix("."), clip.path.read_bytes()
    return "mp4", copy_of(clip)


def plain(clip: Clip) -> bool:
    """Tell whether browsers know pixels and sound of a file, and the sound inspected is its own."""
    from liveavatar.inspection.decoding import opened

    with opened(clip.path) as container:
        pixels = container.streams.video[0].codec_context.pix_fmt
        names = [stream.codec_context.name for stream in container.streams.audio]
        ends_s = float(container.duration or 0) / 1e6
    own_sound = (clip.speech is None or clip.own_sound) and all(name in PLAYABLE_SOUND for name in names[:1])
    return pixels in ("yuv420p", "yuvj420p") and own_sound and abs(ends_s - clip.duration_s) < 1


def copy_of(clip: Clip) -> bytes:
    """Encode a small H.264 copy with even time stamps and the sound that was inspected."""
    from liveavatar.inspection.decoding import even_pictures
    from liveavatar.video import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.mp4"
        writer = None
        fps = Fraction(min(clip.fps, MOST_FPS)).limit_denominator(1001)
        for picture in even_pictures(clip.path, float(fps), clip.duration_s, PAGE_PX):
            if writer is None:
                writer = VideoWriter(path, picture.shape[:2], float(fps), clip.speech)
            writer.write(picture[None])
        writer.close()
        return path.read_bytes()


# ------------------------------------------------------------------------------------------------- drawing

@dataclass(frozen=True)
class Lane:
    """One curve over time."""

    name: str
    unit: str
    times_s: Sequence[float]
    values: Sequence[float]
    least: float                # of the extent that is drawn at any rate
    kind: str = "iv-line"       # class of the line
    dots: bool = False


def time_charts(found: Inspection) -> str:
    """Draw sound, mouth and all courses under one time axis."""
    clip, parts = found.clip, []
    parts.append(sound_lane(found))
    for lane in lanes_of(found):
        parts.append(lane_chart(lane, clip.duration_s, found))
    parts.append(axis_chart(clip.duration_s))
    return f'<div class=iv-charts>{"".join(parts)}</div>'


def lanes_of(found: Inspection) -> Iterator[Lane]:
    """List the curves that are known."""
    known = (("opening", "mouth", "0 closed, 1 open", 1.0, "rv-mouth"),
             ("offset_ms", "lips late", "ms", 100.0, "iv-line"), ("yaw_deg", "head turns", "degrees", 4.0, "iv-line"),
             ("brightness_levels", "brightness", "of 255", 8.0, "iv-line"),
             ("skin_delta_e", "skin colour", "difference ΔE", 4.0, "iv-line"),
             ("identity_change", "other face", "share", 0.3, "iv-line"),
             ("change_levels", "change", "of 255", 0.5, "iv-thin"))
    for name, label, unit, least, kind in known:
        if name in found.courses:
            times, values = found.courses[name]
            yield Lane(label, unit, times.tolist(), values.tolist(), least, kind, name in ("offset_ms",
                                                                                           "identity_change"))


def at(time_s: float, duration_s: float) -> float:
    """Return where a moment lies, px."""
    return LEFT + (RIGHT - LEFT) * min(max(time_s / duration_s, 0), 1)


def frame(height: int, label: str, inner: str, described: str) -> str:
    """Put one drawing into its frame, with the line that follows the video."""
    return (f'<svg class="rv-chart" viewBox="0 0 {WIDTH} {height}" role=img aria-label="{html.escape(described)}">'
            f'<text x=0 y=16>{html.escape(label)}</text>{inner}'
            f'<line class=rv-cursor x1={LEFT} x2={LEFT} y1=0 y2={height} /></svg>')


def sound_lane(found: Inspection) -> str:
    """Draw the loudness of the sound."""
    clip, height = found.clip, 52
    if clip.speech is None:
        text = f'<text class=rv-small x={LEFT + 6} y=30>{html.escape(clip.soundless)}</text>'
        return frame(height, "sound", text, "no sound")
    bars = []
    for index, value in enumerate(loudness_of(clip.speech, clip.duration_s)):
        tall = max(float(value) * (height - 8), 1)
        bars.append(f'<rect class=rv-sound x={LEFT + index * (RIGHT - LEFT) / BARS:.1f} y={(height - tall) / 2:.1f} '
                    f'width={(RIGHT - LEFT) / BARS * 0.8:.2f} height={tall:.1f} />')
    return frame(height, "sound", "".join(bars), "loudness of the sound over time")


def lane_chart(lane: Lane, duration_s: float, found: Inspection) -> str:
    """Draw one curve; gaps stay gaps."""
    height, top, bottom = 74, 8, 66
    known = [value for value in lane.values if math.isfinite(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    if lane.name in ("mouth", "other face", "skin colour", "change"):
        low = 0.0
    if lane.name == "lips late":
        low, high = min(low, 0.0), max(high, 0.0)
    middle, half = (low + high) / 2, max(high - low, lane.least) / 2 * 1.06
    if low == 0.0 and lane.name != "lips late":
        middle = half

    def y(value: float) -> float:
        return bottom - (min(max(value, middle - half), middle + half) - middle + half) / (2 * half) * (bottom - top)

    parts = [f'<path class=rv-axis d="M{LEFT} {top}H{RIGHT}M{LEFT} {bottom}H{RIGHT}" />',
             *(f'<text class=rv-small text-anchor=end x={LEFT - 6} y={y(value) + 4:.1f}>{tick(value)}</text>'
               for value in (middle - half, middle + half)),
             f'<text class=rv-small x=0 y=32>{html.escape(lane.unit)}</text>']
    if lane.name == "lips late":
        parts.append(f'<path class=iv-zero d="M{LEFT} {y(0):.1f}H{RIGHT}" />')
        parts += [f'<path class=iv-jump d="M{at(one.time_s, duration_s):.1f} {top}V{bottom}" />'
                  for one in found.sync.jumps]
    parts += [f'<polyline class={lane.kind} points="{points}" />' for points in
              runs_of(lane, duration_s, y)]
    if lane.dots:
        parts += [f'<circle class=iv-dot r=3 cx={at(time_s, duration_s):.1f} cy={y(value):.1f} />'
                  for time_s, value in zip(lane.times_s, lane.values, strict=True) if math.isfinite(value)]
    return frame(height, lane.name, "".join(parts), f"{lane.name}, {lane.unit}, over time")


def tick(value: float) -> str:
    """Write a number beside an axis."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}".replace("-0.0", "0.0")


def runs_of(lane: Lane, duration_s: float, y: object) -> Iterator[str]:
    """Yield the points of each piece without a gap; long curves are thinned to two points a pixel."""
    every = max(1, len(lane.values) // (2 * WIDTH))
    points: list[str] = []
    for time_s, value in list(zip(lane.times_s, lane.values, strict=True))[::every]:
        if math.isfinite(value):
            points.append(f"{at(time_s, duration_s):.1f},{y(value):.1f}")
        elif points:
            yield " ".join(points)
            points = []
    if points:
        yield " ".join(points)


def axis_chart(duration_s: float) -> str:
    """Draw the seconds."""
    step = next((step for step in (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300) if duration_s / step <= 12), 600)
    ticks = [step * number for number in range(int(duration_s / step) + 1)]
    texts = "".join(f'<text class=rv-small text-anchor={"end" if at(value, duration_s) > RIGHT - 12 else "middle"} '
                    f'x={at(value, duration_s):.0f} y=14>{value:g} s</text>' for value in ticks)
    return f'<svg class=rv-chart viewBox="0 0 {WIDTH} 18" aria-hidden=true>{texts}</svg>'


def offset_chart(found: Inspection) -> str:
    """Draw the agreement of mouth and sound at every delay."""
    curve = found.sync.curve
    if not bool(curve.correlation.isfinite().all()) or len(curve.correlation) < 3:
        return ""
    wide, tall, left, bottom = 540, 178, 40, 140
    lags, values = curve.lags_ms.tolist(), curve.correlation.tolist()
    most, least = max(0.8, *values), min(0.0, *values)

    def x(lag: float) -> float:
        return left + (lag - lags[0]) / (lags[-1] - lags[0]) * (wide - left - 26)

    def y(value: float) -> float:
        return bottom - (value - least) / (most - least) * (bottom - 12)

    step = 100 if lags[-1] <= 400 else 250
    ticks = range(-int(lags[-1] // step) * step, int(lags[-1]) + 1, step)
    points = " ".join(f"{x(lag):.1f},{y(value):.1f}" for lag, value in zip(lags, values, strict=True))
    parts = [f'<rect class=iv-band x={x(-125):.1f} y=8 width={x(45) - x(-125):.1f} height={bottom - 8} />',
             f'<path class=rv-axis d="M{left} {y(0):.1f}H{wide - 26}" />',
             f'<polyline class=iv-line points="{points}" />',
             *(f'<text class=rv-small text-anchor=middle x={x(value):.0f} y={bottom + 15}>{value:+d}</text>'
               for value in ticks if value),
             f'<text class=rv-small text-anchor=middle x={x(0):.0f} y={bottom + 15}>0 ms</text>',
             *(f'<text class=rv-small text-anchor=end x={left - 5} y={y(value) + 4:.1f}>{value:g}</text>'
               for value in (0, 0.5)),
             f'<text class=rv-small x={x(lags[0])} y={bottom + 29}>lips early</text>',
             f'<text class=rv-small text-anchor=end x={wide - 4} y={bottom + 29}>lips late</text>']
    if curve.applies:
        parts.append(f'<path class=iv-jump d="M{x(curve.best_ms):.1f} 8V{bottom}" />')
    return (f'<figure class=iv-figure><svg viewBox="0 0 {wide} {tall}" class=iv-offset role=img '
            f'aria-label="correlation of mouth and sound at every delay">{"".join(parts)}</svg>'
            '<figcaption>Correlation of the mouth with the loudness of the vowels at every delay. '
            "Shaded: what people do not notice (ITU-R BT.1359-1).</figcaption></figure>")


# ------------------------------------------------------------------------------------------------- the figures

def tables(found: Inspection) -> str:
    """List every figure with its sentence."""
    return "".join(f"<h2>{name}</h2><div class=wide><table class=iv-table>"
                   + "".join(row(found[figure]) for figure in figures) + "</table></div>" for name, figures in GROUPS)


def row(finding: Finding) -> str:
    """Write one figure as a row of the table."""
    value, unit = value_of(finding)
    return (f'<tr class="iv-{finding.state}"><td class=iv-mark title={finding.state}>{STATES[finding.state]}</td>'
            f"<th>{html.escape(finding.label)}<code>{finding.name}</code></th>"
            f"<td class=rv-number>{html.escape(value)}{unit}</td>"
            f"<td class=iv-text>{html.escape(finding.verdict)}"
            f'<span class=iv-trust>Better: {finding.better}. Trust: {finding.trust}. '
            f"{html.escape(sentence_of(finding.trusted_because))}</span></td></tr>")


def sentence_of(text: str) -> str:
    """Begin with a capital letter and end with a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def value_of(finding: Finding) -> tuple[str, str]:
    """Write the value of a figure and its unit as readers write them: shares in per cent."""
    if math.isnan(finding.value):
        return "–", ""
    if finding.name.endswith("_share"):
        sure = f" ± {finding.uncertainty:.0%}" if math.isfinite(finding.uncertainty) else ""
        return f"{finding.value:.0%}{sure}", ""
    unit = next((written for ending, written in sorted(UNITS.items(), key=lambda one: -len(one[0]))
                 if finding.name.endswith(f"_{ending}")), "")
    return shown(finding), f" {unit}" if unit else ""
