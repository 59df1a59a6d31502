"""What goes into a video on the workbench: portrait, sound, microphone, uploads, words."""

import io
import threading
import time
import warnings

import numpy as np
import pytest
import soundfile
from fakes import FakeBackend, tone, wait_until
from pages import make, send

from liveavatar import speech as speech_module
from liveavatar.avatars.portraits import avatar, save_portrait
from liveavatar.caught_warnings import caught_warnings
from liveavatar.types import InputError
from widgets import Workbench
from widgets import workbench as module


def test_the_portrait_is_a_sample_an_avatar_or_a_file(tmp_path):
    page = make()
    woman = page.portrait
    assert page.face == "sample" and woman.source.endswith("woman.png")
    page.person = "man"
    assert page.portrait.source.endswith("man.png") and page.paint()[0]["people"] == ("woman", "man")
    send(page, "random")
    assert page.face == "designer" and page.portrait is page.designer.portrait
    page = make(face="designer")
    assert page.portrait is page.designer.portrait and page.portrait.pixels.shape == (3, 32, 32)
    save_portrait(avatar(3), tmp_path / "she.png")
    page.face, page.picture = "picture", str(tmp_path / "she.png")
    assert page.portrait.source.endswith("she.png") and page.paint()[0]["frame"]["warning"] == ""
    send(page, "random")                                   # a click on Random: the avatar again
    assert page.face == "designer"
    page.face, page.picture = "picture", ""
    assert page.paint()[0]["presets"] and page.error == ""             # nothing chosen yet is no fault
    with pytest.raises(InputError, match="no picture yet"):
        page.start().result()


def test_strengths_and_the_visible_mark_are_asked_for(tmp_path):
    page = make(portrait_strength=0.5, sound_strength=0.0)
    assert (page.config.portrait_strength, page.config.sound_strength, page.config.label) == (0.5, 0.0, None)
    page.label = False
    assert page.config.label is False and "label=False" in page.as_code()


def test_a_photograph_without_a_face_is_remarked_on_the_page(monkeypatch, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), "grey").save(tmp_path / "wall.png")
    monkeypatch.setattr(FakeBackend, "expects_head_and_shoulders", True)
    page = make(face="picture", picture=str(tmp_path / "wall.png"))
    warning = page.paint()[0]["frame"]["warning"]
    assert "no face was found" in warning and warning.endswith("towards the camera")     # no option of the command line
    before = page.picture
    upload(page, "picture", "wall.png", (tmp_path / "wall.png").read_bytes())
    wait_until(lambda: page.picture != before)
    assert page.paint()[0]["frame"]["warning"].startswith("no face was found in wall.png: ")     # as its owner names it


def upload(page: Workbench, what: str, name: str, data: bytes, number: int = 1, piece: int = 1000) -> None:
    """A file from the browser, in pieces."""
    parts = range(0, len(data), piece)
    for part, start in enumerate(parts):
        content = {"kind": "upload", "what": what, "name": name, "number": number, "part": part, "parts": len(parts)}
        page._receive_message(page, content, [memoryview(data[start:start + piece])])


def sound_file(folder, seconds: float = 1.0) -> bytes:
    soundfile.write(folder / "me.wav", tone(seconds).wave, 16000)
    return (folder / "me.wav").read_bytes()


def test_uploads_arrive_in_pieces_and_keep_their_names(tmp_path):
    page, sent = make(), []
    page.send = lambda content, buffers=None: sent.append(content)
    upload(page, "sound", "../me.wav", sound_file(tmp_path))
    wait_until(lambda: page.sound == "recording")
    assert page.speech.duration_s == pytest.approx(1.0)
    assert page.recording.endswith("/me.wav") and ".." not in page.recording
    assert page.paint()[0]["recording"] == "me.wav"
    wait_until(lambda: sent and sent[-1].get("over"))
    assert [one["arrived"] for one in sent if "arrived" in one] == [*range(1, len(sent))]      # so far it has come


def test_all_of_what_was_spoken_into_the_microphone_is_used(tmp_path):
    page = make(start_s=0.2, seconds=0.5)
    upload(page, "microphone", "recording-10-20-30.wav", sound_file(tmp_path))
    wait_until(lambda: page.sound == "recording")
    assert (page.start_s, page.seconds) == (0.0, 0.0) and page.speech.duration_s == pytest.approx(1.0)


def test_the_chosen_part_of_the_sound_is_what_is_said_and_another_sound_begins_at_its_start():
    page = make(sample="river", start_s=1.0, seconds=0.48)
    assert (page.config.start_s, page.config.duration_s) == (1.0, 0.48) and "start_s=1.0" in page.as_code()
    assert page.start().result().frames == 12
    assert np.array_equal(page.run.speech.wave, speech_module.samples()["river"].wave[16000:16000 + 7680])
    page.sample = "steps"
    assert page.start_s == 0.0 and page.seconds == 0.48


