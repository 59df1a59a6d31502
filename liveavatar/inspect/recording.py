"""Record attention weights and read-outs of chosen steps and layers, by forward hooks on a pipeline's network."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from liveavatar.cache import KeysValues
from liveavatar.inspect.attention import (
    AttentionWeights,
    TokenPlaces,
    attention_weights,
    block_places,
    placeless,
    self_key_places,
)
from liveavatar.inspect.calls import Call, CallHooks, WatchedAttention, chosen_steps, numbers, wrapped
from liveavatar.inspect.sound_reach import sound_profile, sound_reach
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.types import InputError

if TYPE_CHECKING:
    import numpy as np

    from liveavatar.pipeline import Pipeline

PARTS = ("self", "text", "sound")
MOST_BYTES = 2**29                    # of all that is kept; the oldest goes first
Key = tuple[int, int, int]            # block, step, layer


@dataclass
class LayerRecord:
    """All that was recorded of one layer at one step of one block."""

    attention: dict[str, AttentionWeights] = field(default_factory=dict)      # by part
    clean: Tensor | None = None                                               # (1, C, F, h, w) its read-out

    @property
    def bytes(self) -> int:
        """Count what it holds."""
        return sum(one.bytes for one in self.attention.values()) + (0 if self.clean is None else self.clean.nbytes)


class Recording(CallHooks):
    """Hold what `record` has seen so far. Use it as a context manager, or call `start` and `stop`."""

    def __init__(self, pipe: Pipeline, steps: tuple[int, ...] | None, layers: tuple[int, ...],
                 blocks: tuple[int, ...] | None, heads: tuple[int, ...] | Literal["mean"] | None,
                 queries: tuple[int, ...] | None, parts: tuple[str, ...], readouts: bool, values: bool,
                 most_bytes: int) -> None:
        super().__init__(pipe, steps, blocks)
        self.layers, self.heads, self.queries, self.parts = layers, heads, queries, parts
        self.readouts, self.values, self.most_bytes = readouts, values, most_bytes
        self._kept: OrderedDict[Key, LayerRecord] = OrderedDict()
        self._sounds: deque[Tensor] = deque(maxlen=2)    # the newest that were encoded: with guidance one is silence
        self._audio: dict[int, Tensor] = {}              # block -> (1, layers, A, 9 + 4F)
        self._reach: dict[int, Tensor] = {}

    def __repr__(self) -> str:
        return f"Recording({len(self._kept)} layers, {self.bytes / 2**20:.0f} MiB)"

    # ------------------------------------------------------------------ what was seen

    @property
    def keys(self) -> tuple[Key, ...]:
        """Return (block, step, layer) of all that is kept, in the order in which it was recorded."""
        return tuple(self._kept)

    @property
    def bytes(self) -> int:
        """Count what is kept."""
        return sum(record.bytes for record in tuple(self._kept.values()))

    def attention(self, block: int, step: int, layer: int, part: str = "self") -> AttentionWeights:
        """Return the weights of one attention. part: "self", "text" or "sound". Raise InputError if it is not kept."""
        found = self._record(block, step, layer).attention
        if part not in found:
            raise InputError(f"of layer {layer} there is no attention {part!r}; recorded: {', '.join(found) or 'none'} "
                             "(only some layers attend to the sound)")
        return found[part]

    def readout(self, block: int, step: int, layer: int) -> Tensor:
        """Return the clean latents (1, C, F, h, w) that a layer's output means when it is taken through the head, as
        if no layer came after it ("logit lens", nostalgebraist 2020). That of the last layer is the step's own."""
        clean = self._record(block, step, layer).clean
        if clean is None:
            raise InputError("read-outs were not recorded; ask for them with record(..., readouts=True)")
        return clean

    def pictures(self, block: int, step: int, layer: int) -> np.ndarray:
        """Return a read-out through the real decoder: (T, H, W, 3) uint8."""
        from liveavatar.preview import decode_exactly

        return decode_exactly(self.pipe.backend, self.readout(block, step, layer))

    def sound_profile(self, block: int, step: int, layer: int, queries: Sequence[int] | None = None) -> Tensor:
        """Return which video frames of the sound the queries of each latent frame listen to: (F, 9 + 4F), see
        `inspect.sound_profile`. queries: numbers among the recorded ones; None for all."""
        weights = self.attention(block, step, layer, "sound")
        if queries is not None:
            chosen = torch.as_tensor(queries)
            weights = replace(weights, weights=weights.weights[:, chosen], queries=weights.queries.select(chosen))
        return sound_profile(weights, self.sound_reach(block))

    def sound_reach(self, block: int) -> Tensor:
        """Return how much each sound token of a block depends on each video frame: (F, tokens, 9 + 4F). Computed when
        it is first asked for. Raise InputError where the block's sound was not recorded."""
        if block not in self._reach:
            if block not in self._audio:
                raise InputError(f"the sound of block {block} was not recorded; recorded: "
                                 f"{', '.join(map(str, self._audio)) or 'none'}")
            self._reach[block] = sound_reach(self.pipe.backend.transformer, self._audio[block])
        return self._reach[block]

    def _record(self, block: int, step: int, layer: int) -> LayerRecord:
        record = self._kept.get((block, step, layer))
        if record is None:
            there = "nothing is" if not self._kept else f"{len(self._kept)} others are, the newest {self.keys[-1]}"
            raise InputError(f"block {block}, step {step}, layer {layer} is not kept; {there}")
        return record

    # ------------------------------------------------------------------ from when to when

    def start(self) -> Recording:
        """Begin to record: hooks on the network and its audio encoder, until `stop`."""
        super().start()
        if "sound" in self.parts:
            self.handles.append(self.pipe.backend.transformer.casual_audio_encoder.register_forward_pre_hook(
                lambda _, arguments: self._sounds.append(arguments[0].detach())))
        return self

    def stop(self) -> None:
        """Record no more; what was seen stays."""
        super().stop()
        self._sounds.clear()

    # ------------------------------------------------------------------ before and after a call

    def _begin(self, model: CausalS2VTransformer, call: Call) -> None:
        if self._sounds:                                     # encoded since the last call that was recorded
            self._audio[call.block] = self._sound_of(model, call).cpu().clone()
            self._reach.pop(call.block, None)
        self._check_size(model)
        for layer in self.layers:
            self._watch(model, layer)

    def _end(self, model: CausalS2VTransformer, call: Call, velocity: Tensor) -> None:
        last = len(model.blocks) - 1
        if self.readouts and last in self.layers:
            self._keep(call, last).clean = self._clean(call, velocity)
        missing = [layer for layer in self.layers if "self" in self.parts and "self" not in
                   self._keep(call, layer).attention]
        if missing:
            raise InputError(f"nothing could be recorded of layer {missing[0]}: compiled networks do not let anybody "
                             "look; load without compile")
        while self.bytes > self.most_bytes and len(self._kept) > len(self.layers):
            self._kept.popitem(last=False)
        for block in {block for block in self._audio if not any(key[0] == block for key in self._kept)} - {call.block}:
            del self._audio[block]

    def _sound_of(self, model: CausalS2VTransformer, call: Call) -> Tensor:
        """Return the newest sound whose tokens the call was given."""
        sounds = tuple(self._sounds)
        self._sounds.clear()
        if len(sounds) == 1 or not call.context.audio:
            return sounds[-1]
        layer, given = next(iter(call.context.audio.items()))
        for audio in sounds[::-1]:
            if torch.equal(model.encode_audio(audio)[layer].tokens.k, given.tokens.k):
                break
        self._sounds.clear()                                 # asking has encoded again
        return audio

    def _check_size(self, model: CausalS2VTransformer) -> None:
        """Refuse what would not fit, before any work."""
        call = self._call
        heads = model.config.num_heads if self.heads is None else 1 if self.heads == "mean" else len(self.heads)
        queries = call.tokens if self.queries is None else len(self.queries)
        needed = 4 * heads * queries * call.visible * len(self.layers)
        if "self" in self.parts and needed > self.most_bytes:
            raise InputError(f"attention of {len(self.layers)} layers, {heads} heads and {queries} query tokens to "
                             f"{call.visible} keys is {needed / 2**20:.0f} MiB a step, more than most_bytes "
                             f"({self.most_bytes / 2**20:.0f} MiB); give fewer layers, heads=[0] or heads='mean', or "
                             "some queries=[...]")
        if self.queries is not None and max(self.queries) >= call.tokens:
            raise InputError(f"query token {max(self.queries)} is not there; a block has "
                             f"{call.tokens} tokens, {call.cache.frame_tokens} in each latent frame")

    # ------------------------------------------------------------------ hooks on a layer

    def _watch(self, model: CausalS2VTransformer, index: int) -> None:
        """Put hooks on one layer for the call that has begun."""
        call, layer = self._call, model.blocks[index]
        record = self._keep(call, index)
        attends: dict[str, object] = {}                  # the attention's inputs, until its output is there
        add = self.inner.append

        def begins(_: object, arguments: tuple) -> tuple:
            *others, attend = arguments
            return *others, wrapped(WatchedAttention, attend,
                                    note=lambda q, visible: attends.update(self=(q, visible)))

        if "self" in self.parts:
            add(layer.register_forward_pre_hook(begins))
            add(layer.self_attn.o.register_forward_pre_hook(lambda _, given: record.attention.update(
                self=self._of_self(*attends.pop("self"), given[0]))))
        if "text" in self.parts:
            add(layer.cross_attn.norm_q.register_forward_hook(lambda _, __, q: attends.update(text=q)))
            add(layer.cross_attn.o.register_forward_pre_hook(lambda _, given: record.attention.update(
                text=self._of_text(layer.cross_attn.split(attends.pop("text")), index, given[0]))))
        if "sound" in self.parts and index in call.context.audio:
            injector = model.audio_injector.injector[list(model.config.audio_inject_layers).index(index)]
            add(injector.norm_q.register_forward_hook(lambda _, __, q: attends.update(sound=q)))
            add(injector.o.register_forward_pre_hook(lambda _, given: record.attention.update(
                sound=self._of_sound(injector.split(attends.pop("sound")), index, given[0]))))
        if self.readouts and index + 1 < len(model.blocks):
            add(model.blocks[index + 1].register_forward_pre_hook(
                lambda _, arguments: self._read_out(model, record, arguments[0])))

    def _keep(self, call: Call, layer: int) -> LayerRecord:
        return self._kept.setdefault((call.block, call.step, layer), LayerRecord())

    def _of_self(self, q: Tensor, visible: KeysValues, merged: Tensor) -> AttentionWeights:
        """Record self-attention.

        q (1, heads, N, head_dim) rotated, merged (1, N, D) the kernel's output, before the last projection
        """
        places = self_key_places(self._call.cache, self._call.condition, self._call.frames)
        return self._weights(q[0], visible.k[0], visible.v[0], places, merged)

    def _of_text(self, q: Tensor, layer: int, merged: Tensor) -> AttentionWeights:
        k, v = self._call.context.text[layer]
        return self._weights(q[0], k[0], v[0], placeless("text", k.shape[2]), merged)

    def _of_sound(self, q: Tensor, layer: int, merged: Tensor) -> AttentionWeights:
        """Record attention to the sound. q (F, heads, n, head_dim): each latent frame attends to its own sound."""
        chosen = self._chosen()
        k, v = self._call.context.audio[layer].tokens
        heads = None if self.heads == "mean" else self.heads
        parts = [attention_weights(q[frame], k[frame], heads, self.heads == "mean") for frame in range(len(q))]
        whole = torch.cat(parts, 1)[:, chosen]
        picked = slice(None) if heads is None else list(heads)
        values = v[:, picked].float().cpu().clone() if self.values else None
        return AttentionWeights(whole, self._named(q.shape[1]), self._places(chosen), placeless("sound", k.shape[2]),
                                values, self._output(merged.flatten(0, 1), q.shape[1], chosen))

    def _weights(self, q: Tensor, k: Tensor, v: Tensor, keys: TokenPlaces, merged: Tensor) -> AttentionWeights:
        """Compute the weights. q (heads, N, head_dim), k and v (heads, M, head_dim), merged (1, N, D)"""
        chosen, average = self._chosen(), self.heads == "mean"
        heads = None if average else self.heads
        weights = attention_weights(q[:, chosen.to(q.device)], k, heads, average)
        picked = slice(None) if heads is None else list(heads)
        values = v[picked].float().cpu().clone() if self.values else None        # the ring goes on being written
        return AttentionWeights(weights, self._named(len(q)), self._places(chosen), keys, values,
                                self._output(merged[0], len(q), chosen))

    def _output(self, merged: Tensor, heads: int, chosen: Tensor) -> Tensor | None:
        """Split the output. (N, D) -> (H, Q, head_dim), where values are kept"""
        if not self.values:
            return None
        split = merged[chosen.to(merged.device)].unflatten(1, (heads, -1)).transpose(0, 1).float().cpu()
        return split if self.heads in (None, "mean") else split[list(self.heads)]

    def _chosen(self) -> Tensor:
        """Return the query tokens that are recorded (Q,)."""
        return torch.arange(self._call.tokens) if self.queries is None else torch.tensor(self.queries)

    def _places(self, chosen: Tensor) -> TokenPlaces:
        return block_places(self._call.cache.end, self._call.frames, self._call.condition.grid).select(chosen)

    def _named(self, heads: int) -> tuple[int, ...]:
        return () if self.heads == "mean" else tuple(range(heads)) if self.heads is None else self.heads

    # ------------------------------------------------------------------ read-outs

    def _read_out(self, model: CausalS2VTransformer, record: LayerRecord, tokens: Tensor) -> None:
        """Take the residual stream (1, F, n, D) through the head."""
        call = self._call
        predicted = model.output_head(call.x, tokens, call.level, call.condition)[0]
        record.clean = self._clean(call, model.velocity(call.x, predicted, call.level))

    @staticmethod
    def _clean(call: Call, velocity: Tensor) -> Tensor:
        return (call.x.float() - call.sigma * velocity.float()).to(velocity.dtype).cpu()


