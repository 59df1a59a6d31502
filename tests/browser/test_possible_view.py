"""PossibleView in a real browser: drawn by the space key, the keys walk through pictures and blocks."""

CELL = """
from fakes import FakeBackend, face, tone, without_truth
from pytest import MonkeyPatch
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import PossibleView
patch = MonkeyPatch()
without_truth(patch)
run = Run.of(Pipeline(FakeBackend()), tone(1.44), face(32, 32), "", GenerationConfig(size=(32, 32)))
run.start().result()
view = PossibleView(run, renderings=4)
view
"""


def test_other_videos_are_drawn_and_looked_through(open_notebook):
    book = open_notebook(CELL)
    book.page.locator(".la-possible").focus()
    book.page.keyboard.press(" ")
    book.wait_for("() => document.querySelector('.la-possible .la-progress').textContent.startsWith('done: 4 of 4')")
    book.wait_for("() => [...document.querySelectorAll('.la-possible img')].every((one) => one.naturalWidth === 32) "
                  "&& document.querySelectorAll('.la-possible img').length === 9")
    label = book.page.locator(".la-possible canvas[role=img]").last.get_attribute("aria-label")
    assert "step 0 0.30, holds the mean" in label
    book.page.keyboard.press("ArrowRight")
    book.wait_for("() => document.querySelector('.la-possible-below output').textContent === '2 of 4'")
    book.page.locator(".la-possible select[data-trait=part]").select_option("around the mouth")
    book.wait_for_kernel("view.part == 'mouth'")
    book.shoot(".la-possible", "possible")
    book.page.locator(".la-possible").focus()
    book.page.keyboard.press("ArrowDown")
    book.wait_for_kernel("view.block == 1")
    book.wait_for("() => document.querySelector('.la-possible-wrap').checkVisibility() === false")
    assert book.page.locator(".la-possible .la-error:visible").count() == 0
    book.run("patch.undo()")
