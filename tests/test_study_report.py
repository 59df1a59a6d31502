"""Reports and figures: whole pages without a network, drawings of whatever results there are."""

import html
import json
import re

import numpy as np
import pytest

from liveavatar.backends import BACKENDS
from liveavatar.study import drawing, figures, results
from liveavatar.study.cell_result import pipeline_of, warm_up
from liveavatar.study.claims import judge_all
from liveavatar.study.grid import Grid
from liveavatar.study.report import MOST_BYTES, write_report
from liveavatar.study.summary import summary
from liveavatar.study.sweep import Sweep
from liveavatar.study.table import Estimate, Table, read_table
from liveavatar.types import InputError

DRAWINGS = ("table_1", "knee", "trade_offs", "contributions", "sync_by_step", "schedules", "by_size", "by_prompt",
            "by_sound", "deadlines", "flicker_by_steps")


def quality(path, materials):
    """A measure for tests."""
    return {"lips.error_frames": 0.5, "texture.psnr_db": 30.0}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    before = dict(BACKENDS)
    BACKENDS["fake"] = "fakes:FakeBackend"
    grid = Grid(backend="fake", size="32*32", seconds=0.6, steps=(1, 2, 4), recording=("welcome", "nobody"))
    made = Sweep(grid, tmp_path_factory.mktemp("sweep"), measure=quality)
    made.run(jobs=1, threads=1, progress=False)
    pipeline_of.cache_clear()
    warm_up.cache_clear()
    BACKENDS.clear()
    BACKENDS.update(before)
    return made


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_a_report_holds_every_video_and_every_failure(sweep, tmp_path):
    page = write_report(sweep, tmp_path / "r.html").read_text()
    data = data_of(page)
    assert [bool(cell["video"]) for cell in data["cells"]] == [cell["state"] == "made" for cell in data["cells"]]
    assert sum(cell["state"] == "failed" for cell in data["cells"]) == 3
    assert "recording &#x27;nobody&#x27; is unknown" in page


def test_a_report_asks_nobody_for_anything(sweep, tmp_path):
    page = write_report(sweep.folder, tmp_path / "r.html").read_text()
    assert "default-src 'none'" in page
    fetched = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|blob:)[^"']+|https?://(?!www\.w3\.org)[^\s"']+|\bimport\b.*from""",
                         re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL))
    assert fetched == []
    assert "{{" not in page.split("<main>")[1]


def test_nothing_in_the_data_ends_the_page(sweep, tmp_path):
    page = write_report(sweep, tmp_path / "r.html").read_text()
    inside = page.split('id="data">')[1].split("</script>")[0]
    assert "<" not in inside


def test_twelve_videos_of_four_seconds_stay_far_below_the_limit(sweep):
    """16 kB a second at 128*128 was measured on mini; base64 adds a third."""
    assert 12 * 4 * 40_000 * 4 / 3 < MOST_BYTES / 5


