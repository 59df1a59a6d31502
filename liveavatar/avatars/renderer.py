"""From traits and motion to pictures: about a dozen layers, painted from back to front.

Every layer is a pure function `(image, identity, motion, x, y) -> image` of elementwise torch: small enough to be compiled
in seconds, and together one picture. Any batch, any size, any device; positions are exact, edges one pixel soft.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor

from .drawing import Planes
from .face import brows, eyes, lips, nose
from .figure import back_hair, bare_head, beard, outfit, shoulders
from .geometry import grid
from .hair import front_hair, glasses
from .hands import hands
from .scene import background, lighting

Layer = Callable[[Planes | None, Tensor, Tensor, Tensor, Tensor], Planes]

LAYERS: tuple[Layer, ...] = (background, back_hair, shoulders, outfit, bare_head, beard, nose, lips, eyes, brows, glasses,
                             front_hair, hands, lighting)


def render(identity: Tensor, motion: Tensor, size: tuple[int, int] = (128, 128)) -> Tensor:
    """Draw avatars. identity (B, NI), motion (B, NM), size (height, width)  ->  (B, 3, H, W) in 0..1"""
    return _paint(LAYERS, identity, motion, grid(size, identity.device, identity.dtype))


def _paint(layers: tuple[Layer, ...], identity: Tensor, motion: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
    image = None
    for layer in layers:
        image = layer(image, identity, motion, *at)
    return torch.stack(image, 1)


def compiled_renderer(size: tuple[int, int], **options) -> Callable[[Tensor, Tensor], Tensor]:
    """`render` at one size with every layer compiled: for making training data on a GPU.

    The first call with each batch size compiles (seconds), so keep to one. `options` go to `torch.compile`.
    """
    layers = tuple(torch.compile(_own_copy(layer), dynamic=False, fullgraph=True, **options) for layer in LAYERS)
    grids: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def compiled(identity: Tensor, motion: Tensor) -> Tensor:
        if identity.device not in grids:
            grids[identity.device] = grid(size, identity.device, identity.dtype)
        return _paint(layers, identity, motion, grids[identity.device])

    return compiled


def _own_copy(layer: Layer) -> Layer:
    """A copy with its own code object: compiled versions are counted per code object, and each size needs its own."""
    return FunctionType(layer.__code__.replace(), layer.__globals__, layer.__name__, layer.__defaults__, layer.__closure__)
