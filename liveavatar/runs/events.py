"""The events of a run as an iterator, for whoever prefers a loop to a callback."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import TYPE_CHECKING

from liveavatar.runs.info import ENDED, StateChange

if TYPE_CHECKING:
    from liveavatar.runs.run import Run


class EventStream:
    """Iterates over the events of a run. It holds at most `size`; `lost` counts those that were dropped."""

    def __init__(self, run: Run, size: int) -> None:
        self.lost = 0
        self._waiting: deque[object] = deque(maxlen=size)
        self._arrived = Condition()
        self._ended = run.over
        self._unsubscribe = run.subscribe(self._put)
        if run.over:
            self.close()

    def _put(self, event: object) -> None:
        with self._arrived:
            self.lost += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(event)
            self._ended |= isinstance(event, StateChange) and event.state in ENDED
            self._arrived.notify_all()

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> object:
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                return self._waiting.popleft()
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Unsubscribe; the iteration ends after the events that wait."""
        self._unsubscribe()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()
