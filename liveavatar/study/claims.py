"""Every claim of the article, and what the results say of it. No verdict is written down: each is computed.

    claim.judge(Evidence(table)) -> Verdict("confirmed" | "refuted" | "cannot be tested here", why)

Three kinds of evidence: rows of the table (mini), what follows from the released network's shape (`released`), and
the article's own figures, where it contradicts itself. Where results are rows of mini, a claim is judged for mini.
Differences are taken person by person from the same noise, with 95 % intervals (see `table`):

    better     the interval lies on the better side of zero, and its mean matters (`Measure.worth`): confirmed; it holds
               no gain that matters: refuted; else the results are too few to say
    the same   the other way round
    a figure   it lies outside the interval, widened by a little room: refuted; inside a narrow one: confirmed; else too
               few
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from liveavatar.config import GenerationConfig
from liveavatar.study import released
from liveavatar.study.measures import (
    CACHES,
    EARS,
    IDENTITY,
    JERK,
    LIPS,
    PSNR,
    TEXTURE,
    TIME,
    WORK,
    Measure,
    reported,
    usual,
    usual_size,
)
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.table import FACTORS, Estimate, Table, bootstrap
from liveavatar.types import InputError

CONFIRMED, REFUTED, UNTESTED = "confirmed", "refuted", "cannot be tested here"
VERDICTS = (CONFIRMED, REFUTED, UNTESTED)
IDLE_SHARE = 0.05            # of the path: a step below is nearly idle


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim."""

    verdict: str
    why: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All that may be called upon."""

    table: Table
    reported: dict = field(default_factory=reported)


@dataclass(frozen=True)
class Claim:
    """One sentence of the article."""

    name: str
    part: str            # of the article
    text: str
    test: str            # what is computed
    judge: Callable[[Evidence], Verdict]


CLAIMS: list[Claim] = []


def claim(name: str, part: str, text: str, test: str) -> Callable:
    """Enter a function as the judge of a claim."""
    def enter(judge: Callable[[Evidence], Verdict]) -> Callable[[Evidence], Verdict]:
        CLAIMS.append(Claim(name, part, text, test, judge))
        return judge
    return enter


def judge_all(table: Table) -> dict[str, Verdict]:
    """Claim name -> verdict, in the order of the article."""
    evidence = Evidence(table)
    return {one.name: one.judge(evidence) for one in CLAIMS}


# ------------------------------------------------------------------------------------------- ways to judge

def judged(holds: bool, why: str, **numbers: float) -> Verdict:
    return Verdict(CONFIRMED if holds else REFUTED, why, numbers)


def untested(why: str) -> Verdict:
    return Verdict(UNTESTED, why)


def lacking(table: Table, measure: Measure) -> str:
    """Why a measure cannot be asked of these rows; "" when it can."""
    if not len(table):
        return "the table has no rows of these settings"
    if measure.column not in table.columns or not np.isfinite(table.values(measure.column)).any():
        return f"the table has no {measure.label}"
    return ""


def compared(table: Table, measure: Measure, first: dict, second: dict) -> Estimate:
    """How much better `second` is than `first`: positive is better, whatever the measure."""
    difference = table.difference(measure.column, first, second)
    if measure.better > 0:
        return difference
    return Estimate(-difference.mean, -difference.high, -difference.low, difference.count)


def gained(measure: Measure, gain: Estimate, names: tuple[str, str]) -> str:
    """Say in words how the second of two compares with the first. gain: positive is better, as `compared` has it."""
    if gain.bounded and gain.high < 0:
        lost = Estimate(-gain.mean, -gain.high, -gain.low, gain.count)
        return f"{measure.label}: {names[1]} is worse than {names[0]} by {lost:.3g} {measure.unit}".rstrip()
    if gain.bounded and gain.low <= 0:
        return (f"{measure.label}: {names[1]} differs from {names[0]} by {gain:.3g} {measure.unit}".rstrip()
                + ", where more than 0 is better")
    return f"{measure.label}: {names[1]} is better than {names[0]} by {gain:.3g} {measure.unit}".rstrip()


def better(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str]) -> Verdict:
    """Is `second` better than `first`?"""
    missing = lacking(table, measure)
    if missing:
        return untested(missing)
    gain = compared(table, measure, first, second)
    says = gained(measure, gain, names)
    if not gain.bounded:
        return untested(f"{says}: more videos are needed")
    if gain.low > 0 and gain.mean >= measure.worth:
        return judged(True, says, gain=gain.mean)
    if gain.high < measure.worth:
        small = "" if gain.high < 0 else f": less than matters ({measure.worth:g})"
        return judged(False, says + small, gain=gain.mean)
    return untested(f"{says}: the interval is too wide, more videos are needed")


def same(table: Table, measure: Measure, first: dict, second: dict, names: tuple[str, str]) -> Verdict:
    """Does `second` gain nothing over `first`?"""
    missing = lacking(table, measure)
    if missing:
        return untested(missing)
    gain = compared(table, measure, first, second)
    says = gained(measure, gain, names)
    if not gain.bounded:
        return untested(f"{says}: more videos are needed")
    if gain.high < measure.worth:
        return judged(True, f"{says}: less than matters ({measure.worth:g})", gain=gain.mean)
    if gain.low > 0 and gain.mean >= measure.worth:
        return judged(False, says, gain=gain.mean)
    return untested(f"{says}: the interval is too wide, more videos are needed")


def agrees(found: Estimate, said: float, room: float, says: str) -> Verdict:
    """Is a figure of the article what was measured, within `room`?"""
    if not found.bounded:
        return untested(f"{says}: more videos are needed")
    numbers = {"measured": found.mean, "reported": said}
    if not found.low - room <= said <= found.high + room:
        return judged(False, says, **numbers)
    if found.high - found.low <= 4 * room:
        return judged(True, says, **numbers)
    return untested(f"{says}: the interval is too wide, more videos are needed")


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Several parts of one claim: one refuted part refutes it, one untested part leaves it open."""
    parts = list(verdicts)
    verdict = next((word for word in (REFUTED, UNTESTED) if any(part.verdict == word for part in parts)), CONFIRMED)
    return Verdict(verdict, "; ".join(part.why for part in parts),
                   {name: number for part in parts for name, number in part.numbers.items()})


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """A claim with several ways to be right: one confirmed part confirms it, only all refuted parts refute it."""
    parts = list(verdicts)
    verdict = next((word for word in (CONFIRMED, UNTESTED) if any(part.verdict == word for part in parts)), REFUTED)
    return Verdict(verdict, "; ".join(part.why for part in parts),
                   {name: number for part in parts for name, number in part.numbers.items()})


