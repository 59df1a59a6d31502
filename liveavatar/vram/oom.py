"""Explain an out-of-memory error: the stage, whose memory had grown, what was planned, and what would fit."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveavatar.config import GenerationConfig
from liveavatar.memory_errors import GPU, error_chain, memory_that_ran_out
from liveavatar.vram.fit import plan_here
from liveavatar.vram.prediction import FITS, gib

if TYPE_CHECKING:
    from liveavatar.runs.run import Run
    from liveavatar.vram.plan import Plan

STAGES = {   # our functions, from the outermost to the innermost that can be at work -> what was done
    "encode_audio": "the sound was encoded", "encode_image": "the portrait was encoded",
    "encode_pose": "the pose video was encoded", "encode_text": "the prompt was encoded",
    "load_transformer": "the transformer's weights were loaded",
    "prefill": "the condition was prefilled", "beginning": "the caches were laid out",
    "new_caches": "the caches were laid out",
    "denoise_block": "a step was made", "decode": "a block was decoded"}
GROWN = {"weights": "weights", "caches": "caches", "vae": "the VAE's state", "rest": "activations and all else"}


@dataclass(frozen=True)
class OutOfMemoryReport:
    """Explain why the memory did not suffice, and what to change."""

    when: str                    # "block 1, step 2 was made"
    grown: dict[str, int]        # bytes by owner since the run began
    plan: Plan | None            # what was to be expected; None where nothing is known
    memory: str = GPU            # whose memory it was

    @property
    def owner(self) -> str:
        """Return the owner that grew most."""
        return max(self.grown, key=self.grown.get)

    @property
    def description(self) -> str:
        """Say in one sentence when it happened, what had grown, what was planned, and what would fit."""
        grew = ", ".join(f"{GROWN[owner]} by {gib(size)}" for owner, size in
                         sorted(self.grown.items(), key=lambda pair: -pair[1]) if size > 0)
        said = f"{self.memory} ran out of memory while {self.when}; grown since the run began: {grew or 'nothing'}"
        if self.plan is None:
            return f"{said}; make fewer steps or a smaller size"
        fits = [change for change in self.plan.changes if change.verdict == FITS]
        remedy = f"the cheapest change that fits: {fits[0].description}" if fits else \
            "by the plan it fits: does another program use this GPU?" if self.plan.verdict == FITS else \
            "no change that was tried fits this card"
        return f"{said}; the plan: {self.plan.sentence}; {remedy}"


def explain(run: Run, error: BaseException, grown: dict[str, int]) -> OutOfMemoryReport:
    """Report why a run failed; grown: bytes by owner since it began"""
    about = {} if run.backend is None else run.backend.about()
    plan, memory = None, memory_that_ran_out(error)
    if run.backend is not None and run.backend.on_card and memory == GPU:
        plan = plan_here(GenerationConfig.from_dict(run.info.config), about.get("options", {}))
    return OutOfMemoryReport(during(run, error), grown, plan, memory)


def during(run: Run, error: BaseException) -> str:
    """Say what was done when it happened, by the functions that the error went through."""
    names = {frame.name for one in error_chain(error) for frame in traceback.extract_tb(one.__traceback__)
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
