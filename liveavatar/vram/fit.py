"""Whether a run fits on the card that is here: checked before any weights are read."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

from liveavatar.config import GenerationConfig
from liveavatar.types import InputError
from liveavatar.vram.cards import GIB, Card, card
from liveavatar.vram.plan import Plan, plan
from liveavatar.vram.settings import weights_named


def card_here(device: str = "auto") -> Card | None:
    """Return the GPU that will be used, with the memory that torch sees; None without one."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0 if device in ("auto", "cuda") else torch.device(device))
    usable_gib = properties.total_memory / GIB
    try:
        known = card(properties.name)
    except InputError:
        return Card(properties.name, round(properties.total_memory / 1e9), usable_gib, source="seen by torch")
    return replace(known, usable_gib=usable_gib)


def plan_here(config: GenerationConfig, options: dict) -> Plan | None:
    """Predict a run on the card that is here. options: those of `WanBackend.load`.

    Without a GPU, or for networks of another size, nothing is known: None.
    """
    here = card_here(options.get("device") or "auto")
    if here is None or options.get("config"):
        return None
    return plan("wan-s2v-14b", gpu=here, config=config, gpus=int(os.environ.get("WORLD_SIZE", "1")),
                weights=weights_named(options.get("fp8"), options.get("nf4")),
                offload_model=options.get("offload_model", True),
                caches="fp8" if options.get("fp8_cache") else "bf16",
                offload_kv_cache=bool(options.get("offload_kv_cache")),
                condition_in_rings=bool(options.get("condition_in_rings")),
                fp8_attention=bool(options.get("fp8_attention")))


def check_fit(config: GenerationConfig, options: dict, force: bool = False) -> Plan | None:
    """Refuse a run of wan-s2v-14b that cannot fit or that should not be, with reason and remedy; note what is doubtful.

    options: as for `plan_here`, which may know nothing: None.
    """
    here = card_here(options.get("device") or "auto")
    if here is None or options.get("config"):
        return None
    if options.get("fp8") and not here.has_fp8 and here.bf16_tflops is not None:
        raise InputError(f"--fp8: the {here.name} cannot multiply in fp8; leave it out")
    made = plan_here(config, options)
    made.check(force)
    for one in made.advice:
        warnings.warn(f"{one.reason}; {one.remedy}", stacklevel=2)
    return made
