"""Where a row of results comes from: the machine, the code and the weights that made it."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.version import __version__

if TYPE_CHECKING:
    from liveavatar.study.table import Table

# Weights that are described in words; others are named as a table names them.
KNOWN_WEIGHTS = {"mini 0.1 247adcff6c65ed54": "the model of version 0.1 (128 x 128 pixels, flat drawn avatars), not "
                                              "the one that is shipped now"}
COLUMNS = ("machine", "commit", "weights_id")
NOT_RECORDED = "not recorded"
ROOT = Path(__file__).resolve().parents[2]


@cache
def processor() -> str:
    """Return the name of this machine's processor and how many of them the system shows."""
    try:
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine() or NOT_RECORDED


def machine(device: str = "cpu") -> str:
    """Return what a model runs on: the card where `device` is a GPU, else the processor."""
    if not str(device).startswith("cuda"):
        return processor()
    import torch

    return torch.cuda.get_device_name(device)


@cache
def commit() -> str:
    """Return which code this is: the commit of a checkout ("-dirty" where files were changed), else the version."""
    if not (ROOT / ".git").exists():
        return f"version {__version__}"
    try:
        asked = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True,
                               text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return f"version {__version__}"
    return asked.stdout.strip() or f"version {__version__}"


def weights_in_words(table: Table) -> str:
    """Say which weights made the rows of a table: "the model of version 0.1 (...)"."""
    names = [str(name) for name in table.distinct("weights_id") if name and name != NOT_RECORDED]
    return ", ".join(KNOWN_WEIGHTS.get(name, name) for name in names) or "weights that the table does not name"


def weights_id(about: dict) -> str:
    """Return the name of a backend with fingerprints of its weights: "mini 247adcff6c65ed54". about: what
    `Backend.about` tells."""
    words = [str(about.get("name", "")), str(about.get("fingerprint") or NOT_RECORDED)]
    words += [f"LoRA {about['lora']}"] if about.get("lora") else []
    words += [name for name in ("fp8", "nf4", "fp8_cache", "fp8_attention") if about.get(name)]
    return " ".join(words).strip()
