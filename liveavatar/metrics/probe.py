"""What a straight line reads off the noisy latents: when are mouth, head, person and light decided?

    x at noise level sigma --Probe.read--> mouth opening, head yaw, light, identity: one value each a latent frame

A linear probe (Alain and Bengio 2016, arXiv:1610.01644) of mini's latents. It looks at sums over 4 x 4 cells of the
whole latent and over 2 x 2 cells around the mouth, and is ridge regression in closed form: with x = (1 - sigma) clean +
sigma noise, only means and covariances of the clean latents have to be known, so a small file answers for every sigma.
It is trained by `liveavatar.training.probe`; its R² on held clips is in the same file.
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
NAMES = tuple(name for names in QUANTITIES.values() for name in names)
COARSE, FINE = 4, 2                             # cells a side that are summed: of the whole picture, around the mouth
MOUTH = (0.375, 0.75, 0.3125, 0.6875)           # top, bottom, left, right of the fine part, as shares of the picture


@dataclass(frozen=True)
class Probe:
    """Moments of clean features in a few directions; D features, R directions, K values in the order of NAMES."""

    basis: Tensor               # (D, R)
    mean: Tensor                # (R,) of clean features
    covariance: Tensor          # (R, R) of clean features
    noise: Tensor               # (R, R) covariance of the features of unit noise
    cross: Tensor               # (R, K) covariance of clean features and values
    values: Tensor              # (K,) mean of the values
    about: dict                 # shape (C, h, w), ridge, weights, sigmas, r2 {quantity: [[mean, low, high], ...]} ...

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

    def weights(self, sigma: float) -> Tensor:
        """Return the weights of the directions at a noise level (0 clean, 1 pure noise): (R, K)."""
        if not 0 <= sigma <= 1:
            raise InputError(f"sigma is {sigma!r}; give a noise level from 0 (clean) to 1 (noise)")
        keep = 1 - sigma
        spread = keep**2 * self.covariance + (sigma**2 + self.about["ridge"]) * self.noise
        return torch.linalg.solve(spread, keep * self.cross)

    def read(self, x: Tensor, sigma: float) -> dict[str, Tensor]:
        """Read latents x (1, C, F, h, w) that are noisy to the level sigma. -> {name: (F,)} of NAMES

        Raises InputError for latents of another shape than it was trained on.
        """
        frames = x.float().cpu()[0].transpose(0, 1)
        if list(frames.shape[1:]) != self.about["shape"]:
            raise InputError(f"the latents have the shape {tuple(frames.shape[1:])} a latent frame; this probe was "
                             f"trained on {tuple(self.about['shape'])}: mini at its default size")
        seen = features(frames) @ self.basis - (1 - sigma) * self.mean
        read = self.values + seen @ self.weights(sigma)
        return dict(zip(NAMES, read.unbind(1), strict=True))


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

    tensors = {"basis": probe.basis.half(), **{name: getattr(probe, name).float() for name in
                                               ("mean", "covariance", "noise", "cross", "values")}}
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
        return Probe(**tensors, about=about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no probe that can be read ({error}); train one: "
                         "python -m liveavatar.training.probe") from error
