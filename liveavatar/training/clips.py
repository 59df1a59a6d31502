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

from liveavatar.audio import MEL_AFTER, MEL_BEFORE, MEL_PER_FRAME, SILENCE
from liveavatar.avatars.landmarks import landmarks
from liveavatar.avatars.motion import CONTROLS, portrait_pose, talk
from liveavatar.avatars.renderer import compiled_renderer, render
from liveavatar.avatars.rich.movements import shifted
from liveavatar.avatars.sampling import random_identities
from liveavatar.backends.mini.ear import AFTER, BEFORE
from liveavatar.types import InputError

from .corpus import Corpus, load_corpus, loudness_values, mel_values, viseme_values

PEOPLE = 32768                      # drawn once; every clip takes one of them
PEOPLE_SEED = {"train": 101, "held": 202}
RENDER_CHUNK = {"cuda": 512, "cpu": 8}     # pictures rendered at a time
NATURAL = 1.5 * 2.302585            # normalised log-mel to natural logarithms
SHUTTER = 0.5                       # share of a frame's time in which a camera's shutter is open

Renderer = Callable[[Tensor, Tensor], Tensor]   # identity (N, NI), motion (N, NM) -> (N, 3, H, W)


@dataclass(frozen=True)
class ClipBatch:
    """Clips and all that is known about them."""

    mel: Tensor | None          # (B, M, 64) normalised log-mel of the clips and as far around them as the ear looks
    visemes: Tensor             # (B, T, 7) in the order of VISEME_PARAMETERS: the usual shapes of these sounds; what is
                                # drawn begins motion, and in the rich world it is one of many ways to say it
    loudness: Tensor            # (B, T) envelope of the speech, 0..1
    speaking: Tensor            # (B, T) 1 while a sound is spoken
    controls: Tensor            # (B, 4) long, in the order of CONTROLS
    identity: Tensor            # (B, NI)
    motion: Tensor              # (B, T, NM)
    points: Tensor              # (B, T, P, 2) x, y in pixels, in the order of LANDMARKS
    video: Tensor | None        # (B, 3, T, H, W) 0..1
    portrait: Tensor | None     # (B, 3, H, W) 0..1, the same person at rest


