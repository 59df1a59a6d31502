"""Train the video VAE of mini on drawn avatars, photographs that speak, and textures.

    torchrun --nproc_per_node 4 -m liveavatar.training.vae --corpus .train/corpus.npz --portraits portraits \\
        --work .train/vae --total_minutes 8 --compile [--resume]

Loss: L1, squared error and a Laplacian pyramid of the difference, its change from picture to picture, and the strength
of fine detail, weighted around mouth, eyes and hands (the worlds know where they are), and a very small KL. The
running mean of the weights is kept; mean and standard deviation of each latent channel are measured at the end.
Evaluated on held-out voices and people: PSNR of the whole picture, the mouth, the eyes and the hands, and what is left
of fine detail.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.backends.mini.vae import VAEConfig, VideoVAE, save_vae
from liveavatar.compiling import compile_function
from liveavatar.config import parse_size
from liveavatar.metrics.quality import decibel
from liveavatar.training.learner import Learner, rank
from liveavatar.training.loop import PROCESS_STARTED_S, TrainingLoop, peak_memory_gib
from liveavatar.training.options import add_arguments, autocast, budget_of, start
from liveavatar.training.sheets import tile, write_png

from .clips import ClipBatch, Clips
from .dataset import emphasis_bells, emphasis_weights
from .textures import Textures
from .worlds import add_world_arguments, clips_of

# boxes in which quality is measured: width and height in distances between the eyes
BOXES = {"mouth": (("mouth_center",), 1.6, 1.1), "eyes": (("left_eye", "right_eye"), 0.9, 0.6),
         "hands": (("left_hand", "right_hand"), 1.35, 1.35)}
KL_WEIGHT = 3e-5
KL_WARMUP = 0.10                                 # share of the budget
SQUARE_WEIGHT = 5.0
PYRAMID_WEIGHTS = (1.5, 0.6, 0.3)                # from fine to coarse
MOTION_WEIGHT = 0.4                              # of the error's change from picture to picture
DETAIL_WEIGHT = 0.25                             # of the strength of fine detail
CONFIGS = {
    "stride8": VAEConfig(),
    "stride16": VAEConfig(stride=16, latent_channels=48, encoder_channels=(64, 128, 192),
                          decoder_channels=(192, 128, 64), tail=16),
    "narrow": VAEConfig(encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8)),         # a toy, for tests
}


def point(clips: ClipBatch, name: str) -> Tensor:
    """Return one landmark in every picture, time outermost: (T*B, 2) x, y in pixels."""
    return clips.points[:, :, LANDMARKS.index(name)].transpose(0, 1).flatten(0, 1)


def detail_strength(pictures: Tensor) -> Tensor:
    """Measure the spread of what a blur takes away, in cells of 8 pixels. (N, 3, H, W) -> (N, 1, H/8, W/8)"""
    grey = pictures.mean(1, keepdim=True)
    fine = grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (F.avg_pool2d(fine.square(), 8) + 1e-6).sqrt()


def reconstruction_losses(vae: VideoVAE, video: Tensor, noise: Tensor, weight: Tensor, kl_weight: Tensor) -> Tensor:
    """Pass clips through the VAE  ->  (6,): loss, L1, pyramid, KL, mean squared error, error of the detail's strength.

    video (B, 3, T, H, W), noise (B, C, F, h, w) of unit variance, weight (B, T, H, W) of the pixels
    """
    mean, logvar = vae.posterior(video)
    mean, logvar = mean.float(), logvar.float()
    again = vae.reconstruct(mean + noise * torch.exp(0.5 * logvar)).float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss, absolute, pyramid, square, detail = picture_losses(again, video, weight)
    return torch.stack([loss + kl_weight * kl, absolute, pyramid, kl, square, detail])


def picture_losses(again: Tensor, video: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Compare videos (B, 3, T, H, W), weight (B, T, H, W)  ->  loss, L1, pyramid, mean squared error, error of the
    detail's strength"""
    B = len(video)
    again, truth = (pictures.permute(2, 0, 1, 3, 4).flatten(0, 1) for pictures in (again, video))   # (T*B, 3, H, W)
    difference, weight = again - truth, weight.transpose(0, 1).flatten(0, 1)[:, None]
    absolute = (difference.abs() * weight).mean()
    square = (difference.square() * weight).mean()
    motion = ((difference[B:] - difference[:-B]).abs() * weight[B:]).mean()
    detail = ((detail_strength(again) - detail_strength(truth)).abs() * F.avg_pool2d(weight, 8)).mean()
    pyramid = difference.new_zeros(())
    level, level_weight = difference, weight
    for share in PYRAMID_WEIGHTS:
        coarse = F.avg_pool2d(level, 2)
        fine = level - coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        pyramid = pyramid + share * (fine.abs() * level_weight).mean()
        level, level_weight = coarse, F.avg_pool2d(level_weight, 2)
    loss = absolute + pyramid + SQUARE_WEIGHT * square + MOTION_WEIGHT * motion + DETAIL_WEIGHT * detail
    return loss, absolute, pyramid, difference.square().mean(), detail


