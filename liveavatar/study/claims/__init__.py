"""Every claim of the article, and what the results say of it. No verdict is written down: each is computed.

    claim.judge(Evidence(table)) -> Verdict("confirmed" | "refuted" | "cannot be tested here", why)

Three kinds of evidence: rows of the table (mini), what follows from the released network's shape (`released`), and
the article's own figures, where it contradicts itself. Where results are rows of mini, a claim is judged for mini.
Differences are taken person by person from the same noise, with 95 % intervals (see `table`):

    better     the interval lies on the better side of zero, and its mean matters (`Measure.worth`): confirmed; it holds
               no gain that matters: refuted; else the results are too few to say
    the same   the other way round
    a figure   it lies outside the interval, widened by a little room: refuted; inside a narrow one: confirmed; else too
               few
"""

from __future__ import annotations

from liveavatar.study.claims import choices, memory, sizes, streaming, table1
from liveavatar.study.claims.judging import (
    CONFIRMED,
    REFUTED,
    REGISTERED,
    UNTESTED,
    VERDICTS,
    Claim,
    Evidence,
    Verdict,
)
from liveavatar.study.table import Table

__all__ = ["CLAIMS", "CONFIRMED", "REFUTED", "UNTESTED", "VERDICTS", "Claim", "Evidence", "Verdict", "judge_all"]

CLAIMS: list[Claim] = [claim for part in (table1, sizes, memory, streaming, choices)       # in the article's order
                       for claim in REGISTERED if claim.judge.__module__ == part.__name__]


def judge_all(table: Table) -> dict[str, Verdict]:
    """Judge every claim; return claim name -> verdict, in the order of the article."""
    evidence = Evidence(table)
    return {one.name: one.judge(evidence) for one in CLAIMS}
