"""mini: the small model that speaks on any computer. Its weights are in the package.

The many-step base is the teacher; the fast students are the base plus a LoRA each, as in the released system: one for
every number of steps of STUDENTS, distilled for just that many.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.backends import Trained
from liveavatar.backends.mini.preset import LORA_ALPHA, SHIFT, TOKEN_SIDE_PX, transformer_options
from liveavatar.decoder import Decoder
from liveavatar.types import AudioFeatures, Condition, InputError, Portrait, Prompt, Speech
from liveavatar.weights import Manifest, load_part, read_manifest

if TYPE_CHECKING:
    from liveavatar.backends.mini.ear import Ear
    from liveavatar.backends.mini.vae import VAEConfig, VideoVAE
    from liveavatar.transformer import CausalS2VTransformer, See

WEIGHTS = Path(__file__).parent / "weights"
RANDOM_SEED = 0
EVERY_STEP = "4-every-step"     # the student whose every step was pulled towards finished videos
Student = int | str | bool


class MiniBackend:
    """mini behind the interface of `liveavatar.backends.Backend`."""

    name = "mini"
    fps = 25.0
    rate_hz = 16_000
    block_latents = 3
    frames_per_latent = 4
    size_multiple = TOKEN_SIDE_PX
    default_size = (256, 256)
    expects_rendered = False
    sees_past_sound = True

    def __init__(self, transformer: CausalS2VTransformer, vae: VideoVAE, ear: Ear, trained: Trained,
                 about: dict) -> None:
        self.transformer = transformer.requires_grad_(False).eval()
        self.ear = ear.requires_grad_(False).eval()
        self.vae = vae.requires_grad_(False).eval()
        self.trained = trained
        self._about = about

    @classmethod
    def load(cls, student: Student = 4, dtype: str = "auto", compile: bool = False,
             weights: str | os.PathLike = "shipped", device: str = "auto") -> MiniBackend:
        """Bring the weights.

        student: for how many steps it was distilled (True: 4), or "4-every-step": the one whose every step was pulled
        towards finished videos; False is the many-step base
        weights: "shipped", "random" (seeded, untrained) or a folder
        """
        student = 4 if student is True else student
        device = choose_device(device)
        kind = choose_dtype(dtype, device)
        if weights == "random":
            transformer, vae, ear = random_networks()
            trained, fingerprint = Trained(shift=SHIFT), f"random-{RANDOM_SEED}"
        else:
            folder = WEIGHTS if weights == "shipped" else Path(weights)
            manifest = read_manifest(folder)
            transformer, vae, ear, trained = trained_networks(manifest, student)
            fingerprint = manifest.fingerprint
        for network in (transformer, vae):
            torch.nn.Module.to(network, device, kind)       # diffusers' own `to` only adds a warning
        vae.to(memory_format=torch.channels_last)           # convolutions then take about a quarter less time
        ear.to(device)                                      # in float32: it costs next to nothing
        backend = cls(transformer, vae, ear, trained,
                      {"name": cls.name, "student": student, "dtype": str(kind).removeprefix("torch."),
                       "weights": str(weights), "fingerprint": fingerprint, "trained": asdict(trained)})
        if compile:
            backend.compile()
        return backend

    @property
    def device(self) -> torch.device:
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.transformer.parameters()).dtype

    def hear(self, speech: Speech) -> AudioFeatures:
        """What the ear tells of each video frame: values (1, 1, D, T)"""
        from liveavatar.audio import hear

        heard = hear(speech, self.fps)
        return replace(heard, values=self.ear.listen(heard.values[0, 0]).cpu()[None, None])

    def read(self, prompt: Prompt) -> Tensor:
        from liveavatar.conditions import prompt_vector

        return prompt_vector(prompt)

    @torch.inference_mode()
    def look(self, portrait: Portrait, size: tuple[int, int]) -> tuple[Tensor, None]:
        """The portrait standing still for one latent frame, encoded. The model needs no motion latents."""
        from liveavatar.conditions import fit_portrait

        picture = fit_portrait(portrait, size).to(self.device, self.dtype)
        return self.vae.encode_portrait(picture[None]), None

    def unconditional(self, condition: Condition) -> Condition:
        from liveavatar.conditions import nothing_said

        return replace(condition, text=nothing_said(), audio=torch.zeros_like(condition.audio))

    def decoder(self, condition: Condition | None = None) -> Decoder:
        return Decoder(self.vae)

    def about(self) -> dict:
        return dict(self._about)

    def compile(self) -> None:
        """Compile the repeated parts: needs a C++ compiler and takes a while before the first picture."""
        for layer in self.transformer.blocks:
            layer.forward = without_the_past(torch.compile(layer.forward, dynamic=False))
        self.vae.decode_stream = torch.compile(self.vae.decode_stream, dynamic=False)


class Aside:
    """A look at the past that stays out of compiled code: it depends on how many blocks there are, which would be
    compiled anew for every block."""

    def __init__(self, see: See) -> None:
        self._see = see

    @torch.compiler.disable
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._see(q, k, v)


def without_the_past(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, modulation, text, see: forward(x, modulation, text, Aside(see))


def random_networks() -> tuple[CausalS2VTransformer, VideoVAE, Ear]:
    """Untrained networks of mini's shape, always the same: to try the pipeline without weights."""
    from liveavatar.backends.mini.ear import Ear
    from liveavatar.backends.mini.vae import VideoVAE
    from liveavatar.transformer import CausalS2VTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        vae = VideoVAE()
        return CausalS2VTransformer.from_config(transformer_options(vae.config)), vae, Ear()


