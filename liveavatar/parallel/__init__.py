"""One video by several processes: timestep pipelining (TPP). Each owns a range of steps and the caches of those steps.

    torchrun --nproc_per_node 3 -m liveavatar generate --audio speech.wav --image portrait.png

    rank 0   | block 0: steps 0 1 | block 1: steps 0 1 | block 2 ...
    rank 1                        | block 0: steps 2 3 | block 1: steps 2 3 | ...
    rank 2                                             | block 0: pictures  | block 1 ...

A step's cache never leaves its rank: with timestep forcing a block only attends to its own noise level. What travels
down the chain are latents, some hundred kilobytes a block, through main memory (gloo), whatever the devices are. Every
rank prefills the condition for itself. The result is the one of a single process, bit for bit, whatever number of
threads each has.

When one process dies the others stop within seconds and say so; what is done of the video can be played.

    layout      which rank takes which steps          group       heartbeats, failures, latents between ranks
    timeline    which rank did what when              denoising   a rank's steps of every block
                                                      generation  the whole, as `pipeline.generate`
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {
    "Layout": "layout",
    "Span": "timeline", "Timeline": "timeline", "SpanRecorder": "timeline", "gantt": "timeline",
    "RankGroup": "group", "Channel": "group", "PeerFailure": "group",
    "denoise": "denoising", "receive_latents": "denoising", "empty_latents": "denoising",
    "generate": "generation", "gather_timeline": "generation", "share_spans": "generation", "exit_now": "generation",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
