"""wan-s2v-14b on the command line: its options, under the names of the released Live Avatar. No library is imported."""

from __future__ import annotations

import argparse

from liveavatar.backends.wan.preset import NAME
from liveavatar.switches import add_switch
from liveavatar.types import InputError

OURS = {   # option -> argument of WanBackend.load
    "ckpt_dir": "checkpoint_dir", "lora_path_dmd": "lora",
    "transformer_file": "transformer_file", "fp8": "fp8", "nf4": "nf4", "fp8_cache": "fp8_cache",
    "fp8_attention": "fp8_attention", "offload_kv_cache": "offload_kv_cache",
    "condition_in_rings": "condition_in_rings", "record_steps": "record_steps",
    "released_trim": "released_trim", "conditioning": "conditioning", "download": "download",
}
COMMON = ("dtype", "device", "compile", "offload_model")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Put the options of the released model behind those that every model has."""
    group = parser.add_argument_group(f"the released model (--backend {NAME})")
    group.add_argument("--ckpt_dir", help="folder of Wan2.2-S2V-14B, as downloaded")
    group.add_argument("--lora_path_dmd", help="liveavatar.safetensors, or its folder")
    group.add_argument("--transformer_file", help="the transformer from one .gguf or .safetensors file instead")
    group.add_argument("--pose_video", help="video whose poses are followed")
    add_switch(group, "--fp8", None, "linear layers in fp8: half the memory, faster on sm_89 and newer")
    add_switch(group, "--nf4", None, "linear layers in 4 bits: for cards of 16 and 24 GB, of any kind")
    add_switch(group, "--fp8_cache", None, "ring caches in fp8: half their memory")
    add_switch(group, "--fp8_attention", None, "self-attention in fp8 too, its caches with it: faster on sm_90")
    add_switch(group, "--offload_kv_cache", None, "ring caches in main memory: for cards on which they do not fit")
    add_switch(group, "--condition_in_rings", None, "portrait and motion in every step's ring: faster, 2 GiB a step")
    add_switch(group, "--record_steps", None, "with --compile, repeat whole steps as one launch (default: True)")
    add_switch(group, "--released_trim", None, "let the picture lead the sound by 120 ms, as released")
    group.add_argument("--conditioning", help="single-gpu (default) or multi-gpu: how the portrait is encoded")
    add_switch(group, "--download", None, "fetch what is missing; without it nothing is ever fetched")
    group.add_argument("--task", help="s2v-14B: the only one; accepted so that released scripts run")
    for name in ("training_config", "ulysses_size", "num_gpus_dit"):
        group.add_argument(f"--{name}", help=argparse.SUPPRESS)
    for name in ("load_lora", "convert_model_dtype", "single_gpu", "enable_vae_parallel"):
        add_switch(group, f"--{name}", None, argparse.SUPPRESS)


def chosen(asked: argparse.Namespace) -> dict:
    """Return arguments of WanBackend.load, as far as they were given."""
    if asked.task not in (None, "s2v-14B"):
        raise InputError(f"--task is {asked.task!r}; the released Live Avatar knows s2v-14B only")
    if asked.load_lora is False:
        asked.lora_path_dmd = None
    given = {ours: getattr(asked, name) for name, ours in (OURS | dict(zip(COMMON, COMMON, strict=True))).items()}
    given["weights"] = "released" if asked.weights == "shipped" else asked.weights
    return {name: value for name, value in given.items() if value is not None}


def refuse_elsewhere(asked: argparse.Namespace) -> None:
    """Refuse these options for another model, which has none of them."""
    for name in OURS:
        if getattr(asked, name) is not None:
            raise InputError(f"--{name} is for the released model; add --backend {NAME}")
