"""RunGallery without a browser: entries, differences, again, delete."""

import pytest
from fakes import FakeBackend, face, tone, wait_until

from liveavatar.backends import BACKENDS
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.types import InputError
from widgets import RunGallery


@pytest.fixture
def gallery(monkeypatch, tmp_path):
    """A gallery of two videos that differ in seed and prompt."""
    import soundfile
    from PIL import Image

    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    soundfile.write(tmp_path / "me.wav", tone(0.4).wave, 16_000)
    Image.fromarray((face(32, 32).pixels * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / "me.png")
    for seed, prompt in ((1, "waving"), (2, "<b>smiling</b>")):
        asked = GenerationConfig(sample_steps=1, base_seed=seed, size=(32, 32))
        Pipeline(FakeBackend()).render(tmp_path / "me.wav", tmp_path / "me.png", prompt, asked,
                                       output=tmp_path / f"{seed}.mp4", progress=False)
    return RunGallery(tmp_path)


def test_two_that_are_chosen_are_compared(gallery):
    body, pictures = gallery.paint()
    assert [entry["name"] for entry in body["entries"]] == ["2.mp4", "1.mp4"] and len(pictures) == 2
    assert body["entries"][0]["prompt"] == "<b>smiling</b>" and body["entries"][0]["settings"] == ["seed 2", "1 step"]
    assert body["differences"] == [] and gallery.paint(full=False)[1] == {}
    gallery.chosen = [entry["path"] for entry in body["entries"]]
    assert gallery.paint()[0]["differences"] == [["prompt", "<b>smiling</b>", "waving"], ["seed", "2", "1"]]
    assert gallery.open_chosen().total_s == pytest.approx(0.4)


def test_a_search_leaves_those_with_every_word(gallery):
    gallery.search = "smiling seed"
    assert [entry.name for entry in gallery.entries] == ["2.mp4"]
    assert "search='smiling seed'" in gallery.as_code()
    gallery.folder = "/nowhere"
    gallery.paint()
    assert gallery.error.startswith("/nowhere is not a folder")


def test_open_shows_an_entry_elsewhere_and_says_why_it_cannot(gallery, tmp_path):
    assert gallery.paint()[0]["opens"] is False
    shown = []
    gallery._show = shown.append
    assert gallery.paint()[0]["opens"] is True
    gallery._receive_message(None, {"kind": "open", "path": str(tmp_path / "1.mp4")}, [])
    wait_until(lambda: not gallery._doing)
    assert shown[0].total_s == pytest.approx(0.4) and gallery.error == ""
    gallery._show = refuse
    gallery._receive_message(None, {"kind": "open", "path": str(tmp_path / "1.mp4")}, [])
    wait_until(lambda: not gallery._doing)
    assert gallery.error == "One video at a time"


def refuse(run):
    raise InputError("One video at a time")


def test_again_and_delete_are_done_to_entries_of_the_folder_only(gallery, tmp_path):
    gallery._receive_message(None, {"kind": "again", "path": str(tmp_path / "1.mp4")}, [])
    wait_until(lambda: not gallery._doing)
    assert gallery.error == "" and (tmp_path / "1-2.mp4").is_file()
    (tmp_path / "me.png").unlink()
    gallery._receive_message(None, {"kind": "again", "path": str(tmp_path / "1.mp4")}, [])
    wait_until(lambda: not gallery._doing)
    assert "portrait of 1.mp4, me.png" in gallery.error
    gallery._receive_message(None, {"kind": "delete", "path": str(tmp_path / "1.mp4")}, [])
    assert not (tmp_path / "1.mp4").exists()
    gallery._receive_message(None, {"kind": "delete", "path": str(tmp_path / "me.wav")}, [])
    assert (tmp_path / "me.wav").exists() and "is not there any more" in gallery.error
