"""Turn one call of a diffusers pipeline into the events of a run: a Step for each step of its scheduler, then Blocks.

A denoising loop is a block, and each video or image of a batch is a block of its own.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from liveavatar.interop.latents import LatentLayout, frames_in, pictures_of, temporal_ratio
from liveavatar.interop.noise_levels import NoiseLevel, noise_levels, predict, solver_of
from liveavatar.types import Block, InputError, Portrait, Step

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

    from liveavatar.interop.watching import WatchedRun

ASSUMED_FPS = 16.0                     # of videos whose pipeline does not say
KNOWN_FPS = {"CogVideoX": 8.0, "LTX": 25.0, "Wan": 16.0, "HunyuanVideo": 24.0}      # beginning of a class name -> fps
KEPT_ARGUMENTS = (str, int, float, bool)


@dataclass
class Loop:
    """A denoising loop: from `set_timesteps` to its last step."""

    first_block: int
    layout: LatentLayout
    levels: tuple[NoiseLevel, ...]
    timesteps: list[float]
    place: int                         # in `levels`, of the next step
    first_place: int
    shape: tuple[int, ...] = ()        # (B, C, F, h, w)
    latents: Tensor | None = None      # (B, C, F, h, w), the newest

    @property
    def steps(self) -> int:
        """Return steps that the scheduler has planned."""
        return len(self.levels) - 1 - self.first_place


@dataclass
class Pending:
    """A step whose latents the pipeline may still change, in its callback."""

    loop: Loop
    index: int
    sample: Tensor                     # after the step, in the pipeline's own layout and scale
    clean: Tensor
    velocity: Tensor
    began_s: float
    ended_s: float
    milliseconds: float
    bytes: dict[str, int] = field(default_factory=dict)


class CallRecorder:
    """Follows one call. What it cannot record becomes a remark of the run; the call itself is never disturbed."""

    def __init__(self, run: WatchedRun, function: Callable, args: tuple, kwargs: dict) -> None:
        self._run, self._pipe = run, run.pipe
        self.args, self.kwargs = args, dict(kwargs)
        self.given, self.arguments = arguments_of(function, self._pipe, args, kwargs)
        self._loops: list[Loop] = []
        self._fresh = True                               # the next step begins a loop
        self._pending: Pending | None = None
        self._waits_for_callback = self._add_callback(function)
        self._since_s = self._noted_s = time.perf_counter()

    # ------------------------------------------------------------------ what the pipeline does

    def timesteps_set(self) -> None:
        """Begin a new loop with the next step."""
        self.flush()
        self._fresh, self._since_s = True, time.perf_counter()

    def progress_began(self) -> None:
        """Measure the first step from here on: pipelines open their progress bar just before their loop."""
        if self._fresh:
            self._since_s = time.perf_counter()

    def stepped(self, scheduler: SchedulerMixin, sample: Tensor, output: Tensor, timestep: object,
                result: Any) -> None:
        """Take note of a step of the scheduler."""
        self.flush()
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        if after.is_cuda:
            torch.cuda.synchronize(after.device)
        ended_s = time.perf_counter()
        loop = self._loop_of(scheduler, sample, timestep)
        if loop is not None:
            place, loop.place = loop.place, loop.place + 1
            clean, velocity = predict(scheduler, sample, output, loop.levels[place])
            self._pending = Pending(loop, place - loop.first_place, after, clean.to(after.dtype),
                                    velocity.to(after.dtype), self._noted_s, ended_s,
                                    (ended_s - self._since_s) * 1000, self._run.memory.sample())
            if not self._waits_for_callback:
                self.flush()
        self._since_s = self._noted_s = time.perf_counter()

    def flush(self) -> None:
        """Make events of the step that is pending."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        loop, place = pending.loop, pending.loop.first_place + pending.index
        level, after = loop.levels[place], loop.levels[place + 1]
        x = pending.sample if after.scale == 1 else (pending.sample.float() / after.scale).to(pending.sample.dtype)
        x, clean, velocity = (loop.layout.unpack(tensor) for tensor in (x, pending.clean, pending.velocity))
        loop.latents = x
        for item in range(len(x)):
            one = slice(item, item + 1)
            step = Step(loop.first_block + item, pending.index, loop.steps, level.share, after.share, x[one],
                        clean[one], velocity[one], None, pending.milliseconds / len(x), pending.bytes)
            ended_s = pending.ended_s - (len(x) - 1 - item) * step.milliseconds / 1000
            self._run.made(step, pending.began_s if item == 0 else ended_s - step.milliseconds / 1000, ended_s)
        self._since_s = self._noted_s = time.perf_counter()

    def finish(self, result: object) -> None:
        """Make Blocks of the pictures that the pipeline returned."""
        self.flush()
        run, ended_s = self._run, time.perf_counter()
        if not self._loops:
            run.remark("no step was recorded: the pipeline did not use the scheduler that it had when it was called")
            return
        loop = self._loops[-1]
        if loop.place < len(loop.levels) - 1:
            run.remark(f"a loop ended after {loop.place - loop.first_place} of the {loop.steps} steps that its "
                       "scheduler had planned")
        videos = pictures_of(result, len(loop.latents)) if len(self._loops) == 1 else None
        if videos is None:
            run.remark(no_pictures(len(self._loops), self.arguments.get("output_type")))
            return
        run.info = replace(run.info, **frames_in(len(videos[0]), loop.shape[2]))
        run.extend_to(loop.first_block + len(videos))
        spent_s = (ended_s - self._noted_s) / len(videos)
        for item, frames in enumerate(videos):
            block = loop.first_block + item
            began_s = self._noted_s + item * spent_s
            run.made(Block(block, loop.latents[item:item + 1], frames, block * run.info.block_s, spent_s * 1000),
                     began_s, began_s + spent_s)

    # ------------------------------------------------------------------ loops

    def _loop_of(self, scheduler: SchedulerMixin, sample: Tensor, timestep: object) -> Loop | None:
        """Return the loop that a step belongs to; None for one that is not recorded."""
        if not self._fresh:
            loop = self._loops[-1] if self._loops else None
        else:
            self._fresh = False
            loop = self._begin(scheduler, sample, timestep)
        if loop is None or loop.place >= len(loop.levels) - 1:
            return None
        return loop

    def _begin(self, scheduler: SchedulerMixin, sample: Tensor, timestep: object) -> Loop | None:
        run, layout = self._run, LatentLayout(self._pipe, self.arguments)
        shape = tuple(layout.unpack(sample).shape)
        timesteps = [float(one) for one in scheduler.timesteps]
        place = timesteps.index(float(timestep)) if float(timestep) in timesteps else 0      # image to image: later
        loop = Loop(run.blocks_begun, layout, noise_levels(scheduler), timesteps, place, place, shape)
        sigmas = tuple(level.share for level in loop.levels[place:])
        if run.blocks_begun and not run.fits(shape[1:], len(sigmas)):
            run.remark(f"a later loop with {len(sigmas) - 1} steps and latents of shape {shape[1:]} was not recorded: "
                       "a run holds loops of one kind; watch it in a run of its own")
            return None
        if layout.remark:
            run.remark(layout.remark)
        if not run.blocks_begun:
            self._describe(scheduler, shape, sigmas, [level.scale for level in loop.levels[place:]])
        self._loops.append(loop)
        run.extend_to(loop.first_block + shape[0])
        return loop

    def _describe(self, scheduler: SchedulerMixin, shape: tuple[int, ...], sigmas: tuple[float, ...],
                  scales: list[float]) -> None:
        """Fill in what is constant in a run, at its first step."""
        run, F = self._run, shape[2]
        video = F > 1 or "num_frames" in self.arguments
        ratio = temporal_ratio(self._pipe) if video else 1
        fps = run.fps or (self._fps() if video else 1.0)
        config = {"pipeline": type(self._pipe).__name__, "scheduler": type(scheduler).__name__,
                  "sample_steps": len(sigmas) - 1, "scales": scales} | self._choices()
        run.info = replace(run.info, fps=fps, frames_per_latent=ratio, block_latents=F, first_frames=1,
                            sigmas=sigmas, solver=solver_of(scheduler), config=config)
        image = self.arguments.get("image")
        if hasattr(image, "convert"):
            pixels = pictures_of(([image],), 1)[0][0].permute(2, 0, 1) / 255
            run.portrait = Portrait(pixels, source="image")
        if max(scales) != 1:
            run.remark("latents are shown divided by alpha + sigma of their noise level, as flow matching has them; "
                       "interop.watching.latents_after gives the pipeline's own")

    def _fps(self) -> float:
        """Return the frames per second that were asked for, or those usual for the pipeline."""
        asked = self.arguments.get("frame_rate") or self.arguments.get("fps")
        if asked:
            return float(asked)
        name = type(self._pipe).__name__
        fps = next((fps for beginning, fps in KNOWN_FPS.items() if name.startswith(beginning)), ASSUMED_FPS)
        self._run.remark(f"{name} does not say how many frames a second its video has: {fps:g} are assumed; "
                         "watch(pipe, fps=...) sets it")
        return fps

    def _choices(self) -> dict:
        """Return what was chosen in the call, as far as JSON can hold it."""
        chosen = {name: value for name, value in self.given.items() if isinstance(value, KEPT_ARGUMENTS)
                  and name not in ("return_dict", "output_type", "num_inference_steps")}
        generator = self.arguments.get("generator")
        if isinstance(generator, torch.Generator):
            chosen["base_seed"] = generator.initial_seed()
        return chosen

    # ------------------------------------------------------------------ the callback

    def _add_callback(self, function: Callable) -> bool:
        """Pass a callback that sees the latents as the pipeline goes on with them; False where there can be none."""
        parameters = inspect.signature(function).parameters
        asked = self.arguments.get("callback_on_step_end_tensor_inputs") or ()
        theirs = self.arguments.get("callback_on_step_end")
        if "callback_on_step_end" not in parameters or "latents" not in asked or not_plain(theirs):
            return False
        positions = list(parameters)
        if positions.index("callback_on_step_end") <= len(self.args):      # given by position: leave it alone
            return False

        def callback(pipe: DiffusionPipeline, index: int, timestep: object, tensors: dict) -> dict:
            outputs = theirs(pipe, index, timestep, tensors) if theirs is not None else {}
            self._run.guarded(self._latents_kept, {**tensors, **(outputs or {})}.get("latents"))
            return outputs

        self.kwargs["callback_on_step_end"] = callback
        return True

    def _latents_kept(self, latents: Tensor | None) -> None:
        pending = self._pending
        if pending is not None and latents is not None and latents.shape == pending.sample.shape:
            pending.sample = latents
        self.flush()


