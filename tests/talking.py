"""True videos of which everything is known, rendered once a session: small, two seconds and a bit."""

from dataclasses import dataclass
from functools import cache

import torch

from liveavatar.audio import loudness_envelope
from liveavatar.avatars.motion import talk
from liveavatar.avatars.renderer import render
from liveavatar.avatars.sampling import random_identities
from liveavatar.metrics.reader import as_uint8, read_face
from liveavatar.metrics.regressor import Reading
from liveavatar.speech import samples, viseme_curves
from liveavatar.types import Speech

FPS = 25.0


@dataclass(frozen=True)
class Talking:
    """A true video and the truth about it."""

    speech: Speech
    identity: torch.Tensor      # (NI,)
    motion: torch.Tensor        # (T, NM)
    frames: torch.Tensor        # (T, H, W, 3) uint8
    reading: Reading            # of all pictures


@cache
def talking(clip: str = "steps", seed: int = 3, frames: int = 72, side: int = 96, gesture: int = 1) -> Talking:
    """A random person who says one of the sample clips; gesture 1 beats time with both hands."""
    speech = samples()[clip]
    dice = torch.Generator().manual_seed(seed)
    identity = random_identities(1, dice)
    visemes = viseme_curves(speech.phonemes, speech.duration_s)[:frames]
    loudness = loudness_envelope(speech.wave)[:frames]
    motion = talk(visemes[None], loudness[None], torch.tensor([[gesture, 0, 0, 1]]), dice)[0]
    pictures = as_uint8(torch.cat([render(identity.expand(len(part), -1), part, (side, side))
                                   for part in motion.split(24)]))
    return Talking(speech, identity[0], motion, pictures, read_face(pictures))


def late(curve: torch.Tensor, frames: int, reach: int = 5) -> torch.Tensor:
    """The middle of a curve (T,), delayed by so many frames: positive is late. (T - 2 * reach,)"""
    return curve[reach - frames:len(curve) - reach - frames]
