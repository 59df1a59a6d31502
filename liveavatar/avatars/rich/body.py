"""Neck, shoulders and clothes: round, folded and woven."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..drawing import (
    Colour,
    Planes,
    circle,
    coverage,
    dim,
    lighter,
    mix,
    over,
    scaled,
    smoothstep,
    soft,
    stroke,
)
from ..figure import Body, body_outlines
from ..geometry import head_distance, head_frame, look
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import cells, noise, resolved
from .shading import Slopes, cloth_in, skin_in

HIP = 1.6               # the trunk leans about this height, units
SHRUG = 0.085           # how far a shoulder is raised at most, units
THREADS = 21.0          # in one unit
SEED = 83.0             # cells that a seed of 0..1 spans
SHADOW = (0.62, 0.55, 0.60)


def body_frame(who: Named, move: Named, x: Tensor, y: Tensor) -> Body:
    """Carry the picture's grid into the frame of a body that leans, shrugs and breathes."""
    view = look(move, x, y)
    across = view.x - 0.30 * move["head_x"] - move["lean"] * (HIP - view.y)
    raised = torch.where(across < 0, move["left_shoulder"], move["right_shoulder"])
    down = view.y - 0.25 * move["head_y"] + 0.012 * move["breath"]
    down = down + SHRUG * raised * smoothstep(0.10, 0.42, across.abs())
    return body_outlines(who, move, view, across, down)


