"""Train the regressor that reads lips, head, hands and colours off a picture.

    python -m liveavatar.training.regressor --corpus .train/corpus.npz --work .train/regressor \\
        --vae .train/vae/vae.safetensors --minutes 3 --total_minutes 2.5 --device cuda --compile [--resume]

Half of the pictures are rendered, half went through the VAE (where one is given), all a little blurred and noisy, so
that it reads generated video as well as true pictures. Evaluated on held-out voices and people: for each trait the
correlation over time within a clip, averaged over clips (where it moves), and the mean absolute error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.traits import MOTION, identity_index, motion_index
from liveavatar.backends.mini.vae import VideoVAE, load_vae
from liveavatar.compiling import compile_function
from liveavatar.config import parse_size
from liveavatar.metrics.regressor import BODY, COLOURS, MOUTH, FaceRegressor, save_regressor
from liveavatar.training.learner import Learner, rank
from liveavatar.training.loop import TrainingLoop
from liveavatar.training.options import add_arguments, autocast, budget_of, start

from .clips import ClipBatch, Clips
from .vae import point
from .worlds import add_world_arguments, clips_of

SHAKE = (0.04, 0.04, 0.10)      # by which the close look misses the mouth in training, in the units of PLACE
MOUTH_WEIGHT = 2.0
PLACE_WEIGHT = 4.0


class Targets:
    """Hold what should be read off the pictures of a batch of clips."""

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        """Send columns and constants to the device, once."""
        H, W = size
        self.seen_in_photographs = torch.tensor([float(name in MOUTH or name == "blink") for name in MOUTH + BODY],
                                                device=device)
        self.traits = torch.tensor([motion_index(name) for name in MOUTH + BODY], device=device)
        self.colours = torch.tensor([identity_index(f"{name}_{channel}") for name in COLOURS
                                     for channel in ("red", "green", "blue")], device=device)
        self.middle = torch.tensor([W / 2, H / 2], device=device)
        self.half_px = min(H, W) / 2

    def of(self, clips: ClipBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return, time outermost, traits (T*B, 26), colours (T*B, 4, 3), place (T*B, 3) as PLACE, and which of the
        traits are known (T*B, 26); colours are known where all traits are."""
        T = clips.motion.shape[1]
        traits = clips.motion.transpose(0, 1).flatten(0, 1).index_select(1, self.traits)
        colours = clips.identity.index_select(1, self.colours).unflatten(1, (-1, 3)).repeat(T, 1, 1)
        middle = (point(clips, "mouth_center") - self.middle) / self.half_px
        apart = (point(clips, "right_eye") - point(clips, "left_eye")).norm(dim=1, keepdim=True) / (2 * self.half_px)
        known = torch.where(clips.photo[:, None], self.seen_in_photographs, 1.0).repeat(T, 1)
        return traits, colours, torch.cat([middle, apart.clamp(min=0.01).log()], 1), known


def trait_ranges() -> Tensor:
    """Return (26,) the width of each trait's range: errors are counted in shares of it."""
    return torch.tensor([MOTION[motion_index(name)].high - MOTION[motion_index(name)].low for name in MOUTH + BODY])


def trait_weights() -> Tensor:
    """Return (26,) the weight of each trait in the loss."""
    return torch.tensor([MOUTH_WEIGHT] * len(MOUTH) + [1.0] * len(BODY))


def reading_losses(regressor: FaceRegressor, pictures: Tensor, shake: Tensor, traits: Tensor, colours: Tensor,
                   place: Tensor, known: Tensor, ranges: Tensor, weights: Tensor) -> Tensor:
    """Compute (4,): loss, and its parts for traits, colours and the place of the mouth. pictures (N, 3, H, W)"""
    read_traits, read_colours, read_place, _ = regressor.read(pictures, shake)
    trait_loss = (F.smooth_l1_loss(read_traits.float() / ranges, traits / ranges, beta=0.05, reduction="none")
                  * weights * known).mean()
    drawn = known.amin(1)[:, None, None]
    colour_loss = (F.smooth_l1_loss(read_colours.float(), colours, beta=0.05, reduction="none") * drawn).mean()
    place_loss = F.smooth_l1_loss(read_place.float(), place, beta=0.02)
    return torch.stack([trait_loss + colour_loss + PLACE_WEIGHT * place_loss, trait_loss, colour_loss, place_loss])


@torch.no_grad()
def reconstruct_half(video: Tensor, vae: VideoVAE) -> Tensor:
    """Pass the first half of the clips through the VAE. (B, 3, T, H, W)"""
    half = len(video) // 2
    with autocast(video.device):
        again = vae.decode(vae.encode(video[:half])).float()
    return torch.cat([again, video[half:]])


def soften(pictures: Tensor, clips: Clips) -> Tensor:
    """Add a little blur and a little noise, different for every picture. (N, 3, H, W)"""
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    strength = clips.noise(len(pictures), 2, 1, 1, 1).abs()
    mixed = torch.lerp(pictures, blurred, (0.3 * strength[:, 0]).clamp(max=1))
    return mixed + 0.008 * strength[:, 1] * clips.noise(*pictures.shape)


