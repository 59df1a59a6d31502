"""The step study on the released weights, on your GPU: the table that settles what is open.

    python -m liveavatar.study.real --ckpt_dir ckpt/Wan2.2-S2V-14B --lora ckpt/LiveAvatar --dry_run    what it will cost
    python -m liveavatar.study.real --ckpt_dir ckpt/Wan2.2-S2V-14B --lora ckpt/LiveAvatar
    python -m liveavatar.study.real ... --portraits faces/*.jpg --recordings voices/*.wav              yours instead

Every person says every recording at every number of steps, from the same noise. Stop it at any time: the same command
goes on where it was. --out holds the videos, real_study.csv (one row a video, no name of a folder of yours) and
real_study.json. docs/real-study.md says how to read them and where to send them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.backends.wan.options import add_options, chosen
from liveavatar.backends.wan.preset import NAME
from liveavatar.conditions import SAMPLE_PORTRAITS
from liveavatar.files import printable, user_path, write_whole
from liveavatar.runfolder import sha256_of
from liveavatar.signals import stop_on_signals
from liveavatar.speech import samples
from liveavatar.study import provenance
from liveavatar.study.cell_result import named_weights
from liveavatar.study.grid import Cell, Grid
from liveavatar.study.materials import gather, kept_recordings
from liveavatar.study.measures import REAL_COST, REAL_FACE, Measure
from liveavatar.study.plan import POOR, RECORDINGS, RICH
from liveavatar.study.real_face import measure_real_face
from liveavatar.study.sweep import Sweep
from liveavatar.study.table import Table
from liveavatar.switches import add_switch
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.vram.plan import Plan

PROMPT = "A person talks to the camera, looking at it, in natural light."
SAMPLES = ("welcome", "steps", "river")            # recordings of the package, longer than those of the study
STEPS = (3, 4, 5, 6)
PEOPLE_WANTED = 24                                 # an interval over people that is not much wider than it need be
TEACHER_STEPS, TEACHER_GUIDANCE = (4, 16), 4.5     # of the base model; guidance as it is configured
DROPPED = ("options", "weights", "by_step", "block_deadline_ms")
TABLE, ABOUT = "real_study.csv", "real_study.json"
NAME_PART = r"[^\s/\\'\"(),;:]"
FOLDERS = re.compile(rf"([A-Za-z]:)?{NAME_PART}*[/\\]({NAME_PART}+[/\\])*(?=[^\s/\\])")   # before a name, in an error


@dataclass(frozen=True)
class Asked:
    """Hold what the study is to make."""

    options: dict[str, object]                     # of WanBackend.load
    steps: tuple[int, ...] = STEPS
    sizes: tuple[str, ...] = ("704*384",)
    portraits: tuple[str, ...] = SAMPLE_PORTRAITS
    recordings: tuple[str, ...] = (*SAMPLES, *RECORDINGS)
    seeds: tuple[int, ...] = (420,)
    seconds: float = 8.0
    prompts: tuple[str, ...] = (PROMPT,)
    noises_db: tuple[float | None, ...] = (None,)
    cleaners: tuple[str, ...] = ("",)
    teacher: bool = False
    by_step: bool = False

    def cells(self) -> tuple[Cell, ...]:
        """Return every video: one person at all numbers of steps, then the next, so that a study which is cut off can
        be compared."""
        common = {"backend": NAME, "schedule": "released", "size": self.sizes, "seed": self.seeds,
                  "seconds": self.seconds, "prompt": self.prompts, "portrait": self.portraits,
                  "recording": self.recordings}
        sounds = [{"noise_db": noise, "clean": clean} for noise in self.noises_db for clean in self.cleaners]
        cells = Grid(sounds, **common, options=as_json(self.options), by_step=self.by_step, steps=self.steps).cells()
        if self.teacher:
            alone = as_json({name: value for name, value in self.options.items() if name != "lora"})
            cells += Grid(**common, options=alone, model="teacher", guidance=TEACHER_GUIDANCE,
                          steps=TEACHER_STEPS).cells()
        return cells


def as_json(options: dict[str, object]) -> str:
    """Write options of `load` as a cell keeps them."""
    return json.dumps(options, sort_keys=True)


# ------------------------------------------------------------------------------------------- what it will cost

def cost_lines(cells: Sequence[Cell], options: dict[str, object], gpu: str) -> Iterator[str]:
    """Yield what the study will take, in sentences: videos, memory, time. Times are estimates from the card's sheet."""
    people = len({cell.portrait for cell in cells})
    yield (f"{len(cells)} videos: {people} people, {len({cell.recording for cell in cells})} recordings, steps "
           f"{', '.join(map(str, sorted({cell.steps for cell in cells})))}.")
    if people < PEOPLE_WANTED:
        yield (f"{people} people make wide intervals, {PEOPLE_WANTED} or more make narrow ones: --portraits FILE FILE "
               "...")
    seconds, lengths = 0.0, lengths_s(cells)
    for size, steps, guidance in sorted({(cell.size, cell.steps, cell.guidance) for cell in cells}):
        passes = steps * (2 if guidance > 1 else 1)                # each has a cache of its own
        made = planned(options, gpu, size, passes)
        yield f"{size}, {steps} steps{' with guidance' if guidance > 1 else ''}: {made.sentence}"
        if made.time is not None:
            shown_s = sum(lengths[cell.recording] for cell in cells
                          if (cell.size, cell.steps, cell.guidance) == (size, steps, guidance))
            seconds += shown_s / made.time.deadline_s * (made.time.decode_s + passes * made.time.step_s)
    yield (f"Time: about {seconds / 60:.0f} minutes of generating on {gpu}, estimated from its sheet for compiled "
           "layers (--compile); loading and measuring come on top." if seconds else
           f"Time: not known for {gpu}; a block of 12 frames took 932 ms on one H200 in bf16, compiled.")


