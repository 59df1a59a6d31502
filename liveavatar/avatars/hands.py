"""Forearms and hands: a palm, four fingers and a thumb, kept apart by dark lines."""

from __future__ import annotations

import torch
from torch import Tensor

from .drawing import Planes, box, coverage, dim, mix, over, scaled, shadow_of, smoothstep, stroke
from .geometry import hand_frame, look
from .traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named

# from the little finger to the index, in palms: where it begins, how it fans out (radians), how long it is
FINGERS = ((-0.80, -0.55, -0.42, 1.05), (-0.28, -0.78, -0.14, 1.38), (0.26, -0.80, 0.13, 1.42),
           (0.78, -0.62, 0.40, 1.25))
FINGER_RADIUS = 0.285
ELBOW = (0.98, 1.30)


def hands(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw both arms at once: every pixel draws the one on its side of the picture."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    view = look(move, x, y)
    hand = hand_frame(move, view)
    image = _sleeve(image, who, hand.out, hand.down, hand.wrist, view.pixel)
    return _hand(image, who, hand.u, hand.v, hand.spread, hand.curl, hand.pixel)


def _sleeve(image: Planes, who: Named, x: Tensor, y: Tensor, wrist: tuple[Tensor, Tensor], pixel: Tensor) -> Planes:
    colour = mix(who.colour("shirt"), who.colour("accent"), who["jacket"])
    centre, along = stroke(x, y, wrist, ELBOW)
    arm = centre - (0.105 + 0.060 * along)
    shown = coverage(arm, pixel)
    image = over(image, colour, shown)
    image = dim(image, (0.72, 0.70, 0.78), shown * smoothstep(-0.055, 0.0, arm) * 0.8)
    cuff = torch.maximum(arm - 0.010, along - 0.09)
    return over(image, scaled(colour, 0.74), coverage(cuff, pixel))


def _hand(image: Planes, who: Named, u: Tensor, v: Tensor, spread: Tensor, curl: Tensor, pixel: Tensor) -> Planes:
    """Return u, v and pixel in palms."""
    skin = who.colour("skin")
    skin, dark = mix(skin, shadow_of(skin), 0.10), scaled(shadow_of(skin), 0.72)
    nearest, second = _fingers(u, v, spread, curl)
    palm = box(u, v - 0.10, 0.98, 0.88, 0.62)
    whole = torch.minimum(nearest, palm)
    shown = coverage(whole, pixel)
    image = over(image, skin, shown)
    image = over(image, dark, shown * smoothstep(-0.20, 0.03, whole) * 0.55)
    between = smoothstep(0.16, 0.02, second - nearest) * smoothstep(0.10, -0.45, v)     # fades into the palm
    image = over(image, dark, shown * between * 0.85)
    folded = smoothstep(0.30, 0.8, curl) * smoothstep(0.16, 0.0, (v + 0.52).abs())      # knuckles of a fist
    image = over(image, dark, shown * folded * 0.5)
    return _thumb(image, skin, dark, u, v, spread, curl, pixel)


def _fingers(u: Tensor, v: Tensor, spread: Tensor, curl: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest finger, and to the next one. The index folds last, so that it can point."""
    nearest = second = torch.full_like(u, 9.0)
    for place, (base_x, base_y, fan, length) in enumerate(FINGERS):
        fold = smoothstep(0.70, 1.0, curl) if place == 3 else smoothstep(0.0, 0.70, curl)
        reach = length * (1 - 0.80 * fold)
        angle = fan * (0.40 + 1.10 * spread)
        tip = base_x + torch.sin(angle) * reach, base_y - torch.cos(angle) * reach
        centre, along = stroke(u, v, (base_x, base_y), tip)
        distance = centre - (FINGER_RADIUS - 0.03 * along)
        second = torch.minimum(second, torch.maximum(nearest, distance))
        nearest = torch.minimum(nearest, distance)
    return nearest, second


def _thumb(image: Planes, skin, dark, u: Tensor, v: Tensor, spread: Tensor, curl: Tensor, pixel: Tensor) -> Planes:
    angle = 0.80 + 0.35 * spread - 1.0 * curl
    reach = 1.05 - 0.25 * curl
    centre, along = stroke(u, v, (0.62, 0.30), (0.72 + torch.sin(angle) * reach, 0.22 - torch.cos(angle) * reach))
    thumb = centre - (0.33 - 0.06 * along)
    shown = coverage(thumb, pixel)
    image = over(image, skin, shown)
    return over(image, dark, shown * smoothstep(-0.20, 0.03, thumb) * 0.6 * smoothstep(0.0, 0.35, along))
