"""The predicted memory curve and time of a run, for one GPU, steps over GPUs (TPP) or weights over GPUs (FSDP).

Bytes follow from the model's configuration and from running our own functions without numbers (`shapes`). What no shape
can tell is assumed, in one place, below. Times are estimates from the figures of a card's sheet (`cards`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import ceil

from liveavatar.config import check_choice, check_infer_frames, check_whole, parse_size, size_text
from liveavatar.parallel.layout import Layout
from liveavatar.types import InputError
from liveavatar.vram.cards import GIB, Card
from liveavatar.vram.shapes import FRAMES_PER_LATENT, ROUNDED, Shapes, meta_transformer, shapes

FITS, TIGHT, NOT = "fits", "tight", "does not fit"
SPREADS = ("one", "tpp", "fsdp")
OWNERS = {
    "transformer": "transformer weights", "gathered": "gathered layers (FSDP)", "rings": "caches of the steps",
    "condition": "condition cache, text, and the staging buffer", "text_encoder": "text encoder",
    "audio_encoder": "audio encoder",
    "vae": "VAE weights", "vae_state": "VAE state", "activations": "activations", "slack": "allocator and CUDA",
    "libraries": "Python, libraries and what else the process holds",
}
# Assumed, not computed. Those of a process were set from runs of mini at 128*128 and 192*192 on one Linux machine.
CUDA_CONTEXT = int(0.5 * GIB)        # context, cuBLAS and cuDNN workspaces
LOST_SHARE = 0.10                    # of the transient bytes: blocks of the allocator that are partly used
TIGHT_ABOVE = 0.93                   # of what torch can hand out
WORKING_SET = 30 * 2**20             # mini: sound and video encoders at work, threads' stacks
REORDERED = 1.5                      # convolutions on a CPU: part of what flows is held once more in another order
IMPORTED_BY_A_RUN = ("av", "scipy.signal", "soundfile", "diffusers.models.modeling_utils", "liveavatar.pipeline")
RELEASED_CACHES, RELEASED_CONDITION_TOKENS = 4, 2800      # the released code allocates these, whatever is asked


def weights_named(fp8: object, nf4: object) -> str:
    """Return the name that `Settings.weights` has for two switches of the command line; both together are refused."""
    if fp8 and nf4:
        raise InputError("fp8 and nf4 are two ways to round the same weights; leave one of them out")
    return "nf4" if nf4 else "fp8" if fp8 else "bf16"


@dataclass(frozen=True)
class Settings:
    """What is planned. Names as in `GenerationConfig` where they mean the same."""

    backend: str = "wan-s2v-14b"
    size: tuple[int, int] = (384, 704)    # (height, width)
    steps: int = 4
    gpus: int = 1
    spread: str = "one"                   # "one", "tpp" (steps over GPUs), "fsdp" (weights over GPUs)
    weights: str = "bf16"                 # "bf16", "fp8", "nf4", "float32"
    caches: str = "bf16"                  # "bf16", "fp8"
    offload_model: bool = True            # encoders rest in main memory when they have nothing to do
    offload_kv_cache: bool = False        # caches rest in main memory; two layers of one of them are on the GPU
    condition_in_rings: bool = False      # the condition in every ring instead of once
    fp8_attention: bool = False           # self-attention in 8 bits; fp8 caches, the condition in each, come with it
    enable_online_decode: bool = True
    infer_frames: int = 48
    num_clip: int = 50
    layout: str = "ours"                  # "released": how the released code lays its caches out
    libraries: int | None = None          # mini: bytes that its process holds without it; None: measured in this one

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", parse_size(self.size))
        check_whole("steps", self.steps, 1, 50, "4 is what the model was distilled for")
        check_whole("gpus", self.gpus, 1, 64, "1 to 64 of one kind")
        check_whole("num_clip", self.num_clip, 1, 10**6, "50 clips of 48 frames are 96 seconds")
        check_infer_frames(self.infer_frames)
        check_choice("spread", self.spread, SPREADS)
        check_choice("weights", self.weights, ("bf16", "fp8", "nf4", "float32"))
        check_choice("caches", self.caches, ("bf16", "fp8"))
        check_choice("layout", self.layout, ("ours", "released"))
        if self.condition_in_rings and (self.caches == "fp8" or self.offload_kv_cache):
            raise InputError("condition_in_rings is for caches on the GPU in bf16; leave it out, or fp8 caches and "
                             "offload_kv_cache")
        if self.fp8_attention and (self.condition_in_rings or self.offload_kv_cache):
            raise InputError("fp8_attention has caches of its own on the GPU, the condition in each; leave it out, or "
                             "condition_in_rings and offload_kv_cache")
        if self.fp8_attention:
            object.__setattr__(self, "caches", "fp8")
        if self.spread == "one" and self.gpus > 1:
            object.__setattr__(self, "spread", "tpp")
        if self.gpus == 1:
            object.__setattr__(self, "spread", "one")

    @property
    def shapes(self) -> Shapes:
        by_frame = self.offload_kv_cache and not self.on_cpu
        return shapes(self.backend, self.size, self.weights, self.caches, by_frame)

    @property
    def on_cpu(self) -> bool:
        return self.backend == "mini"

    @property
    def description(self) -> str:
        """Describe the settings in a line."""
        spread = {"one": "one device", "tpp": f"steps over {self.gpus} GPUs (TPP)",
                  "fsdp": f"weights over {self.gpus} GPUs (FSDP)"}[self.spread]
        more = [f"{self.weights} weights", f"{self.caches} caches" if self.caches == "fp8" else "",
                "" if self.offload_model or self.on_cpu else "encoders stay",
                "offload_kv_cache" if self.offload_kv_cache else "",
                "attention in 8 bits" if self.fp8_attention else "",
                "condition in each ring" if self.condition_in_rings else ""]
        return ", ".join([self.backend, size_text(self.size), f"{self.steps} steps", spread, *filter(None, more)])


@dataclass(frozen=True)
class Moment:
    """One stage of a run: who holds how much of the device's memory at the highest point of that stage."""

    stage: str                    # "load", "merge", "quantise", "move", "text", "audio", "portrait", "prefill", ...
    description: str
    owners: dict[str, int]        # bytes, by OWNERS
    host: int = 0                 # bytes of main memory, weights only

    @property
    def bytes(self) -> int:
        return sum(self.owners.values())

    @property
    def clause(self) -> str:
        """Return, for the end of a sentence, the moment with a verb."""
        return f"{self.description} is made" if self.stage in ("step", "steady") else self.description

    @property
    def owner(self) -> str:
        """Return who holds most."""
        return max(self.owners, key=self.owners.get)


