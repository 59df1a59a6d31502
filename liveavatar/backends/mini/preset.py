"""`mini`: the scale model of Live Avatar. Every number that defines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.backends.mini.vae import VAEConfig

TRANSFORMER = {
    "dim": 256, "ffn_dim": 1024, "num_heads": 4, "num_layers": 8,
    "in_dim": 16, "out_dim": 16, "cond_dim": 16, "freq_dim": 128,
    "patch": 4, "prediction": "clean", "detail_channels": 64,
    "text_dim": 19, "text_len": 4,                      # one row per slot of the prompt
    "audio_dim": 256, "audio_layers": 1, "num_audio_token": 4,     # 256: features of a video frame's sound
    "audio_inject_layers": (0, 2, 4, 6),
    "enable_framepack": False,                          # its motion latents would only repeat the portrait
    "block_frames": 3, "cache_frames": 9, "reference_distance": 30,
    "released_rounding": False,
}
SIZE = (256, 256)      # height and width of its videos, unless told otherwise
TOKEN_SIDE_PX = 32     # of the picture, on a token's side
SHIFT = 6.0            # of the noise levels it is distilled on: 1, 0.947, 0.857, 0.667
LORA_ALPHA = 64.0      # as released: strength alpha / rank


def transformer_options(vae: VAEConfig) -> dict:
    """Fit TRANSFORMER to the latents of a VAE: a token covers the same part of the picture whatever its stride."""
    channels = {name: vae.latent_channels for name in ("in_dim", "out_dim", "cond_dim")}
    return TRANSFORMER | channels | {"patch": TOKEN_SIDE_PX // vae.stride}
