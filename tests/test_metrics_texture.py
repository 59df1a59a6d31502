"""Texture: known values of the plain measures; blur, noise and flicker that were planted are found."""

import math

import pytest
import torch
from talking import talking

from liveavatar.avatars.motion import talk
from liveavatar.avatars.renderer import render
from liveavatar.avatars.sampling import random_identities
from liveavatar.avatars.traits import motion_index
from liveavatar.metrics.nearest import HEAD, boxes, guess, nearest_truth, paint, within_range
from liveavatar.metrics.reader import as_uint8, read_face
from liveavatar.metrics.texture import ear_lobes, flicker, part, psnr_db, sample_places, spectrum, ssim, texture

PLACES = torch.tensor([8, 40])


# ------------------------------------------------------------------------------------------------ plain measures

def test_psnr_of_known_errors():
    truth = torch.full((2, 3, 8, 8), 0.5)
    wrong = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert psnr_db(wrong, truth).tolist() == pytest.approx([20, 40], abs=1e-3)


def test_ssim_of_known_pictures():
    picture = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert ssim(picture, picture).item() == pytest.approx(1)
    a, b = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 16, 16), 0.6)
    assert ssim(a, b).item() == pytest.approx((2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4), abs=1e-5)
    inverted = 1 - picture                              # the same structure upside down
    assert ssim(picture, inverted).item() < 0


def test_ssim_needs_a_whole_window():
    with pytest.raises(ValueError, match="smaller than the window"):
        ssim(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))


# ------------------------------------------------------------------------------------------------ the nearest truth

@pytest.mark.parametrize(("world", "shadow"), [("plain", 1e-4), ("rich", 0.05)])    # rich sleeves cast a soft shadow
def test_boxes_are_painted_as_the_whole_picture_is(world, shadow):
    clip = talking()
    motion = clip.motion[PLACES]
    who = random_identities(1, torch.Generator().manual_seed(3), world=world).expand(2, -1)
    whole = render(who, motion, (96, 96))
    where = boxes(whole, who, motion)
    difference = (paint(who, motion, where) - where.pictures).abs().amax(1)
    assert (difference * where.clear).max() < shadow and where.clear.mean() > 0.7
    assert where.pictures.shape[-1] > 40


@torch.inference_mode()
def test_the_pose_of_a_true_picture_is_found_again():
    clip = talking()
    reading = part(clip.reading, PLACES)
    found = nearest_truth(clip.frames[PLACES], reading, clip.identity)
    first = guess(reading)
    sought = [motion_index(name) for name in HEAD]
    error, before = ((motion - clip.motion[PLACES])[:, sought].abs().mean() for motion in (found.motion, first))
    assert error < before
    who = clip.identity.expand(2, -1)
    where = boxes(clip.frames[PLACES].permute(0, 3, 1, 2) / 255, who, found.motion)
    assert psnr_db(found.seen, found.true).mean() > psnr_db(where.pictures, paint(who, first, where)).mean() + 3


@pytest.mark.parametrize("size", [(96, 160), (160, 96)])
def test_wide_and_tall_pictures_are_compared_as_well(size):
    clip = talking()
    frames = as_uint8(render(clip.identity.expand(2, -1), clip.motion[PLACES], size))
    found = texture(frames, clip.identity, samples=2, check=0)
    assert found.psnr_db > 21 and found.ssim > 0.8


def test_mood_and_light_are_told_apart():
    clip = talking()
    visemes, loudness = clip.motion[:8, :7], torch.full((8,), 0.3)
    dice = torch.Generator().manual_seed(1)
    motion = talk(visemes[None], loudness[None], torch.tensor([[0, 3, 1, 1]]), dice)[0, 3:5]    # surprised, warm
    frames = as_uint8(render(clip.identity.expand(2, -1), motion, (96, 96)))
    found = nearest_truth(frames, read_face(frames), clip.identity).motion
    assert found[:, motion_index("light_warm")].tolist() == [1, 1]
    assert found[:, motion_index("lid_raise")].min() > 0.3


def test_the_jaw_follows_the_mouth():
    motion = talking().motion[:2].clone()
    motion[:, motion_index("mouth_aperture")] = 2.0
    assert within_range(motion)[:, motion_index("jaw")].tolist() == pytest.approx([1.2, 1.2])


# ------------------------------------------------------------------------------------------------ texture

@pytest.fixture(scope="module")
def of_truth():
    clip = talking()
    return texture(clip.frames, clip.identity, clip.reading, samples=2, check=1)


