"""RunGallery in a real browser: from the keyboard, with names and prompts that look like HTML."""

import pytest

CELLS = ("""
import os, tempfile
from pathlib import Path
from fakes import FakeBackend, face, tone
from liveavatar.backends import BACKENDS
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
BACKENDS["fake"] = "fakes:FakeBackend"
folder = Path(tempfile.mkdtemp())
for seed, prompt in ((1, "waving"), (2, "<img src=x onerror='document.title=1'>"), (3, "smiling")):
    asked = GenerationConfig(sample_steps=seed, base_seed=seed, size=(64, 64))
    Pipeline(FakeBackend()).render(tone(0.5), face(64, 64), prompt, asked, output=folder / f"{seed}.mp4",
                                   progress=False)
    os.utime(folder / f"{seed}.mp4", (1e9 + seed, 1e9 + seed))
""", "from widgets import RunGallery\nview = RunGallery(folder)\nview")
PICKS = ".la-gallery-pick"


@pytest.fixture(scope="module")
def book(open_notebook):
    made = open_notebook(*CELLS)
    made.wait_for(f"() => document.querySelectorAll('{PICKS} img').length === 3")
    return made


def test_names_and_prompts_are_text(book):
    book.settle()
    assert "<img src=x" in book.page.locator(".la-gallery-prompt").nth(1).inner_text()
    assert book.page.locator(".la-gallery-card img").count() == 3


def test_two_are_compared_from_the_keyboard(book):
    book.settle()
    book.page.locator(PICKS).first.focus()
    book.page.keyboard.press("Space")
    book.wait_for_kernel("len(view.chosen) == 1")
    book.wait_for("() => document.activeElement.getAttribute('aria-pressed') === 'true'")
    book.page.keyboard.press("ArrowRight")
    book.page.keyboard.press("Enter")
    book.wait_for("() => document.querySelectorAll('.la-gallery-compare tr').length === 4")
    rows = book.page.locator(".la-gallery-compare tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows[1:]] == ["prompt", "seed", "steps"]
    book.shoot(".la-gallery", "run_gallery")


def test_deleting_asks_first_and_keeps_by_default(book):
    book.settle()
    book.page.locator(PICKS).nth(2).focus()
    book.page.keyboard.press("Delete")
    book.wait_for("() => document.activeElement.textContent === 'Keep'")
    book.shoot(".la-gallery", "run_gallery_delete")
    book.page.keyboard.press("Enter")
    book.wait_for("() => !document.querySelector('[role=alertdialog]')")
    assert book.run("print((folder / '1.mp4').exists())") == "True"
    book.settle()
    book.page.locator(PICKS).nth(2).focus()
    book.page.keyboard.press("Delete")
    book.page.get_by_role("button", name="Delete for good").click()
    book.wait_for(f"() => document.querySelectorAll('{PICKS}').length === 2")
    assert book.run("print((folder / '1.mp4').exists())") == "False"


def test_a_search_leaves_those_that_fit(book):
    book.page.get_by_label("search", exact=True).fill("smiling")
    book.wait_for(f"() => document.querySelectorAll('{PICKS}').length === 1")
    assert book.run("print([entry.name for entry in view.entries])") == "['3.mp4']"
