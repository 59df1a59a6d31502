"""The two released folders with their exact names, shapes, dtypes and sizes, and zeros in every file.

    python benchmarks/wan_folders.py ckpt                 # ckpt/Wan2.2-S2V-14B and ckpt/LiveAvatar, as downloaded
    python benchmarks/wan_folders.py ckpt --tiny          # the networks of load(config="tiny")

The weights are holes: on a disk that knows sparse files 45 GB take a few MiB. `wan_loading.py` reads them as a user
reads the real ones.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from liveavatar.backends.wan.checkpoints import AUDIO, CONFIG, INDEX, TEXT, TOKENIZER, VAE
from liveavatar.backends.wan.networks import empty_transformer
from liveavatar.backends.wan.preset import LORA_FILE, Networks
from liveavatar.backends.wan.text import empty_encoder, transformers_name
from liveavatar.backends.wan.vae import empty_vae
from liveavatar.lora import targets

SHARD_BYTES = 10**10             # of one file of the transformer, at most
LORA_RANK = 128
WORDS = "<pad> </s> <unk> a person talks calmly to the camera in warm light".split()
TEXT_PARTS = ("attn.q", "attn.k", "attn.v", "attn.o", "pos_embedding.embedding", "norm1", "norm2", "ffn.gate.0",
              "ffn.fc1", "ffn.fc2")
DTYPES = {torch.bfloat16: "BF16", torch.float32: "F32"}
NOT_OURS = ("audio_layers", "cache_frames", "reference_distance", "block_frames", "released_rounding", "patch",
            "prediction", "detail_channels")          # fields of our transformer that the released config.json has not
RELEASED = {"_class_name": "WanModel_S2V", "model_type": "s2v", "enable_adain": True, "adain_mode": "attn_norm",
            "zero_timestep": True, "framepack_drop_mode": "padd"}

Shapes = dict[str, tuple[int, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    base, lora = write_folders(asked.folder, tiny=asked.tiny)
    for folder in (base, lora):
        files = [path for path in folder.rglob("*") if path.is_file()]
        size, held = (sum(count(path.stat()) for path in files)
                      for count in (lambda at: at.st_size, lambda at: 512 * at.st_blocks))
        print(f"{folder}: {len(files)} files, {size / 1e9:.2f} GB, on the disk {held / 1e6:.1f} MB")


def write_folders(folder: Path, tiny: bool = False) -> tuple[Path, Path]:
    """Write the folders of the base model and of its LoRA below `folder`; return both."""
    networks = Networks.asked("tiny" if tiny else None)
    base, lora = folder / "Wan2.2-S2V-14B", folder / "LiveAvatar"           # as README.md downloads them
    for one in (base / TOKENIZER, base / AUDIO, lora):
        one.mkdir(parents=True, exist_ok=True)
    model = empty_transformer(networks.transformer)
    write_transformer(base, {name: tuple(value.shape) for name, value in model.state_dict().items()},
                      dict(model.config))
    words = empty_encoder(networks.text).state_dict()
    write_pickle(base / TEXT, {name: tuple(words[transformers_name(name)].shape)
                               for name in text_names(networks.text["num_layers"])}, torch.bfloat16)
    write_tokenizer(base / TOKENIZER / "tokenizer.json")
    shapes = {name: tuple(value.shape) for name, value in empty_vae(networks.vae).state_dict().items()}
    write_pickle(base / VAE, {theirs: shapes[ours] for ours, theirs in released_vae_names(shapes).items()},
                 torch.float32)
    write_audio(base / AUDIO, networks.audio)
    rank = 4 if tiny else LORA_RANK
    write_holes(lora / LORA_FILE, {f"base_model.model.{name}.lora_{half}.default.weight": shape
                                   for name, linear in targets(model).items()
                                   for half, shape in (("A", (rank, linear.in_features)),
                                                       ("B", (linear.out_features, rank)))}, torch.bfloat16)
    return base, lora


# ------------------------------------------------------------------------------------------------ files with holes

def write_holes(path: Path, shapes: Shapes, dtype: torch.dtype) -> None:
    """Write a safetensors file: its header, and a hole for the numbers."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def write_pickle(path: Path, shapes: Shapes, dtype: torch.dtype) -> None:
    """Write a .pth file of zeros; the memory of `torch.empty` is never touched, nor are the blocks of the disk."""
    with torch.serialization.skip_data():
        torch.save({name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}, path)


