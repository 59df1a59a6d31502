"""What the notebooks show: drawings of the results, and the tables beside them.

Measured is solid, with 95 % intervals; what others report is hollow and says so. Colours are those of Okabe & Ito 2008,
apart for any colour vision. A drawing is a `Picture`: a notebook shows it, `save` keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveavatar.study.claims import (
    CLAIMS,
    CONFIRMED,
    DEPENDS,
    NO,
    OPEN,
    PARTLY_OPEN,
    PARTS,
    REFUTED,
    TOO_FEW,
    YES,
    Verdict,
    judge_all,
)
from liveavatar.study.claims.page import ClaimsPage
from liveavatar.study.drawing import (
    DARK_GREY,
    MODELS,
    STUDENT,
    Picture,
    axes,
    course,
    finished,
    has,
    hollow,
    legend,
    nothing,
    whole_numbers,
)
from liveavatar.study.measures import (
    CACHES,
    EARS,
    FOLLOWS,
    IDENTITY,
    LIPS,
    PSNR,
    TEXTURE,
    WORK,
    reported,
    usual,
)
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.released import frame_tokens
from liveavatar.study.results import Results
from liveavatar.study.results import results as results  # notebooks call `figures.results()`
from liveavatar.study.table import Table
from liveavatar.study.text_table import Text
from liveavatar.web.palette import GREEN, ORANGE, PURPLE, SKY, VERMILION

if TYPE_CHECKING:

    from liveavatar.types import Speech

OF_VERDICT = {CONFIRMED: GREEN, REFUTED: VERMILION, DEPENDS: ORANGE, PARTLY_OPEN: STUDENT, OPEN: DARK_GREY}
OF_MINI = {YES: SKY, NO: PURPLE, TOO_FEW: DARK_GREY}       # not the colours of verdicts, which mini does not give


# ------------------------------------------------------------------------------------------- why four

def table_1(found: Results) -> Picture:
    """Draw the article's Table 1, hollow, beside what mini measures, for student and teacher."""
    rows = usual(found.table)
    said = reported()["steps"]["rows"]
    figure, places = axes(4, 13.5, 3.6)
    for axis, measure in zip(places, (LIPS, PSNR, None, WORK), strict=True):
        column = measure.reported if measure else "jerk_index"
        hollow(axis, [row["steps"] for row in said], [row[column] for row in said])
        if measure is None:
            axis.set_title("hand jerk index", fontsize=10)
            axis.set_ylabel("no unit: the article does not define it,\nso nothing is measured beside it", fontsize=8)
            whole_numbers(axis, [row["steps"] for row in said])
            continue
        for (model, colour), shift in zip(MODELS.items(), (-0.08, 0.08), strict=True):
            course(axis, up_to_8(rows.where(model=model)).by("steps", measure.column), colour, model, shift)
        axis.set_title(measure.label, fontsize=10)
        axis.set_ylabel(measure.axis.split("\n", 1)[1])
        whole_numbers(axis, up_to_8(rows).distinct("steps"))
    legend(places[0], loc="upper right")
    for axis in (places[0], places[3]):
        axis.set_ylim(bottom=0)
    places[0].set_ylim(top=1.35 * places[0].get_ylim()[1])       # room for the legend above the points
    return finished(figure, found, "Table 1: reported (hollow) and measured (solid, 95 % intervals)")


def up_to_8(table: Table) -> Table:
    return Table([row for row in table if row["steps"] <= 8])


def table_1_words(found: Results) -> Text:
    """Return the same in numbers."""
    rows = usual(found.table)
    lines = []
    for said in reported()["steps"]["rows"]:
        steps = said["steps"]
        line = {"steps": steps, "lip error, frames: reported": said["lip_error_frames"]}
        for model in MODELS:
            line[model] = rows.where(model=model, steps=steps).estimate(LIPS.column)
        line["face, dB: reported"] = said["face_psnr_db"]
        for model in MODELS:
            line[f"{model} "] = rows.where(model=model, steps=steps).estimate(PSNR.column)
        lines.append(line)
    return Text(lines)


def trade_offs(found: Results) -> Picture:
    """Draw quality against time against memory: one point per number of steps."""
    rows = up_to_8(usual(found.table))
    figure, places = axes(2, 11, 4.2)
    for axis, measure in zip(places, (FOLLOWS, PSNR), strict=True):
        for model, colour in MODELS.items():
            mine = rows.where(model=model)
            for steps in mine.distinct("steps"):
                here = mine.where(steps=steps)
                quality, work = here.estimate(measure.column), here.estimate(WORK.column)
                memory = here.estimate(CACHES.column)
                if not (quality.known and work.known and memory.known):
                    continue
                axis.scatter(work.mean, quality.mean, s=12 * memory.mean**0.8 + 20, color=colour, alpha=0.55,
                             edgecolor="white", label=model if steps == mine.distinct("steps")[0] else None)
                axis.annotate(str(steps), (work.mean, quality.mean), ha="center", va="center", fontsize=8)
                if quality.bounded:
                    axis.vlines(work.mean, quality.low, quality.high, color=colour, linewidth=1)
        axis.set_xlabel(f"{WORK.label} (ms, of processors)")
        axis.set_ylabel(measure.axis)
    for handle in legend(places[0], loc="lower right"):
        handle.set_sizes([60])
    return finished(figure, found, "Numbers are steps; areas are the memory of the caches, one for each step")


