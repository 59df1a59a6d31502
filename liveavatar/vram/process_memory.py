"""What the process of mini holds in main memory, stage by stage."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from liveavatar.vram.prediction import Moment
from liveavatar.vram.settings import Settings

# Assumed, not computed: set from runs of mini at 128*128 and 192*192 on one Linux machine.
WORKING_SET = 30 * 2**20             # mini: sound and video encoders at work, threads' stacks
REORDERED = 1.5                      # convolutions on a CPU: part of what flows is held once more in another order
IMPORTED_BY_A_RUN = ("av", "scipy.signal", "soundfile", "diffusers.models.modeling_utils", "liveavatar.pipeline")


def main_memory() -> int:
    """Return the bytes of main memory that this machine has."""
    import psutil

    return psutil.virtual_memory().total


@cache
def libraries_here() -> int:
    """Measure what this process holds beside models, once what a run needs is imported: builds of torch differ by
    hundreds of MiB. The first answer stays, so that plans can be compared."""
    import psutil

    from liveavatar.backends.mini import loaded_bytes

    for name in IMPORTED_BY_A_RUN:
        import_module(name)
    return max(psutil.Process().memory_info().rss - loaded_bytes(), 0)


def process_moments(asked: Settings) -> tuple[Moment, ...]:
    """Return what the process of mini holds in main memory."""
    parts = asked.shapes
    libraries = libraries_here() if asked.libraries is None else asked.libraries
    base = {"libraries": libraries}
    loading = parts.weights.total + parts.vae
    held = base | {"transformer": parts.weights.total, "vae": parts.vae}
    rings = parts.ring * asked.steps
    running = {"libraries": libraries + WORKING_SET, "condition": parts.condition + parts.text}
    noted = [
        Moment("load", "weights are read", held | {"activations": loading // 2 + parts.lora}),
        Moment("portrait", "the portrait is encoded", held | {"activations": parts.encode.transient}),
        Moment("prefill", "the condition is prefilled", held | {"activations": parts.prefill.transient}),
    ]
    for index in range(asked.steps):                       # an operating system gives pages when they are written
        share = {"rings": parts.ring * (index + 1)}
        noted.append(Moment("step", f"block 0, step {index}", held | running | share
                            | {"activations": parts.step.transient}))
    whole = held | running | {"rings": rings, "vae_state": parts.vae_state}
    decoding = int(REORDERED * parts.decode.transient)
    work = max(decoding, parts.step.transient) + parts.pictures
    noted += [Moment("decode", "block 0 is decoded", whole | {"activations": decoding}),
              Moment("steady", "every later block", whole | {"activations": work}),
              Moment("finish", "the file is closed", held | {"libraries": libraries + WORKING_SET})]
    return tuple(noted)
