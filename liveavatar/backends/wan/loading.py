"""Find the networks of wan-s2v-14b: released ones in their files, or untrained ones. The transformer comes later."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

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
from liveavatar.backends.wan.text import TextEncoder, empty_encoder, random_text_encoder, read_text_encoder
from liveavatar.backends.wan.transformer_file import open_transformer_file
from liveavatar.backends.wan.vae import (
    CONDITIONINGS,
    StreamingWanVAE,
    random_vae,
    read_vae,
)
from liveavatar.files import user_path
from liveavatar.lora import adapters_of
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.transformer import CausalS2VTransformer

GIB = 2**30
RANDOM_MARK = "RANDOM"     # burnt into every picture that untrained weights make
Parts = tuple[DeferredTransformer, TextEncoder, AudioEncoder, StreamingWanVAE]


def check_options(conditioning: str, *, fp8: bool, nf4: bool, fp8_cache: bool, fp8_attention: bool,
                  offload_kv_cache: bool, condition_in_rings: bool) -> None:
    """Refuse options of `load` that do not go together. Raises InputError."""
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


def parts_of(weights: str, checkpoint_dir: str | os.PathLike | None, lora: str | os.PathLike | None,
             transformer_file: str | os.PathLike | None, networks: Networks, dtype: torch.dtype,
             offload: OffloadPolicy, download: bool, **rounding: bool) -> tuple[Parts, dict]:
    """Return the networks, released or random, and where they came from. Raises InputError for files that are missing
    or too many."""
    if weights == "random":
        if any(file is not None for file in (checkpoint_dir, lora, transformer_file)):
            raise InputError('weights="random" takes no files; leave out checkpoint_dir, lora and transformer_file')
        return random_parts(networks, dtype, offload, **rounding)
    if weights != "released":
        raise InputError(f'weights is {weights!r}; known: "released" with checkpoint_dir=..., "random"')
    if checkpoint_dir is None:
        raise InputError(f"checkpoint_dir is missing (--ckpt_dir): the folder of {preset.BASE_REPOSITORY}, from: "
                         f"{checkpoints.fetch_command(preset.BASE_REPOSITORY, Path('ckpt/Wan2.2-S2V-14B'))}; "
                         'or try weights="random", which needs no files')
    if download:
        checkpoints.download(checkpoint_dir, lora)
    return released_parts(checkpoint_dir, lora, networks, dtype, offload, transformer_file, **rounding)


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
                      "yield noise", stacklevel=5)
    config = preset.transformer_config(checkpoint.config, str(checkpoint.folder / checkpoints.CONFIG))
    config |= networks.transformer
    empty = empty_transformer(config)
    checkpoint.shards.check_shapes(empty)          # first, or the LoRA would be blamed for a wrong config.json
    if adapter is not None:
        adapters_of(empty, adapter, preset.LORA_ALPHA)
    device = offload.device
    check_main_memory(empty, networks.text, device, dtype, **rounding)
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
                  f"{RANDOM_MARK}", stacklevel=5)
    device = offload.device
    empty = empty_transformer(networks.transformer)
    check_main_memory(empty, networks.text, device, dtype, **rounding)
    deferred = DeferredTransformer(
        empty, device, dtype,
        lambda: bring_transformer(networks.transformer, random_source(device), device, dtype, **rounding))
    parts = (deferred,
             random_text_encoder(networks.text, dtype, offload),
             random_audio_encoder(networks.audio, dtype, offload),
             random_vae(networks.vae, device, dtype))
    return parts, {"weights": "random", "untrained": True, "fingerprint": "random-0", "lora": None}


def check_main_memory(empty: CausalS2VTransformer, text: dict, device: torch.device, dtype: torch.dtype,
                      fp8: bool = False, nf4: bool = False) -> None:
    """Refuse to read weights that are to stay in main memory and are larger than it. Raises InputError.

    empty: the transformer on the meta device. text: sizes of the text encoder
    """
    if device.type != "cpu":
        return
    import psutil

    words = sum(one.numel() for one in empty_encoder(text).parameters()) * dtype.itemsize
    a_number = 0.5 if nf4 else 1 if fp8 else dtype.itemsize
    needed = words + a_number * sum(one.numel() for one in empty.parameters())
    held = psutil.virtual_memory().total + psutil.swap_memory().total
    if needed > held:
        raise InputError(f"without an NVIDIA GPU the weights of {preset.NAME} stay in main memory and take at least "
                         f"{needed / GIB:.0f} GiB ({str(dtype).removeprefix('torch.')}); this machine has "
                         f"{held / GIB:.0f} GiB with its swap space. Take one with a GPU (liveavatar plan says which "
                         "one fits), or here --backend mini")


def needs_transformers() -> None:
    """Refuse to go on without the library transformers. Raises InputError with the remedy."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise InputError(f'{preset.NAME} reads words and sound with the library transformers: pip install -e ".[wan]"'
                         ) from error


def text_of(path: str | os.PathLike | None) -> str | None:
    """Return an absolute path as text; None stays None."""
    return None if path is None else str(user_path(path).resolve())
