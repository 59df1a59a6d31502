"""What rows of the released weights say of the claims that are open without them (`liveavatar.study.real`).

No such rows are part of this project yet: each question then answers that nobody has sent any. With
benchmarks/results/real_study.csv in its place the same judges decide, at the level "measured on the 14B".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from liveavatar.study.claims import choices, model, sizes, table1
from liveavatar.study.claims.judging import all_of, any_of, better, same, unknown
from liveavatar.study.claims.levels import NONE_YET, ON_14B, Answer, Claim, Evidence, Source
from liveavatar.study.measures import (
    FACE_DETAIL,
    FACE_FLICKER,
    FACE_FOLLOWS,
    FACE_IDENTITY,
    FACE_LATE,
    FACE_MOUTH,
    usual_size,
)
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.table import Table

ROWS = Source("the study of the released weights", "docs/real-study.md")
LIPS = (FACE_LATE, FACE_FOLLOWS)
DETAIL = (FACE_DETAIL, FACE_MOUTH)
SMALL, LARGE = "384*256", "704*384"

Rows = Callable[[Evidence], Table]
Parts = Callable[[Table], Iterator[Answer]]


def videos(prompt: str | tuple[str, ...] | None = None, size: str | None = None, model: str = "student",
           clean: str | None = "", noise: bool = False) -> Rows:
    """Return a function that chooses finished videos. prompt None: neither the rich nor the poor one; size None: that
    of most videos, "": any; noise: noisy recordings too; clean None: cleaned ones too."""
    def said(words: str) -> bool:
        return words not in (RICH, POOR) if prompt is None else words in prompt

    def choose(evidence: Evidence) -> Table:
        rows = evidence.released.finished
        if not len(rows):
            return rows
        rows = rows.where(model=model) if model else rows
        kept = usual_size(rows) if size is None else size
        return Table([row for row in rows if said(row["prompt"]) and kept in ("", row["size"])
                      and (noise or row["noise_db"] is None) and clean in (None, row["clean"])])
    return choose


def asks(claim: Claim, test: str, rows: Rows, parts: Parts, join: Callable = all_of) -> None:
    """Enter a question about rows of the released weights. parts: rows -> answers, joined by `join`."""
    def judge(evidence: Evidence) -> Answer:
        found = rows(evidence)
        return join(parts(found)) if len(found) else unknown(NONE_YET)
    claim.asks(ON_14B, f"the released weights: {test}", ROWS)(judge)


def steps(number: int) -> str:
    return f"{number} steps"


def gains(measures: tuple, first: int, *later: int) -> Parts:
    """Return a function: is each of `later` numbers of steps better than `first`, by each measure?"""
    return lambda rows: (better(rows, measure, {"steps": first}, {"steps": number}, (steps(first), steps(number)))
                         for measure in measures for number in later)


def alike(measures: tuple, first: dict, second: dict, names: tuple[str, str]) -> Parts:
    """Return a function: does `second` gain nothing over `first`, by each measure?"""
    return lambda rows: (same(rows, measure, first, second, names) for measure in measures)


def improves(measures: tuple, first: dict, second: dict, names: tuple[str, str]) -> Parts:
    """Return a function: is `second` better than `first`, by each measure?"""
    return lambda rows: (better(rows, measure, first, second, names) for measure in measures)


asks(table1.LIPS_3_4, "are lips nearer in time, or nearer to the loudness, at 4 steps than at 3?", videos(),
     gains(LIPS, 3, 4), any_of)
asks(table1.LIPS_ABOVE_4, "do lips gain nothing from 4 to 6 steps?", videos(),
     alike(LIPS, {"steps": 4}, {"steps": 6}, (steps(4), steps(6))))
asks(table1.PSNR_ABOVE_4, "have eyes or mouth more fine detail at 5 and 6 steps than at 4?", videos(),
     lambda rows: (all_of(gains((measure,), 4, 5, 6)(rows)) for measure in DETAIL), any_of)
asks(table1.FLICKER, "does brightness flicker more at 5 or 6 steps than at 4?", videos(),
     lambda rows: (better(rows, FACE_FLICKER, {"steps": number}, {"steps": 4}, (steps(number), steps(4)))
                   for number in (5, 6)), any_of)
asks(table1.KNEE, "is a step up to 4 still better than one less, in lips or detail, and none after it?", videos(),
     lambda rows: (any_of(gains((*LIPS, *DETAIL), 3, 4)(rows)),
                   *(same(rows, measure, {"steps": before}, {"steps": before + 1}, (steps(before), steps(before + 1)))
                     for before in (4, 5) for measure in (*LIPS, *DETAIL))))
asks(sizes.SMALL_3, f"at {SMALL}, does a fourth step gain nothing in lips and detail?", videos(size=SMALL),
     alike((*LIPS, *DETAIL), {"steps": 3}, {"steps": 4}, (steps(3), steps(4))))
asks(sizes.SIZE_FIRST, f"are lips at {SMALL} and 4 steps no worse than at {LARGE} and 3?", videos(size=""),
     alike(LIPS, {"size": SMALL, "steps": 4}, {"size": LARGE, "steps": 3},
           (f"4 steps at {SMALL}", f"3 steps at {LARGE}")))
asks(model.FEW_STEPS, "does the base at 16 steps with guidance gain nothing over the student at 4?", videos(model=""),
     alike((*LIPS, *DETAIL), {"model": "student", "steps": 4}, {"model": "teacher", "steps": 16},
           ("the student at 4 steps", "the base at 16")))
asks(model.TEACHER, "is the base better at 16 steps than at 4?", videos(model="teacher"),
     gains((*LIPS, *DETAIL), 4, 16), any_of)
asks(choices.RICH_STEPS, "rich prompt: do 6 steps gain nothing over 4?", videos((RICH,)),
     alike((*LIPS, *DETAIL), {"steps": 4}, {"steps": 6}, (steps(4), steps(6))))
asks(choices.POOR_DRIFTS, "does the face change less under the rich prompt, at 4 steps?", videos((RICH, POOR)),
     improves((FACE_IDENTITY,), {"prompt": POOR, "steps": 4}, {"prompt": RICH, "steps": 4},
              ("the poor prompt", "the rich prompt")))
asks(choices.POOR_STIFF, "poor prompt: does the face change less at 4 steps than at 6?", videos((POOR,)),
     improves((FACE_IDENTITY,), {"steps": 6}, {"steps": 4}, (steps(6), steps(4))))
asks(choices.NOISE_HURTS, "do lips follow a clean recording better than the noisiest, at 4 steps?",
     videos(noise=True), lambda rows: noisy(rows, {"noise_db": None, "clean": ""}, "a clean recording"), any_of)
asks(choices.CLEANING_HELPS, "does the article's recipe help lips with the noisiest recordings, at 4 steps?",
     videos(noise=True, clean=None), lambda rows: noisy(rows, {"clean": "noisereduce"}, "the article's recipe"), any_of)


def noisy(rows: Table, second: dict, name: str) -> Iterator[Answer]:
    """Yield whether `second` is better than the noisiest recordings left alone, at 4 steps."""
    at_4 = rows.where(steps=4)
    levels = at_4.distinct("noise_db")
    if not levels:
        yield unknown("there are no noisy recordings")
        return
    first = {"noise_db": levels[0], "clean": ""}
    second = {"noise_db": levels[0]} | second
    for measure in LIPS:
        yield better(at_4, measure, first, second, (f"noise at {levels[0]:g} dB left alone", name))


def after_steps(evidence: Evidence) -> Table:
    """Return predictions after each of four steps of the student."""
    rows = evidence.released
    return Table(list(rows.where(model="student", steps=4).guesses)) if len(rows) else rows


asks(model.LAST_STEP, "is the finished video better than the prediction before the last of 4 steps?", after_steps,
     improves((*LIPS, *DETAIL), {"after_step": 2}, {"after_step": 3},
              ("the prediction after 3 steps", "the finished video")), any_of)
asks(model.EVEN_STEPS, "is the finished video better than the prediction before the last of 4 steps?", after_steps,
     improves((*LIPS, *DETAIL), {"after_step": 2}, {"after_step": 3},
              ("the prediction after 3 steps", "the finished video")), any_of)
