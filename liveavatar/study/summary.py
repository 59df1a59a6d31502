"""A sweep as plain values that a browser can draw: one entry per video, and the measures that were taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from liveavatar.study import measures
from liveavatar.study.cell_result import MADE, Result

HIDDEN = ("backend", "weights", "options", "by_step")          # settings that nobody sorts by


def summary(results: Iterable[Result]) -> dict:
    """Return {"cells": [...], "measures": [...], "settings": [...]} as sweep_grid.js wants them, without the videos."""
    results = tuple(results)
    settings = [{name: value for name, value in asdict(result.cell).items() if name not in HIDDEN}
                for result in results]
    taken = {name for result in results for name in result.numbers}
    differ = [name for name in (settings[0] if settings else ()) if len({one[name] for one in settings}) > 1]
    return {
        "cells": [entry(result, values, differ) for result, values in zip(results, settings, strict=True)],
        "measures": [{"column": one.column, "label": one.label, "unit": one.unit, "better": one.better}
                     for one in measures.ALL if one.column in taken],
        "settings": differ or ["steps"],
    }


def entry(result: Result, settings: dict, differ: list[str]) -> dict:
    """Describe one video. Its name says what sets it apart from the others."""
    known = {one.column for one in measures.ALL}
    return {"key": result.key, "label": named(settings, differ), "state": result.state, "error": result.error,
            "settings": settings, "numbers": {name: value for name, value in result.numbers.items() if name in known},
            "video": "", "made": result.state == MADE}


def named(settings: dict, differ: list[str]) -> str:
    """Return "student, 4 steps, seed 1": the settings that differ within the sweep."""
    words = []
    for name in differ or ("model", "steps"):
        value = settings[name]
        if name == "steps":
            words.append(f"{value} step" + ("s" if value != 1 else ""))
        elif name == "noise_db":
            words.append("no noise" if value is None else f"noise {value:g} dB")
        elif name == "recording":
            words.append(f"“{str(value).partition('|')[2][:16] or value}”")
        elif name in ("portrait", "seed", "seconds", "guidance"):
            words.append(f"{name} {value}")
        elif value not in ("", None):
            words.append(str(value)[:24])
    return ", ".join(words)
