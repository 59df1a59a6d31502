"""When a view may send its next message: not before the browser has drawn the last one, not too often, and only while
somebody looks."""

from __future__ import annotations

import threading
import time

MAX_HZ = 10.0               # messages a second of one view
ANSWER_TIMEOUT_S = 0.5      # for the browser's answer; then one more message may go
UNCONNECTED_S = 2.0         # between full messages to a browser that has not answered (its kernel may be blocked)
MAX_SHARE = 0.01            # of one core, that one view may spend on drawing while a run is going
MAX_PAUSE_S = 1.0           # between two pictures, however much they cost
TOGETHER_S = 0.03           # what is due so soon is drawn in one go: each wake-up of the loop takes from a run
PAUSE_S = 0.2               # between two pictures of a view among many, when nobody has clicked


class MessageGate:
    """Decides when the next message of a view may go. All times in seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self.displayed = False                 # somebody may be looking
        self._answered = False                 # a browser has spoken
        self._dirty = self._full = self._urgent = False
        self._number = self._acknowledged = 0
        self._sent_s = self._full_s = -1e9
        self._cost_s = 0.0
        self._due_s = -1e9                     # of the message that is being made
        self._lock = threading.Lock()

    @property
    def has_viewer(self) -> bool:
        """Tell whether there is somebody to send anything to."""
        return self.displayed or self._answered

    @property
    def wanted(self) -> bool:
        """Tell whether there is something to send and somebody to send it to."""
        return self._dirty and self.has_viewer

    def request(self, full: bool, urgent: bool) -> None:
        """Ask for a message. full: with everything; urgent: as soon as the rate allows"""
        with self._lock:
            self._dirty = True
            self._full |= full
            self._urgent |= urgent

    def connected(self) -> None:
        """Note that a browser has opened the view: it knows nothing yet."""
        with self._lock:
            self._answered, self._acknowledged = True, self._number

    def acknowledged(self, number: int) -> None:
        """Note that the browser has drawn a message."""
        with self._lock:
            self._acknowledged = max(self._acknowledged, number)

    def due_s(self) -> float:
        """Return the earliest moment for the next message."""
        with self._lock:
            if not self._answered:
                return self._full_s + UNCONNECTED_S
            waiting = self._acknowledged < self._number
            by_cost_s = min(max(1 / MAX_HZ, self._cost_s / MAX_SHARE), MAX_PAUSE_S)
            pause_s = 1 / MAX_HZ if self._urgent else by_cost_s
            return self._sent_s + (max(pause_s, ANSWER_TIMEOUT_S) if waiting else pause_s)

    def begin(self) -> bool:
        """Note that a message is being made; return whether it has to be full."""
        self._due_s = self.due_s()
        with self._lock:
            full = self._full or not self._answered
            self._dirty = self._full = self._urgent = False
            if full:
                self._full_s = time.monotonic()
            return full

    def sent(self, cost_s: float) -> int:
        """Return the number of the message that goes now; cost_s: seconds of a core that drawing it took"""
        with self._lock:
            self._number += 1
            self._sent_s = max(time.monotonic(), min(self._due_s, time.monotonic() + TOGETHER_S))
            self._cost_s = 0.5 * (self._cost_s + cost_s)
            return self._number


class Throttle(MessageGate):
    """The gate of a view among many: nothing is drawn while it is out of sight, and not too often otherwise."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        super().__init__()
        self.shown = True
        self._pause_s = pause_s                          # between two pictures; clicks are answered sooner

    @property
    def has_viewer(self) -> bool:
        """Tell whether the view is in sight of somebody."""
        return self.shown and super().has_viewer

    def due_s(self) -> float:
        """Return the earliest moment for the next message."""
        due_s = super().due_s()
        return due_s if self._urgent else max(due_s, self._sent_s + self._pause_s)
