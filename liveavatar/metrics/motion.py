"""Motion: where head and hands go, and how smoothly.

Two measures of smoothness, both of a speed profile, both dimensionless and negative; **closer to 0 is smoother**:

    SPARC  spectral arc length        Balasubramanian, Melendez-Calderon, Roby-Brami, Burdet 2015, JNER 12:112
    LDLJ   log dimensionless jerk     Hogan and Sternad 2009, J Mot Behav 41:529; the logarithm: Balasubramanian 2012

A minimum-jerk reach has SPARC -1.4 and LDLJ -5.32. Both depend on where a movement begins and ends, so all are taken
over windows of one length, WINDOW_S. The article's "jerk index" has no definition: it can be shown, not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from liveavatar.metrics.regressor import Reading

WINDOW_S = 2.0
SMOOTHING_S = 0.04          # Gaussian over the paths: reading errors of single frames are no jerks
CUTOFF_HZ = 10.0
AMPLITUDE = 0.05            # share of the spectrum's peak that still counts
PADDING = 4                 # powers of two of zeros: a fine spectrum
STILL_UNITS = 0.03          # a way shorter than this in a window is no movement (the reader's error is 0.01 to 0.03)
OUT_OF_SIGHT = 0.90         # a hand lower than this is out of a square picture, units

POINTS = ("head", "left_hand", "right_hand")


def sparc(speed: Tensor, rate_hz: float, cutoff_hz: float = CUTOFF_HZ, amplitude: float = AMPLITUDE) -> float:
    """Return the spectral arc length of a speed profile (n,): how much its spectrum wiggles.

    SPARC = -integral from 0 to w_c of sqrt((1 / w_c)^2 + (dV/dw)^2) dw, V the magnitude spectrum divided by its peak,
    w_c the last frequency up to cutoff_hz where V >= amplitude (eq. 3 and 4 of the 2015 paper; the same numbers as
    the authors' code). NaN when nothing moves.
    """
    speed = torch.as_tensor(speed, dtype=torch.float64)
    if len(speed) < 2 or speed.abs().max() < 1e-9:
        return math.nan
    size = 2 ** (math.ceil(math.log2(len(speed))) + PADDING)
    spectrum = torch.fft.rfft(speed, size).abs()
    spectrum = spectrum / spectrum.max()
    hertz = torch.arange(len(spectrum), dtype=torch.float64) * rate_hz / size
    inside = spectrum[hertz <= cutoff_hz]
    counts = (inside >= amplitude).nonzero().flatten()
    curve = inside[counts[0]:counts[-1] + 1]
    if len(curve) < 2:
        return math.nan
    across = 1 / (len(curve) - 1)
    return -(across ** 2 + curve.diff().square()).sqrt().sum().item()


def ldlj(speed: Tensor, rate_hz: float) -> float:
    """Return the log dimensionless jerk of a speed profile (n,).

    LDLJ = -ln(D^3 / v_peak^2 * integral of (d2v/dt2)^2 dt), D the duration. NaN when nothing moves.
    """
    speed = torch.as_tensor(speed, dtype=torch.float64)
    if len(speed) < 3 or speed.abs().max() < 1e-9:
        return math.nan
    jerk = speed.diff(n=2) * rate_hz ** 2
    amount = (len(speed) / rate_hz) ** 3 / speed.abs().max().square() * jerk.square().sum() / rate_hz
    return -math.log(max(amount.item(), 1e-300))


@dataclass(frozen=True)
class Movement:
    """The way of one point through a video."""

    name: str                # one of POINTS
    path: Tensor             # (T, 2) across and down, units (a face is 0.85 high), smoothed
    speed: Tensor            # (T - 1,) units per second
    travelled: float         # units in all
    sparc: float             # mean over windows in which it moves; closer to 0 is smoother
    ldlj: float
    windows: int             # in which it moves
    window_s: float
    applies: bool = True
    reason: str = ""


@dataclass(frozen=True)
class Motion:
    """Describe how head and hands move."""

    movements: tuple[Movement, ...]
    jerk_reported: str = "the article's jerk index is not defined there: 0.29 at 4 steps is reported, never measured"
    applies: bool = True
    reason: str = ""

    def __getitem__(self, name: str) -> Movement:
        for movement in self.movements:
            if movement.name == name:
                return movement
        raise KeyError(f"no movement {name!r}; known: {', '.join(POINTS)}")


def paths(reading: Reading) -> dict[str, Tensor]:
    """Return where the middle of the eyes and the palms are: name -> (T, 2) across and down, units."""
    head = torch.stack([reading["head_x"] + 0.120 * reading["head_yaw"],        # as avatars.geometry.eye_centre
                        reading["head_y"] + 0.085 * reading["head_pitch"]], 1)
    hands = {f"{side}_hand": torch.stack([reading[f"{side}_hand_{axis}"] for axis in "xy"], 1)
             for side in ("left", "right")}
    return {"head": head} | hands


def smooth(path: Tensor, fps: float, sigma_s: float = SMOOTHING_S) -> Tensor:
    """Return a Gaussian along time, the ends held: (T, 2) -> (T, 2)"""
    reach = math.ceil(4 * sigma_s * fps)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / fps / sigma_s) ** 2)
    held = torch.nn.functional.pad(path.double().T[:, None], (reach, reach), mode="replicate")
    return torch.nn.functional.conv1d(held, (kernel / kernel.sum())[None, None])[:, 0].T


def movement(name: str, path: Tensor, fps: float = 25.0, window_s: float = WINDOW_S) -> Movement:
    """Return the smoothness of one path (T, 2): mean over windows of window_s that overlap by half."""
    path = smooth(path, fps)
    speed = path.diff(dim=0).norm(dim=1) * fps
    travelled = speed.sum().item() / fps
    size = round(window_s * fps)

    def unknown(reason: str) -> Movement:
        return Movement(name, path.float(), speed.float(), travelled, math.nan, math.nan, 0, window_s, False, reason)

    if len(speed) < size:
        return unknown(f"{len(path)} frames are fewer than a window, {size + 1}")
    if name.endswith("hand") and path[:, 1].median() > OUT_OF_SIGHT:
        return unknown("the hand is out of the picture")
    windows = speed.unfold(0, size, max(size // 2, 1))
    moving = [window for window in windows if window.sum() / fps > STILL_UNITS]
    if not moving:
        return unknown(f"it moves less than {STILL_UNITS} units in {window_s:g} s")
    arcs, jerks = ([measure(window, fps) for window in moving] for measure in (sparc, ldlj))
    return Movement(name, path.float(), speed.float(), travelled, sum(arcs) / len(arcs), sum(jerks) / len(jerks),
                    len(moving), window_s)


def motion(reading: Reading, fps: float = 25.0, window_s: float = WINDOW_S) -> Motion:
    """Measure how head and hands move in T pictures."""
    found = tuple(movement(name, path, fps, window_s) for name, path in paths(reading).items())
    if any(one.applies for one in found):
        return Motion(found)
    return Motion(found, applies=False, reason="; ".join(f"{one.name}: {one.reason}" for one in found))
