"""Read the face of every picture of a video: landmarks and the curves that follow from them.

    frames (T, H, W, 3)  --read_faces-->  FaceTrack (landmarks, found, mouth, eyes, head)

Two ways: "track" looks for a face once and then near where it was in the picture before, one picture after the other:
for small faces and live pictures. "each" looks in every picture anew, many at a time, so that it suits a GPU and
pictures that do not follow each other. In both the detector says where the mesh looks: crops that follow from the
landmarks before, as MediaPipe makes them, were tried and shrink onto drawn faces (correlation of the mouth 0.66 instead
of 0.95, on a rendered avatar of 96 px).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.faces import curves
from liveavatar.faces.crops import as_batch
from liveavatar.faces.detection import LEAST_PRESENCE, Face, detect_faces, detect_in_tiles, largest_central
from liveavatar.faces.mesh import read_squares, squares_of_faces
from liveavatar.faces.networks import POINTS
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.faces.crops import Pictures

MODES = ("track", "each")
SEARCHED = 8                # pictures, evenly over the video, in which small faces are looked for
NEAR = 3.0                  # side of the square in which a face is looked for again, in sides of its box
IRIS_POINTS = 10


@dataclass(frozen=True)
class FaceTrack:
    """One face through T pictures; NaN where it was not found. Lengths in the picture's pixels."""

    points: Tensor              # (T, 478, 3) x, y, depth
    presence: Tensor            # (T,) 0..1, of the mesh network; 0 where nothing was detected
    size: tuple[int, int]       # (height, width) of the pictures

    def __len__(self) -> int:
        return len(self.points)

    @property
    def found(self) -> Tensor:
        """Return (T,) bool: in which pictures there is a face."""
        return self.presence >= LEAST_PRESENCE

    @property
    def reason(self) -> str:
        """Return why nothing can be measured; empty where a face was found in any picture."""
        return "" if bool(self.found.any()) else f"no face found in {len(self)} picture{'s' * (len(self) != 1)}"

    @property
    def mouth_aperture(self) -> Tensor:
        """Return (T,) gap of the inner lips / eye distance; see `curves.mouth_aperture`."""
        return curves.mouth_aperture(self.points)

    @property
    def mouth_width(self) -> Tensor:
        """Return (T,) distance of the corners of the mouth / eye distance."""
        return curves.mouth_width(self.points)

    @property
    def eye_opening(self) -> Tensor:
        """Return (T, 2) right and left eye: gap of the lids / width of the eye."""
        return curves.eye_opening(self.points)

    @property
    def head_pose_deg(self) -> Tensor:
        """Return (T, 3) yaw, pitch, roll; see `curves.head_pose`."""
        return curves.head_pose(self.points)

    @property
    def face_share(self) -> Tensor:
        """Return (T,) height of the face, upper forehead to chin, as a share of the picture's height."""
        return curves.face_height(self.points) / self.size[0]

    def smoothed(self, sigma_frames: float) -> FaceTrack:
        """Average landmarks over time by a Gaussian, without delay and without crossing pictures without a face."""
        if not sigma_frames > 0:
            raise InputError(f"sigma_frames is {sigma_frames}; give a number above 0")
        reach = math.ceil(3 * sigma_frames)
        weight = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_frames) ** 2)
        run = (self.found[1:] != self.found[:-1]).cumsum(0)
        run = torch.cat([run.new_zeros(1), run])                                         # (T,) number of each run
        time = torch.arange(len(self))
        near = time[:, None] + torch.arange(-reach, reach + 1)                           # (T, 2 * reach + 1)
        inside = (near >= 0) & (near < len(self))
        near = near.clamp(0, len(self) - 1)
        share = weight * (inside & (run[near] == run[:, None]))
        known = self.points.nan_to_num(0)
        points = torch.einsum("tk,tkpc->tpc", share / share.sum(1, keepdim=True), known[near])
        return FaceTrack(torch.where(self.found[:, None, None], points, torch.nan), self.presence, self.size)


