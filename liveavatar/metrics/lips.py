"""Lips: is the mouth on time, does it open as far as it should, does it make the shapes that the sounds ask for?

    frames --mouth_opening--> opening (T,) --offset_curve--> how late, with a true curve or the loudness of the sound
                                           --offset_track--> the same through time
                                           --lip_error-----> against the true curve, in frames and as a fraction
    frames + phonemes --phoneme_report--> p b m closed? f v on the teeth? u o w round? closed in silence?

Sign, everywhere: **positive = the lips are late** (which is the same as: the sound is early).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.metrics.quality import CLOSED_BELOW, CLOSED_LIPS, STILL, lag, silent_frames
from liveavatar.metrics.reader import read_face
from liveavatar.metrics.regressor import MOUTH, FaceRegressor, Reading
from liveavatar.speech.visemes import VISEME_PARAMETERS, VISEMES, viseme_curves, viseme_of
from liveavatar.types import InputError, Phoneme, Speech

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy

    Curve: TypeAlias = Tensor | numpy.ndarray | Sequence[float]

REACH_MS = 400.0
FINE = 100                          # places between two frames at which the peak is looked for
AGREES = 0.5                        # correlation that a piece of 1 s must reach: less comes about by chance
DETECTABLE_MS = (-125.0, 45.0)      # ITU-R BT.1359-1: people begin to notice; lips early, lips late
ACCEPTABLE_MS = (-185.0, 90.0)      # and begin to mind

# What may be asked of a sound, read off the frames in which it is heard.
ON_THE_TEETH = (0.25, 0.45)         # aperture below, teeth above
ROUNDED = 0.40                      # rounding above

# Classes of mouth shapes and their visemes; k, h and schwa have no shape of their own.
SHAPES: dict[str, tuple[str, ...]] = {
    "closed": ("p", "sil"),
    "lip-tooth": ("f",),
    "spread": ("i", "ih", "e", "j", "s", "th", "t", "l"),
    "open": ("a", "ah", "uh", "eh", "aw"),
    "rounded": ("o", "oe", "u", "oo", "y", "w", "sh", "r", "er"),
}
READABLE = ("aperture", "width", "rounding", "teeth", "press")      # of VISEME_PARAMETERS, in the order of MOUTH


def mouth_opening(frames: Tensor | numpy.ndarray, regressor: FaceRegressor | None = None) -> Tensor:
    """Read how far the mouth is open in every picture.

    frames (T, H, W, 3) uint8  ->  (T,) float32 in units of the trait `mouth_aperture`: 0 closed, 1 wide open. Read off
    true renderings the mean absolute error is 0.02.
    """
    return read_face(frames, regressor)["mouth_aperture"]


def true_opening(speech: Speech, frames: int, fps: float = 25.0) -> Tensor:
    """Return how far a mouth opens that says just this: (frames,) 0..1, drawn from the phoneme times.

    This is the curve mini was trained to follow. Past the end of the speech the mouth is closed.
    """
    if not speech.phonemes:
        raise InputError("the phonemes of this speech are not known, so there is no true curve; speak it with "
                         "liveavatar.speak, or measure against its loudness with offset_curve")
    return viseme_curves(speech.phonemes, frames / fps, fps)[:frames, VISEME_PARAMETERS.index("aperture")]


# ---------------------------------------------------------------------------------------------- one offset for all
@dataclass(frozen=True)
class OffsetCurve:
    """Describe how well the mouth goes with the sound, for every delay between them."""

    lags_ms: Tensor          # (L,) positive: the lips are late
    correlation: Tensor      # (L,) Pearson, -1..1
    best_ms: float           # delay of the peak, between frames too; NaN when it does not apply
    peak: float              # correlation there; a low peak means that the delay says little
    fps: float = 25.0
    applies: bool = True
    reason: str = ""         # why it does not apply

    @property
    def best_frames(self) -> float:
        return self.best_ms * self.fps / 1000


def offset_curve(opening: Curve, envelope: Curve, fps: float = 25.0, reach_ms: float = REACH_MS) -> OffsetCurve:
    """Find the delay that lines the mouth up best with the sound.

    opening (T,) of the mouth, envelope (T,) the true opening or the loudness, one value for each video frame of `fps`.
    At a delay of d frames, opening[t] is compared with envelope[t - d] over all t that both have (Pearson). Equal
    curves have a delay of exactly 0. Between whole frames the peak is that of a cubic spline through the curve.
    """
    opening, envelope = as_curve(opening), as_curve(envelope)
    if opening.shape != envelope.shape:
        raise InputError(f"{len(opening)} mouth frames against {len(envelope)} frames of sound; measure both at the "
                         "same fps and cut them to the shorter one")
    T, reach = len(opening), round(reach_ms / 1000 * fps)
    lags_ms = torch.arange(-reach, reach + 1) * 1000 / fps
    excuse = _why_not(opening, envelope, T, reach)
    if excuse:
        return OffsetCurve(lags_ms, torch.full((2 * reach + 1,), math.nan), math.nan, math.nan, fps, False, excuse)
    correlation = torch.stack([pearson(opening[max(d, 0):T + min(d, 0)], envelope[max(-d, 0):T - max(d, 0)])
                               for d in range(-reach, reach + 1)])
    place, peak = spline_peak(correlation)
    if not 0 < place < 2 * reach or peak <= 0:
        return OffsetCurve(lags_ms, correlation.float(), math.nan, peak, fps, False,
                           f"mouth and sound agree nowhere within {reach_ms:g} ms")
    return OffsetCurve(lags_ms, correlation.float(), (place - reach) * 1000 / fps, peak, fps)


def _why_not(opening: Tensor, envelope: Tensor, T: int, reach: int) -> str:
    if T < 2 * reach + 3:
        return f"{T} frames are too few to look {reach} frames around: {2 * reach + 3} are needed"
    if envelope.std() < STILL:
        return "the sound does not change: nothing to compare with"
    return "the mouth does not move" if opening.std() < STILL else ""


def as_curve(values: Curve) -> Tensor:
    """Return (T,) float64"""
    curve = torch.as_tensor(values).detach().cpu().double()
    if curve.ndim != 1:
        raise InputError(f"a curve has one value per video frame, got shape {tuple(curve.shape)}")
    return curve


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of two curves, 0 where one of them does not move."""
    a, b = a - a.mean(), b - b.mean()
    spread = (a.square().sum() * b.square().sum()).sqrt()
    return (a * b).sum() / spread if spread > 1e-12 else torch.zeros((), dtype=a.dtype)