def lengths_s(cells: Sequence[Cell]) -> dict[str, float]:
    """Return recording -> how long its video will be; of a file, how long at the most."""
    known = kept_recordings() | samples()
    return {cell.recording: min(cell.seconds, known[cell.recording].duration_s) if cell.recording in known
            else cell.seconds for cell in cells}


def planned(options: dict[str, object], gpu: str, size: str, steps: int) -> Plan:
    """Return the plan of one video by these options of `load`."""
    from liveavatar.vram.plan import plan
    from liveavatar.vram.settings import weights_named

    switches = {name: bool(options[name]) for name in ("offload_kv_cache", "condition_in_rings", "fp8_attention")
                if name in options}
    return plan(NAME, gpu=gpu, size=size, steps=steps, weights=weights_named(options.get("fp8"), options.get("nf4")),
                caches="fp8" if options.get("fp8_cache") else "bf16", **switches)


def card_here() -> str:
    """Return the name of this machine's GPU as the table of cards has it; "H100" where there is none."""
    import torch

    from liveavatar.vram.cards import card

    if not torch.cuda.is_available():
        return "H100"
    name = torch.cuda.get_device_name()
    try:
        return card(name).name
    except InputError:
        return f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GB"


def check(cells: Sequence[Cell]) -> None:
    """Refuse what cannot be used before anything heavy begins: weights, portraits and recordings. Raises InputError."""
    for options in {cell.options for cell in cells}:
        named_weights(NAME, options)
    for cell in {(cell.portrait, cell.recording): cell for cell in cells}.values():
        gather(cell)


# ------------------------------------------------------------------------------------------- the table

def shareable(table: Table) -> Table:
    """Return the rows without what is nobody's business: files are named by their own name and a hash."""
    def renamed(row: dict) -> dict:
        kept = {name: value for name, value in row.items() if name not in DROPPED}
        named = {name: public_name(str(row[name])) for name in ("portrait", "recording")}
        error = str(row.get("error") or "")
        for name, public in named.items():
            error = error.replace(str(row[name]), public)
        return kept | named | {"error": FOLDERS.sub("", error)}
    return Table([renamed(row) for row in table])


def public_name(name: str) -> str:
    """Return the name of a shipped recording or portrait as it is, and of a file its own name with a hash."""
    path = user_path(name)
    if "|" in name or not path.is_file():
        return Path(name).name if "/" in name or "\\" in name else name
    return f"{path.stem}-{sha256_of(path)[:8]}{path.suffix}"


def summary(table: Table) -> str:
    """Return means by number of steps with 95 % intervals, as text."""
    from liveavatar.study.text_table import Text

    rows = table.finished.where(model="student")
    taken: list[Measure] = [one for one in (*REAL_FACE, *REAL_COST) if one.column in rows.columns]
    lines = []
    for steps in rows.distinct("steps"):
        line: dict[str, object] = {"steps": steps, "videos": len(rows.where(steps=steps))}
        for one in taken:
            found = rows.where(steps=steps).estimate(one.column)
            interval = f" ({found.low:.3g} to {found.high:.3g})" if found.bounded else ""
            line[f"{one.label}, {one.unit}".rstrip(", ")] = f"{found.mean:.3g}{interval}" if found.known else "unknown"
        lines.append(line)
    return str(Text(lines))


