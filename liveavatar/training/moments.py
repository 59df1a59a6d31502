"""Moments of true clips as latents, with the numbers that drew them: what a linear probe is trained and judged on.

    recordings, people, chance --draw_moments--> pictures of one latent frame each, targets
    pictures                   --encode------->  latents (N, C, h, w)

Training moments hold one picture for the whole latent frame, which takes a quarter of the drawing; those for judging
move, as in a clip, and are of other people who say other sentences in other voices.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import random_identities, render, talk
from liveavatar.avatars.motion import CONTROLS
from liveavatar.avatars.traits import identity_index, motion_index
from liveavatar.avatars.world import PEOPLE_SEED
from liveavatar.backends.mini.vae import VideoVAE
from liveavatar.files import write_whole
from liveavatar.metrics.probe import QUANTITIES
from liveavatar.speech import viseme_curves
from liveavatar.study.materials import kept_recordings
from liveavatar.types import InputError

FRAMES = 4                      # pictures of a latent frame
HELD_RECORDINGS = 2             # the last so many of the study's recordings are for judging
MOTION_NAMES = (*QUANTITIES["mouth opening"], *QUANTITIES["head yaw"], *QUANTITIES["light"])
COLOURS = ("skin", "hair", "shirt")


@dataclass(frozen=True)
class Moments:
    """N latent frames of as many people, and what is true of them."""

    latents: Tensor             # (N, C, h, w) float32
    targets: Tensor             # (N, K) in the order of all names in QUANTITIES

    def __add__(self, other: Moments) -> Moments:
        """Join two sets."""
        return Moments(torch.cat([self.latents, other.latents]), torch.cat([self.targets, other.targets]))

    def save(self, path: Path) -> None:
        """Write them as one safetensors file, in float16; it appears whole or not at all."""
        from safetensors.torch import save_file

        tensors = {"latents": self.latents.half().contiguous(), "targets": self.targets.contiguous()}
        write_whole(path, lambda part: save_file(tensors, str(part)))

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        tensors = load_file(str(path))
        return cls(tensors["latents"].float(), tensors["targets"])


def targets_of(identity: Tensor, motion: Tensor) -> Tensor:
    """Return what a probe should read: identity (B, NI), motion (B, T, NM) of one latent frame -> (B, K)."""
    moved = motion[..., [motion_index(name) for name in MOTION_NAMES]].mean(1)
    colours = [identity[:, [identity_index(f"{name}_{channel}") for channel in ("red", "green", "blue")]].mean(1)
               for name in COLOURS]
    return torch.cat([moved, torch.stack([*colours, identity[:, identity_index("glasses")]], 1)], 1)


def draw_moments(split: str, count: int, size: tuple[int, int], generator: torch.Generator,
                 moving: bool) -> tuple[Tensor, Tensor]:
    """Draw moments of clips of the rich world. -> pictures (count, 3, 4, H, W) 0..1, targets (count, K)

    split: "train" or "held". moving: whether the four pictures of a latent frame differ. Raises InputError for
    another split.
    """
    if split not in PEOPLE_SEED:
        raise InputError(f"split is {split!r}; choose from {', '.join(map(repr, PEOPLE_SEED))}")
    recordings = list(kept_recordings().values())
    recordings = recordings[:-HELD_RECORDINGS] if split == "train" else recordings[-HELD_RECORDINGS:]
    people = random_identities(4096, torch.Generator().manual_seed(PEOPLE_SEED[split]), world="rich")
    identity = people[torch.randint(len(people), (count,), generator=generator)]
    motion = torch.cat([_motion_of(recordings[int(torch.randint(len(recordings), (), generator=generator))], generator)
                        for _ in range(count)])
    if moving:
        pictures = render(identity.repeat_interleave(FRAMES, 0), motion.flatten(0, 1), size).unflatten(0, (-1, FRAMES))
        return pictures.transpose(1, 2), targets_of(identity, motion)
    motion = motion[:, :1]
    pictures = render(identity, motion[:, 0], size)[:, :, None].expand(-1, -1, FRAMES, -1, -1)
    return pictures, targets_of(identity, motion)


def _motion_of(speech, generator: torch.Generator) -> Tensor:
    """Return one latent frame of a clip that says this, with chance of its own. (1, 4, NM)"""
    visemes, loudness = viseme_curves(speech.phonemes, speech.duration_s), loudness_envelope(speech.wave)
    T = min(len(visemes), len(loudness))
    controls = torch.stack([torch.randint(len(choices), (1,), generator=generator) for choices in CONTROLS.values()], 1)
    motion = talk(visemes[None, :T], loudness[None, :T], controls, generator, "rich")
    first = int(torch.randint(T - FRAMES, (), generator=generator))
    return motion[:, first:first + FRAMES]


@torch.no_grad()
def encode(vae: VideoVAE, pictures: Tensor) -> Tensor:
    """Encode pictures (N, 3, 4, H, W) of one latent frame each -> latents (N, C, h, w) float32."""
    kind = next(vae.parameters())
    return vae.encode(pictures.to(kind.device, kind.dtype)).float().cpu()[:, :, 0]


