"""The bare head: ears, and a face modelled as a relief of mounds and hollows, with skin, freckles and beard."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing import Planes, coverage, ellipse, scaled, shadow_of, smoothstep, soft
from ..geometry import Head, Mouth, head_distance, head_frame, look, mouth
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import cells, noise, resolved
from .paint import dim, mix, over
from .shading import Slopes, rounded, shine, skin_in

GOLD = (0.96, 0.78, 0.34)
SEED = 60.0             # cells that a seed of 0..1 spans


def face(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint ears, the skin of the face with its light, and what grows on it."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head, lips = head_frame(who, move, look(move, x, y)), mouth(who, move)
    skin = who.colour("skin")
    image = _ears(image, who, head)
    outline = head_distance(who, move, head)
    shown = coverage(outline, head.pixel)
    slopes = _relief(who, move, head, lips)
    light, gloss = slopes.light(), slopes.gloss()
    light = light + 0.05 - 0.22 * smoothstep(-0.05, 0.01, outline)
    light = light + 0.045 * _blotches(who, head)
    image = over(image, skin_in(light, skin), shown)
    image = _blush(image, who, move, head, shown)
    image = shine(image, gloss, shown * 0.20)
    image = _nostrils(image, who, head)
    return _facial_hair(image, who, lips, head, light, outline)


def _relief(who: Named, move: Named, head: Head, lips: Mouth) -> Slopes:
    """Bend an egg into a face. Parts that stand out farther follow a turn of the head farther."""
    x, y, yaw, pitch = head.x, head.y, head.yaw, head.pitch
    slopes = rounded((x - 0.02 * yaw) / (1.06 * head.half_width), (y - 0.02 - 0.02 * pitch) / 0.50)
    smile, width = move["smile"].clamp(min=0), who["nose_width"]
    tip_x, tip_y = x - 0.165 * yaw, y - who["nose_height"] - 0.105 * pitch
    ridge = x - yaw * (0.150 + 0.10 * (y - who["nose_height"]))
    slopes = slopes.mound(ridge, tip_y + 0.085, 0.032 * width, 0.100, 0.025)
    slopes = slopes.mound(tip_x, tip_y, 0.046 * width, 0.036, 0.030)
    slopes = slopes.mounds(tip_x, 0.047 * width, tip_y - 0.008, 0.022, 0.022, 0.010)
    eye_x, eye_y = x - 0.120 * yaw, y - who["eye_height"] - 0.085 * pitch
    slopes = slopes.mounds(eye_x, who["eye_distance"], eye_y, 0.105, 0.075, -0.026)
    slopes = slopes.mounds(eye_x, who["eye_distance"], eye_y + 0.135, 0.120, 0.034, 0.010)
    cheek_y = y - 0.135 + 0.035 * smile - 0.08 * pitch
    slopes = slopes.mounds(x - 0.09 * yaw, 0.195, cheek_y, 0.105, 0.080, 0.026 + 0.018 * smile)
    mid_x, mid_y = x - lips.x, y - lips.y
    slopes = slopes.mound(mid_x, mid_y, 0.150, 0.085, 0.016)
    slopes = slopes.mound(mid_x, mid_y + 0.062 + lips.up, 0.012, 0.026, -0.0035)
    slopes = slopes.mound(mid_x, mid_y - lips.down - 0.078, 0.075, 0.022, -0.010)
    slopes = slopes.mound(mid_x, mid_y - lips.down - 0.150, 0.080, 0.055, 0.018)
    apart = 0.085 + 0.55 * (y - who["nose_height"] - 0.02)              # folds from the nostrils to the corners
    depth = 0.0015 + 0.006 * smile
    return slopes.mounds(x - 0.12 * yaw, apart, y - 0.5 * (who["nose_height"] + lips.y) - 0.02, 0.022, 0.070, -depth)


def _blotches(who: Named, head: Head) -> Tensor:
    """Return the unevenness of skin, -1..1."""
    seed = who["skin_seed"] * SEED
    return 2 * noise(head.x * 16 - seed, head.y * 16 + seed) - 1


def _blush(image: Planes, who: Named, move: Named, head: Head, shown: Tensor) -> Planes:
    """Draw red cheeks and nose; freckles are thickest where the sun falls."""
    skin = who.colour("skin")
    cheek_x = (head.x - head.yaw * 0.09).abs() - 0.200
    cheek_y = head.y - 0.125 - head.pitch * 0.07 + 0.02 * move["smile"].clamp(min=0)
    nose = ellipse(head.x - 0.165 * head.yaw, head.y - who["nose_height"] - 0.105 * head.pitch, 0.05, 0.04)
    flush = soft(ellipse(cheek_x, cheek_y, 0.07, 0.05), 0.15) * 0.60 + soft(nose, 0.08) * 0.30
    image = over(image, (skin[0] * 0.98, skin[1] * 0.66, skin[2] * 0.62), shown * flush * who["cheek_blush"])
    spot = cells((head.x - 0.10 * head.yaw) * 27 + who["skin_seed"] * SEED, (head.y - 0.08 * head.pitch) * 27)
    size = 0.05 + 0.20 * spot.third * spot.third
    round_ = torch.sqrt((spot.x - 0.5 * (spot.first - 0.5)) ** 2 + (spot.y - 0.5 * (spot.second - 0.5)) ** 2 + 1e-9)
    sunny = soft(ellipse(head.x - 0.10 * head.yaw, cheek_y, 0.26, 0.07), 0.16)
    freckle = smoothstep(0.08, -0.06, round_ - size) * sunny * who["freckles"]
    return over(image, scaled(shadow_of(skin), 0.92), shown * freckle * 0.8)


def _nostrils(image: Planes, who: Named, head: Head) -> Planes:
    """Draw the shadow below the nose, and two nostrils in it."""
    shade, width = shadow_of(who.colour("skin")), who["nose_width"]
    x, y = head.x - head.yaw * 0.165, head.y - who["nose_height"] - head.pitch * 0.105
    under = torch.maximum(ellipse(x - 0.006, y - 0.010, 0.064 * width, 0.044), 0.014 - y)
    image = over(image, scaled(shade, 0.82), soft(under, 0.030) * 0.55)
    nostril = ellipse(x.abs() - 0.028 * width, y - 0.024 + 0.12 * (x.abs() - 0.028 * width), 0.015, 0.0085)
    return over(image, scaled(shade, 0.42), soft(nostril, 0.014) * 0.85)


def _ears(image: Planes, who: Named, head: Head) -> Planes:
    """Draw an ear with its rim and hollow; the far one goes behind the head."""
    skin = who.colour("skin")
    side, size = torch.sign(head.x), who["ear_size"]
    x = (head.x.abs() - head.half_width - 0.012 + side * head.yaw * 0.055) / size
    y = (head.y - 0.02 + head.pitch * 0.03) / size
    shown = smoothstep(1.3, 0.4, head.yaw * side)
    ear = ellipse(x + 0.25 * (y - 0.02), y, 0.058, 0.098)
    slopes = Slopes(side * (0.2 + x * 6), y * 4, 0.9).mound(x - 0.010, y + 0.005, 0.026, 0.055, -0.012)
    light = slopes.light()
    light = light + 0.02 - 0.28 * smoothstep(0.006, 0.018, x - 0.020 + ear * 0.3) * smoothstep(-0.004, -0.022, ear)
    image = over(image, skin_in(light, (skin[0], skin[1] * 0.96, skin[2] * 0.95)), coverage(ear, head.pixel) * shown)
    hollow = soft(ellipse(x - 0.000, y - 0.012, 0.020, 0.040), 0.03) * 0.55
    image = over(image, scaled(shadow_of(skin), 0.72), hollow * shown * coverage(ear, head.pixel))
    ring = ellipse(x - 0.006, y - 0.122, 0.022, 0.026)
    gold = mix((0.62, 0.42, 0.14), GOLD, smoothstep(0.02, -0.03, x + y - 0.125))
    image = over(image, gold, coverage(ring, head.pixel) * who["earrings"] * shown)
    glint = coverage(ellipse(x + 0.003, y - 0.113, 0.007, 0.007), head.pixel, 1.5)
    return over(image, (1.0, 0.97, 0.86), glint * who["earrings"] * shown)


def _facial_hair(image: Planes, who: Named, lips: Mouth, head: Head, light: Tensor, outline: Tensor) -> Planes:
    """Draw beard and moustache: short hairs that grow downwards; stubble shows skin between them."""
    x, y, seed = head.x - lips.x, head.y - lips.y, who["hair_seed"] * SEED
    grow = x.abs()
    hairs = noise(x * 60 + seed + 4 * y, (y * (50 - 33 * who["beard"])) - seed + 10 * x * x)
    ragged = 0.03 * (hairs - 0.5) * resolved(head.pixel, 1 / 60)
    edge = 0.06 + 0.17 * torch.exp(-1.2 * (x / 0.17) ** 2) - 0.05 * smoothstep(0.22, 0.33, grow)
    cut = ellipse(x, y - 0.45 * lips.down, 0.138, 0.062 + 0.5 * lips.down)
    chin = torch.maximum(torch.maximum(outline - 0.014, edge - head.y + head.pitch * 0.04), -cut) + ragged
    upper = ellipse(grow - 0.055, y + 0.062 + lips.up - 0.28 * grow + 0.02, 0.084, 0.030) + 0.7 * ragged
    hair = who.colour("hair")
    shaded = mix(scaled(hair, 0.42), scaled(hair, 1.02), smoothstep(-0.1, 1.15, light + 0.75 * (hairs - 0.5)))
    for distance, amount, blur in ((chin, who["beard"], 0.040), (upper, who["moustache"], 0.022)):
        dense = amount + (amount * (1 - amount) * 2.2) * (hairs - 0.5)
        image = dim(image, (0.80, 0.74, 0.72), soft(distance - 0.008, 0.05) * amount * 0.4)
        image = over(image, shaded, soft(distance, blur) * dense.clamp(0, 1))
    return image
