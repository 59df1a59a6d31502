"""What the video of a cell cost: seconds of work, memory, and the machine, commit and weights that they belong to."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from liveavatar.study import provenance
from liveavatar.types import Step

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline
    from liveavatar.video import Video

Numbers = dict[str, object]


def cost(pipeline: Pipeline, steps: list[Step], video: Video, busy_s: float) -> Numbers:
    """Return the time and memory that a video took. Clock times suffer from whatever else the machine does.
    `work_ms_per_frame`, the time that processors worked for this process, hardly does; on a GPU it is the clock's."""
    backend = pipeline.backend
    networks = [getattr(backend, name) for name in ("transformer", "vae", "audio_encoder") if hasattr(backend, name)]
    weights = sum(tensor.nbytes for network in networks for tensor in network.parameters())
    caches = sum({step.index: step.bytes.get("caches", 0) for step in steps}.values())
    work_s = sum(video.seconds.get(stage, 0.0) for stage in ("denoise", "decode"))
    block_ms = [sum(step.milliseconds for step in steps if step.block == block)
                for block in sorted({step.block for step in steps})]
    block_frames = pipeline.block_frames
    return {
        "machine": provenance.machine(str(backend.device)), "commit": provenance.commit(),
        "weights_id": provenance.weights_id(backend.about()),
        "frames": video.frames, "device": str(backend.device), "dtype": str(backend.about().get("dtype", "")),
        "x_realtime": video.x_realtime, "first_picture_s": video.first_picture_s,
        "ms_per_frame": 1000 * work_s / video.frames,
        "denoise_ms_per_frame": 1000 * video.seconds.get("denoise", 0.0) / video.frames,
        "decode_ms_per_frame": 1000 * video.seconds.get("decode", 0.0) / video.frames,
        "work_ms_per_frame": 1000 * (busy_s if backend.device.type == "cpu" else work_s) / video.frames,
        "step_ms": statistics.median(step.milliseconds for step in steps),
        "block_ms": statistics.median(block_ms), "slowest_block_ms": max(block_ms),
        "block_deadline_ms": 1000 * block_frames / video.fps,
        "weights_mib": weights / 2**20, "caches_mib": caches / 2**20, **peak_of(pipeline),
        "gradients": any(step.velocity.requires_grad for step in steps),
        "generation_s": sum(video.seconds.values()),
    }


def forget_peak(pipeline: Pipeline) -> None:
    """Let the most memory of a GPU count from here."""
    import torch

    if pipeline.backend.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(pipeline.backend.device)


def peak_of(pipeline: Pipeline) -> Numbers:
    """Return the most memory of a GPU that torch handed out since `forget_peak`, in GiB; nothing on a CPU."""
    import torch

    if pipeline.backend.device.type != "cuda":
        return {}
    return {"peak_gib": torch.cuda.max_memory_allocated(pipeline.backend.device) / 2**30}
