"""GPUs by name: memory, bandwidth, rates. Where each figure comes from stands beside it, in cards.json.

    card("RTX 4090").usable         # bytes that torch can hand out
    card("24 GB")                   # any card of that size, without rates
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from liveavatar.types import InputError

GIB = 2**30
SEEN_BY_TORCH = 0.92              # of the gigabytes on the box, in GiB, where a card is only known by its size


@dataclass(frozen=True)
class Card:
    """One GPU. A rate that is None is not known, or the card cannot do it."""

    name: str
    memory_gb: float
    usable_gib: float             # before the CUDA context is taken off
    bandwidth_gbs: float | None = None
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    link_gbs: float | None = None     # to another card, one way
    pcie_gbs: float = 32.0            # to main memory, one way
    source: str = ""
    mark: str = ""

    @property
    def usable(self) -> int:
        """Return the usable bytes."""
        return int(self.usable_gib * GIB)

    @property
    def has_fp8(self) -> bool:
        return self.fp8_tflops is not None


@dataclass(frozen=True)
class Efficiency:
    """The shares of a card's sheet that were measured, once, on one card."""

    matrix_bf16: float
    matrix_fp8: float
    attention: float
    attention_fp8: float
    traffic: float           # what compiled layers move of what single operations would


@cache
def _file() -> dict:
    return json.loads(Path(__file__).with_name("cards.json").read_text(encoding="utf-8"))


@cache
def cards() -> tuple[Card, ...]:
    """Return all cards of the table, the smallest first."""
    return tuple(Card(**facts) for facts in _file()["cards"])


@cache
def efficiency() -> Efficiency:
    """Return what of its sheet a card reaches, as measured on the one that was."""
    seen = _file()["measured_efficiency"]
    sheet = card(seen["card"])
    return Efficiency(seen["bf16_tflops"] / sheet.bf16_tflops, seen["fp8_tflops"] / sheet.fp8_tflops,
                      seen["attention_tflops"] / sheet.bf16_tflops, seen["attention_fp8_tflops"] / sheet.fp8_tflops,
                      seen["traffic"])


def card(name: str | Card) -> Card:
    """Return a card by its name, however it is spelt, or any card by its size: "24 GB"."""
    if isinstance(name, Card):
        return name
    size = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*gi?b?\s*", str(name), re.IGNORECASE)
    if size:
        memory_gb = float(size[1])
        if not 1 <= memory_gb <= 2000:
            raise InputError(f"gpu is {name!r}; a card has 1 to 2000 GB, for example \"24 GB\"")
        return Card(f"{memory_gb:g} GB card", memory_gb, memory_gb * SEEN_BY_TORCH, source="size only")
    known = {_bare(one.name): one for one in cards()}
    wanted = _bare(str(name))
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, 3, 0.5)
    named = ", ".join(known[one].name for one in near) or ", ".join(one.name for one in cards())
    raise InputError(f"gpu {name!r} is not in the table; did you mean {named}? A size will do too: \"24 GB\"")


def _bare(name: str) -> str:
    """Normalise a name: RTX-4090, rtx4090 and NVIDIA GeForce RTX 4090 are one card; so are H100 SXM and H100."""
    name = re.sub(r"[^a-z0-9]", "", name.lower())
    name = re.sub(r"^(nvidia)?(geforce)?", "", name)
    return re.sub(r"(80gbhbm3|sxm5?|hbm3)$", "", name)


@cache
def decode_share() -> float:
    """Return the share of a card's bf16 rate that the VAE's convolutions reach: what was measured, less its traffic."""
    from liveavatar.config import parse_size
    from liveavatar.vram.shapes import shapes

    seen = _file()["measured_efficiency"]
    on = card(seen["card"])
    decode = shapes("wan-s2v-14b", parse_size(seen["vae_size"])).decode
    working_s = seen["vae_block_ms"] / 1000 - decode.moved / on.bandwidth_gbs / 1e9
    return decode.total_flops / working_s / on.bf16_tflops / 1e12
