"""Claims about the article's Table 1, quality and time by number of steps, and about what the model is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from liveavatar.study.claims.judging import (
    IDLE_SHARE,
    Evidence,
    Verdict,
    agrees,
    all_of,
    any_of,
    better,
    claim,
    compared,
    judged,
    lacking,
    same,
    student,
    untested,
)
from liveavatar.study.measures import EARS, JERK, LIPS, PSNR, TEXTURE, WORK, usual
from liveavatar.study.plan import RICH
from liveavatar.study.table import Table


def of_table_1(evidence: Evidence, column: str, steps: int) -> float:
    return next(row[column] for row in evidence.reported["steps"]["rows"] if row["steps"] == steps)


@claim("lips-3-4", "Table 1", "A fourth step brings the lips from +-3.2 to +-1.8 frames.",
       "lip error of the student at 4 steps against 3")
def judge_lips_3_4(evidence: Evidence) -> Verdict:
    return better(student(evidence), LIPS, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


@claim("lips-above-4", "Table 1", "Beyond 4 steps the lips hardly gain.", "lip error at 6 steps against 4")
def judge_lips_above_4(evidence: Evidence) -> Verdict:
    return same(student(evidence), LIPS, {"steps": 4}, {"steps": 6}, ("4 steps", "6 steps"))


@claim("lips-size", "Table 1", "Lips are off by about 2 frames at 4 steps.",
       "the interval of the student's lip error at 4 steps against the article's figure")
def judge_lips_size(evidence: Evidence) -> Verdict:
    rows = student(evidence, steps=4)
    if missing := lacking(rows, LIPS):
        return untested(missing)
    found, said = rows.estimate(LIPS.column), of_table_1(evidence, "lip_error_frames", 4)
    return agrees(found, said, LIPS.worth, f"reported {said:g} frames, measured {found:.2f} frames")


@claim("psnr-3-4", "Table 1", "A fourth step lifts face texture from 28.1 to 30.7 dB.",
       "face PSNR at 4 steps against 3")
def judge_psnr_3_4(evidence: Evidence) -> Verdict:
    return better(student(evidence), PSNR, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


@claim("texture-37", "Table 1", "4 steps keep 37 % more facial texture than 3.",
       "texture kept at 4 steps against 3, as a share of that at 3: does the interval reach 37 %?")
def judge_texture_37(evidence: Evidence) -> Verdict:
    rows, said = student(evidence), evidence.reported["steps"]["texture_gain_4_over_3"]
    if missing := lacking(rows, TEXTURE):
        return untested(missing)
    gain = rows.difference(TEXTURE.column, {"steps": 3}, {"steps": 4}, relative=True)
    return agrees(gain, said, 0.05, f"reported {said:.0%} more, measured {gain:.1%} more")


@claim("psnr-6-percent", "Table 1", "Step 5 and later add about 6 % PSNR.",
       "the article's own table: 30.7 dB at 4 steps, 31.2 at 5, 31.4 at 6")
def judge_psnr_6_percent(evidence: Evidence) -> Verdict:
    said = evidence.reported["steps"]["psnr_gain_of_a_fifth_step"]
    gains = [of_table_1(evidence, "face_psnr_db", steps) / of_table_1(evidence, "face_psnr_db", 4) - 1
             for steps in (5, 6)]
    return judged(max(gains) > 0.75 * said, f"said {said:.0%}, its own table gives {gains[0]:.1%} for the fifth step "
                                            f"and {gains[1]:.1%} for two more", of_table=max(gains))


@claim("psnr-above-4", "Table 1", "Step 5 and later still add texture.", "face PSNR at 5 and at 6 steps against 4")
def judge_psnr_above_4(evidence: Evidence) -> Verdict:
    return all_of(better(student(evidence), PSNR, {"steps": 4}, {"steps": steps}, ("4 steps", f"{steps} steps"))
                  for steps in (5, 6))


@claim("hands", "Table 1", "Hands move more smoothly with every step from 3 to 6.",
       "jerk of gesturing hands (rich prompt) at each number of steps from 4 to 6 against the one before in the table; "
       "the article's own index is undefined")
def judge_hands(evidence: Evidence) -> Verdict:
    rows = student(evidence, prompt=RICH, seed=...)
    counts = [steps for steps in rows.distinct("steps") if 3 <= steps <= 6]
    if len(counts) < 2:
        return untested("the table has no gesturing hands at 3 to 6 steps")
    return all_of(better(rows, JERK, {"steps": before}, {"steps": steps}, (f"{before} steps", f"{steps} steps"))
                  for before, steps in pairwise(counts))


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


@claim("time-line", "Table 1", "Every step costs the same (63 ms): time grows in a straight line with steps.",
       "straight line through work per frame at all steps: does it explain 95 % of the differences?")
def judge_time_line(evidence: Evidence) -> Verdict:
    rows = student(evidence)
    line = None if lacking(rows, WORK) else line_of_time(rows, WORK.column)
    if line is None:
        return untested("the table has too few numbers of steps")
    fixed, slope, explained = line
    says = f"{slope:.1f} ms a step and {fixed:.1f} ms besides; the line explains {explained:.1%} of the differences"
    return judged(explained > 0.95 and slope > 0, says, per_step_ms=slope, fixed_ms=fixed)


@claim("time-25-percent", "Table 1", "A fifth step costs 25 % more time.",
       "work per frame at 5 steps against 4: is it 25 % more, within 2 points?")
def judge_time_25_percent(evidence: Evidence) -> Verdict:
    return share_of_time(evidence, 4, 5, evidence.reported["steps"]["time_of_a_fifth_step"])


@claim("time-saved", "How to choose", "3 steps are about 25 % faster than 4.",
       "work per frame at 3 steps against 4: is it 25 % less, within 2 points?")
def judge_time_saved(evidence: Evidence) -> Verdict:
    return share_of_time(evidence, 4, 3, -evidence.reported["choices"]["time_saved_by_3_steps"])


def share_of_time(evidence: Evidence, first: int, second: int, said: float) -> Verdict:
    rows = student(evidence)
    if missing := lacking(rows, WORK):
        return untested(missing)
    change = rows.difference(WORK.column, {"steps": first}, {"steps": second}, relative=True)
    return agrees(change, said, 0.02, f"reported {said:+.0%}, measured {change:+.1%}")


@claim("time-no-rest", "Table 1", "Time is steps alone: 182 = 3 x 63, 245 = 4 x 63.",
       "the article's own table: what is left of its time per frame at no steps; and the same of our measurements")
def judge_time_no_rest(evidence: Evidence) -> Verdict:
    rows = evidence.reported["steps"]["rows"]
    slope, fixed = np.polyfit([row["steps"] for row in rows], [row["ms_per_frame"] for row in rows], 1)
    line = None if lacking(student(evidence), WORK) else line_of_time(student(evidence), WORK.column)
    says = f"by its table decoding and encoding take {fixed:.0f} ms a frame"
    if line is None:
        return untested(f"{says}; the table has too few numbers of steps")
    share = line[0] / (line[0] + 4 * line[1])
    return judged(abs(share) < 0.05, f"{says}; measured, what is not steps is {share:.0%} of the time at 4 steps",
                  reported_fixed_ms=fixed, measured_share=share)


@claim("knee", "Table 1", "4 is the knee: the last step that is worth its time.",
       "the last step whose gain in lips or face texture over one step less cannot be zero and matters")
def judge_knee(evidence: Evidence) -> Verdict:
    rows = student(evidence)
    if missing := lacking(rows, LIPS):
        return untested(missing)
    if len(rows.distinct("steps")) < 4:
        return untested("the table has too few numbers of steps")
    worth_it, unclear = [], []
    for steps in rows.distinct("steps")[1:]:
        before = max(one for one in rows.distinct("steps") if one < steps)
        gains = [(measure, compared(rows, measure, {"steps": before}, {"steps": steps}))
                 for measure in (LIPS, PSNR) if not lacking(rows, measure)]
        if any(gain.bounded and gain.low > 0 and gain.mean > measure.worth for measure, gain in gains):
            worth_it.append(steps)
        elif any(not gain.bounded or gain.high > measure.worth for measure, gain in gains):
            unclear.append(steps)
    last = max(worth_it, default=min(rows.distinct("steps")))
    later = [steps for steps in unclear if steps > last]
    says = f"the last step that gains anything that matters is number {last}"
    if last < 4 <= max(later, default=0):
        return untested(f"{says}; of {', '.join(map(str, later))} the results are too few to say")
    return judged(last == 4, says, knee=last)


@claim("flicker", "Table 1", "More than 4 steps bring periodic flicker (ear lobes).",
       "strongest regular flicker of the ear lobes at 5, 6 and 8 steps against 4: is any of them worse?")
def judge_flicker(evidence: Evidence) -> Verdict:
    rows = student(evidence)
    if missing := lacking(rows, EARS):
        return untested(missing)
    found = {steps: compared(rows, EARS, {"steps": steps}, {"steps": 4}) for steps in (5, 6, 8)}
    found = {steps: more for steps, more in found.items() if more.bounded}
    if not found:
        return untested("the table has no two videos of more than 4 steps")
    says = "; ".join(f"{steps} steps have {more:+.3g} {EARS.unit} more than 4" for steps, more in found.items())
    if any(more.low > 0 and more.mean > EARS.worth for more in found.values()):
        return judged(True, says)
    if all(more.high < EARS.worth for more in found.values()):
        return judged(False, f"{says}: nothing that matters ({EARS.worth:g})")
    return untested(f"{says}: the intervals are too wide, more videos are needed")


@claim("blur-3", "Table 1", "3 steps blur hands and hair.", "texture kept at 3 steps against 4: is it less?")
def judge_blur_3(evidence: Evidence) -> Verdict:
    return better(student(evidence), TEXTURE, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


# ------------------------------------------------------------------------------------------- what it is

@claim("few-steps", "What it is", "Distillation turns dozens of denoising steps into a few.",
       "student at 4 steps against the teacher at its most steps: nothing lost in lips and face texture?")
def judge_few_steps(evidence: Evidence) -> Verdict:
    rows = usual(evidence.table)
    many = max(rows.where(model="teacher").distinct("steps"), default=0)
    if many < 16:
        return untested("the table has no teacher of 16 steps or more")
    return all_of(same(rows, measure, {"model": "student", "steps": 4}, {"model": "teacher", "steps": many},
                       ("the student at 4 steps", f"the teacher at {many}")) for measure in (LIPS, PSNR))


@claim("teacher-needs-many", "What it is", "Without distillation a few steps are not enough.",
       "teacher at its most steps against the teacher at 4: better in lips or face texture?")
def judge_teacher_needs_many(evidence: Evidence) -> Verdict:
    rows = usual(evidence.table).where(model="teacher")
    many = max(rows.distinct("steps"), default=0)
    if many < 16:
        return untested("the table has no teacher of 16 steps or more")
    return any_of(better(rows, measure, {"steps": 4}, {"steps": many}, ("4 steps", f"{many} steps"))
                  for measure in (LIPS, PSNR))


@claim("dmd-name", "What it is", "DMD stands for Distilled Motion Diffusion.",
       "is that what the title of the paper on DMD says?")
def judge_dmd_name(evidence: Evidence) -> Verdict:
    paper, said = evidence.reported["sources"]["dmd"], evidence.reported["choices"]["dmd"]
    return judged(said.lower() in paper["title"].lower(), f'{paper["id"]} is titled "{paper["title"]}"')


@claim("tpp-name", "What it is", "TPP is a Tensor Parallel Pipeline: every step fills all GPUs.",
       "is that what the paper of Live Avatar calls it?")
def judge_tpp_name(evidence: Evidence) -> Verdict:
    paper, said = evidence.reported["sources"]["live_avatar"], evidence.reported["choices"]["tpp"]
    return judged(said.lower() == paper["expansion"].lower(),
                  f'{paper["id"]} calls it {paper["expansion"]}: one device per sampler step')


@claim("even-steps", "What it is", "An Euler solver takes four steps, all of them needed.",
       "share of the path that each step covers in the released schedule of 4 steps: does any do next to nothing?")
def judge_even_steps(evidence: Evidence) -> Verdict:
    from liveavatar.sampler import make_schedule

    shares = make_schedule("released", 4).shares
    return judged(min(shares) >= IDLE_SHARE, "the steps cover " + ", ".join(f"{share:.1%}" for share in shares)
                  + " of the path", least=min(shares))


@claim("last-step", "What it is", "The fourth step of the released schedule is worth its time.",
       "lips and face texture of the finished video against the guess before the last step, released schedule, 4 steps")
def judge_last_step(evidence: Evidence) -> Verdict:
    rows = evidence.table.where(state="made", schedule="released", steps=4, model="student", solver="euler")
    guesses = Table([row for row in rows.guesses])
    if missing := lacking(guesses, LIPS):
        return untested(missing)
    return any_of(better(guesses, measure, {"after_step": 2}, {"after_step": 3}, ("after 3 steps", "after 4"))
                  for measure in (LIPS, PSNR))
