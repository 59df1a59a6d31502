"""Long sound: memory does not grow with the length, time grows in proportion, files are not read whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from faults.attempts import ROOT

MOST_GROWTH = 1.05            # of memory: 600 s against 60 s, and the last minute against the second
MOST_SLOWER = 1.05            # the last tenth of the blocks against the first: medians
MOST_APART_S = 0.005          # sound against pictures at the end of the file
PATIENCE_S = 3600

CHILD = """
import json, sys
sys.path[:0] = {paths!r}
from faults.length import {function}
print(json.dumps({function}(*{arguments!r})))
"""


def in_process(function: str, *arguments: object) -> dict:
    """Call a function of this module in a process of its own, so that its memory is its own -> what it returned."""
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    code = CHILD.format(paths=paths, function=function, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-600:])
    return json.loads(done.stdout.splitlines()[-1])


def write_speech(path: Path, seconds: float, seed: int = 0) -> None:
    """Write so many seconds of sound with syllables and pauses as FLAC, 16 kHz, ten seconds at a time."""
    import numpy as np
    import soundfile

    dice = np.random.default_rng(seed)
    with soundfile.SoundFile(path, "w", 16_000, 1, format="FLAC", subtype="PCM_16") as flac:
        for first_s in range(0, int(np.ceil(seconds)), 10):
            time_s = np.arange(round(16_000 * min(10, seconds - first_s))) / 16_000
            voice = np.sin(2 * np.pi * dice.uniform(100, 250) * time_s) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s))
            flac.write((0.4 * voice * (time_s % 5 < 4)).astype(np.float32))


def memory_bytes(name: str) -> int:
    """Return a figure of this process from /proc/self/status: VmRSS (now) or VmHWM (the most so far)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def make_video(seconds: float, backend: str, size: str, steps: int, seed: int) -> dict:
    """Make a video of so many seconds, and watch the memory and the time of every block.

    -> peak_bytes; rss: [seconds of video, bytes] after every block; block_ms; apart_s: sound against pictures at the
    end of the file; frames
    """
    import time

    import liveavatar
    from faults.attempts import prepare_child
    from liveavatar.config import GenerationConfig
    from liveavatar.types import Block

    prepare_child()
    pipe = liveavatar.load(backend)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_speech(folder / "in.flac", seconds, seed)
        config = GenerationConfig(size=size, sample_steps=steps, schedule="linear", base_seed=seed)
        rss, block_ms, began_s = [], [], time.perf_counter()
        for event in pipe.stream(str(folder / "in.flac"), liveavatar.avatar(3), "", config, output=folder / "o.mp4"):
            if isinstance(event, Block):
                now_s = time.perf_counter()
                rss.append([event.start_s, memory_bytes("VmRSS")])
                block_ms.append(1000 * (now_s - began_s))
                began_s = now_s
        return {"peak_bytes": memory_bytes("VmHWM"), "rss": rss, "block_ms": block_ms, "frames": event.frames,
                "apart_s": apart_at_the_end(folder / "o.mp4")}


def apart_at_the_end(path: Path) -> float:
    """Return the seconds between the end of the last picture and the end of the sound of a video."""
    import av

    with av.open(str(path)) as container:
        ends = []
        for stream in (container.streams.video[0], container.streams.audio[0]):
            ends.append(float(stream.duration * stream.time_base))
        return abs(ends[0] - ends[1])
