"""Exercises in a real JupyterLab: what `check` says can be read, by screen readers too."""

import pytest

START = """import os, tempfile
from liveavatar.lessons import check, progress
folder = tempfile.TemporaryDirectory()
os.environ["LIVEAVATAR_PROGRESS"] = folder.name + "/progress.json"
"""
CELLS = START, "check('devices')", "check('devices', 3)", "check('devices', 4)", "progress()"
COLOURS = """(selector) => [...document.querySelectorAll(selector)].map((one) =>
    [getComputedStyle(one).color, getComputedStyle(one.closest('.jp-RenderedHTMLCommon')).color])"""


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for("() => document.querySelectorAll('.jp-OutputArea [role=status]').length === 3 "
                  "&& !!document.querySelector('.jp-OutputArea th[scope=row]')")
    yield book
    book.run("folder.cleanup(); del os.environ['LIVEAVATAR_PROGRESS']")


def test_an_exercise_is_followed_from_the_question_to_the_answer(book):
    said = book.page.locator(".jp-OutputArea [role=status]").all_inner_texts()
    assert [text.split(".")[0] for text in said] == ["Not answered yet", "Not yet", "Right"]
    assert "of three devices one would have two steps" in said[1] and "Hint:" in said[1]
    row = book.page.locator(".jp-OutputArea tr", has_text="streaming")
    assert "1 of 2" in row.inner_text() and row.get_by_role("rowheader").count() == 1


def test_words_have_the_colour_of_the_page(book):
    """Whatever its theme: only the edge has a colour of its own."""
    colours = book.page.evaluate(COLOURS, ".jp-OutputArea [role=status]")
    assert len(colours) == 3 and all(words == page for words, page in colours)