def body(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint neck, shirt and what is worn over it."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    frame = body_frame(who, move, x, y)
    image = _neck(image, who, move, frame, x, y)
    light, thread = _folded(who, frame), threads(who, frame.x, frame.y, frame.pixel)
    image = _shirt(image, who, frame, light, thread)
    image = _jacket(image, who, frame, light, thread)
    image = _collar(image, who, frame, light)
    return _hood(image, who, frame, light, thread)


# ---------------------------------------------------------------- skin

def _neck(image: Planes, who: Named, move: Named, frame: Body, x: Tensor, y: Tensor) -> Planes:
    """A round neck that widens towards the shoulders, collar bones, and the shadow of the chin."""
    skin = who.colour("skin")
    head = head_frame(who, move, look(move, x, y))
    view = look(move, x, y)
    middle = view.x - 0.65 * move["head_x"]
    half_width = 0.128 + 0.022 * who["build"] + 0.15 * smoothstep(0.36, 0.62, view.y) ** 2
    flank = middle.abs() - half_width
    neck = torch.maximum(flank, 0.10 - view.y)
    bare = torch.minimum(neck, torch.maximum(frame.torso, frame.hole))
    slopes = Slopes(middle / half_width * 0.95, 0.25 + 0 * view.y, 0.75 + 0 * view.y)
    slopes = slopes.mounds(middle, 0.075 - 0.22 * (view.y - 0.42), view.y - 0.42, 0.022, 0.10, 0.008)
    slopes = slopes.mounds(middle, 0.105, frame.y - 0.532 + 0.25 * (middle.abs() - 0.1), 0.085, 0.013, 0.006)
    light, _ = slopes.lit()
    image = over(image, skin_in(light + 0.04, skin), coverage(bare, frame.pixel))
    chin = head_distance(who, move, head, down=0.070)
    image = dim(image, (0.66, 0.50, 0.48), coverage(bare, frame.pixel) * smoothstep(0.035, -0.10, chin) * 0.85)
    edge = torch.maximum(frame.hole.abs() - 0.03, frame.hole)
    return dim(image, (0.74, 0.62, 0.60), coverage(bare, frame.pixel) * soft(edge, 0.05) * 0.6)


# ---------------------------------------------------------------- cloth

def _folded(who: Named, frame: Body) -> Tensor:
    """The light on the cloth: round shoulders, and folds that run from the armpits to the middle."""
    inside = (1 + frame.torso / 0.22).clamp(0, 1)                       # 1 at the outline, 0 well inside
    slopes = Slopes(0.72 * frame.x / frame.reach, 0.06 - 0.75 * inside * inside, 0.80 + 0 * frame.torso)
    light, _ = slopes.lit()
    seed = who["cloth_seed"] * SEED + 5 * torch.sign(frame.x)
    u, v = frame.side * 6.2 - frame.y * 3.6, frame.side * 1.1 + frame.y * 1.9
    crease = noise(u + seed, v - seed) - noise(u + seed + 0.25, v - seed + 0.16)
    deep = who["cloth_fold"] * smoothstep(0.02, 0.26, frame.side)
    arm = frame.side - 0.62 * frame.reach - 0.10 * (frame.y - 0.80)
    armpit = soft(arm.abs() - 0.004, 0.06) * smoothstep(0.66, 0.84, frame.y)
    return light + 0.10 + 0.70 * crease * deep - 0.25 * armpit


def threads(who: Named, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """How much lighter or darker the threads are, about -1..1: knitted, or twilled where a jacket is worn."""
    scale, seed = THREADS * who["cloth_scale"], who["cloth_seed"] * SEED
    u, v = x * scale + seed, (y + 0.10 * x * x) * scale - 2 * seed
    knit = torch.sin((v + 0.8 * (torch.remainder(0.5 * u, 1) - 0.5).abs()) * (2 * math.pi))
    twill = torch.sin((u * 0.8 + v * 0.8) * (2 * math.pi))
    yarn = noise(1.6 * u, 0.9 * v) + noise(0.7 * u, 2.2 * v + 31) - 1
    woven = knit + (twill - knit) * who["jacket"].clamp(0, 1)
    return (0.40 * woven * resolved(pixel, 1 / scale) + 1.1 * yarn) * who["cloth_weave"]


def _shirt(image: Planes, who: Named, frame: Body, light: Tensor, thread: Tensor) -> Planes:
    colour = mix(who.colour("shirt"), who.colour("accent"), _print(who, frame))
    cloth = torch.maximum(frame.torso, -frame.hole)
    shown = coverage(cloth, frame.pixel)
    image = over(image, cloth_in(light + 0.10 * thread, colour), shown)
    band = torch.maximum(frame.torso, torch.maximum(-frame.hole, frame.hole - 0.038))
    ribs = torch.sin(frame.x * 190) * resolved(frame.pixel, 0.033)
    rim = mix(scaled(who.colour("shirt"), 0.86), who.colour("accent"), 0.35)
    banded = coverage(band, frame.pixel) * (1 - who["collar"])
    image = over(image, cloth_in(light + 0.06 + 0.10 * ribs, rim), banded)
    seam = soft((frame.hole - 0.040).abs() - 0.003, 0.010) * shown
    return dim(image, SHADOW, seam * (1 - who["collar"]) * 0.7)


def _print(who: Named, frame: Body) -> Tensor:
    """Share of the accent colour in the cloth: stripes, or dots of chance size and place."""
    scale = who["pattern_scale"]
    stripes = smoothstep(-0.15, 0.15, torch.sin((frame.y + 0.10 * frame.x * frame.x) * (scale * 2 * math.pi)))
    row = frame.y * (1.3 * scale)
    dot = cells(frame.x * (1.3 * scale) + 0.5 * torch.floor(row) + torch.floor(who["cloth_seed"] * SEED), row)
    round_ = circle(dot.x - 0.24 * (dot.first - 0.5), dot.y - 0.24 * (dot.second - 0.5), 0.20 + 0.12 * dot.third)
    return (stripes * who["stripes"] + smoothstep(0.05, -0.05, round_) * who["dots"]).clamp(0, 1)


def _jacket(image: Planes, who: Named, frame: Body, light: Tensor, thread: Tensor) -> Planes:
    opening = 0.10 + 0.035 / (frame.y - 0.30).clamp(min=0.08)
    cut = torch.maximum(torch.maximum(frame.torso, opening - frame.side), -frame.hole)
    cloth = coverage(cut, frame.pixel) * who["jacket"]
    image = dim(image, SHADOW, soft(cut, 0.06) * who["jacket"] * 0.7)
    image = over(image, cloth_in(light + 0.11 * thread, who.colour("accent")), cloth)
    lapel = torch.maximum(cut, frame.side - opening - 0.085 + 0.10 * (frame.y - 0.55).abs())
    image = dim(image, SHADOW, soft(lapel - 0.008, 0.04) * cloth * 0.8)
    flat = cloth_in(light - 0.04 + 0.11 * thread, scaled(who.colour("accent"), 0.90))
    image = over(image, flat, coverage(lapel, frame.pixel) * who["jacket"])
    edge = soft((lapel + 0.010).abs() - 0.002, 0.008) * cloth
    return over(image, lighter(who.colour("accent"), 0.35), edge * 0.5)


def _collar(image: Planes, who: Named, frame: Body, light: Tensor) -> Planes:
    flap = torch.maximum(0.60 * (frame.y - 0.65) + 0.80 * (frame.side - 0.165), 0.445 - frame.y)
    flap = torch.maximum(torch.maximum(flap, 0.018 - frame.side), -frame.hole)
    worn = who["collar"]
    image = dim(image, SHADOW, soft(flap - 0.012, 0.05) * worn * 0.75)
    cloth = lighter(who.colour("shirt"), 0.35)
    shown = coverage(flap, frame.pixel) * worn
    image = over(image, cloth_in(light + 0.10 - 0.25 * smoothstep(-0.03, 0.0, flap), cloth), shown)
    stitch = soft((flap + 0.016).abs() - 0.002, 0.006) * smoothstep(-0.3, 0.3, torch.sin((frame.y + frame.side) * 260))
    image = dim(image, SHADOW, stitch * shown * 0.6)
    button = circle(frame.x, frame.y - 0.755, 0.0)
    image = over(image, lighter(cloth, 0.5), coverage(button - 0.016, frame.pixel) * worn * (1 - who["jacket"]))
    placket = soft(frame.side - 0.003, 0.010) * smoothstep(0.02, 0.06, frame.hole) * worn * (1 - who["jacket"])
    return dim(image, SHADOW, placket * 0.5)


def _hood(image: Planes, who: Named, frame: Body, light: Tensor, thread: Tensor) -> Planes:
    hood = torch.maximum(torch.maximum(frame.hole.abs() - 0.080, 0.43 - frame.y - 0.2 * frame.side),
                         -frame.hole - 0.02)
    worn, colour = who["hoodie"], scaled(who.colour("shirt"), 0.94)
    image = dim(image, SHADOW, soft(hood - 0.015, 0.06) * worn * 0.75)
    roll = (frame.hole - 0.03) / 0.075
    shown = coverage(hood, frame.pixel) * worn
    image = over(image, cloth_in(light + 0.02 - 0.40 * roll * roll + 0.10 * thread, colour), shown)
    string, along = stroke(frame.side, frame.y, (0.10, 0.60), (0.115, 0.80))
    cord = 0.82 + 0.16 * torch.sin(along * 60) - 0.3 * smoothstep(0.0, 0.016, frame.side - 0.107)
    image = dim(image, SHADOW, soft(string - 0.022, 0.03) * worn * 0.6)
    return over(image, (cord, cord, cord), coverage(string - 0.013, frame.pixel) * worn)


def sleeve_in(light: Tensor, thread: Tensor, who: Named) -> Colour:
    """The cloth of a sleeve: the jacket's, or the shirt's."""
    colour = mix(who.colour("shirt"), who.colour("accent"), who["jacket"])
    return cloth_in(light + 0.10 * thread, colour)
