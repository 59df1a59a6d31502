"""The page around the views: what fits where, what can be saved, uploaded, interrupted, and what has a name."""

import re

import pytest

CELLS = (
    """
from fakes import FakeBackend
from liveavatar.pipeline import Pipeline
from widgets import Workbench
bench = Workbench(pipeline=Pipeline(FakeBackend(pause_s=0.05)), size='32*32', seconds=1.92)
bench
""",
)
STATE = "() => document.querySelector('.la-bench-state').textContent"
NAMELESS = re.compile(r'\s*- (combobox|button|slider|checkbox|spinbutton|textbox|img|tab|tabpanel|progressbar)\b(?! ")')
CUT = """(root) => [...document.querySelectorAll(`${root} :is(button, select, input, canvas)`)].filter((one) => {
    const box = one.getBoundingClientRect(), own = one.closest('section, .la-designer-row, .la-bar, .la-bench-head');
    const around = own?.getBoundingClientRect();
    return box.width && around && (box.left < around.left - 1 || box.right > around.right + 1);
}).map((one) => one.outerHTML.slice(0, 120))"""
OUTSIDE = """(selectors) => selectors.flatMap((selector) => {
    const box = [...document.querySelectorAll(selector)].find((one) => one.clientWidth)?.getBoundingClientRect();
    const inside = box && box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
    return inside ? [] : [[selector, box && [box.left, box.top, box.right, box.bottom].map(Math.round)]];
})"""
HEIGHT = """() => Math.round(document.querySelector('.la-bench-tabs').getBoundingClientRect().top
    - document.querySelector('.la-bench').getBoundingClientRect().top)"""
AWAIT = """() => {
    globalThis.ended = null;
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    kernel.requestExecute({code: 'await bench.start()', store_history: false}).done.then(
        (reply) => { globalThis.ended = JSON.stringify(reply.content); },
        (error) => { globalThis.ended = String(error); });
}"""
ODD = re.compile(r"again and again|^hold\b|or hold\b|and rest\b|^rest$", re.IGNORECASE)
PRESENTED = [".la-stage", ".la-play", ".la-bench-grid .la-grid-wrap", ".la-bench-tabs", ".la-bench-pages"]


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 6")
    return book


@pytest.fixture(scope="module")
def played(book):
    click(book, "Run")
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    return book


def click(book, name: str) -> None:
    book.page.locator(".la-bench-head").get_by_role("button", name=name, exact=True).click()


def resize(book, width: int, height: int) -> None:
    book.page.set_viewport_size({"width": width, "height": height})
    book.wait_for("([width, height]) => innerWidth === width && innerHeight === height", [width, height])
    book.settle()


def box(book, selector: str) -> dict:
    return book.page.locator(selector).first.bounding_box()


# ------------------------------------------------------------------------------------------- sound and portrait

def test_upload_asks_for_a_file_and_shows_no_error_before_one_is_chosen(book):
    with book.page.expect_file_chooser() as chooser:
        book.page.locator(".la-card-sound .la-pick[data-value=recording]").click()
    assert chooser.value.element is not None
    assert book.run("print(bench.sound, repr(bench.error))") == "sample ''"
    book.run("bench.sound = 'recording'")
    book.page.get_by_role("button", name="Choose a file").wait_for()
    assert not book.page.locator(".la-bench > .la-error").is_visible()
    book.run("bench.sound = 'sample'")


def test_an_upload_shows_its_name_and_how_far_it_is(book, tmp_path):
    import numpy as np
    import soundfile

    name = "my own words.wav"
    soundfile.write(tmp_path / name, 0.1 * np.sin(np.arange(16_000 * 160) / 12), 16_000)         # 5 MB
    book.record(".la-upload-sound")
    book.page.locator("input[data-upload=sound]").set_input_files(tmp_path / name)
    book.wait_for_kernel("bench.sound == 'recording'")
    book.wait_for("() => document.querySelector('.la-upload-sound').hidden")
    seen = book.recorded()
    assert seen[0] == name
    assert len({words for words in seen if "% of 5.1 MB" in words}) > 1 and any("being read" in one for one in seen)
    book.wait_for("() => document.querySelector('.la-card-sound').innerText.includes('160.00 s')")
    shown = book.page.locator(".la-card-sound").inner_text()
    assert name in shown and "upload-" not in shown


