"""The video VAE of mini: pictures to latents and back, `stride` pixels a side and four frames at a time.

    video (B, 3, T, H, W) 0..1  ->  latents (B, C, T/4, H/stride, W/stride)  ->  video

Every layer is a 2-D convolution over single pictures. Time enters through `MemBlock`, which also sees what it computed
for the previous picture, so decoding can pause after any latent frame: the memory is one picture of features per
block. There is no special first frame: a portrait is four copies of one picture, one latent frame.

Inside, pictures of all times and clips lie in one batch with time outermost, (T*B, C, H, W): "the previous picture" is
then a shift by B along the first axis, and the memory format (channels_last or not) is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.decoder import StreamingVAE
from liveavatar.types import InputError

FRAMES_PER_LATENT = 4
LOGVAR_RANGE = (-12.0, 4.0)

Memory = tuple[Tensor, ...]   # one (B, C, H, W) per MemBlock: features of the last picture seen


@dataclass(frozen=True)
class VAEConfig:
    """Widths and numbers of blocks at three resolutions: 4/stride, 2/stride and 1/stride of the picture's side for the
    encoder, and back for the decoder. `tail` is the width of one more layer of the decoder at half the side, 0 for none
    (a stride of 16 only). `mix` puts one more convolution into every block, as the weights of version 0.1 have it."""

    stride: int = 8
    latent_channels: int = 16
    encoder_channels: tuple[int, int, int] = (64, 96, 128)
    encoder_blocks: tuple[int, int, int] = (1, 2, 2)
    decoder_channels: tuple[int, int, int] = (128, 64, 32)
    decoder_blocks: tuple[int, int, int] = (4, 2, 1)
    tail: int = 0
    mix: bool = False

    @classmethod
    def from_dict(cls, values: dict) -> VAEConfig:
        """Read what stands beside weights; what is not known any more must have been off."""
        if unknown := [name for name, value in values.items() if value and name not in cls.__dataclass_fields__]:
            raise InputError(f"the VAE was made with {', '.join(unknown)}, which this version does not have")
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


class MemBlock(nn.Module):
    """A residual block that also sees the previous picture.

    One convolution computes two halves: what this picture says now, and what it leaves for the next picture. Adding the
    half left by the previous picture equals a convolution over both pictures, without joining them in memory first.
    """

    def __init__(self, channels: int, mix: bool = False) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1) if mix else nn.Identity()
        self.out = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, batch: int, left: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return x, and what the last picture leaves. x (T*B, C, H, W), left (B, C, H, W) by an earlier picture or
        None"""
        now, leaves = self.enter(x).chunk(2, dim=1)
        if left is None:
            left = torch.zeros_like(leaves[:batch])
        before = torch.cat([left, leaves[:-batch]])
        y = F.silu(now + before)
        if not isinstance(self.mix, nn.Identity):
            y = F.silu(self.mix(y))
        return x + self.out(y), leaves[-batch:]


class Downsample(nn.Module):
    """Two pictures become one of half the side."""

    def __init__(self, channels: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels_out, 3, stride=2, padding=1)

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """Halve time and sides: (T*B, C, H, W) -> (T/2*B, C_out, H/2, W/2)"""
        pairs = x.unflatten(0, (-1, 2, batch))                              # (T/2, 2, B, C, H, W)
        x = torch.cat([pairs[:, 0].flatten(0, 1), pairs[:, 1].flatten(0, 1)], dim=1)
        return F.silu(self.conv(x))


class Upsample(nn.Module):
    """One picture becomes two of twice the side; all work is done before growing, where it is cheap."""

    def __init__(self, channels: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * 4 * channels_out, 3, padding=1)

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """Double time and sides: (T*B, C, h, w) -> (2T*B, C_out, 2h, 2w)"""
        first, second = F.silu(self.conv(x)).chunk(2, dim=1)                # (T*B, 4C, h, w) each
        pairs = torch.stack([first.unflatten(0, (-1, batch)), second.unflatten(0, (-1, batch))], dim=1)
        return F.pixel_shuffle(pairs.flatten(0, 2), 2)                      # (2T*B, C, 2h, 2w)


class LayerStack(nn.Module):
    """Layers in a row, handing each MemBlock its memory."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, batch: int, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Run all layers. -> what the last one computes, and what each MemBlock leaves"""
        before = iter(memory) if memory is not None else None
        after = []
        for layer in self.layers:
            if isinstance(layer, MemBlock):
                x, left = layer(x, batch, next(before) if before is not None else None)
                after.append(left)
            elif isinstance(layer, (Downsample, Upsample)):
                x = layer(x, batch)
            else:
                x = layer(x)
        return x, tuple(after)


