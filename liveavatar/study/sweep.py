"""Make every video of a grid, measure each, keep what is done: stop it, start it again, and only the rest is made.

    sweep = Sweep(Grid(steps=range(1, 9), model=("student", "teacher")), "out/sweep")
    table = sweep.run()                       # tqdm; a few processes, each with its share of the cores

    out/sweep/sweep.json                      the grid
              table.csv                       one row a video, and one for the guess after each sampler step
              cells/4f0c.../cell.json         one video: its settings, what was measured, or why it failed
                             video.mp4        the video
                             after_0.mp4      by_step: what the model took for the finished video after step 0, 1, ...

A cell's folder is named by a hash of its settings, its sound and portrait, and the weights: it is made once. Parallel
work goes through joblib. On a cluster the same call runs on dask, with a folder that all machines see:

    with dask.distributed.Client(address), joblib.parallel_config(backend="dask"):
        sweep.run(jobs=-1)
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from liveavatar.checksums import check_values, with_crc
from liveavatar.files import Stamp, hold, is_held, user_path, write_whole
from liveavatar.interrupts import stop_on_interrupt
from liveavatar.runfolder import sha256_of
from liveavatar.study.grid import Cell, Grid
from liveavatar.threads import adapted_threads, available_cores, limit_threads
from liveavatar.types import InputError, Step
from liveavatar.weights import manifest_stamp

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline
    from liveavatar.study.materials import Materials
    from liveavatar.study.table import Table
    from liveavatar.video import Video

FORMAT = 1
THREADS = 2                       # of one process: mini gains nothing from more
MADE, FAILED = "made", "failed"
HELD = "held"                     # the file that marks a folder in which a video is being made
LONGEST_ERROR = 500               # characters of an error that are kept

Numbers = dict[str, object]
Measure = Callable[[Path, "Materials"], Numbers]


@dataclass(frozen=True)
class Result:
    """What became of one cell."""

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
        yield same | {"after_step": ""} | self.numbers
        for index, numbers in enumerate(self.after):
            yield same | {"after_step": index} | numbers

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


@dataclass(frozen=True)
class Progress:
    """One cell more is done; sent to whoever watches a sweep."""

    done: int
    total: int
    result: Result | None          # None: the sweep has begun, or ended


class Sweep:
    """A grid of videos in a folder."""

    def __init__(self, grid: Grid | Sequence[Cell], folder: str | os.PathLike, *,
                 measure: Measure | None = None) -> None:
        """Begin a sweep. measure(video, materials) -> numbers; what `liveavatar.metrics.measure` finds, where it is
        left out. It must be a function that other processes can import.
        """
        self.folder = user_path(folder)
        self.cells = grid.cells() if isinstance(grid, Grid) else tuple(dict.fromkeys(grid))
        self.error: BaseException | None = None         # what ended a sweep that was started in a thread
        self._measure = measure or measure_video
        self._results: dict[Cell, Result] = {}
        self._watchers: list[Callable[[Progress], None]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Sweep:
        """Open a sweep that was begun before, with all that is made of it."""
        path = user_path(folder) / "sweep.json"
        try:
            values = check_values(json.loads(path.read_text(encoding="utf-8")))
            cells = [Cell(**values) for values in values["cells"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no sweep that can be read ({error}); give the folder that "
                             "`liveavatar sweep --out` wrote") from error
        sweep = cls(cells, folder)
        found = (Result.read(path) for path in sorted((sweep.folder / "cells").glob("[!.]*")))
        sweep._results = {result.cell: result for result in found if result is not None}
        return sweep

    def __repr__(self) -> str:
        failed = sum(result.state == FAILED for result in self.results)
        words = f", {failed} failed" if failed else ""
        return f"Sweep({len(self.results)} of {len(self.cells)} videos in {str(self.folder)!r}{words})"

    @property
    def results(self) -> tuple[Result, ...]:
        """Return what is done, in the order of the grid."""
        return tuple(self._results[cell] for cell in self.cells if cell in self._results)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def table(self) -> Table:
        """Return the results as rows."""
        from liveavatar.study.table import Table

        return Table.from_rows(row for result in self.results for row in result.rows())

    # ------------------------------------------------------------------ watching and steering

    def subscribe(self, callback: Callable[[Progress], None]) -> Callable[[], None]:
        """Call back after every cell, in the thread that runs the sweep. Returns what ends it."""
        self._watchers.append(callback)

        def unsubscribe() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)
        return unsubscribe

    def start(self, **options: object) -> Sweep:
        """Run it in a thread, for notebooks. `stop` ends it, `wait` waits for it."""
        if self.running:
            raise InputError("this sweep is running; stop it first")

        def work() -> None:
            try:
                self.run(progress=False, **options)
            except BaseException as error:
                self.error = error
                self._tell(None)

        self._stop.clear()
        stop_on_interrupt(self)
        self._thread = threading.Thread(target=work, name="liveavatar-sweep", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End after the cell that is being made; what is done stays, and the next run makes the rest."""
        self._stop.set()

    def wait(self, timeout_s: float | None = None) -> Table:
        """Wait for a sweep that was started; raises what it raised."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self.error is not None:
            raise self.error
        return self.table()

    def run(self, jobs: int | None = None, *, threads: int | None = None, progress: bool = True,
            retry: bool = False) -> Table:
        """Make what is missing and return the table, which is also written to table.csv.

        jobs: processes at a time; left out, as many as the cores can serve. threads: of each process; left out, the
        cores are shared out, so that together they ask for no more than there are. retry: try failed cells again.
        """
        jobs, threads = share_cores(jobs, threads)
        if threading.current_thread() is not self._thread:
            self._stop.clear()
        self._begin()
        missing = self.find_made(retry)
        self._tell(None)
        tasks = [(cell, key, str(self.folder), self._measure, threads) for cell, key in missing]
        with bar(len(self.cells), len(self.results), progress) as shown:
            for result in in_parallel(make_cell, tasks, jobs, self._stop):
                self._results[result.cell] = result
                shown.set_postfix_str(result.cell.label + (" FAILED" if result.state == FAILED else ""), refresh=False)
                shown.update()
                self._tell(result)
        table = self.table()
        table.write(self.folder / "table.csv")
        self._tell(None)
        return table

    def measure_again(self, jobs: int | None = None, *, threads: int | None = None, progress: bool = True) -> Table:
        """Measure the videos that are there once more, after the measures have changed; nothing is made anew."""
        jobs, threads = share_cores(jobs, threads)
        self._stop.clear()
        made = [result for result in self.results if result.state == MADE]
        with bar(len(made), 0, progress) as shown:
            for result in in_parallel(measure_cell, [(one, self._measure, threads) for one in made], jobs, self._stop):
                self._results[result.cell] = result
                shown.update()
                self._tell(result)
        table = self.table()
        table.write(self.folder / "table.csv")
        return table

    def _begin(self) -> None:
        """Write down what is to be made; clear away what a killed process left half made."""
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        for left in (self.folder / "cells").glob(".*"):
            if not is_held(left / HELD):                           # else another sweep is making it now
                shutil.rmtree(left, ignore_errors=True)
        about = {"format": FORMAT, "cells": [asdict(cell) for cell in self.cells]}
        write_json(self.folder / "sweep.json", with_crc(about))

    def find_made(self, retry: bool = False) -> list[tuple[Cell, str]]:
        """Take over what earlier calls made; the cells that are missing, with their keys."""
        missing = []
        for cell in self.cells:
            key = key_of(cell)
            found = Result.read(self.folder / "cells" / key)
            if found is None or (retry and found.state == FAILED):
                missing.append((cell, key))
                self._results.pop(cell, None)
            else:
                self._results[cell] = found
        return missing

    def _tell(self, result: Result | None) -> None:
        for watcher in tuple(self._watchers):
            watcher(Progress(len(self.results), len(self.cells), result))


# ------------------------------------------------------------------------------------------- side by side

def share_cores(jobs: int | None, threads: int | None, available: int | None = None) -> tuple[int, int]:
    """Choose how many processes with how many threads each, so that together they ask for no more than there is.

    jobs -1 leaves the number to the backend (dask: all workers), with 2 threads each.
    """
    available = available or available_cores()
    if jobs is not None and (jobs == 0 or jobs < -1):
        raise InputError(f"jobs is {jobs}; give 1 or more, or -1 for as many as there are workers")
    if jobs == -1:
        return -1, threads or THREADS
    jobs = jobs or max(1, available // (threads or THREADS))
    return jobs, threads or max(1, available // jobs)


def in_parallel(work: Callable, tasks: list[tuple], jobs: int, stop: threading.Event) -> Iterator[Result]:
    """Yield results as they come, through joblib; once `stop` is set no more are asked for."""
    if not tasks:
        return
    import joblib

    if jobs == 1:
        for task in tasks:
            if stop.is_set():
                return
            yield work(*task)
        return
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    coming = parallel(joblib.delayed(work)(*task) for task in until(tasks, stop))
    yield from coming


def until(tasks: list[tuple], stop: threading.Event) -> Iterator[tuple]:
    """Yield tasks as long as nobody wants to stop: those that run are finished, no new ones begin."""
    for task in tasks:
        if stop.is_set():
            return
        yield task


def bar(total: int, done: int, shown: bool):
    from tqdm.auto import tqdm

    return tqdm(total=total, initial=done, disable=not shown, unit="video")


# ------------------------------------------------------------------------------------------- one cell, in any process

def key_of(cell: Cell) -> str:
    """Return where a cell's results belong. A cell whose inputs cannot be read has a key as well: it will be recorded
    as failed there."""
    from liveavatar.study.materials import fingerprint, gather

    try:
        inputs: dict | str = fingerprint(gather(cell))
    except Exception as error:
        inputs = words(error)
    return cell.key({"inputs": inputs, "weights": weights_of(cell.backend, cell.weights),
                     "format": FORMAT})


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
            result = Result(cell, key, FAILED, words(error), folder=place)
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
    pipeline = pipeline_of(cell.backend, cell.model, cell.weights)
    warm_up(pipeline, cell.size)
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


def cost(pipeline: Pipeline, steps: list[Step], video: Video, busy_s: float) -> Numbers:
    """Return the time and memory that a video took. Clock times suffer from whatever else the machine does.
    `work_ms_per_frame`, the time that processors worked for this process, hardly does; on a GPU it is the clock's."""
    backend = pipeline.backend
    networks = [getattr(backend, name) for name in ("transformer", "vae", "ear") if hasattr(backend, name)]
    weights = sum(tensor.nbytes for network in networks for tensor in network.parameters())
    caches = sum({step.index: step.bytes.get("caches", 0) for step in steps}.values())
    work_s = sum(video.seconds.get(stage, 0.0) for stage in ("denoise", "decode"))
    block_ms = [sum(step.milliseconds for step in steps if step.block == block)
                for block in sorted({step.block for step in steps})]
    block_frames = pipeline.block_frames
    return {
        "frames": video.frames, "device": str(backend.device), "dtype": str(backend.about().get("dtype", "")),
        "x_realtime": video.x_realtime, "first_picture_s": video.first_picture_s,
        "ms_per_frame": 1000 * work_s / video.frames,
        "denoise_ms_per_frame": 1000 * video.seconds.get("denoise", 0.0) / video.frames,
        "decode_ms_per_frame": 1000 * video.seconds.get("decode", 0.0) / video.frames,
        "work_ms_per_frame": 1000 * (busy_s if backend.device.type == "cpu" else work_s) / video.frames,
        "step_ms": statistics.median(step.milliseconds for step in steps),
        "block_ms": statistics.median(block_ms), "slowest_block_ms": max(block_ms),
        "block_deadline_ms": 1000 * block_frames / video.fps,
        "weights_mib": weights / 2**20, "caches_mib": caches / 2**20,
        "gradients": any(step.velocity.requires_grad for step in steps),
        "generation_s": sum(video.seconds.values()),
    }


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

@lru_cache(maxsize=2)
def pipeline_of(backend: str, model: str, weights: str) -> Pipeline:
    """Load a pipeline, once a process; the newest two are kept."""
    from liveavatar.pipeline import load

    return load(backend, student=model == "student", weights=weights)


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
