"""Distil mini's many-step base into a 4-step student: a LoRA trained by distribution matching on its own rollouts.

    python -m liveavatar.training.dmd --corpus .train/corpus.npz --vae .train/vae/vae.safetensors \
        --teacher .train/teacher/teacher.safetensors --listener .train/listener/listener.safetensors \
        --work .train/dmd --minutes 7 --total_minutes 7 --compile

Three networks share one shape. The *student* walks from noise to picture in its few steps, over its own past
(self-forcing, arXiv:2506.08009). The *teacher* says which way real videos lie from there; a *fake* score, trained all
the while on the student's videos, says which way the student's own lie. The student moves along the difference:
Distribution Matching Distillation (Yin et al. 2024, arXiv:2311.18828, eq. 7; with DMD2's schedule, arXiv:2405.14867).
A reader of lips pulls as well, with --lips of the strength of the scores: see liveavatar.training.lipreader.
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
from liveavatar.lora import Adapter
from liveavatar.sampler import Schedule, move, shifted, trained_schedule
from liveavatar.training.clips import Clips
from liveavatar.training.latents import Material, Told, attention_to_face, encode_clips, guided, velocity
from liveavatar.training.lipreader import LipReader, reader_correlation, train_reader
from liveavatar.training.listener import load_listener
from liveavatar.training.loop import (
    Learner,
    Recording,
    TrainingLoop,
    add_arguments,
    autocast,
    budget_of,
    parse_size,
    rank,
    save_pieces,
    start,
)
from liveavatar.training.teacher import compile_for_training, load_transformer, set_trainable
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.weights import from_8_bits, to_8_bits

SIGMA_RANGE = (0.02, 0.98)       # noise levels at which the two scores are compared
SETTLED = 40                     # updates of the student over which the pull of the lips is measured


class Student:
    """A copy of the base that is to become the student, and the part of it that learns: an adapter of this rank, or
    with rank 0 all its weights."""

    def __init__(self, base: CausalS2VTransformer, rank: int) -> None:
        self.network = copy.deepcopy(base)
        self.learns = Adapter(self.network, rank, LORA_ALPHA) if rank else self.network
        set_trainable(self.network)         # wholly, so that one compiled graph serves student and fake score

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything on which a backward pass leaves gradients."""
        return list({*self.network.parameters(), *self.learns.parameters()})

    def write(self) -> None:
        """After a change of what learns."""
        if isinstance(self.learns, Adapter):
            self.learns.write()

    def collect(self) -> None:
        """After a backward pass through the network."""
        if isinstance(self.learns, Adapter):
            self.learns.collect()


def export_student(learns: nn.Module, path: Path) -> None:
    """Only the adapter, under the released names; or all weights where there is none."""
    tensors = learns.released_state() if isinstance(learns, Adapter) else learns.state_dict()
    save_pieces({name: tensor.half() for name, tensor in tensors.items()}, path.parent, path.stem)


def in_8_bits(model: CausalS2VTransformer) -> CausalS2VTransformer:
    """The base with the rounding with which it is shipped, so that the adapter learns to stand on that."""
    model.load_state_dict(from_8_bits(to_8_bits(model.state_dict())))
    return model


