"""Player, MemoryView and LipView in a real browser: one page, one run, one cursor."""

from itertools import cycle

import pytest

CELLS = (
    """
from fakes import FakeBackend, face
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.speech import samples
from widgets import Cursor, LipView, MemoryView, Player
def make(**choices):
    config = GenerationConfig(size=(32, 32), duration_s=1.92, **choices)
    return Run.of(Pipeline(FakeBackend()), samples()["welcome"], face(32, 32), "", config)
run, other, cursor = make(), make(base_seed=1), Cursor()
other.start().result()
""",
    "player = Player(run, cursor=cursor)\nplayer",
    "memory = MemoryView(run, cursor=cursor)\nmemory",
    "lips = LipView(run, cursor=cursor)\nlips",
)
PLAYED = "() => document.querySelector('.la-player').dataset"
PICTURE = """([selector, x, y]) => {
    const canvas = document.querySelector(selector), scale = canvas.width / canvas.clientWidth;
    return [...canvas.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data].slice(0, 3).join();
}"""


@pytest.fixture(scope="module")
def played(open_notebook):
    """The page after a click on Start, when the video has been made and played to its end."""
    book = open_notebook(*CELLS)
    book.run("run.backend.vae.held = True")                          # until it plays
    book.page.locator(".la-player .la-main-button").click()
    book.wait_for(f"() => ({PLAYED})().playing === 'true'")
    book.run("run.backend.vae.held = False")
    book.wait_for_kernel("run.over")
    book.wait_for(f"() => ({PLAYED})().playing === 'false' && Number(({PLAYED})().position) > 1.85")
    return book


def middle(book) -> str:
    """The colour in the middle of the player's stage, when all is drawn."""
    book.settle()
    width = book.page.locator(".la-stage").evaluate("(canvas) => canvas.clientWidth")
    return book.page.evaluate(PICTURE, [".la-stage", width / 2 + 40, 150])


def wait_for_another(book, colour: str) -> None:
    """Until the middle of the stage has another colour."""
    width = book.page.locator(".la-stage").evaluate("(canvas) => canvas.clientWidth")
    book.wait_for(f"([place, before]) => ({PICTURE})(place) !== before", [[".la-stage", width / 2 + 40, 150], colour])


def test_it_plays_while_it_is_made_and_the_sound_is_heard(played):
    played.wait_for(f"() => ({PLAYED})().sounding === 'true'")
    while int(played.page.evaluate(PLAYED)["heard"]) <= 20:            # of 128: it was no silence
        played.record(".la-player", "data-playing")
        played.run("cursor.time_s = 0.0; player.playing = True")       # on a slow machine it is listened to seldom
        played.wait_for_record("true")
        played.wait_for(f"() => ({PLAYED})().playing === 'false'")
    position = played.page.evaluate(PLAYED)["position"]
    played.wait_for_kernel(f"abs(player.time_s - {position}) < 0.05")                    # it is told a moment later
    assert played.run("print(player.ready_s > 1.9, cursor.time_s == lips.time_s)") == "True True"


def test_the_cursor_chooses_the_picture_and_arrows_go_frame_by_frame(played):
    last = middle(played)
    played.run("cursor.time_s = 0.1")
    played.wait_for(f"() => ({PLAYED})().position === '0.100'")
    wait_for_another(played, last)
    player = played.page.locator(".la-player")
    player.focus()
    player.press("ArrowRight")
    played.wait_for_kernel("abs(cursor.time_s - 0.14) < 0.001")


def test_two_runs_side_by_side_and_their_difference(played):
    played.run("player.compare(other)")
    played.page.locator(".la-player select[data-trait=show]").wait_for(state="visible")
    beside = middle(played)
    played.page.locator(".la-player select[data-trait=show]").select_option(label="difference")
    played.wait_for_kernel("player.show == 'difference' and player.difference > 0")
    wait_for_another(played, beside)
    played.run("player.show = 'side'")
    played.shoot(".la-player", "player")


def test_the_wipe_is_dragged_and_the_blink_shows_both_in_turn(played):
    choose = played.page.locator(".la-player select[data-trait=show]")
    choose.select_option(label="wipe")
    played.wait_for_kernel("player.show == 'wipe' and player.split == 0.5")
    played.settle()
    played.page.locator(".la-stage").scroll_into_view_if_needed()
    box, mouse = played.page.locator(".la-stage").bounding_box(), played.page.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    mouse.down()
    mouse.move(box["x"] + box["width"] / 2 + 100, box["y"] + 100, steps=4)
    mouse.up()
    played.wait_for_kernel("0.6 < player.split < 0.95")
    assert "wipe" in played.page.locator(".la-stage").get_attribute("title")
    choose.select_option(label="blink")
    played.run("player.blink_s = 0.2")
    wait_for_another(played, middle(played))               # it blinks: the other picture comes
    played.run("player.show = 'side'")


def test_the_memory_is_a_curve_with_a_peak_that_can_be_zoomed(played):
    plot = played.page.locator(".la-memory .u-over")
    played.settle()
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    mouse = played.page.mouse
    mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 50, steps=4)
    mouse.up()
    played.wait_for_kernel("len(memory.zoom) == 2 and 0 < memory.zoom[0] < memory.zoom[1]")
    places = cycle(range(10, 90, 7))                    # % of what is in view now; between two blocks nothing is named

    def names_a_block() -> bool:
        mouse.move(box["x"] + next(places) / 100 * box["width"], box["y"] + 50)
        return "block" in played.page.locator(".la-memory-when").inner_text()

    played.wait_until(names_a_block)
    played.page.locator(".la-memory").get_by_role("button", name="See all").click()
    played.wait_for_kernel("memory.zoom == []")
    during = "memory.record.labels[0].began_s <= memory.peak.time_s <= memory.record.labels[-1].ended_s"
    assert played.run(f"print({during}, memory.error)") == "True"
    played.shoot(".la-memory", "memory_view")


def test_a_click_on_a_sound_shows_its_frames_at_every_step(played):
    lanes = played.page.locator(".la-lips canvas").first
    played.settle()
    lanes.scroll_into_view_if_needed()
    times = "(76 + (t / 1.92) * (document.querySelector('.la-lips canvas').clientWidth - 76))"
    x = played.page.evaluate(f"(t) => {times}", 0.7)
    lanes.click(position={"x": x, "y": 180})
    played.wait_for_kernel("lips.sound >= 0 and lips.sound in lips._sound_frames")
    played.wait_for("() => document.querySelector('.la-lips-tile-words').textContent.includes('frames at every step')")
    within = "print(sound.start_s <= 0.7 < sound.end_s, sound.start_s <= cursor.time_s <= sound.end_s)"
    assert played.run(f"sound = lips.phonemes[lips.sound]; {within}") == "True True"
    played.wait_for_kernel("lips.reader.lips_so_far.exact")
    played.wait_for("() => document.querySelector('.la-lips-key').textContent.includes('read off the video')")
    played.shoot(".la-lips", "lip_view")
    played.settle()
    lanes.hover(position={"x": x, "y": 180})
    said = played.run("print(lips.phonemes[lips.sound].symbol)")
    played.wait_for("(said) => document.querySelector('.la-lips canvas').title.startsWith(said)", f"{said}, 0.")
    assert "Click to see" in lanes.get_attribute("title")
    played.wait_for("() => document.querySelector('.la-lips-big').innerText === 'Delay: no face found.'")    # squares
