"""The layers of a step as one launch, once the ring is full: a thousand kernels no longer wait for Python.

From then on all shapes stay, and a block lies in one of a few places of its ring. For each ring and place the first
such block is noted down as a CUDA graph, which the later ones repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from liveavatar.cache import ConditionCache, KeysValues, RingCache
from liveavatar.compiling import first_line
from liveavatar.graphs import Graph
from liveavatar.transformer import AudioLayerContext, Context, Modulation, RopeTable, RopeTables
from liveavatar.types import InputError

GraphKey = tuple[int, bool, int]      # slot of the ring, whether a pose is followed, the noise level by its identity


@dataclass
class Records:
    """Hold what was noted down of one ring. Nothing here holds the ring itself, so it all ends with the ring."""

    given: tuple[object, ...]                                    # what the graphs take for granted
    graphs: dict[GraphKey, Graph] = field(default_factory=dict)
    levels: dict[int, Modulation] = field(default_factory=dict)  # kept, so that no other takes their identity


class RecordedSteps:
    """Stands in for `CausalS2VTransformer.run_layers`, which it is given."""

    def __init__(self, run_layers: Callable[..., Tensor]) -> None:
        self._run_layers = run_layers
        self._records = WeakIdKeyDictionary()                    # by the tensor that holds a ring's keys
        self._pools = WeakIdKeyDictionary()                      # by a condition's: the rings of a video share memory

    def __call__(self, x: Tensor, level: Modulation, context: Context, condition: ConditionCache, cache: RingCache,
                 rope: RopeTables, pose: Tensor | None = None) -> Tensor:
        arguments = (x, level, context, condition, cache, rope, pose)
        if not can_record(x, cache):
            return self._run_layers(*arguments)
        records = self._records_of(cache, (context.text, condition))
        records.levels[id(level)] = level
        key = cache.slot, pose is not None, id(level)
        changing = tensors_of(x, rope, context, pose)
        if key not in records.graphs:
            records.graphs[key] = self._record(of_tensors(self._run_layers, *arguments), changing, condition)
        return records.graphs[key](*changing).clone()

    def _record(self, run: Callable[..., Tensor], changing: list[Tensor], condition: ConditionCache) -> Graph:
        try:
            return Graph(run, changing, self._pool_of(condition), warm_up=1)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(f"this GPU could not record a step as a CUDA graph ({first_line(error)}); go without: "
                             "record_steps=False (--record_steps False)") from error

    def _pool_of(self, condition: ConditionCache) -> torch.cuda.MemPool:
        if condition.k not in self._pools:
            with torch.cuda.device_of(condition.k):
                self._pools[condition.k] = torch.cuda.MemPool()
        return self._pools[condition.k]

    def _records_of(self, cache: RingCache, given: tuple[object, ...]) -> Records:
        records = self._records.get(cache.k)
        if records is None or any(one is not other for one, other in zip(records.given, given, strict=True)):
            records = self._records[cache.k] = Records(given)
        return records


def can_record(x: Tensor, cache: RingCache) -> bool:
    """Say whether all lies on a GPU, and the ring is full: until then the block sees more keys each time."""
    return x.is_cuda and cache.k.is_cuda and cache.end >= cache.capacity and not torch.is_grad_enabled()


def tensors_of(x: Tensor, rope: RopeTables, context: Context, pose: Tensor | None) -> list[Tensor]:
    """List the tensors that are new with each block."""
    audio = ((*layer.tokens, layer.shift, layer.scale) for layer in context.audio.values())
    return [x, *rope.block, *rope.condition, *chain.from_iterable(audio), *(() if pose is None else (pose,))]


def of_tensors(run_layers: Callable[..., Tensor], x: Tensor, level: Modulation, context: Context,
               condition: ConditionCache, cache: RingCache, rope: RopeTables, pose: Tensor | None
               ) -> Callable[..., Tensor]:
    """Return `run_layers` as a function of `tensors_of`; everything else is bound."""
    def run(*tensors: Tensor) -> Tensor:
        each: Iterator[Tensor] = iter(tensors)
        x, rope = next(each), RopeTables(*(RopeTable(next(each), next(each)) for _ in RopeTables._fields))
        audio = {layer: AudioLayerContext(KeysValues(next(each), next(each)), next(each), next(each))
                 for layer in context.audio}
        return run_layers(x, level, Context(context.text, audio), condition, cache, rope, next(each, None))

    return run
