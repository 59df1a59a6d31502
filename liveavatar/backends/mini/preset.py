"""`mini`: the scale model of Live Avatar. Every number that defines it."""

TRANSFORMER = {
    "dim": 256, "ffn_dim": 1024, "num_heads": 4, "num_layers": 8,
    "in_dim": 16, "out_dim": 16, "cond_dim": 16, "freq_dim": 128,
    "text_dim": 19, "text_len": 4,                      # one row per slot of the prompt
    "audio_dim": 256, "audio_layers": 1, "num_audio_token": 4,     # 256: what the ear tells of a video frame
    "audio_inject_layers": (0, 2, 4, 6),
    "enable_framepack": False,                          # its motion latents would only repeat the portrait
    "block_frames": 3, "cache_frames": 9, "reference_distance": 30,
    "released_rounding": False,
}
SHIFT = 3.0            # of the noise levels it is trained and distilled on
LORA_ALPHA = 64.0      # as released: strength alpha / rank