def spline_peak(values: Tensor) -> tuple[float, float]:
    """Place (in samples, between them too) and height of the highest point of a cubic spline through (L,) values."""
    from scipy.interpolate import CubicSpline

    best = int(values.argmax())
    low, high = max(best - 1, 0), min(best + 1, len(values) - 1)
    places = torch.linspace(low, high, (high - low) * FINE + 1, dtype=torch.float64)
    heights = torch.from_numpy(CubicSpline(range(len(values)), values.numpy())(places.numpy()))
    return places[heights.argmax()].item(), heights.max().item()


# ---------------------------------------------------------------------------------------------- offset through time
@dataclass(frozen=True)
class OffsetTrack:
    """The delay in pieces of the video, one after the other; NaN where mouth and sound do not agree."""

    time_s: Tensor           # (W,) middle of each piece
    offset_ms: Tensor        # (W,) positive: the lips are late
    correlation: Tensor      # (W,) at that delay, in whole frames; below 0.5 it counts as no agreement
    weight: Tensor           # (W,) how much the sound moves there, 0..1 of the liveliest piece
    applies: bool = True
    reason: str = ""

    @property
    def agreeing(self) -> float:
        """Return the share of the lively pieces in which mouth and sound agree at any delay, 0..1."""
        total = self.weight.sum()
        return (self.weight[~self.offset_ms.isnan()].sum() / total).item() if total > 0 else math.nan

    @property
    def spread_ms(self) -> float:
        """Return root mean square of the delays, lively pieces counting more: a video that is off by +-80 ms scores 80.
        """
        known = ~self.offset_ms.isnan() & (self.weight > 0)
        if not known.any():
            return math.nan
        squares = self.weight[known] * self.offset_ms[known].square()
        return (squares.sum() / self.weight[known].sum()).sqrt().item()


def offset_track(opening: Curve, envelope: Curve, fps: float = 25.0, window_s: float = 1.0, hop_s: float = 0.2,
                 reach_ms: float = 240.0) -> OffsetTrack:
    """Follow the delay through time, in pieces of window_s. Arguments as for `offset_curve`.

    Pieces in which the envelope moves less than a quarter as much as in the liveliest one have weight 0.
    """
    opening, envelope = as_curve(opening), as_curve(envelope)
    reach, window, hop = (max(1, round(seconds * fps)) for seconds in (reach_ms / 1000, window_s, hop_s))
    whole = window + 2 * reach                                      # what a piece needs to be shifted within
    none = torch.empty(0)
    if len(opening) != len(envelope):
        raise InputError(f"{len(opening)} mouth frames against {len(envelope)} frames of sound; cut them alike")
    if len(opening) < whole or envelope.std() < STILL:
        reason = f"{len(opening)} frames are fewer than a piece, {whole}" if len(opening) < whole else \
            "the sound does not change: nothing to compare with"
        return OffsetTrack(none, none, none, none, False, reason)
    said, sounded = opening.unfold(0, whole, hop), envelope.unfold(0, whole, hop)               # (W, whole)
    found = lag(said, sounded, reach)
    middle_s = (torch.arange(len(said)) * hop + whole / 2) / fps
    lively = sounded[:, reach:-reach].std(1)
    weight = (lively / lively.max()).square()
    offset_ms = (found.frames * 1000 / fps).where(found.correlation >= AGREES, math.nan)
    return OffsetTrack(middle_s, offset_ms.float(), found.correlation.float(),
                       weight.where(weight > 1 / 16, 0.0).float())


