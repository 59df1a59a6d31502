"""What our own kernels need: Triton, the right device, and the numbers of the 8-bit format."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec("triton") is not None
FP8 = torch.float8_e4m3fn
LARGEST = 448.0                  # that it can hold


def on_its_device(work: Callable[..., object]) -> Callable[..., object]:
    """Let work launch its kernels where its first tensor is: Triton takes the thread's current device otherwise.
    Compiled code sees to that itself."""
    @wraps(work)
    def launch(x: Tensor, *rest: object, **options: object) -> object:
        if torch.compiler.is_compiling():
            return work(x, *rest, **options)
        with torch.cuda.device_of(x):
            return work(x, *rest, **options)

    return launch