def train(loop: TrainingLoop, clips: Clips, vae: VideoVAE | None, batch: int, frames: int, compiled: bool) -> None:
    """Run the loop until its budget is used."""
    regressor: FaceRegressor = loop.learners["regressor"].model
    losses_of = compile_function(reading_losses, dynamic=False) if compiled else reading_losses
    targets = Targets(clips.size, clips.device)
    ranges, weights = trait_ranges().to(clips.device), trait_weights().to(clips.device)
    for _ in loop:
        drawn = clips.draw(batch, frames, audio=False)
        video = drawn.video if vae is None else reconstruct_half(drawn.video, vae)
        pictures = soften(video.permute(2, 0, 1, 3, 4).flatten(0, 1), clips)                    # time outermost
        shake = clips.noise(len(pictures), len(SHAKE)) * torch.tensor(SHAKE, device=clips.device)
        with autocast(clips.device):
            losses = losses_of(regressor, pictures, shake, *targets.of(drawn), ranges, weights)
        loop.update("regressor", losses[0])
        loop.show(loss=losses[0], traits=losses[1], colours=losses[2], place=losses[3])


def correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Compute the Pearson correlation along dim; NaN where b does not move."""
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    moves = b.square().mean(dim).sqrt() > 0.01
    value = (a * b).sum(dim) / (a.square().sum(dim) * b.square().sum(dim)).clamp(min=1e-12).sqrt()
    return torch.where(moves, value, torch.nan)


@torch.no_grad()
def evaluate(regressor: FaceRegressor, clips: Clips, vae: VideoVAE | None, count: int, frames: int,
             batch: int) -> dict[str, dict[str, float]]:
    """Measure each trait on true pictures and (with a VAE) on reconstructions: correlation over time, mean absolute
    error."""
    names, targets = MOUTH + BODY, Targets(clips.size, clips.device)
    found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {"true": [], "reconstructed": []}
    for _ in range(0, count, batch):
        drawn = clips.draw(batch, frames, audio=False)
        traits, colours, _, _ = targets.of(drawn)
        videos = {"true": drawn.video}
        if vae is not None:
            with autocast(clips.device):
                videos["reconstructed"] = vae.decode(vae.encode(drawn.video)).float()
        for kind, video in videos.items():
            with autocast(clips.device):
                reading = regressor(video.permute(2, 0, 1, 3, 4).flatten(0, 1))
            wrong_colour = (reading.colours.float() - colours).abs().mean()
            found[kind].append((reading.motion.float().unflatten(0, (frames, batch)),
                                traits.unflatten(0, (frames, batch)), wrong_colour))
    result = {}
    for kind, rounds in found.items():
        if rounds:
            read, true = (torch.cat([entry[i] for entry in rounds], 1) for i in (0, 1))         # (T, clips, 26)
            together = correlation(read, true, 0).nanmean(0).tolist()
            errors = (read - true).abs().mean((0, 1)).tolist()
            result[kind] = {f"{name}_correlation": round(value, 4) for name, value in zip(names, together, strict=True)
                            if value == value}                                                  # it moved somewhere
            result[kind] |= {f"{name}_error": round(value, 4) for name, value in zip(names, errors, strict=True)}
            result[kind]["colour_error"] = round(torch.stack([entry[2] for entry in rounds]).mean().item(), 4)
    return result


def main(argv: list[str] | None = None) -> dict[str, dict]:
    parser = add_world_arguments(add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0])))
    parser.add_argument("--vae", type=Path, help="weights of the VAE whose reconstructions it should also read")
    parser.add_argument("--batch", type=int, default=16, help="clips in a step, on each GPU")
    parser.add_argument("--frames", type=int, default=16, help="video frames in a clip")
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--evaluation_clips", type=int, default=64)
    parser.add_argument("--evaluation_frames", type=int, default=80)
    parser.add_argument("--narrow", action="store_true", help="a toy network, for tests")
    arguments = parser.parse_args(argv)
    device, _ = start(arguments)
    generator = torch.Generator().manual_seed(arguments.seed + 1000 * rank())  # on the host, as clips are planned there
    model = FaceRegressor((4, 4, 8, 8, 8), (4, 4, 8, 8)) if arguments.narrow else FaceRegressor()
    regressor = model.to(device, memory_format=torch.channels_last)
    vae = load_vae(arguments.vae, device).to(memory_format=torch.channels_last) if arguments.vae else None
    size = parse_size(arguments.size)
    clips = clips_of(arguments, "train", device, size, generator)
    learner = Learner(regressor, arguments.lr, average=0.998, export=save_regressor)
    loop = TrainingLoop(arguments.work, {"regressor": learner}, generator, budget_of(arguments), arguments.resume,
                        "regressor", arguments.log_every)
    train(loop, clips, vae, arguments.batch, arguments.frames, arguments.compile)
    if rank() > 0:
        return {}
    print(f"regressor: {loop.step} steps, {loop.steps_per_s:.1f} steps/s", flush=True)
    held = clips_of(arguments, "held", device, size, generator, vary=False)
    with learner.averaged():
        for world in held.worlds:
            one = Clips(held.speech, [world], device, torch.Generator().manual_seed(9))
            loop.evaluation["photographs" if world.photographs else "avatars"] = evaluate(
                regressor, one, vae, arguments.evaluation_clips, arguments.evaluation_frames,
                min(8, arguments.evaluation_clips))
    loop.write_log()
    print(loop.evaluation, flush=True)
    return loop.evaluation


if __name__ == "__main__":
    main()
