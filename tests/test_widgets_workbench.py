"""The Workbench without a browser: settings become a run, runs follow each other, errors are sentences."""

import threading

import numpy as np
import pytest
from fakes import FakeBackend, wait_until
from pages import SMALL, held, make, send

import widgets
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.types import InputError
from liveavatar.video import read_frames
from widgets import Workbench
from widgets import workbench as module
from widgets._decoding import decoding


class Counted:
    """A function that counts its calls."""

    def __init__(self, function) -> None:
        self.function, self.times = function, 0

    def __call__(self, *arguments):
        self.times += 1
        return self.function(*arguments)


def test_one_click_makes_a_video_that_all_views_show(tmp_path):
    page = make(output=str(tmp_path / "speaks.mp4"))
    send(page, "run")
    video = page.result()
    assert video is page.video and video.path == tmp_path / "speaks.mp4" and video.frames == 24
    assert page.run.state == "finished" and page.error == "" and not page.busy
    assert all(view.run is page.run for name, view in page.views.items()
               if name not in ("designer", "gallery"))
    assert page.page != "avatar"                           # what moves is in view


def test_a_page_that_opens_brings_its_model_before_the_first_click(monkeypatch):
    backend, brought = FakeBackend(), []
    monkeypatch.setattr(module, "load_model", lambda *names: brought.append(names) or Pipeline(backend))
    monkeypatch.setattr(backend.vae, "decode_stream", decoded := Counted(backend.vae.decode_stream))
    page = Workbench(**SMALL)
    send(page, "hello")
    send(page, "hello")                                    # shown a second time
    page._warming.join()
    assert brought == [("mini", "student")] and decoded.times == 1      # one block
    assert not page.busy and page.run is None and page.error == ""
    assert page.start().result().frames == 24


def test_large_models_wait_for_the_click():
    page = Workbench(backend="wan-s2v-14b")
    send(page, "hello")
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
        send(page, "preset", name=name)
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
    page = make(seconds=4.0)
    with held(page):
        send(page, "run")
        send(page, "run")
        assert "one is still being made" in page.error and page.busy
        with pytest.raises(InputError, match="Stop it"):
            page.start()
        wait_until(lambda: page.run is not None and len(page.run.recorded_steps) > 1)
        send(page, "steer", what="stop")
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
    send(page, "steer", what="block")
    wait_until(lambda: page.run.state == "paused" and page.run.done_s > 0)
    send(page, "steer", what="toggle")
    page.result()
    assert page.run is first and page.run.state == "finished"


def test_stop_while_weights_are_loaded_begins_nothing(monkeypatch):
    page, loaded = Workbench(**SMALL), threading.Event()
    monkeypatch.setattr(module, "load_model", lambda *names: loaded.wait(300) and Pipeline(FakeBackend()))
    page.start()
    wait_until(lambda: "Loading" in page.paint()[0]["says"])
    assert page.paint()[0]["preparing"] and page.run is None
    page.stop()
    loaded.set()
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


def test_a_run_is_saved_in_every_kind_and_handed_to_the_browser(tmp_path):
    page, sent = make(), []
    with pytest.raises(InputError, match="click Run first"):
        page.save(tmp_path / "a.mp4")
    send(page, "save", suffix=".gif")
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
    send(page, "save", suffix=".gif")
    wait_until(lambda: any(content.get("kind") == "file" for content, _ in sent))
    content, buffers = next(one for one in sent if one[0].get("kind") == "file")
    assert content["name"] == "liveavatar-seed420-4steps.gif" and buffers[0].startswith(b"GIF89a")
    assert page.error == ""


def test_the_moving_grid_has_a_row_for_each_step_and_moves(tmp_path):
    from PIL import Image, ImageColor

    from liveavatar.web.palette import of_step
    from widgets._save import HEAD_PX

    page = make()
    page.start().result()
    with Image.open(page.save(tmp_path / "it.gif")) as grid:
        assert grid.n_frames > 2 and grid.height > 4 * 96              # four steps, one above the other
        grid.seek(0)
        first = np.asarray(grid.convert("RGB"))
        marks = {tuple(first[HEAD_PX + 50 + step * 100, 15].tolist()) for step in range(4)}
        assert marks == {ImageColor.getrgb(of_step(step)) for step in range(4)}     # as everywhere
        grid.seek(grid.n_frames - 1)
        assert np.abs(first.astype(int) - np.asarray(grid.convert("RGB"))).max() > 10


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
    wait_until(lambda: page.player.guess == (0, 0) and page._preparing is None)
    assert page.page == "change" and page.change.run is page.run
    for made in range(2, 6):
        page.step()
        wait_until(lambda made=made: page.run.state == "paused" and len(page.run.recorded_steps) == made)
    wait_until(lambda: page.grid.chosen == (1, 0))         # a pause is told of a moment after it has begun
    assert page.cursor.time_s == pytest.approx(0.72)
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
