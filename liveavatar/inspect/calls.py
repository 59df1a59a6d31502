"""Hooks on a pipeline's network: which step of which block a call is, and self-attention that can be wrapped."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from liveavatar.cache import CacheSlices, ConditionCache, KeysValues, RingCache
from liveavatar.transformer import CachedAttention, CausalS2VTransformer, Context, Modulation, attention
from liveavatar.types import InputError

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from liveavatar.pipeline import Pipeline

ARGUMENTS = ("x", "level", "context", "condition", "cache", "pose", "rope")      # of CausalS2VTransformer.forward
FIELDS = ("model", "layer", "cache", "condition", "table", "condition_table")    # of CachedAttention


@dataclass(frozen=True)
class Call:
    """One call of the network: its inputs, and which step it is."""

    block: int
    step: int
    x: Tensor                    # (1, C, F, h, w) before the step
    level: Modulation
    context: Context
    condition: ConditionCache
    cache: RingCache

    @property
    def sigma(self) -> float:
        """Return the noise level."""
        return float(self.level.sigma.flatten()[0])

    @property
    def frames(self) -> int:
        """Count the latent frames of the block."""
        return self.x.shape[2]

    @property
    def tokens(self) -> int:
        """Count the tokens of the block."""
        return self.frames * self.cache.frame_tokens

    @property
    def visible(self) -> int:
        """Count the tokens that the block attends to, itself included."""
        return self.cache.bounds(self.tokens)[2]


class CallHooks:
    """Hooks on the network of a pipeline between `start` and `stop`, or within a `with`.

    For chosen calls `_begin` is called before and `_end` after; what `_begin` has put into `inner` is removed after
    the call. Of guidance's two calls only the first, with words and sound, is chosen.
    """

    def __init__(self, pipe: Pipeline, steps: tuple[int, ...] | None, blocks: tuple[int, ...] | None) -> None:
        self.pipe, self.steps, self.blocks = pipe, steps, blocks
        self.handles: list[RemovableHandle] = []         # on the whole network
        self.inner: list[RemovableHandle] = []           # on layers, during a chosen call
        self._call: Call | None = None
        self._last: tuple[int, float, int] | None = None           # end of the ring, sigma, step
        self._last_x: weakref.ref[Tensor] | None = None

    def __enter__(self) -> CallHooks:
        return self.start()

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def start(self) -> CallHooks:
        """Put the hooks in place, until `stop`."""
        self.stop()
        model = self.pipe.backend.transformer
        self._last = self._last_x = None
        self.handles = [model.register_forward_pre_hook(self._before, with_kwargs=True),
                        model.register_forward_hook(self._after, with_kwargs=True, always_call=True)]
        return self

    def stop(self) -> None:
        """Take the hooks away."""
        for handle in self.handles + self.inner:
            handle.remove()
        self.handles, self.inner, self._call = [], [], None

    def _begin(self, model: CausalS2VTransformer, call: Call) -> None:
        """Do what is to be done before a chosen call."""

    def _end(self, model: CausalS2VTransformer, call: Call, velocity: Tensor) -> None:
        """Do what is to be done after a chosen call that has not failed."""

    def _before(self, model: CausalS2VTransformer, positional: tuple, named: dict) -> None:
        given = dict(zip(ARGUMENTS, positional, strict=False)) | named
        level, cache = given["level"], given["cache"]
        again = self._last_x is not None and self._last_x() is given["x"]      # guidance asks twice of the same latents
        self._last_x = weakref.ref(given["x"])
        if again:
            return
        step = self._step(cache.end, float(level.sigma.flatten()[0]))
        block = cache.end // model.config.block_frames
        if ((self.steps is not None and step not in self.steps)
                or (self.blocks is not None and block not in self.blocks)):
            return
        self._call = Call(block, step, given["x"], level, given["context"], given["condition"], cache)
        self._begin(model, self._call)

    def _step(self, end: int, sigma: float) -> int:
        """Return which step a call is: one more than the one before, while the noise falls within a block."""
        last_end, last_sigma, step = self._last or (-1, 0.0, 0)
        step = step + 1 if end == last_end and sigma < last_sigma else 0
        self._last = end, sigma, step
        return step

    def _after(self, model: CausalS2VTransformer, positional: tuple, named: dict, output: object) -> None:
        call, self._call = self._call, None
        for handle in self.inner:
            handle.remove()
        self.inner = []
        if call is not None and output is not None:
            self._end(model, call, output[0])


# ------------------------------------------------------------------------------------------- self-attention, wrapped

@dataclass(frozen=True)
class WatchedAttention(CachedAttention):
    """Self-attention that hands its rotated queries, and the keys and values it sees, to somebody else as well."""

    inner: CachedAttention
    note: Callable[[Tensor, KeysValues], None]

    def attend(self, q: Tensor, slices: CacheSlices) -> Tensor:
        attended = self.inner.attend(q, slices)
        self.note(q, slices.visible)
        return attended


@dataclass(frozen=True)
class HidingAttention(CachedAttention):
    """Self-attention in which some queries do not see some keys."""

    inner: CachedAttention
    queries: Tensor              # (Q,)
    kept: Tensor                 # (K,) keys that they do see

    def attend(self, q: Tensor, slices: CacheSlices) -> Tensor:
        attended = self.inner.attend(q, slices).clone()
        k, v = (side[:, :, self.kept.to(side.device)] for side in slices.visible)
        attended[:, :, self.queries] = attention(q[:, :, self.queries], k, v)
        return attended


def wrapped(kind: type[CachedAttention], inner: CachedAttention, **more: object) -> CachedAttention:
    """Put self-attention of a kind around the one that a layer was given."""
    if not isinstance(inner, CachedAttention) or inner.cache.attention_class is not None:
        raise InputError("self-attention in 8 bits keeps its keys in a form of its own; load without fp8_attention, or "
                         "record parts=('text', 'sound')")
    return kind(*(getattr(inner, name) for name in FIELDS), inner, **more)


def numbers(name: str, given: Sequence[int], count: int | None = None) -> tuple[int, ...]:
    """Check numbers from 0, below count where there is one. Raise InputError for others, or where there are none."""
    wrong = [one for one in given if one < 0 or (count is not None and one >= count)]
    if wrong or not len(given):
        known = "numbers from 0" if count is None else f"numbers from 0 to {count - 1}"
        raise InputError(f"{name} is {list(given)}; give {known}")
    return tuple(dict.fromkeys(given))


def chosen_steps(step: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """Check one step or several; None means all."""
    asked = (step,) if isinstance(step, int) else step
    return None if asked is None else numbers("step", asked)
