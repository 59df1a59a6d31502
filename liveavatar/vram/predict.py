"""The predicted memory curve and time of a run, for one GPU, steps over GPUs (TPP) or weights over GPUs (FSDP).

Bytes follow from the model's configuration and from running our own functions without numbers (`shapes`). What no shape
can tell is assumed, as constants below and in `process_memory`. Times are estimates (`block_time`).
"""

from __future__ import annotations

from math import ceil

from liveavatar.parallel.layout import Layout
from liveavatar.types import InputError
from liveavatar.vram.block_time import block_time
from liveavatar.vram.cards import GIB, Card
from liveavatar.vram.prediction import Moment, Prediction
from liveavatar.vram.process_memory import main_memory, process_moments
from liveavatar.vram.settings import Settings
from liveavatar.vram.shapes import FRAMES_PER_LATENT, ROUNDED, Shapes

# assumed, not computed
CUDA_CONTEXT = int(0.5 * GIB)        # context, cuBLAS and cuDNN workspaces
LOST_SHARE = 0.10                    # of the transient bytes: blocks of the allocator that are partly used
RELEASED_CACHES, RELEASED_CONDITION_TOKENS = 4, 2800      # the released code allocates these, whatever is asked


def predict(asked: Settings, on: Card | None) -> Prediction:
    """Predict a run. on: the card; None for mini, which is planned for main memory."""
    if on is not None and not on.has_fp8 and on.bf16_tflops is not None:
        for inside, wanted, remedy in (("weights are fp8", asked.weights == "fp8", 'use weights="bf16"'),
                                       ("fp8_attention is asked for", asked.fp8_attention, "leave it out")):
            if wanted:
                raise InputError(f"{inside}, but the {on.name} cannot multiply in fp8; {remedy}")
    if asked.on_cpu:
        if asked.gpus > 1:
            raise InputError("mini is planned for the memory of one process; leave gpus at 1")
        return Prediction(asked, None, (process_moments(asked),), ("all",), None, main_memory())
    if asked.spread == "tpp":
        layout = Layout.of(asked.steps, asked.gpus)
        devices = tuple(moments(asked, tuple(layout.owned(rank)), layout.vae_rank == rank)
                        for rank in range(asked.gpus))
        roles = tuple(layout.description(rank) for rank in range(asked.gpus))
        return Prediction(asked, on, devices, roles, block_time(asked, on), on.usable)
    devices = (moments(asked, tuple(range(asked.steps)), True),) * asked.gpus
    return Prediction(asked, on, devices, ("all steps and the VAE",) * asked.gpus, block_time(asked, on), on.usable)


