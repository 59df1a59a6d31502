"""The latents of diffusers' pipelines in one layout, (1, C, F, h, w), and their decoder.

Pipelines pack their latents in several ways: as pictures (B, C, h, w), as videos (B, C, F, h, w) or (B, F, C, h, w), or
as tokens (B, N, D), for which most have a method `_unpack_latents` of their own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from math import isqrt
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.decoder import to_pictures
from liveavatar.preview import LatentMap, fit_map
from liveavatar.types import InputError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from liveavatar.types import Block

FRAMES_FIRST = ("CogVideoX", "ConsisID", "StableVideoDiffusion")   # latents (B, F, C, h, w)


class LatentLayout:
    """Brings the latents of one call of a pipeline into the layout (B, C, F, h, w).

    arguments: of the call, by name. `remark` says what could not be done, in a sentence; "" where all could.
    """

    def __init__(self, pipe: DiffusionPipeline, arguments: Mapping[str, object]) -> None:
        self._pipe, self._arguments = pipe, arguments
        self.remark = ""

    def unpack(self, latents: Tensor) -> Tensor:
        """Return latents as (B, C, F, h, w), whatever the pipeline's own layout."""
        if latents.ndim == 3:
            latents = self._unpack_tokens(latents)
        if latents.ndim == 4:
            return latents.unsqueeze(2)
        if latents.ndim != 5:
            raise InputError(f"latents of shape {tuple(latents.shape)} are neither pictures nor a video")
        frames_first = type(self._pipe).__name__.startswith(FRAMES_FIRST)
        return latents.transpose(1, 2) if frames_first else latents

    def _unpack_tokens(self, tokens: Tensor) -> Tensor:
        """Unpack (B, N, D) by the pipeline's own method; else lay the tokens out as a grid and remark on it."""
        method = getattr(self._pipe, "_unpack_latents", None)
        if method is not None:
            try:
                return method(tokens, **self._sizes(set(inspect.signature(method).parameters) - {"latents"}))
            except (KeyError, TypeError, RuntimeError, ValueError):
                pass                                               # another signature, or other sizes than were asked
        self.remark = ("the latents are tokens whose places this pipeline does not tell: they are laid out as a grid, "
                       "and are not decoded")
        batch, count, width = tokens.shape
        rows = next(side for side in range(isqrt(count), 0, -1) if count % side == 0)
        return tokens.transpose(1, 2).reshape(batch, width, rows, count // rows)

    def _sizes(self, names: set[str]) -> dict[str, int]:
        """Return the arguments of `_unpack_latents`: sizes in pixels for pictures, in latent pixels for videos."""
        pipe = self._pipe
        scale = getattr(pipe, "vae_scale_factor", 1)
        sizes = {"vae_scale_factor": scale}
        for side in ("height", "width"):
            sizes[side] = self._arguments.get(side) or pipe.default_sample_size * scale
        if "num_frames" in names:
            spatial, temporal = pipe.vae_spatial_compression_ratio, pipe.vae_temporal_compression_ratio
            sizes |= {"height": sizes["height"] // spatial, "width": sizes["width"] // spatial,
                      "num_frames": (self._arguments["num_frames"] - 1) // temporal + 1,
                      "patch_size": pipe.transformer_spatial_patch_size,
                      "patch_size_t": pipe.transformer_temporal_patch_size}
        return {name: sizes[name] for name in names}


class PipelineBackend:
    """Hold what views ask of a pipeline: its networks, its device and its decoder."""

    trim_frames, blocks_join, on_card = 0, False, False

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.name = type(pipe).__name__
        self._pipe = pipe
        self._decoder: PipelineDecoder | None = None
        self.vae = getattr(pipe, "vae", None)
        for name, part in vars(pipe).items():
            if isinstance(part, torch.nn.Module):
                setattr(self, f"network_{name}", part)     # weights are counted by attribute

    @property
    def device(self) -> torch.device:
        return getattr(self._pipe, "_execution_device", self._pipe.device)

    def decodes(self, channels: int) -> bool:
        """Tell whether latents of so many channels can be turned into pictures."""
        return channels == 3 if self.vae is None else hasattr(self.vae, "decoder") and hasattr(self.vae, "decode")

    def decoder(self, condition: object = None) -> PipelineDecoder:
        if self._decoder is None:
            self._decoder = PipelineDecoder(self.vae)
        return self._decoder

    def about(self) -> dict:
        return {"name": self.name, "dtype": str(self._pipe.dtype).removeprefix("torch.")}


class PipelineDecoder:
    """Decode latents (1, C, F, h, w) by the VAE of a pipeline. Blocks do not depend on one another.

    The VAE shares its weights with the pipeline's and has a state of its own: videos that the pipeline decodes
    meanwhile are not disturbed. One thread at a time decodes: many VAEs of videos keep their state in themselves.
    Without a VAE, latents of three channels are pictures already.
    """

    def __init__(self, vae: torch.nn.Module | None) -> None:
        self._vae = None if vae is None else private_copy(vae)
        self._lock = Lock()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode (1, C, F, h, w) -> (T, H, W, 3) uint8"""
        if self._vae is None:
            if latents.shape[1] != 3:
                raise InputError(f"this pipeline has no VAE that could decode its latents of {latents.shape[1]} "
                                 "channels; leave exact off")
            return to_pictures((latents.float() / 2 + 0.5).clamp(0, 1))
        weight = next(self._vae.parameters())
        latents = denormalize(self._vae, latents.float()).to(weight.device, weight.dtype)
        with self._lock:
            video = decode_video(self._vae, latents)
        return to_pictures((video.float() / 2 + 0.5).clamp(0, 1))

    def fork(self) -> PipelineDecoder:
        """Return another decoder that goes on from here on its own."""
        return self                                                # nothing is remembered between two calls


def private_copy(vae: torch.nn.Module) -> torch.nn.Module:
    """Copy a VAE without its weights, which both share; with them where it decodes in float32 only."""
    if vae.dtype == torch.float16 and vae.config.get("force_upcast"):
        return copy.deepcopy(vae).float()
    shared = {id(tensor): tensor for tensor in (*vae.parameters(), *vae.buffers())}
    return copy.deepcopy(vae, shared)


def denormalize(vae: torch.nn.Module, latents: Tensor) -> Tensor:
    """Undo what pipelines do to latents after encoding: (1, C, F, h, w) -> the same, as the VAE made them."""
    buffers = dict(vae.named_buffers(recurse=False))               # where LTX has them

    def of_channels(name: str) -> Tensor | None:
        values = buffers.get(name, vae.config.get(name))
        return None if values is None else torch.as_tensor(values).float().view(1, -1, 1, 1, 1).to(latents.device)

    mean, std = of_channels("latents_mean"), of_channels("latents_std")
    latents = latents / (vae.config.get("scaling_factor") or 1.0)
    if mean is not None and std is not None:
        return latents * std + mean
    return latents + (vae.config.get("shift_factor") or 0.0)


def decode_video(vae: torch.nn.Module, latents: Tensor) -> Tensor:
    """Decode (1, C, F, h, w) -> (1, 3, T, H, W) in -1..1; a VAE of pictures decodes the F latent frames one by one."""
    options = {"return_dict": False}
    if vae.config.get("timestep_conditioning"):                    # of the newer LTX: 0 is what its pipeline takes
        options["temb"] = latents.new_zeros(1)
    if convolves_time(vae):
        return vae.decode(latents, **options)[0]
    pictures = [vae.decode(frame, **options)[0] for frame in latents[0].transpose(0, 1).split(1)]
    return torch.cat(pictures).transpose(0, 1)[None]


def convolves_time(vae: torch.nn.Module) -> bool:
    """Tell whether a VAE decodes videos (B, C, F, h, w), by its first convolution."""
    kinds = (torch.nn.Conv2d, torch.nn.Conv3d)
    first = next((module for module in vae.decoder.modules() if isinstance(module, kinds)), None)
    return isinstance(first, torch.nn.Conv3d)


def pictures_of(result: object, batch: int) -> list[Tensor] | None:
    """Return the pictures (T, H, W, 3) uint8 of each of `batch` videos or images that a pipeline returned; None where
    it returned something else, such as latents."""
    found = next((getattr(result, name) for name in ("frames", "images") if hasattr(result, name)), None)
    if found is None and isinstance(result, tuple) and result:
        found = result[0]
    if found is None or len(found) != batch:
        return None
    videos = [as_pictures(one) for one in found]
    return None if any(video is None for video in videos) else videos


def as_pictures(video: object) -> Tensor | None:
    """Turn one video or image of any output type into (T, H, W, 3) uint8; None where it is neither."""
    from PIL import Image

    if isinstance(video, Image.Image):
        video = [video]
    if isinstance(video, list | tuple) and video and all(isinstance(frame, Image.Image) for frame in video):
        return torch.from_numpy(np.stack([np.asarray(frame.convert("RGB")) for frame in video]))
    channels_last = isinstance(video, np.ndarray)
    values = torch.as_tensor(video) if channels_last or isinstance(video, Tensor) else None
    if values is None or values.ndim not in (3, 4):
        return None
    values = values[None] if values.ndim == 3 else values
    values = values if channels_last else values.movedim(1, -1)    # (T, C, H, W) -> (T, H, W, C)
    return to_pictures(values.movedim(-1, 0)[None]) if values.shape[-1] == 3 else None


def temporal_ratio(pipe: DiffusionPipeline) -> int:
    """Return how many video frames a latent frame after the first stands for."""
    vae = getattr(pipe, "vae", None)
    for owner, name in ((pipe, "vae_scale_factor_temporal"), (pipe, "vae_temporal_compression_ratio"),
                        (vae, "temporal_compression_ratio")):
        if isinstance(getattr(owner, name, None), int):
            return getattr(owner, name)
    return 1


def frames_in(frames: int, latents: int) -> dict[str, int]:
    """Return the fields of Facts that say how T frames follow from F latent frames."""
    if latents == 1:
        return {"frames_per_latent": 1, "first_frames": frames}
    if (frames - 1) % (latents - 1) == 0:                          # causal: the first stands for one frame
        return {"frames_per_latent": (frames - 1) // (latents - 1), "first_frames": 1}
    ratio = max(frames // latents, 1)
    return {"frames_per_latent": ratio, "first_frames": max(frames - (latents - 1) * ratio, 1)}


def fit_pictures(block: Block) -> LatentMap:
    """Fit colours to the latents of a finished block, by a picture of each latent frame."""
    latents = block.latents[0].float().cpu()                                       # (C, F, h, w)
    chosen = torch.linspace(0, len(block.frames) - 1, latents.shape[1]).round().long()
    pictures = block.frames[chosen].permute(0, 3, 1, 2).float() / 255              # (F, 3, H, W)
    colours = torch.nn.functional.adaptive_avg_pool2d(pictures, latents.shape[-2:])
    return fit_map(latents.flatten(1).T.numpy(), colours.transpose(0, 1).flatten(1).T.numpy())
