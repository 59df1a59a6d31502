"""Glasses and the hair in front."""

from __future__ import annotations

import torch
from torch import Tensor

from .drawing import Planes, circle, coverage, dim, lighter, mix, over, scaled, smoothstep, soft
from .figure import curl_outline
from .geometry import glasses_frame, head_distance, head_frame, look
from .traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named

FRAME = (0.12, 0.12, 0.15)


def glasses(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw two lenses with a shine, a bridge and the arms."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    worn, colour = who["glasses"], mix(FRAME, who.colour("accent"), who["glasses_accent"])
    u, v, side, lens, arm, bridge, seen = glasses_frame(who, head)
    image = over(image, (1.0, 1.0, 1.0), coverage(lens, head.pixel) * 0.10 * worn)
    shine = coverage(torch.maximum((u * side + v * 0.9 + 0.035).abs() - 0.016, lens + 0.014), head.pixel, 2)
    image = over(image, (1.0, 1.0, 1.0), shine * 0.30 * worn)
    image = over(image, colour, coverage(arm - 0.012, head.pixel) * worn * seen)
    return over(image, colour, coverage(torch.minimum(lens.abs() - 0.0135, bridge - 0.013), head.pixel) * worn)


def front_hair(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Draw a cap around the skull, cut along the hairline, with a shadow on the forehead, shine and soft locks."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    head = head_frame(who, move, look(move, x, y))
    present, hair, curl = who["hair_present"], who.colour("hair"), who["hair_curl"]
    across = (head.x - head.yaw * 0.07) / head.half_width               # -1..1 over the forehead
    edge = _hairline(who, head, across)
    volume = who["hair_volume"] * smoothstep(0.18, -0.42, head.y) + 0.012
    cap = head_distance(who, move, head, down=-0.010) - volume - curl_outline(who, head)
    cut = torch.maximum(cap, (head.y - edge) * 0.85)

    face = head_distance(who, move, head)
    below = torch.maximum(torch.maximum(face, (head.y - 0.040 - edge) * 0.85), edge - head.y)
    above_brows = smoothstep(-0.02, -0.14, head.y - who["eye_height"])
    image = dim(image, (0.86, 0.76, 0.74), coverage(below, head.pixel, 3) * present * 0.55 * above_brows)

    shown = coverage(cut, head.pixel) * present
    image = over(image, hair, shown)
    rim_and_side = 0.50 * smoothstep(-0.05, 0.010, cut) + 0.45 * smoothstep(0.05, 0.36, head.x)
    image = over(image, scaled(hair, 0.64), shown * rim_and_side)
    image = over(image, scaled(hair, 0.60), shown * _locks(who, head, across) * 0.30)
    out = circle(head.x + 0.06, head.y + 0.06, 0.335 + 0.35 * who["hair_volume"])
    shine = soft(out.abs() - 0.012, 0.06) * smoothstep(0.15, -0.12, head.x + 0.10) * smoothstep(0.9, 0.2, curl)
    return over(image, lighter(hair, 0.25), shown * shine * 0.55)


def _hairline(who: Named, head, across: Tensor) -> Tensor:
    """Return the height of the hair's lower edge."""
    fringe, top = who["hair_fringe"], who["hairline"]
    wave = fringe * 0.030 * torch.cos(across * 7.5 + 1.0 + 0.8 * across * across)
    notch = 0.10 * (1 - fringe) * torch.exp(-(((across - who["hair_parting"]) / 0.28) ** 2))
    temples = (who["hair_sides"] - top) * smoothstep(0.72, 1.02, across.abs())
    slope = 0.5 * who["hair_slope"] * across + 0.06 * across * across
    return top + slope + wave - notch + temples + head.pitch * 0.05 + _curls(who, across)


def _curls(who: Named, across: Tensor) -> Tensor:
    """Draw curls that hang over the forehead, unevenly."""
    return 0.014 * who["hair_curl"] * torch.sin(across * who["hair_waves"] * 0.9 + torch.sin(4.0 * across))


def _locks(who: Named, head, across: Tensor) -> Tensor:
    """Draw broad locks that fan out from the parting; two waves out of step keep them from looking ruled."""
    fan = (across - who["hair_parting"]) / (1.0 + 0.9 * (head.y + 0.45))
    broad = torch.sin(6.0 * fan + 1.1 * torch.sin(2.3 * fan + 7 * head.y))
    fine = torch.sin(10.7 * fan + 4 * head.y + 1.7)
    return smoothstep(0.25, 0.95, 0.6 * broad + 0.4 * fine) * (1 - 0.5 * who["hair_curl"].clamp(0, 1))
