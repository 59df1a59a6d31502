"""The released networks behind the interface that `mini` has too."""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.backends import Backend, Trained
from liveavatar.backends.mini import choose_device
from liveavatar.backends.wan import checkpoints, preset
from liveavatar.backends.wan.audio import AudioEncoder, random_audio_encoder, read_audio_encoder
from liveavatar.backends.wan.networks import (
    DeferredTransformer,
    bring_transformer,
    empty_transformer,
    random_source,
)
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.backends.wan.preset import Networks
from liveavatar.backends.wan.split_cache import split_caches
from liveavatar.backends.wan.text import TextEncoder, random_text_encoder, read_text_encoder
from liveavatar.backends.wan.transformer_file import open_transformer_file
from liveavatar.backends.wan.vae import (
    CONDITIONINGS,
    StreamingWanVAE,
    WanDecoder,
    encode_reference,
    random_vae,
    read_vae,
)
from liveavatar.cache import ConditionCache, RingCache
from liveavatar.compiling import check_compiler, compile_function
from liveavatar.files import user_path
from liveavatar.lora import adapters_of
from liveavatar.types import AudioFeatures, Condition, InputError, Portrait, Prompt, Speech

if TYPE_CHECKING:
    from liveavatar.config import GenerationConfig
    from liveavatar.transformer import CausalS2VTransformer

RELEASED_TRIM = 3          # pictures that the released code cuts from the beginning, but not from the sound: 120 ms
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp32": torch.float32, "bf16": torch.bfloat16}
RANDOM_MARK = "RANDOM"     # burnt into every picture that untrained weights make


