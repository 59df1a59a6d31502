"""Inspect a video file: read it, measure all that applies, say it in plain sentences.

    found = inspect_video("clip.mp4")
    print(found.verdict); print(found.table()); found["offset_ms"].value
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from liveavatar.inspection.clip import Clip, read_clip, recognised
from liveavatar.inspection.findings import Inspection
from liveavatar.inspection.lip_findings import find_sync, lip_findings
from liveavatar.inspection.picture_findings import picture_findings
from liveavatar.phonemes import words_of
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.types import Speech


def inspect_video(path: str | os.PathLike, sound: str | os.PathLike | Speech | None = None, *,
                  block_frames: int | None = None, duration_s: float | None = None, transcript: str = "",
                  language: str = "en",
                  progress: Callable[[float], None] | None = None) -> Inspection:
    """Measure a video of any origin.

    path: any size, codec and frame rate that FFmpeg reads
    sound: another recording, heard from the first picture on, or Speech, whose phonemes allow more measures
    block_frames: pictures in a block of the model that made it, where that is known
    duration_s: inspect no more than its beginning
    transcript: the English words that are spoken; empty: they are recognised, less surely
    language: of the speech; only the sounds of English ("en") can be recognised
    progress: called with the seconds read so far

    Raises InputError only for what cannot be read; whatever else is missing is said by the figures themselves.
    """
    if block_frames is not None and not (isinstance(block_frames, int) and block_frames >= 2):
        raise InputError(f"block_frames is {block_frames}; give the pictures in a block, 2 or more, or leave it out")
    words_of(transcript)
    return inspect_clip(recognised(read_clip(path, sound, duration_s, progress), transcript, language), block_frames)


def inspect_clip(clip: Clip, block_frames: int | None = None) -> Inspection:
    """Measure a video that was read already."""
    sync = find_sync(clip)
    lips = tuple(lip_findings(clip, sync))
    pictures, courses = picture_findings(clip, block_frames)
    if not clip.faceless:
        courses["opening"] = (clip.middles_s, clip.opening)
    if len(sync.time_s):
        courses["offset_ms"] = (sync.time_s, sync.window_ms)
    return Inspection(clip, (*lips, *pictures), sync, courses)
