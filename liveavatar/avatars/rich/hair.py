"""Hair in strands, in front and behind, and glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing import Colour, Planes, box, coverage, ellipse, lighter, scaled, smoothstep, soft
from ..figure import curl_outline
from ..geometry import Head, glasses_frame, head_distance, head_frame, look
from ..hair import FRAME
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import noise, noise_1d, resolved
from .paint import dim, mix, over
from .shading import rounded

STRANDS = 36.0          # in one unit
SEED = 60.0             # cells that a seed of 0..1 spans


def strands(who: Named, across: Tensor, along: Tensor, pixel: Tensor) -> Tensor:
    """Return how light each strand is, 0..1; across and along the hair in units."""
    scale, seed = STRANDS * who["hair_strands"], who["hair_seed"] * SEED
    broad = noise(across * scale + seed, along * 2.6 - seed)
    fine = noise(across * (2.3 * scale) - seed, along * 4.3 + seed) - 0.5
    return broad + 0.85 * fine * resolved(pixel, 0.45 / scale)


def hair_in(hair: Colour, light: Tensor, strand: Tensor) -> Colour:
    """Return hair between shade and light; the tips of strands are a little lighter."""
    level = 0.62 * light + 0.85 * (strand - 0.5)
    colour = mix(scaled(hair, 0.34), hair, smoothstep(-0.35, 0.62, level))
    return mix(colour, lighter(scaled(hair, 1.08), 0.20), smoothstep(0.45, 1.05, level))


def back_hair(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint the hair that falls behind the shoulders, and a bun."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    length, spread, bun, seed = who["hair_length"], who["hair_spread"], who["hair_bun"], who["hair_seed"] * SEED
    half_width = (head.half_width + 0.03 + 0.6 * who["hair_volume"]) * spread
    curls = curl_outline(who, head)
    knot_x, knot_y = head.x + head.yaw * 0.05, head.y + 0.56 + 0.5 * who["hair_volume"]
    knot = ellipse(knot_x, knot_y, 0.15 * bun + 1e-3, 0.135 * bun + 1e-3) - curls
    up = (knot_y < 0.12).to(x.dtype) * (bun > 0.1).to(x.dtype)          # the bun is wound, the rest falls
    middle = head.x + head.yaw * 0.03
    wave = noise(head.x * 4.5 + seed, head.y * 4.5) - 0.5
    across = middle * (1 - 0.25 * smoothstep(0.1, 0.8, head.y)) + wave * 0.06
    lock = torch.sin(head.y * 36 + 26 * noise_1d(across * 8 - seed)) * who["hair_curl"]
    across, along = across + 0.022 * lock, head.y + wave * 0.3
    strand = strands(who, across + (knot_y + 4.0 * knot_x * knot_x - across) * up, along + (knot_x - along) * up,
                     head.pixel) + 0.16 * lock
    ragged = (0.07 * smoothstep(0.0, 0.7, head.y) + 0.014) * (strand - 0.5)
    fall = box(middle, head.y - 0.5 * length + 0.15, half_width + 0.05 * smoothstep(0.0, 0.6, head.y) * spread,
               0.5 * length + 0.31, 0.26) - 1.2 * curls + ragged
    fall = torch.where(length > 0.05, fall, 1.0)
    knot = torch.where(bun > 0.1, knot + 0.3 * ragged, 1.0)
    ball = rounded(knot_x / 0.16, knot_y / 0.15).light()
    inside = smoothstep(0.0, -0.14, fall)
    light = 0.16 + inside * (0.42 - 0.22 * smoothstep(-0.25, 0.15, head.y)) - 0.30 * smoothstep(-0.1, 0.4, middle)
    colour = hair_in(who.colour("hair"), light + (ball + 0.05 - light) * up, strand)
    return over(image, colour, coverage(torch.minimum(fall, knot), head.pixel, 1.3) * who["hair_present"])


def front_hair(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint glasses, and strands that fall from the parting around the skull, cut along the hairline."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    image = _glasses(image, who, head)
    present, curl, seed = who["hair_present"], who["hair_curl"], who["hair_seed"] * SEED
    fan, along, wave = _flow(who, head)
    strand = 0.5 + (strands(who, fan, along, head.pixel) - 0.5) * (0.3 + 0.7 * smoothstep(0.04, 0.34, along))
    across = (head.x - head.yaw * 0.07) / head.half_width               # -1..1 over the forehead
    edge = _hairline(who, head, across) + (0.018 + 0.035 * who["hair_fringe"]) * (strand - 0.5)
    volume = who["hair_volume"] * smoothstep(0.18, -0.42, head.y) + 0.012
    cap = head_distance(who, move, head, down=-0.010) - volume - curl_outline(who, head)
    loose = (0.010 + 0.10 * who["hair_volume"]) * (strand - 0.5)
    cap = cap + loose * smoothstep(-0.04, 0.0, cap)
    cut = torch.maximum(cap, (head.y - edge) * 0.85)
    image = _forehead_shadow(image, who, move, head, edge)
    light = rounded(head.x / (head.half_width + 0.05 + who["hair_volume"]), (head.y + 0.12) / 0.52).light()
    light = light - 0.35 * smoothstep(-0.06, 0.0, cap) * smoothstep(-0.3, 0.3, head.x)
    clump = noise_1d(fan * 13 - seed + 31)
    light = light + 0.22 * (clump - 0.5) + 0.20 * wave * curl - 0.30 * smoothstep(-0.035, 0.0, (head.y - edge))
    parted = smoothstep(0.5, 0.2, who["hair_fringe"])
    light = light - torch.exp(-((fan / 0.012) ** 2)) * smoothstep(0.50, 0.25, along) * (0.45 * parted)
    colour = hair_in(who.colour("hair"), light + 0.06, strand)
    shown = coverage(cut, head.pixel, 1.2) * present
    image = over(image, colour, shown)
    ring = (along - 0.40 - 0.10 * (strand - 0.5) - 0.12 * head.x) / 0.055
    sheen = torch.exp(-(ring * ring)) * smoothstep(0.30, -0.15, head.x) * smoothstep(0.9, 0.1, curl)
    return over(image, lighter(who.colour("hair"), 0.45), shown * sheen * (0.25 + 0.55 * strand).clamp(0, 1) * 0.75)


def _flow(who: Named, head: Head) -> tuple[Tensor, Tensor, Tensor]:
    """Return across the strands, along them, and the wave of their locks; strands fall from a parting on top of the
    head."""
    seed, curl = who["hair_seed"] * SEED, who["hair_curl"]
    x = head.x - head.yaw * 0.06 - who["hair_parting"] * head.half_width * 0.62
    y = head.y + 0.56
    along = torch.sqrt(x * x + y * y + 1e-6)
    warp = noise(head.x * 5.0 + seed, head.y * 5.0 - seed) - 0.5
    fan = torch.atan2(x, y + 0.24) * 0.52
    fan = fan + (x - fan) * 0.85 * curl.clamp(max=1) + warp * (0.030 + 0.12 * curl)
    wave = torch.sin(along * 38 + 24 * noise_1d(fan * 8 + seed))
    return fan + 0.020 * curl * wave, along + 0.2 * warp, wave


def _forehead_shadow(image: Planes, who: Named, move: Named, head: Head, edge: Tensor) -> Planes:
    """Draw the shadow of the hair on the forehead."""
    face = head_distance(who, move, head)
    above_brows = smoothstep(0.02, -0.14, head.y - who["eye_height"])
    depth = smoothstep(0.075, 0.0, head.y - edge) * (head.y > edge)
    return dim(image, (0.70, 0.56, 0.54), coverage(face, head.pixel) * depth * who["hair_present"] * 0.65 * above_brows)


def _hairline(who: Named, head: Head, across: Tensor) -> Tensor:
    """Return the height of the hair's lower edge."""
    fringe, top = who["hair_fringe"], who["hairline"]
    wave = fringe * 0.030 * torch.cos(across * 7.5 + 1.0 + 0.8 * across * across + 9 * who["hair_seed"])
    notch = 0.10 * (1 - fringe) * torch.exp(-(((across - who["hair_parting"]) / 0.28) ** 2))
    temples = (who["hair_sides"] - top) * smoothstep(0.70, 1.02, across.abs())
    slope = 0.5 * who["hair_slope"] * across + 0.06 * across * across
    curls = 0.014 * who["hair_curl"] * torch.sin(across * who["hair_waves"] * 0.9 + torch.sin(4.0 * across))
    skull = -0.055 - 0.385 * torch.sqrt((1 - across * across).clamp(min=0))      # never bare up to its outline
    return torch.maximum(top + slope + wave - notch + temples + curls, skull) + head.pitch * 0.05


