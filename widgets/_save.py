"""What people keep of a run: the video, one picture, the grid of its steps as a moving picture, a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor

from liveavatar.export import export_video
from liveavatar.files import user_path, write_whole
from liveavatar.types import InputError
from liveavatar.web.palette import of_step
from widgets._stills import GROUND, INK, SOFT, letters, sheet

if TYPE_CHECKING:
    from liveavatar.runs.run import Run

MOST_BLOCKS = 12                 # of a moving grid; the first ones
CELL_PX = 96                     # width of a cell of it
EVERY = 2                        # of its frames, this is the first of how many
LABEL_PX, HEAD_PX, GAP_PX = 118, 56, 4


def save_video(run: Run, path: Path, time_s: float = 0.0) -> None:
    export_video(run, path)


def save_picture(run: Run, path: Path, time_s: float = 0.0) -> None:
    """Write the video frame that is seen at a time. Raises InputError where it is not decoded."""
    picture = run.picture_at(time_s)
    if picture is None:
        raise InputError(f"the picture at {time_s:.2f} s is not decoded yet; move the time cursor to one that is")
    write_whole(path, lambda part: Image.fromarray(picture.numpy()).save(part, "PNG"))


def save_report(run: Run, path: Path, time_s: float = 0.0) -> None:
    from liveavatar.study.report import write_report

    write_report(run, path)


def save_grid(run: Run, path: Path, time_s: float = 0.0) -> None:
    """Write the clean guess of every step of the first MOST_BLOCKS blocks as an animated GIF: a row for each step, a
    column for each block, all moving together. Raises InputError where no step has been made."""
    if not run.recorded_steps:
        raise InputError("no step has been made yet; click Run or Step first")
    blocks = run.trace.blocks[:MOST_BLOCKS]
    films = {index: list(guesses_of(run, blocks, index)) for index in range(run.info.steps)}
    pages = list(grid_pages(run, blocks, films))
    colours = palette_of(pages[0], [INK, SOFT, GROUND, *map(of_step, films)])
    pages = [page.quantize(palette=colours, dither=Image.Dither.NONE) for page in pages]
    fps = run.info.fps / (EVERY if run.decodes else run.info.frames_per_latent)
    write_whole(path, lambda part: pages[0].save(part, "GIF", save_all=True, append_images=pages[1:], loop=0,
                                                 duration=round(1000 / fps)))


def guesses_of(run: Run, blocks: Sequence[int], index: int) -> Iterator[np.ndarray | None]:
    """Yield the clean guess of one step for each block, (T, H, W, 3) uint8: decoded where a decoder is at hand, else in
    the colours of the latents; None where the step has not been made."""
    seen, frames = set(run.recorded_steps), run.step_frames
    for block in blocks:
        if (block, index) not in seen:
            yield None
        else:
            yield frames.decode(block, index)[::EVERY] if run.decodes else frames.preview(block, index)


def grid_pages(run: Run, blocks: Sequence[int], films: dict[int, list[np.ndarray | None]]) -> Iterator[Image.Image]:
    """Yield the moving grid picture by picture. films: step -> the guess for each block."""
    known = [film for row in films.values() for film in row if film is not None]
    height = round(CELL_PX * known[0].shape[1] / known[0].shape[2])
    size = LABEL_PX + len(blocks) * (CELL_PX + GAP_PX) + 10, HEAD_PX + len(films) * (height + GAP_PX) + 8
    shown = "" if len(blocks) == len(run.trace.blocks) else f" (the first {len(blocks)} blocks)"
    empty, pen = sheet(*size, f"The clean guess after each step{shown}")
    for column, block in enumerate(blocks):
        pen.text((LABEL_PX + column * (CELL_PX + GAP_PX), HEAD_PX - 18), f"block {block}", SOFT, letters(11))
    for index in films:
        top = HEAD_PX + index * (height + GAP_PX)
        pen.rectangle((14, top, 17, top + height), of_step(index))
        pen.text((26, top + height / 2 - 18), f"step {index}", INK, letters(13))
        pen.text((26, top + height / 2 + 2), f"noise {run.info.sigmas[index]:.2f}", SOFT, letters(11))
    for moment in range(max(map(len, known))):
        page = empty.copy()
        for index, row in films.items():
            for column, film in enumerate(row):
                if film is not None:
                    cell = Image.fromarray(film[min(moment, len(film) - 1)]).resize((CELL_PX, height))
                    page.paste(cell, (LABEL_PX + column * (CELL_PX + GAP_PX), HEAD_PX + index * (height + GAP_PX)))
        yield page


def palette_of(page: Image.Image, exact: Sequence[str]) -> Image.Image:
    """Choose the 256 colours of a GIF: those named `exact`, as they are, and the best others for a picture."""
    named = [value for name in dict.fromkeys(exact) for value in ImageColor.getrgb(name)[:3]]
    rest = page.quantize(256 - len(named) // 3, Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*named, *rest][:768])
    return palette


@dataclass(frozen=True)
class Kind:
    """One kind of file that can be saved."""

    title: str                   # on the page
    mime: str
    write: Callable[[Run, Path, float], None]


KINDS = {                        # by suffix, in the order of the menu
    ".mp4": Kind("Video, MP4", "video/mp4", save_video),
    ".webm": Kind("Video, WebM", "video/webm", save_video),
    ".png": Kind("Picture at the cursor, PNG", "image/png", save_picture),
    ".gif": Kind("Grid of all steps, moving, GIF", "image/gif", save_grid),
    ".html": Kind("Report, one web page", "text/html", save_report),
}


def save(run: Run | None, path: str | os.PathLike, time_s: float = 0.0) -> Path:
    """Write a run to a file, in the kind that the end of its name says (KINDS). time_s: of the picture, for .png.

    Raises InputError for another name, and where there is nothing to write yet.
    """
    path = user_path(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"file {str(path)!r} ends in {path.suffix or 'nothing'!r}; known: {', '.join(KINDS)}")
    if run is None:
        raise InputError("nothing has been made yet; click Run first")
    path.parent.mkdir(parents=True, exist_ok=True)
    kind.write(run, path, time_s)
    return path


def name_for(run: Run, suffix: str, time_s: float) -> str:
    """Name a file after what it shows: "liveavatar-seed420-4steps-1.20s.png"."""
    at = f"-{time_s:.2f}s" if suffix == ".png" else ""
    return f"liveavatar-seed{run.info.config.get('base_seed', 0)}-{run.info.steps}steps{at}{suffix}"
