"""mini: the small model that speaks on any computer. Its weights are in the package.

The many-step base is the teacher; the fast students are the base plus a LoRA each, as in the released system: one for
every number of steps of STUDENTS, distilled for just that many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch
from torch import Tensor

from liveavatar.backends import Backend, Trained
from liveavatar.backends.devices import choose_device, choose_dtype
from liveavatar.backends.mini.preset import LORA_ALPHA, SHIFT, transformer_options
from liveavatar.compiling import check_compiler, compile_function
from liveavatar.config import GenerationConfig, size_text
from liveavatar.decoder import Decoder
from liveavatar.files import user_path
from liveavatar.threads import adapted_threads, threads_now
from liveavatar.types import AudioFeatures, Condition, InputError, Portrait, Prompt, Speech
from liveavatar.weights import Manifest, load_part, read_manifest

if TYPE_CHECKING:
    from liveavatar.backends.mini.audio import AudioEncoder
    from liveavatar.backends.mini.vae import VAEConfig, VideoVAE
    from liveavatar.transformer import AttentionFunction, CausalS2VTransformer

WEIGHTS = Path(__file__).parent / "weights"
RANDOM_SEED = 0
MUCH_LARGER, MANY_MORE = 1.25, 2      # times the pixels and the steps of training; beyond, results are worse
LOADED: WeakSet[MiniBackend] = WeakSet()       # those that are in use
EVERY_STEP = "4-every-step"     # the student whose every step was pulled towards finished videos
Student = int | str | bool


class MiniBackend(Backend):
    """mini behind the interface of `liveavatar.backends.Backend`."""

    name = "mini"
    fps = 25.0
    rate_hz = 16_000
    block_latents = 3
    frames_per_latent = 4
    size_multiple, default_size = 16, (128, 128)        # of weights that do not say otherwise
    expects_rendered = True                             # likewise

    def __init__(self, transformer: CausalS2VTransformer, vae: VideoVAE, audio_encoder: AudioEncoder, trained: Trained,
                 about: dict) -> None:
        self.transformer = transformer.requires_grad_(False).eval()
        self.audio_encoder = audio_encoder.requires_grad_(False).eval()
        self.vae = vae.requires_grad_(False).eval()
        self.trained = trained
        for name, value in expectations(trained, vae.config, transformer.config.patch).items():
            setattr(self, name, value)
        LOADED.add(self)
        self._about = about

    @classmethod
    def for_weights(cls, student: Student = 4, weights: str | os.PathLike = "shipped", **others: object) -> type:
        """Return a subclass that expects inputs as these weights do, without loading them."""
        manifest = read_manifest(WEIGHTS if weights in ("shipped", "random") else user_path(weights))
        part = "base" if weights == "random" else part_of(student, manifest)
        expected = expectations(trained_for(manifest, part), vae_config(manifest), base_options(manifest)["patch"])
        return type(cls.__name__, (cls,), expected)

    @classmethod
    def load(cls, student: Student = 4, dtype: str = "auto", compile: bool = False,
             weights: str | os.PathLike = "shipped", device: str = "auto") -> MiniBackend:
        """Bring the weights.

        student: for how many steps it was distilled (True: 4), or "4-every-step": the one whose every step was pulled
        towards finished videos; False is the many-step base
        weights: "shipped", "random" (seeded, untrained) or a folder
        """
        student = 4 if student is True else student          # as it is named in videos
        device = choose_device(device)
        if compile:
            check_compiler(device.type)
        with adapted_threads(device):
            backend = cls._load(student, choose_dtype(dtype, device), weights, device)
        if compile:
            backend.compile()
        return backend

    @classmethod
    def for_audio(cls) -> MiniBackend:
        """Load the shipped weights, on the CPU."""
        return cls.load(device="cpu")

    @classmethod
    def _load(cls, student: int | str, kind: torch.dtype, weights: str | os.PathLike,
              device: torch.device) -> MiniBackend:
        if weights == "random":
            transformer, vae, audio_encoder = random_networks()
            trained, fingerprint = trained_for(read_manifest(WEIGHTS), "base"), f"random-{RANDOM_SEED}"
        else:
            folder = WEIGHTS if weights == "shipped" else user_path(weights)
            manifest = read_manifest(folder)
            transformer, vae, audio_encoder, trained = trained_networks(manifest, student)
            fingerprint = manifest.fingerprint
        for network in (transformer, vae):
            torch.nn.Module.to(network, device, kind)       # diffusers' own `to` only adds a warning
        vae.to(memory_format=torch.channels_last)           # convolutions then take about a quarter less time
        audio_encoder.to(device)                            # in float32: it costs next to nothing
        return cls(transformer, vae, audio_encoder, trained,
                   {"name": cls.name, "student": student, "dtype": str(kind).removeprefix("torch."),
                    "weights": str(weights), "fingerprint": fingerprint, "trained": asdict(trained)})

    @property
    def device(self) -> torch.device:
        """Return where the transformer's weights are."""
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format of the transformer's weights."""
        return next(self.transformer.parameters()).dtype

    def encode_audio(self, speech: Speech) -> AudioFeatures:
        """Encode the sound around each video frame: values (1, 1, D, T)"""
        from liveavatar.audio import mel_features

        mel = mel_features(speech, self.fps)
        return replace(mel, values=self.audio_encoder.encode(mel.values[0, 0]).cpu()[None, None])

    def encode_text(self, prompt: Prompt) -> Tensor:
        """Encode a prompt as one row per slot: (1, slots, text_dim)"""
        from liveavatar.conditions import prompt_vector

        return prompt_vector(prompt)

    @torch.inference_mode()
    def encode_image(self, portrait: Portrait, size: tuple[int, int]) -> tuple[Tensor, None]:
        """Encode the portrait standing still for one latent frame: (1, C, 1, h, w). The model needs no motion
        latents."""
        from liveavatar.conditions import fit_portrait

        picture = fit_portrait(portrait, size).to(self.device, self.dtype)
        return self.vae.encode_portrait(picture[None]), None

    def unconditional(self, condition: Condition) -> Condition:
        """Return the condition without words and sound: the other branch of guidance."""
        from liveavatar.conditions import nothing_said

        return replace(condition, text=nothing_said(), audio=torch.zeros_like(condition.audio))

    def decoder(self, condition: Condition | None = None) -> Decoder:
        """Return a fresh decoder for one video."""
        return Decoder(self.vae)

    def about(self) -> dict:
        """Tell which weights these are."""
        return dict(self._about)

    def remarks(self, speech: Speech, config: GenerationConfig) -> Iterator[str]:
        """Say what these weights were not trained for, a sentence each."""
        from liveavatar.voice import holds_speech

        if speech.wave.any() and not holds_speech(speech):
            yield ("no voice was found in the sound; noise, clicks and music open mini's mouth now and then: give a "
                   "recording of somebody who speaks (a whisper may be missed; then ignore this)")
        rows, columns = config.size or self.default_size
        if rows * columns > MUCH_LARGER * self.default_size[0] * self.default_size[1]:
            yield (f"size {size_text((rows, columns))} is larger than {size_text(self.default_size)}, which mini was "
                   f"trained for: expect broken faces; leave --size out, or use {size_text(self.default_size)}")
        if self._about["student"] and config.sample_steps > MANY_MORE * self.trained.steps:
            yield (f"{config.sample_steps} steps are far more than the {self.trained.steps} that mini's student was "
                   f"distilled for: expect doubled outlines; use {self.trained.steps}, or the many-step base "
                   "(--teacher, student=False)")

    def compile(self) -> None:
        """Compile the repeated parts: needs a C++ compiler and takes a while before the first picture."""
        for layer in self.transformer.blocks:
            layer.forward = without_kv_cache(compile_function(layer.forward, dynamic=False))
        self.vae.decode_stream = compile_function(self.vae.decode_stream, dynamic=False)
        self.compiled_threads = self.vae.compiled_threads = threads_now() if self.device.type == "cpu" else None


