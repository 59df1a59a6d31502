"""Measures of quality give the known answers: planted lags, known noise, shifted clouds."""

import importlib
import math
from pathlib import Path

import pytest
import torch

from liveavatar.avatars.traits import MOTION, motion_index
from liveavatar.metrics.quality import (
    BootstrapEstimate,
    Likeness,
    box_square_error,
    closed,
    closures,
    colour_error,
    corner_square_error,
    corners,
    decibel,
    draw_people,
    frame_difference,
    frechet_distance,
    gaussian_stats,
    gaussian_stats_of_people,
    lag,
    mean,
    seam,
    share,
    silent_frames,
    temporal_correlation,
)


def wandering(frames: int, late: float = 0.0) -> torch.Tensor:
    """A smooth curve that never repeats within the search, `late` frames late. (T,)"""
    t = torch.arange(frames, dtype=torch.float64) - late
    return torch.sin(t / 3.1) + 0.6 * torch.sin(t / 1.7 + 1)


# ------------------------------------------------------------------------------------------------ curves

def test_correlation_knows_same_opposite_and_stretched():
    truth = wandering(60)
    measured = torch.stack([truth, -truth, 0.2 * truth + 3])
    assert temporal_correlation(measured, truth.expand(3, -1)).tolist() == pytest.approx([1, -1, 1])


def test_a_mouth_that_never_moves_scores_nothing_and_silence_is_left_out():
    truth = torch.stack([wandering(60), torch.zeros(60)])
    scores = temporal_correlation(torch.stack([torch.full((60,), 0.3), wandering(60)]), truth)
    assert scores[0] == 0 and scores[1].isnan()
    assert mean(scores, draw_people(2)).value == 0
    assert math.isnan(mean(scores[1:], draw_people(1)).value)


@pytest.mark.parametrize("late", [-4, -1, 0, 2, 5])
def test_a_planted_lag_is_found(late):
    found = lag(wandering(80, late)[None], wandering(80)[None])
    assert found.frames.item() == pytest.approx(late, abs=0.05)
    assert found.correlation.item() == pytest.approx(1)


@pytest.mark.parametrize("late", [-1.5, 0.25, 0.4, 2.7])
def test_a_lag_between_frames_is_found(late):
    assert lag(wandering(80, late)[None], wandering(80)[None]).frames.item() == pytest.approx(late, abs=0.1)


def test_each_clip_has_its_own_lag():
    measured = torch.stack([wandering(80, 3), wandering(80, -2), wandering(80)])
    truth = torch.stack([wandering(80), wandering(80), torch.zeros(80)])
    frames = lag(measured, truth).frames
    assert frames[:2].tolist() == pytest.approx([3, -2], abs=0.05) and frames[2].isnan()


def test_curves_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cut both"):
        temporal_correlation(torch.zeros(1, 5), torch.zeros(1, 6))
    with pytest.raises(ValueError, match="give 13 or more"):
        lag(torch.zeros(1, 10), torch.zeros(1, 10))


# ------------------------------------------------------------------------------------------------ pixels

def test_a_tenth_of_noise_is_twenty_decibel():
    assert decibel(0.1 ** 2) == pytest.approx(20)
    assert decibel(0) == pytest.approx(120)


def test_only_the_top_corners_count():
    truth = torch.zeros(1, 3, 2, 32, 64)
    video = truth.clone()
    video[..., 8:, :] = 1                                   # below: must not matter
    video[..., 10:54] = 1                                   # between the corners
    video[:, :, 1, :6, :6] = 0.1                            # one corner of the second picture
    error = corner_square_error(video, truth)
    assert corners(video).shape == (1, 3, 2, 6, 12)         # 24 px of 128
    assert error[0, 0] == 0
    assert decibel(error[0, 1]) == pytest.approx(10 * math.log10(2 / 0.01), abs=1e-3)


def test_corners_may_be_compared_with_one_picture():
    picture = torch.rand(1, 3, 1, 32, 32)
    assert corner_square_error(picture.expand(-1, -1, 5, -1, -1), picture).tolist() == [[0] * 5]


