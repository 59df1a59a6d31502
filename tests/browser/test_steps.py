"""What a step does, seen at once: four clicks on Step, tooltips, short blocks, one run after another and beside it."""

import pytest

SETUP = """
from fakes import FakeBackend
from liveavatar.pipeline import Pipeline
from widgets import StepChange, StepGrid, Workbench
workbench = Workbench(pipeline=Pipeline(FakeBackend()), size="96*96", seconds=1.0, prompt="")
"""
CELLS = (SETUP + "workbench",)
STATE = "() => document.querySelector('.la-bench-state').textContent"
PLAYER = "() => document.querySelector('.la-bench-player .la').dataset"
WORDS = "() => document.querySelector('.la-bench-player .la-player-words').textContent"
STAGE = "() => document.querySelector('.la-bench-player .la-stage').getAttribute('aria-label')"
PICTURE = """(selector) => {
    const canvas = document.querySelector(selector), {width, height} = canvas;
    const data = canvas.getContext('2d').getImageData(0, 0, width, Math.floor(0.7 * height)).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 7 * data[i + 1] + 13 * data[i + 2]) % 1000003;
    return sum;
}"""
COLOURS = """([selector, left, right, top, bottom]) => {
    const canvas = document.querySelector(selector), scale = canvas.width / canvas.clientWidth, seen = new Set();
    const wide = (right - left) * scale, data = canvas.getContext('2d').getImageData(left * scale, top * scale, wide,
        (bottom - top) * scale).data;
    for (let i = 0; i < data.length; i += 4) seen.add([data[i], data[i + 1], data[i + 2]].map((v) => v >> 3).join());
    return seen.size;
}"""
HEAD, CELL = 34, 60                                       # px of the grid on the page


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 7")
    return book


def click(book, name: str) -> None:
    book.page.locator(".la-bench-buttons").get_by_role("button", name=name, exact=True).click()


def cell_colours(book, block: int, step: int, drop: int = CELL + 4) -> int:
    """How many colours a cell shows: an empty one has one."""
    left = block * (2 * CELL + 6)
    return book.page.evaluate(COLOURS, [".la-bench-grid .la-grid-scroll canvas", left + 8, left + 50,
                                        HEAD + step * drop + 8, HEAD + step * drop + CELL - 8])


def test_four_clicks_on_step_show_four_guesses_and_what_each_changed(book):
    pictures = []
    for step in range(4):
        click(book, "Step")
        book.wait_for_kernel(f"workbench.run and len(workbench.run.recorded_steps) == {step + 1} "
                             "and workbench.run.state == 'paused'")
        book.wait_for(f"() => ({STAGE})().startsWith('the guess after step {step}')")
        book.wait_for(f"() => ({STATE})().startsWith('paused after step {step} of block 0')")
        book.wait_for("(made) => document.querySelectorAll('.la-change-table tr').length === made + 1", step + 1)
        if step < 3:                                     # what it did is said at once, not after the last step alone
            book.wait_for(f"() => document.querySelector('.la-change-headline').textContent.includes('Step {step} ')")
        book.settle()
        book.wait_for(f"(before) => !before.includes(({PICTURE})('.la-bench-player .la-stage'))", pictures)
        pictures.append(book.page.evaluate(PICTURE, ".la-bench-player .la-stage"))
    assert len(set(pictures)) == 4
    assert "block 0" in book.page.evaluate(STAGE)
    book.wait_for("() => document.querySelector('.la-change-headline').textContent.includes('finishes it')")
    book.wait_until(lambda: all(cell_colours(book, 0, step) > 8 for step in range(4)))
    assert cell_colours(book, 1, 0) == 1
    assert book.page.locator(".la-bench .la-error:visible").count() == 0
    book.shoot(".la-bench", "workbench_steps")


