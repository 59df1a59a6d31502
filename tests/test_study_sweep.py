"""Sweeps with a toy backend: each video once, stop and go on, failures recorded, cores shared out."""

import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from fakes import wait_until

from liveavatar.backends import BACKENDS
from liveavatar.study.cell_result import Result, flat, make_cell, pipeline_of, rounded, warm_up
from liveavatar.study.grid import Cell, Grid
from liveavatar.study.sweep import Progress, Sweep
from liveavatar.study.table import read_table
from liveavatar.study.workers import in_parallel, share_cores
from liveavatar.types import InputError

TOY = dict(backend="fake", size="32*32", seconds=0.6)


@pytest.fixture(autouse=True)
def toy_backend(monkeypatch):
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    pipeline_of.cache_clear()
    warm_up.cache_clear()
    yield
    pipeline_of.cache_clear()
    warm_up.cache_clear()


def weigh(path, materials):
    """A measure for tests: how large is the file?"""
    return {"weight.bytes": path.stat().st_size, "weight.sound_s": materials.spoken.duration_s}


def sweep_in(folder, **axes):
    return Sweep(Grid(**(TOY | axes)), folder, measure=weigh)


def run(sweep, **options):
    return sweep.run(jobs=1, threads=1, progress=False, **options)


def test_every_cell_becomes_a_video_and_a_row(tmp_path):
    sweep = sweep_in(tmp_path, steps=(1, 2), seed=(1, 2))
    table = run(sweep)
    assert len(table.finished) == 4 and not len(table.failed)
    assert all(result.video.is_file() for result in sweep.results)
    assert all(row["weight.bytes"] > 0 and row["ms_per_frame"] > 0 for row in table.finished)
    assert read_table(tmp_path / "table.csv").rows == read_table(table.write(tmp_path / "again.csv")).rows


def test_videos_are_what_the_pipeline_makes(tmp_path):
    from liveavatar.pipeline import load
    from liveavatar.study.materials import gather
    from liveavatar.video import read_frames

    sweep = sweep_in(tmp_path, steps=2)
    run(sweep)
    cell = sweep.cells[0]
    materials = gather(cell)
    video = load("fake").render(materials.heard, materials.portrait, "", cell.config(), output=tmp_path / "alone.mp4",
                                progress=False)
    ours, alone = (list(read_frames(path)) for path in (sweep.results[0].video, video.path))
    assert len(ours) == len(alone) and all((a == b).all() for a, b in zip(ours, alone, strict=True))


def test_what_is_made_is_not_made_again(tmp_path):
    first = sweep_in(tmp_path, steps=(1, 2))
    run(first)
    stamps = {result.key: result.video.stat().st_mtime_ns for result in first.results}
    more = sweep_in(tmp_path, steps=(1, 2, 3))
    run(more)
    assert [result.cached for result in more.results] == [True, True, False]
    assert {result.key: result.video.stat().st_mtime_ns for result in more.results}.items() >= stamps.items()


def test_other_sound_weights_or_settings_are_another_video(tmp_path):
    from liveavatar.study.cell_result import key_of

    cells = [Cell(**TOY), Cell(**TOY, steps=3), Cell(**TOY, recording="steps"), Cell(**TOY, portrait="8"),
             Cell(**TOY, noise_db=3.0), Cell(**TOY, weights="random")]
    assert len({key_of(cell) for cell in cells}) == len(cells)


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path):
    sweep = sweep_in(tmp_path, steps=(1, 2, 3))
    unsubscribe = sweep.subscribe(lambda progress: progress.done == 1 and sweep.stop())
    run(sweep)
    unsubscribe()
    assert len(sweep.results) == 1
    again = Sweep.open(tmp_path)
    assert len(again.results) == 1 and len(again.cells) == 3
    again._measure = weigh
    run(again)
    assert [result.cell.steps for result in again.results] == [1, 2, 3]


def test_half_made_videos_of_a_killed_process_are_cleared_away(tmp_path):
    sweep = sweep_in(tmp_path, steps=1)
    half = tmp_path / "cells" / ".4f0c"
    half.mkdir(parents=True)
    (half / "video.mp4").write_bytes(b"half")
    run(sweep)
    assert not half.exists() and len(sweep.results) == 1