def test_a_box_follows_its_centre():
    truth, video = torch.zeros(1, 3, 2, 16, 16), torch.zeros(1, 3, 2, 16, 16)
    video[0, :, 0, 2:4, 2:4] = 0.5
    video[0, :, 1, 10:12, 12:14] = 0.5
    sums, pixels = box_square_error(video, truth, torch.tensor([[[3.0, 3.0], [13.0, 11.0]]]), (2, 2))
    assert pixels.tolist() == [[4, 4]] and (sums / pixels).tolist() == [[0.25, 0.25]]
    outside, pixels = box_square_error(video, truth, torch.tensor([[[-9.0, 3.0], [16.0, 11.0]]]), (2, 2))
    assert pixels.tolist() == [[0, 2]] and outside.sum() == 0


def test_change_and_seams():
    still = torch.zeros(1, 3, 9, 4, 4)
    assert frame_difference(still).tolist() == [[0] * 8]
    jumps = still.clone()
    jumps[:, :, 1::2] = 0.25                                # flickers at each frame
    assert frame_difference(jumps).mean() == 0.25
    assert seam(frame_difference(jumps), 4).tolist() == pytest.approx([1])
    difference = torch.tensor([[1.0, 1, 1, 3, 1, 1, 1, 3]])  # frames 4 and 8 begin a piece
    assert seam(difference, 4).tolist() == pytest.approx([3])
    assert seam(difference[:, :2], 4).isnan().all()


def test_colours_off_by_a_tenth():
    truth = torch.rand(2, 4, 3)
    read = truth[:, None].expand(-1, 5, -1, -1).clone()
    read[1] += 0.1
    assert colour_error(read, truth).tolist() == pytest.approx([0, 0.1], abs=1e-6)


# ------------------------------------------------------------------------------------------------ figures

def test_intervals_are_as_wide_as_statistics_says():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    figure = mean(values, draw_people(400, draws=2000))
    low, high = figure.interval
    assert figure.value == pytest.approx(values.mean().item())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std().item() / 20, rel=0.1)
    assert f"{BootstrapEstimate(torch.tensor([0.5, 0.4, 0.6])):.2f}".startswith("0.50 ± 0.1")
    assert f"{BootstrapEstimate(torch.tensor([math.nan, math.nan])):.2f}" == "-"


def test_a_ratio_on_the_same_people_is_surer_than_its_parts():
    people, values = draw_people(30), 1 + torch.rand(30, generator=torch.Generator().manual_seed(0)).double()
    low, high = (mean(2 * values, people) / mean(values, people)).interval
    assert low == pytest.approx(2) and high == pytest.approx(2)


def test_decibels_are_taken_of_the_mean_error():
    figure = mean(torch.tensor([0.01, 0.03]), draw_people(2)).decibel()
    assert figure.value == pytest.approx(decibel(0.02))


def test_shares_count_frames_and_not_people():
    assert share(torch.tensor([1, 0]), torch.tensor([1, 9]), draw_people(2)).value == pytest.approx(0.1)


# ------------------------------------------------------------------------------------------------ clouds

def test_equal_sets_are_no_distance_apart():
    features = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(gaussian_stats(features), gaussian_stats(features)).item() == pytest.approx(0, abs=1e-9)


def test_a_shift_counts_squared_and_a_stretch_as_the_difference_of_deviations():
    features = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    shifted = features + torch.tensor([3.0, 0, 4])
    assert frechet_distance(gaussian_stats(features), gaussian_stats(shifted)).item() == pytest.approx(25)
    doubled = 2 * features
    expected = features.mean(0).square().sum() + torch.cov(features.T).trace()       # (2 - 1)^2 of each
    assert frechet_distance(gaussian_stats(features), gaussian_stats(doubled)).item() == pytest.approx(expected.item())


def test_the_order_of_two_clouds_does_not_matter():
    dice = torch.Generator().manual_seed(1)
    a, b = gaussian_stats(torch.randn(40, 4, generator=dice)), gaussian_stats(torch.rand(60, 4, generator=dice))
    assert frechet_distance(a, b).item() == pytest.approx(frechet_distance(b, a).item())


def test_clouds_of_drawn_people_are_those_of_their_pictures():
    features = 100 + torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    found = gaussian_stats_of_people(features, torch.tensor([[1.0, 1, 1, 1], [2, 0, 1, 1]]).double())
    for index, who in enumerate(([0, 1, 2, 3], [0, 0, 2, 3])):
        expected = gaussian_stats(features[who].flatten(0, 1))
        torch.testing.assert_close(found.mean[index], expected.mean)
        torch.testing.assert_close(found.covariance[index], expected.covariance, rtol=1e-6, atol=1e-9)


