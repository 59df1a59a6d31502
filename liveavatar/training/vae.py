"""Train the video VAE of mini on rendered avatars.

    python -m liveavatar.training.vae --corpus .train/corpus.npz --work .train/vae \\
        --minutes 8.5 --total_minutes 12 --device cuda --compile [--resume]

Loss: L1, squared error and a Laplacian pyramid of the difference, all weighted eight times around mouth, eyes and hands
(the renderer knows where they are), and a very small KL. The averaged weights are kept; mean and standard deviation of
each latent channel are measured at the end. Evaluated on held-out voices and people: PSNR of the whole picture, the
mouth, the eyes and the hands.
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

from .clips import PEOPLE, ClipBatch, Clips
from .loop import (
    Learner,
    TrainingLoop,
    add_arguments,
    autocast,
    budget_of,
    parse_size,
    peak_memory_gib,
    rank,
    start,
    tile,
    write_png,
)

# around each of these the loss counts more: radii across and down, pixels of a 128 px picture
ATTENTION_PX = {"mouth_center": (17.0, 11.0), "left_eye": (9.0, 7.0), "right_eye": (9.0, 7.0),
                "left_hand": (15.0, 15.0), "right_hand": (15.0, 15.0)}
ATTENTION = 7.0                                  # added to a weight of 1
# boxes in which quality is measured: width and height, pixels of a 128 px picture
BOXES_PX = {"mouth": (("mouth_center",), 36, 24), "eyes": (("left_eye", "right_eye"), 20, 14),
            "hands": (("left_hand", "right_hand"), 30, 30)}
KL_WEIGHT = 3e-5
SQUARE_WEIGHT = 5.0
PYRAMID_WEIGHTS = (1.5, 0.6, 0.3)                # from fine to coarse


def point(clips: ClipBatch, name: str) -> Tensor:
    """One landmark in every picture, time outermost: (T*B, 2) x, y in pixels."""
    return clips.points[:, :, LANDMARKS.index(name)].transpose(0, 1).flatten(0, 1)


def attention_radii(size: tuple[int, int], device: torch.device) -> Tensor:
    """(P, 2) pixels across and down, in the order of ATTENTION_PX"""
    return torch.tensor(list(ATTENTION_PX.values()), device=device) * min(size) / 128


def attention_bells(clips: ClipBatch, radii: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Bells around the landmarks that matter: (T*B, P, W) across and (T*B, P, H) down; their product is the bell."""
    H, W = size
    center = torch.stack([point(clips, name) for name in ATTENTION_PX], 1)                      # (T*B, P, 2)
    x, y = (torch.arange(n, device=center.device) + 0.5 for n in (W, H))
    across = torch.exp(-((x - center[..., :1]) / radii[:, :1]).square())
    down = torch.exp(-((y - center[..., 1:]) / radii[:, 1:]).square())
    return across, down


