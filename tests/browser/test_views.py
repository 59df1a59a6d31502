"""StepGrid, ScheduleView and CacheView in a real browser: one page, one run, one cursor, looked at in turn."""

import pytest

CELLS = (
    """
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import CacheView, Cursor, ScheduleView, StepGrid
run = Run.of(Pipeline(FakeBackend()), tone(1.9), face(32, 32), "", GenerationConfig(size=(32, 32)))
cursor = Cursor()
""",
    "grid = StepGrid(run, cursor=cursor)\ngrid",
    "schedule = ScheduleView(schedule='released')\nschedule",
    "caches = CacheView(run, cursor=cursor)\ncaches",
    "empty = StepGrid()\nempty",
)
PROGRESS = "() => document.querySelector('.la-grid .la-progress').textContent"
PIXEL = """([selector, x, y]) => {
    const canvas = document.querySelector(selector), scale = canvas.width / canvas.clientWidth;
    return [...canvas.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data].slice(0, 3).join();
}"""
SENTENCES = """() => {
    const error = document.querySelector('.la-grid .la-error');
    globalThis.sentencesSeen = [];
    new MutationObserver(() => globalThis.sentencesSeen.push(error.textContent)).observe(error, {childList: true});
}"""
WIDE, TALL = 2 * 96 + 2 + 4, 96 + 4                        # px from one cell of the grid to the next: x and guess


@pytest.fixture(scope="module")
def book(open_notebook):
    return open_notebook(*CELLS)


@pytest.fixture(scope="module")
def played(book):
    """The same, after a click on Start has made the whole video."""
    book.page.locator(".la-grid").first.locator(".la-main-button").click()
    book.wait_for(f"() => ({PROGRESS})().startsWith('finished')")
    return book


def grid_pixel(book, block: int, step: int) -> str:
    """The colour in the middle of a cell."""
    return book.page.evaluate(PIXEL, [".la-grid-scroll canvas", block * WIDE + 48, 34 + step * TALL + 48])


def test_a_view_that_was_given_nothing_says_so(book):
    book.wait_for("() => document.querySelectorAll('.la-grid')[1]?.querySelector('.la-nothing')?.innerText"
                  ".includes('StepGrid(run)')")


def test_one_step_by_its_button_fills_one_cell(book):
    book.settle()
    before = [grid_pixel(book, 0, step) for step in (0, 1)]
    book.page.locator(".la-grid").first.get_by_role("button", name="Step", exact=True).click()
    book.wait_for(f"() => ({PROGRESS})().startsWith('paused')")
    book.wait_for_kernel("len(run.recorded_steps) == 1")
    book.wait_for("() => document.querySelector('.la-grid-title')?.textContent.includes('block 0, step 0')")
    book.settle()
    book.wait_until(lambda: grid_pixel(book, 0, 0) != before[0])
    assert grid_pixel(book, 0, 1) == before[1]


def test_all_cells_and_rings_fill_while_it_runs(played):
    assert played.run("print(run.state, len(run.recorded_steps))") == "finished 16"
    played.wait_until(
        lambda: len({grid_pixel(played, block, step) for block in range(4) for step in range(4)}) > 8)
    played.wait_for("() => document.querySelectorAll('.la-ring').length === 4")
    played.wait_for("() => document.querySelector('.la-ring-words').textContent.includes('frames 6 to 11')")
    played.shoot(".la-grid", "step_grid")
    played.shoot(".la-schedule", "schedule_view")
    played.shoot(".la-cache", "cache_view")


def test_a_still_waits_out_of_sight_for_the_day_the_kernel_is_gone(played):
    still = played.page.locator(".la-still img[alt^=StepGrid]")
    still.wait_for(state="attached")
    played.wait_until(lambda: still.evaluate("(picture) => picture.naturalWidth") > 300)
    assert not still.is_visible()


def test_a_click_opens_a_cell_and_moves_the_cursor_of_all(played):
    played.page.locator(".la-grid-scroll canvas").first.click(position={"x": WIDE + 48, "y": 34 + 2 * TALL + 48})
    played.wait_for("() => document.querySelector('.la-grid-title').textContent.includes('block 1, step 2')")
    played.wait_for("() => document.querySelector('.la-ring-words').textContent.includes('frames 0 to 5')")
    played.wait_for_kernel("grid.chosen == (1, 2) and 0.48 < cursor.time_s < 0.96 and caches.time_s == cursor.time_s")
    played.run("cursor.time_s = 0.1")
    played.wait_for("() => document.querySelector('.la-grid-title').textContent.includes('block 0, step 2')")
    played.wait_for("() => document.querySelector('.la-ring-words').textContent.includes('frames 0 to 2')")


