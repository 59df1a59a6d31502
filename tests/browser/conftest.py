"""A real JupyterLab on loopback and a real Chromium, one page and one kernel for the whole session.

    def test_something(open_notebook):
        book = open_notebook("view = ...", "view")        # code cells; returns when all have run
        book.page.locator(".la-cache canvas").first.click()
        assert book.run("print(view.block)") == "1"       # in the kernel

When a book is closed, at the end of its file, the console must hold no error and no request may have left the machine.
Screenshots go to the folder that LIVEAVATAR_SHOTS names, or nowhere.
"""

import pytest
from lab_browser import CHROMIUM, PATIENCE_S, Book, Window, start_chromium, start_lab, start_server


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> dict:
    """JupyterLab with a state of its own. base: its address, token, root: its folder."""
    pytest.importorskip("playwright", reason="the browser tests need playwright: pip install 'liveavatar[test]'")
    pytest.importorskip("jupyterlab")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    with start_lab(tmp_path_factory.mktemp("lab-home"), tmp_path_factory.mktemp("lab-root")) as lab:
        yield lab


@pytest.fixture(scope="session")
def serve():
    """serve(module, home, folder, settings): a server other than `lab`; see `lab_browser.start_server`."""
    return start_server


@pytest.fixture(scope="session")
def chromium(lab):
    with start_chromium() as browser:
        yield browser


@pytest.fixture
def new_page(chromium):
    """A page without anything, as patient as a book is."""
    page = chromium.new_context().new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    page.context.close()


@pytest.fixture(scope="session")
def window(lab, chromium) -> Window:
    return Window(lab, chromium)


@pytest.fixture(scope="module")
def open_notebook(window):
    """open_notebook(*code_cells) -> Book, one at a time; closed, and its complaints heard, at the end of the file."""
    books = []

    def open_one(*cells: str) -> Book:
        books.append(window.open(*cells))
        return books[-1]

    yield open_one
    for book in books:
        book.leave()
