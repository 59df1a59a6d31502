"""Views open any video file: LipView.open, Player of two files."""

import numpy as np
import pytest
from fakes import tone
from talking import talking

from liveavatar.inspection import open_video
from liveavatar.phonemes import Recognition
from liveavatar.types import InputError
from liveavatar.video import VideoWriter
from widgets import LipView, Player, _mouth


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A mute video of 96 px, and one of 64 px with sound, at another frame rate."""
    folder, film = tmp_path_factory.mktemp("videos"), talking()
    with VideoWriter(folder / "a.mp4", (96, 96), 25.0) as writer:
        writer.write(film.frames[:30])
    with VideoWriter(folder / "b.webm", (64, 64), 30.0, tone(1.0)) as writer:
        writer.write(film.frames[:30, 16:80, 16:80].contiguous())
    return folder


def test_a_video_is_a_run_that_is_over(files):
    run = open_video(files / "b.webm")
    assert run.over and run.info.fps == pytest.approx(30) and run.info.frames == 30
    assert run.total_s == pytest.approx(1.0) and run.speech.duration_s == pytest.approx(1.0, abs=0.05)
    assert open_video(files / "a.mp4").speech is None


def test_two_files_are_played_against_each_other(files):
    player = Player(files / "a.mp4", str(files / "b.webm"))
    assert player.error == "" and player.names == {"a": "A: a.mp4", "b": "B: b.webm"}
    player.time_s = 0.5
    wanted = talking().frames[12].numpy().astype(int)
    assert np.abs(player.picture.astype(int) - wanted).mean() < 6
    assert player.picture_b.shape == (64, 64, 3)
    body, buffers = player.paint()
    assert body["ready_s"] > 0.9 and any(name.startswith("a/0/") for name in buffers)


def test_a_view_of_lips_opens_a_file_with_another_sound(files):
    view = LipView.open(files / "a.mp4", tone(1.2), window_s=4.0)
    assert view.error == "" and view.window_s == 4.0 and not view.controls
    assert len(view.opening) == 30 and view.run.speech.duration_s == pytest.approx(1.2)
    view.close()


def test_a_transcript_is_taken_and_a_bad_one_refused(files, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(_mouth, "find_phonemes", lambda speech, words: asked.append(words) or Recognition(reason="why"))
    (tmp_path / "words.txt").write_text("Hello there")
    view = LipView.open(files / "b.webm", transcript=str(tmp_path / "words.txt"))
    assert view.lips.exact and asked == ["Hello there"]
    view.close()
    with pytest.raises(InputError, match="write numbers as words"):
        LipView.open(files / "b.webm", transcript="It costs 25 pounds")
    with pytest.raises(InputError, match="a.mp4 has nothing to which the transcript could belong: the video has no"):
        LipView.open(files / "a.mp4", transcript="Hello there")


def test_what_cannot_be_opened_is_said(files, tmp_path):
    (tmp_path / "words.mp4").write_text("nothing to see")
    with pytest.raises(InputError, match="there is no file"):
        LipView.open(tmp_path / "missing.mp4")
    assert "not a video that can be read" in Player(tmp_path / "words.mp4").error
    assert "not a video that can be read" in Player(files / "a.mp4", tmp_path / "words.mp4").error
