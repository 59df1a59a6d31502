"""From traits and motion to pictures: about a dozen layers, painted from back to front.

Every layer is a pure function `(image, identity, motion, x, y) -> image` of elementwise torch, without branches on
data, so that `kernels` can translate it. Any batch, any size, any device; positions are exact, edges one pixel soft.
The trait `detail` says in which world's way a person is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from liveavatar.threads import adapted_threads

from . import face, figure, hair, hands, rich, scene
from .drawing import Planes
from .geometry import grid
from .kernels import Kernels
from .traits import WORLDS, check_world, identity_index

Layer = Callable[[Planes | None, Tensor, Tensor, Tensor, Tensor], Planes]
DETAIL = identity_index("detail")


class Layers(NamedTuple):
    """The layers of one world, from back to front."""

    behind: tuple[Layer, ...]       # the wall, long hair, shoulders and clothes
    head: tuple[Layer, ...]
    hands: Layer
    light: Layer

    @property
    def all(self) -> tuple[Layer, ...]:
        return *self.behind, *self.head, self.hands, self.light


LAYERS: dict[str, Layers] = {
    "plain": Layers((scene.background, figure.back_hair, figure.shoulders, figure.outfit),
                    (figure.bare_head, figure.beard, face.nose, face.lips, face.eyes, face.brows, hair.glasses,
                     hair.front_hair), hands.hands, scene.lighting),
    "rich": Layers((rich.background, rich.back_hair, rich.body),
                   (rich.face, rich.lips, rich.eyes, rich.front_hair), rich.hands, rich.lighting),
}


def world_of(identity: Tensor) -> str:
    """Find the world in which identities (B, NI) are drawn, by the first of them; of none it is the plain one."""
    return WORLDS[int((identity[:1, DETAIL] > 0.5).any())]


def render(identity: Tensor, motion: Tensor, size: tuple[int, int] = (128, 128)) -> Tensor:
    """Draw avatars. identity (B, NI), motion (B, NM), size (height, width)  ->  (B, 3, H, W) in 0..1"""
    detailed = identity[:, DETAIL] > 0.5
    if detailed.any() and not detailed.all():           # of both worlds: each by itself
        pictures = identity.new_empty(len(identity), 3, *size)
        for chosen in (detailed, ~detailed):
            pictures[chosen] = render(identity[chosen], motion[chosen], size)
        return pictures
    with adapted_threads(identity.device):
        x, y = grid(size, identity.device, identity.dtype)
        image = None
        for layer in LAYERS[world_of(identity)].all:
            image = layer(image, identity, motion, x, y)
        return torch.stack(image, 1)


def compiled_renderer(size: tuple[int, int], world: str = "plain") -> Callable[[Tensor, Tensor], Tensor]:
    """Compile `render` for one size and one world to CUDA kernels: for making training data by the million.

    Compiles in seconds on the first call, for any batch up to 65535. On a GPU everybody is drawn in the way of `world`,
    whatever `detail` says: looking at it would make the host wait. Tensors on other devices are drawn by `render`.
    Raises InputError for an unknown world.
    """
    check_world(world)
    made: dict[torch.device, tuple[Kernels, Tensor, Tensor]] = {}

    def compiled(identity: Tensor, motion: Tensor) -> Tensor:
        device = identity.device
        if device.type != "cuda":
            return render(identity, motion, size)
        with torch.cuda.device(device):
            if device not in made:
                made[device] = Kernels(LAYERS[world].all, device), *grid(size, device)
            kernels, x, y = made[device]
            return kernels.paint(identity, motion, x, y)

    return compiled
