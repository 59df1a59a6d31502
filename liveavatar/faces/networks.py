"""Define the two face networks: a detector (BlazeFace, short range) and a mesh of 478 landmarks (attention mesh).

Both are made of one kind of block and take pictures in 0..1, channels first. The weights are those that Google
distributes with MediaPipe under Apache-2.0 (see weights/NOTICE); `liveavatar.training.convert_faces` converts them.

Sources: BlazeFace (arXiv:1907.05047), real-time facial surface geometry (arXiv:1907.06724), attention mesh
(arXiv:2006.10962).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.faces.topology import EYE_REGIONS, IRIS, LIPS_REGION
from liveavatar.weights import load_part, read_manifest

WEIGHTS = Path(__file__).parent / "weights"
LEFT, RIGHT = ".left", ".right"     # factors of what the 8-bit matrix of that name leaves out

DETECTOR_SIDE = 128         # px
MESH_SIDE = 192             # px
REGION_SIDE = 16            # cells of the 48 x 48 feature map that a refined region is resampled to
REGION_MARGIN = 1.5         # side of a region's box against the box of its points
REGION_PX = 64              # in which the network counts along a region's box
FEATURE_STRIDE = 4          # px of the mesh's input in a cell of the 48 x 48 map
KEY_POINTS = 6              # right eye, left eye, nose tip, mouth, right ear, left ear (the person's right and left)
POINTS = 468                # of the mesh; iris points follow


class Stem(nn.Module):
    """A full convolution of stride 2: the first layer of a network.

    At stride 2 sides are even, and TensorFlow pads one more at the right and the bottom than at the left and the top.
    """

    def __init__(self, width: int, kernel: int, activation: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, kernel, stride=2)
        self.activation = make_activation(activation, width)
        self.before, self.after = (kernel - 2) // 2, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(F.pad(x, (self.before, self.after, self.before, self.after))))


class BlazeBlock(nn.Module):
    """Depthwise and pointwise convolution beside a shortcut, which is pooled and padded with channels of zeros."""

    def __init__(self, channels: int, width: int, stride: int, activation: str) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=2 - stride, groups=channels)
        self.pointwise = nn.Conv2d(channels, width, 1)
        self.activation = make_activation(activation, width)
        self.stride, self.added = stride, width - channels

    def forward(self, x: Tensor) -> Tensor:
        padded, shortcut = (F.pad(x, (0, 1, 0, 1)), F.max_pool2d(x, 2)) if self.stride == 2 else (x, x)
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return self.activation(shortcut + self.pointwise(self.depthwise(padded)))


def make_activation(name: str, width: int) -> nn.Module:
    return nn.PReLU(width) if name == "prelu" else nn.ReLU()


def make_blocks(channels: int, widths: str, activation: str) -> nn.Sequential:
    """Stack blocks; widths such as "64/ 64": a slash marks stride 2."""
    blocks = []
    for word in widths.split():
        width = int(word.removesuffix("/"))
        blocks.append(BlazeBlock(channels, width, 2 if word.endswith("/") else 1, activation))
        channels = width
    return nn.Sequential(*blocks)


class FaceDetector(nn.Module):
    """Score 896 anchors of a square picture.

    picture (B, 3, 128, 128) 0..1  ->  boxes (B, 896, 16), logits (B, 896)

    Boxes are offsets from the middle of the anchor in pixels: middle x, y, width, height, then x, y of six key points.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem(24, 5, "relu")
        self.fine = make_blocks(24, "24 28 32/ 36 42 48/ 56 64 72 80 88", "relu")         # 16 x 16, 2 anchors a cell
        self.coarse = make_blocks(88, "96/ 96 96 96 96", "relu")                          # 8 x 8, 6 anchors a cell
        values = 4 + 2 * KEY_POINTS
        self.fine_logits, self.fine_boxes = nn.Conv2d(88, 2, 1), nn.Conv2d(88, 2 * values, 1)
        self.coarse_logits, self.coarse_boxes = nn.Conv2d(96, 6, 1), nn.Conv2d(96, 6 * values, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(self.stem(picture * 2 - 1))
        coarse = self.coarse(fine)
        boxes = [by_anchor(self.fine_boxes(fine), 16), by_anchor(self.coarse_boxes(coarse), 16)]
        logits = [by_anchor(self.fine_logits(fine), 1), by_anchor(self.coarse_logits(coarse), 1)]
        return torch.cat(boxes, 1), torch.cat(logits, 1)[..., 0]


def by_anchor(x: Tensor, values: int) -> Tensor:
    """Rearrange (B, anchors * values, h, w) -> (B, h * w * anchors, values)"""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)