def moments(asked: Settings, steps: tuple[int, ...], has_vae: bool) -> tuple[Moment, ...]:
    """Return what one GPU holds, stage by stage. steps: those that it takes. A GPU without steps only decodes."""
    parts = asked.shapes
    stages = Stages()
    released = asked.layout == "released"
    encoders = {"text_encoder": parts.text_encoder, "audio_encoder": parts.audio_encoder}
    resting = {} if asked.offload_model else encoders
    vae = {} if released else {"vae": parts.vae}               # the released VAE rests while others work
    network = weights_on_gpu(asked, parts) if steps else {}    # a rank that only decodes never reads them
    always = network | resting | vae
    on_host = parts.text_encoder + parts.audio_encoder if asked.offload_model else 0
    if released:                                               # it loads everything first
        loading_moments(stages, asked, parts, always, on_host)
    else:
        stages.note("load", "encoders are read", resting | vae, host=parts.text_encoder + parts.audio_encoder)
    encoding = always if released else resting | vae
    for stage, words, name, activations in (
            ("audio", "the sound is heard", "audio_encoder", parts.audio_activations),
            ("portrait", "the portrait is encoded", "vae", parts.encode.transient),
            ("text", "the prompt is read", "text_encoder", parts.text_activations)):
        stages.note(stage, words, encoding | {name: (encoders | {"vae": parts.vae})[name]}, activations,
                    on_host + (0 if released or not steps else parts.lora))
    if steps and not released:
        loading_moments(stages, asked, parts, always, on_host)
    held = always
    if steps:
        stages.note("prefill", "the condition is prefilled", held | {"condition": parts.text},
                    parts.prefill.transient + parts.weights.widened)
        held = held | {"condition": parts.text + condition_bytes(asked, parts),
                       "rings": ring_bytes_held(asked, parts, len(steps))}
        on_host += len(steps) * parts.ring_alone if asked.offload_kv_cache else 0
    stepping = parts.step.transient + parts.weights.widened
    for index in steps:
        stages.note("step", f"block 0, step {index}", held, stepping, on_host)
    state = {"vae": parts.vae, "vae_state": parts.vae_state} if has_vae else {}
    online = asked.enable_online_decode and not released
    if has_vae and online:
        stages.note("decode", "block 0 is decoded", held | state, parts.decode.transient, on_host)
    if steps:
        stages.note("steady", "every later block", held | (state if online else {}), stepping, on_host)
    elif has_vae:
        stages.note("steady", "every later block", held | state, parts.decode.transient, on_host)
    if has_vae and not online and steps:
        blocks = ceil(asked.infer_frames * asked.num_clip / (FRAMES_PER_LATENT * parts.block_latents))
        waits = {"activations": blocks * parts.latents}
        if released and asked.offload_model:                   # assumed: it puts the transformer away first
            held = {name: size for name, size in held.items() if name != "transformer"}
        stages.note("decode", "all blocks are decoded", held | state | waits, parts.decode.transient, on_host)
    stages.note("finish", "the file is closed", always if steps else held)
    return tuple(stages.noted)


def loading_moments(stages: Stages, asked: Settings, parts: Shapes, owners: dict[str, int], host: int) -> None:
    """Note the transformer's arrival. Weights come one by one, so the largest one is held several times at most.

    owners: all that is on the device when the last weight has come; host: bytes of main memory without the LoRA
    """
    matrix = parts.weights.largest
    stages.note("merge", "weights come, with LoRA", owners, 4 * matrix, host + parts.lora)
    if asked.weights in ROUNDED:
        stages.note("quantise", f"weights become {asked.weights}", owners, 3 * matrix, host + parts.lora)


class Stages:
    """Notes moments one after another and adds what every moment has."""

    def __init__(self) -> None:
        self.noted: list[Moment] = []

    def note(self, stage: str, words: str, owners: dict[str, int], activations: int = 0, host: int = 0) -> None:
        owners = dict(owners)
        owners["activations"] = owners.get("activations", 0) + activations
        owners["slack"] = CUDA_CONTEXT + int(LOST_SHARE * owners["activations"])
        self.noted.append(Moment(stage, words, {name: size for name, size in owners.items() if size}, host))


def weights_on_gpu(asked: Settings, parts: Shapes) -> dict[str, int]:
    """Return the bytes of the transformer: whole, or under FSDP a share of it and what is gathered for a forward pass.
    """
    if asked.spread != "fsdp":
        return {"transformer": parts.weights.total}
    gathered = parts.weights.root + 2 * parts.weights.layer          # one layer at work, the next on its way
    return {"transformer": ceil(parts.weights.total / asked.gpus), "gathered": gathered}


def condition_bytes(asked: Settings, parts: Shapes) -> int:
    if asked.layout == "ours":
        return parts.condition + (0 if asked.condition_in_rings or asked.fp8_attention else parts.staging)
    tokens = 2.5 * parts.frame_tokens
    return int(parts.condition * max(RELEASED_CONDITION_TOKENS, tokens) / tokens)


def ring_bytes_held(asked: Settings, parts: Shapes, steps: int) -> int:
    """Return caches on the GPU: one a step; or, when they rest in main memory, what is on its way."""
    if asked.layout == "released":
        return parts.ring_alone * (RELEASED_CACHES if asked.spread == "one" else steps)
    if asked.offload_kv_cache:
        return parts.ring // parts.layers
    beside = parts.condition if asked.condition_in_rings else parts.condition // 2 if asked.fp8_attention else 0
    return (parts.ring + beside) * steps
