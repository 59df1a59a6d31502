"""FlowLab without a browser: what is drawn is what Python has, modes move, students come and go."""

import json

import numpy as np
import pytest
import torch
from fakes import wait_until

from liveavatar.types import InputError
from widgets import FlowLab


@pytest.fixture
def view():
    view = FlowLab(modes=3, updates=5, student_steps=2)
    yield view
    view.close()


def test_what_is_drawn_can_be_had_in_python(view):
    view.paint()
    body, buffers = view.paint()
    assert view.error == "" and json.loads(json.dumps(body))["figures"]["distance"] == view.figures.distance
    assert body["curves"][3][3] == [4, view.figures.distance] and body["knees"] == view.knees
    drawn = np.frombuffer(buffers["path"], np.float32).reshape(view.steps + 1, -1, 2)
    assert torch.equal(torch.from_numpy(drawn.copy()), view.path[:, :drawn.shape[1]])
    assert len(buffers["field"]) == 4 * 2 * body["arrows"] ** 2


def test_modes_are_moved_and_the_number_of_modes_puts_them_back(view):
    assert FlowLab(points=[[0, 0], [1, 1]]).modes == 2
    view.points = [[0, 0], [1, 1], [2, 0], [0, 2]]
    assert view.modes == 4 and view.mixture.means.tolist()[1] == [1, 1]
    view.left_open = 2
    assert len(view.mixture.means) == 2 and "points=[[0.0, 0.0]" in view.as_code()
    view.modes = 2
    assert view.points == [] and view.as_code() == "FlowLab(left_open=2, modes=2, student_steps=2, updates=5)"
    assert eval(view.as_code(), {"FlowLab": FlowLab}).figures == view.figures
    with pytest.raises(InputError, match="list of points"):
        view.points = [1, 2]


def test_a_click_distils_a_student_and_other_data_take_it_away(view):
    view._receive_message(view, {"kind": "distil"}, [])
    view.wait()
    body, buffers = view.paint()
    assert body["student"]["update"] == 5 and body["student"]["fields"] == ["real score", "fake score", "student"]
    assert {"field 0", "field 2", "student path"} <= set(buffers)
    assert body["student"]["figures"]["distance"] == view.student_figures.distance
    assert view.still().width > 600
    view.sigma = 0.9                                     # looking does not change the lesson
    assert view.student is not None
    view.width = 0.4
    assert view.student is None and view.paint()[0]["student"] is None


def test_a_student_that_is_learning_begins_anew_when_the_data_change(view):
    view.updates = 20_000
    view.distil()
    wait_until(lambda: view.student is not None)
    before = view.student
    view.modes = 4
    wait_until(lambda: view.student not in (None, before))
    view._receive_message(view, {"kind": "stop"}, [])
    assert view.student is not None and not view.paint()[0]["student"]["working"]


def test_jobs_follow_the_method(view):
    view.jobs = ["mean"]
    assert view.chosen_jobs == ("mean", "distribution")
    view.method = "regression"
    assert view.chosen_jobs == ("mean", "mean")
    view.method, view.jobs = "dmd", ["mean", "mean"]
    view._receive_message(view, {"kind": "distil"}, [])
    assert "nothing to do" in view.error and view.student is None
