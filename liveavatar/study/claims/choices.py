"""Claims about how to choose: settings, prompts, sound."""

from __future__ import annotations

import numpy as np

from liveavatar.config import GenerationConfig
from liveavatar.study import released
from liveavatar.study.claims.judging import (
    Evidence,
    Verdict,
    agrees,
    all_of,
    better,
    claim,
    judged,
    lacking,
    needs_rows,
    same,
    student,
    untested,
)
from liveavatar.study.measures import IDENTITY, LIPS, PSNR
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.table import FACTORS, Table, bootstrap
from liveavatar.types import InputError


@claim("5-and-6-work", "How to choose", "5 and 6 steps work, only slower.",
       "how many caches the released program builds against steps; and whether our videos of 5 and 6 steps were made")
def judge_5_and_6_work(evidence: Evidence) -> Verdict:
    caches = evidence.reported["released"]["caches"]
    made = len(student(evidence, steps=(5, 6)))
    return judged(caches >= 6, f"the released program builds {caches} caches, one for each step, so a fifth step has "
                               f"none (reported by its code); here {made} videos of 5 and 6 steps were made")


@claim("six-never", "How to choose", "Never 6 or more steps on several GPUs.", "results on several GPUs")
def judge_six_never(evidence: Evidence) -> Verdict:
    return needs_rows(evidence, "the 14B model on several GPUs", backend="wan-s2v-14b", steps=6)


@claim("704-never", "How to choose", "Never 5 or more steps at 704*384 on 4 cards of 24 GB.",
       "a fourth of the weights and of 5 caches against the memory of a card")
def judge_704_never(evidence: Evidence) -> Verdict:
    card = evidence.reported["memory"]["card_gb"] * 1e9 / 2**30
    each = {steps: released.needed_gib("704*384", steps) / 4 for steps in (4, 5)}
    says = f"spread evenly 5 steps need {each[5]:.1f} GiB of {card:.1f} a card, 4 steps {each[4]:.1f}"
    if each[5] < card:
        return untested(f"{says}; what else is needed cannot be seen without the cards")
    return judged(each[4] < card, says)


@claim("offline-long", "How to choose", "4 or more steps never with 200 clips of 64 frames and decoding at the end.",
       "is it refused at 4 steps and not at 3? And what waits until the end, from its shape")
def judge_offline_long(evidence: Evidence) -> Verdict:
    chosen = evidence.reported["choices"]
    frames = chosen["long_infer_frames"] * chosen["long_num_clip"]
    refused = {steps: refusal(chosen, steps) for steps in (3, 4)}
    waiting = released.waiting_gib("704*384", frames)
    says = (f"{frames} frames leave {waiting:.0f} GiB of latents and pictures to the end, whatever the steps; "
            + (f"and this is no video at any number of steps: {refused[4]}" if refused[4] else "it can be asked for"))
    return judged(not refused[3] and bool(refused[4]), says, waiting_gib=waiting)


def refusal(chosen: dict, steps: int) -> str:
    """Return why such a video cannot be asked for; "" when it can."""
    try:
        GenerationConfig(sample_steps=steps, infer_frames=chosen["long_infer_frames"],
                         num_clip=chosen["long_num_clip"], enable_online_decode=False)
    except InputError as error:
        return str(error)
    return ""


@claim("offload", "How to choose", "5 steps fit an 80 GB card with --offload_model True.",
       "5 caches at 704*384 without the weights against the card")
def judge_offload(evidence: Evidence) -> Verdict:
    card, caches = evidence.reported["cards"]["h100_gib"], 5 * released.cache_gib("704*384")
    weights = released.weights_gib()
    if caches > card:
        return judged(False, f"5 caches alone need {caches:.1f} GiB of {card}")
    return untested(f"5 caches need {caches:.1f} GiB of {card}; they leave {card - caches:.1f} GiB for {weights:.1f} "
                    "GiB of weights, which must move in and out at every step: how fast needs the 14B model on a card")


# ------------------------------------------------------------------------------------------- prompts and sound

@claim("rich-steps", "How to choose", "Rich prompts gain nothing from more steps.",
       "rich prompt: lips and face texture at the most steps against 4")