class Distillation:
    """One update each of the fake score and of the student, from noise and what is told about the clips.

    `told` is the reference, audio and text of B clips; times are schedule.sigmas; noise (B, C, F, h, w); mouth
    (B, 4F, 7) the true visemes.
    """

    def __init__(self, teacher: CausalS2VTransformer, student: Student, fake: CausalS2VTransformer, schedule: Schedule,
                 guidance: float, reader: LipReader | None = None) -> None:
        self.teacher, self.student, self.fake, self.reader = teacher, student, fake, reader
        self.schedule, self.guidance = schedule, guidance
        self.pull = torch.zeros((), device=next(teacher.parameters()).device)      # of the lips; 0 is none
        self._step = Recording(torch.no_grad()(self._velocity))
        self._move_student = Recording(self._student_loss, student.parameters)
        self._move_fake = Recording(self._fake_loss, list(fake.parameters()))

    def walk(self, noise: Tensor, told: Told, last: int, solver: str, generator: torch.Generator) -> Tensor:
        """The student's own latents as they come to step `last`: (B, C, F, h, w), without gradients"""
        x = noise
        for sigma, sigma_next in pairwise(self.schedule.sigmas[:last + 1]):
            v = self._step(x, torch.full((len(x),), sigma, device=x.device), *parts(told))
            fresh = torch.randn(x.shape, generator=generator, device=x.device) if solver == "renoise" else None
            x = move(x, v, sigma, sigma_next, solver, fresh)
        return x

    def move_fake(self, x: Tensor, last: int, told: Told, noise: Tensor, level: Tensor) -> Tensor:
        """Gradients of the fake score on what the student makes of x at step `last`, noised to `level` (B,). -> loss"""
        sigma = self._sigma(x, last)
        made = clean_guess(x, self._step(x, sigma, *parts(told)), sigma)
        return self._move_fake(made, noise, level, *parts(told))

    def move_student(self, x: Tensor, last: int, told: Told, noise: Tensor, level: Tensor,
                     mouth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of the student's step `last` from x.

        -> loss, mean distance between made and real, error of the lips, how hard the scores pull against the lips
        """
        return self._move_student(x, self._sigma(x, last), noise, level, mouth, self.pull, *parts(told))

    def _sigma(self, x: Tensor, step: int) -> Tensor:
        return torch.full((len(x),), self.schedule.sigmas[step], device=x.device)

    def _velocity(self, x: Tensor, sigma: Tensor, *told: Tensor) -> Tensor:
        return velocity(self.student.network, x, sigma, Told(*told))

    def _student_loss(self, x: Tensor, sigma: Tensor, noise: Tensor, level: Tensor, mouth: Tensor, pull: Tensor,
                      *told: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        made = clean_guess(x, velocity(self.student.network, x, sigma, Told(*told)), sigma)
        with torch.no_grad():
            noised = torch.lerp(made, noise, wide(level))
            real = clean_guess(noised, guided(self.teacher, noised, level, Told(*told), self.guidance), level)
            own = clean_guess(noised, velocity(self.fake, noised, level, Told(*told)), level)
            scale = (made - real).abs().mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-4)
            target = made - (own - real) / scale
        loss = 0.5 * ((made - target).square() * attention_to_face(made)).mean()
        lips, ratio = loss.new_zeros(()), loss.new_zeros(())
        if self.reader is not None:
            guess = made.detach().requires_grad_()
            with torch.enable_grad(), autocast(made.device):
                lips = self.reader.error(guess, mouth)
            downhill, = torch.autograd.grad(lips, guess)
            ratio = ((made - target) * attention_to_face(made)).detach().norm() / made.numel() / downhill.norm()
            total = loss + pull * (made * downhill).sum()           # whose gradient is that of loss + pull * lips
        else:
            total = loss
        total.backward()
        self.student.collect()
        return loss.detach(), scale.mean(), lips.detach(), ratio.detach()

    def _fake_loss(self, made: Tensor, noise: Tensor, level: Tensor, *told: Tensor) -> Tensor:
        x = torch.lerp(made, noise, wide(level))
        error = velocity(self.fake, x, level, Told(*told)) - (noise - made)
        loss = (error.square() * attention_to_face(made)).mean()
        loss.backward()
        return loss.detach()


class Practice:
    """The student rolls out `batch` clips at a time; the fake score, or the student itself, learns from where it gets.

    lips: how hard lips pull against the scores. How much that is in numbers shows in the first updates.
    """

    def __init__(self, distillation: Distillation, material: Material, batch: int, solver: str, lips: float,
                 generator: torch.Generator, turns: torch.Generator) -> None:
        self.distillation, self.material, self.batch, self.lips = distillation, material, batch, lips
        self.solvers = ("euler", "renoise") if solver == "both" else (solver,)
        self.generator, self.turns = generator, turns
        self._ratios: list[Tensor] = []

    def move_fake(self) -> None:
        x, last, told, level, _ = self._walk()
        self.distillation.move_fake(x, last, told, self._noise(), level)

    def move_student(self) -> dict[str, Tensor]:
        """-> what is worth showing"""
        x, last, told, level, mouth = self._walk()
        loss, distance, lips, ratio = self.distillation.move_student(x, last, told, self._noise(), level, mouth)
        if len(self._ratios) < SETTLED:                     # by then it is known how hard lips must be pulled
            self._ratios.append(ratio.clone())
            self.distillation.pull.copy_(self.lips * torch.stack(self._ratios).median())
        return {"student": loss, "distance": distance, "lips": lips}

    def _walk(self) -> tuple[Tensor, int, Told, Tensor, Tensor]:
        """The student's latents before a step drawn at random; the step, what was told, a noise level, the mouths."""
        device = self.generator.device
        chosen = torch.randint(len(self.material), (self.batch,), generator=self.generator, device=device)
        told = self.material.told(chosen, self.generator)
        last = self._turn(self.distillation.schedule.steps)
        solver = self.solvers[self._turn(len(self.solvers))]
        x = self.distillation.walk(self._noise(), told, last, solver, self.generator)
        level = shifted(torch.rand(self.batch, generator=self.generator, device=device), SHIFT).clamp(*SIGMA_RANGE)
        return x, last, told, level, self.material.mouth[chosen].float()

    def _turn(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self.turns))

    def _noise(self) -> Tensor:
        _, C, _, h, w = self.material.reference.shape
        shape = (self.batch, C, self.material.mouth.shape[1] // 4, h, w)
        return torch.randn(shape, generator=self.generator, device=self.generator.device)


def parts(told: Told) -> tuple[Tensor, Tensor, Tensor]:
    return told.reference, told.audio, told.text


def wide(sigma: Tensor) -> Tensor:
    return sigma[:, None, None, None, None]


def clean_guess(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    return x - wide(sigma) * v


def main(argv: list[str] | None = None) -> None:
    parser = add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--vae", type=Path, required=True, help="trained VAE")
    parser.add_argument("--teacher", type=Path, required=True, help="trained base")
    parser.add_argument("--listener", type=Path, required=True, help="trained ear")
    parser.add_argument("--batch", type=int, default=24, help="clips a step on each GPU")
    parser.add_argument("--clips", type=int, default=4000, help="portraits and sounds drawn for this call on each GPU")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--sample_steps", type=int, default=4)
    parser.add_argument("--solver", choices=("euler", "renoise", "both"), default="both", help="of the rollouts")
    parser.add_argument("--rank", type=int, default=16, help="of the LoRA; 0 frees all weights")
    parser.add_argument("--fake_updates", type=int, default=3, help="of the fake score for each of the student")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--fake_lr", type=float, default=6e-5)
    parser.add_argument("--guidance", type=float, default=1.4, help="of the teacher")
    parser.add_argument("--lips", type=float, default=0.5, help="pull of the lips against that of the scores; 0: none")
    parser.add_argument("--reader_steps", type=int, default=1500, help="for which the reader of lips is trained")
    arguments = parser.parse_args(argv)
    device, generator = start(arguments)

    teacher = in_8_bits(load_transformer(arguments.teacher)).to(device).eval().requires_grad_(False)
    student, fake = Student(teacher, arguments.rank), set_trainable(copy.deepcopy(teacher))
    learners = {
        "student": Learner(student.learns, arguments.lr, betas=(0.0, 0.95), weight_decay=0.0, average=0.99,
                           export=export_student),
        "fake": Learner(fake, arguments.fake_lr, betas=(0.0, 0.95), weight_decay=0.0, average=0.0)}
    loop = TrainingLoop(arguments.work, learners, generator, budget_of(arguments), arguments.resume, title="dmd",
                        save_every_minutes=60)
    generator.manual_seed(arguments.seed + 1000 * rank() + loop.step)
    dice = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)
    clips = Clips(arguments.corpus, "train", device, parse_size(arguments.size), dice, arguments.compile)
    ear, _ = load_listener(arguments.listener, device)
    material = encode_clips(clips, load_vae(arguments.vae, device).eval(), ear, arguments.clips,
                            arguments.latent_frames, video=bool(arguments.lips))
    reader = None
    if arguments.lips:
        reader = train_reader(material, arguments.reader_steps, generator)
        read = reader_correlation(reader, material)
        print("lips read off true latents, correlation:", {name: round(value, 3) for name, value in read.items()},
              flush=True)
    student.write()
    if arguments.compile:
        for network in (teacher, student.network, fake):
            compile_for_training(network)
    distillation = Distillation(teacher, student, fake, trained_schedule(arguments.sample_steps, SHIFT),
                                arguments.guidance, reader)
    turns = torch.Generator().manual_seed(arguments.seed + loop.step)       # the same choices on every GPU
    practice = Practice(distillation, material, min(arguments.batch, len(material)), arguments.solver, arguments.lips,
                        generator, turns)
    for _ in loop:
        if loop.step % (arguments.fake_updates + 1) == arguments.fake_updates:
            shown = practice.move_student()
            loop.descend("student")
            student.write()
            loop.show(**shown)
        else:
            practice.move_fake()
            loop.descend("fake")


if __name__ == "__main__":
    main()
