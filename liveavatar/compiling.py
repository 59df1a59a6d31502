"""Compile with `torch.compile`, and say in one sentence what is missing where it cannot.

Compiling needs more than torch: on a CPU a C++ compiler, on a GPU Triton and a C compiler. torch notices when the code
is first used, long after the weights were loaded, and says it in a hundred lines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

import torch

from liveavatar.types import InputError

Function = TypeVar("Function", bound=Callable)

WITHOUT = "or leave out compile=True (--compile)"
REMEDIES = (                      # words of an error -> what is wrong, what to do
    (("InvalidCxxCompiler", "No working C++ compiler"), "no C++ compiler was found",
     "install one (Debian: apt-get install g++, macOS: xcode-select --install, conda: conda install cxx-compiler), "
     f"{WITHOUT}"),
    (("Python.h",), "the C++ compiler does not find Python's own headers",
     f"install them (Debian: apt-get install python3-dev), {WITHOUT}"),
    (("omp.h", "-fopenmp", "libomp"), "the C++ compiler has no OpenMP",
     f"install it (macOS: brew install libomp), {WITHOUT}"),
    (("TritonMissing", "working triton installation", "No module named 'triton'"),
     "Triton, which compiles for GPUs, is missing or does not work",
     f"it comes with torch for CUDA on Linux; install that build of torch, {WITHOUT}"),
    (("GPUTooOldForTriton", "too old to be supported by the triton"), "this GPU is too old for Triton",
     "leave out compile=True (--compile)"),
    (("Failed to find C compiler",), "no C compiler was found, which Triton needs",
     f"install one (Debian: apt-get install gcc), {WITHOUT}"),
)


def compile_function(function: Function, **options: object) -> Function:
    """Return the function compiled by `torch.compile`. Calling it raises InputError where compiling fails."""
    made = torch.compile(function, **options)

    @wraps(function)
    def call(*arguments: object, **named: object) -> object:
        if torch.compiler.is_compiling():                   # a part of something larger
            return made(*arguments, **named)
        try:
            return made(*arguments, **named)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise refusal(error) from None

    return call


@cache
def check_compiler(device_type: str) -> None:
    """Compile something small for "cpu" or "cuda", so that what is missing is said before weights are loaded.

    Raises InputError with what is missing and where to get it.
    """
    def trial(x: torch.Tensor) -> torch.Tensor:
        return (2 * x + 1).relu()

    with torch.inference_mode():
        compile_function(trial, dynamic=False)(torch.ones(64, device=device_type))


def refusal(error: BaseException) -> InputError:
    """Put what a compiler said into one sentence."""
    text = " ".join(f"{type(one).__name__} {one}" for one in (error, error.__cause__, error.__context__) if one)
    for words, wrong, remedy in REMEDIES:
        if any(word in text for word in words):
            return InputError(f"torch cannot compile here: {wrong}; {remedy}")
    return InputError(f"torch cannot compile here ({first_line(error)}); leave out compile=True (--compile)")


def first_line(error: BaseException) -> str:
    """Return the line of a long error that says most: a compiler's own `error:`, else the first that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("backend=")]
    return next((line for line in lines if "error:" in line), next(iter(lines), type(error).__name__))[:300]
