"""Attention weights, computed a second time beside the fused kernel, and where the tokens stand that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from liveavatar.cache import ConditionCache, RingCache
from liveavatar.types import InputError

PIECE_BYTES = 64 * 2**20         # of weights that are computed at once
KINDS = ("portrait", "motion", "past", "block", "text", "sound")


@dataclass(frozen=True)
class TokenPlaces:
    """Tell where tokens stand: what kind each is, its latent frame since the beginning, row and column; -1: none."""

    kind: Tensor         # (M,) index into KINDS
    frame: Tensor        # (M,)
    row: Tensor          # (M,)
    column: Tensor       # (M,)

    def __len__(self) -> int:
        return len(self.kind)

    def are(self, kind: str, frame: int | None = None) -> Tensor:
        """Return which tokens are of a kind, and of a latent frame where one is given: (M,) bool.

        Raise InputError for an unknown kind.
        """
        if kind not in KINDS:
            raise InputError(f"there are no tokens of kind {kind!r}; known: {', '.join(KINDS)}")
        there = self.kind == KINDS.index(kind)
        return there if frame is None else there & (self.frame == frame)

    def at(self, frame: int, row: int, column: int) -> int:
        """Return the number of the token of a block that stands there. Raise InputError where none does."""
        found = ((self.frame == frame) & (self.row == row) & (self.column == column)).nonzero()
        if not len(found):
            raise InputError(f"no token was recorded at latent frame {frame}, row {row}, column {column}; recorded are "
                             f"frames {int(self.frame.min())} to {int(self.frame.max())} and up to row "
                             f"{int(self.row.max())}, column {int(self.column.max())}, unless `queries` left some out")
        return int(found[0])

    def select(self, tokens: Tensor) -> TokenPlaces:
        """Return the places of some tokens (Q,)."""
        return TokenPlaces(*(one[tokens] for one in (self.kind, self.frame, self.row, self.column)))


@dataclass(frozen=True)
class AttentionWeights:
    """One attention of one layer: how much each query looks at each key. Rows add up to one."""

    weights: Tensor              # (H, Q, M) float32 on the CPU
    heads: tuple[int, ...]       # the H heads; () for the mean over all, H is 1 then
    queries: TokenPlaces         # Q tokens of the block
    keys: TokenPlaces            # M tokens; of sound those of the query's own latent frame
    values: Tensor | None = None     # (H, M, head_dim), of sound (F, H, M, head_dim), where they were asked for
    output: Tensor | None = None     # (H, Q, head_dim), computed by the network's own kernel

    @property
    def bytes(self) -> int:
        """Count what it holds."""
        return sum(one.nbytes for one in (self.weights, self.values, self.output) if one is not None)

    def shares(self) -> dict[str, Tensor]:
        """Return how much of its attention each query gives to each kind of token: {kind: (H, Q)}."""
        kinds = [kind for kind in KINDS if bool(self.keys.are(kind).any())]
        return {kind: self.weights[:, :, self.keys.are(kind)].sum(2) for kind in kinds}

    def heat(self, query: int, kind: str, frame: int | None = None, head: int | None = None) -> Tensor:
        """Return where a query looks, as a picture (rows, columns) of weights, summed over latent frames.

        query: number among the recorded ones; head: one of `heads`, None averages them. Raise InputError for others.
        """
        rows = self.of(query, head)
        there = self.keys.are(kind, frame)
        if not bool((there & (self.keys.row >= 0)).any()):
            raise InputError(f"tokens of kind {kind!r}{'' if frame is None else f' and frame {frame}'} have no place "
                             "in the picture; choose 'portrait', 'past' or 'block', of a frame in view")
        row, column = self.keys.row[there], self.keys.column[there]
        picture = torch.zeros(int(row.max()) + 1, int(column.max()) + 1)
        return picture.index_put_((row, column), rows[there], accumulate=True)

    def of(self, query: int, head: int | None = None) -> Tensor:
        """Return one query's weights (M,); head: one of `heads`, None averages them."""
        if head is None or not self.heads:
            return self.weights[:, query].mean(0)
        if head not in self.heads:
            raise InputError(f"head {head} was not recorded; recorded: {', '.join(map(str, self.heads))}")
        return self.weights[self.heads.index(head), query]


def attention_weights(q: Tensor, k: Tensor, heads: Sequence[int] | None = None, average: bool = False,
                      piece_bytes: int = PIECE_BYTES) -> Tensor:
    """Compute softmax(q k^T / sqrt(head_dim)) in float32, a head and a piece of the queries at a time.

    q (heads, Q, head_dim), k (heads, M, head_dim), both as the fused kernel takes them  ->  (H, Q, M) on the CPU, or
    (1, Q, M), the mean over the heads. Beside the result it needs at most about `piece_bytes`, and one head's keys in
    float32.
    """
    chosen = range(len(q)) if heads is None else heads
    rows = max(1, piece_bytes // (4 * k.shape[1]))
    result = torch.zeros(1 if average else len(chosen), q.shape[1], k.shape[1])
    for place, head in enumerate(chosen):
        keys = k[head].float().T * q.shape[-1] ** -0.5
        for first in range(0, q.shape[1], rows):
            weights = (q[head, first:first + rows].float() @ keys).softmax(-1).cpu()
            if average:
                result[0, first:first + rows] += weights / len(chosen)
            else:
                result[place, first:first + rows] = weights
    return result


# ------------------------------------------------------------------------------------------- places

def block_places(first: int, frames: int, grid: tuple[int, int], kind: str = "block") -> TokenPlaces:
    """Return the places of the tokens of latent frames first..first + frames - 1."""
    frame, row, column = torch.meshgrid(torch.arange(first, first + frames), *(torch.arange(n) for n in grid),
                                        indexing="ij")
    return TokenPlaces(torch.full((frame.numel(),), KINDS.index(kind)), frame.flatten(), row.flatten(),
                       column.flatten())


def placeless(kind: str, count: int) -> TokenPlaces:
    """Return tokens that stand nowhere in the picture; their row is -1, their column their number."""
    nowhere = torch.full((count,), -1)
    return TokenPlaces(torch.full((count,), KINDS.index(kind)), nowhere, nowhere, torch.arange(count))


def self_key_places(cache: RingCache, condition: ConditionCache, frames: int) -> TokenPlaces:
    """Return the places of the keys that a block of so many latent frames sees at the ring's end: the portrait, the
    motion (both unless they are forgotten), then the slots of the ring, which hold the newest latent frames in turn."""
    grid, end = condition.grid, cache.end + frames
    parts = [block_places(-1, 1, grid, "portrait"), placeless("motion", condition.tokens - condition.reference_tokens)]
    if cache.first_visible:
        parts = []
    visible = cache.bounds(frames * cache.frame_tokens)[2] - cache.condition_tokens
    for slot in range(visible // cache.frame_tokens):
        frame = end - 1 - (end - 1 - slot) % cache.capacity
        parts.append(block_places(frame, 1, grid, "block" if frame >= cache.end else "past"))
    return joined(parts)


def joined(parts: Sequence[TokenPlaces]) -> TokenPlaces:
    """Return tokens one after the other."""
    return TokenPlaces(*(torch.cat([getattr(part, name) for part in parts])
                         for name in ("kind", "frame", "row", "column")))
