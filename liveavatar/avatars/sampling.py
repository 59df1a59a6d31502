"""Random people, and the pose they rest in."""

from __future__ import annotations

import torch
from torch import Tensor

from .traits import IDENTITY, MOTION, MOTION_COLUMNS, PLAIN_TRAITS, Trait, check_world


def _colours(*codes: str) -> Tensor:
    """Return 'ffe0c9' -> a row of three in 0..1."""
    return torch.tensor([[int(code[place:place + 2], 16) / 255 for place in (0, 2, 4)] for code in codes])


SKINS = _colours("ffe0c9", "f9cfae", "f1b98f", "e3a173", "c98252", "a8653c", "84492a", "5e3420")     # light to dark
LIPS = _colours("de7474", "d66666", "cc5b5b", "bf504d", "a43f3f", "8a3638", "722a2c", "6a2426")      # one for each skin
ROUGE = torch.tensor([0.80, 0.22, 0.30])
HAIR_COLOURS = {"black": "2a211f", "espresso": "3d2b24", "brown": "5a3a29", "chestnut": "7a4a2b", "auburn": "a86b38",
                "blond": "d2a45c", "platinum": "e8cb8a", "red": "b5482a", "grey": "8c8a8c", "white": "d9d6d2",
                "pink": "e27ba0", "teal": "3aa6a0", "blue": "5b6ee0", "purple": "8b5bc7"}
HAIR_WEIGHTS = (5, 5, 5, 4, 3, 3, 2, 2, 1.2, 0.8, 0.7, 0.7, 0.6, 0.6)
IRISES = _colours("5a3a22", "7b5230", "3f7f5f", "3c78b4", "5b7f9a", "8a6a2f", "2f2a2a", "6a58a8")
CLOTHES = _colours("ef6f6c", "f2a65a", "f7d26a", "57b894", "3fa7d6", "4a6fd0", "7d5fc4", "d977ad", "f4f1ea", "2f3e5c",
                   "39424e", "8fbf6a", "c8553d", "1f7a78", "e9e3d5", "b9c7e6")
WALLS = _colours("fde8d7", "dff1f5", "e7e3f7", "fff3c9", "d9f0df", "f9dfe5", "d4e3fb", "efe7db", "c9e7e3", "f5d9c5",
                 "cfd8ea", "e6f0cf")

HAIR_TRAITS = ("hair_volume", "hairline", "hair_sides", "hair_slope", "hair_parting", "hair_fringe", "hair_curl",
               "hair_waves", "hair_length", "hair_spread", "hair_bun", "hair_present")
HAIR_STYLES: dict[str, tuple[float, ...]] = {
    #         volume   line  sides  slope  part  fringe curl waves length spread bun present
    "short": (0.060, -0.26, -0.08, 0.05, 0.0, 0.5, 0.15, 14, 0.0, 1.0, 0, 1),
    "side": (0.070, -0.24, -0.04, 0.28, -0.6, 0.1, 0.0, 9, 0.0, 1.0, 0, 1),
    "bob": (0.070, -0.185, 0.20, 0.02, 0.0, 1.0, 0.05, 8, 0.34, 1.06, 0, 1),
    "long": (0.050, -0.30, 0.22, 0.0, 0.0, 0.0, 0.1, 8, 0.62, 1.10, 0, 1),
    "wavy": (0.065, -0.23, 0.16, 0.36, -0.7, 0.05, 0.35, 10, 0.56, 1.10, 0, 1),
    "curly": (0.145, -0.25, 0.04, 0.0, 0.0, 0.6, 1.0, 17, 0.14, 1.16, 0, 1),
    "bun": (0.042, -0.29, -0.06, 0.06, 0.2, 0.1, 0.0, 9, 0.0, 1.0, 1, 1),
    "buzz": (0.014, -0.27, -0.07, 0.0, 0.0, 0.3, 0.1, 20, 0.0, 1.0, 0, 1),
    "bald": (0.0, -0.60, -0.60, 0.0, 0.0, 0.0, 0.0, 9, 0.0, 1.0, 0, 0),
    "quiff": (0.105, -0.28, -0.10, -0.20, 0.5, 0.2, 0.12, 11, 0.0, 1.0, 0, 1),
}
HAIR_JITTER = (0.0, 0.020, 0.05, 0.06, 0.15, 0.15, 0.10, 1.5, 0.0, 0.03, 0.0, 0.0)
HAIR_WEIGHTS_SOFT = (0.3, 0.6, 2, 2.2, 2, 1.3, 1.8, 0.15, 0.05, 0.3)     # of the styles above, for soft features
HAIR_WEIGHTS_BROAD = (2.4, 2.4, 0.4, 0.25, 0.25, 1.2, 0.25, 1.3, 0.6, 1.8)

