"""Clips as the transformer meets them: latents, sound, words; and its answers for whole clips at once.

With timestep forcing a sampler step of a whole clip is one parallel pass (`CausalS2VTransformer.forward_clip`), so
training, distillation and evaluation never loop over time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from liveavatar.audio import windows
from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.avatars.traits import MOTION, motion_index
from liveavatar.backends.mini.audio import AudioEncoder
from liveavatar.backends.mini.preset import TOKEN_SIDE_PX
from liveavatar.backends.mini.vae import FRAMES_PER_LATENT, VideoVAE
from liveavatar.conditions import controls_vector, nothing_said
from liveavatar.metrics.regressor import MOUTH
from liveavatar.sampler import Schedule, Solver, move
from liveavatar.strength import SHARPEST_BLUR_PX, STRONGEST_BLUR_PX, blur_portrait, weaken_sound
from liveavatar.training.clips import Clips, disturb
from liveavatar.training.options import autocast
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer, ClipPrediction, Context

# where the loss counts more: radii across and down in distances between the eyes, and how much is added to 1
MOUTH_WEIGHT = 6.0
EMPHASIS = {"mouth_center": (0.78, 0.52, MOUTH_WEIGHT), "left_eye": (0.40, 0.32, 4.0), "right_eye": (0.40, 0.32, 4.0),
            "left_hand": (0.68, 0.68, 2.0), "right_hand": (0.68, 0.68, 2.0)}
SMALLEST_WEIGHTED_SIGMA = 0.2    # errors of the finished latents count as 1 / sigma^2, but no more than here


@dataclass(frozen=True)
class Strengths:
    """Shares of clips that are trained with less to go by.

    Photographs are never left out: who is made up without a portrait is a drawn avatar, since so small a network draws
    these far better.
    """

    no_portrait: float = 0.40    # of drawn avatars
    blurred_portrait: float = 0.20
    no_sound: float = 0.12
    noisy_sound: float = 0.13
    no_words: float = 0.10       # none at all
    no_word: float = 0.10        # of each slot of the prompt by itself


FULL = Strengths(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class ClipCondition:
    """Hold what steers B clips."""

    reference: Tensor   # (B, C, 1, h, w) latent of the portrait; zero where there is none
    audio: Tensor       # (B, 1, D, 9 + 4F), features of the sound
    text: Tensor        # (B, slots, text_dim), one-hot

    def __len__(self) -> int:
        return len(self.reference)

    def __getitem__(self, index: Tensor | slice) -> ClipCondition:
        return ClipCondition(*(getattr(self, field.name)[index].float() for field in fields(self)))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return reference, audio and text, for functions that take tensors only."""
        return self.reference, self.audio, self.text

    def unconditional(self) -> ClipCondition:
        """Return the same portraits without sound and words: the other branch of classifier-free guidance."""
        text = _empty_text(self.text.device).expand_as(self.text)
        return replace(self, audio=torch.zeros_like(self.audio), text=text)


@cache
def _empty_text(device: torch.device) -> Tensor:
    return nothing_said().to(device)


