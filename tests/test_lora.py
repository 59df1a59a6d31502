"""Adapters: training one, naming it as released, merging it."""

import pytest
import torch
from torch import nn

from liveavatar.lora import Adapter, merge_lora, targets
from liveavatar.types import InputError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict({name: nn.Linear(6, 6) for name in "qkvo"})
        self.ffn = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = x + self.attn["o"](self.attn["v"](x) + self.attn["q"](x) * self.attn["k"](x))
        return self.head(x + self.ffn(x))


def trained_pair():
    """A net, the same net changed by an adapter, and that adapter."""
    torch.manual_seed(0)
    base, changed = Net(), Net()
    changed.load_state_dict(base.state_dict())
    adapter = Adapter(changed, rank=2, alpha=4.0)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3)
    adapter.write()
    return base, changed, adapter


def test_touches_attention_and_mlp_but_not_the_head():
    assert sorted(targets(Net())) == ["attn.k", "attn.o", "attn.q", "attn.v", "ffn.0", "ffn.2"]


def test_a_fresh_adapter_changes_nothing():
    net, x = Net(), torch.randn(3, 6)
    before = net(x)
    Adapter(net, rank=2, alpha=4.0).write()
    torch.testing.assert_close(net(x), before)


def test_gradients_of_an_adapter_are_those_of_its_two_factors():
    base, changed, adapter = trained_pair()
    x = torch.randn(3, 6)
    changed(x).square().sum().backward()
    adapter.collect()
    a, b = (side[0].detach().clone().requires_grad_() for side in (adapter.A, adapter.B))
    weights = {name: parameter.detach() for name, parameter in changed.named_parameters()}
    weights["attn.q.weight"] = base.attn["q"].weight.detach() + 4.0 / 2 * (b @ a)
    torch.func.functional_call(changed, weights, x).square().sum().backward()
    assert adapter.names[0] == "attn.q"
    torch.testing.assert_close(adapter.A[0].grad, a.grad)
    torch.testing.assert_close(adapter.B[0].grad, b.grad)


@pytest.mark.parametrize("spell", [
    lambda key: key,
    lambda key: key.removeprefix("base_model.model."),
    lambda key: key.replace(".default", ""),
    lambda key: key.replace("base_model.model.", "diffusion_model.").replace(".default", ""),
    lambda key: key.replace("lora_A.default", "lora_down").replace("lora_B.default", "lora_up"),
    lambda key: key.replace("base_model.model.", "transformer.").replace(".default", ""),
    lambda key: key.replace("base_model.model.", "model.diffusion_model.").replace(".default", ""),
    lambda key: kohya(key),
])
def test_merged_equals_adapted_in_every_known_spelling(spell):
    base, changed, adapter = trained_pair()
    assert merge_lora(base, {spell(key): value for key, value in adapter.released_state().items()}, alpha=4.0) == 6
    x = torch.randn(3, 6)
    torch.testing.assert_close(base(x), changed(x))


def kohya(key):
    """Kohya's scripts write lora_unet_, _ for every dot of a module, and down and up for A and B."""
    module, _, rest = key.removeprefix("base_model.model.").partition(".lora_")
    return f"lora_unet_{module.replace('.', '_')}.lora_{'down' if rest[0] == 'A' else 'up'}.weight"


@pytest.mark.parametrize("prefix", ["base_model.model.", "", "transformer.", "lora_unet_"])
def test_a_strength_inside_the_file_counts_more_than_the_usual_one(prefix):
    base, changed, adapter = trained_pair()
    state = {kohya(key) if prefix == "lora_unet_" else key.replace("base_model.model.", prefix): value
             for key, value in adapter.released_state().items()}
    names = [name.replace(".", "_") if prefix == "lora_unet_" else name for name in adapter.names]
    merge_lora(base, state | {f"{prefix}{name}.alpha": torch.tensor(4.0) for name in names}, alpha=64.0)
    x = torch.randn(3, 6)
    torch.testing.assert_close(base(x), changed(x))


def test_an_adapter_that_half_fits_is_refused_and_changes_nothing():
    base, _, adapter = trained_pair()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    state = adapter.released_state()
    state.pop("base_model.model.attn.q.lora_B.default.weight")
    with pytest.raises(InputError, match=r"matches 5 of 6 modules; first missing: \['attn.q'\]"):
        merge_lora(base, state, alpha=4.0)
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())


def test_an_adapter_for_another_model_is_refused():
    base, _, adapter = trained_pair()
    state = adapter.released_state() | {"base_model.model.stranger.q.lora_A.default.weight": torch.zeros(2, 6)}
    with pytest.raises(InputError, match="first unknown"):
        merge_lora(base, state, alpha=4.0)
