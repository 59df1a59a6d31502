"""Motion, identity and cost: values known beforehand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from talking import FPS, talking

from liveavatar.avatars.traits import motion_index
from liveavatar.metrics.cost import cost
from liveavatar.metrics.identity import drift, true_colours
from liveavatar.metrics.motion import ldlj, motion, movement, paths, smooth, sparc
from liveavatar.types import Block, Step
from liveavatar.video import Video


def minimum_jerk(rate_hz, seconds=1.0):
    """Speed of the smoothest reach of unit length (Flash and Hogan 1985)."""
    t = torch.arange(0, 1, 1 / (rate_hz * seconds), dtype=torch.float64)
    return 30 * (t * (1 - t)) ** 2 / seconds


# ------------------------------------------------------------------------------------------------ smoothness

def test_the_numbers_of_the_authors_own_example():
    t = torch.arange(-1, 1, 0.01, dtype=torch.float64)
    bump = torch.exp(-5 * t ** 2)
    assert sparc(bump, 100) == pytest.approx(-1.41403, abs=1e-4)
    assert ldlj(bump, 100) == pytest.approx(-5.81636, abs=1e-4)


def test_a_minimum_jerk_reach_has_the_jerk_of_theory():
    assert ldlj(minimum_jerk(5000), 5000) == pytest.approx(-math.log(204.8), abs=0.01)
    assert sparc(minimum_jerk(5000), 5000) == pytest.approx(-1.40, abs=0.01)
    assert sparc(minimum_jerk(25, 2), 25) == pytest.approx(-1.40, abs=0.05)         # at the rate of a video


def test_neither_measure_depends_on_how_far_or_how_long():
    for measure in (sparc, ldlj):
        once = measure(minimum_jerk(1000), 1000)
        assert measure(7 * minimum_jerk(1000), 1000) == pytest.approx(once)
        assert measure(minimum_jerk(1000, 2), 1000) == pytest.approx(once, abs=0.02)


def test_two_reaches_in_a_row_are_less_smooth_than_one():
    one, two = minimum_jerk(100, 2), torch.cat([minimum_jerk(100), minimum_jerk(100)])
    assert sparc(two, 100) < sparc(one, 100) - 0.5 and ldlj(two, 100) < ldlj(one, 100) - 1


def test_what_stands_still_has_no_smoothness():
    assert math.isnan(sparc(torch.zeros(50), 25)) and math.isnan(ldlj(torch.zeros(50), 25))


def reach(T=60, length=0.5):
    """A path (T, 2) across, with the speed of a minimum-jerk reach."""
    t = torch.linspace(0, 1, T, dtype=torch.float64)
    return torch.stack([length * (10 * t ** 3 - 15 * t ** 4 + 6 * t ** 5), torch.full_like(t, 0.5)], 1)


def test_shaking_makes_a_hand_less_smooth():
    calm = movement("left_hand", reach(), FPS)
    shaken = reach()
    shaken[:, 1] += 0.02 * torch.sin(2 * math.pi * 3 * torch.arange(60) / FPS)
    restless = movement("left_hand", shaken, FPS)
    assert calm.applies and restless.ldlj < calm.ldlj - 1 and restless.sparc < calm.sparc - 0.3
    assert calm.travelled == pytest.approx(0.5, abs=0.01)


def test_resting_and_hidden_hands_are_left_out():
    assert "moves less than" in movement("left_hand", reach(length=0.01), FPS).reason
    below = reach()
    below[:, 1] = 1.12
    assert "out of the picture" in movement("right_hand", below, FPS).reason
    assert "fewer than a window" in movement("left_hand", reach(T=20), FPS).reason


def test_smoothing_keeps_a_straight_way():
    path = torch.stack([torch.arange(20.0), torch.zeros(20)], 1)
    torch.testing.assert_close(smooth(path, FPS)[5:15], path[5:15].double())


def test_paths_read_off_true_pictures_are_the_true_paths():
    clip = talking()
    read = paths(clip.reading)
    for side in ("left", "right"):
        true = clip.motion[:, [motion_index(f"{side}_hand_{axis}") for axis in "xy"]]
        assert (read[f"{side}_hand"] - true).abs().mean() < 0.06
    true = clip.motion[:, motion_index("head_x")] + 0.120 * clip.motion[:, motion_index("head_yaw")]
    assert (read["head"][:, 0] - true).abs().mean() < 0.02
    found = motion(clip.reading)
    assert found["head"].applies and found["left_hand"].applies and found["left_hand"].ldlj < -5


def test_hands_in_the_lap_have_no_jerk():
    found = motion(talking(gesture=0, frames=54, side=64).reading)
    assert not found["left_hand"].applies and math.isnan(found["left_hand"].sparc)
    with pytest.raises(KeyError, match="left_hand"):
        found["foot"]


# ------------------------------------------------------------------------------------------------ identity

def test_true_videos_do_not_drift_and_read_their_own_colours():
    clip = talking()
    found = drift(clip.reading, FPS, clip.identity)
    assert found.end < 0.02 and abs(found.per_minute) < 0.4 and found.from_portrait < 0.06
    assert found.parts["background_top"].shape == (72,)


def test_a_planted_drift_is_found_to_the_slope():
    clip = talking()
    ramp = 0.1 * torch.arange(72) / 72
    steady = clip.reading.colours[:1].expand(72, -1, -1)
    found = drift(replace(clip.reading, colours=steady + ramp[:, None, None]), FPS)
    assert found.per_minute == pytest.approx(0.1 * 25 / 72 * 60, rel=0.05)
    assert found.end == pytest.approx(0.1 * (72 - 13 - 5.5) / 72, rel=0.05) and math.isnan(found.from_portrait)


def test_true_colours_are_those_of_the_identity():
    clip = talking()
    assert true_colours(clip.identity)[0].tolist() == clip.identity[:3].tolist()


def test_a_moment_cannot_drift():
    clip = talking()
    short = replace(clip.reading, motion=clip.reading.motion[:10], colours=clip.reading.colours[:10])
    assert not drift(short).applies


# ------------------------------------------------------------------------------------------------ cost

def step(block, index, milliseconds):
    latent = torch.zeros(1, 16, 3, 4, 4)
    return Step(block, index, 2, 1.0, 0.5, latent, latent, latent, None, milliseconds, {"caches": 1000 * (index + 1)})


def events():
    for block in range(3):
        yield step(block, 0, 100.0)
        yield step(block, 1, 60.0)
        yield Block(block, torch.zeros(1, 16, 3, 4, 4), torch.zeros(12, 8, 8, 3, dtype=torch.uint8), 0.48 * block, 40.0)


def test_cost_adds_up():
    found = cost(events())
    assert found.ms_per_step == (100, 60) and found.decode_ms_per_block == 40 and found.ms_per_block == 200
    assert found.frames == 36 and found.blocks == 3 and found.ms_per_frame == pytest.approx(600 / 36)
    assert found.x_realtime == pytest.approx(1.44 / 0.6) and found.first_picture_s == pytest.approx(0.2)
    assert found.peak_bytes == {"caches": 3000, "latents": 3 * 768 * 4, "pictures": 12 * 8 * 8 * 3}


def test_a_trace_knows_steps_and_a_video_the_rest():
    steps = [event for event in events() if isinstance(event, Step)]
    found = cost(steps)
    assert found.frames == 36 and found.ms_per_block == 160 and math.isnan(found.first_picture_s)
    video = Video(Path("out.mp4"), 30, (64, 64), 25.0, 1.5, 0.3, {"denoise": 0.5, "encode": 0.1})
    found = cost(steps, video)
    assert found.x_realtime == 1.5 and found.first_picture_s == 0.3 and found.ms_per_frame == pytest.approx(20)


def test_a_file_alone_says_nothing_of_its_cost():
    assert not cost().applies and "does not say what it took" in cost().reason
