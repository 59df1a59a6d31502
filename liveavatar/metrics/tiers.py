"""At which denoising step is each tier of chance decided: pose, hands, mouth, texture?

    Reading or motion   --tier_values-->       curves of a tier, in shares of their ranges
    pictures            --read_texture-->      fine detail within hair, clothes, background and teeth
    values of N samples --decision-->          spread across samples and agreement with their own end, step by step
    values, true values --accuracy-->          how right a tier is where the truth is known

Samples are videos of one condition (portrait, sound, prompt) from different noise. Early guesses of the clean video are
alike, the mean of what is possible; they part where something is decided. The tiers are those of the rich world
(`liveavatar.avatars.rich`); their curves are read by the regressor as far as it was trained to, texture needs no
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.regions import REGIONS
from liveavatar.avatars.traits import IDENTITY, IDENTITY_COLUMNS, MOTION, MOTION_COLUMNS
from liveavatar.metrics.regressor import Reading
from liveavatar.metrics.texture import DETAIL_PX, detail
from liveavatar.types import InputError

TIERS = ("pose", "hands", "mouth", "texture")
# What a regressor should read off single pictures, by tier. Hands are named left and right as in the picture.
MOTION_TARGETS: dict[str, tuple[str, ...]] = {
    "pose": ("head_yaw", "head_pitch", "head_roll", "head_x", "head_y", "lean", "left_shoulder", "right_shoulder"),
    "hands": tuple(f"{side}_hand_{what}" for side in ("left", "right")
                   for what in ("x", "y", "angle", "spread", "curl")),
    "mouth": ("mouth_aperture", "mouth_width", "lip_rounding"),
}
IDENTITY_TARGETS: dict[str, tuple[str, ...]] = {"mouth": ("teeth_tint", "teeth_gap", "teeth_width", "teeth_uneven")}
MARGIN_PX = 1.5         # of a region that does not count, in a picture of 128 px: outlines belong to the pose
SEEDS = ("skin_seed", "hair_seed", "cloth_seed", "scene_seed")      # traits that shift patterns of chance
STANDS_STILL = 1e-6     # mean square of values that do not vary
DECIDED = 0.5           # agreement with the end from which on a tier counts as decided


# ---------------------------------------------------------------------------------------------- values
def tier_values(source: Reading | Tensor, tier: str) -> Tensor:
    """Pick the curves of a tier, each in shares of its trait's range.

    source: motion (..., NM) where it is known, or the Reading of T pictures  ->  (..., C), (T, C) of a Reading. The
    order is that of MOTION_TARGETS[tier]; of a Reading it has those that the regressor was trained to read. Raises
    InputError for a tier without curves and when the regressor reads none of them.
    """
    if tier not in MOTION_TARGETS:
        raise InputError(f"tier is {tier!r}; curves are known of {', '.join(map(repr, MOTION_TARGETS))}")
    names = readable(tier, source) if isinstance(source, Reading) else MOTION_TARGETS[tier]
    if not names:
        raise InputError(f"this regressor reads nothing of the tier {tier!r}; train it on "
                         f"{', '.join(MOTION_TARGETS[tier])}")
    columns = [source[name] if isinstance(source, Reading) else source[..., MOTION_COLUMNS[name]] for name in names]
    return torch.stack([_in_range(values, MOTION[MOTION_COLUMNS[name]])
                        for values, name in zip(columns, names, strict=True)], -1)


def readable(tier: str, reading: Reading) -> tuple[str, ...]:
    """Name the curves of a tier that are in a reading."""
    return tuple(name for name in MOTION_TARGETS[tier] if name in reading.names)


def teeth_values(identity: Tensor) -> Tensor:
    """Pick the traits of the teeth in shares of their ranges: identity (..., NI)  ->  (..., 4)"""
    return torch.stack([_in_range(identity[..., IDENTITY_COLUMNS[name]], IDENTITY[IDENTITY_COLUMNS[name]])
                        for name in IDENTITY_TARGETS["mouth"]], -1)


def _in_range(values: Tensor, trait) -> Tensor:
    return (values - trait.low) / (trait.high - trait.low)


def inner(regions: Tensor, margin_px: float = MARGIN_PX) -> Tensor:
    """Leave out the margin of regions (..., H, W) bool; margin_px is that of a picture of 128 px."""
    reach = round(margin_px * min(regions.shape[-2:]) / 128)
    outside = (~regions).flatten(0, -3)[:, None].float()
    return (F.max_pool2d(outside, 2 * reach + 1, 1, reach)[:, 0] < 0.5).view_as(regions)


def texture_values(pictures: Tensor, region: Tensor) -> Tensor:
    """Take what is finer than a Gaussian of DETAIL_PX (in a picture of 128 px) within a region, 0 elsewhere.

    pictures (B, 3, H, W) 0..1, region (B, H, W) bool, one of `avatars.regions.regions` without its margin (`inner`)
    ->  (B, H, W) luminance whose mean over the region is 0
    """
    fine = detail(pictures, DETAIL_PX * min(pictures.shape[-2:]) / 128) * region
    mean = fine.sum((1, 2), keepdim=True) / region.sum((1, 2), keepdim=True).clamp(min=1)
    return (fine - mean) * region


# ---------------------------------------------------------------------------------------------- texture
@dataclass(frozen=True)
class TextureReading:
    """The fine detail of B pictures against that of their truth, region by region; NaN where a region is not seen."""

    energy: Tensor          # (B, 4) mean square against the truth's: 1 as rich in detail, 0 blurred
    agreement: Tensor       # (B, 4) correlation with the truth's pattern: 1 the same, 0 another one
    regions: tuple[str, ...] = REGIONS


@torch.no_grad()
def expected_picture(identity: Tensor, motion: Tensor, size: tuple[int, int], count: int = 8,
                     generator: torch.Generator | None = None) -> Tensor:
    """Average drawings of the same people in the same poses over `count` random seeds of their textures.

    identity (B, NI) of the rich world, motion (B, NM)  ->  (B, 3, H, W): collars, leaves' outlines and all else that
    no chance decides stays sharp, strands, threads and grain are gone
    """
    from liveavatar.avatars.renderer import render

    total: Tensor | float = 0.0
    for _ in range(count):
        other = identity.clone()
        other[:, [IDENTITY_COLUMNS[name] for name in SEEDS]] = torch.rand(
            len(identity), len(SEEDS), generator=generator).to(identity)
        total = total + render(other, motion, size)
    return total / count


def read_texture(pictures: Tensor, truth: Tensor, regions: Tensor, expected: Tensor | None = None) -> TextureReading:
    """Compare the fine detail of pictures with the truth's.

    pictures, truth (B, 3, H, W) 0..1 (truth may also be the last step's guess), regions (B, 4, H, W) bool of
    `avatars.regions.regions`; their margins are left out here. expected (B, 3, H, W) of `expected_picture` is taken
    from both, so that only what chance decides counts. Energy without agreement is detail that was made up, agreement
    without energy a faint trace of the right one.
    """
    regions = inner(regions)
    if expected is not None:
        pictures, truth = pictures - expected, truth - expected
    energies, agreements = [], []
    for region in regions.unbind(1):
        ours, true = texture_values(pictures, region), texture_values(truth, region)
        power, true_power = ours.square().sum((1, 2)), true.square().sum((1, 2))
        shared = (ours * true).sum((1, 2)) / (power * true_power).sqrt().clamp(min=1e-12)
        seen = true_power > 0
        energies.append((power / true_power).where(seen, torch.nan))
        agreements.append(shared.where(seen, torch.nan))
    return TextureReading(torch.stack(energies, 1), torch.stack(agreements, 1))


# ---------------------------------------------------------------------------------------------- steps
@dataclass(frozen=True)
class Decision:
    """Describe how far N samples of one condition are decided after each of S steps."""

    spread: Tensor          # (S,) standard deviation across samples against that of the last step: 0 all alike
    agreement: Tensor       # (S,) share of what tells the samples apart at the end that the guess has: 1 at the end
    gained: Tensor          # (S,) by how much each step raised the agreement
    applies: bool = True
    reason: str = ""

    @property
    def step(self) -> int:
        """Return the first step after which the tier is decided; S where it never is."""
        after = (self.agreement >= DECIDED).nonzero()
        return int(after[0]) if len(after) else len(self.agreement)

    @property
    def main_step(self) -> int:
        """Return the step that decides most."""
        return int(self.gained.nan_to_num(-1).argmax())


def decision(values: Tensor) -> Decision:
    """Measure when samples part, and when they are what they will be.

    values (S, N, ...): what was read off the guess after each of S steps of N samples that differ in their noise only;
    the last step is the end. Agreement is 1 - (squared error against the end) / (squared error of the end's mean over
    samples): 0 says no more than that mean, 1 is the end itself. It falls below 0 where a guess is wrong altogether.
    """
    S, N = values.shape[:2]
    if N < 2:
        raise InputError(f"{N} sample of a condition tells nothing about chance; give two or more")
    values = values.double().reshape(S, N, -1)
    end = values[-1]
    apart = (end - end.mean(0)).square().mean()
    if apart < STANDS_STILL:
        nothing = torch.full((S,), torch.nan)
        return Decision(nothing, nothing, nothing, False, "the samples end alike: nothing was left to chance")
    spread = (values - values.mean(1, keepdim=True)).square().mean((1, 2)).div(apart).sqrt()
    agreement = 1 - (values - end).square().mean((1, 2)) / apart
    gained = agreement.diff(prepend=agreement.new_zeros(1))
    return Decision(spread.float(), agreement.float(), gained.float())


def mean_decision(decisions: Sequence[Decision]) -> Decision:
    """Average the decisions of several conditions; those that do not apply are left out."""
    known = [one for one in decisions if one.applies]
    if not known:
        return decisions[0]
    return Decision(*(torch.stack([getattr(one, field) for one in known]).mean(0)
                      for field in ("spread", "agreement", "gained")))


# ---------------------------------------------------------------------------------------------- against the truth
@dataclass(frozen=True)
class Accuracy:
    """Describe how right C values of a tier are that were read off T pictures of a video whose truth is known."""

    names: tuple[str, ...]
    correlation: Tensor     # (C,) over time; NaN where the truth stands still
    error: Tensor           # (C,) mean absolute error, in shares of the range


def accuracy(reading: Reading, motion: Tensor, tier: str) -> Accuracy:
    """Compare what was read off T pictures with the motion (T, NM) that drew them, for pose, hands or mouth.

    On true videos this says how well the regressor reads a tier: the scale for all that it says about generated ones.
    """
    from liveavatar.metrics.quality import temporal_correlation

    names = readable(tier, reading)
    read, chosen = tier_values(reading, tier), [MOTION_TARGETS[tier].index(name) for name in names]
    true = tier_values(motion, tier)[..., chosen]
    return Accuracy(names, temporal_correlation(read.T, true.T).float(), (read - true).abs().mean(0))
