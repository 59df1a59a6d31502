"""Distil mini's many-step base into a few-step student: a LoRA trained by distribution matching on its own rollouts.

    python -m liveavatar.training.distill --corpus .train/corpus.npz --portraits portraits \
        --vae .train/vae/vae.safetensors --base .train/base/base.safetensors \
        --audio_encoder .train/listener/listener.safetensors --work .train/student4 \
        --sample_steps 4 --total_minutes 5 --compile

Three networks share one shape. The *student* walks from noise to picture in its few steps, over its own past
(self-forcing, arXiv:2506.08009). The *base* says which way real videos lie from there; a *fake* score, trained all the
while on the student's videos, says which way the student's own lie. The student moves along the difference:
Distribution Matching Distillation (Yin et al. 2024, arXiv:2311.18828, eq. 7; with DMD2's schedule, arXiv:2405.14867).

The first `--hold` steps are not pulled towards finished videos: there the student keeps the base's own prediction, the
mean of all videos that are still possible, so that later steps have something left to decide. `--hold 0` pulls every
step, as the released model was trained (Phased DMD, arXiv:2510.27684, discusses what that does to the first steps).

With `--follow N` the other steps also learn to arrive where N smaller steps of the base arrive (progressive
distillation, Salimans & Ho 2022, arXiv:2202.00512, algorithm 2). `--matching_weight` says how much distribution
matching counts beside it; with 0 there is no fake score and the student only follows.
"""

from __future__ import annotations

import argparse
import copy
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.backends.mini.preset import LORA_ALPHA, SHIFT, transformer_options
from liveavatar.backends.mini.vae import load_vae
from liveavatar.config import parse_size
from liveavatar.lora import Adapter
from liveavatar.sampler import Schedule, move, shifted, trained_schedule
from liveavatar.training.audio_encoder import load_audio_encoder
from liveavatar.training.base import compile_for_training, load_transformer, set_trainable
from liveavatar.training.checkpoint import save_pieces
from liveavatar.training.dataset import (
    MOUTH_WEIGHT,
    ClipCondition,
    Dataset,
    Strengths,
    clean_from,
    encode_clips,
    flow_loss,
    guided,
    velocity,
    widen,
)
from liveavatar.training.learner import Learner, Recording, rank
from liveavatar.training.loop import TrainingLoop
from liveavatar.training.options import add_arguments, budget_of, start
from liveavatar.training.worlds import add_world_arguments, clips_of
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.weights import from_8_bits, to_8_bits

SIGMA_RANGE = (0.02, 0.98)       # noise levels at which the two scores are compared
STRENGTHS = Strengths(no_words=0.05, no_word=0.05)
HELD_EVERY = 4                   # steps of the loop, or more where the fake score has more updates


class Student:
    """A copy of the base that is to become the student, and the part of it that is trained: an adapter of this rank, or
    with rank 0 all its weights."""

    def __init__(self, base: CausalS2VTransformer, rank: int) -> None:
        self.network = copy.deepcopy(base)
        self.trainable = Adapter(self.network, rank, LORA_ALPHA) if rank else self.network
        set_trainable(self.network)         # wholly, so that one compiled graph serves student and fake score

    @property
    def parameters(self) -> list[nn.Parameter]:
        """List everything on which a backward pass leaves gradients."""
        return list({*self.network.parameters(), *self.trainable.parameters()})

    def write(self) -> None:
        """Merge the adapter into the network, after a change of its weights."""
        if isinstance(self.trainable, Adapter):
            self.trainable.write()

    def collect(self) -> None:
        """Compute the gradients of the adapter, after a backward pass through the network."""
        if isinstance(self.trainable, Adapter):
            self.trainable.collect()


def export_student(trainable: nn.Module, path: Path) -> None:
    """Write the adapter alone, under the released names; or all weights where there is none."""
    tensors = trainable.released_state() if isinstance(trainable, Adapter) else trainable.state_dict()
    save_pieces({name: tensor.half() for name, tensor in tensors.items()}, path.parent, path.stem)


def in_8_bits(model: CausalS2VTransformer) -> CausalS2VTransformer:
    """Round the base as it is shipped, so that the adapter learns to stand on that; return it."""
    model.load_state_dict(from_8_bits(to_8_bits(model.state_dict())))
    return model