@dataclass(frozen=True)
class Dataset:
    """Clips made ready for training the transformer: pictures encoded, sound kept as mel so that it can be disturbed
    anew every time. In half precision, on the GPU. N clips."""

    audio_encoder: AudioEncoder
    latents: Tensor         # (N, C, F, h, w)
    reference: Tensor       # (N, C, 1, h, w) latent of the portrait
    blurred: Tensor         # (N, C, 1, h, w) of the portrait blurred, each by a strength of its own
    mel: Tensor             # (N, M, 64) undisturbed
    text: Tensor            # (N, slots, text_dim)
    mouth: Tensor           # (N, F, n) how much of the mouth each token shows, 1 in sum
    shapes: Tensor          # (N, 4F, len(MOUTH)) true shapes of the mouth, in shares of their ranges
    emphasis: Tensor        # (N, 1, F, h, w) weights of the loss, 1 on average
    displacement: Tensor    # (N, 2, F, h, w) where in the portrait a place is taken from, in latent pixels from there
    known: Tensor           # (N, 1, F, h, w) 0..1, how far that is known
    photo: Tensor           # (N,) bool, a photograph that speaks

    def __len__(self) -> int:
        return len(self.reference)

    def condition(self, chosen: Tensor, generator: torch.Generator, strengths: Strengths = FULL) -> ClipCondition:
        """Make the condition of the chosen clips (B,): sound disturbed, portrait, sound and words weakened by
        chance."""
        def draw(*shape: int) -> Tensor:
            return torch.rand(len(chosen), *shape, generator=generator, device=chosen.device)

        kind, none = draw(1, 1, 1, 1), strengths.no_portrait * ~widen(self.photo[chosen])
        reference = torch.where(kind < none + strengths.blurred_portrait,
                                self.blurred[chosen].float(), self.reference[chosen].float())
        reference = torch.where(kind < none, torch.zeros_like(reference), reference)
        audio = encode_audio(self.audio_encoder, disturb(self.mel[chosen].float(), generator))
        kind, level = draw(1, 1, 1), draw(1, 1, 1)
        level = torch.where(kind < strengths.no_sound + strengths.noisy_sound, level, torch.ones_like(level))
        audio = weaken_sound(audio, torch.where(kind < strengths.no_sound, torch.zeros_like(level), level), generator)
        text = self.text[chosen].float()
        wordless = (draw(1) < strengths.no_words) | (draw(text.shape[1]) < strengths.no_word)
        return ClipCondition(reference, audio, torch.where(wordless[..., None], _empty_text(text.device), text))

    def __getitem__(self, index: slice) -> Dataset:
        return Dataset(self.audio_encoder, *(getattr(self, field.name)[index] for field in fields(self)[1:]))

    def replace_clips(self, at: int, new: Dataset) -> None:
        """Overwrite clips from number `at` on, in place."""
        for field in fields(self)[1:]:
            getattr(self, field.name)[at:at + len(new)] = getattr(new, field.name)


@torch.no_grad()
def encode_audio(encoder: AudioEncoder, mel: Tensor) -> Tensor:
    """Encode mel (B, M, 64) around clips of T frames  ->  features of their sound (B, 1, D, T)"""
    with autocast(mel.device):
        return encoder(windows(mel))[:, None].float()


