"""Claims about the article's Table 1: quality by number of steps."""

from __future__ import annotations

from itertools import pairwise

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
    ON_MINI,
    STUDY,
    Answer,
    Evidence,
    Figure,
    claim,
)
from liveavatar.study.measures import EARS, JERK, LIPS, PICTURE, PSNR, TEXTURE
from liveavatar.study.plan import RICH

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

