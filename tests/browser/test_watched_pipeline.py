"""A diffusers pipeline under watch in a real browser, and the memory of code that is no run."""

import pytest

pytest.importorskip("diffusers")

WATCHED = """
import torch
import liveavatar
from tiny_pipelines import TINY_PIPELINES
from widgets import MemoryView, Player, ScheduleView, StepGrid
pipe, call = TINY_PIPELINES["wan"]()
run = liveavatar.watch(pipe)
"""
CALLED = "with run:\n    pipe(**call, num_inference_steps=3)"
MEMORY = "with liveavatar.MemoryWatch() as watch:\n    ones = torch.ones(2**24)\nmemory = MemoryView(watch)\nmemory"


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(WATCHED, "grid = StepGrid(run)\ngrid", CALLED, "player = Player(run)\nplayer",
                                "ScheduleView(run)", MEMORY)
    book.wait_for("() => document.querySelectorAll('.la').length >= 4")
    return book


def test_a_grid_that_was_opened_before_the_call_shows_its_steps_and_remarks(book):
    book.wait_for("() => /frames a second/.test(document.querySelector('.la-grid-remarks').textContent)")
    book.wait_for("() => document.querySelector('.la-grid-note').textContent.includes('decoder draws')")
    book.wait_for("() => document.querySelector('.la-grid-labels').innerText.split('step').length > 3")
    book.shoot(".la-grid", "watch-grid")


def test_a_video_without_sound_says_so_and_plays(book):
    book.settle()
    button = book.page.locator(".la-player [data-trait=sound], .la [data-trait=sound]").first
    assert button.inner_text() == "No sound" and button.is_disabled()
    book.run("player.loop, player.playing = True, True")
    book.wait_for_kernel("player.time_s > 0")
    book.run("player.playing = False")
    book.shoot(".la-player", "watch-player")


def test_memory_of_any_code_is_drawn_without_a_run(book):
    book.wait_for("() => !!document.querySelector('.la-memory canvas')")
    book.wait_for("() => /MiB/.test(document.querySelector('.la-memory-legend').textContent)")
    assert book.run("print(memory.error == '' and memory.peak.when)") == "while it was watched"
    book.settle()
    assert book.page.locator(".la-memory .la-nothing").is_hidden()
    assert book.page.locator(".la-memory .la-memory-chip").count() == 1                     # nobody's but the process's
    book.shoot(".la-memory", "watch-memory")
