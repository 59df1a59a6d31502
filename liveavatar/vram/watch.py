"""Who holds how much memory, looked at twenty times a second while a run is going, or within any `with` block.

    with MemoryWatch() as watch:         # of any code: the process, or the GPU that torch works on
        ...
    MemoryView(watch)                    # its curve, live or afterwards; also MemoryView(watch.record)

    watch = MemoryWatch.of(run)          # begins and ends with the run
    run.start().result()
    watch.record.peak                    # Peak(bytes=..., time_s=..., when="block 3, step 1")
    watch.record.save("seen")
    watch.shortage                       # of a run that ran out of memory: who grew, what was planned, what would fit

On an NVIDIA GPU: all that is used on it and by this process (NVML), and what torch's allocator holds and has handed
out. Elsewhere: the resident memory of this process, and `record.words` says so. What is known of its owners (weights,
caches, VAE state) is counted from their tensors; `rest` is what remains: activations, libraries, Python.

One look takes some 5 microseconds without a GPU, so the thread stays far below a hundredth of a core.
"""

from __future__ import annotations

import json
import os
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch

from liveavatar.files import user_path, utf8_path
from liveavatar.runs.info import ENDED, RUNNING, StateChange
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError, Step
from liveavatar.vram.shortage import Shortage, explain, is_shortage, let_go

if TYPE_CHECKING:
    from liveavatar.backends import Backend

OWNERS = ("weights", "caches", "vae", "rest")
PERIOD_S = 0.05
MOST_SAMPLES = 36_000          # half an hour at 20 Hz; then every two become one
PROCESSES_EVERY = 10           # looks between two lists of the GPU's processes, which take the driver a while
FILE = "memory.safetensors"


@dataclass(frozen=True)
class Label:
    """What the run did and when. Seconds since the record's beginning."""

    began_s: float
    ended_s: float
    stage: str          # "prepare", "step", "decode", "close"
    block: int          # -1 where there is none
    step: int           # -1 where there is none

    @property
    def words(self) -> str:
        named = {"step": f"block {self.block}, step {self.step}", "decode": f"block {self.block}, decoding"}
        return named.get(self.stage, {"prepare": "preparing", "close": "closing the file"}.get(self.stage, self.stage))


@dataclass(frozen=True)
class Peak:
    """The most that was seen."""

    bytes: int
    time_s: float       # since the record's beginning
    when: str           # what the run was doing, in words


@dataclass(frozen=True)
class MemoryRecord:
    """Memory over time. All series have one value (bytes) for each of N moments."""

    times_s: np.ndarray                 # (N,) float64, since the record's beginning
    series: dict[str, np.ndarray]       # name -> (N,) int64: what the meter reads, and OWNERS
    main: str                           # the series that owners add up to: "process", "reserved" or "used"
    labels: tuple[Label, ...]
    device: str                         # name of the GPU, or "this process"
    total: int                          # bytes of the GPU, or of the machine
    words: str                          # what is seen, in a sentence

    def __len__(self) -> int:
        return len(self.times_s)

    def __repr__(self) -> str:
        if not len(self):
            return "MemoryRecord(empty)"
        peak = self.peak
        return (f"MemoryRecord({len(self)} looks in {self.times_s[-1]:.1f} s, peak {peak.bytes / 2**20:.0f} MiB after "
                f"{peak.time_s:.1f} s: {peak.when})")

    @property
    def values(self) -> np.ndarray:
        """(N,) of the main series."""
        return self.series[self.main]

    @property
    def peak(self) -> Peak:
        """The highest moment of the main series while the run was going; of all, where no run was watched."""
        if not len(self):
            raise InputError("nothing has been watched yet; start the run, or the watch")
        going = np.ones(len(self), bool)
        if self.labels:
            going = (self.times_s >= self.labels[0].began_s) & (self.times_s <= self.labels[-1].ended_s)
        at = int(np.where(going if going.any() else True, self.values, -1).argmax())
        return Peak(int(self.values[at]), float(self.times_s[at]), self.when(float(self.times_s[at])))

    @property
    def left_over(self) -> int:
        """Bytes that are held at the end and were not at the beginning."""
        return int(self.values[-1] - self.values[0]) if len(self) else 0

    def at(self, time_s: float) -> dict[str, int]:
        """All series at a moment: the last look before it."""
        if not len(self):
            raise InputError("nothing has been watched yet; start the run, or the watch")
        row = max(int(np.searchsorted(self.times_s, time_s, "right")) - 1, 0)
        return {name: int(values[row]) for name, values in self.series.items()}

    def label_at(self, time_s: float) -> Label | None:
        """What the run was doing then; None between two things."""
        last = bisect_right(self.labels, time_s, key=lambda label: label.began_s) - 1
        return self.labels[last] if last >= 0 and time_s <= self.labels[last].ended_s else None

    def when(self, time_s: float) -> str:
        """A moment in words."""
        if not self.labels:
            return "while it was watched"
        label = self.label_at(time_s)
        if label is not None:
            return label.words
        if time_s < self.labels[0].began_s:
            return "before the run"
        return "after the run" if time_s > self.labels[-1].ended_s else "between two steps"

    def save(self, folder: str | os.PathLike) -> Path:
        """Write memory.safetensors into a folder, for instance that of `Run.save`."""
        from safetensors.numpy import save_file

        folder = user_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"format": 1, "main": self.main, "device": self.device, "total": self.total, "words": self.words,
                 "labels": [list(asdict(label).values()) for label in self.labels]}
        save_file({"times_s": self.times_s, **self.series}, utf8_path(folder) / FILE, {"about": json.dumps(about)})
        return folder / FILE

    @classmethod
    def load(cls, folder: str | os.PathLike) -> MemoryRecord:
        """Read what `save` wrote."""
        from safetensors import SafetensorError, safe_open

        path = utf8_path(user_path(folder))
        path = path / FILE if path.is_dir() else path
        try:
            with safe_open(path, "np") as file:
                about = json.loads(file.metadata()["about"])
                series = {name: file.get_tensor(name) for name in file.keys()}      # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} holds no record of memory that can be read ({error}); write one with "
                             "watch.record.save(folder)") from error
        if about["format"] != 1:
            raise InputError(f"{path} is of format {about['format']!r}, this version reads format 1; watch again")
        labels = tuple(Label(*label) for label in about["labels"])
        return cls(series.pop("times_s"), series, about["main"], labels, about["device"], about["total"],
                   about["words"])


