"""A video file as a Run that is over: whatever shows a run shows any video.

    open_video("clip.mp4", sound="voice.wav")  -->  Run, for LipView, Player and every other view

Views count frames, so pictures are brought to even times: in each 1 / fps seconds the one that is seen in its middle.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from liveavatar.files import rereadable
from liveavatar.inspection.clip import load_other, sound_of
from liveavatar.inspection.decoding import GUESSED_FPS, decode, even_pictures, read_header
from liveavatar.phonemes import read_transcript, words_of
from liveavatar.runs.info import FINISHED, RunInfo
from liveavatar.runs.record import SavedState
from liveavatar.runs.run import Run
from liveavatar.runs.sources import TraceSource
from liveavatar.trace import Trace
from liveavatar.types import Block, InputError, Portrait, Speech
from liveavatar.video import read_provenance

MOST_PX = 512                   # longer side of the pictures that are kept
MOST_BYTES = 512 * 2**20        # of pictures that are kept
MOST_FPS = 60.0
FRAMES_PER_LATENT, BLOCK_LATENTS = 4, 3     # views show blocks of 12 pictures, as those of a run


def open_video(path: str | os.PathLike, sound: str | os.PathLike | Speech | None = None,
               duration_s: float = math.inf, transcript: str = "") -> Run:
    """Open a video file as a run that is over; its pictures and sound can be shown, it has no steps.

    sound: another recording, heard from the first picture on, or Speech with phonemes
    duration_s: open no more than its beginning; what does not fit into MOST_BYTES is left out with a warning
    transcript: the English words that are spoken, or the path of a .txt file; empty: a view recognises them

    Raises InputError where the file or the transcript cannot be read.
    """
    transcript = read_transcript(transcript)
    words_of(transcript)
    path = rereadable(path)
    header = read_header(path)
    other = sound if sound is None or isinstance(sound, Speech) else load_other(sound)
    began_s = float(next(decode(path, 1e-6)).times_s[0])
    speech, soundless, _ = sound_of(path, header, began_s, other)
    if transcript and speech is None:
        raise InputError(f"{path} has nothing to which the transcript could belong: {soundless}; give a sound as well, "
                         "or leave the transcript out")
    if transcript:
        speech = replace(speech, text=transcript).with_sound(speech.sound)
    fps = min(header.fps or GUESSED_FPS, MOST_FPS)
    frames = kept_pictures(path, fps, duration_s)
    info = RunInfo(fps=fps, frames_per_latent=FRAMES_PER_LATENT, block_latents=BLOCK_LATENTS, frames=len(frames),
                   config={"video": path.name})
    blocks = {index: Block(index, torch.empty(0), part, index * info.block_s, 0.0)
              for index, part in enumerate(frames.split(info.block_frames))}
    run = Run(TraceSource(Trace(), info, blocks, 0.0, None, cut(speech, len(frames) / fps)), record=False,
              keep_bytes=2 * MOST_BYTES)
    run.restore(SavedState(blocks, info.total_s, portrait=portrait_of(path, frames[0]), state=FINISHED))
    return run


def kept_pictures(path: os.PathLike, fps: float, duration_s: float) -> Tensor:
    """Return the pictures of a video at even times, (T, h, w, 3) uint8, as many as may be kept."""
    kept, used = [], 0
    for picture in even_pictures(path, fps, duration_s, MOST_PX):
        if used + picture.nbytes > MOST_BYTES:
            warnings.warn(f"{path} is longer than fits: its first {len(kept) / fps:.0f} s are shown; choose them with "
                          "duration_s", stacklevel=3)
            break
        kept.append(torch.from_numpy(picture))
        used += picture.nbytes
    if not kept:
        raise InputError(f"{path} holds no picture that can be decoded; give another video")
    return torch.stack(kept)


def cut(speech: Speech | None, length_s: float) -> Speech | None:
    """Leave out of a sound what is heard after the pictures end."""
    if speech is None or speech.duration_s <= length_s:
        return speech
    phonemes = tuple(one for one in speech.phonemes if one.end_s <= length_s)
    return Speech(speech.wave[:round(length_s * speech.rate_hz)], speech.rate_hz, phonemes, speech.text)


def portrait_of(path: os.PathLike, picture: Tensor) -> Portrait | None:
    """Return the first picture as the portrait of a real face; None of mini's own videos, whose faces are drawn."""
    if read_provenance(path).get("backend", {}).get("name") == "mini":
        return None
    return Portrait(picture.permute(2, 0, 1) / 255, None, str(path))
