"""A network that learns: AdamW, the running average of its weights, several GPUs, recorded steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liveavatar.graphs import Graph


def gpus() -> int:
    """Count the processes that train together, one a GPU."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, 0 for the first."""
    return dist.get_rank() if dist.is_initialized() else 0


def _average_over_gpus(gradients: list[Tensor]) -> None:
    if gpus() == 1:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat, op=dist.ReduceOp.AVG)
    pieces = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)])


class Learner:
    """A model, the AdamW that moves it, and the running average of its weights, which is what is kept.

    export(model, path) writes the averaged model in the form in which it is used later; state names must be those of
    model.state_dict(), so that resuming can read the average back from it.
    """

    def __init__(self, model: nn.Module, lr: float, betas: tuple[float, float] = (0.9, 0.98),
                 weight_decay: float = 1e-4, average: float = 0.999, clip: float = 1.0,
                 export: Callable[[nn.Module, Path], None] | None = None) -> None:
        self.model = model
        self.lr, self.average, self.clip, self.export = lr, average, clip, export
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if gpus() > 1:
            for parameter in self.parameters:
                dist.broadcast(parameter.data, 0)
        self.averages = [p.detach().clone() for p in self.parameters]
        self.updates = 0
        fused = self.parameters[0].device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)

    def update(self, loss: Tensor, lr_scale: float) -> None:
        """Take one step down the gradient of the loss (a scalar)."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.descend(lr_scale)

    def descend(self, lr_scale: float) -> None:
        """Take one step down the gradients that are there."""
        _average_over_gpus([p.grad for p in self.parameters])
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * lr_scale
        self.optimizer.step()
        self.updates += 1
        keep = min(self.average, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.parameters], 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Give the model its averaged weights, for as long as the block lasts."""
        learnt = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.averages)
        try:
            yield self.model
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, learnt)

    def state(self) -> dict[str, Tensor]:
        """Return weights in full and the optimiser's moments in bfloat16: enough to go on from."""
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            moments = self.optimizer.state[parameter]
            if moments:
                state[f"exp_avg.{name}"] = moments["exp_avg"].bfloat16()
                state[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"].bfloat16()
        return state

    def load(self, state: dict[str, Tensor], averages: dict[str, Tensor], updates: int) -> None:
        """Go on from what `state` and `export` wrote."""
        self.model.load_state_dict({name[6:]: t for name, t in state.items() if name.startswith("model.")})
        self.updates = updates
        for i, (name, parameter) in enumerate(zip(self.names, self.parameters, strict=True)):
            self.averages[i].copy_(averages.get(name, parameter.detach()))
            if f"exp_avg.{name}" in state:
                step = torch.tensor(float(updates), device=parameter.device if parameter.is_cuda else "cpu")
                self.optimizer.state[parameter] = {"step": step} | {
                    moment: torch.empty_like(parameter).copy_(state[f"{moment}.{name}"])
                    for moment in ("exp_avg", "exp_avg_sq")}


class Recording:
    """A function of tensors that a GPU repeats as one launch; on a CPU it is simply called.

    A pass through mini is thousands of kernels so small that a GPU waits for its host to launch them. The first call
    warms up (and compiles), then records; later calls fill in the arguments and replay. See `graphs.Graph`; overwritten
    by the next call are also the gradients that the function leaves in `parameters`.
    """

    _pool = None            # of memory: recordings follow each other, so that they can use the same

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]],
                 parameters: Sequence[nn.Parameter] = ()) -> None:
        self.function, self.parameters = function, parameters
        self._graph: Graph | None = None

    def __call__(self, *arguments: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not arguments[0].is_cuda:
            return self._afresh(*arguments)
        if self._graph is None:
            Recording._pool = Recording._pool or torch.cuda.MemPool()
            self._graph = Graph(self._afresh, arguments, Recording._pool, warm_up=3)
            self._gradients = [parameter.grad for parameter in self.parameters]
        result = self._graph(*arguments)
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient           # other recordings of the same parameters have theirs elsewhere
        return result

    def _afresh(self, *arguments: Tensor) -> Tensor | tuple[Tensor, ...]:
        for parameter in self.parameters:
            parameter.grad = None               # so that gradients are written, not added up
        return self.function(*arguments)
