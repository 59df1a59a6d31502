"""Notebooks tell, the package does: clean files with short cells, one checked fact each."""

import ast
import json
import re
from pathlib import Path
from statistics import median

import pytest

from liveavatar.config import GenerationConfig

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def checked(cell: dict) -> bool:
    return source(cell).startswith("# NBVAL_CHECK_OUTPUT")


def test_outputs_are_stripped_except_checked_facts(path):
    kept = [source(cell) for cell in code_cells(path) if cell["outputs"] and not checked(cell)]
    assert kept == []


def test_cells_carry_no_traces_of_a_run(path):
    run = [source(cell) for cell in code_cells(path) if cell["execution_count"] is not None and not checked(cell)]
    assert run == []                                               # checked cells say 1: nbval wants a number there
    assert "widgets" not in read(path)["metadata"]


def test_the_kernel_is_any_python3(path):
    assert read(path)["metadata"]["kernelspec"]["name"] == "python3"


def test_cells_are_short(path):
    lengths = [len([line for line in source(cell).splitlines() if line.strip() and not line.startswith("#")])
               for cell in code_cells(path)]
    assert median(lengths) <= 4 and max(lengths) <= 8


def test_nothing_is_defined_in_a_notebook(path):
    for cell in code_cells(path):
        lines = [line for line in source(cell).splitlines() if not line.startswith(("%", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            assert not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)), source(cell)


def test_the_first_cell_says_what_will_be_seen_and_how_long_it_takes(path):
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert any(word in source(first) for word in ("second", "minute"))


def test_it_ends_with_a_fact_that_is_checked(path):
    facts = [cell for cell in code_cells(path) if checked(cell)]
    assert facts and all(cell["outputs"] for cell in facts)


def test_settings_that_are_proposed_can_be_used(path):
    """What the text offers to try: `GenerationConfig(sample_steps=2)`, or `size="96*96"` for one."""
    words = "".join(source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
    for code in re.findall(r"`([^`]+)`", words):
        if re.fullmatch(r"GenerationConfig\(.+\)|\w+=[^=]\S*", code):
            call = code if code.startswith("GenerationConfig") else f"GenerationConfig({code})"
            assert isinstance(eval(call, {"GenerationConfig": GenerationConfig}), GenerationConfig)
