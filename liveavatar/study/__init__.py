"""Sweeps over settings, their results as one table, and the claims that the table can judge.

    grid      which videos: every combination of the settings asked for
    materials the recordings and portraits a cell names
    sweep     make them all, side by side, and measure each; stop and go on at will
    table     results as rows, with intervals
    claims    what the article says, and what the rows say of it
    figures   drawings for the notebooks
    report    one HTML file of a sweep or a run

Names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Cell": "grid", "Grid": "grid", "Sweep": "sweep", "Result": "sweep", "Table": "table", "Estimate": "table",
    "read_table": "table", "judge_all": "claims", "CLAIMS": "claims", "write_report": "report",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"liveavatar.study has no {name!r}; it has {', '.join(_HOME)}")
    value = getattr(import_module(f"liveavatar.study.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