@dataclass(frozen=True)
class BlockTime:
    """Estimated time of a block of 12 video frames, from the card's sheet. Not measured."""

    step_s: float                 # products and traffic of one step, compiled
    floor_s: float                # products alone
    decode_s: float
    block_s: float                # until the next block follows: the slowest device decides
    first_s: float                # until a block's pictures are there: all steps one after another
    deadline_s: float             # how long the block lasts on screen
    transfers_s: float = 0.0      # of a step, between main memory or other cards; runs beside the work where it can

    @property
    def keeps_up(self) -> bool:
        return self.block_s <= self.deadline_s


@dataclass(frozen=True)
class Prediction:
    """One run on one kind of card: who holds how much when, on each device, and how long it takes."""

    settings: Settings
    card: Card | None                          # None: main memory
    devices: tuple[tuple[Moment, ...], ...]    # the moments of each GPU
    roles: tuple[str, ...]                     # what each GPU does
    time: BlockTime | None
    usable: int                                # bytes

    @property
    def moments(self) -> tuple[Moment, ...]:
        """Return the moments of the fullest device."""
        return max(self.devices, key=lambda moments: max(moment.bytes for moment in moments))

    @property
    def peak(self) -> Moment:
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def host_peak(self) -> int:
        """Return bytes of main memory for weights and resting caches, at the most."""
        return max(moment.host for moment in self.moments)

    @property
    def verdict(self) -> str:
        """Return "fits", "tight" or "does not fit"."""
        if self.peak.bytes > self.usable:
            return NOT
        return TIGHT if self.peak.bytes > TIGHT_ABOVE * self.usable else FITS

    @property
    def where(self) -> str:
        return self.card.name if self.card else "this computer"

    @property
    def sentence(self) -> str:
        """Return the verdict with its peak, its moment and its owner."""
        peak = self.peak
        return (f"{self.verdict}: {gib(peak.bytes)} of {gib(self.usable)} usable on {self.where}; the peak is when "
                f"{peak.clause}; most of it: {OWNERS[peak.owner]}, {gib(peak.owners[peak.owner])}")


