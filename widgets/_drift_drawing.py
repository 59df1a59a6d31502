"""The still picture of the drift laboratory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from liveavatar.metrics.stream_drift import CURVES
from liveavatar.study.drift_stream import DriftStream
from liveavatar.web.palette import of_step
from widgets._stills import INK, SOFT, letters, sheet

TITLES = {"identity": "identity: distance from the portrait", "colours": "colours moved, levels of 255",
          "corners_db": "static corners, dB", "seam": "seam, times the change within a block"}
WIDE, TALL, GAP, TOP = 330, 120, 46, 60
ROW, THUMB = 56, 48


def drift_picture(streams: Sequence[DriftStream], order: Sequence[str]) -> Image.Image:
    """Draw the four curves of each stream, and its first and newest picture. order: names, which say the colours"""
    rows = len(streams)
    below = TOP + 2 * (TALL + GAP)
    page, pen = sheet(2 * (WIDE + 60) + 20, below + ROW * -(-rows // 3) + 14, "Drift of streams")
    colours = {name: of_step(number) for number, name in enumerate(order)}
    for place, curve in enumerate(CURVES):
        left, top = 50 + place % 2 * (WIDE + 60), TOP + place // 2 * (TALL + GAP)
        pen.text((left, top - 20), TITLES[curve], INK, letters(12))
        pen.rectangle((left, top, left + WIDE, top + TALL), outline=SOFT)
        known = [np.array([[point.block, getattr(point, curve)] for point in stream.points], float)
                 for stream in streams]
        known = [line[~np.isnan(line[:, 1])] for line in known]
        values = np.concatenate([line[:, 1] for line in known])
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        last = max([float(line[-1, 0]) for line in known if len(line)], default=0.0) or 1.0
        outside = left + WIDE + 4 if place % 2 else 8
        for number, height in ((high, top - 2), (low, top + TALL - 12)):
            pen.text((outside, height), f"{number:.3g}", SOFT, letters(11))
        for stream, line in zip(streams, known, strict=True):
            places = [(left + WIDE * block / last, top + TALL * (1 - (value - low) / max(high - low, 1e-9)))
                      for block, value in line]
            if len(places) > 1:
                pen.line(places, colours[stream.setting.name], 2)
    for number, stream in enumerate(streams):
        x, y = 14 + number % 3 * 255, below + number // 3 * ROW
        pen.rectangle((x, y, x + 4, y + THUMB), colours[stream.setting.name])
        for at, picture in enumerate((stream.thumbnails.get(0), stream.newest)):
            if picture is not None:
                page.paste(Image.fromarray(picture.numpy()).resize((THUMB, THUMB)), (x + 8 + at * (THUMB + 3), y))
        pen.text((x + 14 + 2 * (THUMB + 3), y + 8), stream.setting.name, INK, letters(12))
        pen.text((x + 14 + 2 * (THUMB + 3), y + 26), f"{len(stream.points)} blocks", SOFT, letters(11))
    return page
