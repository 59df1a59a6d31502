"""One exercise: how an answer is judged, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass

from liveavatar.lessons.answers import Judge


@dataclass(frozen=True)
class Exercise:
    """One question: how an answer is judged, and what is said about it."""

    name: str
    lesson: str                  # the notebook, without its number
    judge: Judge
    hints: tuple[str, str]       # after the first wrong answer, and from the second on
    right: str                   # what is right about it