def knee(found: Results) -> Picture:
    """Draw what each further step gains, and what would matter."""
    rows = up_to_8(usual(found.table).where(model="student"))
    figure, places = axes(3, 12.5, 3.4)
    for axis, measure in zip(places, (LIPS, PSNR, TEXTURE), strict=True):
        counts = rows.distinct("steps")
        if not has(rows, measure) or len(counts) < 2:
            nothing(axis, f"no {measure.label} in the results")
            continue
        axis.axhspan(-measure.worth, measure.worth, color="#d0d7de", alpha=0.5, linewidth=0)
        axis.axhline(0, color=DARK_GREY, linewidth=0.8)
        for before, steps in zip(counts, counts[1:], strict=False):
            gain = rows.difference(measure.column, {"steps": before}, {"steps": steps})
            sign = measure.better
            clear = gain.bounded and gain.low * gain.high > 0 and abs(gain.mean) > measure.worth
            axis.bar(steps, sign * gain.mean, color=STUDENT if clear else SKY, width=0.7)
            if gain.bounded:
                axis.vlines(steps, sign * gain.low, sign * gain.high, color="#1f2328", linewidth=1.4)
        axis.set_title(measure.label, fontsize=10)
        axis.set_ylabel(f"gained by one step more ({measure.unit})" if measure.unit else "gained by one step more")
        whole_numbers(axis, counts[1:], "up to so many steps")
    return finished(figure, found, "Where is the knee? Grey: differences too small to matter. Dark: sure, and more")


def contributions(found: Results) -> Picture:
    """Draw what each of four steps does: share of the path, change of the guess, and what the lips gain."""
    guesses = found.table.guesses
    figure, places = axes(3, 12.5, 3.4)
    kinds = (("trained", STUDENT, -0.2), ("released", PURPLE, 0.2))
    names = ("path_share", "guess_change", FOLLOWS.column)
    titles = ("share of the path from noise to picture", "how far the guess moves (latents have unit variance)",
              "lips of the guess follow the sound (correlation)")
    for axis, column, title in zip(places, names, titles, strict=True):
        for schedule, colour, shift in kinds:
            mine = guesses.where(model="student", steps=4, schedule=schedule, solver="euler")
            for index, one in mine.by("after_step", column).items():
                if one.known:
                    axis.bar(index + shift, one.mean, width=0.38, color=colour, label=schedule if index == 0 else None)
                    if one.bounded:
                        axis.vlines(index + shift, one.low, one.high, color="#1f2328", linewidth=1.2)
        axis.set_title(title, fontsize=9.5)
        whole_numbers(axis, range(4), "sampler step")
    legend(places[0])
    return finished(figure, found, "Four steps, one by one: the times mini was trained on, and those released")


def sync_by_step(found: Results) -> Picture:
    """Draw when the lips lock to the sound: the guess after each step, decoded and measured."""
    guesses = found.table.guesses
    figure, places = axes(2, 11, 3.8)
    plain = guesses.where(schedule="trained", prompt="", noise_db=None)
    for axis, measure in zip(places, (FOLLOWS, PSNR), strict=True):
        if not len(plain) or not has(plain, measure):
            nothing(axis, f"no {measure.label} after single steps")
            continue
        for model, colour in MODELS.items():
            for steps, style in zip((4, 8, 3, 6), ("-", "--", ":", "-."), strict=True):
                mine = plain.where(model=model, steps=steps)
                by = {1 - row["sigma_next"]: None for row in mine}
                estimates = {place: Table([row for row in mine if 1 - row["sigma_next"] == place])
                             .estimate(measure.column) for place in sorted(by)}
                course(axis, estimates, colour, f"{model}, {steps} steps", linestyle=style)
        axis.set_xlabel("share of the path done (0 noise, 1 picture)")
        axis.set_ylabel(measure.axis)
    legend(places[0])
    return finished(figure, found, "Lips and face of what the model believes after each step")


