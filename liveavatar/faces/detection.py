"""Find faces in pictures of any size: box, score and six key points of each.

    pictures  --square tiles of 128 px--> detector --candidates--> merged --> Face

The detector sees faces that fill a sixth of its square or more. So pictures are first looked at as a whole. Where
nothing is found, they are made smaller, for faces that fill them entirely, and then looked at in overlapping tiles of
half the side, of a quarter and of an eighth, but of 96 px at least. So the smallest faces that are found are 20 px high
or a fiftieth of the longer side, whichever is more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.faces.crops import Squares, as_batch, batch_size, sample
from liveavatar.faces.mesh import read_squares, squares_of_faces
from liveavatar.faces.networks import DETECTOR_SIDE, KEY_POINTS, load_networks, make_anchors
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.faces.crops import Pictures

LEAST_SCORE = 0.6           # of a face that is returned; benchmarks/results/faces.md says what that costs
LEAST_PRESENCE = 0.5        # the same, of the mesh's own opinion
SAME_FACE = 0.3             # overlap (intersection over union) from which two candidates are one face
SMALLEST_TILE = 96          # px
SMALLEST_SHARE = 1 / 8      # side of the smallest tile against the longer side of the picture


@dataclass(frozen=True)
class Face:
    """One face, in pixels of its picture."""

    box: tuple[float, float, float, float]      # left, top, right, bottom: from the brows to the chin
    score: float                                # of the detector, 0..1
    key_points: Tensor = field(repr=False)      # (6, 2) right eye, left eye, nose tip, mouth, right ear, left ear
    picture: int = 0                            # index into the batch
    presence: float = math.nan                  # of the mesh network, 0..1; NaN: not asked

    @property
    def roll_deg(self) -> float:
        """Turn of the line through the eyes, clockwise as seen; 0 is upright, -180..180."""
        x, y = (self.key_points[1] - self.key_points[0]).tolist()
        return math.degrees(math.atan2(y, x))

    @property
    def size_px(self) -> float:
        """Return the longer side of the box."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


@torch.no_grad()
def detect_faces(pictures: Pictures, least_score: float = LEAST_SCORE, search: bool = True, verify: bool = True,
                 device: torch.device | str | None = None) -> list[Face]:
    """Find the faces of one picture or of a batch.

    pictures: (3, H, W) or (B, 3, H, W) float 0..1, or (H, W, 3) or (B, H, W, 3) uint8
    least_score: faces that score less are left out, 0..1
    search: look for small faces, in tiles, where none was found in the whole picture
    verify: ask the mesh network too, and leave out what it takes for no face
    device: where the networks run; by default where the pictures are

    Return the faces ordered by picture, then by size, largest first. Raises InputError for other shapes.
    """
    batch = as_batch(pictures)
    if not 0 < least_score < 1:
        raise InputError(f"least_score is {least_score}; give a number between 0 and 1")
    device = batch.device if device is None else torch.device(device)
    found: list[Face] = []
    waiting = list(range(len(batch)))
    for tiles in tile_levels(*batch.shape[-2:]):
        faces = detect_in_tiles(batch, waiting, tiles, least_score, device)
        if verify:
            faces = _verified(batch, faces, device)
        found += faces
        waiting = sorted(set(waiting) - {face.picture for face in faces})
        if not search or not waiting:
            break
    return sorted(found, key=lambda face: (face.picture, -face.size_px))


def _verified(batch: Tensor, faces: list[Face], device: torch.device) -> list[Face]:
    """Keep the faces in which the mesh sees a face as well."""
    presence = read_squares(batch, squares_of_faces(faces).to(batch.device), device=device).presence.tolist()
    judged = [replace(face, presence=one) for face, one in zip(faces, presence, strict=True)]
    return [face for face in judged if face.presence >= LEAST_PRESENCE]


def tile_levels(height: int, width: int) -> list[list[tuple[float, float, float]]]:
    """List squares (middle x, middle y, side) in px: the whole picture, twice its side, then ever smaller tiles.

    Tiles overlap by half, so that a face of up to half a tile lies in one of them whole.
    """
    whole = float(max(height, width))
    levels = [[(width / 2, height / 2, whole)], [(width / 2, height / 2, 2 * whole)]]
    side = whole / 2
    while side >= max(SMALLEST_TILE, SMALLEST_SHARE * whole):
        rows, columns = (_starts(extent, side) for extent in (height, width))
        levels.append([(x + side / 2, y + side / 2, side) for y in rows for x in columns])
        side /= 2
    return levels


