"""What was measured of the 14B model: time and memory on NVIDIA H200, random weights. Read from benchmarks/results."""

from __future__ import annotations

import csv
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"
BF16, FP8, FASTEST = "bf16 compiled", "fp8 compiled", "fp8 compiled, attention in 8 bits"
BLOCK_FRAMES, FPS = 12, 25
SHOWN_MS = 1000 * BLOCK_FRAMES / FPS               # how long a block is seen
NOT_HERE = "the measurements on H200 are not part of this installation (benchmarks/results)"


@cache
def speed() -> dict[str, dict[str, float]]:
    """Return setting -> {"step_ms", "decode_ms", "block_ms", "peak_gib", ...} at 704*384 and 4 steps; {} without the
    file."""
    path = RESULTS / "wan_speed.json"
    if not path.is_file():
        return {}
    return {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


@cache
def memory() -> dict[tuple[str, str, int], dict[str, float]]:
    """Return (precision, size, steps) -> {"step": GiB, "peak": GiB}; {} without the file."""
    path = RESULTS / "wan_memory.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {(row["precision"], row["size"], int(row["steps"])):
                {"step": float(row["measured step"]),
                 "peak": max(float(value) for name, value in row.items() if name.startswith("measured") and value)}
                for row in csv.DictReader(file)}


@cache
def two_cards() -> dict[str, float]:
    """Return {"block_ms", "step_ms"} of two H200 that share 4 steps; {} without the file."""
    path = RESULTS / "wan_tpp.json"
    if not path.is_file():
        return {}
    spans = json.loads(path.read_text(encoding="utf-8"))["spans"]
    ends = sorted(one["ended_s"] for one in spans if one["what"] == "decode")
    steps = [one["ended_s"] - one["began_s"] for one in spans if one["what"] == "step"]
    return {"block_ms": 1000 * median(after - before for before, after in pairwise(ends)),
            "step_ms": 1000 * median(steps)}


def share_of_a_step(setting: str) -> float:
    """Return which share of a block of 4 steps, decoding included, one step more would add."""
    row = speed()[setting]
    return row["step_ms"] / row["block_ms"]
