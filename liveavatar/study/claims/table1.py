"""Claims about the article's Table 1: quality and time by number of steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from liveavatar.study.claims import measured
from liveavatar.study.claims.judging import (
    agrees,
    all_of,
    any_of,
    better,
    compared,
    difference,
    lacking,
    same,
    student,
    unknown,
)
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    ARTICLE,
    ON_14B,
    ON_MINI,
    SPEED,
    STUDY,
    Answer,
    Evidence,
    Figure,
    claim,
)
from liveavatar.study.measures import EARS, JERK, LIPS, PICTURE, PSNR, TEXTURE, WORK
from liveavatar.study.plan import RICH
from liveavatar.study.table import Table

REAL = "the released weights on a GPU, by `python -m liveavatar.study.real` (docs/real-study.md)"


def of_table_1(evidence: Evidence, column: str, steps: int) -> float:
    return next(row[column] for row in evidence.reported["steps"]["rows"] if row["steps"] == steps)


# ------------------------------------------------------------------------------------------- lips and pictures

LIPS_3_4 = claim("lips-3-4", "Table 1", "A fourth step brings the lips from +-3.2 to +-1.8 frames.",
                 f"{REAL}: delay of the lips, and how they follow the loudness, at 3 and 4 steps. The article does not "
                 "say how it measured, so its own figures can be matched in kind only")


@LIPS_3_4.asks(ON_MINI, "lip error of the student at 4 steps against 3", STUDY)
def judge_lips_3_4(evidence: Evidence) -> Answer:
    return better(student(evidence), LIPS, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


LIPS_ABOVE_4 = claim("lips-above-4", "Table 1", "Beyond 4 steps the lips hardly gain.",
                     f"{REAL}: the same measures at 4, 5 and 6 steps")


@LIPS_ABOVE_4.asks(ON_MINI, "lip error at 6 steps against 4", STUDY)
def judge_lips_above_4(evidence: Evidence) -> Answer:
    return same(student(evidence), LIPS, {"steps": 4}, {"steps": 6}, ("4 steps", "6 steps"))


LIPS_SIZE = claim("lips-size", "Table 1", "Lips are off by about 2 frames at 4 steps.",
                  f"{REAL}, on recordings whose sounds are timed by hand; and the article's own way of measuring")


@LIPS_SIZE.asks(ON_MINI, "the interval of the student's lip error at 4 steps against the article's figure", STUDY)
def judge_lips_size(evidence: Evidence) -> Answer:
    rows = student(evidence, steps=4)
    if missing := lacking(rows, LIPS):
        return unknown(missing)
    said = of_table_1(evidence, "lip_error_frames", 4)
    return agrees(rows.estimate(LIPS.column), said, LIPS.worth, "lip error at 4 steps", ".2g", "frames")


PSNR_3_4 = claim("psnr-3-4", "Table 1", "A fourth step lifts face texture from 28.1 to 30.7 dB.",
                 "what the article compared with: PSNR needs a true video of the same person saying the same, and the "
                 "article names none. Besides, PSNR rewards the mean of all likely pictures more than a sharp one")


@PSNR_3_4.asks(ON_MINI, "face PSNR against the true rendering at 4 steps against 3", STUDY)
def judge_psnr_3_4(evidence: Evidence) -> Answer:
    return better(student(evidence), PSNR, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


TEXTURE_37 = claim("texture-37", "Table 1", "4 steps keep 37 % more facial texture than 3.",
                   f"a definition of texture, which the article does not give; then {REAL}: fine detail of the face at "
                   "3 and 4 steps")


@TEXTURE_37.asks(ON_MINI, "texture kept at 4 steps against 3, as a share of that at 3: does the interval reach 37 %?",
                 STUDY)
def judge_texture_37(evidence: Evidence) -> Answer:
    rows, said = student(evidence), evidence.reported["steps"]["texture_gain_4_over_3"]
    if missing := lacking(rows, TEXTURE):
        return unknown(missing)
    gain = rows.difference(TEXTURE.column, {"steps": 3}, {"steps": 4}, relative=True)
    return agrees(gain, said, 0.05, "texture kept, 4 steps over 3", "+.0%")


PSNR_6 = claim("psnr-6-percent", "Table 1", "Step 5 and later add about 6 % PSNR.",
               "settled by the article's own table")


@PSNR_6.asks(ARITHMETIC, "the article's own table: 30.7 dB at 4 steps, 31.2 at 5, 31.4 at 6", ARTICLE)
def judge_psnr_6_percent(evidence: Evidence) -> Answer:
    said = evidence.reported["steps"]["psnr_gain_of_a_fifth_step"]
    gains = [of_table_1(evidence, "face_psnr_db", steps) / of_table_1(evidence, "face_psnr_db", 4) - 1
             for steps in (5, 6)]
    return Answer(max(gains) > 0.75 * said,
                  f"the text says {said:.0%}, the table beside it gives {gains[0]:.1%} for the fifth step and "
                  f"{gains[1]:.1%} for two more", {"of_table": max(gains)})


PSNR_ABOVE_4 = claim("psnr-above-4", "Table 1", "Step 5 and later still add texture.",
                     f"{REAL}: fine detail of the face at 4, 5 and 6 steps")


@PSNR_ABOVE_4.asks(ON_MINI, "face PSNR and texture kept at 5 and at 6 steps against 4: is either better?", STUDY)
def judge_psnr_above_4(evidence: Evidence) -> Answer:
    return any_of(all_of(better(student(evidence), measure, {"steps": 4}, {"steps": steps},
                                ("4 steps", f"{steps} steps")) for steps in (5, 6)) for measure in PICTURE)


HANDS = claim("hands", "Table 1", "Hands move more smoothly with every step from 3 to 6.",
              "a definition of the article's jerk index; then the released weights and a reader of hands, which "
              "`liveavatar.study.real` does not have")


@HANDS.asks(ON_MINI, "jerk (log dimensionless) of gesturing hands at each number of steps from 4 to 6 against one step "
                     "less; the article's own index is undefined", STUDY)
def judge_hands(evidence: Evidence) -> Answer:
    rows = student(evidence, prompt=RICH, seed=...)
    counts = [steps for steps in rows.distinct("steps") if 3 <= steps <= 6]
    if len(counts) < 2:
        return unknown("the table has no gesturing hands at 3 to 6 steps")
    return all_of(better(rows, JERK, {"steps": before}, {"steps": steps}, (f"{before} steps", f"{steps} steps"))
                  for before, steps in pairwise(counts))


# ------------------------------------------------------------------------------------------- time

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


# ------------------------------------------------------------------------------------------- the knee, flicker, blur

KNEE = claim("knee", "Table 1", "4 is the knee: the last step that is worth its time.",
             f"{REAL}: the last step that gains lips, detail or steadiness. Only whoever trains students for other "
             "numbers of steps can say what the best 3-step or 5-step student would do")


@KNEE.asks(ON_MINI, "the last step whose gain in lips, face PSNR or texture over one step less cannot be zero and "
                    "matters", STUDY)
def judge_knee(evidence: Evidence) -> Answer:
    rows = student(evidence)
    if missing := lacking(rows, LIPS):
        return unknown(missing)
    counts = rows.distinct("steps")
    if len(counts) < 4:
        return unknown("the table has too few numbers of steps")
    worth_it, unclear, figures = [], [], []
    for before, steps in pairwise(counts):
        gains = [(measure, *difference(rows, measure, {"steps": before}, {"steps": steps},
                                       (f"{before}", f"{steps} steps")))
                 for measure in (LIPS, *PICTURE) if not lacking(rows, measure)]
        figures += [answer.figures[0] for _, _, answer in gains]
        if any(gain.bounded and gain.low > 0 and gain.mean > measure.worth for measure, gain, _ in gains):
            worth_it.append(steps)
        elif any(not gain.bounded or gain.high > measure.worth for measure, gain, _ in gains):
            unclear.append(steps)
    last = max(worth_it, default=min(counts))
    later = [steps for steps in unclear if steps > last]
    says = f"the last step that gains anything that matters is number {last}"
    if last < 4 <= max(later, default=0):
        return Answer(None, f"{says}; of {', '.join(map(str, later))} there are too few videos to say",
                      {"knee": last}, tuple(figures))
    return Answer(last == 4, says, {"knee": last}, tuple(figures))


FLICKER = claim("flicker", "Table 1", "More than 4 steps bring periodic flicker (ear lobes).",
                f"{REAL}: flicker of brightness at 4, 5, 6 and 8 steps; ear lobes need a mask by hand")


@FLICKER.asks(ON_MINI, "strongest regular flicker of the ear lobes at 5, 6 and 8 steps against 4: is any of them "
                       "worse?", STUDY)
def judge_flicker(evidence: Evidence) -> Answer:
    rows = student(evidence)
    if missing := lacking(rows, EARS):
        return unknown(missing)
    found = {steps: compared(rows, EARS, {"steps": steps}, {"steps": 4}) for steps in (5, 6, 8)}
    found = {steps: more for steps, more in found.items() if more.bounded}
    if not found:
        return unknown("the table has no two videos of more than 4 steps")
    figures = tuple(Figure(f"{EARS.label}: {steps} steps over 4", more, EARS.unit, EARS.worth)
                    for steps, more in found.items())
    if worse := [steps for steps, more in found.items() if more.low > 0 and more.mean > EARS.worth]:
        return Answer(True, f"ear lobes flicker more at {', '.join(map(str, worse))} steps than at 4", {}, figures)
    if all(more.high < EARS.worth for more in found.values()):
        return Answer(False, "ear lobes do not flicker more above 4 steps by anything that matters", {}, figures)
    return Answer(None, "too few videos: between no change and a change that matters", {}, figures)


BLUR_3 = claim("blur-3", "Table 1", "3 steps blur hands and hair.",
               f"{REAL}: fine detail of the face at 3 and 4 steps; hands and hair by eye, side by side")


@BLUR_3.asks(ON_MINI, "texture kept at 3 steps against 4: is it less?", STUDY)
def judge_blur_3(evidence: Evidence) -> Answer:
    return better(student(evidence), TEXTURE, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))

