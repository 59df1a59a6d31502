"""How much memory is in use now: of this process, or of the GPU that torch works on."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from liveavatar.backends import Backend

PROCESSES_EVERY = 10           # readings between two lists of the GPU's processes, which take the driver a while


class MemoryMeter(Protocol):
    """Reads how much memory is in use now."""

    names: tuple[str, ...]     # of what it reads
    main: str                  # the one that owners add up to
    device: str
    total: int                 # bytes in all
    description: str

    def read(self) -> dict[str, int]:
        """Return bytes by name."""


class ProcessMeter:
    """Reads the resident memory of this process."""

    names, main = ("process",), "process"
    device = "this process"
    description = ("No NVIDIA GPU is used here: the curve is the main memory of this Python process, its libraries and "
             "everything else in it included.")

    def __init__(self) -> None:
        import psutil

        self.total = psutil.virtual_memory().total
        process = psutil.Process()
        self._resident = resident_from_proc(process.pid) or (lambda: process.memory_info().rss)

    def read(self) -> dict[str, int]:
        """Return the bytes of the process."""
        return {"process": self._resident()}


@cache
def resident_from_proc(pid: int) -> Callable[[], int] | None:
    """Return what reads the resident bytes from /proc in an eighth of psutil's time; None where there is no /proc."""
    try:
        file, page = os.open(f"/proc/{pid}/statm", os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
    return lambda: int(os.pread(file, 64, 0).split()[1]) * page


class GpuMeter:
    """Reads a GPU's memory from its driver (NVML) and from torch's allocator."""

    def __init__(self, device: torch.device | None = None) -> None:
        import pynvml

        self._nvml = pynvml
        self._device = torch.cuda.current_device() if device is None or device.index is None else device.index
        pynvml.nvmlInit()
        self._handle = self._find()
        self._readings, self._process = 0, None
        reading = self.read()
        self.names = tuple(reading)
        self.main = "process" if "process" in reading else "reserved"
        self.device = torch.cuda.get_device_name(self._device)
        self.total = pynvml.nvmlDeviceGetMemoryInfo(self._handle).total
        missing = "" if "process" in reading else (" The driver does not say which part is this process's, so the "
                                                   "owners are shown within what torch holds.")
        self.description = f"Memory of {self.device}: all that is used on it, and what this process holds.{missing}"

    def read(self) -> dict[str, int]:
        """Return bytes: used on the GPU, by this process (where known), allocated and reserved by torch."""
        self._readings += 1
        if self._readings % PROCESSES_EVERY == 1:
            self._process = self._of_this_process()
        torchs = torch.cuda.memory_stats_as_nested_dict(self._device)
        sizes = {name: torchs[f"{name}_bytes"]["all"]["current"] if torchs else 0 for name in ("allocated", "reserved")}
        process = {} if self._process is None else {"process": self._process}
        return {"used": self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used, **process, **sizes}

    def _find(self) -> object:
        """Find the GPU by its UUID: NVML numbers all GPUs of the machine, torch those it may use."""
        uuid = getattr(torch.cuda.get_device_properties(self._device), "uuid", None)
        if uuid is not None:
            return self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return self._nvml.nvmlDeviceGetHandleByIndex(self._device)

    def _of_this_process(self) -> int | None:
        """Return the bytes of this process; None where the driver does not know it by its number, as in containers."""
        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        used = [process.usedGpuMemory for process in running if process.pid == os.getpid()]
        return next((size for size in used if size is not None), None)


def meter_for(backend: Backend | None) -> MemoryMeter:
    """Return a GPU's meter for a model that is on one, else this process's."""
    device = None if backend is None else backend.device
    on_gpu = torch.cuda.is_available() and (device is None or torch.device(device).type == "cuda")
    return GpuMeter(device) if on_gpu else ProcessMeter()
