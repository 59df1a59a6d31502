"""Latents that people can look at: cheaply by one matrix, exactly by the decoder; and pictures as small files.

A latent pixel has 16 numbers, its colour 3. A matrix fitted by least squares between them shows most of a picture at no
cost, at an eighth of the size. The real decoder shows all of it.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from liveavatar.decoder import name_of_vae
from liveavatar.types import InputError, Portrait, Step

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.backends.mini.vae import VideoVAE

SHIPPED = Path(__file__).with_name("preview_maps.json")    # name of a VAE -> its map; `python -m liveavatar.preview`
FIT_SIDE = 64            # px of the pictures that a map is fitted on
FIT_PICTURES = 6
RIDGE = 1e-3             # keeps channels that say nothing about colour at zero


@dataclass(frozen=True)
class LatentMap:
    """Colour = weights * latent + bias, both 0..1."""

    weights: np.ndarray      # (C, 3) float32
    bias: np.ndarray         # (3,) float32
    explained: float         # share of the decoded pictures' variance that it shows, at most 1
    source: str = "fitted"   # "fitted" to a decoder, or "principal": colours mean nothing, shapes do

    def colours(self, latents: np.ndarray) -> np.ndarray:
        """Map latents (C, F, h, w) -> (F, h, w, 3) uint8"""
        return to_bytes(np.tensordot(latents, self.weights, (0, 0)) + self.bias)

    def directions(self, latents: np.ndarray, gain: float = 0.5) -> np.ndarray:
        """Return the same for something that is added to latents, such as a velocity: nothing is mid-grey."""
        return to_bytes(0.5 + gain * np.tensordot(latents, self.weights, (0, 0)))

    def to_dict(self) -> dict:
        return {"weights": self.weights.tolist(), "bias": self.bias.tolist(), "explained": self.explained,
                "source": self.source}

    @classmethod
    def from_dict(cls, values: dict) -> LatentMap:
        weights, bias = (np.asarray(values[name], np.float32) for name in ("weights", "bias"))
        return cls(weights, bias, values["explained"], values["source"])


def fit_map(latents: np.ndarray, colours: np.ndarray) -> LatentMap:
    """Fit by least squares between latent pixels (N, C) and their colours (N, 3), 0..1."""
    if len(latents) != len(colours):
        raise InputError(f"{len(latents)} latent pixels against {len(colours)} colours; give one colour for each")
    means = latents.mean(0), colours.mean(0)
    x, y = latents - means[0], colours - means[1]
    ridge = RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    variance = (y ** 2).sum()
    explained = 1 - ((y - x @ weights) ** 2).sum() / variance if variance > 0 else 1.0
    return LatentMap(weights.astype(np.float32), (means[1] - means[0] @ weights).astype(np.float32), float(explained))


def map_of(backend: Backend) -> LatentMap:
    """Return the map of a backend's decoder: the shipped one where it was made for these weights, else fitted, once."""
    if backend not in _maps:
        shipped = shipped_maps().get(name_of_vae(backend))
        _maps[backend] = LatentMap.from_dict(shipped) if shipped else fit_backend(backend)
    return _maps[backend]


@cache
def shipped_maps() -> dict[str, dict]:
    """Read the maps that were made for the weights in the package, by name of the VAE."""
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


_maps: WeakKeyDictionary[Backend, LatentMap] = WeakKeyDictionary()


@torch.inference_mode()
def fit_backend(backend: Backend) -> LatentMap:
    """Fit the map of a backend: encode and decode pictures, compare latents and colours. Takes about a second."""
    pairs = [looked_at(backend, portrait) for portrait in fit_portraits()]
    latents, colours = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return fit_map(latents, colours)


@cache
def shipped_vae(name: str) -> VideoVAE | None:
    """Load the VAE that is part of the package, if `name_of_vae` calls it so; None if it is another one."""
    from liveavatar.backends.devices import choose_device, choose_dtype
    from liveavatar.backends.mini import WEIGHTS, trained_vae
    from liveavatar.weights import read_manifest

    try:
        vae = trained_vae(read_manifest(WEIGHTS))
    except InputError:                                   # no weights in this installation
        return None
    if name_of_vae(vae) != name:
        return None
    device = choose_device("auto")
    return vae.to(device, choose_dtype("auto", device))


def looked_at(backend: Backend, portrait: Portrait) -> tuple[np.ndarray, np.ndarray]:
    """Return a portrait's latent pixels (N, C), and the mean colour (N, 3) of what each is decoded to."""
    reference, _ = backend.encode_image(portrait, tuple(portrait.pixels.shape[1:]))          # (1, C, 1, h, w)
    pictures = backend.decoder().decode(reference)[-1].float() / 255                  # (H, W, 3)
    latents = reference[0, :, 0].float().cpu()
    colours = torch.nn.functional.adaptive_avg_pool2d(pictures.permute(2, 0, 1), latents.shape[1:])
    return latents.flatten(1).T.numpy(), colours.flatten(1).T.numpy()