def write_results(sweep: Sweep, seconds: float) -> Path:
    """Write real_study.csv and, beside it, real_study.json: what made it."""
    table = shareable(sweep.table())
    path = table.write(sweep.folder / TABLE)
    about = {"command": "python -m liveavatar.study.real", "date": time.strftime("%Y-%m-%d", time.gmtime()),
             "videos": len(sweep.results), "asked_for": len(sweep.cells), "failed": len(table.failed),
             "seconds_of_this_call": round(seconds, 1),
             **{name: sorted({str(row.get(name)) for row in table.finished}) for name in provenance.COLUMNS}}
    text = json.dumps(about, indent=1) + "\n"
    write_whole(path.with_name(ABOUT), lambda part: part.write_text(text, encoding="utf-8"))
    return path


# ------------------------------------------------------------------------------------------- the command

def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m liveavatar.study.real", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lora", dest="lora_path_dmd", help="liveavatar.safetensors, or its folder")
    add_options(parser)
    parser.add_argument("--weights", default="shipped", help='"random": only to see that it works')
    parser.add_argument("--dtype")
    parser.add_argument("--device")
    for name in ("--compile", "--offload_model"):
        add_switch(parser, name, None, "as for liveavatar generate")
    asked = parser.add_argument_group("the study")
    asked.add_argument("--steps", type=int, nargs="+", default=STEPS, help="(default: 3 4 5 6)")
    asked.add_argument("--size", nargs="+", default=["704*384"], help="W*H (default: 704*384)")
    asked.add_argument("--portraits", nargs="+", default=SAMPLE_PORTRAITS,
                       help="files; default: the two shipped photographs")
    asked.add_argument("--recordings", nargs="+", default=(*SAMPLES, *RECORDINGS),
                       help="files; default: eleven sentences that come with this project")
    asked.add_argument("--seeds", type=int, nargs="+", default=[420])
    asked.add_argument("--seconds", type=float, default=8.0, help="of every video at the most (default: %(default)s)")
    asked.add_argument("--prompt", default=PROMPT, help="(default: %(default)s)")
    asked.add_argument("--prompts", action="store_true", help="the article's rich and poor prompt instead")
    asked.add_argument("--noise_db", type=float, nargs="+", default=[], help="also with noise so far below the voice")
    asked.add_argument("--clean", nargs="+", default=[], help="also cleaned: wiener, noisereduce")
    asked.add_argument("--teacher", action="store_true",
                       help="also the base model without LoRA, with guidance, 4 and 16 steps")
    asked.add_argument("--by_step", action="store_true", help="also measure the prediction after each step")
    asked.add_argument("--out", default="out/real_study", help="folder for videos and table (default: %(default)s)")
    asked.add_argument("--threads", type=int, help="of the processor, for measuring (default: all)")
    asked.add_argument("--gpu", help="plan for this card instead of the one that is here")
    asked.add_argument("--dry_run", action="store_true", help="say what it will cost, and make nothing")
    asked.add_argument("--retry", action="store_true", help="try again what failed before")
    return parser


def asked_of(given: argparse.Namespace, more: dict[str, object]) -> Asked:
    """Return what a command line asks for. more: options of `load` beside those of the command line."""
    prompts = (RICH, POOR) if given.prompts else (given.prompt,)
    return Asked(chosen(given) | more, tuple(given.steps), tuple(given.size), tuple(given.portraits),
                 tuple(given.recordings), tuple(given.seeds), given.seconds, prompts, (None, *given.noise_db),
                 ("", *given.clean), given.teacher, given.by_step)


def main(given: Sequence[str] | None = None, **more: object) -> int:
    """Run the study. more: options of `WanBackend.load` that the command line does not have, for tests.

    Raises InputError without a LoRA, and for files that cannot be used.
    """
    arguments = make_parser().parse_args(given)
    asked = asked_of(arguments, more)
    if asked.options.get("lora") is None and asked.options.get("weights") != "random":
        raise InputError("--lora is missing: the base model alone needs some forty steps; give liveavatar.safetensors "
                         "or its folder (--teacher adds the base model)")
    cells = asked.cells()
    for line in cost_lines(cells, asked.options, arguments.gpu or card_here()):
        print(line, flush=True)
    if arguments.dry_run:
        return 0
    check(cells)
    sweep = Sweep(cells, arguments.out, measure=measure_real_face)
    began_s = time.monotonic()
    with stop_on_signals(sweep.stop) as stop:
        sweep.run(1, threads=arguments.threads, retry=arguments.retry)
    path = write_results(sweep, time.monotonic() - began_s)
    table = sweep.table()
    for error, count in Counter(row["error"] for row in table.failed).items():
        print(f"failed, {count} videos: {error}", file=sys.stderr)
    if len(table.finished):
        print(summary(table))
    print(f"{printable(path)}: {len(sweep.results)} of {len(sweep.cells)} videos, {len(table.failed)} failed. "
          "docs/real-study.md says where to send it.")
    return stop.exit_code if len(sweep.results) < len(sweep.cells) else 1 if len(table.failed) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
