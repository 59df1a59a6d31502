"""The networks of mini as measurements need them: from the shipped folder of weights, or another with a manifest."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import torch

from liveavatar.backends import Trained
from liveavatar.backends.mini import WEIGHTS, fill, students, trained_for, trained_networks
from liveavatar.backends.mini.audio import AudioEncoder
from liveavatar.backends.mini.vae import VideoVAE
from liveavatar.metrics.regressor import FaceRegressor, regressor_of
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.weights import Manifest, load_part, read_manifest


@dataclass(frozen=True)
class Networks:
    """Everything a measurement of quality needs."""

    vae: VideoVAE
    audio_encoder: AudioEncoder
    regressor: FaceRegressor
    base: CausalS2VTransformer
    students: dict[str, CausalS2VTransformer] = field(default_factory=dict)   # "student-4": distilled for four steps
    trained: Trained = Trained()                                              # what the students were trained for
    origin: dict[str, str] = field(default_factory=dict)                      # file -> start of its sha256

    def to(self, device: torch.device | str) -> Networks:
        for network in (self.vae, self.audio_encoder, self.regressor, self.base, *self.students.values()):
            network.requires_grad_(False).eval().to(device)
        self.vae.to(memory_format=torch.channels_last)
        return self


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder with a manifest.json; default: shipped")
    parser.add_argument("--students", nargs="*", help="only these, for example 4 4-every-step")


def find_networks(arguments: argparse.Namespace) -> Networks:
    """Load what the command line names. Raises InputError."""
    manifest = read_manifest(arguments.weights)
    names = students(manifest) if arguments.students is None else tuple(arguments.students)
    return load_networks(manifest, names)


def load_networks(manifest: Manifest, names: tuple[str, ...]) -> Networks:
    """The base, the students of these names, and what goes with them."""
    base, vae, audio_encoder, _ = trained_networks(manifest, False)
    regressor = regressor_of(manifest.config["regressor"])
    fill(regressor, load_part(manifest, "regressor"), manifest)
    return Networks(vae, audio_encoder, regressor, base,
                    {f"student-{name}": trained_networks(manifest, name)[0] for name in names},
                    trained_for(manifest, f"student-{names[0]}" if names else "base"),
                    {name: sha256[:16] for name, sha256 in manifest.sha256.items()})
