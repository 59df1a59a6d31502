"""DriftView without a browser: what it is sent, and what its button does."""

import gc

import numpy as np
import pytest
from fakes import FakeBackend, face, tone, wait_until

from liveavatar.config import GenerationConfig
from liveavatar.metrics.stream_drift import DriftMeter, DriftPoint
from liveavatar.pipeline import Pipeline
from liveavatar.study.drift import DriftStudy
from liveavatar.study.drift_stream import PlantedFault, StreamSetting
from liveavatar.types import InputError
from widgets import DriftView
from widgets._render_loop import _workers
from widgets.drift_view import MOST_POINTS, StudyEnd, thinned

SETTINGS = (StreamSetting("as trained"), StreamSetting("colours", fault=PlantedFault("colours", 4, 40.0)))


def study_of(seconds=3.4):
    return DriftStudy(Pipeline(FakeBackend()), tone(1.0), face(32, 32), settings=SETTINGS, seconds=seconds,
                      config=GenerationConfig(sample_steps=2, size=(32, 32)))


def test_curves_grow_and_the_button_starts_stops_and_goes_on():
    view = DriftView(study_of())
    body, buffers = view.paint()
    assert body["words"] == "ready: 2 streams of 3.4 s" and not buffers and not body["done"]
    view._receive_message(None, {"kind": "study"}, [])
    gc.collect()
    assert view.study in {worker._study for worker in _workers if isinstance(worker, StudyEnd)}  # stopped before exit
    view.study.wait()
    wait_until(lambda: not view.study.running)
    body, buffers = view.paint()
    assert body["done"] and body["words"] == "done: 14 of 14 blocks" and view.error == ""
    assert set(buffers) == {"curve/0", "curve/1", "first/0/32/32", "first/1/32/32", "now/0/32/32", "now/1/32/32"}
    assert np.frombuffer(buffers["curve/1"], np.float32).reshape(7, 5)[:, 0].tolist() == list(range(7))
    assert body["streams"][1]["found"] == [[4, "colours"]] and body["streams"][0]["found"] == []
    assert view.paint(full=False)[1] == {}                     # the browser has it all
    assert view.still().size[0] > 600
    assert view.as_code() == "DriftView(study)"


def test_what_is_hidden_and_chosen_is_repeated_as_code():
    view = DriftView(study_of(), hidden=["colours"], chosen="as trained")
    view.study._prepare()
    assert [stream.setting.name for stream in view.shown] == ["as trained"]
    assert view.as_code() == "DriftView(study, chosen='as trained', hidden=['colours'])"


def test_what_goes_wrong_is_said(monkeypatch):
    empty = DriftView()
    assert "give a study" in empty.paint()[0]["words"] and empty.still() is None
    empty._receive_message(None, {"kind": "study"}, [])
    assert "No streams to make yet" in empty.error
    with pytest.raises(InputError, match="shows a DriftStudy, not a str"):
        DriftView("out/drift")
    monkeypatch.setattr(DriftMeter, "measure", lambda *_: 1 / 0)
    view = DriftView(study_of())
    view.start()
    view.study.wait_for_thread()
    assert "ZeroDivisionError" in view.error


def test_long_curves_are_averaged_but_keep_their_jumps():
    points = [DriftPoint(block, 0.48 * block, 0.1, 1.0, 40.0, 9.0 if block == 500 else 1.0, (0, 0, 0), (0, 0, 0))
              for block in range(1000)]
    rows = thinned(points)
    assert len(rows) <= MOST_POINTS and rows[:, 4].max() == 9 and rows[-1, 0] > 990
