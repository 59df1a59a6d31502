"""Does a step hold the mean of what is possible, or a sample? mini against true renderings with other chance.

    python benchmarks/possible.py

Renderings are kept in --work, so that it can go on later. Writes .md, .json and .webp.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import liveavatar
from liveavatar.metrics.possible import Possible, Rendering, compare, describe, draw_rendering
from liveavatar.study.possible_figure import draw_possible

RESULTS = Path(__file__).parent / "results"
PROMPT, START_S, BLOCK_S = "waving", 0.96, 0.48


def draw_missing(run: liveavatar.Run, count: int, work: Path) -> None:
    """Draw the renderings that are not kept yet."""
    for seed in range(count):
        if not (work / f"{seed:04d}.safetensors").is_file():
            one = draw_rendering(run, 0, seed)
            pictures = (one.pictures * 255).round().to(torch.uint8)
            save_file({"pictures": pictures.contiguous(), "latents": one.latents.contiguous()},
                      str(work / f"{seed:04d}.safetensors"))


def read_kept(count: int, work: Path) -> Iterator[Rendering]:
    """Read the renderings one after the other."""
    for seed in range(count):
        kept = load_file(str(work / f"{seed:04d}.safetensors"))
        yield Rendering(kept["pictures"].float() / 255, kept["latents"])


def table(found: Possible) -> str:
    """Write the numbers as Markdown."""
    parts = list(found.spread)
    names = ("step", "sigma", f"remaining of {found.count}", *parts, "latents: from the expected one",
             "from the nearest")
    lines = [f"| {' | '.join(names)} |", f"|{' ---: |' * len(names)}"]
    for step in found.steps:
        shares = [f"{found.share(step.index, part):.2f}" for part in parts]
        lines.append(f"| {step.index} | {step.sigma:.3f} | {step.remaining:.1f} | " + " | ".join(shares) +
                     f" | {step.to_expected['latents'] / found.spread['latents']:.2f}"
                     f" | {step.to_nearest['latents'] / found.spread['latents']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "possible", help="without suffix")
    parser.add_argument("--work", type=Path, default=Path(".train/possible"), help="keeps the renderings")
    parser.add_argument("--renderings", type=int, default=64)
    parser.add_argument("--person", type=int, default=7, help="seed of the avatar")
    parser.add_argument("--size", default="256*256")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    pipe = liveavatar.load("mini")
    config = liveavatar.GenerationConfig(start_s=START_S, duration_s=BLOCK_S, size=arguments.size)
    run = liveavatar.Run.of(pipe, liveavatar.samples()["welcome"], liveavatar.avatar(seed=arguments.person), PROMPT,
                            config)
    run.start().result()
    draw_missing(run, arguments.renderings, arguments.work)
    found = compare(run, 0, read_kept(arguments.renderings, arguments.work))
    command = (f"python benchmarks/possible.py --renderings {found.count} --person {arguments.person} "
               f"--size {arguments.size}")
    weights = pipe.backend.about()["fingerprint"]
    text = (f"# A step's guess against what is possible\n\n    {command}\n\n{describe(found)}\n\nDistance of the guess "
            f"from the mean of {found.count} true renderings, against the distance of a true rendering: 0 is the mean, "
            "1 as far as a sample. The last two columns are distances in latents by the same measure; a rendering is "
            f"{found.apart / found.spread['latents']:.2f} from the nearest other one. One person, one block, weights "
            f"{weights}.\n\n{table(found)}\n")
    numbers = {"command": command, "weights": weights, "count": found.count, "spread": found.spread,
               "apart": found.apart, "steps": [asdict(step) for step in found.steps],
               "shares": [{part: found.share(step.index, part) for part in found.spread} for step in found.steps]}
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    arguments.out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw_possible(found).save(arguments.work / "possible.png")
    Image.open(arguments.work / "possible.png").convert("RGB").save(arguments.out.with_suffix(".webp"), quality=82)
    print(text)


if __name__ == "__main__":
    main()
