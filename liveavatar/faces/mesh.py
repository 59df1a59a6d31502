"""Find 478 landmarks of faces: lips, eyes, brows, nose, outline of the face and both irises."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.faces.crops import Squares, as_batch, batch_size, sample
from liveavatar.faces.networks import MESH_SIDE, POINTS, load_networks
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.faces.crops import Pictures
    from liveavatar.faces.detection import Face

MARGIN = 1.5                # side of the crop against the longer side of the detector's box; others read worse
VIEWS = {1: (1.0,), 3: (0.95, 1.0, 1.05)}       # sizes of the crops that are averaged


@dataclass(frozen=True)
class Landmarks:
    """The landmarks of N faces, in pixels of their pictures."""

    points: Tensor      # (N, 478, 3) x, y and depth (negative towards the camera); the last 10 are the irises
    presence: Tensor    # (N,) 0..1: is there a face at all in the crop?

    def __len__(self) -> int:
        return len(self.points)


def landmarks(pictures: Pictures, faces: list[Face], views: int = 1,
              device: torch.device | str | None = None) -> Landmarks:
    """Find the landmarks of faces that `detect_faces` found in the same pictures.

    pictures: as for `detect_faces`; views: 3 takes the mean over crops of three sizes: three times the work, half the
    noise in the lips

    Return Landmarks of the faces, in their order. Raises InputError when a face belongs to no picture.
    """
    batch = as_batch(pictures)
    if views not in VIEWS:
        raise InputError(f"views is {views}; give {' or '.join(map(str, VIEWS))}")
    if faces and not 0 <= min(face.picture for face in faces) <= max(face.picture for face in faces) < len(batch):
        raise InputError(f"a face of picture {max(face.picture for face in faces)} was given with {len(batch)} "
                         "picture(s); give the pictures in which it was found")
    return read_squares(batch, squares_of_faces(faces).to(batch.device), views, device)


def squares_of_faces(faces: list[Face]) -> Squares:
    """Square the boxes of faces, turned so that the eyes lie level, with a margin."""
    if not faces:
        none = torch.zeros(0)
        return Squares(none.long(), torch.zeros(0, 2), none, none)
    boxes = torch.tensor([face.box for face in faces])
    eyes = torch.stack([face.key_points[1] - face.key_points[0] for face in faces])
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1) * MARGIN
    return Squares(torch.tensor([face.picture for face in faces]), (boxes[:, :2] + boxes[:, 2:]) / 2, side,
                   torch.atan2(eyes[:, 1], eyes[:, 0]))


@torch.no_grad()
def read_squares(batch: Tensor, squares: Squares, views: int = 1,
                 device: torch.device | str | None = None) -> Landmarks:
    """Run the mesh on squares of pictures (B, 3, H, W); see `landmarks`."""
    device = batch.device if device is None else torch.device(device)
    _, mesh = load_networks(device)
    points, presence = [torch.zeros(0, POINTS + 10, 3)], [torch.zeros(0)]
    for start in range(0, len(squares), batch_size(device)):
        piece = squares[slice(start, start + batch_size(device))]
        found = []
        for scale in VIEWS[views]:
            scaled = replace(piece, side=piece.side * scale)
            raw = mesh(sample(batch, scaled, MESH_SIDE).to(device))
            found.append((scaled.to(device).to_picture(raw.points / MESH_SIDE), raw.presence.sigmoid()))
        points.append(torch.stack([one for one, _ in found]).mean(0).cpu())
        presence.append(torch.stack([one for _, one in found]).mean(0).cpu())
    return Landmarks(torch.cat(points), torch.cat(presence))
