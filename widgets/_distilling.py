"""A student of FlowLab, distilled in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from liveavatar.flow2d.students import Distillation, distil
from widgets._render_loop import stop_before_exit

if TYPE_CHECKING:
    from widgets.flow_lab import FlowLab

UPDATES_SHOWN = 10                  # of a student: the view is drawn again after so many


class Training:
    """A distillation in a thread of its own; its view is drawn again while it goes on."""

    def __init__(self, view: FlowLab) -> None:
        self.lock = threading.Lock()                   # of the networks
        self.made: Distillation | None = None
        self.update, self.updates = 0, view.updates
        self._problem: Exception | None = None
        self._ended = threading.Event()
        self._view = view
        self._lesson = distil(view.mixture, view.method, view.chosen_jobs, schedule=view.schedule,
                              updates=view.updates, seed=view.seed)
        self._thread = threading.Thread(target=self._work, name="liveavatar-flow-lab", daemon=True)
        self._thread.start()
        stop_before_exit(self)

    @property
    def working(self) -> bool:
        """Tell whether it goes on."""
        return self._thread.is_alive() and not self._ended.is_set()

    def wait(self) -> None:
        """Wait for its end, and raise what went wrong."""
        self._thread.join()
        self._raise()

    def stop(self) -> None:
        """End it within one update, and wait until it has."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                with self.lock:
                    progress = next(self._lesson, None)
                    if progress is None:
                        break
                    self.made, self.update = progress.distillation, progress.update
                if self.update % UPDATES_SHOWN == 0:
                    self._view.refresh(urgent=False)
        except Exception as problem:
            self._problem = problem
            self._view._guarded(self._raise)
        finally:
            self._ended.set()
            self._view.refresh()
            self._view.keep_still()

    def _raise(self) -> None:
        if self._problem is not None:
            raise self._problem
