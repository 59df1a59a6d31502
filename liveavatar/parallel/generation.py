"""Inputs to video by all processes that torchrun has started."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from liveavatar.backends import find_for
from liveavatar.config import GenerationConfig
from liveavatar.inputs import prepare, remark_on
from liveavatar.parallel.denoising import denoise, receive_latents
from liveavatar.parallel.group import PeerFailure, RankGroup
from liveavatar.parallel.layout import Layout
from liveavatar.parallel.timeline import Span, SpanRecorder, Timeline
from liveavatar.pipeline import load_once
from liveavatar.progress import Stopwatch
from liveavatar.streaming import BlockStream, write_video
from liveavatar.types import Block, InputError
from liveavatar.version import __version__
from liveavatar.video import Video, check_output, wants_label

if TYPE_CHECKING:
    from liveavatar.inputs import Audio, Image, Inputs
    from liveavatar.pipeline import Pipeline
    from liveavatar.types import Condition, Prompt


def generate(audio: Audio, image: Image, prompt: str | Prompt = "", config: GenerationConfig | None = None, *,
             output: str | os.PathLike = "out.mp4", backend: str = "mini", vae: str = "auto",
             stop: threading.Event | None = None, progress: bool = True, **options: object) -> Video | None:
    """Do what `pipeline.generate` does, by all processes. The rank that decodes returns the video, the others None.

    Beside the video a time line is written: out.timeline.json. Raises InputError for what cannot be used, and
    PeerFailure when another process ends.
    """
    config = config or GenerationConfig()
    if config.guidance != 1.0:
        raise InputError(f"guidance is {config.guidance}; it is made by one process only: start without torchrun, or "
                         "leave it at 1.0")
    if config.cache_level == "clean":
        raise InputError("cache_level is 'clean': all steps read the one cache that the last step fills, so they "
                         "cannot be spread over processes; start without torchrun, or leave it at 'own'")
    kind = find_for(backend, options)
    path = check_output(output)
    inputs = prepare(kind, audio, image, prompt, config)
    inputs.check_output(path)
    video = None
    with video_kept(lambda: video), RankGroup() as group, failure_on_sigterm(group):
        layout = Layout.of(config.sample_steps, group.ranks, vae)
        group.agree(what_all_share(inputs, config) | {"vae": vae})
        recorder = SpanRecorder(group.rank, group.began_s)
        if options.get("device", "auto") == "auto" and torch.cuda.is_available():
            options["device"] = f"cuda:{int(os.environ.get('LOCAL_RANK', group.rank)) % torch.cuda.device_count()}"
        with recorder.span("prepare"):
            pipeline = load_once(backend, options)
            if group.rank == 0:
                remark_on(pipeline.backend, inputs, config)
            condition = pipeline.encode_inputs(inputs, config)       # every rank for itself: it is the same everywhere
            if layout.owned(group.rank):
                pipeline.load_weights()
            about = pipeline.backend.about()
            group.agree({name: about.get(name) for name in ("name", "student", "dtype", "fingerprint")})
        video = run_rank(pipeline, inputs, condition, config, group, layout, recorder, path, stop or threading.Event(),
                         progress)
        share_spans(group, recorder)
        if video is not None:
            gather_timeline(group).save(video.path.with_suffix(".timeline.json"))
    return video


def what_all_share(inputs: Inputs, config: GenerationConfig) -> dict[str, object]:
    """Return what must be the same on every rank before weights are loaded."""
    return {"liveavatar": __version__, "torch": torch.__version__, "sound": inputs.origin["audio"]["sha256"],
            "portrait": inputs.origin["portrait"]["sha256"], "prompt": inputs.prompt.text, **config.to_dict()}


@contextmanager
def video_kept(made: Callable[[], Video | None]) -> Iterator[None]:
    """Pass over a failure of another rank once this one has written the whole video."""
    try:
        yield
    except PeerFailure:
        video = made()
        if video is None or not video.complete:
            raise


def share_spans(group: RankGroup, recorder: SpanRecorder) -> None:
    """Publish this rank's spans for `gather_timeline`."""
    group.share("spans", json.dumps([asdict(span) for span in recorder.spans]))


def gather_timeline(group: RankGroup) -> Timeline:
    """Join the spans of all ranks, once they have shared them."""
    spans = [Span(**span) for text in group.collect("spans") for span in json.loads(text)]
    return Timeline(tuple(sorted(spans, key=lambda span: span.began_s)), group.ranks)


def run_rank(pipeline: Pipeline, inputs: Inputs, condition: Condition, config: GenerationConfig, group: RankGroup,
             layout: Layout, recorder: SpanRecorder, path: Path, stop: threading.Event, progress: bool) -> Video | None:
    """Do this rank's work from the first block to the last; return the video where this rank writes it."""
    backend, rank = pipeline.backend, group.rank
    if layout.owned(rank):
        latents = denoise(backend, condition, config, group, layout, recorder, stop)
    elif rank == layout.vae_rank:
        backend.drop_transformer()
        latents = receive_latents(backend, condition, group, recorder)
    else:
        return None
    if rank == layout.vae_rank:
        return decode_video(pipeline, latents, inputs, condition, config, recorder, path, progress)
    for _ in latents:
        pass
    return None


def decode_video(pipeline: Pipeline, latents: Iterator[tuple[int, Tensor]], inputs: Inputs, condition: Condition,
                 config: GenerationConfig, recorder: SpanRecorder, path: Path, progress: bool) -> Video:
    """Decode blocks as they come and write them. A failure elsewhere ends the file where it stands."""
    stream = BlockStream(pipeline, condition, config, Stopwatch())
    events = write_video(stream, decoded_blocks(stream, latents, recorder), path, inputs,
                         pipeline.provenance(inputs, config), wants_label(inputs.portrait, config.label), progress,
                         keep_after=(PeerFailure,))
    return deque(events, maxlen=1).pop()


def decoded_blocks(stream: BlockStream, latents: Iterator[tuple[int, Tensor]],
                   recorder: SpanRecorder) -> Iterator[Block]:
    """Yield the pictures of blocks; what waits for their latents counts as work on the video."""
    while True:
        with stream.watch.measure("denoise"):
            block, x = next(latents, (-1, None))
        if x is None:
            return
        stream.add(x)
        with recorder.span("decode", block):
            decoded = list(stream.waiting())
        yield from decoded


@contextmanager
def failure_on_sigterm(group: RankGroup) -> Iterator[None]:
    """Let SIGTERM end this rank by PeerFailure: torchrun sends it to all processes when one has died."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_sigterm(*_: object) -> None:
        group.fail("another process of this run has ended, or it was told to end")

    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_now(code: int) -> NoReturn:
    """End this process although threads still wait for peers that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
