"""What is possible: each step's guess beside true renderings of the same person, sound and wishes by other chance.

    run of a drawn avatar --what_is_possible--> Possible: distances of each step, pictures
    Possible              --describe----------> the same in one sentence

Sound, portrait and prompt leave something open: turns of the head, blinks, gestures, how wide the mouth opens. A
renderer can draw it again and again. Before the first step all N renderings are equally possible, and their mean is
what a network that minimises squared error would answer. A step that begins at noise level sigma has seen
x = (1 - sigma) c + sigma n of some clean latents c; so a rendering with latents c_k has the weight

    w_k ~ exp(-|x - (1 - sigma) c_k|^2 / (2 sigma^2))

and sum w_k c_k is E[c | x], exactly, if the N renderings were all there is. `remaining`, 1 / sum w_k^2, says how many
of them are still possible. Latents have many numbers: as soon as more is decided than N draws can tell apart, one
rendering is left, and the expected video is the nearest one. Renderings are drawn one after the other; of their
pictures only means are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import check_whole
from liveavatar.metrics.possible_renderings import Rendering, check_run, draw_rendering, in_8_bits, parts_of
from liveavatar.runs.edits import latents_before
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.runs.run import Run

RENDERINGS, MOST = 64, 1024
PARTS = ("picture", "face", "mouth", "background")
LATENTS = "latents"                 # beside the parts: what the network itself works on
A_SAMPLE, THE_MEAN = 0.8, 0.5       # distances from the mean, against a true video's: from the one it is called a
                                    # sample, up to the other the mean
TOO_FAR = 1.2                       # from here on it is no sample either: nothing possible is as far away


@dataclass(frozen=True)
class PossibleStep:
    """One step's guess against what is possible. Distances are root mean squares: of pictures 0..1, part by part; of
    latents under "latents"."""

    index: int
    sigma: float                        # noise level at which the network was asked
    remaining: float                    # how many renderings are still possible at that noise, 1..N
    to_mean: dict[str, float]           # from the mean of all renderings
    to_expected: dict[str, float]       # from their mean given the noisy latents, E[c | x]
    to_nearest: dict[str, float]        # from the nearest rendering
    low: float | None = None            # 95 % interval of `Possible.share` in latents, over other N renderings
    high: float | None = None


@dataclass(frozen=True)
class Possible:
    """A block of a run against N renderings. Pictures are the block's, (T, H, W, 3) uint8."""

    block: int
    count: int
    steps: tuple[PossibleStep, ...]
    spread: dict[str, float]            # how far a rendering is from the mean of them all, root mean square
    apart: float                        # mean distance of a rendering from the nearest other one, in latents
    mean: np.ndarray                    # of all renderings
    expected: tuple[np.ndarray, ...]    # for each step, E[c | x] in pictures
    sample: np.ndarray                  # one of the renderings
    guesses: tuple[np.ndarray, ...]     # for each step, decoded
    start_s: float = 0.0                # of the block within its video
    fps: float = 25.0

    def share(self, step: int, part: str = "latents") -> float:
        """Return the distance of a guess from the mean against a true video's: 0 is the mean, 1 as far as a sample.

        The mean of N renderings is off the mean of all that is possible by spread^2 / N on average, which is taken from
        the square. NaN where nothing is open. Raises InputError for a part that is not measured.
        """
        if part not in self.spread:
            raise InputError(f"part is {part!r}; choose from {', '.join(map(repr, self.spread))}")
        spread = self.spread[part]
        square = self.steps[step].to_mean[part] ** 2 - spread**2 / self.count
        return math.sqrt(max(square, 0.0)) / spread if spread > 0 else math.nan