# ---------------------------------------------------------------------------------------------- against the truth
@dataclass(frozen=True)
class LipError:
    """Describe how far a mouth is from the mouth that says just this."""

    late_frames: float       # one delay for the whole video; positive: the lips are late
    error_frames: float      # root mean square of the delays of 1 s pieces that agree: "lips +-1.8 frames"
    agreeing: float          # share of the pieces that agree with the truth at any delay, 0..1
    fraction: float          # mean absolute error of the opening; 1 is a mouth wide open
    correlation: float       # without any delay, -1..1
    applies: bool = True
    reason: str = ""


def lip_error(opening: Curve, truth: Curve, fps: float = 25.0) -> LipError:
    """Compare the opening read off a video with the true one.

    opening, truth (T,) in units of `mouth_aperture`, see `true_opening`. Videos too short for a 1 s piece have their
    one delay as error_frames; so have videos no piece of which agrees.
    """
    curve, track = offset_curve(opening, truth, fps), offset_track(opening, truth, fps)
    if not curve.applies:
        return LipError(*[math.nan] * 5, False, curve.reason)
    spread, agreeing = track.spread_ms * fps / 1000, track.agreeing if track.applies else math.nan
    if math.isnan(spread):
        spread = abs(curve.best_frames)
    opening, truth = as_curve(opening), as_curve(truth)
    off = (opening - truth).abs().mean().item()
    return LipError(curve.best_frames, spread, agreeing, off, pearson(opening, truth).item())


# ---------------------------------------------------------------------------------------------- sound by sound
@dataclass(frozen=True)
class Sounded:
    """One phoneme and the mouth that was seen while it was heard."""

    symbol: str
    start_s: float
    end_s: float
    viseme: str              # one of VISEMES; a diphthong counts by its first half
    frame: int               # the video frame in its middle
    mouth: tuple[float, ...]     # READABLE in that frame
    kept: bool | None        # did the mouth do what this sound asks for? None: nothing is asked of it


@dataclass(frozen=True)
class Check:
    """Hold what is asked of some sounds, and how often it was seen."""

    name: str
    of: int                  # sounds (or silent frames) of which it is asked
    share: float             # of them that kept it, 0..1; NaN when there are none
    reachable: float         # share of the true curves: sounds run into each other, so even the truth keeps not all


@dataclass(frozen=True)
class Confusion:
    """Describe which shape each sound asked for, and which was seen."""

    shapes: tuple[str, ...]
    counts: Tensor           # (K, K) long: row asked for, column seen
    accuracy: float          # share on the diagonal
    reachable: float         # the same of the true curves


@dataclass(frozen=True)
class PhonemeReport:
    """Sound by sound: did the lips make the shape?"""

    sounds: tuple[Sounded, ...]
    checks: tuple[Check, ...]
    confusion: Confusion | None
    applies: bool = True
    reason: str = ""

    def check(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}; known: {', '.join(check.name for check in self.checks)}")


def phoneme_report(reading: Reading | Tensor, speech: Speech, fps: float = 25.0) -> PhonemeReport:
    """Measure the mouth while each sound is heard.

    reading: of the T pictures (`read_face`), or a table (T, 5) in the order of READABLE, in which columns that were not
    read are NaN (`only_opening`): what needs them is then left out; speech with phonemes.

    bilabial closure   p b m      the lips come together within the sound   (aperture < 0.15)
    lip-tooth          f v        nearly closed and the teeth show          (aperture < 0.25, teeth > 0.45)
    rounding           u o w      the lips are rounded within the sound     (rounding > 0.40)
    closed in silence             aperture < 0.10 wherever nobody speaks for 0.2 s or more

    Each share stands beside the share that the true curves reach under the same rule.
    """
    mouth = reading.motion[:, :len(MOUTH)] if isinstance(reading, Reading) else torch.as_tensor(reading)
    T = len(mouth)
    silence = silent_frames(torch.from_numpy(speech.wave), T, speech.rate_hz, fps)
    if not speech.phonemes:
        quiet = Check("closed in silence", int(silence.sum()), _share(mouth[silence, 0] < CLOSED_BELOW), 1.0)
        return PhonemeReport((), (quiet,) if quiet.of else (), None, False,
                             "the phonemes of this recording are not known; speech from liveavatar.speak carries them")
    truth = viseme_curves(speech.phonemes, T / fps, fps)[:T, [VISEME_PARAMETERS.index(name) for name in READABLE]]
    seen, true = (tuple(_sounds(table, speech.phonemes, fps)) for table in (mouth, truth))
    readable = {name for name, (_, columns, _) in DEMANDS.items() if not mouth[:, columns].isnan().any()}
    checks = [_check(name, DEMANDS[name][0], seen, true) for name in DEMANDS if name in readable]
    checks.append(Check("closed in silence", int(silence.sum()), _share(mouth[silence, 0] < CLOSED_BELOW),
                        _share(truth[silence, 0] < CLOSED_BELOW)))
    return PhonemeReport(seen, tuple(checks), None if mouth.isnan().any() else confusion(seen, true))


