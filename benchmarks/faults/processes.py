"""Several processes that make one video (TPP): a rank is killed, frozen, or differs from the others."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faults.attempts import Attempt, chance, child_processes
from faults.killed import half_written

ENDED_S = 10.0                    # every rank has ended by then
STEP_S = 0.04                     # that a step of the toy is slowed down to, so that there is time to disturb it
SECONDS = 20                      # of video
LASTS_S = 2.5                     # of a run, about, after all have met
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")          # as the command line has it
DIFFERENCES = ("liveavatar", "torch", "seed", "prompt", "sound", "fingerprint")


def run_rank(rank: int, ranks: int, port: int, folder: str, difference: str) -> None:
    """Do the work of one rank as torchrun would start it; leaves the sentence it ended with."""
    import fakes
    import torch

    from liveavatar import parallel
    from liveavatar.backends import BACKENDS
    from liveavatar.config import GenerationConfig
    from liveavatar.parallel import generation, group
    from liveavatar.types import InputError

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    BACKENDS["fake"] = "fakes:FakeBackend"
    path, network, connect = Path(folder), fakes.FakeBackend, group.RankGroup.__init__

    def connect_and_tell(self: object) -> None:
        connect(self)
        (path / f"joined{rank}").touch()

    group.RankGroup.__init__ = connect_and_tell
    slow_down()
    config = GenerationConfig(size=(32, 32), sample_steps=3, base_seed=2 if difference == "seed" else 1)
    if difference == "liveavatar":
        generation.__version__ = "0.0.1"
    if difference == "torch":
        torch.__version__ = "1.0"
    if difference == "fingerprint":
        about = network.about
        network.about = lambda self: about(self) | {"fingerprint": "other"}
    speech = fakes.tone(SECONDS, 210.0 if difference == "sound" else 200.0)
    try:
        video = parallel.generate(speech, fakes.face(32, 32), "waving" if difference == "prompt" else "", config,
                                  output=path / "out.mp4", backend="fake", progress=False)
        said = "" if video is None else "done"
    except (parallel.PeerFailure, InputError) as error:
        said = str(error)
    part = path / f"part{rank}"
    part.write_text(json.dumps([said, time.time()]))
    part.rename(path / f"said{rank}.json")
    parallel.exit_now(0)


def slow_down() -> None:
    """Let every step of the toy take a while."""
    from liveavatar.transformer import CausalS2VTransformer

    forward = CausalS2VTransformer.forward

    def slow(*given: object, **named: object) -> object:
        time.sleep(STEP_S)
        return forward(*given, **named)

    CausalS2VTransformer.forward = slow


class Ranks:
    """The processes of one attempt. Use as a context: what is left is killed."""

    def __init__(self, ranks: int, folder: Path, differences: dict[int, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, context = folder, child_processes()
        self.processes = [context.Process(target=run_rank, args=(rank, ranks, port, str(folder),
                                                                 (differences or {}).get(rank, "")))
                          for rank in range(ranks)]
        for process in self.processes:
            process.start()

    def wait_for(self, names: list[str], seconds: float) -> list[str]:
        """Wait for files -> those that did not come."""
        ends = time.monotonic() + seconds
        while (missing := [name for name in names if not (self.folder / name).exists()]) and time.monotonic() < ends:
            time.sleep(0.02)
        return missing

    def said(self, rank: int) -> tuple[str, float]:
        """Return the sentence that a rank ended with, and when; empty where it said none."""
        path = self.folder / f"said{rank}.json"
        return tuple(json.loads(path.read_text())) if path.exists() else ("", 0.0)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def whole(folder: Path) -> bool:
    """Tell whether the whole video was written."""
    from liveavatar.video import read_frames

    return (folder / "out.mp4").exists() and sum(1 for _ in read_frames(folder / "out.mp4")) == SECONDS * 25


def wrong_answers(group: Ranks, others: list[int], named: int, since_s: float) -> str:
    """Return what is wrong with the answers of ranks: one sentence that names a rank, soon, is wanted."""
    missing = group.wait_for([f"said{rank}.json" for rank in others], ENDED_S)
    if missing:
        return f"after {ENDED_S:g} s no word of {missing}"
    for rank in others:
        sentence, when_s = group.said(rank)
        if sentence in ("", "done") and whole(group.folder):              # all had been done when it happened
            continue
        if f"rank {named}" not in sentence or "\n" in sentence:
            return f"rank {rank} said {sentence!r}"
        if when_s - since_s > ENDED_S:
            return f"rank {rank} needed {when_s - since_s:.1f} s"
    return ""


def disturbed(number: int, row: str, seed: int, which: int) -> Attempt:
    """Send a signal to one rank at any moment after all have met; the others must say so."""
    dice = chance(row, seed, number)
    ranks = dice.randint(2, 4)
    victim, after_s = dice.randrange(ranks), dice.uniform(0, LASTS_S)
    case = f"{number}: rank {victim} of {ranks} after {after_s:.2f} s"
    with tempfile.TemporaryDirectory() as name, Ranks(ranks, Path(name)) as group:
        if missing := group.wait_for([f"joined{rank}" for rank in range(ranks)], 60):
            return Attempt(case, False, f"never met: {missing}")
        time.sleep(after_s)
        if (group.folder / f"said{victim}.json").exists():
            return Attempt(f"{case}, which had ended", True)
        os.kill(group.processes[victim].pid, which)
        since_s, others = time.time(), [rank for rank in range(ranks) if rank != victim]
        wrong = wrong_answers(group, others, victim, since_s)
        if which == signal.SIGSTOP:
            os.kill(group.processes[victim].pid, signal.SIGCONT)
            wrong = wrong or wrong_answers(group, [victim], victim, time.time())
        wrong = wrong or half_written(group.folder)
        return Attempt(case, not wrong, wrong)


def killed_ranks(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Kill a rank at any moment."""
    for number in range(first, first + count):
        yield disturbed(number, "killed-rank", seed, signal.SIGKILL)


def frozen_ranks(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Freeze a rank (SIGSTOP) at any moment, and wake it when the others have ended."""
    for number in range(first, first + count):
        yield disturbed(number, "frozen-rank", seed, signal.SIGSTOP)


def unequal_ranks(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Let one rank have another version, torch, seed, prompt, sound or weights than the others."""
    for number in range(first, first + count):
        dice = chance("unequal-ranks", seed, number)
        ranks, difference = dice.randint(2, 4), DIFFERENCES[number % len(DIFFERENCES)]
        odd = dice.randrange(1, ranks)
        with tempfile.TemporaryDirectory() as name, Ranks(ranks, Path(name), {odd: difference}) as group:
            missing = group.wait_for([f"joined{rank}" for rank in range(ranks)], 60)
            wrong = f"never met: {missing}" if missing else wrong_answers(group, list(range(ranks)), odd, time.time())
        yield Attempt(f"{number}: {difference} of rank {odd} of {ranks}", not wrong, wrong)