def student(evidence: Evidence, **changes: object) -> Table:
    """The fast student at usual settings."""
    return usual(evidence.table, **changes).where(model="student")


def needs_rows(evidence: Evidence, need: str, **conditions: object) -> Verdict:
    """For claims about machines and models of which there are no results."""
    rows = [row for row in evidence.table.finished
            if all(row.get(name) == wanted for name, wanted in conditions.items())]
    asked = ", ".join(f"{name} {value}" for name, value in conditions.items())
    backends, devices = (", ".join(sorted({str(row[name]) for row in evidence.table if row.get(name)})) or "nothing"
                         for name in ("backend", "device"))
    if rows:
        return untested(f"there are {len(rows)} results ({asked}), but nothing here judges them yet")
    return untested(f"it needs {need}; the results hold {backends} on {devices}")


# ------------------------------------------------------------------------------------------- Table 1

def of_table_1(evidence: Evidence, column: str, steps: int) -> float:
    return next(row[column] for row in evidence.reported["steps"]["rows"] if row["steps"] == steps)


@claim("lips-3-4", "Table 1", "A fourth step brings the lips from +-3.2 to +-1.8 frames.",
       "lip error of the student at 4 steps against 3")
def _(evidence: Evidence) -> Verdict:
    return better(student(evidence), LIPS, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


@claim("lips-above-4", "Table 1", "Beyond 4 steps the lips hardly gain.", "lip error at 6 steps against 4")
def _(evidence: Evidence) -> Verdict:
    return same(student(evidence), LIPS, {"steps": 4}, {"steps": 6}, ("4 steps", "6 steps"))


@claim("lips-size", "Table 1", "Lips are off by about 2 frames at 4 steps.",
       "the interval of the student's lip error at 4 steps against the article's figure")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence, steps=4)
    if missing := lacking(rows, LIPS):
        return untested(missing)
    found, said = rows.estimate(LIPS.column), of_table_1(evidence, "lip_error_frames", 4)
    return agrees(found, said, LIPS.worth, f"reported {said:g} frames, measured {found:.2f} frames")


