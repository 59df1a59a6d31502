"""A pose video -> latents that are added to the noise of each block, as released.

Each clip is encoded on its own: its first picture twice, then the rest; the first latent is left out. Past the end of
the pose video there is black.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.backends.wan.vae import StreamingWanVAE
from liveavatar.conditions import fit_portrait
from liveavatar.files import user_path
from liveavatar.types import InputError, Portrait


def check_pose_video(path: str | os.PathLike) -> Path:
    """Refuse early what is no video."""
    import av

    path = user_path(path)
    if not path.is_file():
        raise InputError(f"pose_video {path} {'is a folder' if path.is_dir() else 'does not exist'}; give a video file")
    try:
        with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
            found = bool(container.streams.video)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"pose_video {path} is not a video that can be read ({error}); give an mp4") from error
    if not found:
        raise InputError(f"pose_video {path} holds no pictures; give a video, not a recording")
    return path


def pictures_of(path: Path, fps: float, size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield (3, H, W) 0..1, every n-th picture, so that they come about fps times a second."""
    import av

    with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        every = max(1, round(float(stream.average_rate or fps) / fps))
        for index, frame in enumerate(container.decode(stream)):
            if index % every == 0:
                pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255
                yield fit_portrait(Portrait(pixels), size)


def pose_latents(vae: StreamingWanVAE, path: Path, size: tuple[int, int], frames: int, clip_frames: int,
                 fps: float) -> Tensor:
    """Return (1, C, F, h, w) in main memory, F latent frames that cover `frames` video frames in whole clips"""
    black = torch.zeros(3, *size)
    pictures = chain(pictures_of(path, fps, size), repeat(black))
    latents = []
    for _ in range(-(-frames // clip_frames)):
        first = next(pictures)
        clip = chain([first, first], (next(pictures) for _ in range(clip_frames - 1)))
        encoded = list(vae.encode_pieces(in_pieces(clip)))
        latents += [latent.cpu() for latent in encoded[1:]]
    return torch.cat(latents, 2)


def in_pieces(pictures: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield one picture, then four at a time: (1, 3, 1 or 4, H, W)"""
    yield next(pictures)[None, :, None]
    while four := [picture for _, picture in zip(range(4), pictures, strict=False)]:
        yield torch.stack(four, 1)[None]
