"""What the cells of a grid of steps can show: numbers of a step, their colours, and both packed for a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from liveavatar.preview import jpeg, signed_bytes, strip, values_of
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.runs.run import Run
    from liveavatar.types import Step

SHOWN = {   # what can be drawn -> in words
    "both": "noisy x and guess", "clean": "clean guess", "x": "noisy latent x", "velocity": "velocity",
    "difference": "difference to the step before", "channel": "one latent channel", "mean": "channel mean",
}
DECODED = {"both": ("x", "clean"), "clean": ("clean",), "x": ("x",)}      # -> what of a step is decoded for it
CHANNEL_REACH, MEAN_REACH, DIFFERENCE_REACH = 3.0, 1.0, 0.7     # drawn in full colour; latents have unit variance


def step_before(run: Run, block: int, index: int) -> Step | None:
    """Return the step before, in the same block; None before the first."""
    return run.step_record(block, index - 1) if index > 0 else None


def values_shown(run: Run, show: str, block: int, index: int) -> np.ndarray:
    """Return the numbers behind a cell, (C, F, h, w) float32; those of the guess where pictures are shown."""
    step = run.step_record(block, index)
    if show == "difference":
        before, clean = step_before(run, block, index), values_of(step.clean)
        return np.zeros_like(clean) if before is None else clean - values_of(before.clean)
    if show in ("x", "velocity"):
        tensor = getattr(step, show)
        if tensor is None:
            raise InputError("this trace was kept without velocities; record with Trace(velocity=True)")
        return values_of(tensor)
    return values_of(step.clean)


def previews(run: Run, show: str, block: int, index: int) -> np.ndarray:
    """Colour what is to be decoded by a fitted matrix: (F, h, w, 3) uint8, side by side where it is several."""
    return np.concatenate([run.step_frames.preview(block, index, what) for what in DECODED[show]], 2)


def colours(run: Run, show: str, channel: int, values: np.ndarray) -> np.ndarray:
    """Colour the numbers (C, F, h, w) of a cell: (F, h, w, 3) uint8, or (F, h, w) where the browser colours them."""
    if show == "velocity":
        return run.latent_map().directions(values)
    if show == "difference":
        return signed_bytes(np.sqrt((values ** 2).mean(0)) * 2 - DIFFERENCE_REACH, DIFFERENCE_REACH)
    if show == "mean":
        return signed_bytes(values.mean(0), MEAN_REACH)
    if channel >= len(values):
        raise InputError(f"channel is {channel}; these latents have channels 0 to {len(values) - 1}")
    return signed_bytes(values[channel], CHANNEL_REACH)


def name_of(*parts: object) -> str:
    """Name a buffer by what it is: "cell/block/step/kind/frames/width/height"."""
    return "/".join(map(str, parts))


def packed(frames: np.ndarray, show: str) -> tuple[list, bytes]:
    """Pack small pictures as raw bytes: (F, h, w, 3) colours, or (F, h, w) that the browser colours."""
    kind = "rgb" if frames.ndim == 4 else "heat" if show == "difference" else "signed"
    count, height, width = frames.shape[:3]
    return [kind, count, width, height], frames.tobytes()


def packed_jpeg(frames: np.ndarray, height: int | None = None, quality: int = 88) -> tuple[list, bytes]:
    """Pack pictures (F, H, W, 3) side by side into one JPEG, at most `height` pixels high."""
    row = strip(frames, height)
    return ["jpeg", len(frames), row.shape[1] // len(frames), row.shape[0]], jpeg(row, quality)
