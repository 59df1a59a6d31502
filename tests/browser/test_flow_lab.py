"""FlowLab in a real browser: a mode is moved by pointer and keys, steps are chosen, a student is distilled."""

import pytest

CELLS = ("from widgets import FlowLab\nview = FlowLab(modes=3, updates=40)\nview",)
PROGRESS = "document.querySelector('.la-flow .la-progress').textContent"


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for("() => document.querySelectorAll('.la-flow-handle').length === 3")
    return book


def test_a_mode_is_dragged_and_moved_with_the_arrow_keys(book):
    handle = book.page.locator(".la-flow-handle").first
    book.settle()
    handle.scroll_into_view_if_needed()
    at = handle.bounding_box()
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    book.page.mouse.move(x, y)
    book.page.mouse.down()
    book.page.mouse.move(x - 30, y - 20, steps=4)
    book.page.mouse.up()
    book.wait_for_kernel("view.points and view.points[0][0] < 1.9 and view.points[0][1] > 0.1")
    book.settle()                                          # all of the way is known
    before = book.run("print(view.points[0][0])")
    handle.focus()
    book.page.keyboard.press("ArrowRight")
    book.wait_for_kernel(f"abs(view.points[0][0] - {before} - 0.1) < 1e-6")


def test_steps_and_noise_are_chosen(book):
    book.page.locator('[data-steps="32"]').click()
    book.page.locator(".la-flow").focus()
    book.page.keyboard.press("ArrowLeft")
    book.wait_for_kernel("view.steps == 32 and view.sigma > 0.6")
    book.wait_for("() => document.querySelector('.la-flow-title').textContent.includes('32 steps')")


def test_a_student_is_distilled_by_the_space_key(book):
    book.page.locator('[data-student_steps="2"]').click()
    book.page.locator(".la-flow-job").first.click()
    book.wait_for_kernel("view.chosen_jobs == ('mean', 'distribution')")
    book.page.locator(".la-flow").focus()
    book.page.keyboard.press(" ")
    book.wait_for(f"() => {PROGRESS} === 'done: 40 of 40 updates'")
    book.wait_for("() => document.querySelector('.la-flow .la-numbers').innerText.includes('student')")
    book.shoot(".la-flow", "flow_lab")
