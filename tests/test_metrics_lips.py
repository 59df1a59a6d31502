"""Lips: planted delays come back, shapes are recognised, and what cannot be said is not said."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from talking import FPS, late, talking

from liveavatar.avatars.renderer import render
from liveavatar.avatars.traits import motion_index
from liveavatar.metrics.alignment import align, align_pictures, vowel_envelope
from liveavatar.metrics.lips import (
    SHAPES,
    lip_error,
    mouth_opening,
    offset_curve,
    offset_track,
    phoneme_report,
    shape_of,
    true_opening,
)
from liveavatar.metrics.reader import as_uint8, load_reader, read_face
from liveavatar.speech import VISEME_PARAMETERS, VISEMES, samples, viseme_curves
from liveavatar.types import InputError, Phoneme, Speech

READABLE = [VISEME_PARAMETERS.index(name) for name in ("aperture", "width", "rounding", "teeth", "press")]


# ------------------------------------------------------------------------------------------------ the reader

def test_the_opening_read_off_true_pictures_is_the_true_opening():
    clip = talking()
    opening = mouth_opening(clip.frames[:24].numpy())
    assert (opening - clip.motion[:24, 0]).abs().mean() < 0.04
    torch.testing.assert_close(opening, clip.reading["mouth_aperture"][:24], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(96, 160), (160, 96)])
def test_wide_and_tall_pictures_are_read_like_square_ones(size):
    clip = talking()
    places = torch.arange(0, 72, 9)
    frames = as_uint8(render(clip.identity.expand(8, -1), clip.motion[places], size))
    reading = read_face(frames)
    assert (reading["mouth_aperture"] - clip.motion[places, 0]).abs().mean() < 0.06
    assert (reading["head_y"] - clip.motion[places, motion_index("head_y")]).abs().mean() < 0.015


def test_the_reader_is_loaded_once():
    assert load_reader() is load_reader()


def test_frames_of_another_kind_are_refused():
    with pytest.raises(InputError, match=r"give \(T, H, W, 3\) uint8"):
        read_face(torch.zeros(4, 3, 64, 64))


# ------------------------------------------------------------------------------------------------ one delay

@pytest.mark.parametrize("planted", range(-5, 6))
def test_a_planted_delay_is_recovered_within_a_fifth_of_a_frame(planted):
    clip = talking()
    truth = true_opening(clip.speech, len(clip.frames))
    curve = offset_curve(late(clip.reading["mouth_aperture"], planted), late(truth, 0))
    assert curve.best_frames == pytest.approx(planted, abs=0.2)
    assert curve.best_ms == pytest.approx(40 * planted, abs=8)
    assert curve.peak > 0.95


def test_equal_curves_have_no_delay_at_all():
    curve = offset_curve(truth := true_opening(samples()["river"], 80), truth)
    assert curve.best_ms == 0 and curve.peak == pytest.approx(1)
    assert curve.lags_ms[0] == -400 and curve.lags_ms[-1] == 400


def test_a_delay_between_frames_is_found():
    speech = samples()["welcome"]
    moved = tuple(Phoneme(one.symbol, one.start_s + 0.2 + 0.014, one.end_s + 0.2 + 0.014) for one in speech.phonemes)
    still = tuple(Phoneme(one.symbol, one.start_s + 0.2, one.end_s + 0.2) for one in speech.phonemes)
    first, second = (viseme_curves(sounds, 5.0)[:, 0] for sounds in (moved, still))
    assert offset_curve(first, second).best_ms == pytest.approx(14, abs=3)


def test_a_mouth_that_stands_still_has_no_delay():
    curve = offset_curve(torch.zeros(60), true_opening(samples()["river"], 60))
    assert not curve.applies and math.isnan(curve.best_ms) and "does not move" in curve.reason


def test_too_few_frames_are_too_few():
    curve = offset_curve(np.random.rand(12), np.random.rand(12))
    assert not curve.applies and "12 frames are too few" in curve.reason


def test_curves_of_different_length_are_refused():
    with pytest.raises(InputError, match="cut them to the shorter one"):
        offset_curve(torch.rand(60), torch.rand(61))


# ------------------------------------------------------------------------------------------------ delay through time

def test_a_delay_that_changes_is_followed():
    truth = true_opening(samples()["steps"], 160)
    half = torch.cat([truth[:80], truth[76:156]])                   # the second half is 4 frames late
    track = offset_track(half, truth[:160])
    first, second = track.time_s < 2.4, track.time_s > 4.0
    assert track.offset_ms[first].nanmedian().item() == pytest.approx(0, abs=8)
    assert track.offset_ms[second].nanmedian().item() == pytest.approx(160, abs=8)


def test_pieces_that_agree_with_nothing_have_no_delay():
    truth = true_opening(samples()["steps"], 120)
    noise = torch.rand(120, generator=torch.Generator().manual_seed(0))
    assert offset_track(noise, truth).agreeing < 0.4
    assert offset_track(truth, truth).agreeing == pytest.approx(1)


def test_lip_error_of_a_late_mouth():
    clip = talking()
    truth = true_opening(clip.speech, len(clip.frames))
    right = lip_error(clip.reading["mouth_aperture"], truth)
    assert abs(right.late_frames) < 0.2 and right.error_frames < 0.2 and right.fraction < 0.04
    wrong = lip_error(late(clip.reading["mouth_aperture"], 3), late(truth, 0))
    assert wrong.late_frames == pytest.approx(3, abs=0.2) and wrong.error_frames == pytest.approx(3, abs=0.2)
    assert wrong.fraction > 3 * right.fraction and wrong.correlation < right.correlation


def test_recorded_speech_has_no_true_curve():
    with pytest.raises(InputError, match="phonemes of this speech are not known"):
        true_opening(Speech(np.zeros(1600, np.float32), 16_000), 2)


# ------------------------------------------------------------------------------------------------ sound by sound

def test_every_viseme_is_recognised_by_its_own_shape():
    for number, visemes in enumerate(SHAPES.values()):
        mouths = torch.tensor([[VISEMES[viseme][column] for column in READABLE] for viseme in visemes])
        assert shape_of(mouths).tolist() == [number] * len(visemes)


@pytest.mark.parametrize("clip", ["welcome", "river", "steps"])
def test_true_curves_keep_as_much_as_can_be_kept(clip):
    speech = samples()[clip]
    T = math.floor(speech.duration_s * FPS)
    report = phoneme_report(viseme_curves(speech.phonemes, T / FPS)[:, READABLE], speech)
    for check in report.checks:
        assert check.of == 0 or check.share == check.reachable >= 0.5
    assert report.confusion.accuracy == report.confusion.reachable > 0.6
    assert report.confusion.counts.sum() == sum(one.viseme not in ("k", "h", "schwa") for one in report.sounds)


def test_true_videos_make_the_shapes_and_late_ones_do_not():
    clip = talking()
    right = phoneme_report(clip.reading, clip.speech)
    assert right.check("bilabial closure").share >= 0.8 and right.check("closed in silence").share > 0.8
    moved = replace(clip.reading, motion=clip.reading.motion.roll(5, 0))
    assert phoneme_report(moved, clip.speech).confusion.accuracy < right.confusion.accuracy - 0.2


def test_lips_that_never_close_are_seen():
    clip = talking()
    open_motion = clip.reading.motion.clone()
    open_motion[:, 0] = open_motion[:, 0].clamp(min=0.3)
    report = phoneme_report(replace(clip.reading, motion=open_motion), clip.speech)
    assert report.check("bilabial closure").share == 0 and report.check("closed in silence").share == 0
    assert not any(one.kept for one in report.sounds if one.viseme == "p")


def test_without_phonemes_only_silence_can_be_judged():
    clip = talking()
    report = phoneme_report(clip.reading, replace(clip.speech, phonemes=()))
    assert not report.applies and [check.name for check in report.checks] == ["closed in silence"]


# ------------------------------------------------------------------------------------------------ without ground truth

@pytest.mark.parametrize("planted", [-5, -2, 0, 3, 5])
def test_loudness_alone_finds_a_delay_within_a_frame(planted):
    clip = talking()
    opening = torch.nn.functional.pad(clip.reading["mouth_aperture"], (5, 5))[5 - planted:5 - planted + 72]
    found = align(opening, clip.speech)
    assert found.applies and found.late_ms == pytest.approx(40 * planted, abs=40)
    assert found.noticeable == (planted in (-5, 3, 5))


@pytest.mark.parametrize("clip", ["welcome", "river", "steps"])
def test_the_bias_of_loudness_is_small(clip):
    speech = samples()[clip]
    found = align(true_opening(speech, 130), speech)
    assert abs(found.late_ms) < 3 * found.spread_ms and 0.4 < found.peak < 0.9


def test_the_envelope_has_no_delay_of_its_own():
    wave = np.zeros(32_000, np.float32)
    wave[16_000 - 800:16_000 + 800] = np.sin(2 * np.pi * 1000 / 16_000 * np.arange(1600))   # 0.1 s around 1 s
    envelope = vowel_envelope(Speech(wave, 16_000), 60)
    assert envelope.argmax() in (24, 25) and envelope[24] == pytest.approx(envelope[25].item(), rel=0.05)
    assert envelope[55] == 0


def test_noise_instead_of_a_mouth_is_not_aligned():
    noise = torch.rand(72, generator=torch.Generator().manual_seed(4))
    found = align(noise, samples()["steps"])
    assert not found.applies and "agree" in found.reason and math.isnan(found.late_ms)


# ------------------------------------------------------------------------------------------------ without a face model

@pytest.mark.parametrize("planted", [-5, -1, 0, 2, 5])
def test_pixels_alone_find_a_delay_within_half_a_frame(planted):
    clip = talking()
    frames = clip.frames.roll(planted, 0)[max(planted, 0):72 + min(planted, 0)]         # without what rolled over
    sound = replace(clip.speech, wave=clip.speech.wave[640 * max(planted, 0):])
    found = align_pictures(frames, sound)
    assert found.applies and found.late_ms == pytest.approx(40 * planted, abs=20)
    assert found.track.offset_ms.nanmedian().item() == pytest.approx(40 * planted, abs=20)


def test_the_sound_of_another_video_is_refused():
    found = align_pictures(talking().frames, samples()["welcome"])
    assert not found.applies and math.isnan(found.late_ms) and "no place in the picture" in found.reason


def test_a_still_picture_goes_with_no_sound():
    found = align_pictures(talking().frames[:1].expand(60, -1, -1, -1), samples()["steps"])
    assert not found.applies and "do not change" in found.reason