class Gathering:
    """Means and distances of renderings that come one by one; pictures are not kept, latents are."""

    def __init__(self, noisy: Sequence[tuple[Tensor, float]], guesses: Sequence[Rendering],
                 parts: dict[str, Tensor]) -> None:
        """Compare with guesses of S steps. noisy: (x, sigma) with which each was made; parts: {name: (H, W) bool}"""
        self.noisy, self.guesses, self.parts = noisy, guesses, parts
        self.latents: list[Tensor] = []
        self.total = torch.zeros_like(guesses[0].pictures, dtype=torch.float64)
        self.squares = torch.zeros_like(self.total)
        self.weighted = [torch.zeros_like(guesses[0].pictures) for _ in guesses]
        self.logs: list[list[float]] = [[] for _ in guesses]            # of each step: a number for each rendering
        self.nearest = [dict.fromkeys(parts, math.inf) for _ in guesses]    # mean squares

    def add(self, one: Rendering) -> None:
        """Take in one more rendering."""
        self.latents.append(one.latents.float().flatten())
        self.total += one.pictures
        self.squares += one.pictures.double().square()
        for step, ((x, sigma), guess) in enumerate(zip(self.noisy, self.guesses, strict=True)):
            logs = self.logs[step]
            before = max(logs, default=-math.inf)
            logs.append(log_likelihood(x, sigma, one.latents))
            largest = max(before, logs[-1])
            self.weighted[step] *= math.exp(before - largest)                 # 0 at the first
            self.weighted[step] += math.exp(logs[-1] - largest) * one.pictures
            for name, apart in self.mean_squares((guess.pictures - one.pictures).square()).items():
                self.nearest[step][name] = min(self.nearest[step][name], apart)

    def mean_squares(self, squares: Tensor) -> dict[str, float]:
        """Average squares (T, H, W, 3) over each part."""
        seen = squares.mean((0, 3))
        return {name: float(seen[mask].mean()) for name, mask in self.parts.items()}

    def distances(self, one: Tensor, other: Tensor) -> dict[str, float]:
        """Return the root mean square difference of pictures (T, H, W, 3) in each part."""
        return {name: math.sqrt(square) for name, square in self.mean_squares((one - other).square()).items()}

    def finish(self) -> tuple[list[PossibleStep], dict[str, float], float, Tensor, list[Tensor]]:
        """Return steps, spread, distance of neighbours, mean pictures, expected pictures of each step."""
        count, cloud = len(self.latents), torch.stack(self.latents)
        mean, centre = (self.total / count).float(), cloud.mean(0)
        unbiased = count / (count - 1)
        varied = (self.squares / count - (self.total / count).square()).clamp(min=0)
        spread = {name: math.sqrt(square * unbiased) for name, square in self.mean_squares(varied).items()}
        spread["latents"] = float((cloud - centre).square().mean() * unbiased) ** 0.5
        between = torch.cdist(cloud, cloud).fill_diagonal_(math.inf).amin(1).mean() / math.sqrt(cloud.shape[1])
        steps, pictures = [], []
        for index, ((_, sigma), guess) in enumerate(zip(self.noisy, self.guesses, strict=True)):
            weights = torch.tensor(self.logs[index], dtype=torch.float64).softmax(0)
            scale = sum(math.exp(one - max(self.logs[index])) for one in self.logs[index])
            expected, latent = self.weighted[index] / scale, guess.latents.float().flatten()
            pictures.append(expected)
            to_mean, to_expected = (self.distances(guess.pictures, other) for other in (mean, expected))
            to_nearest = {name: math.sqrt(square) for name, square in self.nearest[index].items()}
            to_mean["latents"] = rms(latent - centre)
            to_expected["latents"] = rms(latent - weights.float() @ cloud)
            to_nearest["latents"] = min(rms(latent - other) for other in cloud)
            remaining = float(1 / weights.square().sum())
            steps.append(PossibleStep(index, sigma, remaining, to_mean, to_expected, to_nearest,
                                      *share_interval(cloud - latent)))
        return steps, spread, float(between), mean, pictures


def log_likelihood(x: Tensor, sigma: float, clean: Tensor) -> float:
    """Return the logarithm of the density of noisy latents x = (1 - sigma) clean + sigma noise, but for a constant."""
    if sigma <= 0:
        raise InputError(f"sigma is {sigma!r}; a step begins at a noise level above 0")
    return -float((x.double() - (1 - sigma) * clean.double()).square().sum()) / (2 * sigma**2)


def share_interval(apart: Tensor) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of `Possible.share` by the jackknife (Tukey 1958) of its square, from renderings minus
    guess, (N, D). None below 4 renderings, and where nothing is open."""
    count = len(apart)
    products = apart.double() @ apart.double().T                             # inner products are all that is needed
    squares, without = products.diagonal(), count - 1                        # one rendering is left out in turn
    if count < 4 or float((products - products.mean()).abs().max()) == 0:
        return None, None
    mean = (products.sum() - 2 * products.sum(1) + squares) / without**2     # (N,) |mean of the others - guess|^2
    spread = ((squares.sum() - squares) / without - mean) * without / (without - 1)
    shares = mean / spread - 1 / without                                     # squares of `share`
    error = 1.96 * math.sqrt(without / count * float((shares - shares.mean()).square().sum()))
    low, high = (math.sqrt(max(float(shares.mean()) + side * error, 0.0)) for side in (-1, 1))
    return low, high


def rms(values: Tensor) -> float:
    """Return the root mean square."""
    return float(values.square().mean()) ** 0.5


# ---------------------------------------------------------------------------------------------- of a run
def what_is_possible(run: Run, block: int = 0, renderings: int = RENDERINGS, seed: int = 0) -> Possible:
    """Render what else could have become of a block, and compare each step's guess with it.

    run: of a drawn avatar, speech with phonemes, by mini. block: one whose steps are all made; what earlier blocks have
    decided counts only as far as x shows it. renderings: 2 to 1024; one of 12 pictures at 256*256 takes seconds on a
    core. seed: of the first one, the next has the next. Raises InputError where the truth is not known, or where steps
    of the block are missing.
    """
    check_whole("renderings", renderings, 2, MOST, "64 tell a mean from a sample")
    check_run(run, block)
    return compare(run, block, (draw_rendering(run, block, seed + number) for number in range(renderings)))


def compare(run: Run, block: int, renderings: Iterable[Rendering]) -> Possible:
    """Compare each step's guess of a block with renderings, as `draw_rendering` makes them: two or more."""
    comparison = Comparison(run, block)
    for one in renderings:
        comparison.add(one)
    return comparison.result()


