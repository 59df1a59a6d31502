"""Does a step hold the mean of what is possible, or a sample? mini against true renderings with other chance.

    python benchmarks/possible.py                                     4 people, 3 places of the recording
    python benchmarks/possible.py --people 7 --starts 0.96 --renderings 8 --out out/possible

Each case is the first block of a video that begins at its place of the recording: there no earlier block has decided
anything of which the renderings would not know. What was drawn is kept in --work, and a run that was stopped goes on
there. After new weights of mini the same command makes all numbers anew; only the pictures of the true renderings,
which cost most and do not depend on weights, are taken from --work. Writes .md, .json and .webp.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from PIL import Image

import liveavatar
from liveavatar.metrics.possible import LATENTS, Possible, verdict
from liveavatar.study.possible_figure import draw_possible
from liveavatar.study.possible_study import PossibleStudy, open_possible
from liveavatar.study.table import Estimate, Table

RESULTS = Path(__file__).parent / "results"
PROMPT, BLOCK_S = "waving", 0.48
PEOPLE, STARTS = (7, 12, 21, 30), (0.96, 1.92, 2.88)


def find(pipe: liveavatar.Pipeline, person: int, start_s: float, asked: argparse.Namespace) -> Possible:
    """Compare the first block of a video of a person with renderings, or read what was found with these weights."""
    folder = asked.work / f"{person}-{start_s:g}-{asked.size.replace('*', 'x')}"
    kept = folder / f"found-{pipe.backend.about()['fingerprint']}-{asked.renderings}.safetensors"
    if kept.is_file():
        return open_possible(kept)
    config = liveavatar.GenerationConfig(start_s=start_s, duration_s=BLOCK_S, size=asked.size)
    portrait = liveavatar.avatar(seed=person)
    run = liveavatar.Run.of(pipe, liveavatar.samples()["welcome"], portrait, PROMPT, config)
    run.start().result()
    study = PossibleStudy(run, renderings=asked.renderings, folder=folder)
    for _ in study.compared():
        print(f"person {person} at {start_s:g} s: {study.count} of {study.renderings}", flush=True)
    study.save(kept)
    return study.found


def rows_of(cases: dict[tuple[int, float], Possible]) -> Table:
    """Return a row for each step of each case: its distances against a true video's."""
    return Table([{"portrait": person, "recording": start_s, "step": step.index, "sigma": step.sigma,
                   "remaining": step.remaining, "expected": step.to_expected[LATENTS] / found.spread[LATENTS],
                   "nearest": step.to_nearest[LATENTS] / found.spread[LATENTS],
                   **{part: found.share(step.index, part) for part in found.spread}}
                  for (person, start_s), found in cases.items() for step in found.steps])


def table(rows: Table, parts: list[str], count: int) -> str:
    """Write the numbers as Markdown: means with their intervals."""
    columns = ("remaining", *parts, "expected", "nearest")
    names = ("step", "sigma", f"remaining of {count}", *parts, "latents: from the expected one", "from the nearest")
    lines = [f"| {' | '.join(names)} |", f"|{' ---: |' * len(names)}"]
    for step in rows.distinct("step"):
        here = rows.where(step=step)
        lines.append(f"| {step} | {here.values('sigma')[0]:.3f} | "
                     + " | ".join(words(here.estimate(column)) for column in columns) + " |")
    return "\n".join(lines)


def words(one: Estimate) -> str:
    return f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})" if one.bounded else f"{one.mean:.2f}"


def sentence(shares: list[Estimate], cases: int) -> str:
    """Say which step holds the mean, and which one is a sample."""
    each = ", ".join(f"step {step} {words(one)}" for step, one in enumerate(shares))
    meanings = [verdict(one.mean) for one in shares]
    said = "; ".join(f"{meaning}: step {', '.join(str(s) for s, one in enumerate(meanings) if one == meaning)}"
                     for meaning in dict.fromkeys(meanings))
    return f"Distance of the guess from the mean, in latents, over {cases} block{'s' * (cases > 1)}: {each}; {said}."


def write(cases: dict[tuple[int, float], Possible], asked: argparse.Namespace, weights: str) -> str:
    """Write the numbers as JSON and Markdown, and return the text."""
    rows, first = rows_of(cases), next(iter(cases.values()))
    shares = shares_of(rows, first)
    command = (f"python benchmarks/possible.py --people {' '.join(map(str, asked.people))} --starts "
               f"{' '.join(f'{start:g}' for start in asked.starts)} --renderings {asked.renderings} "
               f"--size {asked.size}")
    apart = sum(found.apart / found.spread[LATENTS] for found in cases.values()) / len(cases)
    text = (f"# A step's guess against what is possible\n\n    {command}\n\n{sentence(shares[LATENTS], len(cases))}\n\n"
            f"Distance of the guess from the mean of {first.count} true renderings, against the distance of a true "
            "rendering: 0 is the mean, 1 as far as a sample. The last two columns are distances in latents by the same "
            f"measure; a rendering is {apart:.2f} from the nearest other one. People: {len(asked.people)}; places of "
            f"the recording where a video begins: {len(asked.starts)}; 95 % intervals over both where there are "
            f"several. Weights {weights}. The pictures show person {asked.people[0]} at {asked.starts[0]:g} s.\n\n"
            f"{table(rows, list(first.spread), first.count)}\n")
    numbers = {"command": command, "weights": weights, "count": first.count,
               "steps": [step_numbers(step.index, step.sigma, rows, shares) for step in first.steps],
               "rows": list(rows)}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.with_suffix(".md").write_text(text, encoding="utf-8")
    asked.out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return text


def shares_of(rows: Table, found: Possible) -> dict[str, list[Estimate]]:
    """Return the distance from the mean after each step, in each part."""
    return {part: [rows.where(step=step.index).estimate(part) for step in found.steps] for part in found.spread}


def step_numbers(step: int, sigma: float, rows: Table, shares: dict[str, list[Estimate]]) -> dict:
    """Return a step for JSON: means and their intervals, null where there is one block."""
    ends = {end: {part: getattr(some[step], end) if some[step].bounded else None for part, some in shares.items()}
            for end in ("low", "high")}
    return {"index": step, "sigma": sigma, "remaining": rows.where(step=step).estimate("remaining").mean,
            "shares": {part: some[step].mean for part, some in shares.items()}, **ends}


def draw(cases: dict[tuple[int, float], Possible], path: Path) -> None:
    """Draw the first case, and the distances of all."""
    first = next(iter(cases.values()))
    shares = shares_of(rows_of(cases), first)
    picture = Image.open(io.BytesIO(draw_possible(first, shares, sentence(shares[LATENTS], len(cases))).png))
    picture.convert("RGB").save(path, quality=82, method=6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "possible", help="without suffix")
    parser.add_argument("--work", type=Path, default=Path(".train/possible"), help="keeps what was drawn and found")
    parser.add_argument("--renderings", type=int, default=8, help="of each case")
    parser.add_argument("--people", type=int, nargs="+", default=list(PEOPLE), help="seeds of avatars")
    parser.add_argument("--starts", type=float, nargs="+", default=list(STARTS), help="where videos begin, s")
    parser.add_argument("--size", default="256*256")
    asked = parser.parse_args()
    pipe = liveavatar.load("mini")
    cases = {(person, start_s): find(pipe, person, start_s, asked) for person in asked.people
             for start_s in asked.starts}
    print(write(cases, asked, pipe.backend.about()["fingerprint"]))
    draw(cases, asked.out.with_suffix(".webp"))


if __name__ == "__main__":
    main()
