"""Train the many-step base of mini: flow matching on whole clips, every block seeing what it will see when streaming.

    torchrun --nproc_per_node 4 -m liveavatar.training.base --corpus .train/corpus.npz --portraits portraits \
        --vae .train/vae/vae.safetensors --audio_encoder .train/listener/listener.safetensors --work .train/base \
        --total_minutes 9 --compile

Portrait and sound are weakened or left out in part of the clips (`dataset.Strengths`), so that both can be turned down
when videos are made. Beside the video, the shapes of the mouth are read off its tokens (`mouth_reader`): they follow
from the sound, and the error of a picture of which most is left to chance says so less plainly. Source: flow matching
(Lipman et al. 2022, arXiv:2210.02747, eq. 23) with timestep forcing (one noise level a clip).
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.backends.mini.preset import TRANSFORMER, transformer_options
from liveavatar.backends.mini.vae import load_vae
from liveavatar.config import parse_size
from liveavatar.sampler import shifted
from liveavatar.training.audio_encoder import load_audio_encoder
from liveavatar.training.checkpoint import find_pieces, load_pieces
from liveavatar.training.dataset import (
    MOUTH_WEIGHT,
    ClipCondition,
    Dataset,
    Strengths,
    displacement_loss,
    encode_clips,
    flow_loss,
    has_portrait,
    predict,
    widen,
)
from liveavatar.training.learner import Learner, Recording, rank
from liveavatar.training.loop import PROCESS_STARTED_S, TrainingLoop
from liveavatar.training.mouth_reader import MouthReader, shape_loss
from liveavatar.training.options import add_arguments, budget_of, start
from liveavatar.training.worlds import add_world_arguments, clips_of
from liveavatar.transformer import AdaptiveNorm, Attention, CausalS2VTransformer
from liveavatar.types import InputError

NOISE_SHIFT = 3.0       # of the noise levels drawn in training: more of them near 1, where the picture is decided
SMALLEST_SIGMA = 0.02
REFERENCE_NOISE = 0.01
DISPLACEMENT_WEIGHT = 0.1      # of the error in latent pixels, beside flow matching
SHAPE_WEIGHT = 1.0      # of the error of the shapes of the mouth, beside flow matching
HEAD_DIM = 64
OTHER_SIZES = 0.3       # share of clips and steps of all sizes but the first
TRAINED_STRENGTHS = Strengths()


def new_transformer(options: dict | None = None) -> CausalS2VTransformer:
    """Build an untrained mini: open gates, silent residual branches, so that every layer begins as the identity."""
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
    if model.config.detail_channels:
        nn.init.zeros_(model.head.out.weight)                    # half of the portrait is copied at first, unmoved
        nn.init.zeros_(model.head.out.bias)
    nn.init.zeros_(model.cond_encoder.weight)                    # no pose video
    return model


def set_trainable(model: CausalS2VTransformer) -> CausalS2VTransformer:
    """Set all weights free but those of the pose video, which mini never sees; return the model."""
    model.requires_grad_(True)
    model.cond_encoder.weight.requires_grad_(False)
    return model


def load_transformer(path: Path, options: dict | None = None) -> CausalS2VTransformer:
    """Load the averaged weights that a training run left as `<path>.safetensors` or in pieces. Raises InputError when
    there are none."""
    model = CausalS2VTransformer.from_config(options or TRANSFORMER)
    model.load_state_dict(_weights_of(path))
    return model


def begin_from(model: CausalS2VTransformer, path: Path) -> None:
    """Take over from other weights every tensor that fits; the rest stays as it is, and is named."""
    own, other = model.state_dict(), _weights_of(path)
    fitting = {name: tensor for name, tensor in other.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise InputError(f"--from_weights {path}: none of its {len(other)} tensors fits; give weights of a base")
    model.load_state_dict(fitting, strict=False)
    missing = sorted(own.keys() - fitting.keys())
    new = f"; new: {', '.join(missing)}" if missing else ""
    print(f"base: {len(fitting)} of {len(own)} tensors from {path}{new}")


def _weights_of(path: Path) -> dict[str, Tensor]:
    state, _ = load_pieces(path.parent, path.name.removesuffix(".safetensors"))
    return {name: tensor.float() for name, tensor in state.items()}


def compile_for_training(model: CausalS2VTransformer) -> None:
    """Compile each repeated part once; all layers share one graph."""
    torch._dynamo.config.recompile_limit = 32       # teacher, student and fake score, with gradients and without
    for layer in model.blocks:
        layer.compile(dynamic=False)
    model.inject_audio = torch.compile(model.inject_audio, dynamic=False)
    model.output_head = torch.compile(model.output_head, dynamic=False)


class FlowMatching:
    """Flow matching on clips of one size, `batch` at a time."""

    def __init__(self, model: CausalS2VTransformer, reader: MouthReader, dataset: Dataset, batch: int,
                 generator: torch.Generator, strengths: Strengths = TRAINED_STRENGTHS) -> None:
        self.model, self.reader, self.dataset, self.batch, self.generator = model, reader, dataset, batch, generator
        self.strengths = strengths
        self._step = Recording(self._loss, [p for p in (*model.parameters(), *reader.parameters()) if p.requires_grad])

    def step(self) -> tuple[Tensor, ...]:
        """Leave the gradients of a new batch in model and reader. -> loss, error of the displacement in latent pixels,
        error of the shapes of the mouth"""
        chosen = torch.randint(len(self.dataset), (self.batch,), generator=self.generator, device=self.generator.device)
        clean = self.dataset.latents[chosen].float()
        condition = self.dataset.condition(chosen, self.generator, self.strengths)
        reference = condition.reference + REFERENCE_NOISE * self._noise_like(condition.reference)
        sigma = shifted(torch.rand(self.batch, generator=self.generator, device=clean.device), NOISE_SHIFT)
        return self._step(clean, self._noise_like(clean), sigma.clamp(SMALLEST_SIGMA, 1),
                          self.dataset.emphasis[chosen].float(), self.dataset.displacement[chosen].float(),
                          self.dataset.known[chosen].float(), self.dataset.mouth[chosen].float(),
                          self.dataset.shapes[chosen].float(), reference, condition.audio, condition.text)

    def _loss(self, clean: Tensor, noise: Tensor, sigma: Tensor, emphasis: Tensor, displacement: Tensor, known: Tensor,
              mouth: Tensor, shapes: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        x, condition = torch.lerp(clean, noise, widen(sigma)), ClipCondition(*parts)
        v, flow, tokens = predict(self.model, x, sigma, condition)
        loss = flow_loss(v, clean, noise, sigma, emphasis)
        counts = known * emphasis * has_portrait(condition.reference)
        off = clean.new_zeros(()) if flow is None else displacement_loss(flow, displacement, counts)
        misread = shape_loss(self.reader(tokens.float(), mouth), shapes)
        (loss + DISPLACEMENT_WEIGHT * off + SHAPE_WEIGHT * misread).backward()
        return loss.detach(), off.detach(), misread.detach()

    def _noise_like(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.generator, device=x.device)


def add_arguments_of_base(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of this stage."""
    add_arguments(parser)
    add_world_arguments(parser)
    parser.add_argument("--vae", type=Path, required=True, help="trained VAE")
    parser.add_argument("--audio_encoder", "--listener", type=Path, required=True, help="trained audio encoder")
    parser.add_argument("--from_weights", type=Path, help="an earlier base.safetensors to begin from, where it fits")
    parser.add_argument("--batch", type=int, default=32, help="clips a step on each GPU")
    parser.add_argument("--clips", type=int, default=4000, help="clips held on each GPU")
    parser.add_argument("--refresh_steps", type=int, default=64,
                        help="steps after which 32 clips are replaced; 0 never")
    parser.add_argument("--other_sizes", nargs="*", default=[], metavar="W*H",
                        help=f"sizes beside --size that share {OTHER_SIZES:.0%} of the clips and steps")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--mouth_weight", type=float, default=MOUTH_WEIGHT, help="of the loss around the mouth")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--dim", type=int, default=TRANSFORMER["dim"], help="width of a new network")
    parser.add_argument("--prediction", choices=("velocity", "clean"), default=TRANSFORMER["prediction"])
    return parser