def test_a_page_too_large_is_refused_with_a_remedy(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("liveavatar.study.report.MOST_BYTES", 1000)
    with pytest.raises(InputError, match="--most"):
        write_report(sweep, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_fewer_videos_can_be_asked_for(sweep, tmp_path):
    assert len(data_of(write_report(sweep, tmp_path / "r.html", most=2).read_text())["cells"]) == 2


def text_of(page):
    """What a reader sees: no tags, no script, no data."""
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


@pytest.fixture
def fake(monkeypatch):
    from liveavatar.pipeline import load

    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    return load("fake")


@pytest.mark.parametrize("name", ["me.mp4", "me.webm"])
def test_a_video_alone_has_a_report_in_words(fake, tmp_path, name):
    from fakes import face, tone

    from liveavatar.config import GenerationConfig

    config = GenerationConfig(sample_steps=3, base_seed=7, clean="wiener")
    fake.render(tone(1.0), face(32, 32), "smiling <b>", config, output=tmp_path / name, progress=False)
    page = write_report(tmp_path / name, tmp_path / "r.html").read_text()
    said = text_of(page)
    for words in (" s, 25 frames a second", "32 x 32 px", " kHz, mono", "3 a block", "“smiling <b>”", "Seed 7",
                  "understood as: mood happy", "cleaned for the model: wiener", "Mouth and sound",
                  "Made by liveavatar"):
        assert words in said
    assert not any(sign in said for sign in "{}") and "undefined" not in said and "None" not in said
    assert f"data:video/{name.partition('.')[2]};base64," in page


def test_a_run_folder_has_the_report_of_its_video(fake, tmp_path):
    from fakes import face, tone

    from liveavatar.config import GenerationConfig

    made = fake.render(tone(1.0), face(32, 32), "", GenerationConfig(sample_steps=2), run_dir=tmp_path / "run",
                       output=tmp_path / "me.mp4", progress=False)
    page = write_report(tmp_path / "run", tmp_path / "r.html").read_text()
    assert "me.mp4" in text_of(page) and "3 finished blocks" in text_of(page) and "the portrait" in page
    made.path.unlink()
    with pytest.raises(InputError, match="has no video yet .*liveavatar generate --resume"):
        write_report(tmp_path / "run", tmp_path / "r.html")


def test_a_video_of_another_origin_says_so_and_its_mouth_is_not_read(tmp_path):
    from fakes import tone

    from liveavatar.video import VideoWriter

    with VideoWriter(tmp_path / "film.mp4", (32, 32), 25.0, tone(1.0)) as writer:
        writer.write(np.random.default_rng(0).integers(0, 255, (25, 32, 32, 3), dtype=np.uint8))
    said = text_of(write_report(tmp_path / "film.mp4", tmp_path / "r.html").read_text())
    assert "the file says nothing about it" in said and "not read: the reader of mouths" in said
    (tmp_path / "none.mp4").write_text("no film")
    with pytest.raises(InputError, match="none.mp4 is not a video"):
        write_report(tmp_path / "none.mp4", tmp_path / "r.html")


def test_a_report_of_minis_video_has_its_mouth_and_its_measures(tmp_path):
    import liveavatar
    from liveavatar.config import GenerationConfig
    from liveavatar.speech import samples

    pipe = liveavatar.load("mini")
    pipe.render(samples()["welcome"], liveavatar.avatar(seed=1), "", GenerationConfig(sample_steps=1, duration_s=1.0),
                output=tmp_path / "me.mp4", progress=False)
    page = write_report(tmp_path / "me.mp4", tmp_path / "r.html").read_text()
    assert "<polyline class=rv-mouth" in page and page.count("<rect class=rv-sound") == 300
    assert "Mouth open" in page and "Flicker of the still wall" in page and "nan" not in text_of(page).split()


def test_a_run_has_a_report_with_every_step(tmp_path):
    from fakes import FakeBackend, face, tone

    from liveavatar.config import GenerationConfig
    from liveavatar.pipeline import Pipeline
    from liveavatar.runs.run import Run

    run = Run.of(Pipeline(FakeBackend()), tone(1.0), face(32, 32), "", GenerationConfig(sample_steps=3))
    run.start().result()
    page = write_report(run, tmp_path / "r.html").read_text()
    data = data_of(page)
    steps = data["steps"]
    assert len(steps["strips"]) == 3 and len(steps["starts_s"]) == 7        # one picture for each 4 frames
    assert all(strip["guess"] and strip["change"] for strip in steps["strips"])
    assert len(steps["words"]) == 3 and all(len(sentences) == 3 for _, sentences in steps["words"])
    assert "step 2 finishes it" in page and steps["note"] == ""
    assert data["duration_s"] == pytest.approx(1.0) and max(data["loudness"]) == 1.0
    saved = write_report(run.save(tmp_path / "seen"), tmp_path / "again.html").read_text()
    steps = data_of(saved)["steps"]                         # without its model, in the colours of the latents
    assert len(steps["strips"]) == 3 and not any(strip["change"] for strip in steps["strips"])
    assert "these are previews" in steps["note"] and "finishes it" not in saved


def test_the_pictures_of_a_run_are_what_was_made():
    from fakes import FakeBackend, face, tone

    from liveavatar.config import GenerationConfig
    from liveavatar.pipeline import Pipeline
    from liveavatar.runs.run import Run
    from liveavatar.study.steps_section import steps_of

    run = Run.of(Pipeline(FakeBackend()), tone(0.9), face(32, 32), "", GenerationConfig(sample_steps=2))
    run.start().result()
    shown = [frame for block in run.blocks for frame in block.frames[::4].numpy()]
    steps = steps_of(run)
    assert all(abs(a.astype(int) - b).max() <= 1 for a, b in zip(steps.guesses[-1], shown, strict=True))
    assert steps.starts_s == tuple(pytest.approx(0.16 * place) for place in range(len(shown)))
    assert len(steps_of(run, most_s=0.4).first) == 1        # of a long video, the beginning
    run.backend = None
    coarse = steps_of(run).guesses[0]
    assert coarse.shape[1:] == (4, 4, 3) and len(set(map(bytes, coarse))) > 1


def test_the_report_of_a_folder_made_on_the_command_line_shows_its_steps(tmp_path):
    import liveavatar
    from liveavatar.cli import main
    from liveavatar.config import GenerationConfig
    from liveavatar.runs import open_run
    from liveavatar.speech import samples

    asked = GenerationConfig(sample_steps=2, duration_s=0.6)
    liveavatar.generate(samples()["welcome"], liveavatar.avatar(seed=1), "waving", asked, output=tmp_path / "me.mp4",
                        run_dir=tmp_path / "run", progress=False)
    assert main(["report", str(tmp_path / "run"), "--output", str(tmp_path / "r.html")]) == 0
    steps = data_of((tmp_path / "r.html").read_text())["steps"]
    assert len(steps["strips"]) == 2 and all(strip["guess"] and strip["change"] for strip in steps["strips"])
    assert steps["portrait"] and steps["note"] == "" and "step 1 finishes it" in steps["words"][1][0]
    run = open_run(tmp_path / "run")                         # what a view is given
    assert run.state == "finished" and run.recorded_steps == ((0, 0), (0, 1), (1, 0), (1, 1)) and run.decodes
    assert run.last_step.block == 1 and run.portrait is not None
    assert [len(block.frames) for block in run.blocks] == [12, 3]


def test_steps_that_were_not_kept_are_said_to_be_missing(fake, tmp_path):
    import shutil

    from fakes import face, tone

    from liveavatar.config import GenerationConfig

    fake.render(tone(0.5), face(32, 32), "", GenerationConfig(sample_steps=1), run_dir=tmp_path / "run",
                output=tmp_path / "me.mp4", progress=False)
    shutil.rmtree(tmp_path / "run" / "steps")
    page = write_report(tmp_path / "run", tmp_path / "r.html").read_text()
    assert "The steps of this run were not kept" in text_of(page) and data_of(page)["steps"] is None


def test_a_folder_with_nothing_in_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a sweep"):
        write_report(tmp_path, tmp_path / "r.html")


def test_videos_are_named_by_what_sets_them_apart(sweep):
    data = summary(sweep.results)
    assert data["settings"] == ["steps", "recording"]
    assert data["cells"][0]["label"] == "1 step, “welcome”"


# ------------------------------------------------------------------------------------------- figures

@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_take_whatever_results_there_are(sweep, name):
    for table in (Table([]), sweep.table()):
        picture = getattr(figures, name)(figures.Results(table, "test", {}))
        assert picture.png.startswith(b"\x89PNG")


def test_reported_figures_say_so():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    drawing.hollow(axis, [3], [3.2])
    line = axis.lines[0]
    assert line.get_markerfacecolor() == "none" and "reported" in line.get_label() and "2026-02" in line.get_label()


def test_the_full_study_is_taken_before_the_small_one(tmp_path):
    with pytest.raises(InputError, match="study.csv nor study_smoke.csv"):
        figures.results(tmp_path)
    Table([{"steps": 3}]).write(tmp_path / "study_smoke.csv")
    assert figures.results(tmp_path).name == "study_smoke.csv"
    Table([{"steps": 4}]).write(tmp_path / "study.csv")
    found = figures.results(tmp_path)
    assert found.name == "study.csv" and found.table.rows == ({"steps": 4},)


def test_the_page_of_claims_shows_every_verdict_with_evidence_one_click_away(sweep, tmp_path):
    page = figures.claims_text(judge_all(sweep.table()))
    assert str(page).count("\n") == len(page.verdicts) - 1 and "refuted" in str(page)
    shown = page._repr_html_()
    assert shown.count("<details") == shown.count("What would settle it") == len(page.verdicts)
    saved = page.save(tmp_path / "claims.html").read_text()
    assert "default-src 'none'" in saved and shown.count("<details") == saved.count("<details")


def test_committed_results_are_small_and_say_how_they_were_made():
    found = figures.results()
    path = results.RESULTS / found.name
    assert path.stat().st_size <= 2_000_000
    assert {"command", "commit", "machine", "videos", "failed"} <= set(found.about)
    assert len({row["portrait"] for row in found.table}) > 1 and len(found.table.failed) == found.about["failed"] == 0


def test_readme_and_list_of_claims_say_what_the_results_say(capsys, tmp_path):
    import runpy

    script = runpy.run_path(str(results.RESULTS.parent / "why_four.py"))
    script["main"](["--picture", str(tmp_path / "four.png"), "--claims", str(tmp_path / "claims.md")])
    root = results.RESULTS.parents[1]
    assert capsys.readouterr().out.strip() in (root / "README.md").read_text("utf-8")      # else: run why_four.py
    assert (tmp_path / "claims.md").read_text("utf-8") == (root / "docs" / "claims.md").read_text("utf-8")
    assert (tmp_path / "four.png").stat().st_size > 10_000


@pytest.mark.parametrize("gain, words", [
    (Estimate(1.5, 1.2, 1.9, 64), "better with B than with A"),
    (Estimate(-0.5, -0.9, -0.4, 64), "worse with B than with A"),
    (Estimate(0.05, -0.1, 0.15, 64), "no difference that matters"),
    (Estimate(0.3, -0.2, 0.8, 64), "too few videos to tell"),
    (Estimate(-0.3, -0.8, 0.1, 64), "nothing that matters is gained"),
    (Estimate(0.3, float("nan"), float("nan"), 1), "too few videos")])
def test_differences_are_told_in_words_without_figures(gain, words):
    from liveavatar.study.claims.judging import gained
    from liveavatar.study.measures import LIPS

    said = gained(LIPS, gain, ("A", "B"))
    assert words in said and not any(letter.isdigit() for letter in said)


def test_the_benchmark_runs_at_its_smallest(tmp_path, monkeypatch):
    """One command makes the study; here with a toy backend."""
    import runpy
    from dataclasses import replace

    from liveavatar.study import plan, sweep

    toy = [replace(cell, backend="fake", size="32*32", recording="welcome", seconds=0.5)
           for cell in plan.cells_of(plan.SMOKE) if cell.model == "student" and cell.schedule == "trained"]
    monkeypatch.setattr(plan, "cells_of", lambda scale: toy)
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    monkeypatch.setattr(sweep, "measure_video", quality)
    script = runpy.run_path(str(results.RESULTS.parent / "study.py"))
    out = tmp_path / "t.csv"
    asked = ["--smoke", "--jobs", "1", "--out", str(out), "--work", str(tmp_path / "w")]
    assert script["main"]([*asked, "--within", "0"]) == 0
    assert json.loads(out.with_suffix(".json").read_text())["videos"] == 0        # no time, no videos
    assert script["main"](asked) == 0
    assert out.stat().st_size and json.loads(out.with_suffix(".json").read_text())["failed"] == 0
    assert len(read_table(out).guesses) > 0
