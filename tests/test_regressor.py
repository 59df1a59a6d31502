"""The regressor: what it returns, where it looks, how it is trained (toy size), how it is measured."""

import json
import math

import numpy as np
import pytest
import torch

from liveavatar.metrics.regressor import (
    BODY,
    COLOURS,
    CROP_EYES,
    CROP_PX,
    FEATURES,
    MOUTH,
    FaceRegressor,
    as_square,
    crop_around,
    load_regressor,
    save_regressor,
)
from liveavatar.training import regressor as stage


@pytest.fixture(scope="module")
def regressor():
    torch.manual_seed(0)
    return FaceRegressor((4, 4, 8, 8, 8), (4, 4, 8, 8)).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (160, 96), (192, 192)])
def test_pictures_of_any_size_are_read(regressor, size):
    reading = regressor(torch.rand(2, 3, *size))
    assert reading.motion.shape == (2, len(MOUTH + BODY))
    assert reading["mouth_aperture"].shape == (2,)
    assert reading["skin"].shape == (2, 3)
    assert reading.features.shape == (2, FEATURES)


def test_names_are_columns(regressor):
    reading = regressor(torch.rand(1, 3, 128, 128))
    assert reading["blink"] == reading.motion[:, len(MOUTH)]
    assert torch.equal(reading["hair"], reading.colours[:, COLOURS.index("hair")])
    with pytest.raises(KeyError, match="known: mouth_aperture"):
        reading["ears"]


def test_features_are_those_of_the_reading(regressor):
    picture = torch.rand(2, 3, 128, 128)
    assert torch.equal(regressor.features(picture), regressor(picture).features)


def test_the_close_look_is_cut_in_proportion_to_the_face():
    line = (torch.arange(128) + 0.5) / 64 - 1
    picture = torch.stack([line[None].expand(128, -1), line[:, None].expand(-1, 128), torch.zeros(128, 128)])[None]
    for apart in (0.1, 0.2):                                        # distance between the eyes, in sides of the picture
        cut = crop_around(picture, torch.tensor([[0.1, -0.05, math.log(apart)]]))[0]
        assert cut.shape == (3, CROP_PX, CROP_PX)
        assert cut[:2].mean((1, 2)).tolist() == pytest.approx([0.1, -0.05], abs=5e-3)
        assert (cut[0, 0, -1] - cut[0, 0, 0]).item() == pytest.approx(2 * CROP_EYES * apart, rel=0.05)


def test_a_wide_picture_is_cut_around_its_middle():
    picture = torch.rand(1, 3, 128, 200)
    assert torch.equal(as_square(picture, 128), picture[..., 36:164])


def test_textures_are_seen_at_their_full_size(regressor):
    picture = torch.rand(1, 3, 256, 256)
    blurred = torch.nn.functional.avg_pool2d(picture, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert not torch.allclose(regressor.textures(picture), regressor.textures(blurred), atol=1e-3)


def test_the_shipped_size_stays_small():
    assert sum(p.numel() for p in FaceRegressor().parameters()) <= 1.5e6


def test_saved_equals_loaded(regressor, tmp_path):
    save_regressor(regressor, tmp_path / "r.safetensors", dtype=torch.float32)
    picture = torch.rand(1, 3, 128, 128)
    assert torch.equal(load_regressor(tmp_path / "r.safetensors")(picture).motion, regressor(picture).motion)


def test_correlation_of_known_curves():
    t = torch.arange(50.0)
    curve = torch.sin(t / 3)
    read = torch.stack([2 * curve + 1, -curve, curve], 1)
    true = torch.stack([curve, curve, torch.zeros(50)], 1)
    found = stage.correlation(read, true, 0)
    assert found[0] == pytest.approx(1) and found[1] == pytest.approx(-1)
    assert found[2].isnan()                                        # what does not move has no correlation


def test_training_runs_saves_and_resumes(tmp_path):
    frames = 40
    np.savez(tmp_path / "corpus.npz", mel=np.full((4 * frames, 64), 50, np.uint8),
             visemes=np.tile(np.linspace(100, 200, frames)[:, None], (2, 7)).astype(np.uint8),
             loudness=np.full(2 * frames, 90, np.uint8), speaking=np.ones(2 * frames, np.uint8),
             frames=np.array([frames, frames], np.int32), voice=np.array(["a", "b"]),
             split=np.array(["train", "held"]))

    def train(work, *more):
        return stage.main(["--corpus", str(tmp_path / "corpus.npz"), "--work", str(tmp_path / work), "--size", "32*32",
                           "--total_steps", "3", "--device", "cpu", "--batch", "2", "--frames", "4", "--narrow",
                           "--people", "16", "--log_every", "1", "--evaluation_clips", "2", "--evaluation_frames", "4",
                           *more])

    train("whole")
    train("pieces", "--steps", "2")
    scores = train("pieces", "--resume")
    whole, pieces = (json.loads((tmp_path / name / "training.json").read_text())["history"]
                     for name in ("whole", "pieces"))
    assert pieces[2]["loss"] == pytest.approx(whole[2]["loss"], rel=1e-5)
    assert scores["avatars"]["true"]["mouth_aperture_error"] > 0
    assert load_regressor(tmp_path / "whole" / "regressor.safetensors").config["widths"] == [4, 4, 8, 8, 8]