def gib(count: float) -> str:
    """Return bytes in words."""
    return f"{count / GIB:.2f} GiB" if abs(count) >= GIB / 2 else f"{count / 2**20:.0f} MiB"


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


def main_memory() -> int:
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


# ------------------------------------------------------------------------------------------------ time

def step_seconds(parts: Shapes, on: Card, fp8: bool, fp8_attention: bool = False) -> tuple[float, float]:
    """Estimate one step: with the traffic of compiled layers, and the products alone."""
    from liveavatar.vram.cards import efficiency

    share, flops = efficiency(), parts.step.flops
    matrix = on.fp8_tflops * share.matrix_fp8 if fp8 else on.bf16_tflops * share.matrix_bf16
    seeing = on.fp8_tflops * share.attention_fp8 if fp8_attention else on.bf16_tflops * share.attention
    floor = flops["linear"] / matrix / 1e12 + flops["attention"] / seeing / 1e12
    moved = share.traffic * parts.step.moved + parts.weights.unpacked
    return floor + moved / on.bandwidth_gbs / 1e9, floor


def decode_seconds(parts: Shapes, on: Card) -> float:
    """Estimate one block's pictures, at the share of the card that was seen on the one that was measured."""
    from liveavatar.vram.cards import decode_share

    flops = parts.decode.flops
    return sum(flops.values()) / (on.bf16_tflops * decode_share() * 1e12) + parts.decode.moved / on.bandwidth_gbs / 1e9


def transfer_seconds(asked: Settings, parts: Shapes, on: Card) -> float:
    """Estimate what has to travel for one step: gathered weights, caches to and from main memory."""
    seconds = 0.0
    if asked.spread == "fsdp":
        seconds += gathered_in_a_pass(asked, parts) / (on.link_gbs * 1e9)
    if asked.offload_kv_cache:
        seconds += read_back(parts) / (on.pcie_gbs * 1e9)
    return seconds


def gathered_in_a_pass(asked: Settings, parts: Shapes) -> float:
    """Return bytes that one GPU receives for one forward pass under FSDP."""
    return parts.weights.total * (asked.gpus - 1) / asked.gpus


def read_back(parts: Shapes) -> int:
    """Return bytes that travel in a step when caches rest in main memory: the whole ring in, the new block out."""
    config = meta_transformer(parts.model, parts.dtype).config
    return parts.ring_alone + parts.ring_alone * config.block_frames // config.cache_frames


def block_time(asked: Settings, on: Card) -> BlockTime | None:
    """Estimate the time of a block; None where the card's rates are not known."""
    if on.bf16_tflops is None or on.bandwidth_gbs is None:
        return None
    parts = asked.shapes
    work, floor = step_seconds(parts, on, asked.weights == "fp8", asked.fp8_attention)
    transfers = transfer_seconds(asked, parts, on)
    step, decode = max(work, transfers), decode_seconds(parts, on)
    whole = asked.steps * step + decode
    slowest = whole
    if asked.spread == "tpp":
        layout = Layout.of(asked.steps, asked.gpus)
        slowest = max(len(layout.owned(rank)) * step + (decode if layout.vae_rank == rank else 0.0)
                      for rank in range(asked.gpus))
    return BlockTime(step, floor, decode, slowest, whole, parts.block_s, transfers)
