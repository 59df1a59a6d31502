"""The file that comes out: in step with its sound, whole or absent, honest about what it is."""

import errno
import json
import os
import resource

import av
import numpy as np
import pytest

from liveavatar import video
from liveavatar.types import InputError, Speech
from liveavatar.video import VideoWriter, burn_label, check_output, read_frames, read_provenance

RATE_HZ, FPS = 16_000, 25.0
FLASH_FRAME = 25                      # the picture flashes and the sound clicks at 1.0 s


def click(seconds=2.0):
    wave = np.zeros(round(seconds * RATE_HZ), np.float32)
    wave[RATE_HZ:RATE_HZ + 8] = 0.9
    return Speech(wave, RATE_HZ)


def flash(frames=50, height=64, width=64):
    pictures = np.full((frames, height, width, 3), 20, np.uint8)
    pictures[FLASH_FRAME:FLASH_FRAME + 1] = 255
    return pictures


def write(path, pictures, speech=None, block=12, **options):
    with VideoWriter(path, pictures.shape[1:3], FPS, speech, **options) as writer:
        for first in range(0, len(pictures), block):
            writer.write(pictures[first:first + block])
    return writer


def loudest_s(path):
    """When the loudest sample is heard, by the file's own clock."""
    best = (0.0, 0.0)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray()).max(0)
            best = max(best, (float(wave.max()), float(frame.pts * frame.time_base) + int(wave.argmax()) / frame.rate))
    return best[1]


def brightest_s(path):
    with av.open(str(path)) as container:
        return max((float(frame.to_ndarray(format="gray").mean()), float(frame.pts * frame.time_base))
                   for frame in container.decode(video=0))[1]


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_a_click_and_a_flash_stay_within_5_ms(tmp_path, ending):
    write(tmp_path / f"out.{ending}", flash(), click())
    assert brightest_s(tmp_path / f"out.{ending}") == pytest.approx(1.0, abs=1e-3)
    assert loudest_s(tmp_path / f"out.{ending}") == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("seconds", [1.31, 2.0, 3.0])
def test_picture_and_sound_end_together(tmp_path, seconds):
    """Sound that is shorter is followed by silence, sound that is longer is cut."""
    write(tmp_path / "out.mp4", flash(), click(seconds))
    with av.open(str(tmp_path / "out.mp4")) as container:
        ends_s = {stream.type: float(stream.duration * stream.time_base) for stream in container.streams}
    assert ends_s["video"] == pytest.approx(2.0) and ends_s["audio"] == pytest.approx(2.0, abs=0.08)


def test_codecs_are_the_ones_browsers_play(tmp_path):
    for ending, codecs in (("mp4", {"h264", "aac"}), ("webm", {"vp9", "opus"})):
        write(tmp_path / f"out.{ending}", flash(12 + 20), click(1))
        with av.open(str(tmp_path / f"out.{ending}")) as container:
            assert {stream.codec_context.name.removeprefix("lib") for stream in container.streams} <= codecs | {"vp9"}
            assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_the_index_of_an_mp4_stands_first(tmp_path):
    write(tmp_path / "out.mp4", flash(), click())
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_colours_come_back(tmp_path):
    pictures = np.zeros((12, 64, 96, 3), np.uint8)
    pictures[:, :, :32], pictures[:, :, 32:64], pictures[:, :, 64:] = (200, 40, 60), (40, 180, 90), (60, 80, 210)
    write(tmp_path / "out.mp4", pictures)
    for x in (16, 48, 80):
        back = next(read_frames(tmp_path / "out.mp4"))
        assert np.abs(back[32, x].astype(int) - pictures[0, 32, x]).max() <= 6


