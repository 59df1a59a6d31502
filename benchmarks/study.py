"""The study behind "why four?": every video is made, measured and entered into one table.

    python benchmarks/study.py --out benchmarks/results/study.csv                  all of it
    python benchmarks/study.py --scale small --out benchmarks/results/study_smoke.csv   2 people, 2 recordings of 2 s
    python benchmarks/study.py --smoke --out /tmp/study.csv                        a few videos of one second

Stop it at any time: the same command goes on where it was; with --within it stops by itself, and the table holds what
is there. Beside the table a .json says by which command, on what machine and from which commit it was made. Progress
and videos are kept in --work.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from liveavatar.study import provenance
from liveavatar.study.plan import SCALES, cells_of
from liveavatar.study.sweep import Sweep
from liveavatar.study.table import Table
from liveavatar.study.workers import share_cores

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 2_000_000                  # of the committed table
DROPPED = ("guidance", "weights", "options", "frames", "block_deadline_ms", "generation_s",
           "measuring_s")                      # said in the .json


def about(arguments: argparse.Namespace, cells: int, failed: int, jobs: int, threads: int, seconds: float) -> dict:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"command": shlex.join(["python", "benchmarks/study.py", *sys.argv[1:]]), "commit": provenance.commit(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": provenance.processor(), "device": device,
            "python": platform.python_version(), "torch": torch.__version__, "videos": cells, "failed": failed,
            "processes": jobs, "threads": threads, "seconds_of_this_call": round(seconds, 1),
            "scale": arguments.scale, "seconds_of_a_video": arguments.seconds}


def run(sweep: Sweep, arguments: argparse.Namespace) -> Table:
    """Make what time allows; without the columns that the .json says once for all."""
    if arguments.within == 0:
        sweep.find_made()
        table = sweep.table()
    else:
        if arguments.within:
            alarm = threading.Timer(60 * arguments.within, sweep.stop)
            alarm.daemon = True
            alarm.start()
        table = sweep.run(arguments.jobs, threads=arguments.threads, retry=arguments.retry)
    return Table([{name: value for name, value in row.items() if name not in DROPPED} for row in table])


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/results/study.csv", help="(default: %(default)s)")
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--smoke", action="store_true", help="a few short videos: does it run?")
    parser.add_argument("--people", type=int, help="instead of the scale's own number")
    parser.add_argument("--recordings", type=int)
    parser.add_argument("--seconds", type=float, help="of every video")
    parser.add_argument("--jobs", type=int, help="processes at a time (default: half the cores)")
    parser.add_argument("--threads", type=int, help="of each process (default: its share of the cores)")
    parser.add_argument("--work", help="folder for videos and progress (default: runs/study_SCALE)")
    parser.add_argument("--within", type=float, metavar="MINUTES",
                        help="begin no video after so long; 0: only write the table of what is there")
    parser.add_argument("--measure_again", action="store_true", help="measure what was made before once more")
    parser.add_argument("--retry", action="store_true", help="try again what failed before")
    arguments = parser.parse_args(given)
    if arguments.smoke:
        arguments.scale = "smoke"
    asked = {name: value for name in ("people", "recordings", "seconds")
             if (value := getattr(arguments, name)) is not None}
    scale = replace(SCALES[arguments.scale], **asked)
    arguments.seconds = scale.seconds
    sweep = Sweep(cells_of(scale), arguments.work or ROOT / "runs" / f"study_{arguments.scale}")
    jobs, threads = share_cores(arguments.jobs, arguments.threads)
    began_s = time.monotonic()
    if arguments.measure_again:
        sweep.find_made()
        sweep.measure_again(arguments.jobs, threads=arguments.threads)
    table = run(sweep, arguments)
    path = table.write(arguments.out)
    failed = len({row["key"] for row in table.failed})
    described = about(arguments, len(sweep.results), failed, jobs, threads, time.monotonic() - began_s)
    path.with_suffix(".json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    size = path.stat().st_size
    print(f"{path}: {len(table)} rows, {len(sweep.results)} of {len(sweep.cells)} videos, {failed} failed, "
          f"{size / 1e6:.2f} MB")
    if size > MOST_BYTES:
        print(f"that is more than {MOST_BYTES / 1e6:g} MB: too large to commit", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
