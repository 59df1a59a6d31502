"""The transformer from one file, as the community publishes it: GGUF, or safetensors with scaled 8-bit weights.

    .gguf           QuantStack/Wan2.2-S2V-14B-GGUF and its like: every type that diffusers can widen (Q2_K to Q8_0, IQ4,
                    BF16, F16, F32). Shapes of more than four dimensions come from comfy.gguf.orig_shape.<name>
    .safetensors    plain, or fp8 with one scale a matrix beside it: <module>.scale_weight or <module>.weight_scale

Names are those of the released files, perhaps behind a prefix. Weights are widened one by one when they are read; then
the LoRA is merged and they are rounded as asked for (`fp8`, `nf4`), or stay wide.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liveavatar.backends.wan.checkpoints import SAME_DOWNLOAD, Shards, damaged, refuse_pointer, safetensors_file
from liveavatar.files import fault_of, user_path, utf8_path
from liveavatar.types import InputError

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.")
SCALES = ("scale_weight", "weight_scale")                # of ComfyUI's older and newer files
BESIDE = (*SCALES, "scale_input", "input_scale", "comfy_quant")        # stands beside a weight and is none
FP8_TYPES = (torch.float8_e4m3fn, torch.float8_e5m2)
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."


def open_transformer_file(path: str | os.PathLike, device: torch.device) -> Shards:
    """Open a file by its ending. device: where GGUF weights are widened.

    Raises InputError for a file that is not there, not of a known kind, or damaged.
    """
    path = user_path(path)
    fault = fault_of(path)
    if fault:
        raise InputError(f"transformer_file {path} {fault}; give a .gguf or .safetensors file of Wan2.2-S2V-14B")
    if path.suffix.lower() == ".gguf":
        return GgufFile(path, device)
    if path.suffix.lower() == ".safetensors":
        return ScaledFile(path)
    raise InputError(f"transformer_file is {path}; known are .gguf and .safetensors")


def without_prefix(name: str) -> str:
    """Remove the prefix: 'model.diffusion_model.blocks.0.ffn.0.weight' -> 'blocks.0.ffn.0.weight'"""
    prefix = next((one for one in PREFIXES if name.startswith(one)), "")
    return name.removeprefix(prefix)


class ScaledFile(Shards):
    """One safetensors file, plain or with a scale beside each 8-bit matrix."""

    def __init__(self, path: Path) -> None:
        with safetensors_file(path) as file:
            self._stored = {without_prefix(name): name for name in file.keys()}      # noqa: SIM118
        super().__init__({name: path for name in self._stored
                          if name.rpartition(".")[2] not in BESIDE and name != "scaled_fp8"})

    def check_files(self) -> None:
        """Do nothing: the file was opened, and names itself what it holds."""

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """Read one tensor, in main memory; in float32 where it was scaled."""
        file = self._find(name, shape)
        weight = file.get_tensor(self._stored[name])
        if weight.dtype not in FP8_TYPES:
            return weight
        module = name.rpartition(".")[0]
        scale = next((self._stored[f"{module}.{one}"] for one in SCALES if f"{module}.{one}" in self._stored), None)
        return weight.float() if scale is None else weight.float() * file.get_tensor(scale).float()

    def _find(self, name: str, shape: torch.Size) -> Any:
        from safetensors import safe_open

        path = self._path_of(name)
        file = self._open.setdefault(path, None) or safe_open(utf8_path(path), "pt")
        self._open[path] = file
        stored = file.get_slice(self._stored[name])
        if stored.get_dtype() in ("U8", "I8", "F4"):
            raise InputError(f"{name} in {path.name} is stored as {stored.get_dtype()}, a 4-bit or integer format that "
                             "is not read; take a .gguf, fp8_scaled or bf16 file")
        self.check_shape(name, tuple(stored.get_shape()), shape, path)
        return file

    def _path_of(self, name: str) -> Path:
        if name not in self.where:
            raise InputError(f"the transformer_file holds no {name}, for which config.json asks; {SAME_DOWNLOAD}")
        return self.where[name]

    @staticmethod
    def check_shape(name: str, found: tuple[int, ...], shape: torch.Size, path: Path) -> None:
        """Refuse a weight of another shape."""
        if found != tuple(shape):
            raise InputError(f"{name} in {path.name} is {found}, config.json asks for {tuple(shape)}: it is of another "
                             "model")


class GgufFile(ScaledFile):
    """One GGUF file, mapped into memory. Needs the package gguf."""

    def __init__(self, path: Path, device: torch.device) -> None:
        refuse_pointer(path)
        try:
            import gguf
        except ImportError as error:
            raise InputError(f'{path.name} is read with the package gguf: pip install -e ".[gguf]"') from error
        try:
            reader = gguf.GGUFReader(str(path))
        except Exception as error:                                 # of many kinds, as the file may hold anything
            raise damaged(path, str(error) or type(error).__name__) from error
        self._device = device
        self._tensors = {without_prefix(tensor.name): tensor for tensor in reader.tensors}
        self._shapes = {name: tuple(reversed(tensor.shape.tolist())) for name, tensor in self._tensors.items()}
        for key, field in reader.fields.items():
            if key.startswith(ORIGINAL_SHAPE):
                name = without_prefix(key.removeprefix(ORIGINAL_SHAPE))
                self._shapes[name] = tuple(int(field.parts[index][0]) for index in field.data)
        Shards.__init__(self, dict.fromkeys(self._tensors, path))

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """Read one tensor, widened on the device."""
        import gguf
        from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor

        tensor = self._find(name, shape)
        values = torch.from_numpy(tensor.data.copy()).to(self._device)
        kind = tensor.tensor_type
        if kind not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            values = dequantize_gguf_tensor(GGUFParameter(values.view(torch.uint8), quant_type=kind))
        return values.reshape(shape)

    def close(self) -> None:
        """Unmap the file."""
        self._tensors.clear()

    def _find(self, name: str, shape: torch.Size) -> Any:
        import gguf
        from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES as KNOWN

        path, tensor = self._path_of(name), self._tensors[name]
        plain = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
        if tensor.tensor_type not in (*plain, *KNOWN):
            raise InputError(f"{name} in {path.name} is of type {tensor.tensor_type.name}, which is not read; take one "
                             "of Q4_K_M, Q5_K_M, Q6_K or Q8_0")
        found = self._shapes[name]
        if math.prod(found) != math.prod(shape) or stripped(found) != stripped(shape):
            self.check_shape(name, found, shape, path)
        return tensor


def stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its ones, which the format does not keep."""
    return tuple(side for side in shape if side != 1)
