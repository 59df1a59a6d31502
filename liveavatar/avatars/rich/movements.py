"""Movements at random times, each with the speed profile of a person's: minimum jerk.

A point-to-point movement of a person makes the integral of squared jerk least: with t = 0..1 from start to end the
share of the way is 10 t^3 - 15 t^4 + 6 t^5 (Flash, Hogan 1985, J. Neurosci. 5:1688). A movement that begins before the
last one ended is added to it (Flash, Henis 1991, J. Cogn. Neurosci. 3:220), so that positions stay smooth.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..sampling import Dice

FPS = 25


class Movements(NamedTuple):
    """Describe when K movements of each of B people begin and how far each has come in T video frames."""

    start_s: Tensor         # (B, K) seconds from the first frame; some begin before it
    duration_s: Tensor      # (B, K)
    share: Tensor           # (B, K, T) 0 before a movement, 1 after it


def minimum_jerk(time: Tensor) -> Tensor:
    """Return the share of the way at times 0..1; 0 before, 1 after."""
    time = time.clamp(0, 1)
    return time ** 3 * (10 - 15 * time + 6 * time * time)


def shares(start_s: Tensor, duration_s: Tensor, T: int) -> Tensor:
    """Map start_s, duration_s (B, K)  ->  (B, K, T) how far each movement has come in each frame."""
    now_s = torch.arange(T, device=start_s.device) / FPS
    return minimum_jerk((now_s - start_s[..., None]) / duration_s[..., None])


def movements(dice: Dice, T: int, every_s: float, duration_s: tuple[float, float], pace: Tensor,
              least_s: float | None = None) -> Movements:
    """Draw movements for T frames, one every `every_s` / pace seconds on average.

    pace (B, 1) is about 0.5..1.5; after a movement begins, at least `least_s` / pace pass (default: its mean duration)
    before the next one, and then a time without memory (exponential).
    """
    least_s = sum(duration_s) / 2 if least_s is None else least_s
    lead_s = 2 * every_s + 1.0                          # they began long before the first frame
    count = int(2.0 * (T / FPS + lead_s) / every_s) + 4
    waits = least_s - (every_s - least_s) * torch.log(1 - 0.999 * dice.uniform(count))
    start = (waits / pace).cumsum(1) - lead_s
    duration = duration_s[0] + (duration_s[1] - duration_s[0]) * dice.uniform(count)
    return Movements(start, duration, shares(start, duration, T))


def visited(moves: Movements, targets: Tensor) -> Tensor:
    """Go to one target after the other. targets (B, K, C)  ->  (B, T, C)

    Before the first movement it is at the last of the targets: nothing is special about the beginning.
    """
    before = torch.cat([targets[:, -1:], targets[:, :-1]], 1)
    return targets[:, -1:] + torch.einsum("bkc,bkt->btc", targets - before, moves.share)


def pulses(moves: Movements, heights: Tensor, hold_s: Tensor) -> Tensor:
    """Go somewhere and come back. heights (B, K), hold_s (B, K) seconds at the far end  ->  (B, T)"""
    back = shares(moves.start_s + moves.duration_s + hold_s, 1.2 * moves.duration_s, moves.share.shape[-1])
    return torch.einsum("bk,bkt->bt", heights, moves.share - back)


def at_start(curve: Tensor, moves: Movements) -> Tensor:
    """Read a curve (B, T) at the moments when movements begin. -> (B, K)"""
    frame = (moves.start_s * FPS).round().long().clamp(0, curve.shape[1] - 1)
    return curve.gather(1, frame)


def kept(targets: Tensor, moved: Tensor) -> Tensor:
    """Keep the target before, where `moved` (B, K) is False. targets (B, K, C)  ->  (B, K, C)"""
    place = torch.arange(targets.shape[1], device=targets.device).expand_as(moved)
    last = torch.where(moved, place, 0).cummax(1).values
    return targets.gather(1, last[..., None].expand_as(targets))


def shifted(curves: Tensor, late: Tensor) -> Tensor:
    """Read curves (B, T, C) `late` (B, T) frames earlier, between frames linearly; the ends are held."""
    T = curves.shape[1]
    place = (torch.arange(T, device=curves.device) - late).clamp(0, T - 1)
    first = place.floor().long().clamp(max=max(T - 2, 0))
    share = (place - first)[..., None]

    def at(frame: Tensor) -> Tensor:
        return curves.gather(1, frame[..., None].expand_as(curves))

    return at(first) * (1 - share) + at((first + 1).clamp(max=T - 1)) * share
