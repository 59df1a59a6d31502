"""One cell of a sweep, in any process: its video is made, measured and put in place."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from liveavatar.checksums import check_values, with_crc
from liveavatar.files import Stamp, hold, user_path, write_whole
from liveavatar.runfolder import sha256_of
from liveavatar.study import provenance
from liveavatar.study.cost import Numbers, cost, forget_peak
from liveavatar.study.grid import Cell
from liveavatar.threads import adapted_threads, limit_threads
from liveavatar.types import InputError, Step
from liveavatar.weights import manifest_stamp

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline
    from liveavatar.study.materials import Materials
    from liveavatar.video import Video

FORMAT = 1                        # of cell.json and sweep.json
MADE, FAILED = "made", "failed"
HELD = "held"                     # the file that marks a folder in which a video is being made
LONGEST_ERROR = 500               # characters of an error that are kept

Measure = Callable[[Path, "Materials"], Numbers]


@dataclass(frozen=True)
class Result:
    """Hold what became of one cell."""

    cell: Cell
    key: str
    state: str                                     # "made" or "failed"
    error: str = ""                                # why it failed
    numbers: Numbers = field(default_factory=dict)               # measured on the finished video
    after: tuple[Numbers, ...] = ()                # measured on the guess after each sampler step
    folder: Path | None = None
    cached: bool = False                           # it was made by an earlier call

    @property
    def video(self) -> Path | None:
        return None if self.folder is None or self.state != MADE else self.folder / "video.mp4"

    def rows(self) -> Iterator[Numbers]:
        """Yield one row of the table for the video, one for the guess after each step."""
        same = {"key": self.key, **asdict(self.cell), "state": self.state, "error": self.error}
        made_by = {name: self.numbers.get(name, provenance.NOT_RECORDED) for name in provenance.COLUMNS}
        yield same | {"after_step": ""} | made_by | self.numbers
        for index, numbers in enumerate(self.after):
            yield same | {"after_step": index} | made_by | numbers

    def to_dict(self) -> dict:
        return {"format": FORMAT, "cell": asdict(self.cell), "key": self.key, "state": self.state, "error": self.error,
                "numbers": self.numbers, "after": list(self.after)}

    @classmethod
    def read(cls, folder: Path) -> Result | None:
        """Read what an earlier call left there; None when it left nothing that can be used."""
        try:
            values = check_values(json.loads((folder / "cell.json").read_text(encoding="utf-8")))
            damaged = [name for name, sha256 in values.get("files", {}).items() if sha256_of(folder / name) != sha256]
            if values["format"] != FORMAT or damaged:
                return None
            return cls(Cell(**values["cell"]), values["key"], values["state"], values["error"], values["numbers"],
                       tuple(values["after"]), folder, cached=True)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def key_of(cell: Cell) -> str:
    """Return where a cell's results belong. A cell whose inputs cannot be read has a key as well: it will be recorded
    as failed there."""
    from liveavatar.study.materials import fingerprint, gather

    try:
        inputs: dict | str = fingerprint(gather(cell))
    except Exception as error:
        inputs = words(error)
    try:
        weights = named_weights(cell.backend, cell.options) if cell.options else weights_of(cell.backend, cell.weights)
    except InputError as error:
        weights = words(error)
    return cell.key({"inputs": inputs, "weights": weights, "format": FORMAT})


@lru_cache(maxsize=8)
def named_weights(backend: str, options: str) -> str:
    """Return the fingerprint of the files that options of `load` name, and of how they are loaded. Raises InputError
    where files are missing."""
    from liveavatar.backends import find

    return find(backend).fingerprint(**json.loads(options))


def load_options(cell: Cell) -> dict[str, object]:
    """Return the options of `liveavatar.load` that bring a cell's model."""
    if cell.options:
        return json.loads(cell.options)
    return {"student": cell.model == "student", "weights": cell.weights}


def weights_of(backend: str, weights: str) -> str:
    """Return the fingerprint of the weights, without loading them."""
    return _weights_of(backend, weights, manifest_stamp(weights))


@lru_cache(maxsize=8)
def _weights_of(backend: str, weights: str, _: Stamp | None) -> str:
    from liveavatar.backends import find
    from liveavatar.weights import read_manifest

    try:
        kind = find(backend)
        shipped = weights == "shipped"
        folder = getattr(import_module(kind.__module__), "WEIGHTS", None) if shipped else user_path(weights)
        return weights if weights == "random" or folder is None else read_manifest(folder).fingerprint
    except InputError as error:
        return words(error)


