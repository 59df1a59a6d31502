"""Read a folder that `Run.save` or `Trace.save` has written, or show a trace again: `replay`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.config import GenerationConfig
from liveavatar.files import user_path, utf8_path
from liveavatar.runfolder import read_portrait
from liveavatar.runs.changes import load_lineage
from liveavatar.runs.info import RingState, RunInfo, StageSpan
from liveavatar.runs.record import SavedState
from liveavatar.runs.run import Run
from liveavatar.runs.saving import FORMAT
from liveavatar.runs.sources import TraceSource
from liveavatar.sound import Sound
from liveavatar.trace import Trace
from liveavatar.types import Block, InputError, Phoneme, Speech

if TYPE_CHECKING:
    import numpy

    from liveavatar.pipeline import Pipeline


def replay(trace: Trace | str | os.PathLike, pace: float = 0.0, info: RunInfo | None = None,
           pipeline: Pipeline | None = None) -> Run:
    """Open a saved run, or a trace, as a Run: views show all it holds at once, `start()` sends its events again.

    pace: 1.0 takes as long as the steps once took, 0 no time at all. pipeline: whose decoder decodes steps
    Raises InputError where the folder holds no run that can be read.
    """
    from safetensors import SafetensorError

    backend = None if pipeline is None else pipeline.backend
    if isinstance(trace, Trace):
        return Run(TraceSource(trace, info or info_of(trace), {}, pace, backend), trace, record=False)
    folder = utf8_path(user_path(trace))
    try:
        return replay_folder(folder, pace, info, pipeline)
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds a run that is damaged ({type(error).__name__}: {error}); record it "
                         "again") from error


def replay_folder(folder: Path, pace: float, info: RunInfo | None, pipeline: Pipeline | None) -> Run:
    """Open a folder that `Run.save` or `Trace.save` has written."""
    loaded = load_trace(folder)
    if not (folder / "run.json").exists():
        return replay(loaded, pace, info, pipeline)
    about = read_description(folder / "run.json")
    constants = about["facts"]
    known = RunInfo(**{**constants, "sigmas": tuple(constants["sigmas"]), "config": read_config(constants["config"]),
                       "remarks": tuple(constants.get("remarks", ()))})
    saved = read_state(folder, about, loaded)
    backend = None if pipeline is None else pipeline.backend
    source = TraceSource(loaded, known, saved.blocks, pace, backend, load_speech(folder, about["speech"]))
    run = Run(source, loaded, record=False)
    run.restore(saved)
    return run


def read_state(folder: Path, about: dict, trace: Trace) -> SavedState:
    """Read all of a saved run but its trace, speech and constants; about: what run.json says"""
    from liveavatar.preview import LatentMap

    portrait = folder / "portrait.safetensors"
    return SavedState(
        load_blocks(folder, about, trace), about["done_s"], about["work_s"], about["first_picture_s"],
        {ring["level"]: RingState(**ring) for ring in about["rings"]},
        tuple(StageSpan(*span) for span in about["marks"]),
        LatentMap.from_dict(about["latent_map"]) if about["latent_map"] else None,
        about.get("vae", ""), about.get("provenance", {}),
        read_portrait(portrait) if portrait.exists() else None,           # runs saved by version 0.1 have none
        lineage=load_lineage(folder, about.get("branch")),
        first_speech=load_speech(folder, about.get("branch", {}).get("first_speech"), "first_speech.safetensors"))


def read_config(values: dict) -> dict:
    """Read the configuration of a saved run: a GenerationConfig as a dict, or what was chosen in a watched call."""
    ours = values.keys() <= GenerationConfig.__dataclass_fields__.keys()
    return GenerationConfig.from_dict(values).to_dict() if ours else values


def info_of(trace: Trace) -> RunInfo:
    """Return what a trace alone tells. Frames per second and per latent frame are those of both known models."""
    if not len(trace):
        return RunInfo()
    first = [step for step in trace.replay() if step.block == trace.blocks[0]]
    block_latents = first[0].x.shape[2]
    plain = RunInfo(block_latents=block_latents, sigmas=(*(step.sigma for step in first), first[-1].sigma_next))
    return replace(plain, frames=(trace.blocks[-1] + 1) * plain.block_frames)


def load_trace(folder: Path) -> Trace:
    """Read a trace. Raises InputError for one of another version."""
    read_description(folder / "trace.json")
    return Trace.load(folder)


def read_description(path: Path) -> dict:
    """Read run.json or trace.json. Raises InputError for another version, or where it cannot be read."""
    try:
        description = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path.parent} holds no run that can be read ({error}); "
                         "give a folder written by Run.save or Trace.save") from error
    if description.get("format") != FORMAT:
        raise InputError(f"{path} is of format {description.get('format')!r}, this version reads format {FORMAT}; "
                         "record the run again, or open it with the version that wrote it")
    return description


def load_blocks(folder: Path, about: dict, trace: Trace) -> dict[int, Block]:
    """Read the pictures that were kept and join them with their latents."""
    from safetensors.torch import load_file

    path = folder / "frames.safetensors"
    frames = load_file(path) if path.exists() else {}
    return {index: Block(index, trace.step(index, -1).x, frames[f"{index:05d}"], start_s, milliseconds)
            for index, start_s, milliseconds in about["blocks"] if f"{index:05d}" in frames}


def load_speech(folder: Path, about: dict | None, name: str = "speech.safetensors") -> Speech | None:
    """Read the speech of a saved run; about: what `save_speech` returned; name: of its file"""
    if about is None:
        return None
    from safetensors.numpy import load_file

    wave: numpy.ndarray = load_file(folder / name)["wave"]
    speech = Speech(wave, about["rate_hz"], tuple(Phoneme(*phoneme) for phoneme in about["phonemes"]), about["text"])
    return speech.with_sound(Sound.kept(folder, about.get("sound")))
