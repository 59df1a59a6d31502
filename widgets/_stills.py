"""What stays of a view in a saved notebook: a plain picture, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from widgets._palette import GREY, VERMILION, of_step

if TYPE_CHECKING:
    from liveavatar.run import Facts, Ring
    from liveavatar.sampler import Schedule

INK, SOFT, GROUND, EMPTY = "#1f2328", "#57606a", "#ffffff", "#eceff1"


def letters(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)


def sheet(width: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty page with a title."""
    page = Image.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(page)
    pen.text((14, 10), title, INK, letters(15))
    return page, pen


def grid_picture(pictures: dict[tuple[int, int], np.ndarray], facts: Facts, shown: str,
                 previews: Collection[tuple[int, int]] = ()) -> Image.Image:
    """(block, step) -> picture (h, w, 3) or (h, w) uint8, as a grid of steps by blocks. Those of `previews` are marked."""
    blocks, steps = (max(key[axis] for key in pictures) + 1 for axis in (0, 1))
    height, width = next(iter(pictures.values())).shape[:2]
    tall, gap, left, top = 64, 4, 130, 60
    wide = round(tall * width / height)
    page, pen = sheet(max(left + blocks * (wide + gap) + 10, 420), top + steps * (tall + gap) + (34 if previews else 10),
                      f"Denoising steps: {shown}")
    for step in range(steps):
        y = top + step * (tall + gap)
        pen.rectangle((14, y, 17, y + tall), of_step(step))
        pen.text((26, y + 16), f"step {step}", INK, letters(13))
        pen.text((26, y + 34), f"noise {facts.sigmas[step]:.2f} to {facts.sigmas[step + 1]:.2f}", SOFT, letters(11))
    for block in range(blocks):
        pen.text((left + block * (wide + gap), top - 20), f"block {block}", SOFT, letters(11))
    for (block, step), picture in pictures.items():
        small = Image.fromarray(picture).convert("RGB").resize((wide, tall), Image.Resampling.BICUBIC)
        x, y = left + block * (wide + gap), top + step * (tall + gap)
        page.paste(small, (x, y))
        if (block, step) in previews:
            pen.polygon([(x + wide - 12, y), (x + wide, y), (x + wide, y + 12)], VERMILION)
    if previews:
        pen.text((left, top + steps * (tall + gap) + 8), "a red corner: a preview, not yet decoded", SOFT, letters(11))
    return page


def rings_picture(rings: tuple[Ring, ...], facts: Facts) -> Image.Image:
    """One ring per noise level."""
    side, gap, top = 150, 24, 46
    page, pen = sheet(14 + len(rings) * (side + gap), top + side + 60, "Caches: one ring per noise level")
    for ring in rings:
        x, turn = 14 + ring.level * (side + gap), 360 / ring.capacity
        for slot in range(ring.capacity):
            full = slot < min(ring.end, ring.capacity)
            pen.pieslice((x, top, x + side, top + side), slot * turn - 90, (slot + 1) * turn - 90,
                         of_step(ring.level) if full else EMPTY, GROUND)
        inset = side * 0.24
        pen.ellipse((x + inset, top + inset, x + side - inset, top + side - inset), GROUND)
        seen = "portrait\n+ motion" if ring.has_motion else "portrait"
        pen.text((x + side / 2, top + side / 2), seen, SOFT, letters(11), "mm", align="center")
        held = f"frames {ring.held[0]} to {ring.held[-1]}" if ring.held else "empty"
        for line, words in enumerate((f"step {ring.level}, noise {facts.sigmas[ring.level]:.2f}", held)):
            pen.text((x + side / 2, top + side + 14 + 18 * line), words, INK, letters(12), "mm")
    return page


def schedule_picture(schedule: Schedule, note: str) -> Image.Image:
    """The path as one bar, a piece for each step."""
    width, top, tall = 900, 50, 64
    page, pen = sheet(width, 190, f"From noise to picture in {schedule.steps} steps ({schedule.name})")
    x = 14.0
    for step, share in enumerate(schedule.shares):
        wide = share / schedule.sigmas[0] * (width - 28)
        pen.rectangle((x, top, x + max(wide - 2, 1), top + tall), of_step(step))
        words = f"{100 * share / schedule.sigmas[0]:.1f} %"
        if wide > 40:
            pen.text((x + wide / 2, top + tall / 2), words, "#111111", letters(15), "mm")
        else:
            pen.text((x + wide / 2, top + tall + 14), words, VERMILION, letters(15), "rm")
        x += wide
    pen.line((14, top + tall + 34, width - 14, top + tall + 34), GREY)
    pen.text((14, top + tall + 46), note, SOFT, letters(13))
    return page


def sweep_picture(pictures: list[tuple[str, np.ndarray]], columns: int = 6) -> Image.Image:
    """One picture (H, W, 3) uint8 a video, with its name."""
    side, gap, top = 128, 10, 46
    rows, columns = -(-len(pictures) // columns), min(len(pictures), columns)
    page, pen = sheet(14 + columns * (side + gap), top + rows * (side + 36), f"A sweep of {len(pictures)} videos")
    for number, (name, picture) in enumerate(pictures):
        x, y = 14 + number % columns * (side + gap), top + number // columns * (side + 36)
        small = Image.fromarray(picture)
        small.thumbnail((side, side))
        page.paste(small, (x, y))
        pen.text((x, y + side + 4), name[:24], SOFT, letters(11))
    return page
