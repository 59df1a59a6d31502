"""How fast mini is on two cores: from wave to mp4, through the public pipeline.

    python benchmarks/speed.py                  all of it: about 35 minutes on an idle machine
    python benchmarks/speed.py --quick          five minutes: eager only, short memory run, one round beside other work

Every figure comes from a fresh process of its own. "x real time" is seconds of video per second of work: higher is
better. Minima say what the machine can do, medians what one gets; on a busy machine only minima mean anything. Nothing
is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import neighbours

CORES = 2
BLOCK_S = 0.48                    # of video
FIRST_STEADY_BLOCK = 4            # by then the rings are full
GEMM_SHAPES = ((192, 256, 1024), (768, 768, 768), (2048, 1024, 1024))
STAGES = ("all", "denoise", "decode", "rest")
GOALS = {("bfloat16", False): 1.25, ("float32", False): 0.85, ("bfloat16", True): 1.5, ("float32", True): 1.0}


# ---------------------------------------------------------------------------------------------- what runs in a process
def stay_on_two_cores() -> None:
    import torch

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(CORES)


def long_speech(seconds: float):
    """The clips that come with the package, one after another, again and again."""
    import numpy as np

    from liveavatar.speech import samples
    from liveavatar.types import Speech

    clips = list(samples().values())
    once = np.concatenate([clip.wave for clip in clips])
    rate_hz = clips[0].rate_hz
    return Speech(np.resize(once, round(seconds * rate_hz)), rate_hz)


def measure_load(weights: str, dtype: str) -> dict:
    """Seconds of `import liveavatar`, of the first load("mini") after it, and of a later one."""
    def seconds(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    imported = seconds(lambda: __import__("liveavatar"))
    import liveavatar

    first, later = (seconds(lambda: liveavatar.load("mini", weights=weights, dtype=dtype)) for _ in range(2))
    return {"import_s": imported, "first_s": first, "later_s": later}


def measure_blocks(weights: str, dtype: str, compiled: bool, video_s: float, rounds: int = 2) -> dict:
    """Milliseconds of each block's stages once the rings are full; all times of a whole render."""
    stay_on_two_cores()
    import liveavatar

    pipeline = liveavatar.load("mini", weights=weights, dtype=dtype, compile=compiled)
    speech, portrait = long_speech(video_s), liveavatar.avatar(1)
    blocks: list[dict[str, float]] = []
    videos = []
    with tempfile.TemporaryDirectory() as folder:
        for take in range(rounds + compiled):                # compiling happens in a round that does not count
            began, steps_ms, made = time.perf_counter(), 0.0, []
            for event in pipeline.stream(speech, portrait, "smiling", output=Path(folder) / f"{take}.mp4"):
                if isinstance(event, liveavatar.Step):
                    steps_ms += event.milliseconds
                elif isinstance(event, liveavatar.Block):
                    now = time.perf_counter()
                    made.append({"all": 1000 * (now - began), "denoise": steps_ms, "decode": event.milliseconds})
                    made[-1]["rest"] = made[-1]["all"] - steps_ms - event.milliseconds      # sound, encoding, glue
                    began, steps_ms = time.perf_counter(), 0.0
                else:
                    videos.append(event)
            blocks += made[FIRST_STEADY_BLOCK:-1] if take >= compiled else []
    stages = blocks[0]
    return {"least_ms": {stage: min(block[stage] for block in blocks) for stage in stages},
            "median_ms": {stage: statistics.median(block[stage] for block in blocks) for stage in stages},
            "blocks": len(blocks), "x_realtime": max(video.x_realtime for video in videos[compiled:]),
            "first_picture_s": [video.first_picture_s for video in videos]}


