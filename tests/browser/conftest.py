"""A real JupyterLab on loopback and a real Chromium, one of each for the whole session.

    def test_something(open_notebook):
        book = open_notebook("view = ...", "view")        # code cells; returns when all have run
        book.page.locator(".la-cache canvas").first.click()
        assert book.run("print(view.block)") == "1"       # in the kernel

When a book is closed, at the end of its test, the console must hold no error and no request may have left the machine.
Screenshots go to the folder that LIVEAVATAR_SHOTS names, or nowhere.
"""

import pytest
from lab_browser import CHROMIUM, Book, open_book, start_chromium, start_lab, start_server, write_notebook


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
def open_notebook(lab, chromium):
    """open_notebook(*code_cells) -> Book; closed, and its complaints heard, at the end of the test."""
    books = []

    def open_one(*cells: str) -> Book:
        books.append(open_book(lab, chromium, write_notebook(lab["root"], cells)))
        return books[-1]

    yield open_one
    for book in books:
        book.close()


@pytest.fixture(scope="module")
def open_shared_notebook(lab, chromium):
    """The same for the tests of a whole file, which then share one kernel: far quicker."""
    books = []

    def open_one(*cells: str) -> Book:
        books.append(open_book(lab, chromium, write_notebook(lab["root"], cells)))
        return books[-1]

    yield open_one
    for book in books:
        book.close()
