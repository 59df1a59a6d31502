"""Look at what was trained: sheets of pictures and a few numbers, on people and voices that were kept out of training.

    python -m liveavatar.training.review --corpus .train/corpus.npz --portraits portraits \
        --vae .train/vae/vae.safetensors \
        --audio_encoder .train/listener/listener.safetensors --base .train/base/base.safetensors \
        --students .train/student4 --regressor .train/regressor/regressor.safetensors --work .train/review

For every network, every strength of the portrait and each of its steps: how far the predicted pictures are from true
ones (Frechet distance of content and of texture), how much fine detail they have, how well lips follow the true curve.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.avatars.traits import motion_index
from liveavatar.backends.mini.preset import LORA_ALPHA, SHIFT, transformer_options
from liveavatar.backends.mini.vae import VideoVAE, load_vae
from liveavatar.config import parse_size
from liveavatar.lora import merge_lora
from liveavatar.metrics.quality import Likeness, draw_people, mean_of_known, temporal_correlation
from liveavatar.metrics.regressor import FaceRegressor, load_regressor
from liveavatar.sampler import Schedule, trained_schedule
from liveavatar.strength import blur_portrait
from liveavatar.training.audio_encoder import load_audio_encoder
from liveavatar.training.base import load_transformer
from liveavatar.training.checkpoint import load_pieces
from liveavatar.training.clips import ClipBatch, Clips
from liveavatar.training.dataset import ClipCondition, encode, encode_audio, rollout
from liveavatar.training.distill import in_8_bits
from liveavatar.training.options import add_arguments, start
from liveavatar.training.sheets import tile, write_png
from liveavatar.training.vae import detail_strength
from liveavatar.training.worlds import add_world_arguments, clips_of
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer

STRENGTHS = {"full": 0.0, "32px": 32.0, "none": float("inf")}       # cell of the portrait's blur, px
PICTURED = 8                                                        # clips on a sheet
SAMPLED_EVERY = 4                                                   # frames of which features are taken


@dataclass(frozen=True)
class Networks:
    """Hold what is reviewed."""

    vae: VideoVAE
    regressor: FaceRegressor | None
    models: dict[str, tuple[CausalS2VTransformer, Schedule]]


def load_networks(arguments: argparse.Namespace, device: torch.device) -> Networks:
    """Load the base at 32 and at 4 steps, and every student."""
    vae = load_vae(arguments.vae, device).to(memory_format=torch.channels_last).eval()

    def base() -> CausalS2VTransformer:
        return in_8_bits(load_transformer(arguments.base, transformer_options(vae.config))).to(device).eval()

    models = {f"base_{steps}": (base(), trained_schedule(steps, SHIFT)) for steps in arguments.base_steps}
    for folder in arguments.students:
        name, _, steps = str(folder).partition(":")
        student = base()
        merge_lora(student, {key: value.to(device) for key, value in load_pieces(Path(name), "student")[0].items()},
                   LORA_ALPHA)
        models[f"{Path(name).name}_{steps or 4}"] = student, trained_schedule(int(steps or 4), SHIFT)
    regressor = load_regressor(arguments.regressor, device) if arguments.regressor else None
    return Networks(vae, regressor, models)


def portraits_of(drawn: ClipBatch) -> dict[str, Tensor | None]:
    """Blur the portraits (B, 3, H, W) to each strength; None: nothing is seen."""
    return {name: None if cell_px == float("inf") else blur_portrait(drawn.portrait, cell_px) if cell_px else
            drawn.portrait for name, cell_px in STRENGTHS.items()}


@torch.no_grad()
def conditions_of(drawn: ClipBatch, networks: Networks, audio_encoder) -> dict[str, ClipCondition]:
    """Make the conditions of the clips, for each strength of the portrait."""
    from liveavatar.conditions import controls_vector

    audio, text = encode_audio(audio_encoder, drawn.mel), controls_vector(drawn.controls).to(drawn.mel.device)
    references = {name: None if portrait is None else encode(networks.vae.encode_portrait, portrait)
                  for name, portrait in portraits_of(drawn).items()}
    nothing = torch.zeros_like(references["full"])
    return {name: ClipCondition(nothing if reference is None else reference, audio, text)
            for name, reference in references.items()}


@torch.no_grad()
def decoded(vae: VideoVAE, latents: Tensor) -> Tensor:
    """Decode clips, some at a time."""
    return torch.cat([encode(vae.decode, part).clamp(0, 1) for part in latents.split(8)])


@torch.no_grad()
def features_of(regressor: FaceRegressor, video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Extract content (B, t, 192), texture (B, t, 288) of some frames, aperture (B, T) of all. video (B, 3, T, H, W)"""
    B, _, T = video.shape[:3]
    some = video[:, :, ::SAMPLED_EVERY].transpose(1, 2).flatten(0, 1)
    content, texture = (torch.cat([how(part.contiguous()) for part in some.split(128)]).unflatten(0, (B, -1))
                        for how in (regressor.features, regressor.textures))
    pictures = video.transpose(1, 2).flatten(0, 1)
    aperture = torch.cat([regressor(part.contiguous())["mouth_aperture"] for part in pictures.split(128)])
    return content.float(), texture.float(), aperture.float().view(B, T)


