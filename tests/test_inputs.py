"""What becomes of sound, picture and words before a model gets them."""

import pytest
import torch
from fakes import FakeBackend

from liveavatar.avatars import avatar
from liveavatar.config import GenerationConfig
from liveavatar.faces import detect_faces
from liveavatar.inputs import cropped, prepare_portrait
from liveavatar.types import InputError, Portrait


class Framed(FakeBackend):
    """Trained on photographs of heads and shoulders."""

    expects_head_and_shoulders = True


def photograph(height=400, width=600):
    """An avatar somewhere in a large picture, of whom nothing is known."""
    pixels = torch.full((3, height, width), 0.5)
    figure = torch.nn.functional.interpolate(avatar(seed=1).pixels[None], size=(200, 200), mode="bilinear")[0]
    pixels[:, 60:260, 350:550] = figure
    return Portrait(pixels, source="me.jpg")


def test_a_photograph_is_cropped_to_head_and_shoulders_where_the_model_wants_that():
    picture = photograph()
    assert cropped(picture, FakeBackend, GenerationConfig()) is picture
    crop = cropped(picture, Framed, GenerationConfig())
    height, width = crop.pixels.shape[-2:]
    (found,) = detect_faces(crop.pixels[None])
    assert height == width < 300 and found.box[3] - found.box[1] > 0.2 * height
    assert cropped(picture, Framed, GenerationConfig(crop="none")) is picture


def test_rendered_people_stand_right_already():
    rendered = avatar(seed=1)
    assert cropped(rendered, Framed, GenerationConfig()) is rendered


def test_a_box_is_cut_for_every_model():
    crop = cropped(photograph(), FakeBackend, GenerationConfig(crop="350,60,550,260"))
    assert torch.equal(crop.pixels, photograph().pixels[:, 60:260, 350:550])
    with pytest.raises(InputError, match=r"crop is 0,0,700,100, but me.jpg is 600 x 400 px"):
        cropped(photograph(), FakeBackend, GenerationConfig(crop=(0, 0, 700, 100)))


@pytest.mark.parametrize("crop, remedy", [("automatic", '"auto", "none"'), ("1,2,3", "left,top,right,bottom"),
                                          ((5, 5, 2, 9), "a box -3 px wide")])
def test_a_crop_that_is_none_is_refused(crop, remedy):
    with pytest.raises(InputError, match=remedy):
        GenerationConfig(crop=crop)


def test_without_a_face_the_whole_picture_is_used_and_that_is_said():
    picture = Portrait(torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)), source="leaf.png")
    with pytest.warns(UserWarning, match="no face was found in leaf.png: all of it is used"):
        assert cropped(picture, Framed, GenerationConfig()) is picture


def test_the_shape_of_the_video_follows_the_crop():
    _, size = prepare_portrait(FakeBackend, torch.full((300, 600, 3), 200, dtype=torch.uint8).numpy(),
                  GenerationConfig(crop=(0, 0, 300, 300), size="64*64"))
    assert size == (64, 64)


def test_loaded_weights_may_have_a_size_of_their_own():
    backend = FakeBackend()
    backend.default_size = (48, 64)
    for kind, size in ((FakeBackend, (32, 32)), (backend, (48, 64))):
        assert prepare_portrait(kind, avatar(seed=1), GenerationConfig())[1] == size


def test_a_model_follows_no_pose_unless_it_says_so():
    with pytest.raises(InputError, match="fake follows no pose video"):
        FakeBackend.check(GenerationConfig(pose_video="pose.mp4"))
