"""Forearms in sleeves, and hands: round fingers, lines of the palm."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..drawing import Colour, Planes, box, coverage, melt, scaled, shadow_of, smoothstep, soft, stroke
from ..geometry import hand_frame, look
from ..hands import ELBOW, FINGER_RADIUS, FINGERS
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .body import SEED, SHADOW, sleeve, threads
from .noise import noise
from .paint import dim, over
from .shading import Slopes, cloth_in, skin_in


class Finger(NamedTuple):
    distance: Tensor        # (B, H, W) to its outline, palms
    tilt: Tensor            # across it: -1 at its left edge, 1 at its right one
    along: Tensor           # 0 at its root, 1 at its tip


def hands(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint both arms at once: every pixel draws the one on its side of the picture."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    view = look(move, x, y)
    hand = hand_frame(move, view)
    image = _sleeve(image, who, hand.side, hand.out, hand.down, hand.wrist, view.pixel)
    return _hand(image, who, hand.u, hand.v, hand.spread, hand.curl, hand.side, hand.pixel)


def _sleeve(image: Planes, who: Named, side: Tensor, x: Tensor, y: Tensor, wrist: tuple[Tensor, Tensor],
            pixel: Tensor) -> Planes:
    centre, along = stroke(x, y, wrist, ELBOW)
    half = 0.105 + 0.060 * along
    arm = centre - half
    image = dim(image, SHADOW, soft(arm - 0.02, 0.09) * 0.55)
    bent = ((x - wrist[0]) * (ELBOW[1] - wrist[1]) - (y - wrist[1]) * (ELBOW[0] - wrist[0])) * 1.6
    tilt = (bent / half).clamp(-1, 1)                                   # -1..1 across the arm
    light = Slopes(side * 0.75 * tilt, -0.55 * tilt, 0.8).light()
    fold = noise(along * 7 + 5 * tilt + who["cloth_seed"] * SEED, tilt * 1.6 + side) - 0.5
    cuff = torch.maximum(arm - 0.008, along - 0.075)
    banded = coverage(cuff, pixel)
    light = light + 0.06 + fold * (0.32 * who["cloth_fold"]) + 0.16 * threads(who, x, y, pixel)
    light = light * (1 - 0.5 * soft((along - 0.085).abs() - 0.006, 0.03)) - 0.08 * banded
    return over(image, cloth_in(light, sleeve(who)), torch.maximum(coverage(arm, pixel), banded))


def _hand(image: Planes, who: Named, u: Tensor, v: Tensor, spread: Tensor, curl: Tensor, side: Tensor,
          pixel: Tensor) -> Planes:
    """Return u, v and pixel in palms."""
    skin = who.colour("skin")
    nearest, second = _fingers(u, v, spread, curl)
    palm = box(u, v - 0.10, 0.98, 0.88, 0.62)
    whole = melt(nearest.distance, palm, 0.12)
    shown = coverage(whole, pixel)
    image = dim(image, SHADOW, soft(whole - 0.10, 0.45) * 0.40)
    finger = smoothstep(0.10, -0.45, v)                                 # 0 on the palm, 1 on the fingers
    palm_tilt = u.clamp(-1, 1)
    tilt = palm_tilt + (nearest.tilt - palm_tilt) * finger
    light = Slopes(-side * 0.70 * tilt, 0.16 - 0.30 * finger * (1 - nearest.along), 0.8).light()
    light = light + 0.06 - 0.24 * smoothstep(-0.16, 0.04, whole)
    light = light - 0.30 * smoothstep(0.55, 0.15, circle_of(u - 0.05, v - 0.12)) * (1 - finger)
    image = over(image, skin_in(light, skin), shown)
    dark = scaled(shadow_of(skin), 0.62)
    between = smoothstep(0.17, 0.0, second - nearest.distance) * finger
    image = over(image, dark, shown * between * 0.75)
    joints = soft((torch.remainder(nearest.along * 2.6 + 0.35, 1) - 0.5).abs() - 0.03, 0.16) * finger
    image = over(image, dark, shown * joints * 0.22 * smoothstep(0.9, 0.4, curl))
    image = _palm_lines(image, dark, shown, u, v, curl)
    return _thumb(image, who, u, v, spread, curl, side, pixel)


def circle_of(u: Tensor, v: Tensor) -> Tensor:
    """Return the distance from the origin."""
    return torch.sqrt(u * u + v * v + 1e-9)


def _palm_lines(image: Planes, dark: Colour, shown: Tensor, u: Tensor, v: Tensor, curl: Tensor) -> Planes:
    """Draw the line around the ball of the thumb and one across; on a fist, the row of folded fingers."""
    life = (circle_of(u - 0.95, v - 0.55) - 0.98).abs() - 0.015
    life = torch.maximum(life, torch.maximum(u - 0.75, v - 0.70))
    heart = torch.maximum((v + 0.18 - 0.16 * u).abs() - 0.012, (u + 0.15).abs() - 0.62)
    lines = soft(torch.minimum(life, heart), 0.10) * smoothstep(0.6, 0.2, curl)
    image = over(image, dark, shown * lines * 0.45)
    folded = smoothstep(0.30, 0.8, curl) * smoothstep(0.16, 0.0, (v + 0.52).abs())
    return over(image, dark, shown * folded * 0.5)


def _fingers(u: Tensor, v: Tensor, spread: Tensor, curl: Tensor) -> tuple[Finger, Tensor]:
    """Return the nearest finger, and the distance to the next one. The index folds last, so that it can point."""
    far = torch.full_like(u, 9.0)
    nearest, second = Finger(far, 0 * far, 0 * far), far
    for place, (base_x, base_y, fan, length) in enumerate(FINGERS):
        fold = smoothstep(0.70, 1.0, curl) if place == 3 else smoothstep(0.0, 0.70, curl)
        reach = length * (1 - 0.80 * fold)
        angle = fan * (0.40 + 1.10 * spread)
        sin, cos = torch.sin(angle), torch.cos(angle)
        centre, along = stroke(u, v, (base_x, base_y), (base_x + sin * reach, base_y - cos * reach))
        radius = FINGER_RADIUS - 0.045 * along
        tilt = ((cos * (u - base_x) + sin * (v - base_y)) / radius).clamp(-1, 1)
        distance = centre - radius
        second = torch.minimum(second, torch.maximum(nearest.distance, distance))
        closer = distance < nearest.distance
        nearest = Finger(*(torch.where(closer, new, old) for new, old in
                           zip((distance, tilt, along), nearest, strict=True)))
    return nearest, second


def _thumb(image: Planes, who: Named, u: Tensor, v: Tensor, spread: Tensor, curl: Tensor, side: Tensor,
           pixel: Tensor) -> Planes:
    skin = who.colour("skin")
    angle = 0.80 + 0.35 * spread - 1.0 * curl
    reach = 1.05 - 0.25 * curl
    sin, cos = torch.sin(angle), torch.cos(angle)
    centre, along = stroke(u, v, (0.62, 0.30), (0.72 + sin * reach, 0.22 - cos * reach))
    radius = 0.33 - 0.085 * along
    thumb = centre - radius
    tilt = ((cos * (u - 0.62) + sin * (v - 0.30)) / radius).clamp(-1, 1)
    light = Slopes(-side * 0.70 * tilt, 0.1, 0.8).light()
    light = light + 0.06 - 0.22 * smoothstep(-0.14, 0.03, thumb)
    rooted = smoothstep(0.0, 0.35, along)
    shown = coverage(thumb, pixel)
    on_palm = coverage(box(u, v - 0.1, 1.0, 0.9, 0.6), pixel)
    image = dim(image, (0.72, 0.58, 0.56), soft(thumb - 0.06, 0.22) * on_palm * (0.5 * rooted))
    return over(image, skin_in(light, skin), shown * smoothstep(-0.02, 0.25, along))
