"""How good generated clips are: each measure is a plain function of tensors that says what its number means.

    curves   what was read off the pictures against what is known: correlation, lag
    colours  is it still the same person
    corners  does what should stand still, stand still
    clouds   do the features of many pictures lie where those of true pictures lie (Frechet distance)
    closing  is the mouth closed while nobody speaks, and in p, b and m
    figures  a number, and what it might have been with other people

Curves are (B, T), one value for each video frame of B clips; videos are (B, 3, T, H, W) float 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

CORNER_PX = 24              # side of a static corner in a picture of 128 px
REACH_FRAMES = 5            # how far a lag is looked for
STILL = 1e-3                # a curve whose standard deviation is less does not move
CLOSED_BELOW = 0.1          # aperture of a closed mouth
CLOSED_LIPS = 0.15          # aperture below which lips count as closed within a syllable
DRAWS = 200                 # of other people, for an interval
QUIET_DB = 26.0             # below loud speech: nobody speaks
QUIET_S = 0.1               # on either side of a silent moment


# ---------------------------------------------------------------------------------------------- curves
def temporal_correlation(measured: Tensor, truth: Tensor) -> Tensor:
    """Return Pearson correlation over time, for each clip: 1 moves just like the truth, 0 has nothing to do with it.

    measured, truth (B, T)  ->  (B,); a measured curve that stands still scores 0. NaN where the truth itself stands
    still: such a clip can say nothing (`mean_of_known` leaves it out).
    """
    if measured.shape != truth.shape:
        raise ValueError(f"curves of shape {tuple(measured.shape)} against {tuple(truth.shape)}; cut both to the same "
                         "clips and frames")
    a = measured.double() - measured.double().mean(-1, keepdim=True)
    b = truth.double() - truth.double().mean(-1, keepdim=True)
    spread_a, spread_b = a.square().mean(-1).sqrt(), b.square().mean(-1).sqrt()
    score = (a * b).mean(-1) / (spread_a * spread_b)
    score = score.where(spread_a > STILL, 0.0)
    return score.where(spread_b > STILL, math.nan)


@dataclass(frozen=True)
class Lag:
    """The delay at which two curves agree best."""

    frames: Tensor        # (B,) positive: the measured curve is late; NaN where nothing agrees or nothing moves
    correlation: Tensor   # (B,) at that delay, in whole frames


def lag(measured: Tensor, truth: Tensor, reach: int = REACH_FRAMES) -> Lag:
    """Find how many frames late each measured curve is, by cross-correlation over +-reach frames.

    measured, truth (B, T), T > 2 * reach + 2. At every delay the middle of the truth is compared with the measured
    curve shifted one way, and the middle of the measured curve with the truth shifted the other way: so equal curves
    have no lag, to the last digit. Between whole frames the peak is that of a parabola through the best delay and its
    neighbours.
    """
    T = truth.shape[-1]
    if T < 2 * reach + 3:
        raise ValueError(f"{T} frames are too few to look {reach} frames around; give {2 * reach + 3} or more")

    def moved(curve: Tensor, delay: int) -> Tensor:
        return curve[..., reach + delay:T - reach + delay]

    scores = torch.stack([temporal_correlation(moved(measured, delay), moved(truth, 0))
                          + temporal_correlation(moved(measured, 0), moved(truth, -delay))
                          for delay in range(-reach, reach + 1)], -1) / 2               # (B, 2 * reach + 1)
    best = scores.nan_to_num(-2).argmax(-1, keepdim=True)
    peak = scores.gather(-1, best)
    before, after = (scores.gather(-1, (best + step).clamp(0, 2 * reach)) for step in (-1, 1))
    bend = before - 2 * peak + after
    inside = (best > 0) & (best < 2 * reach) & (bend < 0)
    between = torch.where(inside, 0.5 * (before - after) / bend, 0.0)                    # -0.5..0.5
    frames = (best - reach + between).where(peak > 0, math.nan)
    return Lag(frames[..., 0], peak[..., 0])


def mean_of_known(values: Tensor) -> float:
    """Return the mean of what is not NaN; NaN when nothing is known."""
    known = values[~values.isnan()]
    return known.double().mean().item() if len(known) else math.nan


# ---------------------------------------------------------------------------------------------- pixels
def decibel(mean_square: Tensor | float) -> float:
    """Return peak signal-to-noise ratio in dB of a mean squared error of values in 0..1; 120 dB stands for equal."""
    return -10 * math.log10(max(float(mean_square), 1e-12))


def square_error(video: Tensor, truth: Tensor) -> Tensor:
    """Return mean squared difference of each picture. (B, 3, T, H, W) twice  ->  (B, T)"""
    return (video.float() - truth.float()).square().mean((1, 3, 4))


def box_square_error(video: Tensor, truth: Tensor, center: Tensor,
                     box_px: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return squared difference within a box that moves along.

    videos (B, 3, T, H, W), center (B, T, 2) x and y in pixels, box_px width and height  ->  sums (B, T) over the pixels
    of the box (colours averaged), and how many pixels of it lie in the picture (B, T)
    """
    square = (video.float() - truth.float()).square().mean(1)                            # (B, T, H, W)
    H, W = square.shape[-2:]
    x, y = (torch.arange(n, device=square.device) + 0.5 for n in (W, H))
    across = (x - center[..., :1]).abs() <= box_px[0] / 2                                # (B, T, W)
    down = (y - center[..., 1:]).abs() <= box_px[1] / 2
    inside = (across[..., None, :] & down[..., :, None]).to(square.dtype)
    return (square * inside).sum((-2, -1)), inside.sum((-2, -1))


