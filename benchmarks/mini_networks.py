"""The networks of mini as measurements need them: from the shipped folder, or from files that training left."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from liveavatar.backends.mini import fill, vae_config
from liveavatar.backends.mini.ear import Ear
from liveavatar.backends.mini.preset import LORA_ALPHA, TRANSFORMER
from liveavatar.backends.mini.vae import VideoVAE, load_vae
from liveavatar.lora import merge_lora
from liveavatar.metrics.regressor import FaceRegressor, load_regressor
from liveavatar.training.listener import load_listener
from liveavatar.training.loop import find_pieces, load_pieces
from liveavatar.training.teacher import load_transformer, new_transformer
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.types import InputError
from liveavatar.weights import Manifest, load_part, read_manifest

WHERE = {"vae": "vae/vae.safetensors", "listener": "listener/listener.safetensors",
         "teacher": "teacher/teacher.safetensors",
         "student": "dmd/student.safetensors", "regressor": "regressor/regressor.safetensors"}


@dataclass(frozen=True)
class Networks:
    """Everything a measurement of quality needs; what is missing is None, and its rows are left out."""

    vae: VideoVAE
    ear: Ear
    regressor: FaceRegressor
    teacher: CausalS2VTransformer | None = None
    students: dict[str, CausalS2VTransformer] = field(default_factory=dict)   # by name; one is called "student"
    solver: str = "euler"                                                     # the one the students are shipped with
    origin: dict[str, str] = field(default_factory=dict)                      # file -> start of its sha256

    def to(self, device: torch.device | str) -> Networks:
        for network in (self.vae, self.ear, self.regressor, self.teacher, *self.students.values()):
            if network is not None:
                network.requires_grad_(False).eval().to(device)
        return self


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", help='folder with a manifest.json, or training\'s work folder (which holds '
                                          f'{", ".join(WHERE.values())}), or "random"; "shipped" is the default')
    parser.add_argument("--vae", type=Path, help="this file instead of that of --weights; likewise:")
    parser.add_argument("--listener", type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--student", type=Path, nargs="+", help="a LoRA or a whole network; several are compared")
    parser.add_argument("--regressor", type=Path)


def find_networks(arguments: argparse.Namespace) -> Networks:
    """Load what the command line names."""
    loose = {name: getattr(arguments, name) for name in WHERE if getattr(arguments, name)}
    if arguments.weights == "random":
        return random_networks()
    if arguments.weights is None and not loose:
        from liveavatar.backends.mini import WEIGHTS
        return from_manifest(read_manifest(WEIGHTS))
    folder = Path(arguments.weights or ".")
    if (folder / "manifest.json").exists() and not loose:
        return from_manifest(read_manifest(folder))
    if arguments.weights:
        loose = {name: folder / path for name, path in WHERE.items()
                 if find_pieces((folder / path).parent, Path(path).stem)} | loose
    return from_files(**loose)


def from_files(vae: Path | None = None, listener: Path | None = None, teacher: Path | None = None,
               student: Path | list[Path] | None = None, regressor: Path | None = None) -> Networks:
    """Files as the training stages leave them. A student in pieces is named without their numbers."""
    for name, path in (("vae", vae), ("listener", listener), ("regressor", regressor)):
        if path is None:
            raise InputError(f"there is no {name}: nothing can be measured without one; give --{name} FILE")
    paths = student if isinstance(student, list) else [student] if student else []
    names = ["student"] if len(paths) == 1 else [f"student[{path.parent.name}]" for path in paths]
    base = load_transformer(teacher) if teacher else None
    students = {name: load_student(path, teacher) for name, path in zip(names, paths, strict=True)}
    files = [piece for path in (vae, listener, teacher, *paths, regressor) if path
             for piece in find_pieces(path.parent, path.stem)]
    return Networks(load_vae(vae), load_listener(listener)[0], load_regressor(regressor), base, students, origin={
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files})


def load_student(path: Path, teacher: Path | None) -> CausalS2VTransformer:
    """The teacher with a LoRA merged into it; or, where the file holds no LoRA, a network of its own."""
    state, _ = load_pieces(path.parent, path.stem)
    if not any(".lora_" in name for name in state):
        return load_transformer(path)
    if teacher is None:
        raise InputError(f"{path} is a LoRA on the teacher; give --teacher FILE as well")
    model = load_transformer(teacher)
    merge_lora(model, state, LORA_ALPHA)
    return model


def from_manifest(manifest: Manifest) -> Networks:
    """The shipped folder: parts base, student, ear, vae and regressor."""
    def transformer() -> CausalS2VTransformer:
        settings = {key: value for key, value in manifest.config.get("base", {}).items() if key != "trained"}
        model = CausalS2VTransformer.from_config(TRANSFORMER | settings)
        fill(model, load_part(manifest, "base"), manifest)
        return model

    vae = VideoVAE(vae_config(manifest))
    fill(vae, load_part(manifest, "vae"), manifest)
    ear = Ear()
    fill(ear, load_part(manifest, "ear"), manifest)
    widths = {name: tuple(values) for name, values in manifest.config.get("regressor", {}).items()}
    regressor = FaceRegressor(**widths)
    fill(regressor, load_part(manifest, "regressor"), manifest)
    settings, students = manifest.config.get("student", {}), {}
    if "student" in manifest.parts:
        students["student"] = transformer()
        merge_lora(students["student"], load_part(manifest, "student"), settings.get("alpha", LORA_ALPHA))
    return Networks(vae, ear, regressor, transformer(), students, settings.get("trained", {}).get("solver", "euler"),
                    {name: sha256[:16] for name, sha256 in manifest.sha256.items()})


def random_networks() -> Networks:
    """Untrained networks, always the same: to try a measurement without weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Networks(VideoVAE(), Ear(), FaceRegressor(), new_transformer(), {"student": new_transformer()},
                        origin={"random": "seed 0"})