class Distillation:
    """Gradients for the fake score and for the student, from noise and the conditions of B clips.

    Times are schedule.sigmas; noise is (B, C, F, h, w); emphasis (B, 1, F, h, w) weights of the loss. follow: steps of
    the base that a step of the student stands for, 0 to leave that out; matching_weight: of distribution matching.
    """

    def __init__(self, base: CausalS2VTransformer, student: Student, fake: CausalS2VTransformer, schedule: Schedule,
                 guidance: float, follow: int = 0, matching_weight: float = 1.0) -> None:
        self.base, self.student, self.fake = base, student, fake
        self.schedule, self.guidance = schedule, guidance
        self.follow, self.matching_weight = follow, matching_weight
        self._step = Recording(torch.no_grad()(self._velocity))
        self._learn = Recording(partial(self._student_loss, False), student.parameters)
        self._hold = Recording(partial(self._student_loss, True), student.parameters)
        self._fake = Recording(self._fake_loss, list(fake.parameters()))

    def roll_out(self, noise: Tensor, condition: ClipCondition, last: int, solver: str,
             generator: torch.Generator) -> Tensor:
        """Denoise with the student up to step `last`: its latents (B, C, F, h, w), without gradients"""
        x = noise
        for sigma, sigma_next in pairwise(self.schedule.sigmas[:last + 1]):
            v = self._step(x, torch.full((len(x),), sigma, device=x.device), *condition.parts)
            fresh = torch.randn(x.shape, generator=generator, device=x.device) if solver == "renoise" else None
            x = move(x, v, sigma, sigma_next, solver, fresh)
        return x

    def fake_gradients(self, x: Tensor, last: int, condition: ClipCondition, noise: Tensor, level: Tensor,
                       emphasis: Tensor) -> Tensor:
        """Compute gradients of the fake score, on what the student makes of x at step `last`, noised to `level` (B,).
        -> loss"""
        sigma = self._sigma(x, last)
        made = clean_from(x, self._step(x, sigma, *condition.parts), sigma)
        return self._fake(made, noise, level, emphasis, *condition.parts)

    def student_gradients(self, x: Tensor, last: int, condition: ClipCondition, noise: Tensor, level: Tensor,
                          emphasis: Tensor) -> tuple[Tensor, Tensor]:
        """Compute gradients of the student at step `last`, towards real videos. -> loss of matching, loss of
        following"""
        return self._learn(x, self._sigma(x, last), self._sigma(x, last + 1), noise, level, emphasis,
                           *condition.parts)

    def holding_gradients(self, x: Tensor, last: int, condition: ClipCondition, emphasis: Tensor) -> Tensor:
        """Compute gradients of the student at step `last`, towards the base's own prediction. -> loss"""
        sigma = self._sigma(x, last)
        return self._hold(x, sigma, self._sigma(x, last + 1), x, sigma, emphasis, *condition.parts)[1]

    def _sigma(self, x: Tensor, step: int) -> Tensor:
        return torch.full((len(x),), self.schedule.sigmas[step], device=x.device)

    def _velocity(self, x: Tensor, sigma: Tensor, *condition: Tensor) -> Tensor:
        return velocity(self.student.network, x, sigma, ClipCondition(*condition))

    def _student_loss(self, held: bool, x: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Tensor, level: Tensor,
                      emphasis: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Leave gradients of matching and of following. A held step follows one step of the base without guidance."""
        follow, guidance, weight = (1, 1.0, 0.0) if held else (self.follow, self.guidance, self.matching_weight)
        condition = ClipCondition(*parts)
        v = velocity(self.student.network, x, sigma, condition)
        matching = following = v.new_zeros(())
        if weight:
            made = clean_from(x, v, sigma)
            target = self._matched(made, noise, level, condition)
            matching = 0.5 * ((made - target).square() * emphasis).mean()
        if follow:
            target = self._mean_velocity(x, sigma, sigma_next, condition, follow, guidance)
            following = ((v - target).square() * emphasis).mean()
        (weight * matching + following).backward()
        self.student.collect()
        return matching.detach(), following.detach()

    @torch.no_grad()
    def _matched(self, made: Tensor, noise: Tensor, level: Tensor, condition: ClipCondition) -> Tensor:
        """Move finished latents along the difference of the two scores at the noise level (B,)."""
        noised = torch.lerp(made, noise, widen(level))
        real = clean_from(noised, guided(self.base, noised, level, condition, self.guidance), level)
        own = clean_from(noised, velocity(self.fake, noised, level, condition), level)
        scale = (made - real).abs().mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-4)
        return made - (own - real) / scale

    @torch.no_grad()
    def _mean_velocity(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, condition: ClipCondition, steps: int,
                       guidance: float) -> Tensor:
        """Take so many steps of the base from sigma to sigma_next (B,): return the velocity that gets there in one."""
        at = x
        for step in range(steps):
            now, then = (torch.lerp(sigma, sigma_next, part / steps) for part in (step, step + 1))
            at = at + widen(then - now) * guided(self.base, at, now, condition, guidance)
        return (at - x) / widen(sigma_next - sigma)

    def _fake_loss(self, made: Tensor, noise: Tensor, level: Tensor, emphasis: Tensor, *condition: Tensor) -> Tensor:
        x = torch.lerp(made, noise, widen(level))
        loss = flow_loss(velocity(self.fake, x, level, ClipCondition(*condition)), made, noise, level, emphasis)
        loss.backward()
        return loss.detach()


class Rollouts:
    """The student rolls out `batch` clips at a time; the fake score, or the student itself, learns from where it gets.

    hold: how many of the first steps keep the base's prediction
    """

    def __init__(self, distillation: Distillation, dataset: Dataset, batch: int, solver: str, hold: int,
                 generator: torch.Generator, shared: torch.Generator) -> None:
        self.distillation, self.dataset, self.batch, self.hold = distillation, dataset, batch, hold
        self.solvers = ("euler", "renoise") if solver == "both" else (solver,)
        self.generator, self.shared = generator, shared

    def train_fake(self) -> Tensor:
        """Leave the gradients of one batch in the fake score. -> loss"""
        x, last, condition, chosen = self._roll_out(self._exit())
        return self.distillation.fake_gradients(x, last, condition, self._noise(), self._level(),
                                                self._emphasis(chosen))

    def train_student(self) -> dict[str, Tensor]:
        """Leave the gradients of one batch in the student. -> losses by name, to be shown"""
        x, last, condition, chosen = self._roll_out(self._exit())
        matching, following = self.distillation.student_gradients(x, last, condition, self._noise(), self._level(),
                                                                  self._emphasis(chosen))
        return {"student": matching, "following": following}

    def keep(self) -> Tensor:
        """Leave the gradients of one held step in the student. -> loss"""
        x, last, condition, chosen = self._roll_out(self._choose(self.hold))
        return self.distillation.holding_gradients(x, last, condition, self._emphasis(chosen))

    def _exit(self) -> int:
        """Choose the step at which a rollout ends: any but the held ones."""
        return self.hold + self._choose(self.distillation.schedule.steps - self.hold)

    def _roll_out(self, last: int) -> tuple[Tensor, int, ClipCondition, Tensor]:
        """Return the student's latents before step `last`, the conditions, and which clips they are."""
        chosen = torch.randint(len(self.dataset), (self.batch,), generator=self.generator, device=self.generator.device)
        condition = self.dataset.condition(chosen, self.generator, STRENGTHS)
        solver = self.solvers[self._choose(len(self.solvers))]
        x = self.distillation.roll_out(self._noise(), condition, last, solver, self.generator)
        return x, last, condition, chosen

    def _choose(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self.shared))

    def _level(self) -> Tensor:
        level = torch.rand(self.batch, generator=self.generator, device=self.generator.device)
        return shifted(level, SHIFT).clamp(*SIGMA_RANGE)

    def _emphasis(self, chosen: Tensor) -> Tensor:
        return self.dataset.emphasis[chosen].float()

    def _noise(self) -> Tensor:
        shape = (self.batch, *self.dataset.latents.shape[1:])
        return torch.randn(shape, generator=self.generator, device=self.generator.device)


