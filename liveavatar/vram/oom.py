"""Explain an out-of-memory error: the stage, whose memory had grown, what was planned, and what would fit.

An error keeps the local variables of every function that it went through, and so the tensors that filled the GPU. They
are released here: the kernel stays usable and memory returns to where it was.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from liveavatar.config import GenerationConfig
from liveavatar.vram.fit import plan_here
from liveavatar.vram.predict import FITS, gib

if TYPE_CHECKING:
    from liveavatar.runs.run import Run
    from liveavatar.vram.plan import Plan

STAGES = {   # our functions, from the outermost to the innermost that can be at work -> what was done
    "encode_audio": "the sound was encoded", "encode_image": "the portrait was encoded",
    "encode_pose": "the pose video was encoded", "encode_text": "the prompt was encoded",
    "load_transformer": "the transformer's weights were loaded",
    "prefill": "the condition was prefilled", "new_caches": "the caches were laid out",
    "denoise_block": "a step was made", "decode": "a block was decoded"}
GROWN = {"weights": "weights", "caches": "caches", "vae": "the VAE's state", "rest": "activations and all else"}


@dataclass(frozen=True)
class OutOfMemoryReport:
    """Why the memory did not suffice, and what to change."""

    when: str                    # "block 1, step 2 was made"
    grown: dict[str, int]        # bytes by owner since the run began
    plan: Plan | None            # what was to be expected; None where nothing is known

    @property
    def owner(self) -> str:
        """Return the owner that grew most."""
        return max(self.grown, key=self.grown.get)

    @property
    def description(self) -> str:
        """Say in one sentence when it happened, what had grown, what was planned, and what would fit."""
        grew = ", ".join(f"{GROWN[owner]} by {gib(size)}" for owner, size in
                         sorted(self.grown.items(), key=lambda pair: -pair[1]) if size > 0)
        said = f"the GPU ran out of memory while {self.when}; grown since the run began: {grew or 'nothing'}"
        if self.plan is None:
            return f"{said}; make fewer steps or a smaller size"
        fits = [change for change in self.plan.changes if change.verdict == FITS]
        remedy = f"the cheapest change that fits: {fits[0].description}" if fits else \
            "by the plan it fits: does another program use this GPU?" if self.plan.verdict == FITS else \
            "no change that was tried fits this card"
        return f"{said}; the plan: {self.plan.sentence}; {remedy}"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether a GPU's memory did not suffice; an error that was caused by it counts too."""
    return any(isinstance(one, torch.OutOfMemoryError) for one in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def explain(run: Run, error: BaseException, grown: dict[str, int]) -> OutOfMemoryReport:
    """Report why a run failed; grown: bytes by owner since it began"""
    about = {} if run.backend is None else run.backend.about()
    plan = None
    if about.get("name") == "wan-s2v-14b":
        plan = plan_here(GenerationConfig.from_dict(run.info.config), about.get("options", {}))
    return OutOfMemoryReport(during(run, error), grown, plan)


def during(run: Run, error: BaseException) -> str:
    """Say what was done when it happened, by the functions that the error went through."""
    names = {frame.name for one in chain(error) for frame in traceback.extract_tb(one.__traceback__)
             if "liveavatar" in frame.filename}
    stage = next((stage for stage in reversed(STAGES) if stage in names), None)
    last = run.last_step
    if stage == "denoise_block":
        after = (0, 0) if last is None else (last.block, last.index + 1)
        block, step = after if after[1] < max(run.info.steps, 1) else (after[0] + 1, 0)
        return f"block {block}, step {step} was made"
    if stage == "decode" and last is not None:
        return f"block {last.block} was decoded"
    return STAGES.get(stage, "it ran")


def release_frames(error: BaseException) -> None:
    """Release all that the functions hold through which an error went."""
    for one in chain(error):
        traceback.clear_frames(one.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
