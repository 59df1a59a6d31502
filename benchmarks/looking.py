"""What looking costs: the same video bare and with every view of the workbench open, in one process, turn by turn.

    python benchmarks/looking.py                twelve rounds of six videos: six minutes on an idle machine
    python benchmarks/looking.py --rounds 3
    python benchmarks/looking.py --attention --rounds 4        only what recording attention costs: under two minutes

There is no browser here: every view talks to a stand-in. It packs and signs each message as a kernel does, and answers
after 20 ms, as a browser does, with a message that is unpacked as a kernel does. So the ratios count what looking costs
the kernel - drawing, packing, sending - and not what a browser on the same machine takes for itself.

In a round the video is made bare, with the workbench as it is used, with every view open at once, with the attention of
one layer recorded at every step, with that and every view open (AttentionView too), and bare again, in an order that
turns from round to round. The second bare video says how far two equal runs are apart: what is smaller than
that has not been measured. Processor times are less easily disturbed than the clock: those of all threads, and those of
the threads that do nothing but look. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from browser_stand_in import ANSWER_S, Browser

from liveavatar import inspect
from liveavatar.avatars.portraits import avatar
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline, load
from liveavatar.runs.run import Run
from liveavatar.speech import samples
from widgets import AttentionView, MemoryView, Workbench
from widgets._message_gate import Throttle

CORES = 2
VIDEO_S = 2.88
GOAL, LIMIT = 1.03, 1.05      # work with all views open against bare
SEEN_GOAL = 1.08              # with attention recorded as well
LAYER = 2                     # whose attention is recorded, at every step: all heads
SLIDER_GOAL_MS, CURVE_GOAL, FIRST_PICTURE_S = 100, 0.02, 1.5
MOVES = 40
CURVE_S = 6.0
REST_S = 0.5                  # between two videos
LOOKING = ("liveavatar-render", "liveavatar-lips", "liveavatar-memory", "liveavatar-plan", "liveavatar-decoding",
           "browser")                                        # threads
TURNS = ("bare", "used", "open", "recorded", "seen", "again")
ATTENTION_TURNS = ("bare", "recorded", "seen", "again")
DRAWS = 2000                  # of the rounds, for the interval


@dataclass(frozen=True)
class Turn:
    """One video."""

    work_s: float
    cpu_s: float              # of all threads
    looking_s: float          # of those that only look
    first_picture_s: float


def looking_cpu_s() -> dict[int, float]:
    """Processor time so far of each thread that looks; nothing where the system does not tell (Linux does)."""
    spent_s = {}
    for thread in threading.enumerate():
        path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
        if thread.name in LOOKING:
            with suppress(OSError):                          # it has ended meanwhile
                spent_s[thread.native_id] = int(path.read_text().split()[0]) / 1e9
    return spent_s


def make_run(pipeline: Pipeline, seconds: float) -> Run:
    config = GenerationConfig(duration_s=seconds)
    return Run.of(pipeline, samples()["welcome"], avatar(seed=7), "smiling, in warm light", config)


def make_video(pipeline: Pipeline, page: Workbench | None, recorded: bool = False,
               browser: Browser | None = None) -> Turn:
    """Make a video. page: where it is seen; recorded: attention is recorded; browser: where AttentionView shows it."""
    run = make_run(pipeline, VIDEO_S)
    began_s, looked_s = time.process_time(), looking_cpu_s()
    if page is not None:
        page.watch(run)
    with inspect.record(pipeline, layers=[LAYER], readouts=False) if recorded else nullcontext() as seen:
        attention = None if browser is None else AttentionView(run, seen=seen)
        if attention is not None:
            browser.open(attention)
        run.start().result()
    cpu_s, now_s = time.process_time() - began_s, looking_cpu_s()
    looking_s = sum(spent_s - looked_s.get(thread, 0.0) for thread, spent_s in now_s.items())
    turn = Turn(run.work_s, cpu_s, looking_s, run.first_picture_s or 0.0)
    if attention is not None:
        attention.close()
    if page is not None:
        page.watch(None)                                     # whatever is still drawn must not cost the next one
    time.sleep(REST_S)
    return turn


def slider_ms(page: Workbench) -> list[float]:
    """From the move of a slider, as the kernel hears it, to the picture that leaves it."""
    took_ms = []
    for move in range(MOVES):
        began_s = time.perf_counter()
        page.designer.on_message("choose", {"choices": {"hair_volume": 0.01 + 0.15 * move / MOVES}})
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


def show_all(page: Workbench, everything: bool) -> None:
    """Every view at once, more than anybody sees; or those that are in sight on the page Lips, the costliest."""
    page.page = "lips"
    for view in page.views.values():
        if everything and isinstance(view._gate, Throttle):
            view._gate.shown = True
    if not everything:
        page._page_opened()


def take_turns(pipeline: Pipeline, page: Workbench, browser: Browser, names: Sequence[str],
               rounds: int) -> dict[str, list[Turn]]:
    """Each round in another order."""
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            turns[name].append(take_turn(pipeline, page, browser, name))
    return turns


def take_turn(pipeline: Pipeline, page: Workbench, browser: Browser, name: str) -> Turn:
    """Make one video as a turn has it."""
    show_all(page, name in ("open", "seen"))
    return make_video(pipeline, page if name in ("used", "open", "seen") else None, name in ("recorded", "seen"),
                      browser if name == "seen" else None)


def ratio(turns: dict[str, list[Turn]], name: str, of: Callable[[Turn], float]) -> tuple[float, float, float]:
    """Median over rounds of one kind of turn against the mean of the round's bare ones (against the first of them for
    "again"), and where the middle nine tenths of such medians lie when rounds are drawn anew."""
    pairs = zip(turns[name], turns["bare"], turns["again"], strict=True)
    ratios = [of(one) / (of(bare) if name == "again" else (of(bare) + of(again)) / 2) for one, bare, again in pairs]
    chance = random.Random(0)
    drawn = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return statistics.median(ratios), drawn[DRAWS // 20], drawn[-DRAWS // 20]


def measure(rounds: int, names: Sequence[str]) -> dict:
    """Make all videos, and compare them; what costs time beside them only where all turns are asked for."""
    pipeline, browser = load("mini"), Browser()
    page = Workbench(pipeline=pipeline)
    page.grid.exact = False                                  # what is decoded after the end is not at stake here
    for view in (page, *page.views.values()):
        browser.open(view)
    for name in names[:-1]:                                  # warm
        take_turn(pipeline, page, browser, name)
    before = dict(browser.messages)
    turns = take_turns(pipeline, page, browser, names, rounds)
    messages = {name: (count - before.get(name, 0)) / rounds for name, count in browser.messages.items()}
    bare_cpu_s = statistics.median(turn.cpu_s for turn in turns["bare"] + turns["again"])
    best_s = min(turn.work_s for turn in turns["bare"] + turns["again"])
    looked = [name for name in names if name != "bare"]
    found = {
        "size": pipeline.backend.default_size,
        "turns": {name: [asdict(turn) for turn in made] for name, made in turns.items()},
        "work": {name: ratio(turns, name, lambda turn: turn.work_s) for name in looked},
        "cpu": {name: ratio(turns, name, lambda turn: turn.cpu_s) for name in looked},
        "work_of_best": {name: min(turn.work_s for turn in turns[name]) / best_s for name in looked},
        "looking_share": {name: statistics.median(turn.looking_s for turn in turns[name]) / bare_cpu_s
                          for name in looked},
        "first_picture": {name: ratio(turns, name, lambda turn: turn.first_picture_s) for name in looked},
        "messages_a_round": messages, "sent_mib": browser.sent_bytes / 2**20}
    if "open" in names:
        moves = slider_ms(page)
        found |= {"first_picture_s": statistics.median(turn.first_picture_s for turn in turns["open"]),
                  "slider_ms": statistics.median(moves), "slider_worst_ms": max(moves),
                  "curve_share": curve_share(pipeline)}
    return found


def spread(three: tuple[float, float, float]) -> str:
    """Write a median and its interval."""
    return "{:.3f} ({:.3f} to {:.3f})".format(*three)


def rows_of_views(found: dict) -> list[tuple[str, str, str]]:
    """Return what the views cost, as rows."""
    return [("generation, every view open / bare", spread(found["work"]["open"]), f"{GOAL}, at most {LIMIT}"),
            ("the same, best of each", f"{found['work_of_best']['open']:.3f}", ""),
            ("processor time of all threads, every view open / bare", spread(found["cpu"]["open"]), ""),
            ("processor time of the threads that look, of that of a bare run", f"{found['looking_share']['open']:.1%}",
             ""),
            ("generation, workbench open on its page Lips / bare", spread(found["work"]["used"]), ""),
            ("the same, best of each", f"{found['work_of_best']['used']:.3f}", ""),
            ("processor time, workbench open on its page Lips / bare", spread(found["cpu"]["used"]), ""),
            ("first picture, every view open / bare", spread(found["first_picture"]["open"]), ""),
            ("first picture after the start, every view open, median", f"{found['first_picture_s']:.2f} s",
             f"{FIRST_PICTURE_S} s"),
            ("slider move to new picture, median", f"{found['slider_ms']:.0f} ms", f"{SLIDER_GOAL_MS} ms"),
            (f"slider move to new picture, worst of {MOVES}", f"{found['slider_worst_ms']:.0f} ms", ""),
            ("live memory curve, of one core", f"{found['curve_share']:.1%}", f"{CURVE_GOAL:.0%}")]


def rows_of_attention(found: dict) -> list[tuple[str, str, str]]:
    """Return what recording attention costs, and the error of all of this, as rows."""
    return [("generation, attention of one layer recorded at every step / bare", spread(found["work"]["recorded"]),
             f"{SEEN_GOAL}"),
            ("the same, best of each", f"{found['work_of_best']['recorded']:.3f}", ""),
            ("processor time, attention recorded / bare", spread(found["cpu"]["recorded"]), ""),
            ("generation, attention recorded and every view open / bare", spread(found["work"]["seen"]), ""),
            ("the same, best of each", f"{found['work_of_best']['seen']:.3f}", ""),
            ("processor time, attention recorded and every view open / bare", spread(found["cpu"]["seen"]), ""),
            ("generation, bare / bare: the error of all this", spread(found["work"]["again"]), ""),
            ("processor time, bare / bare", spread(found["cpu"]["again"]), "")]


TITLES = {"bare": "bare", "again": "bare again", "used": "page Lips", "open": "every view",
          "recorded": "attention recorded", "seen": "both"}


def report(found: dict, about: str, command: str, rounds: int) -> str:
    """Write what was measured as Markdown."""
    rows = [*(rows_of_views(found) if "open" in found["turns"] else ()), *rows_of_attention(found)]
    counts = ", ".join(f"{name} {count:.0f}" for name, count in sorted(found["messages_a_round"].items()))
    times = "; ".join(f"{TITLES[name]}: {', '.join('{:.2f}'.format(turn['work_s']) for turn in made)}"
                      for name, made in found["turns"].items())
    height, width = found["size"]
    return "\n".join([
        "# What looking costs", "", f"    {command}", "",
        f"mini, 4 steps, {width} x {height}, {VIDEO_S} s of video; a stand-in for the browser that answers after "
        f"{1000 * ANSWER_S:.0f} ms. {about}. Medians of {rounds} rounds; in brackets, where nine tenths of such "
        f"medians would lie. Attention is recorded of layer {LAYER}, all heads.", "",
        "| | measured | wanted |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), "",
        f"Seconds of work, {times}. Messages a round, of all: {counts}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--attention", action="store_true", help="measure only what recording attention costs")
    parser.add_argument("--threads", type=int, default=CORES, help="of torch")
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(arguments.threads)
    load_before = f"load before {os.getloadavg()[0]:.1f}"
    about = f"{CORES} cores, {arguments.threads} threads, torch {torch.__version__}, {load_before}"
    found = measure(arguments.rounds, ATTENTION_TURNS if arguments.attention else TURNS)
    command = f"python benchmarks/looking.py{' --attention' if arguments.attention else ''} --rounds {arguments.rounds}"
    text = report(found, about, command, arguments.rounds)
    print(text)
    if arguments.out:
        stem = arguments.out.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({"about": about} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