def record(pipe: Pipeline, *, step: int | Sequence[int] | None = None, layers: Sequence[int] = (0,),
           blocks: Sequence[int] | None = None, heads: Sequence[int] | Literal["mean"] | None = None,
           queries: Sequence[int] | None = None, parts: Sequence[str] = PARTS, readouts: bool = True,
           values: bool = False, most_bytes: int = MOST_BYTES) -> Recording:
    """Return a recorder of attention and read-outs for the next runs of a pipeline, to be used by `with`.

    step: one sampler step, several, or None for all; blocks: likewise; layers: of the transformer, from 0
    heads: some, None for all, or "mean", which keeps only their average
    queries: tokens of a block (latent frame * tokens of a frame + row * columns + column); None for all
    parts: of "self" (portrait, motion, earlier blocks, the block itself), "text" and "sound"
    readouts: keep each layer's output through the head; values: keep values and the kernel's output too, for checks
    most_bytes: kept in all; the oldest blocks go first. One step must fit in it.

    Weights are computed again from the layer's own queries and keys, in pieces; the run's numbers do not change.
    Raise InputError for layers, heads or parts that are not there, and, when a run begins, for what would not fit and
    for networks that do not let anybody look (compiled, or self-attention in 8 bits).
    """
    if hasattr(pipe, "load_weights"):
        pipe.load_weights()
    config = pipe.backend.transformer.config
    chosen = None if heads is None else heads if heads == "mean" else numbers("heads", heads, config.num_heads)
    for part in parts:
        if part not in PARTS:
            raise InputError(f"there is no attention {part!r}; known: {', '.join(PARTS)}")
    if queries is not None and (not len(queries) or min(queries) < 0):
        raise InputError(f"queries are {list(queries)}; give numbers of tokens from 0, or None for all")
    return Recording(pipe, chosen_steps(step), numbers("layers", layers, config.num_layers),
                     None if blocks is None else numbers("blocks", blocks), chosen,
                     None if queries is None else tuple(queries), tuple(parts), readouts, values, most_bytes)
