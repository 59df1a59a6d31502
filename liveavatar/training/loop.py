"""What every training stage shares: budget, learning rate, running average, checkpoints, logs.

A stage is a plain `for` over a `TrainingLoop`; the loop says how much of the budget is used, the stage draws data,
computes a loss and hands it back:

    for share in loop:                                   # 0..1 of the whole budget
        loss = ...
        loop.update("vae", loss)
        loop.show(loss=loss)

Budgets count training over all calls, so that one run may be cut into pieces: stop after `minutes` (or a SIGTERM),
start again with resume=True, and weights, optimiser, running average, random numbers and learning rate go on where they
were. Files are kept below 16 MiB each. Started by torchrun, gradients are averaged over the GPUs.
"""

from __future__ import annotations

import argparse
import atexit
import json
import math
import os
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from liveavatar.graphs import Graph
from liveavatar.types import InputError

PIECE_BYTES = int(15.5 * 2**20)
WARMUP_SHARE = 0.03      # of the budget
LAST_LR = 0.03           # of the highest learning rate, at the end
PROCESS_STARTED_S = time.monotonic()


@dataclass(frozen=True)
class Budget:
    """How long to train, by the clock or by steps; `total` spans all calls, the other ends this one."""

    minutes: float | None = None          # of this call, compiling and all preparations included
    total_minutes: float | None = None    # of training proper; compiling and evaluation are not counted
    steps: int | None = None
    total_steps: int | None = None

    def __post_init__(self) -> None:
        if self.total_minutes is None and self.total_steps is None:
            raise InputError("a training budget needs an end: give --total_minutes or --total_steps")

    def share(self, minutes: float, step: int) -> float:
        """Return the used part of the whole budget, 0..1."""
        by_clock = minutes / self.total_minutes if self.total_minutes is not None else 0.0
        by_steps = step / self.total_steps if self.total_steps is not None else 0.0
        return min(1.0, max(by_clock, by_steps))


def learning_rate_scale(share: float) -> float:
    """Warm up in a straight line, then fall along a cosine."""
    fall = LAST_LR + (1 - LAST_LR) * 0.5 * (1 + math.cos(math.pi * share))
    return min(1.0, share / WARMUP_SHARE + 0.01) * fall


# ---------------------------------------------------------------------------------------------- several GPUs
def gpus() -> int:
    """Count the processes that train together, one a GPU."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, 0 for the first."""
    return dist.get_rank() if dist.is_initialized() else 0


def choose_device(name: str) -> torch.device:
    """Return the device asked for; under torchrun, join the other processes and return this one's own GPU."""
    if "LOCAL_RANK" in os.environ and name.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl", device_id=torch.device("cuda", int(os.environ["LOCAL_RANK"])))
        atexit.register(dist.destroy_process_group)
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def _average_over_gpus(gradients: list[Tensor]) -> None:
    if gpus() == 1:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat, op=dist.ReduceOp.AVG)
    pieces = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)])


# ---------------------------------------------------------------------------------------------- a model that learns
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


# ---------------------------------------------------------------------------------------------- one launch a step
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


# ---------------------------------------------------------------------------------------------- files
def save_pieces(tensors: dict[str, Tensor], directory: Path, stem: str, metadata: dict[str, str] | None = None,
                limit_bytes: int = PIECE_BYTES) -> list[Path]:
    """Write tensors as `stem.safetensors`, or `stem-0.safetensors` and on when one file would pass the limit."""
    from safetensors.torch import save_file
    pieces: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if pieces[-1] and filled + size > limit_bytes:
            pieces.append({})
            filled = 0
        pieces[-1][name] = tensor.detach().contiguous().cpu()
        filled += size
    names = [f"{stem}.safetensors"] if len(pieces) == 1 else [f"{stem}-{i}.safetensors" for i in range(len(pieces))]
    for name, piece in zip(names, pieces, strict=True):
        save_file(piece, str(directory / f"{name}.new"), metadata=(metadata or {}) | {"pieces": str(len(pieces))})
    for old in find_pieces(directory, stem):
        if old.name not in names:
            old.unlink()
    for name in names:
        os.replace(directory / f"{name}.new", directory / name)
    return [directory / name for name in names]


