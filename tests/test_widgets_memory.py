"""MemoryView without a browser: it watches its run, sends what is new, and shows what was saved."""

from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeBackend, face, tone, wait_until

from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError
from liveavatar.vram.memory_record import OWNERS, Label, MemoryRecord
from liveavatar.vram.plan import plan
from liveavatar.vram.watch import MemoryWatch
from widgets import MemoryView
from widgets.memory_view import Expected, forecast_of

MIB = 2**20


def make_run(seconds: float = 0.96, pause_s: float = 0.05) -> Run:
    config = GenerationConfig(size=(32, 32))
    return Run.of(Pipeline(FakeBackend(pause_s=pause_s)), tone(seconds), face(32, 32), "", config)


@pytest.fixture(scope="module")
def view() -> MemoryView:
    """Of a run of two blocks that was watched to its end."""
    run = make_run()
    made = MemoryView(run)
    run.start().result()
    wait_until(lambda: not made.watcher.going)
    return made


def table(buffers: dict, kind: str, columns: int) -> np.ndarray:
    parts = [np.frombuffer(data, "<f8").reshape(-1, columns) for name, data in buffers.items() if name.startswith(kind)]
    return np.concatenate(parts) if parts else np.zeros((0, columns))


def test_every_look_is_sent_with_what_it_saw(view):
    body, buffers = view.paint()
    rows = table(buffers, "rows", 1 + len(body["names"]))
    record = view.record
    assert np.array_equal(rows[:, 0], record.times_s)
    assert np.array_equal(rows[:, 1 + body["names"].index("process")], record.values)
    assert body["owners"] == list(OWNERS) and body["main"] == "process" and "No NVIDIA GPU" in body["words"]


def test_only_what_is_new_is_sent():
    run = make_run()
    view, seen = MemoryView(run), []

    def look(event: object) -> None:
        seen.append(view.paint(full=False)[1])
        if isinstance(event, Block):                       # memory is looked at once more before the next event
            known = len(view.watcher.record)
            wait_until(lambda: len(view.watcher.record) > known)

    run.subscribe(look)
    run.start().result()
    firsts = [name for buffers in seen for name in buffers if name.startswith("rows")]
    assert firsts[0] == "rows/fresh" and len(set(firsts)) > 1
    width = 1 + len(view.watcher.names)
    times = np.concatenate([table(buffers, "rows", width)[:, 0] for buffers in seen])
    assert (np.diff(times) > 0).all()
    labels = np.concatenate([table(buffers, "labels", 5) for buffers in seen])
    assert [tuple(row) for row in labels[labels[:, 2] == 1][:, 3:]] == [(b, s) for b in (0, 1) for s in range(4)]
    view.close()


def test_what_is_on_screen_can_be_had_by_name(view):
    assert view.peak == view.record.peak and view.peak.bytes <= view.record.values.max()
    assert view.now["process"] == view.record.values[-1] and view.now["caches"] > 0
    assert view.description == view.record.description


def test_code_that_is_no_run_is_shown_live_and_afterwards(tmp_path):
    with MemoryWatch(period_s=0.01) as watch:
        live = MemoryView(watch)
        body, buffers = live.paint()
        assert body["going"] and body["run"] is None and body["nothing"] == "" and body["owners"] == []
    watch.record.save(tmp_path)
    for source in (watch, watch.record, tmp_path):
        view = MemoryView(source)
        body, buffers = view.paint()
        rows = table(buffers, "rows", 1 + len(body["names"]))
        assert np.array_equal(rows[:, 0], watch.record.times_s) and not body["going"]
        assert view.peak == watch.record.peak and view.still() is not None and view.error == ""
    live.close()
    assert MemoryView().paint()[0]["nothing"] == MemoryView.nothing


def test_a_record_is_kept_beside_its_run_and_opened_with_it(view, tmp_path):
    folder = view.run.save(tmp_path / "seen")
    view.record.save(folder)
    again = MemoryView(folder)
    body, buffers = again.paint()
    assert again.error == "" and again.peak == view.peak and body["run"]["blocks"] == 2
    assert len(table(buffers, "rows", 1 + len(body["names"]))) == len(view.record)
    assert len(table(buffers, "labels", 5)) == len(view.record.labels)
    assert again.paint(full=False)[1] == {}