def schedules(found: Results) -> Picture:
    """Draw where the steps are put, and how a step is made."""
    rows = usual(found.table, schedule=..., solver=...).where(model="student").shared("schedule")
    figure, places = axes(2, 11, 3.6)
    colours = {"trained": STUDENT, "released": PURPLE, "linear": GREEN}
    for axis, measure in zip(places, (FOLLOWS, PSNR), strict=True):
        for schedule, colour in colours.items():
            for solver, style, shift in (("euler", "-", -0.05), ("renoise", "--", 0.05)):
                mine = up_to_8(rows.where(schedule=schedule, solver=solver))
                shared = Table([row for row in mine if 3 <= row["steps"] <= 6])
                course(axis, shared.by("steps", measure.column), colour, f"{schedule}, {solver}", shift,
                       linestyle=style)
        axis.set_ylabel(measure.axis)
        whole_numbers(axis, [row["steps"] for row in rows if 3 <= row["steps"] <= 6])
    legend(places[0])
    return finished(figure, found, "Schedules and solvers: the same noise, the same people")


# ------------------------------------------------------------------------------------------- sizes, words, sound

def by_size(found: Results) -> Picture:
    """Draw quality and cost at small, usual and large pictures."""
    rows = usual(found.table, size=...).where(model="student").shared("size")
    sizes = sorted(rows.distinct("size"), key=frame_tokens)
    figure, places = axes(3, 12.5, 3.5)
    for axis, measure in zip(places, (FOLLOWS, PSNR, WORK), strict=True):
        for size, colour in zip(sizes, (SKY, STUDENT, PURPLE, GREEN), strict=False):
            mine = Table([row for row in rows.where(size=size) if 3 <= row["steps"] <= 5])
            course(axis, mine.by("steps", measure.column), colour, size, 0.05 * (sizes.index(size) - 1))
        axis.set_ylabel(measure.axis)
        whole_numbers(axis, (3, 4, 5))
    legend(places[0], title="pixels")
    return finished(figure, found, "Size and steps (Table 2): is a smaller picture content with fewer steps?")


def by_prompt(found: Results) -> Picture:
    """Draw rich against poor words at few and many steps."""
    rows = usual(found.table, prompt=(RICH, POOR), seed=...).where(model="student")
    figure, places = axes(3, 12.5, 3.5)
    for axis, measure in zip(places, (IDENTITY, FOLLOWS, PSNR), strict=True):
        for prompt, colour, name, shift in ((RICH, GREEN, "rich", -0.06), (POOR, VERMILION, "poor", 0.06)):
            course(axis, rows.where(prompt=prompt).by("steps", measure.column), colour, name, shift)
        axis.set_ylabel(measure.axis)
        whole_numbers(axis, rows.distinct("steps"))
    legend(places[0], title="prompt")
    return finished(figure, found, f"“{RICH}” and “{POOR}”")


def by_sound(found: Results) -> Picture:
    """Draw noise and cleaning against lips."""
    rows = usual(found.table, noise_db=..., clean=...).where(model="student", steps=4).shared("noise_db")
    figure, places = axes(2, 11, 3.8)
    kinds = (("", VERMILION, "left as it is"), ("noisereduce", ORANGE, "the article's recipe (noisereduce)"),
             ("wiener", GREEN, "our default (Wiener)"))
    levels = [None, *sorted(rows.distinct("noise_db"), reverse=True)]
    for axis, measure in zip(places, (LIPS, FOLLOWS), strict=True):
        for (clean, colour, name), shift in zip(kinds, (-0.08, 0.0, 0.08), strict=True):
            mine = rows.where(clean=clean)
            course(axis, {place: mine.where(noise_db=level).estimate(measure.column)
                          for place, level in enumerate(levels)}, colour, name, shift)
        axis.set_xticks(range(len(levels)), ["no noise", *(f"{level:g} dB" for level in levels[1:])])
        axis.set_xlabel("steady noise, so far below the voice")
        axis.set_ylabel(measure.axis)
    said = reported()["audio"]
    for key, words, mark in (("noisy_error_frames", "noisy", "D"), ("clean_error_frames", "cleaned", "s")):
        places[0].plot([len(levels) - 0.75], [said[key]], mark, color=DARK_GREY, markerfacecolor="none",
                       label=f"reported (article), 14B: {words}, no dB given")
    places[0].set_ylim(bottom=0)
    legend(places[0], loc="upper left")
    return finished(figure, found, "Sound: how much do noise and cleaning do to the lips at 4 steps?")


