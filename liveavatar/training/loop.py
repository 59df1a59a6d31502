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

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liveavatar.training.checkpoint import find_pieces, load_pieces, save_pieces
from liveavatar.training.learner import Learner, gpus, rank
from liveavatar.training.sheets import draw_curve
from liveavatar.types import InputError

WARMUP_SHARE = 0.03      # of the budget
LAST_LR = 0.03           # of the highest learning rate, at the end
PROCESS_STARTED_S = time.monotonic()


@dataclass(frozen=True)
class Budget:
    """Describe how long to train, by the clock or by steps; `total` spans all calls, the other ends this one."""

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


def _export_halves(model: nn.Module, path: Path) -> None:
    save_pieces({name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()},
                path.parent, path.stem)


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
        """Write training.json and loss.png."""
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
