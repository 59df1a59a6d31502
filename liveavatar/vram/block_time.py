"""Estimated time of a block, from the figures of a card's sheet (`cards`)."""

from __future__ import annotations

from liveavatar.parallel.layout import Layout
from liveavatar.vram.cards import Card
from liveavatar.vram.prediction import BlockTime
from liveavatar.vram.settings import Settings
from liveavatar.vram.shapes import Shapes


def step_seconds(parts: Shapes, on: Card, fp8: bool, fp8_attention: bool = False) -> tuple[float, float]:
    """Estimate one step: with the traffic of compiled layers, and the products alone."""
    from liveavatar.vram.cards import efficiency

    share, flops = efficiency(), parts.step.flops
    matrix = on.fp8_tflops * share.matrix_fp8 if fp8 else on.bf16_tflops * share.matrix_bf16
    seeing = on.fp8_tflops * share.attention_fp8 if fp8_attention else on.bf16_tflops * share.attention
    floor = flops["linear"] / matrix / 1e12 + flops["attention"] / seeing / 1e12
    moved = share.traffic * parts.step.moved + parts.weights.unpacked
    return floor + moved / on.bandwidth_gbs / 1e9, floor


def decode_seconds(parts: Shapes, on: Card) -> float:
    """Estimate one block's pictures, at the share of the card that was seen on the one that was measured."""
    from liveavatar.vram.cards import decode_share

    flops = parts.decode.flops
    return sum(flops.values()) / (on.bf16_tflops * decode_share() * 1e12) + parts.decode.moved / on.bandwidth_gbs / 1e9


def transfer_seconds(asked: Settings, parts: Shapes, on: Card) -> float:
    """Estimate what has to travel for one step: gathered weights, caches to and from main memory."""
    seconds = 0.0
    if asked.spread == "fsdp":
        seconds += gathered_in_a_pass(asked, parts) / (on.link_gbs * 1e9)
    if asked.offload_kv_cache:
        seconds += read_back(parts) / (on.pcie_gbs * 1e9)
    return seconds


def gathered_in_a_pass(asked: Settings, parts: Shapes) -> float:
    """Return bytes that one GPU receives for one forward pass under FSDP."""
    return parts.weights.total * (asked.gpus - 1) / asked.gpus


def read_back(parts: Shapes) -> int:
    """Return bytes that travel in a step when caches rest in main memory: the whole ring in, the new block out."""
    return parts.ring_alone + parts.ring_alone * parts.block_latents // parts.ring_frames


def block_time(asked: Settings, on: Card) -> BlockTime | None:
    """Estimate the time of a block; None where the card's rates are not known."""
    if on.bf16_tflops is None or on.bandwidth_gbs is None:
        return None
    parts = asked.shapes
    work, floor = step_seconds(parts, on, asked.weights == "fp8", asked.fp8_attention)
    transfers = transfer_seconds(asked, parts, on)
    step, decode = max(work, transfers), decode_seconds(parts, on)
    whole = asked.steps * step + decode
    slowest = whole
    if asked.spread == "tpp":
        layout = Layout.of(asked.steps, asked.gpus)
        slowest = max(len(layout.owned(rank)) * step + (decode if layout.vae_rank == rank else 0.0)
                      for rank in range(asked.gpus))
    return BlockTime(step, floor, decode, slowest, whole, parts.block_s, transfers)
