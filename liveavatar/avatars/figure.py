"""Shoulders, clothes, neck, ears and the bare head."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .drawing import (
    Planes,
    box,
    circle,
    coverage,
    dim,
    ellipse,
    lighter,
    mix,
    over,
    scaled,
    shadow_of,
    smoothstep,
    soft,
    stroke,
)
from .geometry import View, head_distance, head_frame, look, mouth
from .traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named

CLOTH_SHADE = (0.80, 0.78, 0.84)
GOLD = (0.96, 0.80, 0.36)
HOLE = 0.205            # half width of the neckline, units


class Body(NamedTuple):
    x: Tensor           # (B, 1, W) units; the shoulders follow the head a little
    y: Tensor           # (B, H, 1)
    side: Tensor        # |x|
    reach: Tensor       # (B, 1, 1) half width of the shoulders
    torso: Tensor       # (B, H, W) distance to the shoulders and chest
    hole: Tensor        # (B, H, W) distance to the opening of the neckline
    neck: Tensor        # (B, H, W) distance to the neck
    pixel: Tensor


def body_frame(who: Named, move: Named, x: Tensor, y: Tensor) -> Body:
    """Carry the picture's grid into the frame of the body: it follows the head a little, and breathes."""
    view = look(move, x, y)
    return body_outlines(who, move, view, view.x - 0.30 * move["head_x"],
                         view.y - 0.25 * move["head_y"] + 0.012 * move["breath"])


def body_outlines(who: Named, move: Named, view: View, x: Tensor, y: Tensor) -> Body:
    """Measure the distances to torso, neckline and neck; x and y are in the frame of the body."""
    reach, side = 0.74 * who["build"], x.abs()
    shoulder = 0.535 - 0.055 * torch.exp(-((side / 0.21) ** 2)) + 0.30 * (side / reach) ** 3.4
    slope = 1.02 / reach * (side / reach) ** 2.4
    depth = who["neckline_depth"]
    edge = 0.455 + depth * (1 - ((side / HOLE).clamp(0, 1) + 1e-6) ** (2.2 - 1.2 * who["neckline_v"]))
    hole = torch.maximum(y - edge, side - HOLE) / torch.sqrt(1 + (depth / HOLE) ** 2)
    neck = box(view.x - 0.65 * move["head_x"], view.y - 0.38, 0.135 + 0.02 * who["build"], 0.28, 0.05)
    return Body(x, y, side, reach, (shoulder - y) / torch.sqrt(1 + slope * slope), hole, neck, view.pixel)


