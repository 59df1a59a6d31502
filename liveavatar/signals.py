"""Signals that ask a program to end: Ctrl-C, `docker stop`, Slurm, a closed terminal. What is done is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stop(threading.Event):
    """Set when the program was asked to end. `exit_code` is what a shell reports for the signal: 130, 143, 129."""

    exit_code = 128 + signal.SIGINT


@contextmanager
def stop_on_signals(also: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Let the first signal set the Event and call `also`, and a second one end the program.

    Signals that are ignored (nohup) stay ignored. Outside the main thread, where there are no signals, nothing happens.
    """
    stop = Stop()

    def ask(number: int, _: object) -> None:
        if stop.is_set():
            end(number)
        stop.exit_code = 128 + number
        stop.set()
        also()

    with handled_by(ask, ASKING, (signal.SIG_DFL, signal.default_int_handler)):
        yield stop


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn signals that would end the program at once into SystemExit, so that files are finished on the way out.

    Ctrl-C is KeyboardInterrupt already. Handlers of others are left alone.
    """
    with handled_by(lambda number, _: end(number), ASKING, (signal.SIG_DFL,)):
        yield


def end(number: int) -> NoReturn:
    """Raise what ends a program."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def handled_by(handler: Callable, numbers: tuple[int, ...], instead_of: tuple) -> Iterator[None]:
    """Handle signals whose handlers are among those named; put them back afterwards."""
    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        known = {number: signal.getsignal(number) for number in numbers}
        before = {number: old for number, old in known.items() if old in instead_of}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
