"""Long work in a thread of its own, for notebooks: started, watched, stopped and waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import ClassVar, Generic, Self, TypeVar

from liveavatar.interrupts import stop_on_interrupt
from liveavatar.types import InputError

News = TypeVar("News")


class BackgroundWork(Generic[News]):
    """Do work in a thread, and tell whoever watches. A subclass does the work and looks at `_stop` between its parts.

    Watchers hear `_tell(None)` in the end, also where the work fails.
    """

    what: ClassVar[str]                                    # in messages, and in the thread's name

    def __init__(self) -> None:
        self.error: BaseException | None = None            # what ended work that was started in a thread
        self._watchers: list[Callable[[News], None]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Tell whether it goes on in its thread."""
        return self._thread is not None and self._thread.is_alive()

    def subscribe(self, callback: Callable[[News], None]) -> Callable[[], None]:
        """Call back after every part of the work, in the thread that does it. Returns what ends it."""
        self._watchers.append(callback)

        def unsubscribe() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)
        return unsubscribe

    def stop(self) -> None:
        """End after the part that is being made; what is done stays, and the next start goes on."""
        self._stop.set()

    def wait_for_thread(self, timeout_s: float | None = None) -> None:
        """Wait until its thread has ended, whatever has happened in it."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _check_not_running(self) -> None:
        if self.running:
            raise InputError(f"this {self.what} is running; stop it first")

    def _start(self, work: Callable[[], None]) -> None:
        """Do the work in a thread. Raises InputError while it runs."""
        self._check_not_running()

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.error = error
                self._tell(None)

        self.error = None
        self._stop.clear()
        stop_on_interrupt(self)
        self._thread = threading.Thread(target=guarded, name=f"liveavatar-{self.what}", daemon=True)
        self._thread.start()

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for its thread; raises what the work raised."""
        self.wait_for_thread(timeout_s)
        if self.error is not None:
            raise self.error

    def _tell(self, news: News) -> None:
        for watcher in tuple(self._watchers):
            watcher(news)


class StepwiseWork(BackgroundWork[News]):
    """Do work whose parts come one by one from an iterator: whoever wants them takes them, or a thread takes all."""

    def _parts(self) -> Iterator[object]:
        """Yield after each part; begins with `_take_over`, and looks at `_stop` between the parts."""
        raise NotImplementedError

    def start(self) -> Self:
        """Do it in a thread, for notebooks. `stop` ends it, `wait` waits for it. Raises InputError while it runs."""
        def work() -> None:
            for _ in self._parts():
                pass
            self._tell(None)

        self._start(work)
        return self

    def wait(self, timeout_s: float | None = None) -> Self:
        """Wait for what was started; raises what it raised."""
        self._wait(timeout_s)
        return self

    def _take_over(self) -> None:
        """Begin in the calling thread. Raises InputError while it runs in its own."""
        if threading.current_thread() is not self._thread:
            self._check_not_running()
            self._stop.clear()