class Review:
    """Numbers and sheets of one world."""

    def __init__(self, name: str, drawn: ClipBatch, networks: Networks, work: Path) -> None:
        self.name, self.drawn, self.networks, self.work = name, drawn, networks, work
        self.rows: dict[str, dict[str, float]] = {}
        self.people = draw_people(len(drawn.video), draws=1)
        self.aperture = drawn.motion[..., motion_index("mouth_aperture")]
        if networks.regressor is not None:
            content, texture, self.read = features_of(networks.regressor, drawn.video)
            self.likeness = Likeness(content, self.people), Likeness(texture, self.people)
        self.measure("truth", drawn.video)

    def measure(self, name: str, video: Tensor) -> None:
        """Compare video (B, 3, T, H, W) 0..1 with the truth; keep and print the numbers as a row of that name."""
        truth = self.drawn.video
        detail = detail_strength(video.transpose(1, 2).flatten(0, 1)) / detail_strength(
            truth.transpose(1, 2).flatten(0, 1)).clamp(min=1e-4)
        row = {"psnr_db": -10 * (video - truth).square().mean().clamp(min=1e-9).log10().item(),
               "detail": detail.median().item()}
        if self.networks.regressor is not None:
            content, texture, aperture = features_of(self.networks.regressor, video)
            row |= {"content": self.likeness[0].distance(content).value,
                    "texture": self.likeness[1].distance(texture).value,
                    "aperture": mean_of_known(temporal_correlation(aperture, self.aperture))}
        self.rows[name] = {key: round(value, 4) for key, value in row.items()}
        print(f"{self.name:12} {name:28}", self.rows[name], flush=True)

    def sheet(self, name: str, rows: list[Tensor]) -> None:
        """Save rows of pictures (PICTURED, 3, H, W) as one picture."""
        write_png(tile(torch.stack(rows)), self.work / f"{self.name}_{name}.png")

    @torch.no_grad()
    def review_steps(self, name: str, strength: str, condition: ClipCondition) -> None:
        """Measure and picture every step of one network."""
        model, schedule = self.networks.models[name]
        B, _, T = self.drawn.video.shape[:3]
        generator = torch.Generator(self.drawn.video.device).manual_seed(7)
        shape = (B, condition.reference.shape[1], T // 4, *condition.reference.shape[-2:])
        noise = torch.randn(shape, generator=generator, device=generator.device)
        steps = [rollout(model, noise[part], condition[part], schedule) for part in
                 (slice(first, first + 16) for first in range(0, B, 16))]
        shown = range(schedule.steps) if schedule.steps <= 8 else [schedule.steps - 1]
        rows = [self.drawn.video[:PICTURED, :, T // 2]]
        for step in shown:
            video = decoded(self.networks.vae, torch.cat([part[step][1] for part in steps]))
            self.measure(f"{name} {strength} after {step}", video)
            rows.append(video[:PICTURED, :, T // 2])
        self.sheet(f"steps_{name}_{strength}", rows)
        times = [round(t) for t in torch.linspace(4, T - 5, 8).tolist()]
        films = [[self.drawn.portrait[clip], *video[clip, :, times].unbind(1)] for clip in range(min(PICTURED, B))]
        if strength == "full":
            truths = [[self.drawn.portrait[clip], *self.drawn.video[clip, :, times].unbind(1)] for clip in
                      range(min(PICTURED, B))]
            self.sheet(f"films_{name}", [torch.stack(line) for pair in zip(truths[:4], films[:4], strict=True)
                                         for line in pair])


def main(argv: list[str] | None = None) -> dict:
    parser = add_world_arguments(add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0])))
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--audio_encoder", "--listener", type=Path, required=True)
    parser.add_argument("--students", nargs="*", default=[], metavar="FOLDER[:STEPS]")
    parser.add_argument("--base_steps", nargs="*", type=int, default=[32, 4])
    parser.add_argument("--regressor", type=Path)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--frames", type=int, default=84)
    arguments = parser.parse_args(argv)
    device, _ = start(arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    networks = load_networks(arguments, device)
    audio_encoder, _ = load_audio_encoder(arguments.audio_encoder, device)
    held = clips_of(arguments, "held", device, parse_size(arguments.size), torch.Generator().manual_seed(9), vary=False)
    found = {}
    for world in held.worlds:
        kind = "photographs" if world.photographs else "avatars"
        clips = Clips(held.speech, [replace(world, share=1.0)], device, torch.Generator().manual_seed(9))
        drawn = clips.draw(arguments.clips, arguments.frames, portrait=True, lead=AUDIO_HISTORY)
        review = Review(kind, drawn, networks, arguments.work)
        latents = torch.cat([encode(networks.vae.encode, part) for part in drawn.video.split(8)])
        review.measure("VAE", decoded(networks.vae, latents))
        for strength, condition in conditions_of(drawn, networks, audio_encoder).items():
            for name in networks.models:
                review.review_steps(name, strength, condition)
        found[kind] = review.rows
        (arguments.work / "review.json").write_text(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
