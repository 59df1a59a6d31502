"""The number of torch's threads follows what the machine gives, and the video does not depend on it."""

import threading

import pytest
import torch
from fakes import FakeBackend, face, tone

import liveavatar
from liveavatar import threads
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.threads import ThreadSections, ThreadTuner, adapted_threads, limit_threads, thread_counts
from liveavatar.types import InputError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """torch may use two threads, nothing was observed before, and no steps that another test left half made hold the
    count."""
    monkeypatch.delenv(threads.SETTING, raising=False)
    monkeypatch.setattr(threads, "SECTIONS", ThreadSections())
    monkeypatch.setattr(threads, "_here", threads._ThisThread())
    with limit_threads(2):
        yield


# ------------------------------------------------------------------------------------------------ before torch

def test_spinning_is_limited_unless_somebody_said_how_to_wait():
    plain, said = {}, {"OMP_WAIT_POLICY": "PASSIVE", "MKL_CBWR": "AVX2"}
    threads.set_environment(plain)
    threads.set_environment(said)
    assert int(plain["GOMP_SPINCOUNT"]) == threads.SPIN_COUNT and plain["KMP_BLOCKTIME"] == "1"
    assert plain["MKL_CBWR"] == "AUTO,STRICT"
    assert said == {"OMP_WAIT_POLICY": "PASSIVE", "MKL_CBWR": "AVX2"}


def test_counts_are_powers_of_two_up_to_the_limit():
    assert [thread_counts(limit) for limit in (1, 2, 3, 6, 8)] == [(1,), (1, 2), (1, 2), (1, 2, 4), (1, 2, 4, 8)]


# ------------------------------------------------------------------------------------------------ the policy

class Machine:
    """Cores that are shared fairly with neighbours, and a tuner at work on them: four steps and a decoding a block."""

    def __init__(self, cores: int, limit: int | None = None, quota: float = 1e9):
        self.cores, self.quota, self.neighbours = cores, quota, 0.0
        self.now_s = self.looked_s = 0.0
        self.tuner = ThreadTuner(limit or cores)

    def given(self) -> tuple[float, float]:
        """Cores in use or idle, as the counters tell, and the share of its threads' time that the process gets."""
        count = self.tuner.count
        wanted = count + self.neighbours
        got = min(count * min(1.0, self.cores / wanted), self.quota)
        idle = max(self.cores - got - min(self.neighbours, self.cores - got), 0.0)
        return got + idle, got / count

    def step_s(self) -> float:
        """A step waits long for a thread that has no core."""
        cores, _ = self.given()
        count = self.tuner.count
        return (0.02 + 0.04 / count) * (1.0 if cores >= count - 0.1 else 20.0)

    def run(self, blocks: int) -> None:
        for piece in blocks * ("step", "step", "step", "step", "decode"):
            spent_s = self.step_s() * (2 if piece == "decode" else 1)
            self.now_s += spent_s
            self.tuner.note_time(piece, 1000 * spent_s, self.now_s)
            if self.now_s - self.looked_s >= threads.WINDOW_S:
                self.looked_s = self.now_s
                self.tuner.observe(*self.given(), self.now_s)


@pytest.mark.parametrize(("cores", "neighbours", "best"), [(2, 0, 2), (2, 1, 1), (2, 2, 1), (2, 0.2, 2), (8, 0, 8),
                                                          (8, 3, 4), (8, 5, 2), (8, 7.2, 1), (8, 30, 1), (1, 1, 1)])
def test_the_start_takes_what_nobody_else_uses(cores, neighbours, best):
    machine = Machine(cores)
    machine.neighbours = neighbours
    machine.tuner.start(max(cores - neighbours, 0.0))
    assert machine.tuner.count == best


@pytest.mark.parametrize(("cores", "neighbours", "best"), [(2, 1, 1), (2, 2, 1), (4, 1, 2), (4, 2, 2), (8, 4, 4)])
def test_after_two_blocks_the_count_fits_to_a_neighbour_that_came_and_to_one_that_went(cores, neighbours, best):
    machine = Machine(cores)
    machine.tuner.start(float(cores))
    machine.neighbours = neighbours
    machine.run(2)
    assert machine.tuner.count == best
    machine.run(50)
    assert machine.tuner.count == best                      # and stays
    machine.neighbours = 0
    machine.run(2 if best * 2 == cores else 4)
    assert machine.tuner.count == cores


def test_two_that_begin_at_the_same_time_do_not_stay_in_each_others_way():
    machine = Machine(2)
    machine.tuner.start(2.0)
    machine.neighbours = machine.tuner.count                # the other one is as we are
    machine.run(1)
    assert machine.tuner.count == 1


def test_a_containers_quota_is_felt_although_the_machine_is_idle():
    machine = Machine(64, limit=2, quota=1.0)               # two processes share a quota of two
    machine.tuner.start(64.0)
    machine.run(2)
    assert machine.tuner.count == 1


def test_a_count_that_proves_wrong_is_tried_more_and_more_rarely():
    tuner, tried = ThreadTuner(2), []
    for tenth in range(600):
        before, now_s = tuner.count, tenth / 10
        tuner.observe(1.2 if tuner.count == 2 else 2.0, 1.0, now_s)         # idle cores that are none
        if tuner.count > before:
            tried.append(now_s)
    waits = [later - earlier for earlier, later in zip(tried, tried[1:], strict=False)]
    assert len(tried) < 10 and waits == sorted(waits) and waits[-1] >= 15


