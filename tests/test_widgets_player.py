"""Player without a browser: which pictures and sounds are sent when, and what can be asked from Python."""

import io

import numpy as np
import pytest
from fakes import FakeBackend, face, tone, wait_until
from PIL import Image

from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from widgets import Cursor, Player
from widgets._decoding import decoding


def make_run(seconds: float = 1.44, pitch_hz: float = 200.0, **choices) -> Run:
    config = GenerationConfig(**{"size": (32, 32)} | choices)
    return Run.of(Pipeline(FakeBackend()), tone(seconds, pitch_hz), face(32, 32), "", config)


@pytest.fixture(scope="module")
def run() -> Run:
    """Three blocks."""
    made = make_run()
    made.start().result()
    return made


@pytest.fixture(scope="module")
def other() -> Run:
    """The same sound, another seed and fewer steps."""
    made = make_run(base_seed=1, sample_steps=2)
    made.start().result()
    return made


def films(buffers: dict) -> list[tuple]:
    """("a", block, frames, width, height) from the names of the buffers"""
    parts = [name.split("/") for name in buffers if not name.startswith("wave/")]
    return [(name, *map(int, numbers)) for name, *numbers in parts]


def test_every_block_is_a_strip_of_its_frames(run):
    body, buffers = Player(run).paint()
    assert films(buffers) == [("a", block, 12, 32, 32) for block in range(3)]
    strip = np.asarray(Image.open(io.BytesIO(buffers["a/1/12/32/32"])), np.int16)
    frames = run.blocks[1].frames.numpy()
    assert strip.shape == (32, 12 * 32, 3) and np.abs(strip[:, 32:64] - frames[1]).mean() < 3
    assert body["ready_s"] == pytest.approx(1.44) and body["rates"] == {"a": 16_000}


def test_the_sound_is_sent_once_and_whole(run):
    player = Player(run)
    wave = np.frombuffer(player.paint()[1]["wave/a"], "<i2") / 32767
    assert np.abs(wave - run.speech.wave).max() < 1e-4
    assert player.paint(full=False)[1] == {} and "wave/a" in player.paint(full=True)[1]


def test_blocks_come_live_one_by_one():
    run = make_run()
    player, came, ready = Player(run), [], []

    def look(event):
        body, buffers = player.paint(full=False)
        came.extend(films(buffers))
        ready.append(body["ready_s"])

    run.subscribe(look)
    run.start().result()
    assert [block for _, block, *_ in came] == [0, 1, 2]
    assert ready[0] == 0 and ready == sorted(ready) and ready[-1] == pytest.approx(1.44)


def test_what_is_under_the_cursor_can_be_had(run, other):
    cursor = Cursor()
    player = Player(run, other, cursor=cursor)
    cursor.time_s = 0.5
    assert np.array_equal(player.picture, run.picture_at(0.5).numpy())
    assert np.array_equal(player.picture_b, other.picture_at(0.5).numpy())
    assert player.difference == pytest.approx(np.abs(player.picture / 255 - player.picture_b / 255).mean())
    player.compare(None)
    with pytest.raises(InputError, match="player.compare"):
        _ = player.picture_b


def test_two_runs_share_a_clock_and_are_named_by_what_differs(run, other):
    player = Player(run, other)
    body, buffers = player.paint()
    assert {name for name, *_ in films(buffers)} == {"a", "b"}
    assert player.names == {"a": "A: 4 steps, seed 420", "b": "B: 2 steps, seed 1"}
    assert body["same_sound"] and "wave/b" not in buffers
    assert body["total_s"] == pytest.approx(1.44) and player.ready_s == pytest.approx(1.44)


def test_the_slower_of_two_says_how_far_both_can_be_played(run):
    waiting = make_run(seconds=1.92)
    player = Player(run, waiting)
    assert player.ready_s == 0 and player.paint()[0]["total_s"] == pytest.approx(1.44)
    waiting.start().result()
    assert player.ready_s == pytest.approx(1.44)


def test_another_sound_is_sent_too(run):
    body, buffers = Player(run, make_run(pitch_hz=300)).paint()
    assert not body["same_sound"] and set(body["rates"]) == {"a", "b"} and "wave/b" in buffers


