"""Claims about the article's Table 1: time by number of steps."""

from __future__ import annotations

import numpy as np

from liveavatar.study.claims import measured
from liveavatar.study.claims.judging import agrees, lacking, student, unknown
from liveavatar.study.claims.levels import ARITHMETIC, ARTICLE, ON_14B, ON_MINI, SPEED, STUDY, Answer, Evidence, claim
from liveavatar.study.measures import WORK
from liveavatar.study.table import Table


def line_of_time(table: Table, column: str) -> tuple[float, float, float] | None:
    """Return time per frame = fixed + steps * per step, by least squares through the means; and the share it explains.
    """
    means = [(steps, found.mean) for steps, found in table.by("steps", column).items() if found.known]
    if len(means) < 3:
        return None
    steps, times = np.array(means, dtype=float).T
    slope, fixed = np.polyfit(steps, times, 1)
    spread = np.square(times - times.mean()).sum()
    return fixed, slope, 1 - np.square(times - fixed - slope * steps).sum() / spread if spread else 1.0


TIME_LINE = claim("time-line", "Table 1",
                  "Every step costs the same (63 ms): time grows in a straight line with steps.",
                  "the straight line is settled; the 63 ms need the name of the card, which the article does not give")


@TIME_LINE.asks(ON_14B, "do four steps and decoding, measured one by one, add up to a block within 5 %?", SPEED)
def judge_time_line_14b(evidence: Evidence) -> Answer:
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    row = measured.speed()[measured.BF16]
    step, decode, block = row["step_ms"], row["decode_ms"], row["block_ms"]
    parts = 4 * step + decode
    return Answer(abs(parts / block - 1) < 0.05,
                  f"each step runs the same network over as many numbers; on H200 four steps of {step:.0f} ms and "
                  f"{decode:.0f} ms of decoding make {parts:.0f} ms, a block took {block:.0f}",
                  {"step_ms": step, "block_ms": block})


@TIME_LINE.asks(ON_14B, "the time of a step for each frame, against 63 ms", SPEED)
def judge_63_ms(evidence: Evidence) -> Answer:
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    said = evidence.reported["steps"]["ms_of_a_step"]
    each = {name: measured.speed()[name]["step_ms"] / measured.BLOCK_FRAMES for name in (measured.BF16,
                                                                                         measured.FASTEST)}
    return unknown(f"one H200 takes {each[measured.BF16]:.0f} ms a frame for a step in bf16 and "
                   f"{each[measured.FASTEST]:.0f} in 8 bits; the article's {said} ms are of a card it does not name")


@TIME_LINE.asks(ON_MINI, "straight line through work per frame at all steps: does it explain 95 % of the differences?",
                STUDY)
def judge_time_line(evidence: Evidence) -> Answer:
    rows = student(evidence)
    line = None if lacking(rows, WORK) else line_of_time(rows, WORK.column)
    if line is None:
        return unknown("the table has too few numbers of steps")
    fixed, slope, explained = line
    says = f"{slope:.1f} ms a step and {fixed:.1f} ms besides; the line explains {explained:.1%} of the differences"
    return Answer(explained > 0.95 and slope > 0, says, {"per_step_ms": slope, "fixed_ms": fixed})


def share_of_time(evidence: Evidence, first: int, second: int, said: float) -> Answer:
    """Answer whether mini's work per frame changes by the share that is said, within 2 points."""
    rows = student(evidence)
    if missing := lacking(rows, WORK):
        return unknown(missing)
    change = rows.difference(WORK.column, {"steps": first}, {"steps": second}, relative=True)
    return agrees(change, said, 0.02, f"work per frame, {second} steps over {first}", "+.0%")


def share_on_14b(said: float) -> Answer:
    """Answer whether a step more or less changes the time of a whole block by `said` (a share), within 2 points."""
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    shares = [measured.share_of_a_step(name) for name in (measured.BF16, measured.FP8, measured.FASTEST)]
    return Answer(min(shares) - 0.02 <= said <= max(shares) + 0.02,
                  f"one H200, decoding included: a step is {min(shares):.0%} to {max(shares):.0%} of a block of four "
                  "steps (bf16 to 8 bits); of the denoising alone it is a quarter. Where another card decodes, a "
                  "quarter is right", {"least": min(shares), "most": max(shares)})


TIME_25 = claim("time-25-percent", "Table 1", "A fifth step costs 25 % more time.",
                "settled: it depends on whether decoding is counted")