class VideoVAE(StreamingVAE):
    """Video to latents of unit variance and back. Sides must be multiples of the stride, T a multiple of 4."""

    def __init__(self, config: VAEConfig = VAEConfig()) -> None:
        super().__init__()
        self.config = config
        c1, c2, c3 = config.encoder_channels
        n1, n2, n3 = config.encoder_blocks
        patch = config.stride // 4
        self.encoder = LayerStack([
            nn.PixelUnshuffle(patch), nn.Conv2d(3 * patch * patch, c1, 3, padding=1), nn.SiLU(),
            *_blocks(n1, c1, config.mix),
            Downsample(c1, c2), *_blocks(n2, c2, config.mix),
            Downsample(c2, c3), *_blocks(n3, c3, config.mix),
            nn.Conv2d(c3, 2 * config.latent_channels, 3, padding=1)])
        d1, d2, d3 = config.decoder_channels
        m1, m2, m3 = config.decoder_blocks
        self.decoder = LayerStack([
            nn.Conv2d(config.latent_channels, d1, 3, padding=1), nn.SiLU(), *_blocks(m1, d1, config.mix),
            Upsample(d1, d2), *_blocks(m2, d2, config.mix),
            Upsample(d2, d3), *_blocks(m3, d3, config.mix), *_last_layers(d3, patch, config.tail)])
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def posterior(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Encode video (B, 3, T, H, W) 0..1  ->  mean and log variance (B, C, T/4, h, w), not yet normalised. Raises
        InputError for sides and lengths that do not divide."""
        _check_video(video, self.config.stride)
        pictures = video.permute(2, 0, 1, 3, 4).flatten(0, 1)               # (T*B, 3, H, W)
        x, _ = self.encoder(2 * pictures - 1, len(video))
        mean, logvar = _clips(x, len(video)).chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)

    def reconstruct(self, raw: Tensor) -> Tensor:
        """Decode raw latents (B, C, F, h, w), as `posterior` gives them  ->  video (B, 3, 4F, H, W) that may leave 0..1
        a little. For training."""
        return self._decode(raw, None)[0]

    def _decode(self, raw: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Decode raw (B, C, F, h, w)  ->  video (B, 3, 4F, H, W) about 0..1, memory"""
        pictures, memory = self.decoder(raw.permute(2, 0, 1, 3, 4).flatten(0, 1), len(raw), memory)
        return _clips(pictures * 0.5 + 0.5, len(raw)), memory

    def encode(self, video: Tensor) -> Tensor:
        """Encode video (B, 3, T, H, W) 0..1  ->  latents (B, C, T/4, h, w), unit variance in each channel."""
        mean, _ = self.posterior(video)
        return (mean - _channel(self.latent_mean)) / _channel(self.latent_std)

    def encode_portrait(self, picture: Tensor) -> Tensor:
        """Encode a picture (B, 3, H, W) 0..1  ->  its latent frame (B, C, 1, h, w)."""
        return self.encode(picture[:, :, None].expand(-1, -1, FRAMES_PER_LATENT, -1, -1))

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, F, h, w) of unit variance  ->  video (B, 3, 4F, H, W) 0..1."""
        return self.decode_stream(latents)[0]

    def decode_stream(self, latents: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Decode a piece of a longer video; memory is what the piece before left behind, None at the start."""
        video, memory = self._decode(latents * _channel(self.latent_std) + _channel(self.latent_mean), memory)
        return video.clamp(0, 1), memory


def _last_layers(channels: int, patch: int, tail: int) -> list[nn.Module]:
    """Make the layers from features to pixels."""
    if not tail:
        return [nn.SiLU(), nn.Conv2d(channels, 3 * patch * patch, 3, padding=1), nn.PixelShuffle(patch)]
    return [nn.SiLU(), nn.Conv2d(channels, 4 * tail, 3, padding=1), nn.PixelShuffle(2),
            *_last_layers(tail, patch // 2, 0)]


def _blocks(count: int, channels: int, mix: bool) -> Iterator[MemBlock]:
    return (MemBlock(channels, mix) for _ in range(count))


def _clips(x: Tensor, batch: int) -> Tensor:
    """Reorder (T*B, C, H, W) -> (B, C, T, H, W)"""
    return x.unflatten(0, (-1, batch)).permute(1, 2, 0, 3, 4)


def _channel(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _check_video(video: Tensor, stride: int) -> None:
    T, H, W = video.shape[2:]
    if T % FRAMES_PER_LATENT:
        nearest = max(FRAMES_PER_LATENT, round(T / FRAMES_PER_LATENT) * FRAMES_PER_LATENT)
        raise InputError(f"{T} video frames do not fill latent frames of {FRAMES_PER_LATENT}; give {nearest}")
    if H % stride or W % stride:
        raise InputError(f"video is {W} x {H} px; both sides must be multiples of {stride}: crop it to "
                         f"{W // stride * stride} x {H // stride * stride}")


def save_vae(vae: VideoVAE, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and configuration into one safetensors file."""
    from safetensors.torch import save_file
    state = {name: tensor.detach().to(dtype).contiguous().cpu() for name, tensor in vae.state_dict().items()}
    save_file(state, str(path), metadata={"config": json.dumps(asdict(vae.config))})


def load_vae(path: str | Path, device: torch.device | str = "cpu") -> VideoVAE:
    """Read what `save_vae` wrote; float32, ready to use."""
    from safetensors import safe_open
    with safe_open(str(path), framework="pt") as file:
        fields = json.loads(file.metadata()["config"])
        state = {name: file.get_tensor(name).float() for name in file.keys()}   # noqa: SIM118
    vae = VideoVAE(VAEConfig.from_dict(fields))
    vae.load_state_dict(state)
    return vae.requires_grad_(False).eval().to(device)