def test_a_failed_cell_is_recorded_and_the_others_are_made(tmp_path):
    sweep = sweep_in(tmp_path, steps=1, recording=("nobody", "welcome"))
    table = run(sweep)
    assert [row["state"] for row in table] == ["failed", "made"]
    assert "recording 'nobody' is unknown" in table.failed.rows[0]["error"]
    assert "1 failed" in repr(sweep)
    assert run(sweep_in(tmp_path, steps=1, recording=("nobody", "welcome"))).failed.rows      # still on record


def broken_once(path, materials):
    """A measure that works from the second time on."""
    mark = path.parent.parent.parent / "tried"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("no luck")
    return {"weight.bytes": 1}


def test_failures_can_be_tried_again(tmp_path):
    grid = Grid(**TOY, steps=1)
    assert Sweep(grid, tmp_path, measure=broken_once).run(jobs=1, progress=False).failed.rows[0]["error"] == \
        "RuntimeError: no luck"
    assert len(Sweep(grid, tmp_path, measure=broken_once).run(jobs=1, progress=False).failed) == 1
    assert len(Sweep(grid, tmp_path, measure=broken_once).run(jobs=1, progress=False, retry=True).failed) == 0


def test_the_guess_after_each_step_is_kept_and_measured(tmp_path):
    sweep = sweep_in(tmp_path, steps=3, by_step=True)
    table = run(sweep)
    guesses = table.guesses
    assert [row["after_step"] for row in guesses] == [0, 1, 2]
    assert sum(row["path_share"] for row in guesses) == pytest.approx(1.0, abs=1e-3)
    assert all((sweep.results[0].folder / f"after_{index}.mp4").is_file() for index in range(3))
    assert all(row["weight.bytes"] > 0 for row in guesses)


def test_the_last_guess_is_the_video(tmp_path):
    from liveavatar.video import read_frames

    sweep = sweep_in(tmp_path, steps=2, by_step=True)
    run(sweep)
    folder = sweep.results[0].folder
    pairs = zip(read_frames(folder / "video.mp4"), read_frames(folder / "after_1.mp4"), strict=True)
    assert max(abs(a.astype(int) - b).mean() for a, b in pairs) < 1.0


def weigh_more(path, materials):
    return {"weight.bytes": 7}


def test_what_is_made_can_be_measured_again(tmp_path):
    run(sweep_in(tmp_path, steps=2, by_step=True))
    again = Sweep.open(tmp_path)
    again._measure = weigh_more
    before = again.results[0]
    table = again.measure_again(jobs=1, threads=1, progress=False)
    assert [row["weight.bytes"] for row in table] == [7, 7, 7]
    assert "weight.sound_s" not in table.columns
    assert table.rows[0]["ms_per_frame"] == before.numbers["ms_per_frame"]
    assert Result.read(before.folder).numbers == again.results[0].numbers


def test_watchers_hear_of_every_video(tmp_path):
    sweep, heard = sweep_in(tmp_path, steps=(1, 2)), []
    sweep.subscribe(heard.append)
    run(sweep)
    assert [progress.done for progress in heard] == [0, 1, 2, 2]
    assert isinstance(heard[1], Progress) and heard[1].total == 2 and heard[1].result.state == "made"


def test_a_sweep_in_a_thread_can_be_waited_for(tmp_path):
    sweep = sweep_in(tmp_path, steps=(1, 2)).start(jobs=1, threads=1)
    assert len(sweep.wait(300).finished) == 2
    assert threading.current_thread() is threading.main_thread() and not sweep.running


def test_work_is_done_by_other_processes():
    pids = list(in_parallel(os.getpid, [()] * 4, 2, threading.Event()))
    assert len(pids) == 4 and os.getpid() not in pids


@pytest.mark.skipif(sys.platform == "win32", reason="a killed parent keeps its number there")
def test_workers_end_when_the_process_that_started_them_is_killed():
    import psutil

    code = ("import os, threading; from liveavatar.study.workers import in_parallel\n"
            "print(*set(in_parallel(os.getpid, [()] * 4, 2, threading.Event())), flush=True); input()")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert workers and all(worker.ppid() == parent.pid for worker in workers)
        parent.kill()
    wait_until(lambda: not any(worker.is_running() for worker in workers), 60)