def read_faces(frames: Pictures, mode: str = "track", views: int = 1, smoothing_frames: float = 0.0,
               device: torch.device | str | None = None) -> FaceTrack:
    """Read the largest, most central face of a video.

    frames: (T, H, W, 3) uint8 or (T, 3, H, W) float 0..1
    mode: "track" or "each", see above
    views: 3 takes the mean over crops of three sizes: three times the work, half the noise in the lips
    smoothing_frames: sigma of a Gaussian over time; 0 is off
    device: where the networks run; by default where the frames are

    Raises InputError for other shapes and modes. Where no face is found nothing is raised: `found` and `reason` say it.
    """
    batch = as_batch(frames)
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; give {' or '.join(map(repr, MODES))}")
    device = batch.device if device is None else torch.device(device)
    read = _follow if mode == "track" else _read_each
    points, presence = read(batch, views, device)
    found = presence >= LEAST_PRESENCE
    points = torch.where(found[:, None, None], points, torch.nan)
    track = FaceTrack(points, presence, tuple(batch.shape[-2:]))
    return track.smoothed(smoothing_frames) if smoothing_frames else track


def _empty(count: int) -> tuple[Tensor, Tensor]:
    return torch.full((count, POINTS + IRIS_POINTS, 3), torch.nan), torch.zeros(count)


def _follow(batch: Tensor, views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Read picture after picture, each near where the face was before."""
    points, presence = _empty(len(batch))
    searched = set(_spread(len(batch)))
    face: Face | None = None
    for index in range(len(batch)):
        picture = batch[index:index + 1]
        before, face = face, None
        if before is not None:
            near = detect_in_tiles(picture, [0], [_tile_around(before)], device=device)
            face = min(near, key=lambda one: _away(one, before), default=None)
        if face is None:
            faces = detect_faces(picture, search=index in searched, device=device)
            face = largest_central(faces, picture.shape[-2:]) if faces else None
        if face is not None:
            read = read_squares(picture, squares_of_faces([face]).to(batch.device), views, device)
            points[index], presence[index] = read.points[0], read.presence[0]
            face = face if presence[index] >= LEAST_PRESENCE else None
    return points, presence


def _spread(count: int) -> list[int]:
    """Return indices of a few pictures, evenly over all."""
    return sorted({round(number * (count - 1) / (SEARCHED - 1)) for number in range(SEARCHED)})


def _tile_around(face: Face) -> tuple[float, float, float]:
    """Return middle x, middle y and side of the square in which a face is looked for again."""
    left, top, right, bottom = face.box
    return (left + right) / 2, (top + bottom) / 2, NEAR * face.size_px


def _read_each(batch: Tensor, views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Read all pictures at once, each by itself; only the choice among several faces looks at the others.

    Where no whole picture shows a face, all are looked at near where a few of them show a small one.
    """
    size = batch.shape[-2:]
    read = _read_chosen(batch, detect_faces(batch, search=False, verify=False, device=device), views, device)
    if (read[1] >= LEAST_PRESENCE).any():
        return read
    few = batch[torch.tensor(_spread(len(batch)), device=batch.device)]
    small = detect_faces(few, device=device)
    if not small:
        return read
    tile = _tile_around(largest_central(small, size))
    return _read_chosen(batch, detect_in_tiles(batch, list(range(len(batch))), [tile], device=device), views, device)


def _read_chosen(batch: Tensor, faces: list[Face], views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Read one of the faces of each picture."""
    points, presence = _empty(len(batch))
    chosen = _choose(faces, batch.shape[-2:])
    if chosen:
        read = read_squares(batch, squares_of_faces(chosen).to(batch.device), views, device)
        indices = torch.tensor([face.picture for face in chosen])
        points[indices], presence[indices] = read.points, read.presence
    return points, presence


def _choose(faces: list[Face], size: tuple[int, int]) -> list[Face]:
    """Choose one face a picture: the largest, most central one, then whichever is nearest to the one before."""
    chosen: list[Face] = []
    for index in sorted({face.picture for face in faces}):
        here = [face for face in faces if face.picture == index]
        chosen.append(min(here, key=lambda face: _away(face, chosen[-1])) if chosen else largest_central(here, size))
    return chosen


def _away(face: Face, other: Face) -> float:
    """Return the distance between the middles of two faces, in px."""
    (left, top, right, bottom), (a, b, c, d) = face.box, other.box
    return math.hypot(left + right - a - c, top + bottom - b - d) / 2
