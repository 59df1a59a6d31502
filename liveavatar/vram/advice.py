"""What follows from a plan: what should not be run, what would make it fit, why it is so, and the picture of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil
from typing import TYPE_CHECKING

from liveavatar.config import parse_size, size_text
from liveavatar.vram.block_time import gathered_in_a_pass, read_back
from liveavatar.vram.cards import GIB, cards
from liveavatar.vram.predict import RELEASED_CACHES, predict
from liveavatar.vram.prediction import FITS, NOT, OWNERS, TIGHT, Prediction, gib
from liveavatar.vram.settings import Settings
from liveavatar.vram.shapes import shapes
from liveavatar.web.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = ("720*400", "704*384", "688*368", "384*256")
MOST_CHANGES = 6
ARTICLE = {   # reported by the article, in GB as printed there; never measured here
    "shard_gb": 21.48, "unshard_gb": 4.17, "usable_gb": 22.15, "largest_steps": 4, "clips": 200, "clip_frames": 64,
}
RELEASED_PEAK_GIB = {"bf16": 72.6, "fp8": 57.7}      # reported of the released code, 704*384, 4 steps, one H200


@dataclass(frozen=True)
class Change:
    """A setting to change: what it saves and what it costs."""

    description: str
    settings: Settings
    saves: int                    # bytes of the peak
    costs: str
    peak: int
    verdict: str
    gpu: str = ""


@dataclass(frozen=True)
class Advice:
    """Something that should not be run, or only with open eyes."""

    refused: bool                 # False: a warning
    reason: str
    remedy: str
    source: str = "computed"      # or "article"


# ------------------------------------------------------------------------------------------------ refusals

def advise(plan: Prediction) -> tuple[Advice, ...]:
    """Return the article's three "never" combinations as far as they hold, what does not fit, what cannot keep up."""
    asked = plan.settings
    if asked.on_cpu:
        return (no_room(plan),) if plan.verdict == NOT else ()
    found = [five_on_small_cards(plan), many_clips_at_the_end(plan), six_on_several(plan),
             no_room(plan) if plan.verdict == NOT else None, too_late(plan), idle_cards(plan)]
    return tuple(one for one in found if one is not None)


def no_room(plan: Prediction) -> Advice:
    remedy = ", or ".join(change.description for change in quick_changes(plan)) or "use a larger card"
    return Advice(True, f"the plan needs {gib(plan.peak.bytes)} and {gib(plan.usable)} are usable on "
                        f"{plan.where}: the peak is when {plan.peak.clause}, and {OWNERS[plan.peak.owner]} take "
                        f"{gib(plan.peak.owners[plan.peak.owner])}", remedy)


def quick_changes(plan: Prediction) -> list[Change]:
    """Return the first thing that makes it fit, without trying other sizes."""
    return [change for change in cheapest(plan, others=False) if change.verdict != NOT][:1]


def five_on_small_cards(plan: Prediction) -> Advice | None:
    """Judge the article's "never" of five steps and more at 704*384 on four cards of 24 GB."""
    asked = plan.settings
    large = asked.size[0] * asked.size[1] >= area("704*384")
    if asked.steps <= ARTICLE["largest_steps"] or not large or asked.gpus > 4 or plan.card.memory_gb > 24:
        return None
    held = gib(plan.peak.owners.get("rings", 0))
    holds = "it does not" if plan.verdict == NOT else f"by our count it {plan.verdict}"
    return Advice(plan.verdict == NOT,
                  f"the article says never {asked.steps} steps at {size_text(asked.size)} on {asked.gpus} cards of 24 "
                  f"GB; {holds}: the fullest card holds {gib(plan.peak.owners['transformer'])} of weights and {held} "
                  f"of caches, one for each of its steps, of {gib(plan.usable)}",
                  "use 4 steps or fewer, 384*256, fp8 weights and caches, or cards of 80 GB", "article")


def many_clips_at_the_end(plan: Prediction) -> Advice | None:
    """Judge the article's "never" of four steps and more with 200 clips of 64 frames, all decoded at the end."""
    asked = plan.settings
    frames = asked.infer_frames * asked.num_clip
    if asked.enable_online_decode or asked.steps < 4 or frames < ARTICLE["clips"] * ARTICLE["clip_frames"] * 0.9:
        return None
    height, width = asked.size
    blocks = ceil(frames / 12)
    minutes = 0 if plan.time is None else blocks * asked.steps * plan.time.step_s / 60
    wait = f" after an estimated {minutes:.0f} minutes" if minutes else ""
    return Advice(True, f"{asked.num_clip} clips of {asked.infer_frames} frames without --enable_online_decode: "
                        f"nothing is seen before all {blocks} blocks are made{wait}, and the released code then holds "
                        f"{frames * 3 * height * width * 4 / 1e9:.0f} GB of pictures in main memory, twice while it "
                        "joins them", "add --enable_online_decode: each block is decoded and written when it is ready",
                  "article")