def test_a_larger_count_must_be_faster():
    tuner = ThreadTuner(2)
    for _ in range(5):
        tuner.note_time("step", 60.0, 0.0)
    for tenth in range(20):
        now_s = tenth / 10
        tuner.note_time("step", 60.0 if tuner.count == 1 else 90.0, now_s)  # two threads of one core, say
        tuner.observe(2.0, 1.0, now_s)
        if tuner._rose_s > 0 and tuner.count == 1:
            break
    assert tuner.count == 1 and tuner._rose_s < now_s < tuner._retry_s


def test_where_nothing_can_be_counted_the_time_of_a_step_decides():
    nothing = threads.CpuReading(0.0, 0.0, None)
    tuner = ThreadTuner(2)
    tuner.start(threads.CpuReading(1.0, 0.5, None).cores_since(nothing))
    assert tuner.count == 2


# ------------------------------------------------------------------------------------------------ in a process

def test_idle_time_counts_up_and_only_ours_and_idle_cores_are_given():
    import time

    before = threads.CpuReading.now()
    time.sleep(0.3)                                         # the counters tick every 10 ms
    assert 0 <= threads.CpuReading.now().cores_since(before) <= 1.5 * threads.available_cores() + 1


@pytest.fixture
def long_window(monkeypatch):
    """However slow the machine is, nothing is looked at a second time, and nothing is forgotten."""
    monkeypatch.setattr(threads, "WINDOW_S", 1e9)
    monkeypatch.setattr(threads, "STALE_S", 1e9)


@pytest.mark.usefixtures("long_window")
def test_a_section_restores_torchs_count_and_begins_with_one_thread():
    with adapted_threads(CPU):
        assert torch.get_num_threads() == 1
        with adapted_threads(CPU):                          # a section inside another changes nothing
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    with pytest.raises(RuntimeError), adapted_threads(CPU):
        raise RuntimeError
    assert torch.get_num_threads() == 2 and threads.SECTIONS._active == 0


def test_a_gpu_and_compiled_code_are_left_alone():
    with adapted_threads(torch.device("meta")):
        assert torch.get_num_threads() == 2
    with adapted_threads(CPU, fixed=2):
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("long_window")
def test_the_choice_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv(threads.SETTING, "3")
    with adapted_threads(CPU):
        assert torch.get_num_threads() == 3
    for wrong in ("0", "many", "-1"):
        monkeypatch.setenv(threads.SETTING, wrong)
        with pytest.raises(InputError, match=threads.SETTING):
            threads.requested_threads()
    monkeypatch.setenv(threads.SETTING, "auto")
    monkeypatch.setattr(threads.SECTIONS, "_tuner", ThreadTuner(8, count=8))
    threads.SECTIONS._look()
    with limit_threads(1), adapted_threads(CPU):            # never more than torch's own count outside
        assert torch.get_num_threads() == 1
    with adapted_threads(CPU):
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("long_window")
def test_videos_made_side_by_side_share_the_cores(monkeypatch):
    monkeypatch.setattr(threads.SECTIONS, "_tuner", ThreadTuner(2, count=2))
    threads.SECTIONS._look()
    seen = []

    def beside() -> None:
        torch.set_num_threads(2)
        with adapted_threads(CPU):
            seen.append(torch.get_num_threads())

    with adapted_threads(CPU):
        seen.append(torch.get_num_threads())
        other = threading.Thread(target=beside)
        other.start()
        other.join()
    assert seen == [2, 1]


@pytest.mark.usefixtures("long_window")
def test_between_the_steps_of_a_video_the_count_stays_and_afterwards_it_is_torchs_own():
    steps = Pipeline(FakeBackend()).steps(tone(0.96), face(32, 32), "", GenerationConfig(size=(32, 32)))
    counts = [torch.get_num_threads() for _ in steps]
    assert counts[0] == 1 and torch.get_num_threads() == 2
    stopped = Pipeline(FakeBackend()).steps(tone(0.96), face(32, 32), "", GenerationConfig(size=(32, 32)))
    next(stopped)
    stopped.close()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("long_window")
def test_other_threads_begin_with_torchs_own_count():
    seen = []
    with adapted_threads(CPU):
        assert torch.get_num_threads() == 1
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert seen == [2]


@pytest.mark.parametrize(("dtype", "counts"), [("float32", (1, 2, 4)), ("bfloat16", (1, 2))])
def test_one_seed_is_one_video_with_any_count(dtype, counts, monkeypatch):
    """Bit for bit: noise, every step, every picture."""
    pipeline = liveavatar.load("mini", dtype=dtype)
    portrait, made = liveavatar.avatar(1), []
    for count in counts:
        monkeypatch.setenv(threads.SETTING, str(count))
        config = GenerationConfig(size="128*128", sample_steps=2)
        events = list(pipeline.events(tone(0.48), portrait, "smiling", config))
        made.append([event.x if isinstance(event, liveavatar.Step) else event.frames for event in events])
    for other in made[1:]:
        assert all(torch.equal(one, two) for one, two in zip(made[0], other, strict=True))
