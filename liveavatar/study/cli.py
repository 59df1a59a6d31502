"""`liveavatar sweep`, `liveavatar report` and `liveavatar inspect-video`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from liveavatar.files import printable
from liveavatar.signals import stop_on_signals
from liveavatar.study.grid import Grid, parse_axis
from liveavatar.types import InputError, escape_controls


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Enter both commands into the command line."""
    asked = commands.add_parser("sweep", help="many videos: every combination of settings, measured")
    asked.add_argument("--grid", action="append", default=[], metavar="SETTING=VALUES",
                       help="steps=1..8, model=student,teacher, noise_db=none,10,5,0 ...; may be repeated")
    asked.add_argument("--out", default="out/sweep", help="folder for videos and table (default: %(default)s)")
    asked.add_argument("--jobs", type=int, default=None,
                       help="processes at a time (default: half the cores, each with two threads)")
    asked.add_argument("--threads", type=int, default=None, help="of each process (default: its share of the cores)")
    asked.add_argument("--retry", action="store_true", help="try again what failed before")
    asked.add_argument("--report", default=None, metavar="FILE.html", help="write a report as well")
    asked.add_argument("--cluster", default=None, metavar="ADDRESS",
                       help="scheduler of a dask cluster whose machines all see --out; \"local\" starts one here")
    asked.set_defaults(run=sweep)

    told = commands.add_parser("report", help="one web page of a sweep or a run that plays by itself")
    told.add_argument("source", help="folder of a sweep or a run, or an .mp4")
    told.add_argument("--output", "-o", default="report.html", help="(default: %(default)s)")
    told.add_argument("--most", type=int, default=None, help="at most so many videos of a sweep")
    told.set_defaults(run=report)

    seen = commands.add_parser("inspect-video", help="any video: late lips, seams, drift ... in plain sentences")
    seen.add_argument("video", help="file of any size, codec and frame rate")
    seen.add_argument("--sound", default=None, metavar="FILE", help="another recording, from the first picture on")
    seen.add_argument("--block_frames", type=int, default=None,
                      help="pictures in a block of the model that made it (default: found, if seams can be seen)")
    seen.add_argument("--transcript", default="", metavar="WORDS|FILE.txt",
                      help="the English words that are spoken: their sounds are then timed instead of recognised")
    seen.add_argument("--language", default="en", help="of the speech; sounds are recognised in English only")
    seen.add_argument("--duration", dest="duration_s", type=float, default=None, help="inspect so many seconds only")
    seen.add_argument("--report", default=None, metavar="FILE.html", help="write a page that plays and scrubs")
    seen.add_argument("--json", action="store_true", help="every figure for programs")
    seen.set_defaults(run=inspect)


def sweep(asked: argparse.Namespace) -> int:
    """Make every combination of what was asked for. Interrupted, it goes on with the same command."""
    if not asked.grid:
        raise InputError("--grid is missing; say what to vary, for example --grid steps=3,4,5 --grid seed=1,2")
    grid = Grid(**dict(parse_axis(text) for text in asked.grid))
    from liveavatar.study.sweep import Sweep

    videos = Sweep(grid, asked.out)
    with stop_on_signals(videos.stop) as stop, on_cluster(asked.cluster):
        jobs = -1 if asked.cluster and asked.jobs is None else asked.jobs
        table = videos.run(jobs, threads=asked.threads, retry=asked.retry)
    for row in table.failed:
        print(f"failed: {row['model']} {row['steps']} steps, {row['recording'][:40]}: {row['error']}")
    print(f"{printable(videos.folder / 'table.csv')}: {len(table)} rows, {len(videos.results)} of "
          f"{len(videos.cells)} videos, "
          f"{len(table.failed)} failed")
    if asked.report and videos.results:
        from liveavatar.study.report import write_report

        print(printable(write_report(videos, asked.report)))
    return 0 if len(videos.results) == len(videos.cells) else stop.exit_code


def report(asked: argparse.Namespace) -> int:
    """Write one web page."""
    from liveavatar.study.report import write_report

    path = write_report(asked.source, asked.output, most=asked.most)
    print(f"{printable(path)}: {path.stat().st_size / 1e6:.1f} MB, plays without a kernel and without a network")
    return 0


def inspect(asked: argparse.Namespace) -> int:
    """Measure a video of any origin."""
    from liveavatar.inspection import inspect_video
    from liveavatar.phonemes import read_transcript
    from liveavatar.study.report import check_report, write_page

    output = None if asked.report is None else check_report(asked.report)
    found = inspect_video(asked.video, asked.sound, block_frames=asked.block_frames, duration_s=asked.duration_s,
                          transcript=read_transcript(asked.transcript), language=asked.language,
                          progress=told_progress if sys.stderr.isatty() else None)
    print(found.to_json() if asked.json else f"{found.verdict}\n\n{found.table()}")
    for note in found.clip.notes:
        print(f"note: {escape_controls(note)}", file=sys.stderr)
    if output is not None:
        from liveavatar.study.inspection_page import inspection_page

        path = write_page(inspection_page(found), output, "inspect less of it with --duration")
        print(f"{printable(path)}: {path.stat().st_size / 1e6:.1f} MB, plays without a network", file=sys.stderr)
    return 0


def told_progress(seconds: float) -> None:
    """Say on the same line of the terminal how far a video is read."""
    print(f"\r{seconds:.0f} s read ", end="", file=sys.stderr, flush=True)


@contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Send joblib's work to a dask cluster, for as long as this lasts."""
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("--cluster needs dask: pip install 'liveavatar[cluster]'") from error
    import joblib

    with Client(None if address == "local" else address), joblib.parallel_config(backend="dask"):
        yield
