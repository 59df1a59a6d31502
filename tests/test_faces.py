"""Faces: the networks return what MediaPipe's do, faces are found and read, photos are cropped to them."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from talking import talking
from torch.nn.functional import interpolate, pad

from liveavatar import faces
from liveavatar.avatars import LANDMARKS, avatar, motion_index, random_identities, render, rest_pose
from liveavatar.avatars import landmarks as true_landmarks
from liveavatar.faces import (
    crop_to_head_and_shoulders,
    detect_faces,
    head_pose,
    landmarks,
    largest_central,
    mouth_aperture,
    mouth_width,
    read_faces,
)
from liveavatar.faces.crops import Squares, sample
from liveavatar.faces.curves import eye_opening, face_height, rigid_template
from liveavatar.faces.detection import merge, tile_levels
from liveavatar.faces.framing import FaceExtent, place_crop
from liveavatar.faces.networks import WEIGHTS, load_networks, restore
from liveavatar.faces.topology import EYE_REGIONS, LIPS_REGION
from liveavatar.training.convert_faces import compress
from liveavatar.types import InputError

REFERENCE = Path(__file__).parent / "data" / "faces_reference.npz"


@cache
def picture(seed: int = 7, side: int = 128) -> torch.Tensor:
    """(3, side, side) 0..1: a rendered avatar, which the networks take for a face."""
    return avatar(seed, size=(side, side)).pixels


def wall(height: int = 128, width: int = 128) -> torch.Tensor:
    """(3, height, width) 0..1: a slope of colours, and nothing else."""
    rows, columns = torch.linspace(0.2, 0.8, height)[:, None], torch.linspace(0.3, 0.6, width)
    return torch.stack([rows.expand(-1, width), columns.expand(height, -1), 0.5 * (rows + columns)])


def in_the_middle_of(canvas: torch.Tensor, small: torch.Tensor, left: int, top: int) -> torch.Tensor:
    whole = canvas.clone()
    whole[:, top:top + small.shape[1], left:left + small.shape[2]] = small
    return whole


# ---------------------------------------------------------------------------------------------- the networks
@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(REFERENCE))


def test_the_detector_returns_what_mediapipe_returns(reference):
    pictures = torch.from_numpy(reference["detector_pictures"]).permute(0, 3, 1, 2) / 255
    boxes, logits = load_networks()[0](pictures)
    best = torch.from_numpy(reference["detector_best"]).long()
    chosen = boxes.gather(1, best[..., None].expand(-1, -1, 16))
    torch.testing.assert_close(logits, torch.from_numpy(reference["detector_1"]), atol=1e-3, rtol=0)
    torch.testing.assert_close(chosen, torch.from_numpy(reference["detector_0"]), atol=1e-3, rtol=0)


def test_the_mesh_returns_what_mediapipe_returns_within_what_8_bits_allow(reference):
    raw = load_networks()[1](torch.from_numpy(reference["mesh_pictures"]).permute(0, 3, 1, 2) / 255)
    expected = reference_points(reference)
    unit = (expected[:, 33, :2] - expected[:, 263, :2]).norm(dim=-1)[:2, None]
    off = (raw.points - expected)[:2, :, :2].norm(dim=-1) / unit                   # of the faces; the third is noise
    assert off.mean() < 0.002 and off.max() < 0.008
    assert off[:, LIPS_REGION].mean() < 0.0015
    assert (raw.presence - torch.from_numpy(reference["mesh_6"][:, 0])).abs().max() < 0.5
    assert raw.presence[:2].min() > 20 and raw.presence[2] < 0


def reference_points(reference: dict[str, np.ndarray]) -> torch.Tensor:
    """(B, 478, 3): MediaPipe's outputs put together as it puts them together."""
    points = torch.from_numpy(reference["mesh_0"]).reshape(-1, 468, 3).clone()
    for name, subset in (("mesh_1", LIPS_REGION), ("mesh_2", EYE_REGIONS[0]), ("mesh_3", EYE_REGIONS[1])):
        points[:, subset, :2] = torch.from_numpy(reference[name]).reshape(len(points), -1, 2)
    irises = torch.from_numpy(np.concatenate([reference["mesh_4"], reference["mesh_5"]], 1)).reshape(-1, 10, 2)
    return torch.cat([points, torch.cat([irises, torch.zeros(len(points), 10, 1)], -1)], 1)


def test_factors_beside_8_bits_make_the_points_more_exact():
    matrix = torch.outer(torch.linspace(1, 50, 128), torch.linspace(-2, 3, 96))
    matrix = matrix + torch.randn(128, 96, generator=torch.Generator().manual_seed(0))
    plain, factored = (restore(from_disk({name: matrix[:, :, None, None]}))[name].flatten(1) - matrix
                       for name in ("layer.weight", "points.weight"))
    assert factored.abs().mean() < plain.abs().mean() / 3


