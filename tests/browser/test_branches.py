"""A branch made on the page: at the chosen cell of the grid, shown beside its parent, in the tree of branches."""

import pytest

SETUP = """
from fakes import FakeBackend
from liveavatar.pipeline import Pipeline
from widgets import Workbench
workbench = Workbench(pipeline=Pipeline(FakeBackend()), size="96*96", seconds=0.96, prompt="")
workbench.player.autoplay = False                         # the chosen cell follows what is played
workbench
"""
TREE = "() => [...document.querySelectorAll('.la-branches-name')].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(SETUP)
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 8")
    book.page.locator(".la-bench-buttons").get_by_role("button", name="Run", exact=True).click()
    book.wait_for_kernel("workbench.run is not None and workbench.run.over")
    book.wait_for("() => document.querySelector('.la-bench-grid .la-grid-note').textContent.includes('decoder draws')")
    return book


def test_a_cell_is_chosen_and_branched_and_the_branch_is_seen_beside_its_parent(book):
    book.settle()
    canvas = book.page.locator(".la-bench-grid .la-grid-scroll canvas")
    canvas.click(position={"x": 126 + 30, "y": 34 + 64 + 30})         # two blocks fit: block 1, step 1
    book.wait_for_kernel("workbench.grid.chosen == (1, 1)")
    book.page.locator(".la-bench-grid").get_by_role("button", name="Branch here").click()
    form = book.page.locator(".la-branches-form")
    form.wait_for(state="visible")
    book.wait_for("() => document.querySelector('.la-branches-form b').textContent.startsWith('At block 1, step 1')")
    form.locator("select[data-trait=change]").select_option("sound")
    form.locator("select[data-trait=value]").select_option("reversed")
    book.wait_for_kernel("workbench.tree.changes == {'sound': 'reversed'}")
    book.run("workbench.player.autoplay = True")                      # a branch is not played by itself all the same
    form.get_by_role("button", name="Branch here").click()
    book.wait_for_kernel("workbench.run.parent is not None and workbench.run.over")
    assert book.run("print(workbench.run.recipe)") == "branch = run.branch(1, 1, sound='reversed')"
    book.wait_for(f"() => ({TREE})().join('|') === \"first run, seed 420|sound='reversed' at block 1, step 1\"")
    pair = book.page.locator(".la-bench-player .la-pair")
    pair.wait_for(state="visible")
    book.wait_for("() => document.querySelector('.la-pair .la-note').textContent.startsWith('the same before block 1')")
    book.settle()
    shown = book.run("print(workbench.player.playing, workbench.tree.point, workbench.cursor.time_s)")
    assert shown == "False (1, 1) 0.48"
    book.page.locator(".la-tab[data-page=change]").click()
    book.page.locator(".la-change select[data-trait=against]").select_option(label="the other run's step")
    book.wait_for("() => document.querySelector('.la-change-table').textContent.includes('differs by')")
    book.page.locator(".la-tab[data-page=branch]").click()
    book.shoot(".la-bench", "branches")


def test_the_keyboard_makes_and_walks_the_tree_and_copies_a_recipe(book):
    choice = book.page.locator(".la-branches-form select[data-trait=change]")
    book.settle()
    choice.focus()
    choice.press("s")                                                # the choices that begin with s, in turn
    book.wait_for_kernel("workbench.tree.change not in ('sound', 'skip')")
    book.run("workbench.tree.change = 'skip'")
    book.wait_for("() => document.querySelector('.la-branches-form select[data-trait=change]').value === 'skip'")
    book.page.locator(".la-branches-form").get_by_role("button", name="Branch here").press("Enter")
    book.wait_for_kernel("len(workbench.tree.runs) == 3 and workbench.run.over")
    book.settle()
    first = book.page.locator(".la-branches-name", has_text="first run")
    first.press("Enter")
    book.wait_for_kernel("workbench.run.parent is None")
    book.wait_for("() => document.querySelector('.la-branches li').dataset.shown === 'true'")     # drawn anew
    book.page.evaluate("() => { navigator.clipboard.writeText = async (text) => { globalThis.copied = text; }; }")
    try:
        book.page.locator(".la-branches li").nth(1).get_by_role("button", name="Copy code").press("Enter")
        book.wait_for("() => globalThis.copied === \"branch = run.branch(1, 1, sound='reversed')\"")
    finally:
        book.page.evaluate("() => { delete navigator.clipboard.writeText; }")               # the page is used again
    assert book.page.locator(".la-bench .la-error:visible").count() == 0


def test_what_cannot_be_is_said_in_words_where_the_click_was(book):
    form = book.page.locator(".la-branches-form")
    book.run("workbench.tree.block, workbench.tree.step = 1, 0")
    book.wait_for("() => document.querySelector('.la-branches-form b').textContent.startsWith('At block 1, step 0')")
    form.locator("select[data-trait=change]").select_option("skip")
    book.wait_for_kernel("workbench.tree.change == 'skip'")
    form.get_by_role("button", name="Branch here").click()
    error = book.page.locator(".la-branches .la-error")
    error.wait_for(state="visible")
    assert "cannot be skipped" in error.inner_text()
