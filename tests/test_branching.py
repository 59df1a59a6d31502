"""Other futures of a run: equal before the point, as asked from it on, and ordinary runs themselves."""

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until

import liveavatar
from liveavatar.backends import BACKENDS
from liveavatar.config import GenerationConfig
from liveavatar.export import export_video
from liveavatar.pipeline import Pipeline
from liveavatar.runs import inputs_of, open_run, read_recipe, replay
from liveavatar.runs.branching import at_level, nearest_caches, noise_of
from liveavatar.runs.edits import ReplaceRegion, ScaleChannel, latents_before
from liveavatar.runs.info import FINISHED, PAUSED
from liveavatar.runs.kept_caches import KeptCaches
from liveavatar.runs.run import Run
from liveavatar.trace import Trace
from liveavatar.types import InputError
from liveavatar.video import read_provenance

CONFIG = GenerationConfig(sample_steps=3, base_seed=5, size=(32, 32))
POINT = 2, 1


@pytest.fixture(scope="module")
def pipe():
    return Pipeline(FakeBackend())


@pytest.fixture(scope="module")
def run(pipe):
    return made(Run.of(pipe, tone(2.4), face(32, 32), "smiling", CONFIG))            # 5 blocks


def made(run):
    run.start().result()
    return run


def same_steps(one, other):
    """Say of each step whether its latents are the same, bit for bit."""
    assert one.recorded_steps == other.recorded_steps
    return {key: torch.equal(one.step_record(*key).x, other.step_record(*key).x) for key in one.recorded_steps}


def equal(one, other):
    pictures = zip(one.blocks, other.blocks, strict=True)
    return all(same_steps(one, other).values()) and all(torch.equal(a.frames, b.frames) for a, b in pictures)


# ------------------------------------------------------------------------------------------- nothing changed

@pytest.mark.parametrize("point", [(0, 0), POINT, (4, 2), (-1, -1)])
def test_a_branch_without_changes_is_its_parent_bit_for_bit(run, point):
    branch = run.branch(*point)
    assert branch.state == "ready" and branch.recorded_steps == tuple(
        key for key in run.recorded_steps if key < branch.lineage.point)
    assert equal(made(branch), run) and branch.state == FINISHED


def test_it_does_not_matter_which_caches_were_kept(pipe, run):
    bare = made(Run.of(pipe, tone(2.4), face(32, 32), "smiling", CONFIG))
    assert nearest_caches(run, (3, 0))[1] == 3
    bare.kept_caches = KeptCaches()
    assert nearest_caches(bare, (3, 0))[1] == 0
    changed = [made(one.branch(3, 1, seed=7)) for one in (run, bare)]
    assert equal(*changed) and not equal(changed[0], run)


