"""Reading finished pictures with the regressor that comes with the package: T frames at once, in small batches.

    frames (T, H, W, 3) uint8  --read_face-->  Reading of T pictures
                               --find_face-->  whether there is a face to be read at all
                               --read_photo_mouth-->  the opening of the mouth of a real face

The regressor was trained on rendered avatars, and returns numbers for any picture. On others they mean nothing; real
faces are read by their landmarks (`liveavatar.faces`).
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.avatars.geometry import TALL_LIFT
from liveavatar.files import Stamp, user_path
from liveavatar.metrics.regressor import FaceRegressor, Reading, regressor_of
from liveavatar.types import InputError
from liveavatar.weights import load_part, manifest_stamp, read_manifest

if TYPE_CHECKING:
    import numpy

    from liveavatar.faces.track import FaceTrack

BATCH = 16              # pictures read at a time: 15 MiB of activations
LUMINANCE = (0.299, 0.587, 0.114)

LOOKED_AT = 8           # pictures, evenly over the video, in which a face is looked for
LEAST_FOUND = 0.5       # share of pictures with a face, below which nothing is measured
LIPS = [13, 14]         # landmarks in the middle of the inner lips
MISPLACED = 0.15        # of the face's height: avatars stay below 0.08
CLOSED_APERTURE = 0.019     # of the mesh, on rendered avatars whose lips are together (benchmarks/results/faces.md)
APERTURE_GAIN = 0.342       # by which it grows while the trait mouth_aperture grows from 0 to 1


def load_reader(weights: str | os.PathLike = "shipped") -> FaceRegressor:
    """Return the trained regressor of a folder of weights; the same object for the same folder, as long as it is
    unchanged."""
    return _load(str(weights), manifest_stamp(weights))


@lru_cache(maxsize=2)
def _load(weights: str, _: Stamp | None) -> FaceRegressor:
    from liveavatar.backends.mini import WEIGHTS

    manifest = read_manifest(WEIGHTS if weights == "shipped" else user_path(weights))
    regressor = regressor_of(manifest.config["regressor"])
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
    """Convert (T, H, W, 3) uint8 -> (T, 3, H, W) float 0..1, channels last in memory"""
    return frames.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last) / 255


def framed(size: tuple[int, int]) -> slice:
    """Return the rows of a tall picture in which the figure stands as in a square one, where the regressor learned to
    read.

    Figures stand a little higher in tall pictures (avatars.geometry). Wide ones need nothing: their middle is read.
    """
    height, width = size
    if height <= width:
        return slice(0, height)
    lift = TALL_LIFT * (height / width - 1) * width / 2
    top = max(0, round((height - width) / 2 - lift))
    return slice(top, top + width)


def as_uint8(pictures: Tensor) -> Tensor:
    """Convert (T, 3, H, W) float 0..1 -> (T, H, W, 3) uint8, rounded as the decoder rounds"""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.inference_mode()
def read_face(frames: Tensor | numpy.ndarray, regressor: FaceRegressor | None = None, batch: int = BATCH) -> Reading:
    """Read lips, head, hands and colours off every picture.

    frames (T, H, W, 3) uint8  ->  Reading whose fields have T rows, on the CPU

    Where bfloat16 is faster it is used: half the work, and readings that differ by 0.001, a twentieth of the
    regressor's own error.
    """
    from liveavatar.backends.devices import choose_dtype

    regressor = load_reader() if regressor is None else regressor
    device = next(regressor.parameters()).device
    kind = choose_dtype("auto", device)
    squares = as_frames(frames)[:, framed(frames.shape[1:3])]
    with torch.autocast(device.type, kind, enabled=kind != torch.float32):
        pieces = [regressor(as_pictures(piece.to(device))) for piece in squares.split(batch)]
    fields = ("motion", "colours", "place", "features")
    return Reading(*(torch.cat([getattr(piece, field) for piece in pieces]).float().cpu() for field in fields),
                   regressor.names)


# ---------------------------------------------------------------------------------------------- is there a face?
def find_face(frames: Tensor | numpy.ndarray, reading: Reading | None = None) -> tuple[str, bool]:
    """Search for a face in up to eight pictures, evenly over a video. Rendered avatars count as faces.

    frames (T, H, W, 3) uint8; reading of all of them

    Return why no face can be measured, empty where one is there; and whether the regressor read its mouth and not
    something else, by the distance of the place it names from the lips among the landmarks.
    """
    from liveavatar.faces import face_height, read_faces

    frames = as_frames(frames)
    places = sorted({round(number * (len(frames) - 1) / (LOOKED_AT - 1)) for number in range(LOOKED_AT)})
    track = read_faces(frames[places], mode="each")
    reason = why_no_face(track.found)
    if reason or reading is None:
        return reason, not reason
    rows, width = framed(frames.shape[1:3]), frames.shape[2]
    high = len(range(frames.shape[1])[rows])
    middle = torch.tensor([width / 2, rows.start + high / 2])
    read = middle + reading.place[places, :2] * min(width, high) / 2                         # (n, 2) px
    off = (track.points[:, LIPS, :2].mean(1) - read).norm(dim=1) / face_height(track.points)
    return "", bool(off[track.found].median() < MISPLACED)


def why_no_face(found: Tensor) -> str:
    """Say why too few of the pictures looked at show a face: found (T,) bool. Empty where enough do."""
    count, of = int(found.sum()), len(found)
    if count >= LEAST_FOUND * of:
        return ""
    return "no face found" if not count else f"no face found in {of - count} of {of} pictures looked at"


def photo_mouth(track: FaceTrack) -> Tensor:
    """Return how far the mouth of a real face is open: (T,) in units of the trait mouth_aperture, NaN without a face.

    The units are those that the mesh reads off rendered avatars of known aperture: 0 closed, 1 wide open. They were not
    calibrated on photographs: trust when a mouth moves more than how far.
    """
    return ((track.mouth_aperture - CLOSED_APERTURE) / APERTURE_GAIN).clamp(min=0)


def read_photo_mouth(frames: Tensor | numpy.ndarray) -> tuple[Tensor, str]:
    """Read the opening of a real mouth in every picture, by landmarks.

    frames (T, H, W, 3) uint8  ->  (T,) float32 as `photo_mouth`, pictures without a face filled in from their
    neighbours, and why nothing can be measured (then all are NaN), empty where it can
    """
    from liveavatar.faces import read_faces

    track = read_faces(as_frames(frames), mode="each")
    reason = why_no_face(track.found)
    opening = photo_mouth(track)
    return (torch.full_like(opening, torch.nan) if reason else fill_gaps(opening)), reason


def fill_gaps(curve: Tensor) -> Tensor:
    """Fill NaN in a curve (T,) by straight lines between its neighbours; ends are held."""
    known = ~curve.isnan()
    if known.all() or not known.any():
        return curve
    from numpy import interp

    time = torch.arange(len(curve))
    return torch.from_numpy(interp(time, time[known], curve[known])).to(curve.dtype)
