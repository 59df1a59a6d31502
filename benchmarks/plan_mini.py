"""mini's process memory: planned against measured.

    python benchmarks/plan_mini.py [--size 256*256] [--steps 4] [--seconds 2]

Prints the largest resident size of a process that makes a video, the plan's peak and their ratio; exit code 1 when they
are further apart than 10 % (--larger: how much of it the plan may be too large). Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAR = 0.10
RUN = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, {root!r})
import psutil, liveavatar
from liveavatar.config import GenerationConfig
from liveavatar.vram.watch import MemoryWatch
from liveavatar.runs.run import Run
from liveavatar.audio import load_audio
from liveavatar.inputs import prepare_audio
with tempfile.TemporaryDirectory() as folder, MemoryWatch(period_s=0.02) as watch:
    pipeline = liveavatar.load("mini", dtype="float32")
    speech = load_audio({sound!r}, duration_s={seconds})
    config = GenerationConfig(sample_steps={steps}, size={size!r})
    pipeline.render(speech, liveavatar.avatar(7), "smiling", config, output=Path(folder) / "out.mp4", progress=False)
record = watch.record
print(json.dumps({{"peak": record.peak.bytes, "end": int(record.values[-1])}}))
"""


def measured(size: str, steps: int, seconds: float) -> dict:
    """A process of its own, so that nothing else is counted."""
    sound = ROOT / "liveavatar" / "samples" / "river.flac"
    script = RUN.format(root=str(ROOT), sound=str(sound), seconds=seconds, steps=steps, size=size)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="256*256")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--larger", type=float, default=FAR, help="how much of it the plan may be too large")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from liveavatar.vram.plan import plan

    made = plan("mini", size=asked.size, steps=asked.steps)
    seen = measured(asked.size, asked.steps, asked.seconds)
    ratio = made.peak.bytes / seen["peak"]
    print(f"{made.settings.description}: planned {made.peak.bytes / 2**20:.0f} MiB, "
          f"measured {seen['peak'] / 2**20:.0f} MiB (at the end {seen['end'] / 2**20:.0f}): "
          f"planned / measured = {ratio:.3f}")
    return 0 if -FAR <= ratio - 1 <= asked.larger else 1


if __name__ == "__main__":
    sys.exit(main())
