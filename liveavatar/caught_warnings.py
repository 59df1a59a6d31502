"""Warnings caught by one thread after the other.

Python's own way to catch warnings is one for all threads: what was noticed for one video would be shown for another,
and filters could stay changed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_catching = threading.RLock()


@contextmanager
def caught_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record all warnings of what is done meanwhile, instead of showing them. Other threads wait at this place."""
    with _catching, warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        yield noticed


@contextmanager
def ignored_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Hide warnings of one kind meanwhile; others are shown. Other threads wait at this place."""
    with _catching, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