def judge_rich_steps(evidence: Evidence) -> Verdict:
    rows = student(evidence, prompt=RICH, seed=...)
    most = max(rows.distinct("steps"), default=0)
    if most <= 4:
        return untested("the table has no rich prompts at more than 4 steps")
    return all_of(same(rows, measure, {"steps": 4}, {"steps": most}, ("4 steps", f"{most} steps"))
                  for measure in (LIPS, PSNR))


@claim("poor-drifts", "How to choose", "Poor prompts drift in identity.",
       "identity drift at 4 steps, rich prompt against poor: same people, sounds and noise")
def judge_poor_drifts(evidence: Evidence) -> Verdict:
    return better(student(evidence, prompt=(RICH, POOR), seed=..., steps=4), IDENTITY, {"prompt": POOR},
                  {"prompt": RICH}, ("the poor prompt", "the rich one"))


@claim("poor-stiff", "How to choose", "Poor prompts stiffen and more steps make it worse.",
       "poor prompt: identity drift at the most steps against 4: is it worse?")
def judge_poor_stiff(evidence: Evidence) -> Verdict:
    rows = student(evidence, prompt=POOR, seed=...)
    most = max(rows.distinct("steps"), default=0)
    if most <= 4:
        return untested("the table has no poor prompts at more than 4 steps")
    return better(rows, IDENTITY, {"steps": most}, {"steps": 4}, (f"{most} steps", "4 steps"))


def with_sounds(evidence: Evidence) -> Table:
    return student(evidence, noise_db=..., clean=...)


@claim("noise-hurts", "How to choose", "A noisy recording makes lips worse: +-5 frames instead of +-1.8.",
       "lip error at 4 steps, clean recordings against the noisiest")
def judge_noise_hurts(evidence: Evidence) -> Verdict:
    rows = with_sounds(evidence).where(steps=4, clean="")
    levels = rows.distinct("noise_db")
    if not levels:
        return untested("the table has no noisy recordings")
    names = f"noise at {levels[0]:g} dB", "a clean one"
    return better(rows, LIPS, {"noise_db": levels[0]}, {"noise_db": None}, names)


@claim("cleaning-helps", "How to choose", "Stationary noise reduction before generating repairs the lips.",
       "lip error at 4 steps and the noisiest recordings: cleaned by the article's recipe against left as they are")
def judge_cleaning_helps(evidence: Evidence) -> Verdict:
    rows = with_sounds(evidence).where(steps=4)
    levels = rows.distinct("noise_db")
    if not levels:
        return untested("the table has no noisy recordings")
    return better(rows.where(noise_db=levels[0]), LIPS, {"clean": ""}, {"clean": "noisereduce"},
                  (f"noise at {levels[0]:g} dB left alone", "the recipe"))


@claim("sound-70", "How to choose", "Sound makes 70 % of lip precision, steps the rest.",
       "for each person and sentence, what noise explains of the lip error that noise and steps explain together")
def judge_sound_70(evidence: Evidence) -> Verdict:
    rows, said = with_sounds(evidence).where(clean=""), evidence.reported["audio"]["share_of_precision"]
    common = [steps for steps in rows.distinct("steps")
              if len({row.get("noise_db") for row in rows.where(steps=steps)}) > 1]
    if missing := lacking(rows, LIPS):
        return untested(missing)
    if len(common) < 2:
        return untested("the table has noise at one number of steps only")
    levels = [None, *rows.distinct("noise_db")]
    found = [[rows.where(steps=steps, noise_db=noise).cases(LIPS.column) for noise in levels] for steps in common]
    cases = [case for case in found[0][0] if all(case in cell for line in found for cell in line)]
    share = bootstrap(np.array([share_of_columns(np.array([[cell[case] for cell in line] for line in found]))
                                for case in cases]), [dict(zip(FACTORS, case, strict=True)) for case in cases])
    return agrees(share, said, 0.1, f"reported {said:.0%}, measured {share:.0%}")


def share_of_columns(grid: np.ndarray) -> float:
    """Return the share of columns in the variance that rows and columns explain: main effects of a two-way table (R,
    C)."""
    columns, rows = grid.mean(0).var(), grid.mean(1).var()
    return float(columns / max(columns + rows, 1e-12))
