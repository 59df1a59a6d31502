"""The two worlds: the plain one stays as it was, the rich one leaves pose, hands, mouth and texture to chance."""

import json
from dataclasses import replace

import numpy
import pytest
import torch
from test_avatars import pose

from liveavatar.avatars import (
    LANDMARKS,
    avatar,
    compiled_renderer,
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
from liveavatar.avatars.rich.noise import PERIOD, REACH, noise, shuffled
from liveavatar.avatars.traits import IDENTITY, PLAIN_TRAITS, completed
from liveavatar.runfolder import RunFolder
from liveavatar.types import InputError, Speech

SMALL = (64, 64)
OLD_MOTION = motion_index("lean")               # columns of version 0.1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def person(**traits):
    identity = random_identities(1, generator(5), world="rich")
    for name, value in ({"glasses": 0.0, "beard": 0.0, "moustache": 0.0} | traits).items():
        identity[0, identity_index(name)] = value
    return identity


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

    portrait = avatar(3, (48, 48), world="plain")
    save_portrait(portrait, tmp_path / "new.png")
    with Image.open(tmp_path / "new.png") as picture:
        values, notes = json.loads(picture.text[CHUNK]), PngInfo()
        notes.add_text(CHUNK, json.dumps({trait.name: values[trait.name] for trait in IDENTITY[:PLAIN_TRAITS]}))
        picture.save(tmp_path / "old.png", pnginfo=notes)
    assert torch.equal(read_identity(tmp_path / "old.png"), portrait.identity)
    assert torch.equal(completed(portrait.identity[:PLAIN_TRAITS]), portrait.identity)


def test_a_run_of_an_older_version_can_be_resumed(tmp_path):
    """Its folder holds an identity of fewer columns."""
    portrait = avatar(3, (48, 48), world="plain")
    old = replace(portrait, identity=portrait.identity[:PLAIN_TRAITS].clone())
    asked = {"portrait": {"source": old.source, "sha256": old.sha256}, "prompt": {"text": "hello"}}
    silence = Speech(numpy.zeros(16000, numpy.float32), 16000)
    folder = RunFolder.create(tmp_path / "run", {"inputs": asked}, silence, old)
    _, found, _ = folder.inputs()
    assert torch.equal(found.identity, portrait.identity) and torch.equal(found.pixels, portrait.pixels)


def test_the_worlds_share_people_but_not_the_drawing(tmp_path):
    plain, rich = avatar(7, SMALL, world="plain"), avatar(7, SMALL)
    assert torch.equal(plain.identity[:PLAIN_TRAITS], rich.identity[:PLAIN_TRAITS])
    assert (plain.pixels - rich.pixels).abs().mean() > 0.02
    save_portrait(rich, tmp_path / "rich.png")
    assert torch.equal(read_identity(tmp_path / "rich.png"), rich.identity)
    both = torch.stack([plain.identity, rich.identity])
    together = render(both, rest_pose(2), SMALL)
    for place in range(2):
        torch.testing.assert_close(together[place:place + 1], render(both[place:place + 1], rest_pose(1), SMALL))


def silent(world):
    return talk(torch.zeros(1, 4, 7), torch.zeros(1, 4), torch.zeros(1, 4).long(), world=world)


@pytest.mark.parametrize("draw", [lambda world: random_identities(1, world=world), lambda world: avatar(1, world=world),
                                  lambda world: compiled_renderer(SMALL, world), silent])
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