class UncompiledAttention:
    """Self-attention with the KV cache, kept out of compiled code: its shapes depend on how many blocks there are, so
    it would be compiled anew for every block."""

    def __init__(self, self_attention: AttentionFunction) -> None:
        self._self_attention = self_attention

    @torch.compiler.disable
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._self_attention(q, k, v)


def without_kv_cache(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wrap the forward of a layer, so that its self-attention stays out of compiled code."""
    return lambda x, modulation, text, attend: forward(x, modulation, text, UncompiledAttention(attend))


def random_networks() -> tuple[CausalS2VTransformer, VideoVAE, AudioEncoder]:
    """Build untrained networks of the shape of the shipped ones, always the same: to try the pipeline without
    weights."""
    from liveavatar.backends.mini.audio import AudioEncoder
    from liveavatar.backends.mini.vae import VideoVAE
    from liveavatar.transformer import CausalS2VTransformer

    manifest = read_manifest(WEIGHTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        return CausalS2VTransformer.from_config(base_options(manifest)), VideoVAE(vae_config(manifest)), AudioEncoder()


def trained_networks(manifest: Manifest,
                     student: int | str) -> tuple[CausalS2VTransformer, VideoVAE, AudioEncoder, Trained]:
    """Load base, VAE and audio encoder from a folder of weights; for a student, merge its LoRA into the base."""
    from liveavatar.backends.mini.audio import AudioEncoder
    from liveavatar.lora import merge_lora
    from liveavatar.transformer import CausalS2VTransformer

    with torch.device("meta"):
        transformer, audio_encoder = CausalS2VTransformer.from_config(base_options(manifest)), AudioEncoder()
    fill(transformer, load_part(manifest, "base"), manifest)
    part = part_of(student, manifest)
    vae = trained_vae(manifest)
    fill(audio_encoder, load_part(manifest, "ear"), manifest)
    if part != "base":
        merge_lora(transformer, load_part(manifest, part), manifest.config.get(part, {}).get("alpha", LORA_ALPHA))
    return transformer, vae, audio_encoder, trained_for(manifest, part)


def base_options(manifest: Manifest) -> dict:
    """Read how the transformer of a folder of weights is shaped."""
    settings = {name: value for name, value in manifest.config.get("base", {}).items() if name != "trained"}
    return transformer_options(vae_config(manifest)) | settings


def expectations(trained: Trained, vae: VAEConfig, patch: int) -> dict[str, object]:
    """Say what inputs weights expect: attributes of a backend."""
    return {"default_size": trained.size or MiniBackend.default_size, "size_multiple": vae.stride * patch,
            "expects_rendered": not trained.photographs, "expects_head_and_shoulders": trained.photographs}


def trained_for(manifest: Manifest, part: str) -> Trained:
    """Read what a part of the weights was trained for."""
    settings = {"shift": SHIFT} | manifest.config.get(part, {}).get("trained", {})
    return Trained(**settings | ({"size": tuple(settings["size"])} if settings.get("size") else {}))


def students(manifest: Manifest) -> tuple[str, ...]:
    """List the students whose weights are there, as `load` names them."""
    return tuple(sorted(part.removeprefix("student-") for part in manifest.parts if part.startswith("student-")))


def part_of(student: Student, manifest: Manifest) -> str:
    """Name the part of the weights that holds a student, or the many-step base for False. Raises InputError."""
    if student is False:
        return "base"
    part = f"student-{4 if student is True else student}"
    if part not in manifest.parts:
        there = ", ".join(students(manifest)) or "none"
        raise InputError(f"student is {student!r}; the weights hold students for these numbers of steps: {there}; "
                         "student=False is the many-step base")
    return part


def trained_vae(manifest: Manifest) -> VideoVAE:
    """Build the VAE of a folder of weights, on the CPU in float32. Raises InputError if they do not fit."""
    from liveavatar.backends.mini.vae import VideoVAE

    with torch.device("meta"):
        vae = VideoVAE(vae_config(manifest))
    fill(vae, load_part(manifest, "vae"), manifest)
    return vae.requires_grad_(False).eval()


def vae_config(manifest: Manifest) -> VAEConfig:
    """Read how the VAE of a folder of weights is shaped."""
    from liveavatar.backends.mini.vae import VAEConfig

    return VAEConfig.from_dict(manifest.config.get("vae", {}))


def fill(module: torch.nn.Module, tensors: dict[str, Tensor], manifest: Manifest) -> None:
    """Give a module made on the meta device its weights, in float32."""
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(f"the weights in {manifest.folder} were made for another version of this network: "
                         f"{str(error).splitlines()[-1].strip()}; install liveavatar again") from error


def loaded_bytes() -> int:
    """Sum the weights of all minis that this process holds in main memory."""
    networks = [network for backend in LOADED for network in (backend.transformer, backend.audio_encoder, backend.vae)]
    return sum(tensor.nbytes for network in networks for tensor in network.parameters() if tensor.device.type == "cpu")
