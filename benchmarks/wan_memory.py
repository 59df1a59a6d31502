"""The memory plan of wan-s2v-14b against torch's peak, stage by stage.

    python benchmarks/wan_memory.py --out benchmarks/results/wan_memory --budget_s 540
    python benchmarks/wan_memory.py --tiny --out /tmp/wan_memory        # only to see that it works, also without a GPU

bf16 and fp8; 3, 4 and 5 steps; 384*256, 688*368 and 704*384: five blocks each, full size, random weights, in one
process. Compared is what torch has handed out at most in a stage with the plan's sum of owners without its
allowance for CUDA and the allocator's losses. The encoders of words and sound do not run here, nor their stages, and
nothing is merged. Writes OUT.csv, OUT.md and OUT.png after every run; runs that would begin after --budget_s are
skipped and said so.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from wan_runs import GIB, Video, bring, clean, command_here, device_here

from liveavatar.config import parse_size
from liveavatar.vram.plan import plan
from liveavatar.web.palette import BLUE, GREEN, VERMILION

SIZES, STEPS, PRECISIONS = ("704*384", "384*256", "688*368"), (4, 3, 5), ("bf16", "fp8")
BLOCKS = 5
PEAK_FAR, STAGE_FAR = 0.05, 0.10          # aims of the issue
STAGES = ("load", "prefill", "step", "decode", "steady")
LOADING = ("load", "merge", "quantise")   # the plan's parts of the first


def released_sides(size: str) -> tuple[int, int]:
    """(height, width) in multiples of 64, as a portrait of this shape would have them."""
    from liveavatar.backends.wan.preset import SIZE_MULTIPLE
    from liveavatar.conditions import released_size

    height, width = parse_size(size)
    return released_size(height, width, (height, width), SIZE_MULTIPLE)


def planned(size: tuple[int, int], steps: int, precision: str) -> dict[str, float]:
    """GiB by stage, without slack."""
    made = plan(gpu="H200", size=size, steps=steps, weights=precision)
    found: dict[str, float] = {}
    for moment in made.moments:
        stage = "load" if moment.stage in LOADING else moment.stage
        found[stage] = max(found.get(stage, 0.0), (moment.bytes - moment.owners["slack"]) / GIB)
    return {stage: found[stage] for stage in STAGES}


def planned_stages(row: dict) -> dict[str, float]:
    """The planned columns of a row."""
    found = planned(parse_size(row["size"]), int(row["steps"]), row["precision"])
    return {f"planned {stage}": gib for stage, gib in found.items()}


def highest(device: torch.device) -> float:
    """GiB that torch has handed out at the most since it was last asked."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() / GIB
    torch.cuda.reset_peak_memory_stats()
    return peak


def measured(backend: object, size: tuple[int, int], steps: int) -> tuple[dict[str, float], float]:
    """GiB by stage, and what the allocator had reserved in the end."""
    device = backend.device
    highest(device)
    video = Video.begin(backend, size, steps)
    found = {"prefill": highest(device)}
    video.lay_rings()
    video.steps()
    found["step"] = highest(device)
    video.decode()
    found["decode"] = highest(device)
    for _ in range(BLOCKS - 1):
        video.steps()
        found["steady"] = max(found.get("steady", 0.0), highest(device))
        video.decode()
        found["decode"] = max(found["decode"], highest(device))
    return found, torch.cuda.memory_reserved() / GIB if device.type == "cuda" else 0.0


def runs(budget_s: float, tiny: bool, only: str = "") -> Iterator[dict]:
    """One row for each precision, size and number of steps whose name `only`, a regular expression, is found in."""
    began, device = time.monotonic(), device_here()
    for precision in PRECISIONS:
        backend = None
        for size in ("64*64", "128*64") if tiny else SIZES:
            sides = released_sides(size)
            for steps in STEPS:
                row = {"precision": precision, "size": f"{sides[1]}*{sides[0]}", "steps": steps}
                if not re.search(only, name_of(row)):
                    continue
                spent_s = time.monotonic() - began
                if spent_s > budget_s:
                    yield row | {"failed": f"skipped: {spent_s:.0f} s of {budget_s:g} were spent"}
                    continue
                try:
                    if backend is None:
                        highest(device)
                        backend = bring(precision == "fp8", tiny)
                        loading = highest(device)
                    clean()
                    found, reserved = measured(backend, sides, steps)
                    row["measured load"] = loading
                    row |= {f"measured {stage}": gib for stage, gib in found.items()} | {"reserved": reserved}
                    row |= planned_stages(row)
                except Exception as error:               # one run must not take the others with it
                    row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                clean()
                print(f"{time.monotonic() - began:4.0f} s", sentence(row), flush=True)
                yield row
        if device.type == "cuda" and backend is not None:
            backend = None
            clean()


def name_of(row: dict) -> str:
    return f"{row['precision']}, {row['size']}, {row['steps']} steps"


def shares(row: dict) -> tuple[float, float]:
    """Planned over measured: of the peak, and of the stage that is furthest off."""
    ratios = [row[f"planned {stage}"] / max(row[f"measured {stage}"], 1e-9) for stage in STAGES]
    peak = max(row[f"planned {stage}"] for stage in STAGES) / max(*(row[f"measured {stage}"] for stage in STAGES), 1e-9)
    return peak, max(ratios, key=lambda ratio: abs(ratio - 1))


