"""In place of a browser: hears what views send, and answers as a browser does, after a while."""

from __future__ import annotations

import heapq
import secrets
import threading
import time
from dataclasses import dataclass, field

from jupyter_client.session import Session

from widgets._live import LiveView

ANSWER_S = 0.02               # from message to answer: 6 ms idle, 25 ms on a busy machine


@dataclass(order=True)
class Answer:
    """A message that is on its way back."""

    due_s: float
    view: LiveView = field(compare=False)
    parts: list[bytes] = field(compare=False)


class Browser:
    """Answers the messages of all views that were opened in it, and counts them."""

    def __init__(self) -> None:
        self.messages: dict[str, int] = {}
        self.sent_bytes = 0
        key = secrets.token_bytes(32)
        self._kernel, self._page = Session(key=key), Session(key=key)
        self._parent = self._kernel.msg("comm_msg", {})["header"]
        self._answers: list[Answer] = []
        self._came = threading.Condition()
        threading.Thread(target=self._work, name="browser", daemon=True).start()

    def open(self, view: LiveView) -> None:
        """Show a view: what it sends from now on is heard here."""
        name = type(view).__name__

        def send(content: dict, buffers: list[bytes] | None = None) -> None:
            data = {"comm_id": name, "data": {"method": "custom", "content": content}}
            parts = self._kernel.serialize(self._kernel.msg("comm_msg", data, parent=self._parent), b"comm")
            self.messages[name] = self.messages.get(name, 0) + 1
            self.sent_bytes += sum(map(len, parts)) + sum(map(len, buffers or ()))
            heard = {"kind": "ack", "number": content["number"]}
            data = {"comm_id": name, "data": {"method": "custom", "content": heard}}
            answer = Answer(time.monotonic() + ANSWER_S, view, self._page.serialize(self._page.msg("comm_msg", data)))
            with self._came:
                heapq.heappush(self._answers, answer)
                self._came.notify()

        view.send = send
        view._receive_message(view, {"kind": "hello"}, [])

    def _work(self) -> None:
        """The kernel's thread, which hears the answers."""
        while True:
            with self._came:
                while not self._answers or self._answers[0].due_s > time.monotonic():
                    self._came.wait(self._answers[0].due_s - time.monotonic() if self._answers else None)
                answer = heapq.heappop(self._answers)
            _, parts = self._kernel.feed_identities(answer.parts)
            message = self._kernel.deserialize(parts)
            answer.view._receive_message(answer.view, message["content"]["data"]["content"], [])