@TIME_25.asks(ARITHMETIC, "five equal steps against four, denoising alone", ARTICLE)
def judge_fifth_of_denoising(evidence: Evidence) -> Answer:
    said = evidence.reported["steps"]["time_of_a_fifth_step"]
    return Answer(abs(5 / 4 - 1 - said) < 0.005, "five equal steps are 25 % more than four, where only steps are "
                                                 "counted")


@TIME_25.asks(ON_14B, "time of a measured step against that of a measured block of four: is it 25 %, within 2 points?",
              SPEED)
def judge_time_25_on_14b(evidence: Evidence) -> Answer:
    return share_on_14b(evidence.reported["steps"]["time_of_a_fifth_step"])


@TIME_25.asks(ON_MINI, "work per frame at 5 steps against 4: is it 25 % more, within 2 points?", STUDY)
def judge_time_25_percent(evidence: Evidence) -> Answer:
    return share_of_time(evidence, 4, 5, evidence.reported["steps"]["time_of_a_fifth_step"])


TIME_SAVED = claim("time-saved", "How to choose", "3 steps are about 25 % faster than 4.",
                   "settled: it depends on whether decoding is counted")


@TIME_SAVED.asks(ARITHMETIC, "three equal steps against four, denoising alone", ARTICLE)
def judge_fourth_of_denoising(evidence: Evidence) -> Answer:
    return Answer(abs(1 - 3 / 4 - evidence.reported["choices"]["time_saved_by_3_steps"]) < 0.005,
                  "three equal steps take 25 % less time than four, where only steps are counted")


@TIME_SAVED.asks(ON_14B, "time of a measured step against that of a measured block of four: is it 25 %, within 2 "
                         "points?", SPEED)
def judge_time_saved_on_14b(evidence: Evidence) -> Answer:
    return share_on_14b(evidence.reported["choices"]["time_saved_by_3_steps"])


@TIME_SAVED.asks(ON_MINI, "work per frame at 3 steps against 4: is it 25 % less, within 2 points?", STUDY)
def judge_time_saved(evidence: Evidence) -> Answer:
    return share_of_time(evidence, 4, 3, -evidence.reported["choices"]["time_saved_by_3_steps"])


TIME_NO_REST = claim("time-no-rest", "Table 1", "Time is steps alone: 182 = 3 x 63, 245 = 4 x 63.",
                     "settled by the article's own table and by measurement")


@TIME_NO_REST.asks(ARITHMETIC, "the article's own table: what is left of its time per frame at no steps", ARTICLE)
def judge_rest_of_table(evidence: Evidence) -> Answer:
    rows, each = evidence.reported["steps"]["rows"], evidence.reported["steps"]["ms_of_a_step"]
    _, fixed = np.polyfit([row["steps"] for row in rows], [row["ms_per_frame"] for row in rows], 1)
    exact = all(abs(row["steps"] * each / row["ms_per_frame"] - 1) < 0.02 for row in rows)
    return Answer(exact, f"3 x {each} is {3 * each}, not 182; the line through the table leaves {fixed:.0f} ms a frame "
                         "to decoding, and no time can be negative", {"reported_fixed_ms": fixed})


@TIME_NO_REST.asks(ON_14B, "the share of decoding in a block of four steps: is it below 5 %?", SPEED)
def judge_rest_on_14b(evidence: Evidence) -> Answer:
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    shares = [row["decode_ms"] / row["block_ms"] for row in (measured.speed()[name] for name in (measured.BF16,
                                                                                                 measured.FASTEST))]
    return Answer(max(shares) < 0.05, f"decoding is {shares[0]:.0%} of a block on one H200 in bf16, {shares[1]:.0%} in "
                                      "8 bits", {"least": min(shares), "most": max(shares)})


@TIME_NO_REST.asks(ON_MINI, "what is not steps, by the straight line through work per frame: is it below 5 % at 4 "
                            "steps?", STUDY)
def judge_time_no_rest(evidence: Evidence) -> Answer:
    line = None if lacking(student(evidence), WORK) else line_of_time(student(evidence), WORK.column)
    if line is None:
        return unknown("the table has too few numbers of steps")
    share = line[0] / (line[0] + 4 * line[1])
    return Answer(abs(share) < 0.05, f"what is not steps is {share:.0%} of the time at 4 steps",
                  {"measured_share": share})
