"""Make the pictures of the README that need no browser anew, after new weights: what mini makes of a photograph.

    python docs/make_speaking_pictures.py     docs/photographs.webp, first_words.jpg, four_steps_without_a_portrait.jpg
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import liveavatar
from liveavatar.conditions import fit_portrait
from liveavatar.demo import sheet_of_steps
from liveavatar.inputs import prepare_portrait
from liveavatar.preview import to_bytes
from liveavatar.speech import samples
from liveavatar.types import Block

DOCS = Path(__file__).resolve().parent
START_S, SECONDS, STRIDE, FPS = 0.96, 3.04, 2, 25      # of the loop; every second picture is shown
SIDE, GAP = 216, 4                                     # px of a picture, px between two
SHEETS = {      # words, seconds, portrait strength, size against that of the sheet; as in lesson 01
    "first_words": ("smiling, in warm light", 2.88, 1.0, 0.7),
    "four_steps_without_a_portrait": ("smiling", 1.92, 0.0, 0.75)}


def save_loop(pipe: liveavatar.Pipeline, folder: Path) -> None:
    """Save a loop: each sample photograph, and beside it what it says."""
    config = liveavatar.GenerationConfig(start_s=START_S, duration_s=SECONDS)
    rows: list[np.ndarray] = []                        # (T, H, W, 3) from left to right
    for portrait in liveavatar.sample_portraits().values():
        steps = pipe.stream(samples()["welcome"], portrait, "neutral light", config, output=folder / "loop.mp4")
        video = np.concatenate([item.frames.numpy() for item in steps if isinstance(item, Block)])[::STRIDE]
        shown, size = prepare_portrait(pipe.backend, portrait, config)
        still = to_bytes(fit_portrait(shown, size).permute(1, 2, 0).numpy())
        rows += [np.broadcast_to(still, video.shape), video]
    pictures = [side_by_side([row[index] for row in rows]) for index in range(len(rows[0]))]
    pictures[0].save(DOCS / "photographs.webp", save_all=True, append_images=pictures[1:], quality=70, loop=0,
                     duration=round(1000 * STRIDE / FPS), method=6)


def side_by_side(pictures: list[np.ndarray]) -> Image.Image:
    """Put pictures (H, W, 3) uint8 of one size beside each other."""
    sheet = Image.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (place * (SIDE + GAP), 0))
    return sheet


def save_sheets(pipe: liveavatar.Pipeline, folder: Path) -> None:
    """Save what the steps guess, with a portrait and without one."""
    portrait = liveavatar.sample_portraits()["woman"]
    for name, (words, seconds, strength, scale) in SHEETS.items():
        config = liveavatar.GenerationConfig(duration_s=seconds, portrait_strength=strength)
        trace = liveavatar.Trace()
        for _ in trace.watch(pipe.stream(samples()["welcome"], portrait, words, config, output=folder / "sheet.mp4")):
            pass
        sheet = sheet_of_steps(pipe, trace, folder / "sheet.png")
        size = round(scale * sheet.width), round(scale * sheet.height)
        sheet.resize(size, Image.Resampling.LANCZOS).save(DOCS / f"{name}.jpg", quality=85)


def main() -> None:
    pipe = liveavatar.load("mini")
    with tempfile.TemporaryDirectory() as folder:
        save_loop(pipe, Path(folder))
        save_sheets(pipe, Path(folder))


if __name__ == "__main__":
    main()
