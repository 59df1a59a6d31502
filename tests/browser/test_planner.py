"""The Planner in a real browser: a plan is drawn, a stage is looked at, a suggestion is clicked."""

import pytest

CELLS = ("from widgets import Planner\nview = Planner(gpu='RTX 5090', size='384*256')\nview",)
PLANNED = """() => document.querySelector('.la-planner-verdict')?.textContent.length > 20
    && !document.querySelector('.la-planner-working')"""


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for(PLANNED)
    return book


def test_the_verdict_names_the_peak_and_a_stage_shows_its_owners(book):
    assert book.page.locator(".la-planner-verdict").inner_text().lower().startswith("does not fit")
    book.page.locator(".la-planner").focus()
    for _ in range(30):
        book.page.keyboard.press("ArrowLeft")
    book.wait_for("() => document.querySelector('.la-planner-stage').textContent.startsWith('encoders are read')")
    book.wait_for("() => document.querySelector('.la-planner-owners').innerText.includes('VAE weights')")
    book.shoot(".la-planner", "planner_refused")


def test_a_suggestion_is_clicked_and_the_plan_fits(book):
    book.page.locator(".la-planner-change button").first.click()
    book.wait_for("() => !document.querySelector('.la-planner-verdict').textContent.startsWith('does')")
    book.wait_for_kernel("view.fp8")
    book.shoot(".la-planner", "planner_fits")


def test_a_list_changes_the_plan(book):
    book.page.locator('select[data-trait="gpu"]').select_option("H200")
    book.page.locator('select[data-trait="gpus"]').select_option("5")
    book.wait_for("() => document.querySelector('.la-planner-verdict').textContent.includes('H200')")
    book.wait_for("() => document.querySelector('.la-planner-cards')?.textContent.includes('card 4: VAE')")
    book.shoot(".la-planner", "planner_tpp")
