"""Streams side by side: planted faults are found at their block, whatever was stopped or killed goes on the same."""

import json
import math
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone

from liveavatar.config import GenerationConfig
from liveavatar.metrics.stream_drift import DriftMeter, find_jumps, find_shifts, person_features
from liveavatar.pipeline import Pipeline
from liveavatar.study import drift_stream
from liveavatar.study.drift import DriftStudy, repeated, row_of, stability_settings
from liveavatar.study.drift_stream import (
    PlantedFault,
    StreamSetting,
    curve_of,
    read_curve,
    thumbnail,
)
from liveavatar.types import InputError

CONFIG = GenerationConfig(sample_steps=2, size=(32, 32))
SETTINGS = (StreamSetting("as trained"), StreamSetting("short", {"ring_frames": 3, "portrait_sink": False}),
            StreamSetting("clean", {"cache_level": "clean"}))


@pytest.fixture(scope="module")
def pipe():
    return Pipeline(FakeBackend())


def study_of(pipe, folder=None, settings=SETTINGS, seconds=2.45, **options):
    return DriftStudy(pipe, tone(1.0), face(32, 32), settings=settings, seconds=seconds, config=CONFIG, folder=folder,
                      **options)


@pytest.fixture(scope="module")
def whole(pipe):
    study = study_of(pipe)
    made = list(study.blocks())
    return study, made


def curves(study):
    return {stream.setting.name: [replace(point, seam=-1.0 if math.isnan(point.seam) else point.seam)
                                  for point in stream.points] for stream in study.streams}


# ------------------------------------------------------------------------------------------------- measures

def moving_pictures(blocks=20, seed=0):
    """Blocks of a smooth pattern that moves slowly, with a little noise: (12, 64, 64, 3) uint8 each."""
    generator = np.random.default_rng(seed)
    x = np.arange(64)
    for block in range(blocks):                    # the mean colour moves too, but not at once
        phase = (12 * block + np.arange(12))[:, None] * 0.05
        wave = 120 + 60 * np.sin(x / 9 + phase)
        frames = np.broadcast_to(wave[:, None, :, None], (12, 64, 64, 3)) + generator.normal(0, 2, (12, 64, 64, 3))
        yield torch.from_numpy(frames.clip(0, 255).astype(np.uint8))


def points_of(fault=None, blocks=20):
    meter = DriftMeter(torch.full((3, 64, 64), 0.5))
    return [meter.measure(block, frames if fault is None else fault.apply(block, frames))
            for block, frames in enumerate(moving_pictures(blocks))]


@pytest.mark.parametrize(("kind", "block"), [("jump", 7), ("colours", 13)])
def test_a_planted_fault_is_found_at_its_block_and_nowhere_else(kind, block):
    points = points_of(PlantedFault(kind, block, 24.0 if kind == "jump" else 8.0))
    assert (find_jumps(points) if kind == "jump" else find_shifts(points)) == [block]
    if kind == "colours":
        assert points[block].colour_step == pytest.approx((8, 0, -8), abs=0.5)


def test_a_quiet_stream_has_no_faults_and_a_short_one_is_not_judged():
    points = points_of()
    assert find_jumps(points) == find_shifts(points) == []
    assert find_jumps(points[:3]) == find_shifts(points[:3]) == [] and math.isnan(points[0].seam)
    row = row_of("quiet", points)
    assert row.seconds == pytest.approx(9.6) and row.jumps == [] and 0.5 < row.last["seam"] < 2


def test_another_person_is_about_one_away_and_the_same_one_near_nought():
    import liveavatar

    portraits = [liveavatar.avatar(seed, size=(128, 128)).pixels for seed in (1, 2)]
    meter = DriftMeter(portraits[0])
    frames = [(pixels * 255).round().byte().permute(1, 2, 0).expand(4, -1, -1, -1) for pixels in portraits]
    same, other = (meter.measure(block, one) for block, one in enumerate(frames))
    assert same.identity < 0.02 and 0.3 < other.identity < 2
    assert same.corners_db > 50 > other.corners_db and same.colours == 0 < other.colours
    assert person_features(portraits[0][None]).shape[0] == 1


def test_pictures_of_another_size_are_refused():
    with pytest.raises(InputError, match="at least two pictures in the size"):
        DriftMeter(torch.zeros(3, 32, 32)).measure(0, torch.zeros(12, 64, 64, 3, dtype=torch.uint8))


# ------------------------------------------------------------------------------------------------- studies