def corners(video: Tensor, side_px: int = CORNER_PX) -> Tensor:
    """Return the two top corners, where nothing but the wall is: (B, 3, T, H, W) -> (B, 3, T, side, 2 * side).

    side_px is that of a picture whose shorter side is 128 px; other sizes are scaled.
    """
    side = max(1, round(side_px * min(video.shape[-2:]) / 128))
    return torch.cat([video[..., :side, :side], video[..., :side, -side:]], -1)


def corner_square_error(video: Tensor, truth: Tensor) -> Tensor:
    """Return mean squared error of the static corners over time: (B, T). Its course shows drift.

    truth is the true video or, where there is none, one picture as (B, 3, 1, H, W).
    """
    return square_error(corners(video), corners(truth).expand(-1, -1, video.shape[2], -1, -1))


def frame_difference(video: Tensor) -> Tensor:
    """Return mean absolute change from one picture to the next: (B, 3, T, H, W) -> (B, T - 1), 0..1. More is restless
    """
    return (video[:, :, 1:].float() - video[:, :, :-1].float()).abs().mean((1, 3, 4))


def seam(difference: Tensor, period: int) -> Tensor:
    """Return how much more changes where a new block (or latent frame) begins than elsewhere; 1 is no visible seam.

    difference (B, T - 1) of `frame_difference`, period in frames; the video begins with a whole block  ->  (B,), NaN
    of a single block
    """
    onto = torch.arange(1, difference.shape[-1] + 1, device=difference.device)           # the frame that is changed to
    begins = onto % period == 0
    return difference[..., begins].mean(-1) / difference[..., ~begins].mean(-1).clamp(min=1e-12)


# ---------------------------------------------------------------------------------------------- identity
def colour_error(colours: Tensor, truth: Tensor) -> Tensor:
    """Return mean absolute error of the colours read off a clip, 0..1: is it still the same person in the same clothes?

    colours (B, T, K, 3) read, truth (B, K, 3)  ->  (B,)
    """
    return (colours.float() - truth.float()[:, None]).abs().mean((1, 2, 3))


