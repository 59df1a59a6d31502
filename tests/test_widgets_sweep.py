"""SweepView without a browser."""

import pytest

from liveavatar.backends import BACKENDS
from liveavatar.study.grid import Grid
from liveavatar.study.sweep import Sweep
from widgets import SweepView


def quality(path, materials):
    return {"lips.error_frames": 1.0 / path.stat().st_size}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    before = dict(BACKENDS)
    BACKENDS["fake"] = "fakes:FakeBackend"
    made = Sweep(Grid(backend="fake", size="32*32", seconds=0.5, steps=(1, 2, 3)), tmp_path_factory.mktemp("sweep"),
                 measure=quality)
    made.run(jobs=1, threads=1, progress=False)
    BACKENDS.clear()
    BACKENDS.update(before)
    return made


def test_all_videos_travel_once(sweep):
    view = SweepView(sweep)
    body, buffers = view.paint()
    assert set(buffers) == {result.key for result in sweep.results}
    assert all(data[4:8] == b"ftyp" for data in buffers.values())
    assert [cell["settings"]["steps"] for cell in body["cells"]] == [1, 2, 3]
    assert view.paint(full=False)[1] == {}


def test_only_what_is_in_view_travels(sweep):
    view = SweepView(sweep, most=2)
    assert len(view.paint()[1]) == 2
    view.most = 3
    assert len(view.paint(full=False)[1]) == 1


def test_what_is_shown_follows_sorting_and_selection(sweep):
    view = SweepView(sweep.folder, descending=True)
    assert [result.cell.steps for result in view.shown] == [3, 2, 1]
    view.selected = [view.shown[0].key, view.shown[2].key]
    assert [result.cell.steps for result in view.shown] == [3, 1]
    view.sort = "nothing_known"
    assert len(view.shown) == 2


def test_the_choices_can_be_had_as_code(sweep):
    view = SweepView(sweep, sort="lips.error_frames")
    assert view.as_code() == f"SweepView({str(sweep.folder)!r}, sort='lips.error_frames')"
    assert SweepView().as_code() == "SweepView()"


def test_a_view_of_nothing_says_so(tmp_path):
    assert "No sweep yet" in SweepView().paint()[0]["words"]
    view = SweepView(tmp_path)
    assert "holds no sweep" in view.error and view.shown == ()


def test_a_saved_notebook_keeps_a_sheet(sweep):
    assert SweepView(sweep).still().width > 300
    assert SweepView().still() is None


def test_a_view_follows_a_sweep_that_is_being_made(sweep):
    view = SweepView(sweep)
    body, _ = view.paint()
    assert (body["done"], body["total"], body["running"]) == (3, 3, False)
    assert "3 of 3 made" in body["words"]