def six_on_several(plan: Prediction) -> Advice | None:
    """Judge the article's "never" of six steps and more on several GPUs."""
    asked = plan.settings
    if asked.steps < 6 or asked.gpus == 1:
        return None
    return Advice(plan.verdict == NOT,
                  f"the article says never 6 steps or more on several GPUs; the released code keeps exactly "
                  f"{RELEASED_CACHES} caches and gives each rank one step. Here {asked.steps} steps over {asked.gpus} "
                  f"GPUs are shared out, and by our count it {plan.verdict}",
                  "use 4 steps: the model was distilled for them, more only cost memory and time", "article")


def too_late(plan: Prediction) -> Advice | None:
    """Advise against what cannot be streamed: a block that takes longer than it lasts."""
    time = plan.time
    if time is None or time.keeps_up:
        return None
    asked, products_s = plan.settings, time.floor_s * plan.settings.steps
    hopeless = asked.gpus == 1 and products_s > time.deadline_s
    takes = f"even its products alone take {products_s * 1000:.0f} ms" if hopeless else \
        f"it is estimated to take {time.block_s * 1000:.0f} ms"
    remedies = [*live_ways(plan), "a faster card", "a smaller size"]
    return Advice(False, f"live, a block must be there every {time.deadline_s * 1000:.0f} ms, and {takes}: this is for "
                         "making a file, not for a conversation", f"for live use: {', '.join(remedies)}")


def live_ways(plan: Prediction) -> list[str]:
    """Return the fewest cards of this kind that are estimated to keep up: as it is, and with products in 8 bits."""
    asked, ways = plan.settings, []
    most = asked.steps + 1
    eight = {"weights": "fp8", "fp8_attention": True, "condition_in_rings": False, "offload_kv_cache": False}
    kinds = [({}, "")]
    if plan.card.has_fp8 and asked.layout == "ours" and not (asked.weights == "fp8" and asked.fp8_attention):
        kinds.append((eight, "fp8 weights and attention in 8 bits"))
    for changes, words in kinds:
        for gpus in range(asked.gpus, most + 1):
            made = predict(replace(asked, gpus=gpus, spread="tpp", **changes), plan.card)
            if made.time.keeps_up and made.verdict != NOT:
                cards_ = f"{gpus} GPUs (TPP)" if gpus > asked.gpus else ""
                ways.append(" with ".join(filter(None, (cards_, words))))
                most = gpus - 1                                  # the next kind has to do with less
                break
    return ways


def idle_cards(plan: Prediction) -> Advice | None:
    idle = sum(role.startswith("nothing") for role in plan.roles)
    if not idle:
        return None
    return Advice(False, f"{idle} of {plan.settings.gpus} GPUs would have nothing to do: {plan.settings.steps} steps "
                         "and the VAE are the whole chain", f"use {plan.settings.gpus - idle} GPUs")


def area(size: str) -> int:
    height, width = parse_size(size)
    return height * width


# ------------------------------------------------------------------------------------------------ changes

def cheapest(plan: Prediction, others: bool = True) -> tuple[Change, ...]:
    """Return what makes it fit, the cheapest first: settings, then another size, fewer steps, more or larger cards."""
    if plan.settings.on_cpu:
        return ()
    tried = [made for made in (try_dials(plan, dials) for dials in settings_to_change(plan)) if made.saves > 0]
    found = [made for made in tried if better(made, plan)][:2]
    if not others:
        return tuple(found[:1])
    seen = []
    for settings, words, costs in larger_steps(plan):
        made = change_to(plan, settings, words, costs)
        if better(made, plan) and made.saves > 0:
            seen.append(made)
    if not found and not seen:
        seen = mixed(plan)
    found += seen[:MOST_CHANGES - 3] + larger_card(plan)
    return tuple(found or sorted(tried, key=lambda made: made.peak)[:2])


def better(change: Change, plan: Prediction) -> bool:
    """Tell whether it fits now, or is only tight where it did not fit."""
    return change.verdict == FITS or (change.verdict == TIGHT and plan.verdict == NOT)


def mixed(plan: Prediction) -> list[Change]:
    """Return combinations, where nothing helps alone: with each larger change, the cheapest settings that then make it
    fit."""
    found = []
    for settings, words, costs in larger_steps(plan):
        other = predict(settings, plan.card)
        for dials in settings_to_change(other):
            step = try_dials(other, dials)
            if step.verdict != NOT:
                found.append(Change(f"{words} + {step.description}", step.settings, plan.peak.bytes - step.peak,
                                    f"{costs}; {step.costs}", step.peak, step.verdict, plan.card.name))
                break
    return found


