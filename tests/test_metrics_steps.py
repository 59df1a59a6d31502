"""What each step did: pictures that differ by a known amount give back that amount, in numbers and in words."""

import math

import numpy as np
import pytest

from liveavatar.metrics.steps import (
    change_map,
    common_reach,
    describe,
    difference,
    share_within,
    step_effects,
)
from liveavatar.types import InputError

DRAW = np.random.default_rng(0)
SIZE = (24, 40)                        # no square: sizes are nobody's business


def grey(level: int, frames: int = 3) -> np.ndarray:
    return np.full((frames, *SIZE, 3), level, np.uint8)


def test_a_step_is_measured_against_the_one_before_and_against_the_end():
    effects = step_effects([grey(160), grey(190), grey(200)], grey(100)[0])
    assert [effect.change for effect in effects] == pytest.approx([60 / 255, 30 / 255, 10 / 255])
    assert [effect.left for effect in effects] == pytest.approx([40 / 255, 10 / 255, 0])
    assert [effect.done for effect in effects] == pytest.approx([0.6, 0.9, 1.0])


def test_what_is_not_known_yet_is_nan_and_said():
    first, second = step_effects([grey(160), grey(190)], grey(100)[0], finished=False)
    assert first.change == pytest.approx(60 / 255) and math.isnan(first.left) and math.isnan(second.done)
    headline, sentences = describe((first, second))
    assert headline == ("Step 1 changed 12 %; mostly light, colour and large shapes. How far the guess is from the "
                        "finished picture is known after the last step.")
    assert sentences[0].startswith("Changed 24 % against the portrait") and sentences[1].startswith("Changed 12 %")
    assert describe(()) == ("No step is made yet.", ())


def test_without_a_portrait_the_first_step_has_nothing_to_be_compared_with():
    first, second = step_effects([grey(160), grey(200)])
    assert math.isnan(first.change) and math.isnan(first.done) and math.isnan(first.detail_kept)
    assert second.change == first.left == pytest.approx(40 / 255)
    headline, sentences = describe((first, second))
    assert headline == "The guess differs from the finished picture by 16 % after step 0; step 1 finishes it."
    assert sentences[0] == "The first guess, without a portrait to compare it with."


def test_a_guess_that_leads_away_is_less_than_nothing_done():
    effects = step_effects([grey(20), grey(200)], grey(100)[0])
    assert effects[0].done == pytest.approx(-0.8)
    headline, sentences = describe(effects)
    assert "further from the finished picture than the portrait" in headline and "of the way back" in sentences[0]


def test_the_headline_says_how_far_each_step_comes():
    portrait = grey(100)[0]
    assert describe(step_effects([grey(176), grey(188), grey(200)], portrait))[0] == (
        "The guess is 76 % done after step 0; step 1 brings it to 88 %, and step 2 finishes it.")
    assert describe(step_effects([grey(176), grey(200)], portrait))[0] == (
        "The guess is 76 % done after step 0; step 1 finishes it.")
    assert describe(step_effects([grey(200)], portrait))[0] == "One step makes the whole picture."
    many = [grey(110 + 10 * step) for step in range(9)] + [grey(200)]
    assert describe(step_effects(many, portrait))[0] == (
        "The guess is 10 % done after step 0; step 8 brings it to 90 %, and step 9 finishes it.")


def test_a_step_that_hardly_changes_anything_is_called_so():
    effects = step_effects([grey(199), grey(200)], grey(100)[0])
    assert describe(effects)[1][1] == "Changed hardly anything."


def test_detail_is_what_a_blur_takes_away():
    from PIL import Image, ImageFilter

    portrait = DRAW.integers(0, 255, (128, 128, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(portrait).filter(ImageFilter.GaussianBlur(2)))
    soft, sharp = step_effects([blurred[None], portrait[None]], portrait)
    assert soft.detail_kept < 0.3 and sharp.detail_kept == pytest.approx(1.0)
    assert "it gets sharper" in describe((soft, sharp))[1][1]


def test_shapes_are_told_from_detail_and_the_face_from_the_rest():
    portrait, face = np.full((128, 128, 3), 100, np.uint8), (slice(0, 64), slice(0, 128))
    brighter = portrait.copy()
    brighter[face] = 160
    noisy = (brighter + DRAW.choice([-20, 20], (128, 128, 1))).astype(np.uint8)
    broad, fine = step_effects([brighter[None], noisy[None]], portrait, face_box=face)
    assert broad.fine < 0.1 and fine.fine > 0.5 and broad.at_face == 1 and fine.at_face == pytest.approx(0.5, abs=0.01)
    first, second = describe((broad, fine))[1]
    assert "mostly light, colour and large shapes, 100 % in the face" in first
    assert "% is fine detail, 50 % in the face" in second


def test_detail_can_be_held_against_another_picture_than_the_way():
    sharp = DRAW.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    effect, = step_effects([sharp[None]], None, sharp=sharp)
    assert effect.detail_kept == 1 and math.isnan(effect.done)


def test_the_mouth_is_told_where_it_was_read():
    effects = step_effects([grey(160), grey(200)], grey(100)[0], mouths=[0.1, 0.35],
                           mouth_box=(slice(12, 24), slice(0, 40)))
    assert [effect.mouth for effect in effects] == [0.1, 0.35] and effects[0].at_mouth == pytest.approx(0.5)
    sentences = describe(effects)[1]
    assert "50 % around the mouth" in sentences[0] and "the mouth is 0.10 open" in sentences[0]
    assert "the mouth opens from 0.10 to 0.35" in sentences[1]


def test_differences_have_a_place_and_a_scale():
    one, other = grey(0, 1), grey(0, 1)
    other[0, 3, 5] = 255
    changes = change_map(one, other)
    assert changes.shape == (1, *SIZE) and changes[0, 3, 5] == 1 and changes.sum() == 1
    assert difference(one, other) == pytest.approx(math.sqrt(1 / (24 * 40)))
    assert share_within(one, other, (slice(0, 4), slice(0, 10))) == 1
    assert share_within(one, other, (slice(4, 9), slice(0, 10))) == 0
    assert math.isnan(share_within(one, one, (slice(0, 4), slice(0, 10))))
    assert common_reach([np.full(SIZE, 0.24), np.full(SIZE, 0.01)]) == 0.3
    assert common_reach([np.zeros(SIZE)]) == 0.02 and common_reach([np.ones(SIZE)]) == 1


def test_pictures_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="shapes"):
        step_effects([grey(1), grey(1, frames=2)])
    with pytest.raises(InputError, match=r"portrait is 20\*24 px, the guesses 40\*24"):
        step_effects([grey(1)], grey(1)[0, :, :20])