def test_arrow_keys_walk_through_the_grid(played):
    grid = played.page.locator(".la-grid").first
    grid.focus()
    grid.press("ArrowRight")
    grid.press("ArrowDown")
    played.wait_for("() => document.querySelector('.la-grid-title').textContent.includes('block 1, step 3')")
    played.wait_for_kernel("grid.chosen == (1, 3)")


def test_what_is_drawn_can_be_chosen(played):
    played.settle()
    before = grid_pixel(played, 1, 3)
    played.page.locator(".la-grid select[data-trait=show]").first.select_option(label="velocity")
    played.wait_for("() => document.querySelector('.la-grid-title').textContent.includes('velocity')")
    played.wait_until(lambda: grid_pixel(played, 1, 3) != before)
    played.wait_for_kernel("grid.as_code() == \"StepGrid(run, block=1, show='velocity', step=3)\"")


def test_the_choices_are_copied_as_code(played):
    played.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    played.settle()
    played.record(".la-grid")
    played.page.locator(".la-grid").first.get_by_role("button", name="Copy code").click()
    played.wait_for_record("Copied")
    assert played.page.evaluate("() => navigator.clipboard.readText()") == played.run("print(grid.as_code())")


def test_an_error_is_a_sentence_in_the_view_and_goes_away(played):
    played.page.evaluate(SENTENCES)
    played.run("grid.show = 'channel'; grid.channel = 99")
    error = played.page.locator(".la-grid").first.locator(".la-error")
    error.wait_for(state="visible")
    assert "channels 0 to 3" in error.inner_text()
    played.run("grid.channel = 1")
    error.wait_for(state="hidden")
    sentences = played.page.evaluate("() => globalThis.sentencesSeen.filter((words) => words)")
    assert sentences and all("channels 0 to 3" in words for words in sentences)          # not even for a moment another


def test_the_schedule_is_switched_by_buttons_and_dragged(played):
    view = played.page.locator(".la-schedule")
    played.settle()
    assert "0.9 %" in view.inner_text() and "nearly idle" in view.inner_text()
    view.locator("button[data-steps='5']").click()
    played.wait_for("() => document.querySelectorAll('.la-schedule-table tr').length === 6")
    played.wait_for_kernel("len(schedule.sigmas) == 6")
    played.settle()
    view.locator("canvas").nth(1).scroll_into_view_if_needed()
    box = view.locator("canvas").nth(1).bounding_box()
    left, right, top, bottom = 54, 416, 14, 216           # of the path in its canvas
    sigma = float(played.run("print(schedule.sigmas[2])"))
    x, y = box["x"] + left + 2 / 5 * (right - left), box["y"] + bottom - sigma * (bottom - top)
    played.page.mouse.move(x, y)
    played.page.mouse.down()
    played.page.mouse.move(x, y + 12, steps=4)
    played.page.mouse.up()
    played.wait_for_kernel(f"schedule.schedule == 'own' and schedule.sigmas[2] < {sigma - 0.03}")


def test_an_own_list_of_times_is_typed(played):
    view = played.page.locator(".la-schedule")
    levels = view.get_by_label("own noise levels")
    levels.fill("1000, 900, 300")
    levels.press("Enter")
    played.wait_for_kernel("schedule.sigmas == [1.0, 0.9, 0.3, 0.0] == list(schedule.choice['schedule'])")
    played.settle()
    strip = view.locator("canvas").first
    strip.hover(position={"x": strip.bounding_box()["width"] / 2, "y": 110})
    played.wait_until(lambda: strip.get_attribute("title") == "step 1: noise 0.900 → 0.300, 60 % of the path")
    levels.fill("1000, 300, 900")
    levels.press("Enter")
    error = view.locator(".la-error")
    error.wait_for(state="visible")
    assert "900" in error.inner_text() or "0.9" in error.inner_text()
    view.locator("button[data-steps='4']").click()
    error.wait_for(state="hidden")


def test_the_keyboard_starts_and_pauses(played):
    played.run("again = Run.of(Pipeline(FakeBackend()), tone(9.6), face(32, 32), '', GenerationConfig(size=(32, 32)))\n"
               "grid.watch(again); again.backend.vae.held = True")
    played.wait_for(f"() => ({PROGRESS})().startsWith('ready')")
    played.page.locator(".la-grid").first.press("Space")
    played.wait_for_kernel("again.state == 'running' and len(again.recorded_steps) > 1")
    played.page.locator(".la-grid").first.press("Space")
    played.wait_for_kernel("again.state == 'paused'")
    played.run("again.backend.vae.held = False")
    played.settle()
    played.page.locator(".la-grid").first.get_by_role("button", name="Stop").click()
    played.wait_for_kernel("again.state == 'stopped'")


def test_a_kernel_that_is_gone_leaves_a_sentence(played):
    played.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    played.wait_for("() => document.querySelector('.la-cache .la-error').innerText.includes('run this cell again')")
