"""Claims about how to choose: settings, prompts, sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from liveavatar.study import released
from liveavatar.study.claims import measured
from liveavatar.study.claims.judging import agrees, all_of, better, lacking, same, student, unknown
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    CODE,
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
from liveavatar.study.measures import IDENTITY, LIPS, PICTURE
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.table import FACTORS, Table, bootstrap

PART = "How to choose"

FIVE_AND_SIX = claim("5-and-6-work", PART, "5 and 6 steps work, only slower.",
                     "settled for the released program. Other programs, this one too, run 5 and 6 steps; how good they "
                     f"are: {REAL}")


@FIVE_AND_SIX.asks(ARITHMETIC, "how many caches the released program builds against steps", CODE)
def judge_5_and_6_work(evidence: Evidence) -> Answer:
    caches = evidence.reported["released"]["caches"]
    return Answer(caches >= 6, f"the released program builds {caches} caches, one for each step, and looks them up by "
                               "the number of the step: a fifth step ends in an error")


SIX_NEVER = claim("six-never", PART, "Never 6 or more steps on several GPUs.",
                  "settled for the released program. In this one 6 steps can be shared out over several cards: a run "
                  "by torchrun says how well")


@SIX_NEVER.asks(ARITHMETIC, "how many steps the released program can share out over several cards", CODE)
def judge_six_never(evidence: Evidence) -> Answer:
    most = evidence.reported["released"]["steps_on_several_gpus"]
    return Answer(most < 6, f"the released program over several cards is laid out for exactly {most} steps, one card "
                            "each: 6 are not slow there, they are impossible, and so are 5")


NEVER_704 = claim("704-never", PART, "Never 5 or more steps at 704*384 on 4 cards of 24 GB.",
                  "a run on such cards: `liveavatar plan --gpu \"24 GB\" --gpus 4 --sample_steps 5 --fp8 --fp8_cache "
                  "--offload_kv_cache` says what to expect")


@NEVER_704.asks(ARITHMETIC, "as released each card holds the whole transformer, in bf16: does that exceed a card of 24 "
                            "GB?", SHAPES)
def judge_704_as_released(evidence: Evidence) -> Answer:
    card = card_of_24(evidence)
    weights = released.weights_gib()
    return Answer(weights > card, f"as released each card holds all weights, {weights:.1f} GiB of {card:.1f}: it "
                                  "cannot run at any number of steps, 4 included")


@NEVER_704.asks(ARITHMETIC, "a fourth of the weights and of the caches against the memory of a card", SHAPES)
def judge_704_never(evidence: Evidence) -> Answer:
    card = card_of_24(evidence)
    each = {steps: released.needed_gib("704*384", steps) / 4 for steps in (4, 5)}
    says = f"spread evenly over four cards 5 steps need {each[5]:.1f} GiB of {card:.1f} a card, 4 steps {each[4]:.1f}"
    if each[5] < card:
        return unknown(f"{says}; what else is needed was not tried on such cards")
    return Answer(each[4] < card, says)


def card_of_24(evidence: Evidence) -> float:
    """Return GiB of a card of 24 GB."""
    return evidence.reported["memory"]["card_gb"] * 1e9 / 2**30


OFFLINE_LONG = claim("offline-long", PART,
                     "4 or more steps never with 200 clips of 64 frames and decoding at the end.",
                     "settled: what waits until the end is the same at any number of steps")


@OFFLINE_LONG.asks(ARITHMETIC, "does what waits until the end depend on the number of steps?", SHAPES)
def judge_offline_long(evidence: Evidence) -> Answer:
    chosen = evidence.reported["choices"]
    frames = chosen["long_infer_frames"] * chosen["long_num_clip"]
    waiting, cache = released.waiting_gib("704*384", frames), released.cache_gib("704*384")
    latents = chosen["long_infer_frames"] / released.LATENT_FRAMES
    return Answer(False, f"{frames} frames leave {waiting:.0f} GiB of latents and pictures to the end, in main memory, "
                         f"at 3 steps as at 4; a step's cache takes {cache:.2f} GiB of the card, whatever the length. "
                         f"Besides, a clip of {chosen['long_infer_frames']} frames is {latents:.0f} latent frames, no "
                         "whole number of blocks of 3", {"waiting_gib": waiting})


OFFLOAD = claim("offload", PART, "5 steps fit an 80 GB card with --offload_model True.",
                "settled: in bf16 they do not; with weights in 8 bits they do, with or without it")


@OFFLOAD.asks(ARITHMETIC, "weights, condition and 5 caches at 704*384, all needed during a step, against 80 GiB",
              SHAPES)
def judge_offload(evidence: Evidence) -> Answer:
    card, needed = evidence.reported["cards"]["h100_gib"], released.needed_gib("704*384", 5)
    return Answer(needed < card, f"a step needs the transformer, the condition and all caches of the video: "
                                 f"{needed:.1f} GiB in bf16, of {card}; --offload_model moves the encoders and the VAE "
                                 "away, none of which is counted here", {"needed": needed})


@OFFLOAD.asks(ON_14B, "the most memory during a step on H200, 704*384, bf16, 5 steps, with the encoders away", MEMORY)
def judge_offload_14b(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    card = evidence.reported["cards"]["h100_gib"]
    step = found["bf16", "704*384", 5]["step"]
    return Answer(step < card, f"with the encoders away a step takes {step:.1f} GiB in bf16", {"step_gib": step})


@OFFLOAD.asks(ON_14B, "the same with weights in 8 bits, at the most", MEMORY)
def judge_offload_in_8_bits(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    card, peak = evidence.reported["cards"]["h100_gib"], found["fp8", "704*384", 5]["peak"]
    return Answer(peak < card, f"with weights in 8 bits all of it takes {peak:.1f} GiB", {"fp8_gib": peak})


# ------------------------------------------------------------------------------------------- prompts and sound

RICH_STEPS = claim("rich-steps", PART, "Rich prompts gain nothing from more steps.",
                   f"{REAL} with --prompts: the rich prompt at 4, 5 and 6 steps")


@RICH_STEPS.asks(ON_MINI, "rich prompt: lips, face PSNR and texture at the most steps against 4", STUDY)
def judge_rich_steps(evidence: Evidence) -> Answer:
    rows = student(evidence, prompt=RICH, seed=...)
    most = max(rows.distinct("steps"), default=0)
    if most <= 4:
        return unknown("the table has no rich prompts at more than 4 steps")
    return all_of(same(rows, measure, {"steps": 4}, {"steps": most}, ("4 steps", f"{most} steps"))
                  for measure in (LIPS, *PICTURE))


POOR_DRIFTS = claim("poor-drifts", PART, "Poor prompts drift in identity.",
                    f"{REAL} with --prompts: identity change under the rich and the poor prompt, same people and noise")


@POOR_DRIFTS.asks(ON_MINI, "identity drift (of colours) at 4 steps, rich prompt against poor: same people, sounds and "
                           "noise", STUDY)
def judge_poor_drifts(evidence: Evidence) -> Answer:
    answer = better(student(evidence, prompt=(RICH, POOR), seed=..., steps=4), IDENTITY, {"prompt": POOR},
                    {"prompt": RICH}, ("the poor prompt", "the rich prompt"))
    if answer.holds is not False:
        return answer
    return replace(answer, holds=None, why=f"{answer.why}; but the rich prompt asks for warm light, which moves "
                                           "colours on purpose, so these two cannot tell")


POOR_STIFF = claim("poor-stiff", PART, "Poor prompts stiffen and more steps make it worse.",
                   f"{REAL} with --prompts: identity change and head motion under the poor prompt at 4, 5 and 6 steps")


@POOR_STIFF.asks(ON_MINI, "poor prompt: identity drift at the most steps against 4: is it worse? (How stiff somebody "
                          "is was not measured)", STUDY)
def judge_poor_stiff(evidence: Evidence) -> Answer:
    rows = student(evidence, prompt=POOR, seed=...)
    most = max(rows.distinct("steps"), default=0)
    if most <= 4:
        return unknown("the table has no poor prompts at more than 4 steps")
    return better(rows, IDENTITY, {"steps": most}, {"steps": 4}, (f"{most} steps", "4 steps"))


def with_sounds(evidence: Evidence) -> Table:
    return student(evidence, noise_db=..., clean=...)


NOISE_HURTS = claim("noise-hurts", PART, "A noisy recording makes lips worse: +-5 frames instead of +-1.8.",
                    f"{REAL} with --noise_db: the same sentences with noise of a known level, which the article does "
                    "not name")


@NOISE_HURTS.asks(ON_MINI, "lip error at 4 steps, clean recordings against the noisiest", STUDY)
def judge_noise_hurts(evidence: Evidence) -> Answer:
    rows = with_sounds(evidence).where(steps=4, clean="")
    levels = rows.distinct("noise_db")
    if not levels:
        return unknown("the table has no noisy recordings")
    names = f"noise at {levels[0]:g} dB", "a clean recording"
    return better(rows, LIPS, {"noise_db": levels[0]}, {"noise_db": None}, names)


CLEANING_HELPS = claim("cleaning-helps", PART, "Stationary noise reduction before generating repairs the lips.",
                       f"{REAL} with --noise_db and --clean noisereduce")


@CLEANING_HELPS.asks(ON_MINI, "lip error at 4 steps and the noisiest recordings: cleaned by the article's recipe "
                              "against left as they are", STUDY)
def judge_cleaning_helps(evidence: Evidence) -> Answer:
    rows = with_sounds(evidence).where(steps=4)
    levels = rows.distinct("noise_db")
    if not levels:
        return unknown("the table has no noisy recordings")
    return better(rows.where(noise_db=levels[0]), LIPS, {"clean": ""}, {"clean": "noisereduce"},
                  (f"noise at {levels[0]:g} dB left alone", "the article's recipe"))


SOUND_70 = claim("sound-70", PART, "Sound makes 70 % of lip precision, steps the rest.",
                 f"{REAL} with --noise_db at several numbers of steps; the article does not say how its share is "
                 "defined, and a share of this kind follows from which levels of noise and which steps are compared")


@SOUND_70.asks(ON_MINI, "for each person and sentence, what noise explains of the lip error that noise and steps "
                        "explain together", STUDY)
def judge_sound_70(evidence: Evidence) -> Answer:
    rows, said = with_sounds(evidence).where(clean=""), evidence.reported["audio"]["share_of_precision"]
    common = [steps for steps in rows.distinct("steps")
              if len({row.get("noise_db") for row in rows.where(steps=steps)}) > 1]
    if missing := lacking(rows, LIPS):
        return unknown(missing)
    if len(common) < 2:
        return unknown("the table has noise at one number of steps only")
    levels = [None, *rows.distinct("noise_db")]
    found = [[rows.where(steps=steps, noise_db=noise).cases(LIPS.column) for noise in levels] for steps in common]
    cases = [case for case in found[0][0] if all(case in cell for line in found for cell in line)]
    share = bootstrap(np.array([share_of_columns(np.array([[cell[case] for cell in line] for line in found]))
                                for case in cases]), [dict(zip(FACTORS, case, strict=True)) for case in cases])
    return agrees(share, said, 0.1, "share of the sound", ".0%")


def share_of_columns(grid: np.ndarray) -> float:
    """Return the share of columns in the variance that rows and columns explain: main effects of a two-way table (R,
    C)."""
    columns, rows = grid.mean(0).var(), grid.mean(1).var()
    return float(columns / max(columns + rows, 1e-12))
