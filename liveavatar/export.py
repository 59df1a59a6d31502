"""A run as a file to keep: its pictures with their sound, in whatever format was not written while it was made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import write_whole
from liveavatar.types import InputError
from liveavatar.video import VideoWriter, check_output, read_frames, wants_label

if TYPE_CHECKING:
    from numpy import ndarray

    from liveavatar.runs.run import Run


def export_video(run: Run, path: str | os.PathLike) -> Path:
    """Write what is decoded of a run, with its sound, as .mp4 or .webm; a file of that format is copied as it is.

    Raises InputError where there is no picture yet, or where the first ones are not kept any more.
    """
    output = check_output(path)
    made = run.video
    if made is not None and made.path.suffix.lower() == output.suffix.lower():
        write_whole(output, lambda part: shutil.copyfile(made.path, part))
        return output
    about = {"generated": True, "config": run.info.config} | run.provenance
    label = first_is_kept(run) and wants_label(run.portrait, run.info.config.get("label"))     # else the file has it
    with VideoWriter(output, picture_size(run), run.info.fps, run.speech, about, label) as writer:
        for frames in decoded_frames(run):
            writer.write(frames)
    return writer.path


def first_is_kept(run: Run) -> bool:
    """Tell whether all pictures of a run are in memory."""
    return bool(run.blocks) and run.blocks[0].index == 0


def picture_size(run: Run) -> tuple[int, int]:
    """Return (height, width) of the pictures of a run, in pixels. Raises InputError where there are none."""
    if not run.blocks:
        raise InputError("nothing is decoded yet; wait for the first block")
    return tuple(run.blocks[0].frames.shape[1:3])


def decoded_frames(run: Run) -> Iterator[ndarray]:
    """Yield the pictures of a run from the first one on, (T, H, W, 3) uint8 at a time: those in memory or, where the
    oldest have been let go, those of its file."""
    if first_is_kept(run):
        yield from (block.frames.numpy() for block in run.blocks)
    elif run.video is not None:
        yield from (picture[None] for picture in read_frames(run.video.path))
    else:
        raise InputError("the first pictures of this run are not in memory any more; make it with output='out.mp4'")
