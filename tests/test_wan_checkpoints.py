"""The released folders: whole ones are read, and whatever is missing or damaged is said in one sentence."""

import json
import pickle
import shutil

import pytest
import torch

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")

from wan_fakes import TEXT_NET, TRANSFORMER, VAE_NET, small_lora, small_transformer, small_vae, write_checkpoint

from liveavatar.backends.wan import checkpoints, preset
from liveavatar.backends.wan.checkpoints import open_checkpoint, read_lora, read_pickle
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.backends.wan.text import read_text_encoder
from liveavatar.backends.wan.vae import read_vae
from liveavatar.types import InputError

CPU = torch.device("cpu")
SECOND = "diffusion_pytorch_model-00002-of-00003.safetensors"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("ckpt") / "Wan2.2-S2V-14B")


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released, tmp_path / "ckpt")


def test_every_tensor_is_where_the_index_says(released):
    found = open_checkpoint(released)
    expected = small_transformer().bfloat16().state_dict()
    assert set(found.shards.where) == set(expected)
    assert all(torch.equal(found.shards.read(name, value.shape), value) for name, value in expected.items())
    assert len({path.name for path in found.shards.where.values()}) == 3


def test_the_released_configuration_becomes_ours(released):
    config = preset.transformer_config(open_checkpoint(released).config, "config.json")
    expected = {name: value for name, value in TRANSFORMER.items() if name not in ("audio_layers", "cache_frames")}
    assert config == expected | {"enable_framepack": True}
    with pytest.raises(InputError, match="adain_mode='other'; only 'attn_norm' is known"):
        preset.transformer_config({"adain_mode": "other"}, "config.json")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist; get it with: hf download Wan-AI/Wan2.2-S2V-14B"):
        open_checkpoint(tmp_path / "nowhere")


def test_everything_missing_is_named_at_once(copy):
    for name in (SECOND, checkpoints.VAE, f"{checkpoints.AUDIO}/model.safetensors"):
        (copy / name).unlink()
    with pytest.raises(InputError) as refused:
        open_checkpoint(copy)
    said = str(refused.value)
    assert all(name in said for name in (SECOND, "Wan2.1_VAE.pth", "wav2vec2-large-xlsr-53-english/model.safetensors"))
    assert "models_t5" not in said and "download=True" in said


@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors.index.json",
                                  "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json"])
def test_each_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(InputError, match=name):
        open_checkpoint(copy)


def test_a_shard_that_broke_off(copy):
    data = (copy / SECOND).read_bytes()
    (copy / SECOND).write_bytes(data[:len(data) // 2])
    with pytest.raises(InputError, match=f"{SECOND} cannot be used .*; the download may have broken off"):
        open_checkpoint(copy)


def test_a_shard_without_a_promised_tensor(copy):
    path = copy / checkpoints.INDEX
    index = json.loads(path.read_text())
    index["weight_map"]["blocks.9.ffn.0.weight"] = SECOND
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match="it lacks blocks.9.ffn.0.weight"):
        open_checkpoint(copy)


def test_an_index_cannot_lead_out_of_the_folder(copy):
    path = copy / checkpoints.INDEX
    path.write_text(json.dumps({"weight_map": {"head.modulation": "/etc/passwd"}}))
    with pytest.raises(InputError, match="lacks passwd"):
        open_checkpoint(copy)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}'])
def test_an_index_that_is_none(copy, text):
    (copy / checkpoints.INDEX).write_text(text)
    with pytest.raises(InputError, match="index.json cannot be used"):
        open_checkpoint(copy)


def test_git_left_a_pointer(copy):
    (copy / checkpoints.TEXT).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 11\n")
    with pytest.raises(InputError, match="only git's pointer .* git lfs pull"):
        open_checkpoint(copy)