@torch.no_grad()
def encode_clips(clips: Clips, vae: VideoVAE, audio_encoder: AudioEncoder, count: int, latent_frames: int,
                 batch: int = 32, mouth_weight: float = MOUTH_WEIGHT) -> Dataset:
    """Draw clips and encode them. mouth_weight: of the loss around the mouth, beside 1 far from face and hands"""
    parts, batch = [], min(batch, count)
    for _ in range(-(-count // batch)):
        drawn = clips.draw(batch, FRAMES_PER_LATENT * latent_frames, portrait=True, lead=AUDIO_HISTORY,
                           cell_px=vae.config.stride)
        exponent = torch.rand((), generator=clips.generator)
        cell_px = SHARPEST_BLUR_PX * (STRONGEST_BLUR_PX / SHARPEST_BLUR_PX) ** float(exponent)
        reference, blurred = (encode(vae.encode_portrait, pictures).half() for pictures in
                              (drawn.portrait, blur_portrait(drawn.portrait, cell_px)))
        latents = torch.cat([encode(vae.encode, part) for part in drawn.video.split(8)]).half()
        parts.append((latents, reference, blurred, drawn.mel.half(), controls_vector(drawn.controls).half(),
                      mouth_on_tokens(drawn.points, clips.size), mouth_shapes(drawn.motion).half(),
                      emphasis_on_latents(drawn.points, latents, clips.size, mouth_weight),
                      *displacement_of_latents(drawn.displacement, drawn.known), drawn.photo))
    return Dataset(audio_encoder, *(torch.cat(column)[:count] for column in zip(*parts, strict=True)))


def displacement_of_latents(displacement: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Average over the four pictures of a latent frame: displacement (B, 4F, h, w, 2), known (B, 4F, h, w)
    ->  (B, 2, F, h, w) and (B, 1, F, h, w), half"""
    moved, known = (values.unflatten(1, (-1, FRAMES_PER_LATENT)) for values in (displacement, known))
    return moved.mean(2).permute(0, 4, 1, 2, 3).half(), known.amin(2)[:, None].half()


def encode(how: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
    """Call a method of the VAE under autocast; its result in float32."""
    with autocast(pictures[0].device):
        return how(*pictures).float()


# ---------------------------------------------------------------------------------------------- emphasis

def emphasis_bells(points: Tensor, size: tuple[int, int], stride: int = 1) -> tuple[Tensor, Tensor]:
    """Compute bells around mouth, eyes and hands, as factors across and down whose product is the bell.

    points (B, T, len(LANDMARKS), 2) px  ->  (B, T, 5, W / stride) and (B, T, 5, H / stride)
    """
    apart = (points[:, :, LANDMARKS.index("right_eye")] - points[:, :, LANDMARKS.index("left_eye")]).norm(dim=-1)
    unit = apart.mean(1)[:, None, None].clamp(min=4.0)
    centres = points[:, :, [LANDMARKS.index(name) for name in EMPHASIS]]
    radii = centres.new_tensor([values[:2] for values in EMPHASIS.values()])
    factors = []
    for axis, length in ((0, size[1]), (1, size[0])):
        line = (torch.arange(length // stride, device=points.device) + 0.5) * stride
        radius = (radii[:, axis] * unit + 0.5 * (stride - 1))[..., None]
        factors.append(torch.exp(-((line - centres[..., axis, None]) / radius).square()))
    return factors[0], factors[1]


def emphasis_weights(bells: tuple[Tensor, Tensor], mouth_weight: float = MOUTH_WEIGHT) -> Tensor:
    """Combine bells (B, T, 5, W) and (B, T, 5, H)  ->  weights (B, T, H, W), 1 far from all bells"""
    across, down = bells
    weights = {name: values[2] for name, values in EMPHASIS.items()} | {"mouth_center": mouth_weight}
    strength = across.new_tensor(list(weights.values()))[:, None]
    return 1 + torch.einsum("btpw,btph->btphw", across * strength, down).amax(2)


def emphasis_on_latents(points: Tensor, latents: Tensor, size: tuple[int, int],
                        mouth_weight: float = MOUTH_WEIGHT) -> Tensor:
    """Compute weights of the loss for latents (B, C, F, h, w): 1 on average over a clip. -> (B, 1, F, h, w) half"""
    weights = emphasis_weights(emphasis_bells(points, size, size[0] // latents.shape[-2]), mouth_weight)
    weights = weights.unflatten(1, (-1, FRAMES_PER_LATENT)).amax(2)
    return (weights / weights.mean((1, 2, 3), keepdim=True))[:, None].half()


def mouth_on_tokens(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute how much of the mouth the tokens show: points (B, 4F, P, 2) px  ->  (B, F, n) half, 1 in sum"""
    across, down = (bells[:, :, 0] for bells in emphasis_bells(points, size, TOKEN_SIDE_PX))
    shown = torch.einsum("btw,bth->bthw", across, down).unflatten(1, (-1, FRAMES_PER_LATENT)).mean(2).flatten(2)
    return (shown / shown.sum(2, keepdim=True).clamp(min=1e-6)).half()


def mouth_shapes(motion: Tensor) -> Tensor:
    """Take the shapes of the mouth, in shares of their ranges, from motion (B, T, NM)  ->  (B, T, len(MOUTH))"""
    traits = [MOTION[motion_index(name)] for name in MOUTH]
    return motion[..., [motion_index(name) for name in MOUTH]] / motion.new_tensor([t.high - t.low for t in traits])


# ---------------------------------------------------------------------------------------------- the network on clips

def velocity(model: CausalS2VTransformer, x: Tensor, sigma: Tensor, condition: ClipCondition) -> Tensor:
    """Predict the velocity of whole clips. x (B, C, F, h, w), sigma (B,) one noise level a clip  ->  (B, C, F, h, w)"""
    return predict(model, x, sigma, condition).velocity


def predict(model: CausalS2VTransformer, x: Tensor, sigma: Tensor, condition: ClipCondition) -> ClipPrediction:
    """Predict the velocity of whole clips, with what else the network says of them. Arguments as for `velocity`."""
    with autocast(x.device):
        text = model.encode_text(condition.text)
        context = Context(text, model.encode_audio(condition.audio))
        with torch.compiler.set_stance("force_eager"):      # few tokens: not worth graphs of their own
            portrait = model.prefill(condition.reference, None, text)
        found = model.predict_clip(x, model.modulate(1000 * sigma[:, None]), context, portrait)
        return found._replace(velocity=found.velocity.float())


def guided(model: CausalS2VTransformer, x: Tensor, sigma: Tensor, condition: ClipCondition, guidance: float) -> Tensor:
    """Predict the velocity with classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598); 1 is off."""
    v = velocity(model, x, sigma, condition)
    if guidance == 1:
        return v
    free = velocity(model, x, sigma, condition.unconditional())
    return free + guidance * (v - free)


def widen(sigma: Tensor) -> Tensor:
    """Reshape (B,) -> (B, 1, 1, 1, 1)"""
    return sigma[:, None, None, None, None]


def clean_from(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """Compute the clean latents that a velocity predicts: x - sigma * v, (B, C, F, h, w), sigma (B,)"""
    return x - widen(sigma) * v


@torch.no_grad()
def rollout(model: CausalS2VTransformer, noise: Tensor, condition: ClipCondition, schedule: Schedule,
            solver: Solver = "euler", generator: torch.Generator | None = None,
            guidance: float = 1.0) -> list[tuple[Tensor, Tensor]]:
    """Denoise to finished latents, all blocks in parallel: what streaming gives, in S passes (2 S with guidance).

    -> for each step, the latents after it and the clean latents it predicts
    """
    x, steps = noise, []
    for sigma, sigma_next in pairwise(schedule.sigmas):
        level = torch.full((len(x),), sigma, device=x.device)
        v = guided(model, x, level, condition, guidance)
        fresh = torch.randn(x.shape, generator=generator, device=x.device) if solver == "renoise" else None
        clean = clean_from(x, v, level)
        x = move(x, v, sigma, sigma_next, solver, fresh)
        steps.append((x, clean))
    return steps


def displacement_loss(flow: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
    """Measure how far the flow is from the true displacement, both (B, 2, F, h, w): latent pixels, the mean weighted by
    (B, 1, F, h, w)."""
    error = torch.nn.functional.huber_loss(flow, displacement, reduction="none", delta=0.25) * 4
    return (error.sum(1, keepdim=True) * weight).sum() / weight.sum().clamp(min=1)


def has_portrait(reference: Tensor) -> Tensor:
    """Find which clips have a portrait: reference (B, C, 1, h, w), zero without one -> (B, 1, 1, 1, 1) bool"""
    return reference.abs().amax((1, 2, 3, 4), keepdim=True) > 0.1


def flow_loss(v: Tensor, clean: Tensor, noise: Tensor, sigma: Tensor, emphasis: Tensor) -> Tensor:
    """Compute the flow-matching loss (Lipman et al. 2022, arXiv:2210.02747, eq. 23) of clips, emphasised in space: a
    scalar. v, clean and noise (B, C, F, h, w), sigma (B,), emphasis (B, 1, F, h, w)"""
    error = (v - (noise - clean)).square() * emphasis
    return (error * widen((sigma / SMALLEST_WEIGHTED_SIGMA).square().clamp(max=1))).mean()