def _glasses(image: Planes, who: Named, head: Head) -> Planes:
    """Draw two lenses with a shine, a bridge and the arms, and their shadow on the skin."""
    worn, colour = who["glasses"], mix(FRAME, who.colour("accent"), who["glasses_accent"])
    u, v, side, lens, arm, bridge, seen = glasses_frame(who, head)
    image = over(image, (0.93, 0.97, 1.0), coverage(lens, head.pixel) * (0.05 + 0.13 * smoothstep(0.1, -0.1, v)) * worn)
    gleam = coverage(torch.maximum((u * side + v * 0.9 + 0.035).abs() - 0.018, lens + 0.014), head.pixel, 3)
    image = over(image, (1.0, 1.0, 1.0), gleam * 0.22 * worn)
    wire = torch.minimum(lens.abs() - 0.0115, bridge - 0.0105)
    image = dim(image, (0.66, 0.56, 0.54), soft(wire - 0.004, 0.04) * worn * 0.45)
    image = over(image, scaled(colour, 0.8), coverage(arm - 0.010, head.pixel) * worn * seen)
    image = over(image, colour, coverage(wire, head.pixel) * worn)
    rim = soft(lens.abs() - 0.001, 0.010) * smoothstep(0.02, -0.08, v + 0.4 * u * side)
    return over(image, lighter(colour, 0.65), rim * worn * 0.65)
