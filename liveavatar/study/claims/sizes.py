"""Claims about the article's Table 2: sizes of pictures."""

from __future__ import annotations

from liveavatar.study import released
from liveavatar.study.claims import measured
from liveavatar.study.claims.judging import all_of, better, same, student, unknown
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    MEMORY,
    ON_14B,
    ON_MINI,
    SHAPES,
    STUDY,
    Answer,
    Evidence,
    claim,
)
from liveavatar.study.claims.table1 import REAL
from liveavatar.study.measures import LIPS, PICTURE, WORK, usual_size
from liveavatar.study.table import Table


def of_sizes(evidence: Evidence) -> tuple[Table, list[str]]:
    """Return rows of all sizes, and the sizes from small to large."""
    rows = student(evidence, size=...)
    return rows, sorted(rows.distinct("size"), key=released.frame_tokens)


SMALL_3 = claim("small-3", "Table 2", "At low resolution 3 steps are right: 4 over-fit noise.",
                f"{REAL} with --size 384*256: lips and detail at 3 and 4 steps")


@SMALL_3.asks(ON_MINI, "lips, face PSNR and texture at the smallest size, 3 steps against 4: does a fourth step gain "
                       "nothing?", STUDY)
def judge_small_3(evidence: Evidence) -> Answer:
    rows, sizes = of_sizes(evidence)
    if len(sizes) < 2:
        return unknown("the table has one size only")
    return all_of(same(rows.where(size=sizes[0]), measure, {"steps": 3}, {"steps": 4},
                       (f"3 steps at {sizes[0]}", f"4 steps at {sizes[0]}")) for measure in (LIPS, *PICTURE))


SIZE_FIRST = claim("size-first", "How to choose", "For speed lower the size first, not the steps.",
                   f"that it is faster is settled; what is lost: {REAL} with --size 384*256 704*384")


@SIZE_FIRST.asks(ARITHMETIC, "operations of a clip at 384*256 and 4 steps against 704*384 and 3: are they fewer?",
                 SHAPES)
def judge_size_first_operations(evidence: Evidence) -> Answer:
    small, large = released.clip_petaflop("384*256", 48, 4), released.clip_petaflop("704*384", 48, 3)
    return Answer(small < large, f"four steps at 384*256 ask for {small:.2f} x 10^15 operations a clip, three steps at "
                                 f"704*384 for {large:.2f}: the smaller size saves more time", {"share": small / large})


@SIZE_FIRST.asks(ON_MINI, "smallest size at 4 steps against the usual one at 3: less work, and lips no worse?", STUDY)
def judge_size_first(evidence: Evidence) -> Answer:
    rows, sizes = of_sizes(evidence)
    usual = usual_size(rows)
    if len(sizes) < 2 or sizes[0] == usual:
        return unknown("the table has no size below the usual one")
    fewer, smaller = {"size": usual, "steps": 3}, {"size": sizes[0], "steps": 4}
    names = (f"3 steps at {usual}", f"4 steps at {sizes[0]}")
    return all_of([better(rows, WORK, fewer, smaller, names), same(rows, LIPS, smaller, fewer, names[::-1])])


GOLDEN = claim("golden", "Table 2", "688*368 with 4 steps is the golden combination.",
               f"{REAL} with --size 688*368 beside the other sizes; and somebody's idea of golden")


@GOLDEN.asks(ARITHMETIC, "the size that the released rule makes of 688*368 for a picture of 16 : 9", SHAPES)
def judge_golden(evidence: Evidence) -> Answer:
    from liveavatar.conditions import released_size

    height, width = released_size(1080, 1920, (368, 688))
    return unknown(f"the released program rounds sides to multiples of 64: of a 16 : 9 portrait 688*368 makes "
                   f"{width}*{height}. Which combination looks best needs trained weights")


FITS_80 = claim("fits-80", "Table 2", "704*384 with 4 steps fits an 80 GB card; 5 steps run out of memory.",
                "settled: true in bf16; with weights in 8 bits 5 steps fit as well")


@FITS_80.asks(ARITHMETIC, "weights of the released network and its caches, one for each step, from their shapes, bf16",
              SHAPES)
def judge_fits_80(evidence: Evidence) -> Answer:
    size, card = evidence.reported["released"]["size"], evidence.reported["cards"]["h100_gib"]
    four, five = (released.needed_gib(size, steps) for steps in (4, 5))
    says = (f"weights {released.weights_gib():.1f} GiB, condition {released.condition_gib():.1f}, caches "
            f"{released.cache_gib(size):.2f} a step: {four:.1f} GiB at 4 steps, {five:.1f} at 5, before anything else; "
            f"the card has {card}")
    return Answer(four < card < five, says, {"four": four, "five": five})


@FITS_80.asks(ON_14B, "the most memory on H200, 704*384, bf16, at 4 and 5 steps, against 80 GiB", MEMORY)
def judge_fits_80_measured(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    card = evidence.reported["cards"]["h100_gib"]
    four, five = (found["bf16", "704*384", steps]["peak"] for steps in (4, 5))
    return Answer(four < card < five, f"in bf16 {four:.1f} GiB at 4 steps, {five:.1f} at 5",
                  {"four": four, "five": five})


@FITS_80.asks(ON_14B, "the same with weights in 8 bits", MEMORY)
def judge_fits_80_in_8_bits(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    card = evidence.reported["cards"]["h100_gib"]
    four, five = (found["fp8", "704*384", steps]["peak"] for steps in (4, 5))
    return Answer(four < card < five, f"with weights in 8 bits {four:.1f} GiB at 4 steps, {five:.1f} at 5: both fit",
                  {"five_fp8": five})


FIVE_CARDS_720 = claim("five-cards-720", "Table 2", "720*400 runs on 5 GPUs only: sharding spreads the pressure.",
                       "settled: a card of more than 80 GB, or weights in 8 bits, does it alone. One card of 80 GB in "
                       "bf16 is too close to tell without trying")


@FIVE_CARDS_720.asks(ARITHMETIC, "weights, condition and 4 caches at 720*400, and what 704*384 took besides on H200, "
                                 "against one card of 141 GB", SHAPES)
def judge_five_cards_720(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    besides = found["bf16", "704*384", 4]["peak"] - released.needed_gib("704*384", 4)
    needed, card = released.needed_gib("720*400", 4) + besides, evidence.reported["cards"]["h200_gib"]
    return Answer(needed >= card, f"about {needed:.0f} GiB are needed in bf16: one H200 of {card} GiB holds them, a "
                                  "card of 80 GB hardly", {"needed": needed})
