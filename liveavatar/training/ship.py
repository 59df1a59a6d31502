"""Pack what training left into a folder of weights with a manifest of hashes: the package's own, or another.

    python -m liveavatar.training.ship --work .train

Students are found by the names of their folders: student-4 was distilled for 4 steps.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from liveavatar.backends.mini import WEIGHTS
from liveavatar.backends.mini.preset import LORA_ALPHA, SHIFT, SIZE, TRANSFORMER
from liveavatar.backends.mini.vae import load_vae
from liveavatar.metrics.regressor import load_regressor
from liveavatar.training.audio_encoder import load_audio_encoder
from liveavatar.training.checkpoint import find_pieces, load_pieces
from liveavatar.types import InputError
from liveavatar.weights import save_part


def ship(work: Path, folder: Path, solver: str = "euler") -> list[str]:
    """Put what there is in `work` of audio encoder, base, students, VAE and regressor into `folder`: students in
    half precision, all else in 8 bits. Parts that were not trained again stay as they are there.
    -> names of the parts

    Raises InputError when there is nothing.
    """
    packed = []

    def trained(stage: str, name: str) -> Path | None:
        return work / stage / f"{name}.safetensors" if find_pieces(work / stage, name) else None

    def pack(part: str, tensors: dict[str, torch.Tensor], config: dict, dtype: torch.dtype = torch.int8) -> None:
        save_part(folder, part, tensors, config, dtype)
        packed.append(part)

    if path := trained("vae", "vae"):
        vae = load_vae(path)
        pack("vae", vae.state_dict(), asdict(vae.config))
    if path := trained("regressor", "regressor"):
        regressor = load_regressor(path)
        pack("regressor", regressor.state_dict(), regressor.config)
    if path := trained("listener", "listener"):
        pack("ear", load_audio_encoder(path)[0].state_dict(), {})
    if path := trained("base", "base"):
        shape = {name: TRANSFORMER[name] for name in ("prediction", "detail_channels")}
        settings = {"solver": "euler", "shift": SHIFT, "size": SIZE, "photographs": True}
        pack("base", load_pieces(path.parent, "base")[0], shape | {"trained": settings})
    for path in sorted(work.glob("student-*")):
        steps = path.name.removeprefix("student-")
        settings = {"steps": int(steps.partition("-")[0]), "solver": solver, "shift": SHIFT, "size": SIZE,
                    "photographs": True}
        if find_pieces(path, "student"):
            pack(path.name, load_pieces(path, "student")[0], {"alpha": LORA_ALPHA, "trained": settings},
                 torch.float16)
    if not packed:
        raise InputError(f"{work} holds no trained weights; give the folder of the training stages (vae/, base/, "
                         "student-4/, ...)")
    return packed


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True,
                        help="folder with some of vae/, listener/, base/, student-N/ and regressor/")
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    parser.add_argument("--solver", choices=("euler", "renoise"), default="euler", help="the students' default")
    arguments = parser.parse_args(argv)
    print("packed:", ", ".join(ship(arguments.work, arguments.to, arguments.solver)))


if __name__ == "__main__":
    main()
