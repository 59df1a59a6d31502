"""What a function of tensors asks of a GPU, noted down once and asked again as one launch (a CUDA graph)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor


class Graph:
    """A function's kernels, noted down. They are not run while they are noted down, only when the graph is called.

    Arguments keep their shapes; what comes back is overwritten by the next call. Whatever else the function reads or
    writes stays where it is. Random numbers are drawn outside and passed in; nothing may be copied from the host.

    pool     memory for what lives within a call; graphs that are called one after the other can share it
    warm_up  calls before, for what a function does only the first times: to compile, to choose kernels
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Tensor], pool: torch.cuda.MemPool,
                 warm_up: int = 0) -> None:
        self._arguments = [argument.clone(memory_format=torch.contiguous_format) for argument in arguments]
        self._pool, self._graph = pool, torch.cuda.CUDAGraph()
        with torch.cuda.device_of(arguments[0]):
            self._record(function, warm_up)

    def _record(self, function: Callable[..., Any], warm_up: int) -> None:
        stream = recording_stream(torch.cuda.current_device())
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(warm_up):
                function(*self._arguments)
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph, pool=self._pool.id, stream=stream,
                              capture_error_mode="thread_local"):                      # other threads may go on
            self._result = function(*self._arguments)
        torch.cuda.synchronize()

    def __call__(self, *arguments: Tensor) -> Any:
        torch._foreach_copy_(self._arguments, arguments)
        self._graph.replay()
        return self._result


@cache
def recording_stream(device: int) -> torch.cuda.Stream:
    """Return the stream of recordings, the same for all graphs: memory that one of them let go of is given to the next
    only on the same stream."""
    return torch.cuda.Stream(device)
