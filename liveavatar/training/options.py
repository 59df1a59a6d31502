"""Options of the command line that all stages share, and the settings of their process."""

from __future__ import annotations

import argparse
import atexit
import os
from pathlib import Path

import torch
import torch.distributed as dist

from liveavatar.training.learner import rank
from liveavatar.training.loop import Budget


def device_of_process(name: str) -> torch.device:
    """Return the device asked for; under torchrun, join the other processes and return this one's own GPU."""
    if "LOCAL_RANK" in os.environ and name.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl", device_id=torch.device("cuda", int(os.environ["LOCAL_RANK"])))
        atexit.register(dist.destroy_process_group)
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that every stage has."""
    parser.add_argument("--corpus", required=True, help="speech file made by liveavatar.training.corpus")
    parser.add_argument("--work", required=True, type=Path, help="folder for checkpoint, weights, logs and sheets")
    parser.add_argument("--minutes", type=float, help="end this call after so many minutes, compiling included")
    parser.add_argument("--total_minutes", type=float, help="training time of all calls together")
    parser.add_argument("--steps", type=int, help="end this call after so many steps")
    parser.add_argument("--total_steps", type=int, help="steps of all calls together")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks and the renderer")
    parser.add_argument("--size", default="256*256", help="width*height of the pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log_every", type=int, default=50, help="steps between lines of the log")
    return parser


def budget_of(arguments: argparse.Namespace) -> Budget:
    """Read the budget that the options give. Raises InputError without an end."""
    return Budget(arguments.minutes, arguments.total_minutes, arguments.steps, arguments.total_steps)


def start(arguments: argparse.Namespace) -> tuple[torch.device, torch.Generator]:
    """Set up the process; return its device, and a generator on it, from which every random draw comes."""
    # absolute: compile workers run elsewhere; kept between calls
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((arguments.work.parent / "inductor").absolute()))
    device = device_of_process(arguments.device)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(arguments.seed)                           # weights at the start
    return device, torch.Generator(device).manual_seed(arguments.seed + 1000 * rank())


def autocast(device: torch.device) -> torch.autocast:
    """Use bfloat16 on a GPU; the CPU stays exact, unless somebody further out asked for bfloat16 there."""
    wanted = device.type == "cuda" or torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)
