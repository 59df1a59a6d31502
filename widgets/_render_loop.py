"""The thread that draws all views, and the end of such threads before Python ends."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from functools import cache
from typing import TYPE_CHECKING, Protocol

from liveavatar.runs.run import EXIT_TIMEOUT_S
from widgets._message_gate import TOGETHER_S

if TYPE_CHECKING:
    from widgets._live import LiveView


class Worker(Protocol):
    """Something that has a thread of its own."""

    def stop(self) -> None:
        """End it, and wait until it has."""


def stop_before_exit(worker: Worker) -> None:
    """Stop a worker before the interpreter ends: a thread that it meets inside torch takes the process down."""
    _workers.add(worker)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
exiting = threading.Event()                   # the interpreter is about to end


@atexit.register
def stop_all_workers() -> None:
    """Stop all workers that `stop_before_exit` knows."""
    exiting.set()
    for worker in tuple(_workers):
        worker.stop()


class RenderLoop:
    """One thread that draws for all views, one after the other, each when it is due."""

    def __init__(self) -> None:
        self._waiting: weakref.WeakSet[LiveView] = weakref.WeakSet()
        self._woken = threading.Condition()
        self._ended = self._awake = False
        self._wakes_s = -1e9                    # when it wakes by itself
        self._thread = threading.Thread(target=self._work, name="liveavatar-render", daemon=True)
        self._thread.start()
        stop_before_exit(self)

    def stop(self) -> None:
        """Draw no more; wait for the picture that is being drawn."""
        with self._woken:
            self._ended = True
            self._woken.notify()
        self._thread.join(EXIT_TIMEOUT_S)

    def wake(self, view: LiveView) -> None:
        """Ask for a view to be drawn. The thread is left asleep when it will wake in time anyway."""
        due_s = view._gate.due_s()
        with self._woken:
            self._waiting.add(view)
            if due_s < self._wakes_s:
                self._woken.notify()

    def _work(self) -> None:
        while (view := self._next()) is not None:
            try:
                view._send_picture()
            except Exception:                   # the connection is gone: nobody is left to be told
                view._gate.displayed = False
            del view

    def _next(self) -> LiveView | None:
        """Wait until a view is due; None at the end."""
        with self._woken:
            while not self._ended:
                due = sorted(((view._gate.due_s(), view) for view in self._waiting if view._gate.wanted),
                             key=lambda pair: pair[0])
                if due and due[0][0] <= time.monotonic() + (TOGETHER_S if self._awake else 0):
                    self._waiting.discard(due[0][1])
                    self._awake = True
                    return due[0][1]
                self._awake = False
                self._wakes_s = due[0][0] if due else 1e9
                wait_s = self._wakes_s - time.monotonic() if due else None
                del due
                if wait_s is None or wait_s > 0:
                    self._woken.wait(wait_s)
                self._wakes_s = -1e9                           # it is awake: whoever comes now is seen
        return None


@cache
def render_loop() -> RenderLoop:
    """Return the render loop of this process, made when it is first needed."""
    return RenderLoop()
