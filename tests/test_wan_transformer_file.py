"""The transformer from one file: names, shapes and scales of GGUF and of scaled safetensors, on files made so."""

import sys

import pytest
import torch
from safetensors.torch import save_file
from wan_fakes import LOADED, TRANSFORMER, off, small_lora, small_transformer, write_checkpoint

from liveavatar.backends.wan.networks import bring_transformer, empty_transformer
from liveavatar.backends.wan.transformer_file import open_transformer_file
from liveavatar.types import InputError

CPU = torch.device("cpu")


def state():
    return {name: value.contiguous() for name, value in small_transformer().bfloat16().state_dict().items()}


def brought(path, lora=None):
    """The network from a file, all of it checked first."""
    shards = open_transformer_file(path, CPU)
    shards.check_files()
    shards.check_shapes(empty_transformer(TRANSFORMER))
    model = bring_transformer(TRANSFORMER, shards.read, CPU, torch.float32, lora)
    shards.close()
    return model


def matrices(weights):
    return {name for name, value in weights.items() if value.ndim == 2 and name.startswith("blocks.")}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_plain_safetensors(tmp_path, prefix):
    weights = state()
    save_file({prefix + name: value for name, value in weights.items()}, tmp_path / "s2v.safetensors")
    for name, value in brought(tmp_path / "s2v.safetensors").state_dict().items():
        assert torch.equal(value, weights[name].float())


@pytest.mark.parametrize("suffix", ["scale_weight", "weight_scale"])
def test_scaled_fp8_safetensors(tmp_path, suffix):
    weights = state()
    stored, expected = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}, {}
    for name, value in weights.items():
        stored[name], expected[name] = value, value.float()
        if name in matrices(weights):
            scale = value.float().abs().max() / 448
            stored[name] = (value.float() / scale).to(torch.float8_e4m3fn)
            stored[f"{name.removesuffix('.weight')}.{suffix}"] = scale
            expected[name] = stored[name].float() * scale
    save_file(stored, tmp_path / "scaled.safetensors")
    found = brought(tmp_path / "scaled.safetensors").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.fixture
def gguf():
    return pytest.importorskip("gguf", reason="GGUF files need the extra `gguf`")


def write_gguf(gguf, path, weights, kind, prefix=""):
    """As converters for ComfyUI write it: matrices rounded, the rest wide, five dimensions folded into fewer."""
    import numpy as np

    writer = gguf.GGUFWriter(path, "wan")
    for name, value in weights.items():
        array = value.float().numpy()
        if array.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{prefix}{name}", [int(side) for side in array.shape])
            array = array.reshape(array.shape[0], -1)
        if name in matrices(weights) and array.shape[1] % 32 == 0:
            writer.add_tensor(prefix + name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(prefix + name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("name", "far"), [("Q8_0", 0.01), ("Q4_0", 0.12), ("BF16", 0.0)])
def test_gguf(gguf, tmp_path, name, far):
    weights = state()
    model = brought(write_gguf(gguf, tmp_path / "s2v.gguf", weights, getattr(gguf.GGMLQuantizationType, name)))
    for key, value in model.state_dict().items():
        rounded = key in matrices(weights) and value.shape[1] % 32 == 0
        assert value.shape == weights[key].shape
        assert off(value, weights[key]) <= far if rounded else torch.equal(value, weights[key].float()), key
    assert model.patch_embedding.weight.ndim == 5


def test_gguf_of_256_numbers_a_block_is_widened_as_its_own_package_does(gguf, tmp_path):
    import numpy as np

    kind = gguf.GGMLQuantizationType.Q4_K
    blocks = np.random.default_rng(0).integers(0, 255, (6, 2, 144), dtype=np.uint8)
    blocks[:, :, :4] = np.array([0.02, 0.01], np.float16).view(np.uint8)                  # scales that are finite
    data = blocks.reshape(6, 288)
    writer = gguf.GGUFWriter(tmp_path / "k.gguf", "wan")
    writer.add_tensor("blocks.0.ffn.0.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = open_transformer_file(tmp_path / "k.gguf", CPU).read("blocks.0.ffn.0.weight", torch.Size((6, 512)))
    expected = torch.from_numpy(gguf.quants.dequantize(data, kind))
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


def test_it_takes_the_place_of_the_folders_transformer(gguf, tmp_path):
    import liveavatar

    folder = write_checkpoint(tmp_path / "Wan")
    for shard in folder.glob("diffusion_pytorch_model*"):
        shard.unlink()
    save_file(small_lora(small_transformer()), tmp_path / "lora.safetensors")
    file = write_gguf(gguf, tmp_path / "s2v.gguf", state(), gguf.GGMLQuantizationType.Q8_0)
    pipe = liveavatar.load("wan-s2v-14b", checkpoint_dir=folder, lora=tmp_path / "lora.safetensors", config=LOADED,
                           transformer_file=file, nf4=True, device="cpu")
    expected = bring_transformer(TRANSFORMER, open_transformer_file(file, CPU).read, CPU, torch.float32,
                                 small_lora(small_transformer()), nf4=True)
    assert all(torch.equal(value, expected.state_dict()[name])
               for name, value in pipe.backend.transformer.state_dict().items())
    assert len(pipe.backend.about()["fingerprint"]) == 16


def test_what_cannot_be_read_is_said(tmp_path):
    weights = state()
    for name, said in (("none.gguf", "does not exist"), ("odd.bin", "known are .gguf and .safetensors")):
        if name == "odd.bin":
            (tmp_path / name).write_bytes(b"odd")
        with pytest.raises(InputError, match=said):
            open_transformer_file(tmp_path / name, CPU)
    four_bits = weights | {"blocks.0.ffn.0.weight": torch.zeros(32, 12, dtype=torch.uint8)}
    save_file(four_bits, tmp_path / "nvfp4.safetensors")
    with pytest.raises(InputError, match="blocks.0.ffn.0.weight in nvfp4.safetensors is stored as U8"):
        brought(tmp_path / "nvfp4.safetensors")
    save_file({name: value for name, value in weights.items() if name != "blocks.1.ffn.2.weight"},
              tmp_path / "short.safetensors")
    with pytest.raises(InputError, match="holds no blocks.1.ffn.2.weight"):
        brought(tmp_path / "short.safetensors")
    save_file(weights | {"head.head.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"head.head.weight in other.safetensors is \(3, 3\), config.json asks for"):
        brought(tmp_path / "other.safetensors")


def test_a_damaged_gguf_is_said(gguf, tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    with pytest.raises(InputError, match="broken.gguf cannot be used"):
        open_transformer_file(tmp_path / "broken.gguf", CPU)


def test_without_the_package_the_remedy_is_said(tmp_path, monkeypatch):
    (tmp_path / "s2v.gguf").write_bytes(b"GGUF" + b"\0" * 200)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r'read with the package gguf: pip install -e "\.\[gguf\]"'):
        open_transformer_file(tmp_path / "s2v.gguf", CPU)