def sentence(row: dict) -> str:
    name = name_of(row)
    if "failed" in row:
        return f"{name}: {row['failed']}"
    peak, worst = shares(row)
    cells = ", ".join(f"{stage} {row[f'planned {stage}']:.1f}/{row[f'measured {stage}']:.1f}" for stage in STAGES)
    return f"{name}: planned/measured GiB {cells}; peak {peak:.3f}, furthest stage {worst:.3f}"


def write(rows: list[dict], about: str, command: str, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    names = ["precision", "size", "steps", *(f"{kind} {stage}" for stage in STAGES for kind in ("planned", "measured")),
             "reserved", "failed"]
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows([{name: f"{value:.3f}" if isinstance(value, float) else value for name, value in row.items()}
                          for row in rows])
    lines = ["# Memory of wan-s2v-14b: planned / measured, GiB", "", f"    {command}", "", about, "",
             "| | " + " | ".join(STAGES) + " | peak ratio (aim 5 %) | furthest stage (aim 10 %) |",
             "| --- |" + " ---: |" * (len(STAGES) + 2)]
    for row in rows:
        name = name_of(row)
        if "failed" in row:
            lines.append(f"| {name} | {row['failed']} |")
            continue
        cells = " | ".join(f"{row[f'planned {stage}']:.2f} / {row[f'measured {stage}']:.2f}" for stage in STAGES)
        peak, worst = shares(row)
        lines.append(f"| {name} | {cells} | {peak:.3f}{mark(peak, PEAK_FAR)} | {worst:.3f}{mark(worst, STAGE_FAR)} |")
    out.with_suffix(".md").write_text("\n".join([*lines, ""]))


def read(out: Path) -> list[dict]:
    """The rows of OUT.csv."""
    with out.with_suffix(".csv").open(newline="") as file:
        return [{name: float(value) if " " in name or name == "reserved" else value for name, value in row.items()
                 if value} for row in csv.DictReader(file)]


def mark(ratio: float, far: float) -> str:
    return "" if abs(ratio - 1) <= far else " missed"


COLOURS = {3: BLUE, 4: VERMILION, 5: GREEN}        # of the number of steps


def draw(rows: list[dict], about: str, out: Path) -> None:
    """A picture for each precision and size: over the stages, the planned curve and the measured one."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    done = [row for row in rows if "failed" not in row]
    if not done:
        return
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in done:
        groups.setdefault((row["precision"], row["size"]), []).append(row)
    top = 1.1 * max(row[f"{kind} {stage}"] for row in done for kind in ("planned", "measured") for stage in STAGES)
    across = min(len(groups), 3)
    down = -(-len(groups) // across)
    figure = Figure(figsize=(4.4 * across, 3.6 * down), layout="constrained")
    for axis, ((precision, size), members) in zip(figure.subplots(down, across, squeeze=False).flat, groups.items(),
                                                  strict=False):
        for row in members:
            colour = COLOURS.get(int(row["steps"]), "#555555")
            axis.plot(STAGES, [row[f"planned {stage}"] for stage in STAGES], "--", color=colour, linewidth=1.3)
            axis.plot(STAGES, [row[f"measured {stage}"] for stage in STAGES], "o", color=colour, markersize=5)
            axis.annotate(f"{int(row['steps'])} steps, {shares(row)[0] - 1:+.1%}",
                          (len(STAGES) - 1, row["measured steady"]), (7, 0),
                          textcoords="offset points", va="center", fontsize=7.5, color=colour)
        axis.set(title=f"{precision}, {size}", ylim=(0, top), xlim=(-0.4, len(STAGES) + 0.5))
        axis.grid(axis="y", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in figure.axes[::across]:
        axis.set_ylabel("GiB")
    figure.axes[-1].legend([Line2D([], [], color="#555555", linestyle="--"),
                            Line2D([], [], color="#555555", marker="o", linestyle="")],
                           ["planned", "measured (%: planned peak against it)"], fontsize=8, frameon=False,
                           loc="upper left")
    figure.suptitle(about, fontsize=9)
    figure.savefig(out.with_suffix(".png"), dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="OUT.csv, OUT.md and OUT.png are written")
    parser.add_argument("--plan_again", action="store_true",
                        help="only plan the runs of OUT.csv anew, as the plan is now, and write and draw them")
    parser.add_argument("--about", default="", help="the title, with --plan_again")
    parser.add_argument("--command", default="", help="what measured them, with --plan_again")
    parser.add_argument("--budget_s", type=float, default=540, help="runs that would begin later are skipped")
    parser.add_argument("--only", default="", help="runs in whose name (bf16, 704*384, 4 steps) this regular "
                                                   "expression is found, where time is short")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try this script")
    asked = parser.parse_args()
    if asked.plan_again:
        rows = [row if "failed" in row else row | planned_stages(row) for row in read(asked.out)]
        write(rows, asked.about, asked.command, asked.out)
        draw(rows, asked.about, asked.out)
        return
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: nothing is measured"
    about = f"{BLOCKS} blocks a run, random weights; {name}, torch {torch.__version__}"
    rows: list[dict] = []
    for row in runs(asked.budget_s, asked.tiny, asked.only):
        rows.append(row)
        write(rows, about, command_here(), asked.out)
    print(asked.out.with_suffix(".md").read_text())
    try:
        draw(rows, about, asked.out)
    except ImportError:
        print("no matplotlib here: draw the picture elsewhere with --plan_again")


if __name__ == "__main__":
    main()
