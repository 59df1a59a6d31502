"""Where a network is: on the device while it works and, if asked, in main memory while it rests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Residence:
    device: torch.device              # where it works
    rests_elsewhere: bool = False     # in main memory between uses: slower, but its place on the device is free

    @property
    def home(self) -> torch.device:
        """Where a network should be made."""
        return torch.device("cpu") if self.rests_elsewhere else self.device

    @contextmanager
    def at_work(self, network: nn.Module) -> Iterator[nn.Module]:
        """Have a network on the device for a while."""
        if not self.rests_elsewhere or self.device.type == "cpu":
            yield nn.Module.to(network, self.device)
            return
        with lent(network, lambda weight: weight.to(self.device, non_blocking=True)):
            yield network
        if self.device.type == "cuda":
            torch.cuda.empty_cache()              # the rings come next, and they are large


@contextmanager
def lent(network: nn.Module, move: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put moved weights in the place of a network's own, and its own back afterwards: they never change, so nothing is
    copied back."""
    resting = [(weight, weight.data) for weight in (*network.parameters(), *network.buffers())]
    try:
        with torch.inference_mode(False):
            for weight, data in resting:
                weight.data = move(data)
        yield
    finally:
        with torch.inference_mode(False):
            for weight, data in resting:
                weight.data = data