class WanBackend(Backend):
    """wan-s2v-14b behind the interface of `liveavatar.backends.Backend`.

    `load` checks all files and reads the encoders. The transformer's weights come with the first use of `transformer`,
    or when `load_transformer` is called: the pipeline calls it once words, sound and portrait are encoded.
    """

    name = preset.NAME
    fps = 25.0
    rate_hz = 16_000
    block_latents = 3
    frames_per_latent = 4
    size_multiple = preset.SIZE_MULTIPLE
    default_size, default_is_area = preset.AREA, True
    sees_past_sound = False
    free_text = True                   # the prompt is read word by word, not searched for known phrases

    def __init__(self, transformer: CausalS2VTransformer | DeferredTransformer, text: TextEncoder | None,
                 audio: AudioEncoder | None, vae: StreamingWanVAE, about: dict, *,
                 conditioning: str = "single-gpu", released_trim: bool = False,
                 offload_kv_cache: bool = False, fp8_cache: bool = False, condition_in_rings: bool = False,
                 fp8_attention: bool = False) -> None:
        self._deferred, self._transformer = transformer, None
        if not isinstance(transformer, DeferredTransformer):
            weight = next(transformer.parameters())
            self._deferred = DeferredTransformer(transformer, weight.device, weight.dtype, lambda: transformer)
            self._transformer = transformer
        self._loading, self._compile_with = threading.RLock(), None      # None, or record_steps of `compile`
        self.text, self.audio, self.vae = text, audio, vae
        if vae is not None:
            vae.by_frame = offload_kv_cache                # memory is short: it goes before speed
        self.trained = Trained(solver="euler", schedule="released")
        self.conditioning = conditioning
        self.trim_frames = RELEASED_TRIM if released_trim else 0
        self.offload_kv_cache, self.fp8_cache = offload_kv_cache, fp8_cache
        self.condition_in_rings, self.fp8_attention, self.compiled = condition_in_rings, fp8_attention, False
        self._about = about | {"trained": asdict(self.trained)}

    @classmethod
    def load(cls, checkpoint_dir: str | os.PathLike | None = None, lora: str | os.PathLike | None = None,
             weights: str = "released", config: dict | str | None = None, dtype: str = "auto", device: str = "auto",
             fp8: bool = False, compile: bool = False, conditioning: str = "single-gpu", released_trim: bool = False,
             offload_model: bool = True, offload_kv_cache: bool = False, fp8_cache: bool = False,
             fp8_attention: bool = False, condition_in_rings: bool = False, record_steps: bool = True,
             nf4: bool = False, transformer_file: str | os.PathLike | None = None,
             download: bool = False) -> WanBackend:
        """Check all files and read the encoders; the transformer's weights follow when they are needed.

        checkpoint_dir  the folder of Wan2.2-S2V-14B, as downloaded
        lora            liveavatar.safetensors or its folder; without it four steps yield noise
        transformer_file  its weights from one .gguf or .safetensors file, instead of the folder's
        weights         "released", or "random": untrained networks without any file, to measure memory and speed
        config          "tiny", or sizes of the networks: see `preset.Networks`; for trials, with weights="random"
        conditioning    "single-gpu" | "multi-gpu": which of the two released ways the portrait is encoded
        released_trim   let the picture lead the sound by 120 ms, as released
        offload_model   text and audio encoders rest in main memory while they have nothing to do
        fp8, fp8_cache  linear layers, and the rings of earlier blocks, in one byte a number
        nf4             linear layers in 4.25 bits a number; they are widened before each product
        fp8_attention   self-attention in one byte a number too; rings are then as with fp8_cache, the condition in each
        condition_in_rings  the condition lies in the ring of every step: more memory, less copying
        compile         the transformer's layers, in pieces that all layers share
        record_steps    where layers are compiled: repeat whole steps as one launch (CUDA graphs)
        download        bring what is missing from the Hub; otherwise nothing is ever fetched
        """
        if conditioning not in CONDITIONINGS:
            raise InputError(f"conditioning is {conditioning!r}; known: {', '.join(CONDITIONINGS)}")
        if condition_in_rings and (fp8_cache or offload_kv_cache):
            raise InputError("condition_in_rings is for rings on the GPU in full precision; leave it out, or fp8_cache "
                             "and offload_kv_cache")
        if fp8_attention and (condition_in_rings or offload_kv_cache):
            raise InputError("fp8_attention has rings of its own on the GPU, the condition in each; leave it out, or "
                             "condition_in_rings and offload_kv_cache")
        if fp8 and nf4:
            raise InputError("fp8 and nf4 are two ways to round the same weights; leave one of them out")
        asked_device, device = device, choose_device(device)
        if compile:
            check_compiler(device.type)
        kind = choose_dtype(dtype, device)
        networks, offload = Networks.asked(config), OffloadPolicy(device, offload_model)
        if weights == "random":
            if any(file is not None for file in (checkpoint_dir, lora, transformer_file)):
                raise InputError('weights="random" takes no files; leave out checkpoint_dir, lora and transformer_file')
            parts, origin = random_parts(networks, kind, offload, fp8=fp8, nf4=nf4)
        elif weights == "released":
            if checkpoint_dir is None:
                raise InputError("checkpoint_dir is missing (--ckpt_dir): the folder of "
                                 f"{preset.BASE_REPOSITORY}, from: "
                                 f"{checkpoints.fetch_command(preset.BASE_REPOSITORY, Path('ckpt/Wan2.2-S2V-14B'))}; "
                                 'or try weights="random", which needs no files')
            if download:
                checkpoints.download(checkpoint_dir, lora)
            parts, origin = released_parts(checkpoint_dir, lora, networks, kind, offload, transformer_file,
                                           fp8=fp8, nf4=nf4)
        else:
            raise InputError(f'weights is {weights!r}; known: "released" with checkpoint_dir=..., "random"')
        options = {"checkpoint_dir": text_of(checkpoint_dir), "lora": text_of(lora),
                   "transformer_file": text_of(transformer_file), "weights": weights,
                   "config": config, "dtype": dtype, "device": asked_device, "fp8": fp8, "nf4": nf4,
                   "conditioning": conditioning, "released_trim": released_trim, "offload_model": offload_model,
                   "offload_kv_cache": offload_kv_cache, "fp8_cache": fp8_cache,
                   "fp8_attention": fp8_attention, "condition_in_rings": condition_in_rings}
        about = {"name": cls.name, "student": lora is not None or weights == "random",
                 "dtype": str(kind).removeprefix("torch."), "fp8": fp8, "nf4": nf4,
                 "fp8_cache": fp8_cache or fp8_attention, "fp8_attention": fp8_attention, "conditioning": conditioning,
                 "released_trim": released_trim, **origin, "options": options}
        backend = cls(*parts, about, conditioning=conditioning, released_trim=released_trim,
                      offload_kv_cache=offload_kv_cache, fp8_cache=fp8_cache, condition_in_rings=condition_in_rings,
                      fp8_attention=fp8_attention)
        if compile:
            backend.compile(record_steps)
        return backend

    # ------------------------------------------------------------------------------------------ before weights load

    @classmethod
    def fingerprint(cls, checkpoint_dir: str | os.PathLike | None = None, lora: str | os.PathLike | None = None,
                    transformer_file: str | os.PathLike | None = None, **options: object) -> str:
        """Return a short name for the weights that these options of `load` bring, and for how they are rounded.

        Names of folders do not matter. Raises InputError where files are missing or damaged.
        """
        names = [f"{name}={value}" for name, value in sorted(options.items()) if name != "device"]
        if checkpoint_dir is not None:
            names.append(checkpoints.open_checkpoint(checkpoint_dir).fingerprint)
        files = [checkpoints.lora_file(lora)] if lora is not None else []
        files += [user_path(transformer_file)] if transformer_file is not None else []
        return " ".join([*names, *(checkpoints.fingerprint_of([file]) for file in files)])

    @staticmethod
    def fit_size(area: tuple[int, int], portrait: Portrait, multiple: int) -> tuple[int, int]:
        """Return the video's (height, width): the largest in the portrait's shape, as released."""
        from liveavatar.conditions import released_size

        return released_size(*portrait.pixels.shape[-2:], area, multiple)

    @classmethod
    def check(cls, config: GenerationConfig) -> None:
        """Refuse a configuration that names files which cannot be read."""
        from liveavatar.backends.wan.pose import check_pose_video

        if config.pose_video is not None:
            check_pose_video(config.pose_video)

    # ------------------------------------------------------------------------------------------ stages

    @property
    def device(self) -> torch.device:
        return self._deferred.device

    @property
    def dtype(self) -> torch.dtype:
        return self._deferred.dtype

    @property
    def transformer(self) -> CausalS2VTransformer:
        """Return the transformer. Its weights are read the first time that it is asked for."""
        self.load_transformer()
        return self._transformer

    def load_transformer(self) -> None:
        """Bring the transformer's weights to the device, unless they are there already."""
        with self._loading, torch.inference_mode(False):       # tensors made in inference mode could not be moved later
            if self._transformer is None:
                model = self._deferred.load()
                if self._compile_with is not None:
                    compile_transformer(model, self._compile_with)
                self._deferred = replace(self._deferred, load=lambda: model)     # LoRA and open files are let go
                self._transformer = model

    def drop_transformer(self) -> None:
        """Do nothing: a process that only decodes has not brought the weights."""

    def release_encoders(self) -> None:
        """Let go of the text and audio encoders that rest in main memory, when nothing more is to be encoded.

        With offload_model=False they stay on the device.
        """
        for name in ("text", "audio"):
            encoder = getattr(self, name)
            if encoder is not None and encoder.offload.to_host:
                setattr(self, name, None)

    def encode_audio(self, speech: Speech) -> AudioFeatures:
        return self._encoder("audio").encode_audio(speech)

    def encode_text(self, prompt: Prompt) -> Tensor:
        return self._encoder("text").encode_text(prompt.text, self._deferred.empty.config.text_len)

    def encode_image(self, portrait: Portrait, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Encode the portrait, and the portrait standing still before the video begins, both encoded."""
        from liveavatar.conditions import fit_portrait

        seen = encode_reference(self.vae, fit_portrait(portrait, size), self.conditioning)
        return seen.reference, seen.motion

    def encode_pose(self, pose_video: str | os.PathLike, size: tuple[int, int], frames: int,
                    clip_frames: int) -> Tensor:
        """Encode a pose video into latents (1, C, F, h, w) for every block."""
        from liveavatar.backends.wan.pose import check_pose_video, pose_latents

        return pose_latents(self.vae, check_pose_video(pose_video), size, frames, clip_frames, self.fps)

    def unconditional(self, condition: Condition) -> Condition:
        return replace(condition, text=self._encoder("text").encode_text(""), audio=torch.zeros_like(condition.audio))

    def _encoder(self, name: str) -> TextEncoder | AudioEncoder:
        encoder = getattr(self, name)
        if encoder is None:
            raise InputError(f"the {name} encoder of this pipeline has been released to free memory; load the model "
                             "again to encode something else")
        return encoder

    def decoder(self, condition: Condition | None = None) -> WanDecoder | Marked:
        """Return a decoder; where it knows the portrait it begins as if the portrait had stood still before."""
        decoder = WanDecoder(self.vae, None if condition is None else condition.motion, self.conditioning)
        return Marked(decoder) if self._about.get("untrained") else decoder

    def new_caches(self, condition: ConditionCache, steps: int) -> tuple[RingCache, ...]:
        """Return an empty ring for each step."""
        if self.fp8_attention:
            from liveavatar.backends.wan.fp8_attention import fp8_rings, query_scales

            return fp8_rings(condition, query_scales(self.transformer), self.transformer.config.cache_frames, steps,
                             self.compiled)
        if self.condition_in_rings:
            return tuple(self.transformer.new_cache(condition) for _ in range(steps))
        return split_caches(condition, self.transformer.config.cache_frames, steps, fp8=self.fp8_cache,
                           on_host=self.offload_kv_cache, compiled=self.compiled)

    def about(self) -> dict:
        return dict(self._about)

    def compile(self, record_steps: bool = True) -> None:
        """Compile the transformer: now, or as soon as its weights are there."""
        self.compiled, self._compile_with = True, record_steps
        if self._transformer is not None:
            compile_transformer(self._transformer, record_steps)


def compile_transformer(model: CausalS2VTransformer, record_steps: bool) -> None:
    """Compile the three pieces of a layer, with fixed shapes: all layers share what is compiled for the first.

    Attention stays outside: how many keys it sees changes until the ring is full. So does the one pass over the
    condition, whose shapes come only once. Once the ring is full, a GPU repeats whole steps (`recorded`).
    """
    from liveavatar.backends.wan.pieces import compile_layers
    from liveavatar.backends.wan.recorded import RecordedSteps

    compile_layers(model.blocks)
    model.inject_audio, model.write_condition = (compile_function(piece, dynamic=False) for piece in
                                                 (model.inject_audio, model.write_condition))
    model.prefill = torch.compiler.set_stance("force_eager")(model.prefill)
    if record_steps:
        model.run_layers = RecordedSteps(model.run_layers)


class Marked:
    """A decoder that writes over every picture that its weights are untrained."""

    def __init__(self, decoder: WanDecoder) -> None:
        self._decoder = decoder

    def decode(self, latents: Tensor) -> Tensor:
        from liveavatar.video import burn_label

        return torch.from_numpy(np.ascontiguousarray(burn_label(self._decoder.decode(latents).numpy(), RANDOM_MARK)))

    def fork(self) -> Marked:
        """Return another decoder that goes on from here on its own."""
        return Marked(self._decoder.fork())


Parts = tuple[DeferredTransformer, TextEncoder, AudioEncoder, StreamingWanVAE]


def released_parts(checkpoint_dir: str | os.PathLike, lora: str | os.PathLike | None, networks: Networks,
                   dtype: torch.dtype, offload: OffloadPolicy, transformer_file: str | os.PathLike | None = None,
                   **rounding: bool) -> tuple[Parts, dict]:
    """Return the three encoders and the transformer to come, from the public files, and where they came from.

    All files are checked first, those of the transformer too.
    """
    needs_transformers()
    other = None if transformer_file is None else open_transformer_file(transformer_file, offload.device)
    checkpoint = checkpoints.open_checkpoint(checkpoint_dir, other)
    adapter = None if lora is None else checkpoints.read_lora(lora)
    if adapter is None:
        warnings.warn("no LoRA is given (lora=, --lora_path_dmd): the base model alone needs some forty steps, four "
                      "yield noise", stacklevel=4)
    config = preset.transformer_config(checkpoint.config, str(checkpoint.folder / checkpoints.CONFIG))
    config |= networks.transformer
    empty = empty_transformer(config)
    checkpoint.shards.check_shapes(empty)          # first, or the LoRA would be blamed for a wrong config.json
    if adapter is not None:
        adapters_of(empty, adapter, preset.LORA_ALPHA)
    device = offload.device
    audio = read_audio_encoder(checkpoint.audio, dtype, offload)
    vae = read_vae(checkpoint.vae, networks.vae, device, dtype)
    text = read_text_encoder(checkpoint.text, checkpoint.tokenizer, networks.text, dtype, offload)

    def load() -> CausalS2VTransformer:
        transformer = bring_transformer(config, checkpoint.shards.read, device, dtype, adapter, **rounding)
        checkpoint.shards.close()
        return transformer

    origin = {"weights": "released", "fingerprint": checkpoint.fingerprint,
              "lora": None if lora is None else checkpoints.fingerprint_of([checkpoints.lora_file(lora)])}
    return (DeferredTransformer(empty, device, dtype, load), text, audio, vae), origin


def random_parts(networks: Networks, dtype: torch.dtype, offload: OffloadPolicy,
                 **rounding: bool) -> tuple[Parts, dict]:
    """Return untrained networks, always the same ones on the same kind of device."""
    needs_transformers()
    warnings.warn(f"random weights: {preset.NAME} is untrained here and its pictures mean nothing; they are marked "
                  f"{RANDOM_MARK}", stacklevel=4)
    device = offload.device
    deferred = DeferredTransformer(
        empty_transformer(networks.transformer), device, dtype,
        lambda: bring_transformer(networks.transformer, random_source(device), device, dtype, **rounding))
    parts = (deferred,
             random_text_encoder(networks.text, dtype, offload),
             random_audio_encoder(networks.audio, dtype, offload),
             random_vae(networks.vae, device, dtype))
    return parts, {"weights": "random", "untrained": True, "fingerprint": "random-0", "lora": None}


def needs_transformers() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise InputError(f'{preset.NAME} reads words and sound with the library transformers: pip install -e ".[wan]"'
                         ) from error


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return bfloat16 on a GPU, as released; float32 on a CPU."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; known: auto, float32, bfloat16")
    return DTYPES[dtype]


def text_of(path: str | os.PathLike | None) -> str | None:
    return None if path is None else str(user_path(path).resolve())