def main(argv: list[str] | None = None) -> None:
    arguments = add_arguments_of_base(argparse.ArgumentParser(description=__doc__.splitlines()[0])).parse_args(argv)
    if arguments.from_weights is not None and not find_pieces(arguments.from_weights.parent,
                                                              arguments.from_weights.stem):
        raise InputError(f"--from_weights {arguments.from_weights}: no such weights; check the path")
    device, generator = start(arguments)
    vae = load_vae(arguments.vae, device).to(memory_format=torch.channels_last).eval()
    options = transformer_options(vae.config) | {"prediction": arguments.prediction}
    if arguments.dim != TRANSFORMER["dim"]:
        options |= {"dim": arguments.dim, "ffn_dim": 4 * arguments.dim, "num_heads": arguments.dim // HEAD_DIM}
    model = new_transformer(options)
    audio_encoder, tokens = load_audio_encoder(arguments.audio_encoder, device)
    if arguments.from_weights:
        begin_from(model, arguments.from_weights)
    elif arguments.dim == TRANSFORMER["dim"]:
        model.casual_audio_encoder.load_state_dict(tokens)
    model = set_trainable(model).to(device).train()
    learner = Learner(model, arguments.lr, betas=(0.9, 0.95), weight_decay=0.01, average=0.9995)
    reader = MouthReader(options["dim"]).to(device)
    learners = {"base": learner, "mouth_reader": Learner(reader, arguments.lr, average=0.999)}
    loop = TrainingLoop(arguments.work, learners, generator, budget_of(arguments), arguments.resume,
                        title="base", save_every_minutes=4)
    # clips differ from call to call, so that a run in pieces sees more of them
    generator.manual_seed(arguments.seed + 1000 * rank() + loop.step)
    sizes = [parse_size(size) for size in (arguments.size, *arguments.other_sizes)]
    shares = [1 - OTHER_SIZES * (len(sizes) > 1)] + [OTHER_SIZES / (len(sizes) - 1) for _ in sizes[1:]]
    sources, tasks = [], []
    for index, (size, share) in enumerate(zip(sizes, shares, strict=True)):
        host = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step + 77 * index)
        clips = clips_of(arguments, "train", device, size, host)
        count = math.ceil(share * arguments.clips)
        dataset = encode_clips(clips, vae, audio_encoder, count, arguments.latent_frames,
                               mouth_weight=arguments.mouth_weight)
        batch = min(round(arguments.batch * math.prod(sizes[0]) / math.prod(size)), len(dataset))
        sources.append(clips)
        tasks.append(FlowMatching(model, reader, dataset, batch, generator))
        print(f"base: {len(dataset)} clips of {4 * arguments.latent_frames} frames {size[1]}*{size[0]}, "
              f"{time.monotonic() - PROCESS_STARTED_S:.0f} s", flush=True)
    if arguments.compile:
        compile_for_training(model)
    shared = torch.Generator().manual_seed(arguments.seed + loop.step)       # the same choices on every GPU
    cursors = [0] * len(tasks)
    for _ in loop:
        which = int(torch.multinomial(torch.tensor(shares), 1, generator=shared))
        loss, off, misread = tasks[which].step()
        for name in loop.learners:
            loop.descend(name)
        loop.show(loss=loss, displacement=off, shapes=misread)
        if arguments.refresh_steps and loop.step % arguments.refresh_steps == 0:
            dataset = tasks[which].dataset
            new = encode_clips(sources[which], vae, audio_encoder, min(32, len(dataset)), arguments.latent_frames,
                               mouth_weight=arguments.mouth_weight)
            dataset.replace_clips(cursors[which], new[:len(dataset) - cursors[which]])
            cursors[which] = (cursors[which] + len(new)) % len(dataset)


if __name__ == "__main__":
    main()
