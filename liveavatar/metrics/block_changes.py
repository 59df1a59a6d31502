"""The decoded predictions of one block after each of its steps, and what the steps changed.

    run, block  --changes_of-->  BlockChanges: pictures, differences on one scale, effects as numbers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveavatar.metrics.regressor import CROP_PX, SIDE_PX
from liveavatar.metrics.steps import Box, StepEffect, change_map, common_reach, step_effects
from liveavatar.metrics.texture import sample_places
from liveavatar.preview import heat, on_scale, to_bytes
from liveavatar.strength import blur_portrait, blur_px

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.runs.run import Run

READ_FRAMES = 3                    # of each guess, whose mouths are read


@dataclass(frozen=True)
class BlockChanges:
    """The decoded guesses of one block after each of its steps, and what the steps did."""

    block: int
    guesses: tuple[np.ndarray, ...]      # (T, H, W, 3) uint8 each
    portrait: np.ndarray | None          # (H, W, 3) uint8 as the model was shown it; None: it was not, or not known
    finished: bool                       # the last guess is that of the last step
    effects: tuple[StepEffect, ...]
    reach: float                         # end of the scale of all differences that are drawn, 0..1
    others: tuple[np.ndarray | None, ...] = ()      # guesses of another run at the same steps, where they are compared
    face: Box | None = None              # rows and columns of the face in the newest guess, where one is found

    def before(self, step: int) -> np.ndarray | None:
        """Return what a step began from: the guess before, or the portrait."""
        return self.guesses[step - 1] if step else self.portrait

    def change(self, step: int, against: str = "before") -> np.ndarray | None:
        """Return where a step changed the picture: (T, H, W) 0..1; None if not known.

        against: "before" (the guess before), "finished" (what is left to do), "other" (the same step of another run)
        """
        if against == "other":
            other = self.others[step] if step < len(self.others) else None
        else:
            other = self.before(step) if against == "before" else self.guesses[-1] if self.finished else None
        return None if other is None else change_map(self.guesses[step], other)

    def overlay(self, step: int, against: str = "before", on_face: bool = True) -> np.ndarray | None:
        """Return a step's differences as colours, (T, H, W, 3) uint8, over its guess or on black."""
        changes = self.change(step, against)
        return None if changes is None else heat(on_scale(changes, self.reach), self.guesses[step] if on_face else None)


def changes_of(run: Run, block: int, made: int, other: Run | None = None) -> BlockChanges:
    """Decode a block's guesses after its first `made` steps and measure what the steps did.

    other: a run whose guesses at the same steps are decoded as well, where they are of the same size
    """
    guesses = tuple(run.step_frames.decode(block, step) for step in range(made))
    whole = run.step_frames.portrait(guesses[0].shape[1:3])
    portrait = portrait_as_seen(whole, run.info.config.get("portrait_strength", 1.0))
    finished = made == run.info.steps
    face = find_face_box(guesses[-1])
    mouths, mouth = read_mouths(run, guesses, face)
    effects = step_effects(guesses, portrait, sharp=whole, finished=finished, mouths=mouths, mouth_box=mouth,
                           face_box=face)
    pairs = zip(guesses, (portrait, *guesses), strict=False)
    others = () if other is None else tuple(guess_of(other, block, step, guesses[step].shape) for step in range(made))
    compared = [*pairs, *zip(guesses, others, strict=False)]
    reach = common_reach([change_map(guess, before) for guess, before in compared if before is not None])
    return BlockChanges(block, guesses, portrait, finished, effects, reach, others, face)


def guess_of(run: Run, block: int, step: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """Decode a guess of a run; None where it has no such step or its pictures have another shape (T, H, W, 3)."""
    if (block, step) not in run.recorded_steps or not run.decodes:
        return None
    guess = run.step_frames.decode(block, step)
    return guess if guess.shape == shape else None


def portrait_as_seen(portrait: np.ndarray | None, strength: float) -> np.ndarray | None:
    """Return a portrait (H, W, 3) uint8 as the model was shown it at a strength 0..1: None at 0, blurred below 1."""
    if portrait is None or strength == 0:
        return None
    if strength == 1:
        return portrait
    pixels = torch.from_numpy(portrait).permute(2, 0, 1)[None] / 255
    return to_bytes(blur_portrait(pixels, blur_px(strength))[0].permute(1, 2, 0).numpy())


def find_face_box(guess: np.ndarray) -> Box | None:
    """Return rows and columns of the largest face, from the brows to the chin, in the middle one of pictures
    (T, H, W, 3); None where there is no face."""
    from liveavatar.faces import detect_faces

    size = guess.shape[1:3]
    faces = detect_faces(torch.from_numpy(guess[len(guess) // 2]), search=False, verify=False)
    if not faces:
        return None
    left, top, right, bottom = max(faces, key=lambda face: face.size_px).box
    rows, columns = [slice(max(round(low), 0), min(round(high), longest))
                     for low, high, longest in ((top, bottom, size[0]), (left, right, size[1]))]
    return rows, columns


def read_mouths(run: Run, guesses: Sequence[np.ndarray], face: Box | None) -> tuple[list[float], Box | None]:
    """Measure the opening of the mouth in each guess, and rows and columns around it.

    A rendered face is read by the regressor, that of a photograph by its landmarks where a face was found; nothing is
    read where that is none, nor where it is not known whose face it is.
    """
    if run.portrait is None:
        return [], None
    frames = torch.from_numpy(np.stack(
        [guess[place] for guess in guesses for place in sample_places(len(guess), READ_FRAMES).tolist()]))
    size = guesses[0].shape[1:3]
    if run.shows_photograph:
        return ([], None) if face is None else read_photo_mouths(frames, len(guesses), size)
    from liveavatar.metrics.reader import read_face

    reading = read_face(frames)
    opening = reading.motion[:, 0].clamp(min=0).reshape(len(guesses), -1).mean(1)      # read to either side of 0
    place = reading.place[:, :2].reshape(len(guesses), -1, 2)[-1].mean(0)        # of the finished picture
    return opening.tolist(), mouth_box(size, *place.tolist())


def read_photo_mouths(frames: Tensor, guesses: int, size: tuple[int, int]) -> tuple[list[float], Box | None]:
    """Read the same off pictures (guesses * K, H, W, 3) of a real face; nothing where a guess shows none."""
    from liveavatar.faces import read_faces
    from liveavatar.metrics.reader import LIPS, photo_mouth

    track = read_faces(frames, mode="each")
    opening = photo_mouth(track).reshape(guesses, -1).nanmean(1)
    middle = track.points[:, LIPS, :2].mean(1).reshape(guesses, -1, 2)[-1].nanmean(0)                    # px
    if opening.isnan().any() or middle.isnan().any():
        return [], None
    across, down = ((2 * middle - torch.tensor(size).flip(0)) / min(size)).tolist()
    return opening.tolist(), mouth_box(size, across, down)


def mouth_box(size: tuple[int, int], across: float, down: float) -> Box:
    """Return rows and columns of the square around a mouth at one place, -1..1, in pictures of a size (height, width).
    """
    square = min(size)
    side = round(square * CROP_PX / SIDE_PX)
    top, left = (round((long + square * place - side) / 2) for long, place in zip(size, (down, across), strict=True))
    top, left = (min(max(start, 0), long - side) for long, start in zip(size, (top, left), strict=True))
    return slice(top, top + side), slice(left, left + side)
