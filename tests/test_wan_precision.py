"""Weights of wan-s2v-14b on their way to the device: the full network's counts, adapters merged, fp8, rings at rest."""

import shutil
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from wan_fakes import TRANSFORMER, off, small_lora, small_transformer, traced_graphs

from liveavatar.backends.wan import fp8_attention, networks, preset, recorded
from liveavatar.backends.wan.backend import WanBackend
from liveavatar.backends.wan.fp8_attention import Scales, attend_plainly, fp8_rings, query_scales, write_values
from liveavatar.backends.wan.networks import bring_transformer, empty_transformer, random_source
from liveavatar.backends.wan.precision import FP8, Fp8Linear, RoundedGelu, fp8_targets, quantise_rows
from liveavatar.backends.wan.split_cache import compile_once, dequantize, quantize, split_caches
from liveavatar.cache import WIDE, ConditionCache, widest_views
from liveavatar.lora import merge_lora, targets
from liveavatar.sampler import denoise_block, model_levels, released_schedule
from liveavatar.transformer import Context, apply_rope
from liveavatar.types import InputError

CPU = torch.device("cpu")


def source_of(model):
    state = model.state_dict()
    return lambda name, shape: state[name].clone()


@pytest.fixture(scope="module")
def full():
    return empty_transformer({})                                   # on the meta device: shapes, no numbers


def test_the_full_network_has_the_released_counts(full):
    assert sum(parameter.numel() for parameter in full.parameters()) == preset.PARAMETERS == 16_295_755_609
    assert len(full.state_dict()) == 1260
    assert len(targets(full)) == preset.LORA_MODULES == 448
    assert len(fp8_targets(full)) == preset.FP8_LINEARS == 460


def test_the_full_adapter_has_the_released_size_and_less_is_refused(full):
    adapter = {}
    for name, linear in targets(full).items():
        adapter[f"base_model.model.{name}.lora_A.default.weight"] = torch.empty(128, linear.in_features, device="meta")
        adapter[f"base_model.model.{name}.lora_B.default.weight"] = torch.empty(linear.out_features, 128, device="meta")
    assert sum(side.numel() for side in adapter.values()) == 676_331_520
    assert merge_lora(full, adapter, preset.LORA_ALPHA) == 448
    adapter.pop("base_model.model.blocks.7.ffn.2.lora_B.default.weight")
    with pytest.raises(InputError, match=r"447 of 448 modules; first missing: \['blocks.7.ffn.2'\]"):
        merge_lora(full, adapter, preset.LORA_ALPHA)


def test_weight_by_weight_gives_the_same_as_loading_and_merging():
    model = small_transformer()
    adapter = small_lora(model)
    brought = bring_transformer(TRANSFORMER, source_of(model), CPU, torch.float32, adapter)
    merge_lora(model, adapter, preset.LORA_ALPHA)
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in brought.state_dict().items())


def test_an_adapter_of_another_width_is_refused_before_anything_is_read():
    adapter = small_lora(small_transformer())
    adapter["base_model.model.blocks.0.ffn.0.lora_B.default.weight"] = torch.zeros(40, 4)
    with pytest.raises(InputError, match=r"blocks.0.ffn.0 changes a weight of \(40, 24\), the model's is \(32, 24\)"):
        bring_transformer(TRANSFORMER, lambda *_: pytest.fail("read"), CPU, torch.float32, adapter)


def test_random_weights_depend_on_their_names_alone():
    source, shape = random_source(CPU), torch.Size((4, 5))
    one, other = source("blocks.0.ffn.0.weight", shape), source("blocks.0.ffn.2.weight", shape)
    assert torch.equal(one, source("blocks.0.ffn.0.weight", shape)) and not torch.equal(one, other)
    assert source("blocks.0.norm3.weight", torch.Size((3,))).tolist() == [1, 1, 1]