def only_opening(opening: Tensor) -> Tensor:
    """Return a table (T, 5) in the order of READABLE of which only the opening (T,) is known."""
    table = torch.full((len(opening), len(READABLE)), math.nan)
    table[:, 0] = opening
    return table


# name -> visemes of which it is asked, the columns it takes, and the rule for the frames (n, 5) of one sound
DEMANDS = {
    "bilabial closure": (("p",), [0], lambda mouth: mouth[:, 0].min() < CLOSED_LIPS),
    "lip-tooth": (("f",), [0, 3],
                  lambda mouth: ((mouth[:, 0] < ON_THE_TEETH[0]) & (mouth[:, 3] > ON_THE_TEETH[1])).any()),
    "rounding": (("u", "oo", "o", "w"), [2], lambda mouth: mouth[:, 2].max() > ROUNDED),
}


def _sounds(mouth: Tensor, phonemes: Iterable[Phoneme], fps: float) -> Iterable[Sounded]:
    """Return the sounds that lie within the T pictures, each with what was seen; mouth (T, 5)."""
    T = len(mouth)
    for phoneme in phonemes:
        middle = int((phoneme.start_s + phoneme.end_s) / 2 * fps)
        if middle >= T:
            return
        first, last = math.ceil(phoneme.start_s * fps - 0.5), math.ceil(phoneme.end_s * fps - 0.5)
        during = mouth[max(first, 0):last] if last > first else mouth[middle:middle + 1]     # middles lie in the sound
        viseme = viseme_of(phoneme.symbol)[0]
        columns, rule = next(((columns, rule) for visemes, columns, rule in DEMANDS.values() if viseme in visemes),
                             ((), None))
        kept = bool(rule(during)) if rule and len(during) and not during[:, columns].isnan().any() else None
        yield Sounded(phoneme.symbol, phoneme.start_s, phoneme.end_s, viseme, middle, tuple(mouth[middle].tolist()),
                      kept)


def _check(name: str, visemes: tuple[str, ...], seen: Sequence[Sounded], true: Sequence[Sounded]) -> Check:
    kept, reachable = (torch.tensor([bool(one.kept) for one in sounds if one.viseme in visemes])
                       for sounds in (seen, true))
    return Check(name, len(kept), _share(kept), _share(reachable))


def _share(kept: Tensor) -> float:
    return kept.double().mean().item() if len(kept) else math.nan


def shape_of(mouth: Tensor) -> Tensor:
    """Return the class of each mouth (N, 5): that of the nearest viseme. -> (N,) index into SHAPES"""
    names = [(number, viseme) for number, visemes in enumerate(SHAPES.values()) for viseme in visemes]
    columns = [VISEME_PARAMETERS.index(name) for name in READABLE]
    targets = torch.tensor([[VISEMES[viseme][column] for column in columns] for _, viseme in names])
    nearest = torch.cdist(mouth.float(), targets).argmin(1)
    return torch.tensor([number for number, _ in names])[nearest]


def confusion(seen: Sequence[Sounded], true: Sequence[Sounded]) -> Confusion:
    """Count shapes asked for against shapes seen, in the middle of each sound that has a shape of its own."""
    number = {viseme: index for index, visemes in enumerate(SHAPES.values()) for viseme in visemes}
    K = len(SHAPES)

    def counted(sounds: Sequence[Sounded]) -> Tensor:
        shaped = [one for one in sounds if one.viseme in number]
        if not shaped:
            return torch.zeros(K, K, dtype=torch.long)
        asked = torch.tensor([number[one.viseme] for one in shaped])
        return torch.bincount(asked * K + shape_of(torch.tensor([one.mouth for one in shaped])),
                              minlength=K * K).view(K, K)

    def accuracy(counts: Tensor) -> float:
        return (counts.diagonal().sum() / counts.sum()).item() if counts.sum() else math.nan

    counts = counted(seen)
    return Confusion(tuple(SHAPES), counts, accuracy(counts), accuracy(counted(true)))
