"""Runs that were made before: found, told apart, made again, deleted."""

import shutil

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone

from liveavatar import avatar, cli, sample_portraits
from liveavatar.backends import BACKENDS
from liveavatar.conditions import load_portrait
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs import delete, differences, find_inputs, inputs_of, list_runs, open_run, read_recipe, thumbnail
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from liveavatar.video import VideoWriter, read_frames

ASKED = GenerationConfig(sample_steps=2, base_seed=5, size=(32, 32))


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    return Pipeline(FakeBackend())


@pytest.fixture
def folder(pipe, tmp_path, monkeypatch):
    """A folder with a video of files, a run folder, and the recording and the portrait that they were made from."""
    import soundfile
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "me.wav", tone(0.5).wave, 16_000)
    pixels = (face(32, 32).pixels * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "me.png", compress_level=1)
    pipe.render("me.wav", "me.png", "waving", ASKED, output="me.mp4", run_dir="run", progress=False)
    return tmp_path


def test_a_folder_lists_its_runs_and_videos_with_their_recipes(folder):
    with VideoWriter("film.mp4", (32, 32), 25.0) as writer:          # not ours
        writer.write(np.zeros((3, 32, 32, 3), np.uint8))
    entries = {entry.kind: entry for entry in list_runs(folder)}
    assert set(entries) == {"video", "run folder"} and entries["video"].name == "me.mp4"
    settings = entries["video"].recipe.settings()
    assert (settings["seed"], settings["steps"], settings["prompt"], settings["portrait"]) == (5, 2, "waving", "me.png")
    assert entries["video"].figures == {"length": "0.52 s", "picture": "32 x 32 px"}
    assert all(thumbnail(entry).shape == (32, 32, 3) for entry in entries.values())
    assert list_runs(folder, "waving absent") == ()                  # every word must occur
    assert {entry.name for entry in list_runs(folder, "WAVING me")} == {"me.mp4", "run"}
    with pytest.raises(InputError, match="is not a folder"):
        list_runs(folder / "none")


def test_a_saved_run_keeps_its_recipe(pipe, tmp_path):
    run = Run.of(pipe, tone(0.5), face(32, 32), "smiling", ASKED)
    run.start().result()
    run.save(tmp_path / "saved")
    [entry] = list_runs(tmp_path)
    assert entry.kind == "saved run" and entry.recipe.prompt == "smiling" and entry.figures["length"] == "0.52 s"
    assert open_run(tmp_path / "saved").provenance["inputs"] == run.provenance["inputs"]


def test_inputs_are_found_by_their_hashes_wherever_they_are_and_whatever_they_are_called(folder):
    recipe = read_recipe("me.mp4")
    (folder / "deep").mkdir()
    (folder / "me.wav").rename(folder / "deep" / "another name.wav")
    assert find_inputs(recipe, [folder]) == (folder / "deep" / "another name.wav", folder / "me.png")
    (folder / "deep" / "another name.wav").unlink()
    (folder / "me.png").unlink()
    sound, portrait = inputs_of(recipe)                       # the run folder has copies
    assert sound.resolve() == folder / "run" / "sound.original" and portrait.pixels.shape == (3, 32, 32)
    shutil.rmtree(folder / "run")
    with pytest.raises(InputError, match=r"recording of me.mp4, me.wav .*give it with --audio"):
        inputs_of(recipe)


@pytest.mark.parametrize("who", ["by seed", "at random", "in a size of numpy", "sample"])
def test_an_avatar_and_a_sample_are_found_without_any_file(pipe, tmp_path, who):
    portrait = {"by seed": lambda: avatar(3, (32, 32), hair="long"), "at random": lambda: avatar(size=(32, 32)),
                "in a size of numpy": lambda: avatar(3, tuple(np.array([32, 32]))),
                "sample": lambda: sample_portraits()["man"]}[who]()
    pipe.render(tone(0.5), portrait, "", ASKED, output=tmp_path / "she.mp4", progress=False)
    found = find_inputs(read_recipe(tmp_path / "she.mp4"), [tmp_path])[1]
    assert torch.equal(load_portrait(found).pixels, portrait.pixels)


def test_again_makes_the_same_video_and_takes_what_is_given(folder):
    assert cli.main(["generate", "--again", "me.mp4", "--output", "same.mp4"]) == 0
    pictures = [np.stack(list(read_frames(name))) for name in ("me.mp4", "same.mp4")]
    assert np.array_equal(*pictures)
    assert differences(read_recipe("me.mp4"), read_recipe("same.mp4")) == []
    assert cli.main(["generate", "--again", "me.mp4", "--base_seed", "6", "--output", "other.mp4"]) == 0
    assert differences(read_recipe("me.mp4"), read_recipe("other.mp4")) == [("seed", 5, 6)]


def test_again_refuses_in_a_sentence_what_has_no_recipe(folder, capsys):
    (folder / "text.mp4").write_text("no film")
    for name, words in (("text.mp4", "is not a video"), ("none.mp4", "does not exist")):
        assert cli.main(["generate", "--again", name]) == 2
        assert words in capsys.readouterr().err


def test_deleting_a_run_leaves_what_is_not_part_of_it(folder):
    (folder / "run" / "notes.txt").write_text("mine")
    for entry in list_runs(folder):
        delete(entry)
    assert list_runs(folder) == () and not (folder / "me.mp4").exists()
    assert [path.name for path in (folder / "run").iterdir()] == ["notes.txt"] and (folder / "me.wav").exists()