@claim("psnr-3-4", "Table 1", "A fourth step lifts face texture from 28.1 to 30.7 dB.",
       "face PSNR at 4 steps against 3")
def _(evidence: Evidence) -> Verdict:
    return better(student(evidence), PSNR, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


@claim("texture-37", "Table 1", "4 steps keep 37 % more facial texture than 3.",
       "texture kept at 4 steps against 3, as a share of that at 3: does the interval reach 37 %?")
def _(evidence: Evidence) -> Verdict:
    rows, said = student(evidence), evidence.reported["steps"]["texture_gain_4_over_3"]
    if missing := lacking(rows, TEXTURE):
        return untested(missing)
    gain = rows.difference(TEXTURE.column, {"steps": 3}, {"steps": 4}, relative=True)
    return agrees(gain, said, 0.05, f"reported {said:.0%} more, measured {gain:.1%} more")


@claim("psnr-6-percent", "Table 1", "Step 5 and later add about 6 % PSNR.",
       "the article's own table: 30.7 dB at 4 steps, 31.2 at 5, 31.4 at 6")
def _(evidence: Evidence) -> Verdict:
    said = evidence.reported["steps"]["psnr_gain_of_a_fifth_step"]
    gains = [of_table_1(evidence, "face_psnr_db", steps) / of_table_1(evidence, "face_psnr_db", 4) - 1
             for steps in (5, 6)]
    return judged(max(gains) > 0.75 * said, f"said {said:.0%}, its own table gives {gains[0]:.1%} for the fifth step "
                                            f"and {gains[1]:.1%} for two more", of_table=max(gains))


@claim("psnr-above-4", "Table 1", "Step 5 and later still add texture.", "face PSNR at 5 and at 6 steps against 4")
def _(evidence: Evidence) -> Verdict:
    return all_of(better(student(evidence), PSNR, {"steps": 4}, {"steps": steps}, ("4 steps", f"{steps} steps"))
                  for steps in (5, 6))


@claim("hands", "Table 1", "Hands move more smoothly with every step from 3 to 6.",
       "jerk of gesturing hands (rich prompt) at each number of steps from 4 to 6 against the one before in the table; "
       "the article's own index is undefined")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence, prompt=RICH, seed=...)
    counts = [steps for steps in rows.distinct("steps") if 3 <= steps <= 6]
    if len(counts) < 2:
        return untested("the table has no gesturing hands at 3 to 6 steps")
    return all_of(better(rows, JERK, {"steps": before}, {"steps": steps}, (f"{before} steps", f"{steps} steps"))
                  for before, steps in pairwise(counts))


def line_of_time(table: Table, column: str) -> tuple[float, float, float] | None:
    """Time per frame = fixed + steps * per step, by least squares through the means; and the share it explains."""
    means = [(steps, found.mean) for steps, found in table.by("steps", column).items() if found.known]
    if len(means) < 3:
        return None
    steps, times = np.array(means, dtype=float).T
    slope, fixed = np.polyfit(steps, times, 1)
    spread = np.square(times - times.mean()).sum()
    return fixed, slope, 1 - np.square(times - fixed - slope * steps).sum() / spread if spread else 1.0


@claim("time-line", "Table 1", "Every step costs the same (63 ms): time grows in a straight line with steps.",
       "straight line through work per frame at all steps: does it explain 95 % of the differences?")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence)
    line = None if lacking(rows, WORK) else line_of_time(rows, WORK.column)
    if line is None:
        return untested("the table has too few numbers of steps")
    fixed, slope, explained = line
    says = f"{slope:.1f} ms a step and {fixed:.1f} ms besides; the line explains {explained:.1%} of the differences"
    return judged(explained > 0.95 and slope > 0, says, per_step_ms=slope, fixed_ms=fixed)


