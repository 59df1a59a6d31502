"""What a face does through a video, beside speaking: stay the same person, move, blink, show teeth.

Every function takes landmarks or pixels of T pictures and returns a number or a curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.faces.curves import eye_distance, rigid_template
from liveavatar.faces.track import FaceTrack
from liveavatar.inspection.face_tracking import FacePixels
from liveavatar.metrics.reader import fill_gaps

ALIKE_DEG = 8.0             # pictures in which the head is turned by no more than this are compared
COARSE_PX = 4               # pixels of the aligned face that are averaged: it is never aligned to the pixel
UPPER = 40                  # rows of the aligned face: brows, eyes and nose, not the mouth
NOTICED_DEG = 0.5           # of turning, and
NOTICED_SHARE = 0.015       # of the eye distance, of moving: less within a second counts as standing still
SMOOTH_S = 0.12             # sigma with which the noise of the landmarks is averaged out
BLINK_DEPTH = 0.6           # of the usual opening of the eyes
BLINK_S = (0.04, 0.6)
BRIDGE = [168, 6, 197, 33, 263, 133, 362]      # landmarks that follow the head alone


@dataclass(frozen=True)
class Likeness:
    """Describe how much a face still looks like itself."""

    time_s: Tensor              # (W,) middle of each second
    change: Tensor              # (W,) 1 - correlation of brows, eyes and nose with the beginning; NaN where not alike
    end_share: float            # the same of the last two seconds
    noise_share: float          # the same between the halves of the beginning: what is nothing
    shape_share: float          # how far points of the skull have moved against each other, in eye distances
    compared: float             # share of the pictures that are turned as in the beginning


def likeness(pixels: FacePixels, track: FaceTrack, times_s: Tensor, beginning_s: float = 2.0) -> Likeness:
    """Compare brows, eyes and nose with those of the beginning, in pictures that are turned alike."""
    pose = track.head_pose_deg
    found = track.found & ~pose.isnan().any(1)
    eyes = track.eye_opening.mean(1)
    found = found & (eyes > BLINK_DEPTH * eyes.nanmedian())                               # a blink is no other face
    first = found & (times_s < beginning_s)
    alike = found & ((pose - pose[first].median(0).values).abs().amax(1) < ALIKE_DEG)
    upper = F.avg_pool2d(pixels.aligned[:, None, :UPPER].float(), COARSE_PX).flatten(1)
    first, last = first & alike, alike & (times_s >= times_s[-1] - beginning_s)
    middles, changes = [], []
    reference = upper[first].mean(0)
    for second in range(math.ceil(float(times_s[-1]) + 1e-6)):
        here = alike & (times_s >= second) & (times_s < second + 1)
        middles.append(second + 0.5)
        changes.append(apart(upper[here].mean(0), reference) if int(here.sum()) >= 3 else math.nan)
    half = first & (times_s < beginning_s / 2)
    noise = apart(upper[half].mean(0), upper[first & ~half].mean(0))
    end = apart(upper[last].mean(0), reference) if int(last.sum()) >= 3 else math.nan
    return Likeness(torch.tensor(middles), torch.tensor(changes), end, noise, shape_change(track, first, last),
                    float(alike.float().mean()))


def apart(one: Tensor, other: Tensor) -> float:
    """Return 1 - correlation of two pictures (N,)."""
    one, other = one - one.mean(), other - other.mean()
    return float(1 - (one @ other) / (one.norm() * other.norm()).clamp(min=1e-6))


def shape_change(track: FaceTrack, first: Tensor, last: Tensor) -> float:
    """Return how far the mean positions of 48 points of the skull differ between two sets of pictures (T,) bool.

    Both are brought onto each other (Kabsch). In shares of the eye distance.
    """
    if not (first.any() and last.any()):
        return math.nan
    names, _ = rigid_template()
    one, other = (centred(track.points[chosen][:, names], track.points[chosen]) for chosen in (first, last))
    left, _, right = torch.linalg.svd(one.T @ other)
    turn = left @ torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(left @ right).sign())])) @ right
    return float((one @ turn - other).square().sum(1).mean().sqrt())


def centred(points: Tensor, all_points: Tensor) -> Tensor:
    """Return the mean of sets of points (N, P, 3), each around its middle and in eye distances: (P, 3)."""
    points = points - points.mean(1, keepdim=True)
    return (points / eye_distance(all_points)[:, None, None]).mean(0)


@dataclass(frozen=True)
class HeadMotion:
    """Describe how a head moves."""

    turning_deg: float          # root mean square around its mean, of yaw, pitch and roll together
    noise_deg: float            # what the landmarks' noise alone gives
    still_share: float          # share of the seconds in which it neither turns nor moves noticeably


def head_motion(track: FaceTrack, times_s: Tensor) -> HeadMotion:
    """Measure how much the head turns and moves."""
    from scipy.ndimage import gaussian_filter1d

    step_s = float(times_s.diff().median())
    raw = torch.cat([track.head_pose_deg, (track.points[:, BRIDGE, :2].mean(1)
                                           / eye_distance(track.points).nanmedian())], 1)
    curves = torch.stack([fill_gaps(column) for column in raw.T], 1)                      # (T, 5)
    smooth = torch.from_numpy(gaussian_filter1d(curves.double().numpy(), SMOOTH_S / step_s, axis=0))
    size = max(2, round(1 / step_s))
    noise = float((curves.diff(dim=0)[:, :3].double().square().mean(0) / 2).sum().sqrt())
    turning = float(smooth[:, :3].var(0, correction=0).sum().sqrt())
    if len(smooth) < size:
        return HeadMotion(turning, noise, math.nan)
    extent = smooth.unfold(0, size, max(1, size // 2))                                    # (W, 5, size)
    extent = extent.amax(2) - extent.amin(2)
    still = (extent[:, :3].amax(1) < NOTICED_DEG) & (extent[:, 3:].amax(1) < NOTICED_SHARE)
    return HeadMotion(turning, noise, float(still.float().mean()))


def count_blinks(track: FaceTrack, times_s: Tensor) -> int:
    """Count how often both eyes close for a moment."""
    opening = fill_gaps(track.eye_opening.mean(1))
    usual = opening.quantile(0.7)
    closed = opening < BLINK_DEPTH * usual
    edges = F.pad(closed.int(), (1, 1)).diff()
    begins, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    step_s = float(times_s.diff().median())
    lasts_s = (ends - begins) * step_s
    return int(((lasts_s >= min(BLINK_S[0], step_s)) & (lasts_s <= BLINK_S[1])).sum())
