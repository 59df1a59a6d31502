"""Crop a photo to head and shoulders, the framing that talking portraits are trained on."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.faces.crops import as_batch, as_float
from liveavatar.faces.curves import CHIN, FOREHEAD
from liveavatar.faces.detection import detect_faces, largest_central
from liveavatar.faces.mesh import landmarks
from liveavatar.faces.networks import POINTS
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.faces.crops import Pictures
    from liveavatar.faces.detection import Face

FACE_SHARE = 0.45           # height of the face in the crop
PLACE = (0.5, 0.46)         # of the middle of the face in the crop, across and down
SLACK = (0.08, 0.06, 0.10)  # by which it may be elsewhere, where the picture ends: sideways, higher, lower
SMALLEST_CROP = 0.85        # of the height wanted, where the picture ends: the face is then 53 % high instead of 45 %
MAX_ASPECT = 2.0            # as for portraits
SMALLEST_BLUR = 0.02        # sigma at the edge of the picture, in shares of the crop's shorter side
BLUR = 0.08                 # and far from it


class Framing(NamedTuple):
    """A crop of a picture."""

    box: tuple[int, int, int, int]      # left, top, right, bottom in px of the picture; it may reach beyond its edges
    pixels: Tensor                      # (3, bottom - top, right - left) float 0..1


class FaceExtent(NamedTuple):
    """Tell where a face lies, from the upper forehead (mesh point 10, at the hairline or a bit below) to the chin."""

    middle: tuple[float, float]         # px
    height: float                       # px


def face_extent(points: Tensor) -> FaceExtent:
    """Measure one face by its landmarks (478, 3) px."""
    forehead, chin = points[FOREHEAD, :2], points[CHIN, :2]
    across = points[:POINTS, 0]
    x, y = (across.min() + across.max()) / 2, (forehead[1] + chin[1]) / 2
    return FaceExtent((x.item(), y.item()), (forehead - chin).norm().item())


def crop_to_head_and_shoulders(portrait_pixels: Pictures, face: Face | None = None, face_share: float = FACE_SHARE,
                               aspect: float = 1.0, required: bool = True) -> Framing | None:
    """Crop a photo so that the face, upper forehead to chin, takes a given share of the height.

    portrait_pixels: one picture, (3, H, W) float 0..1 or (H, W, 3) uint8, at any size
    face: which one; by default the largest and most central that is found, with a warning where there are several
    face_share: height of the face / height of the crop
    aspect: width / height of the crop
    required: raise InputError where no face is found, instead of returning None

    The middle of the face comes to lie a little above the middle of the crop. Where the picture ends the crop becomes
    up to 15 % smaller and moves a little; what is then still missing is filled with the picture's edge, blurred more
    and more. The pixels are not scaled. Raises InputError for a share or an aspect that makes no sense.
    """
    if not 0.1 <= face_share <= 0.9:
        raise InputError(f"face_share is {face_share}; give the height of the face as a share of 0.1 to 0.9")
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        raise InputError(f"aspect is {aspect}; give width / height between {1 / MAX_ASPECT} and {MAX_ASPECT}")
    batch = as_batch(portrait_pixels)
    if len(batch) != 1:
        raise InputError(f"{len(batch)} pictures were given; crop one at a time")
    height, width = batch.shape[-2:]
    if face is None:
        face = _choose(batch)
    if face is None:
        if required:
            raise InputError(f"no face found in the picture of {width} x {height} px; give one in which the face looks "
                             "towards the camera and is 24 px high or more")
        return None
    extent = face_extent(landmarks(batch, [replace(face, picture=0)]).points[0])
    box = place_crop(extent, (height, width), face_share, aspect)
    return Framing(box, cut(as_float(batch)[0], box))


def _choose(batch: Tensor) -> Face | None:
    """Return the largest, most central face of one picture, or None."""
    faces = detect_faces(batch)
    if not faces:
        return None
    chosen = largest_central(faces, batch.shape[-2:])
    if len(faces) > 1:
        left, top, right, bottom = (round(value) for value in chosen.box)
        warnings.warn(f"{len(faces)} faces found; the largest, most central one is used, at {left}..{right} x "
                      f"{top}..{bottom} px: crop the picture to choose another", stacklevel=3)
    return chosen


def place_crop(extent: FaceExtent, size: tuple[int, int], face_share: float = FACE_SHARE,
               aspect: float = 1.0) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the crop around a face in a picture of a size (height, width), in px.

    A crop that does not fit into the picture may be a little smaller, and the face in it a little elsewhere. Where both
    are not enough, the picture is continued above and beside the head rather than below the shoulders.
    """
    height, width = size
    wanted = extent.height / face_share
    rows = round(min(wanted, max(wanted * SMALLEST_CROP, min(height, width / aspect))))
    columns = round(rows * aspect)
    left = _start(extent.middle[0], columns, width, PLACE[0], (SLACK[0], SLACK[0]))
    top = _start(extent.middle[1], rows, height, PLACE[1], (SLACK[1], SLACK[2]), end_first=True)
    return left, top, left + columns, top + rows


