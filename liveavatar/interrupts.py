"""Interrupts of a notebook: the button of JupyterLab stops work that goes on in a thread, too.

While a cell runs, an interrupt ends that cell. While none runs, ipykernel ignores it; from here on it then stops every
run and every sweep that is at work. Outside of a kernel nothing changes: Ctrl-C is what it was.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import weakref
from typing import Any, Protocol

HEARD_AFTER_S = 0.25          # ipykernel cancels a cell that waits only when its event loop wakes up for something else


class Stoppable(Protocol):
    """Work in a thread of its own."""

    @property
    def running(self) -> bool:
        """Tell whether it is at work: neither paused nor over."""

    def stop(self) -> None:
        """End soon; return at once."""


class Awaited(Stoppable, Protocol):
    """Such work with something to wait for."""

    def result(self) -> object:
        """Wait for the end."""


_at_work: weakref.WeakSet[Stoppable] = weakref.WeakSet()


def stop_on_interrupt(work: Stoppable | None = None) -> None:
    """Let an interrupt of the kernel stop this work, if it is running then. Call it in the main thread.

    None: only see to it that interrupts are heard, for work that will be added in another thread.
    """
    if work is not None:
        _at_work.add(work)
    kernel = running_kernel()
    if kernel is None or threading.current_thread() is not threading.main_thread():
        return

    def before_message() -> None:
        kernel.saved_sigint_handler = signal.signal(signal.SIGINT, during_message)

    def during_message(number: int, frame: object) -> None:
        if kernel.get_parent("shell").get("header", {}).get("msg_type") == "execute_request":
            signal.default_int_handler(number, frame)        # a cell runs: KeyboardInterrupt, as ever
        stop_all()                                           # a click or an answer of the page is being handled

    kernel.pre_handler_hook = before_message
    kernel.saved_sigint_handler = stop_all           # ipykernel puts this back when the message it handles is done


def stop_all(*_: object) -> None:
    """Stop all work that is running. A signal handler."""
    for work in tuple(_at_work):
        if work.running:
            work.stop()


def running_kernel() -> Any:
    """Return the ipykernel that this process is, if it is one."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    return kernel if hasattr(kernel, "saved_sigint_handler") else None


async def result_of(work: Awaited) -> object:
    """Wait for the end without blocking the event loop; when the cell that waits is interrupted, stop the work."""
    end = asyncio.ensure_future(asyncio.to_thread(work.result))
    try:
        while not end.done():
            await asyncio.wait({end}, timeout=HEARD_AFTER_S)
        return end.result()
    except asyncio.CancelledError:
        work.stop()
        raise