def test_rows_are_rounded_to_one_byte_with_at_most_a_sixteenth_of_error():
    x = torch.randn(8, 64) * torch.logspace(-3, 3, 8)[:, None]     # rows of very different size
    rows, scale = quantise_rows(x)
    assert rows.dtype == FP8 and scale.shape == (8, 1)
    off = (rows.float() * scale - x).abs()
    assert (off <= x.abs() / 16 + scale * 2**-9).all()             # three bits behind the leading one


def test_an_fp8_layer_multiplies_what_it_stores():
    torch.manual_seed(0)
    linear = nn.Linear(32, 48)
    layer = Fp8Linear(linear)
    x = torch.randn(2, 5, 32)
    tokens, scale = quantise_rows(x.view(-1, 32))
    exact = (tokens.float() * scale) @ (layer.rows.float() * layer.scale).T + linear.bias
    torch.testing.assert_close(layer(x), exact.view(2, 5, 48), rtol=1e-5, atol=1e-5)
    assert (layer(x) - linear(x)).norm() / linear(x).norm() < 0.05
    assert layer.weight.dtype == torch.float32 and layer.weight.shape == (48, 32)


def test_zeros_stay_zeros_in_fp8():
    layer = Fp8Linear(nn.Linear(16, 16, bias=True))
    assert torch.equal(layer(torch.zeros(3, 16)), layer.bias.expand(3, -1))


def steps_with(model, caches_of, blocks=3):
    """Three blocks of two steps with given rings: the ring of two blocks goes round."""
    torch.manual_seed(6)
    text = model.encode_text(torch.randn(1, 5, 16))
    condition = model.prefill(torch.randn(1, 16, 1, 8, 8), torch.randn(1, 16, 19, 8, 8), text)
    schedule, caches, finished = released_schedule(2), caches_of(model, condition, 2), []
    levels = model_levels(model, schedule, "cpu")
    for block in range(blocks):
        context = Context(text, model.encode_audio(torch.randn(1, 3, 16, 9 + 12)))
        steps = list(denoise_block(model, torch.randn(1, 16, 3, 8, 8), context, condition, caches, schedule,
                                   levels=levels, block=block))
        caches = tuple(step.cache for step in steps)
        finished.append(steps[-1].x)
    return torch.cat(finished, 2), caches


def on_the_device(model, condition, steps):
    return tuple(model.new_cache(condition) for _ in range(steps))


def split_caches_with(**options):
    return lambda model, condition, steps: split_caches(condition, model.config.cache_frames, steps, **options)


@pytest.mark.parametrize("on_host", [False, True])
def test_rings_without_the_condition_in_them_change_nothing(on_host):
    model = small_transformer().eval()
    (here, near), (there, far) = steps_with(model, on_the_device), steps_with(model, split_caches_with(on_host=on_host))
    assert torch.equal(here, there)
    for ours, theirs in zip(near, far, strict=True):
        assert (ours.end, ours.held, ours.slot) == (theirs.end, theirs.held, theirs.slot)
        assert torch.equal(ours.k[:, :, :, ours.condition_tokens:], theirs.k)
    assert far[0].staging is far[1].staging                              # two places on the device, however many steps


def test_rings_in_8_bits_take_half_and_change_the_picture_a_little():
    model = small_transformer().eval()
    exact, wide = steps_with(model, split_caches_with())
    rounded, narrow = steps_with(model, split_caches_with(fp8=True))
    assert narrow[0].bytes * 4 == wide[0].bytes and narrow[0].k.dtype == FP8         # a quarter of float32
    kept = narrow[1].k.float() * narrow[1].scales.k.float()
    assert (kept - wide[1].k).norm() / wide[1].k.norm() < 0.05
    assert 0 < (exact - rounded).norm() / exact.norm() < 0.01                       # 7e-4 when this was written
    again, _ = steps_with(model, split_caches_with(fp8=True, on_host=True))
    assert torch.equal(again, rounded)