def measure_gemm(dtype: str) -> dict:
    """The fastest matrix product of this machine, GFLOP/s."""
    stay_on_two_cores()
    import torch

    found = {}
    for rows, inner, columns in GEMM_SHAPES:
        a = torch.randn(rows, inner, dtype=getattr(torch, dtype))
        weight = torch.randn(columns, inner, dtype=a.dtype)
        least, until = float("inf"), time.perf_counter() + 1.5
        with torch.inference_mode():
            while time.perf_counter() < until:
                began = time.perf_counter()
                torch.nn.functional.linear(a, weight)
                least = min(least, time.perf_counter() - began)
        found[f"{rows}x{inner}x{columns}"] = 2e-9 * rows * inner * columns / least
    return found


def count_work(weights: str) -> dict:
    """GFLOP of one block: matrix products, attention and convolutions, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import liveavatar

    pipeline = liveavatar.load("mini", weights=weights, dtype="float32")
    condition = pipeline.condition(long_speech(BLOCK_S * (FIRST_STEADY_BLOCK + 1)), liveavatar.avatar(1))
    found = {"denoise": 0.0, "decode": 0.0}
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        before = counter.get_total_flops()
        for event in pipeline.events(condition):
            spent, before = counter.get_total_flops() - before, counter.get_total_flops()
            block = event.block if isinstance(event, liveavatar.Step) else event.index
            if block == FIRST_STEADY_BLOCK:
                found["denoise" if isinstance(event, liveavatar.Step) else "decode"] += spent / 1e9
    return found | {"size": pipeline.backend.default_size}


def measure_memory(weights: str, dtype: str, video_s: float) -> dict:
    """Peak memory of a process that loads mini and renders so many seconds, MiB."""
    stay_on_two_cores()
    import resource

    import liveavatar

    pipeline = liveavatar.load("mini", weights=weights, dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        video = pipeline.render(long_speech(video_s), liveavatar.avatar(1), output=Path(folder) / "video.mp4",
                                progress=False)
    unit = 1024 if sys.platform == "linux" else 1024**2
    return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, "x_realtime": video.x_realtime}


WORKERS = {work.__name__: work for work in (measure_load, measure_blocks, measure_gemm, count_work, measure_memory)}


def in_fresh_process(work: Callable[..., dict], **options: object) -> dict:
    """Call one of the functions above in a process of its own."""
    run = subprocess.run([sys.executable, __file__, "--worker", work.__name__, json.dumps(options)],
                         capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{work.__name__}({options}) failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


# ---------------------------------------------------------------------------------------------- the table
@dataclass(frozen=True)
class Plan:
    """What is measured."""

    variants: tuple[tuple[str, bool], ...]       # dtype, compiled
    video_s: float
    memory_s: tuple[float, float]
    neighbours: tuple[int, float]                # rounds, seconds of each situation


def plan_of(quick: bool) -> Plan:
    from liveavatar.backends.devices import cpu_flags

    dtypes = ("bfloat16", "float32") if cpu_flags() & {"avx512_bf16", "amx_bf16"} else ("float32",)
    if len(dtypes) == 1:
        print("this processor has no bfloat16 of its own: float32 only")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler and not quick:
        print("no C++ compiler: eager only")
    compiled = (False, True) if compiler and not quick else (False,)
    return Plan(tuple((dtype, how) for how in compiled for dtype in dtypes), 6 if quick else 15,
                (10, 40) if quick else (60, 600), (1, 3.0) if quick else (5, 6.0))


def measure(plan: Plan, weights: str) -> dict:
    """Everything, one process after the other."""
    from tqdm import tqdm

    bar = tqdm(total=3 + 2 * len(plan.variants) + 2, desc="speed")

    def work(function: Callable[..., dict], **options: object) -> dict:
        bar.set_postfix_str(function.__name__)
        result = in_fresh_process(function, **options)
        bar.update()
        return result

    fast = plan.variants[0][0]
    found = {"load": [work(measure_load, weights=weights, dtype=fast) for _ in range(2)],
             "work": work(count_work, weights=weights), "variants": []}
    for dtype, compiled in plan.variants:
        entry = {"dtype": dtype, "compiled": compiled, "gemm": work(measure_gemm, dtype=dtype)}
        found["variants"].append(entry | work(measure_blocks, weights=weights, dtype=dtype, compiled=compiled,
                                              video_s=plan.video_s))
    found["memory"] = {f"{video_s:g}": work(measure_memory, weights=weights, dtype=fast, video_s=video_s)
                       for video_s in plan.memory_s}
    bar.close()
    rounds, seconds = plan.neighbours
    found["neighbours"] = neighbours.measure(rounds, seconds, fast)
    return found


def lines(found: dict) -> Iterator[str]:
    """The figures as markdown."""
    yield "| | block, ms: least / median | denoise | decode | rest | x real time: best / median | wanted |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for entry in found["variants"]:
        least, median = entry["least_ms"], entry["median_ms"]
        cells = " | ".join(f"{least[stage]:.0f} / {median[stage]:.0f}" for stage in STAGES)
        times = f"{1000 * BLOCK_S / least['all']:.2f} / {1000 * BLOCK_S / median['all']:.2f}"
        wanted = GOALS[entry["dtype"], entry["compiled"]]
        yield f"| {title(entry)} | {cells} | {times} | {wanted} |"
    yield ""
    yield "A block is 12 frames, 480 ms of video, 4 steps; rest is sound, encoding to H.264 and glue."
    yield ""
    yield "| GFLOP/s at the least time | denoise | decode | matrix product, best | share of it: denoise, decode |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for entry in found["variants"]:
        peak = max(entry["gemm"].values())
        reached = [found["work"][stage] / entry["least_ms"][stage] * 1000 for stage in ("denoise", "decode")]
        shares = ", ".join(f"{value / peak:.0%}" for value in reached)
        yield f"| {title(entry)} | {reached[0]:.0f} | {reached[1]:.0f} | {peak:.0f} | {shares} |"
    work = found["work"]
    yield ""
    yield f"One block is {work['denoise']:.1f} GFLOP of denoising and {work['decode']:.1f} of decoding."
    yield ""
    eager = [(title(entry), entry["first_picture_s"]) for entry in found["variants"] if not entry["compiled"]]
    pictures = ", ".join(f"{name} {times[0]:.2f} s, then {times[-1]:.2f} s" for name, times in eager)
    yield f"* First picture after the call, weights loaded (wanted <= 1 s): {pictures}."
    loads = "; ".join(f"{load['import_s']:.2f} + {load['first_s']:.2f} s, later {load['later_s']:.2f} s"
                      for load in found["load"])
    yield f'* `import liveavatar` + first `load("mini")` in a fresh process (wanted 0.3, 8, later 1.5 s): {loads}.'
    (short, small), (long, large) = ((key, value["peak_mib"]) for key, value in found["memory"].items())
    yield (f"* Peak memory: {small:.0f} MiB for {short} s, {large:.0f} MiB for {long} s, ratio {large / small:.3f} "
           "(wanted <= 1.05).")
    yield ""
    yield from neighbours.lines(found["neighbours"])


def title(entry: dict) -> str:
    return f"{entry['dtype']}, {'compiled' if entry['compiled'] else 'eager'}"


def processor() -> str:
    try:
        names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--weights", default="shipped", help='"shipped", "random" or a folder')
    parser.add_argument("--out", type=Path, help="also write OUT.md and OUT.json")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "OPTIONS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        name, options = arguments.worker
        print(json.dumps(WORKERS[name](**json.loads(options))))
        return
    import torch

    about = f"{processor()}, {CORES} cores, torch {torch.__version__}, load before {os.getloadavg()[0]:.1f}"
    print(about, flush=True)
    found = measure(plan_of(arguments.quick), arguments.weights)
    height, width = found["work"]["size"]
    heading = ["# Speed of mini", "", f"    python benchmarks/speed.py{' --quick' if arguments.quick else ''}", "",
               f"{width} x {height} px, 25 frames/s, 4 steps, all stages from wave to mp4. {about}.", ""]
    text = "\n".join([*heading, *lines(found), ""])
    print(text)
    if arguments.out:
        stem = arguments.out.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps({"about": about} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
