"""Claims about memory."""

from __future__ import annotations

import math

from liveavatar.study import released
from liveavatar.study.claims.judging import (
    UNTESTED,
    Evidence,
    Verdict,
    claim,
    judged,
    lacking,
    needs_rows,
    student,
    untested,
)
from liveavatar.study.measures import CACHES


@claim("fsdp-sum", "Memory", "Sharded over 5 cards the 14B model needs 25.65 GB a card, more than the 22.15 GB usable.",
       "the article's own sum, and a fifth of the transformer's weights")
def judge_fsdp_sum(evidence: Evidence) -> Verdict:
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
def judge_unshard(evidence: Evidence) -> Verdict:
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
def judge_gradients(evidence: Evidence) -> Verdict:
    rows = evidence.table.finished
    if "gradients" not in rows.columns:
        return untested("the table does not say whether gradients were computed")
    carried = sum(bool(row.get("gradients")) for row in rows)
    return judged(carried > 0, f"of {len(rows)} videos {carried} computed gradients: generating needs none")


@claim("24gb", "Memory", "5 cards of 24 GB cannot run the 14B model.", "results of the 14B model on 24 GB cards")
def judge_24gb(evidence: Evidence) -> Verdict:
    return needs_rows(evidence, "5 cards of 24 GB", backend="wan-s2v-14b", device="5x24GB")


@claim("oom", "How to choose", "Out of memory cannot be recovered from except by killing all processes.",
       "results of a GPU that ran out of memory and went on")
def judge_oom(evidence: Evidence) -> Verdict:
    over = [row for row in evidence.table.failed if "out of memory" in str(row.get("error", "")).lower()]
    if not over:
        return untested("it needs a GPU that runs out of memory; none of the results did")
    later = len(evidence.table.finished)
    return judged(later == 0, f"{len(over)} videos ran out of memory, {later} others were made by the same sweep")
