"""Avatars: what is asked for is drawn, and landmarks say where."""

import ctypes
import shutil
import subprocess

import pytest
import torch

from liveavatar.avatars import (
    CONTROLS,
    IDENTITY,
    LANDMARKS,
    MOTION,
    identity_index,
    landmarks,
    motion_index,
    portrait_pose,
    random_identities,
    render,
    rest_pose,
    talk,
)
from liveavatar.avatars.geometry import FRAMING, grid
from liveavatar.avatars.kernels import cuda_source
from liveavatar.avatars.renderer import LAYERS
from liveavatar.avatars.traits import PLAIN_TRAITS, WORLDS
from liveavatar.types import InputError

SMALL = (64, 64)
SIZES = [(128, 128), (96, 160), (160, 96), (192, 192)]


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def person(**traits):
    """Somebody plain: no glasses or beard in the way."""
    plain = {"glasses": 0.0, "beard": 0.0, "moustache": 0.0, "freckles": 0.0} | traits
    identity = random_identities(1, dice(5))
    for name, value in plain.items():
        identity[0, identity_index(name)] = value
    return identity


def pose(**traits):
    motion = rest_pose(1)
    for name, value in traits.items():
        motion[0, motion_index(name)] = value
    return motion


def point(identity, motion, name, size=SMALL):
    return landmarks(identity, motion, size)[0, LANDMARKS.index(name)]


def colour_at(picture, where):
    """picture (1, 3, H, W), where (2,) in pixels  ->  (3,)"""
    column, row = where.floor().long().tolist()
    return picture[0, :, row, column]


# ---------------------------------------------------------------- traits

def test_motion_begins_with_the_visemes_in_their_order():
    assert [trait.name for trait in MOTION[:7]] == ["mouth_aperture", "mouth_width", "lip_rounding", "teeth", "tongue",
                                                    "lip_press", "lip_tuck"]


@pytest.mark.parametrize("traits", [IDENTITY, MOTION])
def test_traits_have_unique_names_and_ranges(traits):
    assert len({trait.name for trait in traits}) == len(traits)
    assert all(trait.low < trait.high and trait.doc for trait in traits)


def test_an_unknown_trait_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="'eye_sise'.*'eye_size'"):
        identity_index("eye_sise")
    with pytest.raises(InputError, match="'smle'.*'smile'"):
        motion_index("smle")


# ---------------------------------------------------------------- people

@pytest.mark.parametrize("world", WORLDS)
def test_people_stay_in_the_ranges_and_follow_the_seed(world):
    people = random_identities(200, dice(1), world=world)
    low, high = (torch.tensor([getattr(trait, end) for trait in IDENTITY]) for end in ("low", "high"))
    assert ((people >= low) & (people <= high)).all()
    assert torch.equal(people, random_identities(200, dice(1), world=world))
    assert not torch.equal(people, random_identities(200, dice(2), world=world))
    differs = people.std(0) > 0                 # every trait of this world differs between people
    assert differs[:PLAIN_TRAITS].all() and differs[PLAIN_TRAITS + 1:].eq(world == "rich").all()
    assert people[:, identity_index("detail")].eq(WORLDS.index(world)).all()


# ---------------------------------------------------------------- drawing

@pytest.mark.parametrize("size", SIZES)
def test_every_size_shows_the_head_and_raised_hands(size):
    identity, motion = person(), pose(left_hand_y=0.5, left_hand_x=-0.6, right_hand_y=0.35, right_hand_x=0.6)
    picture = render(identity, motion, size)
    assert picture.shape == (1, 3, *size)
    assert picture.isfinite().all() and picture.min() >= 0 and picture.max() <= 1
    x, y = landmarks(identity, motion, size)[0].unbind(1)
    assert (x > 0).all() and (x < size[1]).all() and (y > 0).all() and (y < size[0]).all()


def test_a_batch_draws_what_single_calls_draw():
    people, poses = random_identities(3, dice()), portrait_pose(3, dice())
    together = render(people, poses, SMALL)
    for place in range(3):
        alone = render(people[place:place + 1], poses[place:place + 1], SMALL)
        torch.testing.assert_close(together[place:place + 1], alone)


def test_a_picture_is_the_same_at_twice_the_size():
    small, large = (render(person(), pose(), size) for size in ((64, 64), (128, 128)))
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01