@claim("time-25-percent", "Table 1", "A fifth step costs 25 % more time.",
       "work per frame at 5 steps against 4: is it 25 % more, within 2 points?")
def _(evidence: Evidence) -> Verdict:
    return share_of_time(evidence, 4, 5, evidence.reported["steps"]["time_of_a_fifth_step"])


@claim("time-saved", "How to choose", "3 steps are about 25 % faster than 4.",
       "work per frame at 3 steps against 4: is it 25 % less, within 2 points?")
def _(evidence: Evidence) -> Verdict:
    return share_of_time(evidence, 4, 3, -evidence.reported["choices"]["time_saved_by_3_steps"])


def share_of_time(evidence: Evidence, first: int, second: int, said: float) -> Verdict:
    rows = student(evidence)
    if missing := lacking(rows, WORK):
        return untested(missing)
    change = rows.difference(WORK.column, {"steps": first}, {"steps": second}, relative=True)
    return agrees(change, said, 0.02, f"reported {said:+.0%}, measured {change:+.1%}")


@claim("time-no-rest", "Table 1", "Time is steps alone: 182 = 3 x 63, 245 = 4 x 63.",
       "the article's own table: what is left of its time per frame at no steps; and the same of our measurements")
def _(evidence: Evidence) -> Verdict:
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
def _(evidence: Evidence) -> Verdict:
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
def _(evidence: Evidence) -> Verdict:
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
def _(evidence: Evidence) -> Verdict:
    return better(student(evidence), TEXTURE, {"steps": 3}, {"steps": 4}, ("3 steps", "4 steps"))


# ------------------------------------------------------------------------------------------- what it is

@claim("few-steps", "What it is", "Distillation turns dozens of denoising steps into a few.",
       "student at 4 steps against the teacher at its most steps: nothing lost in lips and face texture?")
def _(evidence: Evidence) -> Verdict:
    rows = usual(evidence.table)
    many = max(rows.where(model="teacher").distinct("steps"), default=0)
    if many < 16:
        return untested("the table has no teacher of 16 steps or more")
    return all_of(same(rows, measure, {"model": "student", "steps": 4}, {"model": "teacher", "steps": many},
                       ("the student at 4 steps", f"the teacher at {many}")) for measure in (LIPS, PSNR))


@claim("teacher-needs-many", "What it is", "Without distillation a few steps are not enough.",
       "teacher at its most steps against the teacher at 4: better in lips or face texture?")
def _(evidence: Evidence) -> Verdict:
    rows = usual(evidence.table).where(model="teacher")
    many = max(rows.distinct("steps"), default=0)
    if many < 16:
        return untested("the table has no teacher of 16 steps or more")
    return any_of(better(rows, measure, {"steps": 4}, {"steps": many}, ("4 steps", f"{many} steps"))
                  for measure in (LIPS, PSNR))


@claim("dmd-name", "What it is", "DMD stands for Distilled Motion Diffusion.",
       "is that what the title of the paper on DMD says?")
def _(evidence: Evidence) -> Verdict:
    paper, said = evidence.reported["sources"]["dmd"], evidence.reported["choices"]["dmd"]
    return judged(said.lower() in paper["title"].lower(), f'{paper["id"]} is titled "{paper["title"]}"')


@claim("tpp-name", "What it is", "TPP is a Tensor Parallel Pipeline: every step fills all GPUs.",
       "is that what the paper of Live Avatar calls it?")
def _(evidence: Evidence) -> Verdict:
    paper, said = evidence.reported["sources"]["live_avatar"], evidence.reported["choices"]["tpp"]
    return judged(said.lower() == paper["expansion"].lower(),
                  f'{paper["id"]} calls it {paper["expansion"]}: one device per sampler step')


@claim("even-steps", "What it is", "An Euler solver takes four steps, all of them needed.",
       "share of the path that each step covers in the released schedule of 4 steps: does any do next to nothing?")
