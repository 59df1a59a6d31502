"""StepGrid, ScheduleView and CacheView without a browser: what they show can be had from Python by the same name."""

import io

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until
from PIL import Image

from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.preview import decode_exactly, values_of
from liveavatar.runs.loading import replay
from liveavatar.runs.run import Run
from liveavatar.sampler import released_schedule
from liveavatar.trace import Trace
from liveavatar.types import InputError, Step
from widgets import CacheView, Cursor, ScheduleView, StepGrid
from widgets._decoding import decoding
from widgets.cache_view import size_words


def make_run(seconds: float = 1.44, **choices) -> Run:
    config = GenerationConfig(**{"size": (32, 32)} | choices)
    return Run.of(Pipeline(FakeBackend()), tone(seconds), face(32, 32), "", config)


@pytest.fixture(scope="module")
def run() -> Run:
    """Three blocks of four steps."""
    made = make_run()
    made.start().result()
    return made


def decoded_picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


# ------------------------------------------------------------------------------------------------- StepGrid

def cells_of(buffers: dict) -> dict:
    """(block, step) -> (kind, frames, width, height) from the names of the buffers"""
    parts = [name.split("/") for name in buffers if name.startswith("cell/")]
    return {(int(block), int(step)): (kind, *map(int, numbers)) for _, block, step, kind, *numbers in parts}


def test_every_step_of_every_block_is_a_cell(run):
    body, buffers = StepGrid(run, show="clean", exact=False).paint()
    cells = cells_of(buffers)
    assert set(cells) == {(block, step) for block in range(3) for step in range(4)}
    assert cells[0, 0] == ("rgb", 3, 4, 4)
    assert len(buffers["cell/0/0/rgb/3/4/4"]) == 3 * 4 * 4 * 3
    assert len(body["seen"]) == 12


def test_x_and_the_guess_are_seen_side_by_side(run):
    grid = StepGrid(run, exact=False, block=1, step=2)
    body, buffers = grid.paint()
    assert grid.show == "both" and body["pictures"] == 2 and cells_of(buffers)[1, 2] == ("rgb", 3, 8, 4)
    halves = np.split(grid.picture, 2, axis=2)
    for half, show in zip(halves, ("x", "clean"), strict=True):
        assert np.array_equal(half, StepGrid(run, exact=False, show=show, block=1, step=2).picture)
    assert np.array_equal(grid.values, values_of(run.step_record(1, 2).clean))


def test_every_cell_of_a_run_at_rest_is_decoded(run):
    grid = StepGrid(run)
    grid.paint()
    wait_until(lambda: not decoding().waits(grid))
    body, buffers = grid.paint(full=True)
    assert {kind for kind, *_ in cells_of(buffers).values()} == {"jpeg"} and len(cells_of(buffers)) == 12
    assert "real" not in body["words"] and grid.error == ""
    picture = decoded_picture(buffers["cell/1/1/jpeg/1/64/32"])
    expected = decode_exactly(run.backend, run.step_record(1, 1).x, run.step_record(0, 3).x)[6]
    assert np.abs(picture[:, :32].astype(int) - expected).mean() < 9        # a JPEG


def test_a_run_that_is_going_shows_previews_and_says_which():
    run = make_run()
    grid, seen = StepGrid(run), {}

    def look(event):
        if isinstance(event, Step):
            body, buffers = grid.paint(full=False)
            seen.update({key: kind for key, (kind, *_) in cells_of(buffers).items()})
            assert body["decodes"] and "a preview" in body["words"]
            assert run.step_frames.kept(0, 0) is None      # the decoder is left to the run

    run.subscribe(look)
    run.start().result()
    assert {seen[0, step] for step in range(3)} == {"rgb"} and len(seen) == 12
    grid.paint(full=False)
    wait_until(lambda: not decoding().waits(grid))         # then they are sent again
    assert {kind for kind, *_ in cells_of(grid.paint(full=True)[1]).values()} == {"jpeg"}


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_last_block_of_few_frames_has_its_pictures(frames):
    run = make_run((12 + frames) / 25)
    run.start().result()
    grid = StepGrid(run)
    grid.paint()
    wait_until(lambda: not decoding().waits(grid))
    cells = cells_of(grid.paint(full=True)[1])
    assert set(cells) == {(block, step) for block in range(2) for step in range(4)} and grid.error == ""
    assert {kind for kind, *_ in cells.values()} == {"jpeg"}
    assert all(len(run.step_frames.decode(1, step)) == frames for step in range(4)) and grid.still().width > 300


def test_decoding_that_fails_is_said_and_the_cells_stay_previews(run, monkeypatch):
    grid = StepGrid(run, block=0, step=0)
    monkeypatch.setattr(type(run), "new_decoder", lambda self: 1 / 0)
    run.step_frames.__init__(run)                          # nothing is decoded yet
    grid.paint()
    wait_until(lambda: not decoding().waits(grid))
    assert "ZeroDivisionError" in grid.error and cells_of(grid.paint()[1])[0, 0][0] == "rgb"