def from_disk(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from liveavatar.weights import from_8_bits
    return from_8_bits(compress(tensors))


def test_the_weights_are_small_and_come_with_their_licence():
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) <= 1_600_000
    assert "Apache License" in (WEIGHTS / "LICENSE").read_text() and "MediaPipe" in (WEIGHTS / "NOTICE.md").read_text()


# ---------------------------------------------------------------------------------------------- finding
@cache
def drawn(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An avatar at rest (3, side, side), and where the renderer drew the parts of LANDMARKS (10, 2) px."""
    identity, pose = random_identities(1, torch.Generator().manual_seed(2)), rest_pose(1)
    return render(identity, pose, (side, side))[0], true_landmarks(identity, pose, (side, side))[0]


@pytest.mark.parametrize("side", [128, 256])
def test_a_face_is_found_where_it_is(side):
    pixels, places = drawn(side)
    found = detect_faces(pixels)
    assert len(found) == 1 and found[0].score > 0.7 and found[0].presence > 0.9
    left, top, right, bottom = found[0].box
    mouth = places[LANDMARKS.index("mouth_center")]
    assert left < mouth[0] < right and top < mouth[1] < bottom and 0.25 * side < found[0].size_px < 0.6 * side
    assert abs(found[0].roll_deg) < 5 and torch.dist(found[0].key_points[3], mouth) < 0.05 * side


def test_eight_bits_and_batches_give_the_same_faces():
    alone = detect_faces(picture())[0]
    bytes_ = (torch.stack([wall(), picture()]) * 255).round().byte()
    batched = detect_faces(bytes_.permute(0, 2, 3, 1).numpy())
    assert [face.picture for face in batched] == [1]
    assert np.allclose(batched[0].box, alone.box, atol=0.5)


def test_where_there_is_no_face_none_is_found():
    noise = torch.rand(3, 96, 160, generator=torch.Generator().manual_seed(0))
    blouse = picture()[:, 96:]
    for empty in (wall(), noise, blouse, torch.zeros(3, 64, 64)):
        assert detect_faces(empty) == []


@pytest.mark.parametrize("roll_deg", [-30, 0, 30])
def test_a_leaning_head_is_found_leaning(roll_deg):
    turn = torch.tensor([-math.radians(roll_deg)])                       # the square turns the other way
    whole = Squares(torch.zeros(1).long(), torch.full((1, 2), 64.0), torch.tensor([128.0]), turn)
    tilted = sample(picture()[None], whole, 128)
    found = detect_faces(tilted)
    assert len(found) == 1 and found[0].roll_deg == pytest.approx(roll_deg, abs=7)
    assert head_pose(landmarks(tilted, found).points)[0, 2] == pytest.approx(roll_deg, abs=7)


def test_small_faces_are_found_by_searching():
    crowd = in_the_middle_of(wall(600, 800), picture(side=96), 610, 80)
    assert detect_faces(crowd, search=False) == []
    found = detect_faces(crowd)
    assert len(found) == 1 and 610 < found[0].box[0] < found[0].box[2] < 706


def test_the_largest_and_most_central_of_several_is_chosen():
    both = torch.cat([picture(1, side=192), picture(7, side=192)], 2)
    found = detect_faces(both)
    assert len(found) == 2 and found[0].size_px >= found[1].size_px
    beside = pad(both, (0, 192))                                         # now the second is in the middle
    assert largest_central(detect_faces(beside), beside.shape[-2:]).box[0] > 192


def test_candidates_of_one_face_become_one():
    def row(x: float, side: float) -> torch.Tensor:
        return torch.tensor([[x, 50.0], [side, side], *[[x, 50.0]] * 6])
    merged = merge([(0.9, row(50, 40)), (0.6, row(54, 40)), (0.8, row(150, 40))])
    assert [round(face.score, 1) for face in merged] == [0.9, 0.8]
    assert merged[0].box[0] == pytest.approx(30 + 4 * 0.4)


def test_tiles_cover_the_picture_and_overlap_by_half():
    levels = tile_levels(400, 1000)
    assert [tiles[0][2] for tiles in levels] == [1000, 2000, 500, 250, 125]
    for tiles in levels[2:]:
        side = tiles[0][2]
        starts = sorted({x - side / 2 for x, _, _ in tiles})
        assert starts[0] == 0 and starts[-1] + side == 1000
        assert max(b - a for a, b in zip(starts, starts[1:], strict=False)) <= side / 2 + 1e-6


# ---------------------------------------------------------------------------------------------- landmarks, curves
def test_landmarks_lie_on_the_face():
    pixels, places = drawn(256)
    faces_found = detect_faces(pixels)
    found = landmarks(pixels, faces_found)
    assert found.points.shape == (1, 478, 3) and found.presence[0] > 0.9
    seen = {"mouth_center": found.points[0, LIPS_REGION, :2].mean(0), "left_eye": found.points[0, 468, :2],
            "right_eye": found.points[0, 473, :2]}
    for name, place in seen.items():
        assert torch.dist(place, places[LANDMARKS.index(name)]) < 7, name
    again = landmarks(pixels, faces_found, views=3)
    assert 0 < (again.points - found.points)[..., :2].norm(dim=-1).mean() < 3


def test_no_faces_have_no_landmarks():
    assert landmarks(wall(), []).points.shape == (0, 478, 3)


def mean_face() -> torch.Tensor:
    """(478, 3): points of a mean face that looks ahead; those that are not in it lie between the eyes."""
    names, rows = rigid_template()
    points = torch.zeros(478, 3)
    points[names] = rows.float() * 100
    return points


@pytest.mark.parametrize("yaw, pitch, roll", [(0, 0, 0), (30, 0, 0), (0, -20, 0), (0, 0, 40), (-25, 10, 15)])
def test_head_pose_is_that_of_a_turned_head(yaw, pitch, roll):
    y, p, r = -math.radians(yaw), math.radians(pitch), math.radians(roll)
    about_y = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = torch.tensor([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_z = torch.tensor([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    turned = 3 * mean_face() @ (about_z @ about_x @ about_y).T + 50
    assert torch.allclose(head_pose(turned), torch.tensor([yaw, pitch, roll]).float(), atol=1e-2)
    if yaw > 0:
        assert turned[1, 0] > turned[[33, 263], 0].mean()               # the nose points to the right of the picture


def test_curves_are_ratios_of_distances():
    points = mean_face()
    for upper, lower in ((82, 87), (13, 14), (312, 317)):
        points[upper], points[lower] = torch.tensor([0.0, 60, -30]), torch.tensor([0.0, 80, -30])
    points[61], points[291] = torch.tensor([-30.0, 70, 0]), torch.tensor([30.0, 70, 0])
    for scaled in (points, 3 * points - 7):
        assert mouth_aperture(scaled) == pytest.approx(0.2) and mouth_width(scaled) == pytest.approx(0.6)
    assert face_height(points) > 50 and eye_opening(points).shape == (2,)
    lost = torch.stack([points, torch.full_like(points, math.nan)])
    assert mouth_aperture(lost).isnan().tolist() == [False, True]
    assert head_pose(lost).isnan().all(1).tolist() == [False, True]


# ---------------------------------------------------------------------------------------------- videos
@pytest.fixture(scope="module")
def clip():
    return talking(seed=4, frames=40, side=128)


@pytest.mark.parametrize("mode", ["track", "each"])
def test_the_mouth_is_read_through_time(clip, mode):
    track = read_faces(clip.frames, mode)
    truth = clip.motion[:, motion_index("mouth_aperture")]
    assert track.found.all() and track.reason == "" and track.size == (128, 128)
    assert torch.corrcoef(torch.stack([track.mouth_aperture, truth]))[0, 1] > 0.85
    assert 0.3 < track.face_share.mean() < 0.5 and track.head_pose_deg.abs().max() < 30


@pytest.mark.parametrize("mode", ["track", "each"])
def test_pictures_without_a_face_are_known_and_the_others_are_not_changed_by_them(clip, mode):
    frames = clip.frames[:12].clone()
    frames[4:7] = 120
    track, whole = read_faces(frames, mode), read_faces(clip.frames[:12], mode)
    assert track.found.tolist() == [True] * 4 + [False] * 3 + [True] * 5
    assert track.points[4:7].isnan().all() and track.mouth_aperture[4:7].isnan().all()
    torch.testing.assert_close(track.points[:4], whole.points[:4])
    smooth = track.smoothed(2.0)
    assert torch.equal(smooth.points.isnan(), track.points.isnan())
    assert smooth.points[7:].diff(dim=0).abs().mean() < track.points[7:].diff(dim=0).abs().mean()


def test_each_picture_is_read_by_itself(clip):
    some = [3, 0, 7]
    whole, few = read_faces(clip.frames[:8], "each"), read_faces(clip.frames[some], "each")
    torch.testing.assert_close(few.points, whole.points[some], atol=1e-2, rtol=0)


@pytest.mark.parametrize("mode", ["track", "each"])
def test_a_small_face_is_followed(clip, mode):
    small = interpolate(clip.frames[:6].permute(0, 3, 1, 2).float(), (96, 96), mode="area") / 255
    wide = torch.stack([in_the_middle_of(wall(400, 600), one, 40, 250) for one in small])
    track = read_faces(wide, mode)
    assert track.found.all() and track.points[:, 1, 0].max() < 136


def test_a_video_without_a_face_says_so():
    track = read_faces(wall().expand(3, -1, -1, -1))
    assert not track.found.any() and track.reason == "no face found in 3 pictures" and track.points.isnan().all()


# ---------------------------------------------------------------------------------------------- framing
def test_a_photo_is_cropped_to_head_and_shoulders():
    photo = in_the_middle_of(wall(600, 500), picture(side=256), 150, 300)
    box, pixels = crop_to_head_and_shoulders(photo, aspect=0.8)
    left, top, right, bottom = box
    assert pixels.shape == (3, bottom - top, right - left)
    assert (right - left) / (bottom - top) == pytest.approx(0.8, abs=0.01)
    inside = pixels[:, max(-top, 0):600 - top, max(-left, 0):500 - left]
    assert torch.equal(inside, photo[:, max(top, 0):bottom, max(left, 0):right])
    track = read_faces(pixels[None])
    assert track.face_share[0] == pytest.approx(0.45, abs=0.1)
    middle = track.points[0, [10, 152], 1].mean() / (bottom - top)
    assert 0.38 < middle < 0.58


def test_where_the_picture_ends_its_edge_is_continued():
    tight = picture(side=256)[:, 45:175, 80:176]
    box, pixels = crop_to_head_and_shoulders(tight)
    assert min(box[:2]) < 0 and pixels.min() >= 0 and pixels.max() <= 1
    edge, beyond = tight[:, :, 0].mean(1), pixels[:, -box[1]:130 - box[1], -box[0] - 1].mean(1)
    assert torch.allclose(edge, beyond, atol=0.05)


@pytest.mark.parametrize("height, size, expected", [
    (90, (1000, 1000), (400, 408, 600, 608)),          # there is room: 200 px, the middle of the face at 46 %
    (90, (560, 1000), (400, 360, 600, 560)),           # the picture ends below: the crop moves up
    (90, (1000, 560), (384, 408, 584, 608)),           # it ends at the right: moved by no more than 8 %
])
def test_the_crop_moves_a_little_where_the_picture_ends(height, size, expected):
    found = place_crop(FaceExtent((500.0, 500.0), height), size)
    if size[0] == 560:
        assert found[1] == 388 and found[3] == 588     # by no more than 10 %
    else:
        assert found == expected


def test_a_crop_larger_than_the_picture_becomes_a_little_smaller():
    left, top, right, bottom = place_crop(FaceExtent((200.0, 190.0), 225.0), (400, 400))
    assert bottom - top == 425 and bottom - 400 <= 25 and top < 0            # 85 % of 500
    assert place_crop(FaceExtent((200.0, 190.0), 190.0), (400, 400))[2:] == (400, 400)


def test_of_several_faces_one_is_cropped_with_a_warning():
    both = torch.cat([picture(1, side=192), picture(7, side=192)], 2)
    with pytest.warns(UserWarning, match="2 faces found"):
        crop_to_head_and_shoulders(both)
    second = max(detect_faces(both), key=lambda face: face.box[0])
    assert crop_to_head_and_shoulders(both, second).box[0] > 150


def test_without_a_face_there_is_no_crop():
    with pytest.raises(InputError, match="no face found in the picture of 128 x 128 px"):
        crop_to_head_and_shoulders(wall())
    assert crop_to_head_and_shoulders(wall(), required=False) is None


# ---------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("call, says", [
    (lambda: detect_faces(torch.zeros(64, 64)), "shape"),
    (lambda: detect_faces(torch.zeros(3, 64, 64, dtype=torch.int64)), "int64"),
    (lambda: detect_faces(torch.full((3, 64, 64), 255.0)), "divide 8-bit values by 255"),
    (lambda: detect_faces(torch.full((3, 64, 64), math.nan)), "0..1"),
    (lambda: detect_faces(torch.zeros(0, 3, 64, 64)), "no pixels"),
    (lambda: detect_faces(wall(), least_score=1.5), "between 0 and 1"),
    (lambda: landmarks(wall(), detect_faces(torch.stack([wall(), picture()]))), "picture 1"),
    (lambda: landmarks(picture(), [], views=2), "1 or 3"),
    (lambda: read_faces(wall()[None], mode="fast"), "'track' or 'each'"),
    (lambda: read_faces(wall()[None], smoothing_frames=-1), "above 0"),
    (lambda: crop_to_head_and_shoulders(picture(), face_share=45), "0.1 to 0.9"),
    (lambda: crop_to_head_and_shoulders(picture(), aspect=3), "between 0.5 and 2"),
    (lambda: crop_to_head_and_shoulders(torch.stack([wall(), wall()])), "one at a time"),
])
def test_bad_input_is_refused_in_one_sentence(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_public_names_are_functions_and_values_not_modules():
    for name in faces.__all__:
        assert callable(getattr(faces, name))
