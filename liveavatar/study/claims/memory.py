"""Claims about memory."""

from __future__ import annotations

import math

from liveavatar.study import released
from liveavatar.study.claims import measured
from liveavatar.study.claims.judging import lacking, student, unknown
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    CODE,
    GPU_TESTS,
    MEMORY,
    ON_14B,
    ON_MINI,
    SHAPES,
    STUDY,
    Answer,
    Evidence,
    claim,
)
from liveavatar.study.measures import CACHES

FSDP_SUM = claim("fsdp-sum", "Memory",
                 "Sharded over 5 cards the 14B model needs 25.65 GB a card, more than the 22.15 GB usable.",
                 "the article's program and settings on 5 cards of 24 GB, with a record of what fills them")


@FSDP_SUM.asks(ARITHMETIC, "the article's own sum, and a fifth of the transformer's weights", SHAPES)
def judge_fsdp_sum(evidence: Evidence) -> Answer:
    memory = evidence.reported["memory"]
    total = memory["sharded_gb"] + memory["unshard_gb"]
    share = released.weights_gib() * 2**30 / 1e9 / memory["cards"]
    adds_up = math.isclose(total, memory["needed_gb"], abs_tol=0.01) and total > memory["usable_gb"]
    says = (f"{memory['sharded_gb']} + {memory['unshard_gb']} = {total:.2f} GB, as it says; a fifth of the "
            f"transformer's weights is {share:.2f} GB, so most of the {memory['sharded_gb']} is something else, which "
            "the article does not name")
    return Answer(None if adds_up else False, says, {"share_gb": share})


UNSHARD = claim("unshard", "Memory", "More steps take more memory because steps gather (unshard) the weights.",
                "settled: one card, nothing sharded, and memory grows all the same, by the size of a cache")


@UNSHARD.asks(ON_14B, "one H200, nothing sharded: by how much does memory grow a step, and is that one cache (within "
                      "2 %)?", MEMORY)
def judge_unshard_14b(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    size = "704*384"
    peaks = {steps: found["bf16", size, steps]["peak"] for steps in (3, 4, 5)}
    each, cache = (peaks[5] - peaks[3]) / 2, released.cache_gib(size)
    return Answer(abs(each / cache - 1) >= 0.02,
                  f"{', '.join(f'{peaks[steps]:.2f}' for steps in peaks)} GiB at 3, 4 and 5 steps: {each:.2f} GiB a "
                  f"step, and a step's own cache has {cache:.2f} by its shape", {"each_gib": each, "cache_gib": cache})


@UNSHARD.asks(ON_MINI, "one device, nothing sharded: do weights change, or does memory grow otherwise than by one "
                       "cache a step?", STUDY)
def judge_unshard(evidence: Evidence) -> Answer:
    rows = student(evidence)
    if missing := lacking(rows, CACHES):
        return unknown(missing)
    caches = {steps: found.mean for steps, found in rows.by("steps", CACHES.column).items() if found.known}
    weights = {found.mean for found in rows.by("steps", "weights_mib").values() if found.known}
    if len(caches) < 3:
        return unknown("the table has too few numbers of steps")
    each = [mib / steps for steps, mib in caches.items()]
    by_caches = max(each) - min(each) < 0.01 * max(each) and len(weights) == 1
    says = (f"weights take {min(weights):.0f} MiB at any number of steps, caches {each[0]:.1f} MiB a step: memory "
            "grows with steps where nothing is sharded" if by_caches else
            "memory grows otherwise than by one cache a step")
    return Answer(not by_caches, says, {"cache_mib": each[0]})


GRADIENTS = claim("gradients", "Memory", "Weights are gathered to compute gradients.",
                  "settled: generating a video computes no gradients")


@GRADIENTS.asks(ARITHMETIC, "does the released program record gradients while it generates?", CODE)
def judge_gradients_in_code(evidence: Evidence) -> Answer:
    return Answer(evidence.reported["released"]["records_gradients"],
                  "the released program runs the network under torch.no_grad(): nothing is kept to compute gradients "
                  "from. FSDP gathers a layer's weights for its forward pass")


@GRADIENTS.asks(ON_14B, "is there room for gradients in the memory that was measured?", MEMORY)
def judge_gradients_14b(evidence: Evidence) -> Answer:
    if not (found := measured.memory()):
        return unknown(measured.NOT_HERE)
    peak, needed = found["bf16", "704*384", 4]["peak"], released.needed_gib("704*384", 4)
    room = peak - needed
    return Answer(room > released.weights_gib(), f"of {peak:.1f} GiB at the most in this program, weights, condition "
                  f"and caches are {needed:.1f}; gradients would take as much as the weights, "
                  f"{released.weights_gib():.1f}, and {room:.1f} are left", {"room_gib": room})


@GRADIENTS.asks(ON_MINI, "does any result of any step carry a gradient?", STUDY)
def judge_gradients(evidence: Evidence) -> Answer:
    rows = evidence.table.finished
    if "gradients" not in rows.columns:
        return unknown("the table does not say whether gradients were computed")
    carried = sum(bool(row.get("gradients")) for row in rows)
    return Answer(carried > 0, f"of {len(rows)} videos {carried} computed gradients")


CARDS_24 = claim("24gb", "Memory", "5 cards of 24 GB cannot run the 14B model.",
                 "a run on such cards with weights in 8 bits and caches in main memory: `liveavatar plan --gpu \"24 "
                 "GB\" --gpus 5 --fp8 --fp8_cache --offload_kv_cache` expects that it fits")


@CARDS_24.asks(ARITHMETIC, "as released each card holds the whole transformer, in bf16: does that exceed a card of 24 "
                           "GB?", SHAPES)
def judge_24gb_as_released(evidence: Evidence) -> Answer:
    card = evidence.reported["memory"]["card_gb"] * 1e9 / 2**30
    return Answer(released.weights_gib() > card,
                  f"the released program keeps the whole transformer on every card: {released.weights_gib():.1f} GiB "
                  f"in bf16, and a card of 24 GB has {card:.1f}", {"weights_gib": released.weights_gib()})


@CARDS_24.asks(ON_14B, "a run with smaller weights on such cards", MEMORY)
def judge_24gb(evidence: Evidence) -> Answer:
    return unknown("with weights in 8 or 4 bits and caches in main memory nothing was measured on such cards")


OOM = claim("oom", "How to choose", "Out of memory cannot be recovered from except by killing all processes.",
            "one process is settled; several cards that wait for one another were not tried")


@OOM.asks(ON_14B, "one process on H200 runs out of memory, and goes on: is its memory lost?", GPU_TESTS)
def judge_oom_14b(evidence: Evidence) -> Answer:
    return Answer(False, "torch raises an error that a program can catch; in this program, on H200 at a tiny size, "
                         "where the error was raised on purpose, the memory came back without ending the process "
                         "(tests/test_wan_gpu.py)")


@OOM.asks(ON_14B, "several processes over several cards, and the released program", GPU_TESTS)
def judge_oom_several(evidence: Evidence) -> Answer:
    return unknown("the same over several cards, and with the released program, was not tried")
