"""Open what is left of a run, in whatever form it was kept, as a Run that views and reports can show."""

from __future__ import annotations

import math
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveavatar.backends import find
from liveavatar.files import user_path
from liveavatar.pipeline import without_folders
from liveavatar.runfolder import RunFolder
from liveavatar.runs.info import FINISHED, RunInfo
from liveavatar.runs.loading import replay
from liveavatar.runs.record import SavedState
from liveavatar.runs.run import Run
from liveavatar.runs.sources import TraceSource
from liveavatar.trace import MIB, Trace
from liveavatar.types import Block
from liveavatar.video import read_frames, read_provenance

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline

MOST_BYTES = 512 * MIB                  # of pictures that are kept
SAME = ("inputs", "seed", "size")       # of a description: what a video and its run folder have in common


def open_run(source: str | os.PathLike | Trace, pipeline: Pipeline | None = None) -> Run:
    """Open a folder of Run.save or Trace.save, a run folder of `generate --run_dir`, or any video file.

    pipeline: whose decoder shows the steps; without it the VAE of this package, where it made the run.
    Raises InputError where there is nothing that can be opened.
    """
    if isinstance(source, Trace):
        return replay(source, pipeline=pipeline)
    path = user_path(source)
    if path.is_file():
        from liveavatar.inspection import open_video

        return open_video(path)
    if (path / "run.json").is_file() and not (path / "trace.json").is_file():
        return open_run_folder(path, pipeline)
    return replay(path, pipeline=pipeline)


def open_run_folder(folder: str | os.PathLike, pipeline: Pipeline | None = None, pictures: bool = True) -> Run:
    """Open a run folder of `generate --run_dir` as a run that is over: inputs, kept steps, and the pictures of its
    video where that still exists.

    pictures: False leaves those of the video out, so that every step is decoded from its latents
    Raises InputError where the folder cannot be read.
    """
    kept = RunFolder(user_path(folder))
    about, trace = kept.read(), kept.steps()
    speech, portrait, _ = kept.inputs()
    kind = find(about["backend"]["name"])
    config = kept.config
    first = [step for step in trace if step.block == trace.blocks[0]] if len(trace) else []
    sigmas = (*(step.sigma for step in first), first[-1].sigma_next) if first else ()
    frames = min(math.ceil(len(speech.wave) * kind.fps / speech.rate_hz), config.most_frames)
    info = RunInfo(kind.fps, kind.frames_per_latent, kind.block_latents, int(frames), sigmas,
                  config.sample_solver or about["backend"].get("trained", {}).get("solver", ""), kind.name,
                  config.to_dict())
    backend = None if pipeline is None else pipeline.backend
    blocks = blocks_of_video(kept, info, (backend or kind).trim_frames) if pictures else {}
    run = Run(TraceSource(trace, info, blocks, 0.0, backend, speech), trace, record=False)
    run.restore(SavedState(blocks, info.total_s, vae=about.get("vae", ""), provenance=without_folders(about, portrait),
                           portrait=portrait, state=FINISHED))
    return run


def video_of_folder(folder: RunFolder) -> Path | None:
    """Return the video that was made in a run folder; None where it is gone, or another one stands in its place."""
    about = folder.read()
    path = user_path(about.get("output", ""))
    if not path.is_file():
        return None
    try:
        provenance = read_provenance(path)
    except (OSError, ValueError):                        # FFmpeg's errors are both kinds
        return None
    return path if all(provenance.get(name) == about.get(name) for name in SAME) else None


def blocks_of_video(folder: RunFolder, info: RunInfo, trim: int) -> dict[int, Block]:
    """Cut the video of a run folder into its blocks; {} where it is gone.

    trim: pictures that the model left out at the beginning. What does not fit into MOST_BYTES is left out.
    """
    path = video_of_folder(folder)
    if path is None:
        return {}
    pictures, blocks = read_frames(path), {}
    first = used = 0
    while used < MOST_BYTES:
        kept = list(islice(pictures, info.block_frames - (0 if blocks else trim)))
        if not kept:
            break
        index = len(blocks)
        latents = folder.latents(index) if folder.block_path(index).is_file() else torch.empty(0)
        blocks[index] = Block(index, latents, torch.from_numpy(np.stack(kept)), first / info.fps, 0.0)
        first += len(kept)
        used += blocks[index].frames.nbytes
    return blocks