def train(loop: TrainingLoop, clips: Clips, textures: Textures | None, arguments: argparse.Namespace) -> None:
    """Run the loop until its budget is used."""
    vae: VideoVAE = loop.learners["vae"].model
    (H, W), T, C, stride = clips.size, arguments.frames, vae.config.latent_channels, vae.config.stride
    losses_of = compile_function(reconstruction_losses, dynamic=False) if arguments.compile else reconstruction_losses
    filmed = arguments.textures if textures is not None else 0
    for share in loop:
        drawn = clips.draw(arguments.batch, T, audio=False, still=arguments.batch // 8)
        video, weight = drawn.video, emphasis_weights(emphasis_bells(drawn.points, clips.size))
        if filmed:
            video = torch.cat([video, textures.film(filmed, T, clips.size)])
            weight = torch.cat([weight, torch.ones_like(weight[:1]).expand(filmed, -1, -1, -1)])
            if loop.step % 100 == 99:
                textures.renew(32 * (loop.step // 100))
        noise = clips.noise(len(video), C, T // 4, H // stride, W // stride)
        kl_weight = torch.tensor(KL_WEIGHT * min(1.0, share / KL_WARMUP), device=clips.device)
        with autocast(clips.device):
            losses = losses_of(vae, video, noise, weight, kl_weight)
        loop.update("vae", losses[0])
        loop.show(loss=losses[0], l1=losses[1], pyramid=losses[2], kl=losses[3], mse=losses[4], detail=losses[5])


@torch.no_grad()
def measure_latents(vae: VideoVAE, clips: Clips, batch: int, frames: int, rounds: int = 8) -> None:
    """Set mean and standard deviation of every latent channel, so that encode() gives unit variance."""
    means = []
    for _ in range(rounds):
        video = clips.draw(batch, frames, audio=False).video
        with autocast(clips.device):
            means.append(vae.posterior(video)[0].float())
    latents = torch.cat(means)
    vae.latent_mean.copy_(latents.mean((0, 2, 3, 4)))
    vae.latent_std.copy_(latents.std((0, 2, 3, 4)).clamp(min=1e-3))


@torch.no_grad()
def evaluate(vae: VideoVAE, clips: Clips, count: int, frames: int, batch: int,
             sheet: Path | None = None) -> dict[str, float]:
    """Measure PSNR in dB of whole pictures and of boxes around mouth, eyes and hands, and what is left of fine detail,
    over `count` clips."""
    (H, W), device = clips.size, clips.device
    x, y = torch.arange(W, device=device) + 0.5, torch.arange(H, device=device) + 0.5
    sums = {name: torch.zeros(2, device=device) for name in ("whole", *BOXES)}                  # squares, pixels
    latent_squares, details = [], []
    for _ in range(0, count, batch):
        drawn = clips.draw(batch, frames, audio=False)
        with autocast(device):
            latents = vae.encode(drawn.video)
            again = vae.decode(latents).float()
        latent_squares.append(latents.float().square().mean())
        again_flat, flat = (v.permute(2, 0, 1, 3, 4).flatten(0, 1) for v in (again, drawn.video))   # (T*B, 3, H, W)
        details.append(detail_strength(again_flat).mean() / detail_strength(flat).mean())
        square = (again_flat - flat).square().mean(1)                                           # (T*B, H, W)
        sums["whole"] += torch.stack([square.sum(), square.new_tensor(square.numel())])
        apart = (point(drawn, "right_eye") - point(drawn, "left_eye")).norm(dim=-1, keepdim=True)
        for name, (places, width, height) in BOXES.items():
            for place in places:
                center = point(drawn, place)
                across = (x - center[:, :1]).abs() <= width / 2 * apart
                down = (y - center[:, 1:]).abs() <= height / 2 * apart
                inside = across[:, None, :] & down[:, :, None]
                sums[name] += torch.stack([(square * inside).sum(), inside.sum().float()])
        if sheet is not None:
            write_png(contact_sheet(drawn, again), sheet)
            sheet = None
    result = {f"psnr_{name}_db": round(decibel((total / pixels.clamp(min=1)).item()), 3)
              for name, (total, pixels) in sums.items() if pixels > 0}
    return result | {"detail": round(torch.stack(details).mean().item(), 4),
                     "latent_rms": round(torch.stack(latent_squares).mean().sqrt().item(), 4), "clips": count,
                     "frames": frames}


def contact_sheet(drawn: ClipBatch, again: Tensor, rows: int = 8) -> Tensor:
    """Show truth beside reconstruction: two moments, then mouth and eye of the second one enlarged. -> (3, H, W)"""
    B, _, T, H, W = again.shape
    rows, crop = min(rows, B), max(8, 36 * min(H, W) // 128)
    lines = []
    for clip in range(rows):
        early, late = T // 4, 3 * T // 4
        pictures = [video[clip, :, t] for t in (early, late) for video in (drawn.video, again)]
        for place in ("mouth_center", "right_eye"):
            left, top = (drawn.points[clip, late, LANDMARKS.index(place)] - crop / 2).long().tolist()
            left, top = min(max(left, 0), W - crop), min(max(top, 0), H - crop)
            for video in (drawn.video, again):
                cut = video[clip, :, late, top:top + crop, left:left + crop]
                pictures.append(F.interpolate(cut[None], size=(H, W))[0])
        lines.append(torch.stack(pictures))
    return tile(torch.stack(lines))


def measure_drawing(clips: Clips, batch: int, frames: int) -> float:
    """Measure how many pictures are drawn in a second; the first call, which compiles, is not counted."""
    def seconds(times: int) -> float:
        begun = time.monotonic()
        for _ in range(times):
            clips.draw(batch, frames, audio=False)
        if clips.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - begun

    seconds(1)
    times = 5 if clips.device.type == "cuda" else 1
    return times * batch * frames / seconds(times)


def evaluate_worlds(vae: VideoVAE, clips: Clips, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Evaluate each world by itself."""
    batch, result = min(8, arguments.evaluation_clips), {}
    for world in clips.worlds:
        name = "photographs" if world.photographs else "avatars"
        alone = Clips(clips.speech, [world], clips.device, torch.Generator().manual_seed(9))
        result[name] = evaluate(vae, alone, arguments.evaluation_clips, arguments.evaluation_frames, batch,
                                arguments.work / f"sheet_{name}.png")
    return result


def add_arguments_of_vae(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of this stage."""
    add_world_arguments(add_arguments(parser))
    parser.add_argument("--config", choices=CONFIGS, default="stride8")
    parser.add_argument("--batch", type=int, default=16, help="clips of people in a step, on each GPU")
    parser.add_argument("--textures", type=int, default=4, help="clips of textures in a step, on each GPU")
    parser.add_argument("--texture_pool", type=int, default=1024, help="textures held")
    parser.add_argument("--frames", type=int, default=16, help="video frames in a clip")
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--evaluation_clips", type=int, default=64)
    parser.add_argument("--evaluation_frames", type=int, default=48)
    return parser


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    arguments = add_arguments_of_vae(argparse.ArgumentParser(description=__doc__.splitlines()[0])).parse_args(argv)
    device, on_device = start(arguments)
    generator = torch.Generator().manual_seed(arguments.seed + 1000 * rank())     # on the host, where clips are planned
    vae = VideoVAE(CONFIGS[arguments.config]).to(device, memory_format=torch.channels_last)
    size = parse_size(arguments.size)
    clips = clips_of(arguments, "train", device, size, generator)
    textures = Textures(on_device, arguments.texture_pool, size[0] + size[0] // 2) if arguments.textures else None
    drawn_per_s = round(measure_drawing(clips, arguments.batch, arguments.frames))
    print(f"vae: {drawn_per_s} pictures/s drawn, {time.monotonic() - PROCESS_STARTED_S:.0f} s", flush=True)
    learner = Learner(vae, arguments.lr, export=save_vae)
    loop = TrainingLoop(arguments.work, {"vae": learner}, generator, budget_of(arguments), arguments.resume, "vae",
                        arguments.log_every)
    train(loop, clips, textures, arguments)
    if rank() > 0:
        return {}
    print(f"vae: {loop.step} steps, {loop.steps_per_s:.1f} steps/s", flush=True)
    with learner.averaged():
        measure_latents(vae, clips, arguments.batch, arguments.frames)
        save_vae(vae, arguments.work / "vae.safetensors")
        held = clips_of(arguments, "held", device, size, torch.Generator().manual_seed(9), vary=False)
        loop.evaluation = evaluate_worlds(vae, held, arguments)
    loop.evaluation["training"] = {"drawn_per_s": drawn_per_s, "peak_gib": peak_memory_gib(device)}
    loop.write_log()
    print(loop.evaluation, flush=True)
    return loop.evaluation


if __name__ == "__main__":
    main()
