"""The Workbench without a browser: settings become a run, runs follow each other, errors are sentences."""

import io
import time

import numpy as np
import pytest
import soundfile
from fakes import FakeBackend, tone, wait_until

import widgets
from liveavatar import speech as speech_module
from liveavatar.avatars.portraits import avatar, save_portrait
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.types import InputError
from liveavatar.video import read_frames
from widgets import Workbench
from widgets import workbench as module
from widgets._decoding import decoding

SMALL = dict(size="32*32", seconds=0.96)


def make(pause_s: float = 0.0, **traits) -> Workbench:
    return Workbench(pipeline=Pipeline(FakeBackend(pause_s=pause_s)), **SMALL | traits)


def told(page: Workbench, kind: str, **content) -> None:
    """A click in the browser."""
    page._receive_message(page, {"kind": kind, **content}, [])


class Counted:
    """A function that counts its calls."""

    def __init__(self, function) -> None:
        self.function, self.times = function, 0

    def __call__(self, *arguments):
        self.times += 1
        return self.function(*arguments)


def test_one_click_makes_a_video_that_all_views_show(tmp_path):
    page = make(output=str(tmp_path / "speaks.mp4"))
    told(page, "run")
    video = page.result()
    assert video is page.video and video.path == tmp_path / "speaks.mp4" and video.frames == 24
    assert page.run.state == "finished" and page.error == "" and not page.busy
    assert all(view.run is page.run for name, view in page.views.items() if name != "designer")
    assert page.page != "avatar"                           # what moves is in view


def test_a_page_that_opens_brings_its_model_before_the_first_click(monkeypatch):
    backend, brought = FakeBackend(), []
    monkeypatch.setattr(module, "load_model", lambda *names: brought.append(names) or Pipeline(backend))
    monkeypatch.setattr(backend.vae, "decode_stream", decoded := Counted(backend.vae.decode_stream))
    page = Workbench(**SMALL)
    told(page, "hello")
    told(page, "hello")                                    # shown a second time
    page._warming.join(30)
    assert brought == [("mini", "student")] and decoded.times == 1      # one block
    assert not page.busy and page.run is None and page.error == ""
    assert page.start().result().frames == 24


def test_large_models_wait_for_the_click():
    page = Workbench(backend="wan-s2v-14b")
    told(page, "hello")
    assert page._warming is None


def test_settings_become_the_configuration():
    page = make(steps=3, seed=7, schedule="linear", solver="renoise", clean="wiener", seconds=2.0)
    assert page.config == GenerationConfig(sample_steps=3, base_seed=7, schedule="linear", sample_solver="renoise",
                                           clean="wiener", duration_s=2.0, size="32*32")
    assert page.path.steps == 3 and page.designer.size == "32*32"
    page.path.use([1, 0.8, 0.3, 0])                        # drawn by hand in the view
    assert page.schedule == "own" and page.config.schedule == (1.0, 0.8, 0.3, 0.0)
    page.schedule = "trained"
    assert page.path.schedule == "trained"


def test_settings_become_code():
    page = make(prompt="waving", steps=5)
    assert page.as_code() == "Workbench(prompt='waving', seconds=0.96, size='32*32', steps=5)"
    assert eval(page.as_code(), {"Workbench": Workbench}).config == page.config


def test_presets_set_what_they_say_and_are_recognised():
    page = make(prompt="my own words")
    assert page.preset == "own"
    for name, preset in module.PRESETS.items():
        told(page, "preset", name=name)
        assert page.preset == name and page.config.sample_steps == preset.settings["steps"]
        assert page.prompt == "my own words"               # what was written is not a setting
    page.steps = 6
    assert page.preset == "own"
    with pytest.raises(InputError, match="known: beginner"):
        page.preset = "best"


def test_the_prompt_says_what_it_understood():
    page = make(prompt="happy, in warm light, juggling")
    assert page.words.slots == {"mood": "happy", "lighting": "warm"} and page.words.unknown == ("juggling",)
    body, _ = page.paint()
    assert body["words"]["slots"] == page.words.slots and body["words"]["unknown"] == ("juggling",)
    assert body["words"]["unsaid"]["energy"] == "normal" and not body["words"]["free"]
    page.pipeline.backend.free_text = True                                          # as the released model
    assert page.words.text == page.prompt and page.words.unknown == () and page.paint()[0]["words"]["free"]


def test_one_video_at_a_time_and_the_refusal_is_kind():
    page = make(pause_s=0.05, seconds=4.0)
    told(page, "run")
    told(page, "run")
    assert "one is still being made" in page.error and page.busy
    with pytest.raises(InputError, match="Stop it"):
        page.start()
    wait_until(lambda: page.run is not None and len(page.run.recorded_steps) > 1)
    told(page, "steer", what="stop")
    page.result()
    assert page.run.state == "stopped" and page.error == ""


