"""The wall behind the person, and the light on everything."""

from __future__ import annotations

import torch
from torch import Tensor

from .drawing import Planes, box, circle, coverage, ellipse, lighter, mix, over, scaled, smoothstep
from .geometry import View, look
from .traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named

SKY, CLOUD = (0.78, 0.90, 0.97), (0.97, 0.98, 0.99)
LEAF, POT = (0.36, 0.62, 0.45), (0.90, 0.62, 0.46)


def background(image: None, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw the wall, and on it discs, a window or a shelf."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    view = look(move, x, y)
    top, bottom = who.colour("background_top"), who.colour("background_bottom")
    image = mix(top, bottom, ((view.y + 1) / 2).clamp(0, 1) + 0 * view.x)
    near = View(view.x - who["scene_x"], view.y - who["scene_y"], view.pixel)
    kind = who["scene"]
    image = _discs(image, view, near, lighter(top, 0.35), scaled(bottom, 0.90), (kind < 1).to(x.dtype))
    image = _window(image, near, scaled(bottom, 0.80), ((kind >= 1) & (kind < 2)).to(x.dtype))
    books = (mix(who.colour("accent"), bottom, 0.25), mix(who.colour("lips"), bottom, 0.25), scaled(bottom, 0.84))
    return _shelf(image, near, scaled(bottom, 0.72), books, (kind >= 2).to(x.dtype))


def _discs(image: Planes, view: View, near: View, bright, dark, shown: Tensor) -> Planes:
    image = over(image, bright, coverage(circle(near.x, near.y, 0.34), view.pixel) * 0.55 * shown)
    image = over(image, dark, coverage(circle(near.x + 1.05, near.y - 0.75, 0.26), view.pixel) * 0.6 * shown)
    return over(image, bright, coverage(circle(near.x + 1.10, near.y + 0.15, 0.13), view.pixel) * 0.7 * shown)


def _window(image: Planes, near: View, frame, shown: Tensor) -> Planes:
    pane = box(near.x, near.y, 0.36, 0.46, 0.05)
    cloud = torch.minimum(box(near.x + 0.12, near.y - 0.14, 0.15, 0.055, 0.055),
                          box(near.x - 0.12, near.y + 0.20, 0.13, 0.05, 0.05))
    bars = torch.maximum(torch.minimum(near.x.abs(), near.y.abs()) - 0.022, pane)
    image = over(image, frame, coverage(pane - 0.05, near.pixel) * shown)
    image = over(image, SKY, coverage(pane, near.pixel) * shown)
    image = over(image, CLOUD, coverage(cloud, near.pixel) * shown)
    return over(image, frame, coverage(bars, near.pixel) * shown)


def _shelf(image: Planes, near: View, board, books, shown: Tensor) -> Planes:
    x, y, pixel = near
    image = over(image, board, coverage(box(x, y - 0.345, 0.36, 0.026, 0.01), pixel) * shown)
    for colour, place, half_height in zip(books, (-0.25, -0.15, -0.05), (0.18, 0.22, 0.16), strict=True):
        spine = box(x - place, y - 0.32 + half_height, 0.045, half_height, 0.014)
        image = over(image, colour, coverage(spine, pixel) * shown)
    left, right = x - 0.14, x - 0.26
    leaves = torch.minimum(
        torch.minimum(ellipse(left * 0.8 + (y - 0.08) * 0.6, (y - 0.08) * 0.8 - left * 0.6, 0.050, 0.12),
                      ellipse(right * 0.8 - (y - 0.08) * 0.6, (y - 0.08) * 0.8 + right * 0.6, 0.050, 0.12)),
        ellipse(x - 0.20, y - 0.03, 0.055, 0.13))
    image = over(image, LEAF, coverage(leaves, pixel) * shown)
    pot = box(x - 0.20, y - 0.24, 0.075 - (y - 0.24) * 0.18, 0.082, 0.02)
    return over(image, POT, coverage(pot, pixel) * shown)


def lighting(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Warm, cool or spot light over the finished picture."""
    move = Named(motion, MOTION_COLUMNS)
    warm, cool, spot = move["light_warm"], move["light_cool"], move["light_spot"]
    sun = 0.06 * warm * smoothstep(1.4, -0.2, circle(x + 0.9, y + 0.8, 0.0))
    dark = 1 - spot * (0.15 + 0.55 * smoothstep(0.45, 1.45, circle(x + 0.10, y + 0.20, 0.0)))
    red = (image[0] * (1 + 0.10 * warm - 0.18 * cool) + sun) * dark
    green = (image[1] * (1 - 0.04 * warm - 0.05 * cool) + sun) * dark
    blue = image[2] * (1 - 0.28 * warm + 0.10 * cool) * dark
    return red.clamp(0, 1), green.clamp(0, 1), blue.clamp(0, 1)
