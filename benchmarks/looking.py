"""What looking costs: the same video bare and with every view of the workbench open, in one process, turn by turn.

    python benchmarks/looking.py                five pairs: about two minutes on an idle machine
    python benchmarks/looking.py --pairs 2

There is no browser here: every view talks to a stand-in that answers each message after 20 ms, as a browser does. So
the ratio counts what looking costs the kernel - drawing, packing, sending - and not what a browser on the same machine
takes for itself. Wall times mean something on an idle machine only; on a busy one look at the processor time, with
--threads 1, so that threads that wait for each other do not count. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from liveavatar.avatars.portraits import avatar
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline, load
from liveavatar.run import Run
from liveavatar.speech import samples
from widgets import MemoryView, Workbench
from widgets._live import LiveView
from widgets.workbench import Curtain

CORES = 2
ANSWER_S = 0.02               # of a browser, from message to answer: 6 ms idle, 25 ms on a busy machine
VIDEO_S = 2.88
GOAL, LIMIT = 1.03, 1.05      # work with all views open against bare
SLIDER_GOAL_MS, CURVE_GOAL = 100, 0.02
MOVES = 40
CURVE_S = 6.0


@dataclass
class Browser:
    """Answers the messages of all views that were opened in it, and counts them."""

    messages: dict[str, int] = field(default_factory=dict)
    sent_bytes: int = 0

    def open(self, view: LiveView) -> None:
        name = type(view).__name__

        def send(content: dict, buffers: list[bytes] | None = None) -> None:
            self.messages[name] = self.messages.get(name, 0) + 1
            self.sent_bytes += len(json.dumps(content)) + sum(map(len, buffers or ()))
            answer = {"kind": "ack", "number": content["number"]}
            threading.Timer(ANSWER_S, lambda: view._hear(view, answer, [])).start()

        view.send = send
        view._hear(view, {"kind": "hello"}, [])


@dataclass(frozen=True)
class Turn:
    """One video."""

    work_s: float
    cpu_s: float
    first_picture_s: float


def make_run(pipeline: Pipeline, seconds: float) -> Run:
    config = GenerationConfig(duration_s=seconds)
    return Run.of(pipeline, samples()["welcome"], avatar(seed=7), "smiling, in warm light", config)


def make_video(pipeline: Pipeline, page: Workbench | None) -> Turn:
    run = make_run(pipeline, VIDEO_S)
    if page is not None:
        page.watch(run)
    began_s = time.process_time()
    run.start().result()
    turn = Turn(run.work_s, time.process_time() - began_s, run.first_picture_s or 0.0)
    if page is not None:
        page.watch(None)                                     # whatever is still drawn must not cost the next one
        time.sleep(0.5)
    return turn


def slider_ms(page: Workbench) -> list[float]:
    """From the move of a slider, as the kernel hears it, to the picture that leaves it."""
    took_ms = []
    for move in range(MOVES):
        began_s = time.perf_counter()
        page.designer.told("choose", {"choices": {"hair_volume": 0.01 + 0.15 * move / MOVES}})
        took_ms.append(1000 * (time.perf_counter() - began_s))
    return took_ms


def curve_share(pipeline: Pipeline) -> float:
    """What a live memory curve takes of one core while nothing else happens: the run rests after its first step."""
    def cpu_of(open_view: bool) -> float:
        run = make_run(pipeline, 0.96)
        if open_view:
            view = MemoryView(run)
            Browser().open(view)
        run.step()
        while run.state != "paused":
            time.sleep(0.05)
        time.sleep(2.0)                                      # what is computed once is not the curve's cost
        began_s = time.process_time()
        time.sleep(CURVE_S)
        spent_s = time.process_time() - began_s
        run.stop()
        run.wait()
        return spent_s / CURVE_S

    return cpu_of(True) - cpu_of(False)


def take_turns(pipeline: Pipeline, page: Workbench, pairs: int) -> list[tuple[Turn, Turn]]:
    """(bare, watched), each going first as often as the other."""
    turns = []
    for pair in range(pairs):
        first, second = (None, page) if pair % 2 == 0 else (page, None)
        one, other = make_video(pipeline, first), make_video(pipeline, second)
        turns.append((one, other) if first is None else (other, one))
    return turns


def measure(pairs: int) -> dict:
    pipeline, browser = load("mini"), Browser()
    page = Workbench(pipeline=pipeline, sharpen=False)      # what is drawn after the end is not at stake here
    for view in (page, *page.views.values()):
        browser.open(view)
    make_video(pipeline, None)                               # warm
    make_video(pipeline, page)
    page.page = "lips"                                       # the costliest page
    as_used = take_turns(pipeline, page, pairs)
    for view in page.views.values():                         # more than anybody sees at once
        if isinstance(view._mail, Curtain):
            view._mail.shown = True
    before = dict(browser.messages)
    turns = take_turns(pipeline, page, pairs)
    messages = {name: (count - before.get(name, 0)) / pairs for name, count in browser.messages.items()}
    moves = slider_ms(page)
    return {
        "bare_work_s": [bare.work_s for bare, _ in turns], "open_work_s": [seen.work_s for _, seen in turns],
        "bare_cpu_s": [bare.cpu_s for bare, _ in turns], "open_cpu_s": [seen.cpu_s for _, seen in turns],
        "used_ratio": statistics.median(seen.work_s / bare.work_s for bare, seen in as_used),
        "used_ratio_of_best": min(seen.work_s for _, seen in as_used) / min(bare.work_s for bare, _ in as_used),
        "work_ratio": statistics.median(seen.work_s / bare.work_s for bare, seen in turns),
        "work_ratio_of_best": min(seen.work_s for _, seen in turns) / min(bare.work_s for bare, _ in turns),
        "cpu_ratio": statistics.median(seen.cpu_s / bare.cpu_s for bare, seen in turns),
        "first_picture_ratio": statistics.median(seen.first_picture_s / bare.first_picture_s for bare, seen in turns),
        "messages_a_video": messages, "sent_mib": browser.sent_bytes / 2**20,
        "slider_ms": statistics.median(moves), "slider_worst_ms": max(moves), "curve_share": curve_share(pipeline)}


def report(found: dict, about: str) -> str:
    rows = [("generation, workbench open on its page Lips / bare, median of pairs", f"{found['used_ratio']:.3f}", ""),
            ("the same, best of each", f"{found['used_ratio_of_best']:.3f}", ""),
            ("generation, every view open / bare, median of pairs", f"{found['work_ratio']:.3f}",
             f"{GOAL}, at most {LIMIT}"),
            ("the same, best of each", f"{found['work_ratio_of_best']:.3f}", ""),
            ("processor time of it, open / bare", f"{found['cpu_ratio']:.3f}", ""),
            ("first picture, open / bare", f"{found['first_picture_ratio']:.3f}", ""),
            ("slider move to new picture, median", f"{found['slider_ms']:.0f} ms", f"{SLIDER_GOAL_MS} ms"),
            ("slider move to new picture, worst of 40", f"{found['slider_worst_ms']:.0f} ms", ""),
            ("live memory curve, of one core", f"{found['curve_share']:.1%}", f"{CURVE_GOAL:.0%}")]
    counts = ", ".join(f"{name} {count:.0f}" for name, count in sorted(found["messages_a_video"].items()))
    return "\n".join([
        "# What looking costs", "", "    python benchmarks/looking.py", "",
        f"mini, 4 steps, 128 x 128, {VIDEO_S} s of video; a stand-in for the browser that answers after "
        f"{1000 * ANSWER_S:.0f} ms. {about}.", "",
        "| | measured | wanted |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), "",
        f"Bare runs took {', '.join(f'{value:.2f}' for value in found['bare_work_s'])} s, open ones "
        f"{', '.join(f'{value:.2f}' for value in found['open_work_s'])} s. Messages a video: {counts}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=CORES, help="of torch")
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(arguments.threads)
    load_before = f"load before {os.getloadavg()[0]:.1f}"
    about = f"{CORES} cores, {arguments.threads} threads, torch {torch.__version__}, {load_before}"
    found = measure(arguments.pairs)
    text = report(found, about)
    print(text)
    if arguments.out:
        stem = arguments.out.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({"about": about} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
