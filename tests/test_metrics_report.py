"""One call measures all that applies: a file, a live run's blocks or bare frames; what does not apply says why."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone
from talking import talking

from liveavatar import metrics
from liveavatar.config import GenerationConfig
from liveavatar.metrics.footage import footage
from liveavatar.metrics.report import UNREADABLE, measure
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError, Portrait, Speech
from liveavatar.video import VideoWriter


@pytest.fixture(scope="module")
def clip():
    return talking()


@pytest.fixture(scope="module")
def portrait(clip):
    return Portrait(clip.frames[0].permute(2, 0, 1) / 255, clip.identity, "rendered")


@pytest.fixture(scope="module")
def mp4(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "true.mp4"
    with VideoWriter(path, (96, 96), 25.0, clip.speech) as writer:
        writer.write(clip.frames)
    return path


@pytest.fixture(scope="module")
def report(clip, mp4, portrait):
    return measure(mp4, clip.speech, portrait, samples=2, check=0)


def test_a_true_video_reads_as_true_from_its_file(report):
    assert report.frames == 72 and report.size == (96, 96) and report.fps == 25
    assert abs(report.lips.late_frames) < 0.2 and report.lips.error_frames < 0.3
    assert report.texture.psnr_db > 22 and report.texture.kept > 0.7
    assert report.motion["head"].applies and report.identity.end < 0.03
    assert not report.cost.applies


def test_the_table_has_a_line_for_each_number(report):
    lines = report.table().splitlines()
    assert len(lines) == len(report.rows()) > 20
    assert any(line.startswith("lips.late_frames") and "frames" in line for line in lines)
    assert any(line.startswith("cost.ms_per_frame") and " - " in line for line in lines)


def test_the_dictionary_is_json_without_nan(report):
    values = report.to_dict()
    json.dumps(values, allow_nan=False)
    assert values["lips"]["error_frames"] == report.lips.error_frames
    assert values["texture"]["psnr_db"] == report.texture.psnr_db
    assert values["motion"]["hand_jerk"] > 0 and values["identity"]["drift"] == report.identity.end
    assert values["cost"]["applies"] is False and values["cost"]["ms_per_frame"] is None
    assert values["seconds"]["all"] > 0


def test_without_speech_the_sound_of_the_file_is_heard(mp4):
    found = measure(mp4, samples=1, check=0)
    assert not found.lips.applies and "phonemes are not known" in found.lips.reason
    assert found.alignment.applies and abs(found.alignment.late_ms) < 80        # AAC has a delay of its own
    assert not found.texture.applies and "identity" in found.texture.reason


def test_blocks_and_frames_are_measured_alike(clip):
    blocks = [Block(index, torch.empty(0), frames, 0.48 * index, 10.0)
              for index, frames in enumerate(clip.frames.split(12))]
    of_blocks, of_frames = (measure(source, clip.speech, samples=1, check=0)
                            for source in (blocks, clip.frames.numpy()))
    assert of_blocks.cost.frames == 72 and of_blocks.cost.decode_ms_per_block == 10 and not of_frames.cost.applies
    torch.testing.assert_close(of_blocks.opening, of_frames.opening)
    assert of_blocks.lips.late_frames == of_frames.lips.late_frames


def test_a_run_is_measured_with_its_cost():
    run = Run.of(Pipeline(FakeBackend()), tone(1.5), face(), config=GenerationConfig(size="64*64")).start()
    run.wait()
    found = measure(run, rendered=True)
    assert found.frames == 38 and found.size == (64, 64) and found.lips.reason == "no face found"
    assert found.cost.applies and found.cost.blocks == 4 and found.cost.first_picture_s > 0
    assert {"weights", "caches", "pictures"} <= set(found.cost.peak_bytes)


def test_a_silent_video_has_no_lips_to_judge(clip):
    found = measure(clip.frames[:30], samples=1, check=0)
    assert found.alignment is None and "no sound" in found.lips.reason and found.flicker.applies
    assert found.to_dict()["lips"]["late_ms"] is None


def test_of_other_faces_the_mouth_is_read_and_nothing_else(clip, portrait):
    someone = replace(portrait, identity=None, source="photo.png")
    found = measure(clip.frames, clip.speech, someone)
    assert found.motion.reason == found.identity.reason == UNREADABLE
    assert found.flicker.applies and math.isnan(found.identity.end)
    assert found.lips.applies and abs(found.lips.late_frames) < 0.5 and found.lips.correlation > 0.85
    assert found.alignment.applies and abs(found.alignment.late_ms) < 40
    assert {check.name for check in found.phonemes.checks} == {"bilabial closure", "closed in silence"}
    assert found.phonemes.confusion is None


def test_a_face_elsewhere_than_the_regressor_looks_is_read_by_landmarks(clip):
    """A file that says nothing of its origin: where the regressor looks for a mouth there is a wall."""
    wide = torch.full((72, 128, 160, 3), 128, dtype=torch.uint8)
    wide[:, :96, :96] = clip.frames
    found = measure(wide, clip.speech)
    assert found.motion.reason == UNREADABLE and found.lips.applies and abs(found.lips.late_frames) < 1
    assert found.lips.correlation > 0.7


@pytest.mark.parametrize("rendered", [True, False])
def test_no_face_found_is_said_by_every_measure_of_a_face(clip, portrait, rendered):
    walls = clip.frames[:, :16, :16].repeat(1, 4, 4, 1)
    found = measure(walls, clip.speech, portrait, rendered=rendered)
    for part in (found.lips, found.alignment, found.motion, found.identity, found.texture):
        assert not part.applies and part.reason == "no face found"
    assert found.phonemes is None and found.opening.isnan().all() and found.flicker.applies
    assert "no face found" in found.table()


def test_a_still_video_says_so(clip):
    found = measure(clip.frames[:1].expand(40, -1, -1, -1), clip.speech, samples=1, check=0)
    assert not found.lips.applies and not found.motion.applies
    assert found.table()


def test_speech_that_is_only_silence(clip):
    found = measure(clip.frames[:40], Speech(np.zeros(25_600, np.float32), 16_000), samples=1, check=0)
    assert not found.alignment.applies and "does not change" in found.alignment.reason
    assert measure(clip.frames[:40], tone(0.1), samples=1, check=0).table()


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "words.mp4"
    path.write_text("no pictures here")
    with pytest.raises(InputError, match="cannot be read"):
        footage(path)
    with pytest.raises(InputError, match="no block is decoded"):
        footage([])


def test_public_names_are_all_there():
    for name in metrics.__all__:
        assert getattr(metrics, name) is not None
    with pytest.raises(AttributeError, match="it has"):
        _ = metrics.nothing


def test_reading_in_bfloat16_reads_the_same(monkeypatch):
    from liveavatar.avatars.portraits import avatar
    from liveavatar.backends import devices
    from liveavatar.metrics.reader import as_uint8, read_face

    frames = as_uint8(torch.stack([avatar(seed).pixels for seed in range(4)]))
    readings = {}
    for kind in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(devices, "choose_dtype", lambda *_, kind=kind: kind)
        readings[kind] = read_face(frames)
    exact, quick = readings.values()
    assert not torch.equal(exact.motion, quick.motion)
    assert (exact.motion - quick.motion).abs().mean() < 0.005 and (exact.colours - quick.colours).abs().mean() < 0.005
