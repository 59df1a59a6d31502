"""One HTML file of a sweep or a run: it plays and scrubs by itself, without a kernel, without a network.

    write_report("out/sweep", "report.html")       a sweep: all videos together, plot, sorting, numbers
    write_report("seen", "report.html")            a run saved by Run.save: the video, and every step's guess
    write_report("run", "report.html")             a run folder of `liveavatar generate --run_dir`, an mp4 or a webm
"""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import user_path, write_whole
from liveavatar.study.cell_result import FAILED, Result
from liveavatar.study.page import filled
from liveavatar.study.sweep import Sweep
from liveavatar.study.video_page import run_folder_page, video_page
from liveavatar.types import InputError

if TYPE_CHECKING:
    import numpy

    from liveavatar.runs.run import Run

MOST_BYTES = 25_000_000
BARS = 400                      # of the loudness


def write_report(source: str | os.PathLike | Sweep | Run, output: str | os.PathLike = "report.html", *,
                 most: int | None = None) -> Path:
    """Write the report of a sweep, a run, or a video file. most: at most so many videos of a sweep, the first ones."""
    output = check_report(output)
    return write_page(page_of(source, most), output,
                      "show fewer videos of a sweep with --most, or make shorter ones")


def check_report(output: str | os.PathLike) -> Path:
    """Return the path of a report, ~ expanded. Raises InputError where its ending is not that of a web page."""
    output = user_path(output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"output {output} ends in {output.suffix or 'nothing'!r}; a report is a web page: report.html")
    return output


def write_page(page: str, output: Path, remedy: str) -> Path:
    """Write a page whole or not at all. Raises InputError where it is too large, with what to do about it."""
    page = page.encode("utf-8", "replace").decode()          # names of files need not be text
    size = len(page.encode())
    if size > MOST_BYTES:
        raise InputError(f"the report would have {size / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}; {remedy}")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, lambda part: part.write_text(page, encoding="utf-8"))
    return output


def page_of(source: str | os.PathLike | Sweep | Run, most: int | None) -> str:
    """Return the whole page."""
    if isinstance(source, Sweep):
        return sweep_page(source, most)
    if not isinstance(source, (str, os.PathLike)):
        return run_page(source, "as it was made")
    path = user_path(source)
    if (path / "sweep.json").is_file():
        return sweep_page(Sweep.open(path), most)
    if (path / "trace.json").is_file():
        from liveavatar.runs import open_run

        return run_page(open_run(path), path.name)
    if (path / "run.json").is_file():
        return run_folder_page(path)
    if path.suffix.lower() in (".mp4", ".webm") and path.is_file():
        return video_page(path)
    raise InputError(f"{source} is neither a sweep, nor a run, nor an .mp4 or .webm; give a folder written by "
                     "`liveavatar sweep`, by Run.save or by `liveavatar generate --run_dir`")


# ------------------------------------------------------------------------------------------- a sweep

def sweep_page(sweep: Sweep, most: int | None) -> str:
    from liveavatar.study.summary import summary

    results = sweep.results[:most]
    if not results:
        raise InputError(f"{sweep.folder} holds no finished videos yet; run the sweep first")
    data = summary(results)
    for entry, result in zip(data["cells"], results, strict=True):
        if result.video is not None and result.video.is_file():
            entry["video"] = base64.b64encode(result.video.read_bytes()).decode()
    failed = sum(result.state == FAILED for result in results)
    lead = (f"{len(results) - failed} videos, made from the same noise wherever seed and block are the same. "
            + (f"{failed} failed. " if failed else "") + weights_words(results)
            + " Numbers were measured on these videos; nothing here is reported by others.")
    return filled("A sweep: " + ", ".join(name.replace("_", " ") for name in data["settings"]), lead, data,
                  "report_sweep.js", (), numbers_table(data))


def weights_words(results: Sequence[Result]) -> str:
    names = sorted({f"{result.cell.backend} ({result.cell.weights} weights)" for result in results})
    devices = sorted({str(result.numbers["device"]) for result in results if "device" in result.numbers})
    return f"Model: {', '.join(names)}" + (f", on {', '.join(devices)}." if devices else ".")


def numbers_table(data: dict) -> str:
    """Return all numbers, for those who want to read rather than look."""
    head = ["", *(f"{one['label']}{', ' + one['unit'] if one['unit'] else ''}" for one in data["measures"])]
    rows = []
    for cell in data["cells"]:
        if cell["state"] == FAILED:
            rows.append(f"<tr><td>{html.escape(cell['label'])}</td><td class=failed colspan={len(head) - 1}>"
                        f"{html.escape(cell['error'])}</td></tr>")
            continue
        numbers = (cell["numbers"].get(one["column"]) for one in data["measures"])
        rows.append(f"<tr><td>{html.escape(cell['label'])}</td>"
                    + "".join(f"<td>{'–' if value is None else f'{value:.3g}'}</td>" for value in numbers) + "</tr>")
    return (f"<h2>Numbers</h2><div class=wide><table><tr>{''.join(f'<th>{html.escape(one)}</th>' for one in head)}</tr>"
            f"{''.join(rows)}</table></div>")


# ------------------------------------------------------------------------------------------- a run

def run_page(run: Run, name: str) -> str:
    """Put together the page of a run: its video, and what each step predicted and changed, as its views show it."""
    from liveavatar.study.steps_section import effects_table, steps_data, steps_of

    blocks = run.blocks
    if not blocks or not run.recorded_steps:
        raise InputError("this run has no pictures yet; wait for run.result(), or save one that was finished")
    steps = steps_of(run)
    data = {"video": base64.b64encode(video_of(run)).decode(), "steps": steps_data(run, steps),
            "fps": run.info.fps, "duration_s": sum(len(block.frames) for block in blocks) / run.info.fps,
            "loudness": loudness_of(run)}
    speed = f", {run.x_realtime:.2f}x real time" if run.x_realtime else ""
    lead = (f"{data['duration_s']:.2f} s of video in {run.info.steps} steps a block ({run.info.solver}){speed}. "
            "Drag the line under the pictures: what each step predicted follows.")
    return filled(f"A run: {name}", lead, data, "report_run.js", ("sweep_grid.css",), effects_table(steps))


def video_of(run: Run) -> bytes:
    """Return the kept pictures with their sound, as mp4."""
    from liveavatar.export import export_video

    with tempfile.TemporaryDirectory() as folder:
        return export_video(run, Path(folder) / "run.mp4").read_bytes()


def loudness_of(run: Run) -> list[float]:
    """Return the sound in BARS pieces, 0..1 of the loudest."""
    import numpy as np

    if run.speech is None or not len(run.speech.wave):
        return []
    pieces = np.array_split(np.abs(run.speech.wave), min(BARS, len(run.speech.wave)))
    loud: numpy.ndarray = np.array([piece.max() for piece in pieces])
    return [round(float(value), 3) for value in loud / max(loud.max(), 1e-6)]
