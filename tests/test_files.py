"""Names as people give them, and files that appear whole, where they are meant to be, with the rights they had."""

import os
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes import FakeBackend, face, tone
from PIL import Image

from liveavatar import cli, pipeline
from liveavatar.audio import load_audio
from liveavatar.backends import BACKENDS
from liveavatar.conditions import load_portrait
from liveavatar.config import GenerationConfig
from liveavatar.files import free_name, part_path, printable, rereadable, stamp, user_path, write_whole
from liveavatar.types import InputError
from liveavatar.video import VideoWriter, read_frames

QUICK = GenerationConfig(sample_steps=1, num_clip=1, infer_frames=12)
LATIN_1 = os.fsdecode(b"caf\xe9")                         # a name that is not UTF-8, as old disks and archives have
STRANGE = ["2025-11-28T19:22:05", LATIN_1, "你好 – ünïcode", "100% #1?", "x" * 240, "-dash"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home folder, which is the current one too, and a backend that is quick."""
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    monkeypatch.setattr(FakeBackend, "loaded", 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_inputs(stem, folder="."):
    """A recording and a picture of that name."""
    sound, picture = Path(folder, f"{stem}.wav"), Path(folder, f"{stem}.png")
    soundfile.write(os.fsencode(sound), tone(0.5).wave, 16_000)
    Image.fromarray(face().pixels.mul(255).byte().permute(1, 2, 0).numpy()).save(picture)
    return str(sound), str(picture)


def generate(audio, image, output, *more):
    return cli.main(["generate", "--backend", "fake", f"--audio={audio}", f"--image={image}", f"--output={output}",
                     "--sample_steps", "1", *more])


def render(output, **options):
    return pipeline.generate(tone(0.5), face(), "", QUICK, output=output, backend="fake", progress=False, **options)


# ------------------------------------------------------------------------------------------------ names

def test_a_tilde_is_the_home_folder_everywhere(home):
    write_inputs("me", home)
    assert generate("~/me.wav", "~/me.png", "~/deep/me.mp4", "--run_dir", "~/run") == 0
    assert cli.main(["generate", "--resume", "~/run", "--output=~/again.mp4"]) == 0
    assert cli.main(["audio-preprocess", "--backend", "fake", "--input=~/me.wav", "--output=~/f.safetensors"]) == 0
    assert cli.main(["avatar", "--seed", "1", "--output=~/avatar.png", "--size", "64*64"]) == 0
    assert cli.main(["report", "~/again.mp4", "--output=~/report.html"]) == 0
    made = {"me.wav", "me.png", "deep", "run", "again.mp4", "f.safetensors", "avatar.png", "report.html"}
    assert set(os.listdir(home)) == made and os.listdir(home / "deep") == ["me.mp4"]


def test_a_tilde_without_such_a_user_is_part_of_a_name():
    assert user_path("~nobody-has-this-name/a") == Path("~nobody-has-this-name/a")


@pytest.mark.parametrize("stem", STRANGE)
def test_any_name_that_the_disk_takes_is_taken(stem, capsys):
    audio, image = write_inputs(stem)
    assert generate(audio, image, f"{stem}.mp4", f"--run_dir={stem[:200]}-run") == 0
    assert len(list(read_frames(f"{stem}.mp4"))) == 13
    assert cli.main(["generate", f"--resume={stem[:200]}-run", f"--output={stem}.webm"]) == 0
    assert len(list(read_frames(f"{stem}.webm"))) == 13
    assert capsys.readouterr().out.encode()                # what is printed can be written


@pytest.mark.parametrize("read", [lambda name: render(f"{name}.mp4"), load_audio, load_portrait])
def test_a_name_that_is_too_long_is_refused_in_one_sentence(read):
    with pytest.raises(InputError, match="File name too long"):
        read("x" * 256)


def test_an_error_about_a_name_that_is_not_utf_8_can_be_printed():
    with pytest.raises(InputError, match="there is no file .*caf") as refusal:
        pipeline.generate(f"{LATIN_1}.wav", face(), backend="fake")
    assert str(refusal.value).encode()
    assert printable(LATIN_1) == "caf�"


def test_the_next_free_name(home):
    assert free_name(home / "out.mp4").name == "out.mp4"
    for name in ("out.mp4", "out-2.mp4"):
        (home / name).touch()
    assert free_name(home / "out.mp4").name == "out-3.mp4"


# ------------------------------------------------------------------------------------------------ pipes

@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_sound_and_picture_may_come_through_pipes(home):
    """As with --audio <(...), which is a pipe too."""
    audio, image = write_inputs("me")
    for name, source in (("sound", audio), ("picture", image)):
        os.mkfifo(home / name)
        threading.Thread(target=lambda name=name, source=source: (home / name).write_bytes(Path(source).read_bytes()),
                         daemon=True).start()
    assert generate("sound", "picture", "out.mp4") == 0
    assert len(list(read_frames("out.mp4"))) == 13


def test_a_descriptor_can_be_read_again(home):
    reading, writing = os.pipe()
    os.write(writing, b"twelve bytes")
    os.close(writing)
    copy = rereadable(f"/dev/fd/{reading}")
    assert copy.read_bytes() == copy.read_bytes() == b"twelve bytes"
    os.close(reading)
    assert rereadable("out.mp4") == Path("out.mp4")       # a file is itself


# ------------------------------------------------------------------------------------------------ writing

def test_two_unfinished_files_never_have_one_name(home):
    path = home / ("y" * 251 + ".mp4")
    assert part_path(path) != part_path(path)
    part_path(path).touch()                               # and the longest name still leaves room for it


def test_what_a_killed_run_has_left_goes_with_the_next_one_and_what_is_being_written_stays(home):
    """A run that was killed (SIGKILL) cannot tidy up; one that is paused has not written for long."""
    hour_ago = time.time() - 3600
    abandoned, fresh, other = (part_path(home / name) for name in ("out.mp4", "out.mp4", "else.mp4"))
    with VideoWriter(home / "out.mp4", (32, 32), 25.0) as paused:
        for part in (abandoned, fresh, other):
            part.touch()
        for part in (abandoned, other, paused._part):
            os.utime(part, (hour_ago, hour_ago))
        part_path(home / "out.mp4")
        assert set(home.iterdir()) == {fresh, other, paused._part}
        paused.write(np.zeros((2, 32, 32, 3), np.uint8))
    assert (home / "out.mp4").is_file()


def test_an_output_that_is_a_link_stays_one(home):
    (home / "real").mkdir()
    (home / "real" / "old.mp4").write_bytes(b"old")
    (home / "out.mp4").symlink_to("real/old.mp4")
    render("out.mp4")
    assert (home / "out.mp4").is_symlink() and len(list(read_frames("real/old.mp4"))) == 12
    (home / "new.mp4").symlink_to("real/new.mp4")         # to a file that is not there yet
    render("new.mp4")
    assert (home / "new.mp4").is_symlink() and len(list(read_frames("real/new.mp4"))) == 12
    assert sorted(os.listdir(home / "real")) == ["new.mp4", "old.mp4"]


def test_a_file_that_is_replaced_keeps_its_mode_and_owner(home):
    (home / "out.mp4").write_bytes(b"old")
    os.chmod("out.mp4", 0o640)
    if os.geteuid() == 0:
        os.chown("out.mp4", 12345, 23456)
    render("out.mp4")
    about = os.stat("out.mp4")
    assert stat.S_IMODE(about.st_mode) == 0o640
    assert (about.st_uid, about.st_gid) == ((12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))


def test_the_same_holds_for_whatever_is_written_whole(home):
    (home / "notes").write_text("old")
    os.chmod("notes", 0o600)
    (home / "link").symlink_to("notes")
    write_whole(home / "link", lambda part: part.write_text("new"))
    assert (home / "link").is_symlink() and (home / "notes").read_text() == "new"
    assert stat.S_IMODE(os.stat("notes").st_mode) == 0o600
    with pytest.raises(ZeroDivisionError):
        write_whole(home / "notes", lambda part: part.write_text(str(1 / 0)))
    assert (home / "notes").read_text() == "new" and sorted(os.listdir(home)) == ["link", "notes"]


def test_a_stamp_tells_a_replaced_file(home):
    (home / "a").write_text("one")
    before = stamp("a")
    assert stamp("a") == before and stamp("b") is None
    (home / "b").write_text("two")
    os.replace("b", "a")
    assert stamp("a") != before


# ------------------------------------------------------------------------------------------------ overwriting

def test_of_two_runs_with_one_name_both_videos_are_kept():
    pictures = np.zeros((12, 64, 64, 3), np.uint8)
    first, second = (VideoWriter("out.mp4", (64, 64), 25.0) for _ in range(2))
    first.write(pictures)
    second.write(np.concatenate([pictures, pictures]))
    assert first.close() == Path("out.mp4")
    with pytest.warns(UserWarning, match="out.mp4 was written by another run meanwhile; this video is out-2.mp4"):
        assert second.close() == Path("out-2.mp4")
    assert [len(list(read_frames(name))) for name in ("out.mp4", "out-2.mp4")] == [12, 24]
    assert sorted(os.listdir()) == ["out-2.mp4", "out.mp4"]


@pytest.mark.parametrize("given", ["audio", "image", "link", "speech"])
def test_an_output_that_is_an_input_is_refused(given, home):
    render("me.mp4")                                      # a video with sound, which may be the recording of the next
    before = Path("me.mp4").read_bytes()
    _, image = write_inputs("me")
    os.link("me.png", "picture.mp4")
    (home / "link.mp4").symlink_to("me.mp4")
    audio = pipeline.prepare_audio(FakeBackend, "me.mp4", QUICK) if given == "speech" else "me.mp4"
    output = {"audio": "me.mp4", "image": "picture.mp4", "link": "link.mp4", "speech": "./me.mp4"}[given]
    with pytest.raises(InputError, match=r"is one of the inputs \(me.(mp4|png)\), which would be lost"):
        pipeline.generate(audio, image, "", QUICK, output=output, backend="fake")
    assert FakeBackend.loaded == 1 and Path("me.mp4").read_bytes() == before
    if given == "audio":
        assert generate("me.mp4", image, "me.mp4", "--overwrite") == 2


def test_the_command_line_keeps_what_exists(capsys):
    audio, image = write_inputs("me")
    Path("taken.mp4").write_bytes(b"a film")
    assert generate(audio, image, "taken.mp4") == 2
    assert "output taken.mp4 exists; add --overwrite to replace it" in capsys.readouterr().err
    assert Path("taken.mp4").read_bytes() == b"a film" and FakeBackend.loaded == 0
    assert generate(audio, image, "taken.mp4", "--overwrite") == 0
    assert len(list(read_frames("taken.mp4"))) == 13


def test_without_an_output_the_next_free_name_is_taken(capsys):
    audio, image = write_inputs("me")
    command = ["generate", "--backend", "fake", "--audio", audio, "--image", image, "--sample_steps", "1"]
    assert cli.main(command) == 0 and cli.main(command) == 0
    assert {"out.mp4", "out-2.mp4"} <= set(os.listdir())
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["out.mp4", "out-2.mp4"]


def test_a_run_that_is_gone_on_with_writes_over_its_own_video_only():
    audio, image = write_inputs("me")
    assert generate(audio, image, "me.mp4", "--run_dir", "run") == 0
    assert cli.main(["generate", "--resume", "run"]) == 0
    Path("other.mp4").write_bytes(b"a film")
    assert cli.main(["generate", "--resume", "run", "--output", "other.mp4"]) == 2
    assert sorted(os.listdir()) == ["me.mp4", "me.png", "me.wav", "other.mp4", "run"]


def test_from_python_an_older_video_is_replaced():
    Path("out.mp4").write_bytes(b"old")
    assert render("out.mp4").path == Path("out.mp4") and len(list(read_frames("out.mp4"))) == 12


def test_a_run_is_saved_in_a_folder_of_any_name(home):
    from liveavatar.pipeline import Pipeline
    from liveavatar.runs.loading import replay
    from liveavatar.runs.run import Run

    run = Run.of(Pipeline(FakeBackend()), tone(0.5), face(), "", QUICK).start()
    run.result()
    folder = run.save(home / LATIN_1)
    assert folder == home / LATIN_1 and replay(folder).recorded_steps == run.recorded_steps
