"""Nose, mouth, eyes and brows."""

from __future__ import annotations

import torch
from torch import Tensor

from .drawing import (
    Planes,
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
from .geometry import Head, eye_centre, head_frame, lip_edges, lip_line, look, mouth
from .traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named

THROAT, PALATE = (0.34, 0.08, 0.11), (0.17, 0.03, 0.05)
TONGUE, TONGUE_LIGHT = (0.88, 0.42, 0.44), (0.96, 0.58, 0.57)
TEETH, EYE_WHITE = (0.99, 0.985, 0.965), (0.985, 0.985, 0.99)
LASHES, PUPIL, WHITE = (0.13, 0.09, 0.09), (0.06, 0.05, 0.07), (1.0, 1.0, 1.0)


def nose(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Bridge, tip and nostrils; the nose shows best where the head turns."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    skin = who.colour("skin")
    shade = shadow_of(skin)
    x, y, width = head.x - head.yaw * 0.165, head.y - who["nose_height"] - head.pitch * 0.105, who["nose_width"]
    image = over(image, lighter(skin, 0.22), soft(ellipse(x + 0.012, y + 0.085, 0.022 * width, 0.10), 0.08) * 0.40)
    image = over(image, shade, soft(ellipse(x - 0.032 * width, y + 0.045, 0.020, 0.085), 0.09) * 0.45)
    tip = ellipse(x, y, 0.060 * width, 0.046)
    under = torch.maximum(tip, -ellipse(x, y + 0.022, 0.068 * width, 0.048))
    image = over(image, mix(shade, skin, 0.25), coverage(under, head.pixel, 1.6))
    flush = soft(ellipse(x, y - 0.004, 0.050 * width, 0.036), 0.05)
    image = over(image, mix(skin, (0.95, 0.55, 0.48), 0.18), flush * 0.5)
    image = over(image, lighter(skin, 0.5), soft(ellipse(x + 0.014, y + 0.016, 0.014, 0.013), 0.03) * 0.6)
    nostril = ellipse(x.abs() - 0.028 * width, y - 0.021, 0.014, 0.009)
    return over(image, scaled(shade, 0.62), coverage(nostril, head.pixel, 1.5) * 0.8)


# ---------------------------------------------------------------- mouth

def lips(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw lips, the dark of the open mouth, tongue, teeth, and the line of the closed mouth."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    shape, pixel, aperture = mouth(who, move), head.pixel, move["mouth_aperture"]
    edges = lip_edges(shape, move, head)
    x, y, half_width, bow, line, upper, lower, ends = edges

    thick = shape.lip * (bow + 1e-6) ** 0.7
    cupid = 0.007 * torch.exp(-((x / 0.026) ** 2)) * shape.lip
    top, bottom = upper - 0.030 * thick + cupid, lower + 0.039 * thick * (1 - 0.6 * move["lip_tuck"])
    skin_lips = coverage(torch.maximum(torch.maximum(top - y, y - bottom), ends), pixel)

    lip = who.colour("lips")
    dark = lip[0] * 0.76, lip[1] * 0.66, lip[2] * 0.68
    shade = shadow_of(who.colour("skin"))
    image = over(image, shade, soft(ellipse(x, y - shape.down - 0.085, 0.065, 0.020), 0.07) * 0.4)
    image = over(image, mix(dark, lip, smoothstep(-0.008, 0.008, y - 0.5 * (upper + lower))), skin_lips)
    gloss = soft(ellipse(x + 0.016, y - lower - 0.014 * shape.lip, 0.042, 0.008), 0.035)
    image = over(image, lighter(lip, 0.42), gloss * skin_lips * 0.6)

    image = _open_mouth(image, move, shape, x, y - line, edges.inside, half_width, pixel)
    closed = smoothstep(0.08, 0.01, aperture)
    seam = torch.maximum((y - 0.5 * (upper + lower)).abs() - 0.0085, ends - 0.004)
    image = over(image, scaled(dark, 0.50), coverage(seam, pixel) * closed)
    corner = soft(circle(x.abs() - half_width, y - lip_line(shape, 1.0), 0.010), 0.02)
    return over(image, scaled(shade, 0.78), corner * 0.6)


def _open_mouth(image: Planes, move: Named, shape, x: Tensor, y: Tensor, inside: Tensor, half_width: Tensor,
                pixel: Tensor) -> Planes:
    """Draw what is seen between the lips. y is 0 on the line of the closed mouth."""
    shown = smoothstep(0.01, 0.06, move["mouth_aperture"])
    hole = coverage(inside, pixel) * shown
    image = over(image, THROAT, hole)
    image = over(image, PALATE, hole * smoothstep(0.05, -0.02, y) * 0.8)
    deep = shape.down * (1.02 - 0.62 * move["tongue"])
    visible = smoothstep(0.06, 0.20, move["mouth_aperture"])
    tongue = ellipse(x, y - deep - 0.014, half_width * 0.62, 0.046 + 0.012 * move["tongue"])
    image = over(image, TONGUE, coverage(torch.maximum(tongue, inside), pixel) * visible)
    light = ellipse(x, y - deep + 0.006, half_width * 0.34, 0.014)
    image = over(image, TONGUE_LIGHT, soft(light, 0.03) * hole * visible * 0.5)
    edge = -shape.up + 0.056 * move["teeth"]
    teeth = torch.maximum(torch.maximum(y - edge, inside), x.abs() - half_width * 0.88)
    return over(image, TEETH, coverage(teeth, pixel) * smoothstep(0.05, 0.15, move["teeth"]) * shown)


# ---------------------------------------------------------------- eyes

def _eye_side(who: Named, move: Named, head: Head) -> tuple[Tensor, Tensor, Tensor]:
    """Tell which eye a pixel belongs to (-1 or 1), and where it is from that eye's centre."""
    side = torch.sign(head.x - head.yaw * 0.12)
    centre_x, centre_y = eye_centre(who, move, side)
    return side, head.x - centre_x, head.y - centre_y


def eyes(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw both eyes at once: every pixel draws the one on its side."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    pixel, size, open_ = head.pixel, who["eye_size"], 1 - move["blink"]
    side, x, y = _eye_side(who, move, head)
    y = y + side * x * 0.05
    far = (side * head.yaw).clamp(min=0)
    half_width = 0.089 * size * (1 - 0.20 * far)
    half_height = 0.080 * size * who["eye_roundness"]
    bow = (1 - (x / half_width).clamp(-1, 1) ** 2).clamp(min=0)
    arch = 0.55 * bow + 0.45 * torch.sqrt(bow + 1e-6)
    raise_ = move["lid_raise"]
    height = 1.02 * open_ * (1 + 0.16 * raise_.clamp(min=0) + 0.52 * raise_.clamp(max=0)) - 0.62 * move["blink"]
    upper = -half_height * height * arch
    squint = 0.30 * move["smile"].clamp(min=0) - 0.12 * raise_.clamp(max=0)
    lower = half_height * (0.74 + (0.10 - squint) * open_) * arch
    ends = x.abs() - half_width
    ball = torch.maximum(torch.maximum(upper - y, y - lower), ends)

    shade = shadow_of(who.colour("skin"))
    lid = torch.maximum(torch.maximum(-1.05 * half_height * arch - y, y - lower), ends)
    socket = soft(ellipse(x, y + half_height * 0.35, half_width * 1.15, half_height * 1.1), 0.10)
    image = over(image, shade, socket * 0.30)
    image = over(image, mix(shade, who.colour("skin"), 0.35), coverage(lid, pixel))
    crease = torch.maximum((y - torch.minimum(upper, -0.6 * half_height * arch) + 0.034).abs() - 0.005, ends + 0.012)
    image = over(image, scaled(shade, 0.80), coverage(crease, pixel) * 0.6 * open_)
    image = _eyeball(image, who, move, x, y, ball, upper, size, pixel)
    return _lashes(image, who, x * side, y, (upper, lower, ends, half_width), open_, pixel)


def _eyeball(image: Planes, who: Named, move: Named, x: Tensor, y: Tensor, ball: Tensor, upper: Tensor, size: Tensor,
             pixel: Tensor) -> Planes:
    shown = coverage(ball, pixel)
    image = over(image, EYE_WHITE, shown)
    x = x - move["gaze_x"] * 0.034 * size - move["head_yaw"] * 0.012
    from_lid = y - upper
    y = y - move["gaze_y"] * 0.022 * size - 0.004
    radius, iris = 0.056 * size, who.colour("iris")
    out = circle(x, y, 0.0)
    image = over(image, scaled(iris, 0.58), shown * coverage(out - radius, pixel))
    image = over(image, iris, shown * coverage(out - radius * 0.82, pixel))
    image = over(image, lighter(iris, 0.35), shown * soft(circle(x, y - radius * 0.40, radius * 0.45), 0.03) * 0.7)
    image = over(image, PUPIL, shown * coverage(out - radius * 0.50, pixel))
    image = dim(image, (0.72, 0.72, 0.80), shown * smoothstep(0.034, -0.004, from_lid) * 0.8)
    glint = coverage(circle(x + radius * 0.34, y + radius * 0.36, radius * 0.30), pixel)
    return over(image, WHITE, shown * glint)


def _lashes(image: Planes, who: Named, x: Tensor, y: Tensor, lids, open_: Tensor, pixel: Tensor) -> Planes:
    """Draw lashes. x grows away from the nose."""
    upper, lower, ends, half_width = lids
    length = who["lash_length"]
    outer = (x / half_width).clamp(-1, 1)
    weight = 0.0095 + 0.0085 * length * (1 - outer * outer) + 0.004 * outer
    line = torch.maximum((y - upper).abs() * 0.93 - weight, ends - 0.010)
    wing, _ = stroke(x, y, (half_width * 0.92, -0.004), (half_width + 0.036, 0.012 - 0.046 * open_))
    image = over(image, LASHES, coverage(line, pixel) * 0.97)
    image = over(image, LASHES, coverage(wing - 0.009, pixel) * smoothstep(0.5, 0.9, length))
    below = torch.maximum((y - lower - 0.003).abs() - 0.005, ends + 0.015)
    return over(image, scaled(shadow_of(who.colour("skin")), 0.78), coverage(below, pixel) * 0.5)


def brows(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw two brows: raised, tilted, or drawn together by a frown."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    side, x, y = _eye_side(who, move, head)
    frown = move["brow_frown"]
    outward = side * x + 0.012 * frown
    raised = (move["brow_raise"] + 0.5 * side * move["brow_tilt"]) * 0.044 - 0.022 * frown
    y = y + 0.155 * torch.sqrt(who["eye_size"]) + raised + 0.30 * frown * outward
    arch = who["brow_arch"] * ((outward / 0.105) ** 2 * 0.030 - 0.012)
    half_height = 0.0225 * who["brow_thickness"] * (1 - 0.45 * ((outward + 0.02) / 0.11).clamp(0, 1))
    brow = torch.maximum((y - arch).abs() - half_height, outward.abs() - 0.102) - 0.004
    colour = mix(scaled(who.colour("hair"), 0.70), (0.20, 0.13, 0.11), 0.35)
    return over(image, colour, coverage(brow, head.pixel, 1.3) * 0.95)
