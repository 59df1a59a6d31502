"""One thread that decodes pictures for all views while their runs pause: neither the run's nor the render loop's.

    decoding().want(view, {key: job, ...}, priority)     # what the view would like to have now

What a view asked for before and does not name again is dropped. A job is a function without arguments that leaves its
result where the view will look for it. When one is done, its view is drawn again. While a run is going, nothing is
decoded for its views: its own thread needs the decoder and the cores.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import EXIT_TIMEOUT_S
from widgets._live import sentence
from widgets._render_loop import stop_before_exit

if TYPE_CHECKING:
    from widgets._live import LiveView

    Job = Callable[[], object]
    Jobs = Mapping[Hashable, Job]

GUESS, CHANGE, CELLS = 0, 1, 2        # priorities: one large picture, one block at every step, many small ones


class Decoding:
    """Do the jobs of all views, those of the lowest priority number first, in the order in which a view named them."""

    def __init__(self) -> None:
        self._wanted: weakref.WeakKeyDictionary[LiveView, tuple[int, dict[Hashable, Job]]] = weakref.WeakKeyDictionary()
        self._failed: weakref.WeakKeyDictionary[LiveView, set[Hashable]] = weakref.WeakKeyDictionary()
        self._woken = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None
        stop_before_exit(self)

    def want(self, view: LiveView, jobs: Jobs, priority: int = CELLS) -> None:
        """Ask for pictures; jobs that the view asked for before and does not name again are dropped."""
        with self._woken:
            self._wanted[view] = priority, dict(jobs)
            if jobs and self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._work, name="liveavatar-decoding", daemon=True)
                self._thread.start()
            self._woken.notify()

    def forget(self, view: LiveView) -> None:
        """Drop what a view asked for, and what failed: it shows another run now."""
        with self._woken:
            self._wanted.pop(view, None)
            self._failed.pop(view, None)

    def waits(self, view: LiveView) -> bool:
        """Tell whether something the view asked for is still to be done."""
        with self._woken:
            return bool(self._open(view))

    def stop(self) -> None:
        """Decode no more; waits for the picture that is being decoded."""
        with self._woken:
            self._ended = True
            self._woken.notify()
        if self._thread is not None:
            self._thread.join(EXIT_TIMEOUT_S)

    def _open(self, view: LiveView) -> dict[Hashable, Callable[[], object]]:
        _, jobs = self._wanted.get(view, (0, {}))
        failed = self._failed.get(view, ())
        return {key: job for key, job in jobs.items() if key not in failed}

    def _next(self) -> tuple[LiveView, Hashable, Callable[[], object]] | None:
        """Wait for a job of a view whose run is not going; None at the end."""
        with self._woken:
            while not self._ended:
                order = sorted(self._wanted.items(), key=lambda item: item[1][0])
                for view, _ in order:
                    if view.run is not None and view.run.state != RUNNING:
                        for key, job in self._open(view).items():
                            return view, key, job
                del order
                self._woken.wait()
        return None

    def _work(self) -> None:
        from liveavatar.threads import set_threads_here

        set_threads_here(1)                              # a preview gains little from more, and the run needs them
        while (found := self._next()) is not None:
            view, key, job = found
            try:
                job()
                view._report("decode", "")
            except Exception as problem:                 # said in the view; it would fail again the same way
                view._report("decode", sentence(problem))
                with self._woken:
                    self._failed.setdefault(view, set()).add(key)
            with self._woken:
                _, jobs = self._wanted.get(view, (0, {}))
                jobs.pop(key, None)
                idle = not self._open(view)
                if self._ended:                          # whoever would be told is going too
                    return
            view.refresh(urgent=True)
            if idle:
                view.finished_decoding()
            del view, found, job


@cache
def decoding() -> Decoding:
    """Return the decoding thread of this process, made when it is first needed."""
    return Decoding()
