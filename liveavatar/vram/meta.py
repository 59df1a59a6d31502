"""The cost of a stage in memory and products, found by running our own code on torch's meta device.

Nothing is allocated and no weights are needed: shapes pass through the functions that a real run calls, while a
meter counts the bytes of every tensor that lives and the multiplications of every product. A forward pass of the 14B
network takes less than a second this way.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_ONE_AT_A_TIME = threading.RLock()
PRODUCTS = {"mm": "linear", "addmm": "linear", "bmm": "linear", "baddbmm": "linear", "convolution": "convolution"}


@dataclass(frozen=True)
class StageCost:
    """Memory, products and traffic of a piece of work."""

    transient: int               # bytes at its peak that are gone when it ends, or belong to its result
    kept: int                    # bytes of its result
    flops: dict[str, float] = field(default_factory=dict)     # "linear", "attention", "convolution"
    moved: int = 0               # bytes read and written by everything that is no product, each operation on its own
    where: str = ""              # our function in which the peak was reached

    @property
    def total_flops(self) -> float:
        """Return the products of all kinds, 2 a multiplication with its addition."""
        return sum(self.flops.values())


class TensorMeter(TorchDispatchMode):
    """Counts the bytes of living tensors, apart from those that were there before."""

    def __init__(self, *before: nn.Module | Tensor) -> None:
        super().__init__()
        self.live = self.peak = self.moved = 0
        self.where, self._named = "", 0
        self.flops = dict.fromkeys(("linear", "attention", "convolution"), 0.0)
        tensors = [tensor for one in before for tensor in
                   ((one,) if isinstance(one, Tensor) else (*one.parameters(), *one.buffers()))]
        self._known: dict[int, object] = {}
        for tensor in tensors:
            self._watch(tensor.untyped_storage())

    def __torch_dispatch__(self, call: Any, types: tuple, arguments: tuple = (), options: dict | None = None) -> Any:
        options = options or {}
        out = call(*arguments, **options)
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        new = sum(self._add(tensor) for tensor in tensors)
        kind = PRODUCTS.get(call._schema.name.removeprefix("aten::"))
        if kind is not None:
            self.flops[kind] += float(flop_registry[call._overloadpacket](*arguments, **options, out_val=out))
        elif new:
            self.moved += new + sum(leaf.nbytes for leaf in tree_leaves((arguments, options))
                                    if isinstance(leaf, Tensor))
        return out

    def _add(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return 0
        self._watch(storage)
        self.live += storage.nbytes()
        if self.live > self.peak:
            if self.live > 1.02 * self._named:             # to find the function takes a while
                self._named, self.where = self.live, our_function()
            self.peak = self.live
        return storage.nbytes()

    def _watch(self, storage: torch.UntypedStorage) -> None:
        """Subtract a storage when it is freed; `live` falls below 0 where what was there before is freed."""
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._freed(key, size))

    def _freed(self, key: int, size: int) -> None:
        self._known.pop(key, None)
        self.live -= size


class FusedAttention(TorchFunctionMode):
    """Replaces attention by what a GPU's kernels hold: no matrix of scores."""

    def __init__(self, meter: TensorMeter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_function__(self, call: Any, types: tuple, arguments: tuple = (), options: dict | None = None) -> Any:
        if call is F.scaled_dot_product_attention:
            q, k = arguments[:2]
            self._meter.flops["attention"] += 4.0 * q.numel() * k.shape[-2]
            return torch.empty_like(q)
        return call(*arguments, **(options or {}))


def our_function() -> str:
    """Return the innermost function of this package, or of the VAE, that is at work; "" outside."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if frame.f_code.co_name.startswith(("<", "_")) or name == __file__:
            frame = frame.f_back
        elif "liveavatar" in name or "autoencoder" in name:
            return frame.f_code.co_name
        else:
            frame = frame.f_back
    return ""


@contextmanager
def no_autocast() -> Iterator[None]:
    """Let torch.autocast do nothing on the meta device, which it refuses; our code only ever switches it off."""
    kept = torch.autocast
    torch.autocast = lambda kind, *rest, **more: nullcontext() if kind == "meta" else kept(kind, *rest, **more)
    try:
        yield
    finally:
        torch.autocast = kept


def measure(work: Callable[[], Any], *before: nn.Module | Tensor,
            used_up: list | None = None) -> tuple[Any, StageCost]:
    """Run something on the meta device; return its result and its cost.

    before: what exists already, and stays; used_up: a list of what exists already and is replaced by the work
    """
    with _ONE_AT_A_TIME, torch.no_grad(), no_autocast():
        meter = TensorMeter(*before, *(one for one in used_up or () if isinstance(one, Tensor)))
        with FusedAttention(meter), meter:
            result = work()
        flops = {kind: value for kind, value in meter.flops.items() if value}
        return result, StageCost(meter.peak, meter.live, flops, meter.moved, meter.where)


def meta_tensor(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def bytes_of(network: nn.Module) -> int:
    """Return the bytes of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