def _start(middle: float, length: int, limit: int, place: float, slack: tuple[float, float],
           end_first: bool = False) -> int:
    """Return where a stretch of a length begins that has `middle` at its share `place`, or near there if the picture
    ends: moved by up to slack, in shares of the length, forwards and backwards."""
    start = middle - place * length
    before, behind = max(0.0, -start), max(0.0, start + length - limit)
    move = 0.0 if before and behind and not end_first else -behind if behind else before
    return round(start + max(-slack[1] * length, min(slack[0] * length, move)))


def cut(pixels: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Cut a box (left, top, right, bottom) out of a picture (3, H, W); what lies outside continues its edge, blurred.

    The blur grows with the distance from the edge. -> (3, bottom - top, right - left)
    """
    left, top, right, bottom = box
    height, width = pixels.shape[-2:]
    inside = pixels[:, max(top, 0):max(min(bottom, height), 1), max(left, 0):max(min(right, width), 1)]
    missing = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
    if not any(missing):
        return inside.clone()
    extended = F.pad(inside[None], missing, mode="replicate")
    side = min(extended.shape[-2:])
    soft, softer = (_blurred(extended, max(1.0, share * side)) for share in (SMALLEST_BLUR, BLUR))
    away = _distance_outside(extended.shape[-2:], missing).to(pixels) / (BLUR * 2 * side)
    share = away.clamp(0, 1)[None, None]
    filled = torch.lerp(torch.lerp(extended, soft, (share * 8).clamp(max=1)), softer, share)
    return filled[0].clamp(0, 1)


def _distance_outside(size: tuple[int, int], missing: tuple[int, int, int, int]) -> Tensor:
    """Return how far each pixel lies outside the picture, px: (rows, columns); 0 inside."""
    rows, columns = size
    left, right, top, bottom = missing
    y, x = torch.arange(rows, dtype=torch.float32), torch.arange(columns, dtype=torch.float32)
    down = torch.maximum((top - y).clamp(min=0), (y - (rows - 1 - bottom)).clamp(min=0))
    across = torch.maximum((left - x).clamp(min=0), (x - (columns - 1 - right)).clamp(min=0))
    return torch.hypot(down[:, None], across[None, :])


def _blurred(pictures: Tensor, sigma_px: float) -> Tensor:
    """Blur pictures (B, 3, H, W) by a Gaussian, the edges held."""
    reach = math.ceil(3 * sigma_px)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=pictures.device) / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).expand(pictures.shape[1], 1, -1)
    channels = pictures.shape[1]
    wide = F.pad(pictures, (reach, reach, 0, 0), mode="replicate")
    pictures = F.conv2d(wide, kernel[:, :, None, :], groups=channels)
    tall = F.pad(pictures, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(tall, kernel[:, :, :, None], groups=channels)
