"""AttentionView in a real browser: a place is pointed at, a word is pointed at, the time is moved."""

import pytest

CELLS = ("""from fakes import FakeBackend, face, tone
from liveavatar import inspect
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import AttentionView
pipe = Pipeline(FakeBackend())
run = Run.of(pipe, tone(1.44), face(), "hello", GenerationConfig(sample_steps=2, duration_s=1.4))
with inspect.record(pipe, layers=[0, 1]) as seen:
    run.start()
    run.result()
view = AttentionView(run, seen=seen, layer=1)
view""",)


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for("() => document.querySelectorAll('.la-attention [data-target]').length === 7")
    return book


def test_a_place_is_pointed_at_and_moved_with_the_keys(book):
    book.page.locator(".la-attention canvas").first.click(position={"x": 10, "y": 10})
    book.wait_for_kernel("(view.row, view.column) == (0, 0)")
    book.wait_for("() => document.querySelector('.la-attention .la-note').textContent.includes('portrait')")
    book.page.keyboard.press("ArrowRight")
    book.page.keyboard.press("PageDown")
    book.wait_for_kernel("view.column == 1 and view.frame == 2")


def test_a_sound_is_pointed_at_and_escape_goes_back(book):
    book.page.locator('[data-target="sound 1"]').click()
    book.wait_for_kernel("view.target == 'sound 1'")
    book.wait_for("() => document.querySelector('.la-attention .la-note').textContent.includes('sound 1')")
    book.page.locator(".la-attention").focus()
    book.page.keyboard.press("Escape")
    book.wait_for_kernel("view.target == ''")


def test_the_lane_moves_the_time_and_a_list_the_layer(book):
    lane = book.page.locator(".la-attention canvas").last
    lane.click(position={"x": lane.bounding_box()["width"] * 0.9, "y": 10})
    book.wait_for("() => document.querySelector('.la-look-title').textContent.startsWith('Block 2')")
    book.page.locator('.la-attention select[data-trait="layer"]').select_option("0")
    book.wait_for("() => document.querySelectorAll('.la-attention [data-target]').length === 2")
    book.shoot(".la-attention", "attention_view")
