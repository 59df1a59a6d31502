"""What follows for the released 14B network from its shape alone: no weights, nothing allocated.

The class is the one mini runs; its defaults are the released sizes. Bytes are those of bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from liveavatar.config import parse_size
from liveavatar.study.measures import reported

GIB = 2**30
STRIDE = 16                  # pixels across one token: the VAE's 8, and patches of 2
LATENT_FRAMES = 4            # video frames in a latent frame


@dataclass(frozen=True)
class Shape:
    """Hold what the released network weighs."""

    parameters: int
    layer_parameters: int        # of the repeated layers that every token meets: all but the text's keys and values
    layers: int
    heads: int
    head_dim: int
    ring_frames: int             # latent frames in a cache


@cache
def released_shape() -> Shape:
    import torch

    from liveavatar.transformer import CausalS2VTransformer

    with torch.device("meta"):
        model = CausalS2VTransformer()
    config = model.config
    layers = sum(tensor.numel() for tensor in model.blocks.parameters())
    of_text = 2 * config.num_layers * (config.dim + 1) * config.dim
    return Shape(sum(tensor.numel() for tensor in model.parameters()), layers - of_text, config.num_layers,
                 config.num_heads, config.dim // config.num_heads, config.cache_frames)


def frame_tokens(size: str) -> int:
    """Return tokens of a latent frame at "W*H"."""
    height, width = parse_size(size)
    return (height // STRIDE) * (width // STRIDE)


def weights_gib() -> float:
    """Return the transformer alone; the text encoder can rest in main memory."""
    return 2 * released_shape().parameters / GIB


def cache_gib(size: str) -> float:
    """Return keys and values of one noise level, that is of one sampler step."""
    import torch

    from liveavatar.cache import RingCache

    shape = released_shape()
    ring = RingCache.empty(shape.layers, 1, shape.heads, shape.head_dim, condition_tokens=0,
                           frame_tokens=frame_tokens(size), capacity=shape.ring_frames, dtype=torch.bfloat16,
                           device="meta")
    return ring.bytes / GIB


def condition_gib() -> float:
    """Return keys and values of the portrait and the motion before the video, kept once: space for 2800 tokens."""
    shape = released_shape()
    tokens = reported()["released"]["condition_tokens"]
    return 2 * 2 * tokens * shape.layers * shape.heads * shape.head_dim / GIB


def needed_gib(size: str, steps: int) -> float:
    """Return weights, condition, and the caches of all steps: what cannot be less on one card."""
    return weights_gib() + condition_gib() + steps * cache_gib(size)


def clip_petaflop(size: str, frames: int, steps: int, block_latents: int = 3) -> float:
    """Return what the first clip of a video cannot do without, in 10^15 operations: every token meets the weights of
    every layer, and attends to what the ring holds by then. Portrait, sound, text and decoding come on top."""
    shape, tokens = released_shape(), frame_tokens(size)
    latents = frames // LATENT_FRAMES
    weights = 2 * shape.layer_parameters * latents * tokens
    seen = sum(block_latents * min(end, shape.ring_frames) for end in range(block_latents, latents + 1, block_latents))
    attention = 4 * shape.layers * shape.heads * shape.head_dim * seen * tokens**2
    return steps * (weights + attention) / 1e15


def waiting_gib(size: str, frames: int) -> float:
    """Return latents of 16 channels that wait until the end when nothing is decoded on the way, and the pictures that
    then come out at once, as float32."""
    height, width = parse_size(size)
    latents = frames // LATENT_FRAMES * 16 * (height // 8) * (width // 8) * 2
    return (latents + frames * 3 * height * width * 4) / GIB