REST = {"left_hand_x": -0.34, "left_hand_y": 1.12, "left_hand_angle": 0.9, "left_hand_spread": 0.3,
        "left_hand_curl": 0.9, "right_hand_x": 0.34, "right_hand_y": 1.12, "right_hand_angle": -0.9,
        "right_hand_spread": 0.3, "right_hand_curl": 0.9}


class Dice:
    """Random draws for a batch, all from one generator, on the device asked for."""

    def __init__(self, count: int, generator: torch.Generator | None, device: torch.device | str) -> None:
        self.count, self.generator, self.device = count, generator, device

    def _source(self) -> dict:
        return {"generator": self.generator, "device": self.generator.device if self.generator else self.device}

    def uniform(self, *shape: int) -> Tensor:
        """Return (B, *shape) in 0..1"""
        return torch.rand(self.count, *shape, **self._source()).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, **self._source()).to(self.device)

    def between(self, low: float, high: float) -> Tensor:
        return low + (high - low) * self.uniform()

    def happens(self, chance: float) -> Tensor:
        """Return (B,) 1 with that chance, else 0"""
        return (self.uniform() < chance).float()

    def choose(self, weights: Tensor, *shape: int) -> Tensor:
        """Map weights (B, N) or (N,)  ->  (B, *shape) which"""
        ladder = weights.to(self.device).expand(self.count, -1).cumsum(-1)
        ladder = ladder.view(self.count, *(1 for _ in shape), -1)
        return (self.uniform(*shape, 1) * ladder[..., -1:] > ladder[..., :-1]).sum(-1)


def random_identities(count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu",
                      world: str = "plain") -> Tensor:
    """Draw people of all sorts, all traits in their ranges. -> (count, NI)

    In the rich world the same generator draws the same people, with teeth, skin, hair, clothes and a room whose details
    no small or blurred picture of them tells. Raises InputError for an unknown world.
    """
    check_world(world)
    dice = Dice(count, generator, device)
    broad = dice.happens(0.5)                       # broad or soft features
    tone = dice.choose(torch.ones(len(SKINS)))
    traits = {trait.name: dice.between(trait.low, trait.high) for trait in IDENTITY[:PLAIN_TRAITS]}
    traits |= _colouring(dice, tone, 1 - broad) | _features(traits, dice, broad)
    traits |= _hair(dice, broad) | _clothes(dice)
    traits["freckles"] = dice.happens(0.16) * (tone < 4) * 0.8
    traits |= _details(dice) if world == "rich" else _no_details(dice)
    return within(torch.stack([traits[trait.name] for trait in IDENTITY], 1), IDENTITY)


def _no_details(dice: Dice) -> dict[str, Tensor]:
    """Return the columns of the rich world at their defaults."""
    return {trait.name: torch.full((dice.count,), trait.default, device=dice.device)
            for trait in IDENTITY[PLAIN_TRAITS:]}


def _details(dice: Dice) -> dict[str, Tensor]:
    """Draw the columns of the rich world: even chances in their ranges, but for gaps of teeth and leaves."""
    details = {trait.name: dice.between(trait.low, trait.high) for trait in IDENTITY[PLAIN_TRAITS:]}
    details["detail"] = torch.ones(dice.count, device=dice.device)
    details["teeth_tint"] = details["teeth_tint"] ** 2
    details["teeth_gap"] = details["teeth_gap"] * dice.happens(0.45)
    details["foliage"] = details["foliage"] * dice.happens(0.6)
    return details


def within(values: Tensor, traits: tuple[Trait, ...]) -> Tensor:
    """Clamp (..., N) values to the ranges of N traits."""
    low = torch.tensor([trait.low for trait in traits], device=values.device)
    high = torch.tensor([trait.high for trait in traits], device=values.device)
    return torch.maximum(torch.minimum(values, high), low)


def _named(name: str, colours: Tensor) -> dict[str, Tensor]:
    return {f"{name}_{channel}": colours[:, place] for place, channel in enumerate(("red", "green", "blue"))}