def find_pieces(directory: Path, stem: str) -> list[Path]:
    """List the files that `save_pieces` wrote, in order; none where there is nothing."""
    one = directory / f"{stem}.safetensors"
    return sorted(directory.glob(f"{stem}-[0-9]*.safetensors")) or ([one] if one.exists() else [])


def load_pieces(directory: Path, stem: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_pieces` wrote; pieces of different saves are refused."""
    from safetensors import safe_open
    paths = find_pieces(directory, stem)
    if not paths:
        raise InputError(f"no {stem}.safetensors in {directory}; train that stage first, or start without --resume")
    tensors, metadata = {}, []
    for path in paths:
        with safe_open(str(path), framework="pt") as file:
            metadata.append(file.metadata() or {})
            tensors |= {name: file.get_tensor(name) for name in file.keys()}   # noqa: SIM118
    expected = int(metadata[0].get("pieces", len(paths)))
    if len(paths) != expected or any(one != metadata[0] for one in metadata):
        raise InputError(f"{len(paths)} files of {stem} in {directory} do not belong together ({expected} expected); "
                         "copy all pieces of one save, or start without --resume")
    return tensors, metadata[0]


def _export_halves(model: nn.Module, path: Path) -> None:
    save_pieces({name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()},
                path.parent, path.stem)


# ---------------------------------------------------------------------------------------------- the loop
@dataclass
class TrainingLoop:
    """Iterate to train; see the top of this file. `learners` are saved under their names."""

    work: Path
    learners: dict[str, Learner]
    generator: torch.Generator
    budget: Budget
    resume: bool = False
    title: str = "training"
    log_every: int = 50            # steps; the only moments at which the host waits for the GPU
    save_every_minutes: float = 2.0
    step: int = 0
    minutes: float = 0.0           # of training proper, over all calls
    history: list[dict[str, float]] = field(default_factory=list)
    evaluation: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = next(iter(self.learners.values())).parameters[0].device
        self.work = Path(self.work)
        self.work.mkdir(parents=True, exist_ok=True)
        self._stopped = False
        self._shown: list[Tensor] = []
        self._shown_names: tuple[str, ...] = ()
        self.steps_per_s = float("nan")
        if self.resume:
            self.load()

    @property
    def share(self) -> float:
        """Return the used part of the whole budget, 0..1."""
        return self.budget.share(self.minutes, self.step)

    def update(self, name: str, loss: Tensor, lr_scale: float = 1.0) -> None:
        """Let one learner take a step; the loop's schedule sets its learning rate."""
        self.learners[name].update(loss, lr_scale * learning_rate_scale(self.share))

    def descend(self, name: str) -> None:
        """Do the same where the gradients are there already, left by a `Recording`."""
        self.learners[name].descend(learning_rate_scale(self.share))

    def show(self, **values: Tensor) -> None:
        """Keep scalars of this step for the log; nothing waits for them."""
        self._shown_names = tuple(values)
        self._shown.append(torch.stack([torch.as_tensor(value).detach().float() for value in values.values()]))

    def __iter__(self) -> Iterator[float]:
        from tqdm import tqdm
        restore = _on_sigterm(self._stop)
        bar = tqdm(total=100, initial=round(100 * self.share, 1), desc=self.title, unit="%", mininterval=15, miniters=0,
                   disable=rank() > 0, bar_format="{desc} {percentage:3.0f}%|{bar:20}| {elapsed} {postfix}")
        first, begun, minutes_before = self.step, None, self.minutes
        saved = time.monotonic()
        try:
            while not self._finished(first):
                yield self.share
                self.step += 1
                if begun is None:                              # compiling is done; training proper begins
                    _wait_for_gpu(self.device)
                    begun = time.monotonic()
                    print(f"{self.title}: first step after {begun - PROCESS_STARTED_S:.1f} s", flush=True)
                if gpus() == 1 or self.step % 20 == 0:
                    self.minutes = minutes_before + self._agree(time.monotonic() - begun) / 60
                if self.step % self.log_every == 0:
                    self._log(bar)
                    self.steps_per_s = (self.step - first - 1) / max(time.monotonic() - begun, 1e-9)
                if time.monotonic() - saved > 60 * self.save_every_minutes:
                    self.save()
                    saved = time.monotonic()
        finally:
            _wait_for_gpu(self.device)
            if begun is not None:
                self.steps_per_s = (self.step - first - 1) / max(time.monotonic() - begun, 1e-9)
            self._log(bar)
            bar.close()
            restore()
            self.save()

    def _finished(self, first: int) -> bool:
        by_steps = self.budget.steps is not None and self.step - first >= self.budget.steps
        return self._stopped or by_steps or self.share >= 1

    def _stop(self) -> None:
        self._stopped = True

    def _agree(self, elapsed_s: float) -> float:
        """Return the seconds of training in this call; the first process decides for all when it is time to stop."""
        over = self.budget.minutes is not None and (time.monotonic() - PROCESS_STARTED_S) / 60 >= self.budget.minutes
        if gpus() > 1:
            state = torch.tensor([elapsed_s, float(over or self._stopped)], device=self.device)
            dist.broadcast(state, 0)
            elapsed_s, over = state[0].item(), bool(state[1].item())
        self._stopped = self._stopped or over
        return elapsed_s

    def _log(self, bar) -> None:
        if not self._shown:
            return
        means = torch.stack(self._shown).mean(0).tolist()
        self._shown.clear()
        entry = dict(zip(self._shown_names, means, strict=True))
        self.history.append({"step": self.step, "minutes": round(self.minutes, 4)} | entry)
        text = " ".join(f"{name} {value:.4g}" for name, value in entry.items())
        bar.set_postfix_str(f"step {self.step} {self.steps_per_s:.1f}/s {text}", refresh=False)
        bar.update(round(100 * self.share, 1) - bar.n)

    def save(self) -> None:
        """Write checkpoint, averaged weights, log and loss curve; whole files only."""
        if rank() > 0:
            return
        state = {"generator": self.generator.get_state()}
        for name, learner in self.learners.items():
            state |= {f"{name}.{key}": tensor for key, tensor in learner.state().items()}
            with learner.averaged() as model:
                (learner.export or _export_halves)(model, self.work / f"{name}.safetensors")
        progress = {"step": self.step, "minutes": self.minutes,
                    "updates": {name: learner.updates for name, learner in self.learners.items()}}
        save_pieces(state, self.work, "checkpoint", {"progress": json.dumps(progress)})
        self.write_log()

    def write_log(self) -> None:
        """Write training.json (and loss.png where matplotlib is)."""
        log = {"title": self.title, "step": self.step, "minutes": self.minutes, "steps_per_s": self.steps_per_s,
               "gpus": gpus(), "evaluation": self.evaluation, "history": self.history}
        (self.work / "training.json").write_text(json.dumps(log, indent=1))
        draw_curve(self.work / "training.json")

    def load(self) -> None:
        """Go on from the checkpoint in `work`."""
        state, metadata = load_pieces(self.work, "checkpoint")
        progress = json.loads(metadata["progress"])
        self.step, self.minutes = progress["step"], progress["minutes"]
        if rank() > 0:
            self.generator.manual_seed(self.generator.initial_seed() + self.step)
        elif state["generator"].shape == self.generator.get_state().shape:   # a GPU's differs from the host's
            self.generator.set_state(state["generator"])
        for name, learner in self.learners.items():
            own = {key[len(name) + 1:]: t for key, t in state.items() if key.startswith(f"{name}.")}
            averages = load_pieces(self.work, name)[0] if find_pieces(self.work, name) else {}
            learner.load(own, averages, progress["updates"][name])
        log = self.work / "training.json"
        if log.exists():
            self.history = json.loads(log.read_text())["history"]


def _on_sigterm(stop: Callable[[], None]) -> Callable[[], None]:
    """Call stop() on SIGTERM; the returned function puts things back."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: stop())
    except ValueError:                                          # not the main thread: nobody will send it here
        return lambda: None
    return lambda: signal.signal(signal.SIGTERM, before)


def peak_memory_gib(device: torch.device) -> float:
    """Return the most GPU memory that this process has held, GiB; 0 on a CPU."""
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if torch.device(device).type == "cuda" else 0.0


def _wait_for_gpu(device: torch.device) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


# ---------------------------------------------------------------------------------------------- command line, pictures
def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that every stage has."""
    parser.add_argument("--corpus", required=True, help="speech file made by liveavatar.training.corpus")
    parser.add_argument("--work", required=True, type=Path, help="folder for checkpoint, weights, logs and sheets")
    parser.add_argument("--minutes", type=float, help="end this call after so many minutes, compiling included")
    parser.add_argument("--total_minutes", type=float, help="training time of all calls together")
    parser.add_argument("--steps", type=int, help="end this call after so many steps")
    parser.add_argument("--total_steps", type=int, help="steps of all calls together")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks and the renderer")
    parser.add_argument("--size", default="128*128", help="width*height of the pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log_every", type=int, default=50, help="steps between lines of the log")
    return parser


def budget_of(arguments: argparse.Namespace) -> Budget:
    """Read the budget that the options give. Raises InputError without an end."""
    return Budget(arguments.minutes, arguments.total_minutes, arguments.steps, arguments.total_steps)


def parse_size(text: str) -> tuple[int, int]:
    """Parse "W*H" -> (height, width)"""
    try:
        width, height = (int(part) for part in text.split("*"))
    except ValueError:
        raise InputError(f"size {text!r} is not of the form 'width*height'; try '128*128'") from None
    return height, width


def start(arguments: argparse.Namespace) -> tuple[torch.device, torch.Generator]:
    """Set up the process; return its device, and a generator on it, from which every random draw comes."""
    # absolute: compile workers run elsewhere; kept between calls
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((arguments.work.parent / "inductor").absolute()))
    device = choose_device(arguments.device)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(arguments.seed)                           # weights at the start
    return device, torch.Generator(device).manual_seed(arguments.seed + 1000 * rank())


def autocast(device: torch.device) -> torch.autocast:
    """Use bfloat16 on a GPU; the CPU stays exact, unless somebody further out asked for bfloat16 there."""
    wanted = device.type == "cuda" or torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def draw_curve(log: Path) -> Path | None:
    """Draw the history of a training.json beside it as loss.png; None where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot
    record = json.loads(Path(log).read_text())
    history = record["history"]
    names = [name for name in (history[0] if history else {}) if name not in ("step", "minutes")]
    figure, axes = pyplot.subplots(1, max(len(names), 1), figsize=(3.2 * max(len(names), 1), 2.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=False):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        axis.plot(*zip(*points, strict=True), linewidth=0.8)
        if all(value > 0 for _, value in points):
            axis.set_yscale("log")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
    figure.suptitle(f"{record['title']}: {record['step']} steps, {record['minutes']:.1f} min", fontsize=9)
    figure.tight_layout()
    path = Path(log).with_name("loss.png")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def write_png(picture: Tensor, path: Path) -> Path:
    """Write a picture (3, H, W) 0..1 as a PNG file."""
    pixels = (picture.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()   # (H, W, 3)
    H, W, _ = pixels.shape
    rows = np.concatenate([np.zeros((H, 1), np.uint8), pixels.reshape(H, 3 * W)], axis=1).tobytes()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, 0)       # 8 bits, red-green-blue
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                           + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b""))
    return Path(path)


def tile(pictures: Tensor) -> Tensor:
    """Tile pictures (rows, columns, 3, H, W)  ->  one picture (3, rows*H, columns*W)"""
    rows, columns, _, H, W = pictures.shape
    return pictures.permute(2, 0, 3, 1, 4).reshape(3, rows * H, columns * W)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the loss curve of a training.json again.")
    parser.add_argument("log", type=Path)
    print(draw_curve(parser.parse_args().log))