def test_what_is_missing_is_said(view, tmp_path):
    assert MemoryView().paint()[0]["nothing"].startswith("No memory to show yet")
    without = MemoryView(view.run.save(tmp_path / "seen"))
    without.paint()
    assert "view.record.save" in without.error
    with pytest.raises(InputError, match="record"):
        _ = without.record
    (tmp_path / "seen" / "memory.safetensors").write_bytes(b"not this")
    damaged = MemoryView(tmp_path / "seen")
    assert "cannot" in damaged.error or "can be read" in damaged.error


def test_closing_ends_the_watch():
    run = make_run()
    view = MemoryView(run)
    watcher = view.watcher
    view.watch(None)
    run.start().result()
    assert view.watcher is None and not watcher.going and len(watcher.record) == 0


def test_a_forecast_that_grows_with_the_run_is_that_of_the_whole(view):
    moments = [SimpleNamespace(stage=stage, description=text, bytes=size) for stage, text, size in (
        ("prefill", "", 5), ("step", "block 0, step 0", 7), ("step", "block 0, step 1", 8), ("steady", "", 9))]
    labels = view.record.labels
    expected, plan = Expected(SimpleNamespace(moments=moments)), SimpleNamespace(moments=moments)
    for label in labels:
        assert expected.add((label,))
    assert not expected.add(()) and expected.count == len(labels)
    whole = forecast_of(plan, labels)
    assert all(np.array_equal(one, other) for one, other in zip(expected.forecast, whole, strict=True))


def test_a_forecast_is_drawn_where_one_is_given(view):
    given = (np.array([0.0, 1.0]), np.array([100.0, 200.0]))
    shown = MemoryView(view.run, record=view.record, forecast=given)
    assert shown.paint()[0]["forecast"] == [[0.0, 1.0], [100.0, 200.0]]


def test_the_moments_of_a_plan_last_as_long_as_the_run_stays_in_them():
    moments = [SimpleNamespace(stage=stage, description=text, bytes=size) for stage, text, size in (
        ("prefill", "the condition", 1), ("step", "block 0, step 0", 2), ("step", "block 0, step 1", 3),
        ("decode", "block 0 is decoded", 4), ("steady", "every later block", 5))]
    labels = (Label(0, 1, "prepare", -1, -1), Label(1, 2, "step", 0, 0), Label(2, 3, "step", 0, 1),
              Label(3, 4, "decode", 0, -1), Label(4, 5, "step", 1, 0))
    times_s, sizes = forecast_of(SimpleNamespace(moments=moments), labels)
    assert times_s.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5] and sizes.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_code_and_still(view):
    other = MemoryView(view.run, record=view.record, from_zero=False, zoom=[0.1, 0.2])
    assert other.as_code() == "MemoryView(run, from_zero=False, zoom=[0.1, 0.2])"
    assert view.still().width > 300


def test_a_forecast_begins_with_what_the_process_holds_when_all_is_imported():
    """Of any build of torch, in a kernel with whatever else: what is predicted is what comes on top."""
    size, weights = 300 * MIB, 80 * MIB
    labels = (Label(0.0, 1.0, "prepare", -1, -1), Label(1.0, 2.0, "step", 0, 0), Label(2.0, 3.0, "step", 0, 1))
    run = make_run()
    run.start().result()
    for more in (0, 500 * MIB):
        process = np.array([size, size + 100 * MIB, size + 120 * MIB]) + more           # imports come while it prepares
        record = MemoryRecord(np.array([0.0, 1.0, 2.0]), {"process": process, "weights": np.full(3, weights)},
                              "process", labels, "", 10**10, "")
        view = MemoryView(run, record=record)
        view._plan = plan("mini", steps=2, libraries=0)
        times_s, sizes = view.forecast
        growth = next(moment.bytes for moment in view._plan.moments if moment.description == "block 0, step 1")
        assert sizes[-1] == size + 100 * MIB + more - weights + growth