def deadlines(found: Results) -> Picture:
    """Draw the time per frame against the time a frame is shown."""
    rows = up_to_8(usual(found.table))
    figure, places = axes(2, 11, 3.8)
    shown_ms = 1000 / reported()["released"]["fps"]
    for (model, colour), shift in zip(MODELS.items(), (-0.06, 0.06), strict=True):
        mine = rows.where(model=model)
        course(places[0], mine.by("steps", WORK.column), colour, model, shift)
        course(places[1], mine.by("steps", "first_picture_s"), colour, model, shift)
    places[0].axhline(shown_ms, color=VERMILION, linewidth=1.2, label=f"a frame is shown for {shown_ms:.0f} ms")
    places[0].set_ylabel("work per frame (ms, of processors)\n(lower is better)")
    places[1].set_ylabel("first picture after (s, by the clock)\n(lower is better)")
    for axis in places:
        whole_numbers(axis, rows.distinct("steps"))
        axis.set_ylim(bottom=0)
        legend(axis, loc="upper left")
    return finished(figure, found, "Deadlines of mini, where the results were made")


def reported_deadlines() -> Picture:
    """Draw the article's streaming figures beside what its 48 frames cannot do without on one card."""
    from liveavatar.study.released import clip_petaflop

    streaming, cards = reported()["streaming"], reported()["cards"]
    figure, (axis,) = axes(1, 8, 3.6)
    hollow(axis, [row["steps"] for row in streaming["rows"]], [row["clip_ms"] for row in streaming["rows"]])
    counts = (3, 4, 5, 6)
    for kind, colour in (("bf16", STUDENT), ("fp8", SKY)):
        floor = [1e6 * clip_petaflop(streaming["size"], streaming["clip_frames"], steps) / cards[f"h100_{kind}_tflops"]
                 for steps in counts]
        axis.plot(counts, floor, "-", color=colour, label=f"least time of one H100 at its peak, {kind} (computed)")
    axis.axhline(streaming["deadline_ms"], color=VERMILION, linewidth=1.2, label="the article's deadline")
    axis.set_ylabel(f"ms for a clip of {streaming['clip_frames']} frames\nat {streaming['size']}")
    whole_numbers(axis, counts)
    axis.set_ylim(bottom=0)
    legend(axis)
    return finished(figure, None, "Can a clip take 620 ms on one card?")


def flicker_by_steps(found: Results) -> Picture:
    """Draw the strongest regular flicker of the ear lobes."""
    rows = up_to_8(usual(found.table))
    figure, (axis,) = axes(1, 7, 3.4)
    for (model, colour), shift in zip(MODELS.items(), (-0.06, 0.06), strict=True):
        course(axis, rows.where(model=model).by("steps", EARS.column), colour, model, shift)
    axis.set_ylabel(EARS.axis)
    whole_numbers(axis, rows.distinct("steps"))
    legend(axis)
    return finished(figure, found, "Do more steps make ear lobes flicker?")


# ------------------------------------------------------------------------------------------- words

def claims_text(verdicts: dict[str, Verdict]) -> ClaimsPage:
    """Return every claim with its verdict, its evidence by level, and what would settle it."""
    return ClaimsPage(verdicts)


def claims_page(found: Results) -> ClaimsPage:
    """Judge every claim by these results."""
    return ClaimsPage(judge_all(found.table + found.released))


def claims_picture(verdicts: dict[str, Verdict], found: Results) -> Picture:
    """Draw all verdicts at a glance, part by part: of the 14B model, and what mini answered."""
    figure, places = axes(2, 12, 0.42 * len(PARTS) + 1.5)
    titles = ("about the 14B model: arithmetic, measurement of it", "mini, where it was asked: an analogy")
    of_mini = {name: OneVerdict(verdict.mini) for name, verdict in verdicts.items() if verdict.mini}
    for axis, title, given, colours in zip(places, titles, (verdicts, of_mini), (OF_VERDICT, OF_MINI), strict=True):
        axis.grid(False)
        for row, part in enumerate(PARTS):
            left = 0
            for verdict, colour in colours.items():
                count = sum(one.part == part and given[one.name].verdict == verdict for one in CLAIMS
                            if one.name in given)
                axis.barh(row, count, left=left, color=colour, label=verdict if row == 0 else None, height=0.66)
                if count:
                    axis.text(left + count / 2, row, str(count), ha="center", va="center", color="white", fontsize=9)
                left += count
        axis.set_yticks(range(len(PARTS)), PARTS if axis is places[0] else [""] * len(PARTS))
        axis.invert_yaxis()
        axis.set_xlabel(f"claims\n{title}")
        axis.spines[["left"]].set_visible(False)
        legend(axis, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return finished(figure, found)


@dataclass(frozen=True)
class OneVerdict:
    """One word, to be drawn as verdicts are."""

    verdict: str


def nearness_db(truth: Speech, other: Speech) -> float:
    """Return how near a recording is to the clean one, in dB: its error below it, at the loudness that fits best."""
    import numpy as np

    size = min(len(truth.wave), len(other.wave))
    a, b = truth.wave[:size].astype(float), other.wave[:size].astype(float)
    error = a - b * (a @ b) / (b @ b)
    return float(10 * np.log10((a @ a) / (error @ error)))
