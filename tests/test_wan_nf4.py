"""Linear layers in 4 bits: what is stored, what is computed, how they are loaded and planned."""

import math
import weakref

import pytest
import torch
from fakes import face, tone
from test_wan_precision import split_caches_with, steps_with
from torch import nn
from wan_fakes import TRANSFORMER, off, small_lora, small_transformer, traced_graphs

from liveavatar.backends.wan.backend import WanBackend
from liveavatar.backends.wan.networks import bring_transformer, empty_transformer, random_source
from liveavatar.backends.wan.nf4 import NF4, Nf4Linear, dequantise_nf4, quantise_nf4, value_pairs
from liveavatar.backends.wan.precision import fp8_targets
from liveavatar.backends.wan.preset import LORA_ALPHA
from liveavatar.config import GenerationConfig
from liveavatar.lora import merge_lora
from liveavatar.types import InputError
from liveavatar.vram.advice import cheapest, settings_to_change
from liveavatar.vram.plan import plan
from liveavatar.vram.shapes import weights_of

CPU = torch.device("cpu")
PAIRS = value_pairs(torch.float32, CPU)


def there_and_back(weight):
    return dequantise_nf4(*quantise_nf4(weight), PAIRS)


def source_of(model):
    state = model.state_dict()
    return lambda name, shape: state[name].clone()


def test_values_of_the_format_come_back_exactly():
    weight = torch.tensor(NF4).repeat(3, 8)[:, torch.randperm(128)] * torch.tensor([[1.0], [0.25], [8.0]])
    packed, scale = quantise_nf4(weight)
    assert packed.shape == (3, 64) and packed.dtype == torch.uint8
    assert scale.shape == (3, 2) and scale.dtype == torch.bfloat16
    torch.testing.assert_close(dequantise_nf4(packed, scale, PAIRS), weight)


def test_the_error_is_below_that_of_the_largest_value_as_scale():
    torch.manual_seed(0)
    weight = torch.randn(64, 512)
    groups = weight.unflatten(1, (-1, 64))
    largest = groups.abs().amax(2, keepdim=True)
    values = torch.tensor(NF4)
    plain = values[(groups[..., None] / largest[..., None] - values).abs().argmin(-1)] * largest
    assert off(there_and_back(weight), weight) < 0.95 * off(plain.flatten(1), weight)
    assert off(there_and_back(weight), weight) == pytest.approx(0.086, abs=0.002)


def test_a_large_value_coarsens_its_own_group_only():
    weight = torch.randn(4, 256)
    spoilt = weight.clone()
    spoilt[:, 70] = 50.0
    assert torch.equal(there_and_back(weight)[:, 128:], there_and_back(spoilt)[:, 128:])
    assert not torch.equal(there_and_back(weight)[:, 64:128], there_and_back(spoilt)[:, 64:128])


def test_zeros_stay_zeros_and_rows_may_be_short():
    assert torch.equal(there_and_back(torch.zeros(3, 64)), torch.zeros(3, 64))
    assert quantise_nf4(torch.randn(5, 24))[1].shape == (5, 3)               # groups of 8


def test_pieces_of_rows_make_no_difference(monkeypatch):
    weight = torch.randn(40, 64)
    whole = quantise_nf4(weight)
    monkeypatch.setattr("liveavatar.backends.wan.nf4.PIECE", 300)
    assert all(torch.equal(*pair) for pair in zip(quantise_nf4(weight), whole, strict=True))
    assert torch.equal(dequantise_nf4(*whole, PAIRS), there_and_back(weight))


def test_a_layer_multiplies_what_it_stores():
    linear = nn.Linear(128, 48)
    layer, x = Nf4Linear(linear), torch.randn(2, 5, 128)
    stored = dequantise_nf4(layer.packed, layer.scale, PAIRS)
    torch.testing.assert_close(layer(x), x @ stored.T + linear.bias)
    assert layer.weight.shape == (48, 128) and layer.weight.dtype == torch.float32
    assert sum(one.nbytes for one in (layer.packed, layer.scale)) == 48 * 128 * 4.25 / 8
    assert Nf4Linear(linear.bfloat16())(x.bfloat16()).dtype == torch.bfloat16