def test_stretches_of_heads_are_copied_as_they_are_however_they_lie():
    for dtype, width, wide in ((torch.bfloat16, 16, True), (torch.float32, 12, True), (torch.bfloat16, 12, False),
                               (FP8, 16, True)):
        origin = torch.randn(1, 7, 3, width).to(dtype).transpose(1, 2)     # (B, heads, M, head_dim), transposed
        for into in (torch.zeros(1, 3, 20, width).to(dtype), torch.zeros(1, 3, 20, width + 1).to(dtype)[..., 1:]):
            with torch.inference_mode():
                to, which = widest_views(into[:, :, 5:12], origin)
                to.copy_(which)
            assert (to.dtype == WIDE) == (wide and into.is_contiguous())
            assert torch.equal(into[:, :, 5:12].float(), origin.float())
            assert not into[:, :, :5].float().any() and not into[:, :, 12:].float().any()


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler to stand in for the GPU's")
@torch.inference_mode()
def test_compiled_copies_write_in_place_what_plain_ones_do_for_stretches_of_any_length():
    scale, k = torch.tensor([0.5, 4.0]).bfloat16().view(1, 2, 1, 1), torch.randn(1, 2, 40, 16).bfloat16()
    made = []
    for shrink, grow in ((quantize, dequantize), (compile_once(quantize), compile_once(dequantize))):
        stored, wide = torch.zeros(1, 2, 40, 16).to(FP8), torch.zeros(1, 2, 50, 16).bfloat16()
        for begin, end in ((0, 10), (10, 40)):
            shrink(stored[:, :, begin:end], k[:, :, begin:end], scale)
            grow(wide[:, :, 10 + begin:10 + end], stored[:, :, begin:end], scale)
        made.append(wide)
    assert torch.equal(*made) and off(made[0][:, :, 10:], k) < 0.05


@torch.inference_mode()
def test_five_graphs_serve_all_layers_and_blocks_and_a_few_more_rings_in_8_bits(monkeypatch):
    """They are only traced here. The ring goes round, and no block asks for another graph."""
    import torch._dynamo

    graphs = traced_graphs(monkeypatch)
    model = small_transformer().eval()
    layouts = ((5, {}), (7, {"fp8": True}))
    plain = [steps_with(model, split_caches_with(**options), 5)[0] for _, options in layouts]
    own, rounded = steps_with(model, on_the_device, 5)[0], steps_with(model, in_8_bits, 5)[0]
    torch._dynamo.reset()
    compile_once.cache_clear()
    fp8_attention.compile_once.cache_clear()
    WanBackend(model, None, None, None, {}).compile()
    for (count, options), expected in zip(layouts, plain, strict=True):
        assert torch.equal(steps_with(model, split_caches_with(**options, compiled=True), 5)[0], expected)
        assert len(graphs) == count
    assert torch.equal(steps_with(model, on_the_device, 5)[0], own) and len(graphs) == 7     # a condition in each ring
    made = steps_with(model, lambda *told: in_8_bits(*told, compiled=True), 5)[0]             # all in 8 bits
    assert torch.equal(made, rounded) and len(graphs) == 13
    torch._dynamo.reset()
    compile_once.cache_clear()
    fp8_attention.compile_once.cache_clear()


def in_8_bits(model, condition, steps, compiled=False):
    return fp8_rings(condition, query_scales(model), model.config.cache_frames, steps, compiled)


def test_attention_in_8_bits_changes_the_picture_a_little():
    model = small_transformer().eval()
    exact, wide = steps_with(model, on_the_device, 5)
    made, rings = steps_with(model, in_8_bits, 5)
    assert 0 < off(made, exact) < 0.01                                              # 3e-4 when this was written
    assert all(side.dtype == FP8 for side in (rings[0].k, rings[0].v)) and rings[0].end == wide[0].end
    kept = rings[1].v[..., :wide[1].v.shape[3]].transpose(-1, -2).float() * rings[1].scales.v.float()
    assert off(rings[1].k.float() * rings[1].scales.k.float(), wide[1].k) < 0.05
    assert off(kept, wide[1].v) < 0.05