def trained_networks(manifest: Manifest, student: int | str) -> tuple[CausalS2VTransformer, VideoVAE, Ear, Trained]:
    """Base, VAE and audio encoder from a folder of weights, and for a student its LoRA merged into the base."""
    from liveavatar.backends.mini.ear import Ear
    from liveavatar.backends.mini.vae import VideoVAE
    from liveavatar.lora import merge_lora
    from liveavatar.transformer import CausalS2VTransformer

    part = None if student is False else part_of(student, manifest)
    settings = dict(manifest.config.get("base", {}))
    trained = settings.pop("trained", {})
    config = vae_config(manifest)
    with torch.device("meta"):
        transformer = CausalS2VTransformer.from_config(transformer_options(config) | settings)
        vae, ear = VideoVAE(config), Ear()
    fill(transformer, load_part(manifest, "base"), manifest)
    fill(vae, load_part(manifest, "vae"), manifest)
    fill(ear, load_part(manifest, "ear"), manifest)
    if part is not None:
        settings = manifest.config.get(part, {})
        trained = settings.get("trained", {})
        merge_lora(transformer, load_part(manifest, part), settings.get("alpha", LORA_ALPHA))
    return transformer, vae, ear, Trained(**{"shift": SHIFT} | trained)


def students(manifest: Manifest) -> tuple[str, ...]:
    """The students whose weights are there, as `load` names them."""
    return tuple(sorted(part.removeprefix("student-") for part in manifest.parts if part.startswith("student-")))


def part_of(student: int | str, manifest: Manifest) -> str:
    """The part of the weights that holds a student. Raises InputError."""
    part = f"student-{student}"
    if part not in manifest.parts:
        raise InputError(f"student is {student!r}; there are students of {', '.join(students(manifest))} steps, and "
                         "student=False is the many-step base")
    return part


def vae_config(manifest: Manifest) -> VAEConfig:
    from liveavatar.backends.mini.vae import VAEConfig

    settings = manifest.config.get("vae", {})
    return VAEConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def fill(module: torch.nn.Module, tensors: dict[str, Tensor], manifest: Manifest) -> None:
    """Give a module made on the meta device its weights, in float32."""
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(f"the weights in {manifest.folder} were made for another version of this network: "
                         f"{str(error).splitlines()[-1].strip()}; install liveavatar again") from error


def choose_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device is {device!r}; known: auto, cpu, cuda, cuda:1") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but this torch sees no NVIDIA GPU; use device=\"cpu\"")
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp32": torch.float32, "bf16": torch.bfloat16}
    if dtype == "auto":
        fast = device.type == "cuda" or bfloat16_is_faster()
        return torch.bfloat16 if fast else torch.float32
    if dtype not in known:
        raise InputError(f"dtype is {dtype!r}; known: auto, float32, bfloat16")
    return known[dtype]


def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies matrices faster in bfloat16 than in float32.

    Listing avx512_bf16 is not enough: measured with mini, AMD's Zen 4 is twice as fast with it, an Intel processor
    without AMX half as fast. A rule and not a trial, so that the choice, and with it the video, is always the same.
    """
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in flags)


def cpu_flags() -> set[str]:
    """What Linux says of the processor: its vendor and its instructions; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {word for line in text.splitlines() if line.startswith(("flags", "vendor_id")) for word in line.split()}
