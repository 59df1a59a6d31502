"""Clips as the transformer meets them: latents, sound, words; and its answers for whole clips at once.

With timestep forcing a sampler step of a whole clip is one parallel pass (`CausalS2VTransformer.forward_clip`), so
training, distillation and evaluation never loop over time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from liveavatar.audio import windows
from liveavatar.backends.mini.ear import Ear
from liveavatar.backends.mini.vae import FRAMES_PER_LATENT, VideoVAE
from liveavatar.conditions import controls_vector, nothing_said
from liveavatar.sampler import Schedule, Solver, move
from liveavatar.training.clips import ClipBatch, Clips, disturb
from liveavatar.training.loop import autocast
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer, Context


@dataclass(frozen=True)
class Told:
    """What the model is told about B clips."""

    reference: Tensor   # (B, C, 1, h, w) latent of the portrait
    audio: Tensor       # (B, 1, D, 9 + 4F), what the ear tells
    text: Tensor        # (B, slots, text_dim), one-hot

    def __len__(self) -> int:
        return len(self.reference)

    def __getitem__(self, index: Tensor | slice) -> Told:
        return Told(*(getattr(self, field.name)[index].float() for field in fields(self)))

    def without(self, sound: Tensor | None = None, words: Tensor | None = None) -> Told:
        """The same clips with nothing said: zero sound, every slot "not given".

        sound (B,) and words (B, slots) bool say where; all of it unless told otherwise
        """
        nothing = _nothing(self.text.device)
        return replace(
            self,
            audio=torch.zeros_like(self.audio) if sound is None else
            self.audio.masked_fill(sound[:, None, None, None], 0.0),
            text=nothing.expand_as(self.text) if words is None else torch.where(words[..., None], nothing, self.text))


@cache
def _nothing(device: torch.device) -> Tensor:
    return nothing_said().to(device)


@dataclass(frozen=True)
class Material:
    """Clips made ready for training the transformer: pictures encoded, sound kept as mel so that it can be disturbed
    anew every time. In half precision, on the GPU."""

    ear: Ear
    latents: Tensor | None   # (N, C, F, h, w)
    reference: Tensor        # (N, C, 1, h, w) latent of the portrait
    mel: Tensor              # (N, M, 64) undisturbed
    text: Tensor             # (N, slots, text_dim)
    mouth: Tensor            # (N, 4F, 7) true visemes

    def __len__(self) -> int:
        return len(self.reference)

    def told(self, chosen: Tensor, generator: torch.Generator) -> Told:
        """What is told about the chosen clips (B,), their sound disturbed by a draw from the generator."""
        mel = disturb(self.mel[chosen].float(), generator)
        return Told(self.reference[chosen].float(), listened(self.ear, mel), self.text[chosen].float())


@torch.no_grad()
def listened(ear: Ear, mel: Tensor) -> Tensor:
    """mel (B, M, 64) around clips of T frames  ->  what the transformer is told of their sound, (B, 1, D, T)"""
    with autocast(mel.device):
        return ear(windows(mel))[:, None].float()


@torch.no_grad()
def encode_clips(clips: Clips, vae: VideoVAE, ear: Ear, count: int, latent_frames: int, batch: int = 64,
                 video: bool = True) -> Material:
    """Draw clips, render and encode them; without video only portraits, sound and words."""
    parts, batch = [], min(batch, count)
    for _ in range(-(-count // batch)):
        drawn = clips.draw(batch, AUDIO_HISTORY + FRAMES_PER_LATENT * latent_frames, video=False, portrait=True)
        parts.append((encode_video(clips, vae, drawn).half() if video else None,
                      encode(vae.encode_portrait, drawn.portrait).half(), drawn.mel.half(),
                      controls_vector(drawn.controls).half(), drawn.visemes[:, AUDIO_HISTORY:].half()))
    columns = (None if column[0] is None else torch.cat(column)[:count] for column in zip(*parts, strict=True))
    return Material(ear, *columns)


def encode_video(clips: Clips, vae: VideoVAE, drawn: ClipBatch) -> Tensor:
    """Latents of the drawn clips without their audio history. (B, C, F, h, w)"""
    return encode(vae.encode, clips.film(drawn.identity, drawn.motion[:, AUDIO_HISTORY:]))


def encode(how, pictures: Tensor) -> Tensor:
    with autocast(pictures.device):
        return how(pictures).float()


def velocity(model: CausalS2VTransformer, x: Tensor, sigma: Tensor, told: Told) -> Tensor:
    """The model's answer for whole clips. x (B, C, F, h, w), sigma (B,) one noise level a clip"""
    with autocast(x.device):
        text = model.encode_text(told.text)
        context = Context(text, model.encode_audio(told.audio))
        with torch.compiler.set_stance("force_eager"):      # few tokens: not worth graphs of their own
            condition = model.prefill(told.reference, None, text)
        return model.forward_clip(x, model.modulate(1000 * sigma[:, None]), context, condition).float()


@torch.no_grad()
def rollout(model: CausalS2VTransformer, noise: Tensor, told: Told, schedule: Schedule, solver: Solver = "euler",
            generator: torch.Generator | None = None, guidance: float = 1.0) -> Tensor:
    """Noise to finished latents, all blocks in parallel: what streaming gives, in S passes (2 S with guidance)."""
    x = noise
    for sigma, sigma_next in pairwise(schedule.sigmas):
        v = guided(model, x, torch.full((len(x),), sigma, device=x.device), told, guidance)
        fresh = torch.randn(x.shape, generator=generator, device=x.device) if solver == "renoise" else None
        x = move(x, v, sigma, sigma_next, solver, fresh)
    return x


def guided(model: CausalS2VTransformer, x: Tensor, sigma: Tensor, told: Told, guidance: float) -> Tensor:
    """Velocity with classifier-free guidance; 1 is off."""
    v = velocity(model, x, sigma, told)
    if guidance == 1:
        return v
    free = velocity(model, x, sigma, told.without())
    return free + guidance * (v - free)


def attention_to_face(latents: Tensor) -> Tensor:
    """Weights (1, 1, 1, h, w) of mean 1 that count the middle of the face seven times: lips are few pixels."""
    h, w = latents.shape[-2:]
    y = (torch.arange(h, device=latents.device) + 0.5 - 0.62 * h) / (0.115 * h)
    x = (torch.arange(w, device=latents.device) + 0.5 - 0.5 * w) / (0.14 * min(h, w))
    weights = 1 + 6 * torch.exp(-(y[:, None] ** 2 + x[None] ** 2))
    return (weights / weights.mean())[None, None, None]
