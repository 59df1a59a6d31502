"""The two worlds: the plain one stays as it was, the rich one leaves pose, hands, mouth and texture to chance."""

import json

import pytest
import torch

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import (
    CONTROLS,
    LANDMARKS,
    MOTION,
    avatar,
    identity_index,
    landmarks,
    motion_index,
    portrait_pose,
    random_identities,
    read_identity,
    render,
    rest_pose,
    save_portrait,
    talk,
)
from liveavatar.avatars.portraits import CHUNK
from liveavatar.avatars.regions import REGIONS, regions
from liveavatar.avatars.rich.articulation import GAIN, ONSET_S, articulate, onsets, syllables
from liveavatar.avatars.rich.movements import FPS, minimum_jerk, movements, pulses, shifted, visited
from liveavatar.avatars.rich.noise import PERIOD, REACH, noise, shuffled
from liveavatar.avatars.sampling import Dice
from liveavatar.avatars.traits import IDENTITY, PLAIN_TRAITS, completed
from liveavatar.metrics.quality import lag, temporal_correlation
from liveavatar.speech import samples, viseme_curves
from liveavatar.types import InputError

SMALL = (64, 64)
OLD_MOTION = motion_index("lean")               # columns of version 0.1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def person(**traits):
    identity = random_identities(1, generator(5), world="rich")
    for name, value in ({"glasses": 0.0, "beard": 0.0, "moustache": 0.0} | traits).items():
        identity[0, identity_index(name)] = value
    return identity


def pose(**traits):
    motion = rest_pose(1)
    for name, value in traits.items():
        motion[0, motion_index(name)] = value
    return motion


def speech(B=4, T=60, seed=3):
    """Mouths that open about four times a second, and the loudness that goes with them."""
    time_s = torch.arange(T) / FPS
    opening = (0.5 - 0.5 * torch.cos(2 * torch.pi * (4 * time_s + torch.rand(B, 1, generator=generator(seed)))))
    visemes = torch.zeros(B, T, 7)
    visemes[..., 0] = 0.8 * opening
    return visemes, opening


def controls(B, gesture=0, energy=1):
    return torch.tensor([[gesture, 0, 0, energy]]).expand(B, -1)


# ---------------------------------------------------------------- the plain world stays

def checksum(values):
    """Two numbers that tell whether a table changed."""
    values = values.double().flatten()
    wave = torch.sin(torch.arange(len(values), dtype=torch.float64))
    return [(values * wave).sum().item(), values.square().sum().item()]


def test_the_plain_world_draws_and_moves_as_before():
    """People, motions, poses and pictures of version 0.1, from the same generator."""
    dice = generator(11)
    people = random_identities(8, dice)
    visemes, loudness = torch.rand(8, 40, 7, generator=dice), torch.rand(8, 40, generator=dice)
    motion = talk(visemes, loudness, torch.randint(0, 3, (8, 4), generator=dice), dice)
    poses = portrait_pose(8, dice)
    found = [checksum(people[:, :PLAIN_TRAITS]), checksum(motion[..., :OLD_MOTION]), checksum(poses[:, :OLD_MOTION]),
             checksum(render(people, motion[:, 20], (64, 64))), checksum(render(people, poses, (48, 80)))]
    assert found == [pytest.approx(pair, rel=1e-4, abs=2e-3) for pair in
                     ([28.4682, 1942.4196], [19.2839, 2854.6687], [0.9363, 51.0733], [39.0572, 45794.3632],
                      [22.2891, 54998.5172])]
    assert (motion[..., OLD_MOTION:] == 0).all() and (people[:, identity_index("detail")] == 0).all()


