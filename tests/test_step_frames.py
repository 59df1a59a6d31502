"""Steps as pictures: decoded once, after the block before, cut as the video is; and kept within a limit."""

import numpy as np
import pytest
from fakes import FakeBackend, face, tone

from liveavatar.avatars.portraits import avatar
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.preview import decode_exactly, name_of_vae, shipped_maps, shipped_vae
from liveavatar.runs.loading import replay
from liveavatar.runs.run import Run
from liveavatar.step_frames import StepFrames
from liveavatar.types import InputError


def make_run(seconds: float = 1.12, portrait=None, **choices) -> Run:
    config = GenerationConfig(**{"size": (32, 48)} | choices)
    run = Run.of(Pipeline(FakeBackend()), tone(seconds), portrait or face(32, 48), "", config)
    run.start().result()
    return run


@pytest.fixture(scope="module")
def run() -> Run:
    """Two blocks of four steps and a third one of 4 video frames."""
    return make_run()


def test_a_guess_is_decoded_after_the_block_before_and_only_once(run, monkeypatch):
    frames = StepFrames(run)
    assert frames.kept(1, 2) is None
    decoded = frames.decode(1, 2)
    assert np.array_equal(decoded, decode_exactly(run.backend, run.step_record(1, 2).clean, run.step_record(0, 3).x))
    noisy = frames.decode(1, 2, "x")
    assert np.array_equal(noisy, decode_exactly(run.backend, run.step_record(1, 2).x, run.step_record(0, 3).x))
    monkeypatch.setattr(type(run), "new_decoder", lambda self: pytest.fail("decoded a second time"))
    assert frames.decode(1, 2) is decoded and frames.kept(1, 2) is decoded
    assert frames.decode(1, 0).shape == decoded.shape       # the block before is not decoded again either


def test_the_last_step_is_what_the_video_shows(run):
    for what in ("clean", "x"):
        assert np.array_equal(run.step_frames.kept(1, 3, what), run.blocks[1].frames.numpy())


def test_a_last_block_is_as_long_as_in_the_video(run):
    assert [run.step_frames.frames_of(block) for block in range(3)] == [12, 12, 4]
    assert [len(run.step_frames.decode(2, step)) for step in range(4)] == [4, 4, 4, 4]


def test_the_middle_picture_alone_is_that_of_all(run):
    for block in range(3):
        whole = StepFrames(run).decode(block, 1)
        assert np.array_equal(StepFrames(run).middle(block, 1), whole[len(whole) // 2])


def test_backends_that_leave_pictures_out_are_followed():
    class Trimmed(FakeBackend):
        trim_frames = 3

    run = Run.of(Pipeline(Trimmed()), tone(0.96), face(32, 48), "", GenerationConfig(size=(32, 48)))
    run.start().result()
    for block, made in enumerate(run.blocks):
        assert run.step_frames.decode(block, 0).shape == made.frames.shape


def test_the_newest_are_kept_within_the_limit(run):
    frames = StepFrames(run, limit_bytes=3 * 12 * 32 * 48 * 3)
    for step in range(3):
        frames.decode(0, step)
    frames.kept(0, 0)                                      # looked at: the oldest is another one now
    frames.decode(1, 0)
    assert [frames.kept(0, step) is not None for step in range(3)] == [True, False, True]


def test_a_preview_has_the_size_of_the_latents(run):
    assert run.step_frames.preview(0, 1).shape == (3, 4, 6, 3)


def test_a_saved_run_keeps_its_portrait(tmp_path):
    run = make_run(0.48, portrait=avatar(3, (32, 48)))
    again = replay(run.save(tmp_path / "seen"))
    assert np.array_equal(again.portrait.pixels, run.portrait.pixels) and again.portrait.identity is not None
    assert np.array_equal(again.step_frames.portrait((32, 48)), run.step_frames.portrait((32, 48)))
    (tmp_path / "seen" / "portrait.safetensors").unlink()   # as saved by an earlier version
    assert replay(tmp_path / "seen").step_frames.portrait((32, 48)) is None


def test_a_saved_run_of_another_model_has_no_decoder(run, tmp_path):
    again = replay(run.save(tmp_path / "seen"))
    assert not again.decodes
    with pytest.raises(InputError, match="pipeline=pipe"):
        again.step_frames.decode(0, 0)
    assert replay(tmp_path / "seen", pipeline=Pipeline(FakeBackend())).decodes


def test_the_vae_in_the_package_decodes_what_was_saved_with_it():
    name, = shipped_maps()
    vae = shipped_vae(name)
    assert name_of_vae(vae) == name and shipped_vae("another") is None
