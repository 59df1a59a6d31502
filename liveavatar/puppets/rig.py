"""Prepare a photograph for animation: which way every point of it moves, for each movement of the face.

A rig is a set of maps over the picture. Positions are in picture units: -1..1 from the left (upper) edge to the right
(lower) one, as `torch.nn.functional.grid_sample` counts them without aligned corners. Two layers cover the face: the
*upper* one is everything above the mouth's opening, the *lower* one is the lower lip and the jaw; where there is no
mouth they agree. Letters: N portraits, G rows and columns of a map, S of a picture, K movements.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.puppets import topology as mesh

MOVEMENTS = ("open", "close", "width", "rounding", "smile", "press", "tuck", "blink", "brow_raise", "brow_frown",
             "breath")
MAP_SIDE = 192
JAW_DROP = 0.42          # at full aperture, mouth widths
DILATE_PX = 9            # of the person's mask, before the background behind it is filled in


@dataclass(frozen=True)
class Rigs:
    """N portraits made ready. Maps are (N, ..., G, G), pictures (N, 3, S, S)."""

    picture: Tensor      # uint8
    background: Tensor   # uint8: the picture without the person, filled in from its surroundings
    eyeballs: Tensor     # uint8: what is seen between the lids, continued beyond them
    upper: Tensor        # (N, K, 2, G, G) displacement of the upper layer for each of MOVEMENTS at 1, picture units
    lower: Tensor        # (N, K, 2, G, G) of the lower layer
    lips: Tensor         # (N, 2, G, G) how far below the edge of the upper lip, and of the lower lip, picture units
    eyes: Tensor         # (N, 3, G, G) how far below the upper lid of the nearer eye, how far above its lower lid, and
                         #           how far the upper lid drops in a blink, picture units
    depth: Tensor        # (N, G, G) of the head, picture units; more is farther
    head: Tensor         # (N, G, G) share of the head's movement, 0..1
    person: Tensor       # (N, G, G) 1 where the person is, 0 behind
    points: Tensor       # (N, 478, 3) landmarks, picture units
    right: Tensor        # (N, 2) unit vector from eye to eye
    mouth: Tensor        # (N, 2) middle of the mouth
    pivot: Tensor        # (N, 3) about which the head turns
    face_height: Tensor  # (N,) forehead to chin, picture units
    mouth_width: Tensor  # (N,)
    eye_width: Tensor    # (N,)
    gap: Tensor          # (N,) opening of the mouth in the picture, mouth widths
    light: Tensor        # (N,) mean brightness of the face, 0..1

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: Tensor | slice) -> Rigs:
        return Rigs(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> Rigs:
        return Rigs(*(getattr(self, field.name).to(device) for field in fields(self)))

    @staticmethod
    def cat(parts: list[Rigs]) -> Rigs:
        return Rigs(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Rigs)))


def build_rigs(picture: Tensor, points: Tensor, person: Tensor, map_side: int = MAP_SIDE) -> Rigs:
    """Build the rigs of square portraits.

    picture (N, 3, S, S) uint8, points (N, 478, 3) landmarks in pixels, person (N, m, m) mask 0..1  ->  Rigs
    """
    side = picture.shape[-1]
    points = points.float() * (2 / side)
    points = torch.cat([points[..., :2] - 1, points[..., 2:]], -1)
    frame = FaceFrame.of(points)
    grid = map_grid(map_side, picture.device)                                       # (G * G, 2)
    field = Fields.of(frame, points, grid)
    upper, lower = displacement_maps(frame, field, points, grid)
    eyes, _ = eye_maps(frame, points, grid)
    mask = soft_mask(person, map_side)
    square = lambda values: values.unflatten(-1, (map_side, map_side))              # noqa: E731
    half = lambda values: square(values).half()                                     # noqa: E731
    rigs = Rigs(
        picture=picture, background=picture, eyeballs=picture, upper=half(upper), lower=half(lower),
        lips=half(torch.stack([field.v - field.upper_lip, field.v - field.lower_lip], 1)
                  * frame.mouth_width[:, None, None]),
        eyes=half(eyes), depth=half(depth_map(frame, points, grid)), head=half(head_weight(frame, grid)),
        person=mask.half(), points=points, right=frame.right, mouth=frame.mouth,
        pivot=torch.cat([frame.centre, 0.42 * frame.face_width[:, None]], 1), face_height=frame.face_height,
        mouth_width=frame.mouth_width, eye_width=frame.eye_width,
        gap=((points[:, 14, :2] - points[:, 13, :2]) * frame.down).sum(-1).clamp(min=0) / frame.mouth_width,
        light=face_brightness(picture, points))
    return replace(rigs, background=background_of(picture, mask), eyeballs=eyeballs_of(picture, rigs.eyes))


def soft_mask(person: Tensor, side: int) -> Tensor:
    """Smooth a mask of few pixels (N, m, m): (N, side, side) 0..1"""
    blurred = F.pad(person[:, None].float(), (2, 2, 2, 2), mode="replicate")
    for _ in range(2):
        blurred = F.avg_pool2d(blurred, 3, stride=1)
    return smoothstep(0.25, 0.75, F.interpolate(blurred, size=(side, side), mode="bicubic", align_corners=False)[:, 0])


def map_grid(side: int, device: torch.device | str) -> Tensor:
    """Return positions of a map's entries. -> (side * side, 2)"""
    line = (2 * torch.arange(side, device=device) + 1) / side - 1
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)


