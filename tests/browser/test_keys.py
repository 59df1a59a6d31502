"""Keys that are pressed inside a view stay there: JupyterLab cuts no cell, makes none raw, restarts nothing."""

import pytest

CELLS = (
    """
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import CacheView, Designer, LipView, MemoryView, Planner, Player, ScheduleView, StepGrid, Workbench
pipeline = Pipeline(FakeBackend())
run = Run.of(pipeline, tone(0.96), face(32, 32), "", GenerationConfig(size=(32, 32)))
run.start().result()
""",
    "bench = Workbench(pipeline=pipeline, size='32*32', seconds=0.96)\nbench",
    "designer = Designer()\ndesigner",
    *(f"{name.lower()} = {name}(run)\n{name.lower()}" for name in (
        "StepGrid", "Player", "CacheView", "MemoryView", "LipView")),
    "path = ScheduleView()\npath",
    "plan = Planner()\nplan",
)
VIEWS = (".la-bench", ".la-designer", ".la-grid", ".la-player", ".la-cache", ".la-memory", ".la-lips", ".la-schedule",
         ".la-planner")
KINDS = ("", "button", "select", "input[type=range]", "input[type=checkbox]", "input[type=number]", "textarea")
LETTERS = "rx00ydd"                                        # raw, cut, restart, code, delete
LISTEN = """() => {
    globalThis.commandsHeard = [];
    jupyterapp.commands.commandExecuted.connect((_, what) => globalThis.commandsHeard.push(what.id));
}"""
HEARD = "() => globalThis.commandsHeard.splice(0).filter((id) => !/^(application|apputils|completer|lsp)/.test(id))"


@pytest.fixture(scope="module")
def book(open_notebook):
    book = open_notebook(*CELLS)
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 6 && !!document.querySelector('.la-swatch')")
    book.page.evaluate(LISTEN)
    return book


def focused(book, view: str, kind: str) -> bool:
    """Give the focus to the first visible control of a kind in a view, or to the view itself."""
    root = book.page.locator(view).last
    target = root.locator(f"{kind}:visible:not([disabled])").first if kind else root
    if kind and not target.count():
        return False
    target.focus()
    return True


@pytest.mark.parametrize("view", VIEWS)
def test_no_letter_reaches_the_notebook(book, view):
    book.page.evaluate(HEARD)
    tried = [kind for kind in KINDS if focused(book, view, kind)]
    for kind in tried:
        focused(book, view, kind)
        book.page.keyboard.type(LETTERS)
    book.settle()
    assert tried and book.page.evaluate(HEARD) == []
    assert book.page.locator(".jp-Dialog").count() == 0
    assert book.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length") == len(CELLS)


def test_keys_go_to_the_view_when_a_button_with_the_focus_is_disabled(book):
    button = book.page.locator(".la-bench .la-bench-buttons").get_by_role("button", name="Step", exact=True)
    button.click()
    book.wait_for_kernel("bench.run is not None and bench.run.state == 'paused'")
    book.page.locator(".la-bench .la-bench-buttons").get_by_role("button", name="Stop", exact=True).click()
    book.wait_for_kernel("bench.run.over")
    book.page.evaluate(HEARD)
    book.settle()                                          # the button is drawn as disabled
    book.page.keyboard.type(LETTERS)
    book.settle()
    assert book.page.evaluate(HEARD) == [] and book.page.evaluate(
        "() => !!document.activeElement.closest('.la-bench')")


def test_r_after_a_slider_makes_a_random_person(book):
    designer = book.page.locator(".la-designer").last
    slider = designer.locator("input[type=range]").first
    slider.focus()
    slider.press("ArrowRight")
    book.wait_for_kernel("designer.choices")
    slider.press("r")
    book.wait_for_kernel("not designer.choices")


def test_what_is_typed_is_text_and_ctrl_a_selects_it(book):
    prompt = book.page.locator(".la-bench textarea[data-trait=prompt]")
    prompt.fill("waving")
    prompt.press("Control+a")
    prompt.press_sequentially("x0 r")
    book.wait_for_kernel("bench.prompt == 'x0 r'")
    prompt.fill("smiling")
    book.settle()


def test_ctrl_s_still_saves_the_notebook(book):
    book.page.locator(".la-bench textarea[data-trait=prompt]").focus()
    book.page.evaluate(HEARD)
    book.page.keyboard.press("Control+s")
    book.wait_for("() => globalThis.commandsHeard.includes('docmanager:save')")
