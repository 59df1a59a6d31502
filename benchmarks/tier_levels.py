"""At which noise level is each tier of chance decided? A property of the worlds and of the VAE, before any training.

    python benchmarks/tier_levels.py                    a few minutes on one core; needs no GPU

Pictures that differ in one tier only are encoded; their latents have a covariance with variances v along its axes. The
noisy latent (1 - sigma) x + sigma n tells half of what there is to know along an axis where (1 - sigma)^2 v = sigma^2,
that is at sigma = s / (1 + s) with s = sqrt(v), if chance were Gaussian. A tier's level is the mean of this over the
axes, weighted by their variance. With few pictures many small axes look like fewer large ones: levels of fine textures
come out a little too high.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import liveavatar
from liveavatar.audio import loudness_envelope
from liveavatar.avatars import identity_index, motion_index, random_identities, render, talk
from liveavatar.metrics.tiers import IDENTITY_TARGETS, MOTION_TARGETS
from liveavatar.speech import samples, viseme_curves

RESULTS = Path(__file__).parent / "results" / "tier_levels.md"
MOVED = MOTION_TARGETS | {"mouth": (*MOTION_TARGETS["mouth"], "jaw")}
PEOPLE = {"mouth": (*IDENTITY_TARGETS["mouth"], "teeth_seed"), "hair": ("hair_seed",), "clothes": ("cloth_seed",),
          "skin": ("skin_seed",), "background": ("scene_seed",)}
TIERS = ("pose", "hands", "mouth", "background", "hair", "clothes", "skin")
FRAME = 28                  # of the sample that is spoken: an open vowel
BATCH = 16


@dataclass(frozen=True)
class Level:
    """How a tier's variance lies over noise levels."""

    mean: float             # weighted by variance
    low: float              # a tenth of the variance is decided below this level
    high: float             # and a tenth above this one
    axes: float             # (sum v)^2 / sum v^2: how many axes there are to speak of
    variance: float         # of a latent value


def level(latents: Tensor) -> Level:
    """latents (M, D) of M pictures that differ in one tier"""
    apart = latents.double() - latents.double().mean(0)
    variances = torch.linalg.eigvalsh(apart @ apart.T / (len(apart) - 1)).clamp(min=0)          # rising
    sigmas, total = variances.sqrt() / (1 + variances.sqrt()), variances.sum()
    if total < 1e-9:
        return Level(0.0, 0.0, 0.0, 0.0, 0.0)
    below = variances.cumsum(0) / total
    low, high = (sigmas[(below >= share).nonzero()[0, 0]].item() for share in (0.1, 0.9))
    return Level((variances * sigmas).sum().item() / total.item(), low, high,
                 (total ** 2 / variances.square().sum()).item(), total.item() / latents.shape[1])


def pictures_of(tier: str, world: str, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """One person in one pose, but for the tier. -> identity (count, NI), motion (count, NM)"""
    generator = torch.Generator().manual_seed(seed)
    speech = samples()["welcome"]
    visemes, loudness = viseme_curves(speech.phonemes, speech.duration_s), loudness_envelope(speech.wave)
    T = min(len(visemes), len(loudness))
    asked = torch.tensor([[1, 0, 0, 1]]).expand(count, -1)                                      # gesturing
    moved = talk(visemes[:T].expand(count, -1, -1), loudness[:T].expand(count, -1), asked, generator, world)[:, FRAME]
    people = random_identities(count, generator, world=world)
    identity, motion = people[:1].repeat(count, 1), moved[:1].repeat(count, 1)
    for name in MOVED.get(tier, ()):
        motion[:, motion_index(name)] = moved[:, motion_index(name)]
    for name in PEOPLE.get(tier, ()):
        identity[:, identity_index(name)] = people[:, identity_index(name)]
    return identity, motion


@torch.inference_mode()
def encoded(vae, identity: Tensor, motion: Tensor, size: tuple[int, int]) -> Tensor:
    """(M, D) latents of single pictures"""
    parts = [vae.encode_portrait(render(who, how, size).to(next(vae.parameters()).dtype)).float().flatten(1)
             for who, how in zip(identity.split(BATCH), motion.split(BATCH), strict=True)]
    return torch.cat(parts)


def table(chosen: argparse.Namespace) -> str:
    vae = liveavatar.load("mini").backend.vae
    side = chosen.size
    lines = ["| tier | rich world: level | a tenth below | a tenth above | axes | variance | plain world: level |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for tier in TIERS:
        found = {world: [level(encoded(vae, *pictures_of(tier, world, seed, chosen.pictures), (side, side)))
                         for seed in range(chosen.people)] for world in ("rich", "plain")}
        rich, plain = (torch.tensor([[one.mean, one.low, one.high, one.axes, one.variance] for one in found[world]])
                       .mean(0).tolist() for world in ("rich", "plain"))
        lines.append(f"| {tier} | {rich[0]:.2f} | {rich[1]:.2f} | {rich[2]:.2f} | {rich[3]:.0f} | {rich[4]:.4f} | "
                     f"{f'{plain[0]:.2f}' if plain[4] else 'no chance'} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200, help="that differ in one tier")
    parser.add_argument("--people", type=int, default=3, help="averaged over")
    parser.add_argument("--size", type=int, default=128, help="height and width, pixels")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found = table(chosen)
    RESULTS.write_text(f"# At which noise level each tier is decided\n\n    python benchmarks/tier_levels.py "
                       f"{' '.join(sys.argv[1:])}\n\n{chosen.people} people, {chosen.pictures} pictures of each that "
                       f"differ in one tier, {chosen.size} px, latents of the shipped VAE, trained on the plain world. "
                       f"1 is noise alone.\n\n{found}\n")


if __name__ == "__main__":
    main()
