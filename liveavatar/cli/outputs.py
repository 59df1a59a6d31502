"""Names of files that a command reads and writes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from liveavatar.files import fault_of, free_name, user_path
from liveavatar.types import InputError


def check_file(option: str, path: str, example: str) -> None:
    """Refuse a file that cannot be read. Raises InputError with the option, the fault and an example."""
    fault = fault_of(user_path(path))
    if fault:
        raise InputError(f"{option} {path} {fault}; give {example}")


def output_of(asked: argparse.Namespace, default: str) -> Path:
    """Return where to write: what exists is not overwritten unless that was asked for. Raises InputError where a
    file that was named exists."""
    if asked.output is None:
        return Path(default) if asked.overwrite else free_name(Path(default))
    path = user_path(asked.output)
    if os.path.isfile(path) and not asked.overwrite:
        raise InputError(f"output {path} exists; add --overwrite to replace it, or choose another --output")
    return path
