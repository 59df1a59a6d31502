"""Training clips made on the spot: speech from the corpus, people and movements drawn at random, pictures drawn.

Nothing is stored and nothing repeats: every `draw` is new speech on another face. All random numbers come from one
generator, and the host never waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.audio import MEL_AFTER, MEL_BEFORE, MEL_PER_FRAME, SILENCE
from liveavatar.avatars.motion import CONTROLS, portrait_pose, talk
from liveavatar.avatars.traits import IDENTITY
from liveavatar.avatars.world import PEOPLE, AvatarWorld
from liveavatar.backends.mini.audio import AFTER, BEFORE
from liveavatar.puppets.world import PuppetWorld
from liveavatar.types import InputError

from .corpus import Corpus, load_corpus, loudness_values, mel_values, viseme_values

NATURAL = 1.5 * 2.302585            # normalised log-mel to natural logarithms


@dataclass(frozen=True)
class ClipBatch:
    """Clips and all that is known about them."""

    mel: Tensor | None          # (B, M, 64) normalised log-mel of the clips and of the audio encoder's context
    visemes: Tensor             # (B, T, 7) in the order of VISEME_PARAMETERS: the usual shapes of these sounds; what is
                                # drawn begins motion, and in the rich world it is one of many ways to say it
    loudness: Tensor            # (B, T) envelope of the speech, 0..1
    speaking: Tensor            # (B, T) 1 while a sound is spoken
    controls: Tensor            # (B, 4) long, in the order of CONTROLS
    identity: Tensor            # (B, NI) of drawn avatars; zero for photographs
    photo: Tensor               # (B,) bool: a photograph that speaks, not a drawn avatar
    motion: Tensor              # (B, T, NM)
    points: Tensor              # (B, T, P, 2) x, y in pixels, in the order of LANDMARKS
    video: Tensor               # (B, 3, T, H, W) 0..1
    portrait: Tensor | None     # (B, 3, H, W) 0..1, the same person at rest
    displacement: Tensor | None = None      # (B, T, H / S, W / S, 2) across and down in cells of S pixels: where in the
                                            # portrait a place is taken from
    known: Tensor | None = None             # (B, T, H / S, W / S) 0..1, how far it is known: 0 for drawn avatars


class SpeechTable:
    """The utterances of one split, to be cut into clips. Tables stay on the host; the sound goes to the device."""

    def __init__(self, corpus: Corpus, split: str, device: torch.device) -> None:
        chosen = torch.tensor(corpus.utterances(split), dtype=torch.long)
        self.first, self.frames = corpus.starts()[chosen], corpus.frames[chosen]        # video frames of the corpus
        self.corpus = corpus
        self.mel = corpus.mel.to(device)
        self._starts: dict[int, tuple[Tensor, Tensor]] = {}

    def cut(self, batch: int, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Choose where clips lie: first frame (B,), and first and last frame of their utterances (B, 2). Raises
        InputError when no utterance is long enough."""
        if frames not in self._starts:
            room = (self.frames - frames + 1).clamp(min=0)                              # starts in each utterance
            if room.sum() == 0:
                raise InputError(f"no utterance is as long as a clip of {frames} frames; the longest has "
                                 f"{int(self.frames.max()) if len(self.frames) else 0}")
            which = torch.repeat_interleave(torch.arange(len(room)), room)
            inside = torch.arange(len(which)) - (room.cumsum(0) - room)[which]
            self._starts[frames] = self.first[which] + inside, which
        starts, which = self._starts[frames]
        chosen = torch.randint(len(starts), (batch,), generator=generator)
        first = self.first[which[chosen]]
        return starts[chosen], torch.stack([first, first + self.frames[which[chosen]]], 1)

    def labels(self, start: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return visemes (B, T, 7), loudness (B, T) and speaking (B, T)."""
        frame = start[:, None] + torch.arange(frames)
        return (viseme_values(self.corpus.visemes[frame]), loudness_values(self.corpus.loudness[frame]),
                self.corpus.speaking[frame].float())

    def log_mel(self, start: Tensor, ends: Tensor, frames: int) -> Tensor:
        """Return log-mel of the clips and of the audio encoder's context, silence beyond their utterances.

        Arguments on the device.  -> (B, 2 (BEFORE + T + AFTER) + 10, 64)
        """
        before, after = MEL_BEFORE + MEL_PER_FRAME * BEFORE, MEL_AFTER - MEL_PER_FRAME + MEL_PER_FRAME * AFTER
        row = MEL_PER_FRAME * start[:, None] + torch.arange(-before, MEL_PER_FRAME * frames + after,
                                                            device=start.device)
        inside = (row >= MEL_PER_FRAME * ends[:, :1]) & (row < MEL_PER_FRAME * ends[:, 1:])
        stored = self.mel[row.clamp(0, len(self.mel) - 1)]
        return mel_values(torch.where(inside[..., None], stored, 0))                    # a stored 0 is silence


@dataclass(frozen=True)
class World:
    """A source of people and pictures, and its share of the clips: `AvatarWorld` or `PuppetWorld`."""

    source: AvatarWorld | PuppetWorld
    share: float = 1.0

    @property
    def photographs(self) -> bool:
        """Say whether it shows photographs that speak, not drawn avatars."""
        return isinstance(self.source, PuppetWorld)


class Clips:
    """A source of clips: speech of one split, and people of one or more worlds.

    Speech and movements are small: the host makes them while the GPU is busy, and sends them over without waiting. The
    GPU only draws pictures. `generator` (on the host) is where every random number comes from.
    """

    def __init__(self, speech: SpeechTable, worlds: Sequence[World], device: torch.device | str,
                 generator: torch.Generator | None = None, chance: str = "rich") -> None:
        """Keep what clips are drawn from. chance: "plain" or "rich", how much of the movement is left to it (see
        `avatars.motion.talk`)"""
        self.chance = chance
        self.speech, self.worlds, self.device = speech, tuple(worlds), torch.device(device)
        self.size = self.worlds[0].source.size
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self._device_generator = torch.Generator(self.device)

    def draw(self, batch: int, frames: int, generator: torch.Generator | None = None, portrait: bool = False,
             audio: bool = True, still: int = 0, lead: int = 0, cell_px: int = 0) -> ClipBatch:
        """Draw clips of `frames` pictures; `lead` frames of sound and movement come before the pictures.

        portrait and audio say what else to make; the last `still` clips hold a portrait's pose throughout. With
        cell_px the displacement of every cell of so many pixels goes with them.
        """
        generator = self._host_generator(generator)
        T = lead + frames
        start, ends = self.speech.cut(batch, T, generator)
        visemes, loudness, speaking = self.speech.labels(start, T)
        controls = torch.stack([torch.randint(len(choices), (batch,), generator=generator)
                                for choices in CONTROLS.values()], dim=1)
        counts = self._clips_of_worlds(batch, generator)
        photo = torch.repeat_interleave(torch.tensor([world.photographs for world in self.worlds]),
                                        torch.tensor(counts))
        controls[photo, 0] = 0                                      # photographs have no hands
        motion, pose = talk(visemes, loudness, controls, generator, self.chance), portrait_pose(batch, generator)
        if still:
            motion = torch.cat([motion[:batch - still], pose[batch - still:, None].expand(-1, T, -1)])
        visemes, loudness, speaking, controls, motion, pose, photo = map(
            self._send, (visemes, loudness, speaking, controls, motion, pose, photo))
        mel = self.speech.log_mel(self._send(start), self._send(ends), T) if audio else None
        parts = [self._render(world, motion[first:last, lead:], pose[first:last], portrait, generator, cell_px)
                 for world, (first, last) in zip(self.worlds, pairwise(accumulate(counts, initial=0)), strict=True)
                 if last > first]
        identity, video, points, portraits, displacement, known = zip(*parts, strict=True)
        return ClipBatch(mel=mel, visemes=visemes[:, lead:], loudness=loudness[:, lead:], speaking=speaking[:, lead:],
                         controls=controls, identity=join(identity), photo=photo, motion=motion[:, lead:],
                         points=join(points), video=join(video), portrait=join(portraits) if portrait else None,
                         displacement=join(displacement) if cell_px else None, known=join(known) if cell_px else None)

    def _render(self, world: World, motion: Tensor, pose: Tensor, portrait: bool, generator: torch.Generator,
              cell_px: int) -> tuple[Tensor | None, ...]:
        """Render identity (B, NI), zero for photographs; video; points; portraits; displacement, where it is known"""
        source, count = world.source, len(motion)
        cast = source.cast(count, self._on_device(generator))
        video, points = source.film(cast, motion)
        identity = motion.new_zeros(count, len(IDENTITY)) if world.photographs else cast
        portraits = source.portrait(cast, pose) if portrait else None
        if not cell_px:
            return identity, video, points, portraits, None, None
        grid = self.size[0] // cell_px, self.size[1] // cell_px
        if world.photographs:
            return identity, video, points, portraits, *source.displacement(cast, motion, pose, grid)
        nothing = motion.new_zeros(*motion.shape[:2], *grid, 2)
        return identity, video, points, portraits, nothing, nothing[..., 0]

    def _clips_of_worlds(self, batch: int, generator: torch.Generator) -> list[int]:
        """Choose how many clips each world gives: its share, rounded up or down by chance."""
        total = sum(world.share for world in self.worlds)
        counts, left = [], batch
        for world in self.worlds[:-1]:
            wanted = batch * world.share / total
            count = min(left, int(wanted) + int(torch.rand((), generator=generator) < wanted % 1))
            counts.append(count)
            left -= count
        return [*counts, left]

    def noise(self, *shape: int) -> Tensor:
        """Draw Gaussian noise on the device, from a seed that the host's generator gives."""
        return torch.randn(shape, generator=self._on_device(self.generator), device=self.device)

    def _host_generator(self, generator: torch.Generator | None) -> torch.Generator:
        if generator is None:
            return self.generator
        if generator.device.type == "cpu":
            return generator
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        return torch.Generator().manual_seed(int(seed))

    def _on_device(self, generator: torch.Generator) -> torch.Generator:
        """Return a generator on the device, seeded by the host's: nobody waits."""
        return self._device_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))

    def _send(self, values: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)


def join(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors along the batch; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def avatar_clips(corpus: str | Path, split: str, device: torch.device | str, size: tuple[int, int],
                 generator: torch.Generator | None = None, compiled: bool = False, people: int = PEOPLE,
                 world: str = "rich") -> Clips:
    """Return clips of drawn avatars alone, of the "plain" or the "rich" world."""
    source = AvatarWorld.of_split(split, size, device, compiled, people, world=world)
    speech = SpeechTable(load_corpus(corpus), split, torch.device(device))
    return Clips(speech, [World(source)], device, generator, world)


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
