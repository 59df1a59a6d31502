"""Which pixels show hair, clothes, background or teeth: found by drawing twice in other colours.

Every layer is linear in the colours it paints with and in the picture that it paints over, each of red, green and blue
by itself. So the difference of two drawings that differ in the colour of one thing only is the coverage of that thing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import grid
from .renderer import LAYERS, world_of
from .traits import IDENTITY_COLUMNS

REGIONS = ("hair", "cloth", "background", "teeth")
COLOURS = ("skin", "hair", "iris", "lips", "shirt", "accent", "background_top", "background_bottom")
CHANNELS = ("red", "green", "blue")
SHOWN = 0.25            # of the difference that full coverage in half light makes
TEETH_SHOWN = 0.02


@torch.no_grad()
def regions(identity: Tensor, motion: Tensor, size: tuple[int, int] = (128, 128)) -> Tensor:
    """Find the regions of B drawn pictures, all of one world.

    identity (B, NI), motion (B, NM), size (height, width)  ->  (B, 4, H, W) bool in the order of REGIONS. Brows and
    beard count as hair, sleeves as cloth; everything behind the person is background. Teeth are found in the rich world
    only.
    """
    black, painted = identity.clone(), identity.clone()
    for table in (black, painted):
        for colour in COLOURS:
            for channel in CHANNELS:
                table[:, IDENTITY_COLUMNS[f"{colour}_{channel}"]] = 0.0
        table[:, IDENTITY_COLUMNS["glasses_accent"]] = 0.0
        table[:, IDENTITY_COLUMNS["teeth_tint"]] = 0.0
    painted[:, IDENTITY_COLUMNS["hair_red"]] = 1.0
    for cloth in ("shirt_green", "accent_green"):
        painted[:, IDENTITY_COLUMNS[cloth]] = 1.0
    dark, bright = _person(black, motion, size, 0.0), _person(painted, motion, size, 1.0)
    found = (bright - dark) > SHOWN
    yellow = black.clone()
    yellow[:, IDENTITY_COLUMNS["teeth_tint"]] = 1.0
    teeth = (dark - _person(yellow, motion, size, 0.0)).abs().amax(1) > TEETH_SHOWN
    return torch.cat([found, teeth[:, None]], 1)


def _person(identity: Tensor, motion: Tensor, size: tuple[int, int], behind: float) -> Tensor:
    """Draw without wall and light; the blue of what is behind is `behind`. -> (B, 3, H, W)"""
    x, y = grid(size, identity.device, identity.dtype)
    nothing = torch.zeros(len(identity), *size, device=identity.device, dtype=identity.dtype)
    image = nothing, nothing, nothing + behind
    layers = LAYERS[world_of(identity)]
    for layer in (*layers.behind[1:], *layers.head, layers.hands):
        image = layer(image, identity, motion, x, y)
    return torch.stack(image, 1)
