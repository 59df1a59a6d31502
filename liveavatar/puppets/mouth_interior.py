"""Paint what an open mouth shows: teeth, tongue and throat, different for every person."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liveavatar.puppets.rig import smoothstep

DARK, RED, TONGUE, TEETH = (0.18, 0.055, 0.06), (0.46, 0.19, 0.19), (0.66, 0.33, 0.34), (0.89, 0.84, 0.78)
TOOTH_WIDTHS = (0.20, 0.165, 0.17, 0.15, 0.13)     # from the middle outwards, half mouth widths


class Mouths(NamedTuple):
    """Hold what chance decides about the insides of B mouths, (B,) each."""

    length: Tensor       # of the upper teeth, mouth widths
    lower: Tensor        # strength of the lower teeth, 0..1
    width: Tensor        # of a tooth, 1 is usual
    parting: Tensor      # strength of the lines between teeth
    gap: Tensor          # between the two front teeth, half mouth widths
    tint: Tensor         # 0 white, 1 yellowish
    bright: Tensor       # of the teeth, 1 is usual
    tongue: Tensor       # how far the tongue fills the mouth, 0..1

    @classmethod
    def draw(cls, count: int, generator: torch.Generator | None, device: torch.device | str) -> Mouths:
        def between(low: float, high: float) -> Tensor:
            source = generator.device if generator is not None else device
            return (low + (high - low) * torch.rand(count, generator=generator, device=source)).to(device)

        gapped = (between(0, 1) < 0.15).float()
        return cls(between(0.07, 0.16), between(0.1, 0.9), between(0.85, 1.2), between(0.05, 0.3),
                   gapped * between(0.02, 0.07), between(0, 1), between(0.75, 1.05), between(0, 1))


def paint_interior(mouths: Mouths, across: Tensor, below: Tensor, above: Tensor, light: Tensor, teeth: Tensor,
                   tongue: Tensor) -> Tensor:
    """Paint the insides of B mouths in T pictures each.

    across (B, T, H, W) right of the middle, half mouth widths; below and above (B, T, H, W) how far under the upper and
    over the lower lip, mouth widths; light (B,) brightness of the face; teeth, tongue (B, T) traits of the motion
    ->  (B, T, 3, H, W) 0..1
    """
    def wide(value: Tensor) -> Tensor:
        return value.view(len(value), -1, 1, 1)

    def three(values: tuple[float, float, float]) -> Tensor:
        return across.new_tensor(values)[:, None, None]

    below, above = below.clamp(min=0), above.clamp(min=0)
    opening = (below + above).clamp(min=1e-4)
    lit = wide((light / 0.53).clamp(0.35, 1.25))

    def colour(values: tuple[float, float, float]) -> Tensor:
        return three(values) * lit[:, :, None]

    def lay(paper: Tensor, ink: Tensor, alpha: Tensor) -> Tensor:
        return torch.lerp(paper, ink, alpha[:, :, None].clamp(0, 1))

    deep = smoothstep(0.25, 1.0, below / opening) * torch.exp(-(across / 0.75) ** 2)
    picture = lay(colour(DARK) + 0 * across[:, :, None], colour(RED), 0.55 * deep)
    raised = 0.5 * wide(tongue) + 0.5 * wide(mouths.tongue)
    start = 0.70 - 0.30 * raised
    body = torch.exp(-(across.abs() / 0.58) ** 4) * smoothstep(0, 1, (below / opening - start) / 0.25)
    picture = lay(picture, colour(TONGUE), 0.8 * body * smoothstep(0.06, 0.24, opening + 0.1 * wide(tongue)))

    enamel = three(TEETH) - three((0.0, 0.03, 0.11)) * wide(mouths.tint)[:, :, None]
    enamel = enamel * ((0.25 + 0.75 * lit) * wide(mouths.bright)).clamp(max=1)[:, :, None]
    lines = 1 - wide(mouths.parting) * partings(across / wide(mouths.width), wide(mouths.gap))
    round_off = (1 - (across / 0.93) ** 2).clamp(min=0).sqrt()
    length = wide(mouths.length) * (0.45 + 0.55 * wide(teeth)) * round_off
    shade = (0.72 + 0.28 * smoothstep(0.0, 0.07, below)) * (1 - 0.45 * across.abs().clamp(max=1) ** 1.8) * lines
    shown = (1 - smoothstep(-0.012, 0.012, below - length)) * (across.abs() < 0.93)
    shown = shown * (0.4 + 0.6 * wide(teeth)) * (1 - 0.9 * partings(across, wide(mouths.gap), only_gap=True))
    low = (1 - smoothstep(0.04, 0.065, above)) * torch.exp(-(across / 0.62) ** 4) * smoothstep(0.14, 0.32, opening)
    picture = lay(picture, 0.75 * enamel * lines[:, :, None], 0.8 * low * wide(mouths.lower))
    picture = lay(picture, enamel * shade[:, :, None], shown)
    return picture * (0.55 + 0.45 * smoothstep(0.0, 0.05, torch.minimum(below, above) + 0.01))[:, :, None]


def partings(across: Tensor, gap: Tensor, only_gap: bool = False) -> Tensor:
    """Return 1 on the lines between teeth, 0 on the teeth; the line in the middle is as wide as the gap."""
    x = across.abs()
    middle = torch.exp(-(x / (0.012 + 0.5 * gap)) ** 2)
    if only_gap:
        return middle * (gap > 0)
    lines, edge = middle, 0.5 * gap
    for width in TOOTH_WIDTHS:
        edge = edge + width
        lines = torch.maximum(lines, torch.exp(-((x - edge) / 0.012) ** 2))
    return lines
