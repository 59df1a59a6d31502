"""Neck, shoulders and clothes: round, folded and woven."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..drawing import Colour, Ink, Planes, circle, coverage, lighter, scaled, smoothstep, soft, stroke
from ..figure import Body, body_outlines
from ..geometry import head_distance, head_frame, look
from ..traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named
from .noise import cells, noise, resolved
from .paint import blend, dim, mix, over
from .shading import Slopes, cloth_in, skin_in

HIP = 1.6               # the trunk leans about this height, units
SHRUG = 0.085           # how far a shoulder is raised at most, units
THREADS = 21.0          # in one unit
SEED = 60.0             # cells that a seed of 0..1 spans
SHADOW = (0.62, 0.55, 0.60)


class Cloth(NamedTuple):
    """All clothes before they are lit."""

    colour: Planes
    light: Tensor           # (B, H, W) about 0..1
    shown: Tensor           # (B, H, W) coverage

    def worn_over(self, colour: Colour, light: Ink, alpha: Tensor) -> Cloth:
        """Lay another piece over these."""
        return Cloth(mix(self.colour, colour, alpha), blend(self.light, light, alpha),
                     torch.maximum(self.shown, alpha))

    def shaded(self, alpha: Tensor) -> Cloth:
        """Take light away."""
        return Cloth(self.colour, torch.addcmul(self.light, self.light, -alpha), self.shown)


def body_frame(who: Named, move: Named, x: Tensor, y: Tensor) -> Body:
    """Carry the picture's grid into the frame of a body that leans, shrugs and breathes."""
    view = look(move, x, y)
    across = view.x - 0.30 * move["head_x"] - (HIP - 0.55) * move["lean"]
    raised = torch.where(across < 0, move["left_shoulder"], move["right_shoulder"])
    raised = SHRUG * raised * smoothstep(0.10, 0.42, across.abs()) + across * move["lean"]
    down = view.y - 0.25 * move["head_y"] + 0.012 * move["breath"] + raised
    return body_outlines(who, move, view, across, down)


