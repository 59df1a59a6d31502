"""The path of a user with the released files: from the two folders on the disk to the first pictures.

    python benchmarks/wan_loading.py --out benchmarks/results/wan_loading                 # a GPU, some minutes
    python benchmarks/wan_loading.py --rows nf4 --until weights --out /tmp/wan_loading    # main memory alone
    python benchmarks/wan_loading.py --tiny --out /tmp/wan_loading                        # only to see that it works

`wan_folders.py` writes both folders with the released names, shapes, dtypes and sizes and zeros in them, which take no
room on the disk. Every row is a process of its own that opens them with some options, encodes sound, portrait and
words, brings the transformer and makes one block. Seconds are since the process began to load; reading real files adds
the time of the disk. `anonymous` is main memory that no file can give back: pages of files that are mapped are not in
it. The last row is the command of README.md, with its messages. Pictures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wan_folders import write_folders

GIB = 2**30
ROOT = Path(__file__).resolve().parent.parent
ROWS = {"bf16": {}, "fp8": {"fp8": True}, "nf4": {"nf4": True},
        "nf4, fp8 rings in main memory": {"nf4": True, "fp8_cache": True, "offload_kv_cache": True}}
STAGES = {"loaded": "files checked, encoders read", "conditioned": "sound, portrait, words encoded",
          "weights": "transformer on the device", "step": "first step", "picture": "first pictures"}
PROMPT = "a person talks calmly to the camera, in warm light"


# ------------------------------------------------------------------------------------------------ in its own process

class AnonymousMeter:
    """Reads this process's memory that belongs to no file; 0 where the system does not tell."""

    names, main = ("anonymous",), "anonymous"
    device, total, description = "this process", 0, "Memory of this process that belongs to no file."

    def read(self) -> dict[str, int]:
        """Return the bytes."""
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            lines = []
        return {"anonymous": next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)}


def work(base: str, lora: str, options: dict, until: str, size: str) -> dict:
    """Go the way of one row; return seconds to each stage and peaks of memory in bytes."""
    import torch

    import liveavatar
    from liveavatar.types import Block, Step

    began, seconds = time.perf_counter(), {}
    note = lambda stage: seconds.setdefault(stage, time.perf_counter() - began)      # noqa: E731
    with liveavatar.MemoryWatch(meter=AnonymousMeter()) as watch:
        pipeline = liveavatar.load("wan-s2v-14b", checkpoint_dir=base, lora=lora, **options)
        note("loaded")
        config = liveavatar.GenerationConfig(size=size, sample_steps=4, duration_s=0.48)
        speech, portrait = liveavatar.samples()["welcome"], liveavatar.sample_portraits()["woman"]
        if until != "loaded":
            condition = pipeline.condition(speech, portrait, PROMPT, config)
            note("conditioned")
        if until in ("weights", "picture"):
            pipeline.backend.load_transformer()
            note("weights")
        if until == "picture":
            for event in pipeline.events(condition, config):
                note({Step: "step", Block: "picture"}.get(type(event), "other"))
    on_gpu = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    seconds.pop("other", None)
    return {"seconds": seconds, "anonymous": watch.record.peak.bytes, "gpu": on_gpu}


# ------------------------------------------------------------------------------------------------ what starts them

def row(name: str, base: Path, lora: Path, until: str, tiny: bool) -> dict:
    """Run one row in a process of its own; what it said on its way is kept."""
    options = ROWS[name] | {"dtype": "bfloat16"} | ({"config": "tiny"} if tiny else {})
    arguments = [str(base), str(lora), options, until, "64*64" if tiny else "704*384"]
    run = subprocess.run([sys.executable, __file__, "--worker", json.dumps(arguments)], capture_output=True, text=True,
                         cwd=ROOT, check=False)
    found = json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else {"failed": run.stderr[-2000:]}
    return {"name": name} | found


def command_row(base: Path, lora: Path, folder: Path) -> dict:
    """Run the command of README.md for one block; return its messages."""
    command = [sys.executable, "-m", "liveavatar", "generate", "--backend", "wan-s2v-14b", "--ckpt_dir", str(base),
               "--lora_path_dmd", str(lora), "--size", "704*384", "--sample_steps", "4", "--fp8", "--duration", "0.48",
               "--audio", "liveavatar/samples/welcome.flac", "--image", "liveavatar/samples/woman.png",
               "--prompt", PROMPT, "--output", str(folder / "me.mp4")]
    began = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return {"code": run.returncode, "seconds": time.perf_counter() - began, "said": (run.stderr + run.stdout)[-4000:]}


def table(rows: list[dict]) -> Iterator[str]:
    yield ("| options | " + " | ".join(f"{words}, s" for words in STAGES.values())
           + " | main memory, anonymous, GiB | GPU, GiB |")
    yield "| --- |" + " ---: |" * (len(STAGES) + 2)
    for one in rows:
        if "failed" in one:
            yield f"| {one['name']} | failed: {one['failed'].strip().splitlines()[-1]} |" + " |" * (len(STAGES) + 1)
            continue
        seconds = (f"{one['seconds'][stage]:.1f}" if stage in one["seconds"] else "" for stage in STAGES)
        yield (f"| {one['name']} | " + " | ".join(seconds)
               + f" | {one['anonymous'] / GIB:.1f} | {one['gpu'] / GIB:.1f} |")


def write(out: Path, about: str, rows: list[dict], command: dict | None) -> None:
    """Write OUT.md and OUT.json, after every row."""
    said = [] if command is None else ["", f"The command of README.md ended with {command['code']} after "
                                           f"{command['seconds']:.0f} s:", "", "```", command["said"].strip(), "```"]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text("\n".join(["# From the released files to the first pictures", "", about, "",
                                                 *table(rows), *said, ""]))
    out.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows, "command": command}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/wan_loading"))
    parser.add_argument("--folder", type=Path, help="where the folders are written; left out, a temporary one")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--until", choices=("loaded", "conditioned", "weights", "picture"), default="picture")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(work(*json.loads(asked.worker))))
        return
    import torch
    from wan_runs import command_here

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: all of it is in main memory"

    with tempfile.TemporaryDirectory() as temporary:
        base, lora = write_folders(asked.folder or Path(temporary) / "ckpt", asked.tiny)
        rows, about = [], f"    {command_here()}\n\n{device}; zeros in all files."
        for name in asked.rows:
            rows.append(row(name, base, lora, asked.until, asked.tiny))
            write(asked.out, about, rows, None)
            print(list(table(rows))[-1], flush=True)
        if asked.until == "picture" and not asked.tiny:
            write(asked.out, about, rows, command_row(base, lora, Path(temporary)))


if __name__ == "__main__":
    main()