def test_a_condition_in_8_bits_is_laid_once_and_anew_when_it_is_another():
    model = small_transformer().eval()
    _, (ring, _) = steps_with(model, in_8_bits)
    assert ring.written.condition is not None and ring.clone().written is not ring.written
    torch.manual_seed(8)
    text = model.encode_text(torch.randn(1, 5, 16))
    another = model.prefill(torch.randn(1, 16, 1, 8, 8), torch.randn(1, 16, 19, 8, 8), text)
    context, noise = Context(text, model.encode_audio(torch.randn(1, 3, 16, 9 + 12))), torch.randn(1, 16, 3, 8, 8)
    level, before = model.modulate(torch.full((1, 1), 600.0)), ring.clone()
    with torch.inference_mode():
        velocity, _ = model(noise, level, context, another, ring)
        assert ring.written.condition is another and before.written.condition is not another
        before.written.condition = None                                                # all of it is laid again
        assert torch.equal(model(noise, level, context, another, before)[0], velocity)
        assert torch.equal(model(noise, level, context, another, ring)[0], velocity)


@torch.no_grad()
def test_no_query_is_too_large_for_8_bits_and_zeros_stay_zeros():
    model = small_transformer().eval()
    _, (ring, _) = steps_with(model, in_8_bits, 1)
    q, k, v = torch.randn(3, 1, 2, 48, 12)
    attend = model.blocks[0].self_attn
    q[:, :, 4] = attend.split(attend.norm_q(torch.eye(24)[3].view(1, 1, 24)))[:, :, 0]     # a token in one number
    q[:, :, 5] = 0
    turn = model.rope_of_frames(torch.arange(3), (4, 4))
    block = ring.part(0, 40, 88)
    asked = fp8_attention.write_block(q, k, v, turn, block)
    write_values(block.v, asked.v, block.scales.v)
    assert off(asked.q[:, :, 4].float() * block.scales.q[0], apply_rope(q, turn)[:, :, 4]) < 0.05
    assert not asked.q[:, :, 5].float().any()
    alone = attend_plainly(asked.q, *block, torch.float32)                          # of these 48 tokens alone
    assert off(alone[:, :, 5], v.mean(2)) < 0.05                                    # who asks nothing sees the mean


def test_values_may_lie_in_the_order_of_the_products():
    q, k, v = torch.randn(3, 1, 2, 48, 12)
    one = torch.ones(1, 2, 1, 1)
    seen = []
    for shuffled in (False, True):
        columns = torch.zeros(1, 2, 12, 48, dtype=FP8)
        write_values(columns, v, one, shuffled)
        seen.append(attend_plainly(q.to(FP8), k.to(FP8), columns, Scales(one, one, one), shuffled, torch.float32))
        order = columns[0, 0, 0, 16:32].float()
    assert torch.equal(*seen)
    assert torch.equal(order, v[0, 0, 16:32, 0][[0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]].to(FP8).float())


def test_a_step_that_broke_off_leaves_nothing_in_the_staging_buffer():
    model = small_transformer().eval()
    _, rings = steps_with(model, split_caches_with())
    ring, staging = rings[1], rings[1].staging
    staging.contents = [(id(ring.k), 0), (id(ring.k), 1)]     # as if it had stopped just before it was attended to
    staging.k.fill_(float("nan"))
    place = ring.open(0, 3 * ring.frame_tokens)
    for side in (*place.condition, *place.block):
        side.zero_()
    assert place.visible.k.isfinite().all()


class Repeated:
    """Stands in for a GPU's graph: it can only be told the tensors it was recorded with."""

    def __init__(self, function, arguments, pool, warm_up):
        self.function, self.shapes = function, [argument.shape for argument in arguments]

    def __call__(self, *arguments):
        assert [argument.shape for argument in arguments] == self.shapes
        return self.function(*arguments)


