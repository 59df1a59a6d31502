"""What stays of a view in a saved notebook: a plain picture, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from liveavatar.web.palette import GREY, VERMILION, of_step

if TYPE_CHECKING:
    from liveavatar.runs.info import RingState, RunInfo
    from liveavatar.sampler import Schedule

INK, SOFT, GROUND, EMPTY = "#1f2328", "#57606a", "#ffffff", "#eceff1"


def letters(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)


def sheet(width: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty page with a title."""
    page = Image.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(page)
    pen.text((14, 10), title, INK, letters(15))
    return page, pen


def grid_picture(pictures: dict[tuple[int, int], np.ndarray], info: RunInfo, shown: str,
                 previews: Collection[tuple[int, int]] = ()) -> Image.Image:
    """Draw {(block, step): picture (h, w, 3) or (h, w) uint8} as a grid of steps by blocks. `previews` are marked."""
    blocks, steps = (max(key[axis] for key in pictures) + 1 for axis in (0, 1))
    height, width = next(iter(pictures.values())).shape[:2]
    tall, gap, left, top = 64, 4, 130, 60
    wide = round(tall * width / height)
    foot = 34 if previews else 10
    page, pen = sheet(max(left + blocks * (wide + gap) + 10, 420), top + steps * (tall + gap) + foot,
                      f"Denoising steps: {shown}")
    for step in range(steps):
        y = top + step * (tall + gap)
        pen.rectangle((14, y, 17, y + tall), of_step(step))
        pen.text((26, y + 16), f"step {step}", INK, letters(13))
        pen.text((26, y + 34), f"noise {info.sigmas[step]:.2f} to {info.sigmas[step + 1]:.2f}", SOFT, letters(11))
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


def paths_picture(paths: Sequence[np.ndarray], title: str) -> Image.Image:
    """Draw paths in the plane, each (S + 1, 2): the first point a ring, the others in the colours of the steps."""
    wide, tall, edge = 520, 340, 40
    page, pen = sheet(wide, tall, title)
    points = np.concatenate(paths)
    low, high = points.min(0), points.max(0)
    unit = min((wide - 2 * edge), (tall - 2 * edge)) / max(float((high - low).max()), 1e-6)
    for path in paths:
        places = [(wide / 2 + unit * (x - (low + high)[0] / 2), tall / 2 + 12 - unit * (y - (low + high)[1] / 2))
                  for x, y in path.tolist()]
        pen.line(places, GREY)
        for step, (x, y) in enumerate(places):
            box = (x - 4, y - 4, x + 4, y + 4)
            pen.ellipse(box, outline=INK) if step == 0 else pen.ellipse(box, of_step(step - 1))
    return page


def lines_picture(title: str, lines: Sequence[tuple[int, str, bool]], below: str) -> Image.Image:
    """Draw lines of text, each (depth, words, strong), and some text below."""
    small, wide = letters(12), 24
    rest = below.splitlines()
    longest = max([wide * depth + small.getlength(words) for depth, words, _ in lines]
                  + [small.getlength(line) for line in rest])
    page, pen = sheet(max(round(longest) + 40, 420), 50 + 20 * len(lines) + 16 * len(rest), title)
    for row, (depth, words, strong) in enumerate(lines):
        pen.text((18 + wide * depth, 40 + 20 * row), words, INK if strong else SOFT, small)
        if strong:
            pen.rectangle((10 + wide * depth, 40 + 20 * row, 12 + wide * depth, 54 + 20 * row), VERMILION)
    for row, line in enumerate(rest):
        pen.text((18, 46 + 20 * len(lines) + 16 * row), line, INK, small)
    return page