def test_the_adapter_is_merged_before_rounding():
    model = small_transformer()
    adapter = small_lora(model)
    brought = bring_transformer(TRANSFORMER, source_of(model), CPU, torch.float32, adapter, nf4=True)
    merge_lora(model, adapter, LORA_ALPHA)
    rounded = [name for name, module in brought.named_modules() if isinstance(module, Nf4Linear)]
    assert sorted(rounded) == sorted(fp8_targets(model))
    for name in rounded:
        layer, expected = brought.get_submodule(name), quantise_nf4(model.get_submodule(name).weight.detach())
        assert torch.equal(layer.packed, expected[0]) and torch.equal(layer.scale, expected[1])
    assert torch.equal(brought.text_embedding[0].weight, model.text_embedding[0].weight)


def test_wide_weights_are_gone_before_the_next_layer_is_read():
    """One layer at most is held as it was read, whatever the number of layers."""
    plain, wide, most = random_source(CPU), [], []

    def source(name, shape):
        weight = plain(name, shape)
        if name.startswith("blocks.") and len(shape) == 2:
            most.append(sum(one() is not None for one in wide))
            wide.append(weakref.ref(weight))
        return weight

    bring_transformer(TRANSFORMER, source, CPU, torch.float32, nf4=True)
    assert len(wide) > 15 and max(most) <= 1


def test_compiled_layers_compute_the_same_and_share_their_graphs(monkeypatch):
    graphs = traced_graphs(monkeypatch)
    model = bring_transformer(TRANSFORMER, random_source(CPU), CPU, torch.float32, nf4=True)
    plain = steps_with(model, split_caches_with())[0]
    torch._dynamo.reset()
    WanBackend(model, None, None, None, {}).compile()
    assert torch.equal(steps_with(model, split_caches_with())[0], plain) and len(graphs) == 5   # as without rounding
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:random weights")
def test_it_goes_all_the_way_and_says_so():
    pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
    import liveavatar

    options = {"weights": "random", "config": "tiny", "conditioning": "multi-gpu", "device": "cpu"}
    plain, four = (liveavatar.load("wan-s2v-14b", **options, nf4=nf4) for nf4 in (False, True))
    config = GenerationConfig(size="64*64", sample_steps=2)
    told = plain.condition(tone(0.4), face(80, 80), "hello", config)
    steps = [list(pipe.steps(told, config=config)) for pipe in (plain, four)]
    assert 0 < off(steps[1][-1].x, steps[0][-1].x) < 0.1
    assert four.backend.about()["nf4"] and four.backend.about()["options"]["nf4"]
    with pytest.raises(InputError, match="fp8 and nf4 are two ways to round the same weights"):
        liveavatar.load("wan-s2v-14b", **options, fp8=True, nf4=True)


# ------------------------------------------------------------------------------------------------ the plan

def test_the_plan_counts_what_a_network_in_4_bits_takes():
    network = empty_transformer({})
    linears = fp8_targets(network).values()
    expected = 2 * sum(one.numel() for one in network.parameters())
    expected += sum(int(one.weight.numel() * 4.25 / 8) - 2 * one.weight.numel() for one in linears)
    weights = weights_of("wan-s2v-14b", "nf4")
    assert weights.total == expected == pytest.approx(8.55 * 2**30, rel=1e-3)
    assert weights.widened == 2 * 5120 * 13_824 and math.gcd(5120, 13_824) % 64 == 0
    assert weights_of("wan-s2v-14b", "fp8").widened == weights_of("wan-s2v-14b", "bf16").widened == 0


def test_a_card_without_fp8_is_advised_4_bits():
    first, = cheapest(plan(size="384*256", gpu="RTX 3090"), others=False)
    assert first.settings.weights == "nf4" and "nf4 weights" in first.description and first.verdict == "fits"


def test_4_bits_and_8_bits_are_never_advised_together():
    sets = settings_to_change(plan(size="384*256", gpu="RTX 4090"))
    assert ("nf4",) in sets and ("weights",) in sets
    assert not any({"nf4", "weights"} <= set(chosen) for chosen in sets)
    assert sets.index(("caches", "weights")) < sets.index(("nf4",))           # what rounds less comes first


def test_cards_of_16_gb_hold_the_large_size():
    made = plan(size="704*384", gpu="16 GB", weights="nf4", caches="fp8", offload_kv_cache=True)
    assert made.verdict != "does not fit" and made.peak.bytes < 15 * 2**30
