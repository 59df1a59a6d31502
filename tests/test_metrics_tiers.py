"""Read-outs of the four tiers: right on known pictures, and they say after which step each tier is decided."""

import pytest
import torch
from talking import talking

from liveavatar.avatars import IDENTITY, MOTION, motion_index, random_identities, render, rest_pose, talk
from liveavatar.avatars.regions import REGIONS, regions
from liveavatar.avatars.traits import identity_index
from liveavatar.metrics.regressor import MOUTH, Reading
from liveavatar.metrics.texture import blurred
from liveavatar.metrics.tiers import (
    IDENTITY_TARGETS,
    MOTION_TARGETS,
    accuracy,
    decision,
    expected_picture,
    inner,
    mean_decision,
    read_texture,
    readable,
    teeth_values,
    texture_values,
    tier_values,
)
from liveavatar.types import InputError

SIZE = (160, 160)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def people(count=2, **seeds):
    who = random_identities(count, generator(4), world="rich")
    for name, value in seeds.items():
        who[:, identity_index(name)] = value
    return who


def softened(pictures, sigma_px):
    return blurred(pictures.flatten(0, 1), sigma_px, 8).view_as(pictures)


# ---------------------------------------------------------------- values

def test_targets_are_traits():
    assert {name for names in MOTION_TARGETS.values() for name in names} <= {trait.name for trait in MOTION}
    assert {name for names in IDENTITY_TARGETS.values() for name in names} <= {trait.name for trait in IDENTITY}


def test_values_are_shares_of_ranges():
    motion = torch.stack([torch.tensor([getattr(trait, end) for trait in MOTION]) for end in ("low", "high")])
    for tier, names in MOTION_TARGETS.items():
        torch.testing.assert_close(tier_values(motion, tier), torch.tensor([[0.0], [1.0]]).expand(-1, len(names)))
    assert teeth_values(people()).shape == (2, len(IDENTITY_TARGETS["mouth"]))
    with pytest.raises(InputError, match="tier is 'texture'"):
        tier_values(motion, "texture")


def test_a_regressor_that_reads_nothing_of_a_tier_is_named():
    reading = Reading(torch.zeros(3, 5), torch.zeros(3, 4, 3), torch.zeros(3, 3), torch.zeros(3, 192), MOUTH)
    with pytest.raises(InputError, match="nothing of the tier 'pose'.*head_yaw"):
        tier_values(reading, "pose")


def test_true_videos_are_read_right():
    clip = talking()
    for tier in MOTION_TARGETS:
        found = accuracy(clip.reading, clip.motion, tier)
        assert found.names == readable(tier, clip.reading)
        assert found.correlation.nanmean() > 0.8 and found.error.mean() < 0.1


# ---------------------------------------------------------------- texture

def test_texture_is_the_same_another_one_or_gone():
    """Against the truth: the picture itself, the same person with other seeds, and a blurred picture."""
    who, motion = people(hair_length=0.0), rest_pose(2)
    true, shown = render(who, motion, SIZE), regions(who, motion, SIZE)
    other = render(people(hair_length=0.0, hair_seed=0.11, cloth_seed=0.13, scene_seed=0.17), motion, SIZE)
    usual = expected_picture(who, motion, SIZE, generator=generator(1))
    same, changed, soft = (read_texture(pictures, true, shown, usual)
                           for pictures in (true, other, usual + softened(true - usual, 2.0)))
    seen = [REGIONS.index(name) for name in ("hair", "cloth", "background")]
    torch.testing.assert_close(same.energy[:, seen], torch.ones(2, 3))
    torch.testing.assert_close(same.agreement[:, seen], torch.ones(2, 3))
    assert changed.agreement[:, seen].max() < 0.3 and 0.5 < changed.energy[:, seen].mean() < 2
    assert soft.energy[:, seen].max() < 0.3 and soft.agreement[:, seen].min() > 0.2
    assert same.energy[:, REGIONS.index("teeth")].isnan().all()              # a closed mouth shows none


