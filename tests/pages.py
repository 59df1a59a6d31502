"""A page of the workbench at toy size, and what a browser would send to it."""

from fakes import FakeBackend

from liveavatar.pipeline import Pipeline
from widgets import Workbench

SMALL = dict(size="32*32", seconds=0.96)


def make(pause_s: float = 0.0, **traits) -> Workbench:
    return Workbench(pipeline=Pipeline(FakeBackend(pause_s=pause_s)), **SMALL | traits)


def send(page: Workbench, kind: str, **content) -> None:
    """A click in the browser."""
    page._receive_message(page, {"kind": kind, **content}, [])
