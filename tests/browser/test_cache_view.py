"""The caches in a real browser."""

RUN = """
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.run import Run
from widgets import CacheView, Cursor
run = Run.of(Pipeline(FakeBackend()), tone(1.9), face(32, 32), "", GenerationConfig(size=(32, 32)))
"""


def test_rings_fill_live_and_follow_the_cursor(open_notebook):
    book = open_notebook(RUN, "cursor = Cursor(); view = CacheView(run, cursor=cursor)\nview")
    book.wait_for("() => document.querySelector('.la-cache .la-progress')?.textContent.startsWith('ready')")
    book.page.locator(".la-cache").get_by_role("button", name="Start").click()
    book.wait_for("() => document.querySelector('.la-cache .la-progress').textContent.startsWith('finished')")
    book.wait_for("() => document.querySelectorAll('.la-ring').length === 4")
    book.wait_for("() => document.querySelector('.la-ring-words').textContent.includes('frames 6 to 11')")
    book.shoot(".la-cache", "cache_view")
    book.run("cursor.time_s = 0.1")
    book.wait_for("() => document.querySelector('.la-ring-words').textContent.includes('frames 0 to 2')")
    assert book.run("print(view.rings[3].held, view.block)") == "(0, 1, 2) 0"
    book.page.locator(".la-cache").press("ArrowRight")
    book.wait_for("() => document.querySelector('.la-ring-words').textContent.includes('frames 0 to 5')")
    assert book.run("print(round(cursor.time_s, 2))") == "0.48"
