"""The processes of one run: heartbeats, failures that all learn of, and channels for latents between ranks.

Nobody waits in a call that cannot be left: blocking calls of torch.distributed are made in threads of their own, and
whoever waits for them checks every few milliseconds whether all ranks are still there.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from liveavatar.types import InputError

Result = TypeVar("Result")

HEARTBEAT_S = 0.25           # between two heartbeats
SILENCE_S = 6.0              # without one a process counts as gone; one that crashes is noticed at once
STORE_SILENCE_S = 7.0        # the same of the process that keeps all together: it cannot be told of by others
NEWS_S = 4 * HEARTBEAT_S      # within which all ranks have read what was announced
STARTUP_TIMEOUT_S = 600.0    # for the others to load their weights
KEEPER = "the process that keeps all together (rank 0 or torchrun)"
GONE = f"{KEEPER} has gone"
STOP = -1                    # in the place of a block's number: no more will come


class PeerFailure(RuntimeError):
    """Another process of this run has ended, so this one cannot go on."""


class RankGroup:
    """The processes that torchrun has started. Use as a context: leaving it by an error tells the others why."""

    def __init__(self) -> None:
        """Meet the others. Raises InputError outside torchrun."""
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name not in os.environ:
                raise InputError(f"{name} is not set; start with torchrun: torchrun --nproc_per_node 2 -m liveavatar "
                                 "generate ...")
        self._store, self.rank, self.ranks = next(dist.rendezvous("env://"))
        self._failure = ""
        self._closed = threading.Event()
        self._answered_s = time.monotonic()               # when the store last answered the heartbeat's thread
        self._state = dist.PrefixStore("state", self._store.clone() if hasattr(self._store, "clone") else self._store)
        self._agreements = 0
        self._patiently(self._meet)
        self.began_s = float(self._state.get("began"))
        self._heartbeat = threading.Thread(target=self._send_heartbeats, name="liveavatar-heartbeat", daemon=True)
        self._heartbeat.start()
        self._patiently(lambda: dist.init_process_group("gloo", store=dist.PrefixStore("latents", self._store),
                                                        rank=self.rank, world_size=self.ranks))

    def _meet(self) -> None:
        """Wait for all ranks to come; name those that do not."""
        def missing() -> list[int]:
            self._answered_s = time.monotonic()
            return [rank for rank in range(self.ranks) if not self._state.check([f"heartbeat {rank}"])]

        self._state.set(f"heartbeat {self.rank}", "0")
        if self.rank == 0:
            self._state.set("began", repr(time.time()))
        self._wait_for(lambda: not missing() and self._state.check(["began"]),
                       lambda: f"rank {', '.join(map(str, missing()))} to come")

    def __enter__(self) -> RankGroup:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        failed = error is not None
        if failed and not isinstance(error, PeerFailure):
            self.announce_failure(f"rank {self.rank} has failed: {error or kind.__name__}")
        try:
            self.close(cleanly=not failed)
        except PeerFailure:
            failed = True
            raise
        finally:
            if failed and self.rank == 0:
                time.sleep(NEWS_S)                        # it may keep the store, in which the others read why

    def check(self) -> None:
        """Raise PeerFailure when another process has ended."""
        if not self._failure and not self._closed.is_set() and time.monotonic() - self._answered_s > STORE_SILENCE_S:
            self.fail(f"{KEEPER} has given no sign of life for {STORE_SILENCE_S:g} s")
        if self._failure:
            raise PeerFailure(f"rank {self.rank} stops: {self._failure}. What is done of the video is kept; start "
                              "the command again to make it whole")

    def fail(self, reason: str) -> None:
        """Let this rank's next `check` raise, without telling the others. The first reason counts."""
        self._failure = self._failure or reason

    def announce_failure(self, reason: str) -> None:
        """Let the next `check` of every rank raise."""
        self.fail(reason)
        try:
            self._state.compare_set("failure", "", reason)
        except RuntimeError:
            pass                                          # nobody is left to be told

    def channel_to(self, rank: int) -> Channel:
        """Open a channel whose `put` sends latents to another rank."""
        return Channel(self, lambda channel: self._send(channel, rank))

    def channel_from(self, rank: int, like: Tensor) -> Channel:
        """Open a channel whose `take` returns latents from another rank.

        like: a tensor, which may be on the meta device, of the shape and type that will come
        """
        return Channel(self, lambda channel: self._receive(channel, rank, like))

    def share(self, name: str, text: str) -> None:
        """Publish a text under a name, for `collect`."""
        self._patiently(lambda: self._state.set(f"{name} {self.rank}", text))

    def collect(self, name: str) -> list[str]:
        """Wait until all ranks have shared something under a name; return it in the order of ranks."""
        keys = [f"{name} {rank}" for rank in range(self.ranks)]

        def texts() -> list[str]:
            self._wait_for(lambda: self._state.check(keys), lambda: f"the {name} of all")
            return [self._state.get(key).decode() for key in keys]

        return self._patiently(texts)

    def agree(self, about: dict[str, object]) -> None:
        """Make sure that all ranks make the same video. about: name -> value, of this rank

        Raises InputError, on every rank the same, where a rank has another value than rank 0.
        """
        self._agreements += 1
        name = f"values {self._agreements}"
        self.share(name, json.dumps(about, sort_keys=True, default=str))
        values = [json.loads(text) for text in self.collect(name)]
        self.share(f"{name} read", "")                    # rank 0 keeps them: it must not end before all have read
        self.collect(f"{name} read")
        for key in values[0]:
            for rank, other in enumerate(values):
                if other.get(key) != values[0][key]:
                    raise InputError(f"rank {rank} has {key} {other.get(key)!r}, rank 0 has {values[0][key]!r}; start "
                                     "all processes with the same command, files and versions")

    def close(self, cleanly: bool = True) -> None:
        """Leave the group. Cleanly: after all that was sent has arrived; raises PeerFailure where it has not."""
        try:
            if cleanly:
                self.share("goodbye", "")
                self.collect("goodbye")                   # no connection ends while another rank still receives
                self._closed.set()
                with suppress(PeerFailure):
                    self.share("left", "")
                self._wait_for_the_last()
        finally:
            self._closed.set()
        if cleanly:
            self._heartbeat.join(2)
            dist.destroy_process_group()

    def _wait_for_the_last(self) -> None:
        """Let rank 0, which keeps the store, go after all others have read what they need; not for ever."""
        others = [f"left {rank}" for rank in range(self.ranks)]
        until = time.monotonic() + SILENCE_S
        while self.rank == 0 and not self._state.check(others) and time.monotonic() < until:
            time.sleep(0.01)

    # ------------------------------------------------------------------ inside

    def _patiently(self, work: Callable[[], Result]) -> Result:
        """Do what may block, because a process is frozen or gone, in a thread; raise PeerFailure as soon as that is
        known."""
        answers: list[Result] = []
        problems: list[Exception] = []

        def try_to() -> None:
            try:
                answers.append(work())
            except Exception as error:
                problems.append(error)

        thread = threading.Thread(target=try_to, name="liveavatar-store", daemon=True)
        thread.start()
        while thread.is_alive():
            self.check()
            thread.join(0.02)
        if problems and not isinstance(problems[0], PeerFailure | InputError):
            self.fail(GONE)                               # the store has closed the connection
            self.check()
        if problems:
            raise problems[0]
        return answers[0]

    def _wait_for(self, ready: Callable[[], bool], what: Callable[[], str]) -> None:
        until = time.monotonic() + STARTUP_TIMEOUT_S
        while not ready():
            self.check()
            if time.monotonic() > until:
                raise PeerFailure(f"rank {self.rank} stops: it waited {STARTUP_TIMEOUT_S:g} s in vain for {what()}")
            time.sleep(0.01)

    def _send_heartbeats(self) -> None:
        """Send heartbeats, and watch those of the others and their failures."""
        count, last_seen = 0, {rank: ("", time.monotonic()) for rank in range(self.ranks) if rank != self.rank}
        while not self._closed.wait(HEARTBEAT_S) and not self._failure:
            count += 1
            try:
                self._state.set(f"heartbeat {self.rank}", str(count))
                self._answered_s = time.monotonic()
                if self._state.check(["failure"]):
                    self.fail(self._state.get("failure").decode())
                for rank, (last, when) in last_seen.items():
                    heartbeat = self._state.get(f"heartbeat {rank}").decode()
                    if heartbeat != last:
                        last_seen[rank] = (heartbeat, time.monotonic())
                    elif time.monotonic() - when > SILENCE_S:
                        self.announce_failure(f"rank {rank} has given no sign of life for {SILENCE_S:g} s")
            except RuntimeError:
                if not self._closed.is_set():
                    self.fail(GONE)

    def _send(self, channel: Channel, rank: int) -> None:
        try:
            while True:
                block, latents = channel.take()
                dist.send(torch.tensor([block]), rank)
                if block == STOP:
                    break
                dist.send(bytes_of(latents), rank)
        except PeerFailure:
            return                                        # whoever waits for this channel gets the same
        except RuntimeError:
            self._connection_lost(rank)

    def _receive(self, channel: Channel, rank: int, like: Tensor) -> None:
        try:
            while True:
                number = torch.zeros(1, dtype=torch.int64)
                dist.recv(number, rank)
                if number.item() == STOP:
                    channel.put(STOP, None)
                    break
                latents = torch.empty(like.shape, dtype=like.dtype)
                dist.recv(bytes_of(latents), rank)
                channel.put(int(number), latents)
        except PeerFailure:
            return
        except RuntimeError:
            self._connection_lost(rank)

    def _connection_lost(self, rank: int) -> None:
        """Announce that a rank has gone, unless it only stopped because another one failed: that is told by then."""
        until = time.monotonic() + NEWS_S
        while time.monotonic() < until and not self._failure and not self._closed.is_set():
            time.sleep(0.02)
        if not self._closed.is_set() and not self._failure:
            self.announce_failure(f"rank {rank} has gone (its connection was closed)")