def test_what_is_no_sound_is_refused_under_its_own_name(book, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    book.page.locator("input[data-upload=sound]").set_input_files(tmp_path / "notes.txt")
    error = book.page.locator(".la-bench > .la-error")
    error.wait_for(state="visible")
    assert "notes.txt" in error.inner_text() and "upload-" not in error.inner_text()
    book.page.locator(".la-card-sound .la-pick[data-value=sample]").click()
    book.page.locator(".la-card-face .la-pick[data-value=designer]").click()
    book.page.locator(".la-card-face").get_by_role("button", name="Random").click()
    error.wait_for(state="hidden")


def test_a_tall_picture_is_shown_as_the_video_will_show_it(book, tmp_path):
    from PIL import Image

    Image.new("RGB", (300, 600), "teal").save(tmp_path / "tall.png")
    book.run("bench.pipeline.backend.expects_rendered = True")
    book.page.locator("input[data-upload=face]").set_input_files(tmp_path / "tall.png")
    book.wait_for_kernel("bench.face == 'picture'")
    for size, words, aspect in (("", "32 × 32 px", 1.0), ("64*64", "48 × 80 px", 48 / 80)):
        book.run(f"bench.size = {size!r}")
        book.wait_for("(words) => document.querySelector('.la-bench-face-words').innerText.includes(words)", words)
        book.settle()
        drawn = box(book, ".la-card-face canvas")
        assert drawn["width"] / drawn["height"] == pytest.approx(aspect, abs=0.03)
    assert "photo" in book.page.locator(".la-card-face .la-warning").inner_text()
    book.run("bench.face, bench.size, bench.pipeline.backend.expects_rendered = 'designer', '32*32', False")


# ------------------------------------------------------------------------------------------- layouts

@pytest.mark.parametrize("width", [1400, 1280, 900, 640])
def test_nothing_is_cut(played, width):
    resize(played, width, 900)
    for tab in played.page.locator(".la-tab").all():
        tab.click()
        played.settle()
        assert played.page.evaluate(CUT, ".la-bench") == []
    head = played.page.locator(".la-bench").evaluate("(root) => root.scrollWidth <= root.clientWidth + 1")
    assert head
    resize(played, 1400, 900)


def test_a_narrow_page_begins_with_the_video(played):
    resize(played, 900, 720)
    video, others = box(played, ".la-stage"), [box(played, f".la-card-{name}") for name in ("face", "sound", "prompt")]
    assert all(video["y"] <= other["y"] + 1 and video["x"] < other["x"] for other in others)
    assert box(played, ".la-card-settings")["y"] > video["y"] + video["height"]
    resize(played, 1400, 900)


def test_presenting_shows_video_grid_and_one_view_on_one_screen(played):
    resize(played, 1280, 720)
    click(played, "Present")
    played.wait_for("() => document.fullscreenElement?.matches('.la-bench')")
    for tab in played.page.locator(".la-tab").all():
        tab.click()
        played.settle()
        assert played.page.evaluate(OUTSIDE, PRESENTED) == []
        assert played.page.locator(".la-bench-pages").evaluate("(pages) => pages.clientHeight") > 400
    assert not played.page.locator(".la-card-prompt").is_visible()
    click(played, "Inputs")
    played.page.locator(".la-card-prompt").wait_for(state="visible")
    played.settle()
    assert played.page.evaluate(OUTSIDE, PRESENTED) == []
    click(played, "Leave")
    played.wait_for("() => !document.fullscreenElement")
    played.page.locator(".la-card-prompt").wait_for(state="visible")
    resize(played, 1400, 900)


@pytest.fixture
def no_full_screen(played):
    """A browser that refuses it; the page is used again afterwards."""
    played.page.evaluate("() => { globalThis.fullScreen = Element.prototype.requestFullscreen; "
                         "Element.prototype.requestFullscreen = () => Promise.reject(new Error('refused')); }")
    yield
    played.page.evaluate("() => { Element.prototype.requestFullscreen = globalThis.fullScreen; }")


@pytest.mark.usefixtures("no_full_screen")
def test_where_full_screen_is_refused_the_page_covers_the_window(played):
    resize(played, 1280, 720)
    click(played, "Present")
    played.wait_for("() => document.querySelector('.la-bench').matches(':popover-open')")
    played.wait_until(lambda: box(played, ".la-bench") == {"x": 0, "y": 0, "width": 1280, "height": 720})
    played.page.locator(".la-bench").focus()
    played.page.keyboard.press("Escape")
    played.wait_for("() => !document.querySelector('.la-bench').matches('.la-large')")
    played.page.locator(".la-stage-box").hover()
    played.page.locator(".la-stage-large").click()
    played.wait_for("() => document.querySelector('.la-player').matches('.la-large')")
    played.wait_for("() => document.querySelector('.la-stage').clientHeight > 500")
    played.page.locator(".la-stage-large").click()
    played.wait_for("() => document.querySelector('.la-stage').clientHeight < 300")
    resize(played, 1400, 900)


@pytest.mark.parametrize("width", [1280, 900])
def test_the_first_column_of_the_grid_is_whole(played, width):
    resize(played, width, 900)
    for time_s in (1.9, 0.1, 1.0):
        played.run(f"bench.cursor.time_s = {time_s}")
        played.settle()
        left, pitch = played.page.locator(".la-bench-grid .la-grid-scroll").evaluate(
            "(one) => [one.scrollLeft, Number(one.dataset.pitch)]")
        assert pitch > 60 and left % pitch == 0
    resize(played, 1400, 900)


@pytest.mark.parametrize("width", [1400, 1280])
def test_what_the_grid_shows_moves_nothing_else(played, width):
    resize(played, width, 900)
    heights = set()
    choose = played.page.locator(".la-bench-grid select[data-trait=show]")
    for label in choose.locator("option").all_inner_texts():
        choose.select_option(label=label)
        played.settle()
        heights.add(played.page.evaluate(HEIGHT))
    choose.select_option(index=0)
    resize(played, 1400, 900)
    assert len(heights) == 1


# ------------------------------------------------------------------------------------------- saving

def test_what_is_made_is_saved_by_the_browser(played):
    played.run("bench.cursor.time_s = 0.5")
    starts = {".mp4": b"ftyp", ".webm": b"\x1aE", ".png": b"PNG", ".gif": b"GIF89a", ".html": b"<!"}
    for suffix, start in starts.items():
        played.page.get_by_role("button", name="Save …").click()
        with played.page.expect_download() as download:
            played.page.locator(f".la-menu button[data-suffix='{suffix}']").click()
        assert download.value.suggested_filename.endswith(suffix)
        with open(download.value.path(), "rb") as file:
            assert start in file.read(16)
    played.page.locator(".la-menu").wait_for(state="hidden")


# ------------------------------------------------------------------------------------------- a run that is going

def test_a_long_run_says_how_long_it_will_take_and_jupyters_interrupt_stops_it(played):
    played.run("bench.pipeline.backend.vae.pause_s, bench.seconds = 1.0, 9.6")
    click(played, "Run")
    played.wait_for(f"() => / s to go/.test(({STATE})())")
    played.page.locator("[data-jp-item-name=interrupt] :is(button, jp-button)").first.click()
    played.wait_for(f"() => ({STATE})().startsWith('stopped')")
    assert played.run("print(0 < bench.run.done_s < 9, bench.video.complete, bench.error)") == "True False"


def test_an_interrupted_cell_that_awaits_a_run_stops_it(played):
    answers = []
    while len(answers) < 3:                                # a cell that the interrupt of the test before still meets
        played.page.evaluate(AWAIT)
        played.wait_for(f"() => / s to go/.test(({STATE})()) || globalThis.ended")
        answers.append(played.page.evaluate("() => globalThis.ended"))
        if answers[-1] is None:
            break
    assert answers[-1] is None, answers
    played.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()")
    played.wait_for(f"() => ({STATE})().startsWith('stopped')")
    played.wait_for("() => globalThis.ended")                                  # the cell has ended, too
    played.run("bench.pipeline.backend.vae.pause_s, bench.seconds = 0.05, 1.92")


# ------------------------------------------------------------------------------------------- names and words

def test_everything_that_can_be_used_has_a_name(played):
    for tab in played.page.locator(".la-tab").all():
        tab.click()
        played.settle()
    lines = played.page.locator(".la-bench").aria_snapshot().splitlines()
    assert len(lines) > 40 and [line for line in lines if NAMELESS.match(line)] == []


def test_buttons_and_tips_use_the_words_of_players(played):
    words = played.page.evaluate("() => [...document.querySelectorAll('.la-bench *')].flatMap((one) => "
                                 "[one.title, one.childElementCount ? '' : one.textContent])")
    assert [one for one in words if one and ODD.search(one)] == []


def test_pictures_of_the_page(played):
    resize(played, 1280, 720)
    played.shoot(".la-bench", "page_1280")
    resize(played, 900, 720)
    played.shoot(".la-bench", "page_900")