def test_a_saved_run_plays_the_same(run, tmp_path):
    assert Player(run.save(tmp_path / "seen")).paint()[1] == Player(run).paint()[1]


def test_what_cannot_be_played_is_said(run, tmp_path):
    assert Player().paint()[0]["nothing"].startswith("Nothing to play yet")
    bare = Player(run.trace)
    bare.paint()
    assert "run.save" in bare.error
    lost = Player(run, tmp_path / "nowhere")
    assert "no trace" in lost.error or "no run" in lost.error
    with pytest.raises(InputError, match="did you mean 'speed'"):
        Player(run, sped=1)
    waiting = Player(make_run())
    with pytest.raises(InputError, match="not decoded yet"):
        _ = waiting.picture


def test_code_makes_the_same_player_again(run, other):
    player = Player(run, other, show="wipe", split=0.25)
    again = eval(player.as_code(), {"Player": Player, "run": run, "other": other})
    assert (again.show, again.split, again.other) == ("wipe", 0.25, other)
    assert Player(run).as_code() == "Player(run)"


def test_a_still_remains(run, other):
    assert Player(run, other).still().height > Player(run).still().height > 100


def test_while_a_run_pauses_the_guess_of_the_newest_step_is_shown():
    run = make_run()
    player = Player(run)
    assert player.guess is None
    for step in range(4):
        run.step()
        wait_until(lambda step=step: run.state == "paused" and len(run.recorded_steps) == step + 1)
        player.paint(full=False)
        wait_until(lambda: not decoding().waits(player))
        body, buffers = player.paint(full=True)
        assert body["guess"] == {"block": 0, "step": step, "steps": 4, "preview": False} and player.guess == (0, step)
        strip = np.asarray(Image.open(io.BytesIO(buffers["guess/0/12/32/32"])), np.int16)
        frames = run.step_frames.decode(0, step)
        assert np.abs(strip[:, :32] - frames[0]).mean() < 3 and np.array_equal(player.picture, frames[0])
        assert player.paint(full=False)[1] == {}           # sent once
    run.start().result()
    assert player.guess is None and player.paint()[0]["guess"] is None


def test_until_the_guess_is_decoded_its_preview_is_shown_and_called_so():
    run = make_run()
    player = Player(run)
    run.step()
    wait_until(lambda: run.state == "paused")
    run.step_frames.kept = lambda *key: None               # as if the decoder took its time
    body, buffers = player.paint()
    assert body["guess"]["preview"] and "preview/0/3/4/4" in buffers
    run.stop()


def test_two_runs_are_said_to_have_the_same_noise_where_they_have(run, other):
    few = make_run(sample_steps=2)
    assert not Player(run, few).paint()[0]["same_noise"]   # nothing is made yet
    few.start().result()
    assert Player(run, few).paint()[0]["same_noise"]
    assert Player(run, few).names == {"a": "A: 4 steps", "b": "B: 2 steps"}
    assert not Player(run, other).paint()[0]["same_noise"]                 # another seed
    base = Run.of(Pipeline(FakeBackend(student=False)), tone(1.44), face(32, 32), "", GenerationConfig(size=(32, 32)))
    assert Player(run, base).names == {"a": "A: student", "b": "B: teacher"}


def test_a_branch_and_its_parent_are_compared_in_latents_pictures_and_figures(run):
    branch = run.branch(1, 2, seed=7)
    branch.start().result()
    player = Player(branch, run)
    assert player.names == {"a": "A: seed=7 at block 1, step 2", "b": "B: its parent"}
    latents, pixels = player.pair.latents, player.pair.pixels
    assert [key for key in sorted(latents) if latents[key] > 0][0] == (1, 2) and len(latents) == 12
    assert pixels[0] == 0 and pixels[2] > 0
    assert player.pair.figures["a"].detail_kept > 0
    player.paint()
    wait_until(lambda: not decoding().waits(player))
    pair = player.paint()[0]["pair"]
    assert pair["latents"][1][:2] == [0, 0] and pair["pixels"][0] == 0 and set(pair["figures"]) == {"a", "b"}
    player.compare(None)
    assert player.paint()[0]["pair"] is None
