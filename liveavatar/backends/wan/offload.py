"""Offloading: a network is on the device while it is used and, if asked, in main memory otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OffloadPolicy:
    device: torch.device              # where it is used
    to_host: bool = False     # weights wait in main memory: slower, but the device's memory is free

    @property
    def storage_device(self) -> torch.device:
        """Return where a network should be made."""
        return torch.device("cpu") if self.to_host else self.device

    @contextmanager
    def on_device(self, network: nn.Module) -> Iterator[nn.Module]:
        """Yield the network on the device, and offload it afterwards."""
        if not self.to_host or self.device.type == "cpu":
            yield nn.Module.to(network, self.device)
            return
        with moved_weights(network, lambda weight: weight.to(self.device, non_blocking=True)):
            yield network
        if self.device.type == "cuda":
            torch.cuda.empty_cache()              # the rings come next, and they are large


@contextmanager
def moved_weights(network: nn.Module, move: Callable[[Tensor], Tensor]) -> Iterator[None]:
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