def test_likeness_is_in_units_of_the_spread():
    truth = torch.tensor([1.0, 1000.0]) * torch.randn(50, 4, 2, generator=torch.Generator().manual_seed(0))
    likeness = Likeness(truth, draw_people(50, draws=5))
    assert likeness.distance(truth).value == pytest.approx(0, abs=1e-9)
    assert likeness.distance(truth + 2 * likeness.spread).value == pytest.approx(4, rel=1e-3)


@pytest.fixture(scope="module")
def people():
    """Eight people twice, as they rest and otherwise; and what a likeness to the first sees in others."""
    from liveavatar.avatars.motion import portrait_pose
    from liveavatar.avatars.renderer import render
    from liveavatar.avatars.sampling import random_identities
    from liveavatar.metrics.reader import load_reader

    def pictures(who, seed):
        pose = portrait_pose(16, torch.Generator().manual_seed(seed))
        return render(who.repeat_interleave(2, 0), pose, size=(128, 128))

    who = random_identities(8, torch.Generator().manual_seed(0))
    truth, moved = pictures(who, 1), pictures(who, 2)
    strangers = pictures(random_identities(8, torch.Generator().manual_seed(5)), 1)

    def textures(video):
        return load_reader().textures(video).unflatten(0, (8, 2))

    likeness = Likeness(textures(truth), draw_people(8, draws=2))
    return truth, moved, strangers, lambda video: likeness.distance(textures(video)).value


def spoiled(pictures, how, much):
    if how == "blur":
        reach = torch.exp(-0.5 * (torch.arange(-4, 5) / much) ** 2)
        kernel = (reach[:, None] * reach / reach.sum() ** 2).expand(3, 1, 9, 9)
        return torch.nn.functional.conv2d(torch.nn.functional.pad(pictures, [4] * 4, "replicate"), kernel, groups=3)
    if how == "noise":
        return pictures + much * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    return pictures * torch.tensor([1 + much, 1, 1]).view(3, 1, 1)


@pytest.mark.parametrize("how, little, much", [("blur", 0.7, 1.2), ("noise", 0.03, 0.06), ("colour", 0.1, 0.2)])
def test_textures_see_blur_noise_and_wrong_colours(people, how, little, much):
    truth, moved, strangers, distance = people
    floor = distance(moved)                                         # the same people in other poses
    assert distance(truth) < 1e-6 and distance(strangers) > 50 * floor
    for pictures in (truth, moved):
        found = [distance(spoiled(pictures, how, amount)) for amount in (little, much)]
        assert 5 * floor < found[0] < found[1] / 2


# ------------------------------------------------------------------------------------------------ closing

def test_a_mouth_is_closed_below_a_tenth():
    assert closed(torch.tensor([[0.0, 0.09, 0.2]])).tolist() == [[True, True, False]]


def test_lips_must_meet_once_in_every_sound_that_asks_for_it():
    aperture = torch.tensor([[0.1, 0.5, 0.5, 0.1, 0.5, 0.5], [0.1] * 6])
    pressed = torch.tensor([[1, 0, 1, 1, 0, 1], [0] * 6], dtype=torch.bool)
    kept, of = closures(aperture, pressed)
    assert kept.tolist() == [2, 0] and of.tolist() == [3, 0]


# ------------------------------------------------------------------------------------------------ silence

def test_a_pause_is_silent_but_for_a_tenth_of_a_second_at_its_ends():
    speech = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    wave = torch.cat([speech, 1e-4 * speech, speech])               # one second each
    silent = silent_frames(wave, 80)
    expected = torch.zeros(80, dtype=torch.bool)
    expected[28:47] = True                                          # 1.12..1.88 s: within 1.1..1.9
    expected[78:] = True                                            # the sound ends at 3 s, frame 75
    assert silent.tolist() == expected.tolist()


def test_a_short_gap_is_no_silence():
    speech = torch.randn(8_000, generator=torch.Generator().manual_seed(0)) * 0.1
    wave = torch.cat([speech, torch.zeros(2_400), speech])          # 0.15 s
    assert not silent_frames(wave, 28).any()


