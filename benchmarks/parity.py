"""Compare our transformer and loop with tensors recorded from the released network.

    python benchmarks/parity.py tests/data/wan_s2v_tiny.safetensors

The file names its configuration, steps and clips. Prints the largest relative error (largest difference over largest
value) of every kind of output; exits 1 above 1e-3.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from liveavatar.sampler import denoise_block, model_levels, released_schedule
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer, Context

LIMIT = 1e-3


def from_released_config(config: dict, **extra: int) -> dict:
    """The released config.json in our terms; what has only one supported value is checked."""
    fixed = {"enable_adain": True, "adain_mode": "attn_norm", "zero_timestep": True, "add_last_motion": True,
             "enable_motioner": False, "framepack_drop_mode": "padd"}
    for name, value in fixed.items():
        if config.get(name, value) != value:
            raise SystemExit(f"{name}={config[name]!r} is not supported, only {value!r}")
    known = CausalS2VTransformer.__init__.__wrapped__.__annotations__
    return {name: value for name, value in config.items() if name in known} | extra


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()).item()


@torch.inference_mode()
def compare(path: Path) -> dict[str, float]:
    """Run the loop of the file and return the largest relative error of each kind of output."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    inputs = {name.removeprefix("inputs."): value for name, value in tensors.items() if name.startswith("inputs.")}
    theirs = {name.removeprefix("outputs."): value for name, value in tensors.items() if name.startswith("outputs.")}
    config = from_released_config(json.loads(metadata["config"]), audio_layers=inputs["audio"].shape[1],
                                  reference_distance=int(metadata.get("reference_distance", 30)),
                                  cache_frames=inputs["noise"].shape[2])
    model = CausalS2VTransformer.from_config(config).eval()
    model.load_state_dict({name.removeprefix("weights."): value for name, value in tensors.items()
                           if name.startswith("weights.")})

    schedule = released_schedule(int(metadata["steps"]))
    levels = model_levels(model, schedule, "cpu")
    text = model.encode_text(inputs["text"][None])
    condition = model.prefill(inputs["ref"], inputs["motion"], text)
    errors: dict[str, float] = defaultdict(float)

    def check(kind: str, ours: Tensor, expected: Tensor) -> None:
        errors[kind] = max(errors[kind], relative_error(ours, expected))

    check("condition keys", condition.k.transpose(2, 3), theirs["cond_k"])
    check("condition values", condition.v.transpose(2, 3), theirs["cond_v"])
    caches = tuple(model.new_cache(condition) for _ in range(schedule.steps))
    finished = []
    block_frames, row = model.config.block_frames, 0
    for clip, noise in enumerate(inputs["noise"]):
        for first in range(0, noise.shape[1], block_frames):
            frames = slice(4 * first, 4 * (first + block_frames))
            audio = inputs["audio"][..., clip * 4 * noise.shape[1]:][..., frames]
            audio = F.pad(audio, (AUDIO_HISTORY, 0, 0, 0), mode="replicate")     # the block's own first frame
            pose = inputs["cond"][:, :, first:first + block_frames]
            context = Context(text, model.encode_audio(audio))
            steps = list(denoise_block(model, noise[None, :, first:first + block_frames], context, condition, caches,
                                       schedule, levels=levels, pose=pose))
            for step in steps:
                check("velocity", step.velocity[0], theirs["velocity"][row])
                check("latent after each step", step.x[0], theirs["x"][row])
                row += 1
            caches = tuple(step.cache for step in steps)
            finished.append(steps[-1].x[0])
    check("finished latents", torch.cat(finished, 1), theirs["latents"])
    if row != len(theirs["velocity"]):
        raise SystemExit(f"the file holds {len(theirs['velocity'])} steps, the loop made {row}")
    return dict(errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    worst = 0.0
    for path in parser.parse_args().files:
        errors = compare(path)
        print(path.name, *(f"  {kind:24} {error:.1e}" for kind, error in errors.items()), sep="\n")
        worst = max(worst, *errors.values())
    print(f"largest relative error {worst:.1e}: {'agrees' if worst <= LIMIT else 'DIFFERS'} (limit {LIMIT:.0e})")
    return int(worst > LIMIT or worst != worst)


if __name__ == "__main__":
    sys.exit(main())
