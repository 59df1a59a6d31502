"""Train the audio encoder of mini, and the projection behind it, to hear what lips do.

    python -m liveavatar.training.listener --corpus .train/corpus.npz --work .train/listener --total_minutes 2

The released model listens through wav2vec2, which knew speech long before it met a face. Learning to hear from
pictures, where lips are few pixels, is slow. So mini's ear first learns to read visemes, loudness and pauses off the
sound, through linear layers that are thrown away; from then on it stays as it is. The audio encoder goes on learning
with the base.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from liveavatar.audio import windows
from liveavatar.backends.mini.ear import Ear
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
from liveavatar.transformer import AUDIO_HISTORY, CausalAudioEncoder

SKIPPED = -(-AUDIO_HISTORY // 4)                    # latent frames that are history
TARGETS = (*VISEME_PARAMETERS, "loudness", "speaking")


class Listener(nn.Module):
    """Ear and audio encoder, and what reads them: the ear must tell of each frame, each of the encoder's two outputs of
    the four frames it stands for."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.ear = Ear()
        self.encoder = CausalAudioEncoder(1, self.ear.dim, dim, tokens)
        self.read_ear = nn.Linear(self.ear.dim, len(TARGETS))
        self.read_tokens = nn.Linear(tokens * dim, 4 * len(TARGETS))
        self.read_whole = nn.Linear(dim, 4 * len(TARGETS))

    def forward(self, heard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict TARGETS of every video frame (B, 4F, 9): by the features, by tokens, by the whole.

        mel: windows (B, 768, BEFORE + 9 + 4F + AFTER)
        """
        told = self.ear(heard)
        local, whole = self.encoder(told[:, None])
        spoken = local[:, SKIPPED:, :-1].flatten(2)                         # without the learned one
        by_four = (self.read_tokens(spoken), self.read_whole(whole[:, SKIPPED:]))
        return (self.read_ear(told[..., AUDIO_HISTORY:].transpose(1, 2)).float(),
                *(guess.unflatten(-1, (4, -1)).flatten(1, 2).float() for guess in by_four))


def correlation(guess: Tensor, truth: Tensor) -> Tensor:
    """Average the correlation over time over clips. (B, T, n) -> (n,)"""
    guess, truth = (x - x.mean(1, keepdim=True) for x in (guess, truth))
    return nn.functional.cosine_similarity(guess, truth, dim=1).mean(0)


def draw(table: SpeechTable, batch: int, frames: int, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw mel (B, M, 64) and TARGETS (B, 4F, 9) of clips of F latent frames, on the table's device."""
    device, T = table.mel.device, AUDIO_HISTORY + 4 * frames
    start_, ends = table.cut(batch, T, dice)
    visemes, loudness, speaking = table.said(start_, T)
    targets = torch.cat([visemes, loudness[..., None], speaking[..., None]], -1)[:, AUDIO_HISTORY:]
    return table.heard(start_.to(device), ends.to(device), T), targets.to(device)


def export_listener(model: Listener, path: Path) -> None:
    """Write both encoders; the heads that read them have done their work."""
    from safetensors.torch import save_file
    save_file({name: tensor.half().cpu() for name, tensor in model.state_dict().items()
               if not name.startswith("read_")}, str(path))


def load_listener(path: Path, device: torch.device | str = "cpu") -> tuple[Ear, dict[str, Tensor]]:
    """Load what `export_audio_encoder` wrote: the audio encoder, ready to be used, and weights of the transformer's
    `CausalAudioEncoder`."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    ear = Ear()
    ear.load_state_dict({name[4:]: tensor for name, tensor in state.items() if name.startswith("ear.")})
    encoder = {name[8:]: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    return ear.to(device).eval().requires_grad_(False), encoder


def main(argv: list[str] | None = None) -> None:
    parser = add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--batch", type=int, default=256, help="clips a step on each GPU")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--lr", type=float, default=2e-3)
    arguments = parser.parse_args(argv)
    device, generator = start(arguments)
    model = Listener(TRANSFORMER["dim"], TRANSFORMER["num_audio_token"]).to(device)
    learner = Learner(model, arguments.lr, weight_decay=0.01, export=export_listener)
    loop = TrainingLoop(arguments.work, {"listener": learner}, generator, budget_of(arguments), arguments.resume,
                        title="listener", save_every_minutes=60)
    corpus = load_corpus(arguments.corpus)
    spoken, held = (SpeechTable(corpus, split, device) for split in ("train", "held"))
    dice = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)

    def learn(mel: Tensor, targets: Tensor) -> Tensor:
        with autocast(device):
            guesses = model(windows(mel))
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
        for name, guess in zip(("ear", "tokens", "whole"), model(windows(mel)), strict=True):
            loop.evaluation[name] = dict(zip(TARGETS, correlation(guess, targets).tolist(), strict=True))
    loop.write_log()
    if rank() == 0:
        print("correlation on held voices:", {name: {k: round(v, 3) for k, v in of.items()}
                                              for name, of in loop.evaluation.items()}, flush=True)


if __name__ == "__main__":
    main()