def make_cell(cell: Cell, key: str, folder: str, measure: Measure, threads: int) -> Result:
    """Make and measure one video in its own folder, which appears whole or not at all.

    Of two sweeps that make the same video at once, in one folder, the first one to end is kept.
    """
    place = user_path(folder) / "cells" / key
    found = Result.read(place)
    if found is not None and found.state == MADE:                  # by another sweep, meanwhile
        return found
    making, held = new_folder(place)
    with limit_threads(threads):
        try:
            numbers, after = film_cell(cell, making, measure)
            result = Result(cell, key, MADE, "", numbers, after, place)
        except Exception as error:                        # one bad cell must not end the sweep
            for left in making.iterdir():
                left.unlink()
            here = {"machine": provenance.processor(), "commit": provenance.commit()}
            result = Result(cell, key, FAILED, words(error), here, folder=place)
    write_result(making, result)
    (making / HELD).unlink(missing_ok=True)
    if held is not None:
        held.close()
    return put_result(making, place, result)


def new_folder(place: Path) -> tuple[Path, BinaryIO | None]:
    """Make a hidden folder for a video in the making -> the folder, and the open file that marks it as held."""
    making = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    while True:
        making.mkdir(parents=True, exist_ok=True)
        try:
            return making, hold(making / HELD)
        except FileNotFoundError:                                  # another sweep cleared it away before it was held
            continue


def put_result(making: Path, place: Path, result: Result) -> Result:
    """Give a finished folder its name, unless another sweep has made the same video meanwhile -> what is kept."""
    while True:
        found = Result.read(place)
        if found is not None and found.state == MADE:
            shutil.rmtree(making, ignore_errors=True)
            return found
        shutil.rmtree(place, ignore_errors=True)
        try:
            os.replace(making, place)
            return result
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def write_result(folder: Path, result: Result) -> None:
    """Write cell.json: what became of a cell, the hashes of its videos, and a checksum of it all."""
    files = {path.name: sha256_of(path) for path in sorted(folder.glob("*.mp4"))}
    write_json(folder / "cell.json", with_crc(result.to_dict() | {"files": files}))


def measure_cell(result: Result, measure: Measure, threads: int) -> Result:
    """Return a result with what is measured now in the place of what was measured then; its cost stays."""
    from liveavatar.study.materials import gather

    def renewed(numbers: Numbers, name: str) -> Numbers:
        kept = {key: value for key, value in numbers.items() if "." not in key}
        return rounded(kept | measure(result.folder / name, materials))

    with limit_threads(threads):
        materials = gather(result.cell)
        again = replace(result, numbers=renewed(result.numbers, "video.mp4"),
                        after=tuple(renewed(numbers, f"after_{index}.mp4")
                                    for index, numbers in enumerate(result.after)))
    write_result(result.folder, again)
    return again


def film_cell(cell: Cell, folder: Path, measure: Measure) -> tuple[Numbers, tuple[Numbers, ...]]:
    """Make the video, and what was measured on it and on the guesses on the way to it."""
    from liveavatar.study.materials import gather

    materials = gather(cell)
    pipeline = pipeline_for(cell)
    warm_up(pipeline, cell.size)
    forget_peak(pipeline)
    began_s = time.process_time()
    steps, video = watch_film(pipeline, cell, materials, folder / "video.mp4")
    busy_s = time.process_time() - began_s
    numbers = cost(pipeline, steps, video, busy_s)
    began_s = time.perf_counter()
    with adapted_threads(pipeline.backend.device):
        numbers |= rounded(measure(folder / "video.mp4", materials))
    numbers["measuring_s"] = time.perf_counter() - began_s
    after = ()
    if cell.by_step:
        after = tuple(rounded(look_after(pipeline, index, steps, video, materials, folder, measure))
                      for index in range(cell.steps))
    return rounded(numbers), after


def watch_film(pipeline: Pipeline, cell: Cell, materials: Materials, path: Path) -> tuple[list[Step], Video]:
    """Make the video; its steps without their caches."""
    from liveavatar.conditions import parse_prompt

    steps, video = [], None
    for event in pipeline.stream(materials.heard, materials.portrait, parse_prompt(cell.prompt), cell.config(),
                               output=path):
        if isinstance(event, Step):
            steps.append(replace(event, cache=None, bytes=dict(event.bytes)))
        video = event
    return steps, video


