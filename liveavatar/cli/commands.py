"""The smaller commands: audio-preprocess, avatar, lab, demo, doctor, workshop."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from liveavatar.cli.outputs import check_file, output_of
from liveavatar.cli.parsing import add_output, add_stretch
from liveavatar.config import GenerationConfig, parse_size
from liveavatar.demo import WORKBENCH, notebooks_folder, sign_notebooks
from liveavatar.files import printable
from liveavatar.types import InputError

DEFAULT_FEATURES, DEFAULT_PORTRAIT = "features.safetensors", "portrait.png"
LAB_SETTINGS = Path(__file__).resolve().parents[1] / "jupyter"     # defaults: JupyterLab does not ask about its news


def audio_preprocess(asked: argparse.Namespace) -> int:
    """Write what the model hears to a file; return the exit code. Raises InputError for files that cannot be used."""
    config = GenerationConfig(start_s=asked.start_s, duration_s=asked.duration_s, clean=asked.clean)
    check_file("--input", asked.input, "a recording such as speech.wav")
    output = output_of(asked, DEFAULT_FEATURES)
    if output.suffix.lower() not in (".safetensors", ".pt"):
        raise InputError(f"--output is {output}; features are written as .safetensors or .pt")
    from liveavatar.backends import find
    from liveavatar.inputs import encode_audio, prepare_audio

    kind = find(asked.backend)
    speech = prepare_audio(kind, asked.input, config)
    features = encode_audio(kind.for_audio(), speech, config)
    tensors = {"values": features.values.contiguous(), "rms": features.rms.contiguous()}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(tensors, {"fps": str(features.fps)}, output)
    except OSError as error:
        raise InputError(f"output {output} cannot be written: {error.strerror or error}; choose another") from error
    layers, size, frames = features.values.shape[1:]
    print(f"{printable(output)}: {frames} video frames at {features.fps:g} a second, {layers} x {size} features each")
    return 0


def avatar(asked: argparse.Namespace) -> int:
    """Draw a portrait of somebody who does not exist; return the exit code. Raises InputError for an unknown trait."""
    output = output_of(asked, DEFAULT_PORTRAIT)
    if output.suffix.lower() != ".png":
        raise InputError(f"--output is {output}; portraits are PNG files, which can carry who they show: portrait.png")
    size = parse_size(asked.size)
    traits = dict(trait_of(text) for text in asked.trait)
    from liveavatar.avatars.portraits import avatar as make
    from liveavatar.avatars.portraits import save_portrait

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_portrait(make(asked.seed, size, asked.world, **traits), output)
    except OSError as error:
        raise InputError(f"output {output} cannot be written: {error.strerror or error}; choose another") from error
    print(f"{printable(output)}: {asked.size}")
    return 0


def lab(asked: argparse.Namespace) -> int:
    """Open the workbench in JupyterLab. Its root is the checkout, so that links from notebooks to docs/ are found."""
    notebooks = notebooks_folder()
    sign_notebooks(notebooks)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks.parent}",
               f"--LabApp.default_url=/lab/tree/{notebooks.name}/{WORKBENCH}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:       # as in containers; Jupyter would refuse
        command.append("--ServerApp.allow_root=True")
    settings = os.pathsep.join(filter(None, [str(LAB_SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")]))
    server = subprocess.Popen([*command, *asked.rest], env=os.environ | {"JUPYTER_CONFIG_PATH": settings})
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:                          # the server has got it too, and asks what is meant
            continue


def demo(asked: argparse.Namespace) -> int:
    """Run the first notebook without a browser."""
    from liveavatar.demo import main as run

    return run(["--out", asked.out])


def doctor(asked: argparse.Namespace) -> int:
    """Say what is wrong here, and what to do."""
    from liveavatar.doctor import main as run

    return run(asked.json)


def workshop(asked: argparse.Namespace) -> int:
    """Look at a participant's machine, or make the folder that participants get; return the exit code.

    Raises InputError where the folder cannot be made.
    """
    if asked.pack is None:
        from liveavatar.workshop.machine import main as run

        return run(asked.json)
    if asked.json:
        raise InputError("--json is for the look at this machine; leave it out with --pack")
    from liveavatar.workshop.pack import main as make

    return make(asked.pack)


def trait_of(text: str) -> tuple[str, str | bool | float]:
    """Parse hair=long, glasses=true or eye_size=1.1. Raises InputError for other forms."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise InputError(f"--trait is {text!r}; write name=value, for example hair=long or glasses=true")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        return name, float(value)
    except ValueError:
        return name, value


def save_tensors(tensors: dict, about: dict[str, str], path: Path) -> None:
    """Write under a hidden name, then rename."""
    from liveavatar.files import write_whole

    if path.suffix.lower() == ".pt":
        import torch

        write_whole(path, lambda part: torch.save(tensors | {"fps": float(about["fps"])}, part))
    else:
        from safetensors.torch import save

        write_whole(path, lambda part: part.write_bytes(save(tensors, about)))


def add_preprocess(commands: argparse._SubParsersAction) -> None:
    """Add the command audio-preprocess."""
    parser = commands.add_parser("audio-preprocess", help="what the model hears, as a file")
    parser.add_argument("--input", required=True, help="recording")
    add_output(parser, DEFAULT_FEATURES, ".safetensors or .pt")
    parser.add_argument("--backend", default="mini")
    add_stretch(parser)
    parser.set_defaults(run=audio_preprocess)


def add_avatar(commands: argparse._SubParsersAction) -> None:
    """Add the command avatar."""
    parser = commands.add_parser("avatar", help="a portrait of somebody who does not exist")
    parser.add_argument("--seed", type=int, default=None, help="the same number is the same person")
    add_output(parser, DEFAULT_PORTRAIT, ".png")
    parser.add_argument("--size", default="256*256", help="width*height (default: %(default)s)")
    parser.add_argument("--trait", action="append", default=[], metavar="NAME=VALUE",
                      help="hair=long, glasses=true, eye_size=1.1 ...; may be repeated")
    parser.add_argument("--world", choices=["plain", "rich"], default="rich",
                      help="rich: drawn with shading and texture, as mini knows people (default: %(default)s)")
    parser.set_defaults(run=avatar)


def add_lab(commands: argparse._SubParsersAction) -> None:
    """Add the command lab."""
    parser = commands.add_parser("lab", help="the workbench in JupyterLab")
    parser.add_argument("rest", nargs="*", help="options for jupyter lab, after --")
    parser.set_defaults(run=lab)


def add_demo(commands: argparse._SubParsersAction) -> None:
    """Add the command demo."""
    parser = commands.add_parser("demo", help="the first notebook, run without a browser")
    parser.add_argument("--out", default="out", help="folder for what it leaves (default: %(default)s)")
    parser.set_defaults(run=demo)


def add_doctor(commands: argparse._SubParsersAction) -> None:
    """Add the command doctor."""
    parser = commands.add_parser("doctor", help="is anything wrong with this installation or machine? what to do?")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=doctor)


def add_workshop(commands: argparse._SubParsersAction) -> None:
    """Add the command workshop."""
    parser = commands.add_parser("workshop", help="is this machine ready for a workshop? or a folder that installs "
                                                  "without a network")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--pack", metavar="FOLDER", help="make a folder with wheels, weights and notebooks")
    parser.set_defaults(run=workshop)
