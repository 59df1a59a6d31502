"""Errors of memory that did not suffice, of the machine or of a GPU, and what they keep from being freed.

An error keeps the local variables of every function that it went through, and so the tensors that filled the memory.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from liveavatar.types import escape_controls

CPU_MESSAGES = ("DefaultCPUAllocator", "can't allocate memory", "std::bad_alloc", "Cannot allocate memory")
LONGEST_DETAIL = 160         # characters of the error itself that are repeated
GPU, MACHINE = "the GPU", "the machine"


def memory_that_ran_out(error: BaseException | None) -> str:
    """Return whose memory did not suffice, GPU or MACHINE; "" for other errors. An error caused by such one counts."""
    for one in error_chain(error):
        kind = "MemoryError" if isinstance(one, MemoryError) else type(one).__name__
        if kind == "OutOfMemoryError":                      # torch's; torch itself is not imported for this
            return GPU
        if kind == "MemoryError" or isinstance(one, RuntimeError | OSError) and any(words in str(one)
                                                                                   for words in CPU_MESSAGES):
            return MACHINE
    return ""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether memory did not suffice, of a GPU or of the machine; an error that was caused by it counts too."""
    return memory_that_ran_out(error) != ""


def out_of_memory_sentence(error: BaseException) -> str:
    """Say in one sentence whose memory did not suffice, and what to change; "" for other errors."""
    memory = memory_that_ran_out(error)
    detail = next((words for one in error_chain(error) for words in str(one).splitlines()[:1]), "")[:LONGEST_DETAIL]
    return memory and (f"{memory} ran out of memory{f' ({escape_controls(detail)})' if detail else ''}; take a shorter "
                       "stretch (--duration) or a smaller --size, or end other programs")


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def freed_on_out_of_memory() -> Iterator[None]:
    """Release what the functions inside hold when one of them runs out of memory. A decorator as well.

    A notebook keeps the last error, and with it, otherwise, what had filled the memory.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            release_frames(error)
        raise


def release_frames(error: BaseException) -> None:
    """Release all that the functions hold through which an error went."""
    for one in error_chain(error):
        traceback.clear_frames(one.__traceback__)
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
