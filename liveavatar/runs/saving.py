"""Write a run into a folder: its trace, and run.json, pictures, speech and portrait beside it. `loading` reads it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import utf8_path, write_whole
from liveavatar.runfolder import write_portrait
from liveavatar.runs.changes import save_lineage
from liveavatar.types import Speech

if TYPE_CHECKING:
    from liveavatar.runs.record import RunRecord

FORMAT = 1                       # of run.json


def save_run(run: RunRecord, folder: str | os.PathLike) -> Path:
    """Write all that `replay(folder)` needs and return the folder. Raises InputError where it cannot be written."""
    from safetensors.torch import save_file

    saved = run.trace.save(folder)
    folder = utf8_path(saved)
    save_file({f"{block.index:05d}": block.frames.contiguous() for block in run.blocks}, folder / "frames.safetensors")
    speech = None if run.speech is None else save_speech(run.speech, folder / "speech.safetensors")
    if run.portrait is not None:
        write_portrait(folder / "portrait.safetensors", run.portrait)
    about = describe(run, speech)
    if run.lineage.calls:
        about["branch"] = save_lineage(run.lineage, folder) | {
            "first_speech": save_speech(run.first_speech or run.speech, folder / "first_speech.safetensors")}
    text = json.dumps(about, indent=1)
    write_whole(folder / "run.json", lambda part: part.write_text(text, encoding="utf-8"))
    if run.memory is not None:
        run.memory.record.save(folder)
    return saved


def describe(run: RunRecord, speech: dict | None) -> dict:
    """Return what run.json says; its keys "facts" and "marks" are those of version 0.1."""
    from liveavatar.preview import name_of_vae

    latent_map = run.latent_map()
    return {
        "format": FORMAT, "facts": asdict(run.info), "speech": speech, "provenance": run.provenance,
        "vae": run._saved_vae if run.backend is None else name_of_vae(run.backend),
        "latent_map": None if latent_map is None else latent_map.to_dict(),
        "rings": [asdict(ring) for ring in run.rings.values()],
        "blocks": [[block.index, block.start_s, block.milliseconds] for block in run.blocks],
        "marks": [[span.stage, span.block, span.index, span.began_s - run.began_s, span.ended_s - run.began_s]
                  for span in run.spans],
        "done_s": run.done_s, "work_s": run.work_s, "first_picture_s": run.first_picture_s}


def save_speech(speech: Speech, path: Path) -> dict:
    """Write the samples into a file; return what is left, for JSON."""
    from safetensors.numpy import save_file

    save_file({"wave": speech.wave}, path)
    phonemes = [[phoneme.symbol, phoneme.start_s, phoneme.end_s] for phoneme in speech.phonemes]
    sound = None if speech.sound is None else speech.sound.keep(path.parent)
    return {"rate_hz": speech.rate_hz, "text": speech.text, "phonemes": phonemes, "sound": sound}
