"""The columns of the table that questions are asked of: their names, units, and what is better."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from liveavatar.study.table import Table

REPORTED = Path(__file__).parent / "reported.json"


@dataclass(frozen=True)
class Measure:
    """One column, and how it is read."""

    column: str
    label: str
    unit: str
    better: int          # +1: higher is better, -1: lower is better
    worth: float         # the smallest difference that matters, in the unit
    reported: str = ""   # the article's column of the same thing

    @property
    def axis(self) -> str:
        """Return the label of the axis of a plot."""
        arrow = "higher" if self.better > 0 else "lower"
        return f"{self.label}\n({self.unit}, {arrow} is better)" if self.unit else f"{self.label}\n({arrow} is better)"


LIPS = Measure("lips.error_frames", "lip error", "frames", -1, 0.2, "lip_error_frames")
FOLLOWS = Measure("lips.correlation", "lips follow the sound", "correlation", +1, 0.02)
PSNR = Measure("texture.psnr_db", "face against the true rendering", "dB", +1, 0.3, "face_psnr_db")
TEXTURE = Measure("texture.kept", "texture kept", "share", +1, 0.03)
FLICKER = Measure("texture.flicker", "flicker of the wall", "levels of 255", -1, 0.05)
EARS = Measure("texture.flicker_ears_levels", "regular flicker of the ear lobes", "levels of 255", -1, 0.5)
JERK = Measure("motion.hand_jerk", "hand jerk", "log dimensionless", -1, 0.2)
IDENTITY = Measure("identity.drift", "identity drift", "colour, 0..1", -1, 0.005)
TIME = Measure("ms_per_frame", "time per frame", "ms", -1, 1.0, "ms_per_frame")
WORK = Measure("work_ms_per_frame", "work per frame", "ms", -1, 1.0, "ms_per_frame")
CACHES = Measure("caches_mib", "caches", "MiB", -1, 1.0)

PICTURE = (PSNR, TEXTURE)                      # PSNR rewards the mean of likely pictures, texture does not
QUALITY = (LIPS, FOLLOWS, PSNR, TEXTURE, FLICKER, EARS, JERK, IDENTITY)
ALL = (*QUALITY, TIME, WORK, CACHES)

# Of a real face, for which no truth is known; read by liveavatar.inspection.
FACE_LATE = Measure("face.offset_abs_ms", "delay of the lips, either way", "ms", -1, 20.0)
FACE_FOLLOWS = Measure("face.loudness_correlation", "mouth follows the loudness", "correlation", +1, 0.05)
FACE_SOUNDS = Measure("face.sounds_correlation", "mouth opens as the sounds ask", "correlation", +1, 0.05)
FACE_DETAIL = Measure("face.eye_detail_levels", "fine detail of the eyes", "levels of 255", +1, 0.3)
FACE_MOUTH = Measure("face.mouth_detail_levels", "fine detail of the mouth", "levels of 255", +1, 0.3)
FACE_FLICKER = Measure("face.flicker_levels", "flicker of brightness", "levels of 255", -1, 0.2)
FACE_IDENTITY = Measure("face.identity_change_share", "change of the face", "share", -1, 0.05)
REAL_FACE = (FACE_LATE, FACE_FOLLOWS, FACE_SOUNDS, FACE_DETAIL, FACE_MOUTH, FACE_FLICKER, FACE_IDENTITY)
PEAK = Measure("peak_gib", "most memory", "GiB", -1, 0.5)
BLOCK = Measure("block_ms", "denoising of a block", "ms", -1, 5.0)
REAL_COST = (BLOCK, PEAK)

USUAL = {"schedule": "trained", "solver": "euler", "prompt": "", "noise_db": None, "clean": "", "seed": 420}


def usual(table: Table, **changes: object) -> Table:
    """Return the finished videos at usual settings, but for `changes`; a change to ... lets that setting be anything.

    The usual size is that of most videos.
    """
    finished = table.finished
    wanted = {name: value for name, value in (USUAL | {"size": usual_size(finished)} | changes).items()
              if value is not ...}
    return finished.where(**wanted)


def usual_size(table: Table) -> str:
    """Return the size of most videos, width*height; "" where there are none."""
    counts = Counter(row["size"] for row in table.rows)
    return counts.most_common(1)[0][0] if counts else ""


@cache
def reported() -> dict:
    """Return the figures of others; see reported.json."""
    import json

    return json.loads(REPORTED.read_text(encoding="utf-8"))
