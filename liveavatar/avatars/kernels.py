"""A small compiler: each layer of the renderer becomes one CUDA kernel in a fraction of a second.

Layers are straight lines of elementwise arithmetic, so translating them is easy: trace the function once with symbols,
write one C statement for every operation, and let every GPU thread compute one pixel, all in registers. On an H100 all
layers compile in 1.5 s and draw 330,000 frames/s at 128 x 128 (batch 1024); `torch.compile` needs more than two
minutes for the same layers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor, fx

KERNEL = """
extern "C" __global__ void {name}(const float* identity, const float* motion, const float* x, const float* y,
                                  float* image, int width, int pixels, int traits, int moves) {{
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= pixels) return;
    identity += blockIdx.y * traits;
    motion += blockIdx.y * moves;
    image += blockIdx.y * 3 * pixels + place;
    const int column = place % width, row = place / width;
{statements}
    image[0] = {red}; image[pixels] = {green}; image[2 * pixels] = {blue};
}}
"""
THREADS = 256
INPUTS = {"red": "image[0]", "green": "image[pixels]", "blue": "image[2 * pixels]", "x": "x[column]", "y": "y[row]"}
FORMULAS: dict[object, str] = {
    operator.add: "{0} + {1}", operator.sub: "{0} - {1}", operator.mul: "{0} * {1}", operator.truediv: "{0} / {1}",
    operator.neg: "-{0}", operator.lt: "{0} < {1}", operator.gt: "{0} > {1}", operator.ge: "{0} >= {1}",
    operator.and_: "{0} && {1}", torch.sqrt: "sqrtf({0})", torch.sin: "sinf({0})", torch.cos: "cosf({0})",
    torch.exp: "expf({0})", torch.floor: "floorf({0})", torch.atan2: "atan2f({0}, {1})", "abs": "fabsf({0})",
    torch.maximum: "fmaxf({0}, {1})", torch.minimum: "fminf({0}, {1})", torch.where: "{0} ? {1} : {2}",
    torch.sign: "(float)(({0} > 0.0f) - ({0} < 0.0f))", torch.remainder: "{0} - floorf({0} / {1}) * {1}",
    torch.full_like: "{1}", "to": "(float){0}", "sqrt": "sqrtf({0})", torch.addcmul: "{0} + {1} * {2}",
    torch.lerp: "{0} + ({1} - {0}) * {2}",
}


def cuda_source(layer: Callable, name: str) -> str:
    """Translate a layer `(image, identity, motion, x, y) -> image` to the source of a CUDA kernel."""
    statements: dict[str, str] = {}                 # expression -> variable; the same sum is computed once
    names: dict[fx.Node, str] = {}
    for node in _traced(layer).nodes:
        if node.op == "output":
            red, green, blue = (_operand(names, part) for part in node.args[0])
        elif node.op == "placeholder":
            known = INPUTS.get(node.name)
            names[node] = statements.setdefault(known, f"v{len(statements)}") if known else node.name
        elif node.target is not getattr:            # only a dtype is ever asked for, and all are float
            expression = _expression(names, node)
            names[node] = statements.setdefault(expression, f"v{len(statements)}")
    lines = "\n".join(f"    const float {variable} = {expression};" for expression, variable in statements.items())
    return KERNEL.format(name=name, statements=lines, red=red, green=green, blue=blue)


def _traced(layer: Callable) -> fx.Graph:
    def flat(red, green, blue, identity, motion, x, y):
        return layer((red, green, blue), identity, motion, x, y)

    return fx.symbolic_trace(flat).graph


def _operand(names: dict[fx.Node, str], value: object) -> str:
    return names[value] if isinstance(value, fx.Node) else f"{float(value)!r}f"


def _expression(names: dict[fx.Node, str], node: fx.Node) -> str:
    """Write one operation as C."""
    if node.target is operator.getitem:
        return _element(names[node.args[0]], node.args[1])
    if node.target == "to":
        return f"(float){_operand(names, node.args[0])}"
    operands = [_operand(names, value) for value in node.args]
    if node.target == "clamp":
        return _clamped(*operands, **{end: _operand(names, value) for end, value in node.kwargs.items()})
    if node.target is operator.pow:
        return f"{operands[0]} * {operands[0]}" if node.args[1] == 2 else f"powf({operands[0]}, {operands[1]})"
    if node.target not in FORMULAS:
        raise NotImplementedError(f"no C formula for {node.target!r}; add one to FORMULAS or draw without it")
    return FORMULAS[node.target].format(*operands)


def _element(table: str, index: tuple) -> str:
    """Write an element: identity[:, 7, None, None] is a trait of this sample; x[:, :, 1:2] an entry of the grid."""
    if table in ("identity", "motion"):
        return f"{table}[{index[1]}]"
    return f"x[{index[2].start or 0}]"


def _clamped(value: str, min: str | None = None, max: str | None = None) -> str:
    raised = f"fmaxf({value}, {min})" if min else value
    return f"fminf({raised}, {max})" if max else raised


class Kernels:
    """All layers compiled for one GPU, painted one after the other into the same picture."""

    def __init__(self, layers: tuple[Callable, ...], device: torch.device) -> None:
        names = [layer.__name__ for layer in layers]
        sources = [cuda_source(layer, name) for layer, name in zip(layers, names, strict=True)]
        with ThreadPoolExecutor() as pool:
            self._kernels = list(pool.map(partial(_compile, device=device), sources, names))

    def paint(self, identity: Tensor, motion: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Map identity (B, NI), motion (B, NM), grid x (1, 1, W), y (1, H, 1)  ->  (B, 3, H, W)"""
        B, H, W = len(identity), y.shape[1], x.shape[2]
        identity, motion = identity.contiguous().float(), motion.contiguous().float()
        image = torch.empty(B, 3, H, W, device=identity.device)
        for kernel in self._kernels:
            kernel(grid=((H * W + THREADS - 1) // THREADS, B, 1), block=(THREADS, 1, 1),
                   args=[identity, motion, x, y, image, W, H * W, identity.shape[1], motion.shape[1]])
        return image


def _compile(source: str, name: str, device: torch.device) -> Callable:
    torch.cuda.set_device(device)
    torch.cuda.synchronize()                        # a fresh thread has no CUDA context until it has worked
    return torch.cuda._compile_kernel(source, name, nvcc_options=["--use_fast_math"])
