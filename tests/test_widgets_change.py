"""StepChange without a browser: what each step changed, live and from saved runs, in pictures, numbers and words."""


import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until
from test_widgets_views import decoded_picture

from liveavatar.avatars.portraits import avatar
from liveavatar.conditions import sample_portraits
from liveavatar.config import GenerationConfig
from liveavatar.metrics.block_changes import find_face_box, read_photo_mouths
from liveavatar.metrics.steps import change_map, difference
from liveavatar.pipeline import Pipeline
from liveavatar.preview import heat, on_scale, scale_ticks, to_bytes
from liveavatar.runs.loading import replay
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from widgets import Cursor, StepChange
from widgets._decoding import decoding
from widgets.step_change import face_part

SIZE = (32, 48)


def make_run(seconds: float = 0.96, portrait=None, **choices) -> Run:
    config = GenerationConfig(**{"size": SIZE} | choices)
    return Run.of(Pipeline(FakeBackend()), tone(seconds), portrait or face(*SIZE), "", config)


@pytest.fixture(scope="module")
def run() -> Run:
    """Two blocks of four steps."""
    made = make_run()
    made.start().result()
    return made


def painted(view: StepChange) -> tuple[dict, dict]:
    """What a browser is sent once all is decoded."""
    view.paint()
    wait_until(lambda: not decoding().waits(view))
    return view.paint()


def test_every_step_is_shown_beside_the_portrait_with_what_it_changed(run):
    view = StepChange(run)
    body, buffers = painted(view)
    assert body["ready"] and body["block"] == 0 and body["made"] == 4 and body["portrait"] and body["finished"]
    assert set(buffers) == {f"guess/{step}/12/48/32" for step in range(4)} | {"guess/-1/1/48/32"} | {
        f"change/{step}/12/48/32" for step in range(4)}
    strip = decoded_picture(buffers["guess/2/12/48/32"]).astype(int)
    assert np.abs(strip[:, :48] - run.step_frames.decode(0, 2)[0]).mean() < 6
    assert view.paint(full=False)[1] == {}                 # sent once


def test_step_0_is_compared_with_the_portrait_and_all_with_the_finished_picture(run):
    view, frames = StepChange(run), run.step_frames
    portrait = frames.portrait(SIZE)
    assert np.array_equal(view.changes[0], change_map(frames.decode(0, 0), portrait))
    assert np.array_equal(view.changes[2], change_map(frames.decode(0, 2), frames.decode(0, 1)))
    assert view.effects[1].left == pytest.approx(difference(frames.decode(0, 1), frames.decode(0, 3)))
    view.against = "finished"
    assert np.array_equal(view.changes[1], change_map(frames.decode(0, 1), frames.decode(0, 3)))
    assert view.changes[3].max() == 0


def test_one_scale_serves_all_steps(run):
    view = StepChange(run)
    shown = view.shown
    assert shown.reach >= max(np.percentile(change, 98) for change in view.changes)
    body, _ = painted(view)
    places = [place for place, _ in body["ticks"]]
    assert places[0] == 0 and places[-1] == 1 and places == sorted(places)
    assert body["ticks"][-1][1] == f"{100 * shown.reach:g} %" and len(body["scale"]) == 64


def test_colours_lie_on_the_face_or_on_black():
    values, behind = np.array([[0.0, 1.0]]), np.full((1, 2, 3), 200, np.uint8)
    on_face, on_black = heat(values, behind), heat(values)
    assert on_face[0, 0].tolist() == [100, 100, 100] and on_black[0, 0].tolist() == [0, 0, 0]
    assert on_face[0, 1].tolist() == on_black[0, 1].tolist() and on_black[0, 1].min() > 200
    assert on_scale(np.array([0.0, 0.1, 0.4, 0.9]), 0.4).tolist() == [0, 0.5, 1, 1]
    assert [words for _, words in scale_ticks(0.5)] == ["0", "1", "5", "10", "20", "30", "50 %"]


def test_while_stepping_it_shows_what_there_is():
    run = make_run()
    view = StepChange(run)
    assert not view.paint()[0]["ready"]                    # nothing is made yet
    for made in (1, 2):
        run.step()
        wait_until(lambda made=made: run.state == "paused" and len(run.recorded_steps) == made)
        body, _ = painted(view)
        assert body["made"] == made and not body["finished"] and "after the last step" in body["headline"]
        assert [effect["left"] for effect in body["effects"]] == [None] * made
    assert view.compared == (0, 1)
    run.stop()


def test_a_run_that_is_going_is_left_alone():
    run, said = make_run(), []
    view = StepChange(run)
    run.subscribe(lambda event: said.append((run.state, view.paint()[0])))
    run.start().result()
    going = [body for state, body in said if state == "running"]
    assert going and not any(body["ready"] for body in going)
    assert "Pause the run" in going[-1]["words"]


def test_the_block_under_the_cursor_is_shown(run):
    cursor = Cursor()
    view = StepChange(run, cursor=cursor)
    cursor.time_s = 0.6
    assert view.block == 1 and painted(view)[0]["block"] == 1


