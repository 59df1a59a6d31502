"""Pack what training left into the weights folder of the package, with a manifest of hashes.

    python -m liveavatar.training.ship --work .train
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from liveavatar.backends.mini import WEIGHTS
from liveavatar.backends.mini.preset import LORA_ALPHA
from liveavatar.backends.mini.vae import load_vae
from liveavatar.metrics.regressor import load_regressor
from liveavatar.training.listener import load_listener
from liveavatar.training.loop import find_pieces, load_pieces
from liveavatar.weights import save_part


def ship(work: Path, folder: Path, solver: str) -> None:
    """What there is in `work` of ear, base, student, VAE and regressor into `folder`: the base in 8 bits, the others in
    half precision. Parts that were not trained again stay as they are there."""
    def trained(stage: str, name: str) -> Path | None:
        return work / stage / f"{name}.safetensors" if find_pieces(work / stage, name) else None

    if path := trained("vae", "vae"):
        vae = load_vae(path)
        save_part(folder, "vae", vae.state_dict(), asdict(vae.config), torch.float16)
    if path := trained("regressor", "regressor"):
        regressor = load_regressor(path)
        save_part(folder, "regressor", regressor.state_dict(), regressor.config, torch.float16)
    if path := trained("listener", "listener"):
        save_part(folder, "ear", load_listener(path)[0].state_dict(), {}, torch.float16)
    if path := trained("teacher", "teacher"):
        base, _ = load_pieces(path.parent, "teacher")
        save_part(folder, "base", base, {"trained": {"solver": "euler"}}, torch.int8)
    if path := trained("dmd", "student"):
        student, _ = load_pieces(path.parent, "student")
        save_part(folder, "student", student, {"alpha": LORA_ALPHA, "trained": {"solver": solver}}, torch.float16)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True,
                        help="folder with some of vae/, listener/, teacher/, dmd/ and regressor/")
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    parser.add_argument("--solver", choices=("euler", "renoise"), default="euler", help="the student's default")
    arguments = parser.parse_args(argv)
    ship(arguments.work, arguments.to, arguments.solver)


if __name__ == "__main__":
    main()
