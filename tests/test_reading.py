"""docs/reading-the-code.md names files, functions and cells of notebooks that exist."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "reading-the-code.md").read_text(encoding="utf-8")
STOPS = re.findall(r"^## \d+\. ([^\n]+)\n\n`([^`]+)`: ([^\n]+) · \[[^]]+\]\(\.\./([^)]+)\), cell (\d+)$", TEXT,
                   re.MULTILINE)


def test_there_are_ten_stops():
    assert len(STOPS) == 10


@pytest.mark.parametrize("stop", STOPS, ids=[stop[0] for stop in STOPS])
def test_a_stop_leads_to_functions_and_to_a_cell(stop):
    _, file, functions, notebook, cell = stop
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    named = {part for name in re.findall("`([^`]+)`", functions) for part in name.split(".")}
    assert named and named <= defined
    cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
    assert sum(one["cell_type"] == "code" for one in cells) >= int(cell)


def test_every_file_that_is_named_exists():
    files = re.findall(r"`((?:liveavatar|widgets|tests)/[^` :]*)`", TEXT)
    links = [f"docs/{link}" for link in re.findall(r"\]\(([^)#]+)\)", TEXT)]
    assert [name for name in files + links if not (ROOT / name).exists()] == []
