"""Exercises: what is computed is judged, hints come in their turn, progress is kept, and every solution is right."""

import json
import os
import re
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import liveavatar
from liveavatar.lessons import EXERCISES, answers, check, progress, progress_file, records, reset_progress
from liveavatar.types import InputError

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.py"))
LESSONS = tuple(dict.fromkeys(one.lesson for one in EXERCISES.values()))
load_once = cache(liveavatar.load)


@pytest.fixture(autouse=True)
def own_progress(monkeypatch, tmp_path):
    monkeypatch.setenv(records.SETTING, str(tmp_path / "progress.json"))
    monkeypatch.setattr(records, "_unsaved", {})


def names_of(lesson: str) -> list[str]:
    return [name for name, one in EXERCISES.items() if one.lesson == lesson]


def asked_in(text: str) -> list[str]:
    return re.findall(r'check\(\\?"([\w-]+)\\?"', text)


# ------------------------------------------------------------------------------------------- notebooks and solutions

@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_asks_at_least_twice_and_has_its_solutions(lesson):
    (notebook,) = (path for path in NOTEBOOKS.glob(f"??_{lesson}.ipynb") if asked_in(path.read_text(encoding="utf-8")))
    solution = NOTEBOOKS / "solutions" / f"{notebook.stem}.py"
    assert len(names_of(lesson)) >= 2
    assert asked_in(notebook.read_text(encoding="utf-8")) == names_of(lesson)
    assert asked_in(solution.read_text(encoding="utf-8")) == names_of(lesson)
    assert f"solutions/{solution.name}" in notebook.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_are_right(path, monkeypatch):
    monkeypatch.setattr(liveavatar, "load", load_once)
    runpy.run_path(str(path))
    assert list(progress().solved) == names_of(path.stem[3:])
    assert all(one.failed == 0 for one in progress().attempts.values())


# ------------------------------------------------------------------------------------------- check

@pytest.mark.parametrize("name", EXERCISES)
def test_an_open_exercise_says_so_and_leaves_nothing(name):
    assert check(name).state == check(name, (..., ...)).state == "open"
    assert "Not answered yet" in str(check(name)) and not progress_file().exists()


def test_hints_come_one_after_the_other_and_then_what_is_right():
    exercise = EXERCISES["third-step-starts"]
    first, second, third = (check("third-step-starts", wrong) for wrong in (0.3, 0.0089, 0.1))
    assert [one.state for one in (first, second, third)] == ["wrong"] * 3
    assert (first.hint, second.hint, third.hint) == (exercise.hints[0], exercise.hints[1], exercise.hints[1])
    assert "there the third step ends" in second.message and "0.3 is not it." in first.message
    outcome = check("third-step-starts", 0.6)
    assert outcome.right and outcome.message == exercise.right and not outcome.hint
    assert "wrong 3 times before" in progress().state("third-step-starts")
    assert check("third-step-starts", 0.3).state == "wrong" and "third-step-starts" in progress().solved   # stays


@pytest.mark.parametrize("answer", [0.602, np.float32(0.602), np.array([0.602]), torch.tensor(0.602),
                                    torch.tensor([[0.602]], dtype=torch.bfloat16)])
def test_numbers_of_all_libraries_are_understood(answer):
    assert check("third-step-starts", answer).right


@pytest.mark.parametrize(("answer", "said"), [
    ("0.602", "text, '0.602'"), (None, "None"), (True, "bool"), (max, "brackets"), ([0.602, 1], "list"),
    (torch.zeros(2, 3), "shape (2, 3)"), (float("nan"), "no finite number"), ({0.602}, "set"), (2j, "complex"),
    (10**400, "an int"), pytest.param(10**5000, "an int", id="long"), (np, "a module"),
    (torch.tensor(0.6, device="meta"), "a Tensor"),
    (answers.Verdict(True, "1"), "right, shown, remark")])