def write_transformer(folder: Path, shapes: Shapes, config: dict) -> None:
    files = list(filled(shapes, SHARD_BYTES))
    names = [f"diffusion_pytorch_model-{number:05d}-of-{len(files):05d}.safetensors"
             for number in range(1, len(files) + 1)]
    for name, part in zip(names, files, strict=True):
        write_holes(folder / name, {key: shapes[key] for key in part}, torch.bfloat16)
    where = {key: name for name, part in zip(names, files, strict=True) for key in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    said = {name: value for name, value in config.items() if name not in NOT_OURS and not name.startswith("_")}
    (folder / CONFIG).write_text(json.dumps(said | RELEASED))


def filled(shapes: Shapes, most_bytes: int) -> Iterator[list[str]]:
    """Divide tensors into files of at most so many bytes."""
    part, held = [], 0
    for name, shape in shapes.items():
        size = math.prod(shape) * torch.bfloat16.itemsize
        if part and held + size > most_bytes:
            yield part
            part, held = [], 0
        part, held = [*part, name], held + size
    yield part


def write_audio(folder: Path, config: dict) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    made = Wav2Vec2Config(**config | {"vocab_size": 33})
    made.save_pretrained(folder)
    with torch.device("meta"):
        state = Wav2Vec2ForCTC(made).state_dict()
    write_holes(folder / "model.safetensors", {name: tuple(value.shape) for name, value in state.items()},
                torch.float32)


def write_tokenizer(path: Path, words: Iterable[str] = WORDS) -> None:
    """Write a tokenizer of a few whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(path))


# ------------------------------------------------------------------------------------------------ released names

def text_names(layers: int) -> list[str]:
    """Return the names in models_t5_umt5-xxl-enc-bf16.pth."""
    names = ["token_embedding", "norm", *(f"blocks.{layer}.{part}" for layer in range(layers) for part in TEXT_PARTS)]
    return [f"{name}.weight" for name in names]


def released_vae_names(names: Iterable[str]) -> dict[str, str]:
    """Return diffusers' name -> name in Wan2.1_VAE.pth, by asking diffusers' converter about every likely name."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    weights = ("weight", "bias")
    in_residual = [f"residual.{part}" for part in ("0.gamma", "3.gamma", "2.weight", "2.bias", "6.weight", "6.bias")]
    in_attention = ["norm.gamma", *(f"{part}.{kind}" for part in ("to_qkv", "proj") for kind in weights)]
    in_stage = in_residual + [f"{part}.{kind}" for part in ("shortcut", "resample.1", "time_conv") for kind in weights]
    likely = [f"{part}.{kind}" for part in ("conv1", "conv2", "encoder.conv1", "decoder.conv1") for kind in weights]
    for side, stages in (("encoder", "downsamples"), ("decoder", "upsamples")):
        likely += [f"{side}.middle.{place}.{name}" for place in (0, 2) for name in in_residual]
        likely += [f"{side}.middle.1.{name}" for name in in_attention]
        likely += [f"{side}.head.{name}" for name in ("0.gamma", "2.weight", "2.bias")]
        likely += [f"{side}.{stages}.{place}.{name}" for place in range(15) for name in in_stage]
    return {ours: theirs for ours, theirs in convert_wan_vae_to_diffusers({name: name for name in likely}).items()
            if ours in names}


if __name__ == "__main__":
    sys.exit(main())