def test_it_works_again_after_a_stop_and_after_an_error():
    page = make(pause_s=0.02, seconds=4.0)
    page.start()
    wait_until(lambda: page.run is not None and page.run.done_s > 0)
    page.stop()
    page.result()
    page.sound = "recording"
    page.recording = "nowhere.wav"
    page.start()
    with pytest.raises(InputError, match=r"nowhere\.wav"):
        page.result()
    assert "nowhere.wav" in page.error and not page.busy
    page.sound, page.seconds = "sample", 0.96
    assert page.start().result().frames == 24 and page.error == ""


def test_a_failure_in_the_run_is_said_and_the_next_one_works():
    page = make()
    backend = page.pipeline.backend
    decoder, backend.decoder = backend.decoder, lambda *_: None
    page.start()
    with pytest.raises(AttributeError):
        page.result()
    assert "decode" in page.paint()[0]["run"]["failure"] and "decode" in page.grid.error
    backend.decoder = decoder
    assert page.start().result().frames == 24


def test_step_and_block_begin_a_video_and_walk_through_it():
    page = make()
    page.step()
    wait_until(lambda: page.run is not None and page.run.state == "paused")
    assert len(page.run.recorded_steps) == 1
    first = page.run
    told(page, "steer", what="block")
    wait_until(lambda: page.run.state == "paused" and page.run.done_s > 0)
    told(page, "steer", what="toggle")
    page.result()
    assert page.run is first and page.run.state == "finished"


def test_stop_while_weights_are_loaded_begins_nothing(monkeypatch):
    page = Workbench(**SMALL)
    monkeypatch.setattr(module, "load_model", lambda *names: time.sleep(0.3) or Pipeline(FakeBackend()))
    page.start()
    wait_until(lambda: "Loading" in page.paint()[0]["says"])
    assert page.paint()[0]["preparing"] and page.run is None
    page.stop()
    wait_until(lambda: not page.busy)
    assert page.run is None
    with pytest.raises(InputError, match="nothing has begun"):
        page.result()


def test_one_cursor_for_all_views():
    page = make()
    page.cursor.time_s = 0.7
    assert {view.time_s for name, view in page.views.items() if name != "designer"} == {0.7} and page.time_s == 0.7
    page.grid.time_s = 0.2
    assert page.caches.time_s == page.cursor.time_s == 0.2


def test_only_what_is_in_sight_is_drawn():
    page = make(page="lips")
    for view in page.views.values():
        view._receive_message(view, {"kind": "hello"}, [])            # a browser has opened all of them
    assert {name for name, view in page.views.items() if getattr(view._gate, "shown", False)} == {
        "player", "grid", "lips"}                          # the designer draws when it is touched only
    page.page = "caches"
    assert page.caches._gate.shown and not page.lips._gate.shown and page.grid._gate.shown


def test_the_portrait_is_a_sample_an_avatar_or_a_file(tmp_path):
    page = make()
    woman = page.portrait
    assert page.face == "sample" and woman.source.endswith("woman.png")
    page.person = "man"
    assert page.portrait.source.endswith("man.png") and page.paint()[0]["people"] == ("woman", "man")
    told(page, "random")
    assert page.face == "designer" and page.portrait is page.designer.portrait
    page = make(face="designer")
    assert page.portrait is page.designer.portrait and page.portrait.pixels.shape == (3, 32, 32)
    save_portrait(avatar(3), tmp_path / "she.png")
    page.face, page.picture = "picture", str(tmp_path / "she.png")
    assert page.portrait.source.endswith("she.png") and page.paint()[0]["frame"]["warning"] == ""
    told(page, "random")                                   # a click on Random: the avatar again
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
    assert "no face was found" in page.paint()[0]["frame"]["warning"]


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


def test_a_run_is_saved_in_every_kind_and_handed_to_the_browser(tmp_path):
    page, sent = make(), []
    with pytest.raises(InputError, match="click Run first"):
        page.save(tmp_path / "a.mp4")
    told(page, "save", suffix=".gif")
    assert "click Run first" in page.error
    page.start().result()
    for suffix, start in ((".mp4", b"ftyp"), (".webm", b"\x1a\x45\xdf\xa3"), (".png", b"\x89PNG"), (".gif", b"GIF89a"),
                          (".html", b"<!doctype html>")):
        assert start in page.save(tmp_path / f"it{suffix}").read_bytes()[:40]
    for suffix in (".mp4", ".webm"):                                   # marked: the portrait is a photograph
        corner = next(read_frames(tmp_path / f"it{suffix}"))[-12:, -16:]
        assert (corner.min(-1) > 200).any()
    with pytest.raises(InputError, match=r"known: \.mp4, \.webm, \.png, \.gif, \.html"):
        page.save(tmp_path / "it.avi")
    page.send = lambda content, buffers=None: sent.append((content, buffers))
    told(page, "save", suffix=".gif")
    wait_until(lambda: any(content.get("kind") == "file" for content, _ in sent))
    content, buffers = next(one for one in sent if one[0].get("kind") == "file")
    assert content["name"] == "liveavatar-seed420-4steps.gif" and buffers[0].startswith(b"GIF89a")
    assert page.error == ""


