"""The room behind the person, out of focus: wall, lights, window or shelf, and leaves."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing import Planes, box, circle, lighter, scaled, smoothstep, soft
from ..geometry import View, look
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import cells, noise, noise_1d, resolved
from .paint import dim, mix, over

BLUR = 0.020                # softness of edges behind the person, units
SEED = 60.0                 # cells that a seed of 0..1 spans
LEAF_DARK, LEAF_LIGHT = (0.10, 0.27, 0.17), (0.52, 0.70, 0.34)


def background(image: None, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw the wall with its light and grain, what hangs or stands on it, and leaves at the side."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    view = look(move, x, y)
    seed, kind = who["scene_seed"] * SEED, who["scene"]
    near = View(view.x - who["scene_x"], view.y - who["scene_y"], view.pixel)
    plaster = noise(view.x * 11 - 6 * view.y - seed, view.y * 11 + 6 * view.x + seed)
    image = _wall(who, view, seed, plaster)
    image = _lights(image, who, view, seed, (kind < 1).to(x.dtype))
    image = _window(image, who, near, seed, plaster, ((kind >= 1) & (kind < 2)).to(x.dtype))
    image = _shelf(image, who, near, seed, (kind >= 2).to(x.dtype))
    return _plant(image, who, view, seed)


def _wall(who: Named, view: View, seed: Tensor, plaster: Tensor) -> Planes:
    """Draw the wall: daylight falls from the upper left; plaster shows where it grazes."""
    wall = mix(who.colour("background_top"), who.colour("background_bottom"), ((view.y + 1) / 2).clamp(0, 1))
    side = -torch.sign(who["scene_x"])
    light = 1.01 - 0.20 * smoothstep(0.2, 1.5, torch.sqrt((view.x - 0.55 * side) ** 2 + (view.y + 0.75) ** 2))
    patches = noise(view.x * 2.3 + seed, view.y * 2.3) - 0.5
    x, y = view.x + 0.62 * view.y, view.y - 0.62 * view.x               # its lattice does not run along the picture
    grain = noise(x * 27 + seed, y * 27 - seed) - 0.5
    rough = 0.5 * (plaster - 0.5) + grain * resolved(view.pixel, 1 / 32)
    light = light + 0.035 * patches + 0.14 * who["wall_grain"] * rough
    return tuple(plane * light for plane in wall)


def _lights(image: Planes, who: Named, view: View, seed: Tensor, shown: Tensor) -> Planes:
    """Draw lights far out of focus: discs with a brighter rim, scattered."""
    spot = cells(view.x * 2.2 + seed, view.y * 2.2 + 0.5 * seed)
    radius = 0.10 + 0.22 * spot.third
    distance = circle(spot.x - 0.30 * (spot.first - 0.5), spot.y - 0.30 * (spot.second - 0.5), radius)
    disc = soft(distance, 0.07) * (0.55 + 0.45 * smoothstep(-0.16, -0.02, distance))
    warm = mix(lighter(who.colour("background_top"), 0.75), who.colour("accent"), 0.55 * spot.second)
    upper = smoothstep(0.75, -0.5, view.y)
    return over(image, warm, disc * 0.6 * smoothstep(0.25, 0.8, spot.first) * upper * shown)


def _window(image: Planes, who: Named, near: View, seed: Tensor, hedge: Tensor, shown: Tensor) -> Planes:
    """Draw a window, with a garden and the sky behind it."""
    x, y = near.x, near.y
    frame = lighter(who.colour("background_bottom"), 0.55)
    pane = box(x, y, 0.40, 0.50, 0.02)
    image = dim(image, (0.80, 0.80, 0.84), soft(box(x - 0.02, y - 0.035, 0.46, 0.56, 0.04), 0.10) * 0.6 * shown)
    image = over(image, frame, soft(pane - 0.055, BLUR) * shown)
    sky = mix((0.62, 0.80, 0.94), (0.93, 0.96, 0.97), smoothstep(-0.5, 0.25, y))
    hedge = 0.3 * hedge + 0.7 * noise(x * 7 + seed, y * 7)
    height = 0.02 + 0.28 * (noise_1d(x * 3.1 + seed) - 0.5)
    green = mix(LEAF_DARK, LEAF_LIGHT, smoothstep(0.2, 0.85, hedge))
    garden = mix(sky, lighter(green, 0.18), smoothstep(-0.05, 0.05, y - height + 0.16 * (hedge - 0.5)))
    image = over(image, garden, soft(pane, BLUR) * shown)
    bars = torch.maximum(torch.minimum(x.abs(), (y + 0.06).abs()) - 0.020, pane)
    image = over(image, scaled(frame, 0.93), soft(bars, BLUR) * shown)
    return dim(image, (0.70, 0.72, 0.78), soft((pane + 0.012).abs() - 0.010, 0.02) * 0.5 * shown)


def _shelf(image: Planes, who: Named, near: View, seed: Tensor, shown: Tensor) -> Planes:
    """Draw two boards full of books, each of its own height, width and colour."""
    x, wood = near.x, mix(who.colour("background_bottom"), (0.55, 0.38, 0.25), 0.55)
    half = x.abs() - 0.44
    lower = (near.y > -0.155).to(x.dtype)                               # which of the boards
    y = near.y + 0.20 - 0.56 * lower
    place = x * 11.5 + 0.9 * (noise_1d(x * 5.3 + seed + 7 * lower) - 0.5)
    spine = cells(place, seed + 31 * lower)
    height = 0.23 + 0.12 * spine.first
    book = torch.maximum(torch.maximum(-y - height, y + 0.008), half)
    colour = mix(who.colour("accent"), who.colour("background_top"), spine.second)
    colour = mix(colour, (0.45, 0.20, 0.16), (spine.third - 0.35).clamp(min=0))
    round_ = 1.0 - 1.1 * spine.x * spine.x - 0.35 * smoothstep(0.38, 0.5, spine.x.abs())
    band = smoothstep(0.022, 0.010, (y + height * (0.30 + 0.4 * spine.third)).abs()) * 0.35
    colour = mix(tuple(plane * round_ for plane in colour), (0.96, 0.90, 0.72), band)
    image = dim(image, (0.66, 0.64, 0.68), soft(torch.maximum(y.abs() - 0.30, half), 0.12) * 0.7 * shown)
    image = over(image, colour, soft(book, BLUR) * smoothstep(0.10, 0.14, spine.third) * shown)
    plank = mix(lighter(wood, 0.15), scaled(wood, 0.72), smoothstep(-0.01, 0.03, y))
    return over(image, plank, soft(box(x, y - 0.02, 0.49, 0.024, 0.004), BLUR) * shown)


def _plant(image: Planes, who: Named, view: View, seed: Tensor) -> Planes:
    """Draw leaves that lean in from the side opposite to window and shelf; the nearer layer is lighter and larger."""
    side = -torch.sign(who["scene_x"])
    out = view.x * side
    bush = out - 0.62 + 0.16 * torch.sin(view.y * 3.0 + 0.8) + 0.20 * who["foliage"]
    there = smoothstep(0.05, 0.15, who["foliage"])
    shade = mix(LEAF_DARK, who.colour("background_bottom"), 0.35)
    image = over(image, shade, smoothstep(0.02, 0.30, bush) * (there * 0.8))
    for scale, far in ((4.2, 1.0), (3.0, 0.0)):
        slant = 0.55 - 1.0 * far                                        # lattices that do not run along the picture
        x, y = view.x + slant * view.y, view.y - slant * view.x
        alpha, light = _leaf(x * scale + seed + 7.3 * far, y * scale - seed + 3.6 * far)
        alpha = alpha * smoothstep(-0.02, 0.05, bush - 0.08 + 0.12 * far) * there
        colour = mix(LEAF_DARK, LEAF_LIGHT, light * (1 - 0.45 * far))
        image = over(image, mix(colour, who.colour("background_bottom"), 0.30 * far), alpha)
    return image


def _leaf(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one leaf in each unit cell: its coverage, and its light with a vein in the middle."""
    leaf = cells(x, y)
    angle = 3.6 * (leaf.first - 0.5) + 0.9
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = leaf.x - 0.26 * (leaf.second - 0.5), leaf.y - 0.26 * (leaf.third - 0.5)
    u, v = cos * x + sin * y, cos * y - sin * x
    along = u / (0.24 + 0.16 * leaf.third)
    blade = v.abs() - 0.19 * (1 - along * along) * (1 - 0.25 * along)
    vein = smoothstep(0.035, 0.0, v.abs())
    light = 0.35 + 0.45 * leaf.second + 0.30 * smoothstep(0.02, -0.04, v) - 0.14 * vein
    return smoothstep(0.035, -0.035, blade), light.clamp(0, 1)


def lighting(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Warm, cool or spot light over the finished picture, and corners a little darker."""
    move = Named(motion, MOTION_COLUMNS)
    view = look(move, x, y)
    warm, cool, spot = move["light_warm"], move["light_cool"], move["light_spot"]
    corner = smoothstep(0.75, 1.75, torch.sqrt(view.x * view.x + (view.y + 0.05) ** 2))
    sun = 0.07 * warm * smoothstep(1.4, -0.2, torch.sqrt((view.x + 0.9) ** 2 + (view.y + 0.8) ** 2))
    far = smoothstep(0.45, 1.45, torch.sqrt((view.x + 0.10) ** 2 + (view.y + 0.15) ** 2))
    dark = (1 - 0.22 * corner) * (1 - spot * (0.15 + 0.55 * far))
    red = (image[0] * (1 + 0.10 * warm - 0.18 * cool) + sun) * dark
    green = (image[1] * (1 - 0.04 * warm - 0.05 * cool) + sun) * dark
    blue = image[2] * (1 - 0.28 * warm + 0.10 * cool) * dark
    return red.clamp(0, 1), green.clamp(0, 1), blue.clamp(0, 1)
