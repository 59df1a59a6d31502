"""Words -> what the transformer reads: UMT5-XXL, the encoder alone (Chung et al. 2023, arXiv:2304.09151).

The transformer pads with zero rows to 512 and attends to the padding, as released; here only the words are computed.
"""

from __future__ import annotations

import html
import re
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.backends.wan.checkpoints import damaged, fill, read_pickle
from liveavatar.backends.wan.networks import randomise
from liveavatar.backends.wan.offload import OffloadPolicy

if TYPE_CHECKING:
    from transformers import UMT5EncoderModel

END, FIRST_BYTE = 1, 3           # ids of the end of text, and of byte 0 where there is no tokenizer

Tokenize = Callable[[str], list[int]]

# Name in models_t5_umt5-xxl-enc-bf16.pth -> name in transformers.
_WHOLE = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
_IN_BLOCK = {
    "attn.q": "layer.0.SelfAttention.q", "attn.k": "layer.0.SelfAttention.k", "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o", "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm1": "layer.0.layer_norm", "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0", "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}


def transformers_name(released: str) -> str:
    """Translate a name: 'blocks.3.ffn.gate.0.weight' -> 'encoder.block.3.layer.1.DenseReluDense.wi_0.weight'"""
    module = released.removesuffix(".weight")
    if module in _WHOLE:
        return f"{_WHOLE[module]}.weight"
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", module)
    return f"encoder.block.{found[1]}.{_IN_BLOCK[found[2]]}.weight" if found and found[2] in _IN_BLOCK else released


class TextEncoder:
    """Words -> features."""

    def __init__(self, network: UMT5EncoderModel, tokenize: Tokenize, offload: OffloadPolicy) -> None:
        self.network, self.tokenize, self.offload = network, tokenize, offload

    @torch.inference_mode()
    def encode_text(self, text: str, most_tokens: int = 512) -> Tensor:
        """Return (1, L, text_dim) in main memory, L at most `most_tokens`

        A prompt that comes when the transformer fills the GPU is encoded on the CPU, and a warning says so: the same
        numbers but for the rounding of another device.
        """
        ids = self.tokenize(tidy(text))[:most_tokens]
        ids[-1] = END                                              # a long prompt is cut, but it still ends
        try:
            with self.offload.on_device(self.network) as network:
                return features_of(network, ids, self.offload.device)
        except torch.OutOfMemoryError:
            if not self.offload.to_host or self.offload.device.type == "cpu":
                raise
        warnings.warn("the text encoder does not fit beside the transformer on this GPU; the prompt is encoded on the "
                      "CPU, which takes some seconds", stacklevel=2)
        return features_of(self.network, ids, torch.device("cpu"))


def features_of(network: UMT5EncoderModel, ids: list[int], device: torch.device) -> Tensor:
    """Encode token ids on a device -> (1, L, text_dim) in main memory."""
    return network(torch.tensor([ids], device=device)).last_hidden_state.cpu()


def tidy(text: str) -> str:
    """Turn entities and odd characters to plain ones, all white space to single spaces, as in training."""
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    for quotes, plain in (("‘’‚‛", "'"), ("“”„‟", '"')):
        text = re.sub(f"[{quotes}]", plain, text)
    return re.sub(r"\s+", " ", text).strip()


def read_text_encoder(weights: Path, tokenizer: Path, config: dict, dtype: torch.dtype,
                      offload: OffloadPolicy) -> TextEncoder:
    """Read the encoder from the released .pth file and tokenizer folder."""
    network = empty_encoder(config)
    tensors = {transformers_name(name): tensor for name, tensor in read_pickle(weights).items()}
    if "shared.weight" in tensors:
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"]
    fill(network, tensors, weights, dtype)
    return TextEncoder(tied(network), read_tokenizer(tokenizer), offload)


def random_text_encoder(config: dict, dtype: torch.dtype, offload: OffloadPolicy) -> TextEncoder:
    """Return an untrained encoder, at full size or small; its tokens are the bytes of the text."""
    network = randomise(empty_encoder(config), offload.storage_device, dtype)
    return TextEncoder(tied(network), lambda text: [byte + FIRST_BYTE for byte in text.encode()] + [END], offload)


def empty_encoder(config: dict) -> UMT5EncoderModel:
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        return UMT5EncoderModel(UMT5Config(**config)).requires_grad_(False).eval()


def tied(network: UMT5EncoderModel) -> UMT5EncoderModel:
    """Tie one table of words to its two names."""
    network.encoder.embed_tokens.weight = network.shared.weight
    return network.requires_grad_(False).eval()


def read_tokenizer(folder: Path) -> Tokenize:
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer.json"
    try:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
    except Exception as error:                                     # the library raises bare Exception
        raise damaged(file, str(error)) from error

    def tokenize(text: str) -> list[int]:
        ids = tokenizer(text).input_ids
        return ids if ids and ids[-1] == END else [*ids, END]

    return tokenize
