"""BranchTree without a browser: a branch at the chosen cell, the tree of runs, and each run's recipe."""

import pytest
from fakes import FakeBackend, face, tone, wait_until

import widgets
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.edits import ReplaceRegion, ScaleChannel
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from widgets import BranchTree, StepGrid, Workbench
from widgets.branch_tree import FORM, MOST_RUNS


def make_run(seconds: float = 0.96) -> Run:
    return Run.of(Pipeline(FakeBackend()), tone(seconds), face(32, 32), "", GenerationConfig(size=(32, 32)))


@pytest.fixture
def run() -> Run:
    """Two blocks of four steps."""
    made = make_run()
    made.start().result()
    return made


def test_the_form_branches_at_the_cell_that_is_chosen_in_the_grid(run):
    grid = StepGrid(run)
    tree = BranchTree(run, grid=grid, value="9")
    grid.block, grid.step = 1, 2
    assert tree.point == (1, 2) and grid._branching
    branch = tree.branch()
    branch.result()
    assert tree.run is branch and tree.recipe == "branch = run.branch(1, 2, seed=9)" and tree.runs == (run, branch)
    nodes = tree.paint()[0]["nodes"]
    assert [(node["depth"], node["words"], node["shown"]) for node in nodes] == [
        (0, "first run, seed 420", False), (1, "seed=9 at block 1, step 2", True)]
    assert nodes[0]["apart"] is None and nodes[1]["recipe"] == tree.recipe


def test_every_choice_of_the_form_is_a_change_that_can_be_made(run):
    tree = BranchTree(run, block=1, step=1)
    for name in FORM:
        tree.change = name
        branch = run.branch(1, 1, **tree.changes)
        assert branch.lineage.changes[0].alters == (name != "nothing")
    tree.change, tree.value = "channel", "2"
    assert tree.changes == {"latent": ScaleChannel(2, 0.0)}
    tree.change = "region"
    assert isinstance(tree.changes["latent"], ReplaceRegion)
    tree.change, tree.value = "seed", "many"
    tree._receive_message(None, {"kind": "branch"}, [])
    assert tree.error == "seed of what is left is 'many'; give a whole number"
    again = eval(tree.as_code(), {"BranchTree": BranchTree, "run": run})
    assert (again.block, again.step, again.change, again.value) == (1, 1, "seed", "many")


def test_a_tree_is_walked_and_leaves_are_forgotten(run):
    tree = BranchTree(run, block=1, step=0)
    first = tree.branch()
    first.result()
    tree.block, tree.step = 1, 3
    second = tree.branch()
    second.result()
    assert [node["depth"] for node in tree.paint()[0]["nodes"]] == [0, 1, 2] and second.parent is first
    assert tree.still().width >= 420 and BranchTree(run).runs[:2] == (run, first)
    tree._receive_message(None, {"kind": "select", "number": 0}, [])
    assert tree.run is run
    with pytest.raises(InputError, match="stays in the tree"):
        tree.forget(1)
    for number in (-1, 3):
        with pytest.raises(InputError, match="not in the tree; it has runs 0 to 2"):
            tree.forget(number)
    tree.forget(2)
    assert tree.runs == (run, first)
    other = make_run()
    tree.watch(other)
    assert tree.runs == (run, first, other)
    nodes = tree.paint()[0]["nodes"]
    assert [nodes[0]["words"], nodes[2]["words"]] == ["first run, seed 420", "tree 2: first run, seed 420"]
    tree.watch(run)
    assert tree.runs == (run, first)                       # the other had no branch


def test_a_saved_run_that_was_finished_is_not_called_ready(run, tmp_path):
    tree = BranchTree(run.save(tmp_path / "run"))
    assert tree.run.state == "ready" and tree.paint()[0]["nodes"][0]["state"] == "finished"
    assert BranchTree(make_run()).paint()[0]["nodes"][0]["state"] == "ready"


def test_the_tree_holds_only_so_many(run):
    tree = BranchTree(run, block=1, step=3)
    for seed in range(MOST_RUNS + 2):
        tree.watch(run)
        tree.value = str(seed)
        tree.branch().result()
    assert len(tree.runs) == MOST_RUNS and run in tree.runs and tree.run in tree.runs


@pytest.mark.parametrize("point", [(1, 0), (1, 3), (0, 2)])
def test_on_the_page_the_cell_stays_chosen_for_the_next_branch(point):
    page = Workbench(pipeline=Pipeline(FakeBackend()), size="32*32", seconds=0.96)
    page.start().result()
    parent = page.run
    page.grid.block, page.grid.step = point
    page.tree.branch().result()
    assert page.tree.point == page.grid.chosen == point and page.cursor.time_s == point[0] * parent.info.block_s
    page.tree.select(0)
    assert page.run is parent and page.tree.point == page.grid.chosen == point
    page.close()


def test_on_the_page_a_branch_is_shown_beside_its_parent():
    page = Workbench(pipeline=Pipeline(FakeBackend()), size="32*32", seconds=0.96)
    page.start().result()
    parent = page.run
    page.grid.block, page.grid.step = 1, 2
    page.grid._receive_message(None, {"kind": "branch"}, [])
    assert page.page == "branch"
    page.tree.value = "11"
    page.tree._receive_message(None, {"kind": "branch"}, [])
    assert page.tree.error == "" and page.run is not parent and page.run.parent is parent
    page.run.result()
    assert page.player.run is page.run and page.player.other is parent and page.change.other is parent
    assert page.player.names["a"] == "A: seed=11 at block 1, step 2"
    page.step()
    wait_until(lambda: page._preparing is None and page.run.parent is None and page.run.state == "paused")
    assert page.before is None and page.tree.runs[0] is parent
    page.close()


def test_on_the_page_no_branch_is_made_while_another_video_is_prepared(run, monkeypatch):
    page = Workbench(pipeline=Pipeline(FakeBackend()), size="32*32", seconds=0.96)
    page.watch(run)
    monkeypatch.setattr(page, "_preparing", object())
    page.tree._receive_message(None, {"kind": "branch"}, [])
    assert page.tree.error.startswith("One video at a time") and page.run is run
    monkeypatch.undo()
    page.close()


def test_without_a_run_without_a_step_or_with_one_that_is_going_it_says_so(run, monkeypatch):
    assert BranchTree().paint()[0]["nothing"].startswith("No run to branch")
    fresh = make_run()
    tree = BranchTree(fresh)
    assert tree.paint()[0]["point"] is None
    with pytest.raises(InputError, match="No step is made yet"):
        tree.branch()
    monkeypatch.setattr(run, "_state", RUNNING)
    with pytest.raises(InputError, match="One video at a time"):
        BranchTree(run).branch()
    with pytest.raises(InputError, match="pause it first"):
        run.branch(1, 0)


@pytest.mark.parametrize("view", ["Player", "StepGrid", "StepChange", "LipView", "MemoryView", "CacheView",
                                  "TrajectoryView"])
def test_every_view_works_on_a_branch_before_and_after_it_is_made(run, view):
    branch = run.branch(1, 2, seed=5)
    shown = getattr(widgets, view)(branch)
    shown.paint()
    assert shown.error == ""
    branch.start().result()
    body, _ = shown.paint()
    assert shown.error == "" and body["run"]["done_s"] == run.done_s
