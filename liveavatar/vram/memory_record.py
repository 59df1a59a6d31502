"""Memory over time: a record that is drawn, asked for its peak, saved and loaded."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from liveavatar.files import user_path, utf8_path
from liveavatar.types import InputError

OWNERS = ("weights", "caches", "vae", "rest")
FILE = "memory.safetensors"


@dataclass(frozen=True)
class Label:
    """A stretch of the run's work. Seconds since the record's beginning."""

    began_s: float
    ended_s: float
    stage: str          # "prepare", "step", "decode", "close"
    block: int          # -1 where there is none
    step: int           # -1 where there is none

    @property
    def description(self) -> str:
        """Say what was done: "block 1, step 2"."""
        named = {"step": f"block {self.block}, step {self.step}", "decode": f"block {self.block}, decoding"}
        return named.get(self.stage, {"prepare": "preparing", "close": "closing the file"}.get(self.stage, self.stage))


@dataclass(frozen=True)
class Peak:
    """The highest moment."""

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
    description: str                    # what is measured, in a sentence

    def __len__(self) -> int:
        return len(self.times_s)

    def __repr__(self) -> str:
        if not len(self):
            return "MemoryRecord(empty)"
        peak = self.peak
        return (f"MemoryRecord({len(self)} samples in {self.times_s[-1]:.1f} s, peak {peak.bytes / 2**20:.0f} MiB "
                f"after {peak.time_s:.1f} s: {peak.when})")

    @property
    def values(self) -> np.ndarray:
        """Return the main series, (N,) bytes."""
        return self.series[self.main]

    @property
    def peak(self) -> Peak:
        """Return the highest moment of the main series while the run was going; of all, where no run was watched."""
        if not len(self):
            raise InputError("nothing has been watched yet; start the run, or the watch")
        going = np.ones(len(self), bool)
        if self.labels:
            going = (self.times_s >= self.labels[0].began_s) & (self.times_s <= self.labels[-1].ended_s)
        at = int(np.where(going if going.any() else True, self.values, -1).argmax())
        return Peak(int(self.values[at]), float(self.times_s[at]), self.when(float(self.times_s[at])))

    @property
    def left_over(self) -> int:
        """Return the bytes that are held at the end and were not at the beginning."""
        return int(self.values[-1] - self.values[0]) if len(self) else 0

    def at(self, time_s: float) -> dict[str, int]:
        """Return all series at a moment: the last sample before it. Raises InputError for an empty record."""
        if not len(self):
            raise InputError("nothing has been watched yet; start the run, or the watch")
        row = max(int(np.searchsorted(self.times_s, time_s, "right")) - 1, 0)
        return {name: int(values[row]) for name, values in self.series.items()}

    def label_at(self, time_s: float) -> Label | None:
        """Return what the run was doing at a moment; None between two labels."""
        last = bisect_right(self.labels, time_s, key=lambda label: label.began_s) - 1
        return self.labels[last] if last >= 0 and time_s <= self.labels[last].ended_s else None

    def when(self, time_s: float) -> str:
        """Say what the run was doing at a moment."""
        if not self.labels:
            return "while it was watched"
        label = self.label_at(time_s)
        if label is not None:
            return label.description
        if time_s < self.labels[0].began_s:
            return "before the run"
        return "after the run" if time_s > self.labels[-1].ended_s else "between two steps"

    def save(self, folder: str | os.PathLike) -> Path:
        """Write memory.safetensors into a folder, for instance that of `Run.save`."""
        from safetensors.numpy import save_file

        folder = user_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"format": 1, "main": self.main, "device": self.device, "total": self.total, "words": self.description,
                 "labels": [list(asdict(label).values()) for label in self.labels]}
        save_file({"times_s": self.times_s, **self.series}, utf8_path(folder) / FILE, {"about": json.dumps(about)})
        return folder / FILE

    @classmethod
    def load(cls, folder: str | os.PathLike) -> MemoryRecord:
        """Read what `save` wrote. Raises InputError where it cannot be read."""
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


def thin_record(record: MemoryRecord, most: int) -> MemoryRecord:
    """Return a record of at most `most` moments that keeps the peaks, for drawing."""
    if len(record) <= most:
        return record
    edges = np.linspace(0, len(record), most + 1).astype(int)[:-1]
    rows = np.array([start + int(part.argmax()) for start, part in
                     zip(edges, np.split(record.values, edges[1:]), strict=True)])
    series = {name: values[rows] for name, values in record.series.items()}
    return replace(record, times_s=record.times_s[rows], series=series)