def test_what_a_process_is_given_and_gives_back_can_travel(tmp_path):
    task = (make_cell, Cell(**TOY), "key", str(tmp_path), weigh, 1)
    work, *given = pickle.loads(pickle.dumps(task))
    result = work(*given)
    assert pickle.loads(pickle.dumps(result)) == result and result.state == "made"


def test_no_new_work_is_handed_out_after_a_stop():
    stop = threading.Event()
    results = in_parallel(time.sleep, [(0.2,)] * 1000, 2, stop)
    next(results)
    stop.set()
    assert len(list(results)) < 500


def test_the_same_call_runs_on_a_dask_cluster(tmp_path):
    """A local cluster of two workers, threads of this process: there the toy backend is known."""
    distributed = pytest.importorskip("distributed", reason="no dask here: pip install 'liveavatar[cluster]'")
    import joblib

    settings = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster), \
            joblib.parallel_config(backend="dask"):
        sweep = sweep_in(tmp_path, steps=(1, 2), seed=(1, 2))
        table = sweep.run(jobs=-1, threads=1, progress=False)
    assert len(table.finished) == 4


@pytest.mark.parametrize("asked, available, got", [
    ((None, None), 16, (8, 2)), ((None, None), 2, (1, 2)), ((None, None), 1, (1, 1)), ((4, None), 16, (4, 4)),
    ((16, None), 4, (16, 1)), ((None, 1), 6, (6, 1)), ((-1, None), 8, (-1, 2))])
def test_cores_are_shared_out_and_not_oversubscribed(asked, available, got):
    assert share_cores(*asked, available) == got
    jobs, threads = got
    assert jobs * threads <= max(available, jobs)


def test_no_processes_are_refused():
    with pytest.raises(InputError, match="jobs is 0"):
        share_cores(0, None)


def test_threads_are_as_many_afterwards_as_before(tmp_path):
    import torch

    before = torch.get_num_threads()
    make_cell(Cell(**TOY), "key", str(tmp_path), weigh, before + 1)
    assert torch.get_num_threads() == before


def test_reports_of_metrics_become_flat_numbers():
    report = {"lips": {"late_frames": 1.0, "applies": True, "reason": "", "curve": [1, 2]},
              "motion": {"movements": [{"name": "left_hand", "ldlj": -5.0}]}}
    assert flat(report) == {"lips.late_frames": 1.0, "lips.applies": True, "motion.movements.left_hand.ldlj": -5.0}


def test_numbers_are_rounded_and_what_is_not_known_is_left_out():
    assert rounded({"a": 1.23456789, "b": math.nan, "c": 3, "d": "x"}) == {"a": 1.2346, "c": 3, "d": "x"}


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no sweep"):
        Sweep.open(tmp_path)


def test_a_damaged_result_is_made_again(tmp_path):
    sweep = sweep_in(tmp_path, steps=1)
    run(sweep)
    path = sweep.results[0].folder / "cell.json"
    path.write_text(path.read_text()[:20])
    again = sweep_in(tmp_path, steps=1)
    run(again)
    assert not again.results[0].cached and json.loads(path.read_text())["state"] == "made"


# ------------------------------------------------------------------------------------------- command line

def test_the_command_line_sweeps_and_reports(tmp_path, capsys, monkeypatch):
    from liveavatar import cli
    from liveavatar.study import sweep

    monkeypatch.setattr(sweep, "measure_video", weigh)
    arguments = ["sweep", "--grid", "steps=1,2", "--grid", "backend=fake", "--grid", "size=32*32", "--grid",
                 "seconds=0.6", "--jobs", "1", "--out", str(tmp_path / "s"), "--report", str(tmp_path / "r.html")]
    assert cli.main(arguments) == 0
    assert "2 of 2 videos, 0 failed" in capsys.readouterr().out
    assert cli.main(["report", str(tmp_path / "s"), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("arguments, words", [
    (["sweep"], "--grid is missing"), (["sweep", "--grid", "stepz=1"], "stepz"),
    (["report", "nowhere"], "neither a sweep"), (["report", "x", "-o", "x.pdf"], "a report is a web page")])
def test_slips_are_answered_in_one_sentence(arguments, words, capsys):
    from liveavatar import cli

    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
