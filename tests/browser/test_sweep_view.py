"""SweepView and reports in a real browser: all videos play together, one is heard, a box on the plot chooses."""

import pytest

CELLS = (
    """
import tempfile
from pathlib import Path
from liveavatar.backends import BACKENDS
from liveavatar.study import Grid, Sweep
from liveavatar.study.report import write_report
from widgets import SweepView
BACKENDS["fake"] = "fakes:FakeBackend"
def quality(path, materials):
    return {"lips.error_frames": path.stat().st_size / 1e4, "texture.psnr_db": 30.0}
grid = Grid(backend="fake", size="64*64", seconds=2.0, steps=(1, 2, 3), recording=("welcome", "nobody"))
sweep = Sweep(grid, tempfile.mkdtemp(), measure=quality)
sweep.start(jobs=1, threads=1)
""",
    "view = SweepView(sweep)\nview",
)
VIDEOS = "[...document.querySelectorAll('.sg-screen video')]"
LOADED = f"(count) => {VIDEOS}.filter((video) => video.readyState >= 2).length === count"
TIMES = f"() => {VIDEOS}.map((video) => video.currentTime)"
APART = f"(Math.max(...({TIMES})()) - Math.min(...({TIMES})()))"
MUTED = f"() => {VIDEOS}.map((video) => video.muted)"
LABELS = "() => [...document.querySelectorAll('.sg-card b')].map((label) => label.textContent)"


@pytest.fixture(scope="module")
def book(open_notebook):
    """A sweep that is made while it is looked at: three videos, three failures."""
    made = open_notebook(*CELLS)
    made.wait_for_kernel("not sweep.running and len(sweep.results) == 6")
    made.wait_for(LOADED, 3)
    return made


def test_every_video_and_every_failure_has_a_card(book):
    book.wait_for(f"() => ({LABELS})().length === 6")
    book.settle()
    assert book.page.locator(".sg-empty").all_inner_texts()[0].startswith("recording 'nobody' is unknown")
    assert "6 of 6 made" in book.page.locator(".la-sweep .la-progress").inner_text()
    book.shoot(".la-sweep", "sweep_view")


def test_all_play_together_and_one_is_heard(book):
    book.page.get_by_role("button", name="Play", exact=True).click()
    book.wait_for(f"() => ({TIMES})().every((time) => time > 0.2) && {APART} < 0.25")
    assert sorted(book.page.evaluate(MUTED)) == [False, True, True]
    book.page.get_by_role("button", name="Pause", exact=True).click()
    book.wait_for(f"() => {APART} < 0.05")


def test_the_one_that_is_clicked_is_heard(book):
    book.page.locator(".sg-card").nth(2).click()
    key = book.page.locator(".sg-card").nth(2).get_attribute("data-key")
    book.wait_for_kernel(f"view.heard == {key!r}")
    book.wait_for("() => document.querySelectorAll('.sg-heard').length === 1")


def test_all_are_scrubbed_together(book):
    book.page.locator(".sg-scrub").fill("1.2")
    book.wait_for(f"() => ({TIMES})().every((time) => Math.abs(time - 1.2) < 0.02)")
    book.page.locator(".sg-plot").focus()
    book.page.locator(".la-sweep .sg").press("ArrowRight")
    book.wait_for(f"() => ({TIMES})().every((time) => Math.abs(time - 1.24) < 0.02)")


def test_sorting_is_known_in_python(book):
    book.page.get_by_label("sort by").first.select_option("lips.error_frames")
    book.wait_for_kernel("view.sort == 'lips.error_frames'")
    shown = book.run("print([result.key for result in view.shown if result.video])")
    book.wait_until(lambda: shown == str([book.page.locator(".sg-card").nth(place).get_attribute("data-key")
                                          for place in range(3)]))


def test_a_box_on_the_plot_chooses_videos(book):
    book.page.get_by_label("across", exact=True).select_option("steps")
    book.wait_for_kernel("view.x == 'steps'")
    points = book.page.locator(".sg-point")
    book.wait_until(lambda: points.count() == 3)
    book.settle()
    points.first.scroll_into_view_if_needed()
    centre = points.first.bounding_box()
    x, y = centre["x"] + centre["width"] / 2, centre["y"] + centre["height"] / 2
    book.page.mouse.move(x - 20, y - 20)
    book.page.mouse.down()
    book.page.mouse.move(x + 20, y + 20, steps=4)
    book.page.mouse.up()
    book.wait_for_kernel("len(view.selected) == 1")
    book.wait_until(lambda: book.page.locator(".sg-card").count() == 1)
    assert book.run("print(view.shown[0].cell.steps)") == "1"
    book.page.get_by_role("button", name="Show all", exact=True).click()
    book.wait_for_kernel("view.selected == []")
    book.wait_until(lambda: book.page.locator(".sg-card").count() == 6)


def test_what_was_chosen_can_be_had_as_code(book):
    code = book.run("print(view.as_code())")
    assert code.startswith("SweepView(") and "sort='lips.error_frames'" in code and "x='steps'" in code


def test_the_report_of_one_video_plays_and_its_curves_lead_it(book, new_page, tmp_path):
    path = tmp_path / "report.html"
    book.run(f"write_report(sweep.results[0].video, {str(path)!r})")
    page, complaints = new_page, []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("() => document.getElementById('video').readyState >= 2")
    box = page.locator("#chart").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    page.wait_for_function("() => Math.abs(document.getElementById('video').currentTime - 1) < 0.1")
    page.wait_for_function("() => Number(document.querySelector('.rv-cursor').getAttribute('x1')) > 450")
    assert "undefined" not in page.inner_text("main") and complaints == []


def test_a_report_plays_without_kernel_and_network(book, new_page, tmp_path):
    path = tmp_path / "report.html"
    book.run(f"write_report(sweep, {str(path)!r})")
    page, asked, complaints = new_page, [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function(LOADED, arg=3)
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function(f"() => ({TIMES})().every((time) => time > 0.3)")
    page.wait_for_function(f"() => {VIDEOS}.some((video) => !video.muted && video.webkitAudioDecodedByteCount > 0)")
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert complaints == []
