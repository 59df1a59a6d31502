"""Does attention point at what matters, and what does recording it cost? Figures of mini, with intervals.

    python benchmarks/attention.py                    both: five minutes on two idle cores
    python benchmarks/attention.py --people 2 --rounds 2

What is measured is kept in results/attention.json at once; people and rounds that are there are not measured again
(--afresh forgets them).

Masking: of block 1 of each person's video, the keys to which the mouth's tokens attend most (mean over steps, layers
and heads) are hidden from those tokens, at all steps and layers, and the same number of others, drawn at random. The
change of the decoded mouth against the untouched video is compared.

Cost: processor time of steps that are recorded against that of the same steps when they are not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import liveavatar
from liveavatar import inspect
from liveavatar.pipeline import Pipeline
from liveavatar.types import Condition

ROOT = Path(__file__).resolve().parent
RESULT = ROOT / "results" / "attention.md"
ROWS = RESULT.with_suffix(".json")
BLOCK, SECONDS = 1, 0.96
COUNTS = (16, 64)                      # keys that are hidden, of 448
DRAWS = 2                              # of other keys, for each person
MOUTH = (slice(5, 6), slice(3, 5))     # rows and columns of tokens, of 8 x 8
SEEN = (slice(4, 7), slice(2, 6))      # where the mouth is measured
RESAMPLES = 2000
RECORDED = {                           # options of `inspect.record`; None: nothing
    "nothing (two equal videos)": None, "one layer, all heads, with read-outs": {},
    "one layer, all heads": {"readouts": False}, "one layer, mean over heads": {"readouts": False, "heads": "mean"}}


def interval(values: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean and the 95 % bootstrap interval of its sampling."""
    found = torch.tensor(values)
    draws = torch.randint(len(values), (RESAMPLES, len(values)), generator=torch.Generator().manual_seed(seed))
    means = found[draws].mean(1).sort().values
    return float(found.mean()), float(means[int(0.025 * RESAMPLES)]), float(means[int(0.975 * RESAMPLES)])


def words(values: list[float], digits: int = 2) -> str:
    mean, low, high = interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


# ------------------------------------------------------------------------------------------- masking

def mouth_tokens(grid: tuple[int, int], frames: int) -> list[int]:
    """Return the tokens of the mouth in every latent frame of a block."""
    numbers = torch.arange(frames * grid[0] * grid[1]).reshape(frames, *grid)
    return numbers[:, MOUTH[0], MOUTH[1]].flatten().tolist()


def mouth_pictures(pipe: Pipeline, condition: Condition, config: liveavatar.GenerationConfig) -> torch.Tensor:
    """Make the video and return the mouth of the block: (T, h, w, 3) float32, 0..1."""
    ends = [step.x for step in pipe.steps(condition, config=config) if step.last]
    frames = list(pipe.decode(ends, condition=condition))[BLOCK].float() / 255
    side = frames.shape[1] // 8
    return frames[:, SEEN[0].start * side:SEEN[0].stop * side, SEEN[1].start * side:SEEN[1].stop * side]


def mask(pipe: Pipeline, seed: int, voice: str) -> dict[str, list[float]]:
    """Return {keys hidden: [change of the mouth without the most attended, without as many others]} in percent."""
    config = liveavatar.GenerationConfig(duration_s=SECONDS, base_seed=seed)
    condition = pipe.condition(liveavatar.samples()[voice], liveavatar.avatar(seed=seed), "", config)
    layers = range(pipe.backend.transformer.config.num_layers)
    queries = mouth_tokens((8, 8), pipe.backend.block_latents)
    with inspect.record(pipe, layers=layers, blocks=[BLOCK], heads="mean", queries=queries, parts=["self"],
                        readouts=False) as seen:
        plain = mouth_pictures(pipe, condition, config)
    points = torch.stack([seen.attention(*key).weights[0].mean(0) for key in seen.keys]).mean(0)
    order, generator = points.argsort(descending=True).tolist(), torch.Generator().manual_seed(seed)

    def change(keys: list[int]) -> float:
        with inspect.hide(pipe, keys, queries=queries, blocks=[BLOCK]):
            other = mouth_pictures(pipe, condition, config)
        return 100 * float((other - plain).square().mean().sqrt())

    found = {}
    for count in COUNTS:
        rest = torch.tensor(order[count:])
        others = [change(rest[torch.randperm(len(rest), generator=generator)[:count]].tolist()) for _ in range(DRAWS)]
        found[str(count)] = [change(order[:count]), statistics.mean(others)]
    return found


