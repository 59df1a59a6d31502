"""Claims about the article's Table 2: sizes of pictures."""

from __future__ import annotations

from liveavatar.study import released
from liveavatar.study.claims.judging import (
    Evidence,
    Verdict,
    all_of,
    better,
    claim,
    judged,
    needs_rows,
    same,
    student,
    untested,
)
from liveavatar.study.measures import LIPS, PSNR, WORK, usual_size
from liveavatar.study.table import Table


def of_sizes(evidence: Evidence) -> tuple[Table, list[str]]:
    """Return rows of all sizes, and the sizes from small to large."""
    rows = student(evidence, size=...)
    return rows, sorted(rows.distinct("size"), key=released.frame_tokens)


@claim("small-3", "Table 2", "At low resolution 3 steps are right: 4 over-fit noise.",
       "lips and face texture at the smallest size, 3 steps against 4: does a fourth step gain nothing?")
def judge_small_3(evidence: Evidence) -> Verdict:
    rows, sizes = of_sizes(evidence)
    if len(sizes) < 2:
        return untested("the table has one size only")
    return all_of(same(rows.where(size=sizes[0]), measure, {"steps": 3}, {"steps": 4},
                       (f"3 steps at {sizes[0]}", "4 steps")) for measure in (LIPS, PSNR))


@claim("size-first", "How to choose", "For speed lower the size first, not the steps.",
       "smallest size at 4 steps against the usual one at 3: less work, and lips no worse?")
def judge_size_first(evidence: Evidence) -> Verdict:
    rows, sizes = of_sizes(evidence)
    usual = usual_size(rows)
    if len(sizes) < 2 or sizes[0] == usual:
        return untested("the table has no size below the usual one")
    fewer, smaller = {"size": usual, "steps": 3}, {"size": sizes[0], "steps": 4}
    names = (f"3 steps at {usual}", f"4 steps at {sizes[0]}")
    return all_of([better(rows, WORK, fewer, smaller, names), same(rows, LIPS, smaller, fewer, names[::-1])])


@claim("golden", "Table 2", "688*368 with 4 steps is the golden combination.", "results of the 14B model at this size")
def judge_golden(evidence: Evidence) -> Verdict:
    return needs_rows(evidence, "videos of the 14B model", backend="wan-s2v-14b", size="688*368")


@claim("fits-80", "Table 2", "704*384 with 4 steps fits an 80 GB card; 5 steps run out of memory.",
       "weights of the released network and its caches, one for each step, from their shapes")
def judge_fits_80(evidence: Evidence) -> Verdict:
    size, card = evidence.reported["released"]["size"], evidence.reported["cards"]["h100_gib"]
    four, five = (released.needed_gib(size, steps) for steps in (4, 5))
    says = (f"weights {released.weights_gib():.1f} GiB, condition {released.condition_gib():.1f}, caches "
            f"{released.cache_gib(size):.2f} a step: {four:.1f} GiB at 4 steps, {five:.1f} at 5; the card has {card}")
    return judged(four < card < five, says, four=four, five=five)


@claim("five-cards-720", "Table 2", "720*400 runs on 5 GPUs only: sharding spreads the pressure.",
       "weights and 4 caches at 720*400 against the memory of one 80 GB card")
def judge_five_cards_720(evidence: Evidence) -> Verdict:
    card, needed = evidence.reported["cards"]["h100_gib"], released.needed_gib("720*400", 4)
    if needed < card:
        return judged(False, f"weights and 4 caches need {needed:.1f} GiB: one card of {card} GiB holds them",
                      needed=needed)
    return needs_rows(evidence, "5 GPUs", backend="wan-s2v-14b", size="720*400")
