"""Faults, load and length: does anything get lost? Each row of the table is a promise, with attempts to break it.

    python benchmarks/trust.py                                   every row at its full count (hours)
    python benchmarks/trust.py --only killed --count 20 --seed 1 one row, or some, at a smaller count
    python benchmarks/trust.py --only hours --seconds 600        a shorter sound than the row's 10,000 s
    python benchmarks/trust.py --list                            the rows
    python benchmarks/trust.py --table                           only write the table anew

Every run of a row is one line of results/trust.jsonl; the table results/trust.md adds the lines up, so that rows may be
run one after the other and on different days. Attempt i of a seed is always the same: `--first 100 --count 50` goes on
where `--count 100` ended. A line of the same row, seed and first attempt replaces the older one: after a fault was
mended the same attempts are made again. Attempts that failed are named.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

from faults import length  # noqa: E402
from faults.attempts import Row  # noqa: E402
from faults.rows import ROWS  # noqa: E402

RESULTS = HERE / "results" / "trust"
MOST_NAMED = 5                      # failures, or measured attempts, of a line that are kept in words
NOT_TRIED = """GPUs; other machines against this one; a rank whose work hangs while its heartbeat goes on, which nothing
notices; mp3, ogg and m4a of a day, of which a late stretch is decoded from the beginning; drift of an hours long video
in dB (benchmarks/drift.py). Dependencies: pip-audit found no data on any of them here (index without it, none offline),
and constraints.txt pins versions without hashes. Nothing is claimed about these, nor about rows that were not run."""

GROWS = """With every second of sound: 64 KB of samples (16 kHz, float32) until they are encoded, 25.6 KB of mini's
features until the video is made (in memory once; it was twice), 3.6 KB of FFmpeg's table of packets until an mp4 is
finished. The last minute of 10,000 s is 2.8 % (21 MiB) above the second one, less than that table; a webm has none
(50,000 pictures of 32*32 with their sound were written with the same memory). The peak of a small video is reached
while its sound is encoded: at 64*64 that of 600 s is 9 to 12 % above that of 60 s. At 256*256 it is in the decoder, and
does not grow: of malloc 250 and 264 MiB are in use, the difference being features and table, while 40 to 160 MiB stay
free between the buffers of 1 to 32 MiB that torch asks for, another amount after every block and in every run (peaks of
30, 40 and 75 s: 669, 727 and 730 MiB). With MALLOC_MMAP_THRESHOLD_=1048576 the peak is 635 MiB and the memory after
every block 529 to 538 MiB, but a block of 0.48 s takes 0.17 s more of processor time: not worth it."""


def run_row(row: Row, seed: int, first: int, count: int) -> dict:
    """Make attempts first .. first + count - 1 of a row -> one line of results."""
    began, tried, failures, measured = time.perf_counter(), 0, [], []
    for attempt in row.attempts(seed, first, count):
        tried += 1
        measured += [attempt.case] if row.measured else []
        if not attempt.survived:
            failures.append({"case": attempt.case, "seen": attempt.seen[-600:]})
            print(f"{row.name}: {attempt.case}: {attempt.seen}", file=sys.stderr)
    return {"row": row.name, "seed": seed, "first": first, "tried": tried, "survived": tried - len(failures),
            "failures": failures[:MOST_NAMED], "measured": measured[:MOST_NAMED],
            "seconds": round(time.perf_counter() - began, 1),
            "date": time.strftime("%Y-%m-%d"), "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}"}


def read_lines(path: Path) -> list[dict]:
    """Read the results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(line: dict, path: Path) -> list[dict]:
    """Add a line, in the place of the one for the same attempts -> all lines."""
    same = ("row", "seed", "first")
    lines = [one for one in read_lines(path) if any(one[key] != line[key] for key in same)] + [line]
    order = {row.name: place for place, row in enumerate(ROWS)}
    lines.sort(key=lambda one: (order.get(one["row"], len(order)), one["seed"], one["first"]))
    path.write_text("".join(json.dumps(one, ensure_ascii=True) + "\n" for one in lines))
    return lines


def table(lines: list[dict]) -> str:
    """Write the results as a page."""
    tried, survived = Counter(), Counter()
    seeds: dict[str, set[int]] = {}
    for line in lines:
        tried[line["row"]] += line["tried"]
        survived[line["row"]] += line["survived"]
        seeds.setdefault(line["row"], set()).add(line["seed"])
    text = [__doc__.split("\n\n")[0], "",
            "Made by `python benchmarks/trust.py`; one line of results is one line of [trust.jsonl](trust.jsonl).",
            "*Full* is the count of a whole campaign: a row with fewer tried, or none, was run at that smaller count "
            "only, or not at all. Faults were mended between the rows: what failed before is not counted, and a row "
            "was not always run again after the last mend. `git log -- benchmarks/faults` has the order.", ""]
    for topic in dict.fromkeys(row.topic for row in ROWS):
        text += [f"## {topic}", "", "| row | what must hold | seeds | tried | survived | full |",
                 "|---|---|---|---|---|---|"]
        for row in (row for row in ROWS if row.topic == topic):
            known = ", ".join(map(str, sorted(seeds.get(row.name, ())))) or "-"
            made = f"{tried[row.name]} | {survived[row.name]}" if tried[row.name] else "not run | -"
            text.append(f"| `{row.name}` | {row.promise} | {known} | {made} | {row.count} |")
        text.append("")
    measured = [(line["row"], words) for line in lines for words in line.get("measured", ())]
    if measured:
        text += ["## Measured on the way", ""] + [f"- `{row}` {words}" for row, words in measured] + [""]
    text += ["## What grows with the length", "", GROWS.replace("\n", " "), ""]
    text += ["## Not in the campaign", "", NOT_TRIED.replace("\n", " "), ""]
    failures = [(line["row"], one) for line in lines for one in line["failures"]]
    if failures:
        text += ["## What did not survive", ""]
        text += [f"- `{row}` {one['case']}: {' '.join(one['seen'].split())[:300]}" for row, one in failures]
    return "\n".join(text).rstrip() + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run rows and write the table. Ends with 1 when an attempt did not survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="a row; may be repeated")
    parser.add_argument("--count", type=int, default=None, help="attempts (default: the row's own)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt")
    parser.add_argument("--seconds", type=float, default=length.LONGEST_S, help="of sound, in the row hours")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results, without the ending")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args(arguments)
    rows = {row.name: row for row in ROWS}
    unknown = [name for name in asked.only if name not in rows]
    if unknown:
        parser.error(f"unknown row {unknown[0]!r}; known: {', '.join(rows)}")
    if asked.seconds < 180:
        parser.error(f"--seconds is {asked.seconds:g}: the last minute is compared with the second; give 180 or more")
    if "settings" in (asked.only or rows) and not asked.table and find_spec("hypothesis") is None:
        parser.error("the row settings needs hypothesis: pip install 'liveavatar[trust]', or name other rows by --only")
    rows["hours"] = replace(rows["hours"], attempts=partial(length.hours, seconds=asked.seconds))
    path, page = asked.out.with_suffix(".jsonl"), asked.out.with_suffix(".md")
    if asked.list:
        print("\n".join(f"{row.name:20} {row.count:5}  {row.promise}" for row in ROWS))
        return 0
    lost = 0
    for name in () if asked.table else asked.only or rows:
        line = run_row(rows[name], asked.seed, asked.first, asked.count or rows[name].count)
        lost += line["tried"] - line["survived"]
        print(f"{name}: {line['survived']} of {line['tried']} in {line['seconds']} s")
        page.write_text(table(keep(line, path)))
    page.write_text(table(read_lines(path)))
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
