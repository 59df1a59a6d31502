"""What looking costs: the same video bare and with every view of the workbench open, in one process, turn by turn.

    python benchmarks/looking.py                twelve rounds of four videos: three minutes on an idle machine
    python benchmarks/looking.py --rounds 3

There is no browser here: every view talks to a stand-in. It packs and signs each message as a kernel does, and answers
after 20 ms, as a browser does, with a message that is unpacked as a kernel does. So the ratios count what looking costs
the kernel - drawing, packing, sending - and not what a browser on the same machine takes for itself.

In a round the video is made bare, with the workbench as it is used, with every view open at once, and bare again, in an
order that turns from round to round. The second bare video says how far two equal runs are apart: what is smaller than
that has not been measured. Processor times are less easily disturbed than the clock: those of all threads, and those of
the threads that do nothing but look. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import secrets
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jupyter_client.session import Session

from liveavatar.avatars.portraits import avatar
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline, load
from liveavatar.runs.run import Run
from liveavatar.speech import samples
from widgets import MemoryView, Workbench
from widgets._live import LiveView
from widgets._message_gate import Throttle

CORES = 2
ANSWER_S = 0.02               # of a browser, from message to answer: 6 ms idle, 25 ms on a busy machine
VIDEO_S = 2.88
GOAL, LIMIT = 1.03, 1.05      # work with all views open against bare
SLIDER_GOAL_MS, CURVE_GOAL, FIRST_PICTURE_S = 100, 0.02, 1.5
MOVES = 40
CURVE_S = 6.0
REST_S = 0.5                  # between two videos
LOOKING = ("liveavatar-render", "liveavatar-lips", "liveavatar-memory", "liveavatar-plan", "liveavatar-decoding",
           "browser")                                        # threads
TURNS = ("bare", "used", "open", "again")
DRAWS = 2000                  # of the rounds, for the interval


@dataclass(order=True)
class Answer:
    due_s: float
    view: LiveView = field(compare=False)
    parts: list[bytes] = field(compare=False)


class Browser:
    """Answers the messages of all views that were opened in it, and counts them."""

    def __init__(self) -> None:
        self.messages: dict[str, int] = {}
        self.sent_bytes = 0
        key = secrets.token_bytes(32)
        self._kernel, self._page = Session(key=key), Session(key=key)
        self._parent = self._kernel.msg("comm_msg", {})["header"]
        self._answers: list[Answer] = []
        self._came = threading.Condition()
        threading.Thread(target=self._work, name="browser", daemon=True).start()

    def open(self, view: LiveView) -> None:
        name = type(view).__name__

        def send(content: dict, buffers: list[bytes] | None = None) -> None:
            data = {"comm_id": name, "data": {"method": "custom", "content": content}}
            parts = self._kernel.serialize(self._kernel.msg("comm_msg", data, parent=self._parent), b"comm")
            self.messages[name] = self.messages.get(name, 0) + 1
            self.sent_bytes += sum(map(len, parts)) + sum(map(len, buffers or ()))
            heard = {"kind": "ack", "number": content["number"]}
            data = {"comm_id": name, "data": {"method": "custom", "content": heard}}
            answer = Answer(time.monotonic() + ANSWER_S, view, self._page.serialize(self._page.msg("comm_msg", data)))
            with self._came:
                heapq.heappush(self._answers, answer)
                self._came.notify()

        view.send = send
        view._receive_message(view, {"kind": "hello"}, [])

    def _work(self) -> None:
        """The kernel's thread, which hears the answers."""
        while True:
            with self._came:
                while not self._answers or self._answers[0].due_s > time.monotonic():
                    self._came.wait(self._answers[0].due_s - time.monotonic() if self._answers else None)
                answer = heapq.heappop(self._answers)
            _, parts = self._kernel.feed_identities(answer.parts)
            message = self._kernel.deserialize(parts)
            answer.view._receive_message(answer.view, message["content"]["data"]["content"], [])


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


def make_video(pipeline: Pipeline, page: Workbench | None) -> Turn:
    run = make_run(pipeline, VIDEO_S)
    began_s, looked_s = time.process_time(), looking_cpu_s()
    if page is not None:
        page.watch(run)
    run.start().result()
    cpu_s, now_s = time.process_time() - began_s, looking_cpu_s()
    looking_s = sum(spent_s - looked_s.get(thread, 0.0) for thread, spent_s in now_s.items())
    turn = Turn(run.work_s, cpu_s, looking_s, run.first_picture_s or 0.0)
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


def take_turns(pipeline: Pipeline, page: Workbench, rounds: int) -> dict[str, list[Turn]]:
    """Each round in another order."""
    turns: dict[str, list[Turn]] = {name: [] for name in TURNS}
    for number in range(rounds):
        first = number % len(TURNS)
        for name in (*TURNS[first:], *TURNS[:first]):
            show_all(page, name == "open")
            turns[name].append(make_video(pipeline, page if name in ("used", "open") else None))
    return turns