def test_the_chosen_part_can_be_heard():
    page, sent = make(sample="river", start_s=1.0, seconds=0.5), []
    page.send = lambda content, buffers=None: sent.append((content, buffers))
    page.on_message("listen", {})
    wait_until(lambda: any(content["kind"] == "sound" for content, _ in sent))
    data = next(buffers[0] for content, buffers in sent if content["kind"] == "sound")
    wave, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate_hz == 16000 and np.allclose(wave, speech_module.samples()["river"].wave[16000:24000], atol=1e-4)


def test_an_upload_that_cannot_be_used_is_named_as_its_owner_does_and_changes_nothing(tmp_path):
    page = make()
    upload(page, "sound", "notes.txt", b"hello")
    wait_until(lambda: page.error)
    assert "notes.txt" in page.error and "liveavatar-" not in page.error and page.sound == "sample"


def test_the_pieces_of_an_upload_may_come_in_any_order(tmp_path):
    page, data = make(), sound_file(tmp_path)
    parts = [data[start:start + 5000] for start in range(0, len(data), 5000)]
    for part in (1, 0, *reversed(range(2, len(parts)))):
        content = {"kind": "upload", "what": "sound", "name": "me.wav", "number": 7, "part": part, "parts": len(parts)}
        page._receive_message(page, content, [memoryview(parts[part])])
    wait_until(lambda: page.sound == "recording")
    assert page.speech.duration_s == pytest.approx(1.0)


def test_an_upload_gives_way_to_a_newer_one(tmp_path):
    page, data = make(), sound_file(tmp_path)
    page.on_message("cancel upload", {"what": "sound"})                      # where nothing is on its way
    first = {"kind": "upload", "what": "sound", "name": "old.wav", "number": 1, "part": 0, "parts": 2}
    page._receive_message(page, first, [data[:100]])
    upload(page, "sound", "new.wav", data, number=2)
    page._receive_message(page, first | {"part": 1}, [data[100:]])
    wait_until(lambda: page.sound == "recording")
    assert page.recording.endswith("/new.wav") and page.error == ""


def test_nothing_chosen_yet_is_no_error_until_run_is_clicked():
    page = make(sound="recording")
    assert page.paint()[0]["recording"] == "" and page.error == ""
    with pytest.raises(InputError, match="no recording yet"):
        page.start().result()


def test_a_file_that_was_replaced_under_its_name_is_read_again(tmp_path):
    sound_file(tmp_path, 1.0)
    page = make(sound="recording", recording=str(tmp_path / "me.wav"))
    assert page.speech.duration_s == pytest.approx(1.0)
    sound_file(tmp_path, 2.0)
    assert page.speech.duration_s == pytest.approx(2.0)


def test_the_page_shows_the_shape_that_the_video_will_have(tmp_path):
    from PIL import Image

    Image.new("RGB", (60, 120), "grey").save(tmp_path / "tall.png")
    page = make(size="", face="picture", picture=str(tmp_path / "tall.png"))
    body, buffers = page.paint()
    frame = body["frame"]
    assert (frame["width"], frame["height"]) == (32, 32)               # the model's own size, as without --size
    page.pipeline.backend.expects_rendered = True
    assert "photo blurs" in page.paint()[0]["frame"]["warning"]
    page.size = "64*64"                                                # an area: the portrait gives the shape
    body, buffers = page.paint(full=True)
    frame = body["frame"]
    assert (frame["width"], frame["height"]) == (48, 80) and "face/48/80" in buffers
    page.seconds = 0.48
    assert page.start().result().size == (80, 48)


@pytest.mark.skipif(not speech_module.available_voices(), reason="no synthetic voice: apt-get install espeak-ng flite")
def test_what_is_written_is_said():
    page = make(sound="text", text="Good morning.", voice=module.voices()[0])
    assert page.speech.text == "Good morning." and page.speech.phonemes
    page.text = "long " * 200
    page.paint()
    assert "shorten it" in page.error


def test_what_is_noticed_of_another_video_is_not_shown():
    """Two threads catch warnings: each its own."""
    inside, seen = threading.Event(), {}

    def other() -> None:
        with caught_warnings() as noticed:
            warnings.warn("of the other", stacklevel=1)
            inside.set()
            time.sleep(0.05)
            warnings.warn("of the other", stacklevel=1)
            seen["other"] = [str(one.message) for one in noticed]

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with caught_warnings() as noticed:
        warnings.warn("mine", stacklevel=1)
        seen["mine"] = [str(one.message) for one in noticed]
    thread.join()
    assert seen == {"other": ["of the other"] * 2, "mine": ["mine"]}
