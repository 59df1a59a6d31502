"""Edits of the latents that enter a denoising step: a channel scaled, a region replaced, or any function.

    run.branch(2, 1, latent=ScaleChannel(3, 0.0))
    run.branch(2, 1, latent=ReplaceRegion((0.3, 0.5, 0.7, 0.8)))               # by noise
    run.branch(2, 1, latent=ReplaceRegion((0.3, 0.5, 0.7, 0.8), by=other))     # by the latents of another run
    run.branch(2, 1, latent=lambda x: x.flip(-1))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.config import check_whole
from liveavatar.rollout import block_generator
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.runs.record import RunRecord

Edit = Callable[[Tensor], Tensor]
NOISE = "noise"


@dataclass(frozen=True)
class EditPlace:
    """Describe where an edit happens: the step that the latents enter, and the seed of random draws there."""

    block: int
    step: int
    seed: int


@dataclass(frozen=True)
class ScaleChannel:
    """Multiply one channel of the latents by a factor: 0 removes it."""

    channel: int
    factor: float

    def apply(self, x: Tensor, place: EditPlace) -> Tensor:
        """Edit latents x (1, C, F, h, w). Raises InputError for a channel that is not there."""
        check_whole("channel", self.channel, 0, x.shape[1] - 1, "the channels of these latents")
        edited = x.clone()
        edited[:, self.channel] *= self.factor
        return edited


@dataclass(frozen=True)
class ReplaceRegion:
    """Replace a region by noise of unit variance, or by what another run's latents were at the same step.

    box: left, top, right, bottom as shares of the picture, 0..1; by: "noise" or a Run
    """

    box: tuple[float, float, float, float]
    by: str | RunRecord = NOISE

    def __post_init__(self) -> None:
        """Refuse a box that is none."""
        try:
            left, top, right, bottom = (float(side) for side in self.box)
        except (TypeError, ValueError):
            left = top = right = bottom = 0.0
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(f"box is {self.box!r}; give left, top, right, bottom as shares of the picture from 0 to "
                             "1, for example (0.3, 0.5, 0.7, 0.8)")
        if isinstance(self.by, str) and self.by != NOISE:
            raise InputError(f'by is {self.by!r}; give by="noise", or another run')

    def __repr__(self) -> str:
        return f"ReplaceRegion({tuple(self.box)!r}" + (")" if self.by == NOISE else ", by=other)")

    def apply(self, x: Tensor, place: EditPlace) -> Tensor:
        """Edit latents x (1, C, F, h, w). Raises InputError where the other run has no such step."""
        if isinstance(self.by, str):
            generator = block_generator(place.seed, f"{place.block} edit {place.step}")
            other = torch.randn(x.shape, generator=generator)
        else:
            other = latents_before(self.by, place.block, place.step).float()
        if other.shape != x.shape:
            raise InputError(f"the other run has latents {tuple(other.shape)}, this one {tuple(x.shape)}; both must "
                             "have the same size")
        height, width = x.shape[-2:]
        left, top, right, bottom = self.box
        rows, columns = slice(floor(top * height), ceil(bottom * height)), slice(floor(left * width),
                                                                                 ceil(right * width))
        edited = x.clone()
        edited[..., rows, columns] = other[..., rows, columns]
        return edited


def latents_before(run: RunRecord, block: int, step: int) -> Tensor:
    """Return the latents (1, C, F, h, w) with which a run entered a step. Raises InputError where it is not known."""
    if step > 0:
        return run.step_record(block, step - 1).x
    first = run.step_record(block, 0)
    if first.velocity is None:
        raise InputError("that run was kept without velocities, so the noise of its step 0 is not known; choose a "
                         "later step")
    return first.clean + first.sigma * first.velocity


def edited(edit: Edit | ScaleChannel | ReplaceRegion, x: Tensor, place: EditPlace) -> Tensor:
    """Apply an edit to latents x (1, C, F, h, w) in float32 and return them in the dtype of x.

    Raises InputError for what is no edit and for latents that cannot be used.
    """
    if isinstance(edit, ScaleChannel | ReplaceRegion):
        result = edit.apply(x.float(), place)
    elif callable(edit):
        result = edit(x.float().clone())
    else:
        raise InputError(f"latent is {edit!r}; give a function of a tensor, ScaleChannel(3, 0.0) or "
                         "ReplaceRegion((0.3, 0.5, 0.7, 0.8))")
    if not isinstance(result, Tensor) or result.shape != x.shape:
        came = f"a tensor {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise InputError(f"the edit returned {came}; it must return a tensor {tuple(x.shape)}")
    result = result.detach().to("cpu", x.dtype)
    if not isfinite(result.float().abs().max().item()):
        raise InputError("the edit returned numbers that are not finite; latents have a variance of about 1")
    return result


def name_of_edit(edit: object) -> str:
    """Name an edit as Python: a ready edit as it is made, a function by its name."""
    if isinstance(edit, ScaleChannel | ReplaceRegion):
        return repr(edit)
    name = getattr(edit, "__name__", "edit")
    return name if name.isidentifier() else "edit"