def test_the_next_step_moves_on_to_its_block(book):
    click(book, "Step")
    book.wait_for_kernel("len(workbench.run.recorded_steps) == 5 and workbench.run.state == 'paused'")
    book.wait_for(f"() => ({STAGE})().includes('block 1')")
    book.wait_for(f"() => ({WORDS})().startsWith('0.72')")
    book.wait_for("() => document.querySelector('.la-change-headline').textContent.startsWith('Block 1.')")
    book.wait_for_kernel("(workbench.cursor.time_s, workbench.grid.chosen) == (0.72, (1, 0))")


def test_a_run_that_goes_on_is_played_and_the_last_short_block_is_seen(book):
    book.run("workbench.pipeline.backend.vae.held = True")           # until it plays
    click(book, "Go on")
    book.wait_for(f"() => ({PLAYER})().playing === 'true'")
    book.run("workbench.pipeline.backend.vae.held = False")
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    book.wait_for(f"() => ({PLAYER})().playing === 'false' && Number(({PLAYER})().position) > 0.9")
    assert book.run("print(len(workbench.run.blocks[-1].frames), workbench.grid.error)") == "1"
    book.wait_for("() => document.querySelector('.la-bench-grid .la-grid-note').textContent.includes('decoder draws')")
    book.wait_until(lambda: all(cell_colours(book, 2, step) > 8 for step in range(4)))


def test_a_second_and_shorter_run_is_seen_live_from_its_beginning(book):
    book.wait_for_kernel("workbench.cursor.time_s > 0.9")             # the page has told where it stopped playing
    book.run("workbench.seconds, workbench.pipeline.backend.vae.held = 0.96, True")
    book.page.evaluate("""(words) => {
        globalThis.seenWords = [];
        const record = () => { globalThis.seenWords.push(document.querySelector(words).textContent); };
        globalThis.recording = setInterval(record, 20);
    }""", ".la-bench-player .la-player-words")
    click(book, "Run")
    book.wait_for(f"() => ({PLAYER})().playing === 'true'")
    book.wait_for("() => globalThis.seenWords.some((words) => words.includes(' / 0.96'))")
    book.run("workbench.pipeline.backend.vae.held = False")
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    book.wait_for(f"() => ({PLAYER})().playing === 'false' && Number(({PLAYER})().position) > 0.9")
    words = book.page.evaluate("() => { clearInterval(globalThis.recording); return globalThis.seenWords; }")
    times = [text.split(" s")[0].split(" / ") for text in words]
    assert all(float(now) <= float(total) for now, total in times)
    assert min(float(now) for now, total in times if total == "0.96") < 0.2      # it was played from its beginning


def test_the_kernel_moves_the_cursor_to_where_the_page_has_been(book):
    book.wait_for_kernel("workbench.cursor.time_s > 0.9")             # the page has told where it stopped playing
    book.page.locator(".la-bench-player .la").focus()
    for at in ("0.00", "0.50"):
        book.run(f"workbench.cursor.time_s = {at}")
        book.wait_for(f"() => ({WORDS})().startsWith('{at}')")
    book.page.locator(".la-bench-player .la").press("Home")
    book.wait_for_kernel("workbench.cursor.time_s == 0")
    book.run("workbench.cursor.time_s = 0.5")
    book.wait_for(f"() => ({WORDS})().startsWith('0.50')")
    book.run("workbench.cursor.time_s = 0.0")              # the page itself has been there before
    book.wait_for(f"() => ({WORDS})().startsWith('0.00')")