def body(image: Planes, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Planes:
    """Paint neck, shirt and what is worn over it."""
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    frame = body_frame(who, move, x, y)
    image = _neck(image, who, move, frame, x, y)
    thread = 0.16 * threads(who, frame.x, frame.y, frame.pixel)
    light = _folded(who, frame) + thread
    cloth = _shirt(who, frame, light)
    cloth = _jacket(cloth, who, frame, light)
    cloth = _collar(cloth, who, frame, light - thread)
    cloth = _hood(cloth, who, frame, light)
    image = over(image, cloth_in(cloth.light, cloth.colour), cloth.shown)
    return _strings(image, who, frame)


# ---------------------------------------------------------------- skin

def _neck(image: Planes, who: Named, move: Named, frame: Body, x: Tensor, y: Tensor) -> Planes:
    """Draw a round neck that widens towards the shoulders, collar bones, and the shadow of the chin."""
    skin = who.colour("skin")
    head = head_frame(who, move, look(move, x, y))
    view = look(move, x, y)
    middle = view.x - 0.65 * move["head_x"]
    half_width = 0.128 + 0.022 * who["build"] + 0.15 * smoothstep(0.36, 0.62, view.y) ** 2
    flank = middle.abs() - half_width
    neck = torch.maximum(flank, 0.10 - view.y)
    bare = torch.minimum(neck, torch.maximum(frame.torso, frame.hole))
    slopes = Slopes(middle / half_width * 0.95, 0.25, 0.75)
    slopes = slopes.mounds(middle, 0.075 - 0.22 * (view.y - 0.42), view.y - 0.42, 0.022, 0.10, 0.008)
    slopes = slopes.mounds(middle, 0.105, frame.y - 0.532 + 0.25 * (middle.abs() - 0.1), 0.085, 0.013, 0.006)
    light = slopes.light()
    image = over(image, skin_in(light + 0.04, skin), coverage(bare, frame.pixel))
    chin = head_distance(who, move, head, down=0.070)
    image = dim(image, (0.66, 0.50, 0.48), coverage(bare, frame.pixel) * smoothstep(0.035, -0.10, chin) * 0.85)
    edge = torch.maximum(frame.hole.abs() - 0.03, frame.hole)
    return dim(image, (0.74, 0.62, 0.60), coverage(bare, frame.pixel) * soft(edge, 0.05) * 0.6)


# ---------------------------------------------------------------- cloth

def _folded(who: Named, frame: Body) -> Tensor:
    """Draw the light on the cloth: round shoulders, and folds that run from the armpits to the middle."""
    inside = (1 + frame.torso / 0.22).clamp(0, 1)                       # 1 at the outline, 0 well inside
    slopes = Slopes(0.72 * frame.x / frame.reach, 0.06 - 0.75 * inside * inside, 0.80)
    light = slopes.light()
    seed = who["cloth_seed"] * SEED + 5 * torch.sign(frame.x)
    u, v = frame.side * 6.2 + seed - frame.y * 3.6, frame.side * 1.1 - seed + frame.y * 1.9
    crease = noise(u, v) - noise(u + 0.25, v + 0.16)
    arm = frame.side - 0.62 * frame.reach - 0.10 * (frame.y - 0.80)
    armpit = soft(arm.abs() - 0.004, 0.06) * smoothstep(0.66, 0.84, frame.y)
    return light + 0.10 + crease * (0.70 * who["cloth_fold"] * smoothstep(0.02, 0.26, frame.side)) - 0.25 * armpit


def threads(who: Named, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """Return how much lighter or darker the threads are, about -1..1: knitted, or twilled where a jacket is worn."""
    scale, seed = THREADS * who["cloth_scale"], who["cloth_seed"] * SEED
    u, v = x * scale + seed, (y + 0.10 * x * x) * scale + 0.5 * seed
    slant = 0.8 * (torch.remainder(0.5 * u, 1) - 0.5).abs()             # knitted: the rows form small arrows
    slant = blend(slant, u, who["jacket"].clamp(0, 1))
    woven = torch.sin((v + slant) * (2 * math.pi))
    yarn = noise(0.9 * u, 2.1 * v) - 0.5
    strong = who["cloth_weave"]
    return woven * (0.40 * resolved(pixel, 1 / scale) * strong) + yarn * (1.6 * strong)


def _shirt(who: Named, frame: Body, light: Tensor) -> Cloth:
    shirt = who.colour("shirt")
    cloth = Cloth(mix(shirt, who.colour("accent"), _print(who, frame)), light,
                  coverage(torch.maximum(frame.torso, -frame.hole), frame.pixel))
    seam = soft((frame.hole - 0.040).abs() - 0.003, 0.010) * (0.35 * (1 - who["collar"]))
    band = torch.maximum(frame.torso, torch.maximum(-frame.hole, frame.hole - 0.038))
    ribs = torch.sin(frame.x * 190) * (0.10 * resolved(frame.pixel, 0.033))
    rim = mix(scaled(shirt, 0.86), who.colour("accent"), 0.35)
    banded = coverage(band, frame.pixel) * (1 - who["collar"])
    return cloth.shaded(seam).worn_over(rim, light + (0.06 + ribs), banded)


def _print(who: Named, frame: Body) -> Tensor:
    """Return the share of the accent colour in the cloth: stripes, or dots of chance size and place."""
    scale = who["pattern_scale"]
    stripes = smoothstep(-0.15, 0.15, torch.sin((frame.y + 0.10 * frame.x * frame.x) * (scale * 2 * math.pi)))
    row = frame.y * (1.3 * scale)
    dot = cells(frame.x * (1.3 * scale) + 0.5 * torch.floor(row) + torch.floor(who["cloth_seed"] * SEED), row)
    round_ = circle(dot.x - 0.24 * (dot.first - 0.5), dot.y - 0.24 * (dot.second - 0.5), 0.20 + 0.12 * dot.third)
    return (stripes * who["stripes"] + smoothstep(0.05, -0.05, round_) * who["dots"]).clamp(0, 1)


def _jacket(cloth: Cloth, who: Named, frame: Body, light: Tensor) -> Cloth:
    worn, accent = who["jacket"], who.colour("accent")
    opening = 0.10 + 0.035 / (frame.y - 0.30).clamp(min=0.08)
    cut = torch.maximum(torch.maximum(frame.torso, opening - frame.side), -frame.hole)
    cloth = cloth.shaded(soft(cut, 0.06) * (0.35 * worn))
    cloth = cloth.worn_over(accent, light, coverage(cut, frame.pixel) * worn)
    lapel = torch.maximum(cut, frame.side - opening - 0.085 + 0.10 * (frame.y - 0.55).abs())
    edge = soft((lapel + 0.010).abs() - 0.002, 0.008) * 0.12
    cloth = cloth.shaded(soft(lapel - 0.008, 0.04) * (0.40 * worn))
    return cloth.worn_over(scaled(accent, 0.92), light + (edge - 0.05), coverage(lapel, frame.pixel) * worn)


def _collar(cloth: Cloth, who: Named, frame: Body, light: Tensor) -> Cloth:
    worn, pale = who["collar"], lighter(who.colour("shirt"), 0.35)
    flap = torch.maximum(0.60 * (frame.y - 0.65) + 0.80 * (frame.side - 0.165), 0.445 - frame.y)
    flap = torch.maximum(torch.maximum(flap, 0.018 - frame.side), -frame.hole)
    placket = soft(frame.side - 0.003, 0.010) * smoothstep(0.02, 0.06, frame.hole)
    cloth = cloth.shaded((0.40 * soft(flap - 0.012, 0.05) + 0.3 * placket * (1 - who["jacket"])) * worn)
    button = coverage(circle(frame.x, frame.y - 0.755, 0.016), frame.pixel)
    cloth = cloth.worn_over(lighter(pale, 0.5), light + 0.15, button * (worn * (1 - who["jacket"])))
    stitch = soft((flap + 0.016).abs() - 0.002, 0.006) * smoothstep(-0.3, 0.3, torch.sin((frame.y + frame.side) * 260))
    bent = light + 0.08 - 0.22 * smoothstep(-0.03, 0.0, flap) - 0.22 * stitch
    return cloth.worn_over(pale, bent, coverage(flap, frame.pixel) * worn)


def _hood(cloth: Cloth, who: Named, frame: Body, light: Tensor) -> Cloth:
    hood = torch.maximum(torch.maximum(frame.hole.abs() - 0.080, 0.43 - frame.y - 0.2 * frame.side),
                         -frame.hole - 0.02)
    roll = (frame.hole - 0.03) / 0.075
    cloth = cloth.shaded(soft(hood - 0.015, 0.06) * (0.40 * who["hoodie"]))
    return cloth.worn_over(scaled(who.colour("shirt"), 0.94), light + 0.02 - 0.40 * roll * roll,
                           coverage(hood, frame.pixel) * who["hoodie"])


def _strings(image: Planes, who: Named, frame: Body) -> Planes:
    """Draw the two cords of a hood."""
    string, along = stroke(frame.side, frame.y, (0.10, 0.60), (0.115, 0.80))
    cord = 0.82 + 0.16 * torch.sin(along * 60) - 0.3 * smoothstep(0.0, 0.016, frame.side - 0.107)
    image = dim(image, SHADOW, soft(string - 0.022, 0.03) * (0.6 * who["hoodie"]))
    return over(image, (cord, cord, cord), coverage(string - 0.013, frame.pixel) * who["hoodie"])


def sleeve(who: Named) -> Colour:
    """Return the colour of a sleeve: the jacket's, or the shirt's."""
    return mix(who.colour("shirt"), who.colour("accent"), who["jacket"])
