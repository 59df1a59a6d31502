"""Where a model runs and in which number format, chosen by name or by the machine."""

from __future__ import annotations

from pathlib import Path

import torch

from liveavatar.types import InputError


def choose_device(device: str) -> torch.device:
    """Return the device named, or for "auto" a GPU where there is one. Raises InputError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device is {device!r}; known: auto, cpu, cuda, cuda:1") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but this torch sees no NVIDIA GPU; use device=\"cpu\"")
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the number format named, or for "auto" the faster one. Raises InputError for others."""
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp32": torch.float32, "bf16": torch.bfloat16}
    if dtype == "auto":
        fast = device.type == "cuda" or bfloat16_is_faster()
        return torch.bfloat16 if fast else torch.float32
    if dtype not in known:
        raise InputError(f"dtype is {dtype!r}; known: auto, float32, bfloat16")
    return known[dtype]


def bfloat16_is_faster() -> bool:
    """Say whether this processor multiplies matrices faster in bfloat16 than in float32.

    Listing avx512_bf16 is not enough: measured with mini, AMD's Zen 4 is twice as fast with it, an Intel processor
    without AMX half as fast. A rule and not a trial, so that the choice, and with it the video, is always the same.
    """
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in flags)


def cpu_flags() -> set[str]:
    """Read what Linux says of the processor: its vendor and its instructions; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {word for line in text.splitlines() if line.startswith(("flags", "vendor_id")) for word in line.split()}
