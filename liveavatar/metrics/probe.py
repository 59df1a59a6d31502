"""What a straight line reads off the noisy latents: when are mouth, head, person and light decided?

    x at noise level sigma, portrait --Probe.read--> mouth opening, head yaw, light, identity of each latent frame

A linear probe (Alain and Bengio 2016, arXiv:1610.01644) of mini's latents. It looks at sums over 2 x 2 cells of the
whole latent and at single cells around the mouth. Mouth, head and light are read off what differs from the portrait,
which the network is given as well; identity off x alone. It is ridge regression in closed form: with
x = (1 - sigma) clean + sigma noise, only means and covariances of clean latents have to be known, so a small file
answers for every sigma. It is trained by `liveavatar.training.probe`; its R² on held clips is in the same file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.types import InputError

SHIPPED = Path(__file__).parent / "probe.safetensors"
# What is read, and the numbers it consists of; colours are means of red, green and blue
QUANTITIES: dict[str, tuple[str, ...]] = {
    "mouth opening": ("mouth_aperture",),
    "head yaw": ("head_yaw",),
    "light": ("light_warm", "light_cool", "light_spot"),
    "identity": ("skin", "hair", "shirt", "glasses"),
}
STAYED = QUANTITIES["identity"]
MOVED = tuple(name for quantity, names in QUANTITIES.items() if quantity != "identity" for name in names)
NAMES = (*MOVED, *STAYED)
COARSE, FINE = 2, 1                             # cells a side that are summed: of the whole picture, around the mouth
MOUTH = (0.375, 0.75, 0.3125, 0.6875)           # top, bottom, left, right of the fine part, as shares of the picture


@dataclass(frozen=True)
class Readout:
    """Means and covariances of clean features in a few directions; D features, R directions, K values."""

    basis: Tensor               # (D, R)
    mean: Tensor                # (R,) of clean features
    covariance: Tensor          # (R, R) of clean features
    noise: Tensor               # (R, R) covariance of the features of unit noise
    cross: Tensor               # (R, K) covariance of clean features and values
    values: Tensor              # (K,) mean of the values
    ridges: Tensor              # (K,) variance of noise that is added in the regression of each value

    def weights(self, sigma: float) -> Tensor:
        """Return the weights of the directions at a noise level: (R, K)."""
        noise = sigma**2 + self.ridges[:, None, None]
        spread = (1 - sigma) ** 2 * self.covariance + noise * self.noise                    # (K, R, R)
        return torch.linalg.solve(spread, (1 - sigma) * self.cross.T[..., None])[..., 0].T

    def read(self, seen: Tensor, sigma: float) -> Tensor:
        """Read features (N, D) that are noisy to the level sigma -> (N, K)"""
        away = seen @ self.basis - (1 - sigma) * self.mean
        return self.values + away @ self.weights(sigma)


@dataclass(frozen=True)
class Probe:
    """Two readouts, of what moves and of what stays, and how good they are."""

    moved: Readout              # of MOVED, off what differs from the portrait
    stayed: Readout             # of STAYED, off x alone
    about: dict                 # shape (C, h, w), weights, sigmas, r2 {quantity: [[mean, low, high], ...]} ...

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Return the noise levels at which it was judged."""
        return tuple(self.about["sigmas"])

    def r2(self, quantity: str) -> tuple[tuple[float, float, float], ...]:
        """Return R² on held clips at each of `sigmas`, with its 95 % interval: (mean, low, high). Raises InputError
        for an unknown quantity."""
        if quantity not in QUANTITIES:
            raise InputError(f"quantity is {quantity!r}; choose from {', '.join(map(repr, QUANTITIES))}")
        return tuple(tuple(one) for one in self.about["r2"][quantity])

    def read(self, x: Tensor, sigma: float, portrait: Tensor) -> dict[str, Tensor]:
        """Read latents x (1, C, F, h, w) that are noisy to the level sigma, 0 clean, 1 pure noise. -> {name: (F,)} of
        NAMES

        portrait: its latent (1, C, 1, h, w), `reference` of a Condition. Raises InputError for latents of another shape
        than it was trained on, and for a noise level outside of 0..1.
        """
        if not 0 <= sigma <= 1:
            raise InputError(f"sigma is {sigma!r}; give a noise level from 0 (clean) to 1 (noise)")
        frames, still = (latents.float().cpu()[0].transpose(0, 1) for latents in (x, portrait))
        for shape in (frames.shape[1:], still.shape[1:]):
            if list(shape) != self.about["shape"]:
                raise InputError(f"the latents have the shape {tuple(shape)} a latent frame; this probe was trained on "
                                 f"{tuple(self.about['shape'])}: mini at 128*128 px")
        return self.read_frames(frames, sigma, still)

    def read_frames(self, frames: Tensor, sigma: float, portraits: Tensor) -> dict[str, Tensor]:
        """Read N latent frames (N, C, h, w), each with its portrait (N, C, h, w) or all with one -> {name: (N,)}"""
        seen = features(frames)
        moved = self.moved.read(seen - (1 - sigma) * features(portraits), sigma)
        stayed = self.stayed.read(seen, sigma)
        return dict(zip(NAMES, (*moved.unbind(1), *stayed.unbind(1)), strict=True))


def features(latents: Tensor) -> Tensor:
    """Sum latents (N, C, h, w) over cells, so that unit noise stays unit noise -> (N, D)."""
    h, w = latents.shape[-2:]
    top, bottom, left, right = (round(share * side) for share, side in zip(MOUTH, (h, h, w, w), strict=True))
    mouth = latents[..., top:bottom, left:right]
    parts = COARSE * F.avg_pool2d(latents, COARSE), FINE * F.avg_pool2d(mouth, FINE)
    return torch.cat([part.flatten(1) for part in parts], 1)


def save_probe(probe: Probe, path: str | Path) -> None:
    """Write one safetensors file, below 100 kB."""
    from safetensors.torch import save_file

    tensors = {f"{of}.{name}": tensor.half() if name == "basis" else tensor.float()
               for of, readout in (("moved", probe.moved), ("stayed", probe.stayed))
               for name, tensor in vars(readout).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(path),
              metadata={"about": json.dumps(probe.about)})


@cache
def load_probe(path: str | Path = SHIPPED) -> Probe:
    """Read what `save_probe` wrote; the shipped one where no path is given. Raises InputError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}   # noqa: SIM118
        moved, stayed = (Readout(**{name.removeprefix(f"{of}."): tensor for name, tensor in tensors.items()
                                    if name.startswith(f"{of}.")}) for of in ("moved", "stayed"))
        return Probe(moved, stayed, about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no probe that can be read ({error}); train one: "
                         "python -m liveavatar.training.probe") from error
