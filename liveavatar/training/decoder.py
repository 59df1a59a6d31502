"""Sharpen the decoder of a trained VAE while its latents stay what they are, so that every transformer still fits.

    python -m liveavatar.training.decoder --corpus .train/corpus.npz --portraits portraits \
        --vae .train/vae/vae.safetensors --work .train/decoder --total_minutes 4 --compile

To the losses of `training.vae` comes a discriminator that judges small patches: it learns to tell decoded pictures from
true ones, and the decoder learns to be taken for true (hinge loss, Lim & Ye 2017, arXiv:1705.02894; patches as in
Isola et al. 2017, arXiv:1611.07004; for autoencoders Esser et al. 2021, arXiv:2012.09841, eq. 7). Its inner features
are matched too, which keeps it from inventing. The latents get a little noise, as a transformer's have errors; with
`--base` most of them are what the transformer makes of latents to which more noise was added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from liveavatar.backends.mini.preset import transformer_options
from liveavatar.backends.mini.vae import VideoVAE, load_vae, save_vae
from liveavatar.compiling import compile_function
from liveavatar.conditions import controls_vector
from liveavatar.config import parse_size
from liveavatar.training.learner import Learner, rank
from liveavatar.training.loop import TrainingLoop
from liveavatar.training.options import add_arguments, autocast, budget_of, start
from liveavatar.transformer import AUDIO_HISTORY

from .audio_encoder import load_audio_encoder
from .base import load_transformer
from .clips import ClipBatch, Clips
from .dataset import (
    MOUTH_WEIGHT,
    ClipCondition,
    clean_from,
    emphasis_bells,
    emphasis_weights,
    encode,
    encode_audio,
    velocity,
    widen,
)
from .vae import evaluate_worlds, picture_losses
from .worlds import add_world_arguments, clips_of

ADVERSARIAL_WEIGHT, MATCHING_WEIGHT = 0.02, 0.5
BEGINS = 0.1                    # share of the budget from which on the decoder also learns from the discriminator
LATENT_NOISE = 0.2              # at the most, of unit variance
DENOISED = 0.6                  # share of clips whose latents the transformer has denoised, from a level in this range
DENOISED_FROM = (0.1, 0.7)
COMPARED_FRAMES = 4               # of each clip, in a step


class PatchDiscriminator(nn.Module):
    """Pictures (N, 3, H, W) 0..1  ->  a score for each patch (N, 1, H/8, W/8), high for true; and inner features."""

    def __init__(self, widths: tuple[int, ...] = (48, 96, 192)) -> None:
        super().__init__()
        channels = (3, *widths)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(before, width, 4, stride=2, padding=1))
                                    for before, width in zip(channels, widths, strict=False))
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, features = 2 * pictures - 1, []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features


def discriminator_loss(true: Tensor, decoded: Tensor, weight: Tensor) -> Tensor:
    """Compute the hinge loss of scores (N, 1, h, w), weighted (N, 1, h, w)."""
    return ((F.relu(1 - true) + F.relu(1 + decoded)) * weight).mean()


def decoder_loss(score: Tensor, features: list[Tensor], true_features: list[Tensor], weight: Tensor) -> Tensor:
    """Measure how far decoded pictures are from being taken for true, and their features from those of the truth."""
    matching = sum((one - other).abs().mean() for one, other in zip(features, true_features, strict=True))
    return MATCHING_WEIGHT * matching / len(features) - ADVERSARIAL_WEIGHT * (score * weight).mean()


def train(loop: TrainingLoop, clips: Clips, arguments: argparse.Namespace, denoiser: Denoiser | None = None) -> None:
    """Run the loop until its budget is used."""
    vae: VideoVAE = loop.learners["vae"].model
    discriminator: PatchDiscriminator = loop.learners["discriminator"].model
    decode = compile_function(vae.reconstruct, dynamic=False) if arguments.compile else vae.reconstruct
    for share in loop:
        drawn = clips.draw(arguments.batch, arguments.frames, audio=denoiser is not None, portrait=denoiser is not None,
                           lead=AUDIO_HISTORY if denoiser is not None else 0)
        weight = emphasis_weights(emphasis_bells(drawn.points, clips.size), arguments.mouth_weight)   # (B, T, H, W)
        latents = noisy_latents(vae, drawn.video, clips)
        if denoiser is not None:
            latents = denoiser.replace_some(latents, drawn, clips)
        with autocast(clips.device):
            again = decode(latents)
        again = again.float()
        loss, absolute, _, square, detail = picture_losses(again, drawn.video, weight)
        start_at = int(torch.randint(arguments.frames - COMPARED_FRAMES + 1, (), generator=clips.generator))
        chosen = slice(start_at, start_at + COMPARED_FRAMES)
        true, decoded = (video[:, :, chosen].transpose(1, 2).flatten(0, 1) for video in (drawn.video, again))
        patches = F.avg_pool2d(weight[:, chosen].flatten(0, 1)[:, None], 8)
        patches = patches / patches.mean()
        with autocast(clips.device):
            scores = (discriminator(pictures)[0].float() for pictures in (true, decoded.detach()))
            cost = discriminator_loss(*scores, patches)
        loop.update("discriminator", cost)
        if share >= BEGINS:
            with autocast(clips.device):
                with torch.no_grad():
                    wanted = discriminator(true)[1]
                score, features = discriminator(decoded)
                loss = loss + decoder_loss(score.float(), features, wanted, patches)
        loop.update("vae", loss)
        loop.show(loss=loss, l1=absolute, mse=square, detail=detail, discriminator=cost)


class Denoiser:
    """A trained transformer, asked for what it makes of noisy latents."""

    def __init__(self, vae: VideoVAE, base: Path, audio_encoder: Path, device: torch.device) -> None:
        self.vae = vae
        self.base = load_transformer(base, transformer_options(vae.config)).to(device).eval().requires_grad_(False)
        self.audio_encoder, _ = load_audio_encoder(audio_encoder, device)

    @torch.no_grad()
    def replace_some(self, raw: Tensor, drawn: ClipBatch, clips: Clips) -> Tensor:
        """Replace some raw latents (B, C, F, h, w), as `VideoVAE.posterior` gives them, by denoised ones."""
        mean, std = (values[:, None, None, None] for values in (self.vae.latent_mean, self.vae.latent_std))
        reference = encode(self.vae.encode_portrait, drawn.portrait)
        condition = ClipCondition(reference, encode_audio(self.audio_encoder, drawn.mel),
                                  controls_vector(drawn.controls))
        clean, (low, high) = (raw - mean) / std, DENOISED_FROM
        share, level = torch.rand(2, len(raw), generator=clips.generator).to(raw.device)
        sigma = low + (high - low) * level
        noised = torch.lerp(clean, clips.noise(*clean.shape), widen(sigma))
        denoised = clean_from(noised, velocity(self.base, noised, sigma, condition), sigma)
        return torch.where(widen(share < DENOISED), denoised * std + mean, raw)


def noisy_latents(vae: VideoVAE, video: Tensor, clips: Clips) -> Tensor:
    """Encode clips (B, 3, T, H, W), and add noise of a strength of its own to each."""
    with autocast(clips.device), torch.no_grad():
        latents = vae.posterior(video)[0].float()
    strength = LATENT_NOISE * clips.noise(len(latents), 1, 1, 1, 1).abs().clamp(max=1)
    return latents + strength * vae.latent_std[:, None, None, None] * clips.noise(*latents.shape)


def add_arguments_of_decoder(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of this stage."""
    add_world_arguments(add_arguments(parser))
    parser.add_argument("--vae", type=Path, required=True, help="trained VAE")
    parser.add_argument("--base", type=Path, help="trained base, whose latents are decoded too; needs --audio_encoder")
    parser.add_argument("--audio_encoder", "--listener", type=Path, help="trained audio encoder")
    parser.add_argument("--batch", type=int, default=12, help="clips in a step, on each GPU")
    parser.add_argument("--frames", type=int, default=12, help="video frames in a clip")
    parser.add_argument("--mouth_weight", type=float, default=MOUTH_WEIGHT, help="of the loss around the mouth")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--discriminator_lr", type=float, default=3e-4)
    parser.add_argument("--evaluation_clips", type=int, default=64)
    parser.add_argument("--evaluation_frames", type=int, default=48)
    return parser


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments = add_arguments_of_decoder(parser).parse_args(argv)
    device, _ = start(arguments)
    generator = torch.Generator().manual_seed(arguments.seed + 1000 * rank())     # on the host, where clips are planned
    vae = load_vae(arguments.vae, device).to(memory_format=torch.channels_last)
    if (arguments.base is None) != (arguments.audio_encoder is None):
        parser.error("--base and --audio_encoder go together; give both or neither")
    vae.requires_grad_(False).decoder.requires_grad_(True)
    discriminator = PatchDiscriminator().to(device, memory_format=torch.channels_last)
    clips = clips_of(arguments, "train", device, parse_size(arguments.size), generator)
    learner = Learner(vae, arguments.lr, export=save_vae)
    learners = {"vae": learner,
                "discriminator": Learner(discriminator, arguments.discriminator_lr, betas=(0.5, 0.9), average=0.0)}
    loop = TrainingLoop(arguments.work, learners, generator, budget_of(arguments), arguments.resume, "decoder",
                        arguments.log_every)
    train(loop, clips, arguments, None if arguments.base is None else
          Denoiser(vae, arguments.base, arguments.audio_encoder, device))
    if rank() > 0:
        return {}
    with learner.averaged():
        save_vae(vae, arguments.work / "vae.safetensors")
        held = clips_of(arguments, "held", device, clips.size, torch.Generator().manual_seed(9), vary=False)
        loop.evaluation = evaluate_worlds(vae, held, arguments)
    loop.write_log()
    print(loop.evaluation, flush=True)
    return loop.evaluation


if __name__ == "__main__":
    main()