def test_one_file_instead_of_shards(copy):
    from safetensors.torch import save_file

    for path in copy.glob("diffusion*"):
        path.unlink()
    save_file({name: value.contiguous() for name, value in small_transformer().state_dict().items()},
              copy / checkpoints.SINGLE)
    assert set(open_checkpoint(copy).shards.where) == set(small_transformer().state_dict())


def test_a_tensor_of_another_shape_or_name(released):
    shards = open_checkpoint(released).shards
    with pytest.raises(InputError, match=r"head.modulation in .* is \(1, 2, 24\), config.json asks for \(1, 2, 32\)"):
        shards.read("head.modulation", torch.Size((1, 2, 32)))
    with pytest.raises(InputError, match="holds no blocks.5.modulation"):
        shards.read("blocks.5.modulation", torch.Size((1,)))


class Trap:
    """A pickle that would run something."""

    def __reduce__(self):
        return (open, ("trapped", "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_a_pickle_that_would_run_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, "zip.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("zip.pth", "old.pth"):
        with pytest.raises(InputError, match="a pickle can run any code"):
            read_pickle(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_a_pickle_that_broke_off_or_holds_other_things(copy, tmp_path):
    path = copy / checkpoints.VAE
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="Wan2.1_VAE.pth"):
        read_pickle(path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="not a list of named tensors"):
        read_pickle(tmp_path / "list.pth")


def test_both_kinds_of_pth_files_are_read(tmp_path):
    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert all(torch.equal(read_pickle(tmp_path / name)["a"], state["a"]) for name in ("new.pth", "old.pth"))


def test_the_vae_comes_back_under_diffusers_names(released):
    vae = read_vae(released / checkpoints.VAE, VAE_NET, CPU, torch.float32)
    expected = small_vae().state_dict()
    assert len(expected) == 194                                    # as many tensors as the released file
    assert all(torch.equal(value, expected[name]) for name, value in vae.vae.state_dict().items())


def test_a_vae_or_text_encoder_that_lacks_tensors(copy):
    path = copy / checkpoints.VAE
    state = torch.load(path)
    state.pop("conv1.weight")
    torch.save(state, path)
    with pytest.raises(InputError, match=r"it lacks 1 tensors \(quant_conv.weight\) and has 0 unknown"):
        read_vae(path, VAE_NET, CPU, torch.float32)
    wider = preset.UMT5_XXL | TEXT_NET | {"d_ff": 64}
    with pytest.raises(InputError, match=r"wi_0.weight is \(32, 16\), expected \(64, 16\)"):
        read_text_encoder(copy / checkpoints.TEXT, copy / checkpoints.TOKENIZER, wider, torch.float32,
                          OffloadPolicy(CPU))


def test_a_lora_by_file_and_by_folder_and_by_a_name_on_the_hub(tmp_path):
    from safetensors.torch import save_file

    state = small_lora(small_transformer())
    save_file(state, tmp_path / "liveavatar.safetensors")
    for place in (tmp_path, tmp_path / "liveavatar.safetensors"):
        assert set(read_lora(place)) == set(state)
    with pytest.raises(InputError, match=r"a name on the Hub is not looked up unless asked.*download=True"):
        read_lora("Quark-Vision/Live-Avatar")


def test_nothing_is_downloaded_unless_asked(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *names, **places: asked.append((names, places)))
    checkpoints.download(tmp_path / "base", tmp_path / "lora")
    assert asked == [(("Wan-AI/Wan2.2-S2V-14B",), {"local_dir": tmp_path / "base"}),
                     (("Quark-Vision/Live-Avatar",), {"local_dir": tmp_path / "lora",
                                                      "allow_patterns": ["liveavatar.safetensors"]})]


def test_the_fingerprint_follows_the_files(released, copy):
    before = open_checkpoint(copy).fingerprint
    assert before == open_checkpoint(released).fingerprint
    state = torch.load(copy / checkpoints.VAE)
    torch.save({name: value + 1 for name, value in state.items()}, copy / checkpoints.VAE)
    assert open_checkpoint(copy).fingerprint != before
