"""Movements of the rich world: minimum jerk at random times, free gestures, and lips that are one of many answers."""

import pytest
import torch

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import CONTROLS, MOTION, motion_index, talk
from liveavatar.avatars.rich.articulation import GAIN, ONSET_S, articulate, onsets, syllables
from liveavatar.avatars.rich.movements import FPS, minimum_jerk, movements, pulses, shifted, visited
from liveavatar.avatars.sampling import Dice
from liveavatar.metrics.quality import lag, temporal_correlation
from liveavatar.speech import samples, viseme_curves


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def speech(B=4, T=60, seed=3):
    """Mouths that open about four times a second, and the loudness that goes with them."""
    time_s = torch.arange(T) / FPS
    opening = (0.5 - 0.5 * torch.cos(2 * torch.pi * (4 * time_s + torch.rand(B, 1, generator=generator(seed)))))
    visemes = torch.zeros(B, T, 7)
    visemes[..., 0] = 0.8 * opening
    return visemes, opening


def controls(B, gesture=0, energy=1):
    return torch.tensor([[gesture, 0, 0, energy]]).expand(B, -1)


# ---------------------------------------------------------------- movements

def test_a_movement_has_the_speed_profile_of_minimum_jerk():
    """Flash and Hogan 1985: still at both ends, fastest in the middle with 15/8 of the mean speed."""
    time = torch.linspace(-0.5, 1.5, 2001, dtype=torch.float64)
    way = minimum_jerk(time)
    speed = way.diff() / time.diff()
    assert way[0] == 0 and way[-1] == 1 and speed.argmax() in (999, 1000)
    assert speed.max().item() == pytest.approx(15 / 8, rel=1e-3)
    assert speed[[500, 1499]].abs().max() < 1e-3


def test_movements_come_at_random_times_and_end_at_their_targets():
    moves = movements(Dice(3, generator(1), "cpu"), 500, 2.0, (0.3, 0.5), torch.ones(3, 1))
    targets = torch.randn(3, moves.start_s.shape[1], 1, generator=generator(2))
    path = visited(moves, targets)[..., 0]
    end_s = moves.start_s + moves.duration_s
    alone = (moves.start_s > 0) & (end_s + 0.1 < moves.start_s.roll(-1, 1)) & (end_s < 18)
    for person_, movement in alone.nonzero().tolist():
        frame = int(end_s[person_, movement] * FPS) + 1
        assert path[person_, frame] == pytest.approx(targets[person_, movement, 0].item(), abs=1e-4)
    waits = moves.start_s.diff(dim=1)
    assert waits.mean().item() == pytest.approx(2.0, rel=0.25) and waits.std() > 0.5
    up = pulses(moves, torch.ones_like(moves.start_s), torch.zeros_like(moves.start_s))
    assert up.max() > 0.9 and up.min() >= -1e-5


def test_rich_motion_stays_in_its_ranges_and_follows_the_seed():
    asked = torch.cartesian_prod(*(torch.arange(len(choices)) for choices in CONTROLS.values()))
    visemes, loudness = speech(B=len(asked))
    motion = talk(visemes, loudness, asked, generator(1), world="rich")
    low, high = (torch.tensor([getattr(trait, end) for trait in MOTION]) for end in ("low", "high"))
    assert ((motion >= low) & (motion <= high)).all()
    assert torch.equal(motion, talk(visemes, loudness, asked, generator(1), world="rich"))
    moves = motion.std(1).mean(0) > 1e-4
    still = {trait.name for trait, moving in zip(MOTION, moves.tolist(), strict=True) if not moving}
    assert still == {"zoom", "light_warm", "light_cool", "light_spot", "lip_press", "lip_tuck", "lip_rounding",
                     "mouth_width", "teeth", "tongue", "lid_raise", "brow_frown"}


def test_the_same_speech_moves_differently_each_time():
    """Across people who say the same: head, hands and the size of the opening differ; when it closes hardly."""
    visemes, loudness = (part[:1].expand(64, *part.shape[1:]) for part in speech())
    motion = talk(visemes, loudness, controls(64, gesture=1), generator(1), world="rich")
    across = motion.std(0).mean(0)
    least = {"head_yaw": 0.15, "head_pitch": 0.06, "head_roll": 0.02, "lean": 0.01, "left_shoulder": 0.1,
             "left_hand_x": 0.04, "right_hand_y": 0.1, "left_hand_curl": 0.15, "mouth_aperture": 0.05}
    assert all(across[motion_index(name)] > value for name, value in least.items())


@pytest.mark.parametrize(("gesture", "moving"), [(0, ()), (1, ("left", "right")), (2, ("right",)), (3, ("left",))])
def test_a_gesture_moves_the_hands_it_names(gesture, moving):
    visemes, loudness = speech(B=8, T=120)
    motion = talk(visemes, loudness, controls(8, gesture), generator(1), world="rich")
    for side in ("left", "right"):
        path = motion[..., [motion_index(f"{side}_hand_x"), motion_index(f"{side}_hand_y")]]
        assert (path.std(1).amax() > 0.02) == (side in moving)


def test_a_lively_talker_of_the_rich_world_moves_more():
    visemes, loudness = speech(B=48, T=150)
    calm, lively = (talk(visemes, loudness, controls(48, 1, energy), generator(1), world="rich") for energy in (0, 2))
    for name in ("left_hand_y", "head_yaw"):
        path = [motion[..., motion_index(name)].diff(dim=1).abs().mean() for motion in (calm, lively)]
        assert path[1] > 1.5 * path[0], name


# ---------------------------------------------------------------- lips

def test_speakers_open_their_mouths_more_or_less_and_never_while_it_is_closed():
    visemes, loudness = (part[:1].expand(200, *part.shape[1:]) for part in speech(T=100))
    visemes = visemes * (torch.arange(100) < 50)[:, None]                   # then silence
    said = articulate(Dice(200, generator(1), "cpu"), visemes, loudness)
    gain = said[:, :50, 0].mean(1) / visemes[:, :50, 0].mean(1)
    assert GAIN[0] * 0.85 < gain.min() < 0.75 and 1.25 < gain.max() < GAIN[1] * 1.15
    assert said[:, 53:].abs().max() == 0


def test_lips_follow_the_sound_though_each_syllable_is_early_or_late():
    """On recorded speech: what is drawn keeps most of the usual curve, and is on time on the whole."""
    spoken = samples()["steps"]
    curves = viseme_curves(spoken.phonemes, spoken.duration_s)[:120]
    visemes, loudness = curves[None].expand(64, -1, -1), loudness_envelope(spoken.wave)[:120].expand(64, -1)
    said = articulate(Dice(64, generator(1), "cpu"), visemes, loudness)[..., 0]
    assert 0.92 < temporal_correlation(said, visemes[..., 0]).mean() < 0.98
    assert lag(said, visemes[..., 0]).frames.abs().max() < 0.6
    syllable = syllables(visemes[:1, :, 0], loudness[:1])
    late_s = onsets(Dice(1, generator(1), "cpu"), syllable) / FPS
    assert 0.005 < late_s.std() < 2 * ONSET_S and late_s.abs().max() <= 2 * ONSET_S


def test_curves_are_read_between_frames():
    curve = torch.arange(10.0)[None, :, None]
    assert shifted(curve, torch.full((1, 10), 0.25))[0, 3:6, 0].tolist() == [2.75, 3.75, 4.75]
    assert shifted(curve, torch.full((1, 10), -2.0))[0, -3:, 0].tolist() == [9, 9, 9]
