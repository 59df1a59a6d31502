"""Moments of true clips as latents, with the numbers that drew them: what a linear probe is trained and judged on.

    recordings, people, chance --draw_moments--> Moments: latent frames, portraits, targets

Training moments hold one picture for the whole latent frame, which takes a quarter of the drawing; those for judging
move, as in a clip, and are of other people who say other sentences in other voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import portrait_pose, random_identities, render, talk
from liveavatar.avatars.motion import CONTROLS
from liveavatar.avatars.traits import identity_index, motion_index
from liveavatar.avatars.world import PEOPLE_SEED
from liveavatar.backends.mini.vae import VideoVAE
from liveavatar.files import write_whole
from liveavatar.metrics.probe import MOVED, STAYED
from liveavatar.speech import viseme_curves
from liveavatar.study.materials import kept_recordings
from liveavatar.types import InputError, Speech

FRAMES = 4                      # pictures of a latent frame
PEOPLE = 4096                   # drawn once; every moment takes one of them
HELD_RECORDINGS = 2             # the last so many of the study's recordings are for judging
COLOURS = STAYED[:3]            # the last is glasses


@dataclass(frozen=True)
class Moments:
    """N latent frames of as many people, and what is true of them."""

    latents: Tensor             # (N, C, h, w) float32
    portraits: Tensor           # (N, C, h, w) of the same people, at rest
    targets: Tensor             # (N, K) in the order of NAMES

    def __getitem__(self, part: slice) -> Moments:
        """Return some of them."""
        return Moments(self.latents[part], self.portraits[part], self.targets[part])

    @classmethod
    def joined(cls, pieces: Sequence[Moments]) -> Moments:
        """Join several sets."""
        return cls(*(torch.cat([getattr(one, name) for one in pieces]) for name in ("latents", "portraits", "targets")))

    def save(self, path: Path) -> None:
        """Write them as one safetensors file, latents in float16; it appears whole or not at all."""
        from safetensors.torch import save_file

        tensors = {"latents": self.latents.half(), "portraits": self.portraits.half(), "targets": self.targets}
        write_whole(path, lambda part: save_file({name: one.contiguous() for name, one in tensors.items()}, str(part)))

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        return cls(**{name: one.float() for name, one in load_file(str(path)).items()})


def targets_of(identity: Tensor, motion: Tensor) -> Tensor:
    """Return what a probe should read: identity (B, NI), motion (B, T, NM) of one latent frame -> (B, K)."""
    moved = motion[..., [motion_index(name) for name in MOVED]].mean(1)
    colours = [identity[:, [identity_index(f"{name}_{channel}") for channel in ("red", "green", "blue")]].mean(1)
               for name in COLOURS]
    return torch.cat([moved, torch.stack([*colours, identity[:, identity_index("glasses")]], 1)], 1)


def draw_moments(vae: VideoVAE, split: str, count: int, size: tuple[int, int], generator: torch.Generator,
                 moving: bool) -> Moments:
    """Draw and encode moments of clips of the rich world, each of another person.

    split: "train" or "held". moving: whether the four pictures of a latent frame differ. Raises InputError for
    another split.
    """
    if split not in PEOPLE_SEED:
        raise InputError(f"split is {split!r}; choose from {', '.join(map(repr, PEOPLE_SEED))}")
    recordings = list(kept_recordings().values())
    recordings = recordings[:-HELD_RECORDINGS] if split == "train" else recordings[-HELD_RECORDINGS:]
    people = _people(split)
    identity = people[torch.randint(len(people), (count,), generator=generator)]
    motion = torch.cat([_motion_of(recordings[int(torch.randint(len(recordings), (), generator=generator))], generator)
                        for _ in range(count)])
    motion = motion if moving else motion[:, :1]
    T = motion.shape[1]
    pictures = render(identity.repeat_interleave(T, 0), motion.flatten(0, 1), size).unflatten(0, (-1, T))
    portraits = render(identity, portrait_pose(count, torch.Generator().manual_seed(0)), size)
    return Moments(_encoded(vae, pictures.transpose(1, 2)), _encoded(vae, portraits[:, :, None]),
                   targets_of(identity, motion))


@cache
def _people(split: str) -> Tensor:
    """Draw the people of a split, once."""
    return random_identities(PEOPLE, torch.Generator().manual_seed(PEOPLE_SEED[split]), world="rich")


def _motion_of(speech: Speech, generator: torch.Generator) -> Tensor:
    """Return one latent frame of a clip that says this, with chance of its own. (1, 4, NM)"""
    visemes, loudness = viseme_curves(speech.phonemes, speech.duration_s), loudness_envelope(speech.wave)
    T = min(len(visemes), len(loudness))
    controls = torch.stack([torch.randint(len(choices), (1,), generator=generator) for choices in CONTROLS.values()], 1)
    motion = talk(visemes[None, :T], loudness[None, :T], controls, generator, "rich")
    first = int(torch.randint(T - FRAMES, (), generator=generator))
    return motion[:, first:first + FRAMES]


@torch.no_grad()
def _encoded(vae: VideoVAE, pictures: Tensor) -> Tensor:
    """Encode pictures (N, 3, 4 or 1, H, W), one for the whole latent frame where it is 1 -> (N, C, h, w) float32"""
    kind = next(vae.parameters())
    video = pictures.expand(-1, -1, FRAMES, -1, -1).to(kind.device, kind.dtype)
    return vae.encode(video).float().cpu()[:, :, 0]