def test_a_portrait_of_an_older_version_is_still_read(tmp_path):
    """Its file does not name the newer traits: they take their defaults, and it is drawn plain."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    portrait = avatar(3, (48, 48))
    save_portrait(portrait, tmp_path / "new.png")
    with Image.open(tmp_path / "new.png") as picture:
        values, notes = json.loads(picture.text[CHUNK]), PngInfo()
        notes.add_text(CHUNK, json.dumps({trait.name: values[trait.name] for trait in IDENTITY[:PLAIN_TRAITS]}))
        picture.save(tmp_path / "old.png", pnginfo=notes)
    assert torch.equal(read_identity(tmp_path / "old.png"), portrait.identity)
    assert torch.equal(completed(portrait.identity[:PLAIN_TRAITS]), portrait.identity)


def test_the_worlds_share_people_but_not_the_drawing(tmp_path):
    plain, rich = avatar(7, SMALL), avatar(7, SMALL, world="rich")
    assert torch.equal(plain.identity[:PLAIN_TRAITS], rich.identity[:PLAIN_TRAITS])
    assert (plain.pixels - rich.pixels).abs().mean() > 0.02
    save_portrait(rich, tmp_path / "rich.png")
    assert torch.equal(read_identity(tmp_path / "rich.png"), rich.identity)
    both = torch.stack([plain.identity, rich.identity])
    together = render(both, rest_pose(2), SMALL)
    for place in range(2):
        torch.testing.assert_close(together[place:place + 1], render(both[place:place + 1], rest_pose(1), SMALL))


@pytest.mark.parametrize("draw", [lambda world: random_identities(1, world=world), lambda world: avatar(1, world=world),
                                  lambda world: talk(*speech(), controls(4), world=world)])
def test_an_unknown_world_is_refused(draw):
    with pytest.raises(InputError, match="world is 'poor'; choose from 'plain', 'rich'"):
        draw("poor")


# ---------------------------------------------------------------- drawing

@pytest.mark.parametrize("size", [(128, 128), (96, 160), (160, 96)])
def test_rich_pictures_are_drawn_at_any_size(size):
    people = random_identities(2, generator(1), world="rich")
    picture = render(people, portrait_pose(2, generator(1)), size)
    assert picture.shape == (2, 3, *size) and picture.isfinite().all()
    assert picture.min() >= 0 and picture.max() <= 1


def test_a_rich_picture_is_the_same_at_twice_the_size():
    people, poses = random_identities(4, generator(2), world="rich"), portrait_pose(4, generator(2))
    small, large = (render(people, poses, size) for size in ((96, 96), (192, 192)))
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.015


def test_a_closed_smile_raises_the_corners_more_than_in_the_plain_world():
    plain = random_identities(1, generator(5))
    rise = {}
    for world, who in (("plain", plain), ("rich", person())):
        level, smiling = (landmarks(who, pose(smile=smile), (256, 256))[0, LANDMARKS.index("mouth_left"), 1]
                          for smile in (0.0, 0.85))
        rise[world] = (level - smiling).item()
    assert rise["rich"] > 1.4 * rise["plain"] > 0


def test_a_serious_look_leaves_the_pupils_in_sight():
    who = person(hairline=-0.3, hair_fringe=0.0, hair_sides=-0.1, hair_slope=0.0)
    motion = pose(lid_raise=-0.75, brow_frown=0.9, smile=-0.55)
    picture = render(who, motion, (256, 256))
    for side in ("left", "right"):
        column, row = landmarks(who, motion, (256, 256))[0, LANDMARKS.index(f"{side}_eye")].floor().long().tolist()
        assert picture[0, :, row, column].max() < 0.3


@pytest.mark.parametrize("trait", IDENTITY[PLAIN_TRAITS + 1:], ids=lambda trait: trait.name)
def test_every_trait_of_the_rich_world_is_seen(trait):
    motion, others = pose(mouth_aperture=0.5, jaw=0.5, teeth=0.9), {"foliage": 0.8, "teeth_uneven": 1.0}
    low, high = (render(person(**others | {trait.name: value}), motion, (192, 192))
                 for value in (trait.low, trait.high))
    assert (low - high).abs().amax() > 0.05


def test_a_closed_mouth_hides_the_teeth():
    teeth = {"teeth_tint": 1.0, "teeth_gap": 1.0, "teeth_width": 1.25, "teeth_uneven": 1.0}
    for aperture, seen in ((0.0, False), (0.5, True)):
        motion = pose(mouth_aperture=aperture, jaw=aperture, teeth=0.9)
        plain, changed = (render(person(**traits), motion, SMALL)
                          for traits in ({"teeth_tint": 0.0, "teeth_gap": 0.0}, teeth))
        assert ((plain - changed).abs().amax() > 0.02) == seen


def test_a_seed_moves_the_pattern_and_keeps_the_brightness():
    one, other = (render(person(hair_seed=seed, cloth_seed=seed, scene_seed=seed, skin_seed=seed), pose(), (128, 128))
                  for seed in (0.2, 0.8))
    assert (one - other).abs().mean() > 0.01
    assert (one.mean((2, 3)) - other.mean((2, 3))).abs().max() < 0.02


def test_the_permutation_is_exact_in_single_precision():
    """A CPU and a GPU, with fused operations or not, must find the same whole numbers."""
    count = torch.arange(-REACH, REACH + 1)
    assert torch.equal(shuffled(count.float()).long(), (26 * count + 1) * count % PERIOD)


def test_noise_fills_its_range_evenly():
    values = noise(torch.rand(20000, generator=generator(1)) * 200, torch.rand(20000, generator=generator(2)) * 200)
    assert values.min() >= 0 and values.max() <= 1
    assert abs(values.mean() - 0.5) < 0.02 and values.std() > 0.15


def test_shoulders_rise_and_the_trunk_leans():
    for trait, value in (("left_shoulder", 1.0), ("right_shoulder", 1.0), ("lean", 0.08)):
        changed = (render(person(), pose(), SMALL) - render(person(), pose(**{trait: value}), SMALL)).abs().amax(1)[0]
        assert changed[40:].max() > 0.1 and changed[:20, 24:40].max() < 0.02
    left = (render(person(), pose(), SMALL) - render(person(), pose(left_shoulder=1.0), SMALL)).abs().amax(1)[0]
    assert left[:, :32].sum() > 5 * left[:, 32:].sum()


def test_regions_tell_hair_clothes_background_and_teeth_apart():
    who, motion = person(hair_length=0.0, hairline=-0.3), pose(mouth_aperture=0.6, jaw=0.6, teeth=0.9)
    found = regions(who, motion, (128, 128))[0]
    where = {"hair": (22, 64), "cloth": (120, 64), "background": (6, 6)}
    for name, (row, column) in where.items():
        shown = dict(zip(REGIONS, found[:, row, column].tolist(), strict=True))
        assert shown == {region: region == name for region in REGIONS}
    column, row = landmarks(who, motion, (128, 128))[0, LANDMARKS.index("lip_upper")].round().long().tolist()
    assert found[REGIONS.index("teeth"), row + 1:row + 5, column - 4:column + 5].float().mean() > 0.6


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
