"""Every claim of the article, and what is known of it. No verdict is written down: each is computed.

    judge_all(table)["lips-3-4"] -> Verdict(verdict, findings)

    levels      what counts as evidence of what: arithmetic, the 14B measured, mini measured, published by others
    judging     ways to compare rows of a table
    measured    what was measured of the 14B on H200
    model, table1, times, sizes, memory, streaming, choices     the claims, part by part
    trained     what rows of the released weights would say of them
    page        all of it as a web page, for notebooks and as a file, and as Markdown
"""

from __future__ import annotations

from liveavatar.study.claims import choices, levels, memory, model, sizes, streaming, table1, times, trained
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    CONFIRMED,
    DEPENDS,
    LEVELS,
    MINI_ANSWERS,
    NO,
    ON_14B,
    ON_MINI,
    OPEN,
    PARTLY_OPEN,
    PUBLISHED,
    REFUTED,
    TOO_FEW,
    VERDICTS,
    YES,
    Claim,
    Evidence,
    Finding,
    Verdict,
)
from liveavatar.study.table import Table

__all__ = ["ARITHMETIC", "CLAIMS", "CONFIRMED", "DEPENDS", "LEVELS", "MINI_ANSWERS", "NO", "ON_14B", "ON_MINI", "OPEN",
           "PARTLY_OPEN", "PARTS", "PUBLISHED", "REFUTED", "TOO_FEW", "VERDICTS", "YES", "Claim", "Evidence", "Finding",
           "Verdict", "judge_all"]

PARTS = ("What it is", "Table 1", "Table 2", "Memory", "Streaming", "How to choose")      # of the article, in its order
_MODULES = (model, table1, times, sizes, memory, streaming, choices, trained)         # each enters claims or questions

CLAIMS: list[Claim] = sorted(levels.CLAIMS, key=lambda claim: PARTS.index(claim.part))


def judge_all(table: Table) -> dict[str, Verdict]:
    """Judge every claim; return claim name -> verdict, in the order of the article."""
    evidence = Evidence.of(table)
    return {one.name: one.judge(evidence) for one in CLAIMS}
