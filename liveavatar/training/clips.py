"""Training clips made on the spot: speech from the corpus, people and movements drawn at random, pictures rendered.

Nothing is stored and nothing repeats: every `draw` is new speech on another face. All random numbers come from one
generator, and the host never waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.audio import MEL_AFTER, MEL_BEFORE, MEL_PER_FRAME, windows
from liveavatar.avatars.landmarks import landmarks
from liveavatar.avatars.motion import CONTROLS, portrait_pose, talk
from liveavatar.avatars.renderer import compiled_renderer, render
from liveavatar.avatars.sampling import random_identities

from .corpus import load_corpus

PEOPLE = 32768                      # drawn once; every clip takes one of them
PEOPLE_SEED = {"train": 101, "held_out": 202}
RENDER_CHUNK = {"cuda": 512, "cpu": 8}     # pictures rendered at a time
SILENCE = (-5.0 + 2.5) / 1.5        # normalised log-mel of silence
NATURAL = 1.5 * 2.302585            # normalised log-mel to natural logarithms

Renderer = Callable[[Tensor, Tensor], Tensor]   # identity (N, NI), motion (N, NM) -> (N, 3, H, W)


@dataclass(frozen=True)
class ClipBatch:
    """Clips and all that is known about them."""

    audio: Tensor | None        # (B, 1, 768, T) log-mel windows, one column per video frame
    visemes: Tensor             # (B, T, 7) in the order of VISEME_PARAMETERS
    speaking: Tensor            # (B, T) loudness of the speech, 0..1
    controls: Tensor            # (B, 4) long, in the order of CONTROLS
    identity: Tensor            # (B, NI)
    motion: Tensor              # (B, T, NM)
    points: Tensor              # (B, T, P, 2) x, y in pixels, in the order of LANDMARKS
    video: Tensor | None        # (B, 3, T, H, W) 0..1
    portrait: Tensor | None     # (B, 3, H, W) 0..1, the same person at rest


class Clips:
    """A source of clips of one split ("train" or "held_out": other voices, other people).

    Speech and movements are small: the host makes them while the GPU is busy, and sends them over without waiting. The
    GPU only draws pictures. `generator` (on the host) is where every random number comes from.
    """

    def __init__(self, corpus_path: str | Path, split: str, device: torch.device | str,
                 size: tuple[int, int] = (128, 128), generator: torch.Generator | None = None,
                 compiled: bool = False, people: int = PEOPLE, renderer: Renderer | None = None) -> None:
        self.corpus_path = corpus_path
        self.device = torch.device(device)
        self.size = size
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self.speech = load_corpus(corpus_path, split)
        self.people = random_identities(people, torch.Generator().manual_seed(PEOPLE_SEED[split]))
        self._mel = self.speech.mel.to(self.device)
        self.compiled = compiled            # a compiled renderer wants the same number of pictures every time
        self.renderer = renderer or (compiled_renderer(size) if compiled else partial(render, size=size))
        self.chunk = RENDER_CHUNK[self.device.type]
        self._noise = torch.Generator(self.device)

    def of_split(self, split: str, seed: int) -> Clips:
        """The same kind of clips with other voices and people, drawn by the same (compiled) renderer."""
        return Clips(self.corpus_path, split, self.device, self.size, torch.Generator().manual_seed(seed),
                     self.compiled, len(self.people), self.renderer)

    def draw(self, batch: int, frames: int, generator: torch.Generator | None = None, video: bool = True,
             portrait: bool = False, audio: bool = True, augment: bool = False, still: int = 0) -> ClipBatch:
        """Draw clips; the last `still` of them hold a portrait's pose throughout.

        video, portrait, audio say what to make; augment disturbs what is heard, not what is said. A generator on the
        GPU may take the place of the clips' own, but then the host waits for it once a call.
        """
        B, T = batch, frames
        dice = self._host_generator(generator)
        starts = self.speech.starts(T)
        start = starts[torch.randint(len(starts), (B,), generator=dice)]
        visemes, speaking = self.speech.said(start, T)
        controls = torch.stack([torch.randint(len(choices), (B,), generator=dice)
                                for choices in CONTROLS.values()], dim=1)
        identity = self.people[torch.randint(len(self.people), (B,), generator=dice)]
        motion = talk(visemes, speaking, controls, dice)
        pose = portrait_pose(B, dice)
        if still:
            motion = torch.cat([motion[:B - still], pose[B - still:, None].expand(-1, T, -1)])
        points = landmarks(identity.repeat_interleave(T, 0), motion.flatten(0, 1), self.size).unflatten(0, (B, T))
        start, visemes, speaking, controls, identity, motion, points, pose = (
            self._send(values) for values in (start, visemes, speaking, controls, identity, motion, points, pose))
        return ClipBatch(
            audio=self._hear(start, T, dice if augment else None) if audio else None,
            visemes=visemes, speaking=speaking, controls=controls, identity=identity, motion=motion, points=points,
            video=self.film(identity, motion) if video else None,
            portrait=self.pictures(identity, pose) if portrait else None)

    def noise(self, *shape: int) -> Tensor:
        """Gaussian noise on the device, from a seed that the host's generator gives."""
        return torch.randn(shape, generator=self._on_device(self.generator), device=self.device)

    def _host_generator(self, generator: torch.Generator | None) -> torch.Generator:
        if generator is None:
            return self.generator
        if generator.device.type == "cpu":
            return generator
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        return torch.Generator().manual_seed(int(seed))

    def _on_device(self, dice: torch.Generator) -> torch.Generator:
        """A generator on the device, seeded by the host's: nobody waits."""
        return self._noise.manual_seed(int(torch.randint(2**62, (), generator=dice)))

    def _send(self, values: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)

    def _hear(self, start: Tensor, T: int, disturbance: torch.Generator | None) -> Tensor:
        """start (B,) video frames of the corpus  ->  (B, 1, 768, T)"""
        after = MEL_AFTER - MEL_PER_FRAME
        steps = torch.arange(-MEL_BEFORE, MEL_PER_FRAME * T + after, device=self.device)
        mel = self.speech.normal_mel(self._mel[MEL_PER_FRAME * start[:, None] + steps])      # (B, 2T+10, 64)
        if disturbance is not None:
            mel = disturb(mel, self._on_device(disturbance))
        return windows(mel)[:, None]

    @torch.no_grad()
    def film(self, identity: Tensor, motion: Tensor) -> Tensor:
        """identity (B, NI), motion (B, T, NM)  ->  video (B, 3, T, H, W)"""
        B, T, _ = motion.shape
        pictures = self.pictures(identity.repeat(T, 1), motion.transpose(0, 1).flatten(0, 1))   # time outermost
        return pictures.unflatten(0, (T, B)).permute(1, 2, 0, 3, 4)

    @torch.no_grad()
    def pictures(self, identity: Tensor, motion: Tensor) -> Tensor:
        """identity (N, NI), motion (N, NM)  ->  (N, 3, H, W), rendered in chunks of one size"""
        drawn = []
        for at in range(0, len(motion), self.chunk):
            who, how = identity[at:at + self.chunk].contiguous(), motion[at:at + self.chunk].contiguous()
            count = len(who)
            if self.compiled and count < self.chunk:
                who = torch.cat([who, who[:1].expand(self.chunk - count, -1)])
                how = torch.cat([how, how[:1].expand(self.chunk - count, -1)])
            drawn.append(self.renderer(who, how)[:count])
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)


