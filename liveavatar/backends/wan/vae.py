"""Pictures to latents and back: the Wan 2.1 VAE of diffusers, as a stream.

Its convolutions look back in time through a memory of two pictures each. diffusers keeps that memory inside the model
and clears it with every call; here it travels, so a video of any length is decoded in constant memory and two videos
never meet. The first latent of a stream is one picture, every later one is four.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from liveavatar.backends.wan.checkpoints import fill, read_pickle
from liveavatar.backends.wan.networks import randomise
from liveavatar.backends.wan.vae_gpu import suit_gpu
from liveavatar.decoder import Memory, StreamingVAE, decode_block
from liveavatar.types import InputError

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanDecoder3d

MOTION_LATENTS = 19
MOTION_PICTURES = 73                   # 1 + 4 * 18
RELEASED_PICTURES = 365                # what the released single-GPU path really encodes: 5 * 73, hence 92 latents
WARM_UP_LATENTS = 7                    # with which the released multi-GPU path begins its decoder
STILL_LATENTS = 92                     # and the single-GPU path: its whole motion

CONDITIONINGS = ("single-gpu", "multi-gpu")


class StreamingWanVAE(StreamingVAE):
    """AutoencoderKLWan behind the interface of `liveavatar.decoder`."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.vae = vae
        self.by_frame = False          # decode at full size one picture after another: less memory, smaller products
        for name in ("mean", "std"):
            values = torch.tensor(getattr(vae.config, f"latents_{name}"))
            self.register_buffer(name, values.view(1, -1, 1, 1, 1), persistent=False)

    def encode_stream(self, video: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Encode video (B, 3, 1, H, W) at the beginning, (B, 3, 4, H, W) later, 0..1  ->  latents (B, C, 1, h, w)"""
        before = [None] * self.vae._cached_conv_counts["encoder"] if memory is None else list(memory)
        raw = self.vae.quant_conv(self.vae.encoder(2 * video - 1, feat_cache=before, feat_idx=[0]))
        mean = raw.chunk(2, 1)[0].float()
        return (mean - self.mean.float()) / self.std.float(), tuple(before)

    def decode_stream(self, latents: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Decode latents (B, C, F, h, w)  ->  video (B, 3, 4F, H, W) 0..1; 4F - 3 pictures at the beginning of a stream

        memory: a tuple is kept as it is; a list is used up, so old and new memory (1.2 GiB each at 704*384) are never
        held together
        """
        state = memory if isinstance(memory, list) else list(memory or ())
        pictures = [self.decode_latent(latent, state) for latent in
                    (latents * self.std.to(latents) + self.mean.to(latents)).split(1, 2)]
        return torch.cat(pictures, 2).clamp(-1, 1) * 0.5 + 0.5, tuple(state)

    def decode_latent(self, latent: Tensor, state: list) -> Tensor:
        """Decode latent (B, C, 1, h, w), scaled  ->  video (B, 3, 4 or at first 1, H, W) around 0

        state: what the convolutions remember, changed in place; empty at the beginning of a stream.
        Always one latent, through every convolution: how many come together may change the last bit of a product.
        """
        first = not state
        if first:
            state.extend([None] * self.vae._cached_conv_counts["decoder"])
        if self.by_frame:
            return decode_by_frame(self.vae.decoder, self.vae.post_quant_conv(latent), state, first)
        return self.vae.decoder(self.vae.post_quant_conv(latent), feat_cache=state, feat_idx=[0], first_chunk=first)

    @torch.inference_mode()
    def encode(self, video: Tensor) -> Tensor:
        """Encode video (B, 3, 1 + 4n, H, W) 0..1  ->  latents (B, C, 1 + n, h, w)"""
        return torch.cat(list(self.encode_pieces([video[:, :, :1], *video[:, :, 1:].split(4, 2)])), 2)

    @torch.inference_mode()
    def encode_pieces(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode pieces of a video, one picture and then four at a time; yield a latent for each"""
        weight, memory = next(self.parameters()), None
        for piece in pieces:
            latents, memory = self.encode_stream(piece.to(weight.device, weight.dtype), memory)
            yield latents

    @torch.inference_mode()
    def encode_still(self, picture: Tensor, pictures: int) -> Iterator[Tensor]:
        """Yield the latents of a picture that stands still for 1 + 4n pictures; (1, C, 1, h, w) each.

        Once the memory no longer changes, neither does the latent: from there on nothing is computed.
        """
        weight = next(self.parameters())
        video = picture[None, :, None].to(weight.device, weight.dtype)
        latents, memory = self.encode_stream(video)
        yield latents
        video, settled = video.expand(-1, -1, 4, -1, -1), False
        for _ in range((pictures - 1) // 4):
            if not settled:
                latents, after = self.encode_stream(video, memory)
                settled, memory = same(memory, after), after
            yield latents

    @torch.inference_mode()
    def warmed_up(self, latents: Tensor, still: bool) -> Memory:
        """Return the decoder's memory after latents (1, C, F, h, w); still: after the last of them was repeated for
        long."""
        weight = next(self.parameters())
        latents = latents.to(weight.device, weight.dtype)
        _, memory = self.decode_stream(latents)
        for _ in range(STILL_LATENTS - latents.shape[2] if still else 0):
            _, after = self.decode_stream(latents[:, :, -1:], memory)
            if same(memory, after):
                break
            memory = after
        return memory


def decode_by_frame(decoder: WanDecoder3d, raw: Tensor, state: list, first: bool) -> Tensor:
    """Do what diffusers' WanDecoder3d does, but its last, full-size stage one picture after another.

    raw (B, C, 1, h, w), state as in `StreamingWanVAE.decode_latent`  ->  (B, 3, 4 or at first 1, H, W)
    The largest tensors are a quarter as long; no convolution sees other numbers.
    """
    place = [0]
    x = conv_with_state(decoder.conv_in, raw, state, place)
    x = decoder.mid_block(x, feat_cache=state, feat_idx=place)
    *small, last_small, full = decoder.up_blocks
    for block in small:
        x = block(x, feat_cache=state, feat_idx=place, first_chunk=first)
    for resnet in last_small.resnets:
        x = resnet(x, feat_cache=state, feat_idx=place)
    pictures = []
    for frame in x.split(1, 2):
        here = place.copy()
        frame = last_small.upsamplers[0](frame, feat_cache=state, feat_idx=here)           # to the full size
        frame = full(frame, feat_cache=state, feat_idx=here, first_chunk=first)
        frame = decoder.nonlinearity(decoder.norm_out(frame))
        pictures.append(conv_with_state(decoder.conv_out, frame, state, here))
    return torch.cat(pictures, 2)


def conv_with_state(conv: nn.Module, x: Tensor, state: list, place: list[int]) -> Tensor:
    """Apply a causal convolution that remembers its last two inputs, as diffusers does."""
    index = place[0]
    recent = x[:, :, -2:].clone()
    if recent.shape[2] < 2 and state[index] is not None:
        recent = torch.cat([state[index][:, :, -1:], recent], 2)
    x = conv(x, state[index])
    state[index] = recent
    place[0] += 1
    return x


def same(one: Memory, other: Memory) -> bool:
    """Tell whether two memories hold the same numbers (or the same marks, where there are no numbers yet)."""
    return all(torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b
               for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class Seen:
    """A portrait as the transformer takes it."""

    reference: Tensor    # (1, C, 1, h, w)
    motion: Tensor       # (1, C, 19, h, w)


def encode_reference(vae: StreamingWanVAE, picture: Tensor, conditioning: str) -> Seen:
    """Encode the portrait as the released code does; its two paths differ.

    single-gpu  the portrait is the second latent of five copies; motion, the last 19 latents of 365 copies
    multi-gpu   the portrait is the latent of one picture; motion, the 19 latents of 73 copies
    """
    if conditioning not in CONDITIONINGS:
        raise InputError(f"conditioning is {conditioning!r}; known: {', '.join(CONDITIONINGS)}")
    single = conditioning == "single-gpu"
    latents = list(vae.encode_still(picture, RELEASED_PICTURES if single else MOTION_PICTURES))
    return Seen(latents[1 if single else 0], torch.cat(latents[-MOTION_LATENTS:], 2))


class WanDecoder:
    """Decodes the blocks of one video, as if the portrait had stood still before it: every latent is four pictures."""

    def __init__(self, vae: StreamingWanVAE, motion: Tensor | None, conditioning: str) -> None:
        self._vae, self._motion, self._single = vae, motion, conditioning == "single-gpu"
        self._memory: Memory | None = None

    def decode(self, latents: Tensor) -> Tensor:
        """Decode (1, C, F, h, w) -> (4F, H, W, 3) uint8"""
        if self._memory is None:
            self._memory = self._begin(latents)
        given, self._memory = list(self._memory), None             # a list: its parts go as they are replaced
        pictures, self._memory = decode_block(self._vae, latents, given)
        return pictures

    def fork(self) -> WanDecoder:
        """Return another decoder that goes on from here on its own."""
        return copy(self)                                          # a memory is never changed, only replaced

    def _begin(self, latents: Tensor) -> Memory:
        if self._motion is None:                                   # no portrait known: the first latent stands for it
            return self._vae.warmed_up(latents[:, :, :1].expand(-1, -1, WARM_UP_LATENTS, -1, -1), still=False)
        if self._single:
            return self._vae.warmed_up(self._motion[:, :, -1:], still=True)
        return self._vae.warmed_up(self._motion[:, :, :WARM_UP_LATENTS], still=False)


def read_vae(path: Path, config: dict, device: torch.device, dtype: torch.dtype) -> StreamingWanVAE:
    """Read the VAE from the released Wan2.1_VAE.pth."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    vae = empty_vae(config)
    fill(vae, convert_wan_vae_to_diffusers(read_pickle(path)), path, dtype)
    return at_home(vae, device)


def random_vae(config: dict, device: torch.device, dtype: torch.dtype) -> StreamingWanVAE:
    return at_home(randomise(empty_vae(config), device, dtype), device)


def at_home(vae: AutoencoderKLWan, device: torch.device) -> StreamingWanVAE:
    """Return a tensor on its device, laid out as that device likes it."""
    streaming = nn.Module.to(StreamingWanVAE(vae), device).requires_grad_(False).eval()
    if device.type == "cuda":
        suit_gpu(streaming.vae)
    return streaming


def empty_vae(config: dict) -> AutoencoderKLWan:
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        return AutoencoderKLWan(**config)