def smoothstep(start: float, end: float, value: Tensor) -> Tensor:
    t = ((value - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Evaluate piecewise linear curves, constant beyond their ends. x (N, M), knots and values (N, K)  ->  (N, M)"""
    knots = knots.cummax(-1).values.contiguous()
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, knots.shape[-1] - 1)
    a, b = knots.gather(1, right - 1), knots.gather(1, right)
    t = ((x - a) / (b - a).clamp(min=1e-6)).clamp(0, 1)
    return torch.lerp(values.gather(1, right - 1), values.gather(1, right), t)


@dataclass(frozen=True)
class FaceFrame:
    """Describe where a face is in its picture; see Rigs for the units."""

    right: Tensor
    down: Tensor
    centre: Tensor
    mouth: Tensor
    face_height: Tensor
    face_width: Tensor
    mouth_width: Tensor
    eye_width: Tensor

    @classmethod
    def of(cls, points: Tensor) -> FaceFrame:
        flat = points[..., :2]
        eyes = flat[:, mesh.EYE_CORNERS[1]] - flat[:, mesh.EYE_CORNERS[0]]
        right = F.normalize(eyes, dim=-1)
        down = torch.stack([-right[:, 1], right[:, 0]], -1)
        spread = lambda pair, axis: ((flat[:, pair[1]] - flat[:, pair[0]]) * axis).sum(-1)     # noqa: E731
        return cls(right, down, flat[:, mesh.FACE_OVAL].mean(1), flat[:, mesh.LIP_MIDDLE].mean(1),
                   spread((mesh.FOREHEAD, mesh.CHIN), down), spread(mesh.CHEEKS, right),
                   (flat[:, mesh.MOUTH_CORNERS[1]] - flat[:, mesh.MOUTH_CORNERS[0]]).norm(dim=-1),
                   0.5 * sum((flat[:, lid[-1]] - flat[:, lid[0]]).norm(dim=-1) for lid in mesh.UPPER_LID))

    def across(self, places: Tensor) -> Tensor:
        """Return how far right of the middle of the mouth, mouth widths. (M, 2) or (N, M, 2) -> (N, M)"""
        return ((places - self.mouth[:, None]) * self.right[:, None]).sum(-1) / self.mouth_width[:, None]

    def below(self, places: Tensor) -> Tensor:
        """Return how far below the middle of the mouth, mouth widths."""
        return ((places - self.mouth[:, None]) * self.down[:, None]).sum(-1) / self.mouth_width[:, None]


@dataclass(frozen=True)
class Fields:
    """The map's positions as the mouth sees them, all (N, G * G), mouth widths."""

    u: Tensor            # right of the middle of the mouth; its corners are at -0.5 and 0.5, also of a turned face
    v: Tensor            # below it
    upper_lip: Tensor    # v of the upper lip's edge at this u
    lower_lip: Tensor
    chin: Tensor         # (N, 1) v of the chin

    @classmethod
    def of(cls, frame: FaceFrame, points: Tensor, grid: Tensor) -> Fields:
        u, v = frame.across(grid), frame.below(grid)
        flat = points[..., :2]

        def line(which: tuple[int, ...]) -> Tensor:
            places = flat[:, which]
            return interpolate(u, frame.across(places), frame.below(places))

        left, right = (frame.across(flat[:, mesh.UPPER_LIP_INNER[end], None]) for end in (0, -1))

        upper, lower = line(mesh.UPPER_LIP_INNER), line(mesh.LOWER_LIP_INNER)
        u = torch.where(u < 0, 0.5 * u / left.abs().clamp(min=0.1), 0.5 * u / right.abs().clamp(min=0.1))
        return cls(u, v, upper, torch.maximum(upper, lower), frame.below(flat[:, (mesh.CHIN,)]))

    @property
    def gap(self) -> Tensor:
        """Return the opening of the mouth in the picture at this u."""
        return self.lower_lip - self.upper_lip


# ---------------------------------------------------------------------------------------------- movements

def displacement_maps(frame: FaceFrame, field: Fields, points: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each of MOVEMENTS at 1 does to the upper and to the lower layer: (N, K, 2, G * G) each."""
    both = {"width": (0.16, 0.0), "rounding": (-0.30, -0.10)}
    u, v, width = field.u, field.v, frame.mouth_width[:, None]
    near = torch.exp(-(u / 0.85) ** 2 - (v / 0.55) ** 2)
    corner = torch.exp(-((u.abs() - 0.5) / 0.32) ** 2 - (v / 0.40) ** 2)
    across, down = {}, {}
    for name, (sideways, upright) in both.items():
        across[name], down[name] = sideways * near * u, upright * near * v
    across["smile"], down["smile"] = 0.07 * corner * u.sign() * (u.abs() / 0.2).clamp(max=1), -0.11 * corner
    across["open"], down["open"] = -0.06 * near * u, 0.06 * corner
    upper, lower = dict(down), dict(down)
    upper["open"] = down["open"] - 0.035 * lip_arc(u) * lip_band(v - field.upper_lip, 0.30)
    lower["open"] = down["open"] + JAW_DROP * jaw_weight(field)
    lower["close"] = -closing(field)
    press = 0.35 * torch.exp(-(u / 0.62) ** 4)
    upper["press"] = -press * (v - field.upper_lip) * lip_band(v - field.upper_lip, 0.25)
    lower["press"] = -press * (v - field.lower_lip) * lip_band(v - field.lower_lip, 0.25)
    lower["tuck"] = -0.07 * lip_arc(u) * lip_band(v - field.lower_lip, 0.30)
    across["brow_frown"], frown = brow_frown(frame, points, grid)
    upper["brow_frown"] = lower["brow_frown"] = frown / width
    upper["brow_raise"] = lower["brow_raise"] = -0.035 * (frame.face_height[:, None] / width) * brow_zone(frame, points,
                                                                                                       grid)
    upper["breath"] = lower["breath"] = breath(frame, grid) / width
    blink = eye_maps(frame, points, grid)[1]

    def stack(downward: dict[str, Tensor]) -> Tensor:
        zero = torch.zeros_like(u)
        moves = [across.get(name, zero)[:, None] * frame.right[..., None]
                 + downward.get(name, zero)[:, None] * frame.down[..., None] for name in MOVEMENTS]
        moves = torch.stack(moves, 1) * frame.mouth_width[:, None, None, None]
        moves[:, MOVEMENTS.index("blink")] = blink
        return moves

    return stack(upper), stack(lower)


def lip_arc(u: Tensor) -> Tensor:
    """Return 1 in the middle of the mouth, 0 at its corners and beyond."""
    return (1 - (2 * u).abs().clamp(max=1) ** 2.4).clamp(min=0).sqrt()


def lip_band(distance: Tensor, reach: float) -> Tensor:
    return torch.exp(-(distance / reach) ** 2)


def jaw_weight(field: Fields) -> Tensor:
    """Return how much of the jaw's drop a place of the lower layer takes part in: lower lip and chin 1, cheeks less,
    and the neck gives way."""
    chin = field.chin.clamp(min=0.3)
    depth = ((field.v - field.lower_lip) / chin).clamp(min=0)
    middle = torch.exp(-(field.u / 0.80) ** 4)
    arc = torch.lerp(lip_arc(field.u), torch.ones_like(depth), smoothstep(0.05, 0.45, depth))
    cheek = smoothstep(0.05, 0.95, depth) * torch.exp(-(field.u / 1.30) ** 4)
    return (middle * arc + (1 - middle) * cheek) * neck_falloff(field, chin)


def neck_falloff(field: Fields, chin: Tensor) -> Tensor:
    """Return 1 as far as the chin, 0 on the neck; the chin's outline is an arc."""
    outline = chin * (1 - 0.35 * (field.u / 1.2) ** 2)
    return 1 - smoothstep(1.02, 2.0, field.v / outline.clamp(min=0.2))


def closing(field: Fields) -> Tensor:
    """Return how far the lower layer must rise for the lips to meet."""
    chin = field.chin.clamp(min=0.3)
    middle = field.gap.amax(-1, keepdim=True) * torch.exp(-(field.u / 0.80) ** 4)
    depth = ((field.v - field.lower_lip) / chin).clamp(min=0)
    return torch.lerp(field.gap, middle, smoothstep(0.05, 0.5, depth)) * neck_falloff(field, chin)


def eye_maps(frame: FaceFrame, points: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return Rigs.eyes (N, 3, G * G), and how a blink moves the lids (N, 2, G * G)."""
    flat, lids, far, moves = points[..., :2], [], [], 0
    for up, low, crease in zip(mesh.UPPER_LID, mesh.LOWER_LID, mesh.LID_CREASE, strict=True):
        start = flat[:, up[0]]
        axis = flat[:, up[-1]] - start
        width = axis.norm(dim=-1, keepdim=True)
        axis = axis / width
        normal = torch.stack([-axis[:, 1], axis[:, 0]], -1)

        def seen(places: Tensor, start=start, axis=axis, normal=normal, width=width) -> tuple[Tensor, Tensor]:
            offset = places - start[:, None]
            return (offset * axis[:, None]).sum(-1) / width, (offset * normal[:, None]).sum(-1) / width

        p, q = seen(grid)
        top, bottom, fold = (interpolate(p, *seen(flat[:, which])) for which in (up, low, crease))
        within = smoothstep(-0.02, 0.04, p) * smoothstep(1.02, 0.96, p)
        opening = (bottom - top).clamp(min=0)
        drop = 0.97 * opening
        outside = 0.1 * (1 - within)
        lids.append(torch.stack([q - top - outside, bottom - q - outside, drop], 1) * width[..., None])
        far.append((p - 0.5).abs())
        reach = ((top - fold).mean(-1, keepdim=True) / 0.87).clamp(min=0.08)
        above = drop * torch.exp(-(top - 0.06 - q).clamp(min=0) / reach)             # lashes move as they are
        below = -0.05 * drop * torch.exp(-((q - bottom).clamp(min=0) / 0.12))
        lid = torch.where(q < bottom, above, below)
        moves = moves + (lid * width)[:, None] * normal[..., None]
    return torch.where((far[0] < far[1])[:, None], *lids), moves


def brow_zone(frame: FaceFrame, points: Tensor, grid: Tensor) -> Tensor:
    """Return 1 on the brows, less on the forehead, 0 at the lids."""
    flat = points[..., :2]
    brow = frame.below(flat[:, mesh.BROWS[0] + mesh.BROWS[1]]).mean(-1, keepdim=True)
    height = (frame.below(grid) - brow) * frame.mouth_width[:, None] / frame.face_height[:, None]
    reach = torch.where(height > 0, 0.085, 0.22)
    across = ((grid - frame.centre[:, None]) * frame.right[:, None]).sum(-1) / frame.face_width[:, None]
    return torch.exp(-(height / reach) ** 2 - (across / 0.50) ** 4)


def brow_frown(frame: FaceFrame, points: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the inner ends of the brows come down and together: across in mouth widths, down in picture units."""
    flat, across, down = points[..., :2], 0, 0
    for which, sign in ((mesh.BROWS[0][-1], 1.0), (mesh.BROWS[1][0], -1.0)):
        offset = grid - flat[:, which, None]
        distance = offset.square().sum(-1) / (0.11 * frame.face_height[:, None]) ** 2
        bell = torch.exp(-distance)
        across = across + sign * 0.012 * bell * (frame.face_height / frame.mouth_width)[:, None]
        down = down + 0.022 * bell * frame.face_height[:, None]
    return across, down


def breath(frame: FaceFrame, grid: Tensor) -> Tensor:
    """Return how shoulders rise by one part in eighty of the face's height."""
    return -0.0125 * frame.face_height[:, None] * smoothstep(0.55, 1.1, from_centre(frame, grid)[1])


def from_centre(frame: FaceFrame, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return right of and below the middle of the face, in its widths and heights: (N, G * G) each"""
    offset = grid - frame.centre[:, None]
    return ((offset * frame.right[:, None]).sum(-1) / frame.face_width[:, None],
            (offset * frame.down[:, None]).sum(-1) / frame.face_height[:, None])


# ---------------------------------------------------------------------------------------------- head

def head_weight(frame: FaceFrame, grid: Tensor) -> Tensor:
    """Return 1 on the head, fading over the hair's outside and the neck."""
    x, y = from_centre(frame, grid)
    up = torch.sqrt((2 * x / 1.15) ** 2 + (2 * y / 1.30) ** 2)
    low = torch.sqrt((2 * x / 1.05) ** 2 + (2 * y) ** 2)
    return torch.where(y < 0, 1 - smoothstep(1.25, 2.3, up), 1 - smoothstep(1.05, 2.1, low))


def depth_map(frame: FaceFrame, points: Tensor, grid: Tensor) -> Tensor:
    """Return the depth of the face, interpolated between its landmarks; hair and neck lie behind the outline."""
    depth = spread_out(frame, points, points[:, :mesh.FACE_POINTS, 2:], grid)[:, 0]
    x, y = from_centre(frame, grid)
    radius = torch.sqrt((2 * x) ** 2 + (2 * y) ** 2)
    depth = depth + 0.15 * (radius - 1).clamp(0, 1) * frame.face_height[:, None]
    return torch.lerp(depth, smooth(depth, 17), smoothstep(0.5, 0.85, radius))       # no steps between far landmarks


def spread_out(frame: FaceFrame, points: Tensor, values: Tensor, grid: Tensor) -> Tensor:
    """Interpolate values (N, 468, V) at the landmarks to the whole map, by inverse distance (Shepard 1968).
    -> (N, V, G * G)"""
    face = points[:, :mesh.FACE_POINTS, :2]
    weight = (torch.cdist(grid[None].expand(len(points), -1, -1), face) + 0.02 * frame.face_height[:, None, None]) ** -4
    return ((weight @ values) / weight.sum(-1, keepdim=True)).mT


def smooth(values: Tensor, width: int) -> Tensor:
    """Average square maps (N, G * G) twice over `width` entries."""
    side = round(values.shape[-1] ** 0.5)
    maps = values.unflatten(-1, (1, side, side))
    for _ in range(2):
        maps = F.avg_pool2d(F.pad(maps, (width // 2,) * 4, mode="replicate"), width, stride=1)
    return maps.flatten(1)


def face_brightness(picture: Tensor, points: Tensor) -> Tensor:
    """Return mean brightness around the nose and cheeks, 0..1. -> (N,)"""
    cheeks = points[:, (50, 280, 1, 5, 101, 330), :2][:, None]
    small = F.avg_pool2d(picture.float() / 255, 8)
    return F.grid_sample(small, cheeks, align_corners=False).mean((1, 2, 3))


# ---------------------------------------------------------------------------------------------- pictures behind

def fill_in(picture: Tensor, keep: Tensor) -> Tensor:
    """Continue a picture (N, 3, H, W) from where keep (N, 1, H, W) is 1 to where it is 0, smoothly (pull and push)."""
    if min(picture.shape[-2:]) <= 3:
        mean = (picture * keep).mean((2, 3), keepdim=True) / keep.mean((2, 3), keepdim=True).clamp(min=1e-4)
        return torch.where(keep > 0.5, picture, mean)
    weight = F.avg_pool2d(keep, 2)
    coarse = F.avg_pool2d(picture * keep, 2) / weight.clamp(min=1e-4)
    coarse = fill_in(coarse, (4 * weight).clamp(max=1))
    smooth = F.interpolate(coarse, size=picture.shape[-2:], mode="bilinear", align_corners=False)
    return torch.lerp(smooth, picture, keep)


def background_of(picture: Tensor, person: Tensor) -> Tensor:
    """Return the picture without the person. (N, 3, S, S) uint8"""
    mask = F.interpolate(person[:, None].float(), size=picture.shape[-2:], mode="bilinear", align_corners=False)
    mask = F.max_pool2d((mask > 0.1).float(), 2 * DILATE_PX + 1, stride=1, padding=DILATE_PX)
    return fill_in(picture.float(), 1 - mask).round().clamp(0, 255).byte()


def eyeballs_of(picture: Tensor, eyes: Tensor) -> Tensor:
    """Return what is seen between the lids, continued beyond them. (N, 3, S, S) uint8"""
    side = picture.shape[-1]
    inside = eyes[:, :2].float().amin(1, keepdim=True)
    inside = F.interpolate(inside, size=(side, side), mode="bilinear", align_corners=False)
    widest = inside.amax((2, 3), keepdim=True).clamp(min=1e-4)
    margin = (0.5 * widest).clamp(max=2 / side)             # a pixel away from lids and lashes, where there is room
    keep = ((inside - margin) / margin).clamp(0, 1)
    keep = torch.where(keep.amax((2, 3), keepdim=True) > 0, keep, torch.ones_like(keep))
    return fill_in(picture.float(), keep).round().clamp(0, 255).byte()
