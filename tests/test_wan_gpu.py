"""What only a GPU can show of wan-s2v-14b, at tiny size: fp8 products, rings on a second stream, encoders that rest.

    python -m pytest tests/test_wan_gpu.py
"""

import pytest
import torch
from fakes import face, tone
from torch import nn

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
from wan_fakes import LOADED, SMALL, TRANSFORMER, write_checkpoint

import liveavatar
from liveavatar.backends.wan.precision import Fp8Linear, multiplies_fp8
from liveavatar.config import GenerationConfig
from liveavatar.types import Block

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

CONFIG = GenerationConfig(size="64*64", sample_steps=2)
WIDE = SMALL | {"transformer": TRANSFORMER | dict(dim=64, ffn_dim=128)}          # widths that fp8 units take
DEVICE = torch.device("cuda")


@pytest.mark.parametrize("tokens", [1, 15, 512])
def test_fp8_units_multiply_as_the_emulation_does(tokens):
    if not multiplies_fp8(DEVICE):
        pytest.skip("this GPU has no fp8 units (sm_89)")
    torch.manual_seed(0)
    layer = Fp8Linear(nn.Linear(64, 128).bfloat16())
    x = torch.randn(1, tokens, 64, dtype=torch.bfloat16)
    torch.testing.assert_close(layer.to(DEVICE)(x.to(DEVICE)).cpu(), layer.cpu()(x), rtol=2e-2, atol=2e-2)


def load(**options):
    return liveavatar.load("wan-s2v-14b", weights="random", config=WIDE, conditioning="multi-gpu", **options)


@pytest.fixture(scope="module")
def pipe():
    return load()


@pytest.fixture(scope="module")
def told(pipe):
    return pipe.condition(tone(3.0), face(80, 80), "hello", CONFIG)


def latents(pipe, told):
    return torch.stack([step.x.clone() for step in pipe.steps(told, config=CONFIG)])


def test_rings_in_main_memory_make_the_same_video(pipe, told):
    """Seven blocks: the ring of two goes round three times."""
    assert torch.equal(latents(load(offload_kv_cache=True), told), latents(pipe, told))


def test_encoders_rest_in_main_memory_and_those_that_stay_say_the_same(pipe, told):
    backend = pipe.backend
    networks = (backend.text.network, backend.audio.network)
    assert {weight.device.type for network in networks for weight in network.parameters()} == {"cpu"}
    stays = load(offload_model=False)
    stays.backend.text.network.load_state_dict(backend.text.network.state_dict())       # drawn on another device
    assert torch.equal(stays.read("hello"), pipe.read("hello"))
    assert {weight.device.type for weight in stays.backend.text.network.parameters()} == {"cuda"}


@pytest.mark.parametrize("options", [{}, {"fp8": True}, {"compile": True}, {"fp8": True, "compile": True}])
def test_every_way_ends_in_pictures(options, told):
    blocks = [event for event in load(**options).events(told, config=CONFIG) if isinstance(event, Block)]
    assert sum(len(block.frames) for block in blocks) == 75
    assert all(block.latents.isfinite().all() for block in blocks)


@pytest.mark.filterwarnings("ignore:no LoRA")
def test_the_released_folders_end_in_pictures(tmp_path):
    pipe = liveavatar.load("wan-s2v-14b", checkpoint_dir=write_checkpoint(tmp_path / "ckpt"), config=LOADED)
    blocks = [event for event in pipe.events(tone(0.9), face(80, 80), "a dwarf laughs", CONFIG)
              if isinstance(event, Block)]
    assert [len(block.frames) for block in blocks] == [12, 11]


def test_compiled_layers_compute_what_plain_ones_do(pipe, told):
    plain, compiled = latents(pipe, told).float(), latents(load(compile=True), told).float()
    assert (plain - compiled).norm() / plain.norm() < 0.05
