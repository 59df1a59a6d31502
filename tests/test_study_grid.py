"""Grids and materials: every combination once, one name one video, noise at exactly the level asked for."""

import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from liveavatar.backends.mini import WEIGHTS
from liveavatar.study.grid import Cell, Grid, parse_axis
from liveavatar.study.materials import _recording, first_seconds, gather, pink_noise, recording, with_noise
from liveavatar.study.plan import RECORDINGS, SCALES, SMOKE, cells_of
from liveavatar.types import InputError


def test_a_grid_is_every_combination_once():
    grid = Grid(steps=(3, 4), model=("student", "teacher"), seed=(1, 2, 1))
    assert len(grid) == 8
    assert {(cell.steps, cell.model, cell.seed) for cell in grid.cells()} == {
        (steps, model, seed) for steps in (3, 4) for model in ("student", "teacher") for seed in (1, 2)}


def test_settings_that_belong_together_stay_together():
    cells = Grid([{"noise_db": 5.0}, {"noise_db": 5.0, "clean": "wiener"}], steps=(3, 4)).cells()
    assert {(cell.noise_db, cell.clean) for cell in cells} == {(5.0, ""), (5.0, "wiener")}
    assert len(cells) == 4


def test_neighbours_need_the_same_weights():
    models = [cell.model for cell in Grid(steps=(1, 2, 3), model=("teacher", "student")).cells()]
    assert models == ["student"] * 3 + ["teacher"] * 3


def test_a_grid_survives_json():
    grid = Grid([{"noise_db": None}], steps=(3, 4), size="96*96")
    assert Grid.from_dict(grid.to_dict()).cells() == grid.cells()


@pytest.mark.parametrize("axes, words", [
    (dict(stepz=3), "has no 'stepz'"), (dict(steps=()), "steps has no values"), (dict(steps=0), "sample_steps"),
    (dict(size="100*100"), "multiples of 16"), (dict(model="pupil"), "model is 'pupil'"),
    (dict(clean="soap"), "clean"), (dict(noise_db=500.0), "noise_db"), (dict(guidance=2.0), "guidance")])
def test_nonsense_is_refused_before_any_work(axes, words):
    with pytest.raises(InputError, match=words.replace("*", r"\*")):
        Grid(**axes)


def test_the_key_follows_what_is_in_the_video_and_nothing_else():
    about = {"weights": "a", "inputs": "b"}
    assert Cell(steps=3).key(about) == Cell(steps=3).key(dict(reversed(about.items())))
    different = [Cell(steps=3), Cell(steps=4), Cell(seed=1), Cell(noise_db=5.0), Cell(prompt="smiling")]
    assert len({cell.key(about) for cell in different} | {Cell(steps=3).key(about | {"weights": "c"})}) == 6


@pytest.mark.parametrize("text, axis", [
    ("steps=1..4", ("steps", (1, 2, 3, 4))), ("size=96*96, 128*128", ("size", ("96*96", "128*128"))),
    ("noise_db=none,10", ("noise_db", (None, 10.0))),
    ("prompt=smiling, warm;calm", ("prompt", ("smiling, warm", "calm"))),
    ("by_step=true", ("by_step", (True,)))])
def test_axes_are_read_from_the_command_line(text, axis):
    assert parse_axis(text) == axis


@pytest.mark.parametrize("text", ["steps", "stepz=3", "steps=three"])
def test_axes_that_mean_nothing_are_refused(text):
    with pytest.raises(InputError):
        parse_axis(text)


def test_noise_is_as_loud_as_asked():
    from liveavatar.audio import active_rms

    speech = recording("welcome")
    for snr_db in (0.0, 10.0):
        mixed = with_noise(speech, snr_db).wave
        pattern = pink_noise(len(mixed), speech.rate_hz)
        speech_gain, noise_gain = np.linalg.lstsq(np.stack([speech.wave, pattern], 1), mixed, rcond=None)[0]
        noise = noise_gain / speech_gain * pattern
        assert np.abs(mixed).max() <= 1
        measured = 20 * np.log10(active_rms(speech.wave) / np.sqrt(np.mean(noise**2)))
        assert measured == pytest.approx(snr_db, abs=0.01)


