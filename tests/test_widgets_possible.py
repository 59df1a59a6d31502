"""PossibleView without a browser: what it is sent, what its button does, what is kept."""

import pytest
from fakes import FakeBackend, face, possible, tone, wait_until, without_truth

from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.study import possible_study
from liveavatar.study.possible_study import save_possible
from liveavatar.types import InputError
from widgets import PossibleView


@pytest.fixture(scope="module")
def run():
    run = Run.of(Pipeline(FakeBackend()), tone(1.44), face(32, 32), "", GenerationConfig(size=(32, 32)))
    run.start().result()
    return run


def test_renderings_are_drawn_block_by_block_and_the_button_starts_stops_and_goes_on(run, monkeypatch):
    without_truth(monkeypatch)
    view = PossibleView(run, renderings=3)
    body, buffers = view.paint()
    assert body["words"].startswith("ready: 3 renderings of block 0") and body["can_draw"] and not buffers
    view._receive_message(None, {"kind": "study"}, [])
    view.study.wait()
    wait_until(lambda: not view.study.running)
    body, buffers = view.paint()
    assert body["words"] == "done: 3 of 3 renderings of block 0" and body["done"] and view.error == ""
    assert [step["verdict"] for step in body["steps"]] == ["holds the mean", "one sample"]
    assert body["steps"][0]["share"] == pytest.approx(0.3) and body["shares"]["mouth"][1] == pytest.approx(0.9)
    assert len(buffers) == 9 and view.paint(full=False)[1] == {}         # the browser has them
    view.time_s = 0.05
    assert set(view.paint(full=False)[1]) == set(buffers)                # another picture of the block
    view.renderings = 4
    assert not view.paint()[0]["done"]
    view.start()
    wait_until(lambda: view.study.count == 4 and not view.study.running)
    view.time_s = run.info.block_s + 0.01
    assert view.paint()[0]["words"].startswith("ready: 4 renderings of block 1") and view.found is None
    view.time_s = 0.0
    assert view.found.count == 4 and view.as_code() == "PossibleView(run, renderings=4)"


def test_a_study_stops_after_the_rendering_that_is_drawn(run, monkeypatch):
    without_truth(monkeypatch)
    view = PossibleView(run, renderings=64)
    monkeypatch.setattr(possible_study, "encoded", lambda *_: view.study._stop.wait())      # until it is stopped
    view.start()
    wait_until(lambda: view.study.running)
    assert view.paint()[0]["words"].startswith("drawing: 0 of 64")
    view.stop()
    wait_until(lambda: not view.study.running)
    assert view.study.count == 1 and view.paint()[0]["words"] == "stopped: 1 of 64 renderings of block 0"


def test_what_was_found_is_shown_again_without_a_run(tmp_path):
    path = save_possible(possible(count=7, block=1), tmp_path / "kept.safetensors")
    view = PossibleView(path, part="mouth")
    body, buffers = view.paint()
    assert body["words"] == "saved: 7 renderings of block 1" and len(buffers) == 9 and body["frame"] == 2
    assert "do not know what earlier blocks have decided" in body["note"] and view.still().width > 600
    assert view.as_code() == "PossibleView(found, part='mouth')"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="holds no comparison that can be read"):
        PossibleView(path)


def test_what_cannot_be_drawn_is_said(run, monkeypatch):
    empty = PossibleView()
    assert "give one of a drawn avatar" in empty.paint()[0]["words"] and empty.still() is None
    empty._receive_message(None, {"kind": "study"}, [])
    assert "No run whose block" in empty.error
    view = PossibleView(run)
    body, _ = view.paint()
    assert "avatars only" in body["words"] and not body["can_draw"]
    with pytest.raises(InputError, match="nothing was drawn yet"):
        view.save("kept.safetensors")
    without_truth(monkeypatch)
    monkeypatch.setattr(possible_study, "encoded", lambda *_: 1 / 0)
    view.start()
    view.study.wait_for_thread()
    assert "ZeroDivisionError" in view.error