def test_edges_are_sharp_and_not_jagged():
    picture = render(person(), pose(), (128, 128))
    moved = render(person(), pose(head_x=0.25 * 2 / 128 / FRAMING), (128, 128))      # a quarter of a pixel
    assert 0 < (picture - moved).abs().max() < 0.5


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler to stand in for the GPU's")
@pytest.mark.parametrize("world", WORLDS)
def test_kernels_compute_what_torch_computes(world, tmp_path):
    header = ("#include <cmath>\nusing namespace std;\n#define __global__\n"
              "static struct { int x, y; } blockIdx, threadIdx, blockDim = {1, 1};\n")
    layers = LAYERS[world].all
    sources = [cuda_source(layer, layer.__name__) for layer in layers]
    calls = "".join(f"{layer.__name__}(i, m, x, y, o, w, p, t, n);" for layer in layers)
    main = ('extern "C" void paint(float* i, float* m, float* x, float* y, float* o, int w, int p, int t, int n,'
            "int B) {"
            "for (blockIdx.y = 0; blockIdx.y < B; blockIdx.y++)"
            f"for (blockIdx.x = 0; blockIdx.x < p; blockIdx.x++) {{{calls}}}}}")
    (tmp_path / "k.cpp").write_text(header + "\n".join(sources) + main)
    subprocess.run(["g++", "-O0", "-fPIC", "-shared", "-o", tmp_path / "k.so", tmp_path / "k.cpp"], check=True)
    people = random_identities(4, dice(), world=world)
    motion = talk(*speech(T=1), torch.ones(4, 4).long(), dice())[:, 0]
    (x, y), out = grid((32, 48), "cpu"), torch.empty(4, 3, 32, 48)
    tables = [people.contiguous(), motion.contiguous(), x.contiguous(), y.contiguous(), out]
    ctypes.CDLL(tmp_path / "k.so").paint(*(ctypes.c_void_p(table.data_ptr()) for table in tables), 48, 32 * 48,
                                         len(IDENTITY), len(MOTION), 4)
    torch.testing.assert_close(out, render(people, motion, (32, 48)), atol=1e-4, rtol=0)


# ---------------------------------------------------------------- mouth, hands and eyes are where landmarks say

def test_the_lips_part_with_the_aperture():
    gaps = [point(person(), pose(mouth_aperture=a, jaw=a), "lip_lower")[1]
            - point(person(), pose(mouth_aperture=a, jaw=a), "lip_upper")[1] for a in (0.0, 0.1, 0.3, 0.6, 1.0)]
    assert gaps[0] == 0
    assert all(wider - narrower > 0.5 for narrower, wider in zip(gaps, gaps[1:], strict=False))


def test_between_open_lips_there_is_the_inside_of_the_mouth():
    for aperture in (0.4, 0.7, 1.0):
        motion = pose(mouth_aperture=aperture, jaw=aperture)
        where = point(person(), motion, "mouth_center", (128, 128))
        red, green, blue = colour_at(render(person(), motion, (128, 128)), where)
        assert red < 0.5 and green < 0.2 and blue < 0.2


def test_a_small_opening_is_seen_and_a_closed_mouth_is_not_open():
    """At 128 px: dark of the throat at aperture 0.15, none at 0."""
    def darkest(aperture):
        motion = pose(mouth_aperture=aperture, jaw=aperture)
        column, row = point(person(), motion, "mouth_center", (128, 128)).round().long().tolist()
        patch = render(person(lip_fullness=1.0), motion, (128, 128))[0, :, row - 6:row + 7, column - 2:column + 3]
        return patch.amax(0).min()              # the darkest pixel's brightest channel
    assert darkest(0.15) < darkest(0.0) - 0.05


def test_teeth_show_when_asked_for():
    def brightest(teeth):
        motion = pose(mouth_aperture=0.5, jaw=0.5, teeth=teeth)
        column, row = point(person(), motion, "lip_upper", (128, 128)).round().long().tolist()
        return render(person(), motion, (128, 128))[0, :, row:row + 5, column].amin(0).max()
    assert brightest(1.0) > 0.75 > brightest(0.0) + 0.2


def test_a_smile_raises_the_corners():
    smile, frown = (point(person(), pose(smile=s), "mouth_left", (128, 128))[1] for s in (0.9, -0.6))
    level = point(person(), pose(), "mouth_left", (128, 128))[1]
    assert smile < level - 2 and frown > level + 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hand_is_of_skin(side):
    identity = person()
    across = -0.55 if side == "left" else 0.55
    motion = pose(**{f"{side}_hand_x": across, f"{side}_hand_y": 0.5, f"{side}_hand_angle": 0.2})
    colour = colour_at(render(identity, motion, SMALL), point(identity, motion, f"{side}_hand"))
    skin = identity[0, identity_index("skin_red"):identity_index("skin_blue") + 1]
    assert (colour - skin).abs().max() < 0.1


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_eye_is_dark_in_its_middle_until_it_blinks(side):
    identity = person(hairline=-0.3, hair_fringe=0.0, hair_sides=-0.1, hair_slope=0.0)
    for yaw in (-0.8, 0.0, 0.8):
        awake, asleep = pose(head_yaw=yaw), pose(head_yaw=yaw, blink=1.0)
        where = point(identity, awake, f"{side}_eye", (128, 128))
        assert colour_at(render(identity, awake, (128, 128)), where).max() < 0.35
        assert colour_at(render(identity, asleep, (128, 128)), where).max() > 0.45