def test_the_moving_grid_has_a_row_for_each_step_and_moves(tmp_path):
    from PIL import Image

    page = make()
    page.start().result()
    with Image.open(page.save(tmp_path / "it.gif")) as grid:
        assert grid.n_frames > 2 and grid.height > 4 * 96              # four steps, one above the other
        grid.seek(0)
        first = np.asarray(grid.convert("RGB"))
        grid.seek(grid.n_frames - 1)
        assert np.abs(first.astype(int) - np.asarray(grid.convert("RGB"))).max() > 10


@pytest.mark.skipif(not speech_module.available_voices(), reason="no synthetic voice: apt-get install espeak-ng flite")
def test_what_is_written_is_said():
    page = make(sound="text", text="Good morning.", voice=module.voices()[0])
    assert page.speech.text == "Good morning." and page.speech.phonemes
    page.text = "long " * 200
    page.paint()
    assert "shorten it" in page.error


def test_a_saved_run_can_be_looked_at(tmp_path):
    page = make()
    page.start().result()
    again = Workbench(page.run.save(tmp_path / "seen"))
    assert again.grid.run is again.run and len(again.run.recorded_steps) == 8


def test_what_the_browser_needs_is_small():
    body, buffers = make().paint()
    assert len(repr(body)) < 6000 and sum(map(len, buffers.values())) < 150_000
    wave = np.frombuffer(buffers["wave"], "<f4")
    assert wave.max() == 1 and wave.min() >= 0


def test_a_misspelt_name_is_refused():
    with pytest.raises(InputError, match="did you mean 'prompt'"):
        Workbench(promt="smiling")
    with pytest.raises(AttributeError, match="no 'griddle'"):
        _ = make().griddle


def test_every_trait_is_explained():
    for name, trait in widgets.Workbench.class_own_traits().items():
        assert name.startswith("_") or trait.help, name


def test_the_first_step_opens_what_it_changed_and_moves_the_cursor_on():
    page = make(seconds=1.44)
    page.step()
    wait_until(lambda: page.run is not None and page.run.state == "paused" and page.change.run is page.run)
    wait_until(lambda: page.player.guess == (0, 0))
    assert page.page == "change"
    for made in range(2, 6):
        page.step()
        wait_until(lambda made=made: page.run.state == "paused" and len(page.run.recorded_steps) == made)
    assert page.cursor.time_s == pytest.approx(0.72) and page.grid.chosen == (1, 0)
    page.stop()


def test_the_last_run_is_kept_beside_the_new_one():
    page = make(compare=True)
    page.start().result()
    first = page.run
    assert page.before is None and page.player.other is None and not page.paint()[0]["beside"]
    page.steps = 2
    page.start().result()
    wait_until(lambda: page.before is not None)
    assert page.player.run is page.run and page.player.other is first is page.before
    assert page.player.names == {"a": "A: 2 steps", "b": "B: 4 steps"} and page.paint()[0]["beside"]
    assert page.player.paint()[0]["same_noise"] and page.player.time_s == page.cursor.time_s
    page.compare = False
    assert page.before is None and page.player.other is None


def test_a_run_that_is_not_compared_is_not_kept():
    page = make()
    page.start().result()
    page.start().result()
    wait_until(lambda: page._preparing is None)
    assert page.before is None and page.player.other is None


def test_the_many_step_base_can_be_chosen(monkeypatch):
    brought = []
    monkeypatch.setattr(module, "load_model", lambda backend, model: brought.append(model) or Pipeline(
        FakeBackend(student=model == "student")))
    page = make(model="teacher", steps=16)
    page.start().result()
    assert brought == ["teacher"] and not page.pipeline.backend.about()["student"] and page.run.info.steps == 16
    page.model, page.steps = "student", 1
    page.start().result()
    assert brought == ["teacher"] and page.pipeline is page._given and page.run.info.steps == 1
    assert Workbench(pipeline=Pipeline(FakeBackend(student=False)), **SMALL).model == "teacher"


def test_the_still_shows_what_the_page_shows():
    page = make()
    page.start().result()
    for view in (page.player, page.grid, page.change):
        view.paint()
    wait_until(lambda: not any(decoding().waits(view) for view in (page.grid, page.change)))
    heights = [view.still().height for view in (page.player, page.grid, page.change)]
    assert page.still().height == sum(heights)