def settings_to_change(plan: Prediction) -> list[tuple[str, ...]]:
    """Return sets of settings that could be changed, those that cost least first."""
    asked, on = plan.settings, plan.card
    dials = [name for name, wanted in (
        ("condition_in_rings", asked.condition_in_rings),
        ("offload_model", not asked.offload_model), ("caches", asked.caches == "bf16" and asked.layout == "ours"),
        ("weights", asked.weights == "bf16" and (on.has_fp8 or on.bf16_tflops is None)),
        ("nf4", asked.weights in ("bf16", "fp8") and asked.layout == "ours"),
        ("offload_kv_cache", not asked.offload_kv_cache and asked.layout == "ours")) if wanted]
    sets = [chosen for count in range(1, len(dials) + 1) for chosen in combinations(dials, count)
            if not {"weights", "nf4"} <= set(chosen)]          # two ways to round the same weights
    return sorted(sets, key=lambda chosen: sum(PRICE[name] for name in chosen))


PRICE = {"condition_in_rings": 1, "offload_model": 1, "weights": 3, "caches": 4, "offload_kv_cache": 8, "nf4": 10}


def try_dials(plan: Prediction, dials: tuple[str, ...]) -> Change:
    values = {"condition_in_rings": False, "offload_model": True, "offload_kv_cache": True, "caches": "fp8",
              "weights": "fp8"}
    apart = ({"condition_in_rings": False, "fp8_attention": False} if {"caches", "offload_kv_cache"} & set(dials)
             else {})
    chosen = {name: values[name] for name in dials if name != "nf4"} | ({"weights": "nf4"} if "nf4" in dials else {})
    settings = replace(plan.settings, **apart | chosen)
    parts = plan.settings.shapes
    words = {"condition_in_rings": "condition kept once", "offload_model": "offload_model",
             "offload_kv_cache": "offload_kv_cache", "caches": "fp8 caches",
             "weights": "fp8 weights", "nf4": "nf4 weights"}
    travels = read_back(parts)
    move_ms = travels / (plan.card.pcie_gbs * 1e9) * 1000
    read_s = (parts.text_encoder + parts.audio_encoder) / (plan.card.pcie_gbs * 1e9)
    costs = {"condition_in_rings": "a layer's condition and ring are laid side by side in every step",
             "offload_model": f"about {read_s:.1f} s at the start to bring the encoders",
             "offload_kv_cache": f"{gib(travels)} travel in every step, about {move_ms:.0f} ms beside the work",
             "caches": "keys and values are rounded to 8 bits: the picture changes a little",
             "weights": "weights are rounded to 8 bits: the picture changes a little; steps get faster",
             "nf4": "weights are rounded to 4 bits: the picture changes more; they are widened in every step"}
    return change_to(plan, settings, " + ".join(words[name] for name in dials),
                     "; ".join(costs[name] for name in dials))


def change_to(plan: Prediction, settings: Settings, words: str, costs: str) -> Change:
    made = predict(settings, plan.card)
    return Change(words, settings, plan.peak.bytes - made.peak.bytes, costs, made.peak.bytes, made.verdict,
                  plan.card.name)


def larger_steps(plan: Prediction) -> list[tuple[Settings, str, str]]:
    """Return changes that are seen, or that cost money."""
    asked = plan.settings
    tried = []
    smaller = [size for size in SIZES if area(size) < asked.size[0] * asked.size[1]]
    for size in smaller:
        share = area(size) / (asked.size[0] * asked.size[1])
        tried.append((replace(asked, size=parse_size(size)), size, f"{1 - share:.0%} fewer pixels"))
    for steps in range(asked.steps - 1, 1, -1):
        tried.append((replace(asked, steps=steps), f"{steps} steps", "the fewer steps, the rougher lips and hands"))
    if asked.gpus <= asked.steps:
        many = asked.steps + 1
        tried.append((replace(asked, gpus=many, spread="tpp"), f"{many} GPUs (TPP)", f"{many - asked.gpus} cards more"))
    return tried


def larger_card(plan: Prediction) -> list[Change]:
    """Return the smallest card of the table on which it fits as it is."""
    for other in sorted(cards(), key=lambda one: one.usable):
        if other.usable > max(plan.peak.bytes, plan.usable) and (other.has_fp8 or plan.settings.weights != "fp8"):
            on = predict(plan.settings, other)
            return [Change(f"a card with {other.memory_gb:g} GB ({other.name})", plan.settings, 0,
                           "another card", on.peak.bytes, on.verdict, other.name)]
    return []


# ------------------------------------------------------------------------------------------------ explanations

