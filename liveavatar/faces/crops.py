"""Cut upright square pieces out of pictures and carry points back: what both networks are fed with.

    Square (middle, side, turn) + pictures  --sample-->  (N, 3, side, side)  --network--> points --to_picture--> px
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.types import InputError

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy

    Pictures: TypeAlias = Tensor | numpy.ndarray


@dataclass(frozen=True)
class Squares:
    """N squares in pictures, in pixels; pixel (0, 0) covers 0..1 both ways."""

    picture: Tensor     # (N,) long: which picture of the batch
    middle: Tensor      # (N, 2) x and y
    side: Tensor        # (N,)
    turn: Tensor        # (N,) radians, clockwise as seen: of the square's own x axis against the picture's

    def __len__(self) -> int:
        return len(self.side)

    def __getitem__(self, rows: slice | Tensor) -> Squares:
        return Squares(self.picture[rows], self.middle[rows], self.side[rows], self.turn[rows])

    def to(self, device: torch.device | str) -> Squares:
        return Squares(*(tensor.to(device) for tensor in (self.picture, self.middle, self.side, self.turn)))

    def axes(self) -> tuple[Tensor, Tensor]:
        """Return the unit vectors along width and height: (N, 2) twice."""
        along = torch.stack([self.turn.cos(), self.turn.sin()], -1)
        return along, torch.stack([-along[:, 1], along[:, 0]], -1)

    def to_picture(self, points: Tensor) -> Tensor:
        """Carry points (N, P, 2 or 3) as shares of the square, 0..1, to pixels of the picture; depth is scaled."""
        along, across = self.axes()
        offset = (points[..., :2] - 0.5) * self.side[:, None, None]
        flat = self.middle[:, None] + offset[..., :1] * along[:, None] + offset[..., 1:] * across[:, None]
        return torch.cat([flat, points[..., 2:] * self.side[:, None, None]], -1)


def as_batch(pictures: Pictures) -> Tensor:
    """Check pictures and return them as (B, 3, H, W), uint8 or float, without converting what need not be.

    pictures: (3, H, W) or (B, 3, H, W) float 0..1; (H, W, 3) or (B, H, W, 3) uint8, or channels first as well
    Raises InputError when shape, kind or range of the numbers is another.
    """
    given = torch.as_tensor(pictures)
    batch = given[None] if given.ndim == 3 else given
    if batch.ndim == 4 and batch.dtype == torch.uint8 and batch.shape[-1] == 3:
        batch = batch.permute(0, 3, 1, 2)
    elif batch.ndim != 4 or batch.shape[1] != 3 or not (batch.is_floating_point() or batch.dtype == torch.uint8):
        raise InputError(f"pictures are {given.dtype} of shape {tuple(given.shape)}; give (3, H, W) or (B, 3, H, W) "
                         "float in 0..1, or (H, W, 3) or (B, H, W, 3) uint8")
    if 0 in batch.shape:
        raise InputError(f"pictures of shape {tuple(given.shape)} hold no pixels; give at least one picture")
    if batch.is_floating_point():
        low, high = (value.item() for value in batch.aminmax())
        if not (low >= -0.01 and high <= 1.01):                              # NaN fails too
            raise InputError(f"pictures hold values of {low:.3g} to {high:.3g}; floats must lie in 0..1: divide 8-bit "
                             "values by 255")
    return batch


def batch_size(device: torch.device | str) -> int:
    """Return how many pieces a call of a network takes: on a CPU no more than its cache holds."""
    return 16 if torch.device(device).type == "cpu" else 64


def as_float(batch: Tensor) -> Tensor:
    """Convert (B, 3, H, W) uint8 or float -> float32 0..1"""
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()


def sample(batch: Tensor, squares: Squares, side_px: int, padding: str = "border") -> Tensor:
    """Resample squares of pictures to side_px, averaging where they shrink.

    batch (B, 3, H, W) uint8 or float; padding: "border" repeats the edge of a picture, "zeros" is black  ->  (N, 3,
    side_px, side_px) float32 0..1
    """
    pieces = torch.empty(len(squares), 3, side_px, side_px, device=batch.device, memory_format=torch.channels_last)
    level = (squares.side / side_px).clamp(min=1).log2().add(0.25).floor().long()     # 0: up to 1.7 px become one
    for number in level.unique().tolist():
        rows = (level == number).nonzero()[:, 0]
        chosen = squares.picture[rows]
        if (chosen == chosen[0]).all():                                               # many tiles of one picture
            pictures = as_float(batch[chosen[:1]])
        else:
            pictures = as_float(batch[chosen])
        pieces[rows] = _sample_level(pictures, squares[rows], side_px, 2 ** number, padding)
    return pieces


def _sample_level(pictures: Tensor, squares: Squares, side_px: int, factor: int, padding: str) -> Tensor:
    """Sample N squares, one from each of the pictures (N or 1, 3, H, W), which are averaged by a factor first."""
    if factor > 1:
        bottom, right = (-side % factor for side in pictures.shape[-2:])
        if bottom or right:
            pictures = F.pad(pictures, (0, right, 0, bottom), mode="replicate")
        pictures = F.avg_pool2d(pictures, factor)
    extent = squares.side.new_tensor([pictures.shape[-1], pictures.shape[-2]])
    grid = _grid(squares, side_px) / factor * 2 / extent - 1
    return F.grid_sample(pictures.expand(len(squares), -1, -1, -1), grid, mode="bilinear", padding_mode=padding,
                         align_corners=False)


def _grid(squares: Squares, side_px: int) -> Tensor:
    """Return where the pixels of the pieces lie in the pictures: (N, side, side, 2) px"""
    place = (torch.arange(side_px, device=squares.side.device, dtype=torch.float32) + 0.5) / side_px
    y, x = torch.meshgrid(place, place, indexing="ij")
    shares = torch.stack([x, y], -1).reshape(1, -1, 2).expand(len(squares), -1, -1)
    return squares.to_picture(shares).reshape(-1, side_px, side_px, 2)
