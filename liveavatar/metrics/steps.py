"""What each denoising step does to the picture: how much it changes, how much is left, how sharp it is by then.

    decoded guesses of S steps + portrait --step_effects--> StepEffect of each
                                          --change_map----> where it changed, (T, H, W) 0..1
    effects                               --describe------> the same in plain sentences

Differences are root mean squares over all pixels and colours: 0 is equal, 1 is black against white. The portrait is
what was known before the first step, so the way from it to the finished picture is what the steps have to go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from liveavatar.metrics.texture import DETAIL_PX, detail, luminance
from liveavatar.types import InputError

Box = tuple[slice, slice]    # rows and columns of a picture

NEARLY = 0.9             # share of the way after which little is left
HARDLY = 0.005           # a change below half a percent cannot be seen on a screen
NOTABLE = 0.05           # share of a change at one place that is worth a word
MOUTH_MOVED = 0.02       # change of its opening that is worth a word
SHARPER = 0.03           # change of the detail, against the portrait's, that is worth a word
BROAD = 0.15             # share of fine detail below which a change is mostly light, colour and large shapes
REACHES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)      # ends of a scale of differences
BRIGHTEST = 98.0         # percent of the pixels that lie within the scale


@dataclass(frozen=True)
class StepEffect:
    """Hold what one step did to the guess of a block. NaN: not known."""

    index: int
    change: float            # difference from the guess before; of step 0 from the portrait. 0..1
    left: float              # difference from the finished picture, 0..1; NaN before the last step is made
    done: float              # share of the way from the portrait to the finished picture; below 0 if it leads away
    detail: float            # root mean square of what is finer than 1 px at 128 px; more is sharper. 0..1
    detail_kept: float       # the same against the portrait's; 1 is as sharp
    mouth: float = math.nan      # mean opening of the mouth, 0 closed, 1 wide open
    at_mouth: float = math.nan   # share of the (squared) change that lies around the mouth, 0..1
    at_face: float = math.nan    # share of it that lies in the face, from the brows to the chin
    fine: float = math.nan       # share of it, in luminance, that is finer than 1 px at 128 px


def step_effects(guesses: Sequence[np.ndarray], portrait: np.ndarray | None = None, *,
                 sharp: np.ndarray | None = None, finished: bool = True, mouths: Sequence[float] = (),
                 mouth_box: Box | None = None, face_box: Box | None = None) -> tuple[StepEffect, ...]:
    """Measure what each step did.

    guesses     decoded guesses after each step, (T, H, W, 3) uint8 each, all of one shape
    portrait    (H, W, 3) uint8 at the size of the video, as the model was shown it; None where it was not, or is not
                known
    sharp       (H, W, 3) uint8, the picture whose detail counts as 100 %; left out: the portrait
    finished    whether the last guess is that of the last step, the finished picture
    mouths      opening of the mouth in each guess, 0..1, where it was read
    mouth_box   rows and columns around the mouth, where it was found
    face_box    rows and columns of the face, where one was found

    Raises InputError if the pictures differ in shape.
    """
    check_shapes(guesses, portrait)
    last = guesses[-1] if finished and guesses else None
    way = math.nan if portrait is None or last is None else difference(portrait, last)
    whole = portrait if sharp is None else sharp
    most = math.nan if whole is None else fine_detail(whole[None])
    effects = []
    for index, guess in enumerate(guesses):
        before = guesses[index - 1] if index else portrait
        left = math.nan if last is None else difference(guess, last)
        fine = fine_detail(guess)
        effects.append(StepEffect(
            index, math.nan if before is None else difference(guess, before), left,
            1 - left / way if way > 0 else math.nan, fine, fine / most if most > 0 else math.nan,
            mouths[index] if index < len(mouths) else math.nan,
            math.nan if before is None or mouth_box is None else share_within(guess, before, mouth_box),
            math.nan if before is None or face_box is None else share_within(guess, before, face_box),
            math.nan if before is None else fine_share(guess, before)))
    return tuple(effects)


def check_shapes(guesses: Sequence[np.ndarray], portrait: np.ndarray | None) -> None:
    """Raise InputError unless all guesses have one shape (T, H, W, 3) and the portrait fits them."""
    shapes = {guess.shape for guess in guesses}
    if len(shapes) > 1:
        raise InputError(f"the guesses have shapes {sorted(shapes)}; compare steps of one block")
    if guesses and portrait is not None and portrait.shape != guesses[0].shape[1:]:
        raise InputError(f"the portrait is {portrait.shape[1]}*{portrait.shape[0]} px, the guesses "
                         f"{guesses[0].shape[2]}*{guesses[0].shape[1]}; fit it with fit_portrait(portrait, size)")


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return root mean square difference of uint8 pictures that broadcast: 0 equal, 1 black against white."""
    return math.sqrt(np.square(one.astype(np.float32) - other).mean(dtype=np.float64)) / 255


def change_map(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return root mean square difference of each pixel over its colours: (..., H, W, 3) uint8 twice -> (..., H, W) 0..1
    """
    return np.sqrt(np.square(one.astype(np.float32) - other).mean(-1)) / 255


def common_reach(maps: Sequence[np.ndarray]) -> float:
    """End of one scale, 0..1, on which all maps can be compared: the brightest of them just fits."""
    most = max((float(np.percentile(one, BRIGHTEST)) for one in maps), default=0.0)
    return next(reach for reach in REACHES if reach >= most or reach == 1)


def fine_detail(pictures: np.ndarray) -> float:
    """Return root mean square of luminance that a Gaussian of 1 px at 128 px takes away: (T, H, W, 3) uint8 -> 0..1"""
    return finer(as_planes(pictures)).square().mean().sqrt().item()


def fine_share(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of the squared difference in luminance that is finer than 1 px at 128 px, 0..1; NaN where the
    pictures, uint8 and of shapes that broadcast to (T, H, W, 3), are equal."""
    planes = as_planes(one.astype(np.float32) - other)
    total = luminance(planes).square().mean().item()
    return finer(planes).square().mean().item() / total if total > 0 else math.nan


def as_planes(pictures: np.ndarray) -> Tensor:
    """Turn pictures of 0..255 into planes of 0..1: (T, H, W, 3) -> (T, 3, H, W)"""
    return torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2) / 255