def test_once_the_ring_is_full_steps_are_repeated(monkeypatch):
    monkeypatch.setattr(recorded, "Graph", Repeated)
    monkeypatch.setattr(recorded, "can_record", lambda x, cache: cache.end >= cache.capacity)
    monkeypatch.setattr(recorded.RecordedSteps, "_pool_of", lambda *_: None)
    model = small_transformer().eval()
    plain, _ = steps_with(model, on_the_device, blocks=7)
    model.run_layers = steps = recorded.RecordedSteps(model.run_layers)
    repeated, caches = steps_with(model, on_the_device, blocks=7)
    assert torch.equal(plain, repeated)
    graphs = [steps._records[cache.k].graphs for cache in caches]
    assert [[key[:2] for key in one] for one in graphs] == 2 * [[(0, False), (6 // 2, False)]]
    another = ConditionCache(*(side.clone() for side in (caches[0].k, caches[0].v)), 16, (4, 4))
    assert not steps._records_of(caches[0], (None, another)).graphs               # of another condition: none


def test_fp8_changes_the_picture_a_little_and_only_where_it_may():
    model = small_transformer().eval()
    small = bring_transformer(TRANSFORMER, source_of(model), CPU, torch.float32, fp8=True)
    assert sum(isinstance(module, Fp8Linear) for module in small.modules()) == 2 * 10 + 4 + 1
    assert all(isinstance(layer.ffn[1], RoundedGelu) for layer in small.blocks)
    assert isinstance(small.head.head, nn.Linear) and isinstance(small.time_projection[1], nn.Linear)
    exact, rounded = steps_with(model, on_the_device)[0], steps_with(small, on_the_device)[0]
    error = (exact - rounded).norm() / exact.norm()
    assert 0 < error < 0.05


def test_a_wide_weight_is_gone_before_the_next_one_is_read(monkeypatch):
    """Or a card that holds the network in 8 bits would have to hold it in 16 first."""
    model, wide = small_transformer(), []
    state = model.state_dict()

    class Watched(Fp8Linear):
        def __init__(self, linear, **options):
            super().__init__(linear, **options)
            wide.append(weakref.ref(linear))

    def source(name, shape):
        assert not [linear for linear in wide if linear() is not None]
        return state[name].clone()

    monkeypatch.setattr(networks, "Fp8Linear", Watched)
    bring_transformer(TRANSFORMER, source, CPU, torch.float32, fp8=True)
    assert len(wide) == 2 * 10 + 4 + 1


def test_the_full_network_goes_through_a_block_at_704_by_384_in_shapes_alone(monkeypatch):
    """On the meta device nothing is computed, but every shape must fit every other."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())     # it does not know the meta device
    meta = torch.device("meta")
    model = bring_transformer({}, lambda name, shape: torch.empty(shape, device=meta), meta, torch.bfloat16)
    h, w = 384 // 8, 704 // 8
    with torch.inference_mode():
        text = model.encode_text(torch.empty(1, 100, 4096, device=meta))
        motion = torch.empty(1, 16, 19, h, w, device=meta)
        condition = model.prefill(torch.empty(1, 16, 1, h, w, device=meta), motion, text)
        ring = model.new_cache(condition)
        context = Context(text, model.encode_audio(torch.empty(1, 25, 1024, 9 + 12, device=meta)))
        noise = torch.empty(1, 16, 3, h, w, dtype=torch.bfloat16, device=meta)
        velocity, after = model(noise, model.modulate(torch.zeros(1, 1, device=meta)), context, condition, ring)
    assert velocity.shape == noise.shape and after.end == 3
    assert condition.tokens == 2640 and text[0].k.shape == (1, 40, 512, 128) and sorted(context.audio)[-1] == 39
    assert ring.bytes == 819_200 * (12 * 1056 + 2640)              # 819,200 bytes a token over 40 layers
