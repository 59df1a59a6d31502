"""Teach the audio encoder of mini to hear what lips do, before the transformer is trained around it.

    python -m liveavatar.training.listener --corpus .train/corpus.npz --work .train/listener --total_minutes 0.5

The released model listens through wav2vec2, which knew speech long before it met a face. mini has no such ear, and its
base learns one slowly from pictures, where lips are few pixels. So its encoder first learns to read visemes, loudness
and pauses off the sound, through two linear layers that are thrown away.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.audio import windows
from liveavatar.backends.mini.preset import TRANSFORMER
from liveavatar.speech import VISEME_PARAMETERS
from liveavatar.training.clips import SpeechTable, disturb
from liveavatar.training.corpus import load_corpus
from liveavatar.training.loop import (
    Learner,
    Recording,
    TrainingLoop,
    add_arguments,
    autocast,
    budget_of,
    rank,
    start,
)
from liveavatar.transformer import AUDIO_HISTORY, AudioEncoder

SKIPPED = -(-AUDIO_HISTORY // 4)                    # latent frames that are history
TARGETS = (*VISEME_PARAMETERS, "loudness", "speaking")


class Listener(nn.Module):
    """The audio encoder and what reads it: each of its two outputs must tell of the four frames it stands for."""

    def __init__(self, audio_dim: int, dim: int, audio_layers: int = 1, num_audio_token: int = 4) -> None:
        super().__init__()
        self.encoder = AudioEncoder(audio_layers, audio_dim, dim, num_audio_token)
        self.read_tokens = nn.Linear(num_audio_token * dim, 4 * len(TARGETS))
        self.read_whole = nn.Linear(dim, 4 * len(TARGETS))

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, layers, A, 9 + 4F)  ->  TARGETS of every video frame (B, 4F, 9), by tokens and by the whole"""
        local, whole = self.encoder(audio)
        spoken = local[:, SKIPPED:, :-1].flatten(2)                         # without the learned one
        return tuple(told.unflatten(-1, (4, -1)).flatten(1, 2).float()
                     for told in (self.read_tokens(spoken), self.read_whole(whole[:, SKIPPED:])))


def correlation(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean over clips of the correlation over time. (B, T, n) -> (n,)"""
    guess, truth = (x - x.mean(1, keepdim=True) for x in (guess, truth))
    return nn.functional.cosine_similarity(guess, truth, dim=1).mean(0)


def draw(table: SpeechTable, batch: int, frames: int, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mel (B, 2T+10, 64) and TARGETS (B, 4F, 9) of clips of F latent frames, on the table's device."""
    device, T = table.mel.device, AUDIO_HISTORY + 4 * frames
    start_, ends = table.cut(batch, T, dice)
    visemes, loudness, speaking = table.said(start_, T)
    targets = torch.cat([visemes, loudness[..., None], speaking[..., None]], -1)[:, AUDIO_HISTORY:]
    return table.heard(start_.to(device), ends.to(device), T), targets.to(device)


def export_encoder(model: Listener, path: Path) -> None:
    from safetensors.torch import save_file
    save_file({name: tensor.cpu() for name, tensor in model.encoder.state_dict().items()}, str(path))


def main(argv: list[str] | None = None) -> None:
    parser = add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--batch", type=int, default=256, help="clips a step on each GPU")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--lr", type=float, default=2e-3)
    arguments = parser.parse_args(argv)
    device, generator = start(arguments)
    model = Listener(TRANSFORMER["audio_dim"], TRANSFORMER["dim"]).to(device)
    learner = Learner(model, arguments.lr, weight_decay=0.01, export=export_encoder)
    loop = TrainingLoop(arguments.work, {"listener": learner}, generator, budget_of(arguments), arguments.resume,
                        title="listener", save_every_minutes=60)
    corpus = load_corpus(arguments.corpus)
    spoken, held = (SpeechTable(corpus, split, device) for split in ("train", "held"))
    dice = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)

    def learn(mel: Tensor, targets: Tensor) -> Tensor:
        with autocast(device):
            guesses = model(windows(mel)[:, None])
        loss = sum((guess - targets).square().mean() for guess in guesses)
        loss.backward()
        return loss.detach()

    recorded = Recording(learn, learner.parameters)
    for _ in loop:
        mel, targets = draw(spoken, arguments.batch, arguments.latent_frames, dice)
        loss = recorded(disturb(mel, generator), targets)
        loop.descend("listener")
        loop.show(loss=loss)
    with learner.averaged(), torch.no_grad():
        mel, targets = draw(held, arguments.batch, arguments.latent_frames,
                            torch.Generator().manual_seed(1))
        for name, guess in zip(("tokens", "whole"), model(windows(mel)[:, None]), strict=True):
            loop.evaluation[name] = dict(zip(TARGETS, correlation(guess, targets).tolist(), strict=True))
    loop.write_log()
    print("correlation on held voices:", {name: {k: round(v, 3) for k, v in of.items()}
                                          for name, of in loop.evaluation.items()}, flush=True)


if __name__ == "__main__":
    main()