def look_after(pipeline: Pipeline, index: int, steps: list[Step], video: Video, materials: Materials, folder: Path,
               measure: Measure) -> Numbers:
    """Write and measure the video as the model imagined it after sampler step `index`."""
    from liveavatar.video import VideoWriter

    mine = [step for step in steps if step.index == index]
    path = folder / f"after_{index}.mp4"
    with VideoWriter(path, video.size, video.fps, materials.heard) as writer:
        for frames in pipeline.decode((step.clean for step in mine), video.frames):
            writer.write(frames)
    return measure(path, materials) | {
        "sigma": mine[0].sigma, "sigma_next": mine[0].sigma_next, "path_share": mine[0].sigma - mine[0].sigma_next,
        "step_ms": statistics.median(step.milliseconds for step in mine),
        "guess_change": change_of_guess(index, steps)}


def change_of_guess(index: int, steps: list[Step]) -> float:
    """Return how far a step moves the guess of the finished latents, root mean square; latents have unit variance. The
    first step is measured from nothing, that is from the mean of all latents, zero."""
    squares = []
    for step in (step for step in steps if step.index == index):
        before = next((other.clean for other in steps if (other.block, other.index) == (step.block, index - 1)), None)
        change = step.clean.float() - (0.0 if before is None else before.float())
        squares.append(change.square().mean().item())
    return math.sqrt(statistics.fmean(squares))


def measure_video(path: Path, materials: Materials) -> Numbers:
    """Measure all that `liveavatar.metrics` finds in a video file, as flat numbers: "lips.error_frames" and so on."""
    from liveavatar.metrics import measure

    found = flat(measure(path, speech=materials.spoken, portrait=materials.portrait).to_dict())
    return {name: value for name, value in found.items()
            if not name.startswith(("seconds.", "cost.")) and not name.endswith(".applies")}


def flat(values: dict, before: str = "") -> Numbers:
    """Flatten {"lips": {"late_frames": 1.0}} -> {"lips.late_frames": 1.0}. Of lists named entries are kept, and no
    words."""
    numbers: Numbers = {}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers |= flat(value, f"{before}{name}.")
        elif isinstance(value, (list, tuple)):
            named = {entry["name"]: entry for entry in value if isinstance(entry, dict) and "name" in entry}
            numbers |= flat(named, f"{before}{name}.")
        elif isinstance(value, (bool, int, float)):
            numbers[before + name] = value
    return numbers


def rounded(numbers: Numbers) -> Numbers:
    """Round to five digits, more than any of these numbers deserves; what is not finite is left out."""
    kept = {}
    for name, value in numbers.items():
        if isinstance(value, float):
            if not math.isfinite(value):
                continue
            value = float(f"{value:.5g}")
        kept[name] = value
    return kept


# ------------------------------------------------------------------------------------------- what a process keeps

LARGE: list[tuple[str, str]] = []  # the large model that this process keeps: there is room for one


def pipeline_for(cell: Cell) -> Pipeline:
    """Return the pipeline of a cell. A model with options of its own is large: another is let go before it comes."""
    wanted = cell.backend, json.dumps(load_options(cell), sort_keys=True)
    if cell.options and LARGE != [wanted]:
        pipeline_of.cache_clear()
        warm_up.cache_clear()
        LARGE[:] = [wanted]
    return pipeline_of(*wanted)


@lru_cache(maxsize=2)
def pipeline_of(backend: str, options: str) -> Pipeline:
    """Load a pipeline, once a process; the newest two are kept. options: those of `liveavatar.load`, as JSON."""
    from liveavatar.pipeline import load

    return load(backend, **json.loads(options))


@lru_cache(maxsize=64)
def warm_up(pipeline: Pipeline, size: str) -> None:
    """Make half a second of video for nothing: the first one is always slower."""
    import numpy

    from liveavatar.avatars.portraits import avatar
    from liveavatar.types import Speech

    rate_hz = pipeline.backend.rate_hz
    silence = Speech(numpy.zeros(round(0.48 * rate_hz), numpy.float32), rate_hz)
    for _ in pipeline.events(silence, avatar(0), "", Cell(size=size, steps=1).config()):
        pass


def words(error: BaseException) -> str:
    """Return an error as it is recorded."""
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return text[:LONGEST_ERROR]


def write_json(path: Path, values: dict) -> None:
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
