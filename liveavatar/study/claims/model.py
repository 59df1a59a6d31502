"""Claims about what the model is: distillation, names, the schedule of its steps."""

from __future__ import annotations

from liveavatar.study.claims.judging import IDLE_SHARE, all_of, any_of, better, lacking, same, unknown
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    CODE,
    NAME,
    ON_MINI,
    SCHEDULE,
    STUDY,
    Answer,
    Evidence,
    claim,
)
from liveavatar.study.claims.table1 import REAL
from liveavatar.study.measures import LIPS, PICTURE, usual
from liveavatar.study.table import Table

PART = "What it is"
MANY = 16                    # steps of a teacher, at least

FEW_STEPS = claim("few-steps", PART, "Distillation turns dozens of denoising steps into a few.",
                  f"the count is settled; what it costs in quality: {REAL} with --teacher: the base model at 16 steps "
                  "with guidance beside the student. Each pass has a cache of its own, so that takes a small size")


@FEW_STEPS.asks(ARITHMETIC, "steps in the configuration of the base model and of the released student", CODE)
def judge_step_counts(evidence: Evidence) -> Answer:
    code = evidence.reported["released"]
    return Answer(code["teacher_steps"] >= 2 * 12 > code["caches"],
                  f"the base is configured for {code['teacher_steps']} steps with guidance, two passes each; the "
                  f"released student takes {code['caches']} passes. This counts passes, and says nothing of quality")


@FEW_STEPS.asks(ON_MINI, "student at 4 steps against the teacher at its most steps: nothing lost in lips, face PSNR "
                         "and texture?", STUDY)
def judge_few_steps(evidence: Evidence) -> Answer:
    rows, many = usual(evidence.table), most_of_teacher(evidence)
    if many < MANY:
        return unknown("the table has no teacher of 16 steps or more")
    return all_of(same(rows, measure, {"model": "student", "steps": 4}, {"model": "teacher", "steps": many},
                       ("the student at 4 steps", f"the teacher at {many} steps")) for measure in (LIPS, *PICTURE))


def most_of_teacher(evidence: Evidence) -> int:
    """Return the most steps that the teacher took."""
    return max(usual(evidence.table).where(model="teacher").distinct("steps"), default=0)


TEACHER = claim("teacher-needs-many", PART, "Without distillation a few steps are not enough.",
                f"{REAL} with --teacher, at a small size: the base model at 4 and at 16 steps")


@TEACHER.asks(ON_MINI, "teacher at its most steps against the teacher at 4: better in lips, face PSNR or "
                       "texture?", STUDY)
def judge_teacher_needs_many(evidence: Evidence) -> Answer:
    rows, many = usual(evidence.table).where(model="teacher"), most_of_teacher(evidence)
    if many < MANY:
        return unknown("the table has no teacher of 16 steps or more")
    return any_of(better(rows, measure, {"steps": 4}, {"steps": many}, ("4 steps", f"{many} steps"))
                  for measure in (LIPS, *PICTURE))


claim("dmd-name", PART, "DMD stands for Distilled Motion Diffusion.", "settled by the paper that introduced the name",
      about=NAME)
claim("tpp-name", PART, "TPP is a Tensor Parallel Pipeline: every step fills all GPUs.",
      "settled by the paper that introduced the name", about=NAME)


EVEN_STEPS = claim("even-steps", PART, "An Euler solver takes four steps, all of them needed.",
                   f"{REAL} with --by_step: the prediction after the third step beside the finished video")


@EVEN_STEPS.asks(ARITHMETIC, "share of the path that each step covers in the released schedule of 4 steps", SCHEDULE)
def judge_even_steps(evidence: Evidence) -> Answer:
    from liveavatar.sampler import make_schedule

    shares = make_schedule("released", 4).shares
    idle = min(shares) < IDLE_SHARE
    says = ("the steps cover " + ", ".join(f"{share:.1%}" for share in shares)
            + " of the path from noise to picture" + (", so that one of them moves next to nothing" if idle else ""))
    return Answer(None, f"{says}; whether that little is needed cannot be told from the schedule",
                  {"least": min(shares)})


LAST_STEP = claim("last-step", PART, "The fourth step of the released schedule is worth its time.",
                  f"{REAL} with --by_step: the prediction after the third step beside the finished video")


@LAST_STEP.asks(ARITHMETIC, "share of the path that the last step covers, against its share of the time", SCHEDULE)
def judge_last_share(evidence: Evidence) -> Answer:
    from liveavatar.sampler import make_schedule

    last = make_schedule("released", 4).shares[-1]
    return Answer(None, f"it covers {last:.1%} of the path for a quarter of the denoising time; whether that is worth "
                        "it cannot be told from the schedule", {"share": last})


@LAST_STEP.asks(ON_MINI, "lips, face PSNR and texture of the finished video against the prediction before the last "
                         "step, released schedule, 4 steps", STUDY)
def judge_last_step(evidence: Evidence) -> Answer:
    rows = evidence.table.where(state="made", schedule="released", steps=4, model="student", solver="euler")
    guesses = Table(list(rows.guesses))
    if missing := lacking(guesses, LIPS):
        return unknown(missing)
    names = ("the prediction after 3 steps", "the finished video")
    return any_of(better(guesses, measure, {"after_step": 2}, {"after_step": 3}, names)
                  for measure in (LIPS, *PICTURE))