def test_streams_are_made_in_turn_and_each_is_what_it_is_alone(pipe, whole):
    study, made = whole
    assert [name for name, _ in made[:4]] == ["as trained", "short", "clean", "as trained"]
    assert study.done and len(made) == 3 * 5 and [len(stream.points) for stream in study.streams] == [5, 5, 5]
    config = replace(CONFIG, ring_frames=3, portrait_sink=False)
    alone = [step.x for step in pipe.steps(repeated(tone(1.0), 2.45), face(32, 32), "", config) if step.last]
    meter = DriftMeter(study.portrait)
    expected = [meter.measure(block, frames) for block, frames in enumerate(pipe.decode(alone[:5]))]
    assert expected[1:] == study["short"].points[1:]
    assert study["as trained"].points[0].colours == 0 and study["short"].points != study["as trained"].points
    assert [row.name for row in study.table()] == ["as trained", "short", "clean"]


def test_what_was_stopped_or_killed_goes_on_to_the_same_curves(pipe, whole, tmp_path):
    study = study_of(pipe, tmp_path)
    blocks = study.blocks()
    for _ in range(4):
        next(blocks)
    blocks.close()                                             # stopped: the state is saved
    (tmp_path / "01.safetensors").unlink()                     # as after a kill: this curve has no state
    with open(tmp_path / "02.jsonl", "a") as file:
        file.write('{"block": 1, "time')                       # and this one ends in half a line
    again = study_of(pipe, tmp_path)
    assert [len(stream.points) for stream in again.streams] == [2, 1, 1]
    assert len(list(again.blocks())) == 15 - 4 and again.done
    assert curves(again) == curves(whole[0])
    assert len(read_curve(curve_of(tmp_path / "02"))) == 5
    reopened = study_of(pipe, tmp_path)
    assert list(reopened.blocks()) == [] and reopened["clean"].newest is not None


def test_a_folder_of_another_study_is_refused(pipe, tmp_path):
    study_of(pipe, tmp_path)
    with pytest.raises(InputError, match="holds a study with other settings"):
        study_of(pipe, tmp_path, SETTINGS[:2])
    (tmp_path / "study.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(InputError, match="choose another folder"):
        study_of(pipe, tmp_path)


def test_in_a_thread_it_is_watched_stopped_and_gone_on_with(pipe, whole):
    study, seen, enough = study_of(pipe), [], Event()

    def watch(point):
        seen.append(point)
        if len(seen) == 2:
            study.stop()
            enough.set()

    ends = study.subscribe(watch)
    study.start()
    assert enough.wait(120)
    study.wait()
    assert len([point for point in seen if point is not None]) == 2 and seen[-1] is None and not study.running
    ends()
    assert curves(study.start().wait()) == curves(whole[0]) and len(seen) == 3


def test_pictures_are_few_and_small(pipe, monkeypatch):
    monkeypatch.setattr(drift_stream, "MOST_THUMBNAILS", 2)
    study = study_of(pipe, settings=SETTINGS[1:2])
    for _ in study.blocks():
        pass
    stream = study["short"]
    assert list(stream.thumbnails) == [0, 4] and stream.newest.shape == (32, 32, 3)
    assert thumbnail(torch.zeros(256, 128, 3, dtype=torch.uint8)).shape == (192, 96, 3)


def test_every_switch_has_a_stream_and_those_as_trained_are_left_out(pipe):
    settings = stability_settings(pipe)
    assert [one.name for one in settings] == [
        "as trained", "no portrait sink", "ring of 3", "ring of 9", "ring of 12", "one clean cache", "Euler",
        "portrait strength 0.5", "portrait strength 0", "planted jump", "planted colours"]
    assert all(setting.config(CONFIG) is not None for setting in settings)


@pytest.mark.parametrize(("settings", "words"), [
    ((), "give at least one"), (SETTINGS[:1] * 2, "each with a name of its own"),
    ((StreamSetting("odd", {"ring_length": 3}),), "changes 'ring_length'"),
    ((StreamSetting("odd", {"ring_frames": 4}),), "ring_frames is 4")])
def test_settings_that_cannot_be_used_are_refused_at_once(pipe, settings, words):
    with pytest.raises(InputError, match=words):
        study_of(pipe, settings=settings)


def test_what_fails_is_raised_where_it_is_waited_for(pipe, monkeypatch):
    study = study_of(pipe)
    monkeypatch.setattr(DriftMeter, "measure", lambda *_: 1 / 0)
    study.start()
    with pytest.raises(ZeroDivisionError):
        study.wait()
    with pytest.raises(InputError, match="no stream 'x' is made yet"):
        study["x"]
