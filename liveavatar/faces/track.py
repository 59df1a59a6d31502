"""Read the face of every picture of a video: landmarks and the curves that follow from them.

    frames (T, H, W, 3)  --read_faces-->  FaceTrack (landmarks, found, mouth, eyes, head)

Two ways: "track" looks for a face once and then where it was in the picture before, as MediaPipe does; it costs one
call of the mesh a picture. "each" looks in every picture anew, many at a time: nothing of one picture depends on
another, so that it suits a GPU and pictures that do not follow each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.faces import curves
from liveavatar.faces.crops import Squares, as_batch
from liveavatar.faces.detection import LEAST_PRESENCE, Face, detect_faces, detect_in_tiles, largest_central
from liveavatar.faces.mesh import read_squares, squares_of_faces, squares_of_points
from liveavatar.faces.networks import POINTS
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.faces.crops import Pictures

MODES = ("track", "each")
SEARCHED = 8                # pictures, evenly over the video, in which small faces are looked for
NEAR = 4.0                  # side of the square in which a small face is looked for again, in sides of its box
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
        """(T,) bool: in which pictures there is a face."""
        return self.presence >= LEAST_PRESENCE

    @property
    def reason(self) -> str:
        """Why nothing can be measured; empty where a face was found in any picture."""
        return "" if bool(self.found.any()) else f"no face found in {len(self)} picture{'s' * (len(self) != 1)}"

    @property
    def mouth_aperture(self) -> Tensor:
        """(T,) gap of the inner lips / eye distance; see `curves.mouth_aperture`."""
        return curves.mouth_aperture(self.points)

    @property
    def mouth_width(self) -> Tensor:
        """(T,) distance of the corners of the mouth / eye distance."""
        return curves.mouth_width(self.points)

    @property
    def eye_opening(self) -> Tensor:
        """(T, 2) right and left eye: gap of the lids / width of the eye."""
        return curves.eye_opening(self.points)

    @property
    def head_pose_deg(self) -> Tensor:
        """(T, 3) yaw, pitch, roll; see `curves.head_pose`."""
        return curves.head_pose(self.points)

    @property
    def face_share(self) -> Tensor:
        """(T,) height of the face, upper forehead to chin, as a share of the picture's height."""
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
        points = torch.einsum("tk,tkpc->tpc", share / share.sum(1, keepdim=True), self.points[near])
        return FaceTrack(points, self.presence, self.size)


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
    """Read picture after picture, each where the face was before."""
    points, presence = _empty(len(batch))
    searched = set(_spread(len(batch)))
    square: Squares | None = None
    for index in range(len(batch)):
        picture = batch[index:index + 1]
        for square in (square, None):                                   # where it was; then anywhere
            if square is None:
                faces = detect_faces(picture, search=index in searched, device=device)
                if not faces:
                    break
                square = squares_of_faces([largest_central(faces, picture.shape[-2:])])
            read = read_squares(picture, square.to(batch.device), views, device)
            presence[index] = read.presence[0]
            if presence[index] >= LEAST_PRESENCE:
                points[index] = read.points[0]
                break
        square = squares_of_points(points[index:index + 1], torch.zeros(1, dtype=torch.long)) \
            if presence[index] >= LEAST_PRESENCE else None
    return points, presence


def _spread(count: int) -> list[int]:
    """Indices of a few pictures, evenly over all."""
    return sorted({round(number * (count - 1) / (SEARCHED - 1)) for number in range(SEARCHED)})


def _read_each(batch: Tensor, views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Read all pictures at once, each by itself; only the choice among several faces looks at the others."""
    points, presence = _empty(len(batch))
    chosen = _choose(_detect_each(batch, device), batch.shape[-2:])
    if chosen:
        read = read_squares(batch, squares_of_faces(chosen).to(batch.device), views, device)
        indices = torch.tensor([face.picture for face in chosen])
        points[indices], presence[indices] = read.points, read.presence
    return points, presence


def _detect_each(batch: Tensor, device: torch.device) -> list[Face]:
    """Detect faces in whole pictures or, where none has any, near where a few of them show a small one."""
    faces = detect_faces(batch, search=False, device=device)
    if faces:
        return faces
    places = _spread(len(batch))
    small = detect_faces(batch[torch.tensor(places, device=batch.device)], device=device)
    if not small:
        return []
    square = squares_of_faces([largest_central(small, batch.shape[-2:])])
    tile = (*square.middle[0].tolist(), NEAR / 1.5 * square.side[0].item())
    return detect_in_tiles(batch, list(range(len(batch))), [tile], device=device)


def _choose(faces: list[Face], size: tuple[int, int]) -> list[Face]:
    """Choose one face a picture: the largest, most central one, then whichever is nearest to the one before."""
    chosen: list[Face] = []
    for index in sorted({face.picture for face in faces}):
        here = [face for face in faces if face.picture == index]
        chosen.append(min(here, key=lambda face: _away(face, chosen[-1])) if chosen else largest_central(here, size))
    return chosen


def _away(face: Face, other: Face) -> float:
    """Distance between the middles of two faces, in px."""
    (left, top, right, bottom), (a, b, c, d) = face.box, other.box
    return math.hypot(left + right - a - c, top + bottom - b - d) / 2
