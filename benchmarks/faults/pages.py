"""The page of the workbench is reloaded or closed while a video is made: afterwards it says what is true. Needs
Chromium."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from faults.attempts import ROOT, Attempt, chance

if TYPE_CHECKING:
    from lab_browser import Book

BENCH = """
from fakes import FakeBackend
from liveavatar.pipeline import Pipeline
from widgets import Workbench
bench = Workbench(pipeline=Pipeline(FakeBackend(pause_s=0.1)), size='32*32', seconds=1.92)
bench
"""
STATE = "() => document.querySelector('.la-bench-state')?.textContent ?? ''"
SAVE = "async () => { await jupyterapp.commands.execute('docmanager:save'); }"
LASTS_S = 3.0                     # of a run, about


def disturbed_pages(row: str, disturb: Callable[[Book], None]) -> Callable[[int, int, int], Iterator[Attempt]]:
    """Make attempts that disturb a page at any moment of a run: the run goes on, and the page shows its end."""
    def attempts(seed: int, first: int, count: int) -> Iterator[Attempt]:
        sys.path.insert(0, str(ROOT / "tests" / "browser"))
        from lab_browser import open_book, start_chromium, start_lab, write_notebook

        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as root, \
                start_lab(Path(home), Path(root)) as lab, start_chromium() as chromium:
            book = open_book(lab, chromium, write_notebook(Path(root), (BENCH,)))
            book.wait_for(f"() => ({STATE})() !== ''")
            book.page.evaluate(SAVE)
            for number in range(first, first + count):
                after_s = chance(row, seed, number).uniform(0, LASTS_S)
                try:
                    wrong = disturbed(book, number, after_s, disturb)
                except AssertionError as error:
                    wrong = str(error)
                yield Attempt(f"{number}: after {after_s:.2f} s", not wrong, wrong)

    return attempts


def reload(book: Book) -> None:
    """Load the page again."""
    book.page.reload()


def close(book: Book) -> None:
    """Close the tab, and open the notebook in a new one."""
    page = book.page.context.new_page()
    address = book.page.url
    book.page.close()
    page.goto(address)
    book.page = page


def disturbed(book: Book, number: int, after_s: float, disturb: Callable[[Book], None]) -> str:
    """Start a run, disturb the page, and compare what it says with the kernel -> what is wrong."""
    from lab_browser import READY

    book.run(f"bench.seed = {number}; bench.start()")
    time.sleep(after_s)
    disturb(book)
    book.wait_for(READY, book.path)
    book.wait_for(f"() => ({STATE})() !== ''")
    book.wait_for_kernel("bench.run is not None and bench.run.over and not bench.busy")
    state = book.run("print(bench.run.state, bench.run.done_s == bench.run.total_s, repr(bench.error))")
    if state != "finished True ''":
        return f"in the kernel: {state}"
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    return ""


reloaded_pages = disturbed_pages("reloaded-page", reload)
closed_pages = disturbed_pages("closed-page", close)