def shoulders(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw neck and shirt."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    body = body_frame(who, move, x, y)
    skin, shirt, accent = who.colour("skin"), who.colour("shirt"), who.colour("accent")
    shade = shadow_of(skin)
    down = look(move, x, y).y - 0.6 * move["head_y"]
    neck = coverage(body.neck, body.pixel)
    image = over(image, shade, neck)
    image = over(image, skin, neck * smoothstep(0.28, 0.50, down))
    image = over(image, skin, coverage(body.torso, body.pixel))
    cloth = coverage(torch.maximum(body.torso, -body.hole), body.pixel)
    image = over(image, mix(shirt, accent, _pattern(who, body)), cloth)
    band = coverage(torch.maximum(body.torso, torch.maximum(-body.hole, body.hole - 0.040)), body.pixel)
    image = over(image, mix(scaled(shirt, 0.78), accent, 0.35), band * (1 - who["collar"]))
    image = dim(image, CLOTH_SHADE, cloth * (0.75 * smoothstep(0.25, 0.75, body.side / body.reach)
                                             + 0.25 * smoothstep(0.10, 0.55, body.x / body.reach)))
    return _chin_shadow(image, who, move, body, x, y)


def _pattern(who: Named, body: Body) -> Tensor:
    """Return the share of the accent colour in the cloth: broad stripes or big dots."""
    scale = who["pattern_scale"]
    stripes = smoothstep(-0.15, 0.15, torch.sin((body.y + 0.10 * body.x * body.x) * (scale * 2 * math.pi)))
    row = body.y * (1.3 * scale)
    column = body.x * (1.3 * scale) + 0.5 * torch.floor(row)
    dots = smoothstep(0.36, 0.24, circle(torch.remainder(column, 1) - 0.5, torch.remainder(row, 1) - 0.5, 0.0))
    return (stripes * who["stripes"] + dots * who["dots"]).clamp(0, 1)


def _chin_shadow(image: Planes, who: Named, move: Named, body: Body, x: Tensor, y: Tensor) -> Planes:
    head = head_frame(who, move, look(move, x, y))
    bare = torch.minimum(body.neck, torch.maximum(body.torso, body.hole))
    shadow = torch.maximum(head_distance(who, move, head, down=0.075), bare)
    return dim(image, (0.80, 0.70, 0.70), coverage(shadow, body.pixel, 2.5) * 0.75)


def outfit(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw what is worn over the shirt: jacket, collar or hood."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    body = body_frame(who, move, x, y)
    image = _jacket(image, who, body)
    image = _collar(image, who, body)
    return _hood(image, who, body)


def _jacket(image: Planes, who: Named, body: Body) -> Planes:
    opening = 0.10 + 0.035 / (body.y - 0.30).clamp(min=0.08)
    cut = torch.maximum(torch.maximum(body.torso, opening - body.side), -body.hole)
    cloth = coverage(cut, body.pixel) * who["jacket"]
    image = over(image, who.colour("accent"), cloth)
    image = dim(image, CLOTH_SHADE, cloth * 0.75 * smoothstep(0.25, 0.75, body.side / body.reach))
    lapel = torch.maximum(cut, body.side - opening - 0.085 + 0.10 * (body.y - 0.55).abs())
    return over(image, scaled(who.colour("accent"), 0.78), coverage(lapel, body.pixel) * who["jacket"])


def _collar(image: Planes, who: Named, body: Body) -> Planes:
    flap = torch.maximum(0.60 * (body.y - 0.65) + 0.80 * (body.side - 0.165), 0.445 - body.y)
    flap = torch.maximum(torch.maximum(flap, 0.018 - body.side), -body.hole)
    shown = coverage(flap, body.pixel) * who["collar"]
    image = over(image, lighter(who.colour("shirt"), 0.45), shown)
    return dim(image, (0.72, 0.70, 0.76), shown * smoothstep(-0.030, -0.010, flap) * 0.8)


def _hood(image: Planes, who: Named, body: Body) -> Planes:
    hood = torch.maximum(torch.maximum(body.hole.abs() - 0.080, 0.43 - body.y - 0.2 * body.side), -body.hole - 0.02)
    shown = coverage(hood, body.pixel) * who["hoodie"]
    image = over(image, scaled(who.colour("shirt"), 0.86), shown)
    image = dim(image, CLOTH_SHADE, shown * smoothstep(0.02, 0.08, body.hole) * 0.6)
    string, _ = stroke(body.side, body.y, (0.10, 0.60), (0.115, 0.80))
    return over(image, (0.97, 0.97, 0.97), coverage(string - 0.016, body.pixel) * who["hoodie"])


def bare_head(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw ears and the face's skin with its light and shade."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    skin = who.colour("skin")
    shade = shadow_of(skin)
    image = _ears(image, who, head, mix(skin, shade, 0.25), shade)
    outline = head_distance(who, move, head)
    face = coverage(outline, head.pixel)
    image = over(image, skin, face)
    light = smoothstep(0.30, -0.35, head.x - head.yaw * 0.1 + 0.5 * (head.y + 0.1))
    image = over(image, lighter(skin, 0.22), face * light * 0.55)
    side_and_rim = 0.50 * smoothstep(0.10, 0.42, head.x - head.yaw * 0.16) + 0.35 * smoothstep(-0.06, 0.012, outline)
    return over(image, shade, face * side_and_rim)


def _ears(image: Planes, who: Named, head, skin, shade) -> Planes:
    side = torch.sign(head.x)
    x = head.x.abs() - head.half_width - 0.012 + side * head.yaw * 0.055
    y = head.y - 0.02 + head.pitch * 0.03
    shown = smoothstep(1.3, 0.4, head.yaw * side)
    size = who["ear_size"]
    image = over(image, skin, coverage(ellipse(x, y, 0.064 * size, 0.100 * size), head.pixel) * shown)
    image = over(image, shade, soft(ellipse(x - 0.004, y - 0.004, 0.032 * size, 0.060 * size), 0.03) * 0.6 * shown)
    ring = ellipse(x - 0.006, y - 0.120 * size, 0.024, 0.028)
    return over(image, GOLD, coverage(ring, head.pixel) * who["earrings"] * shown)


def beard(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw the cheeks: blush, freckles, beard and moustache."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    skin, hair = who.colour("skin"), who.colour("hair")
    face = coverage(head_distance(who, move, head), head.pixel)
    cheek_x = (head.x - head.yaw * 0.09).abs() - 0.205
    cheek_y = head.y - 0.115 - head.pitch * 0.07
    blush = soft(ellipse(cheek_x, cheek_y, 0.07, 0.05), 0.12) * 0.6 * who["cheek_blush"]
    image = over(image, (skin[0] * 0.98, skin[1] * 0.66, skin[2] * 0.64), face * blush)
    for across, down in ((-0.055, -0.02), (0.005, -0.005), (0.05, -0.03), (-0.02, 0.035)):
        spot = circle(cheek_x - across, cheek_y - down, 0.010)
        image = over(image, shadow_of(skin), face * coverage(spot, head.pixel) * 0.75 * who["freckles"])
    return _facial_hair(image, who, move, head, scaled(hair, 0.82), scaled(hair, 0.62))


def _facial_hair(image: Planes, who: Named, move: Named, head, hair, dark) -> Planes:
    lips = mouth(who, move)
    x, y = head.x - lips.x, head.y - lips.y
    edge = 0.06 + 0.17 * torch.exp(-1.2 * (x / 0.17) ** 2) + 0.02 * torch.cos(x * 18)
    cut = ellipse(x, y - 0.45 * lips.down, 0.138, 0.062 + 0.5 * lips.down)
    outline = head_distance(who, move, head, grow=0.012)
    chin = torch.maximum(torch.maximum(outline, edge - head.y + head.pitch * 0.04), -cut)
    shown = coverage(chin, head.pixel, 2.2) * who["beard"]
    image = over(image, hair, shown)
    image = over(image, dark, shown * smoothstep(0.0, 0.35, x) * 0.5)
    half = x.abs()
    upper = ellipse(half - 0.055, y + 0.062 + lips.up - 0.28 * half + 0.02, 0.080, 0.030)
    return over(image, hair, coverage(upper, head.pixel, 1.6) * who["moustache"])


def back_hair(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw hair that falls behind the shoulders, and a bun."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    length, spread, bun = who["hair_length"], who["hair_spread"], who["hair_bun"]
    half_width = (head.half_width + 0.03 + 0.6 * who["hair_volume"]) * spread
    curls = curl_outline(who, head)
    fall = box(head.x + head.yaw * 0.03, head.y - 0.5 * length + 0.15,
               half_width + 0.05 * smoothstep(0.0, 0.6, head.y) * spread, 0.5 * length + 0.31, 0.26) - 1.2 * curls
    fall = torch.where(length > 0.05, fall, 1.0)
    knot = ellipse(head.x + head.yaw * 0.05, head.y + 0.56 + 0.5 * who["hair_volume"],
                   0.15 * bun + 1e-3, 0.135 * bun + 1e-3) - curls
    distance = torch.minimum(fall, torch.where(bun > 0.1, knot, 1.0))
    hair = who.colour("hair")
    colour = mix(scaled(hair, 0.62), scaled(hair, 0.80), smoothstep(0.0, -0.12, distance))
    return over(image, colour, coverage(distance, head.pixel) * who["hair_present"])


def curl_outline(who: Named, head) -> Tensor:
    """Return how far curls push the outline of the hair out; uneven, as curls are."""
    angle = torch.atan2(head.x, -(head.y + 0.1))
    uneven = who["hair_waves"] * angle + 1.3 + 0.9 * torch.sin(3.0 * angle + 0.5)
    return 0.022 * who["hair_curl"] * torch.sin(uneven)
