"""The Planner without a browser: what is chosen is planned, a suggestion is taken over, slips are told."""

import json

import pytest
from fakes import wait_until

from liveavatar.vram.plan import plan
from widgets import Planner

SMALL = "384*256"


def planned(view: Planner) -> dict:
    """What a browser is sent once the plan is there."""
    wait_until(lambda: not view.paint()[0].get("working"))
    return view.paint()[0]


def test_what_is_chosen_is_planned():
    view = Planner(gpu="H100", size=SMALL, steps=3, fp8=True)
    body = planned(view)
    assert body["verdict"] == "fits" and len([one for one in body["moments"] if one["stage"] == "step"]) == 3
    assert body["moments"][body["peak"]]["sum"] == max(one["sum"] for one in body["moments"])
    assert json.loads(json.dumps(body))["usable"] == pytest.approx(79.1)
    assert view.plan.settings.weights == "fp8" and view.plan.card.name == "H100"


def test_its_code_makes_the_same_plan():
    view = Planner(gpu="H100", size=SMALL, gpus=5, fp8=True)
    assert view.as_code() == "plan('wan-s2v-14b', gpu='H100', size='384*256', steps=4, gpus=5, weights='fp8')"
    assert eval(view.as_code(), {"plan": plan}).peak == view.plan.peak
    view.fp8_attention = True
    assert "fp8_attention=True" in view.as_code() and view.plan.settings.caches == "fp8"


def test_a_suggestion_is_taken_over_by_a_click_and_then_fits():
    view = Planner(gpu="RTX 5090", size=SMALL)
    body = planned(view)
    assert body["verdict"] == "does not fit" and body["changes"]
    view._receive_message(view, {"kind": "take", "index": 0}, [])
    assert view.fp8 and planned(view)["verdict"] in ("fits", "tight")
    view._receive_message(view, {"kind": "take", "index": 99}, [])
    assert "no longer there" in view.error


def test_what_cannot_be_is_told_in_its_own_words():
    view = Planner(gpu="Voodoo", size=SMALL)
    planned(view)
    assert "'Voodoo' is not in the table" in view.error
    view.gpu = "H200"
    planned(view)
    assert view.error == ""


def test_mini_is_planned_for_main_memory_and_a_still_remains():
    view = Planner(backend="mini")
    body = planned(view)
    assert body["time"] is None and "libraries" in body["moments"][0]["owners"]
    assert view.settings["size"] == "256*256" and view.still().size[0] > 300
