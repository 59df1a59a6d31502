"""Claims about streaming: which settings keep up."""

from __future__ import annotations

from liveavatar.study import released
from liveavatar.study.claims.judging import (
    Evidence,
    Verdict,
    agrees,
    claim,
    judged,
    lacking,
    student,
    untested,
)
from liveavatar.study.measures import TIME, WORK


@claim("620-ms", "Streaming", "A clip of 48 frames takes 620 ms at 704*384 and 4 steps on one card.",
       "operations it cannot do without, from the shape of the network, against the peak of one H100, bf16 and fp8")
def judge_620_ms(evidence: Evidence) -> Verdict:
    cards, asked = evidence.reported["cards"], evidence.reported["streaming"]
    work = released.clip_petaflop(asked["size"], asked["clip_frames"], 4)
    fastest = {kind: 1e6 * work / cards[f"h100_{kind}_tflops"] for kind in ("bf16", "fp8")}
    said = asked["rows"][0]["clip_ms"]
    says = (f"reported {said} ms; without portrait, sound and decoding, at the peak of the card, "
            f"{fastest['bf16']:.0f} ms in bf16 and {fastest['fp8']:.0f} ms in fp8")
    return judged(said >= min(fastest.values()), says, **fastest)


@claim("fifth-late", "Streaming", "A fifth step turns 620 ms a clip into more than 850 ms.",
       "the article's figures against its own 25 % for a fifth step; and mini's time per block at 5 steps against 4")
def judge_fifth_late(evidence: Evidence) -> Verdict:
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
def judge_deadline(evidence: Evidence) -> Verdict:
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
