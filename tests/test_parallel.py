"""Steps over processes: who owns what, the same video as one process bit for bit, and an end when one dies."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from fakes import wait_until
from ports import free_port
from prepared import prepared

from liveavatar.config import GenerationConfig
from liveavatar.parallel import Layout, PeerFailure, RankGroup, Span, Timeline, gantt
from liveavatar.parallel.group import STORE_SILENCE_S
from liveavatar.types import InputError

CONFIG = GenerationConfig(size=(32, 32), sample_steps=3)
SECONDS = 1.5                                             # four blocks through rings of two


@pytest.mark.parametrize(("steps", "ranks", "owned", "vae_rank"), [
    (4, 1, [[0, 1, 2, 3]], 0),
    (4, 2, [[0, 1], [2, 3]], 1),
    (4, 3, [[0, 1], [2], [3]], 2),
    (4, 5, [[0], [1], [2], [3], []], 4),
    (3, 5, [[0], [1], [2], [], []], 3),
    (6, 4, [[0, 1], [2, 3], [4], [5]], 3),
    (1, 1, [[0]], 0),
])
def test_every_step_has_one_rank_and_ranks_own_runs(steps, ranks, owned, vae_rank):
    layout = Layout.of(steps, ranks)
    assert [list(layout.owned(rank)) for rank in range(ranks)] == owned
    assert layout.vae_rank == vae_rank


def test_the_vae_may_be_given_a_rank_of_its_own():
    layout = Layout.of(4, 3, "own")
    assert [layout.description(rank) for rank in range(3)] == ["steps 0 to 1", "steps 2 to 3", "VAE"]
    with pytest.raises(InputError, match="shared"):
        Layout.of(4, 1, "own")


# ------------------------------------------------------------------------------------------------ processes

def one_process(rank: int, ranks: int, port: int, folder: str, vae: str, solver: str, dies_at: int,
                dtype: str) -> None:
    """A rank: as `torchrun` would start it. Leaves its latents, or the sentence it ended with."""
    import fakes

    from liveavatar import parallel
    from liveavatar.backends import BACKENDS
    from liveavatar.decoder import Decoder
    from liveavatar.parallel import denoising, group

    torch.set_num_threads(1)
    group.SILENCE_S = group.STORE_SILENCE_S = 120                # on a machine at work a process may be silent for long
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    BACKENDS["fake"] = "fakes:FakeBackend"
    decoded, decode, steps_of_block = [], Decoder.decode, denoising.steps_of_block
    Decoder.decode = lambda self, latents: (decoded.append(latents.clone()), decode(self, latents))[1]

    def failing_steps(backend, constants, config, rollout, *rest):
        if dies_at >= 0 and rank == 1 and rollout.block == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if dies_at >= 0:
            time.sleep(0.05)
        return steps_of_block(backend, constants, config, rollout, *rest)

    denoising.steps_of_block = failing_steps
    config = GenerationConfig(size=(32, 32), sample_steps=3, sample_solver=solver)
    path = Path(folder)
    try:
        video = parallel.generate(fakes.tone(SECONDS if dies_at < 0 else 60), fakes.face(32, 32), "hello", config,
                                  output=path / "out.mp4", backend="fake", vae=vae, dtype=dtype,
                                  progress=False)
        if video is not None:
            torch.save((decoded, video.frames, video.complete), path / "video.pt")
    except parallel.PeerFailure as failure:
        (path / f"failure{rank}.json").write_text(json.dumps(str(failure)))
        parallel.exit_now(1)


@pytest.fixture(scope="module")
def start_ranks():
    """A way to start a group of processes, whose imports are made once."""
    context = prepared()

    def start(folder, ranks, vae="auto", solver="renoise", dies_at=-1, dtype="float32"):
        shared = ranks, free_port(), str(folder), vae, solver, dies_at, dtype
        processes = [context.Process(target=one_process, args=(rank, *shared)) for rank in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(500)
        alive = [process for process in processes if process.is_alive()]
        for process in alive:
            process.kill()
        assert not alive, "a process hangs"
        return [process.exitcode for process in processes]

    return start


def alone(solver: str, dtype: str) -> list[torch.Tensor]:
    """The latents of a single process."""
    from fakes import FakeBackend, face, tone

    from liveavatar.pipeline import Pipeline

    config = GenerationConfig(size=(32, 32), sample_steps=3, sample_solver=solver)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)                     # as many as the processes have: sums are added in the same order
    try:
        steps = Pipeline(FakeBackend(dtype=dtype)).steps(tone(SECONDS), face(32, 32), "hello", config)
        return [step.x for step in steps if step.last]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("ranks", "vae", "solver", "dtype"), [(2, "auto", "renoise", "bfloat16"),
                                                               (3, "own", "euler", "float32")])
def test_the_latents_are_those_of_one_process_bit_for_bit(start_ranks, tmp_path, ranks, vae, solver, dtype):
    assert start_ranks(tmp_path, ranks, vae, solver, dtype=dtype) == [0] * ranks
    latents, frames, complete = torch.load(tmp_path / "video.pt")
    expected = alone(solver, dtype)
    assert len(latents) == len(expected) == 4 and frames == 38 and complete
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(latents, expected, strict=True))

    timeline = Timeline.load(tmp_path / "out.timeline.json")
    layout = Layout.of(3, ranks, vae)
    for rank in range(ranks):
        done = {(span.block, span.step) for span in timeline.of(rank, "step")}
        assert done == {(block, step) for block in range(4) for step in layout.owned(rank)}
    assert [span.block for span in timeline.of(layout.vae_rank, "decode")] == [0, 1, 2, 3]


def test_when_one_dies_the_others_say_so_and_the_video_can_be_played(start_ranks, tmp_path):
    codes = start_ranks(tmp_path, 3, "auto", "euler", dies_at=4)
    assert codes == [1, -signal.SIGKILL, 1]
    for rank in (0, 2):
        sentence = json.loads((tmp_path / f"failure{rank}.json").read_text())
        assert sentence.startswith(f"rank {rank} stops: rank 1 has ") and "start the command again" in sentence
    from liveavatar.video import read_frames
    assert len(list(read_frames(tmp_path / "out.mp4"))) >= 12


def group_of(texts, failure=""):
    """A group that has met already: what all ranks have shared is `texts`."""
    group = object.__new__(RankGroup)
    group.rank, group.ranks, group._agreements, group._failure = 1, len(texts), 0, failure
    group._closed, group._answered_s = threading.Event(), time.monotonic()
    group.share, group.collect = lambda name, text: None, lambda name: texts
    return group


def test_the_rank_that_keeps_the_store_is_the_last_to_go(monkeypatch):
    """Else another one, which still reads that all are ready, finds the store closed and ends as failed."""
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    store, left = dist.HashStore(), []
    groups = [group_of([""] * 2) for _ in range(2)]
    for rank, group in enumerate(groups):
        group.rank, group._state, group._heartbeat = rank, store, threading.Thread()
        group._heartbeat.join = lambda *_: None
        group.share = lambda name, text, rank=rank: store.set(f"{name} {rank}", text)
    keeper = threading.Thread(target=lambda: (groups[0].close(), left.append(store.check(["left 1"]))))
    keeper.start()
    wait_until(lambda: store.check(["left 0"]))
    groups[1].close()
    keeper.join()
    assert left == [True]



def test_ranks_that_would_make_different_videos_say_which_one_differs():
    same, odd = json.dumps({"torch": "2", "base_seed": 1}), json.dumps({"torch": "3", "base_seed": 1})
    group_of([same, same, same]).agree({})
    with pytest.raises(InputError, match="rank 2 has torch '3', rank 0 has '2'"):
        group_of([same, same, odd]).agree({})


def test_a_rank_whose_work_is_done_does_not_leave_silently_when_another_one_fails():
    group = group_of(["", ""])

    def failed(_):
        raise PeerFailure("rank 1 stops: rank 0 has gone")

    group.collect = failed
    with pytest.raises(PeerFailure, match="rank 0 has gone"):
        group.close()
    assert group._closed.is_set()


def test_the_process_that_keeps_all_together_is_named_when_it_no_longer_answers():
    group = group_of(["", ""])
    group.check()
    group._answered_s -= STORE_SILENCE_S + 1
    with pytest.raises(PeerFailure, match="rank 0 or torchrun.* no sign of life"):
        group.check()


def test_a_lost_connection_is_no_failure_of_the_neighbour_where_another_one_was_announced():
    group = group_of(["", ""], failure="rank 0 has gone")
    group._state = None                                     # would be asked if a failure were announced
    group._connection_lost(2)
    assert group._failure == "rank 0 has gone"


# ------------------------------------------------------------------------------------------------ the time line

def test_a_time_line_is_drawn_and_kept(tmp_path):
    spans = (Span(0, "step", 0, 0, 0.0, 1.0), Span(1, "wait", 0, -1, 0.0, 1.0), Span(1, "step", 0, 1, 1.0, 2.0),
             Span(0, "step", 1, 0, 1.0, 2.0), Span(1, "decode", 0, -1, 2.0, 2.5))
    timeline = Timeline(spans, 2)
    assert timeline.busy(0) == pytest.approx(0.8) and timeline.busy(1) == pytest.approx(0.6)
    assert Timeline.load(timeline.save(tmp_path / "line.json")) == timeline
    assert len(gantt(timeline).axes[0].patches) == 5
    with pytest.raises(InputError, match="no time line"):
        Timeline.load(tmp_path / "none.json")
    with pytest.raises(InputError, match="empty"):
        gantt(Timeline((), 2))


# ------------------------------------------------------------------------------------------------ one arithmetic

def numbers(pipe):
    """All that is computed of a block, from the sound to the pictures."""
    from fakes import face, tone

    from liveavatar.rollout import audio_of_block, beginning, constants_of
    from liveavatar.transformer import Context

    config, network = GenerationConfig(size=(64, 64), sample_steps=1), pipe.backend.transformer
    condition = pipe.condition(tone(0.5), face(), "smiling", config)
    constants = constants_of(pipe.backend, condition, config)
    heard = network.encode_audio(audio_of_block(condition.audio, 0, 12, True).to(network.dtype))
    noise = torch.ones(1, condition.reference.shape[1], 3, *condition.reference.shape[-2:], dtype=network.dtype)
    velocity, cache = network(noise, constants.levels[0], Context(constants.cond.text, heard),
                              constants.cond.portrait, beginning(pipe.backend, constants).caches[0])
    return [condition.reference, condition.text, condition.audio, constants.cond.portrait.k,
            constants.cond.portrait.v, velocity, cache.k, next(iter(pipe.decode([velocity])))]


@pytest.mark.filterwarnings("ignore:no face was found")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_neither_gradients_nor_the_number_of_threads_change_a_number(dtype):
    """Processes of one run call from within inference mode or not, and torchrun gives each of them one thread."""
    import liveavatar

    pipe = liveavatar.load("mini", weights="random", dtype=dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        recorded = numbers(pipe)
        with torch.inference_mode():
            plain = numbers(pipe)
        torch.set_num_threads(2)
        in_two = numbers(pipe)
    finally:
        torch.set_num_threads(threads)
    for one, other, third in zip(recorded, plain, in_two, strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)
