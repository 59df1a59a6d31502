"""Eyes and brows: a round eyeball under its lids, an iris of fibres, lashes and hairs one by one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..drawing import Planes, circle, coverage, ellipse, lighter, scaled, shadow_of, smoothstep, soft
from ..geometry import Head, eye_centre, head_frame, look
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import noise, resolved
from .paint import dim, mix, over
from .shading import skin_in

EYE_WHITE, TEAR_DUCT = (0.965, 0.955, 0.945), (0.86, 0.52, 0.48)
LASHES, PUPIL, WHITE = (0.10, 0.07, 0.07), (0.03, 0.025, 0.03), (1.0, 1.0, 1.0)
SEED = 60.0


class Lids(NamedTuple):
    """The opening of an eye. x, y are from its centre; x grows away from the nose."""

    x: Tensor               # (B, H, W) units
    y: Tensor
    side: Tensor            # -1 or 1
    half_width: Tensor
    half_height: Tensor     # (B, 1, 1)
    arch: Tensor            # 1 in the middle, 0 at the corners
    upper: Tensor           # height of the upper lid's edge
    lower: Tensor
    ends: Tensor            # distance beyond the corners
    pixel: Tensor


def eyes(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint both eyes and brows at once: every pixel draws the one on its side."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    side = torch.sign(head.x - head.yaw * 0.12)
    centre_x, centre_y = eye_centre(who, move, side)
    out, down = side * (head.x - centre_x), head.y - centre_y
    lids = _lids(who, move, head, side, out, down)
    image = _lid_skin(image, who, move, lids)
    image = _eyeball(image, who, move, lids)
    image = _lashes(image, who, move, lids)
    return _brow(image, who, move, side, out, down, head.pixel)


def _lids(who: Named, move: Named, head: Head, side: Tensor, x: Tensor, y: Tensor) -> Lids:
    """Return shape the opening: blink, smile and mood move the lids; a heavy lid still leaves half of the iris."""
    y = y + x * 0.05
    far = (side * head.yaw).clamp(min=0)
    half_width = 0.086 * who["eye_size"] * (1 - 0.20 * far)
    half_height = 0.078 * who["eye_size"] * who["eye_roundness"]
    across = (x / half_width).clamp(-1, 1)
    bow = (1 - across * across).clamp(min=0)
    arch = 0.55 * bow + 0.45 * torch.sqrt(bow + 1e-6)
    raised, open_ = move["lid_raise"], 1 - move["blink"]
    wide, heavy = raised.clamp(min=0), -raised.clamp(max=0)
    height = 0.76 * open_ * (1 + 0.17 * wide - 0.40 * heavy) - 0.62 * move["blink"]
    upper = -half_height * height * arch * (1 + 0.10 * across * (1 - heavy))
    lift = 0.34 * move["smile"].clamp(min=0) + 0.16 * heavy - 0.06 * wide
    lower = half_height * (0.66 + (0.02 - lift) * open_) * arch * (1 - 0.10 * across)
    return Lids(x, y, side, half_width, half_height, arch, upper, lower, x.abs() - half_width, head.pixel)


def _lid_skin(image: Planes, who: Named, move: Named, lids: Lids) -> Planes:
    """Draw the upper lid, which bulges over the eyeball; a crease above it, a soft fold below."""
    x, y, arch, high = lids.x, lids.y, lids.arch, lids.half_height
    skin, open_ = who.colour("skin"), 1 - move["blink"]
    top = torch.minimum(lids.upper - 0.018, -0.60 * high * arch) - 0.016 * open_
    bulge = ((y - top) / (lids.upper - top + 1e-3)).clamp(0, 1)         # 0 at the crease, 1 at the edge
    light = 0.60 - 0.12 * lids.side * x / lids.half_width - 0.30 * bulge * open_ + 0.10 * (1 - open_)
    lid = torch.maximum(torch.maximum(top - y, y - lids.lower), lids.ends)
    shadow = (skin[0] * 0.90, skin[1] * 0.82, skin[2] * 0.82)
    image = over(image, skin_in(light, shadow), coverage(lid, lids.pixel, 1.5))
    crease = torch.maximum((y - top).abs() - 0.003, lids.ends + 0.010)
    image = over(image, scaled(shadow_of(skin), 0.60), soft(crease, 0.014) * (0.35 + 0.40 * open_))
    bag = torch.maximum((y - lids.lower - 0.030 * arch - 0.004).abs() - 0.003, lids.ends + 0.014)
    tired = 0.20 + 0.45 * move["smile"].clamp(min=0)
    return over(image, scaled(shadow_of(skin), 0.85), soft(bag, 0.022) * tired)


def _eyeball(image: Planes, who: Named, move: Named, lids: Lids) -> Planes:
    """Draw white, iris and pupil behind the lids, shaded by them."""
    x, y, size = lids.x, lids.y, who["eye_size"]
    ball = torch.maximum(torch.maximum(lids.upper - y, y - lids.lower), lids.ends)
    shown = coverage(ball, lids.pixel)
    across = x / lids.half_width
    dark = 1 - 0.30 * across * across - 0.10 * smoothstep(0.2, 1.0, lids.side * across)
    image = over(image, (EYE_WHITE[0] * dark, EYE_WHITE[1] * dark, EYE_WHITE[2] * (0.15 + 0.85 * dark)), shown)
    image = over(image, TEAR_DUCT, soft(ellipse(across + 0.93, y / 0.05 - 0.15, 0.14, 0.35), 0.14) * shown * 0.85)
    u = lids.side * x - move["gaze_x"] * 0.034 * size - move["head_yaw"] * 0.012
    v = y - move["gaze_y"] * 0.022 * size - 0.004
    image = _iris(image, who, u, v, 0.056 * size, shown, lids.pixel)
    from_lid = y - lids.upper
    image = dim(image, (0.42, 0.40, 0.46), shown * smoothstep(0.036, -0.006, from_lid) * 0.80)
    radius = 0.056 * size
    glint = soft(circle(u + radius * 0.36, v + radius * 0.34, radius * 0.24), 0.008)
    small = soft(circle(u - radius * 0.40, v - radius * 0.42, radius * 0.10), 0.010) * 0.55
    return over(image, WHITE, shown * torch.maximum(glint, small))


def _iris(image: Planes, who: Named, u: Tensor, v: Tensor, radius: Tensor, shown: Tensor, pixel: Tensor) -> Planes:
    """Draw a dark ring outside, fibres from the pupil, a lighter ring around it, and light that falls through from
    above."""
    colour = who.colour("iris")
    out = circle(u, v, 0.0) / radius
    angle = torch.atan2(v, u)
    fibre = torch.sin(angle * 11 + 2.2 * torch.sin(angle * 4 + who["skin_seed"] * 40) + 3 * out)
    glow = smoothstep(-0.9, 1.0, v / radius) * smoothstep(1.0, 0.5, out)
    tone = mix(scaled(colour, 0.62), lighter(colour, 0.42), (0.18 + 0.80 * glow + 0.14 * fibre).clamp(0, 1))
    tone = mix(tone, (tone[0] * 1.12 + 0.05, tone[1] * 1.02 + 0.02, tone[2] * 0.80), smoothstep(0.68, 0.46, out) * 0.6)
    tone = mix(tone, scaled(colour, 0.22), smoothstep(0.74, 1.0, out) * 0.9)
    image = over(image, tone, shown * coverage(out * radius - radius, pixel, 1.4))
    return over(image, PUPIL, shown * coverage(out * radius - radius * 0.43, pixel, 1.3))


def _lashes(image: Planes, who: Named, move: Named, lids: Lids) -> Planes:
    """Draw a dark line along the upper lid; lashes curve up and outwards from it, longest at the outer end."""
    x, y, length = lids.x, lids.y, who["lash_length"]
    outer = (x / lids.half_width).clamp(-1.3, 1.3)
    open_ = 1 - move["blink"]
    weight = (0.0035 + 0.0065 * length) * (0.35 + 0.65 * lids.arch) + 0.003 * outer
    line = torch.maximum((y - lids.upper).abs() * 0.95 - weight, lids.ends - 0.006)
    turn = 2 * open_ - 1                                                # they point down when the eye is closed
    up = (lids.upper - y) * torch.where(turn < 0, -1.0, 1.0)
    slant = x - (0.35 * outer + 0.15) * up
    tooth = (torch.remainder(slant * 74, 1) - 0.5).abs()                # 0 in the middle of a lash
    reach = (0.006 + 0.032 * length * smoothstep(-0.8, 1.0, outer)) * (1 - 1.3 * tooth) * turn.abs()
    fringe = torch.maximum(torch.maximum(up - reach, -up - 0.004), lids.ends - 0.006 - 0.7 * up.clamp(min=0))
    strength = smoothstep(0.30, 0.75, length)
    image = over(image, LASHES, coverage(fringe, lids.pixel, 1.3) * 0.85 * strength)
    image = over(image, LASHES, coverage(line, lids.pixel, 1.2) * 0.95)
    rim = torch.maximum((y - lids.lower).abs() - 0.003, lids.ends + 0.010)
    image = over(image, (0.93, 0.72, 0.68), coverage(rim, lids.pixel) * 0.50 * open_)
    below = torch.maximum((y - lids.lower - 0.006).abs() - 0.0035, lids.ends + 0.006)
    return over(image, scaled(shadow_of(who.colour("skin")), 0.55), soft(below, 0.009) * 0.75)


def _brow(image: Planes, who: Named, move: Named, side: Tensor, x: Tensor, y: Tensor, pixel: Tensor) -> Planes:
    """Draw hairs that lean outwards, dense in the middle and thin at the tail; raised, tilted, or drawn together."""
    frown = move["brow_frown"]
    x = x + 0.014 * frown
    raised = (move["brow_raise"] + 0.5 * side * move["brow_tilt"]) * 0.044 - 0.022 * frown
    y = y + 0.150 * torch.sqrt(who["eye_size"]) + raised + 0.30 * frown * x
    y = y - who["brow_arch"] * ((x / 0.105) ** 2 * 0.032 - 0.012)
    tail = ((x + 0.03) / 0.13).clamp(0, 1)
    half_height = 0.0215 * who["brow_thickness"] * (1 - 0.62 * tail * tail)
    seed = who["hair_seed"] * SEED + 11 * side
    hairs = noise((x * 0.80 + y * 0.9) * 95 + seed, (y - 0.5 * x) * 16) - 0.5
    hairs = hairs * resolved(pixel, 1 / 70)
    brow = torch.maximum(y.abs() - half_height, x.abs() - 0.104) + 0.016 * hairs
    colour = mix(scaled(who.colour("hair"), 0.62), (0.17, 0.11, 0.09), 0.40)
    soft_start = smoothstep(-0.115, -0.055, x)
    image = over(image, colour, soft(brow, 0.016) * (0.35 + 0.60 * soft_start))
    return over(image, lighter(colour, 0.16), soft(brow + 0.006, 0.012) * smoothstep(0.05, 0.35, hairs) * 0.7)
