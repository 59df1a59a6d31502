"""Sweeps over settings, their results as one table, and the claims that the table can judge.

    grid      which videos: every combination of the settings asked for
    materials the recordings and portraits a cell names
    sweep     make them all, side by side, and measure each; stop and go on at will
    table     results as rows, with intervals
    claims    what the article says, and what the rows say of it
    figures   drawings for the notebooks
    report    one HTML file of a sweep or a run
    drift     streams side by side, one switch changed in each: what keeps them stable
    possible_study  other renderings of a block, drawn one by one: does a step hold their mean, or one of them

Names are loaded when they are first used.
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {
    "Cell": "grid", "Grid": "grid", "Sweep": "sweep", "Result": "cell_result", "Table": "table", "Estimate": "table",
    "read_table": "table", "judge_all": "claims", "CLAIMS": "claims", "write_report": "report",
    "DriftStudy": "drift", "stability_settings": "drift", "StreamSetting": "drift_stream",
    "PlantedFault": "drift_stream", "PossibleStudy": "possible_study",
}

__all__ = [*_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