def test_any_two_are_compared(run):
    view = StepChange(run)
    assert view.compared == (2, 3)
    view.second = 1
    assert view.compared == (0, 1)
    view.first, view.second = -1, 9
    assert view.compared == (-1, 3)
    again = eval(view.as_code(), {"StepChange": StepChange, "run": run})
    assert again.compared == (-1, 3)


def test_a_saved_run_shows_the_same(run, tmp_path):
    folder = run.save(tmp_path / "seen")
    again = replay(folder, pipeline=Pipeline(FakeBackend()))
    assert painted(StepChange(again))[1] == painted(StepChange(run))[1]
    bare = StepChange(folder)
    bare.paint()
    assert "pipeline=pipe" in bare.error                   # its model is not in the package


def test_the_mouth_of_a_rendered_face_is_read_and_of_others_not(run):
    assert all(np.isnan(effect.mouth) for effect in StepChange(run).effects)
    rendered = make_run(0.48, portrait=avatar(3, (48, 48)), size=(48, 48), sample_steps=2)
    rendered.start().result()
    effects = StepChange(rendered).effects
    assert all(-0.2 < effect.mouth < 1.2 and 0 <= effect.at_mouth <= 1 for effect in effects)


def test_the_mouth_and_the_face_of_a_photograph_are_found_and_can_be_enlarged():
    pixels = to_bytes(sample_portraits()["woman"].pixels.permute(1, 2, 0).numpy())
    guess = np.repeat(pixels[None], 3, 0)
    face = find_face_box(guess)
    opening, mouth = read_photo_mouths(torch.from_numpy(np.concatenate([guess, guess])), 2, pixels.shape[:2])
    assert len(opening) == 2 and opening[0] == pytest.approx(opening[1], abs=0.01) and 0 <= opening[0] < 0.2
    assert all(face[axis].start < mouth[axis].start < face[axis].stop for axis in (0, 1))
    left, top, share = face_part(face, pixels.shape[:2])
    assert 0 < left < 0.5 and 0 < top < 0.5 and 0.3 < share < 0.9 and left + share <= 1 and top + share <= 1
    assert find_face_box(np.full((1, 64, 64, 3), 128, np.uint8)) is None and face_part(None, (64, 64)) is None


def test_what_the_model_was_not_shown_is_no_beginning():
    runs = [make_run(0.48, portrait_strength=strength, sample_steps=1) for strength in (0.0, 0.5)]
    for run in runs:
        run.start().result()
    nothing, blurred = (StepChange(run).shown for run in runs)
    assert [run.shows_photograph for run in runs] == [False, True]         # at 0 an avatar is drawn
    assert nothing.portrait is None and np.isnan(nothing.effects[0].change) and nothing.effects[0].detail_kept > 0
    whole, seen = runs[1].step_frames.portrait(SIZE).astype(int), blurred.portrait.astype(int)
    assert (whole != seen).any() and np.diff(seen, axis=1).std() < np.diff(whole, axis=1).std()


@pytest.mark.parametrize("steps", [1, 8])
def test_any_number_of_steps(steps):
    run = make_run(0.48, sample_steps=steps)
    run.start().result()
    body, _ = painted(StepChange(run))
    assert len(body["sentences"]) == steps and body["effects"][-1]["done"] == 1


def test_without_its_portrait_the_first_step_says_so(run):
    bare = replay(run.trace, info=run.info, pipeline=Pipeline(FakeBackend()))
    view = StepChange(bare)
    body, buffers = painted(view)
    assert not body["portrait"] and "change/0/12/48/32" not in buffers and "change/1/12/48/32" in buffers
    assert "without a portrait" in body["sentences"][0] and view.error == ""


def test_a_still_remains_and_nothing_is_said_in_words(run):
    view = StepChange(run)
    assert view.still() is None                            # nothing decoded yet, and a still decodes nothing
    painted(view)
    assert view.still().width > 600
    with pytest.raises(InputError, match=r"StepChange\(run\)"):
        _ = StepChange().block
    assert StepChange().paint()[0]["nothing"].startswith("No steps to compare")


def test_each_step_is_compared_with_that_of_another_run(run):
    branch = run.branch(1, 2, seed=7)
    branch.start().result()
    view = StepChange(branch, run, against="other", time_s=0.6)
    assert [change.max() > 0 for change in view.changes] == [False, False, False, True]   # a seed draws after a guess
    body, _ = painted(view)
    assert body["other"] and [step["latents"] > 0 for step in body["apart"]] == [False, False, True, True]
    assert body["apart"][3]["pictures"] == pytest.approx(difference(run.step_frames.decode(1, 3),
                                                                    branch.step_frames.decode(1, 3)), abs=1e-4)
    assert view.as_code() == "StepChange(run, other, against='other')"
    view.compare_with(None)
    assert view.against == "before" and not painted(view)[0]["other"]
