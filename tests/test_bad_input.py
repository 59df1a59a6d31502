"""Whatever is given: one clear sentence with the value and the remedy, before weights load, and nothing half-written.

And the other side: what only looks odd is taken.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fakes import RATE_HZ, FakeBackend, face, tone
from PIL import Image

from liveavatar import cli, pipeline, video
from liveavatar.backends import BACKENDS, find
from liveavatar.backends.mini import MiniBackend
from liveavatar.config import GenerationConfig
from liveavatar.types import InputError, Speech
from liveavatar.video import read_frames
from liveavatar.weights import read_manifest, save_part

QUICK = GenerationConfig(sample_steps=1)


# ------------------------------------------------------------------------------------------------- how to make a mess

def sound(name, wave=None, rate_hz=RATE_HZ, **options):
    soundfile.write(name, tone(0.5).wave if wave is None else wave, rate_hz, **options)
    return name


def text(name):
    Path(name).write_text("this is not what its name says\n" * 20)
    return name


def cut(name, keep):
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[:round(keep * len(data))])
    return name


def empty(name):
    Path(name).touch()
    return name


def folder(name):
    Path(name).mkdir()
    return name


def with_nan():
    wave = tone(0.5).wave
    wave[4000] = np.nan
    return wave


def picture(name, mode="RGB", size=(64, 64), **options):
    Image.new(mode, size, *options.pop("colour", ())).save(name, **options)
    return name


def deep_picture(name):
    Image.fromarray((np.linspace(0, 65535, 64 * 64).reshape(64, 64)).astype(np.uint16)).save(name)
    return name


def animated(name):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    frames[0].save(name, save_all=True, append_images=frames[1:])
    return name


def turned(name):
    """A tall picture, red above and blue below, stored lying on its side with an EXIF note."""
    upright = Image.new("RGB", (64, 96), "red")
    upright.paste("blue", (0, 48, 64, 96))
    note = Image.Exif()
    note[0x0112] = 6                                     # turn by 90 degrees clockwise to see it
    upright.transpose(Image.Transpose.ROTATE_90).save(name, exif=note)
    return name


# ------------------------------------------------------------------------------------------------------- the tables

BAD_AUDIO = {
    "missing file": (lambda: "nowhere.wav", "nowhere.wav"),
    "folder": (lambda: folder("sounds.wav"), "is a folder"),
    "empty file": (lambda: empty("empty.wav"), r"empty.wav.*empty \(0 bytes\)"),
    "no samples": (lambda: sound("none.wav", np.zeros(0, np.float32)), "0 ms of sound"),
    "10 ms": (lambda: sound("short.wav", tone(0.01).wave), "10 ms of sound, at least 200 ms"),
    "NaN": (lambda: sound("nan.wav", with_nan(), subtype="FLOAT"), r"holds nan at 0\.250 s"),
    "text named .wav": (lambda: text("text.wav"), "text.wav is not a sound file"),
    "picture": (lambda: picture("picture.png"), "picture.png (has no sound|is not a sound file)"),
    "empty Speech": (lambda: Speech(np.zeros(0, np.float32), RATE_HZ), "the speech is empty"),
    "NaN in Speech": (lambda: Speech(with_nan(), RATE_HZ), "holds nan"),
    "stereo Speech": (lambda: Speech(np.zeros((99, 2), np.float32), RATE_HZ), r"shape \(99, 2\).*mono"),
    "Speech at another rate": (lambda: Speech(tone(1).wave, 44_100), "44100 Hz.*16000 Hz"),
}
ODD_AUDIO = {     # and whether something is said about it
    "silence": (lambda: sound("silence.wav", np.zeros(8000)), "silent"),
    "8 bit": (lambda: sound("eight.wav", subtype="PCM_U8"), None),
    "6 channels": (lambda: sound("six.wav", np.tile(tone(0.5).wave[:, None], 6)), None),
    "192 kHz": (lambda: sound("fast.wav", np.repeat(tone(0.5).wave, 12), 192_000), None),
}
BAD_IMAGE = {
    "missing file": (lambda: "nowhere.png", "nowhere.png"),
    "folder": (lambda: folder("pictures.png"), "is a folder"),
    "empty file": (lambda: empty("empty.png"), "empty.png"),
    "1 px": (lambda: picture("dot.png", size=(1, 1)), "1 x 1 px.*at least"),
    "20,000 px": (lambda: picture("long.png", "L", (20_000, 64)), "20000 x 64 px; at most"),
    "text named .png": (lambda: text("text.png"), "text.png.*is not a picture"),
    "truncated": (lambda: cut(picture("cut.png"), 0.6), "cut.png.*(damaged|not a picture)"),
}
ODD_IMAGE = {
    "CMYK": (lambda: picture("cmyk.jpg", "CMYK"), None),
    "16 bit": (lambda: deep_picture("deep.png"), None),
    "animated": (lambda: animated("moving.gif"), "3 pictures in one file; the first is used"),
    "rotated by EXIF": (lambda: turned("turned.jpg"), None),
    "alpha": (lambda: picture("clear.png", "RGBA", colour=((255, 0, 0, 0),)), None),
    "palette": (lambda: picture("palette.png", "P"), None),
}
BAD_SETTINGS = {
    "no steps": ({"sample_steps": 0}, "sample_steps is 0; .* from 1 to 50"),
    "99 steps": ({"sample_steps": 99}, "sample_steps is 99; .* from 1 to 50"),
    "half a step": ({"sample_steps": 2.5}, "sample_steps is 2.5"),
    "tiny size": ({"size": "7*7"}, r"size is 7\*7; .*try 32\*32"),
    "odd size": ({"size": "130*100"}, r"size is 130\*100; .*try 128\*96"),
    "no size": ({"size": "abc"}, "size is 'abc'; write width"),
    "size with three sides": ({"size": (128, 128, 3)}, "size is .128, 128, 3."),
    "infer_frames 50": ({"infer_frames": 50}, "infer_frames is 50; .* nearest are 48 and 60"),
    "infer_frames 5": ({"infer_frames": 5}, "infer_frames is 5; .* nearest is 12"),
    "no clips": ({"num_clip": 0}, "num_clip is 0"),
    "negative seed": ({"base_seed": -1}, "base_seed is -1"),
    "unknown solver": ({"sample_solver": "unipc"}, "'unipc'; known: 'euler', 'renoise'"),
    "unknown schedule": ({"schedule": "cosine"}, "'cosine'; known: 'trained', 'released', 'linear'"),
    "rising schedule": ({"schedule": (0.5, 0.9, 0.0)}, "must fall"),
    "schedule of another length": ({"schedule": (1.0, 0.5, 0.0)}, "use sample_steps=2"),
    "unknown cleaner": ({"clean": "magic"}, "'magic'; known: 'wiener', 'noisereduce'"),
    "negative start": ({"start_s": -1.0}, "start_s is -1.0"),
    "no duration": ({"duration_s": 0.0}, "duration_s is 0.0"),
    "no number": ({"shift": float("nan")}, "shift is nan"),
}
BAD_PROMPT = {
    "10,000 words": ("word " * 10_000, "10,000 words.*at most"),
    "not text": (7, "a prompt is text, not int"),
}
BAD_OUTPUT = {
    "unwritable": ("/proc/nowhere/out.mp4", "/proc/nowhere/out.mp4 cannot be written"),
    "unknown ending": ("out.avi", "known: .mp4 and .webm"),
    "folder": ("made.mp4", "made.mp4 is not a file"),
}


def cases(table):
    return [pytest.param(*case, id=name) for name, case in table.items()]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty folder to work in; afterwards there must be no video, whole or half, and no weights were loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    monkeypatch.setattr(FakeBackend, "loaded", 0)
    return tmp_path


def refused(words, audio=None, image=None, prompt="", config=QUICK, output="out.mp4"):
    """generate() refuses in one sentence before anything is loaded or written."""
    before = set(os.listdir())
    with pytest.raises(InputError) as error:
        pipeline.generate(tone(0.5) if audio is None else audio, face() if image is None else image, prompt, config,
                          output=output, backend="fake", progress=False)
    assert re.search(words, str(error.value)), str(error.value)
    assert "\n" not in str(error.value) and FakeBackend.loaded == 0
    assert set(os.listdir()) == before


def taken(said, audio=None, image=None, prompt=""):
    """generate() makes the video, and says `said` or nothing."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        made = pipeline.generate(tone(0.5) if audio is None else audio, face() if image is None else image, prompt,
                                 QUICK, output="out.mp4", backend="fake", progress=False)
    spoken = [str(note.message) for note in notes if note.category is UserWarning]
    assert made.complete and len(list(read_frames("out.mp4"))) == made.frames
    assert spoken == [] if said is None else any(re.search(said, note) for note in spoken), spoken
    return made


