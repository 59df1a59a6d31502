"""Photographs that speak: what moves, moves as it is told; what is told is true of the pictures."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from people import SIDE, landmarks, portraits

from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.avatars.traits import MOTION, MOTION_COLUMNS
from liveavatar.puppets.appearance import Chance, code, cosine_basis, vary_appearance
from liveavatar.puppets.deform import NEUTRAL_SMILE, View, invert
from liveavatar.puppets.mouth_interior import Mouths
from liveavatar.puppets.people import blend, read_portraits, rigs_of
from liveavatar.puppets.render import render_puppets
from liveavatar.puppets.rig import MOVEMENTS, fill_in, interpolate
from liveavatar.puppets.world import PuppetWorld, mirrored, mirrored_points
from liveavatar.types import InputError
from liveavatar.warping import warp


def motion(**traits):
    """(1, 1, NM): a face at rest, and what is told."""
    values = torch.zeros(1, 1, len(MOTION))
    values[..., MOTION_COLUMNS["smile"]] = NEUTRAL_SMILE
    for name, value in traits.items():
        values[..., MOTION_COLUMNS[name]] = value
    return values


@pytest.fixture(scope="module")
def rigs():
    return rigs_of(portraits())


def draw(rigs, closes=None, view=None, **traits):
    view = view or View(torch.zeros(len(rigs), 2), torch.ones(len(rigs)))
    mouths = Mouths.draw(len(rigs), torch.Generator().manual_seed(0), "cpu")
    closes = None if closes is None else torch.full((len(rigs), 1), float(closes))
    return render_puppets(rigs, motion(**traits).expand(len(rigs), -1, -1), view, mouths, (SIDE, SIDE), closes)


def point(drawn, name):
    return drawn.points[0, 0, LANDMARKS.index(name)]


def test_at_rest_a_portrait_is_drawn_as_it_is(rigs):
    error = draw(rigs).pictures[0, 0] - rigs.picture[0].float() / 255
    assert error.square().mean().sqrt() < 0.01


def test_landmarks_at_rest_are_those_of_the_portrait(rigs):
    drawn, known = draw(rigs), landmarks()[0]
    torch.testing.assert_close(point(drawn, "mouth_left"), known[61, :2], atol=0.3, rtol=0)
    torch.testing.assert_close(point(drawn, "lip_upper"), known[13, :2], atol=0.3, rtol=0)


def test_the_mouth_opens_in_proportion_and_shows_its_inside(rigs):
    gaps = [draw(rigs, mouth_aperture=aperture).gap_px.item() for aperture in (0.0, 0.3, 0.6)]
    assert gaps[0] < 0.3 and gaps[1] > 1.5
    assert gaps[2] / gaps[1] == pytest.approx(2, rel=0.15)
    opened = draw(rigs, mouth_aperture=0.8)
    x, y = point(opened, "mouth_center").round().long().tolist()
    assert opened.pictures[0, 0, :, y, x].mean() < 0.75 * draw(rigs).pictures[0, 0, :, y, x].mean()


def test_an_open_mouth_is_closed_unless_it_is_to_stay_as_it_is():
    rigs = rigs_of(portraits(gap=0.12))
    gap = 0.12 * 0.24 * SIDE
    assert draw(rigs, closes=0).gap_px.item() == pytest.approx(gap, abs=0.4)
    assert draw(rigs, closes=1).gap_px.item() < 0.25 * gap


def test_rounded_lips_are_narrower_and_a_smile_is_wider(rigs):
    def width(**traits):
        drawn = draw(rigs, **traits)
        return (point(drawn, "mouth_right") - point(drawn, "mouth_left")).norm()

    assert width(lip_rounding=1.0) < 0.92 * width() < width() < width(smile=1.0)


def test_a_blink_hides_the_eyeballs(rigs):
    white, black = (replace(rigs, eyeballs=torch.full_like(rigs.eyeballs, shade)) for shade in (255, 0))
    seen = [(draw(white, blink=blink).pictures - draw(black, blink=blink).pictures).mean().item()
            for blink in (0.0, 0.5, 1.0)]
    assert seen[0] > seen[1] > 4 * seen[2]


def test_a_turning_head_leaves_the_wall_alone(rigs):
    still, turned = draw(rigs).pictures, draw(rigs, head_yaw=1.0, head_x=0.05, head_roll=0.1).pictures
    assert torch.allclose(still[..., :8, :8], turned[..., :8, :8], atol=1e-3)
    assert not torch.allclose(still[..., 30:60, 30:60], turned[..., 30:60, 30:60], atol=0.02)


def test_the_head_moves_as_far_as_it_is_told(rigs):
    moved = point(draw(rigs, head_x=0.05), "mouth_left") - point(draw(rigs), "mouth_left")
    height = (landmarks()[0, 152] - landmarks()[0, 10])[:2].norm()
    assert moved[0].item() == pytest.approx(0.05 / 0.85 * height.item(), rel=0.1)


def test_a_nearer_view_draws_a_larger_face(rigs):
    near = draw(rigs, view=View(rigs.mouth, torch.full((1,), 0.5)))
    torch.testing.assert_close(point(near, "mouth_center"), torch.tensor([SIDE / 2, SIDE / 2]), atol=0.6, rtol=0)
    assert (point(near, "mouth_right") - point(near, "mouth_left")).norm() == pytest.approx(
        2 * (point(draw(rigs), "mouth_right") - point(draw(rigs), "mouth_left")).norm().item(), rel=0.05)


def test_inversion_finds_where_things_came_from():
    line = torch.linspace(-1, 1, 64)
    field = 0.1 * torch.stack([torch.sin(3 * line)[None].expand(64, -1), torch.cos(2 * line)[:, None].expand(-1, 64)])
    wanted = 0.6 * (2 * torch.rand(1, 5, 5, 2, generator=torch.Generator().manual_seed(0)) - 1)
    places = invert(field[None, None], wanted)[0]
    moved = places + F.grid_sample(field[None], places, align_corners=False).permute(0, 2, 3, 1)
    assert (moved - wanted).abs().max() < 2e-3


# ---------------------------------------------------------------- people

def test_a_blend_of_nothing_is_the_host_and_of_all_has_the_guests_shape():
    host, guest = portraits(seed=1), portraits(seed=2, gap=0.1)
    same = blend(host, guest, torch.zeros(1), torch.zeros(1))
    assert (same.picture.float() - host.picture.float()).abs().mean() < 1.5
    torch.testing.assert_close(same.points, host.points, atol=1e-3, rtol=0)
    shaped = blend(host, guest, torch.ones(1), torch.ones(1))
    opened = (shaped.points[0, 14, 1] - shaped.points[0, 13, 1]).item()
    assert opened == pytest.approx((guest.points[0, 14, 1] - guest.points[0, 13, 1]).item(), rel=0.15)


def test_portraits_are_read_with_their_landmarks_and_a_wrong_folder_is_named(tmp_path):
    import numpy as np
    from PIL import Image

    with pytest.raises(InputError, match="index.csv"):
        read_portraits(tmp_path, "train")
    one = portraits()
    (tmp_path / "train").mkdir()
    Image.fromarray(one.picture[0].permute(1, 2, 0).numpy()).save(tmp_path / "train" / "7.jpg", quality=95)
    np.savez(tmp_path / "landmarks.npz", names=np.array(["7.png"]), points=one.points.numpy().astype(np.float16),
             person=np.packbits(one.person.numpy().astype(np.uint8).reshape(1, -1), axis=1))
    (tmp_path / "index.csv").write_text("file,split,identity\n7.jpg,train,somebody\n8.jpg,val,another\n")
    found = read_portraits(tmp_path, "train")
    assert found.names == ("7.jpg",) and torch.equal(found.person[0].float(), one.person[0])
    torch.testing.assert_close(found.points, one.points, atol=0.05, rtol=0)


# ---------------------------------------------------------------- appearance

def test_a_varied_portrait_keeps_its_places_and_its_range(rigs):
    varied = vary_appearance(rigs[torch.zeros(6, dtype=torch.long)], rigs.background, torch.Generator().manual_seed(1))
    assert torch.equal(varied.points[3], rigs.points[0])
    assert varied.picture.dtype == torch.uint8 and varied.picture.shape == (6, 3, SIDE, SIDE)
    assert len({picture.float().mean().item() for picture in varied.picture}) > 3


def test_a_codec_rounds_cosines_and_leaves_flat_pictures_alone():
    basis = cosine_basis(torch.device("cpu"))
    torch.testing.assert_close(basis @ basis.T, torch.eye(8), atol=1e-6, rtol=0)
    flat = torch.full((30, 3, 16, 16), 0.5)
    assert (code(flat, Chance(30, torch.Generator().manual_seed(0), "cpu")) - flat).abs().max() < 0.03


def test_a_hole_is_filled_from_its_surroundings():
    picture, keep = torch.full((1, 3, 16, 16), 0.25), torch.ones(1, 1, 16, 16)
    picture[..., 4:9, 4:9], keep[..., 4:9, 4:9] = 9.0, 0.0
    assert torch.allclose(fill_in(picture, keep), torch.full_like(picture, 0.25), atol=1e-3)


def test_curves_are_straight_between_their_knots():
    knots, values = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[2.0, 4.0, 0.0]])
    found = interpolate(torch.tensor([[-1.0, 0.5, 2.0, 9.0]]), knots, values)
    torch.testing.assert_close(found, torch.tensor([[2.0, 3.0, 2.0, 0.0]]))


# ---------------------------------------------------------------- world

def test_one_seed_is_one_film_with_its_points(rigs):
    world = PuppetWorld(rigs, (64, 64))
    films = []
    for seed in (3, 3, 4):
        generator = torch.Generator().manual_seed(seed)
        films.append(world.film(world.cast(2, generator), motion(mouth_aperture=0.4).expand(2, 3, -1)))
    assert torch.equal(films[0][0], films[1][0]) and not torch.equal(films[0][0], films[2][0])
    video, points = films[0]
    assert video.shape == (2, 3, 3, 64, 64) and points.shape == (2, 3, len(LANDMARKS), 2)
    assert 0 <= video.min() and video.max() <= 1


def test_a_mirror_exchanges_left_and_right_and_keeps_the_rest():
    once = motion(head_yaw=0.5, mouth_aperture=0.3)
    back = mirrored(once, torch.ones(1))
    assert back[0, 0, MOTION_COLUMNS["head_yaw"]] == -0.5
    assert back[0, 0, MOTION_COLUMNS["mouth_aperture"]] == pytest.approx(0.3)
    points = torch.rand(1, 1, len(LANDMARKS), 2) * 50
    twice = mirrored_points(mirrored_points(points, torch.ones(1), 64), torch.ones(1), 64)
    torch.testing.assert_close(twice, points)
    left = mirrored_points(points, torch.ones(1), 64)[0, 0, LANDMARKS.index("left_eye")]
    assert left[0] == pytest.approx(64 - points[0, 0, LANDMARKS.index("right_eye"), 0].item(), abs=1e-4)


def test_every_movement_of_a_rig_does_something(rigs):
    for index, name in enumerate(MOVEMENTS):
        reach = max(maps[0, index].abs().max().item() for maps in (rigs.upper, rigs.lower))
        assert reach > 1e-3 or name == "close"          # this portrait's mouth is closed already


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_the_displacement_leads_from_every_place_to_the_same_one_in_the_portrait(rigs, mirror):
    world = PuppetWorld(rigs, (64, 64), vary=False)
    cast = world.cast(1, torch.Generator().manual_seed(1))._replace(mirror=torch.tensor([mirror]))
    moves = motion(head_x=0.06, head_yaw=0.6, head_roll=0.08, mouth_aperture=0.5)
    pose = motion(head_yaw=-0.3)[:, 0]
    (frames, _), portrait = world.film(cast, moves), world.portrait(cast, pose)
    cells, share = world.displacement(cast, moves, pose, (64, 64))
    taken = warp(portrait[:, :, None], cells.permute(0, 4, 1, 2, 3))
    inside = F.avg_pool2d(share[:, 0, None], 9, 1, 4)[:, 0] > 0.99         # away from the person's outline
    inside[:, 40:] = False                                                  # and from the mouth, which shows new things
    error = (taken - frames).abs()[:, :, 0].mean(1)[inside].mean()
    unmoved = (portrait - frames[:, :, 0]).abs().mean(1)[inside].mean()
    assert error < 0.25 * unmoved and cells.abs().max() > 2