def make_anchors() -> Tensor:
    """Return the middles of the anchors in the order of the outputs: (896, 2) x and y, 0..1."""
    grids = []
    for cells, each in ((16, 2), (8, 6)):
        middle = (torch.arange(cells) + 0.5) / cells
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        grids.append(torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, each, -1).reshape(-1, 2))
    return torch.cat(grids)


@dataclass(frozen=True)
class RawMesh:
    """Hold what the mesh network returns for B crops, in pixels of its 192 x 192 input."""

    points: Tensor      # (B, 478, 3): lips and eyes refined (x and y), then 5 points of each iris (depth: of the eye)
    presence: Tensor    # (B,) logit: is there a face in the crop?


class PointHead(nn.Module):
    """features (B, 128, 4, 4) -> points (B, n, 2) as shares of the region's box, 0..1 across and down"""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.blocks = make_blocks(128, "128 128 128/ 128 128", "prelu")
        self.squeeze = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32))
        self.mix = make_blocks(32, "32", "prelu")
        self.points = nn.Conv2d(32, 2 * points, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.points(self.mix(self.squeeze(self.blocks(x)))).reshape(len(x), -1, 2) / REGION_PX


class Region(nn.Module):
    """Look again at lips or an eye: resample the features around its coarse points and refine them."""

    def __init__(self, subset: tuple[int, ...], corners: tuple[int, int], iris: bool) -> None:
        super().__init__()
        self.subset, self.corners = subset, corners
        self.blocks = make_blocks(32, "32 32 64/ 64 64 128/", "prelu")
        self.outline = PointHead(len(subset))
        self.iris = PointHead(5) if iris else None

    def forward(self, features: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map features (B, 32, 48, 48), coarse (B, 468, 2) px -> outline (B, n, 2) px and iris (B, 5, 2) px or None"""
        box = box_around(coarse[:, self.subset], coarse[:, self.corners])
        x = self.blocks(resample(features, box))
        outline = from_box(self.outline(x), box)
        return outline, None if self.iris is None else from_box(self.iris(x), box)


class FaceMesh(nn.Module):
    """Find 478 landmarks in a square crop around one face. crop (B, 3, 192, 192) 0..1 -> RawMesh"""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem(16, 3, "prelu")
        self.features = make_blocks(16, "16 16 32/", "prelu")                             # 48 x 48
        self.tower = make_blocks(32, "32 32 64/ 64 64 128/ 128 128 128/ 128 128 128/ 128 128", "prelu")     # 3 x 3
        self.squeeze = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32))
        self.mix = make_blocks(32, "32", "prelu")
        self.points = nn.Conv2d(32, 3 * POINTS, 3)
        self.presence = nn.Conv2d(32, 1, 3)
        self.lips = Region(LIPS_REGION, (61, 291), iris=False)
        self.eyes = nn.ModuleList([Region(EYE_REGIONS[0], (33, 133), iris=True),
                                   Region(EYE_REGIONS[1], (362, 263), iris=True)])

    def forward(self, crop: Tensor) -> RawMesh:
        features = self.features(self.stem(crop))
        head = self.mix(self.squeeze(self.tower(features)))
        points = self.points(head).reshape(len(crop), POINTS, 3)
        coarse = points[..., :2].clone()
        refined, irises = points.clone(), []
        refined[:, LIPS_REGION, :2] = self.lips(features, coarse)[0]
        for eye, ring in zip(self.eyes, IRIS, strict=True):
            outline, iris = eye(features, coarse)
            refined[:, eye.subset, :2] = outline
            depth = refined[:, ring, 2].mean(1)[:, None, None].expand(-1, 5, 1)
            irises.append(torch.cat([iris, depth], -1))
        return RawMesh(torch.cat([refined, *irises], 1), self.presence(head)[:, 0, 0, 0])


# ---------------------------------------------------------------------------------------------- rotated boxes
@dataclass(frozen=True)
class RotatedBox:
    """B boxes in pixels of the mesh's input."""

    middle: Tensor      # (B, 2)
    size: Tensor        # (B, 2) width and height
    axis: Tensor        # (B, 2) unit vector along the width


def box_around(points: Tensor, corners: Tensor) -> RotatedBox:
    """Return the box of points (B, n, 2) along the line between two corners (B, 2, 2), with a margin."""
    along = corners[:, 1] - corners[:, 0]
    axis = along / along.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    across = torch.stack([-axis[:, 1], axis[:, 0]], -1)
    frame = torch.stack([axis, across], -1)                                               # (B, 2, 2): columns
    turned = points @ frame
    low, high = turned.amin(1), turned.amax(1)
    middle = ((low + high) / 2)[:, None] @ frame.mT
    return RotatedBox(middle[:, 0], (high - low) * REGION_MARGIN, axis)


def from_box(shares: Tensor, box: RotatedBox) -> Tensor:
    """Map points (B, n, 2) as shares of a box -> pixels of the mesh's input."""
    offset = (shares - 0.5) * box.size[:, None]
    across = torch.stack([-box.axis[:, 1], box.axis[:, 0]], -1)
    return box.middle[:, None] + offset[..., :1] * box.axis[:, None] + offset[..., 1:] * across[:, None]


def resample(features: Tensor, box: RotatedBox) -> Tensor:
    """Sample features (B, C, 48, 48) at the 16 x 16 places of a box, bilinear, 0 outside. -> (B, C, 16, 16)"""
    place = (torch.arange(REGION_SIDE, device=features.device, dtype=features.dtype) + 0.5) / REGION_SIDE
    y, x = torch.meshgrid(place, place, indexing="ij")
    shares = torch.stack([x, y], -1).reshape(1, -1, 2).expand(len(features), -1, -1)
    at = from_box(shares, box) / FEATURE_STRIDE                                           # cells of the 48 x 48 map
    grid = (at * 2 / features.shape[-1] - 1).reshape(-1, REGION_SIDE, REGION_SIDE, 2)
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


# ---------------------------------------------------------------------------------------------- loading
def restore(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the product of the stored factors to each matrix that has some; return float32."""
    whole = {name: tensor.float() for name, tensor in stored.items() if not name.endswith((LEFT, RIGHT))}
    for name in [name.removesuffix(LEFT) for name in stored if name.endswith(LEFT)]:
        product = stored[name + LEFT].float() @ stored[name + RIGHT].float()
        whole[name] = whole[name] + product.view_as(whole[name])
    return whole


def load_networks(device: torch.device | str = "cpu", folder: str | os.PathLike = WEIGHTS) -> tuple[FaceDetector,
                                                                                                   FaceMesh]:
    """Load both networks, ready to use; the same objects for the same device and folder.

    Raises InputError when a file is missing or damaged.
    """
    return _load(str(torch.device(device)), str(folder))


@lru_cache(maxsize=4)
def _load(device: str, folder: str) -> tuple[FaceDetector, FaceMesh]:
    manifest = read_manifest(Path(folder))
    loaded = []
    for part, network in (("detector", FaceDetector()), ("mesh", FaceMesh())):
        network.load_state_dict(restore(load_part(manifest, part)))
        loaded.append(network.requires_grad_(False).eval().to(device, memory_format=torch.channels_last))
    return loaded[0], loaded[1]