def _(evidence: Evidence) -> Verdict:
    from liveavatar.sampler import make_schedule

    shares = make_schedule("released", 4).shares
    return judged(min(shares) >= IDLE_SHARE, "the steps cover " + ", ".join(f"{share:.1%}" for share in shares)
                  + " of the path", least=min(shares))


@claim("last-step", "What it is", "The fourth step of the released schedule is worth its time.",
       "lips and face texture of the finished video against the guess before the last step, released schedule, 4 steps")
def _(evidence: Evidence) -> Verdict:
    rows = evidence.table.where(state="made", schedule="released", steps=4, model="student", solver="euler")
    guesses = Table([row for row in rows.guesses])
    if missing := lacking(guesses, LIPS):
        return untested(missing)
    return any_of(better(guesses, measure, {"after_step": 2}, {"after_step": 3}, ("after 3 steps", "after 4"))
                  for measure in (LIPS, PSNR))


# ------------------------------------------------------------------------------------------- sizes

def of_sizes(evidence: Evidence) -> tuple[Table, list[str]]:
    """Rows of all sizes, and the sizes from small to large."""
    rows = student(evidence, size=...)
    return rows, sorted(rows.distinct("size"), key=released.frame_tokens)


@claim("small-3", "Table 2", "At low resolution 3 steps are right: 4 over-fit noise.",
       "lips and face texture at the smallest size, 3 steps against 4: does a fourth step gain nothing?")
def _(evidence: Evidence) -> Verdict:
    rows, sizes = of_sizes(evidence)
    if len(sizes) < 2:
        return untested("the table has one size only")
    return all_of(same(rows.where(size=sizes[0]), measure, {"steps": 3}, {"steps": 4},
                       (f"3 steps at {sizes[0]}", "4 steps")) for measure in (LIPS, PSNR))


@claim("size-first", "How to choose", "For speed lower the size first, not the steps.",
       "smallest size at 4 steps against the usual one at 3: less work, and lips no worse?")
def _(evidence: Evidence) -> Verdict:
    rows, sizes = of_sizes(evidence)
    usual = usual_size(rows)
    if len(sizes) < 2 or sizes[0] == usual:
        return untested("the table has no size below the usual one")
    fewer, smaller = {"size": usual, "steps": 3}, {"size": sizes[0], "steps": 4}
    names = (f"3 steps at {usual}", f"4 steps at {sizes[0]}")
    return all_of([better(rows, WORK, fewer, smaller, names), same(rows, LIPS, smaller, fewer, names[::-1])])


@claim("golden", "Table 2", "688*368 with 4 steps is the golden combination.", "results of the 14B model at this size")
def _(evidence: Evidence) -> Verdict:
    return needs_rows(evidence, "videos of the 14B model", backend="wan-s2v-14b", size="688*368")


@claim("fits-80", "Table 2", "704*384 with 4 steps fits an 80 GB card; 5 steps run out of memory.",
       "weights of the released network and its caches, one for each step, from their shapes")
def _(evidence: Evidence) -> Verdict:
    size, card = evidence.reported["released"]["size"], evidence.reported["cards"]["h100_gib"]
    four, five = (released.needed_gib(size, steps) for steps in (4, 5))
    says = (f"weights {released.weights_gib():.1f} GiB, condition {released.condition_gib():.1f}, caches "
            f"{released.cache_gib(size):.2f} a step: {four:.1f} GiB at 4 steps, {five:.1f} at 5; the card has {card}")
    return judged(four < card < five, says, four=four, five=five)


@claim("five-cards-720", "Table 2", "720*400 runs on 5 GPUs only: sharding spreads the pressure.",
       "weights and 4 caches at 720*400 against the memory of one 80 GB card")
def _(evidence: Evidence) -> Verdict:
    card, needed = evidence.reported["cards"]["h100_gib"], released.needed_gib("720*400", 4)
    if needed < card:
        return judged(False, f"weights and 4 caches need {needed:.1f} GiB: one card of {card} GiB holds them",
                      needed=needed)
    return needs_rows(evidence, "5 GPUs", backend="wan-s2v-14b", size="720*400")


# ------------------------------------------------------------------------------------------- memory