# ---------------------------------------------------------------------------------------------- figures
@dataclass(frozen=True)
class BootstrapEstimate:
    """A number measured on some people, and its bootstrap draws (Efron 1979)."""

    of: Tensor            # (1 + R,) float64: the number, then those of R draws of as many people from the same ones

    @property
    def value(self) -> float:
        return self.of[0].item()

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval in which it lies with 95 % confidence, as far as the choice of the people goes."""
        known = self.of[1:][~self.of[1:].isnan()]
        if not len(known):
            return math.nan, math.nan
        low, high = known.quantile(known.new_tensor([0.025, 0.975])).tolist()
        return low, high

    def __truediv__(self, other: BootstrapEstimate) -> BootstrapEstimate:
        """Return the ratio, draw by draw: both were measured on the same people."""
        return BootstrapEstimate(self.of / other.of)

    def decibel(self) -> BootstrapEstimate:
        """Convert the estimate of a mean squared error of values in 0..1; see `decibel`."""
        return BootstrapEstimate(-10 * self.of.clamp(min=1e-12).log10())

    def __format__(self, form: str) -> str:
        low, high = self.interval
        if math.isnan(self.value):
            return "-"
        return f"{self.value:{form}}" if math.isnan(low) else f"{self.value:{form}} ± {(high - low) / 2:{form}}"


def draw_people(people: int, draws: int = DRAWS, seed: int = 0) -> Tensor:
    """Return how often each person counts: (1 + R, B) float64. First everybody once, then R draws with replacement."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(people, (draws, people), generator=generator)
    counts = torch.zeros(draws, people, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
    return torch.cat([torch.ones(1, people, dtype=torch.float64), counts])


def share(of: Tensor, all: Tensor, people: Tensor) -> BootstrapEstimate:
    """Return sums over people, divided: of, all (B,); people (1 + R, B) of `draw_people`."""
    of, all = of.double().cpu(), all.double().cpu()
    return BootstrapEstimate((people @ of) / (people @ all))


def mean(values: Tensor, people: Tensor) -> BootstrapEstimate:
    """Return the mean over people of values (B,), without those that are NaN."""
    known = ~values.isnan()
    return share(values.nan_to_num(0), known, people)


# ---------------------------------------------------------------------------------------------- statistics of features
@dataclass(frozen=True)
class GaussianStats:
    """Mean and covariance of the features of many pictures; of N sets at once when there is a first dimension."""

    mean: Tensor         # (..., D) float64
    covariance: Tensor   # (..., D, D) float64

    @cached_property
    def root(self) -> Tensor:
        """Return the square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp(min=0).sqrt()[..., None, :] @ vectors.mT


def gaussian_stats(features: Tensor) -> GaussianStats:
    """Return mean and covariance of features (N, D)."""
    features = features.double()
    return GaussianStats(features.mean(0), torch.cov(features.T).reshape(features.shape[1], -1))


def gaussian_stats_of_people(features: Tensor, people: Tensor) -> GaussianStats:
    """Return 1 + R statistics of features (B, T, D), T pictures of each person; people (1 + R, B) of `draw_people`."""
    B, T, D = features.shape
    features = features.double()
    weights = people / people.sum(1, keepdim=True)
    center = features.mean((0, 1))                                   # far-off means would cost digits
    features = features - center
    means = weights @ features.mean(1)
    squares = (features.transpose(1, 2) @ features / T).flatten(1)                       # (B, D * D)
    covariance = (weights @ squares).unflatten(1, (D, D)) - means[:, :, None] * means[:, None]
    return GaussianStats(means + center, covariance * (B * T / (B * T - 1)))


def frechet_distance(a: GaussianStats, b: GaussianStats) -> Tensor:
    """Return the Frechet distance of two Gaussians, in squared feature units (arXiv:1706.08500, eq. 6).

    |mean a - mean b|^2 + trace(A + B - 2 (A^1/2 B A^1/2)^1/2)  ->  (...). 0 is alike; two samples of the
    same kind score more, and less the larger they are: compare like with like.
    """
    inner = torch.linalg.eigvalsh(a.root @ b.covariance @ a.root).clamp(min=0).sqrt().sum(-1)
    spread = (a.covariance + b.covariance).diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((a.mean - b.mean).square().sum(-1) + spread - 2 * inner).clamp(min=0)


class Likeness:
    """Describe how much other videos of the same people look like the true ones, by Frechet distance.

    Each feature counts in units of its own spread over the true pictures, and the distance is that of one feature on
    average: 0 for the true pictures themselves, 1 when every feature is off by as much as it varies.
    """

    def __init__(self, truth: Tensor, people: Tensor) -> None:
        """Take truth (B, T, D) features of the true pictures, people (1 + R, B) of `draw_people`"""
        truth = truth.double().cpu()                 # many small matrices in double precision: nothing for a GPU
        self.people = people
        self.spread = truth.flatten(0, 1).std(0).clamp(min=1e-6)
        self.truth = gaussian_stats_of_people(truth / self.spread, people)

    def distance(self, features: Tensor) -> BootstrapEstimate:
        """Return the distance of features (B, T, D) of the same people; less is better."""
        found = gaussian_stats_of_people(features.double().cpu() / self.spread, self.people)
        return BootstrapEstimate(frechet_distance(self.truth, found) / features.shape[-1])


# ---------------------------------------------------------------------------------------------- closing
def closed(aperture: Tensor, below: float = CLOSED_BELOW) -> Tensor:
    """Tell in which frames the mouth is closed: (B, T) bool of the aperture read."""
    return aperture < below


def closures(aperture: Tensor, pressed: Tensor, below: float = CLOSED_LIPS) -> tuple[Tensor, Tensor]:
    """Return how often lips meet that should: p, b and m last for a few frames, and in one of them the mouth must be
    closed.

    aperture read, pressed bool (the lips should be together), both (B, T)  ->  of each clip in how many sounds the lips
    met, and how many there were, (B,) each
    """
    begins = pressed & ~F.pad(pressed, (1, 0))[:, :-1]
    sound = begins.cumsum(1) * pressed                                                   # 0 is none, then 1, 2, ...
    lowest = aperture.new_full((len(aperture), aperture.shape[1] + 1), math.inf)
    lowest = lowest.scatter_reduce(1, sound, aperture, "amin")[:, 1:]
    return (lowest < below).sum(1), begins.sum(1)


def silent_frames(wave: Tensor, frames: int, rate_hz: int = 16_000, fps: float = 25.0,
                  quiet_db: float = QUIET_DB, quiet_s: float = QUIET_S) -> Tensor:
    """Return the video frames of a recording in which, and around which, nobody speaks: (frames,) bool.

    wave (N,) mono. Silent is a frame when all 20 ms pieces from quiet_s before it to quiet_s after it lie quiet_db or
    more below loud speech (98th percentile of the pieces): so every silence counted lasts 0.2 s at least, and lips have
    time to close. Past the end of the sound nobody speaks.
    """
    hop = round(0.02 * rate_hz)
    pieces = F.pad(wave.double(), (0, -len(wave) % hop)).unflatten(0, (-1, hop)).square().mean(1)
    loud = pieces.quantile(0.98)
    speaks = pieces > (loud * 10 ** (-quiet_db / 10)).clamp(min=1e-10)
    reach = round(quiet_s / 0.02)
    per_frame = round(1 / fps / 0.02)
    speaks = F.pad(speaks.double(), (reach, max(0, frames * per_frame - len(speaks)) + reach))
    nearby = F.max_pool1d(speaks[None, None], per_frame + 2 * reach, per_frame)[0, 0]
    return nearby[:frames] == 0
