"""`wan-s2v-14b`: the released Live Avatar. Every number that defines it, and where its files come from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from liveavatar.types import InputError

NAME = "wan-s2v-14b"
BASE_REPOSITORY = "Wan-AI/Wan2.2-S2V-14B"
LORA_REPOSITORY, LORA_FILE = "Quark-Vision/Live-Avatar", "liveavatar.safetensors"

PARAMETERS = 16_295_755_609      # of the transformer, in 1260 tensors
LORA_MODULES = 448               # 40 layers x 10, and 12 audio layers x 4
FP8_LINEARS = 460                # those, and the 12 adaptive norms of the audio layers
LORA_ALPHA = 64.0                # rank 128: strength alpha / rank = 0.5

AREA = (384, 704)                # height x width: how many pixels may be spent; the aspect follows the portrait
SIZE_MULTIPLE = 64               # the oldest motion latents are packed 8 x 8 latent pixels to a token

UMT5_XXL = {                     # text: 5.7 billion parameters, the encoder alone
    "vocab_size": 256_384, "d_model": 4096, "d_ff": 10_240, "d_kv": 64, "num_heads": 64, "num_layers": 24,
    "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
    "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0,
}
WAV2VEC2_LARGE = {               # sound: for weights="random" only; the released folder brings its own config.json
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "vocab_size": 33,
}
WAN21_VAE: dict = {}             # the defaults of diffusers.AutoencoderKLWan
TINY = {                         # config="tiny": the same build for any laptop, untrained, to try what can be tried
    "transformer": dict(dim=64, ffn_dim=96, num_heads=2, num_layers=2, freq_dim=16, text_dim=16, text_len=24,
                        audio_dim=16, audio_layers=3, audio_inject_layers=(1,)),
    "text": dict(vocab_size=300, d_model=16, d_ff=32, d_kv=8, num_heads=2, num_layers=2),
    "audio": dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
                  num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2),
    "vae": dict(base_dim=2)}

# What the released configuration may say in one way only.
FIXED = {"enable_adain": True, "adain_mode": "attn_norm", "zero_timestep": True, "add_last_motion": True,
         "enable_motioner": False, "enable_tsm": False, "framepack_drop_mode": "padd", "qk_norm": True,
         "cross_attn_norm": True, "enable_framepack": True}


@dataclass(frozen=True)
class Networks:
    """Sizes of the four networks. Empty means the released ones; tests make them small."""

    transformer: dict = field(default_factory=dict)      # fields of CausalS2VTransformer
    text: dict = field(default_factory=dict)             # of transformers.UMT5Config
    audio: dict = field(default_factory=dict)            # of transformers.Wav2Vec2Config
    vae: dict = field(default_factory=dict)              # of diffusers.AutoencoderKLWan

    @classmethod
    def asked(cls, config: Mapping[str, dict] | str | None) -> Networks:
        """Read the networks from the option `config` of `load`: "tiny", or {"transformer": {...}, "text": {...},
        "audio": {...}, "vae": {...}}"""
        if isinstance(config, str):
            if config != "tiny":
                raise InputError(f'config is {config!r}; known by name: "tiny"')
            config = TINY
        stray = sorted(set(config or {}) - set(cls.__dataclass_fields__))
        if stray:
            raise InputError(f"config names an unknown network {stray[0]!r}; known: "
                             f"{', '.join(cls.__dataclass_fields__)}")
        networks = replace(cls(), **(config or {}))
        return replace(networks, text=UMT5_XXL | networks.text, audio=WAV2VEC2_LARGE | networks.audio,
                       vae=WAN21_VAE | networks.vae)


def transformer_config(released: dict, source: str) -> dict:
    """Return the released config.json -> fields of CausalS2VTransformer; what we cannot do is refused by name."""
    from liveavatar.transformer import CausalS2VTransformer

    for name, value in FIXED.items():
        if released.get(name, value) != value:
            raise InputError(f"{source} says {name}={released[name]!r}; only {value!r} is known, as in "
                             f"{BASE_REPOSITORY}")
    known = set(inspect.signature(CausalS2VTransformer.__init__).parameters) - {"self"}
    config = {name: tuple(value) if isinstance(value, list) else value
              for name, value in released.items() if name in known}
    return config | {"enable_framepack": True}
