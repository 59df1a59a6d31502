"""The committed results of the study, and where they come from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from liveavatar.files import user_path
from liveavatar.study.provenance import weights_in_words
from liveavatar.study.table import Table, read_table
from liveavatar.types import InputError

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
REAL = "real_study.csv"                         # of the released weights, where somebody has made one
FILES = ("study.csv", "study_smoke.csv")        # the first that exists is taken


@dataclass(frozen=True)
class Results:
    """A committed table, and where it comes from."""

    table: Table
    name: str
    about: dict          # command, machine, commit ...
    released: Table = field(default_factory=lambda: Table([]))       # of the released weights, where there is one

    @property
    def origin(self) -> str:
        """Say where the results come from, for under a figure."""
        small = " A small trial: intervals are wide." if self.about.get("scale") != "full" else ""
        videos, machine = self.about.get("videos", "?"), self.about.get("machine", "an unknown machine")
        return f"Measured on mini with {weights_in_words(self.table)}: {self.name}, {videos} videos, {machine}.{small}"

    def __str__(self) -> str:
        return f"{self.origin}\nMade by: {self.about.get('command', 'an unknown command')}"


def results(folder: str | os.PathLike = RESULTS) -> Results:
    """Return the full study where it is there, else the small one."""
    for name in FILES:
        path = user_path(folder) / name
        if path.is_file():
            about = path.with_suffix(".json")
            real = path.with_name(REAL)
            return Results(read_table(path), name,
                           json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {},
                           read_table(real) if real.is_file() else Table([]))
    raise InputError(f"{folder} holds neither {' nor '.join(FILES)}; make one: python benchmarks/study.py")