def explanations(plan: Prediction) -> tuple[str, ...]:
    """Return sentences with this plan's own numbers, and the reported ones beside them."""
    asked = plan.settings
    parts = asked.shapes
    said = [f"Every step keeps a cache of its own, because a block looks back at its own noise level: "
            f"{gib(parts.ring)} a step at {size_text(asked.size)}; the condition they all see, {gib(parts.condition)}, "
            f"is kept {'in each of them too' if asked.condition_in_rings else 'once'}. {asked.steps} steps need "
            f"{gib(asked.steps * parts.ring)} in all, wherever they lie."]
    if asked.on_cpu:
        return (*said, "In a process most of the memory is Python and its libraries; the model itself is small.")
    said.append(gathering(asked))
    said.append(article_sum(asked))
    if plan.time is not None:
        flops = parts.step.flops
        said.append(f"One step at {size_text(asked.size)} is {parts.step.total_flops / 1e12:.0f} TFLOP: "
                    f"{flops['linear'] / 1e12:.0f} of products with weights, {flops['attention'] / 1e12:.0f} of "
                    f"attention to the caches. {asked.steps} steps make "
                    f"{asked.steps * parts.step.total_flops / 1e12:.0f} TFLOP for {parts.block_s:.2f} s of video.")
    if asked.steps == 4 and asked.size == parse_size("704*384") and asked.weights in RELEASED_PEAK_GIB:
        released = predict(replace(asked, layout="released", caches="bf16", offload_model=True, gpus=1,
                                   offload_kv_cache=False), plan.card)
        said.append(f"The released code is reported to peak at {RELEASED_PEAK_GIB[asked.weights]} GiB here; laid out "
                    f"its way, this plan says {gib(released.peak.bytes)} with {gib(released.peak.owners['slack'])} of "
                    "allocator and CUDA.")
    return tuple(said)


def gathering(asked: Settings) -> str:
    """Return what FSDP does, with numbers."""
    gpus = asked.gpus if asked.spread == "fsdp" else 5
    parts = asked.shapes
    weights = parts.weights
    received = gathered_in_a_pass(replace(asked, gpus=gpus, spread="fsdp"), parts)
    return (f"Under FSDP over {gpus} GPUs each keeps {gib(weights.total / gpus)} of the weights. Before a layer runs "
            f"its parts are gathered, {gib(weights.layer)}, and let go after it; what is outside the layers, "
            f"{gib(weights.root)}, stays gathered during the whole pass. That happens once in every pass, so it costs "
            f"{gib(received)} of transfer a step, and its peak is the same for 1 step and for 6: steps do not "
            "\"unshard\" more, they keep more caches, which FSDP does not share out.")


def article_sum(asked: Settings) -> str:
    """Return the article's sum beside ours."""
    root = shapes(asked.backend, asked.size).weights.root
    fifth = shapes(asked.backend, asked.size).weights.total / 5
    total = ARTICLE["shard_gb"] + ARTICLE["unshard_gb"]
    return (f"Reported by the article, not measured: {ARTICLE['shard_gb']} + {ARTICLE['unshard_gb']} = {total:.2f} GB "
            f"> {ARTICLE['usable_gb']} GB. Ours in bf16: a fifth of the weights is {gib(fifth)}, not "
            f"{ARTICLE['shard_gb']}; what lies outside the layers and stays gathered is {gib(root)}, the number of the "
            f"article's {ARTICLE['unshard_gb']}, and it is there whatever the number of steps.")


# ------------------------------------------------------------------------------------------------ the picture

COLOURS = {"transformer": BLUE, "gathered": SKY, "rings": ORANGE, "condition": YELLOW, "text_encoder": GREEN,
           "audio_encoder": "#7fcdbb", "vae": PURPLE, "vae_state": "#e7b6d0", "activations": VERMILION, "slack": GREY,
           "libraries": "#bdbdbd"}                                # of OWNERS, here and in widgets.Planner


def draw(plan: Prediction) -> Figure:
    """Draw stages from left to right, owners stacked, a line at what the card has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(plan.moments))
    bottom = [0.0] * len(plan.moments)
    for owner, words in OWNERS.items():
        heights = [moment.owners.get(owner, 0) / GIB for moment in plan.moments]
        if any(heights):
            axes.bar(places, heights, 0.86, bottom, label=words, color=COLOURS[owner])
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.axhline(plan.usable / GIB, color=VERMILION, linestyle="--", linewidth=1.2)
    axes.set_xticks(places, [moment.description for moment in plan.moments], rotation=40, ha="right", fontsize=8)
    axes.set(ylabel="GiB, predicted", title=f"{plan.settings.description}: {plan.verdict}",
             ylim=(0, 1.12 * max(*bottom, plan.usable / GIB if plan.card else 0)))
    axes.legend(fontsize=8, frameon=False, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