# ------------------------------------------------------------------------------------------------ the table

@pytest.fixture
def benchmark(monkeypatch):
    """Return a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    importlib.import_module("mini_quality")                         # all of it can be imported
    return importlib.import_module


def test_perfect_videos_reach_every_goal_of_the_lips(benchmark):
    clips, measures = benchmark("quality_clips"), benchmark("quality_measures")
    B, T = 2, 24
    motion = torch.zeros(B, T, len(MOTION))
    for name in (*clips.LIPS.values(), "left_hand_y", "right_hand_y"):
        motion[..., motion_index(name)] = wandering(T).float()
    silent = torch.zeros(B, T, dtype=torch.bool)
    video = torch.rand(B, 3, T, 16, 16, generator=torch.Generator().manual_seed(0))
    colours = torch.rand(B, 4, 3)
    truth = clips.Truth(None, video, video, motion, colours, None, torch.zeros(B, T), silent, silent,
                               torch.tensor([clips.BEAT, 0]))
    traits = {name: truth.trait(name) for name in (*clips.LIPS.values(), "left_hand_y", "right_hand_y")}
    features = torch.randn(B, T, 3, generator=torch.Generator().manual_seed(0))
    seen = clips.Readings(traits, colours[:, None].expand(-1, T, -1, -1), features, features)
    row = {name: figure.value for name, figure in
           measures.measure(video, seen, measures.Judge.of(truth, seen)).items()}
    for name in ("aperture", "width", "rounding", "hand"):
        assert row[f"{name}_correlation"] == pytest.approx(1)
    assert row["lag_frames"] == pytest.approx(0, abs=1e-6)
    assert row["colour_error"] == 0 and row["corner_psnr_db"] == pytest.approx(120)
    assert row["content_distance"] == row["texture_distance"] == pytest.approx(0, abs=1e-9)
    assert math.isnan(row["closed_share"])                          # nobody was silent


def figure(*values):
    return BootstrapEstimate(torch.tensor(values, dtype=torch.float64))


def test_a_goal_knows_which_way_is_good_and_whether_it_is_sure(benchmark):
    report = benchmark("quality_report")
    assert report.Goal("corners, dB", 39, figure(40, 40, 41)).reached
    late = report.Goal("lag", 0.15, figure(0.2, 0.1, 0.3), most=True)
    assert not late.reached and not late.sure and "within the interval" in str(late)
    assert not report.Goal("unknown", 1, figure(math.nan)).reached


def test_photographs_that_equal_the_truth_reach_every_goal(benchmark):
    measures = benchmark("mini_photographs")
    B, T = 3, 24
    curve = (wandering(T).float() - wandering(T).float().min()).expand(B, T)
    pressed = torch.zeros(B, T, dtype=torch.bool)
    pressed[:, curve[0].argmin()] = True
    video = torch.rand(B, 3, T, 16, 16, generator=torch.Generator().manual_seed(0))
    video[..., :8] = 0.5                                            # half of the picture stands still
    truth = measures.Truth(None, video[:, :, 0], video, curve, pressed)
    seen = measures.Readings(0.3 * curve, torch.ones(B, T, dtype=torch.bool), torch.full((B,), 0.02))
    row = measures.measure(video, seen, truth, seen)
    assert row["aperture_correlation"].value == pytest.approx(1) and row["opening_ratio"].value == pytest.approx(1)
    assert row["pressed_share"].value == row["found_share"].value == row["detail"].value == pytest.approx(1)
    assert abs(row["late_frames"].value) < 1e-3
    noisy = measures.measure(video + 0.1, seen, truth, seen)
    assert noisy["still_psnr_db"].value == pytest.approx(20, abs=0.1)
    lost = measures.Readings(seen.aperture.clone(), seen.found.clone(), seen.change)
    lost.found[0, 3], lost.aperture[0, 3] = False, math.nan
    row = measures.measure(video, lost, truth, seen)
    assert row["found_share"].value == pytest.approx(1 - 1 / (B * T)) and row["aperture_correlation"].value > 0.99
    found = {"about": {"row": "made"}, "rows": {"truth": row, "made": row}, "recordings": None, "minute": None}
    assert [value for _, _, value in measures.goals(found)][0].startswith("1.000")