def disturb(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Make clean speech sound like a recording: other loudness, other microphone, noise underneath.

    mel (B, M, 64) normalised log-mel; one unit is 1.5 decades. Half of the clips get each of: +-4 dB of gain, a tilt of
    +-6 dB over the bands, a band limit, a noise floor that comes within 10 to 45 dB of loud speech.
    """
    B, M, bands = mel.shape

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(B, *shape, generator=generator, device=mel.device)

    def half() -> Tensor:
        return (draw(0, 1, 1, 1) < 0.5).to(mel.dtype)

    decibel = 1 / 10 / 1.5                                                  # of power, in normalised units
    band = torch.linspace(-1, 1, bands, device=mel.device)
    mel = mel + half() * draw(-4, 4, 1, 1) * decibel + half() * draw(-6, 6, 1, 1) * decibel * band
    cut = draw(0.35, 1.2, 1, 1)
    mel = mel - half() * (band - cut).clamp(min=0) * draw(10, 80, 1, 1) * decibel
    loud = mel.amax((1, 2), keepdim=True)
    floor = loud - draw(10, 45, 1, 1) * decibel - draw(0, 8, 1, 1) * decibel * (band + 1)
    floor = floor + 0.12 * torch.randn(B, M, bands, generator=generator, device=mel.device)
    noisy = torch.logaddexp(mel * NATURAL, floor * NATURAL) / NATURAL
    return torch.lerp(mel, noisy, half()).clamp(min=SILENCE)
