"""Train the many-step base of mini: flow matching on whole clips, every block seeing what it will see when streaming.

    python -m liveavatar.training.teacher --corpus .train/corpus.npz --vae .train/vae/vae.safetensors \
        --listener .train/listener/listener.safetensors --work .train/teacher --minutes 9 --total_minutes 17 --compile

Source: flow matching (Lipman et al. 2022, arXiv:2210.02747, eq. 23) with timestep forcing (one noise level a clip).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.backends.mini.preset import TRANSFORMER
from liveavatar.backends.mini.vae import load_vae
from liveavatar.compiling import check_compiler, compile_function
from liveavatar.sampler import shifted
from liveavatar.training.clips import Clips
from liveavatar.training.latents import Material, Told, attention_to_face, encode_clips, velocity
from liveavatar.training.listener import load_listener
from liveavatar.training.loop import (
    Learner,
    Recording,
    TrainingLoop,
    add_arguments,
    budget_of,
    find_pieces,
    load_pieces,
    parse_size,
    rank,
    start,
)
from liveavatar.transformer import AdaptiveNorm, Attention, CausalS2VTransformer

SHIFT = 2.2             # of the noise levels drawn in training: more of them near 1, where the picture is decided
SMALLEST_SIGMA = 0.002
FORGET_SOUND = 0.1      # share of clips trained without sound,
FORGET_WORDS = 0.1      # without any words,
FORGET_SLOT = 0.1       # and share of single slots left unsaid: so that guidance and empty prompts work
REFERENCE_NOISE = 0.02
OTHER_SIZES = 0.3       # share of clips and steps of all sizes but the first


def new_transformer(options: dict | None = None) -> CausalS2VTransformer:
    """An untrained mini: open gates, silent residual branches, so that every layer starts by passing its input on."""
    model = CausalS2VTransformer.from_config(options or TRANSFORMER)
    depth = len(model.blocks)
    for layer in model.blocks:
        nn.init.zeros_(layer.modulation)
        layer.modulation.data[:, [2, 5]] = 1                     # the two gates
        for branch in (layer.self_attn.o, layer.cross_attn.o, layer.ffn[2]):
            nn.init.normal_(branch.weight, std=0.02 / math.sqrt(2 * depth))
            nn.init.zeros_(branch.bias)
    for module in model.audio_injector.modules():
        if isinstance(module, Attention):
            nn.init.normal_(module.o.weight, std=0.02 / math.sqrt(depth))
            nn.init.zeros_(module.o.bias)
        elif isinstance(module, AdaptiveNorm):
            nn.init.zeros_(module.linear.weight)
            nn.init.zeros_(module.linear.bias)
    nn.init.normal_(model.casual_audio_encoder.encoder.padding_tokens, std=0.02)
    nn.init.normal_(model.trainable_cond_mask.weight, std=0.02)
    for silent in (model.time_projection[1], model.head.head):
        nn.init.zeros_(silent.weight)
        nn.init.zeros_(silent.bias)
    nn.init.zeros_(model.head.modulation)
    nn.init.zeros_(model.cond_encoder.weight)                    # no pose video
    return model


def set_trainable(model: CausalS2VTransformer) -> CausalS2VTransformer:
    """All weights free but those of the pose video, which mini never sees."""
    model.requires_grad_(True)
    model.cond_encoder.weight.requires_grad_(False)
    return model


def load_transformer(path: Path, options: dict | None = None) -> CausalS2VTransformer:
    """The averaged weights that a training run left as `<path>.safetensors` or in pieces."""
    model = CausalS2VTransformer.from_config(options or TRANSFORMER)
    state, _ = load_pieces(path.parent, path.name.removesuffix(".safetensors"))
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model


def compile_for_training(model: CausalS2VTransformer) -> None:
    """Compile each repeated part once; all layers share one graph."""
    check_compiler(next(model.parameters()).device.type)
    torch._dynamo.config.recompile_limit = 32       # teacher, student and fake score, with gradients and without
    for layer in model.blocks:
        layer.compile(dynamic=False)
    model.listen = compile_function(model.listen, dynamic=False)


class Lesson:
    """Flow matching on clips of one size, `batch` at a time."""

    def __init__(self, model: CausalS2VTransformer, material: Material, batch: int, generator: torch.Generator) -> None:
        self.model, self.material, self.batch, self.generator = model, material, batch, generator
        self.weights = attention_to_face(material.latents)
        self._step = Recording(self._descent, [p for p in model.parameters() if p.requires_grad])

    def learn(self) -> Tensor:
        """Leave the gradients of a new batch in the model. -> loss"""
        B, slots = self.batch, self.material.text.shape[1]
        chosen = torch.randint(len(self.material), (B,), generator=self.generator, device=self.generator.device)
        clean, told = self.material.latents[chosen].float(), self.material.told(chosen, self.generator)
        told = told.without(sound=self._draw(B) < FORGET_SOUND,
                            words=(self._draw(B, 1) < FORGET_WORDS) | (self._draw(B, slots) < FORGET_SLOT))
        reference = told.reference + REFERENCE_NOISE * self._noise_like(told.reference)
        sigma = shifted(self._draw(B), SHIFT).clamp(SMALLEST_SIGMA, 1)
        return self._step(clean, self._noise_like(clean), sigma, reference, told.audio, told.text)

    def _descent(self, clean: Tensor, noise: Tensor, sigma: Tensor, *told: Tensor) -> Tensor:
        x = torch.lerp(clean, noise, sigma[:, None, None, None, None])
        error = velocity(self.model, x, sigma, Told(*told)) - (noise - clean)
        loss = (error.square() * self.weights).mean()
        loss.backward()
        return loss.detach()

    def _draw(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    def _noise_like(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.generator, device=x.device)


def main(argv: list[str] | None = None) -> None:
    parser = add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--vae", type=Path, required=True, help="trained VAE")
    parser.add_argument("--from_weights", type=Path, help="to begin from, such as an earlier teacher.safetensors")
    parser.add_argument("--listener", type=Path, required=True, help="trained ear, and audio encoder for a new base")
    parser.add_argument("--batch", type=int, default=32, help="clips a step on each GPU")
    parser.add_argument("--clips", type=int, default=6000, help="clips rendered for this call on each GPU")
    parser.add_argument("--other_sizes", nargs="*", default=[], metavar="W*H",
                        help=f"sizes beside --size that share {OTHER_SIZES:.0%} of the clips and steps")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--lr", type=float, default=9e-4)
    arguments = parser.parse_args(argv)
    device, generator = start(arguments)
    if arguments.from_weights is not None and not find_pieces(arguments.from_weights.parent,
                                                              arguments.from_weights.stem):
        parser.error(f"--from_weights {arguments.from_weights}: no such weights")

    model = load_transformer(arguments.from_weights) if arguments.from_weights else new_transformer()
    ear, heard = load_listener(arguments.listener, device)
    if arguments.from_weights is None:
        model.casual_audio_encoder.load_state_dict(heard)
    model = set_trainable(model).to(device).train()
    learner = Learner(model, arguments.lr, betas=(0.9, 0.95), weight_decay=0.01)
    loop = TrainingLoop(arguments.work, {"teacher": learner}, generator, budget_of(arguments), arguments.resume,
                        title="teacher", save_every_minutes=4)
    # clips differ from call to call, so that a run in pieces sees more of them
    generator.manual_seed(arguments.seed + 1000 * rank() + loop.step)
    dice = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)
    turns = torch.Generator().manual_seed(arguments.seed + loop.step)       # the same choices on every GPU
    vae = load_vae(arguments.vae, device).eval()
    sizes = [parse_size(size) for size in (arguments.size, *arguments.other_sizes)]
    shares = [1 - OTHER_SIZES * (len(sizes) > 1)] + [OTHER_SIZES / (len(sizes) - 1) for _ in sizes[1:]]
    lessons = []
    for size, share in zip(sizes, shares, strict=True):
        clips = Clips(arguments.corpus, "train", device, size, dice, arguments.compile)
        material = encode_clips(clips, vae, ear, math.ceil(share * arguments.clips), arguments.latent_frames)
        batch = min(round(arguments.batch * math.prod(sizes[0]) / math.prod(size)), len(material))
        lessons.append(Lesson(model, material, batch, generator))
        print(f"teacher: {len(material)} clips of {4 * arguments.latent_frames} frames {size[1]}*{size[0]}", flush=True)
    if arguments.compile:
        compile_for_training(model)
    for _ in loop:
        lesson = lessons[int(torch.multinomial(torch.tensor(shares), 1, generator=turns))]
        loss = lesson.learn()
        loop.descend("teacher")
        loop.show(loss=loss)


if __name__ == "__main__":
    main()