# ------------------------------------------------------------------------------------------- meters

class Meter(Protocol):
    """Something that tells how much memory is taken now."""

    names: tuple[str, ...]     # of what it reads
    main: str                  # the one that owners add up to
    device: str
    total: int                 # bytes in all
    words: str

    def read(self) -> dict[str, int]:
        """Bytes by name."""


class ProcessMeter:
    """The resident memory of this process."""

    names, main = ("process",), "process"
    device = "this process"
    words = ("No NVIDIA GPU is used here: the curve is the main memory of this Python process, its libraries and "
             "everything else in it included.")

    def __init__(self) -> None:
        import psutil

        self.total = psutil.virtual_memory().total
        process = psutil.Process()
        self._resident = resident_from_proc(process.pid) or (lambda: process.memory_info().rss)

    def read(self) -> dict[str, int]:
        return {"process": self._resident()}


@cache
def resident_from_proc(pid: int) -> Callable[[], int] | None:
    """Linux: one file, kept open and read again, tells it in an eighth of psutil's time. None where there is none."""
    try:
        file, page = os.open(f"/proc/{pid}/statm", os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
    return lambda: int(os.pread(file, 64, 0).split()[1]) * page


class GpuMeter:
    """A GPU as its driver (NVML) and torch's allocator see it."""

    def __init__(self, device: torch.device | None = None) -> None:
        import pynvml

        self._nvml = pynvml
        self._device = torch.cuda.current_device() if device is None or device.index is None else device.index
        pynvml.nvmlInit()
        self._handle = self._find()
        self._looks, self._process = 0, None
        reading = self.read()
        self.names = tuple(reading)
        self.main = "process" if "process" in reading else "reserved"
        self.device = torch.cuda.get_device_name(self._device)
        self.total = pynvml.nvmlDeviceGetMemoryInfo(self._handle).total
        missing = "" if "process" in reading else (" The driver does not say which part is this process's, so the "
                                                   "owners are shown within what torch holds.")
        self.words = f"Memory of {self.device}: all that is used on it, and what this process holds.{missing}"

    def read(self) -> dict[str, int]:
        self._looks += 1
        if self._looks % PROCESSES_EVERY == 1:
            self._process = self._of_this_process()
        torchs = torch.cuda.memory_stats_as_nested_dict(self._device)
        sizes = {name: torchs[f"{name}_bytes"]["all"]["current"] if torchs else 0 for name in ("allocated", "reserved")}
        process = {} if self._process is None else {"process": self._process}
        return {"used": self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used, **process, **sizes}

    def _find(self) -> object:
        """NVML numbers all GPUs of the machine, torch those it may see: only the UUID is the same."""
        uuid = getattr(torch.cuda.get_device_properties(self._device), "uuid", None)
        if uuid is not None:
            return self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return self._nvml.nvmlDeviceGetHandleByIndex(self._device)

    def _of_this_process(self) -> int | None:
        """None where the driver does not know this process by its number, as in many containers."""
        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        used = [process.usedGpuMemory for process in running if process.pid == os.getpid()]
        return next((size for size in used if size is not None), None)


def meter_for(backend: Backend | None) -> Meter:
    """A GPU's meter for a model that is on one, else this process's."""
    device = getattr(backend, "device", None)
    on_gpu = torch.cuda.is_available() and (device is None or torch.device(device).type == "cuda")
    return GpuMeter(device) if on_gpu else ProcessMeter()


# ------------------------------------------------------------------------------------------- owners

def bytes_of_weights(backend: Backend | None) -> int:
    """Of all networks that a backend holds."""
    networks = [value for value in vars(backend).values() if isinstance(value, torch.nn.Module)] if backend else []
    tensors = {id(tensor): tensor for network in networks for tensor in (*network.parameters(), *network.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def bytes_of_vae_state(backend: Backend | None, latents: torch.Tensor) -> int:
    """What a streaming VAE keeps between two blocks: found by decoding a block without data, on torch's meta device.

    0 where the VAE cannot be asked that way: its state then counts as rest. Found once for each VAE and size.
    """
    vae = getattr(backend, "vae", None)
    if vae is None or not hasattr(type(vae), "decode_stream"):
        return 0
    found, shape = VAE_STATES.setdefault(vae, {}), tuple(latents.shape)
    if shape not in found:
        found[shape] = state_after(vae, shape)
    return found[shape]


VAE_STATES: WeakKeyDictionary[object, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def state_after(vae: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes of a VAE's memory after latents of this shape. Marks that are no tensors hold nothing."""
    try:
        with torch.inference_mode():
            ghost = ghost_of(vae)
            empty = torch.empty(shape, device="meta", dtype=next(vae.parameters()).dtype)
            _, memory = type(vae).decode_stream(ghost, empty, None)
        return sum(one.nbytes for one in memory if isinstance(one, torch.Tensor))
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return 0


def ghost_of(network: torch.nn.Module) -> torch.nn.Module:
    """The same network without its numbers, on the meta device."""
    import copy

    known = {id(tensor): torch.nn.Parameter(tensor.detach().to("meta"), False) for tensor in network.parameters()}
    known |= {id(tensor): tensor.detach().to("meta") for tensor in network.buffers()}
    return copy.deepcopy(network, known)


# ------------------------------------------------------------------------------------------- the thread

class MemoryWatch:
    """Looks at memory in a thread of its own. `MemoryWatch.of(run)` begins and ends with a run."""

    def __init__(self, run: Run | None = None, period_s: float = PERIOD_S, meter: Meter | None = None) -> None:
        if not 0.001 <= period_s <= 10:
            raise InputError(f"period_s is {period_s:g}; give seconds between two looks, 0.001 to 10")
        self.run, self.period_s = run, period_s
        self.shortage: Shortage | None = None             # why the run ended, if the GPU's memory did not suffice
        self.thinned = 0                                  # how often two looks were made one to save room
        self.most_samples = MOST_SAMPLES
        self._meter = meter if meter is not None else meter_for(None if run is None else run.backend)
        self._names = (*self._meter.names, *OWNERS)
        self._clock_s = 0.0                               # time.perf_counter() of the record's beginning
        self._times = array("d")
        self._values = array("q")                         # rows of len(self._names)
        self._owned = {"weights": bytes_of_weights(None if run is None else run.backend), "caches": 0, "vae": 0}
        self._ends_s = float("inf")
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._subscribers: tuple[Callable[[], None], ...] = ()
        self._unsubscribe: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, run: Run, **options: object) -> MemoryWatch:
        """A watch that starts with a run and stops at its end."""
        watch = cls(run, **options)
        watch._unsubscribe = run.subscribe(watch._notice)
        if run.state == RUNNING:
            watch.start()
        return watch

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every look of the thread, in that thread. Returns what ends it."""
        with self._lock:
            self._subscribers = (*self._subscribers, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(one for one in self._subscribers if one is not callback)
        return unsubscribe

    def start(self) -> MemoryWatch:
        """Begin to look, or go on. Returns at once."""
        if self._thread is not None and self._thread.is_alive():
            return self
        self._ended.clear()
        self._clock_s = self._clock_s or time.perf_counter()
        self._thread = threading.Thread(target=self._work, name="liveavatar-memory", daemon=True)
        self._thread.start()
        return self

    def end(self) -> None:
        """Look no more. Returns at once."""
        self._unsubscribe()
        self._ended.set()

    def stop(self) -> MemoryRecord:
        """Look no more; what was seen."""
        self.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2)
        return self.record

    def __enter__(self) -> MemoryWatch:
        self.start()
        self.look()                                       # a short block has a beginning and an end too
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self.stop()

    def __repr__(self) -> str:
        return f"MemoryWatch({self.record!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of `rows`."""
        return self._names

    @property
    def going(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def look(self, now_s: float | None = None) -> dict[str, int]:
        """Look once, at once, beside the thread's own looks. Returns the bytes of each series of the meter.

        now_s: the moment that is written down, of `time.perf_counter`; None is now.
        """
        reading = self._meter.read()
        if self._owned["vae"] < 0:
            self._owned["vae"] = bytes_of_vae_state(self.run.backend, self.run.last_step.x)
        owned = dict(self._owned)
        owned["rest"] = max(reading.get(self._meter.main, 0) - sum(owned.values()), 0)
        row = [reading.get(name, 0) for name in self._meter.names] + [owned[name] for name in OWNERS]
        with self._lock:
            self._times.append((time.perf_counter() if now_s is None else now_s) - self._clock_s)
            self._values.extend(row)
            if len(self._times) >= self.most_samples:
                self._thin()
        return reading

    @property
    def record(self) -> MemoryRecord:
        """What was seen so far."""
        times_s, values = self.rows()
        series = {name: values[:, column].copy() for column, name in enumerate(self._names)}
        meter = self._meter
        return MemoryRecord(times_s, series, meter.main, self.labels(), meter.device, meter.total, meter.words)

    def rows(self, since: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Looks from number `since` on: times (n,) in seconds, values (n, names) in bytes."""
        width = len(self._names)
        with self._lock:
            times = np.array(self._times[since:], np.float64)
            values = np.array(self._values[since * width:], np.int64)
        return times, values.reshape(-1, width)

    def labels(self, since: int = 0) -> tuple[Label, ...]:
        """What the run did, from number `since` on."""
        if self.run is None or not self._clock_s:
            return ()
        return tuple(Label(span.began_s - self._clock_s, span.ended_s - self._clock_s, span.stage, span.block,
                           span.index) for span in self.run.spans_from(since))

    # ------------------------------------------------------------------ what happens in the run's thread

    def _notice(self, event: object) -> None:
        if isinstance(event, Step):
            self._owned["caches"] = sum(ring.bytes for ring in tuple(self.run.rings.values()))
            if event.index == 0:                          # weights may come after all is encoded, encoders may go
                self._owned["weights"] = bytes_of_weights(self.run.backend)
        elif isinstance(event, Block) and event.index == 0:
            self._owned["vae"] = -1                       # there is one now; measured in the watch's own thread
        elif isinstance(event, StateChange) and event.state == RUNNING:
            self._ends_s = float("inf")
            self.start()
        elif isinstance(event, StateChange) and event.state in ENDED:
            self._ends_s = time.perf_counter()            # one more look: what comes later is not the run's
            if is_shortage(event.error):
                self._explain(event.error)

    def _explain(self, error: BaseException) -> None:
        """Out of memory: say why, with the error itself too, and let go of what the error still holds."""
        _, values = self.rows()
        grown = (values[-1] - values[0])[-len(OWNERS):] if len(values) else [0] * len(OWNERS)
        try:
            self.shortage = explain(self.run, error, dict(zip(OWNERS, map(int, grown), strict=True)))
            error.add_note(self.shortage.words)
        finally:
            let_go(error)

    # ------------------------------------------------------------------ what happens in its own

    def _work(self) -> None:
        due_s = time.perf_counter()
        while not self._ended.wait(max(due_s - time.perf_counter(), 0)):
            now_s = time.perf_counter()
            self.look()
            for callback in self._subscribers:
                callback()
            if now_s > self._ends_s:
                break
            due_s = max(due_s + self.period_s, now_s)

    def _thin(self) -> None:
        """Of every two looks keep the one with more memory, and look half as often."""
        width, main = len(self._names), self._names.index(self._meter.main)
        values = np.array(self._values, np.int64).reshape(-1, width)
        pairs = len(values) // 2
        rows = 2 * np.arange(pairs) + (values[1:2 * pairs:2, main] > values[0:2 * pairs:2, main])
        self._times = array("d", np.array(self._times)[rows].tolist())
        self._values = array("q", values[rows].reshape(-1).tolist())
        self.period_s *= 2
        self.thinned += 1


def thin_record(record: MemoryRecord, most: int) -> MemoryRecord:
    """A record of at most `most` moments, peaks kept: for pictures."""
    if len(record) <= most:
        return record
    edges = np.linspace(0, len(record), most + 1).astype(int)[:-1]
    rows = np.array([start + int(part.argmax()) for start, part in
                     zip(edges, np.split(record.values, edges[1:]), strict=True)])
    series = {name: values[rows] for name, values in record.series.items()}
    return replace(record, times_s=record.times_s[rows], series=series)