@claim("fsdp-sum", "Memory", "Sharded over 5 cards the 14B model needs 25.65 GB a card, more than the 22.15 GB usable.",
       "the article's own sum, and a fifth of the transformer's weights")
def _(evidence: Evidence) -> Verdict:
    memory = evidence.reported["memory"]
    total = memory["sharded_gb"] + memory["unshard_gb"]
    share = released.weights_gib() * 2**30 / 1e9 / memory["cards"]
    adds_up = math.isclose(total, memory["needed_gb"], abs_tol=0.01) and total > memory["usable_gb"]
    says = (f"{memory['sharded_gb']} + {memory['unshard_gb']} = {total:.2f} GB; a fifth of the transformer's weights "
            f"is {share:.2f} GB")
    if not adds_up:
        return judged(False, says)
    return Verdict(UNTESTED, f"{says}: what fills the rest cannot be seen without {memory['cards']} cards of "
                             f"{memory['card_gb']} GB", {"share_gb": share})


@claim("unshard", "Memory", "More steps take more memory because steps gather (unshard) the weights.",
       "one device, nothing sharded: do weights stay the same while memory grows by one cache a step?")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence)
    if missing := lacking(rows, CACHES):
        return untested(missing)
    caches = {steps: found.mean for steps, found in rows.by("steps", CACHES.column).items() if found.known}
    weights = {found.mean for found in rows.by("steps", "weights_mib").values() if found.known}
    if len(caches) < 3:
        return untested("the table has too few numbers of steps")
    each = [mib / steps for steps, mib in caches.items()]
    by_caches = max(each) - min(each) < 0.01 * max(each) and len(weights) == 1
    says = (f"weights take {min(weights):.0f} MiB at any number of steps, caches {each[0]:.1f} MiB a step: memory "
            "grows with steps where nothing is sharded")
    return judged(not by_caches, says, cache_mib=each[0])


@claim("gradients", "Memory", "Weights are gathered to compute gradients.",
       "does any result of any step carry a gradient?")
def _(evidence: Evidence) -> Verdict:
    rows = evidence.table.finished
    if "gradients" not in rows.columns:
        return untested("the table does not say whether gradients were computed")
    carried = sum(bool(row.get("gradients")) for row in rows)
    return judged(carried > 0, f"of {len(rows)} videos {carried} computed gradients: generating needs none")


@claim("24gb", "Memory", "5 cards of 24 GB cannot run the 14B model.", "results of the 14B model on 24 GB cards")
def _(evidence: Evidence) -> Verdict:
    return needs_rows(evidence, "5 cards of 24 GB", backend="wan-s2v-14b", device="5x24GB")


@claim("oom", "How to choose", "Out of memory cannot be recovered from except by killing all processes.",
       "results of a GPU that ran out of memory and went on")
def _(evidence: Evidence) -> Verdict:
    over = [row for row in evidence.table.failed if "out of memory" in str(row.get("error", "")).lower()]
    if not over:
        return untested("it needs a GPU that runs out of memory; none of the results did")
    later = len(evidence.table.finished)
    return judged(later == 0, f"{len(over)} videos ran out of memory, {later} others were made by the same sweep")


# ------------------------------------------------------------------------------------------- streaming

@claim("620-ms", "Streaming", "A clip of 48 frames takes 620 ms at 704*384 and 4 steps on one card.",
       "operations it cannot do without, from the shape of the network, against the peak of one H100, bf16 and fp8")
def _(evidence: Evidence) -> Verdict:
    cards, asked = evidence.reported["cards"], evidence.reported["streaming"]
    work = released.clip_petaflop(asked["size"], asked["clip_frames"], 4)
    fastest = {kind: 1e6 * work / cards[f"h100_{kind}_tflops"] for kind in ("bf16", "fp8")}
    said = asked["rows"][0]["clip_ms"]
    says = (f"reported {said} ms; without portrait, sound and decoding, at the peak of the card, "
            f"{fastest['bf16']:.0f} ms in bf16 and {fastest['fp8']:.0f} ms in fp8")
    return judged(said >= min(fastest.values()), says, **fastest)


@claim("fifth-late", "Streaming", "A fifth step turns 620 ms a clip into more than 850 ms.",
       "the article's figures against its own 25 % for a fifth step; and mini's time per block at 5 steps against 4")