def finer(planes: Tensor) -> Tensor:
    """Return luminance without what is left after a Gaussian of 1 px at 128 px: (T, 3, H, W) -> (T, H, W)"""
    return detail(planes, DETAIL_PX * min(planes.shape[-2:]) / 128)


def share_within(one: np.ndarray, other: np.ndarray, box: Box) -> float:
    """Return the share of the squared change inside rows and columns, 0..1; NaN where nothing changed."""
    squares = np.square(change_map(one, other))
    total = float(squares.sum())
    return float(squares[..., box[0], box[1]].sum()) / total if total > 0 else math.nan


# ---------------------------------------------------------------------------------------------- in words
def describe(effects: Sequence[StepEffect]) -> tuple[str, tuple[str, ...]]:
    """Write a headline, and one sentence for each step."""
    return headline(effects), tuple(sentence(effects, index) for index in range(len(effects)))


def headline(effects: Sequence[StepEffect]) -> str:
    """Return how far the guess is after each step, in one sentence."""
    if not effects:
        return "No step is made yet."
    last = effects[-1].index
    if math.isnan(effects[-1].left):
        does = phrase(effects, last)
        joint = " " if does.startswith("changed") else ": "
        return (f"Step {last}{joint}{does}. How far the guess is from the finished picture is known after the last "
                "step.")
    if last == 0:
        return "One step makes the whole picture."
    if math.isnan(effects[0].done):
        return without_portrait(effects)
    ends = f"step {last} finishes it."
    if last > 5:
        near = next((effect.index for effect in effects[1:-1] if effect.done >= NEARLY), last - 1)
        return f"{first_words(effects[0])}; step {near} brings it to {percent(effects[near].done)}, and {ends}"
    between = ", ".join(f"step {effect.index} brings it to {percent(effect.done)}" for effect in effects[1:-1])
    return f"{first_words(effects[0])}; " + (f"{between}, and {ends}" if between else ends)


def first_words(first: StepEffect) -> str:
    """Return how far step 0 alone comes."""
    if first.done <= 0:
        return "After step 0 the guess is further from the finished picture than the portrait was"
    return f"The guess is {percent(first.done)} done after step 0"


def without_portrait(effects: Sequence[StepEffect]) -> str:
    """Return how far each guess is from the finished picture, where no portrait says how long the way is."""
    shown = effects[:-1] if len(effects) <= 6 else (effects[0], effects[-2])
    far = ", ".join(f"{percent(effect.left)} after step {effect.index}" for effect in shown)
    return f"The guess differs from the finished picture by {far}; step {effects[-1].index} finishes it."


def sentence(effects: Sequence[StepEffect], index: int) -> str:
    """Return what one step did, in plain words."""
    words = phrase(effects, index)
    return words[0].upper() + words[1:] + "."


def phrase(effects: Sequence[StepEffect], index: int) -> str:
    """Return the same as the rest of a sentence."""
    effect, before = effects[index], effects[index - 1] if index else None
    parts = [where_to(effect, before)]
    if effect.change >= HARDLY:
        parts += filter(None, [kind_of_change(effect)])
    if before is not None and abs(effect.detail_kept - before.detail_kept) >= SHARPER:
        parts.append("it gets " + ("sharper" if effect.detail_kept > before.detail_kept else "softer"))
    moved = math.nan if before is None else effect.mouth - before.mouth
    if abs(moved) >= MOUTH_MOVED:
        parts.append(f"the mouth {'opens' if moved > 0 else 'closes'} from {before.mouth:.2f} to {effect.mouth:.2f}")
    elif before is None and not math.isnan(effect.mouth):
        parts.append("the mouth is " + ("closed" if effect.mouth < MOUTH_MOVED else f"{effect.mouth:.2f} open"))
    return "; ".join(parts)


def kind_of_change(effect: StepEffect) -> str:
    """Tell large shapes from detail, and how much is in the face and around the mouth; "" where nothing is known."""
    broad = effect.fine < BROAD                                                            # not where it is NaN
    shares = [(effect.fine, "is fine detail"), (effect.at_face, "in the face"), (effect.at_mouth, "around the mouth")]
    known = [f"{percent(share)} {what}" for share, what in shares[broad:] if share >= NOTABLE]
    if broad:
        return ", ".join(["mostly light, colour and large shapes", *known])
    return f"of this change {', '.join(known)}" if known else ""


def where_to(effect: StepEffect, before: StepEffect | None) -> str:
    """Return how far a step went, as far as it is known."""
    if math.isnan(effect.change):
        return "the first guess, without a portrait to compare it with"
    if effect.change < HARDLY:
        return "changed hardly anything"
    if math.isnan(effect.done):
        return f"changed {percent(effect.change)}" + (" against the portrait" if before is None else "")
    gain = effect.done - (0.0 if before is None else before.done)
    if abs(gain) < HARDLY:
        return "came no nearer to the finished picture"
    if gain < 0:
        return f"went {percent(-gain)} of the way back"
    return f"went {percent(gain)} of the way" if before is None else f"went another {percent(gain)}"


def percent(share: float) -> str:
    """Return a share as people write it: one digit after the point below 10 %."""
    return f"{100 * share:.1f} %" if abs(share) < 0.0995 else f"{100 * share:.0f} %"