def test_the_same_pictures_and_sound_give_the_same_bytes(tmp_path):
    pictures = np.repeat(np.repeat(NOISE[:, :16, :16], 4, 1), 4, 2)
    for _ in range(8):
        write(tmp_path / "out.mp4", np.concatenate([pictures] * 3), click())
        (tmp_path / "out.mp4").rename(tmp_path / f"{len(os.listdir(tmp_path))}.mp4")
    assert len({path.read_bytes().replace(b"out", b"") for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_a_video_says_that_it_was_generated(tmp_path, ending):
    facts = {"generated": True, "by": "liveavatar", "inputs": {"audio": "ä" * 64}}
    write(tmp_path / f"out.{ending}", flash(12 + 14), metadata=facts)
    assert read_provenance(tmp_path / f"out.{ending}") == facts
    with av.open(str(tmp_path / f"out.{ending}")) as container:
        tags = {name.lower(): text for name, text in container.metadata.items()}
    assert json.loads(tags["comment"]) == json.loads(tags["description"]) == facts


def test_the_label_is_small_legible_and_in_one_corner():
    pictures = flash(2, 128, 128)
    marked = burn_label(pictures)
    changed = (marked != pictures).any((0, 3))
    assert changed[112:, 96:].any() and not changed[:112].any() and not changed[:, :96].any()
    assert (marked[0] == 255).all(-1).sum() == 18 + 11               # the pixels of A and I
    larger = burn_label(flash(2, 256, 256))
    assert (larger[0] == 255).all(-1).sum() == 4 * (18 + 11)         # twice as large
    assert (pictures[0] == 20).all()                                 # the original is left alone


def test_an_odd_side_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"63\*64 px has an odd side.*62\*64"):
        VideoWriter(tmp_path / "out.mp4", (64, 63), FPS)


@pytest.mark.parametrize(("name", "words"), [
    ("out.avi", "known: .mp4 and .webm"), ("out", "known: .mp4 and .webm"), ("folder.mp4", "is not a file")])
def test_an_output_that_makes_no_sense_is_refused(tmp_path, name, words):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=words):
        check_output(tmp_path / name)


def test_an_unwritable_place_is_refused():
    with pytest.raises(InputError, match="/proc/nowhere/out.mp4 cannot be written"):
        check_output("/proc/nowhere/out.mp4")


def test_until_it_is_whole_the_file_has_another_name(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"the video before")
    with VideoWriter(tmp_path / "out.mp4", (64, 64), FPS) as writer:
        writer.write(flash(30))
        assert (tmp_path / "out.mp4").read_bytes() == b"the video before"
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 30
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_an_error_leaves_nothing_and_the_old_file_alone(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"the video before")
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "out.mp4", (64, 64), FPS) as writer:
        writer.write(flash(30))
        raise ZeroDivisionError
    assert (tmp_path / "out.mp4").read_bytes() == b"the video before" and os.listdir(tmp_path) == ["out.mp4"]


def test_without_pictures_there_is_no_file(tmp_path):
    assert VideoWriter(tmp_path / "out.mp4", (64, 64), FPS).close() is None
    assert os.listdir(tmp_path) == []


NOISE = np.random.default_rng(0).integers(0, 255, (12, 128, 128, 3), dtype=np.uint8)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    writing = tmp_path / "unfinished"
    writing.symlink_to("/dev/full")
    monkeypatch.setattr(video, "check_output", lambda path: path)
    monkeypatch.setattr(video, "part_path", lambda _: writing)
    with pytest.raises(InputError, match="the disk is full"):
        write(tmp_path / "out.mp4", np.concatenate([NOISE] * 8))
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_on_the_way_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match="the disk is full"):
            write(tmp_path / "out.mp4", np.concatenate([NOISE] * 8), click(4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_while_closing_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = VideoWriter(tmp_path / "out.mp4", (64, 64), FPS)
    writer.write(flash(30))
    monkeypatch.setattr(video, "put_in_place", full)
    with pytest.raises(InputError, match="the disk is full"):
        writer.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "kind"), [("a.webm", "video/webm"), ("a.WEBM", "video/webm"), ("a.MP4", "video/mp4")])
def test_a_notebook_is_told_what_kind_of_file_it_shows(tmp_path, name, kind):
    path = write(tmp_path / name, flash(12)).path
    assert f'src="data:{kind};base64,' in video.Video(path, 12, (64, 64), FPS, 1.0, 0.1)._repr_html_()
