"""Long sound: memory does not grow with the length, time grows in proportion, files are not read whole."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from faults.attempts import Attempt, chance, forget_peak, heap_bytes, in_process, memory_bytes

MOST_GROWTH = 1.05            # of memory: 600 s against 60 s
MOST_FLAT = 1.02              # of memory: the last minute against the second
MOST_SLOWER = 1.05            # the last tenth of the blocks against the first: medians
MOST_APART_S = 0.005          # sound against pictures at the end of the file


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


def make_video(seconds: float, backend: str, size: str, steps: int, seed: int) -> dict:
    """Make a video of so many seconds, and watch the memory and the time of every block.

    -> peak_bytes; rss: [seconds of video, bytes] after every block; heap: [bytes in use, bytes free] of malloc then;
    block_ms, of processor time: neighbours come and go; apart_s: sound against pictures at the end of the file; frames
    """
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
        rss, heap, block_ms, began_s = [], [], [], time.process_time()
        for event in pipe.stream(str(folder / "in.flac"), liveavatar.avatar(3), "", config, output=folder / "o.mp4"):
            if isinstance(event, Block):
                now_s = time.process_time()
                rss.append([event.start_s, memory_bytes("VmRSS")])
                heap.append(heap_bytes())
                block_ms.append(1000 * (now_s - began_s))
                began_s = now_s
        return {"peak_bytes": memory_bytes("VmHWM"), "rss": rss, "heap": heap, "block_ms": block_ms,
                "frames": event.frames, "apart_s": apart_at_the_end(folder / "o.mp4")}


def apart_at_the_end(path: Path) -> float:
    """Return the seconds between the end of the last picture and the end of the sound of a video."""
    import av

    with av.open(str(path)) as container:
        ends = []
        for stream in (container.streams.video[0], container.streams.audio[0]):
            ends.append(float(stream.duration * stream.time_base))
        return abs(ends[0] - ends[1])


LENGTHS_S = (60, 600)
SIZES = ("64*64", "256*256")        # one after the other: where little memory is used, what grows is a larger share
LONGEST = ("mini", "32*32", 1)      # the cheapest that is still mini, for hours of video
LONGEST_S = 10_000


def memory_and_time(rss: list, block_ms: list[float]) -> dict[str, float]:
    """Compare the last minute of a video with its second one, and its last tenth of blocks with its first.

    The median of memory, since the allocator keeps and gives back some ten MiB from block to block.
    """
    last_s = rss[-1][0]
    second = median(size for at_s, size in rss if 60 <= at_s < 120)
    last = median(size for at_s, size in rss if at_s > last_s - 60)
    tenth = max(len(block_ms) // 10, 1)
    return {"memory": last / second, "time": median(block_ms[-tenth:]) / median(block_ms[1:tenth + 1])}


def long_videos(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Make 60 s and 600 s of video, each in a process of its own, and compare their memory."""
    for number in range(first, first + count):
        size, own = SIZES[number % len(SIZES)], chance("long", seed, number).randrange(2**31)
        made = [in_process("faults.length", "make_video", seconds, "mini", size, 1, own) for seconds in LENGTHS_S]
        usual = [median(used for _, used in one["rss"]) / 2**20 for one in made]
        peak = [one["peak_bytes"] / 2**20 for one in made]
        used, free = ([median(heap[which] for heap in one["heap"]) / 2**20 for one in made] for which in (0, 1))
        case = (f"{number}: {size}, memory {usual[1] / usual[0]:.3f} times ({usual[0]:.0f} and {usual[1]:.0f} MiB), "
                f"peak {peak[1] / peak[0]:.3f} times ({peak[0]:.0f} and {peak[1]:.0f} MiB); of malloc in use "
                f"{used[0]:.0f} and {used[1]:.0f} MiB, free between {free[0]:.0f} and {free[1]:.0f} MiB")
        grown = usual[1] / usual[0] >= MOST_GROWTH
        yield Attempt(case, not grown, "out of bounds: memory" if grown else "")


def hours(seed: int, first: int, count: int, seconds: float = LONGEST_S) -> Iterator[Attempt]:
    """Make so many seconds of video, at least 180, at the cheapest setting."""
    for number in range(first, first + count):
        made = in_process("faults.length", "make_video", seconds, *LONGEST, seed + number)
        against = memory_and_time(made["rss"], made["block_ms"])
        case = (f"{number}: {seconds:g} s; last minute against the second: memory {against['memory']:.3f} times; last "
                f"tenth of the blocks against the first: {against['time']:.3f} times; sound and pictures end "
                f"{1000 * made['apart_s']:.1f} ms apart; {made['frames']} pictures")
        bounds = {"memory": against["memory"] < MOST_FLAT, "time": against["time"] < MOST_SLOWER,
                  "end": made["apart_s"] < MOST_APART_S, "pictures": made["frames"] == round(25 * seconds)}
        broken = [name for name, good in bounds.items() if not good]
        yield Attempt(case, not broken, f"out of bounds: {', '.join(broken)}" if broken else "")


# ------------------------------------------------------------------------------------------------- a recording of a day

DAY_S = 86_400
MOST_READ = 64 * 2**20            # bytes of a file of 24 hours, for one second of it: 32 MiB are hashed
MOST_OPENED_S = 5.0


def write_day(path: Path) -> None:
    """Write 24 hours of silence: a wav file that takes no room on disk (2.8 GB, sparse), or a flac file."""
    from faults.bombs import long_flac

    if path.suffix == ".flac":
        path.write_bytes(long_flac(DAY_S))
        return
    size = DAY_S * 16_000 * 2
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " +
                   struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)


def open_day(name: str, start_s: float) -> dict:
    """Prepare a second of a day's recording -> bytes read, seconds, peak_bytes above what there was before."""
    import warnings

    import fakes

    from liveavatar.config import GenerationConfig
    from liveavatar.inputs import prepare

    warnings.simplefilter("ignore")
    prepare(fakes.FakeBackend, fakes.tone(0.5), fakes.face(), "", GenerationConfig())             # imports
    config = GenerationConfig(start_s=start_s, duration_s=1.0)
    forget_peak()
    before, held, began_s = bytes_read(), memory_bytes("VmRSS"), time.monotonic()
    inputs = prepare(fakes.FakeBackend, name, fakes.face(), "", config)
    return {"read": bytes_read() - before, "seconds": time.monotonic() - began_s,
            "grown": memory_bytes("VmHWM") - held, "length_s": inputs.speech.duration_s}


def bytes_read() -> int:
    """Return how many bytes this process has read so far."""
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("rchar"))


def days(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Use one second of a recording of 24 hours, at any place in it."""
    with tempfile.TemporaryDirectory() as name:
        for kind in ("wav", "flac"):
            write_day(Path(name) / f"day.{kind}")
        for number in range(first, first + count):
            dice = chance("day", seed, number)
            kind, start_s = ("wav", "flac")[number % 2], dice.choice((0.0, round(dice.uniform(0, DAY_S - 2), 3)))
            seen = in_process("faults.length", "open_day", os.path.join(name, f"day.{kind}"), start_s)
            case = f"{number}: {kind}, from {start_s:g} s: " + ", ".join(f"{key} {value:.3g}" for key, value in
                                                                         seen.items())
            small = seen["read"] < MOST_READ and seen["grown"] < 64 * 2**20
            yield Attempt(case, small and seen["seconds"] < MOST_OPENED_S and seen["length_s"] == 1.0, case)