def fit_portraits() -> list[Portrait]:
    """Return portraits to fit on, half rendered avatars, half soft colours: always the same."""
    from liveavatar.avatars.portraits import avatar

    size, generator = (FIT_SIDE, FIT_SIDE), torch.Generator().manual_seed(0)
    soft = torch.rand(FIT_PICTURES // 2, 3, 4, 4, generator=generator)
    fields = torch.nn.functional.interpolate(soft, size, mode="bicubic", align_corners=False).clamp(0, 1)
    return [avatar(seed, size) for seed in range(FIT_PICTURES - len(fields))] + [Portrait(field) for field in fields]


def principal_map(latents: np.ndarray) -> LatentMap:
    """Fit a map where no decoder is at hand: the three directions in which latents (C, F, h, w) differ most, as
    colours."""
    pixels = latents.reshape(len(latents), -1)
    centred = pixels - pixels.mean(1, keepdims=True)
    variances, directions = np.linalg.eigh(centred @ centred.T / centred.shape[1])
    chosen = directions[:, ::-1][:, :3]
    scale = 0.2 / np.sqrt(np.maximum(variances[::-1][:3], 1e-6))
    weights = np.zeros((len(latents), 3), np.float32)
    weights[:, :chosen.shape[1]] = chosen * scale
    bias = 0.5 - pixels.mean(1) @ weights
    shown = float(variances[::-1][:3].sum() / max(variances.sum(), 1e-9))
    return LatentMap(weights, bias.astype(np.float32), shown, "principal")


@torch.inference_mode()
def decode_exactly(backend: Backend, latents: Tensor, before: Tensor | None = None) -> np.ndarray:
    """Decode latents (1, C, F, h, w) through the real decoder -> (T, H, W, 3) uint8; `before` is the block before them.
    """
    decoder = backend.decoder()
    if before is not None:
        decoder.decode(before)
    return decoder.decode(latents).numpy()


# ------------------------------------------------------------------------------------------- numbers

@dataclass(frozen=True)
class StepNumbers:
    """Hold what can be said of one step in numbers. None: not known, or not kept in the trace."""

    sigma: float
    sigma_next: float
    share: float                    # of the path from noise to picture, 0..1
    velocity_norm: float | None     # root mean square over all values; 1.4 is noise against a picture of unit variance
    cosine: float | None            # between this velocity and that of the step before, -1..1
    milliseconds: float
    mean: float                     # moments of what is shown
    std: float
    skew: float
    kurtosis: float                 # excess: 0 for a normal distribution
    minimum: float
    maximum: float


def numbers_of(step: Step, before: Step | None, shown: np.ndarray, first_sigma: float = 1.0) -> StepNumbers:
    """Return numbers of a step; `before` is the step before it in the same block, `shown` the values whose moments
    count."""
    velocity, earlier = step.velocity, None if before is None else before.velocity
    norm = None if velocity is None else length_of(velocity) / math.sqrt(velocity.numel())
    cosine = None if velocity is None or earlier is None else cosine_between(velocity, earlier)
    values = np.ravel(shown)
    mean = float(values.mean())
    unit = values - mean
    std = math.sqrt(unit @ unit / unit.size)
    unit /= max(std, 1e-9)
    square = unit * unit
    return StepNumbers(step.sigma, step.sigma_next, (step.sigma - step.sigma_next) / first_sigma, norm, cosine,
                       step.milliseconds, mean, std, float(square @ unit) / unit.size,
                       float(square @ square) / unit.size - 3, float(values.min()), float(values.max()))


def length_of(tensor: Tensor) -> float:
    """Return the square root of the sum of all squares."""
    values = np.ravel(values_of(tensor))
    return math.sqrt(values @ values)


def cosine_between(one: Tensor, other: Tensor) -> float:
    """Return the cosine; 1: they point the same way, -1: against each other."""
    product = np.ravel(values_of(one)) @ np.ravel(values_of(other))
    return float(product) / max(length_of(one) * length_of(other), 1e-9)


def histogram(values: np.ndarray, reach: float = 4.0, bins: int = 48) -> list[int]:
    """Return how many values fall into each of `bins` equal parts of -reach..reach; what lies outside counts at the
    ends."""
    places = np.clip((np.ravel(values) + reach) * (bins / (2 * reach)), 0, bins - 1).astype(np.int64)
    return np.bincount(places, minlength=bins).tolist()


# ------------------------------------------------------------------------------------------- pictures as bytes

def values_of(latents: Tensor) -> np.ndarray:
    """Convert (1, C, F, h, w) of any dtype -> (C, F, h, w) float32 in main memory"""
    return latents[0].detach().float().cpu().numpy()


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Convert 0..1 to 0..255 uint8; what lies outside is clipped."""
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def signed_bytes(values: np.ndarray, reach: float) -> np.ndarray:
    """Convert -reach..reach to 0..255 uint8, 0 in the middle."""
    return to_bytes(0.5 + 0.5 * values / reach)


def jpeg(picture: np.ndarray, quality: int = 85) -> bytes:
    """Encode (H, W, 3) uint8 as a JPEG file"""
    return encoded(picture, "JPEG", quality=quality)


def png(picture: np.ndarray) -> bytes:
    """Encode (H, W, 3) or (H, W) uint8 as a PNG file"""
    return encoded(picture, "PNG", compress_level=1)


def encoded(picture: np.ndarray, form: str, **options: object) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, form, **options)
    return file.getvalue()


HEAT = ((120, 28, 109), (187, 55, 84), (249, 142, 9), (252, 222, 100), (252, 255, 220))    # violet, orange, white
TICKS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)     # differences that may be written at a scale
LEAST_BETWEEN = 0.13     # of the scale's length, between two of them
SEEN_BELOW = 0.32        # place on the scale below which the picture behind shines through


@cache
def heat_table() -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of 256 values, (256, 3), as far as they cover; and how much of a picture behind is left,
    (256,)."""
    values = np.linspace(0, 1, 256)
    places = np.linspace(0, 1, len(HEAT))
    hot = np.stack([np.interp(values, places, [colour[channel] for colour in HEAT]) for channel in range(3)], 1)
    cover = np.clip(values / SEEN_BELOW, 0, 1) ** 2
    return (hot * cover[:, None]).astype(np.float32), (1 - cover).astype(np.float32)


def heat(values: np.ndarray, behind: np.ndarray | None = None) -> np.ndarray:
    """Colour values (..., H, W) 0..1 -> (..., H, W, 3) uint8: violet, orange, white.

    behind (..., H, W, 3) uint8: pictures that are seen in dark grey where the values are small; black without them.
    """
    hot, left = heat_table()
    places = to_bytes(values)
    if behind is None:
        return (hot + 0.5).astype(np.uint8)[places]
    grey = behind @ np.float32([0.15, 0.29, 0.06])                       # half the luminance
    return (hot[places] + (left[places] * grey)[..., None] + 0.5).astype(np.uint8)


def on_scale(changes: np.ndarray, reach: float) -> np.ndarray:
    """Map differences (..., H, W) 0..1 to their place 0..1 on a scale that ends at `reach`: the square root of the
    share, so that small ones can be seen beside large ones."""
    return np.sqrt(np.clip(changes / max(reach, 1e-6), 0, 1))


def scale_ticks(reach: float) -> list[tuple[float, str]]:
    """Return [(place 0..1 on the colour scale, difference in percent), ...]; the first and the last always."""
    found = [(0.0, "0")]
    for value in TICKS[1:]:
        place = float(on_scale(np.float64(value), reach))
        if value < reach and place - found[-1][0] >= LEAST_BETWEEN <= 1 - place:
            found.append((place, f"{100 * value:g}"))
    return [*found, (1.0, f"{100 * reach:g} %")]


def strip(frames: np.ndarray, height: int | None = None) -> np.ndarray:
    """Join pictures (T, H, W, 3) side by side, as one (height, T * width, 3)."""
    from PIL import Image

    if height is not None and height < frames.shape[1]:
        width = max(round(frames.shape[2] * height / frames.shape[1]), 1)
        frames = np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames])
    return np.concatenate(list(frames), axis=1)


def main() -> None:
    """Fit the map of the shipped weights and ship it with them; to be called when the VAE of mini was trained anew."""
    from liveavatar.backends import find

    backend = find("mini").load(dtype="float32", device="cpu")
    fitted = fit_backend(backend)
    rounded = LatentMap(fitted.weights.round(5), fitted.bias.round(5), round(fitted.explained, 4))
    values = {name: np.round(value, 5).tolist() for name, value in rounded.to_dict().items() if name != "source"}
    SHIPPED.write_text(json.dumps({name_of_vae(backend): values | {"source": "fitted"}}, indent=1) + "\n", "utf-8")
    print(f"{SHIPPED.name}: shows {fitted.explained:.1%} of the colours")


if __name__ == "__main__":
    main()
