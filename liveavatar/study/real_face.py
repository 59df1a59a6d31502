"""What is measured of a real face, for which no truth is known: by the readers of `liveavatar.inspection`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.inspection.clip import Clip
    from liveavatar.study.cost import Numbers
    from liveavatar.study.materials import Materials

BLOCK_FRAMES = 12                  # of the released model
LEFT_OUT = ("block_frames", "cuts_count")


def measure_real_face(path: Path, materials: Materials) -> Numbers:
    """Measure a video against the sound it was made from: {"face.offset_ms": ...}, an entry for each figure that can be
    told; "face.poorly_known" names those that are hardly to be trusted, "face.offset_abs_ms" is the delay either way,
    where it can be told well.

    The phonemes of shipped recordings are known; those of other files are not looked for.
    """
    from liveavatar.inspection import inspect_video
    from liveavatar.inspection.findings import NONE, POOR

    found = inspect_video(path, materials.spoken, block_frames=BLOCK_FRAMES)
    told = [one for one in found.findings
            if one.name not in LEFT_OUT and one.trust != NONE and math.isfinite(one.value)]
    numbers: Numbers = {f"face.{one.name}": one.value for one in told}
    if any(one.name == "offset_ms" and one.trust != POOR for one in told):
        numbers["face.offset_abs_ms"] = abs(found["offset_ms"].value)
    numbers |= details(found.clip)
    numbers["face.poorly_known"] = " ".join(one.name for one in told if one.trust == POOR)
    return numbers


def details(clip: Clip) -> Numbers:
    """Return the fine detail of eyes and mouth, in levels of 255, and in how many of the pictures a face was found."""
    seen = ~clip.pixels.eye_detail.isnan()
    numbers: Numbers = {"face.seen_share": float(seen.float().mean())}
    if bool(seen.any()):
        numbers["face.eye_detail_levels"] = float(clip.pixels.eye_detail[seen].median())
        numbers["face.mouth_detail_levels"] = float(clip.pixels.mouth_detail[seen].median())
    return numbers
