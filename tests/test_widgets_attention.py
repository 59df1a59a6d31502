"""AttentionView without a browser: what is drawn is what was recorded, for tokens, words and sounds."""

import json

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until

from liveavatar import inspect
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import AttentionView
from widgets._decoding import decoding


@pytest.fixture(scope="module")
def recorded():
    pipe = Pipeline(FakeBackend())
    run = Run.of(pipe, tone(1.44), face(), "hello", GenerationConfig(sample_steps=2, duration_s=1.4))
    with inspect.record(pipe, layers=[0, 1]) as seen:
        run.start()
        run.result()
    return run, seen


@pytest.fixture
def view(recorded):
    run, seen = recorded
    view = AttentionView(run, seen=seen, time_s=1.2, layer=1, row=1, column=0)
    yield view
    view.close()


def test_what_is_drawn_is_what_was_recorded(view, recorded):
    body, buffers = view.paint()
    assert view.error == "" and (body["block"], body["step"], body["layer"]) == (2, 1, 1) == view.place
    assert json.loads(json.dumps(body))["token"] == [7, 1, 0] and body["steps"] == [0, 1] and body["layers"] == [0, 1]
    weights = recorded[1].attention(2, 1, 1)
    query = weights.queries.at(7, 1, 0)
    heats = {name: torch.from_numpy(np.frombuffer(buffers[f"heat {name}"], np.float32).copy())
             for name in body["heats"]}
    assert set(heats) == {"portrait", *(f"frame {frame}" for frame in range(3, 9))}
    assert float(sum(heat.sum() for heat in heats.values())) == pytest.approx(1, abs=1e-5)
    portrait = weights.heat(query, "portrait").flatten()
    assert torch.allclose(heats["portrait"], portrait, atol=1e-6)
    assert body["shares"]["portrait"] == pytest.approx(float(portrait.sum()), abs=1e-6)
    assert len(body["words"]) == 2 and len(body["sounds"]) == 5


def test_a_head_and_a_target_are_chosen(view, recorded):
    view.head = 1
    weights = recorded[1].attention(2, 1, 1)
    query = weights.queries.at(7, 1, 0)
    assert torch.allclose(view.heats["portrait"], weights.heat(query, "portrait", head=1), atol=1e-6)
    view.target = "sound 2"
    expected = recorded[1].attention(2, 1, 1, "sound").weights[1, :, 2]
    assert torch.equal(torch.cat([view.heats[f"frame {frame}"].flatten() for frame in (6, 7, 8)]), expected)
    assert view.paint()[0]["note"] == "Brighter: these places attend more to sound 2."


def test_the_lane_is_the_profile_of_the_chosen_place(view, recorded):
    lane, seen = view.lane, recorded[1]
    assert set(lane) == {0, 1} and len(lane[0]) == view.run.info.frames
    alone = seen.sound_profile(2, 1, 1, [2, 6, 10])          # row 1, column 0 of each latent frame
    inside = alone.sum(0)[9:].numpy()[:11]                   # the video ends before the block does
    assert np.allclose(lane[1][24:], inside, atol=1e-6)      # no later block listens back
    assert set(view.lags_ms) == {0, 1} and -400 < view.lags_ms[0] < 0
    view.layer = 0
    assert view.lane == {} and view.sounds == []


def test_the_pictures_are_those_of_the_run_as_soon_as_they_are_decoded(view):
    body, buffers = view.paint()
    wait_until(lambda: not decoding().waits(view))
    body, buffers = view.paint()
    assert {"picture portrait", "picture frame 7"} <= set(buffers) and "frame 3" in body["pictures"]
    assert view.still().width > 300


def test_its_code_makes_the_same_view(view, recorded):
    view.target = "text 1"
    assert view.as_code() == "AttentionView(run, seen=seen, column=0, layer=1, row=1, target='text 1')"
    again = eval(view.as_code(), {"AttentionView": AttentionView, "run": recorded[0], "seen": recorded[1]})
    again.time_s = 1.2
    assert again.paint()[0]["token"] == view.paint()[0]["token"]


@pytest.mark.parametrize(("choice", "words"), [
    ({"step": 3}, "recorded are steps 0, 1"), ({"head": 7}, "recorded are heads 0, 1"),
    ({"target": "smell 0"}, "target is 'smell 0'"), ({"layer": 0, "target": "sound 0"}, "attends to the sound")])
def test_what_was_not_recorded_is_told(recorded, choice, words):
    view = AttentionView(recorded[0], seen=recorded[1], **choice)
    view.paint()
    assert words in view.error


def test_without_a_recording_it_says_how_to_make_one(recorded):
    view = AttentionView(recorded[0])
    view.paint()
    assert "liveavatar.inspect.record" in view.error and view.still() is None
    assert AttentionView().paint()[0]["nothing"] == AttentionView.nothing