def _(evidence: Evidence) -> Verdict:
    said = {row["steps"]: row["clip_ms"] for row in evidence.reported["streaming"]["rows"]}
    grows, own = said[5] / said[4] - 1, evidence.reported["steps"]["time_of_a_fifth_step"]
    rows = student(evidence)
    if missing := lacking(rows, WORK):
        return untested(missing)
    change = rows.difference(WORK.column, {"steps": 4}, {"steps": 5}, relative=True)
    says = f"620 to 850 ms is {grows:+.0%}, elsewhere the article says {own:+.0%}; measured {change:+.0%}"
    return agrees(change, grows, 0.02, says)


@claim("deadline", "Streaming", "Online, 4 steps keep up and 5 do not.",
       "time per block of mini at 4 and 5 steps against the time the block is shown, on the machine of the results")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence)
    if missing := lacking(rows, TIME):
        return untested(missing)
    shown_ms = 1000 / evidence.reported["released"]["fps"]
    found = {steps: rows.where(steps=steps).estimate(TIME.column) for steps in (4, 5)}
    if not all(one.bounded for one in found.values()):
        return untested("the table has no two videos each of 4 and 5 steps")
    says = ", ".join(f"{steps} steps take {one:.0f} ms a frame" for steps, one in found.items())
    says += f"; a frame is shown for {shown_ms:.0f} ms"
    if found[4].low > shown_ms or found[5].high < shown_ms:
        return judged(False, says)
    if found[4].high < shown_ms < found[5].low:
        return judged(True, says)
    return untested(f"{says}: the intervals are too wide")


# ------------------------------------------------------------------------------------------- choices

@claim("5-and-6-work", "How to choose", "5 and 6 steps work, only slower.",
       "how many caches the released program builds against steps; and whether our videos of 5 and 6 steps were made")
def _(evidence: Evidence) -> Verdict:
    caches = evidence.reported["released"]["caches"]
    made = len(student(evidence, steps=(5, 6)))
    return judged(caches >= 6, f"the released program builds {caches} caches, one for each step, so a fifth step has "
                               f"none (reported by its code); here {made} videos of 5 and 6 steps were made")


@claim("six-never", "How to choose", "Never 6 or more steps on several GPUs.", "results on several GPUs")
def _(evidence: Evidence) -> Verdict:
    return needs_rows(evidence, "the 14B model on several GPUs", backend="wan-s2v-14b", steps=6)


@claim("704-never", "How to choose", "Never 5 or more steps at 704*384 on 4 cards of 24 GB.",
       "a fourth of the weights and of 5 caches against the memory of a card")
def _(evidence: Evidence) -> Verdict:
    card = evidence.reported["memory"]["card_gb"] * 1e9 / 2**30
    each = {steps: released.needed_gib("704*384", steps) / 4 for steps in (4, 5)}
    says = f"spread evenly 5 steps need {each[5]:.1f} GiB of {card:.1f} a card, 4 steps {each[4]:.1f}"
    if each[5] < card:
        return untested(f"{says}; what else is needed cannot be seen without the cards")
    return judged(each[4] < card, says)


@claim("offline-long", "How to choose", "4 or more steps never with 200 clips of 64 frames and decoding at the end.",
       "is it refused at 4 steps and not at 3? And what waits until the end, from its shape")
def _(evidence: Evidence) -> Verdict:
    chosen = evidence.reported["choices"]
    frames = chosen["long_infer_frames"] * chosen["long_num_clip"]
    refused = {steps: refusal(chosen, steps) for steps in (3, 4)}
    waiting = released.waiting_gib("704*384", frames)
    says = (f"{frames} frames leave {waiting:.0f} GiB of latents and pictures to the end, whatever the steps; "
            + (f"and this is no video at any number of steps: {refused[4]}" if refused[4] else "it can be asked for"))
    return judged(not refused[3] and bool(refused[4]), says, waiting_gib=waiting)


