"""Where a network is: on the device while it works and, if asked, in main memory while it rests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Residence:
    device: torch.device              # where it works
    rests_elsewhere: bool = False     # in main memory between uses: slower, but its place on the device is free

    @contextmanager
    def at_work(self, network: nn.Module) -> Iterator[nn.Module]:
        """Bring a network to the device for a while."""
        nn.Module.to(network, self.device)
        try:
            yield network
        finally:
            if self.rests_elsewhere and self.device.type != "cpu":
                nn.Module.to(network, "cpu")
