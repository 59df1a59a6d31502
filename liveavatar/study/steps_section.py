"""The part of a report that shows the steps of a run: what each predicted, what it changed, and the same in words."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.glossary import explain
from liveavatar.metrics.block_changes import changes_of
from liveavatar.metrics.steps import change_map, common_reach, describe, percent, step_effects
from liveavatar.preview import heat, jpeg, on_scale, scale_ticks

if TYPE_CHECKING:
    from liveavatar.runs.run import Run

SHOWN_S = 30.0                  # of a long video, the steps of its first seconds
TILE_PX = 128                   # longer side of a step's picture
COLUMNS = 16                    # of those pictures in one sheet
QUALITY = 82                    # of their JPEG files
NO_DECODER = ("No decoder is at hand for the latents of this run, so these are previews: colours of the latents. What "
              "the steps changed is not shown; from Python, open the run with its model: "
              "open_run(folder, pipeline=pipe).")


@dataclass(frozen=True)
class Steps:
    """The steps of the first blocks of a run as small pictures, one for each latent frame: N in all, of (h, w) px."""

    guesses: tuple[np.ndarray, ...]                   # (N, h, w, 3) uint8 after each step
    portrait: np.ndarray | None                       # (h, w, 3) uint8; None: not known
    starts_s: tuple[float, ...]                       # of each picture, in the video
    ends_s: float                                     # of the last one
    words: tuple[tuple[str, tuple[str, ...]], ...]    # of each block: a headline, and a sentence for each step
    first: tuple[int, ...]                            # of each block: its first picture
    decoded: bool                                     # False: previews, colours of the latents


def steps_of(run: Run, most_s: float = SHOWN_S) -> Steps | None:
    """Decode what each step of a run predicted, and say what it did. None where no steps were kept from the start."""
    blocks = [block for block in complete_blocks(run) if block * run.info.block_s < most_s]
    if not blocks:
        return None
    per_step: list[list[np.ndarray]] = [[] for _ in range(run.info.steps)]
    starts_s, words, first, portrait = [], [], [], None
    for block in blocks:
        first.append(len(starts_s))
        if run.decodes:
            shown = changes_of(run, block, run.info.steps)
            portrait = shown.portrait
            words.append(describe(shown.effects))
            pictures = [guess[::run.info.frames_per_latent] for guess in shown.guesses]
        else:
            pictures = [run.step_frames.preview(block, index) for index in range(run.info.steps)]
        for index, part in enumerate(pictures):
            per_step[index].extend(part)
        starts_s += [block * run.info.block_s + latent * run.info.frames_per_latent / run.info.fps
                     for latent in range(len(pictures[0]))]
    ends_s = (blocks[-1] + 1) * run.info.block_s
    return Steps(tuple(np.stack(part) for part in per_step), portrait, tuple(starts_s), ends_s, tuple(words),
                 tuple(first), run.decodes)


def complete_blocks(run: Run) -> list[int]:
    """List the blocks from the first one on of which every step was kept; of a stopped run, the last one may not be."""
    seen, blocks = set(run.recorded_steps), []
    while run.info.steps and all((len(blocks), index) in seen for index in range(run.info.steps)):
        blocks.append(len(blocks))
    return blocks


def steps_data(run: Run, steps: Steps | None) -> dict | None:
    """Return all that report_steps.js needs; None where there are no steps."""
    if steps is None:
        return None
    maps = change_maps(steps)
    reach = common_reach([one for one in maps if one is not None])
    tile = tile_size(steps.guesses[0].shape[1:3])
    strips = []
    for index, (guess, change) in enumerate(zip(steps.guesses, maps, strict=True)):
        made = [run.step_record(block, index) for block in range(len(steps.first))]
        colours = None if change is None else heat(on_scale(change, reach), guess)
        strips.append({"guess": sheet_of(guess, tile), "change": None if colours is None else sheet_of(colours, tile),
                       "sigma": made[0].sigma, "sigma_next": made[0].sigma_next,
                       "milliseconds": sum(step.milliseconds for step in made) / len(made)})
    return {"tile": tile, "columns": COLUMNS, "starts_s": steps.starts_s, "ends_s": steps.ends_s,
            "first": steps.first, "words": steps.words, "strips": strips,
            "portrait": None if steps.portrait is None else sheet_of(steps.portrait[None], tile, 1),
            "scale": heat(np.linspace(0, 1, 64)[None])[0].tolist() if steps.decoded else [],
            "ticks": scale_ticks(reach) if steps.decoded else [], "note": "" if steps.decoded else NO_DECODER}


def change_maps(steps: Steps) -> list[np.ndarray | None]:
    """Return where each step changed the picture, (N, h, w) 0..1, step 0 against the portrait; None: not known."""
    before = (steps.portrait, *steps.guesses)
    return [None if other is None or not steps.decoded else change_map(guess, other)
            for guess, other in zip(steps.guesses, before, strict=False)]


def tile_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) of a picture of a size (height, width), its longer side TILE_PX."""
    scale = TILE_PX / max(size)
    return max(round(size[1] * scale), 1), max(round(size[0] * scale), 1)


def sheet_of(pictures: np.ndarray, tile: tuple[int, int], columns: int = COLUMNS) -> str:
    """Lay pictures (N, h, w, 3) out in rows of `columns`, each (width, height) = tile: a JPEG file in base64."""
    from PIL import Image

    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * tile[0], rows * tile[1]))
    for place, picture in enumerate(pictures):
        small = Image.fromarray(picture).resize(tile, Image.Resampling.BICUBIC)
        sheet.paste(small, (place % columns * tile[0], place // columns * tile[1]))
    return base64.b64encode(jpeg(np.asarray(sheet), QUALITY)).decode()


def effects_table(steps: Steps | None) -> str:
    """Tell what each step changed in all that is shown, as numbers and in words; "" where it is not known."""
    if steps is None or not steps.decoded:
        return ""
    effects = step_effects(steps.guesses, steps.portrait)
    headline, sentences = describe(effects)
    columns: Sequence[tuple[str, str, str]] = (("change", "changed", "change"), ("left", "left", "left"),
                                               ("done", "done", "done"), ("detail", "detail", "detail_kept"))
    head = "".join(f'<th title="{html.escape(explain(term))}">{words}</th>' for term, words, _ in columns)
    rows = "".join(
        f"<tr><th>step {effect.index}</th>"
        + "".join(f"<td>{'–' if math.isnan(value) else percent(value)}</td>"
                  for value in (getattr(effect, field) for *_, field in columns))
        + f"<td>{html.escape(sentence)}</td></tr>" for effect, sentence in zip(effects, sentences, strict=True))
    return (f"<h2>All {len(steps.first)} blocks together</h2><p>{html.escape(headline)}</p>"
            f"<div class=wide><table><tr><th></th>{head}<th>in words</th></tr>{rows}</table></div>")
