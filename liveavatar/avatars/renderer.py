"""From traits and motion to pictures: about a dozen layers, painted from back to front.

Every layer is a pure function `(image, identity, motion, x, y) -> image` of elementwise torch, without branches on
data, so that `kernels` can translate it. Any batch, any size, any device; positions are exact, edges one pixel soft.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from liveavatar.threads import adapted_threads

from .drawing import Planes
from .face import brows, eyes, lips, nose
from .figure import back_hair, bare_head, beard, outfit, shoulders
from .geometry import grid
from .hair import front_hair, glasses
from .hands import hands
from .kernels import Kernels
from .scene import background, lighting

Layer = Callable[[Planes | None, Tensor, Tensor, Tensor, Tensor], Planes]

LAYERS: tuple[Layer, ...] = (background, back_hair, shoulders, outfit, bare_head, beard, nose, lips, eyes, brows,
                             glasses, front_hair, hands, lighting)


def render(identity: Tensor, motion: Tensor, size: tuple[int, int] = (128, 128)) -> Tensor:
    """Draw avatars. identity (B, NI), motion (B, NM), size (height, width)  ->  (B, 3, H, W) in 0..1"""
    with adapted_threads(identity.device):
        x, y = grid(size, identity.device, identity.dtype)
        image = None
        for layer in LAYERS:
            image = layer(image, identity, motion, x, y)
        return torch.stack(image, 1)


def compiled_renderer(size: tuple[int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """`render` at one size, every layer compiled to a CUDA kernel: for making training data by the million.

    Compiles in seconds on the first call, for any batch up to 65535. Tensors on other devices are drawn by `render`.
    """
    made: dict[torch.device, tuple[Kernels, Tensor, Tensor]] = {}

    def compiled(identity: Tensor, motion: Tensor) -> Tensor:
        device = identity.device
        if device.type != "cuda":
            return render(identity, motion, size)
        with torch.cuda.device(device):
            if device not in made:
                made[device] = Kernels(LAYERS, device), *grid(size, device)
            kernels, x, y = made[device]
            return kernels.paint(identity, motion, x, y)

    return compiled
