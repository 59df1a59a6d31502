"""What the parts of a model hold at one size of picture: read from its configuration, or found on the meta device.

    shapes("wan-s2v-14b", (384, 704)).ring        # bytes of one sampler step's cache

The 14B network is the transformer class at its own defaults. The text and speech encoders are public models; how many
numbers they have follows from their configurations, without the library that runs them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from liveavatar.backends.wan.nf4 import SCALE, group_of
from liveavatar.backends.wan.precision import FP8_PARTS
from liveavatar.backends.wan.preset import UMT5_XXL, WAV2VEC2_LARGE
from liveavatar.transformer import AUDIO_HISTORY, MOTION_FRAMES, CausalS2VTransformer, Context
from liveavatar.types import InputError
from liveavatar.vram.meta import StageCost, bytes_of, measure, meta_tensor

MODELS = ("wan-s2v-14b", "mini")
FRAMES_PER_LATENT, SPATIAL_STRIDE = 4, 8
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
ROUNDED = {"fp8": "8 bits", "nf4": "4 bits"}   # how weights of the layers may be rounded
SCALE_BYTES = 4                                # per row of an fp8 matrix


@dataclass(frozen=True)
class UMT5:
    """The text encoder, encoder half."""

    vocabulary: int = UMT5_XXL["vocab_size"]
    width: int = UMT5_XXL["d_model"]
    hidden: int = UMT5_XXL["d_ff"]
    heads: int = UMT5_XXL["num_heads"]
    head_dim: int = UMT5_XXL["d_kv"]
    layers: int = UMT5_XXL["num_layers"]
    buckets: int = UMT5_XXL["relative_attention_num_buckets"]
    length: int = 512          # tokens of a prompt, at most

    @property
    def parameters(self) -> int:
        attention = 4 * self.width * self.heads * self.head_dim + self.buckets * self.heads
        layer = attention + 3 * self.width * self.hidden + 2 * self.width
        return self.vocabulary * self.width + self.layers * layer + self.width

    @property
    def activations(self) -> int:
        """Return scores of all heads in float32 and bfloat16, and the gated hidden layer."""
        return self.heads * self.length**2 * (4 + 4 + 2) + 3 * self.length * self.hidden * 2

    @property
    def flops(self) -> float:
        return 2.0 * self.length * (self.parameters - self.vocabulary * self.width)


@dataclass(frozen=True)
class Wav2Vec2:
    """The speech encoder, with its letters. What the preset does not say are defaults of its kind."""

    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    channels: int = 512
    width: int = WAV2VEC2_LARGE["hidden_size"]
    hidden: int = WAV2VEC2_LARGE["intermediate_size"]
    layers: int = WAV2VEC2_LARGE["num_hidden_layers"]
    position_kernel: int = 128
    position_groups: int = 16
    letters: int = WAV2VEC2_LARGE["vocab_size"]
    rate_hz: int = 16_000
    piece_s: float = 60.0      # of sound that is heard at once, at most

    @property
    def parameters(self) -> int:
        inputs = (1, *[self.channels] * (len(self.kernels) - 1))
        ears = sum(self.channels * (before * kernel + 3) for before, kernel in zip(inputs, self.kernels, strict=True))
        bridge = 2 * self.channels + self.channels * self.width + self.width
        position = self.width * self.width // self.position_groups * self.position_kernel + self.width
        attention = 4 * (self.width**2 + self.width)
        layer = attention + 2 * self.width * self.hidden + self.hidden + self.width + 4 * self.width
        rest = self.position_kernel + 2 * self.width + self.width + (self.width + 1) * self.letters
        return ears + bridge + position + self.layers * layer + rest

    @property
    def activations(self) -> int:
        """Return three copies of what the first convolution makes of a piece, and all hidden layers of it."""
        first = self.piece_s * self.rate_hz / self.strides[0] * self.channels
        frames = self.piece_s * self.rate_hz / math.prod(self.strides)
        return int(2 * (3 * first + (self.layers + 1) * frames * self.width))


@dataclass(frozen=True)
class Weights:
    """Bytes of a transformer at one precision."""

    total: int
    layer: int                  # one of the repeated layers
    root: int                   # all that is outside of them
    largest: int                # the largest single matrix, in float32: for the LoRA merge
    widened: int = 0            # the largest matrix that is made wide again before its product
    unpacked: int = 0           # of all matrices, what widening them reads and writes in a step


@dataclass(frozen=True)
class Shapes:
    """Bytes and costs at one size and precision."""

    model: str
    size: tuple[int, int]       # (height, width)
    dtype: torch.dtype          # of what flows
    layers: int
    block_latents: int
    weights: Weights
    lora: int                   # the adapter in float32, before it is merged
    text_encoder: int
    text_activations: int
    audio_encoder: int
    audio_activations: int
    vae: int
    vae_state: int
    frame_tokens: int
    ring: int                   # one step's cache; of mini with the condition in front
    ring_alone: int             # without it
    staging: int                   # two layers' condition and ring side by side, where the rings are apart from it
    condition: int              # condition cache
    text: int                   # keys and values of the words
    prefill: StageCost
    step: StageCost
    decode: StageCost
    encode: StageCost           # of four video frames
    latents: int                # of a block, as they wait to be decoded
    pictures: int               # of a block, uint8 in main memory
    ring_frames: int            # latent frames in a ring

    @property
    def block_s(self) -> float:
        return self.block_latents * FRAMES_PER_LATENT / 25.0


# ------------------------------------------------------------------------------------------------ transformers

@cache
def meta_transformer(model: str, dtype: torch.dtype) -> CausalS2VTransformer:
    """Return the transformer without its numbers."""
    with torch.device("meta"):
        if model == "mini":
            from liveavatar.backends.mini import WEIGHTS, base_options
            from liveavatar.weights import read_manifest

            network = CausalS2VTransformer.from_config(base_options(read_manifest(WEIGHTS)))
        else:
            network = CausalS2VTransformer()
    return nn.Module.to(network, dtype).requires_grad_(False).eval()


@cache
def weights_of(model: str, precision: str) -> Weights:
    """Return bytes of the transformer: in fp8 and nf4 the matrices of layers and audio injection are rounded."""
    network = meta_transformer(model, torch.float32 if precision == "float32" else torch.bfloat16)
    spared = in_layers = widened = unpacked = 0
    if precision in ROUNDED:
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear) and name.startswith(FP8_PARTS):
                packed = rounded_bytes(module, precision)
                saved = module.weight.nbytes - packed
                spared += saved
                in_layers += saved if name.startswith("blocks.") else 0
                if precision == "nf4":
                    widened, unpacked = max(widened, module.weight.nbytes), unpacked + packed + module.weight.nbytes
    total, layers = bytes_of(network), bytes_of(network.blocks)
    largest = max(parameter.numel() for parameter in network.blocks.parameters()) * 4
    return Weights(total - spared, (layers - in_layers) // len(network.blocks),
                   total - spared - (layers - in_layers), largest, widened, unpacked)


def rounded_bytes(linear: nn.Linear, precision: str) -> int:
    """Return bytes of a rounded matrix and its scales: one scale a row in fp8, one a group of a row in nf4."""
    if precision == "fp8":
        return linear.weight.numel() + SCALE_BYTES * linear.out_features
    return linear.weight.numel() // 2 + linear.weight.numel() // group_of(linear.in_features) * SCALE.itemsize


def lora_bytes(model: str) -> int:
    """Return an adapter of the released rank, in float32."""
    from liveavatar.lora import targets

    rank = 128 if model != "mini" else 32
    network = meta_transformer(model, torch.float32 if model == "mini" else torch.bfloat16)
    return sum(4 * rank * (one.in_features + one.out_features) for one in targets(network).values())


# ------------------------------------------------------------------------------------------------ one size

@cache
def shapes(model: str, size: tuple[int, int], weights: str = "bf16", caches: str = "bf16",
           by_frame: bool = False, ring_frames: int | None = None) -> Shapes:
    """Run every stage at this size without numbers. size (height, width); takes a second or two, once.

    by_frame: the VAE of wan-s2v-14b decodes one picture after another; ring_frames: latent frames, None: as trained
    """
    if model not in MODELS:
        raise InputError(f"nothing is known of backend {model!r}; plans are made for {' and '.join(MODELS)}")
    dtype = torch.float32 if weights == "float32" else torch.bfloat16
    ways = passes(model, size, dtype, ring_frames)
    wide, alone = ring_bytes(model, size, dtype, ring_frames)
    apart = model != "mini"                                # the 14B backend keeps the condition once for all steps
    ring_alone = alone * DTYPES["fp8"].itemsize // dtype.itemsize if caches == "fp8" else alone
    vae = vae_costs(model, size, dtype, by_frame)
    text, speech = (UMT5(), Wav2Vec2()) if model != "mini" else (None, None)
    config = meta_transformer(model, dtype).config
    frames = config.block_frames
    pixels = size[0] * size[1]
    return Shapes(
        model, size, dtype, config.num_layers, frames, weights_of(model, weights), lora_bytes(model),
        text.parameters * 2 if text else 0, text.activations if text else 0,
        speech.parameters * 2 if speech else 0, speech.activations if speech else 0,
        vae["weights"], vae["state"], pixels // (2 * SPATIAL_STRIDE) ** 2,
        ring_alone if apart else wide, ring_alone, 2 * wide // config.num_layers if apart else 0,
        ways["condition"], ways["text"], ways["prefill"], ways["step"], vae["decode"], vae["encode"],
        config.out_dim * frames * pixels // SPATIAL_STRIDE**2 * dtype.itemsize,
        frames * FRAMES_PER_LATENT * 3 * pixels, ring_frames or config.cache_frames)


@cache
def passes(model: str, size: tuple[int, int], dtype: torch.dtype, ring_frames: int | None = None) -> dict:
    """Measure prompt, prefill and one step: what each takes and leaves, by running the transformer's own functions."""
    network = meta_transformer(model, dtype)
    config = network.config
    h, w = (side // SPATIAL_STRIDE for side in size)
    frames, channels = config.block_frames, config.in_dim
    words, _ = measure(lambda: network.encode_text(meta_tensor(1, config.text_len, config.text_dim)), network)
    text = [tensor for pair in words for tensor in pair]
    motion = meta_tensor(1, channels, sum(MOTION_FRAMES), h, w) if config.enable_framepack else None
    reference = meta_tensor(1, channels, 1, h, w)
    condition, prefill = measure(lambda: network.prefill(reference, motion, words), network, *text)
    level, _ = measure(lambda: network.modulate(meta_tensor(1, 1)), network)
    sound = meta_tensor(1, config.audio_layers, config.audio_dim, AUDIO_HISTORY + FRAMES_PER_LATENT * frames)
    heard, _ = measure(lambda: network.encode_audio(sound), network)
    ring = network.new_cache(condition, ring_frames)
    ring = ring.advance(ring.capacity)                     # from there on a block sees the whole ring
    known = [network, *text, condition.k, condition.v, ring.k, ring.v, *level.layers, level.head]
    block, context = meta_tensor(1, channels, frames, h, w, dtype=dtype), Context(words, heard)

    _, step = measure(lambda: network(block, level, context, condition, ring), *known)
    return {"text": sum(tensor.nbytes for tensor in text), "condition": condition.bytes, "prefill": prefill,
            "step": step}


@cache
def ring_bytes(model: str, size: tuple[int, int], dtype: torch.dtype,
               ring_frames: int | None = None) -> tuple[int, int]:
    """Return one step's cache as our RingCache lays it out, and the ring alone."""
    from liveavatar.cache import RingCache

    config = meta_transformer(model, torch.float32 if model == "mini" else torch.bfloat16).config
    tokens = size[0] * size[1] // (2 * SPATIAL_STRIDE) ** 2
    rows, columns = (side // (2 * SPATIAL_STRIDE) for side in size)
    condition = tokens
    if config.enable_framepack:                            # the newest, the two before, the sixteen oldest
        condition += rows * columns + (rows // 2) * (columns // 2) + 4 * (rows // 4) * (columns // 4)
    heads = config.num_heads
    found = [RingCache.empty(config.num_layers, 1, heads, config.dim // heads, condition_tokens=count,
                             frame_tokens=tokens, capacity=ring_frames or config.cache_frames, dtype=dtype,
                             device="meta").bytes
             for count in (condition, 0)]
    return found[0], found[1]


# ------------------------------------------------------------------------------------------------ VAEs

@cache
def meta_vae(model: str, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        if model == "mini":
            from liveavatar.backends.mini import WEIGHTS, vae_config
            from liveavatar.backends.mini.vae import VideoVAE
            from liveavatar.weights import read_manifest

            network = VideoVAE(vae_config(read_manifest(WEIGHTS)))
        else:
            from diffusers import AutoencoderKLWan

            network = AutoencoderKLWan()
    return nn.Module.to(network, dtype).requires_grad_(False).eval()


@cache
def vae_costs(model: str, size: tuple[int, int], dtype: torch.dtype, by_frame: bool = False) -> dict:
    """Return weights, what is kept between blocks, one block's decoding, four frames' encoding."""
    vae = meta_vae(model, dtype)
    h, w = (side // SPATIAL_STRIDE for side in size)
    frames = meta_transformer(model, dtype).config.block_frames
    if model == "mini":
        block = meta_tensor(1, vae.config.latent_channels, frames, h, w, dtype=dtype)
        (_, memory), _ = measure(lambda: vae.decode_stream(block, None), vae)
        _, decode = measure(lambda: vae.decode_stream(block, memory), vae, *memory)
        _, encode = measure(lambda: vae.encode(meta_tensor(1, 3, FRAMES_PER_LATENT, *size, dtype=dtype)), vae)
        return {"weights": bytes_of(vae), "state": sum(one.nbytes for one in memory), "decode": decode,
                "encode": encode}
    from liveavatar.backends.wan.vae import StreamingWanVAE

    streaming, state = StreamingWanVAE(vae), []
    streaming.by_frame = by_frame
    latent = meta_tensor(1, vae.config.z_dim, 1, h, w, dtype=dtype)
    for _ in range(3):                                     # after the second latent the state is whole
        pictures, one = measure(lambda: streaming.decode_latent(latent, state), vae, used_up=state)
    pieces = (frames + 1) * pictures.nbytes                # of a block, and joined
    decode = StageCost(one.transient + pieces, frames * pictures.nbytes,
                  {kind: frames * value for kind, value in one.flops.items()}, frames * one.moved, one.where)
    seen = [None] * vae._cached_conv_counts["encoder"]
    for count in (1, FRAMES_PER_LATENT, FRAMES_PER_LATENT):
        picture = meta_tensor(1, 3, count, *size, dtype=dtype)
        _, encode = measure(lambda picture=picture: vae.encoder(picture, feat_cache=seen, feat_idx=[0]), vae,
                            *tensors_in(seen))
    held = sum(tensor.nbytes for tensor in tensors_in(seen))
    encode = StageCost(encode.transient + held, encode.kept, encode.flops, encode.moved, encode.where)
    return {"weights": bytes_of(vae), "state": sum(tensor.nbytes for tensor in tensors_in(state)), "decode": decode,
            "encode": encode}


def tensors_in(state: list) -> list[Tensor]:
    """Return the tensors of a streaming VAE's memory, which also holds marks."""
    return [one for one in state if isinstance(one, Tensor)]
