"""What an interrupt of a notebook's kernel does to work in threads."""

import asyncio
import signal
import time
from types import SimpleNamespace

import pytest
from fakes import run_elsewhere

from liveavatar import interrupts


class Work:
    """Work that is running, or at rest, until it is stopped."""

    def __init__(self, running: bool = True) -> None:
        self.running, self.stopped = running, False

    def stop(self) -> None:
        self.running, self.stopped = False, True

    def result(self) -> bool:
        while self.running:
            time.sleep(0.01)
        return self.stopped


@pytest.fixture
def kernel(monkeypatch):
    """A stand-in for ipykernel, which is handling a message of the kind `handles`."""
    kernel = SimpleNamespace(saved_sigint_handler=signal.SIG_IGN, handles="comm_msg")
    kernel.get_parent = lambda channel: {"header": {"msg_type": kernel.handles}}
    monkeypatch.setattr(interrupts, "running_kernel", lambda: kernel)
    before = signal.getsignal(signal.SIGINT)
    yield kernel
    signal.signal(signal.SIGINT, before)


def test_between_messages_it_stops_what_is_running_and_leaves_what_pauses(kernel):
    busy, paused = Work(), Work(running=False)
    for work in (busy, paused):
        interrupts.stop_on_interrupt(work)
    kernel.saved_sigint_handler(signal.SIGINT, None)           # what ipykernel puts back after each message
    assert busy.stopped and not paused.stopped


def test_during_a_click_it_stops_the_work_and_during_a_cell_it_interrupts_the_cell(kernel):
    work = Work()
    interrupts.stop_on_interrupt(work)
    kernel.pre_handler_hook()
    kernel.handles = "execute_request"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not work.stopped
    kernel.handles = "comm_msg"
    signal.raise_signal(signal.SIGINT)
    assert work.stopped


def test_a_cell_that_is_cancelled_while_it_waits_stops_the_work():
    work = Work()

    async def cell() -> None:
        waiting = asyncio.ensure_future(interrupts.result_of(work))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run_elsewhere(cell())
    assert work.stopped


def test_a_cell_that_waits_to_the_end_has_the_result():
    work = Work(running=False)
    assert run_elsewhere(interrupts.result_of(work)) is False


def test_outside_of_a_kernel_nothing_changes():
    before = signal.getsignal(signal.SIGINT)
    interrupts.stop_on_interrupt(Work())
    assert signal.getsignal(signal.SIGINT) is before and interrupts.running_kernel() is None