def test_kept_caches_stay_below_their_bound_and_spread_over_the_video(run):
    kept, steps = KeptCaches(run.kept_caches.bytes // 2), []
    run.backend.transformer.eval()
    for step in Pipeline(run.backend).steps(tone(4.0), face(32, 32), "smiling", CONFIG):
        kept.add(step)
        steps.append(step)
        assert kept.bytes <= kept.limit_bytes
    assert kept.blocks == (4, 8) and kept.newest_before(7) == 4 and kept.newest_before(3) == 0
    none = KeptCaches(steps[0].cache.bytes)
    for step in steps:
        none.add(step)
    assert none.blocks == ()


def test_steps_that_were_moved_to_disk_are_those_of_the_branch_too(pipe, run):
    parent = made(Run.of(pipe, tone(2.4), face(32, 32), "smiling", CONFIG, trace=Trace(limit_bytes=12_000)))
    assert parent.trace.spilled
    branch = made(parent.branch(3, 1))
    assert equal(branch, run) and equal(made(branch.branch(4, 1)), run)


# ------------------------------------------------------------------------------------------- changes

CHANGES = {"seed": 7, "sigma": 0.8, "solver": "euler", "prompt": "waving", "sound": "silent", "sound_strength": 0.0,
           "skip": True, "repeat": 2, "latent": ScaleChannel(1, 0.0)}


@pytest.mark.parametrize("name", CHANGES)
def test_all_before_the_point_is_the_parents_and_the_changed_step_is_another(run, name):
    branch = made(run.branch(*POINT, **{name: CHANGES[name]}))
    same = same_steps(branch, run)
    assert all(same[key] for key in same if key < POINT) and not same[POINT]
    assert branch.recipe.splitlines()[-1] == f"branch = run.branch(2, 1, {name}={CHANGES[name]!r})"
    assert ("from liveavatar import ScaleChannel" in branch.recipe) == (name == "latent")
    again = made(branch.branch(3, 1))                      # a branch of a branch, at a later and at an earlier point
    assert equal(again, branch) and equal(made(branch.branch(1, 0)), branch)


def test_what_lasts_lasts_and_what_concerns_a_step_does_not(run):
    words, other = (made(run.branch(2, 0, prompt=prompt)) for prompt in ("waving", "waving"))
    assert equal(words, other) and not any(same_steps(words, run)[3, step] for step in range(3))
    skipped = made(run.branch(*POINT, skip=True))
    carried, before = skipped.step_record(*POINT), run.step_record(2, 0)
    assert torch.equal(carried.clean, before.clean) and carried.sigma_next == run.info.sigmas[2]
    moved = at_level(before.x, before.clean, *run.info.sigmas[1:3])
    assert torch.allclose(carried.x, moved, atol=1e-5)
    sigma = made(run.branch(*POINT, sigma=0.8))
    assert [sigma.step_record(block, 1).sigma for block in (1, 2, 3)] == [run.info.sigmas[1], 0.8, run.info.sigmas[1]]


def test_numbers_of_numpy_stand_in_the_recipe_as_pythons(run):
    assert run.branch(np.int64(2), 1, sigma=np.float64(0.8)).recipe == "branch = run.branch(2, 1, sigma=0.8)"


def test_another_seed_at_step_0_is_the_noise_of_that_seed(pipe, run):
    branch = made(run.branch(2, 0, seed=7))
    other = made(Run.of(pipe, tone(2.4), face(32, 32), "smiling", GenerationConfig(sample_steps=3, base_seed=7,
                                                                                   size=(32, 32))))
    begun = [latents_before(one, 3, 0) for one in (branch, other)]
    assert all(torch.allclose(one, noise_of(run, 3, 7), atol=1e-5) for one in begun)


def test_a_changed_sound_is_that_of_the_branch_from_the_block_on(run):
    first = round(2 * run.info.block_s * 16_000)
    waves = {kind: run.branch(2, 0, sound=kind).speech.wave for kind in ("silent", "reversed", "shuffled")}
    assert all((wave[:first] == run.speech.wave[:first]).all() for wave in waves.values())
    rest = run.speech.wave[first:]
    assert not waves["silent"][first:].any() and (waves["reversed"][first:] == rest[::-1]).all()
    assert sorted(waves["shuffled"][first:]) == sorted(rest) and (waves["shuffled"][first:] != rest).any()
    short = run.branch(2, 0, sound=tone(0.5, 300)).speech
    assert len(short.wave) == len(run.speech.wave) and not short.wave[first + 8000:].any()


def test_latents_are_edited_where_they_enter_the_step(run):
    entered = run.step_record(2, 0).x

    def entering(edit):
        return run.branch(*POINT, latent=edit).lineage.at(*POINT).latents

    scaled = entering(ScaleChannel(1, 0.5))
    assert torch.equal(scaled[:, 1], entered[:, 1] * 0.5) and torch.equal(scaled[:, 2], entered[:, 2])
    noisy = entering(ReplaceRegion((0, 0, 0.5, 0.5)))
    assert not torch.equal(noisy[..., :2, :2], entered[..., :2, :2])
    assert torch.equal(noisy[..., 2:, :], entered[..., 2:, :])
    other = made(run.branch(1, 0, seed=9))
    half = entering(ReplaceRegion((0.5, 0, 1, 1), by=other))
    assert torch.equal(half[..., 2:], other.step_record(2, 0).x[..., 2:])
    assert torch.equal(entering(lambda x: -x), -entered)
    assert run.branch(2, 0, latent=lambda x: 0 * x).lineage.at(2, 0).latents.abs().max() == 0


def test_two_branches_at_one_step_join_and_a_change_drops_what_came_later(run):
    first = made(run.branch(*POINT, seed=7))
    both = made(first.branch(*POINT, prompt="waving"))
    assert equal(both, made(run.branch(*POINT, seed=7, prompt="waving")))
    assert both.recipe == "branch = run.branch(2, 1, seed=7)\nbranch = branch.branch(2, 1, prompt='waving')"
    assert equal(made(first.branch(1, 0, prompt="waving")), made(run.branch(1, 0, prompt="waving")))
    assert first.branches[0] is both and both.parent is first
    known = {"run": run}
    exec(both.recipe, known)
    assert equal(made(known["branch"]), both)


# ------------------------------------------------------------------------------------------- live and saved runs

def test_a_paused_run_branches_at_the_step_that_comes_next_and_goes_on_itself(pipe, run):
    live = Run.of(pipe, tone(2.4), face(32, 32), "smiling", CONFIG)
    with pytest.raises(InputError, match="made no step yet"):
        live.branch(0, 0)
    for count in range(1, 6):
        live.step()
        wait_until(lambda count=count: live.state == PAUSED and len(live.recorded_steps) == count)
    with pytest.raises(InputError, match="no step 0 of block 2"):
        live.branch(2, 0)
    branch = made(live.branch(1, 2, seed=7))
    assert equal(branch, made(run.branch(1, 2, seed=7)))
    live.resume()
    live.result()
    assert equal(live, run)


def test_a_branch_decodes_what_its_parent_has_made_and_not_yet_decoded(pipe, run):
    live = Run.of(pipe, tone(2.4), face(32, 32), "smiling", CONFIG)
    for count in range(1, 7):                              # two blocks, of which the second has no pictures yet
        live.step()
        wait_until(lambda count=count: live.state == PAUSED and len(live.recorded_steps) == count)
    assert [block.index for block in live.blocks] == [0]
    branch = made(live.branch(2, 0))
    assert equal(branch, run) and [block.index for block in branch.blocks] == [0, 1, 2, 3, 4]
    live.stop()


def test_a_parent_that_goes_on_may_let_go_of_the_caches_with_which_a_branch_begins(pipe, run):
    levels, block = nearest_caches(run, (3, 0))
    kept = KeptCaches()
    kept._kept[block] = levels
    parent = made(Run.of(pipe, tone(2.4), face(32, 32), "smiling", CONFIG))
    parent.kept_caches = kept
    found = nearest_caches(parent, (3, 0))
    kept._kept.clear()
    assert found[1] == 3 and len(found[0]) == CONFIG.sample_steps
    assert equal(made(parent.branch(3, 0)), run)


def test_saved_runs_and_saved_branches_can_be_branched(pipe, run, tmp_path):
    first = made(run.branch(*POINT, latent=ScaleChannel(1, 0.0), sound="shuffled"))
    first.save(tmp_path / "first")
    opened = replay(tmp_path / "first", pipeline=pipe)
    assert opened.recipe == first.recipe and opened.parent is None and opened.step_frames.decode(3, 0).any()
    assert equal(made(opened.branch(3, 0, seed=8)), made(first.branch(3, 0, seed=8)))
    assert equal(made(opened.branch(0, 1)), first)
    with pytest.raises(InputError, match="no model is at hand"):
        replay(tmp_path / "first").branch(1, 0)
    with pytest.raises(InputError, match="saved without its portrait, sound or recipe"):
        replay(first.trace, info=first.info, pipeline=pipe).branch(1, 0)


def test_a_run_folder_can_be_branched(pipe, run, tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    pipe.render(tone(2.4), face(32, 32), "smiling", CONFIG, output=tmp_path / "me.mp4", run_dir=tmp_path / "run",
                progress=False)
    opened = open_run(tmp_path / "run", pipe)
    branch, other = made(opened.branch(2, 1, seed=7)), made(run.branch(2, 1, seed=7))
    assert all(same_steps(branch, other).values())


def test_what_is_exported_of_a_run_folder_names_no_folder(tmp_path, monkeypatch):
    backend = FakeBackend()
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    monkeypatch.setattr(backend, "about", lambda: FakeBackend.about(backend) | {
        "weights": "/home/me/weights", "options": {"checkpoint_dir": "/home/me/weights"}})
    Pipeline(backend).render(tone(0.96), face(32, 32), "smiling", CONFIG, output=tmp_path / "me.mp4",
                             run_dir=tmp_path / "run", progress=False)
    made = read_provenance(tmp_path / "me.mp4")
    export_video(open_run(tmp_path / "run"), tmp_path / "again.mp4")
    again = read_provenance(tmp_path / "again.mp4")
    assert again == made and "/home/me" not in str(again) and str(tmp_path) not in str(again)


def test_a_branch_is_exported_with_its_origin(run, tmp_path):
    branch = made(run.branch(*POINT, seed=7))
    export_video(branch, tmp_path / "branch.mp4")
    about = read_provenance(tmp_path / "branch.mp4")
    assert about["seed"] == 5 and about["branch"] == [{"block": 2, "step": 1, "seed": 7}]
    recipe = read_recipe(tmp_path / "branch.mp4")
    assert recipe.settings()["changed steps"] == "step 1 of block 2: seed 7"
    with pytest.raises(InputError, match="branch of another run"):
        inputs_of(recipe)


# ------------------------------------------------------------------------------------------- refused

@pytest.mark.parametrize("words, point, change", [
    ("no step 3 of block 2", (2, 3), {}),
    ("no step 0 of block 9", (9, 0), {}),
    ("block 1.0, step 'x'; give whole numbers", (1.0, "x"), {}),
    ("3 is no name of a file", POINT, {"sound": 3}),
    ("sigma is 1.0; at step 1 it must lie between 0.", POINT, {"sigma": 1.0}),
    ("base_seed is -1", POINT, {"seed": -1}),
    ("solver is 'eule'.*did you mean", POINT, {"solver": "eule"}),
    ("sound is 'silence'", POINT, {"sound": "silence"}),
    ("step 0 of block 2 cannot be skipped", (2, 0), {"skip": True}),
    ("repeat is 99", POINT, {"repeat": 99}),
    ("cannot be skipped and made 2 times", POINT, {"skip": True, "repeat": 2}),
    ("channel is 7", POINT, {"latent": ScaleChannel(7, 0)}),
    ("it must return a tensor", POINT, {"latent": lambda x: x[..., :1]}),
    ("not finite", POINT, {"latent": lambda x: x / 0}),
    ("give a function of a tensor", POINT, {"latent": "noise"}),
    ("portrait_strength is 2", POINT, {"portrait_strength": 2}),
])
def test_what_cannot_be_is_refused_before_any_work(run, words, point, change):
    with pytest.raises(InputError, match=words):
        run.branch(*point, **change)


def test_a_box_that_is_none_is_refused():
    for box in ((0.5, 0, 0.2, 1), (0, 0, 2, 1), "all"):
        with pytest.raises(InputError, match="left, top, right, bottom"):
            ReplaceRegion(box)


# ------------------------------------------------------------------------------------------- mini

def test_mini_branches_too():
    pipe = liveavatar.load("mini", dtype="float32")
    config = GenerationConfig(size=(64, 64), sample_steps=2)
    run = made(Run.of(pipe, tone(1.3), liveavatar.avatar(seed=7), "smiling", config))
    assert equal(made(run.branch(1, 1)), run)
    branch = made(run.branch(1, 1, portrait_strength=0.0))
    same = same_steps(branch, run)
    assert same[1, 0] and not same[1, 1] and torch.equal(branch.blocks[0].frames, run.blocks[0].frames)