def test_only_new_cells_are_sent_and_only_those_in_view(run):
    grid = StepGrid(run)
    assert len(cells_of(grid.paint()[1])) == 12
    assert cells_of(grid.paint(full=False)[1]) == {}
    grid._visible = [1, 1]
    assert {block for block, _ in cells_of(grid.paint()[1])} == {1}


def test_cells_come_live():
    run = make_run()
    grid, counts = StepGrid(run, exact=False), []
    run.subscribe(lambda event: counts.append(len(cells_of(grid.paint(full=False)[1]))))
    run.start().result()
    assert sum(counts) == 12 and max(counts) == 1


@pytest.mark.parametrize("show", ["clean", "x", "velocity"])
def test_what_is_drawn_are_the_values_of_the_step(run, show):
    grid = StepGrid(run, show=show, exact=False, block=1, step=2)
    assert np.array_equal(grid.values, values_of(getattr(run.step_record(1, 2), show)))
    assert grid.chosen == (1, 2) and grid.picture.shape == (3, 4, 4, 3)


def test_difference_channel_and_mean(run):
    grid = StepGrid(run, block=1, step=2, show="difference")
    expected = values_of(run.step_record(1, 2).clean) - values_of(run.step_record(1, 1).clean)
    assert np.allclose(grid.values, expected)
    assert "no step before" in grid.paint()[0]["words"]                # the first row stays empty
    grid.show, grid.channel = "channel", 3
    assert grid.picture.shape == (3, 4, 4)
    clean = values_of(run.step_record(1, 2).clean)[3]
    assert np.allclose(grid.picture / 127.5 - 1, np.clip(clean / 3, -1, 1), atol=0.01)
    grid.show = "mean"
    assert grid.picture.shape == (3, 4, 4)


def test_a_channel_that_is_not_there_is_refused_in_words(run):
    grid = StepGrid(run, show="channel", channel=9)
    grid.paint()
    assert "channels 0 to 3" in grid.error


def test_numbers_of_the_chosen_cell(run):
    grid = StepGrid(run, block=0, step=1)
    step, before = run.step_record(0, 1), run.step_record(0, 0)
    numbers = grid.numbers
    assert numbers.sigma == pytest.approx(0.9) and numbers.share == pytest.approx(0.15)
    assert numbers.velocity_norm == pytest.approx(step.velocity.square().mean().sqrt().item(), rel=1e-5)
    cosine = torch.cosine_similarity(step.velocity.flatten(), before.velocity.flatten(), dim=0).item()
    assert numbers.cosine == pytest.approx(cosine, abs=1e-5)
    assert numbers.mean == pytest.approx(step.clean.mean().item(), abs=1e-5)
    assert numbers.milliseconds == step.milliseconds
    assert sum(grid.histogram) == step.clean.numel() and len(grid.histogram) == 48
    assert StepGrid(run, block=0, step=0).numbers.cosine is None
    body, _ = grid.paint()
    assert body["detail"]["numbers"]["share"] == numbers.share and body["detail"]["histogram"] == grid.histogram


def test_the_newest_cell_is_chosen_until_another_is(run):
    grid = StepGrid(run)
    assert grid.chosen == (2, 3)
    grid.block, grid.step = 1, 0
    assert grid.chosen == (1, 0)


def test_the_cursor_chooses_the_block(run):
    cursor = Cursor()
    grid = StepGrid(run, cursor=cursor, step=1)
    cursor.time_s = 0.5
    assert grid.chosen == (1, 1)


def test_the_real_decoder_shows_what_the_video_shows(run):
    grid = StepGrid(run, show="clean", block=1, step=3)
    assert np.array_equal(grid.picture, run.blocks[1].frames.numpy())
    grid.step = 1
    assert grid.picture.shape == (12, 32, 32, 3)


def test_a_saved_run_of_another_model_needs_a_pipeline_for_its_pictures(run, tmp_path):
    folder = run.save(tmp_path / "seen")
    grid = StepGrid(folder, block=1, step=1)
    body, buffers = grid.paint()
    assert grid.error == "" and not body["decodes"] and "Previews" in body["words"]
    assert cells_of(buffers)[1, 1][0] == "rgb" and grid.picture.shape == (3, 4, 8, 3)
    with pytest.raises(InputError, match="pipeline=pipe"):
        grid.run.step_frames.decode(1, 1)
    again = StepGrid(replay(folder, pipeline=Pipeline(FakeBackend())), block=1, step=1)
    assert np.array_equal(again.picture, StepGrid(run, block=1, step=1).picture)


def test_a_saved_run_looks_the_same(run, tmp_path):
    live, saved = StepGrid(run, exact=False), StepGrid(run.save(tmp_path / "seen"), exact=False)
    assert live.paint()[1] == saved.paint()[1]