def test_pink_noise_falls_by_three_decibels_an_octave():
    power = np.abs(np.fft.rfft(pink_noise(1 << 16, 16_000))) ** 2
    frequencies = np.fft.rfftfreq(1 << 16, 1 / 16_000)
    octaves = [power[(frequencies >= low) & (frequencies < 2 * low)].mean() for low in (200, 400, 800, 1600)]
    np.testing.assert_allclose(10 * np.log10(np.divide(octaves[:-1], octaves[1:])), 3.01, atol=0.4)


def test_the_beginning_of_a_recording_keeps_the_sounds_in_it():
    speech = first_seconds(recording("welcome"), 1.0)
    assert len(speech.wave) == speech.rate_hz
    assert speech.phonemes and max(phoneme.end_s for phoneme in speech.phonemes) <= 1.0


def test_what_is_heard_is_noisy_and_what_was_spoken_is_not():
    materials = gather(Cell(noise_db=0.0, seconds=1.0))
    assert not np.array_equal(materials.heard.wave, materials.spoken.wave)
    np.testing.assert_array_equal(materials.spoken.wave, first_seconds(recording("welcome"), 1.0).wave)
    assert materials.portrait.identity is not None


def test_weights_without_a_student_make_videos_of_the_teacher(tmp_path):
    manifest = json.loads((WEIGHTS / "manifest.json").read_text())
    manifest["parts"].pop("student-4")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert gather(Cell(model="teacher", weights=str(tmp_path), seconds=0.5)).portrait.identity is not None
    with pytest.raises(InputError, match="student is True"):
        gather(Cell(weights=str(tmp_path), seconds=0.5))


def test_a_file_that_was_replaced_under_its_name_is_read_again(tmp_path):
    sound, picture = tmp_path / "voice.wav", tmp_path / "face.png"
    cell = Cell(recording=str(sound), portrait=str(picture))
    found = []
    for seconds, colour in ((0.5, "red"), (0.75, "blue")):
        soundfile.write(sound, np.full(round(seconds * 16_000), 0.3, np.float32), 16_000)
        Image.new("RGB", (64, 64), colour).save(picture)
        found.append(gather(cell))                     # the shipped weights know photographs: no warning
    assert [round(one.spoken.duration_s, 2) for one in found] == [0.5, 0.75]
    assert [one.portrait.pixels[0, 0, 0].item() for one in found] == [1, 0]


# ------------------------------------------------------------------------------------------- the study's plan

@pytest.mark.parametrize("name", SCALES)
def test_the_plan_holds_every_video_once(name):
    cells = cells_of(SCALES[name])
    assert len(set(cells)) == len(cells)


def test_the_full_plan_has_enough_witnesses():
    plain = [cell for cell in cells_of(SCALES["full"]) if cell.prompt == "" and cell.noise_db is None
             and cell.size == "256*256" and cell.schedule == "trained" and cell.solver == "euler" and not cell.clean]
    for model in ("student", "teacher"):
        for steps in range(1, 9):
            here = {(cell.portrait, cell.recording) for cell in plain if (cell.model, cell.steps) == (model, steps)}
            assert len(here) == 64


def test_the_smoke_plan_is_small():
    assert len(cells_of(SMOKE)) <= 6


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_study_needs_no_synthesiser(name, monkeypatch):
    """espeak-ng never says a thing twice in the same way, so its words are kept."""
    monkeypatch.setattr("liveavatar.speech.speak", None)
    kept = _recording.__wrapped__(name, None)
    assert kept.duration_s > 2.2 and 0.1 < np.abs(kept.wave).max() <= 1
    assert len(kept.phonemes) > 20 and 0 <= kept.duration_s - kept.phonemes[-1].end_s < 0.5
    assert kept.text == name.partition("|")[2]


def test_nobody_of_the_study_was_in_the_training_speech():
    from liveavatar.training import sentences, speakers

    known = {sentence.lower() for sentence in sentences.english("train")}
    for entry in RECORDINGS:
        voice, _, words = entry.partition("|")
        assert words.lower() not in known
        engine, _, name = voice.partition(":")
        accent, _, variant = name.partition("+")
        held = {name for name, _ in speakers.FLITE["held"]} if engine == "flite" else set(speakers.HELD_VARIANTS)
        trained = {name for name, _ in speakers.FLITE["train"]} if engine == "flite" else set(speakers.VARIANTS)
        assert (variant or accent) not in trained
        assert (variant or accent) in held | set(speakers.HELD_ACCENTS)