def refusal(chosen: dict, steps: int) -> str:
    """Why such a video cannot be asked for; "" when it can."""
    try:
        GenerationConfig(sample_steps=steps, infer_frames=chosen["long_infer_frames"],
                         num_clip=chosen["long_num_clip"], enable_online_decode=False)
    except InputError as error:
        return str(error)
    return ""


@claim("offload", "How to choose", "5 steps fit an 80 GB card with --offload_model True.",
       "5 caches at 704*384 without the weights against the card")
def _(evidence: Evidence) -> Verdict:
    card, caches = evidence.reported["cards"]["h100_gib"], 5 * released.cache_gib("704*384")
    weights = released.weights_gib()
    if caches > card:
        return judged(False, f"5 caches alone need {caches:.1f} GiB of {card}")
    return untested(f"5 caches need {caches:.1f} GiB of {card}; they leave {card - caches:.1f} GiB for {weights:.1f} "
                    "GiB of weights, which must move in and out at every step: how fast needs the 14B model on a card")


# ------------------------------------------------------------------------------------------- prompts and sound

@claim("rich-steps", "How to choose", "Rich prompts gain nothing from more steps.",
       "rich prompt: lips and face texture at the most steps against 4")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence, prompt=RICH, seed=...)
    most = max(rows.distinct("steps"), default=0)
    if most <= 4:
        return untested("the table has no rich prompts at more than 4 steps")
    return all_of(same(rows, measure, {"steps": 4}, {"steps": most}, ("4 steps", f"{most} steps"))
                  for measure in (LIPS, PSNR))


@claim("poor-drifts", "How to choose", "Poor prompts drift in identity.",
       "identity drift at 4 steps, rich prompt against poor: same people, sounds and noise")
def _(evidence: Evidence) -> Verdict:
    return better(student(evidence, prompt=(RICH, POOR), seed=..., steps=4), IDENTITY, {"prompt": POOR},
                  {"prompt": RICH}, ("the poor prompt", "the rich one"))


@claim("poor-stiff", "How to choose", "Poor prompts stiffen and more steps make it worse.",
       "poor prompt: identity drift at the most steps against 4: is it worse?")
def _(evidence: Evidence) -> Verdict:
    rows = student(evidence, prompt=POOR, seed=...)
    most = max(rows.distinct("steps"), default=0)
    if most <= 4:
        return untested("the table has no poor prompts at more than 4 steps")
    return better(rows, IDENTITY, {"steps": most}, {"steps": 4}, (f"{most} steps", "4 steps"))


def with_sounds(evidence: Evidence) -> Table:
    return student(evidence, noise_db=..., clean=...)


@claim("noise-hurts", "How to choose", "A noisy recording makes lips worse: +-5 frames instead of +-1.8.",
       "lip error at 4 steps, clean recordings against the noisiest")
def _(evidence: Evidence) -> Verdict:
    rows = with_sounds(evidence).where(steps=4, clean="")
    levels = rows.distinct("noise_db")
    if not levels:
        return untested("the table has no noisy recordings")
    names = f"noise at {levels[0]:g} dB", "a clean one"
    return better(rows, LIPS, {"noise_db": levels[0]}, {"noise_db": None}, names)


@claim("cleaning-helps", "How to choose", "Stationary noise reduction before generating repairs the lips.",
       "lip error at 4 steps and the noisiest recordings: cleaned by the article's recipe against left as they are")
def _(evidence: Evidence) -> Verdict:
    rows = with_sounds(evidence).where(steps=4)
    levels = rows.distinct("noise_db")
    if not levels:
        return untested("the table has no noisy recordings")
    return better(rows.where(noise_db=levels[0]), LIPS, {"clean": ""}, {"clean": "noisereduce"},
                  (f"noise at {levels[0]:g} dB left alone", "the recipe"))


@claim("sound-70", "How to choose", "Sound makes 70 % of lip precision, steps the rest.",
       "for each person and sentence, what noise explains of the lip error that noise and steps explain together")
def _(evidence: Evidence) -> Verdict:
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
    """Of the variance that rows and columns explain, the share of columns: main effects of a two-way table (R, C)."""
    columns, rows = grid.mean(0).var(), grid.mean(1).var()
    return float(columns / max(columns + rows, 1e-12))
