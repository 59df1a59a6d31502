"""Track one face through a video that comes in chunks, and measure its pixels while they are at hand.

    chunk of pictures --FaceTracker--> landmarks, presence --measure_pixels--> skin, detail of mouth and eyes, teeth
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from liveavatar.faces.crops import Squares, sample
from liveavatar.faces.curves import mouth_aperture
from liveavatar.faces.detection import LEAST_PRESENCE, detect_faces
from liveavatar.faces.networks import POINTS
from liveavatar.faces.track import IRIS_POINTS, read_faces
from liveavatar.metrics.texture import luminance

NEAR = 2.2                  # side of the region in which a face is looked for again, in heights of its landmarks
SEARCHES = 4                # chunks without a face in which small faces are searched for
LEAST_FOUND = 0.5           # share of a chunk's pictures with a face, below which the whole picture is looked at
CROP_PX = 64
EYE_WIDTH_PX = 32           # distance of the outer corners of the eyes in the aligned face
CHEEKS, FOREHEAD = (50, 280), 151
LEFT_LIP, RIGHT_LIP, UPPER_LIP, LOWER_LIP = 308, 78, 13, 14
EYES = ((33, 133), (263, 362))
OPEN = 0.08                 # aperture from which the inside of a mouth is looked at
BRIGHT, PALE = 0.6, 0.4     # teeth: luminance against that of the skin at least, saturation at most
DETAIL_PX = 1.5             # detail is what a Gaussian of this sigma takes away, in crops of CROP_PX


@dataclass(frozen=True)
class FacePixels:
    """Hold what was measured of the face's pixels in T pictures; NaN where there is no face."""

    skin: Tensor                # (T, 3) mean colour of cheeks and forehead, 0..255
    mouth_detail: Tensor        # (T,) mean absolute detail around the mouth, levels of 255
    eye_detail: Tensor          # (T,) the same around the eyes
    teeth: Tensor               # (T,) share of the opened mouth that is bright and pale; NaN where it is closed
    aligned: Tensor             # (T, CROP_PX, CROP_PX) uint8 luminance, both eyes always at the same places

    @classmethod
    def empty(cls, count: int) -> FacePixels:
        """Return what is known of pictures without a face."""
        return cls(torch.full((count, 3), torch.nan), *(torch.full((count,), torch.nan) for _ in range(3)),
                   torch.zeros(count, CROP_PX, CROP_PX, dtype=torch.uint8))

    @classmethod
    def join(cls, parts: list[FacePixels]) -> FacePixels:
        """Put the measurements of successive chunks in a row."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))


class FaceTracker:
    """Reads the same face in chunk after chunk: near where it was, else in the whole picture."""

    def __init__(self) -> None:
        self.most_faces = 0                     # seen at once
        self._searches = SEARCHES
        self._region: tuple[int, int, int, int] | None = None     # left, top, right, bottom

    def read(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read pictures (B, h, w, 3) uint8 -> landmarks (B, 478, 3) px, NaN without a face, and presence (B,)."""
        batch = torch.from_numpy(pictures)
        self._count(batch[len(batch) // 2])
        points, presence = self._near(batch) if self._region is not None else _nothing(len(batch))
        missing = presence < LEAST_PRESENCE
        if missing.float().mean() > 1 - LEAST_FOUND:
            points[missing], presence[missing] = self._whole(batch[missing])
        self._region = region_of(points[presence >= LEAST_PRESENCE], batch.shape[1:3])
        return points, presence

    def _near(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom = self._region
        track = read_faces(batch[:, top:bottom, left:right].contiguous(), mode="each")
        return track.points + torch.tensor([left, top, 0.0]), track.presence.clone()

    def _whole(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        middle = batch[len(batch) // 2]
        if not detect_faces(middle, search=False):
            if self._searches <= 0:
                return _nothing(len(batch))
            self._searches -= 1
        track = read_faces(batch, mode="each")
        return track.points, track.presence

    def _count(self, picture: Tensor) -> None:
        found = detect_faces(picture, search=False)
        if found:
            large = [face for face in found if face.size_px > found[0].size_px / 3]
            self.most_faces = max(self.most_faces, len(large))


def _nothing(count: int) -> tuple[Tensor, Tensor]:
    return torch.full((count, POINTS + IRIS_POINTS, 3), torch.nan), torch.zeros(count)


def region_of(points: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the part of a picture (height, width) around a face, points (N, 478, 3): left, top, right, bottom px."""
    if not len(points):
        return None
    last = points[-1, :, :2]
    low, high = last.amin(0), last.amax(0)
    middle, half = (low + high) / 2, NEAR / 2 * (high - low).max()
    left, top = (int(max(0, value)) for value in (middle - half).tolist())
    right, bottom = (int(min(limit, value)) for value, limit in zip((middle + half).tolist(), size[::-1], strict=True))
    return (left, top, right, bottom) if right - left > 8 and bottom - top > 8 else None


@torch.no_grad()
def measure_pixels(pictures: np.ndarray, points: Tensor) -> FacePixels:
    """Measure the face in pictures (B, h, w, 3) uint8 by its landmarks (B, 478, 3) px."""
    measured = FacePixels.empty(len(pictures))
    aperture = mouth_aperture(points)
    for index in range(len(pictures)):
        if points[index].isnan().any():
            continue
        crops, squares = crops_of(pictures[index], points[index])
        face, mouth, right, left, *skin = crops
        colour = torch.stack([patch.mean((1, 2)) for patch in skin]).mean(0)
        measured.skin[index] = 255 * colour
        measured.aligned[index] = (255 * luminance(face)).round().clamp(0, 255).byte()
        detail = fine_detail(torch.stack([mouth, right, left]))
        measured.mouth_detail[index], measured.eye_detail[index] = detail[0], detail[1:].mean()
        if aperture[index] > OPEN:
            measured.teeth[index] = teeth_share(mouth, squares, points[index], colour)
    return measured


def crops_of(picture: np.ndarray, points: Tensor) -> tuple[Tensor, Squares]:
    """Cut upright pieces out of one picture (h, w, 3): face, mouth, right eye, left eye, cheeks, forehead.

    points (478, 3)  ->  (7, 3, CROP_PX, CROP_PX) 0..1, and where they lie
    """
    flat, eyes = points[:, :2], points[[33, 263], :2]
    unit = float((eyes[1] - eyes[0]).norm().clamp(min=1))
    across = (eyes[1] - eyes[0]) / unit
    down = torch.stack([-across[1], across[0]])
    middles = [eyes.mean(0) + 0.45 * unit * down, flat[[UPPER_LIP, LOWER_LIP]].mean(0),
               *(flat[list(pair)].mean(0) for pair in EYES), *(flat[point] for point in CHEEKS), flat[FOREHEAD]]
    sides = torch.tensor([CROP_PX / EYE_WIDTH_PX, 0.8, 0.8, 0.8, 0.25, 0.25, 0.25]) * unit
    turn = torch.atan2(across[1], across[0]).expand(7)
    squares = Squares(torch.zeros(7, dtype=torch.long), torch.stack(middles), sides, turn)
    return sample(torch.from_numpy(picture).permute(2, 0, 1)[None], squares, CROP_PX), squares


def fine_detail(crops: Tensor) -> Tensor:
    """Return the mean absolute detail of crops (N, 3, H, W) 0..1, in levels of 255: (N,)"""
    from liveavatar.metrics.texture import detail

    return 255 * detail(crops, DETAIL_PX).abs().mean((1, 2))


def teeth_share(mouth: Tensor, squares: Squares, points: Tensor, skin: Tensor) -> float:
    """Return which share of the inside of an opened mouth is as bright and pale as teeth.

    mouth (3, CROP_PX, CROP_PX) the crop around it, squares as of `crops_of`, points (478, 3) px, skin (3,) 0..1
    """
    side = float(squares.side[1])
    half_width = 0.4 * float((points[LEFT_LIP, :2] - points[RIGHT_LIP, :2]).norm()) / side * CROP_PX
    half_height = 0.5 * float((points[LOWER_LIP, :2] - points[UPPER_LIP, :2]).norm()) / side * CROP_PX
    place = torch.arange(CROP_PX) + 0.5 - CROP_PX / 2
    inside = (place[None] / max(half_width, 1)) ** 2 + (place[:, None] / max(half_height, 1)) ** 2 < 1
    pixels = mouth[:, inside]
    if pixels.shape[1] < 4:
        return torch.nan
    bright = luminance(pixels[..., None])[..., 0] > BRIGHT * float(luminance(skin[:, None, None]))
    pale = 1 - pixels.amin(0) / pixels.amax(0).clamp(min=1e-3) < PALE
    return float((bright & pale).float().mean())
