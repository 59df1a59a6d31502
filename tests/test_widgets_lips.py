"""LipView without a browser: true renderings have known lips, so what it says of them is known."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until

from liveavatar import phonemes
from liveavatar.avatars.motion import talk
from liveavatar.avatars.renderer import render
from liveavatar.avatars.sampling import random_identities
from liveavatar.config import GenerationConfig
from liveavatar.metrics import mouth_opening
from liveavatar.metrics.lips import DETECTABLE_MS
from liveavatar.metrics.reader import load_reader
from liveavatar.pipeline import Pipeline
from liveavatar.runs.info import RunInfo
from liveavatar.runs.run import Run
from liveavatar.speech import samples, viseme_curves
from liveavatar.types import Block, InputError, Portrait
from widgets import Cursor, LipView
from widgets._mouth import LONGEST_REST_S, WHOLE_EVERY, MouthReader, full_look, quick_look, whole_look

FRAMES = 60


def true_frames() -> torch.Tensor:
    """(T, H, W, 3) uint8: an avatar that says the beginning of a sample."""
    speech = samples()["welcome"]
    visemes = viseme_curves(speech.phonemes, speech.duration_s)[None, :FRAMES]
    generator = torch.Generator().manual_seed(1)
    motion = talk(visemes, visemes[..., 0], torch.zeros(1, 4, dtype=torch.long), generator)[0]
    identity = random_identities(1, generator).expand(FRAMES, -1)
    pictures = render(identity, motion, (128, 128))
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Shown:
    """A source whose blocks are given."""

    def __init__(self, frames: torch.Tensor, phonemes: bool = True, portrait: Portrait | None = None) -> None:
        speech = samples()["welcome"]
        self.info = RunInfo(frames=len(frames), sigmas=(1.0, 0.0))
        self.speech = speech if phonemes else replace(speech, phonemes=())
        self.portrait, self.backend = portrait, None
        self.blocks = [Block(index, torch.zeros(1, 4, 3, 2, 2), part, index * 0.48, 1.0)
                       for index, part in enumerate(frames.split(12))]

    def events(self, stop):
        yield from self.blocks


def shown(frames: torch.Tensor, phonemes: bool = True, portrait: Portrait | None = None) -> Run:
    run = Run(Shown(frames, phonemes, portrait))
    run.start().wait()
    return run


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return true_frames()


@pytest.fixture(scope="module")
def run(frames) -> Run:
    return shown(frames)


def test_what_is_drawn_is_what_the_metric_measures(run, frames):
    view = LipView(run)
    assert np.allclose(view.opening, mouth_opening(frames).numpy(), atol=1e-3)
    assert view.lips.exact and view.lips.against == "sounds"


def test_true_lips_are_on_time_and_agree(run):
    view = LipView(run)
    assert abs(view.best_ms) < 8 and view.curve.peak > 0.9 and view.agreement.mean() > 0.93
    assert view.verdict == "people do not notice"


def test_lips_that_are_late_are_called_late(frames):
    view = LipView(shown(frames.roll(4, 0)))
    assert view.best_ms == pytest.approx(160, abs=8) and view.best_ms > DETECTABLE_MS[1]
    assert view.verdict == "people mind"


def test_without_phonemes_the_loudness_is_what_the_mouth_is_held_against(frames):
    view = LipView(shown(frames, phonemes=False))
    assert view.lips.against == "loudness" and view.phonemes == ()
    assert -150 < view.best_ms < 150 and 0 <= np.nanmin(view.expected) <= np.nanmax(view.expected) <= 1


def test_the_page_is_told_why_the_sounds_of_a_recording_are_not_known(frames, monkeypatch):
    monkeypatch.setattr(phonemes, "find_spec", lambda _: None)
    view = LipView(shown(frames, phonemes=False))
    assert view.lips.exact and "pip install 'liveavatar[phonemes]'" in view.paint()[0]["no_sounds"]
    assert LipView(shown(frames)).paint()[0]["no_sounds"] == ""


def test_what_it_is_held_against_can_be_changed(run):
    view = LipView(run)
    by_sounds = view.expected
    view.against = "loudness"
    assert view.lips.against == "loudness" and not np.array_equal(view.expected, by_sounds)
    assert np.array_equal(LipView(run, against="loudness").expected, view.expected)


def test_the_quick_look_is_near_the_full_one(frames):
    reader = load_reader()
    quick, full = (np.concatenate([look(part, reader) for part in frames.split(12)])
                   for look in (quick_look, full_look))
    assert np.sqrt(((quick - full)[:, 0] ** 2).mean()) < 0.03
    assert np.corrcoef(quick[:, 0], full[:, 0])[0, 1] > 0.99


def test_the_head_may_be_that_of_a_block_shortly_before(frames):
    reader = load_reader()
    parts = frames.split(12)
    whole = whole_look(parts[0], reader)
    quick, full = (np.concatenate(looks) for looks in zip(
        *((quick_look(part, reader, whole), full_look(part, reader)) for part in parts[:WHOLE_EVERY]), strict=True))
    assert np.sqrt(((quick - full)[:, 0] ** 2).mean()) < 0.03
    assert np.corrcoef(quick[:, 0], full[:, 0])[0, 1] > 0.99


def test_of_every_third_block_one_picture_is_looked_at_as_a_whole(frames, monkeypatch):
    state = SimpleNamespace(blocks=(), info=RunInfo(frames=FRAMES), speech=samples()["welcome"],
                            portrait=None, shows_photograph=False, state="running")
    looked = []
    monkeypatch.setattr("widgets._mouth.whole_look", lambda *given: looked.append(len(looked)) or whole_look(*given))
    reader = MouthReader(state, lambda: None)
    state.blocks = tuple(Shown(frames).blocks)
    while reader._read_one():
        pass
    assert len(reader._tables) == 5 and len(looked) == 2


def test_the_mouth_is_read_as_the_blocks_come(frames):
    state = SimpleNamespace(blocks=(), info=RunInfo(frames=FRAMES), speech=samples()["welcome"],
                            portrait=None, shows_photograph=False, state="running")
    told = []
    reader = MouthReader(state, lambda: told.append(int((~np.isnan(reader.lips_so_far.opening)).sum())))
    blocks = Shown(frames).blocks
    reader.keep_up()
    wait_until(lambda: reader.lips_so_far is not None)
    for count in (1, 2):
        state.blocks = tuple(blocks[:count])
        reader.keep_up()
        wait_until(lambda count=count: told and told[-1] == 12 * count)
    assert not reader.lips_so_far.exact and not reader.lips_so_far.curve.applies
    assert "2 s" in reader.lips_so_far.curve.reason
    state.blocks, state.state = tuple(blocks), "finished"
    assert reader.lips.exact and not np.isnan(reader.lips.opening).any() and reader.lips.curve.applies


def test_the_run_keeps_its_threads(run):
    before = torch.get_num_threads()
    reader = MouthReader(run, lambda: None)
    seen = []
    reader.ask(lambda: seen.append(torch.get_num_threads()))
    wait_until(lambda: seen)
    reader.stop()
    assert seen == [1] and torch.get_num_threads() == before and LONGEST_REST_S <= 1


def test_lanes_are_sent_once_and_again_when_they_change(run):
    view = LipView(run)
    _ = view.lips
    body, buffers = view.paint()
    assert set(buffers) == {"peaks", "mel", "sounds", "curves", "frame"}
    curves = np.frombuffer(buffers["curves"], "<f4").reshape(FRAMES, 4)
    assert np.allclose(curves[:, 0], view.opening) and np.allclose(curves[:, 3], view.agreement)
    assert body["curve"]["best_ms"] == view.best_ms and body["verdict"] == view.verdict
    assert view.paint(full=False)[1] == {}
    view.time_s = 1.0
    assert set(view.paint(full=False)[1]) == {"frame"} and np.array_equal(view.picture, run.picture_at(1.0).numpy())


def test_every_sound_has_a_place_a_shape_and_a_judgement(run):
    view = LipView(run)
    _ = view.lips
    sounds = json.loads(view.paint()[1]["sounds"])
    assert len(sounds) == len(view.phonemes) and sounds[0][:2] == [view.phonemes[0].symbol, view.phonemes[0].start_s]
    judged = {symbol: kept for symbol, _, _, _, kept in sounds if kept is not None}
    assert judged["m"] is True and view.report.check("bilabial closure").share == 1


def test_the_frames_of_a_sound_at_every_step():
    config = GenerationConfig(size=(32, 32))
    run = Run.of(Pipeline(FakeBackend()), samples()["welcome"], face(32, 32), "", replace(config, duration_s=1.44))
    run.start().result()
    view = LipView(run, cursor=Cursor())
    view.sound = 2
    first, last = view._span(view.phonemes[2])
    S, n, h, w, _ = view.sound_frames.shape
    assert (S, n, h, w) == (4, last - first + 1, 12, 12)
    _ = view.lips
    body, buffers = view.paint()
    assert "tiles" in buffers and body["tiles"]["steps"] == 4 and body["tiles"]["symbol"] == view.phonemes[2].symbol
    assert "tiles" not in view.paint(full=False)[1]


def test_a_saved_run_shows_the_same(run, tmp_path):
    made = Run.of(Pipeline(FakeBackend()), samples()["welcome"], face(32, 32), "",
                  GenerationConfig(size=(32, 32), duration_s=0.96))
    made.start().result()
    folder = made.save(tmp_path / "seen")
    live, saved = LipView(made, sound=3), LipView(folder, sound=3)
    assert np.array_equal(live.opening, saved.opening, equal_nan=True) and live.verdict == saved.verdict
    assert live.sound_frames.shape == saved.sound_frames.shape          # earlier steps by a matrix
    assert "no decoder" in saved.paint()[0]["tiles"]["how"]
    assert np.array_equal(live.sound_frames[-1], saved.sound_frames[-1])


def test_what_is_missing_is_said(run):
    assert LipView().paint()[0]["nothing"].startswith("No lips to read yet")
    made = Run.of(Pipeline(FakeBackend()), tone(0.96), face(32, 32), "", GenerationConfig(size=(32, 32)))
    waiting = LipView(made)
    assert np.isnan(waiting.opening).all() and waiting.paint()[0]["frame"] is None
    with pytest.raises(InputError, match="no sound is chosen"):
        _ = waiting.sound_frames
    made.start().result()
    bare = LipView(made.trace)
    bare.paint()
    assert "run.save" in bare.error


def a_photo(frames: torch.Tensor) -> Portrait:
    """The first frame, of which nobody knows who it is."""
    return Portrait(frames[0].permute(2, 0, 1) / 255, source="photo.png")


@pytest.mark.parametrize("photo", [True, False])
def test_pictures_without_a_face_have_no_lips(frames, photo):
    walls = frames[:, :16, :16].repeat(1, 8, 8, 1)
    view = LipView(shown(walls, portrait=a_photo(frames) if photo else None))
    assert np.isnan(view.opening).all() and view.report is None and np.isnan(view.best_ms)
    body = view.paint()[0]
    assert body["verdict"] == "no face found" and body["checks"] == [] and view.still().width > 300


def test_the_mouth_of_a_photo_is_read_by_landmarks(frames, run):
    view, known = LipView(shown(frames, portrait=a_photo(frames))), LipView(run)
    assert np.corrcoef(view.opening, known.opening)[0, 1] > 0.7
    assert np.abs(view.lips.places - known.lips.places).max() < 0.15
    assert view.verdict == "people do not notice"
    assert {check.name for check in view.report.checks} == {"bilabial closure", "closed in silence"}


def test_a_block_without_a_face_is_left_out_of_the_curve(frames, run):
    hidden = frames.clone()
    hidden[12:24] = 128
    view = LipView(shown(hidden))
    assert np.isnan(view.opening[12:24]).all() and not np.isnan(view.opening[24:]).any()
    assert view.curve.applies and abs(view.best_ms - LipView(run).best_ms) < 20


def test_code_and_still(run):
    view = LipView(run, against="loudness", window_s=2.0)
    assert view.as_code() == "LipView(run, against='loudness', window_s=2.0)"
    _ = view.lips
    assert view.still().width > 300
