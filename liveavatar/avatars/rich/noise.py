"""Patterns of chance: value noise and scattered cells, the same on every device.

Corners of a lattice get their values from the permutation (26 n + 1) n mod 169 (McEwan, Sheets, Gustavson, Richardson,
"Efficient computational noise in GLSL", 2012, with a smaller modulus). For whole numbers n up to REACH every
intermediate value is exact in float32, with fused operations too: a CPU and a GPU draw the same pattern. It repeats
after 169 cells. Coordinates up to 230 on either side of 0 stay within that reach.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..drawing import Ink, smoothstep

PERIOD = 169
REACH = 400


class Cell(NamedTuple):
    """Describe where a pixel is in its cell of a lattice, and three random numbers of that cell."""

    x: Tensor           # (B, H, W) -0.5..0.5 from the middle of the cell
    y: Tensor
    first: Tensor       # (B, H, W) 0..1
    second: Tensor
    third: Tensor


def shuffled(count: Tensor) -> Tensor:
    """Permute 0..PERIOD - 1; whole numbers in -REACH..REACH are taken modulo PERIOD.

    The half in the division keeps its rounding away from whole multiples.
    """
    product = (count * 26 + 1) * count
    return product - torch.floor((product + 0.5) * (1 / PERIOD)) * PERIOD


def _faded(share: Tensor) -> Tensor:
    return share * share * (3 - 2 * share)


def noise_1d(x: Tensor) -> Tensor:
    """Draw smooth random numbers 0..1 along x, one at each whole number."""
    cell = torch.floor(x)
    share = _faded(x - cell)
    here, after = shuffled(shuffled(cell)), shuffled(shuffled(cell + 1))
    return torch.lerp(here, after, share) * (1 / (PERIOD - 1))


def noise(x: Tensor, y: Tensor) -> Tensor:
    """Draw smooth random numbers 0..1 over the plane, one at each point of the whole numbers."""
    column, row = torch.floor(x), torch.floor(y)
    across, down = _faded(x - column), _faded(y - row)
    left, right = shuffled(column), shuffled(column + 1)
    upper = torch.lerp(shuffled(left + row), shuffled(right + row), across)
    row = row + 1
    lower = torch.lerp(shuffled(left + row), shuffled(right + row), across)
    return torch.lerp(upper, lower, down) * (1 / (PERIOD - 1))


def cells(x: Tensor, y: Tensor) -> Cell:
    """Divide the plane into unit cells with random numbers, to scatter things in them."""
    column, row = torch.floor(x), torch.floor(y)
    first = shuffled(shuffled(column) + row)
    second = shuffled(first + 41)
    third = shuffled(second + 93)
    scale = 1 / (PERIOD - 1)
    return Cell(x - column - 0.5, y - row - 0.5, first * scale, second * scale, third * scale)


def resolved(pixel: Tensor, period: Ink) -> Tensor:
    """Fade a pattern out where its period (units) comes near two pixels: 1 is drawn in full, 0 not at all."""
    return smoothstep(0.50, 0.22, pixel / period)