class Comparison:
    """Each step's guess of a block of a run against renderings that come one by one."""

    def __init__(self, run: Run, block: int) -> None:
        """Decode the guesses of all steps of a block. Raises InputError where the truth is not known, or where steps of
        the block are missing."""
        check_run(run, block)
        steps = range(run.info.steps)
        self.block, self._info = block, run.info
        guesses = [Rendering(to_unit(run.step_frames.decode(block, step)), run.step_record(block, step).clean)
                   for step in steps]
        noisy = [(latents_before(run, block, step).float(), run.step_record(block, step).sigma) for step in steps]
        self._gathering = Gathering(noisy, guesses, parts_of(run.portrait.identity, guesses[0].pictures.shape[1:3]))
        self._sample: Tensor | None = None

    @property
    def count(self) -> int:
        """Return how many renderings were taken in."""
        return len(self._gathering.latents)

    def add(self, one: Rendering) -> None:
        """Take in one more rendering, (T, H, W, 3); what the video leaves out of a last block is left out."""
        shown = Rendering(one.pictures[:len(self._gathering.total)], one.latents)
        self._sample = shown.pictures if self._sample is None else self._sample
        self._gathering.add(shown)

    def result(self) -> Possible:
        """Return what is known so far. Raises InputError before the second rendering."""
        if self.count < 2:
            raise InputError(f"{self.count} renderings have no spread; add at least 2")
        steps, spread, apart, mean, expected = self._gathering.finish()
        return Possible(self.block, self.count, tuple(steps), spread, apart, to_bytes(mean),
                        tuple(map(to_bytes, expected)), to_bytes(self._sample),
                        tuple(to_bytes(one.pictures) for one in self._gathering.guesses),
                        self.block * self._info.block_s, self._info.fps)


def to_unit(pictures: np.ndarray) -> Tensor:
    """Convert pictures uint8 to float32 0..1."""
    return torch.from_numpy(pictures).float() / 255


def to_bytes(pictures: Tensor) -> np.ndarray:
    """Convert pictures 0..1 to uint8."""
    return in_8_bits(pictures).numpy()


# ---------------------------------------------------------------------------------------------- in words
def verdict(share: float) -> str:
    """Say in a few words what a distance from the mean means, against a true video's; "" where it is not known."""
    if math.isnan(share):
        return ""
    if share >= TOO_FAR:
        return "further than a sample"
    return "holds the mean" if share <= THE_MEAN else "one sample" if share >= A_SAMPLE else "in between"


def describe(found: Possible, part: str = "latents") -> str:
    """Say in one sentence which step holds the mean, and which one a sample."""
    shares = [found.share(step, part) for step in range(len(found.steps))]
    if any(math.isnan(share) for share in shares):
        return "Nothing is left to chance here: all renderings are the same."
    first, last = shares[0], shares[-1]
    sample = next((step for step, share in enumerate(shares) if share >= A_SAMPLE), None)
    began = (f"The guess of step 0 is {first:.2f} of a true video's distance from the mean of {found.count} possible "
             "ones")
    if first <= THE_MEAN:
        began += ": it holds the mean"
    elif first >= A_SAMPLE:
        began += ": it is a sample already, no mean"
    if sample is None:
        return f"{began}; no later step comes as far from it as a sample would (the last: {last:.2f})."
    too_far = ", further than true videos are: it shows what none of them has" if last >= TOO_FAR else ""
    if sample == 0:
        return f"{began} (the last: {last:.2f}{too_far})."
    return f"{began}; from step {sample} on it is as far away as a sample (the last: {last:.2f}{too_far})."
