"""Texture: is the face as sharp and as true as it should be, and does it keep still?

    frames + identity --texture--> PSNR, SSIM and detail of the face box against the nearest true pictures
    frames            --flicker--> how much flickers that should not, and how regularly

PSNR = -10 log10(mean squared error) for values in 0..1. SSIM after Wang, Bovik, Sheikh, Simoncelli 2004 (IEEE TIP
13:600): 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, on luminance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.traits import MOTION
from liveavatar.metrics.nearest import Nearest, guess, nearest_truth, within_range
from liveavatar.metrics.quality import CORNER_PX, decibel, frame_difference, seam
from liveavatar.metrics.reader import LUMINANCE, as_frames, as_uint8, read_face
from liveavatar.metrics.regressor import Reading

SAMPLED = 4                 # pictures of a video that are compared with true ones: 0.07 s each
CHECKED = 2                 # known pictures that are put through the same search, to bound its error
ASIDE = {"head_roll": 0.04, "gaze_x": 0.35, "gaze_y": -0.2, "brow_tilt": 0.08}     # typical of mini's training videos
DETAIL_PX = 1.0             # detail is what a Gaussian of this sigma takes away, in a picture of 128 px


# ---------------------------------------------------------------------------------------------- plain measures
def luminance(pictures: Tensor) -> Tensor:
    """Convert (..., 3, H, W) -> (..., H, W)"""
    weights = torch.tensor(LUMINANCE, dtype=pictures.dtype, device=pictures.device)
    return torch.einsum("c,...chw->...hw", weights, pictures)


def gaussian(sigma: float, reach: int) -> Tensor:
    """Return (2 * reach + 1,) weights that sum to 1."""
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    return (kernel / kernel.sum()).float()


def blurred(planes: Tensor, sigma: float, reach: int, held: bool = True) -> Tensor:
    """Return Gaussian blur of planes (N, H, W); held: edges are held and the size stays, else only whole windows count.
    """
    kernel = gaussian(sigma, reach).to(planes.dtype)
    planes = planes[:, None]
    if held:
        planes = F.pad(planes, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(planes, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def psnr_db(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return (N, 3, H, W) 0..1 twice -> (N,) dB; more is nearer to the truth."""
    errors = (pictures.float() - truth.float()).square().mean((1, 2, 3))
    return -10 * errors.clamp(min=1e-12).log10()


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity of luminance: (N, 3, H, W) 0..1 twice -> (N,); 1 is equal. Wang 2004, eq. 13."""
    a, b = luminance(pictures.double()), luminance(truth.double())
    if min(a.shape[-2:]) < 11:
        raise ValueError(f"pictures of {a.shape[-1]} x {a.shape[-2]} px are smaller than the window of 11 x 11")

    def mean(planes: Tensor) -> Tensor:
        return blurred(planes, 1.5, 5, held=False)

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a ** 2, mean(b * b) - mean_b ** 2
    together = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    alike = ((2 * mean_a * mean_b + c1) * (2 * together + c2)
             / ((mean_a ** 2 + mean_b ** 2 + c1) * (spread_a + spread_b + c2)))
    return alike.mean((1, 2)).float()


def detail(pictures: Tensor, sigma_px: float) -> Tensor:
    """Return what is finer than a Gaussian of sigma_px: (N, 3, H, W) -> (N, H, W) luminance without its blur."""
    planes = luminance(pictures.float())
    return planes - blurred(planes, sigma_px, math.ceil(3 * sigma_px))


# ---------------------------------------------------------------------------------------------- against the truth
@dataclass(frozen=True)
class Texture:
    """The face box against the nearest true pictures of the same person, on a few pictures of the video."""

    psnr_db: float               # of the mean squared error over all boxes
    ssim: float                  # mean, 1 is equal
    kept: float                  # energy of the detail against that of the truth: 1 as sharp, less is blurred
    in_place: float              # share of the true detail that is found where it belongs: noise does not count
    reachable_psnr_db: float     # what true pictures reach: the rest is the search's own error. NaN: not checked
    reachable_ssim: float
    sampled: tuple[int, ...]     # video frames that were compared
    psnr_each_db: Tensor         # (K,)
    box_px: tuple[int, int]      # height, width
    applies: bool = True
    reason: str = ""


def texture(frames: Tensor, identity: Tensor | None, reading: Reading | None = None, samples: int = SAMPLED,
            check: int = CHECKED) -> Texture:
    """Compare faces with what they should look like.

    frames (T, H, W, 3) uint8, identity (NI,) of the portrait, reading of all T pictures where there is one. `samples`
    pictures, evenly over the video, are compared. `check` true pictures of the same person are put through the same
    search, as if they had been generated: what it does not find again bounds what this measure can tell.
    """
    frames = as_frames(frames)
    if identity is None:
        return no_texture("the identity of the portrait is not known: only rendered portraits carry one")
    places = sample_places(len(frames), samples)
    reading = part(reading, places) if reading is not None else read_face(frames[places])
    known = _known_pictures(reading, identity, frames.shape[1:3], check)
    found = nearest_truth(torch.cat([frames[places], known]), joined(reading, read_face(known)) if check else reading,
                          identity, torch.tensor([0] * len(places) + [1] * len(known)))
    if min(found.box_px) < 16:
        return no_texture(f"the face is only {found.box_px[1]} x {found.box_px[0]} px large")
    ours, known = (Compared.of(found, chosen, frames.shape[1:3])
                   for chosen in (slice(len(places)), slice(len(places), None)))
    reachable = (decibel(known.errors.mean()), known.ssim.mean().item()) if check else (math.nan, math.nan)
    return Texture(decibel(ours.errors.mean()), ours.ssim.mean().item(), ours.kept, ours.in_place, *reachable,
                   tuple(places.tolist()), -10 * ours.errors.clamp(min=1e-12).log10(), found.box_px)


@dataclass(frozen=True)
class Compared:
    """Faces against their truth, where no hand is near."""

    errors: Tensor               # (K,) mean squared
    ssim: Tensor                 # (K,)
    kept: float
    in_place: float

    @classmethod
    def of(cls, found: Nearest, chosen: slice, size: tuple[int, int]) -> Compared:
        true, clear = found.true[chosen], found.clear[chosen]
        seen = torch.where(clear[:, None] > 0, found.seen[chosen], true)
        errors = (seen - true).square().mean(1).sum((1, 2)) / clear.sum((1, 2)).clamp(min=1)
        sigma_px = DETAIL_PX * min(size) / 128
        fine, true_fine = detail(seen, sigma_px) * clear, detail(true, sigma_px) * clear
        energy = true_fine.square().sum()
        return cls(errors, ssim(seen, true), (fine.square().sum() / energy).item(),
                   ((fine * true_fine).sum() / energy).item())


def no_texture(reason: str) -> Texture:
    """Return the result of what does not apply, with its reason."""
    return Texture(*[math.nan] * 6, (), torch.empty(0), (0, 0), False, reason)


def _known_pictures(reading: Reading, identity: Tensor, size: tuple[int, int], count: int) -> Tensor:
    """Return true pictures about as the ones read, but looking and leaning aside: what the regressor does not read must
    be found. -> (count, H, W, 3) uint8"""
    from liveavatar.avatars.renderer import render

    aside = torch.tensor([ASIDE.get(trait.name, 0.0) for trait in MOTION])
    motion = within_range(guess(reading)[:count] + aside)
    return as_uint8(render(identity.expand(len(motion), -1), motion, tuple(size)))


def joined(first: Reading, second: Reading) -> Reading:
    """Return the readings of two sets of pictures as one."""
    tensors = [field.name for field in fields(Reading)[:-1]]
    return Reading(*(torch.cat([getattr(first, name), getattr(second, name)]) for name in tensors), first.names)


def sample_places(T: int, samples: int) -> Tensor:
    """Return places spread evenly over T frames, the first and the last few left out: (K,) long"""
    samples = max(1, min(samples, T))
    return ((torch.arange(samples) + 0.5) * T / samples).long()


def part(reading: Reading, places: Tensor) -> Reading:
    """Return a reading of some of the pictures."""
    return Reading(reading.motion[places], reading.colours[places], reading.place[places], reading.features[places],
                   reading.names)


# ---------------------------------------------------------------------------------------------- flicker
@dataclass(frozen=True)
class Spectrum:
    """Describe how a patch of the picture brightens and darkens through time."""

    hertz: Tensor                # (F,)
    levels: Tensor               # (F,) amplitude in grey levels of 255; slow changes are taken out
    peak_hz: float               # of the strongest line
    peak_levels: float           # its amplitude
    prominence: float            # how many times the median line it is; noise of this length reaches about 3


@dataclass(frozen=True)
class Flicker:
    """Hold what changes from picture to picture though it should not."""

    still: float                 # mean change of the wall's corners from one picture to the next, levels of 255
    vbench: float                # (255 - still) / 255: temporal flickering of VBench, of static parts; 1 is best
    seam: float                  # change where a block begins against elsewhere; 1 is no seam
    spectra: dict[str, Spectrum] = field(default_factory=dict)     # "wall", "ears"
    applies: bool = True
    reason: str = ""


def flicker(frames: Tensor, reading: Reading | None = None, fps: float = 25.0, block_frames: int = 12) -> Flicker:
    """Measure flicker in the still corners of the wall, and in the lobes of the ears as they move along.

    frames (T, H, W, 3) uint8; with a reading of them, patches of the ear lobes are followed.
    """
    frames = as_frames(frames)
    T = len(frames)
    if T < 16:
        return Flicker(*[math.nan] * 3, applies=False, reason=f"{T} pictures are too few to flicker: 16 are needed")
    side = max(1, round(CORNER_PX * min(frames.shape[1:3]) / 128))
    wall = torch.cat([frames[:, :side, :side], frames[:, :side, -side:]], 2)                    # (T, side, 2 side, 3)
    still = 255 * changes(wall).mean().item()
    change = changes(frames)[None]
    spectra = {"wall": spectrum(grey(wall).mean((1, 2)), fps)}
    if reading is not None:
        spectra["ears"] = spectrum(ear_lobes(frames, reading).mean(1), fps)
    return Flicker(still, (255 - still) / 255, seam(change, block_frames).item(), spectra)


def changes(frames: Tensor, at_once: int = 64) -> Tensor:
    """Return mean absolute change from one picture to the next, 0..1: (T, H, W, 3) uint8 -> (T - 1,), in pieces"""
    pieces = [frames[first:first + at_once + 1] for first in range(0, len(frames) - 1, at_once)]
    return torch.cat([frame_difference(piece.permute(3, 0, 1, 2)[None].float() / 255)[0] for piece in pieces])


def grey(frames: Tensor) -> Tensor:
    """Convert (T, H, W, 3) uint8 -> (T, H, W) luminance in levels of 255"""
    return frames.float() @ torch.tensor(LUMINANCE)


def spectrum(levels: Tensor, fps: float, slow_s: float = 0.6) -> Spectrum:
    """Return the amplitude spectrum of a brightness (T,), from 1 Hz to half the frame rate.

    Changes slower than slow_s are taken out (a running mean), the ends are faded (Hann). A sine of amplitude a frames
    long shows as a line of height a.
    """
    width = 2 * round(slow_s * fps / 2) + 1
    levels = levels.double()
    held = F.pad(levels[None, None], (width // 2, width // 2), mode="replicate")
    fast = levels - F.avg_pool1d(held, width, 1)[0, 0]
    window = torch.hann_window(len(fast), periodic=False, dtype=torch.float64)
    lines = 2 * torch.fft.rfft((fast - fast.mean()) * window).abs() / window.sum()
    hertz = torch.arange(len(lines), dtype=torch.float64) * fps / len(fast)
    heard = hertz >= 1.0
    hertz, lines = hertz[heard], lines[heard]
    best = int(lines.argmax())
    return Spectrum(hertz.float(), lines.float(), hertz[best].item(), lines[best].item(),
                    (lines[best] / lines.median().clamp(min=1e-6)).item())


def ear_lobes(frames: Tensor, reading: Reading, side: int = 5) -> Tensor:
    """Return mean brightness of a small patch on each ear lobe, followed through the video: (T, 2) levels of 255."""
    from liveavatar.avatars.geometry import head_to_view, to_pixels
    from liveavatar.avatars.traits import MOTION_COLUMNS, Named
    from liveavatar.metrics.nearest import guess

    H, W = frames.shape[1:3]
    move = Named(guess(reading), MOTION_COLUMNS)
    yaw, pitch = move["head_yaw"], move["head_pitch"]
    reach = max(1.0, side * min(H, W) / 128) / 2
    grid = torch.linspace(-reach, reach, side)
    brightness = grey(frames)[:, None]                                                          # (T, 1, H, W)
    lobes = []
    for sign in (-1.0, 1.0):
        x, y = head_to_view(move, sign * 0.360 - yaw * 0.055, 0.085 - pitch * 0.03)
        x, y = to_pixels(move, x, y, (H, W))                                                    # (T, 1, 1)
        across = ((x + grid[None, None, :]) * 2 / W - 1).expand(-1, side, -1)
        down = ((y + grid[None, :, None]) * 2 / H - 1).expand(-1, -1, side)
        patch = F.grid_sample(brightness, torch.stack([across, down], -1), padding_mode="border", align_corners=False)
        lobes.append(patch.mean((1, 2, 3)))
    return torch.stack(lobes, 1)