def reconstruction_losses(vae: VideoVAE, video: Tensor, noise: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """One pass through the VAE  ->  (5,): loss, L1, pyramid, KL, mean squared error.

    video (B, 3, T, H, W), noise (B, C, F, h, w) of unit variance, bells of `attention_bells` (T*B, P, W or H)
    """
    mean, logvar = vae.posterior(video)
    mean, logvar = mean.float(), logvar.float()
    again = vae.reconstruct(mean + noise * torch.exp(0.5 * logvar)).float()
    difference = (again - video).permute(2, 0, 1, 3, 4).flatten(0, 1)                           # (T*B, 3, H, W)
    weight = 1 + ATTENTION * (across[:, :, None, :] * down[:, :, :, None]).amax(1, keepdim=True)
    absolute = (difference.abs() * weight).mean()
    square = (difference.square() * weight).mean()
    pyramid = difference.new_zeros(())
    level, level_weight = difference, weight
    for share in PYRAMID_WEIGHTS:
        coarse = F.avg_pool2d(level, 2)
        detail = level - coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        pyramid = pyramid + share * (detail.abs() * level_weight).mean()
        level, level_weight = coarse, F.avg_pool2d(level_weight, 2)
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss = absolute + pyramid + SQUARE_WEIGHT * square + KL_WEIGHT * kl
    return torch.stack([loss, absolute, pyramid, kl, difference.square().mean()])


def train(loop: TrainingLoop, clips: Clips, batch: int, frames: int, compiled: bool) -> None:
    """Run the loop until its budget is used."""
    vae: VideoVAE = loop.learners["vae"].model
    H, W = clips.size
    C, radii = vae.config.latent_channels, attention_radii(clips.size, clips.device)
    losses_of = compile_function(reconstruction_losses, dynamic=False) if compiled else reconstruction_losses
    for _ in loop:
        drawn = clips.draw(batch, frames, audio=False, still=batch // 16)
        bells = attention_bells(drawn, radii, clips.size)
        noise = clips.noise(batch, C, frames // 4, H // 8, W // 8)
        with autocast(clips.device):
            losses = losses_of(vae, drawn.video, noise, *bells)
        loop.update("vae", losses[0])
        loop.show(loss=losses[0], l1=losses[1], pyramid=losses[2], kl=losses[3], mse=losses[4])


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


def decibel(mean_square: float) -> float:
    return -10 * torch.log10(torch.tensor(mean_square + 1e-12)).item()


@torch.no_grad()
def evaluate(vae: VideoVAE, clips: Clips, count: int, frames: int, batch: int,
             sheet: Path | None = None) -> dict[str, float]:
    """PSNR in dB of whole pictures and of boxes around mouth, eyes and hands, over `count` clips."""
    H, W = clips.size
    x, y = torch.arange(W, device=clips.device) + 0.5, torch.arange(H, device=clips.device) + 0.5
    scale = min(H, W) / 128
    sums = {name: torch.zeros(2, device=clips.device) for name in ("whole", *BOXES_PX)}         # squares, pixels
    latent_squares = []
    for _ in range(0, count, batch):
        drawn = clips.draw(batch, frames, audio=False)
        with autocast(clips.device):
            latents = vae.encode(drawn.video)
            again = vae.decode(latents).float()
        latent_squares.append(latents.float().square().mean())
        square = (again - drawn.video).square().mean(1).transpose(0, 1).flatten(0, 1)           # (T*B, H, W)
        sums["whole"] += torch.stack([square.sum(), square.new_tensor(square.numel())])
        for name, (places, width, height) in BOXES_PX.items():
            for place in places:
                center = point(drawn, place)
                across = (x - center[:, :1]).abs() <= width / 2 * scale
                down = (y - center[:, 1:]).abs() <= height / 2 * scale
                inside = across[:, None, :] & down[:, :, None]
                sums[name] += torch.stack([(square * inside).sum(), inside.sum().float()])
        if sheet is not None:
            write_png(contact_sheet(drawn, again), sheet)
            sheet = None
    result = {f"psnr_{name}_db": round(decibel((total / pixels.clamp(min=1)).item()), 3)
              for name, (total, pixels) in sums.items()}
    return result | {"latent_rms": round(torch.stack(latent_squares).mean().sqrt().item(), 4), "clips": count,
                     "frames": frames}


def contact_sheet(drawn: ClipBatch, again: Tensor, rows: int = 8) -> Tensor:
    """Truth beside reconstruction: two moments, then mouth and hand of the second one enlarged."""
    B, _, T, H, W = again.shape
    rows, crop = min(rows, B), max(8, 40 * min(H, W) // 128)
    lines = []
    for clip in range(rows):
        early, late = T // 4, 3 * T // 4
        pictures = [video[clip, :, t] for t in (early, late) for video in (drawn.video, again)]
        for place in ("mouth_center", "right_hand"):
            left, top = (drawn.points[clip, late, LANDMARKS.index(place)] - crop / 2).long().tolist()
            left, top = min(max(left, 0), W - crop), min(max(top, 0), H - crop)
            for video in (drawn.video, again):
                cut = video[clip, :, late, top:top + crop, left:left + crop]
                pictures.append(F.interpolate(cut[None], size=(H, W))[0])
        lines.append(torch.stack(pictures))
    return tile(torch.stack(lines))


def measure_renderer(clips: Clips, batch: int, frames: int) -> float:
    """Pictures rendered in a second; the first call, which compiles, is not counted."""
    drawn = clips.draw(batch, frames, audio=False)

    def seconds(times: int) -> float:
        begun = time.monotonic()
        for _ in range(times):
            clips.film(drawn.identity, drawn.motion)
        if clips.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - begun

    seconds(1)
    times = 10 if clips.device.type == "cuda" else 1
    return times * batch * frames / seconds(times)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = add_arguments(argparse.ArgumentParser(description="Train the video VAE of mini."))
    parser.add_argument("--batch", type=int, default=32, help="clips in a step, on each GPU")
    parser.add_argument("--frames", type=int, default=16, help="video frames in a clip")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--evaluation_clips", type=int, default=64)
    parser.add_argument("--evaluation_frames", type=int, default=48)
    parser.add_argument("--narrow", action="store_true", help="a toy network, for tests")
    chosen = parser.parse_args(arguments)
    device, _ = start(chosen)
    generator = torch.Generator().manual_seed(chosen.seed + 1000 * rank())     # on the host, as clips are planned there
    config = VAEConfig(encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8)) if chosen.narrow else VAEConfig()
    vae = VideoVAE(config).to(device, memory_format=torch.channels_last)
    size, people = parse_size(chosen.size), 64 if chosen.narrow else PEOPLE
    clips = Clips(chosen.corpus, "train", device, size, generator, chosen.compile, people)
    rendered_per_s = round(measure_renderer(clips, chosen.batch, chosen.frames))
    print(f"renderer: {rendered_per_s} pictures/s", flush=True)
    learner = Learner(vae, chosen.lr, export=save_vae)
    loop = TrainingLoop(chosen.work, {"vae": learner}, generator, budget_of(chosen), chosen.resume, "vae",
                        chosen.log_every)
    train(loop, clips, chosen.batch, chosen.frames, chosen.compile)
    if rank() > 0:
        return {}
    print(f"vae: {loop.step} steps, {loop.steps_per_s:.1f} steps/s", flush=True)
    with learner.averaged():
        measure_latents(vae, clips, chosen.batch, chosen.frames)
        save_vae(vae, chosen.work / "vae.safetensors")
        loop.evaluation = evaluate(vae, clips.of_split("held", seed=9), chosen.evaluation_clips,
                                   chosen.evaluation_frames, min(16, chosen.evaluation_clips),
                                   chosen.work / "sheet.png")
    loop.evaluation |= {"rendered_per_s": rendered_per_s, "peak_gib": peak_memory_gib(device)}
    loop.write_log()
    print(loop.evaluation, flush=True)
    return loop.evaluation


if __name__ == "__main__":
    main()