def masking_table(found: list[dict[str, list[float]]]) -> list[str]:
    lines = ["| keys hidden from the mouth | the most attended, % | as many others, % | ratio |",
             "|---:|---:|---:|---:|"]
    for count in COUNTS:
        most, others = ([one[str(count)][side] for one in found] for side in (0, 1))
        ratios = [a / max(b, 1e-6) for a, b in zip(most, others, strict=True)]
        lines.append(f"| {count} | {words(most)} | {words(others)} | {words(ratios, 1)} |")
    return lines


# ------------------------------------------------------------------------------------------- cost

def cost(pipe: Pipeline) -> dict[str, float]:
    """Return the processor time that recording adds to a step, in percent, by what is recorded; one round.

    Of two equal videos one is recorded at even blocks, the other at odd ones: each step is compared with itself, and
    the median of all steps is taken.
    """
    config = liveavatar.GenerationConfig(duration_s=2.4)
    condition = pipe.condition(liveavatar.samples()["welcome"], liveavatar.avatar(seed=7), "", config)
    found = {}
    for name, options in RECORDED.items():
        times: list[dict[tuple[int, int], float]] = []
        for parity in (0, 1):
            if options is None:
                times.append(step_times(pipe, condition, config))
                continue
            with inspect.record(pipe, layers=[2], blocks=range(parity, 5, 2), **options):
                times.append(step_times(pipe, condition, config))
        found[name] = 100 * (statistics.median(times[block % 2][block, step] / times[1 - block % 2][block, step]
                                               for block, step in times[0]) - 1)
    return found


def step_times(pipe: Pipeline, condition: Condition, config: liveavatar.GenerationConfig) -> dict:
    """Make a video; return the processor time of each (block, step), all threads together."""
    times, steps = {}, pipe.steps(condition, config=config)
    while True:
        began = time.process_time()
        step = next(steps, None)
        if step is None:
            return times
        times[step.block, step.index] = time.process_time() - began


def cost_table(rounds: list[dict[str, float]]) -> list[str]:
    return ["| recorded at every step | more processor time of a step, % |", "|---|---:|",
            *(f"| {name} | {words([one[name] for one in rounds], 1)} |" for name in rounds[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--afresh", action="store_true")
    asked = parser.parse_args()
    rows = json.loads(ROWS.read_text()) if ROWS.exists() and not asked.afresh else {"people": [], "rounds": []}
    pipe, voices = liveavatar.load("mini"), list(liveavatar.samples())
    while len(rows["people"]) < asked.people:
        seed = len(rows["people"])
        rows["people"].append(mask(pipe, seed, voices[seed % len(voices)]))
        ROWS.write_text(json.dumps(rows, indent=1))
    while len(rows["rounds"]) < asked.rounds:
        rows["rounds"].append(cost(pipe))
        ROWS.write_text(json.dumps(rows, indent=1))
    write(rows, pipe.backend.about())


def write(rows: dict, about: dict) -> None:
    text = "\n".join([
        "# Attention: does it point at what matters, and what does recording cost?", "",
        f"`python benchmarks/attention.py --people {len(rows['people'])} --rounds {len(rows['rounds'])}`, mini "
        f"(student {about['student']}, {about['dtype']}); means with 95 % bootstrap intervals over people and rounds.",
        "", "## Masking", "",
        "Change of the decoded mouth (root mean square, 100 % is black against white) when its tokens no longer see "
        "some keys,", "at all steps and layers of a block:", "", *masking_table(rows["people"]), "", "## Cost", "",
        *cost_table(rows["rounds"]), "",
        "Measured on two cores that other work shared. When nothing is recorded there are no hooks (a test counts "
        "them): nothing can cost.", ""])
    RESULT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
