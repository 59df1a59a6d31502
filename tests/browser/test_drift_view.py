"""DriftView in a real browser: started by the space key, curves grow, a stream is chosen by key and hidden by click."""

CELL = """
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.study import DriftStudy, PlantedFault, StreamSetting
from widgets import DriftView
settings = [StreamSetting("as trained"), StreamSetting("ring of 3", {"ring_frames": 3}),
            StreamSetting("planted colours", fault=PlantedFault("colours", 4, 40.0))]
study = DriftStudy(Pipeline(FakeBackend()), tone(1.0), face(32, 32), settings=settings, seconds=3.3,
                   config=GenerationConfig(sample_steps=2, size=(32, 32)))
view = DriftView(study)
view
"""


def test_streams_are_made_chosen_and_hidden(open_notebook):
    book = open_notebook(CELL)
    book.wait_for("() => document.querySelectorAll('.la-drift-row').length === 3")
    book.page.locator(".la-drift").focus()
    book.page.keyboard.press(" ")
    book.wait_for("() => document.querySelector('.la-drift .la-progress').textContent === 'done: 18 of 18 blocks'")
    book.page.keyboard.press("ArrowDown")
    book.wait_for_kernel("view.chosen == 'ring of 3'")
    assert "corners" in book.page.locator(".la-drift-pane canvas").first.get_attribute("aria-label")
    book.page.locator('.la-drift-row[data-stream="2"]').click()
    book.wait_for("() => document.querySelector('.la-drift .la-numbers th').textContent === 'planted colours'")
    assert "colours at 4" in book.page.locator('.la-drift-row[data-stream="2"]').inner_text()
    book.shoot(".la-drift", "drift")
    book.page.locator('.la-drift-row[data-stream="1"] input').uncheck()
    book.wait_for_kernel("view.hidden == ['ring of 3'] and not view.study.running")
    assert book.page.locator(".la-drift .la-error:visible").count() == 0
