"""Reading finished pictures with the regressor that comes with the package: T frames at once, in small batches.

    frames (T, H, W, 3) uint8  --read_face-->  Reading of T pictures

The regressor was trained on rendered avatars. On other pictures its numbers mean nothing; what can be measured
of others does without it (`liveavatar.metrics.alignment.align_pictures`).
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.avatars.geometry import TALL_LIFT
from liveavatar.files import Stamp, user_path
from liveavatar.metrics.regressor import FaceRegressor, Reading
from liveavatar.types import InputError
from liveavatar.weights import load_part, manifest_stamp, read_manifest

if TYPE_CHECKING:
    import numpy

BATCH = 16              # pictures read at a time: 15 MiB of activations
LUMINANCE = (0.299, 0.587, 0.114)


def load_reader(weights: str | os.PathLike = "shipped") -> FaceRegressor:
    """The trained regressor of a folder of weights; the same object for the same folder, as long as it is unchanged."""
    return _load(str(weights), manifest_stamp(weights))


@lru_cache(maxsize=2)
def _load(weights: str, _: Stamp | None) -> FaceRegressor:
    from liveavatar.backends.mini import WEIGHTS

    manifest = read_manifest(WEIGHTS if weights == "shipped" else user_path(weights))
    regressor = FaceRegressor(**{name: tuple(widths) for name, widths in manifest.config["regressor"].items()})
    regressor.load_state_dict({name: tensor.float() for name, tensor in load_part(manifest, "regressor").items()})
    return regressor.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def as_frames(frames: Tensor | numpy.ndarray) -> Tensor:
    """Check pictures and return them as a tensor (T, H, W, 3) uint8, without copying where possible."""
    frames = torch.as_tensor(frames)
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise InputError(f"frames are {frames.dtype} of shape {tuple(frames.shape)}; give (T, H, W, 3) uint8, as "
                         "Block.frames holds them and video.read_frames yields them")
    return frames


def as_pictures(frames: Tensor) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) float 0..1, channels last in memory"""
    return frames.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last) / 255


def framed(size: tuple[int, int]) -> slice:
    """The rows of a tall picture in which the figure stands as in a square one, where the regressor learned to read.

    Figures stand a little higher in tall pictures (avatars.geometry). Wide ones need nothing: their middle is read.
    """
    height, width = size
    if height <= width:
        return slice(0, height)
    lift = TALL_LIFT * (height / width - 1) * width / 2
    top = max(0, round((height - width) / 2 - lift))
    return slice(top, top + width)


def as_uint8(pictures: Tensor) -> Tensor:
    """(T, 3, H, W) float 0..1 -> (T, H, W, 3) uint8, rounded as the decoder rounds"""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.inference_mode()
def read_face(frames: Tensor | numpy.ndarray, regressor: FaceRegressor | None = None, batch: int = BATCH) -> Reading:
    """Read lips, head, hands and colours off every picture.

    frames (T, H, W, 3) uint8  ->  Reading whose fields have T rows, on the CPU

    Where bfloat16 is faster it is used: half the work, and readings that differ by 0.001, a twentieth of the
    regressor's own error.
    """
    from liveavatar.backends.mini import choose_dtype

    regressor = load_reader() if regressor is None else regressor
    device = next(regressor.parameters()).device
    kind = choose_dtype("auto", device)
    squares = as_frames(frames)[:, framed(frames.shape[1:3])]
    with torch.autocast(device.type, kind, enabled=kind != torch.float32):
        pieces = [regressor(as_pictures(piece.to(device))) for piece in squares.split(batch)]
    fields = ("motion", "colours", "mouth", "features")
    return Reading(*(torch.cat([getattr(piece, field) for piece in pieces]).float().cpu() for field in fields))