def ratio(turns: dict[str, list[Turn]], name: str, of: Callable[[Turn], float]) -> tuple[float, float, float]:
    """Median over rounds of one kind of turn against the mean of the round's bare ones (against the first of them for
    "again"), and where the middle nine tenths of such medians lie when rounds are drawn anew."""
    pairs = zip(turns[name], turns["bare"], turns["again"], strict=True)
    ratios = [of(one) / (of(bare) if name == "again" else (of(bare) + of(again)) / 2) for one, bare, again in pairs]
    chance = random.Random(0)
    drawn = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return statistics.median(ratios), drawn[DRAWS // 20], drawn[-DRAWS // 20]


def measure(rounds: int) -> dict:
    pipeline, browser = load("mini"), Browser()
    page = Workbench(pipeline=pipeline)
    page.grid.exact = False                                  # what is decoded after the end is not at stake here
    for view in (page, *page.views.values()):
        browser.open(view)
    for everything in (False, True):                         # warm
        show_all(page, everything)
        make_video(pipeline, page)
    make_video(pipeline, None)
    before = dict(browser.messages)
    turns = take_turns(pipeline, page, rounds)
    messages = {name: (count - before.get(name, 0)) / rounds for name, count in browser.messages.items()}
    moves = slider_ms(page)
    bare_cpu_s = statistics.median(turn.cpu_s for turn in turns["bare"] + turns["again"])
    return {
        "size": pipeline.backend.default_size,
        "turns": {name: [asdict(turn) for turn in made] for name, made in turns.items()},
        "work": {name: ratio(turns, name, lambda turn: turn.work_s) for name in ("used", "open", "again")},
        "cpu": {name: ratio(turns, name, lambda turn: turn.cpu_s) for name in ("used", "open", "again")},
        "work_of_best": {name: min(turn.work_s for turn in turns[name])
                         / min(turn.work_s for turn in turns["bare"] + turns["again"]) for name in ("used", "open")},
        "looking_share": {name: statistics.median(turn.looking_s for turn in turns[name]) / bare_cpu_s
                          for name in ("used", "open")},
        "first_picture": {name: ratio(turns, name, lambda turn: turn.first_picture_s) for name in ("used", "open")},
        "first_picture_s": statistics.median(turn.first_picture_s for turn in turns["open"]),
        "messages_a_round": messages, "sent_mib": browser.sent_bytes / 2**20,
        "slider_ms": statistics.median(moves), "slider_worst_ms": max(moves), "curve_share": curve_share(pipeline)}


def report(found: dict, about: str, rounds: int) -> str:
    def words(three: tuple[float, float, float]) -> str:
        return "{:.3f} ({:.3f} to {:.3f})".format(*three)

    rows = [("generation, every view open / bare", words(found["work"]["open"]), f"{GOAL}, at most {LIMIT}"),
            ("the same, best of each", f"{found['work_of_best']['open']:.3f}", ""),
            ("processor time of all threads, every view open / bare", words(found["cpu"]["open"]), ""),
            ("processor time of the threads that look, of that of a bare run", f"{found['looking_share']['open']:.1%}",
             ""),
            ("generation, workbench open on its page Lips / bare", words(found["work"]["used"]), ""),
            ("the same, best of each", f"{found['work_of_best']['used']:.3f}", ""),
            ("processor time, workbench open on its page Lips / bare", words(found["cpu"]["used"]), ""),
            ("generation, bare / bare: the error of all this", words(found["work"]["again"]), ""),
            ("processor time, bare / bare", words(found["cpu"]["again"]), ""),
            ("first picture, every view open / bare", words(found["first_picture"]["open"]), ""),
            ("first picture after the start, every view open, median", f"{found['first_picture_s']:.2f} s",
             f"{FIRST_PICTURE_S} s"),
            ("slider move to new picture, median", f"{found['slider_ms']:.0f} ms", f"{SLIDER_GOAL_MS} ms"),
            (f"slider move to new picture, worst of {MOVES}", f"{found['slider_worst_ms']:.0f} ms", ""),
            ("live memory curve, of one core", f"{found['curve_share']:.1%}", f"{CURVE_GOAL:.0%}")]
    counts = ", ".join(f"{name} {count:.0f}" for name, count in sorted(found["messages_a_round"].items()))
    times = {name: ", ".join(f"{turn['work_s']:.2f}" for turn in made) for name, made in found["turns"].items()}
    height, width = found["size"]
    return "\n".join([
        "# What looking costs", "", f"    python benchmarks/looking.py --rounds {rounds}", "",
        f"mini, 4 steps, {width} x {height}, {VIDEO_S} s of video; a stand-in for the browser that answers after "
        f"{1000 * ANSWER_S:.0f} ms. {about}. Medians of {rounds} rounds; in brackets, where nine tenths of such "
        "medians would lie.", "",
        "| | measured | wanted |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), "",
        f"Seconds of work, bare: {times['bare']}; bare again: {times['again']}; page Lips: {times['used']}; every "
        f"view: {times['open']}. Messages a round, of both: {counts}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=CORES, help="of torch")
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(arguments.threads)
    load_before = f"load before {os.getloadavg()[0]:.1f}"
    about = f"{CORES} cores, {arguments.threads} threads, torch {torch.__version__}, {load_before}"
    found = measure(arguments.rounds)
    text = report(found, about, arguments.rounds)
    print(text)
    if arguments.out:
        stem = arguments.out.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({"about": about} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