def blur(frames, sigma):
    from liveavatar.metrics.texture import blurred
    planes = blurred(frames.permute(0, 3, 1, 2).flatten(0, 1).float() / 255, sigma, 6)
    return as_uint8(planes.unflatten(0, (-1, 3)))


def test_true_pictures_are_near_their_truth(of_truth):
    assert of_truth.applies and of_truth.psnr_db > 24 and of_truth.ssim > 0.85
    assert 0.85 < of_truth.kept < 1.15 and of_truth.in_place > 0.65
    assert of_truth.reachable_psnr_db > 22 and of_truth.sampled == (18, 54)


def test_blur_costs_texture_the_more_the_stronger(of_truth):
    clip = talking()
    found = [texture(blur(clip.frames, sigma), clip.identity, clip.reading, samples=2, check=0) for sigma in (0.8, 1.6)]
    assert of_truth.kept > found[0].kept + 0.2 > found[1].kept + 0.3
    assert of_truth.ssim > found[0].ssim > found[1].ssim
    assert of_truth.psnr_db > found[1].psnr_db + 2


def test_noise_is_detail_that_is_not_in_its_place(of_truth):
    clip = talking()
    noise = 20 * torch.randn(clip.frames.shape, generator=torch.Generator().manual_seed(0))
    found = texture((clip.frames + noise).clamp(0, 255).byte(), clip.identity, clip.reading, samples=2, check=0)
    assert found.kept > of_truth.kept + 0.2
    assert found.in_place == pytest.approx(of_truth.in_place, abs=0.12)
    assert math.isnan(found.reachable_psnr_db)


def test_a_face_nobody_knows_has_no_truth():
    found = texture(talking().frames, None)
    assert not found.applies and "identity of the portrait" in found.reason and math.isnan(found.psnr_db)


def test_samples_lie_evenly():
    assert sample_places(100, 4).tolist() == [12, 37, 62, 87]
    assert sample_places(2, 4).tolist() == [0, 1]


# ------------------------------------------------------------------------------------------------ flicker

def test_a_sine_is_a_line_of_its_own_height():
    t = torch.arange(100) / 25
    line = spectrum(128 + 3 * torch.sin(2 * math.pi * 6.25 * t) + 10 * t, fps=25)
    assert line.peak_hz == 6.25 and line.peak_levels == pytest.approx(3, rel=0.1)
    assert line.prominence > 30
    noise = spectrum(torch.randn(100, generator=torch.Generator().manual_seed(0)), fps=25)
    assert noise.prominence < 4


def test_still_walls_do_not_flicker_and_planted_flicker_is_seen():
    clip = talking()
    still = flicker(clip.frames, clip.reading)
    assert still.still < 0.05 and still.vbench > 0.999 and still.spectra["wall"].peak_levels < 0.05
    beat = 4 * torch.cos(2 * math.pi * torch.arange(72) / 12)[:, None, None, None]               # once a block
    found = flicker((clip.frames + beat).clamp(0, 255).byte(), clip.reading)
    assert found.spectra["wall"].peak_hz == pytest.approx(25 / 12, abs=0.35)
    assert found.spectra["wall"].peak_levels > 2 and found.still > 0.5


def test_flicker_of_an_ear_lobe_is_found_where_the_ear_is():
    clip = talking()
    H, W = clip.frames.shape[1:3]
    before = flicker(clip.frames, clip.reading)
    lobes = ear_lobes(clip.frames, clip.reading)
    assert lobes.shape == (72, 2)
    beat = 12 * torch.cos(2 * math.pi * torch.arange(72) / 4)[:, None, None, None]               # once a latent frame
    mask = torch.zeros(H, W, 1)
    mask[H // 4:3 * H // 4] = 1                                                                  # ears, not the wall
    found = flicker((clip.frames + beat * mask).clamp(0, 255).byte(), clip.reading)
    assert found.spectra["ears"].peak_hz == pytest.approx(6.25, abs=0.35)
    assert found.spectra["ears"].peak_levels > before.spectra["ears"].peak_levels + 3
    assert found.spectra["wall"].peak_levels < 4


def test_too_few_pictures_do_not_flicker():
    assert not flicker(talking().frames[:8]).applies


def test_a_jump_at_every_block_is_a_seam():
    frames = torch.full((48, 64, 64, 3), 100, dtype=torch.uint8)
    frames += (torch.arange(48) % 2)[:, None, None, None].byte()
    frames[12:24] += 20
    frames[36:] += 20
    assert flicker(frames).seam > 5
    assert flicker(frames, block_frames=10).seam < 1.5
