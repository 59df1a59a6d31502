"""Check the answer to an exercise: nothing while it is open, a hint where it is wrong, why it is right."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from liveavatar.lessons.answers import UnsuitableAnswer, is_unanswered
from liveavatar.lessons.exercises import EXERCISES, Exercise
from liveavatar.lessons.records import note_failure, note_success
from liveavatar.types import InputError
from liveavatar.web.palette import GREEN, GREY, ORANGE, VERMILION
from liveavatar.wording import did_you_mean

OPEN, UNSUITABLE, WRONG, RIGHT = "open", "unsuitable", "wrong", "right"
TITLES = {OPEN: "Not answered yet.", UNSUITABLE: "This cannot be checked:", WRONG: "Not yet.", RIGHT: "Right."}
COLOURS = {OPEN: GREY, UNSUITABLE: ORANGE, WRONG: VERMILION, RIGHT: GREEN}


@dataclass(frozen=True)
class Outcome:
    """Hold what `check` found; the last line of a cell shows it."""

    exercise: str
    state: str                   # "open", "unsuitable", "wrong" or "right"
    message: str
    hint: str = ""
    note: str = ""               # where the progress could not be kept

    @property
    def right(self) -> bool:
        """Tell whether the answer was right."""
        return self.state == RIGHT

    def __str__(self) -> str:
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"{TITLES[self.state]} {self.message}{hint}" + (f"\n({self.note})" if self.note else "")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the same with a coloured edge; the text has the colour of the page, light or dark."""
        hint = f'<div style="margin-top:.3em"><b>Hint:</b> {escape(self.hint)}</div>' if self.hint else ""
        note = f'<div style="margin-top:.3em"><small>{escape(self.note)}</small></div>' if self.note else ""
        return (f'<div role="status" style="border-left:4px solid {COLOURS[self.state]};padding:.3em .8em;'
                f'max-width:48em;line-height:1.4"><b>{TITLES[self.state]}</b> {escape(self.message)}{hint}{note}</div>')


def check(name: str, answer: object = ...) -> Outcome:
    """Check what was computed for an exercise, and keep the result in the learner's progress.

    answer: three dots are no answer yet. Of the first wrong answer the first hint is shown, from the second on the
    other. An answer of the wrong kind (text for a number) does not count. Raises InputError for an unknown exercise.
    """
    exercise = find_exercise(name)
    if is_unanswered(answer):
        return Outcome(name, OPEN, "Replace the three dots by what you compute, and run the cell again.")
    try:
        verdict = exercise.judge(answer)
    except UnsuitableAnswer as fault:
        return Outcome(name, UNSUITABLE, f"{fault}.")
    if verdict.right:
        _, note = note_success(name)
        return Outcome(name, RIGHT, exercise.right, note=note)
    failed, note = note_failure(name)
    hint = exercise.hints[0 if failed <= 1 else 1]
    message = f"{verdict.shown} is not it{': ' + verdict.remark if verdict.remark else ''}."
    return Outcome(name, WRONG, message, hint, note)


def find_exercise(name: str) -> Exercise:
    """Return an exercise by its name. Raises InputError where there is none."""
    if not isinstance(name, str) or name not in EXERCISES:
        raise InputError(f"{name!r:.80} is no exercise; `progress()` lists them all{did_you_mean(name, EXERCISES)}")
    return EXERCISES[name]
