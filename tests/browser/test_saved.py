"""A saved notebook that is opened again, when the kernel that drew its views is gone."""

from lab_browser import FORGET

CELLS = (
    """
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import Planner, StepGrid
run = Run.of(Pipeline(FakeBackend()), tone(0.96), face(32, 32), "", GenerationConfig(size=(32, 32)))
run.start().result()
""",
    "StepGrid(run)",
    "StepGrid()",
)
CLOSE = """async () => {
    await jupyterapp.commands.execute('docmanager:save');
    jupyterapp.shell.currentWidget.dispose();
}"""
OPEN = "async (path) => { await jupyterapp.commands.execute('docmanager:open', {path}); }"
READY_AGAIN = """(path) => {
    const book = globalThis.jupyterapp?.shell?.currentWidget;
    return book?.context?.path === path && book.context.isReady && book.sessionContext.isReady
        && book.sessionContext.session?.kernel && document.querySelectorAll('.la-still').length === 2;
}"""


def test_it_shows_the_still_and_no_error(open_notebook):
    book = open_notebook(*CELLS)
    page = book.page
    page.locator(".la-grid canvas").first.wait_for()
    assert not page.locator(".la-still").first.is_visible()               # the view itself is there
    book.run(FORGET)                                                      # as a kernel that is new
    page.evaluate(CLOSE)
    page.evaluate(OPEN, book.path)
    book.wait_for(READY_AGAIN, book.path)
    stills = page.locator(".la-still")
    stills.first.locator("img").wait_for(state="visible")
    book.wait_for("() => document.body.innerText.includes('model not found') || "
                  "[...document.querySelectorAll('.jp-OutputArea-output')]"
                  ".some((one) => one.textContent.includes('model not found'))")
    assert "model not found" not in page.locator(".jp-Notebook").inner_text()        # JupyterLab says it out of sight
    assert "Run the cell" in stills.first.inner_text() and "Run this cell" in stills.nth(1).inner_text()
    book.complaints[:] = [text for text in book.complaints if "model not found" not in text]