def test_a_trace_without_velocities_says_so(run):
    trace = Trace(velocity=False)
    for step in run.trace:
        trace.record(step)
    grid = StepGrid(trace, show="velocity")
    grid.paint()
    assert "velocity=True" in grid.error
    grid.show = "clean"
    assert grid.numbers.velocity_norm is None


def test_code_makes_the_same_grid_again(run):
    grid = StepGrid(run, show="channel", channel=2, block=1)
    again = eval(grid.as_code(), {"StepGrid": StepGrid, "run": run})
    assert (again.show, again.channel, again.block) == ("channel", 2, 1)


# ------------------------------------------------------------------------------------------------- ScheduleView

def test_the_released_schedule_is_impossible_to_miss():
    view = ScheduleView(schedule="released")
    assert view.shares == pytest.approx(released_schedule(4).shares)
    assert round(view.shares[2], 2) == 0.59 and round(view.shares[3], 3) == 0.009
    assert "Step 2 covers 59 %" in view.note and "Step 3 covers 0.9 %" in view.note
    body, _ = view.paint()
    assert body["note"] == view.note and view.error == ""


@pytest.mark.parametrize("steps", [3, 4, 5, 6, 8])
def test_steps_can_be_switched(steps):
    view = ScheduleView()
    view.steps = steps
    assert len(view.sigmas) == steps + 1 and sum(view.shares) == pytest.approx(1)
    assert GenerationConfig(**view.choice).sample_steps == steps


def test_an_own_list_of_levels_or_of_time_steps():
    view = ScheduleView()
    view.use([1, 0.8, 0.3, 0])
    assert view.schedule == "own" and view.steps == 3 and view.choice["schedule"] == (1, 0.8, 0.3, 0)
    view.use("1000, 500, 100")
    assert view.sigmas == [1, 0.5, 0.1, 0]
    with pytest.raises(InputError, match="fall"):
        view.use([0.2, 0.5])
    view.sigmas = [1.0, 2.0, 0.0]                          # as if dragged to where it cannot be
    assert view.sigmas == [1, 0.5, 0.1, 0] and "fall" in view.error
    view.steps = 5
    assert view.schedule == "trained" and len(view.sigmas) == 6


def test_a_schedule_becomes_code():
    for view in (ScheduleView(schedule="released", steps=6, solver="renoise"), ScheduleView(sigmas=[1, 0.4, 0])):
        again = eval(view.as_code(), {"ScheduleView": ScheduleView})
        assert again.sigmas == pytest.approx(view.sigmas) and again.choice == view.choice


def test_a_run_brings_its_schedule_and_its_times():
    run = make_run(0.48, schedule="released", sample_steps=5, sample_solver="euler")
    view = ScheduleView(run)
    assert (view.schedule, view.steps, view.solver) == ("released", 5, "euler")
    assert view.milliseconds == (None,) * 5
    run.start().result()
    assert view.milliseconds[4] == pytest.approx(run.step_record(0, 4).milliseconds)
    assert ScheduleView(run).milliseconds == pytest.approx(view.milliseconds)
    own = make_run(0.48, schedule=(1.0, 0.5, 0.0), sample_steps=2)
    assert ScheduleView(own).schedule == "own"


# ------------------------------------------------------------------------------------------------- CacheView

def test_rings_hold_what_the_caches_hold(run):
    view = CacheView(run)
    assert [ring.held for ring in view.rings] == [(3, 4, 5, 6, 7, 8)] * 4
    assert all(ring.slot == 3 and ring.wrapped for ring in view.rings)
    assert view.bytes == 4 * view.single_bytes
    body, _ = view.paint()
    assert body["rings"][0]["held"] == view.rings[0].held and body["bytes"] == view.bytes and body["note"] == view.note


def test_a_list_that_was_refused_is_forgotten_with_the_next_choice():
    view = ScheduleView()
    view._receive_message(view, {"kind": "list", "text": "1000, 300, 900"}, [])
    assert "must fall" in view.error and view.sigmas == list(ScheduleView().sigmas)
    view.steps = 5
    assert view.error == ""


def test_bytes_are_rounded_as_the_browser_does():
    assert [size_words(count) for count in (10752, 2**20, 3 * 2**29)] == ["11 KiB", "1.0 MiB", "1.50 GiB"]


def test_rings_of_an_earlier_moment(run):
    view = CacheView(run, block=0, step=1)
    assert [ring.held for ring in view.rings] == [(0, 1, 2), (0, 1, 2), (), ()]
    view.time_s = 0.5
    assert view.block == 1
    view.time_s = 1.4
    assert view.block == -1


def test_a_bare_trace_does_not_know_its_caches(run, tmp_path):
    view = CacheView(run.trace)
    view.paint()
    assert "run.save" in view.error
    assert CacheView(run.save(tmp_path / "seen")).rings == CacheView(run).rings


def test_stills_of_all_views(run):
    for view in (StepGrid(run), ScheduleView(run), CacheView(run)):
        assert view.still().width > 300
