"""Claims about streaming: which settings keep up."""

from __future__ import annotations

from liveavatar.study import released
from liveavatar.study.claims import measured
from liveavatar.study.claims.judging import agrees, lacking, student, unknown
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    ARTICLE,
    ON_14B,
    ON_MINI,
    PIPELINED,
    SHAPES,
    SPEED,
    STUDY,
    Answer,
    Evidence,
    Figure,
    claim,
)
from liveavatar.study.measures import TIME, WORK

MS_620 = claim("620-ms", "Streaming", "A clip of 48 frames takes 620 ms at 704*384 and 4 steps on one card.",
               "settled for cards of 80 GB, which the article speaks of, and for H200. A block of 12 frames, a quarter "
               "of a clip, does take about as long: perhaps that was meant")


@MS_620.asks(ARITHMETIC, "operations it cannot do without, from the shape of the network, at the peak of one H100",
             SHAPES)
def judge_620_ms(evidence: Evidence) -> Answer:
    cards, asked = evidence.reported["cards"], evidence.reported["streaming"]
    work = released.clip_petaflop(asked["size"], asked["clip_frames"], 4)
    fastest = {kind: 1e6 * work / cards[f"h100_{kind}_tflops"] for kind in ("bf16", "fp8")}
    said = asked["rows"][0]["clip_ms"]
    says = (f"without portrait, sound and decoding, at the peak of the card, which nobody reaches: "
            f"{fastest['bf16']:.0f} ms in bf16 and {fastest['fp8']:.0f} ms in fp8, against {said} reported")
    return Answer(said >= min(fastest.values()), says, fastest)


@MS_620.asks(ON_14B, "four blocks of 12 frames on one H200, by the fastest settings", SPEED)
def judge_620_ms_14b(evidence: Evidence) -> Answer:
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    asked = evidence.reported["streaming"]
    blocks = asked["clip_frames"] / measured.BLOCK_FRAMES
    slow, fast = (blocks * measured.speed()[name]["block_ms"] for name in (measured.BF16, measured.FASTEST))
    return Answer(fast <= asked["rows"][0]["clip_ms"], f"{fast:.0f} ms in 8 bits, {slow:.0f} ms in bf16; one block of "
                  f"{measured.BLOCK_FRAMES} frames takes {fast / blocks:.0f} ms in 8 bits", {"clip_ms": fast})


FIFTH_LATE = claim("fifth-late", "Streaming", "A fifth step turns 620 ms a clip into more than 850 ms.",
                   "settled where everything stays on the card: a fifth step cannot add more than a quarter. Where its "
                   "cache does not fit and moves to main memory, it may")


@FIFTH_LATE.asks(ARITHMETIC, "the article's figures against its own 25 % for a fifth step", ARTICLE)
def judge_fifth_of_article(evidence: Evidence) -> Answer:
    said = {row["steps"]: row["clip_ms"] for row in evidence.reported["streaming"]["rows"]}
    grows, own = said[5] / said[4] - 1, evidence.reported["steps"]["time_of_a_fifth_step"]
    return Answer(grows <= own + 0.02, f"{said[4]} to {said[5]} ms is {grows:+.0%}; a fifth step is a quarter of four, "
                  f"and the article itself says {own:+.0%}: that would be {said[4] * (1 + own):.0f} ms",
                  {"grows": grows})


@FIFTH_LATE.asks(ON_14B, "time of a measured step against that of a measured block of four", SPEED)
def judge_fifth_late_14b(evidence: Evidence) -> Answer:
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    said = {row["steps"]: row["clip_ms"] for row in evidence.reported["streaming"]["rows"]}
    grows, most = said[5] / said[4] - 1, max(measured.share_of_a_step(name) for name in measured.speed())
    return Answer(grows <= most + 0.02, f"on one H200 a step is at most {most:.0%} of a block of four steps",
                  {"most": most})


@FIFTH_LATE.asks(ON_MINI, "work per frame at 5 steps against 4: does it grow as 620 to 850 ms?", STUDY)
def judge_fifth_late(evidence: Evidence) -> Answer:
    said = {row["steps"]: row["clip_ms"] for row in evidence.reported["streaming"]["rows"]}
    rows = student(evidence)
    if missing := lacking(rows, WORK):
        return unknown(missing)
    change = rows.difference(WORK.column, {"steps": 4}, {"steps": 5}, relative=True)
    return agrees(change, said[5] / said[4] - 1, 0.02, "work per frame, 5 steps over 4", "+.0%")


DEADLINE = claim("deadline", "Streaming", "Online, 4 steps keep up and 5 do not.",
                 "settled for one H200, where neither keeps up. For several cards: a run of 5 steps by torchrun")


@DEADLINE.asks(ON_14B, "a block of 4 steps on one H200 against the time it is seen", SPEED)
def judge_deadline_14b(evidence: Evidence) -> Answer:
    if not measured.speed():
        return unknown(measured.NOT_HERE)
    fast = measured.speed()[measured.FASTEST]["block_ms"]
    return Answer(fast < measured.SHOWN_MS, f"on one H200 a block of 4 steps takes {fast:.0f} ms by the fastest "
                  f"settings, and is seen for {measured.SHOWN_MS:.0f}: 4 steps do not keep up", {"block_ms": fast})


@DEADLINE.asks(ON_14B, "the same on two H200 that share the steps", PIPELINED)
def judge_deadline_two(evidence: Evidence) -> Answer:
    if not (found := measured.two_cards()):
        return unknown(measured.NOT_HERE)
    three = 3 * found["step_ms"]
    return unknown(f"two H200 make a block of 4 steps every {found['block_ms']:.0f} ms and keep up; the first card is "
                   f"idle a third of the time, three steps on it would take {three:.0f} ms, so that 5 steps should "
                   "keep up as well. That was not run")


@DEADLINE.asks(ON_MINI, "time per frame of mini at 4 and 5 steps against the time a frame is shown, on the machine of "
                        "the results", STUDY)
def judge_deadline(evidence: Evidence) -> Answer:
    rows = student(evidence)
    if missing := lacking(rows, TIME):
        return unknown(missing)
    shown_ms = 1000 / evidence.reported["released"]["fps"]
    found = {steps: rows.where(steps=steps).estimate(TIME.column) for steps in (4, 5)}
    if not all(one.bounded for one in found.values()):
        return unknown("the table has no two videos each of 4 and 5 steps")
    figures = tuple(Figure(f"time per frame at {steps} steps", one, "ms") for steps, one in found.items())
    if found[4].low > shown_ms:
        return Answer(False, f"4 steps do not keep up with {shown_ms:.0f} ms a frame", {}, figures)
    if found[5].high < shown_ms:
        return Answer(False, f"5 steps keep up with {shown_ms:.0f} ms a frame as well", {}, figures)
    if found[4].high < shown_ms < found[5].low:
        return Answer(True, f"4 steps keep up with {shown_ms:.0f} ms a frame, 5 do not", {}, figures)
    return Answer(None, f"on its machine both are too near to the {shown_ms:.0f} ms that a frame is shown", {}, figures)
