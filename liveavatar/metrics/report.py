"""Everything that can be measured of one video, gathered.

    report = measure("out.mp4", speech=spoken, portrait=liveavatar.avatar(1))
    print(report.table())

speech with phonemes gives the true lips, a rendered portrait the true face, the Video, run or trace the cost. What is
missing makes its measures say `applies=False` and why; the others are not touched by it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.metrics.alignment import Alignment, align, no_alignment
from liveavatar.metrics.cost import Cost, cost
from liveavatar.metrics.footage import Footage, footage, is_run
from liveavatar.metrics.identity import Drift, drift
from liveavatar.metrics.lips import LipError, PhonemeReport, lip_error, only_opening, phoneme_report, true_opening
from liveavatar.metrics.motion import Motion, motion
from liveavatar.metrics.reader import find_face, read_face, read_photo_mouth
from liveavatar.metrics.regressor import MOUTH, Reading
from liveavatar.metrics.texture import CHECKED, SAMPLED, Flicker, Texture, flicker, no_texture, texture
from liveavatar.types import Portrait, Speech
from liveavatar.video import Video

if TYPE_CHECKING:
    from collections.abc import Iterable

    from liveavatar.metrics.footage import Source
    from liveavatar.trace import Trace


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: float
    unit: str
    note: str                # what it means, or why it does not apply


@dataclass(frozen=True)
class Report:
    """Hold what was measured of one video. Each part is a frozen result of its own module."""

    lips: LipError
    alignment: Alignment | None
    phonemes: PhonemeReport | None
    texture: Texture
    flicker: Flicker
    motion: Motion
    identity: Drift
    cost: Cost
    opening: Tensor              # (T,) of the mouth, as read
    frames: int
    size: tuple[int, int]        # (height, width)
    fps: float
    seconds: dict[str, float] = field(default_factory=dict)     # that measuring took, by measure

    def rows(self) -> tuple[Row, ...]:
        """Return every number with its unit and what it means."""
        return tuple(_lip_rows(self)) + tuple(_picture_rows(self)) + tuple(_motion_rows(self)) + tuple(_cost_rows(self))

    def table(self) -> str:
        """Return the report as text, one number a line; "-" is what does not apply, and why."""
        rows = self.rows()
        name_width = max(len(row.name) for row in rows)
        unit_width = max(len(row.unit) for row in rows)
        return "\n".join(f"{row.name:{name_width}}  {_shown(row.value):>8} {row.unit:{unit_width}}  {row.note}".rstrip()
                         for row in rows)

    def to_dict(self) -> dict[str, dict]:
        """Return plain numbers by measure, for tables and JSON; what does not apply is None, with its reason."""
        groups: dict[str, dict] = {"lips": {}, "texture": {}, "motion": {}, "identity": {}, "cost": {}}
        for row in self.rows():
            group, _, name = row.name.partition(".")
            groups[group][name] = None if math.isnan(row.value) else row.value
        for group, result in (("lips", self.lips), ("texture", self.texture), ("motion", self.motion),
                              ("identity", self.identity), ("cost", self.cost)):
            groups[group] |= {"applies": result.applies, "reason": result.reason}
        groups["seconds"] = dict(self.seconds)
        return groups

    def _repr_html_(self) -> str:
        lines = "".join(f"<tr><td>{row.name}</td><td style='text-align:right'>{_shown(row.value)}</td>"
                        f"<td>{row.unit}</td><td style='text-align:left'>{row.note}</td></tr>" for row in self.rows())
        return f"<table>{lines}</table>"


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _lip_rows(report: Report) -> Iterator[Row]:
    lips = report.lips
    yield Row("lips.error_frames", lips.error_frames, "frames", lips.reason or "delay of 1 s pieces that "
              "agree, root mean square")
    yield Row("lips.agreeing", lips.agreeing, "share", lips.reason or "pieces that agree with the truth at some delay")
    yield Row("lips.late_frames", lips.late_frames, "frames", lips.reason or "against the true curve; positive: the "
              "lips are late")
    yield Row("lips.fraction", lips.fraction, "of open", lips.reason or "mean error of the opening")
    yield Row("lips.correlation", lips.correlation, "", lips.reason or "with the true curve")
    alignment = report.alignment
    reason = "no sound" if alignment is None else alignment.reason
    late_ms, peak = (math.nan, math.nan) if alignment is None else (alignment.late_ms, alignment.peak)
    yield Row("lips.late_ms", late_ms, "ms", reason or f"against the loudness, +-{alignment.spread_ms:.0f}; "
              f"{'noticeable' if alignment.noticeable else 'not noticeable'} (ITU-R BT.1359)")
    yield Row("lips.peak", peak, "", reason or "correlation there; true videos reach 0.5 to 0.8")
    phonemes = report.phonemes
    if phonemes is None:
        return
    for check in phonemes.checks:
        name = check.name.replace(" ", "_").replace("-", "_")
        yield Row(f"lips.{name}", check.share, "share", f"of {check.of}; true curves keep {check.reachable:.0%}")
    if phonemes.confusion is not None:
        yield Row("lips.shapes", phonemes.confusion.accuracy, "share",
                  f"mouth shapes as asked for; true curves reach {phonemes.confusion.reachable:.0%}")


def _picture_rows(report: Report) -> Iterator[Row]:
    found, still = report.texture, report.flicker
    reach = "" if math.isnan(found.reachable_psnr_db) else f"; true pictures reach {found.reachable_psnr_db:.1f}"
    yield Row("texture.psnr_db", found.psnr_db, "dB", found.reason or f"face against the nearest true one{reach}")
    yield Row("texture.ssim", found.ssim, "", found.reason or "the same, structural similarity")
    yield Row("texture.kept", found.kept, "share", found.reason or "energy of fine detail against the true one")
    yield Row("texture.in_place", found.in_place, "share", found.reason or "true detail found where it belongs")
    yield Row("texture.reachable_psnr_db", found.reachable_psnr_db, "dB", found.reason or "bound of psnr_db")
    yield Row("texture.flicker", still.still, "levels", still.reason or "change of the still wall from picture to "
              "picture")
    yield Row("texture.seam", still.seam, "times", still.reason or "change at block seams against elsewhere")
    for name, line in still.spectra.items():
        yield Row(f"texture.flicker_{name}_levels", line.peak_levels, "levels",
                  f"strongest line, at {line.peak_hz:.1f} Hz, {line.prominence:.1f} times the median")
    drifting = report.identity
    yield Row("identity.drift", drifting.end, "0..1", drifting.reason or "colours of the last second against the first "
              "block")
    yield Row("identity.per_minute", drifting.per_minute, "/min", drifting.reason or "slope of the drift")
    yield Row("identity.from_portrait", drifting.from_portrait, "0..1", drifting.reason or "from the true colours")


def _motion_rows(report: Report) -> Iterator[Row]:
    moves = report.motion.movements
    hands = [one for one in moves if one.name.endswith("hand") and one.applies]
    head = [one for one in moves if one.name == "head" and one.applies]
    reasons = {one.name: one.reason for one in moves}
    for name, found, reason in (("hand", hands, reasons.get("right_hand") or report.motion.reason),
                                ("head", head, reasons.get("head") or report.motion.reason)):
        jerk, arc = (sum(getattr(one, what) for one in found) / len(found) if found else math.nan
                     for what in ("ldlj", "sparc"))
        yield Row(f"motion.{name}_jerk", -jerk, "", "log dimensionless jerk, less is smoother" if found else reason)
        yield Row(f"motion.{name}_sparc", arc, "", "spectral arc length, closer to 0 is smoother" if found else reason)


def _cost_rows(report: Report) -> Iterator[Row]:
    spent = report.cost
    for name, unit, note in (("ms_per_frame", "ms", "of work"), ("ms_per_block", "ms", "denoising and decoding"),
                             ("x_realtime", "times", "seconds of video per second of work"),
                             ("first_picture_s", "s", "of work until the first picture")):
        yield Row(f"cost.{name}", getattr(spent, name), unit, spent.reason or note)
    for owner, count in spent.peak_bytes.items():
        yield Row(f"cost.{owner}_mib", count / 2**20, "MiB", "at most")


# ---------------------------------------------------------------------------------------------- measuring
def measure(video: Source, speech: Speech | None = None, portrait: Portrait | None = None,
            trace: Trace | Iterable[object] | None = None, *, fps: float = 25.0, samples: int = SAMPLED,
            check: int = CHECKED, rendered: bool | None = None) -> Report:
    """Measure all that applies.

    video       a path, a Video, a Run (also while it is going), blocks, or frames (T, H, W, 3) uint8 at `fps`
    speech      what is said, with phonemes where they are known; else the sound of the file
    portrait    who speaks, with an identity where the renderer drew it
    trace       the Trace, or the events, of the run: for the cost
    samples     pictures whose texture is compared with true ones (0.07 s each); check: true pictures that are put
                through the same search, to bound its error
    rendered    whether this shows a rendered avatar, the only faces that are read in full; by default what portrait
                and file say, and yes where they say nothing and the regressor finds the mouth where the landmarks
                are. Of real faces the mouth is read.

    Where no face is found every measure of one says so.
    """
    began = time.perf_counter()
    seconds: dict[str, float] = {}
    watch = _Watch(seconds)
    if isinstance(video, Iterator):
        video = list(video)
    with watch("pictures"):
        shown = footage(video, speech, portrait, fps)
    identity = None if shown.portrait is None else shown.portrait.identity
    with watch("reading"):
        reading, mouth, faceless = read_mouth(shown, is_rendered(shown) if rendered is None else rendered)
    unread = faceless or ("" if reading is not None else UNREADABLE)
    with watch("lips"):
        lips, alignment, phonemes = _lips(mouth, shown, faceless)
    with watch("texture"):
        face = no_texture(unread) if unread and identity is not None else texture(shown.frames, identity, reading,
                                                                                  samples, check)
    with watch("flicker"):
        still = flicker(shown.frames, None if unread else reading, shown.fps, shown.block_frames)
    with watch("motion"):
        moves = Motion((), applies=False, reason=unread) if unread else motion(reading, shown.fps)
    with watch("identity"):
        colours = _no_drift(unread) if unread else drift(reading, shown.fps, identity)
    opening = torch.full_like(mouth[:, 0], math.nan) if faceless else mouth[:, 0]
    report = Report(lips, alignment, phonemes, face, still, moves, colours, _cost(video, trace, shown.fps), opening,
                    len(shown.frames), tuple(shown.frames.shape[1:3]), shown.fps, seconds)
    seconds["all"] = time.perf_counter() - began
    return report


UNREADABLE = "this is no rendered avatar: only the mouth of real faces is read"


def is_rendered(shown: Footage) -> bool:
    """Return what portrait and file say about it; bare frames and files that say nothing count as rendered."""
    if shown.portrait is not None:
        return shown.portrait.identity is not None
    return shown.about.get("backend", {}).get("name", "mini") == "mini"


def read_mouth(shown: Footage, rendered: bool) -> tuple[Reading | None, Tensor, str]:
    """Read the face: all of a rendered one, else None; its mouth (T, 5) in the order of READABLE; why there is none."""
    if rendered:
        reading = read_face(shown.frames)
        faceless, placed = find_face(shown.frames, reading)
        if faceless or placed:
            return reading, reading.motion[:, :len(MOUTH)], faceless
    opening, faceless = read_photo_mouth(shown.frames)
    return None, only_opening(opening), faceless


def _lips(mouth: Tensor, shown: Footage, faceless: str) -> tuple[LipError, Alignment | None, PhonemeReport | None]:
    """Measure the mouth (T, 5) in the order of READABLE; faceless: why there is none."""
    def unknown(reason: str) -> LipError:
        return LipError(*[math.nan] * 5, False, reason)

    speech, opening = shown.speech, mouth[:, 0]
    if speech is None:
        return unknown("there is no sound"), None, None
    if faceless:
        return unknown(faceless), no_alignment(faceless, len(opening), shown.fps), None
    if not speech.phonemes:
        lips = unknown("the phonemes are not known: give the speech that liveavatar.speak made")
    else:
        lips = lip_error(opening, true_opening(speech, len(opening), shown.fps), shown.fps)
    return lips, align(opening, speech, shown.fps), phoneme_report(mouth, speech, shown.fps)


def _no_drift(reason: str) -> Drift:
    none = torch.empty(0)
    return Drift(none, none, {}, math.nan, math.nan, math.nan, False, reason)


def _cost(video: Source, trace: Trace | Iterable[object] | None, fps: float) -> Cost:
    """Measure the cost from whatever is at hand: a Video, a Run, a trace or events."""
    if is_run(video):
        return cost([*(video.trace if trace is None else trace), *video.blocks], video.video, video.backend, fps)
    blocks = video if isinstance(video, list) else ()
    return cost([*(trace or ()), *blocks], video if isinstance(video, Video) else None, fps=fps)


class _Watch:
    """Seconds of work by name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - began
