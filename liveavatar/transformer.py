"""The causal speech-to-video transformer of Live Avatar (Wan2.2-S2V), one class for every size.

`wan-s2v-14b` and `mini` are two configurations of it. State-dict names and arithmetic follow the released network
tensor by tensor (`benchmarks/parity.py` proves it), including its spelling of `casual_audio_encoder`.

    noise ---> patches --+--> [ self-attention: cache, cross-attention: text, mlp (, audio) ] x layers --> velocity
    pose ----> patches --+                        ^
    portrait, motion ---> the same layers once, at t = 0: the condition cache

The same layers run in three ways, which differ only in what self-attention may see:

    prefill       condition tokens see each other; their keys and values are kept
    forward       one block sees itself, the ring of earlier blocks at this noise level, and the condition
    forward_clip  all blocks of a clip at once, each seeing what `forward` would have shown it (for training)

Tokens are kept as (B, F, n, D): n = (h/patch)(w/patch) tokens in each of F latent frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F_
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from liveavatar.cache import CacheSlices, ConditionCache, KeysValues, RingCache, copy_vectorized
from liveavatar.warping import warp

SMALLEST_SIGMA = 0.02          # below it a predicted picture is not turned into a velocity exactly
MOTION_FRAMES = (1, 2, 16)     # newest latents at full, half and quarter resolution (FramePack)
NORM_EPS = 1e-6                # of the layer norms that a noise level modulates
AUDIO_HISTORY = 9              # video frames the audio encoder looks back before the first one it answers for
REFERENCE_POSITION = 30        # frame position of the portrait while the condition cache is made
KERNELS: Sequence[SDPBackend] = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION,    # on a GPU, when nothing is
                                 SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)           # learnt: the first that can


class RopeTable(NamedTuple):
    """Rotary position embedding (RoPE) of a run of tokens (Su et al. 2021, arXiv:2104.09864)."""

    cos: Tensor   # (..., M, head_dim / 2)
    sin: Tensor


class RopeTables(NamedTuple):
    """RoPE of one block, which stands at its place in time."""

    block: RopeTable       # (M, head_dim / 2) each
    condition: RopeTable   # of the condition, as the block sees it


class Modulation(NamedTuple):
    """The effect of a noise level on each layer: shift, scale, gate for attention, then for the mlp."""

    layers: tuple[Tensor, ...]   # per layer (B, F, 6, D) float32; F is 1 when all frames share the level
    head: Tensor                 # (B, F, 2, D)
    sigma: Tensor                # (B, F) the noise level itself, 0..1


class AudioLayerContext(NamedTuple):
    """Inputs of one audio injection, computed once per block."""

    tokens: KeysValues           # (B * F, heads, 5, head_dim)
    shift: Tensor                # (B * F, 1, D)
    scale: Tensor


@dataclass(frozen=True)
class Context:
    """The condition of one block: text and audio; the same at every sampler step."""

    text: tuple[KeysValues, ...]      # per layer
    audio: dict[int, AudioLayerContext]      # by layer


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute softmax attention without a mask: hidden tokens are not passed. (B, heads, N | M, head_dim)

    diffusers' dispatch offers the same kernels behind (B, N, heads, head_dim); it would make whole copies of keys and
    values to turn them round, and it has no second choice where the first cannot serve. So torch is asked directly.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:     # with and without gradients: one rounding for both
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))     # 2x the fused kernel's speed there
        return torch.matmul(scores.softmax(-1), v)
    if q.is_cuda and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        with sdpa_kernel(list(KERNELS), set_priority=True):
            return F_.scaled_dot_product_attention(q, k, v)
    return F_.scaled_dot_product_attention(q, k, v)


def apply_rope(x: Tensor, table: RopeTable) -> Tensor:
    """Rotate each pair of neighbouring channels by its position's angle. x (..., M, head_dim)"""
    pairs = x.float().unflatten(-1, (-1, 2))
    cos, sin = table
    rotated = pairs * cos.unsqueeze(-1) + pairs.flip(-1) * torch.stack((-sin, sin), -1)
    return rotated.flatten(-2).to(x.dtype)


def write_rotated(into: Tensor, x: Tensor, table: RopeTable) -> None:
    """Write rotated keys where they are attended to: compiled, they are written once and nowhere else."""
    into.copy_(apply_rope(x, table))


def write_block(q: Tensor, k: Tensor, v: Tensor, table: RopeTable, block: KeysValues) -> Tensor:
    """Put a block's keys, rope, and its values where they are attended to; the queries, rotated."""
    write_rotated(block.k, k, table)
    copy_vectorized(block.v, v)
    return apply_rope(q, table)