# ------------------------------------------------------------------------------------------------------ through Python

@pytest.mark.parametrize(("make", "words"), cases(BAD_AUDIO))
def test_bad_audio(make, words):
    refused(words, audio=make())


@pytest.mark.parametrize(("make", "said"), cases(ODD_AUDIO))
def test_odd_audio_is_taken(make, said):
    assert taken(said, audio=make()).frames == 13


def test_of_a_truncated_mp3_what_is_there_is_used():
    whole = sound("cut.mp3", tone(3).wave)
    assert 10 < taken("breaks off", audio=cut(whole, 0.5)).frames < 75


@pytest.mark.parametrize(("make", "words"), cases(BAD_IMAGE))
def test_bad_image(make, words):
    refused(words, image=make())


@pytest.mark.parametrize(("make", "said"), cases(ODD_IMAGE))
def test_odd_image_is_taken(make, said):
    taken(said, image=make())


def test_a_picture_turned_by_exif_stands_upright():
    pixels = pipeline.prepare_portrait(FakeBackend, turned("turned.png"), QUICK)[0].pixels
    assert pixels.shape == (3, 96, 64)
    assert pixels[0, 0, 32] > 0.9 and pixels[2, 95, 32] > 0.9           # red above, blue below


@pytest.mark.parametrize(("settings", "words"), cases(BAD_SETTINGS))
def test_bad_settings_are_refused_when_they_are_made(settings, words):
    with pytest.raises(InputError, match=words):
        GenerationConfig(**settings)