def _starts(extent: float, side: float) -> list[float]:
    """Spread tiles evenly over an extent, overlapping by half or more; one in the middle where it covers all."""
    if extent <= side:
        return [(extent - side) / 2]
    count = math.ceil(2 * (extent - side) / side - 1e-6) + 1
    return [(extent - side) * number / (count - 1) for number in range(count)]


def detect_in_tiles(batch: Tensor, indices: list[int], tiles: list[tuple[float, float, float]],
                    least_score: float = LEAST_SCORE, device: torch.device | str = "cpu") -> list[Face]:
    """Run the detector on every tile of some pictures and merge what it finds in each picture.

    batch (B, 3, H, W); indices: of the pictures; tiles: middle x, middle y, side in px
    """
    detector, _ = load_networks(device)
    anchors = make_anchors().to(device)
    every = [(index, *tile) for index in indices for tile in tiles]
    values = torch.tensor([row[1:] for row in every])
    squares = Squares(torch.tensor([row[0] for row in every]), values[:, :2], values[:, 2],
                      torch.zeros(len(every))).to(batch.device)
    candidates: dict[int, list[tuple[float, Tensor]]] = {}
    for start in range(0, len(every), batch_size(device)):
        piece = squares[slice(start, start + batch_size(device))]
        boxes, logits = detector(sample(batch, piece, DETECTOR_SIDE, "zeros").to(device))
        scores = logits.sigmoid()
        tile, anchor = (scores >= least_score).nonzero(as_tuple=True)
        raw = boxes[tile, anchor].float().unflatten(-1, (-1, 2)) / DETECTOR_SIDE           # (K, 8, 2)
        raw[:, 0] += anchors[anchor]
        raw[:, 2:] += anchors[anchor, None]
        here = piece[tile.to(batch.device)].to(device)
        raw[:, 0], raw[:, 2:] = here.to_picture(raw[:, :1])[:, 0], here.to_picture(raw[:, 2:])
        raw[:, 1] *= here.side[:, None]
        for index, score, row in zip(here.picture.tolist(), scores[tile, anchor].tolist(), raw.cpu(), strict=True):
            candidates.setdefault(index, []).append((score, row))
    return [face for index, rows in candidates.items() for face in merge(rows, index)]


def merge(candidates: list[tuple[float, Tensor]], picture: int = 0) -> list[Face]:
    """Average candidates that overlap, weighted by score, as BlazeFace does instead of dropping all but the best.

    candidates: scores and rows (8, 2) px of middle, size and six key points
    """
    scores = torch.tensor([score for score, _ in candidates])
    rows = torch.stack([row for _, row in candidates])
    corners = torch.cat([rows[:, 0] - rows[:, 1] / 2, rows[:, 0] + rows[:, 1] / 2], -1)    # (K, 4)
    faces, left = [], torch.ones(len(rows), dtype=torch.bool)
    while left.any():
        best = int(torch.where(left, scores, -1).argmax())
        same = left & (overlap(corners, corners[best]) > SAME_FACE)
        same[best] = True
        weight = (scores[same] / scores[same].sum())[:, None]
        box = (weight * corners[same]).sum(0)
        points = (weight[:, None] * rows[same, 2:]).sum(0)
        faces.append(Face(tuple(box.tolist()), float(scores[best]), points.reshape(KEY_POINTS, 2), picture))
        left &= ~same
    return faces


def overlap(boxes: Tensor, box: Tensor) -> Tensor:
    """Return the intersection over union of boxes (K, 4) with one (4,): (K,) 0..1"""
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod(-1) - shared
    return shared / area.clamp(min=1e-9)


def largest_central(faces: list[Face], size: tuple[int, int]) -> Face:
    """Choose the face that is large and near the middle of a picture (height, width).

    Its size counts in full in the middle, half in a corner.
    """
    height, width = size
    reach = math.hypot(height, width) / 2

    def weight(face: Face) -> float:
        left, top, right, bottom = face.box
        away = math.hypot((left + right - width) / 2, (top + bottom - height) / 2)
        return face.size_px * (1 - 0.5 * min(away / reach, 1))

    return max(faces, key=weight)