def test_two_runs_beside_one_another_under_one_cursor(book):
    book.page.locator(".la-bench input[data-trait=compare]").check()
    book.page.locator(".la-bench-settings select[data-trait=steps]").select_option(label="1")
    book.wait_for_kernel("workbench.compare and workbench.steps == 1")
    click(book, "Run")
    book.wait_for_kernel("workbench.before is not None and workbench.run.over")
    book.wait_for_kernel("workbench.player.names == {'a': 'A: 1 step', 'b': 'B: 4 steps'}")
    book.wait_for("() => document.querySelector('.la-bench').classList.contains('la-bench-two')")
    choose = book.page.locator(".la-bench-player select[data-trait=show]")
    choose.wait_for(state="visible")
    book.page.locator(".la-bench-player").get_by_text("same noise").wait_for(state="visible")
    book.run("workbench.player.playing = False; workbench.cursor.time_s = 0.2")
    book.settle()
    book.shoot(".la-bench", "workbench_beside")
    book.page.locator(".la-bench input[data-trait=compare]").uncheck()
    choose.wait_for(state="hidden")


def test_every_menu_offers_one_step_and_the_page_the_many_step_base(book):
    offered = book.page.locator(".la-bench-settings select[data-trait=steps] option").all_inner_texts()
    assert offered[:4] == ["1", "2", "3", "4"] and "32" in offered
    book.page.locator(".la-tab[data-page=path]").click()
    book.page.locator(".la-schedule button[data-steps='1']").click()
    book.wait_for_kernel("workbench.steps == 1")
    assert book.page.locator(".la-bench-settings select[data-trait=model]").count() == 1


def test_numbers_explain_themselves_to_the_mouse_and_to_the_keyboard(book):
    book.page.locator(".la-tab[data-page=cell]").click()
    term = book.page.locator(".la-bench-page-cell .la-term", has_text="kurtosis")
    term.wait_for()
    book.settle()
    assert "heavy the tails" in term.get_attribute("title")
    described = term.get_attribute("aria-describedby")
    assert book.page.locator(f"#{described}").text_content() == term.get_attribute("title")
    book.page.locator(".la-bench-page-cell .la-term", has_text="skew").focus()
    book.page.keyboard.press("Tab")
    assert term.evaluate("(one) => one === document.activeElement")
    shown = term.evaluate("(one) => getComputedStyle(one, '::after').content")
    assert "heavy the tails" in shown


def test_two_steps_are_compared_by_a_wipe_and_a_blink(book):
    book.page.locator(".la-tab[data-page=change]").click()
    book.run("workbench.steps = 3")
    click(book, "Run")
    book.wait_for_kernel("workbench.run.info.steps == 3 and workbench.run.over")
    book.run("workbench.player.playing = False; workbench.cursor.time_s = 0.2")
    book.wait_for("() => document.querySelectorAll('.la-change-table tr').length === 4")
    change = book.page.locator(".la-change")
    change.locator("select[data-trait=first]").select_option(label="portrait")
    change.locator("select[data-trait=second]").select_option(label="step 2")
    book.wait_for_kernel("workbench.change.compared == (-1, 2)")
    stage = change.locator(".la-stage")
    book.settle()
    stage.scroll_into_view_if_needed()
    box, mouse = stage.bounding_box(), book.page.mouse
    mouse.move(box["x"] + 20, box["y"] + 40)
    mouse.down()
    mouse.move(box["x"] + 50, box["y"] + 40, steps=3)
    mouse.up()
    book.wait_for_kernel("workbench.change.split < 0.3")
    change.locator("select[data-trait=compare]").select_option(label="blink")
    book.run("workbench.change.blink_s = 0.2")
    first = book.page.evaluate(PICTURE, ".la-change .la-stage")
    book.wait_for(f"(first) => ({PICTURE})('.la-change .la-stage') !== first", first)
    change.locator("select[data-trait=against]").select_option(label="the finished picture")
    book.wait_for_kernel("workbench.change.against == 'finished'")
    assert change.locator(".la-error:visible").count() == 0


def test_a_still_of_what_was_decoded_waits_for_the_day_the_kernel_is_gone(book):
    still = book.page.locator("img[alt^='Workbench as it was']")
    still.wait_for(state="attached")
    book.wait_for("() => document.querySelector(\"img[alt^='Workbench as it was']\").naturalHeight > 500")
    assert not still.is_visible()                          # it has video, steps and what they changed
