"""The pictures of the documentation: small, there, and made by a script that puts them where they belong."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def maker():
    """docs/make_pictures.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "make_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_opens_with_photographs_that_speak_and_the_page_at_work():
    links = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if link.endswith(".webp")][:2] == ["docs/photographs.webp", "docs/workbench.webp"]


@pytest.mark.parametrize("name", ["photographs.webp", "workbench.webp"])
def test_moving_pictures_are_short_and_loop(name):
    assert (ROOT / "docs" / name).stat().st_size < 1_000_000
    with Image.open(ROOT / "docs" / name) as picture:
        assert picture.n_frames >= 20 and picture.info["loop"] == 0 and picture.width <= 1000


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_what_a_page_links_to_is_there(page):
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert links and [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_pictures_of_the_page_are_small():
    for path in (ROOT / "docs" / "screens").iterdir():
        assert path.stat().st_size < 600_000, path.name


@pytest.mark.parametrize("most", [6_000, 64_000])
def test_a_picture_is_encoded_as_sharp_as_fits(maker, most):
    import io

    noise = Image.effect_noise((400, 300), 90).convert("RGB")
    mime, data = maker.smallest(noise, most)
    assert mime in ("image/png", "image/jpeg") and len(data) <= most
    assert Image.open(io.BytesIO(data)).width <= 400


def test_stills_go_under_cells_that_show_something_and_checked_facts_stay(maker, tmp_path, monkeypatch):
    monkeypatch.setattr(maker, "ROOT", tmp_path)
    code = {"cell_type": "code", "execution_count": 3, "metadata": {}}
    fact = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    cells = [code | {"source": ["view"], "outputs": fact}, code | {"source": ["x = 1"], "outputs": fact},
             code | {"source": ["# NBVAL_CHECK_OUTPUT\n", "print(1)"], "outputs": fact}]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    maker.put_stills(path, {0: Image.new("RGB", (2000, 1000), "teal"), 2: Image.new("RGB", (20, 20))})
    first, second, third = json.loads(path.read_text())["cells"]
    assert first["outputs"][0]["metadata"] == {"still": True} and "image/png" in first["outputs"][0]["data"]
    assert first["execution_count"] == 1
    assert second["outputs"] == [] and second["execution_count"] is None
    assert third["outputs"] == fact and third["execution_count"] == 3