def test_the_teeth_of_an_open_mouth_are_a_pattern():
    motion = rest_pose(2)
    for name, value in {"mouth_aperture": 0.7, "jaw": 0.7, "teeth": 0.9}.items():
        motion[:, motion_index(name)] = value
    who, size = people(teeth_gap=0.0), (256, 256)
    true, shown = render(who, motion, size), regions(who, motion, size)
    gap = render(people(teeth_gap=1.0, teeth_width=0.8), motion, size)
    same, changed = (read_texture(pictures, true, shown).agreement[:, REGIONS.index("teeth")]
                     for pictures in (true, gap))
    assert same.min() > 0.999 and changed.max() < 0.9


def test_the_margin_of_a_region_does_not_count():
    region = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    region[..., 20:60, 20:60] = True
    expected = torch.zeros_like(region)
    expected[..., 22:58, 22:58] = True
    assert torch.equal(inner(region), expected)


# ---------------------------------------------------------------- steps

def test_a_decision_is_where_samples_part_and_keep_to_it():
    """Guesses that hold the mean for two steps, then go half of the way, then arrive."""
    end = torch.randn(16, 50, generator=generator(1))
    share = torch.tensor([0.0, 0.0, 0.8, 1.0])
    found = decision(end.mean(0) + share[:, None, None] * (end - end.mean(0)))
    torch.testing.assert_close(found.spread, share)
    torch.testing.assert_close(found.agreement, 1 - (1 - share) ** 2)
    assert found.step == found.main_step == 2


def test_samples_that_part_the_wrong_way_are_not_decided():
    end, stray = (torch.randn(8, 40, generator=generator(seed)) for seed in (1, 2))
    found = decision(torch.stack([stray, end]))
    assert found.spread[0] > 0.8 and found.agreement[0] < 0 and found.step == 1


def test_what_is_not_left_to_chance_is_said():
    found = decision(torch.ones(4, 3, 5))
    assert not found.applies and "left to chance" in found.reason
    assert mean_decision([found, decision(torch.randn(4, 3, 5, generator=generator()))]).applies
    with pytest.raises(InputError, match="1 sample"):
        decision(torch.ones(4, 1, 5))


def test_pose_is_decided_before_texture_where_blur_goes_last():
    """Four samples of one condition, guesses ever less blurred: head and shoulders part first, threads last."""
    who = people(4)
    who[:] = who[:1].clone()
    for name in ("hair_seed", "cloth_seed", "scene_seed"):
        who[:, identity_index(name)] = torch.tensor([0.1, 0.35, 0.6, 0.85])
    motion = rest_pose(4)
    motion[:, motion_index("head_x")] = torch.tensor([-0.1, -0.03, 0.03, 0.1])
    end, shown = render(who, motion, SIZE), inner(regions(who, motion, SIZE))
    guesses = [end.mean(0, keepdim=True).expand_as(end), softened(end, 3.0), end]
    cloth = shown[:, REGIONS.index("cloth")].all(0, keepdim=True).expand(4, -1, -1)
    texture = decision(torch.stack([texture_values(guess, cloth) for guess in guesses]))
    coarse = decision(torch.stack([softened(guess, 3.0) for guess in guesses]))
    assert coarse.step == 1 and texture.step == 2


def test_talking_of_the_rich_world_has_something_to_decide_in_every_tier():
    visemes, loudness = torch.rand(1, 40, 7, generator=generator(1)), torch.rand(1, 40, generator=generator(2))
    asked = torch.tensor([[1, 0, 0, 1]]).expand(6, -1)
    motion = talk(visemes.expand(6, -1, -1), loudness.expand(6, -1), asked, generator(3), world="rich")
    for tier in MOTION_TARGETS:
        assert decision(tier_values(motion, tier)[None]).applies
