"""Lips, and what is seen between them: teeth one by one, tongue and palate."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing import Planes, circle, coverage, ellipse, lighter, scaled, shadow_of, smoothstep, soft
from ..geometry import Mouth, head_frame, lip_edges, lip_line, look, mouth
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import noise_1d, resolved
from .paint import dim, mix, over

THROAT, PALATE = (0.26, 0.05, 0.07), (0.11, 0.02, 0.03)
TONGUE, TONGUE_LIGHT = (0.80, 0.36, 0.38), (0.93, 0.56, 0.56)
TEETH, YELLOW, GUM = (0.985, 0.975, 0.95), (0.90, 0.80, 0.58), (0.80, 0.42, 0.42)
TOOTH = 0.040           # width of an upper middle tooth, units
SEED = 60.0


def lips(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint the lips, the inside of the open mouth, and the line of the closed one."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    shape, pixel = mouth(who, move), head.pixel
    edges = lip_edges(shape, move, head)
    x, y, half_width, bow, line, upper, lower, ends = edges
    image = _lip_skin(image, who, move, shape, x, y, (upper, lower, ends, bow), pixel)
    image = _open_mouth(image, who, move, shape, x, y - line, edges.inside, half_width, pixel)
    closed = smoothstep(0.08, 0.01, move["mouth_aperture"])
    seam = torch.maximum((y - 0.5 * (upper + lower)).abs() - 0.0045 - 0.0035 * bow, ends - 0.006)
    dark = scaled(who.colour("lips"), 0.30)
    image = over(image, dark, coverage(seam, pixel, 1.4) * closed * 0.95)
    corner = soft(circle(x.abs() - half_width - 0.003, y - lip_line(shape, 1.0), 0.010), 0.026)
    return over(image, scaled(shadow_of(who.colour("skin")), 0.60), corner * (0.45 + 0.30 * move["smile"].clamp(min=0)))


def _lip_skin(image: Planes, who: Named, move: Named, shape: Mouth, x: Tensor, y: Tensor,
              edges: tuple[Tensor, Tensor, Tensor, Tensor], pixel: Tensor) -> Planes:
    """Draw the lips: the upper one lies in shade, the lower one catches the light; both have fine lines."""
    upper, lower, ends, bow = edges
    thick = shape.lip * (bow + 1e-6) ** 0.7
    cupid = 0.010 * torch.exp(-((x / 0.022) ** 2)) * shape.lip
    top = upper - 0.031 * thick + cupid
    bottom = lower + 0.041 * thick * (1 - 0.6 * move["lip_tuck"])
    skin = torch.maximum(torch.maximum(top - y, y - bottom), ends)
    shown = coverage(skin, pixel, 1.6)
    lip = who.colour("lips")
    middle = 0.5 * (upper + lower)
    lines = noise_1d(x * 85 + who["skin_seed"] * SEED) - 0.5
    above = (y - top) / (0.031 * thick + 1e-3)                          # 0 at the outer edge, 1 at the opening
    below = (y - lower) / (0.041 * thick + 1e-3)
    high = 0.80 - 0.32 * above.clamp(0, 1)
    low = 0.98 + 0.20 * (1 - (2 * below - 0.8) ** 2).clamp(min=-1.2) - 0.10 * x / shape.half_width
    light = high + (low - high) * smoothstep(-0.006, 0.006, y - middle) + 0.09 * lines * resolved(pixel, 0.02)
    tone = lip[0] * light, lip[1] * (light - 0.04), lip[2] * (light - 0.03)
    image = over(image, tone, shown)
    gloss = soft(ellipse(x + 0.020, y - lower - 0.016 * shape.lip, 0.045, 0.008), 0.026)
    return over(image, lighter(lip, 0.60), gloss * shown * (0.45 + 0.5 * lines))


def _open_mouth(image: Planes, who: Named, move: Named, shape: Mouth, x: Tensor, y: Tensor, inside: Tensor,
                half_width: Tensor, pixel: Tensor) -> Planes:
    """Draw what is seen between the lips. y is 0 on the line of the closed mouth."""
    aperture = move["mouth_aperture"]
    shown = smoothstep(0.01, 0.06, aperture)
    hole = coverage(inside, pixel) * shown
    image = over(image, mix(PALATE, THROAT, smoothstep(-0.02, 0.07, y)), hole)
    deep = shape.down * (1.02 - 0.62 * move["tongue"])
    visible = smoothstep(0.06, 0.20, aperture) * hole
    tongue = ellipse(x, y - deep - 0.014, half_width * 0.62, 0.046 + 0.012 * move["tongue"])
    flesh = mix(TONGUE, TONGUE_LIGHT, soft(ellipse(x + 0.015, y - deep + 0.006, half_width * 0.36, 0.012), 0.04))
    groove = soft(x.abs() - 0.002, 0.018) * 0.30
    image = over(image, scaled(flesh, 0.92), coverage(tongue, pixel, 1.5) * visible * (1 - 0.5 * groove))
    image = _teeth(image, who, move, shape, x, y, inside, half_width, pixel, shown)
    return dim(image, (0.35, 0.22, 0.24), hole * smoothstep(-0.016, 0.004, inside) * 0.75)


def _teeth(image: Planes, who: Named, move: Named, shape: Mouth, x: Tensor, y: Tensor, inside: Tensor,
           half_width: Tensor, pixel: Tensor, shown: Tensor) -> Planes:
    """Draw two rows. Gap, tint, width and lengths are this person's: a closed mouth does not tell them."""
    gap, width = 0.011 * who["teeth_gap"], TOOTH * who["teeth_width"]
    ivory = mix(TEETH, YELLOW, 0.75 * who["teeth_tint"])
    out = x.abs()
    place = (out - gap).clamp(min=0) / width
    place = place * (1 + 0.10 * place)                                  # farther teeth are narrower to the eye
    number = torch.floor(place)
    share = place - number                                              # 0..1 across one tooth
    length = noise_1d(number * 3.7 + 2.2 * torch.sign(x) + who["teeth_seed"] * SEED) - 0.5
    corner = (2 * share - 1) ** 4
    edge = -shape.up + 0.056 * move["teeth"] - 0.005 * corner + 0.016 * who["teeth_uneven"] * length
    between = torch.minimum(share, 1 - share) * width
    round_ = 1 - 0.45 * (out / half_width) ** 2 - 0.10 * (2 * share - 1) ** 2
    row = torch.maximum(torch.maximum(y - edge, inside), out - half_width * 0.90)
    upper = coverage(row, pixel) * smoothstep(0.05, 0.15, move["teeth"]) * shown
    line = smoothstep(0.0038, 0.0008, between) * 0.60
    light = (round_ * (1 - line * resolved(pixel, 0.021))).clamp(0, 1)
    hollow = smoothstep(gap + 0.001, gap - 0.003, out) * smoothstep(0.0015, 0.004, gap)
    image = over(image, tuple(part * light for part in ivory), upper * (1 - hollow))
    gum = smoothstep(0.010, 0.002, y + shape.up + 0.008 * (1 - corner)) * smoothstep(0.55, 0.95, move["mouth_aperture"])
    image = over(image, GUM, upper * gum * 0.8)
    low = shape.down * (1 - 0.45 * (out / half_width) ** 2) - 0.019 - 0.004 * length
    row = torch.maximum(torch.maximum(low - y, inside), out - half_width * 0.66)
    seen = smoothstep(0.30, 0.55, move["mouth_aperture"]) * (1 - 0.8 * move["tongue"])
    seen = seen * (1 - move["lip_rounding"].clamp(max=1))
    joint = smoothstep(0.004, 0.001, (torch.remainder(x * 1.35 / width + 0.5, 1) - 0.5).abs() * width)
    shade = 0.90 * round_ * (1 - 0.5 * joint * resolved(pixel, 0.021))
    return over(image, tuple(part * shade for part in ivory), coverage(row, pixel) * seen * shown)
