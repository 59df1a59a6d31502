"""A page of the workbench at toy size, and what a browser would send to it."""

from collections.abc import Iterator
from contextlib import contextmanager

from fakes import FakeBackend

from liveavatar.pipeline import Pipeline
from widgets import Workbench

SMALL = dict(size="32*32", seconds=0.96)


def make(pause_s: float = 0.0, **traits) -> Workbench:
    return Workbench(pipeline=Pipeline(FakeBackend(pause_s=pause_s)), **SMALL | traits)


@contextmanager
def held(page: Workbench) -> Iterator[None]:
    """The decoder waits while inside, so that no video can end."""
    vae = page.pipeline.backend.vae
    vae.held = True
    try:
        yield
    finally:
        vae.held = False


def send(page: Workbench, kind: str, **content) -> None:
    """A click in the browser."""
    page._receive_message(page, {"kind": kind, **content}, [])