def _colouring(dice: Dice, tone: Tensor, soft: Tensor) -> dict[str, Tensor]:
    """Choose colours that go together: dark skin seldom has fair hair or light eyes."""
    dark = (tone >= 5)[:, None]
    style = torch.arange(len(HAIR_COLOURS), device=dice.device)
    weights = torch.tensor(HAIR_WEIGHTS, device=dice.device) * torch.where(dark & (style >= 3) & (style <= 7), 0.1, 1.0)
    hair = _colours(*HAIR_COLOURS.values()).to(dice.device)[dice.choose(weights)]
    kind = torch.arange(len(IRISES), device=dice.device)
    brown = (kind == 0) | (kind == 6)
    iris = IRISES.to(dice.device)[dice.choose(torch.where(dark & ~brown, 0.12, 1.0) * torch.where(kind == 0, 2.0, 1.0))]
    shirt = dice.choose(torch.ones(len(CLOTHES)))
    accent = (shirt + 1 + dice.choose(torch.ones(len(CLOTHES) - 1))) % len(CLOTHES)
    top, other = (WALLS.to(dice.device)[dice.choose(torch.ones(len(WALLS)))] for _ in range(2))
    rouge = (soft * dice.happens(0.45) * 0.65)[:, None]
    return {
        **_named("skin", SKINS.to(dice.device)[tone] + 0.03 * dice.normal(1) + 0.012 * dice.normal(3)),
        **_named("hair", hair + 0.02 * dice.normal(1) + 0.008 * dice.normal(3)),
        **_named("iris", iris + 0.02 * dice.normal(3)),
        **_named("lips", LIPS.to(dice.device)[tone] * (1 - rouge) + ROUGE.to(dice.device) * rouge),
        **_named("shirt", CLOTHES.to(dice.device)[shirt] + 0.02 * dice.normal(3)),
        **_named("accent", CLOTHES.to(dice.device)[accent] + 0.02 * dice.normal(3)),
        **_named("background_top", top),
        **_named("background_bottom", (0.4 * top + 0.6 * other) * dice.between(0.84, 0.98)[:, None]),
    }


def _features(traits: dict[str, Tensor], dice: Dice, broad: Tensor) -> dict[str, Tensor]:
    """Choose broad or soft: jaw, brows, lashes, lips, beard, shoulders; and glasses."""
    soft = 1 - broad
    bearded, kind = broad * dice.happens(0.42), dice.uniform()
    stubble = kind < 0.4
    side = torch.where(dice.happens(0.5) > 0, 1.0, -1.0)
    return {
        "jaw_width": dice.between(0.86, 1.12) - 0.05 * soft,
        "lash_length": 0.25 + 0.75 * soft * dice.between(0.6, 1.0),
        "brow_thickness": dice.between(0.65, 1.0) + 0.35 * broad * dice.uniform(),
        "lip_fullness": dice.between(0.75, 1.0) + 0.25 * soft,
        "beard": bearded * torch.where(stubble, 0.32, torch.where(kind < 0.8, 0.97, 0.0)),
        "moustache": bearded * torch.where(stubble, 0.30, 0.97),
        "earrings": soft * dice.happens(0.4),
        "build": dice.between(0.93, 1.02) + 0.08 * broad,
        "glasses": dice.happens(0.30),
        "glasses_accent": dice.happens(0.4) * 0.8,
        "scene_x": side * dice.between(0.52, 0.68),
    }


def _hair(dice: Dice, broad: Tensor) -> dict[str, Tensor]:
    """Choose one of the styles, a little different on every head, parted on either side."""
    weights = torch.tensor([HAIR_WEIGHTS_SOFT, HAIR_WEIGHTS_BROAD], device=dice.device)[broad.long()]
    style = torch.tensor(list(HAIR_STYLES.values()), device=dice.device)[dice.choose(weights)]
    noise = dice.normal(len(HAIR_TRAITS)).clamp(-1.5, 1.5)
    hair = dict(zip(HAIR_TRAITS, (style + noise * torch.tensor(HAIR_JITTER, device=dice.device)).unbind(1),
                    strict=True))
    hair["hair_volume"] = hair["hair_volume"] * (1 + 0.18 * noise[:, 0])
    hair["hair_length"] = torch.where(hair["hair_length"] > 0.05, hair["hair_length"] + 0.06 * noise[:, 8], 0.0)
    hair["hair_bun"] = hair["hair_bun"] * (1 + 0.12 * noise[:, 10])
    flip = torch.where(dice.happens(0.5) > 0, 1.0, -1.0)
    hair["hair_slope"], hair["hair_parting"] = hair["hair_slope"] * flip, hair["hair_parting"] * flip
    return hair


def _clothes(dice: Dice) -> dict[str, Tensor]:
    """Choose a T-shirt, a shirt with a collar, a hoodie or a jacket; patterns only on what is plain."""
    kind, pattern = dice.uniform(), dice.uniform()
    collar = ((kind > 0.40) & (kind < 0.62)).float()
    hoodie = ((kind >= 0.62) & (kind < 0.78)).float()
    jacket = torch.maximum((kind >= 0.78).float(), collar * dice.happens(0.35))
    pointed = torch.maximum(collar, dice.happens(0.35))
    plain = 1 - torch.maximum(jacket, hoodie)
    return {
        "collar": collar, "hoodie": hoodie, "jacket": jacket,
        "neckline_v": pointed,
        "neckline_depth": dice.between(0.055, 0.10) + 0.06 * pointed,
        "stripes": (pattern < 0.25) * plain * 0.9,
        "dots": ((pattern >= 0.25) & (pattern < 0.42)) * plain * 0.9,
    }


def rest_pose(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return a pose that looks ahead, mouth closed, hands in the lap. -> (count, NM)"""
    pose = torch.zeros(count, len(MOTION), device=device)
    for name, value in REST.items():
        pose[:, MOTION_COLUMNS[name]] = value
    return pose
