"""What measuring costs against generating, with mini: goal below 25 %.

    python benchmarks/metrics_cost.py              one minute on an idle machine

Generates a video a few times and measures each. Counted is the time that the processor works for this process
(`time.process_time`, one thread): on a busy machine the clock would tell of the neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

GOAL = 0.25


def main() -> float:
    parser = argparse.ArgumentParser(description="Time measuring against generating.")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="", help='"W*H"; the backend\'s own when left out')
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    import liveavatar
    from liveavatar.metrics import load_reader, measure

    pipeline, speech, portrait = liveavatar.load("mini"), liveavatar.samples()["welcome"], liveavatar.avatar(5)
    load_reader()
    config = liveavatar.GenerationConfig(duration_s=chosen.seconds, **({"size": chosen.size} if chosen.size else {}))
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(chosen.rounds + 1):                          # the first one warms up
            began = time.process_time()
            *events, video = pipeline.stream(speech, portrait, "happy, waving", config, output=Path(folder) / "out.mp4")
            generated = time.process_time()
            report = measure(video, speech, portrait, trace=events)
            if round_:
                rows.append({"generate": generated - began, "measure": time.process_time() - generated}
                            | {f"  {name} (clock)": spent for name, spent in report.seconds.items() if name != "all"})
    video_s = video.duration_s
    print(f"{'':20} {'s of video':>12} {'s of work':>10}   a frame")
    for name in rows[0]:
        spent = statistics.median(row[name] for row in rows)
        print(f"{name:20} {video_s:12.2f} {spent:10.3f} {1000 * spent / video.frames:7.2f} ms")
    share = statistics.median(row["measure"] / row["generate"] for row in rows)
    print(f"measuring costs {share:.1%} of generating; goal: below {GOAL:.0%}: {'yes' if share < GOAL else 'NO'}")
    return share


if __name__ == "__main__":
    main()