@pytest.mark.parametrize(("prompt", "words"), cases(BAD_PROMPT))
def test_bad_prompt(prompt, words):
    refused(words, prompt=prompt)


def test_an_empty_prompt_is_taken_and_strange_words_are_named():
    taken(None, prompt="")
    taken("does not know 'quixotic'", prompt="smiling, quixotic")


@pytest.mark.parametrize(("output", "words"), cases(BAD_OUTPUT))
def test_bad_output(output, words):
    folder("made.mp4")
    refused(words, output=output)


def test_a_run_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for run_dir, words in (("run", "run already holds a run; go on with resume"), ("/proc/run", "cannot be written")):
        with pytest.raises(InputError, match=words):
            pipeline.generate(tone(0.5), face(), "", QUICK, backend="fake", run_dir=run_dir)
    assert FakeBackend.loaded == 0 and os.listdir() == ["run"]


def test_a_start_beyond_the_end():
    refused("start_s=9 is beyond the end", audio=sound("half.wav"), config=GenerationConfig(start_s=9))
    refused("start_s is 9, but the speech lasts 0.50 s", config=GenerationConfig(start_s=9))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_under_the_final_name(monkeypatch):
    opened = video.VideoWriter._open

    def onto_full_disk(writer, *arguments):
        writer._part.symlink_to("/dev/full")
        opened(writer, *arguments)

    monkeypatch.setattr(video.VideoWriter, "_open", onto_full_disk)
    with pytest.raises(InputError, match="the disk is full: out.mp4 could not be finished"):
        pipeline.generate(tone(0.5), face(), "", QUICK, output="out.mp4", backend="fake", progress=False)
    assert os.listdir() == []


def test_an_unknown_backend():
    with pytest.raises(InputError, match="unknown backend 'mini2'; known: 'mini'"):
        find("mini2")


# ------------------------------------------------------------------------------------------------------------- weights

def some_weights():
    weights = Path("weights")
    for part in ("base", "vae", "student"):
        save_part(weights, part, {"a": torch.arange(8.0)})
    return weights


