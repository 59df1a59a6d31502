"""The way of the latents: lengths, straightness and planes that are known beforehand, and the view of them."""

import numpy as np
import pytest
from fakes import FakeBackend, face, tone

from liveavatar.config import GenerationConfig
from liveavatar.metrics.trajectories import LatentPath, paths_of, plane_of
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.trace import Trace
from liveavatar.types import InputError
from widgets import TrajectoryView

CONFIG = GenerationConfig(size=(32, 32), sample_steps=3)


@pytest.fixture(scope="module")
def run() -> Run:
    """Two blocks of three steps."""
    made = Run.of(Pipeline(FakeBackend()), tone(0.96), face(32, 32), "", CONFIG)
    made.start().result()
    return made


def path(*points):
    x = np.asarray(points, np.float32)
    return LatentPath(0, x, x[1:], tuple(np.linspace(1, 0, len(x)).tolist()))


def test_a_bent_path_is_longer_than_it_is_far():
    straight, bent = path([0, 0], [1, 0], [2, 0]), path([0, 0], [3, 0], [3, 4])
    assert straight.straightness == pytest.approx(1) and straight.length == pytest.approx(2 / 2 ** 0.5)
    assert bent.straightness == pytest.approx(5 / 7) and bent.length == pytest.approx(7 / 2 ** 0.5)


def test_the_plane_is_the_one_in_which_they_vary():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(50, 2)))[0].T
    paths = [path(*(rng.normal(size=(4, 2)) @ directions)) for _ in range(3)]
    plane = plane_of(paths)
    assert sum(plane.explained) == pytest.approx(1, abs=1e-5)
    x = paths[0].x
    apart, drawn = np.linalg.norm(x[0] - x[3]), plane.project(x)
    assert np.linalg.norm(drawn[0] - drawn[3]) == pytest.approx(apart, rel=1e-4)       # nothing is lost
    with pytest.raises(InputError, match="runs of one size"):
        plane_of([path([0, 0], [1, 0]), path([0, 0, 0], [1, 0, 0])])


def test_a_runs_paths_begin_with_its_noise_and_end_with_its_guess(run):
    paths = paths_of(run)
    assert len(paths) == 2 and paths[0].x.shape == (4, 4 * 3 * 4 * 4) and paths[0].sigmas == run.info.sigmas
    assert paths[0].x[0].std() == pytest.approx(1, abs=0.2)
    assert np.allclose(paths[0].x[-1], paths[0].clean[-1], atol=1e-5)


def test_several_runs_are_drawn_in_one_plane(run):
    branch = run.branch(1, 1, repeat=2)
    branch.start().result()
    view = TrajectoryView(branch, run)
    body, _ = view.paint()
    assert [one["name"] for one in body["runs"]] == ["repeat=2 at block 1, step 1", "its parent"]
    ours, parents = ([path["x"] for path in one["paths"]] for one in body["runs"])
    assert ours[0] == parents[0] and ours[1] != parents[1]
    assert body["runs"][0]["paths"][1]["straightness"] == view.paths[0][1].straightness < 1
    assert view.as_code() == "TrajectoryView(run, other)" and view.still().width > 400


def test_what_is_not_known_is_said_in_words(run):
    assert TrajectoryView().paint()[0]["nothing"].startswith("No steps to follow")
    bare = Trace(velocity=False)
    for step in run.trace:
        bare.record(step)
    view = TrajectoryView(bare)
    view.paint()
    assert "without velocities" in view.error
