"""What our own kernels need: Triton, the right device, and the numbers of the 8-bit format."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec

import torch
from torch import Tensor

from liveavatar.compiling import first_line

FP8 = torch.float8_e4m3fn
LARGEST = 448.0                  # that it can hold


def triton_works() -> bool:
    """Tell whether our kernels can be used here: there is a GPU, and Triton can be loaded. If not, torch's are used."""
    if find_spec("triton") is None or not torch.cuda.is_available():
        return False
    try:
        import triton  # noqa: F401
    except Exception as error:                             # whatever a broken or foreign build raises
        warnings.warn(f"Triton is installed but cannot be loaded ({first_line(error)}); this project's own kernels "
                      "are left out, which is slower: install torch again, with its own Triton", stacklevel=2)
        return False
    return True


HAS_TRITON = triton_works()


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
