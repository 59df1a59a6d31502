"""The released networks behind the interface that `mini` has too."""

from __future__ import annotations

import os
import threading
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.backends import Backend, Trained
from liveavatar.backends.devices import choose_device, choose_dtype
from liveavatar.backends.wan import checkpoints, preset
from liveavatar.backends.wan.audio import AudioEncoder
from liveavatar.backends.wan.loading import RANDOM_MARK, check_options, parts_of, text_of
from liveavatar.backends.wan.networks import (
    DeferredTransformer,
)
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.backends.wan.preset import Networks
from liveavatar.backends.wan.split_cache import split_caches
from liveavatar.backends.wan.text import TextEncoder
from liveavatar.backends.wan.vae import (
    StreamingWanVAE,
    WanDecoder,
    encode_reference,
)
from liveavatar.cache import ConditionCache, RingCache
from liveavatar.compiling import check_compiler, compile_function
from liveavatar.files import user_path
from liveavatar.types import AudioFeatures, Condition, InputError, Portrait, Prompt, Speech

if TYPE_CHECKING:
    from liveavatar.config import GenerationConfig
    from liveavatar.transformer import CausalS2VTransformer

RELEASED_TRIM = 3          # pictures that the released code cuts from the beginning, but not from the sound: 120 ms


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
    on_card = True
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
        check_options(conditioning, fp8=fp8, nf4=nf4, fp8_cache=fp8_cache, fp8_attention=fp8_attention,
                      offload_kv_cache=offload_kv_cache, condition_in_rings=condition_in_rings)
        asked_device, device = device, choose_device(device)
        if compile:
            check_compiler(device.type)
        kind = choose_dtype("float32" if dtype == "auto" and device.type != "cuda" else dtype, device)
        parts, origin = parts_of(weights, checkpoint_dir, lora, transformer_file, Networks.asked(config), kind,
                                 OffloadPolicy(device, offload_model), download, fp8=fp8, nf4=nf4)
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

    def new_caches(self, condition: ConditionCache, steps: int, frames: int | None = None) -> tuple[RingCache, ...]:
        """Return an empty ring for each step. frames: latent frames that it holds; None: as trained"""
        if self.condition_in_rings:
            return super().new_caches(condition, steps, frames)
        frames = frames or self.transformer.config.cache_frames
        if self.fp8_attention:
            from liveavatar.backends.wan.fp8_attention import fp8_rings, query_scales

            return fp8_rings(condition, query_scales(self.transformer), frames, steps, self.compiled)
        return split_caches(condition, frames, steps, fp8=self.fp8_cache, on_host=self.offload_kv_cache,
                            compiled=self.compiled)

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
