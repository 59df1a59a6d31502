"""The world of drawn avatars: people and the pictures of how they move. Its truth is known to the last number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from liveavatar.avatars.landmarks import landmarks
from liveavatar.avatars.renderer import compiled_renderer, render
from liveavatar.avatars.rich.movements import shifted
from liveavatar.avatars.sampling import random_identities

PEOPLE = 32768                      # drawn once; every clip takes one of them
PEOPLE_SEED = {"train": 101, "held": 202}
SHUTTER = 0.5                       # share of a frame's time in which a camera's shutter is open
PICTURES_AT_ONCE = {"cuda": 256, "cpu": 8}

Renderer = Callable[[Tensor, Tensor], Tensor]   # identity (N, NI), motion (N, NM) -> (N, 3, H, W)


@dataclass(frozen=True)
class AvatarWorld:
    """Drawn avatars of one split ("train" or "held": other people).

    With more than one of `subframes` every video frame is the mean of so many pictures within the shutter's time, as a
    camera blurs what moves; it costs as many times the drawing. Points are those of the middle of that time.
    """

    identities: Tensor               # (people, NI)
    size: tuple[int, int]            # (height, width)
    renderer: Renderer
    same_count: bool                 # a compiled renderer wants the same number of pictures every time
    subframes: int = 1

    @classmethod
    def of_split(cls, split: str, size: tuple[int, int], device: torch.device | str = "cpu", compiled: bool = False,
                 people: int = PEOPLE, renderer: Renderer | None = None, world: str = "rich",
                 subframes: int = 1) -> AvatarWorld:
        identities = random_identities(people, torch.Generator().manual_seed(PEOPLE_SEED[split]), world=world)
        drawn_by = renderer or (compiled_renderer(size, world) if compiled else partial(render, size=size))
        return cls(identities.to(device), size, drawn_by, compiled, subframes)

    def cast(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Choose people. -> identity (B, NI)"""
        device = generator.device if generator is not None else self.identities.device
        chosen = torch.randint(len(self.identities), (count,), generator=generator, device=device)
        return self.identities[chosen.to(self.identities.device)]

    @torch.no_grad()
    def film(self, cast: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Draw clips. motion (B, T, NM)  ->  video (B, 3, T, H, W) 0..1, points (B, T, len(LANDMARKS), 2) px"""
        B, T, _ = motion.shape
        late = [SHUTTER * (0.5 - (place + 0.5) / self.subframes) for place in range(self.subframes)]
        moments = [motion if frames == 0 else shifted(motion, motion.new_full((B, T), frames)) for frames in late]
        pictures = sum(self._pictures(cast.repeat(T, 1), moves.transpose(0, 1).flatten(0, 1))   # time outermost
                       for moves in moments) / self.subframes
        points = landmarks(cast.repeat_interleave(T, 0), motion.flatten(0, 1), self.size).unflatten(0, (B, T))
        return pictures.unflatten(0, (T, B)).permute(1, 2, 0, 3, 4), points

    @torch.no_grad()
    def portrait(self, cast: Tensor, pose: Tensor) -> Tensor:
        """Draw portraits. pose (B, NM)  ->  (B, 3, H, W)"""
        return self._pictures(cast, pose)

    def _pictures(self, identity: Tensor, motion: Tensor) -> Tensor:
        """Map identity (N, NI), motion (N, NM)  ->  (N, 3, H, W)"""
        drawn, at_once = [], PICTURES_AT_ONCE[motion.device.type]
        for at in range(0, len(motion), at_once):
            who, how = identity[at:at + at_once].contiguous(), motion[at:at + at_once].contiguous()
            count = len(who)
            if self.same_count and count < at_once:
                who = torch.cat([who, who[:1].expand(at_once - count, -1)])
                how = torch.cat([how, how[:1].expand(at_once - count, -1)])
            drawn.append(self.renderer(who, how)[:count])
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)