def test_other_kinds_are_explained_and_do_not_count(answer, said):
    outcome = check("third-step-starts", answer)
    assert outcome.state == "unsuitable" and said in outcome.message and not progress_file().exists()


@pytest.mark.parametrize("answer", [(-0.3, 0.5), [-0.3, 0.5], torch.tensor([[-0.3, 0.5]]), np.array([-0.3, 0.5])])
def test_points_of_all_libraries_are_understood(answer):
    assert check("euler-by-hand", answer).right


@pytest.mark.parametrize("answer", [0.5, "ab", (1, 2, 3), ("a", "b"), torch.zeros(3), {1: 2, 3: 4}, None,
                                    np, (10**400, 1)])
def test_what_is_no_point_is_explained(answer):
    assert check("euler-by-hand", answer).state == "unsuitable"


def test_a_slip_is_named_only_where_it_was_made():
    judge = answers.number(3.0, within=1.0, slips={0.5: "the other way round"})
    assert judge(0.5).remark == "the other way round" and judge(0.8).remark == "" and judge(2.2).right
    assert not judge(4.1).right


def test_an_unknown_exercise_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'mouth-step'"):
        check("mouth-steps", 1)
    with pytest.raises(InputError, match="is no exercise"):
        check(["mouth-step"], 1)                               # type: ignore[arg-type]


def test_a_progress_file_that_cannot_be_taken_away_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv(records.SETTING, str(tmp_path))
    with pytest.raises(InputError, match=records.SETTING):
        reset_progress()


def test_what_a_learner_wrote_cannot_become_html():
    assert "<script>" not in check("mouth-step", "<script>alert(1)</script>")._repr_html_()
    assert 'role="status"' in check("mouth-step")._repr_html_()


def test_only_the_edge_has_a_colour_so_that_words_follow_the_theme():
    shown = "".join(check("devices", answer)._repr_html_() for answer in (..., "four", 3, 4)) + progress()._repr_html_()
    assert re.findall(r"[;\"]((?:background[a-z-]*|color):[^;\"]*)", shown) == ["color:inherit"]


# ------------------------------------------------------------------------------------------- progress

def test_progress_is_a_table_of_all_lessons():
    check("devices", 3)
    check("devices", 4)
    check("mouth-step", 2)
    shown = progress()
    assert shown.solved == ("devices",) and tuple(shown.lessons) == LESSONS
    assert f"1 of {len(EXERCISES)}" in str(shown) and "mouth-step (wrong once so far)" in str(shown)
    html = shown._repr_html_()
    assert html.count('scope="row"') == len(LESSONS) and "<caption" in html and html.count("&#10003;") == 1
    reset_progress()
    assert progress().solved == () and not progress_file().exists()


def test_progress_of_another_version_is_kept():
    progress_file().write_text(json.dumps({"version": 1, "exercises": {"later": {"failed": 1, "solved": "2027"}}}))
    check("devices", 4)
    assert set(records.read_progress()) == {"later", "devices"}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"exercises": 3}', "\x00"])
def test_a_damaged_file_is_set_aside(damage):
    progress_file().write_text(damage)
    assert progress().solved == () and check("devices", 4).right and progress().solved == ("devices",)
    kept = [path.read_text() for path in progress_file().parent.glob("*damaged*")]
    assert kept == ([damage] if damage else [])


def test_where_nothing_can_be_written_it_lasts_as_long_as_the_kernel(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(records.SETTING, str(tmp_path / "file" / "progress.json"))
    outcome = check("devices", 3)
    assert "LIVEAVATAR_PROGRESS names another file" in outcome.note and outcome.note in str(outcome)
    assert check("devices", 2).hint == EXERCISES["devices"].hints[1]
    assert check("devices", 4).right and progress().solved == ("devices",)


def test_the_file_is_among_the_users_data(monkeypatch, tmp_path):
    monkeypatch.delenv(records.SETTING)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert progress_file().name == "progress.json" and "liveavatar" in progress_file().parts
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert progress_file().is_relative_to(tmp_path)
