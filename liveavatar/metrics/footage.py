"""What is measured: the pictures of a finished file or of a live run, with their sound and what is known of them.

    path, Video, Run, blocks or frames --footage--> Footage
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.files import user_path
from liveavatar.metrics.reader import as_frames
from liveavatar.types import Block, InputError, Portrait, Speech
from liveavatar.video import Video, read_provenance

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy

    from liveavatar.runs.run import Run

    Source: TypeAlias = str | os.PathLike | Video | Run | Tensor | numpy.ndarray | Iterable[Block]


@dataclass(frozen=True)
class Footage:
    """Pictures to be measured."""

    frames: Tensor                       # (T, H, W, 3) uint8
    fps: float = 25.0
    speech: Speech | None = None         # its sound; None when it is silent or not known
    portrait: Portrait | None = None
    about: dict = field(default_factory=dict)     # what the file says of its origin

    @property
    def block_frames(self) -> int:
        """Return video frames in a block of mini."""
        return 12


def footage(source: Source, speech: Speech | None = None, portrait: Portrait | None = None,
            fps: float = 25.0) -> Footage:
    """Bring the pictures together. speech and portrait replace what the source knows; fps counts for bare frames."""
    if isinstance(source, Video):
        source = source.path
    if isinstance(source, str | os.PathLike):
        found = _of_file(user_path(source), with_sound=speech is None)
    elif is_run(source):
        found = Footage(_joined(source.blocks), source.info.fps, source.speech, source.portrait)
    elif isinstance(source, Tensor) or hasattr(source, "__array__"):
        found = Footage(as_frames(source), fps)
    else:
        found = Footage(_joined(source), fps)
    return replace(found, speech=speech or found.speech, portrait=portrait or found.portrait)


def is_run(source: object) -> bool:
    """Return a Run, or whatever looks like one."""
    return hasattr(source, "info") and hasattr(source, "blocks")


def _of_file(path: Path, with_sound: bool) -> Footage:
    """Decode a video file of any origin."""
    import av

    to_rgb = av.video.reformatter.VideoReformatter()        # one for all pictures, and one thread: half the work
    try:
        with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no pictures; give a video")
            stream, audible = container.streams.video[0], bool(container.streams.audio)
            stream.codec_context.thread_count = 1
            fps = float(stream.average_rate or 25)
            frames = [torch.from_numpy(to_rgb.reformat(frame, format="rgb24").to_ndarray())
                      for frame in container.decode(stream)]
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(f"video {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not frames:
        raise InputError(f"{path} holds no pictures; give a video")
    return Footage(torch.stack(frames), fps, _sound_of(path) if audible and with_sound else None,
                   about=read_provenance(path))


def _sound_of(path: Path) -> Speech | None:
    from liveavatar.audio import load_audio

    try:
        return load_audio(path)
    except InputError:                   # too short, or silent beyond use: then it has no sound that tells anything
        return None


def _joined(blocks: Iterable[Block]) -> Tensor:
    pictures = [torch.as_tensor(block.frames) for block in sorted(blocks, key=lambda block: block.index)]
    if not pictures:
        raise InputError("there are no pictures yet: no block is decoded")
    return as_frames(torch.cat(pictures))
