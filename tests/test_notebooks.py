"""Notebooks tell, the package does: clean files with short cells, one checked fact each."""

import ast
import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from liveavatar.config import GenerationConfig

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))

STILL_BYTES, STILL_PX = 32_000, (100, 900)                          # of a picture; its width, least and most
NOTEBOOK_BYTES = 240_000

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def checked(cell: dict) -> bool:
    return source(cell).startswith("# NBVAL_CHECK_OUTPUT")


def is_still(output: dict) -> bool:
    """A small picture of what the cell shows, for those who only read (docs/make_pictures.py)."""
    return output["metadata"] == {"still": True} if output["output_type"] == "display_data" else False


def stills(path: Path) -> list[bytes]:
    pictures = [output["data"] for cell in code_cells(path) for output in cell["outputs"] if is_still(output)]
    return [base64.b64decode(data.get("image/png") or data["image/jpeg"]) for data in pictures]


def test_outputs_are_stripped_except_checked_facts_and_stills(path):
    kept = [source(cell) for cell in code_cells(path)
            if not checked(cell) and not all(is_still(output) for output in cell["outputs"])]
    assert kept == []


def test_stills_are_small_pictures_that_nothing_is_compared_with(path):
    from PIL import Image

    assert path.stat().st_size <= NOTEBOOK_BYTES
    assert not any(is_still(output) for cell in code_cells(path) if checked(cell) for output in cell["outputs"])
    for data in stills(path):
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        assert len(data) <= STILL_BYTES and STILL_PX[0] <= picture.width <= STILL_PX[1]
        assert len(picture.resize((32, 32)).getcolors(1024)) > 8        # something is to be seen


def test_a_reader_sees_something_without_running_it(path):
    assert stills(path), "python docs/make_pictures.py stills"


def test_cells_carry_no_traces_of_a_run(path):
    run = [source(cell) for cell in code_cells(path) if cell["execution_count"] is not None and not cell["outputs"]]
    assert run == []                                               # cells with outputs say 1, as nbval wants
    assert {cell["execution_count"] for cell in code_cells(path)} <= {1, None}
    assert "widgets" not in read(path)["metadata"]


def test_a_lesson_leads_to_the_next(path):
    lessons = [one for one in NOTEBOOKS if one.stem < "11"]        # those that follow can be read in any order
    following = dict(pairwise([*lessons, NOTEBOOKS[len(lessons)]]))
    words = "".join(source(cell) for cell in read(path)["cells"][-2:] if cell["cell_type"] == "markdown")
    assert path not in following or f"]({following[path].name})" in words


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


def test_the_readme_leads_to_it(path):
    assert f"notebooks/{path.name}" in (path.parents[1] / "README.md").read_text(encoding="utf-8")


def test_it_says_how_the_page_comes_to_life(path):
    """Where a still of the whole page is shown, its buttons look as if they could be clicked."""
    cells = read(path)["cells"]
    for before, cell in zip(cells, cells[1:], strict=False):
        if cell["cell_type"] == "code" and "Workbench(" in source(cell):
            assert "Shift+Enter" in source(before)