def add_arguments_of_student(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of this stage."""
    add_world_arguments(add_arguments(parser))
    parser.add_argument("--vae", type=Path, required=True, help="trained VAE")
    parser.add_argument("--base", type=Path, required=True, help="trained base")
    parser.add_argument("--audio_encoder", "--listener", type=Path, required=True, help="trained audio encoder")
    parser.add_argument("--batch", type=int, default=16, help="clips a step on each GPU")
    parser.add_argument("--clips", type=int, default=2000, help="clips drawn for this call on each GPU")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--mouth_weight", type=float, default=MOUTH_WEIGHT, help="of the loss around the mouth")
    parser.add_argument("--sample_steps", type=int, default=4)
    parser.add_argument("--hold", type=int, help="first steps that keep the base's prediction; 1 unless given")
    parser.add_argument("--solver", choices=("euler", "renoise", "both"), default="both", help="of the rollouts")
    parser.add_argument("--rank", type=int, default=16, help="of the LoRA; 0 frees all weights")
    parser.add_argument("--fake_updates", type=int, default=3, help="of the fake score for each of the student")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--fake_lr", type=float, default=6e-5)
    parser.add_argument("--follow", type=int, default=0, help="steps of the base that a step learns to stand for")
    parser.add_argument("--matching_weight", type=float, default=1.0, help="of distribution matching; 0: only follow")
    parser.add_argument("--guidance", type=float, default=1.4, help="of the base")
    return parser


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments = add_arguments_of_student(parser).parse_args(argv)
    if not (arguments.follow or arguments.matching_weight):
        parser.error("--matching_weight 0 leaves nothing to learn from; give --follow too, for example 3")
    device, generator = start(arguments)
    vae = load_vae(arguments.vae, device).to(memory_format=torch.channels_last).eval()
    base = in_8_bits(load_transformer(arguments.base, transformer_options(vae.config)))
    base = base.to(device).eval().requires_grad_(False)
    student, fake = Student(base, arguments.rank), set_trainable(copy.deepcopy(base))
    learners = {
        "student": Learner(student.trainable, arguments.lr, betas=(0.0, 0.95), weight_decay=0.0, average=0.99,
                           export=export_student),
        "fake": Learner(fake, arguments.fake_lr, betas=(0.0, 0.95), weight_decay=0.0, average=0.0)}
    loop = TrainingLoop(arguments.work, learners, generator, budget_of(arguments), arguments.resume,
                        title=f"student of {arguments.sample_steps} steps", save_every_minutes=60)
    generator.manual_seed(arguments.seed + 1000 * rank() + loop.step)
    host = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)
    clips = clips_of(arguments, "train", device, parse_size(arguments.size), host)
    audio_encoder, _ = load_audio_encoder(arguments.audio_encoder, device)
    dataset = encode_clips(clips, vae, audio_encoder, arguments.clips, arguments.latent_frames,
                           mouth_weight=arguments.mouth_weight)
    student.write()
    if arguments.compile:
        for network in (base, student.network, fake):
            compile_for_training(network)
    schedule = trained_schedule(arguments.sample_steps, SHIFT)
    hold = min(1, schedule.steps - 1) if arguments.hold is None else arguments.hold
    shared = torch.Generator().manual_seed(arguments.seed + loop.step)       # the same choices on every GPU
    distillation = Distillation(base, student, fake, schedule, arguments.guidance, arguments.follow,
                                arguments.matching_weight)
    rollouts = Rollouts(distillation, dataset, min(arguments.batch, len(dataset)), arguments.solver, hold, generator,
                        shared)
    train(loop, rollouts, arguments.fake_updates if arguments.matching_weight else 0)


def train(loop: TrainingLoop, rollouts: Rollouts, fake_updates: int) -> None:
    """Run the loop until its budget is used: so many updates of the fake score before each of the student."""
    student = rollouts.distillation.student
    for _ in loop:
        turn = loop.step % (fake_updates + 1)
        if turn < fake_updates:
            rollouts.train_fake()
            loop.descend("fake")
        else:
            shown = rollouts.train_student()
            loop.descend("student")
            student.write()
            loop.show(**shown)
        if rollouts.hold and loop.step % max(fake_updates + 1, HELD_EVERY) == 0:
            rollouts.keep()
            loop.descend("student")
            student.write()


if __name__ == "__main__":
    main()