def change_picture(portrait: np.ndarray | None, guesses: Sequence[np.ndarray], changes: Sequence[np.ndarray | None],
                   title: str, words: tuple[str, Sequence[str]], ticks: Sequence[tuple[float, str]]) -> Image.Image:
    """Draw guesses and changes (T, H, W, 3) of a block's steps below one another, their scale, and what the steps did.
    """
    headline, sentences = words
    height, width = guesses[0].shape[1:3]
    wide, gap, top = 128, 8, 78
    tall = round(wide * height / width)
    columns = [] if portrait is None else [("portrait", portrait, None, INK)]
    columns += [(f"step {step}", guess[len(guess) // 2], None if change is None else change[len(change) // 2],
                 of_step(step)) for step, (guess, change) in enumerate(zip(guesses, changes, strict=True))]
    below = top + 2 * (tall + gap)
    page, pen = sheet(max(28 + len(columns) * (wide + gap), 760), below + 46 + 20 * len(sentences), title)
    pen.text((14, 34), headline, INK, letters(13))
    for column, (name, *pictures, colour) in enumerate(columns):
        x = 14 + column * (wide + gap)
        pen.rectangle((x, top - 22, x + 4, top - 8), colour)
        pen.text((x + 10, top - 24), name, INK, letters(13))
        for row, picture in enumerate(pictures):
            if picture is not None:
                small = Image.fromarray(picture).resize((wide, tall), Image.Resampling.BICUBIC)
                page.paste(small, (x, top + row * (tall + gap)))
    draw_scale(page, pen, 14, below, ticks)
    for step, sentence in enumerate(sentences):
        pen.text((14, below + 42 + 20 * step), f"step {step}: {sentence}", SOFT, letters(12))
    return page


def below_one_another(pages: Sequence[Image.Image | None]) -> Image.Image | None:
    """Join several pages as one; None where there are none."""
    there = [page for page in pages if page is not None]
    if not there:
        return None
    whole = Image.new("RGB", (max(page.width for page in there), sum(page.height for page in there)), GROUND)
    top = 0
    for page in there:
        whole.paste(page, (0, top))
        top += page.height
    return whole


def draw_scale(page: Image.Image, pen: ImageDraw.ImageDraw, x: int, y: int, ticks: Sequence[tuple[float, str]]) -> None:
    """Draw the colours of differences, and what they stand for in percent of black against white."""
    from liveavatar.preview import heat

    wide = 300
    page.paste(Image.fromarray(heat(np.linspace(0, 1, wide)[None].repeat(12, 0))), (x, y))
    for place, words in ticks:
        anchor = "mt" if 0 < place < 1 else "lt" if place == 0 else "rt"
        pen.text((x + place * wide, y + 15), words, SOFT, letters(11), anchor)
    pen.text((x + wide + 12, y - 1), "difference; 100 % is black against white", SOFT, letters(11))


def rings_picture(rings: tuple[RingState, ...], info: RunInfo) -> Image.Image:
    """Draw one ring per noise level."""
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
        for line, words in enumerate((f"step {ring.level}, noise {info.sigmas[ring.level]:.2f}", held)):
            pen.text((x + side / 2, top + side + 14 + 18 * line), words, INK, letters(12), "mm")
    return page


def schedule_picture(schedule: Schedule, note: str) -> Image.Image:
    """Draw the path as one bar, a piece for each step."""
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


def sweep_picture(pictures: list[tuple[str, np.ndarray]], columns: int = 6, title: str = "") -> Image.Image:
    """Lay out one picture (H, W, 3) uint8 a video, with its name."""
    side, gap, top = 128, 10, 46
    rows, columns = -(-len(pictures) // columns), min(len(pictures), columns)
    page, pen = sheet(14 + columns * (side + gap), top + rows * (side + 36),
                      title or f"A sweep of {len(pictures)} videos")
    for number, (name, picture) in enumerate(pictures):
        x, y = 14 + number % columns * (side + gap), top + number // columns * (side + 36)
        small = Image.fromarray(picture)
        small.thumbnail((side, side))
        page.paste(small, (x, y))
        pen.text((x, y + side + 4), name[:24], SOFT, letters(11))
    return page


def flow_picture(clouds: Sequence[tuple[str, np.ndarray]], modes: np.ndarray, width: float, reach: float,
                 curves: Sequence[tuple[str, Sequence[tuple[int, float]]]], words: str) -> Image.Image:
    """Draw points (N, 2) in the plane over modes (K, 2) of a width, and curves of distance by number of steps."""
    side, gap, top = 260, 14, 60
    page, pen = sheet(gap + 3 * (side + gap), top + side + 50, "Flow matching in two dimensions")
    scale = side / (2 * reach)
    for place, (title, points) in enumerate(clouds[:2]):
        x0, y0 = gap + place * (side + gap) + side / 2, top + side / 2
        pen.rectangle((x0 - side / 2, y0 - side / 2, x0 + side / 2, y0 + side / 2), outline=EMPTY)
        pen.text((x0 - side / 2, top - 20), title, INK, letters(13))
        for x, y in modes:
            pen.ellipse(around(x0 + x * scale, y0 - y * scale, 2 * width * scale), outline=GREY)
        for x, y in points[np.abs(points).max(1) < reach]:
            pen.ellipse(around(x0 + x * scale, y0 - y * scale, 1.5), of_step(1))
    left = gap + 2 * (side + gap) + 20
    most = max(value for _, curve in curves for _, value in curve)
    pen.text((left, top - 20), "distance to the data, by steps", INK, letters(13))
    for place, (_, curve) in enumerate(curves):
        dots = [(left + 20 + i * (side - 40) / (len(curve) - 1), top + side - 24 - value / most * (side - 40))
                for i, (_, value) in enumerate(curve)]
        pen.line(dots, INK if place == len(curves) - 1 else of_step(place), 2 if place == len(curves) - 1 else 1)
        for (x, _), (steps, _) in zip(dots, curve, strict=True):
            pen.text((x, top + side - 14), str(steps), SOFT, letters(11), "mm")
    pen.text((gap, top + side + 18), words, SOFT, letters(12))
    return page


def attention_picture(parts: dict[str, tuple[np.ndarray | None, np.ndarray]], title: str, words: str) -> Image.Image:
    """Draw pictures (H, W, 3) uint8, or none, with heats (rows, columns) over them, by name."""
    side, gap, top = 104, 10, 44
    across = min(len(parts), 7)
    page, pen = sheet(max(gap + across * (side + gap), 620), top + -(-len(parts) // across) * (side + 28) + 30, title)
    most = max(float(heat.max()) for _, heat in parts.values()) or 1.0
    for number, (name, (picture, heat)) in enumerate(parts.items()):
        x, y = gap + number % across * (side + gap), top + number // across * (side + 28)
        below = Image.new("L", (side, side), 128) if picture is None else Image.fromarray(picture).convert("L")
        mask = Image.fromarray((200 * np.sqrt(heat / most)).astype(np.uint8)).resize((side, side), 0)
        page.paste(below.resize((side, side)).convert("RGB"), (x, y))
        page.paste(Image.new("RGB", (side, side), VERMILION), (x, y), mask)
        pen.text((x, y + side + 4), name, SOFT, letters(11))
    pen.text((gap, page.height - 24), words, SOFT, letters(12))
    return page


def around(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    """Return the box of a circle, for Pillow."""
    return x - radius, y - radius, x + radius, y + radius
