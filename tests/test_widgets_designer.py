"""The Designer without a browser: choices become a person, the person becomes code, a file and a portrait."""

import pytest
import torch

import liveavatar
from liveavatar.avatars.portraits import read_identity
from liveavatar.types import InputError
from widgets import Designer
from widgets.designer import CONTROLS, FACES, GROUPS, shown_value


def picture(view: Designer, full: bool = True) -> tuple[str, bytes]:
    """The picture among the buffers that a browser would be sent."""
    _, buffers = view.paint(full)
    return next(((name, data) for name, data in buffers.items() if name.startswith("picture")), ("", b""))


def told(view: Designer, kind: str, **content) -> None:
    """A click in the browser."""
    view._receive_message(view, {"kind": kind, **content}, [])


def test_a_seed_is_always_the_same_person():
    assert torch.equal(Designer(seed=7).portrait.pixels, liveavatar.avatar(7).pixels)


def test_what_is_chosen_becomes_code_that_makes_the_same_portrait():
    view = Designer(seed=3, size="96*160")
    view.choose(hair="long", eye_size=1.1, glasses="round", freckles=True)
    assert view.as_code() == ("liveavatar.avatar(3, (160, 96), hair='long', eye_size=1.1, glasses='round', "
                              "freckles=True)")
    assert torch.equal(eval(view.as_code(), {"liveavatar": liveavatar}).pixels, view.portrait.pixels)


def test_a_word_replaces_the_numbers_it_covers_and_a_number_may_follow():
    view = Designer()
    view.choose(hair_volume=0.1)
    view.choose(hair="bob")
    assert view.choices == {"hair": "bob"}
    view.choose(hair_volume=0.15)
    assert view.identity[liveavatar.avatars.traits.identity_index("hair_volume")].item() == pytest.approx(0.15)


def test_a_choice_can_be_taken_back():
    view = Designer(seed=5)
    before = view.portrait.pixels
    for volume in (0.02, 0.05, 0.09):                      # one drag of one slider
        view.choose(hair_volume=volume)
    view.choose(skin="dark")
    view.back()
    assert view.choices == {"hair_volume": 0.09}
    view.back()
    assert view.choices == {} and torch.equal(view.portrait.pixels, before)
    with pytest.raises(InputError, match="nothing to take back"):
        view.back()
    view.choose(hair_volume=0.05)
    view.choose(hair_volume=None)
    assert view.choices == {}


def test_random_is_somebody_else():
    view = Designer(seed=1)
    view.choose(skin="deep")
    view.random(seed=2)
    assert (view.seed, view.choices) == (2, {})
    view.back()
    assert (view.seed, view.choices) == (1, {"skin": "deep"})


def test_what_cannot_be_drawn_is_said_and_changes_nothing():
    view = Designer(seed=1)
    told(view, "choose", choices={"eye_size": 99})
    assert "out of range" in view.error and view.choices == {}
    told(view, "choose", choices={"eye_size": 1.1})
    assert view.error == "" and view.choices == {"eye_size": 1.1}


def test_a_saved_portrait_knows_who_it_shows(tmp_path):
    view = Designer(seed=9, file=str(tmp_path / "someone.png"))
    told(view, "save")
    assert "someone.png" in view.paint()[0]["saved"]
    assert torch.equal(read_identity(tmp_path / "someone.png"), view.identity)
    told(view, "choose", choices={"skin": "tan"})
    assert view.paint()[0]["saved"] == ""
    view.file = str(tmp_path / "nowhere" / "someone.png")
    told(view, "save")
    assert "cannot write" in view.error


def test_a_move_is_drawn_quickly_and_finely_once_it_rests():
    view = Designer(seed=4)
    assert picture(view)[0] == "picture/256/256"
    view.choose(jaw_width=1.0)
    name, quick = picture(view, full=False)
    assert name == "picture/128/128" and len(quick) == 128 * 128 * 3
    assert picture(view, full=False) == ("", b"")          # nothing new
    view._touched_s -= 1
    assert picture(view, full=False)[0] == "picture/256/256"


def test_a_click_is_answered_with_a_picture_at_once():
    view, sent = Designer(seed=4), []
    view.send = lambda content, buffers=None: sent.append(content)
    told(view, "choose", choices={"chin_length": 0.5})
    assert [name.split("/")[0] for name in sent[0]["names"]][:1] == ["picture"]


def test_every_control_shows_where_a_person_stands():
    body, buffers = Designer(seed=8).paint()
    assert [title for title, _ in body["groups"]] == list(GROUPS) and set(body["values"]) == set(CONTROLS)
    assert len(body["faces"]) == FACES and any(name.startswith("faces") for name in buffers)
    chosen = liveavatar.avatar(8, hair="curly", skin="deep", glasses="square", beard="full").identity.tolist()
    assert [shown_value(CONTROLS[name], chosen) for name in ("hair", "skin", "glasses", "beard")] == [
        "curly", "deep", "square", "full"]


def test_every_trait_is_explained():
    for name, trait in Designer.class_own_traits().items():
        assert name.startswith("_") or trait.help, name