class SpeechTable:
    """The utterances of one split, to be cut into clips. Tables stay on the host; the sound goes to the device."""

    def __init__(self, corpus: Corpus, split: str, device: torch.device) -> None:
        chosen = torch.tensor(corpus.utterances(split), dtype=torch.long)
        self.first, self.frames = corpus.starts()[chosen], corpus.frames[chosen]        # video frames of the corpus
        self.corpus = corpus
        self.mel = corpus.mel.to(device)
        self._starts: dict[int, tuple[Tensor, Tensor]] = {}

    def cut(self, batch: int, frames: int, dice: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where clips may lie: first frame (B,), and first and last frame of their utterances (B, 2)."""
        if frames not in self._starts:
            room = (self.frames - frames + 1).clamp(min=0)                              # starts in each utterance
            if room.sum() == 0:
                raise InputError(f"no utterance is as long as a clip of {frames} frames; the longest has "
                                 f"{int(self.frames.max()) if len(self.frames) else 0}")
            which = torch.repeat_interleave(torch.arange(len(room)), room)
            inside = torch.arange(len(which)) - (room.cumsum(0) - room)[which]
            self._starts[frames] = self.first[which] + inside, which
        starts, which = self._starts[frames]
        chosen = torch.randint(len(starts), (batch,), generator=dice)
        first = self.first[which[chosen]]
        return starts[chosen], torch.stack([first, first + self.frames[which[chosen]]], 1)

    def said(self, start: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """visemes (B, T, 7), loudness (B, T) and speaking (B, T)"""
        frame = start[:, None] + torch.arange(frames)
        return (viseme_values(self.corpus.visemes[frame]), loudness_values(self.corpus.loudness[frame]),
                self.corpus.speaking[frame].float())

    def heard(self, start: Tensor, ends: Tensor, frames: int) -> Tensor:
        """Log-mel of the clips and as far around them as the ear looks, silence beyond their utterances.

        Arguments on the device.  -> (B, 2 (BEFORE + T + AFTER) + 10, 64)
        """
        before, after = MEL_BEFORE + MEL_PER_FRAME * BEFORE, MEL_AFTER - MEL_PER_FRAME + MEL_PER_FRAME * AFTER
        row = MEL_PER_FRAME * start[:, None] + torch.arange(-before, MEL_PER_FRAME * frames + after,
                                                            device=start.device)
        inside = (row >= MEL_PER_FRAME * ends[:, :1]) & (row < MEL_PER_FRAME * ends[:, 1:])
        stored = self.mel[row.clamp(0, len(self.mel) - 1)]
        return mel_values(torch.where(inside[..., None], stored, 0))                    # a stored 0 is silence


class Clips:
    """A source of clips of one split ("train" or "held": other voices, other people).

    Speech and movements are small: the host makes them while the GPU is busy, and sends them over without waiting. The
    GPU only draws pictures. `generator` (on the host) is where every random number comes from.

    world is "plain" or "rich" (see `avatars.motion.talk`). With more than one of `subframes` every video frame is the
    mean of so many pictures within the shutter's time, as a camera blurs what moves; it costs as many times the
    rendering. Curves and points are those of the middle of that time. Raises InputError for an unknown world.
    """

    def __init__(self, corpus_path: str | Path, split: str, device: torch.device | str,
                 size: tuple[int, int] = (128, 128), generator: torch.Generator | None = None,
                 compiled: bool = False, people: int = PEOPLE, renderer: Renderer | None = None,
                 world: str = "plain", subframes: int = 1) -> None:
        self.corpus_path = corpus_path
        self.device = torch.device(device)
        self.size = size
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self.speech = SpeechTable(load_corpus(corpus_path), split, self.device)
        self.world, self.subframes = world, subframes
        self.people = random_identities(people, torch.Generator().manual_seed(PEOPLE_SEED[split]), world=world)
        self.compiled = compiled            # a compiled renderer wants the same number of pictures every time
        self.renderer = renderer or (compiled_renderer(size, world) if compiled else partial(render, size=size))
        self.chunk = RENDER_CHUNK[self.device.type]
        self._noise = torch.Generator(self.device)

    def of_split(self, split: str, seed: int) -> Clips:
        """The same kind of clips with other voices and people, drawn by the same (compiled) renderer."""
        return Clips(self.corpus_path, split, self.device, self.size, torch.Generator().manual_seed(seed),
                     self.compiled, len(self.people), self.renderer, self.world, self.subframes)

    def draw(self, batch: int, frames: int, generator: torch.Generator | None = None, video: bool = True,
             portrait: bool = False, audio: bool = True, still: int = 0) -> ClipBatch:
        """Draw clips; the last `still` of them hold a portrait's pose throughout.

        video, portrait, audio say what to make. A generator on the GPU may take the place of the clips' own, but then
        the host waits for it once a call.
        """
        B, T = batch, frames
        dice = self._host_generator(generator)
        start, ends = self.speech.cut(B, T, dice)
        visemes, loudness, speaking = self.speech.said(start, T)
        controls = torch.stack([torch.randint(len(choices), (B,), generator=dice)
                                for choices in CONTROLS.values()], dim=1)
        identity = self.people[torch.randint(len(self.people), (B,), generator=dice)]
        motion = talk(visemes, loudness, controls, dice, self.world)
        pose = portrait_pose(B, dice)
        if still:
            motion = torch.cat([motion[:B - still], pose[B - still:, None].expand(-1, T, -1)])
        points = landmarks(identity.repeat_interleave(T, 0), motion.flatten(0, 1), self.size).unflatten(0, (B, T))
        visemes, loudness, speaking, controls, identity, motion, points, pose = map(
            self._send, (visemes, loudness, speaking, controls, identity, motion, points, pose))
        return ClipBatch(
            mel=self.speech.heard(self._send(start), self._send(ends), T) if audio else None,
            visemes=visemes, loudness=loudness, speaking=speaking,
            controls=controls, identity=identity, motion=motion, points=points,
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

    @torch.no_grad()
    def film(self, identity: Tensor, motion: Tensor) -> Tensor:
        """identity (B, NI), motion (B, T, NM)  ->  video (B, 3, T, H, W), blurred by motion where subframes > 1"""
        if self.subframes > 1:
            B, T, _ = motion.shape
            late = [SHUTTER * (0.5 - (place + 0.5) / self.subframes) for place in range(self.subframes)]
            return sum(self._film(identity, shifted(motion, motion.new_full((B, T), frames)))
                       for frames in late) / self.subframes
        return self._film(identity, motion)

    def _film(self, identity: Tensor, motion: Tensor) -> Tensor:
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
