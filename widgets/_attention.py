"""Pieces of AttentionView: weights as pictures, the sound's wave, the delay of a run's lips."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveavatar.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.inspect import TokenPlaces
    from liveavatar.runs.run import Run
    from liveavatar.types import Speech

LOUDNESS_S = 0.04             # smoothing of the loudness that lips are compared with
WEAK = 0.3                    # a correlation of lips and loudness below it names no delay
PEAKS_HZ = 100                # of the drawn wave
PICTURE_PX = 256              # height of the pictures that are sent, at most


def heats_of_keys(row: Tensor, keys: TokenPlaces, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Lay one query's weights (M,) out as pictures: {"portrait" or "frame 7": (rows, columns)}."""
    portrait = keys.are("portrait")
    inside = (keys.row >= 0) & ~portrait
    heats = {"portrait": laid_out(row, keys, portrait, grid)}
    for frame in sorted(set(keys.frame[inside].tolist())):
        heats[f"frame {frame}"] = laid_out(row, keys, inside & (keys.frame == frame), grid)
    return heats


def heats_of_queries(values: Tensor, queries: TokenPlaces, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Lay a value (Q,) of each query out as pictures: {"frame 7": (rows, columns)}."""
    return {f"frame {frame}": laid_out(values, queries, queries.frame == frame, grid)
            for frame in sorted(set(queries.frame.tolist()))}


def laid_out(values: Tensor, places: TokenPlaces, chosen: Tensor, grid: tuple[int, int]) -> Tensor:
    """Put the values of the chosen tokens where they stand: (rows, columns)."""
    picture = torch.zeros(grid)
    return picture.index_put_((places.row[chosen], places.column[chosen]), values[chosen], accumulate=True)


def lips_delay_ms(run: Run) -> float | None:
    """Measure the delay at which mouth and loudness agree best, positive: the lips are late. None where pictures are
    missing, and where no mouth follows the sound."""
    from liveavatar.audio import loudness_envelope
    from liveavatar.metrics.lips import mouth_opening, offset_curve

    blocks = [run.decoded_block(block) for block in range(run.info.blocks)]
    if run.speech is None or not blocks or any(one is None for one in blocks):
        return None
    pictures = torch.cat([one.frames for one in blocks])
    try:
        envelope = loudness_envelope(run.speech.wave, run.info.fps, run.speech.rate_hz, LOUDNESS_S)
        curve = offset_curve(mouth_opening(pictures), envelope[:len(pictures)], run.info.fps)
    except InputError:                                     # too short, or no mouth that moves
        return None
    return float(curve.best_ms) if curve.peak > WEAK else None


def wave_peaks(speech: Speech | None) -> np.ndarray:
    """Return the loudest value in each hundredth of a second, the loudest of all 1: (N,) float32."""
    if speech is None or not len(speech.wave):
        return np.zeros(0, "<f4")
    each = max(speech.rate_hz // PEAKS_HZ, 1)
    wave = np.abs(speech.wave[:len(speech.wave) // each * each]).reshape(-1, each).max(1)
    return (wave / max(float(wave.max(initial=0)), 1e-6)).astype("<f4")


def add_at(lane: np.ndarray, first: int, values: np.ndarray) -> None:
    """Add values to a lane from a place on; what lies before its beginning belongs to its first frame."""
    places = np.clip(first + np.arange(len(values)), 0, len(lane) - 1)
    np.add.at(lane, places, values)


def smaller(picture: np.ndarray) -> np.ndarray:
    """Scale a picture (H, W, 3) down to what is sent."""
    return picture[::max(picture.shape[0] // PICTURE_PX, 1), ::max(picture.shape[0] // PICTURE_PX, 1)]


def listed(values: Iterable) -> str:
    """Write numbers, each once."""
    return ", ".join(map(str, sorted(set(values))))
