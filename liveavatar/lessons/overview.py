"""Show a learner's progress: a line for each lesson, with what is solved and what is open."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from liveavatar.lessons.exercises import EXERCISES
from liveavatar.lessons.records import Attempts, read_progress


@dataclass(frozen=True)
class Progress:
    """The exercises of all lessons, and what is known of each: a table in a notebook and as text."""

    attempts: dict[str, Attempts]            # of those that were tried, by their names

    @property
    def lessons(self) -> dict[str, tuple[str, ...]]:
        """Return {lesson: names of its exercises}, in the order of teaching."""
        return {lesson: tuple(name for name, one in EXERCISES.items() if one.lesson == lesson)
                for lesson in dict.fromkeys(one.lesson for one in EXERCISES.values())}

    @property
    def solved(self) -> tuple[str, ...]:
        """Return the names of the exercises that are solved."""
        return tuple(name for name in EXERCISES if self.is_solved(name))

    def is_solved(self, name: str) -> bool:
        """Tell whether an exercise was ever answered rightly."""
        return bool(self.attempts.get(name, Attempts()).solved)

    def state(self, name: str) -> str:
        """Return "solved", "solved, wrong once before", "wrong twice so far" or "open"."""
        one = self.attempts.get(name, Attempts())
        failed = "once" if one.failed == 1 else "twice" if one.failed == 2 else f"{one.failed} times"
        if one.solved:
            return f"solved, wrong {failed} before" if one.failed else "solved"
        return f"wrong {failed} so far" if one.failed else "open"

    def __str__(self) -> str:
        lines = [f"{len(self.solved)} of {len(EXERCISES)} exercises are solved"]
        for lesson, names in self.lessons.items():
            done = sum(map(self.is_solved, names))
            lines.append(f"{lesson:18}{done} of {len(names)}   " +
                         ", ".join(f"{name} ({self.state(name)})" for name in names))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table as HTML, with headings that screen readers announce."""
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(lesson.replace("_", " "))}</th>'
            f'<td style="text-align:left">{sum(map(self.is_solved, names))} of {len(names)}</td>'
            f'<td style="text-align:left">{"".join(self._mark(name) for name in names)}</td></tr>'
            for lesson, names in self.lessons.items())
        said = f"{len(self.solved)} of {len(EXERCISES)} exercises are solved"
        return (f'<table><caption style="text-align:left;color:inherit">{said}</caption><thead>'
                '<tr><th scope="col" style="text-align:left">lesson</th>'
                '<th scope="col" style="text-align:left">solved</th>'
                '<th scope="col" style="text-align:left">exercises</th></tr></thead>'
                f'<tbody>{rows}</tbody></table>')

    def _mark(self, name: str) -> str:
        sign = "&#10003;" if self.is_solved(name) else "&#9675;"
        return (f'<span style="white-space:nowrap;margin-right:1.2em" title="{escape(self.state(name))}">{sign} '
                f'{escape(name)}</span> ')


def progress() -> Progress:
    """Return the learner's progress; as the last line of a cell it is shown as a table."""
    return Progress(read_progress())
