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

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import LANDMARKS, REGIONS, landmarks, portrait_pose, regions, render, talk
from liveavatar.avatars.renderer import world_of
from liveavatar.avatars.traits import completed
from liveavatar.conditions import controls_of
from liveavatar.config import check_whole
from liveavatar.runs.edits import latents_before
from liveavatar.speech import viseme_curves
from liveavatar.types import InputError, Prompt

if TYPE_CHECKING:
    from liveavatar.runs.record import RunRecord

RENDERINGS, MOST = 64, 1024
PARTS = ("picture", "face", "mouth", "background")
A_SAMPLE, THE_MEAN = 0.8, 0.5       # distances from the mean, against a true video's: from the one it is called a
                                    # sample, up to the other the mean


@dataclass(frozen=True)
class Rendering:
    """One possible video of a block: pictures (T, H, W, 3) 0..1 float32, latents (1, C, F, h, w)."""

    pictures: Tensor
    latents: Tensor


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
            steps.append(PossibleStep(index, sigma, remaining, to_mean, to_expected, to_nearest))
        return steps, spread, float(between), mean, pictures


def log_likelihood(x: Tensor, sigma: float, clean: Tensor) -> float:
    """Return the logarithm of the density of noisy latents x = (1 - sigma) clean + sigma noise, but for a constant."""
    if sigma <= 0:
        raise InputError(f"sigma is {sigma!r}; a step begins at a noise level above 0")
    return -float((x.double() - (1 - sigma) * clean.double()).square().sum()) / (2 * sigma**2)


def rms(values: Tensor) -> float:
    """Return the root mean square."""
    return float(values.square().mean()) ** 0.5


# ---------------------------------------------------------------------------------------------- of a run
def what_is_possible(run: RunRecord, block: int = 0, renderings: int = RENDERINGS, seed: int = 0) -> Possible:
    """Render what else could have become of a block, and compare each step's guess with it.

    run: of a drawn avatar, speech with phonemes, by mini. block: one whose steps are all made; what earlier blocks have
    decided counts only as far as x shows it. renderings: 2 to 1024; one of 12 pictures at 256*256 takes seconds on a
    core. seed: of the first one, the next has the next. Raises InputError where the truth is not known, or where steps
    of the block are missing.
    """
    check_whole("renderings", renderings, 2, MOST, "64 tell a mean from a sample")
    check_run(run, block)
    return compare(run, block, (draw_rendering(run, block, seed + number) for number in range(renderings)))


def compare(run: RunRecord, block: int, renderings: Iterable[Rendering]) -> Possible:
    """Compare each step's guess of a block with renderings, as `draw_rendering` makes them: two or more."""
    guesses = [Rendering(to_unit(run.step_frames.decode(block, step)), run.step_record(block, step).clean)
               for step in range(run.info.steps)]
    noisy = [(latents_before(run, block, step).float(), run.step_record(block, step).sigma)
             for step in range(run.info.steps)]
    T, H, W, _ = guesses[0].pictures.shape
    gathering = Gathering(noisy, guesses, parts_of(run.portrait.identity, (H, W)))
    sample = None
    for one in renderings:
        shown = Rendering(one.pictures[:T], one.latents)                    # the last block may be cut
        sample = shown if sample is None else sample
        gathering.add(shown)
    steps, spread, apart, mean, expected = gathering.finish()
    return Possible(block, len(gathering.latents), tuple(steps), spread, apart, to_bytes(mean),
                    tuple(map(to_bytes, expected)), to_bytes(sample.pictures),
                    tuple(to_bytes(one.pictures) for one in guesses))


def check_run(run: RunRecord, block: int) -> None:
    """Raise InputError unless the truth of this block can be rendered and encoded."""
    if run.portrait is None or run.portrait.identity is None:
        raise InputError("what is possible can be drawn of avatars only, and this portrait is none; "
                         "use liveavatar.avatar(seed=7)")
    if run.speech is None or not run.speech.phonemes:
        raise InputError("the phonemes of this sound are not known, so it cannot be rendered; use "
                         "liveavatar.samples()[\"welcome\"]")
    if not hasattr(getattr(run.backend, "vae", None), "encode_portrait"):
        raise InputError("what is possible needs the encoder of mini's VAE; give a run of mini with its model loaded")
    missing = [step for step in range(run.info.steps) if (block, step) not in run.recorded_steps]
    if missing:
        raise InputError(f"block {block} has no step {missing[0]} yet; run it to the end, and choose one of the blocks "
                         f"0 to {run.info.blocks - 1}")


@torch.no_grad()
def draw_rendering(run: RunRecord, block: int, seed: int) -> Rendering:
    """Draw a block, as large as the run's, with all that sound, portrait and prompt leave open drawn from a seed."""
    identity, first = completed(run.portrait.identity)[None], round(block * run.info.block_s * run.info.fps)
    visemes = viseme_curves(run.speech.phonemes, run.speech.duration_s)
    loudness = loudness_envelope(run.speech.wave, rate_hz=run.speech.rate_hz)
    last = first + run.info.block_frames
    short = max(last - min(len(visemes), len(loudness)), 0)                  # silence after the sound
    visemes = torch.cat([visemes, visemes[-1:].expand(short, -1)])[None, :last]
    loudness = torch.cat([loudness, loudness.new_zeros(short)])[None, :last]
    controls = controls_of(Prompt(**run.provenance["inputs"]["prompt"]))
    motion = talk(visemes, loudness, controls, torch.Generator().manual_seed(seed), world_of(identity))[0, first:last]
    size = run.step_frames.decode(block, 0).shape[1:3]
    video = render(identity.expand(len(motion), -1), motion, size)           # (T, 3, H, W)
    kind = next(run.backend.vae.parameters())
    clip = video.transpose(0, 1)[None].to(kind.device, kind.dtype)
    return Rendering(video.permute(0, 2, 3, 1), run.backend.vae.encode(clip).float().cpu())


def parts_of(identity: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return where the parts of the picture are: {name: (H, W) bool}. Face and mouth are boxes around where they are at
    rest; the background is all that is behind the person then."""
    who, pose = completed(identity)[None], portrait_pose(1, torch.Generator().manual_seed(0))
    points = dict(zip(LANDMARKS, landmarks(who, pose, size)[0], strict=True))
    apart = float((points["right_eye"] - points["left_eye"]).norm())
    masks = {"picture": torch.ones(size, dtype=torch.bool)}
    for name, place, across, down in (("face", "head_center", 1.1, 1.4), ("mouth", "mouth_center", 0.6, 0.45)):
        x, y = (float(value) for value in points[place])
        masks[name] = torch.zeros(size, dtype=torch.bool)
        rows, columns = (slice(max(round(middle - reach * apart), 0), max(round(middle + reach * apart), 1))
                         for middle, reach in ((y, down), (x, across)))
        masks[name][rows, columns] = True
    masks["background"] = regions(who, pose, size)[0, REGIONS.index("background")]
    return {name: mask for name, mask in masks.items() if mask.any()}


def to_unit(pictures: np.ndarray) -> Tensor:
    """Convert pictures uint8 to float32 0..1."""
    return torch.from_numpy(pictures).float() / 255


def to_bytes(pictures: Tensor) -> np.ndarray:
    """Convert pictures 0..1 to uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


# ---------------------------------------------------------------------------------------------- in words
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
    if sample == 0:
        return f"{began} (the last: {last:.2f})."
    return f"{began}; from step {sample} on it is as far away as a sample (the last: {last:.2f})."