def test_weights_come_back_as_they_were_saved_and_have_one_name():
    weights = some_weights()
    first = read_manifest(weights).fingerprint
    save_part(weights, "base", {"a": torch.arange(9.0)})
    assert read_manifest(weights).fingerprint != first and len(first) == 16
    save_part(weights, "base", {"a": torch.arange(8.0)})
    assert read_manifest(weights).fingerprint == first


@pytest.mark.parametrize(("damage", "words"), [
    (lambda path: path.unlink(), "weights are missing: .*base-00.safetensors"),
    (lambda path: path.write_bytes(path.read_bytes()[:-3]), "weights are damaged: .*base-00.safetensors has .* bytes"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "weights are damaged: .*sha256 .*, expected"),
    (lambda path: path.with_name("manifest.json").unlink(), "weights are missing: .*manifest.json does not exist"),
    (lambda path: path.with_name("manifest.json").write_text("{"), "weights are damaged: .*manifest.json"),
])
def test_damaged_weights(damage, words):
    weights = some_weights()
    damage(weights / "base-00.safetensors")
    with pytest.raises(InputError, match=words) as error:
        MiniBackend.load(weights=weights)
    assert "install liveavatar again" in str(error.value)


def test_weights_of_another_network():
    with pytest.raises(InputError, match="made for another version"):
        MiniBackend.load(weights=some_weights())


@pytest.mark.parametrize(("options", "words"), [
    ({"dtype": "int4"}, "dtype is 'int4'; known: auto, float32, bfloat16"),
    ({"device": "quantum"}, "device is 'quantum'; known"),
])
def test_bad_options_of_mini(options, words):
    with pytest.raises(InputError, match=words):
        MiniBackend.load(weights="random", **options)


# -------------------------------------------------------------------------------------------- through the command line

BAD_COMMANDS = {
    "missing audio": ({"--audio": "nowhere.wav"}, "--audio nowhere.wav does not exist"),
    "missing image": ({"--image": "nowhere.png"}, "--image nowhere.png does not exist"),
    "text named .wav": ({"--audio": lambda: text("text.wav")}, "text.wav is not a sound file"),
    "10 ms": ({"--audio": lambda: sound("short.wav", tone(0.01).wave)}, "10 ms of sound"),
    "1 px": ({"--image": lambda: picture("dot.png", size=(1, 1))}, "1 x 1 px"),
    "no steps": ({"--sample_steps": "0"}, "sample_steps is 0"),
    "99 steps": ({"--sample_steps": "99"}, "sample_steps is 99"),
    "tiny size": ({"--size": "7*7"}, "size is 7*7"),
    "no size": ({"--size": "abc"}, "size is 'abc'"),
    "infer_frames 50": ({"--infer_frames": "50"}, "48 and 60"),
    "10,000 words": ({"--prompt": "word " * 10_000}, "10,000 words"),
    "unwritable": ({"--output": "/proc/nowhere/out.mp4"}, "/proc/nowhere/out.mp4 cannot be written"),
    "unknown backend": ({"--backend": "mini2"}, "unknown backend 'mini2'"),
}


@pytest.mark.parametrize(("changed", "words"), cases(BAD_COMMANDS))
def test_the_command_line_says_one_sentence_and_ends_with_2(changed, words, capsys):
    options = {"--backend": "fake", "--audio": sound("good.wav"), "--image": picture("good.png")}
    options |= {name: value() if callable(value) else value for name, value in changed.items()}
    before = set(os.listdir())
    assert cli.main(["generate", *(word for option in options.items() for word in option)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and words in said.err
    assert FakeBackend.loaded == 0 and set(os.listdir()) == before


def test_damaged_weights_end_with_2_and_leave_nothing(capsys):
    weights = some_weights()
    (weights / "vae-00.safetensors").unlink()
    (weights / "base-00.safetensors").write_bytes(b"no")
    assert cli.main(["generate", "--audio", sound("good.wav"), "--image", picture("good.png"), "--weights",
                     str(weights), "--teacher"]) == 2
    assert "base-00.safetensors has 2 bytes" in capsys.readouterr().err and not Path("out.mp4").exists()