def layer_norm(x: Tensor, eps: float = NORM_EPS) -> Tensor:
    return F_.layer_norm(x.float(), x.shape[-1:], eps=eps)


def modulated(linear: nn.Module, x: Tensor, shift: Tensor, scale: Tensor,
              parts: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return layer norm, scaled and shifted as the noise level wants, in the form that the linear layer behind takes.

    parts: what x is the sum of, for a layer that would rather add it up itself
    """
    if hasattr(linear, "modulated"):
        return linear.modulated(x, shift, scale, parts)
    return torch.addcmul(shift, layer_norm(x), 1 + scale).to(linear.weight.dtype)


def in_float32(linear: nn.Module, x: Tensor) -> Tensor:
    """Return a linear layer whose weights may be stored in less than float32, computed in float32."""
    return F_.linear(x.float(), linear.weight.float(), linear.bias.float())


def linear_in_eights(linear: nn.Module, x: Tensor) -> Tensor:
    """Return a linear layer over few rows x (B, M, D), the same for any number of threads.

    MKL adds up 5 to 7 rows in an order that depends on how many threads it has, eight rows always in the same one.
    """
    if x.device.type != "cpu":
        return linear(x)
    return linear(F_.pad(x, (0, 0, 0, -x.shape[1] % 8)))[:, :x.shape[1]]


class RMSNorm(nn.Module):
    """Divide by the root of the mean square of the last axis, in float32 (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F_.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype) * self.weight.to(x.dtype)


class Attention(nn.Module):
    """Projections of one attention; queries and keys are normed over all heads together (RMS)."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in "qkvo")
        self.norm_q, self.norm_k = RMSNorm(dim, eps), RMSNorm(dim, eps)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)            # (B, heads, N, head_dim)

    def merge(self, x: Tensor) -> Tensor:
        return self.o(x.transpose(-3, -2).flatten(-2))                        # (B, N, D)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.norm_q(self.q(x)))

    def keys_values(self, x: Tensor) -> KeysValues:
        return KeysValues(self.split(self.norm_k(self.k(x))), self.split(self.v(x)))


# q, k, v of the tokens, not rotated -> (B, heads, N, head_dim)
AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CachedAttention:
    """Self-attention of one layer: a block sees itself, the ring of earlier blocks, and the condition."""

    model: CausalS2VTransformer
    layer: int
    cache: RingCache
    condition: ConditionCache
    table: RopeTable             # of the block
    condition_table: RopeTable             # of the condition, as this block sees it

    write_block = staticmethod(write_block)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        slices = self.open(k.shape[2])
        return self.attend(self.write_block(q, k, v, self.table, slices.block), slices)

    def open(self, tokens: int) -> CacheSlices:
        """Return where a block of so many tokens is to be written; the condition is written here."""
        slices = self.cache.open(self.layer, tokens)
        self.model.write_condition(slices.condition.k, self.condition.k[self.layer], self.condition_table)
        copy_vectorized(slices.condition.v, self.condition.v[self.layer])
        return slices

    def attend(self, q: Tensor, slices: CacheSlices) -> Tensor:
        """Attend to all visible tokens, the block included. q (B, heads, N, head_dim), rotated"""
        self.cache.close(self.layer, slices)
        return attention(q, *slices.visible)


def clip_attention(table: RopeTable, condition_k: Tensor, condition_v: Tensor, block: int,
                   window: int) -> AttentionFunction:
    """Return self-attention of a clip: its blocks see themselves, earlier blocks within the ring, and the condition.

    condition_k (K, B, heads, M, head_dim), rotated for each of K blocks; block and window in tokens
    """
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = apply_rope(q, table), apply_rope(k, table)
        attended = []
        for rotated, end in zip(condition_k, range(block, q.shape[2] + 1, block), strict=True):
            past = slice(max(0, end - window), end)
            attended.append(attention(q[:, :, end - block:end],
                                  torch.cat([rotated.to(k.dtype), k[:, :, past]], 2),
                                  torch.cat([condition_v.to(v.dtype), v[:, :, past]], 2)))
        return torch.cat(attended, 2)

    return attend


class KeysValuesCollector:
    """Collects keys and values of all layers as (layers, B, heads, M, head_dim).

    Without gradients each layer's are written to their place at once, so they are never held twice.
    """

    def __init__(self, layers: int) -> None:
        self._layers, self._count = layers, 0
        self._parts: list[KeysValues] = []
        self._whole: KeysValues | None = None

    def append(self, k: Tensor, v: Tensor) -> None:
        """Keep one layer's keys and values (B, heads, M, head_dim)."""
        if torch.is_grad_enabled():
            self._parts.append(KeysValues(k, v))
            return
        if self._whole is None:
            self._whole = KeysValues(*(side.new_empty(self._layers, *side.shape) for side in (k, v)))
        for whole, side in zip(self._whole, (k, v), strict=True):
            whole[self._count] = side
        self._count += 1

    def stacked(self) -> KeysValues:
        """Return what all layers have appended."""
        return self._whole or KeysValues(*(torch.stack(side) for side in zip(*self._parts, strict=True)))


class Layer(nn.Module):
    """Self-attention, text cross-attention and mlp, each added to the stream; the first and last modulated."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, eps: float, released_rounding: bool) -> None:
        super().__init__()
        self.released_rounding = released_rounding
        self.self_attn = Attention(dim, heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps)
        self.cross_attn = Attention(dim, heads, eps)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU("tanh"), nn.Linear(ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim ** 0.5)

    def forward(self, x: Tensor, modulation: Tensor, text: KeysValues, self_attention: AttentionFunction) -> Tensor:
        """Map x (B, F, n, D), modulation (B, F or 1, 6, D) float32  ->  (B, F, n, D) float32

        Three pieces with an attention after the first and the second; a GPU's backend compiles each piece.
        """
        q, k, v = self.qkv(x, modulation)
        x, q = self.self_attention_residual(x, self_attention(q, k, v), modulation)
        return self.cross_attention_ffn(x, attention(q, *text), modulation)

    def qkv(self, x: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values of self-attention, each (B, heads, F * n, head_dim), not rotated."""
        shift, scale = modulation[:, :, 0:2].unsqueeze(3).unbind(2)                           # each (B, F or 1, 1, D)
        h = modulated(self.self_attn.q, x, shift, scale).flatten(1, 2)     # in 8 bits it is rounded once for all three
        k, v = self.self_attn.keys_values(h)
        return self.self_attn.queries(h), k, v

    def self_attention_residual(self, x: Tensor, attended: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """Add self-attention's output (B, heads, F * n, head_dim) -> x in float32, and queries for the text."""
        gate = modulation[:, :, 2].unsqueeze(2)
        x = torch.addcmul(x.float(), self.self_attn.merge(attended).unflatten(1, x.shape[1:3]).float(), gate)
        h = x.bfloat16() if self.released_rounding else x
        h = F_.layer_norm(h.float(), h.shape[-1:], self.norm3.weight.float(), self.norm3.bias.float(), self.norm3.eps)
        h = h.bfloat16() if self.released_rounding else h
        return x, self.cross_attn.queries(h.to(self.ffn[0].weight.dtype).flatten(1, 2))

    def cross_attention_ffn(self, x: Tensor, attended: Tensor, modulation: Tensor) -> Tensor:
        """Add cross-attention's output (B, heads, F * n, head_dim), then that of the mlp."""
        shift, scale, gate = modulation[:, :, 3:6].unsqueeze(3).unbind(2)
        parts = x, self.cross_attn.merge(attended).unflatten(1, x.shape[1:3])
        x = parts[0] + parts[1]
        h = modulated(self.ffn[0], x, shift, scale, parts)
        return torch.addcmul(x, self.ffn(h).float(), gate)


class CausalConv1d(nn.Module):
    """Convolution over time that sees no future: the first value is repeated before the beginning."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 3, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F_.pad(x, (2, 0), mode="replicate"))


class AudioTokens(nn.Module):
    """Audio features -> tokens of each latent frame: 4 local ones and a learned one, and one global vector."""

    def __init__(self, audio_dim: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.conv1_local = CausalConv1d(audio_dim, dim // 4 * tokens)
        self.conv1_global = CausalConv1d(audio_dim, dim // 4)
        self.conv2 = CausalConv1d(dim // 4, dim // 2, stride=2)
        self.conv3 = CausalConv1d(dim // 2, dim, stride=2)
        self.final_linear = nn.Linear(dim, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, A, T)  ->  local (B, T/4, tokens + 1, D), whole (B, T/4, D)"""
        B = len(x)
        local = self.downsample(self.conv1_local(x).unflatten(1, (self.tokens, -1)).flatten(0, 1))
        local = local.unflatten(0, (B, self.tokens)).transpose(1, 2)
        local = torch.cat([local, self.padding_tokens.to(local).expand(B, local.shape[1], 1, -1)], 2)
        return local, linear_in_eights(self.final_linear, self.downsample(self.conv1_global(x)))

    def downsample(self, x: Tensor) -> Tensor:
        """Downsample (B, D/4, T) -> (B, T/4, D): norm and activate, twice at half the rate and twice the width."""
        x = self.norm_activate(self.conv2(self.norm_activate(x)))
        return self.norm_activate(self.conv3(x)).transpose(1, 2)

    @staticmethod
    def norm_activate(x: Tensor) -> Tensor:
        return F_.silu(layer_norm(x.transpose(1, 2)).to(x.dtype)).transpose(1, 2)


class CausalAudioEncoder(nn.Module):
    """Mix the speech encoder's layers with learned weights, then make tokens."""

    def __init__(self, layers: int, audio_dim: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((1, layers, 1, 1), 0.01))
        self.encoder = AudioTokens(audio_dim, dim, tokens)

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Encode audio (B, layers, A, T)"""
        weights = F_.silu(self.weights.to(audio.dtype))
        return self.encoder((audio * weights).sum(1) / weights.sum(1))


class AdaptiveNorm(nn.Module):
    """Layer norm whose shift and scale come from the whole sound of a latent frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 2 * dim)

    def shift_scale(self, whole: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear(F_.silu(whole)).unsqueeze(1).chunk(2, -1)           # each (B * F, 1, D)


class AudioInjector(nn.Module):
    """Cross-attention to the sound, one for each layer that hears it, and the norms before them."""

    def __init__(self, layers: int, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.injector = nn.ModuleList(Attention(dim, heads, eps) for _ in range(layers))
        self.injector_adain_layers = nn.ModuleList(AdaptiveNorm(dim) for _ in range(layers))


class Head(nn.Module):
    """Project tokens to pixels of the latent, modulated by the noise level."""

    def __init__(self, dim: int, out_dim: int, patch: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, out_dim * patch * patch)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim ** 0.5)


class DetailHead(nn.Module):
    """Turn what the layers say of each latent pixel, the noisy latents there and the portrait's latents, moved, into
    clean latents. Small convolutions see the pixels that a wide token cannot carry through the layers (as the detailer
    head of Chen et al. 2025, arXiv:2511.18822)."""

    def __init__(self, dim: int, out_dim: int, patch: int, channels: int) -> None:
        super().__init__()
        self.split = [1, 2, channels, channels]
        self.head = nn.Linear(dim, sum(self.split) * patch * patch)
        self.enter = nn.Conv2d(2 * out_dim, channels, 3, padding=1)
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, out_dim, 3, padding=1)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim ** 0.5)

    def forward(self, output: Tensor, x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Map output (B, 3 + 2 channels, F, h, w), x (B, C, F, h, w), reference (B, C, 1, h, w)  ->  clean latents
        (B, C, F, h, w), and from where in the portrait each is copied (B, 2, F, h, w), across and down"""
        gate, flow, scale, shift = output.split(self.split, 1)
        copied = gate.sigmoid() * warp(reference.float(), flow)
        scale, shift, pixels = (part.transpose(1, 2).flatten(0, 1).to(self.enter.weight.dtype)
                              for part in (scale, shift, torch.cat([x.to(copied.dtype), copied], 1)))
        h = F_.silu(torch.addcmul(shift, self.enter(pixels), 1 + scale))
        detail = self.out(F_.silu(self.middle(h)))
        return copied + detail.unflatten(0, (len(x), -1)).transpose(1, 2), flow


class FramePacker(nn.Module):
    """Motion latents -> few tokens: the older, the coarser (FramePack, arXiv:2504.12626)."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_dim, dim, (1, 2, 2), (1, 2, 2))
        self.proj_2x = nn.Conv3d(in_dim, dim, (2, 4, 4), (2, 4, 4))
        self.proj_4x = nn.Conv3d(in_dim, dim, (4, 8, 8), (4, 8, 8))

    def forward(self, motion: Tensor) -> list[Tensor]:
        """Map motion (B, C, 19, h, w), oldest first -> tokens (B, M, D) of the newest, the two before, the 16 oldest"""
        newest, half, quarter = MOTION_FRAMES
        oldest, before, last = motion.split([quarter, half, newest], 2)
        packed = self.proj(last), self.proj_2x(before), self.proj_4x(oldest)
        return [tokens.flatten(2).transpose(1, 2) for tokens in packed]


class ClipPrediction(NamedTuple):
    """Hold what the network says of a whole clip in one pass."""

    velocity: Tensor            # (B, C, F, h, w)
    flow: Tensor | None         # (B, 2, F, h, w) where in the portrait pixels come from; None without a DetailHead
    tokens: Tensor              # (B, F, n, D) after the last layer


class CausalS2VTransformer(ModelMixin, ConfigMixin):
    """Audio-driven video transformer that makes a video block by block.

    The defaults are those of the released 14B network. `patch`, `prediction`, `detail_channels`, `audio_layers`,
    `block_frames`, `cache_frames`, `reference_distance` and `released_rounding` are constants there and options here:

    patch               latent pixels on a token's side
    prediction          what the last layer computes: "velocity", or "clean", the finished latents, from which the
                        velocity follows as (x - clean) / sigma (Li & He 2025, arXiv:2511.13720): easier where a token
                        holds about as many numbers as the network is wide
    detail_channels     width of a `DetailHead` that makes the clean latents; 0 for the released linear layer
    audio_layers        hidden layers of the speech encoder that are mixed (wav2vec2-large: 25)
    block_frames        latent frames made together
    cache_frames        latent frames in a ring, the current block included; a multiple of block_frames
    reference_distance  how far ahead of a block, in latent frames, the portrait seems to stand
    released_rounding   repeat two roundings of the released code: rotary tables in float16, and bfloat16 before text
    """

    _repeated_blocks = ["Layer"]
    _no_split_modules = ["Layer"]
    write_condition = staticmethod(write_rotated)      # of the condition; a backend may put a compiled one here

    @register_to_config
    def __init__(self, dim: int = 5120, ffn_dim: int = 13824, num_heads: int = 40, num_layers: int = 40,
                 in_dim: int = 16, out_dim: int = 16, cond_dim: int = 16, freq_dim: int = 256,
                 text_dim: int = 4096, text_len: int = 512,
                 audio_dim: int = 1024, audio_layers: int = 25, num_audio_token: int = 4,
                 audio_inject_layers: tuple[int, ...] = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39),
                 enable_framepack: bool = True, eps: float = 1e-6, block_frames: int = 3, cache_frames: int = 12,
                 reference_distance: int = 30, released_rounding: bool = True, patch: int = 2,
                 prediction: str = "velocity", detail_channels: int = 0) -> None:
        super().__init__()
        if cache_frames % block_frames:
            raise ValueError(f"a ring of {cache_frames} latent frames has a seam inside a block of {block_frames}; "
                             f"use a multiple, such as {cache_frames // block_frames * block_frames + block_frames}")
        self.patch_embedding, self.cond_encoder = (nn.Conv3d(channels, dim, (1, patch, patch), (1, patch, patch))
                                                   for channels in (in_dim, cond_dim))
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Layer(dim, ffn_dim, num_heads, eps, released_rounding) for _ in range(num_layers))
        self.head = DetailHead(dim, out_dim, patch, detail_channels) if detail_channels else Head(dim, out_dim, patch)
        self.casual_audio_encoder = CausalAudioEncoder(audio_layers, audio_dim, dim, num_audio_token)
        self.audio_injector = AudioInjector(len(audio_inject_layers), dim, num_heads, eps)
        self.trainable_cond_mask = nn.Embedding(3, dim)      # noisy, portrait, motion
        if enable_framepack:
            self.frame_packer = FramePacker(in_dim, dim)

    # ------------------------------------------------------------------ condition, encoded once

    def encode_text(self, text: Tensor) -> tuple[KeysValues, ...]:
        """Encode text features as keys and values of every layer.

        text (B, L, text_dim), padded with zero rows to text_len

        The padding is attended to, as released: its rows carry the biases of the text mlp.
        """
        if text.shape[1] > self.config.text_len:
            raise ValueError(f"{text.shape[1]} text tokens, at most {self.config.text_len}; cut the prompt")
        text = F_.pad(text, (0, 0, 0, self.config.text_len - text.shape[1]))
        text = self.text_embedding(text.to(self.text_embedding[0].weight.dtype))
        return tuple(layer.cross_attn.keys_values(text) for layer in self.blocks)

    def encode_audio(self, audio: Tensor) -> dict[int, AudioLayerContext]:
        """Encode audio features as the inputs of each audio injection.

        audio (B, layers, A, 9 + 4F): 9 video frames of history, then 4 for each of F latent frames. Latent frame f sees
        the sound up to the end of its own video frames, 4f + 3, and no further.
        """
        dtype = self.text_embedding[0].weight.dtype
        local, whole = self.casual_audio_encoder(audio.to(dtype))
        skip = -(-AUDIO_HISTORY // 4)                                       # latent frames that are history
        local, whole = local[:, skip:].flatten(0, 1), whole[:, skip:].flatten(0, 1)
        injector = self.audio_injector
        return {layer: AudioLayerContext(attend.keys_values(local), *norm.shift_scale(whole)) for layer, attend, norm in
                zip(self.config.audio_inject_layers, injector.injector, injector.injector_adain_layers, strict=True)}

    def modulate(self, timestep: Tensor) -> Modulation:
        """Compute shift, scale and gate of every layer for a noise level. timestep (B, F), 0..1000 = 1000 * sigma"""
        half = self.config.freq_dim // 2
        rate = torch.arange(half, device=timestep.device, dtype=torch.float64)
        angle = timestep.double().unsqueeze(-1) * torch.pow(10000.0, -rate / half)
        wave = torch.cat([angle.cos(), angle.sin()], -1).float()
        with torch.autocast(timestep.device.type, enabled=False):
            e = in_float32(self.time_embedding[2], F_.silu(in_float32(self.time_embedding[0], wave)))
            e6 = in_float32(self.time_projection[1], F_.silu(e)).unflatten(-1, (6, -1))
        return Modulation(tuple(layer.modulation.float() + e6 for layer in self.blocks),
                          self.head.modulation.float() + e.unsqueeze(2), timestep.float() / 1000)

    # ------------------------------------------------------------------ positions

    def rope_table(self, frame: Tensor, row: Tensor, column: Tensor) -> RopeTable:
        """Compute the RoPE table of tokens at (frame, row, column), each (..., M) in tokens; frames without end."""
        head_dim = self.config.dim // self.config.num_heads
        space = 2 * (head_dim // 6)                                         # channels for rows, and for columns
        angles = []
        for position, width in ((frame, head_dim - 2 * space), (row, space), (column, space)):
            rate = torch.arange(0, width, 2, device=position.device, dtype=torch.float64) / width
            angles.append(position.double().unsqueeze(-1) * torch.pow(10000.0, -rate))
        angle = torch.cat(angles, -1)
        dtype = torch.float16 if self.config.released_rounding else torch.float32
        return RopeTable(angle.cos().to(dtype).float(), angle.sin().to(dtype).float())

    def rope_of_frames(self, frames: Tensor, grid: tuple[int, int]) -> RopeTable:
        """Compute the RoPE table of latent frames. frames (..., F)  ->  (..., F * rows * columns, head_dim / 2)"""
        rows, columns = (torch.arange(n, device=frames.device) for n in grid)
        where = torch.broadcast_tensors(frames[..., None, None], rows[:, None], columns)
        return self.rope_table(*(axis.flatten(-3) for axis in where))

    def rope_of_motion(self, grid: tuple[int, int], device: torch.device) -> RopeTable:
        """Compute the RoPE table of the packed motion tokens: they stay where they were, before the first block."""
        parts = []
        for shrink, frames in ((1, (-1,)), (2, (-3,)), (4, (-19, -14, -9, -4))):
            axes = [torch.tensor(frames),
                    *(torch.linspace(0, n - 1, n // shrink, dtype=torch.float64).long() for n in grid)]
            parts.append(self.rope_table(*(axis.flatten().to(device) for axis in torch.meshgrid(*axes, indexing="ij"))))
        return RopeTable(*(torch.cat(tables, -2) for tables in zip(*parts, strict=True)))

    def rope_of_condition(self, condition: ConditionCache, start: Tensor) -> RopeTable:
        """Compute the RoPE table (K, M, hd/2) of the condition, for blocks that begin at latent frames `start` (K,)"""
        portrait = (start + self.config.reference_distance).clamp(min=REFERENCE_POSITION)
        tables = self.rope_of_frames(portrait[:, None], condition.grid)                   # (K, reference, hd/2)
        if condition.tokens > condition.reference_tokens:
            motion = self.rope_of_motion(condition.grid, start.device)
            tables = RopeTable(*(torch.cat([near, far.expand(len(start), *far.shape)], 1)
                                for near, far in zip(tables, motion, strict=True)))
        return tables

    # ------------------------------------------------------------------ three ways to run the layers

    def prefill(self, reference: Tensor, motion: Tensor | None, text: tuple[KeysValues, ...]) -> ConditionCache:
        """Run portrait and motion through the layers once, at t = 0, and keep their keys and values.

        reference (B, C, 1, h, w), motion (B, C, 19, h, w) or None where the configuration has no frame packer
        """
        if (motion is not None) != self.config.enable_framepack:
            raise ValueError("this model takes motion latents" if self.config.enable_framepack else
                             "this model has no frame packer: pass motion=None")
        mask = self.trainable_cond_mask.weight
        grid = self.grid(reference)
        tokens = self.patchify(self.patch_embedding, reference)[:, 0] + mask[1]               # (B, n, D)
        tables = self.rope_of_frames(torch.full((1,), REFERENCE_POSITION, device=tokens.device), grid)
        if motion is not None:
            dtype = self.patch_embedding.weight.dtype
            packed = torch.cat(self.frame_packer(motion.to(dtype)), 1)
            tokens = torch.cat([tokens, packed + mask[2]], 1)
            far = self.rope_of_motion(grid, tokens.device)
            tables = RopeTable(*(torch.cat(pair, -2) for pair in zip(tables, far, strict=True)))
        collector = KeysValuesCollector(len(self.blocks))

        def attend_to_condition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            collector.append(k, v)
            return attention(apply_rope(q, tables), apply_rope(k, tables), v)

        level = self.modulate(torch.zeros(1, 1, device=tokens.device))
        x = tokens.unsqueeze(1)
        for index, layer in enumerate(self.blocks):
            x = layer(x, level.layers[index], text[index], attend_to_condition).to(tokens.dtype)
        detail = reference if self.config.detail_channels else None
        return ConditionCache(*collector.stacked(), grid[0] * grid[1], grid, detail)

    def forward(self, x: Tensor, level: Modulation, context: Context, condition: ConditionCache, cache: RingCache,
                pose: Tensor | None = None, rope: RopeTables | None = None) -> tuple[Tensor, RingCache]:
        """Predict the velocity of one block at one noise level; return it and the cache that now holds the block.

        x (B, C, F, h, w) noisy latents; the block starts at latent frame `cache.end`  ->  velocity (B, C, F, h, w)
        rope: `rope_tables(cache.end, F, condition)`, if it was computed before: all steps of a block have the same
        """
        rope = rope or self.rope_tables(cache.end, x.shape[2], condition)
        return self.run_layers(x, level, context, condition, cache, rope, pose), cache.advance(x.shape[2])

    def rope_tables(self, start: int, frames: int, condition: ConditionCache) -> RopeTables:
        """Compute the RoPE tables of a block that begins at latent frame `start`."""
        begins = torch.full((1,), start, device=condition.k.device)
        block = self.rope_of_frames(begins + torch.arange(frames, device=begins.device), condition.grid)
        return RopeTables(block, RopeTable(*(table[0] for table in self.rope_of_condition(condition, begins))))

    def run_layers(self, x: Tensor, level: Modulation, context: Context, condition: ConditionCache, cache: RingCache,
                   rope: RopeTables, pose: Tensor | None = None) -> Tensor:
        """Do what `forward` does with known RoPE tables; the block's keys and values are in the ring then."""
        cached_attention = cache.attention_class or CachedAttention
        tokens = self.embed(x, pose)
        for index in range(len(self.blocks)):
            self_attention = cached_attention(self, index, cache, condition, *rope)
            tokens = self.run_layer(index, tokens, level, context, self_attention)
        return self.velocity(x, self.output_head(x, tokens, level, condition)[0], level)

    def forward_clip(self, x: Tensor, level: Modulation, context: Context, condition: ConditionCache,
                     pose: Tensor | None = None) -> Tensor:
        """Predict the velocity of a whole clip in one pass, each block seeing what it sees in `forward`."""
        return self.predict_clip(x, level, context, condition, pose).velocity

    def predict_clip(self, x: Tensor, level: Modulation, context: Context, condition: ConditionCache,
                     pose: Tensor | None = None) -> ClipPrediction:
        """Do what `forward_clip` does, and return what training looks at beside the velocity.

        With timestep forcing a block's past is at its own noise level, so a sampler step of all blocks needs no loop
        over time: this is how the model is trained. x (B, C, F, h, w), F a multiple of block_frames
        """
        frames, grid = x.shape[2], self.grid(x)
        block, tokens = self.config.block_frames, grid[0] * grid[1]
        starts = torch.arange(0, frames, block, device=x.device)
        tables = self.rope_of_frames(torch.arange(frames, device=x.device), grid)
        condition_table = RopeTable(*(table[:, None, None] for table in self.rope_of_condition(condition, starts)))
        h = self.embed(x, pose)
        for index in range(len(self.blocks)):
            attend = clip_attention(tables, apply_rope(condition.k[index], condition_table), condition.v[index],
                                    block * tokens, self.config.cache_frames * tokens)
            h = self.run_layer(index, h, level, context, attend)
        predicted, flow = self.output_head(x, h, level, condition)
        return ClipPrediction(self.velocity(x, predicted, level), flow, h)

    # ------------------------------------------------------------------ their shared parts

    def grid(self, latents: Tensor) -> tuple[int, int]:
        return latents.shape[-2] // self.config.patch, latents.shape[-1] // self.config.patch

    def patchify(self, embedding: nn.Conv3d, latents: Tensor) -> Tensor:
        """Embed patches, (B, C, F, h, w) -> (B, F, n, D), by a matrix product: on CPUs ten times as fast
        as a convolution."""
        (B, C, F, _, _), (rows, columns), patch = latents.shape, self.grid(latents), self.config.patch
        pieces = latents.reshape(B, C, F, rows, patch, columns, patch).permute(0, 2, 3, 5, 1, 4, 6)
        pieces = pieces.reshape(B, F, rows * columns, C * patch * patch)
        return F_.linear(pieces.to(embedding.weight.dtype), embedding.weight.flatten(1), embedding.bias)

    def embed(self, x: Tensor, pose: Tensor | None) -> Tensor:
        tokens = self.patchify(self.patch_embedding, x)
        tokens = tokens + (self.cond_encoder.bias if pose is None else self.patchify(self.cond_encoder, pose))
        return tokens + self.trainable_cond_mask.weight[0]

    def run_layer(self, index: int, x: Tensor, level: Modulation, context: Context,
                  self_attention: AttentionFunction) -> Tensor:
        """Run one layer and, where there is one, its audio injection. x (B, F, n, D)"""
        dtype = x.dtype
        x = self.blocks[index](x, level.layers[index], context.text[index], self_attention).to(dtype)
        audio = context.audio.get(index)
        if audio is None:
            return x
        return self.inject_audio(self.audio_injector.injector[self.config.audio_inject_layers.index(index)], x, audio)

    @staticmethod
    def inject_audio(attend: Attention, x: Tensor, audio: AudioLayerContext) -> Tensor:
        """Let each latent frame attend to its own audio tokens, and add the result. x (B, F, n, D)"""
        h = layer_norm(x.flatten(0, 1), eps=1e-5) * (1 + audio.scale) + audio.shift           # (B * F, n, D)
        return x + attend.merge(attention(attend.queries(h.to(attend.q.weight.dtype)), *audio.tokens)).view_as(x)

    def output_head(self, x: Tensor, tokens: Tensor, level: Modulation,
               condition: ConditionCache) -> tuple[Tensor, Tensor | None]:
        """Turn tokens (B, F, n, D) into the network's prediction (B, C, F, h, w) and, with a `DetailHead`, its flow.

        x (B, C, F, h, w) noisy latents
        """
        shift, scale = level.head.unsqueeze(3).unbind(2)                       # each (B, F, 1, D)
        with torch.autocast(tokens.device.type, enabled=False):
            last = torch.addcmul(shift, layer_norm(tokens), 1 + scale)
            output = self.unpatchify(in_float32(self.head.head, last), condition.grid)
        if not self.config.detail_channels:
            return output.to(tokens.dtype), None
        clean, flow = self.head(output, x, condition.reference)
        return clean.to(tokens.dtype), flow

    def unpatchify(self, out: Tensor, grid: tuple[int, int]) -> Tensor:
        """Rearrange the numbers of each token, channels innermost, to latent pixels (B, C, F, h, w)"""
        (B, F), patch = out.shape[:2], self.config.patch
        out = out.view(B, F, *grid, patch, patch, -1)                          # 'fhwpqrc->cfphqwr'
        return out.permute(0, 6, 1, 2, 4, 3, 5).reshape(B, out.shape[-1], F, grid[0] * patch, grid[1] * patch)

    def velocity(self, x: Tensor, predicted: Tensor, level: Modulation) -> Tensor:
        """Convert a prediction to a velocity. x, predicted (B, C, F, h, w)"""
        if self.config.prediction == "velocity":
            return predicted
        sigma = level.sigma[:, None, :, None, None].clamp(min=SMALLEST_SIGMA)
        return ((x.float() - predicted.float()) / sigma).to(predicted.dtype)

    # ------------------------------------------------------------------ caches

    def new_cache(self, condition: ConditionCache, frames: int | None = None) -> RingCache:
        """Make an empty ring for one noise level, to fit this condition. frames: latent frames; None: as trained"""
        k = condition.k
        return RingCache.empty(len(self.blocks), k.shape[1], k.shape[2], k.shape[4],
                               condition_tokens=condition.tokens, frame_tokens=math.prod(condition.grid),
                               capacity=frames or self.config.cache_frames, dtype=k.dtype, device=k.device)
