"""Portraits from words, and the files that remember who they show."""

import pytest
import torch

from liveavatar.avatars import (
    VOCABULARY,
    avatar,
    contact_sheet,
    identity_index,
    random_identities,
    read_identity,
    save_portrait,
)
from liveavatar.types import InputError, Portrait

SMALL = (64, 64)


def test_a_seed_is_a_person():
    first, again, other = avatar(7, SMALL), avatar(7, SMALL), avatar(8, SMALL)
    assert torch.equal(first.pixels, again.pixels) and first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    assert first.pixels.shape == (3, *SMALL) and first.source == "rendered"


def test_words_and_numbers_change_only_what_they_name():
    plain, changed = avatar(7, SMALL).identity, avatar(7, SMALL, glasses=True, shirt="red", eye_size=1.1).identity
    named = {identity_index(name) for name in ("glasses", "shirt_red", "shirt_green", "shirt_blue", "eye_size")}
    assert changed[identity_index("glasses")] == 1
    assert changed[identity_index("eye_size")] == pytest.approx(1.1)
    assert set((plain != changed).nonzero().flatten().tolist()) <= named


@pytest.mark.parametrize("trait", VOCABULARY)
def test_every_word_can_be_drawn(trait):
    for word in VOCABULARY[trait]:
        assert avatar(1, (32, 32), **{trait: word}).pixels.isfinite().all()


@pytest.mark.parametrize(("traits", "says"), [
    ({"hiar": "long"}, "unknown trait 'hiar'.*'hair'"),
    ({"hair": "lang"}, "hair='lang'.*'long'"),
    ({"eye_size": 9}, "eye_size=9.*0.92 to 1.16"),
    ({"eye_size": "big"}, "'big' is a word.*a number from 0.92 to 1.16"),
    ({"hair": True}, "hair=True.*'short'"),
    ({"glasses": float("nan")}, "glasses=nan.*out of range"),
])
def test_what_cannot_be_drawn_is_refused_by_name(traits, says):
    with pytest.raises(InputError, match=says):
        avatar(1, SMALL, **traits)


def test_a_seed_is_a_whole_number():
    with pytest.raises(InputError, match="seed is 'seven'"):
        avatar("seven")


def test_a_saved_portrait_remembers_who_it_shows(tmp_path):
    from PIL import Image

    portrait = avatar(3, (48, 64))
    save_portrait(portrait, tmp_path / "a.png")
    assert torch.equal(read_identity(tmp_path / "a.png"), portrait.identity)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (64, 48)
        saved = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(48, 64, 3).permute(2, 0, 1) / 255
    assert torch.equal(saved, portrait.pixels)


def test_any_other_picture_shows_nobody_known(tmp_path):
    save_portrait(Portrait(torch.rand(3, 8, 8)), tmp_path / "b.png")
    assert read_identity(tmp_path / "b.png") is None
    (tmp_path / "c.png").write_text("not a picture")
    with pytest.raises(InputError, match="c.png is not a picture"):
        read_identity(tmp_path / "c.png")
    with pytest.raises(InputError, match="d.png cannot be read"):
        read_identity(tmp_path / "d.png")


def test_a_contact_sheet_fills_row_by_row(tmp_path):
    from PIL import Image

    images = torch.stack([torch.full((3, 4, 6), value) for value in (0.2, 0.4, 0.6)])
    contact_sheet(images, 2, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12, 8)
        assert [sheet.getpixel(at)[0] for at in ((0, 0), (6, 0), (0, 4), (6, 4))] == [51, 102, 153, 0]
    with pytest.raises(InputError, match="cannot write"):
        contact_sheet(images, 2, tmp_path / "nowhere" / "sheet.png")
    with pytest.raises(InputError, match=r"\(N, 3, H, W\)"):
        contact_sheet(random_identities(2), 2, tmp_path / "x.png")
