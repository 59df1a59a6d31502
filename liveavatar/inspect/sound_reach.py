"""Which video frames of the sound a sound token is made of, and so how far before the picture a query listens."""

from __future__ import annotations

import torch
from torch import Tensor

from liveavatar.inspect.attention import AttentionWeights
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer

PER_LATENT = 4       # video frames in a latent frame, as the audio encoder has them
SEED = 0             # of the direction in which a token's change is measured


def sound_reach(model: CausalS2VTransformer, audio: Tensor) -> Tensor:
    """Return how strongly each sound token of a block depends on each video frame of the sound.

    audio (1, layers, A, 9 + 4F) as `encode_audio` takes it  ->  (F, tokens, 9 + 4F), rows add up to one

    The length of the gradient of the token, along one random direction, with respect to the frame's features. The last
    token is learned and depends on no sound: its row is zero.
    """
    skip, frames = -(-AUDIO_HISTORY // PER_LATENT), (audio.shape[-1] - AUDIO_HISTORY) // PER_LATENT
    tokens = model.config.num_audio_token + 1
    with torch.inference_mode(False), torch.enable_grad():
        dtype = model.text_embedding[0].weight.dtype
        copies = audio.detach().clone().to(dtype).repeat(frames * tokens, 1, 1, 1).requires_grad_()
        local, _ = model.casual_audio_encoder.forward(copies)    # not a call: a recording need not hear of it
        local = local[:, skip:].flatten(1, 2)                                           # (F * tokens, F * tokens, D)
        own = local[torch.arange(len(copies)), torch.arange(len(copies))].float()        # each copy answers for one
        direction = torch.randn(own.shape[1], generator=torch.Generator().manual_seed(SEED)).to(own.device)
        gradient, = torch.autograd.grad((own @ direction).sum(), copies)
    lengths = gradient.float().square().sum((1, 2)).sqrt().cpu().unflatten(0, (frames, tokens))
    return lengths / lengths.sum(2, keepdim=True).clamp(min=1e-12)


def sound_profile(weights: AttentionWeights, reach: Tensor) -> Tensor:
    """Return which video frames of the sound the queries of each latent frame listen to, averaged over heads.

    weights: of "sound"; reach (F, tokens, T) from `sound_reach`  ->  (F, T); column t is video frame t - 9 of the
    block. A row adds up to the share of the attention that does not go to the learned token; latent frames without a
    recorded query are zero.
    """
    first = int(weights.queries.frame.min()) // len(reach) * len(reach)
    frames = weights.queries.frame - first
    profile = torch.zeros(len(reach), reach.shape[2])
    for frame in range(len(reach)):
        there = frames == frame
        if bool(there.any()):
            profile[frame] = weights.weights[:, there].mean((0, 1)) @ reach[frame]
    return profile


def sound_lag_ms(profile: Tensor, fps: float) -> Tensor:
    """Return how long before (negative) or after each latent frame's middle the sound lies that it listens to: (F,).

    profile (F, T) from `sound_profile`; NaN where nothing is listened to. Causal encoders see at most half a latent
    frame ahead, so values are mostly below zero.
    """
    times = torch.arange(profile.shape[1]) - AUDIO_HISTORY
    middles = PER_LATENT * torch.arange(len(profile)) + (PER_LATENT - 1) / 2
    heard = (profile @ times.float()) / profile.sum(1)
    return (heard - middles) * 1000 / fps