class Channel:
    """A queue of latents between two ranks. It holds two blocks at most, so no rank gets far ahead."""

    def __init__(self, group: RankGroup, transfer: Callable[[Channel], None]) -> None:
        """Start a thread. transfer: sends or receives until the end, in a thread of its own"""
        self._group = group
        self._queue: queue.Queue = queue.Queue(2)
        self._thread = threading.Thread(target=transfer, args=(self,), name="liveavatar-channel", daemon=True)
        self._thread.start()

    def put(self, block: int, latents: Tensor | None) -> None:
        """Append a block's latents; wait while the queue is full. Raises PeerFailure."""
        while True:
            self._group.check()
            try:
                return self._queue.put((block, latents), timeout=0.05)
            except queue.Full:
                pass

    def take(self) -> tuple[int, Tensor | None]:
        """Wait for the oldest (block, latents); block is STOP at the end. Raises PeerFailure."""
        while True:
            self._group.check()
            try:
                return self._queue.get(timeout=0.05)
            except queue.Empty:
                pass

    def finish(self) -> None:
        """Say that nothing more will be put in, and wait until all has gone. Raises PeerFailure."""
        self.put(STOP, None)
        while self._thread.is_alive():
            self._group.check()
            self._thread.join(0.05)


def bytes_of(latents: Tensor) -> Tensor:
    """Return the same memory as uint8, so that any type of number can travel."""
    return latents.view(torch.uint8)
