"""Distil mini's many-step base into a 4-step student: a LoRA trained by distribution matching on its own rollouts.

    python -m liveavatar.training.dmd --corpus .train/corpus.npz --vae .train/vae/vae.safetensors \
        --teacher .train/teacher/teacher.safetensors --work .train/dmd --minutes 7 --total_minutes 7 --compile

Three networks share one shape. The *student* walks from noise to picture in its few steps, over its own past
(self-forcing, arXiv:2506.08009). The *teacher* says which way real videos lie from there; a *fake* score, trained all
the while on the student's videos, says which way the student's own lie. The student moves along the difference:
Distribution Matching Distillation (Yin et al. 2024, arXiv:2311.18828, eq. 7; with DMD2's schedule, arXiv:2405.14867).
"""

from __future__ import annotations

import argparse
import copy
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.backends.mini.preset import LORA_ALPHA, SHIFT
from liveavatar.backends.mini.vae import load_vae
from liveavatar.lora import attach_lora, lora_state
from liveavatar.sampler import Schedule, move, shifted, trained_schedule
from liveavatar.training.clips import Clips
from liveavatar.training.latents import Told, encode_clips, guided, velocity
from liveavatar.training.loop import (
    Learner,
    TrainingLoop,
    add_arguments,
    budget_of,
    parse_size,
    rank,
    save_pieces,
    start,
)
from liveavatar.training.teacher import compile_for_training, load_transformer, set_trainable
from liveavatar.transformer import CausalS2VTransformer

FAKE_UPDATES = 4                 # of the fake score for each update of the student
SIGMA_RANGE = (0.02, 0.98)       # noise levels at which the two scores are compared


def student_of(teacher: CausalS2VTransformer, rank: int) -> CausalS2VTransformer:
    """The teacher with an adapter of this rank on it; rank 0: all weights are free."""
    student = copy.deepcopy(teacher)
    if not rank:
        return set_trainable(student)
    attach_lora(student, rank, LORA_ALPHA)
    return student


def export_student(model: nn.Module, path: Path) -> None:
    """Only the adapter, under the released names; or all weights where there is none."""
    tensors = lora_state(model) or model.state_dict()
    save_pieces({name: tensor.half() for name, tensor in tensors.items()}, path.parent, path.stem)


def self_rollout(student: nn.Module, noise: Tensor, told: Told, schedule: Schedule, last: int, solver: str,
                 generator: torch.Generator) -> Tensor:
    """Walk to step `last` without gradients, take it with them, and return its clean guess. (B, C, F, h, w)"""
    x, B = noise, len(noise)
    for index, (sigma, sigma_next) in enumerate(pairwise(schedule.sigmas[:last + 2])):
        with torch.set_grad_enabled(torch.is_grad_enabled() and index == last):
            v = velocity(student, x, torch.full((B,), sigma, device=x.device), told)
        if index == last:
            return x - sigma * v
        fresh = torch.randn(x.shape, generator=generator, device=x.device) if solver == "renoise" else None
        x = move(x, v, sigma, sigma_next, solver, fresh)
    raise ValueError(f"step {last} of {schedule.steps}")


def main(argv: list[str] | None = None) -> None:
    parser = add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--vae", type=Path, required=True, help="trained VAE")
    parser.add_argument("--teacher", type=Path, required=True, help="trained base")
    parser.add_argument("--batch", type=int, default=24, help="clips a step on each GPU")
    parser.add_argument("--clips", type=int, default=4000, help="portraits and sounds drawn for this call on each GPU")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--sample_steps", type=int, default=4)
    parser.add_argument("--solver", choices=("euler", "renoise", "both"), default="both", help="of the rollouts")
    parser.add_argument("--rank", type=int, default=16, help="of the LoRA; 0 frees all weights")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--fake_lr", type=float, default=6e-5)
    parser.add_argument("--guidance", type=float, default=1.4, help="of the teacher")
    arguments = parser.parse_args(argv)
    device, generator = start(arguments)

    teacher = load_transformer(arguments.teacher).to(device).eval().requires_grad_(False)
    student, fake = student_of(teacher, arguments.rank), set_trainable(copy.deepcopy(teacher))
    learners = {
        "student": Learner(student, arguments.lr, betas=(0.0, 0.95), weight_decay=0.0, average=0.99,
                           export=export_student),
        "fake": Learner(fake, arguments.fake_lr, betas=(0.0, 0.95), weight_decay=0.0, average=0.0)}
    loop = TrainingLoop(arguments.work, learners, generator, budget_of(arguments), arguments.resume, title="dmd",
                        save_every_minutes=60)
    generator.manual_seed(arguments.seed + 1000 * rank() + loop.step)
    dice = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)
    clips = Clips(arguments.corpus, "train", device, parse_size(arguments.size), dice, arguments.compile)
    vae = load_vae(arguments.vae, device).eval()
    _, everything = encode_clips(clips, vae, arguments.clips, arguments.latent_frames, video=False)
    shape = everything.reference.shape
    if arguments.compile:
        for network in (teacher, student, fake):
            compile_for_training(network)
    schedule = trained_schedule(arguments.sample_steps, SHIFT)
    turns = torch.Generator().manual_seed(arguments.seed + loop.step)       # the same choices on every GPU

    def draw_noise(B: int) -> Tensor:
        return torch.randn((B, shape[1], arguments.latent_frames, *shape[3:]), generator=generator, device=device)

    for _ in loop:
        B = min(arguments.batch, len(everything))
        told = everything[torch.randint(len(everything), (B,), generator=generator, device=device)]
        last = int(torch.randint(schedule.steps, (1,), generator=turns))
        solver = arguments.solver if arguments.solver != "both" else ("euler", "renoise")[
            int(torch.randint(2, (1,), generator=turns))]
        students_turn = loop.step % (FAKE_UPDATES + 1) == FAKE_UPDATES
        with torch.set_grad_enabled(students_turn):
            made = self_rollout(student, draw_noise(B), told, schedule, last, solver, generator)
        sigma = shifted(torch.rand(B, generator=generator, device=device), SHIFT).clamp(*SIGMA_RANGE)
        level, noise = sigma[:, None, None, None, None], draw_noise(B)
        x = torch.lerp(made.detach(), noise, level)
        if students_turn:
            with torch.no_grad():
                real = x - level * guided(teacher, x, sigma, told, arguments.guidance)
                own = x - level * velocity(fake, x, sigma, told)
                scale = (made - real).abs().mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-4)
                target = made - (own - real) / scale
            loss = 0.5 * (made - target).square().mean()
            loop.update("student", loss)
            loop.show(student=loss, distance=scale.mean())
        else:
            loss = (velocity(fake, x, sigma, told) - (noise - made)).square().mean()
            loop.update("fake", loss)


if __name__ == "__main__":
    main()