def arguments_of(function: Callable, pipe: DiffusionPipeline, args: tuple, kwargs: dict) -> tuple[dict, dict]:
    """Return the arguments of a call by name, without and with defaults; what does not fit is for the pipeline to
    refuse."""
    try:
        bound = inspect.signature(function).bind(pipe, *args, **kwargs)
    except TypeError:
        return kwargs, kwargs
    bound.arguments.pop("self", None)
    given = dict(bound.arguments)
    bound.apply_defaults()
    return given, dict(bound.arguments)


def not_plain(callback: object) -> bool:
    """Tell whether a callback is an object of diffusers with tensors of its own choice, which nothing may wrap."""
    return callback is not None and hasattr(callback, "tensor_inputs")


def no_pictures(loops: int, output_type: object) -> str:
    """Say why a call gave no pictures."""
    if loops > 1:
        return f"the call ran {loops} denoising loops: its pictures could not be assigned to them"
    if output_type == "latent":
        return "the call returned latents (output_type='latent'): pictures are decoded when a view asks for them"
    return "the call returned nothing that is a video or an image: pictures are decoded when a view asks for them"


def check_pipeline(pipe: object) -> None:
    """Raise InputError unless a pipeline has a scheduler with `step`, whose latents can be followed."""
    if not callable(getattr(getattr(pipe, "scheduler", None), "step", None)):
        raise InputError(f"{type(pipe).__name__} has no scheduler with steps that could be watched; give a diffusers "
                         "pipeline such as WanPipeline, or make a run of ours with Run.of(...)")