def test_landmarks_move_with_the_head():
    still, moved = (landmarks(person(), pose(head_x=x), SMALL)[0] for x in (0.0, 0.1))
    expected = 0.1 * FRAMING * 32
    hands = [LANDMARKS.index("left_hand"), LANDMARKS.index("right_hand")]
    shift = (moved - still)[:, 0]
    assert shift[hands].abs().max() == 0
    others = [place for place in range(len(LANDMARKS)) if place not in hands]
    torch.testing.assert_close(shift[others], torch.full((len(others),), expected))


# ---------------------------------------------------------------- motion

def speech(B=4, T=50, seed=3):
    generator = dice(seed)
    return torch.rand(B, T, 7, generator=generator), torch.rand(B, T, generator=generator)


def test_lips_are_exactly_the_visemes():
    visemes, loudness = speech()
    motion = talk(visemes, loudness, torch.zeros(4, 4).long(), dice())
    assert motion.shape == (4, 50, len(MOTION))
    assert torch.equal(motion[..., :7], visemes)
    assert torch.equal(motion[..., motion_index("jaw")], visemes[..., 0])


def test_motion_stays_in_its_ranges_and_follows_the_seed():
    visemes, loudness = speech(B=192)
    controls = torch.cartesian_prod(*(torch.arange(len(choices)) for choices in CONTROLS.values()))
    motion = talk(4 * visemes - 2, loudness, controls, dice(1))
    low, high = (torch.tensor([getattr(trait, end) for trait in MOTION]) for end in ("low", "high"))
    assert ((motion >= low) & (motion <= high)).all()
    assert torch.equal(motion, talk(4 * visemes - 2, loudness, controls, dice(1)))


def test_hands_beat_and_the_head_nods_with_the_voice():
    loudness = 0.5 + 0.5 * torch.sin(torch.arange(100) / 5).expand(8, -1)
    motion = talk(torch.zeros(8, 100, 7), loudness, torch.tensor([[1, 0, 0, 1]]).expand(8, -1), dice())
    for name, sign in (("left_hand_y", -1), ("right_hand_y", -1), ("head_pitch", 1)):
        follows = torch.stack([torch.corrcoef(torch.stack([row, loud]))[0, 1]
                               for row, loud in zip(motion[..., motion_index(name)], loudness, strict=True)])
        assert (sign * follows).mean() > 0.6, name


@pytest.mark.parametrize(("slot", "kind"), [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)])
def test_every_control_changes_the_picture(slot, kind):
    visemes, loudness = speech(B=1, T=1)
    asked = torch.zeros(1, 4).long()
    asked[0, slot] = kind
    plain, changed = (render(person(), talk(visemes, loudness, controls, dice())[:, 0], SMALL)
                      for controls in (torch.zeros(1, 4).long(), asked))
    changed_pixels = ((plain - changed).abs().amax(1) > 0.08).float().mean()
    assert changed_pixels > (0.004 if slot == 1 else 0.03)


def test_a_lively_talker_moves_more():
    visemes, loudness = speech(B=16, T=100)
    calm, lively = (talk(visemes, loudness, torch.tensor([[1, 0, 0, energy]]).expand(16, -1), dice())
                    for energy in (0, 2))
    for name in ("left_hand_y", "head_yaw"):
        assert lively[..., motion_index(name)].std() > 1.5 * calm[..., motion_index(name)].std()


def test_a_portrait_rests_like_the_rest_gesture():
    portrait = portrait_pose(20, dice())
    talking = talk(torch.zeros(20, 1, 7), torch.zeros(20, 1), torch.zeros(20, 4).long(), dice())[:, 0]
    hands = [motion_index(trait.name) for trait in MOTION if "hand" in trait.name]
    assert torch.equal(portrait[:, hands], talking[:, hands])
    assert (portrait[:, motion_index("mouth_aperture")] == 0).all()
    assert portrait[:, motion_index("head_yaw")].abs().max() < 0.3
