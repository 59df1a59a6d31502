"""Train the audio encoder of mini, and the transformer's `CausalAudioEncoder` behind it, to hear what lips do.

    python -m liveavatar.training.audio_encoder --corpus .train/corpus.npz --work .train/listener --total_minutes 2

The released model encodes sound by wav2vec2, which knew speech long before it met a face. Learning to hear from
pictures, where lips are few pixels, is slow. So both first learn to predict visemes, loudness and pauses from sound,
through linear layers that are thrown away. From then on mini's audio encoder stays as it is; the `CausalAudioEncoder`
goes on learning with the base.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from liveavatar.audio import windows
from liveavatar.backends.mini.audio import AudioEncoder
from liveavatar.backends.mini.preset import TRANSFORMER
from liveavatar.speech.visemes import VISEME_PARAMETERS
from liveavatar.training.clips import SpeechTable, disturb
from liveavatar.training.corpus import load_corpus
from liveavatar.training.learner import Learner, Recording, rank
from liveavatar.training.loop import TrainingLoop
from liveavatar.training.options import add_arguments, autocast, budget_of, start
from liveavatar.transformer import AUDIO_HISTORY, CausalAudioEncoder

SKIPPED = -(-AUDIO_HISTORY // 4)                    # latent frames that are history
TARGETS = (*VISEME_PARAMETERS, "loudness", "speaking")


class AudioEncoderProbe(nn.Module):
    """The audio encoder, the transformer's `CausalAudioEncoder` behind it, and linear heads that predict TARGETS: one
    for each video frame, one for each of the two outputs of the four frames they stand for. `ear` and `encoder` are
    names in weight files."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.ear = AudioEncoder()
        self.encoder = CausalAudioEncoder(1, self.ear.dim, dim, tokens)
        self.head_features = nn.Linear(self.ear.dim, len(TARGETS))
        self.head_tokens = nn.Linear(tokens * dim, 4 * len(TARGETS))
        self.head_whole = nn.Linear(dim, 4 * len(TARGETS))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict TARGETS of every video frame (B, 4F, 9): by the features, by tokens, by the whole.

        mel: windows (B, 768, BEFORE + 9 + 4F + AFTER)
        """
        features = self.ear(mel)
        local, whole = self.encoder(features[:, None])
        tokens = local[:, SKIPPED:, :-1].flatten(2)                         # without the learned one
        by_four = (self.head_tokens(tokens), self.head_whole(whole[:, SKIPPED:]))
        return (self.head_features(features[..., AUDIO_HISTORY:].transpose(1, 2)).float(),
                *(guess.unflatten(-1, (4, -1)).flatten(1, 2).float() for guess in by_four))


def correlation(guess: Tensor, truth: Tensor) -> Tensor:
    """Average the correlation over time over clips. (B, T, n) -> (n,)"""
    guess, truth = (x - x.mean(1, keepdim=True) for x in (guess, truth))
    return nn.functional.cosine_similarity(guess, truth, dim=1).mean(0)


def draw(table: SpeechTable, batch: int, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw mel (B, M, 64) and TARGETS (B, 4F, 9) of clips of F latent frames, on the table's device."""
    device, T = table.mel.device, AUDIO_HISTORY + 4 * frames
    start_, ends = table.cut(batch, T, generator)
    visemes, loudness, speaking = table.labels(start_, T)
    targets = torch.cat([visemes, loudness[..., None], speaking[..., None]], -1)[:, AUDIO_HISTORY:]
    return table.log_mel(start_.to(device), ends.to(device), T), targets.to(device)


def export_audio_encoder(model: AudioEncoderProbe, path: Path) -> None:
    """Write both encoders; the heads that read them have done their work."""
    from safetensors.torch import save_file
    save_file({name: tensor.half().cpu() for name, tensor in model.state_dict().items()
               if not name.startswith("head_")}, str(path))


def load_audio_encoder(path: Path, device: torch.device | str = "cpu") -> tuple[AudioEncoder, dict[str, Tensor]]:
    """Load what `export_audio_encoder` wrote: the audio encoder, ready to be used, and weights of the transformer's
    `CausalAudioEncoder`."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    audio_encoder = AudioEncoder()
    audio_encoder.load_state_dict({name[4:]: tensor for name, tensor in state.items() if name.startswith("ear.")})
    encoder = {name[8:]: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    return audio_encoder.to(device).eval().requires_grad_(False), encoder


def main(argv: list[str] | None = None) -> None:
    parser = add_arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--batch", type=int, default=256, help="clips a step on each GPU")
    parser.add_argument("--latent_frames", type=int, default=21)
    parser.add_argument("--lr", type=float, default=2e-3)
    arguments = parser.parse_args(argv)
    device, generator = start(arguments)
    model = AudioEncoderProbe(TRANSFORMER["dim"], TRANSFORMER["num_audio_token"]).to(device)
    learner = Learner(model, arguments.lr, weight_decay=0.01, export=export_audio_encoder)
    loop = TrainingLoop(arguments.work, {"listener": learner}, generator, budget_of(arguments), arguments.resume,
                        title="listener", save_every_minutes=60)
    corpus = load_corpus(arguments.corpus)
    spoken, held = (SpeechTable(corpus, split, device) for split in ("train", "held"))
    host = torch.Generator().manual_seed(arguments.seed + 1000 * rank() + loop.step)

    def learn(mel: Tensor, targets: Tensor) -> Tensor:
        with autocast(device):
            guesses = model(windows(mel))
        loss = sum((guess - targets).square().mean() for guess in guesses)
        loss.backward()
        return loss.detach()

    recorded = Recording(learn, learner.parameters)
    for _ in loop:
        mel, targets = draw(spoken, arguments.batch, arguments.latent_frames, host)
        loss = recorded(disturb(mel, generator), targets)
        loop.descend("listener")
        loop.show(loss=loss)
    with learner.averaged(), torch.no_grad():
        mel, targets = draw(held, arguments.batch, arguments.latent_frames,
                            torch.Generator().manual_seed(1))
        for name, guess in zip(("features", "tokens", "whole"), model(windows(mel)), strict=True):
            loop.evaluation[name] = dict(zip(TARGETS, correlation(guess, targets).tolist(), strict=True))
    loop.write_log()
    if rank() == 0:
        print("correlation on held voices:", {name: {k: round(v, 3) for k, v in found.items()}
                                              for name, found in loop.evaluation.items()}, flush=True)


if __name__ == "__main__":
    main()
