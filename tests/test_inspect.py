"""What looks where: recorded attention equals an eager softmax, reproduces the output, and changes nothing."""

from dataclasses import replace

import pytest
import torch
from fakes import FakeBackend, face, tone

from liveavatar import inspect
from liveavatar.config import GenerationConfig
from liveavatar.inspect import attention_weights
from liveavatar.pipeline import Pipeline
from liveavatar.types import InputError

CONFIG = GenerationConfig(sample_steps=2, duration_s=1.4)          # three blocks: the ring of two wraps


@pytest.fixture(scope="module")
def pipe():
    return Pipeline(FakeBackend())


@pytest.fixture(scope="module")
def plain(pipe):
    return list(pipe.steps(tone(1.44), face(), "hello", CONFIG))


@pytest.fixture(scope="module")
def seen(pipe, plain):
    with inspect.record(pipe, layers=[0, 1], values=True) as seen:
        steps = list(pipe.steps(tone(1.44), face(), "hello", CONFIG))
    assert all(torch.equal(one.x, other.x) for one, other in zip(steps, plain, strict=True))
    return seen


def test_it_is_there_by_its_name():
    import liveavatar

    assert liveavatar.inspect is inspect and "inspect" in liveavatar.__all__


def hooks(model) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


# ------------------------------------------------------------------------------------------- weights

def test_every_step_of_every_block_is_there(seen):
    assert seen.keys == tuple((block, step, layer) for block in range(3) for step in range(2) for layer in range(2))


def test_rows_add_up_to_one_and_reproduce_the_kernels_output(seen):
    for block, step, layer in seen.keys:
        for part in ("self", "text", *(["sound"] if layer == 1 else [])):
            one = seen.attention(block, step, layer, part)
            assert torch.allclose(one.weights.sum(2), torch.ones(one.weights.shape[:2]), atol=1e-5)
            values = one.values
            if part == "sound":                          # a set of tokens for each latent frame
                weights = one.weights.unflatten(1, (3, -1)).transpose(0, 1)
                made = (weights @ values).transpose(0, 1).flatten(1, 2)
            else:
                made = one.weights @ values
            assert torch.allclose(made, one.output, atol=1e-5), (block, step, layer, part)


@pytest.mark.parametrize("piece_bytes", [1, 4 * 70 * 8, 2**26])
def test_pieces_equal_an_eager_softmax(piece_bytes):
    torch.manual_seed(0)
    q, k = torch.randn(3, 50, 8), torch.randn(3, 70, 8)
    eager = (q @ k.transpose(1, 2) / 8 ** 0.5).softmax(-1)
    assert torch.allclose(attention_weights(q, k, piece_bytes=piece_bytes), eager, atol=1e-5)
    assert torch.allclose(attention_weights(q, k, [2, 0], piece_bytes=piece_bytes), eager[[2, 0]], atol=1e-5)
    mean = attention_weights(q, k, average=True, piece_bytes=piece_bytes)
    assert torch.allclose(mean, eager.mean(0, keepdim=True), atol=1e-5)


def test_keys_are_named_by_what_they_are_also_when_the_ring_has_wrapped(seen):
    n, grid = 4, (2, 2)                                     # tokens of a latent frame
    first, last = seen.attention(0, 0, 0).keys, seen.attention(2, 0, 0).keys
    assert int(first.are("portrait").sum()) == n and int(first.are("block").sum()) == 3 * n and len(first) == 4 * n
    assert not bool(first.are("past").any())
    assert sorted(set(last.frame[last.are("past")].tolist())) == [3, 4, 5]
    assert sorted(set(last.frame[last.are("block")].tolist())) == [6, 7, 8]
    assert last.frame[n:].reshape(6, n)[:, 0].tolist() == [6, 7, 8, 3, 4, 5]       # the newest over the oldest
    assert (int(last.row.max()), int(last.column.max())) == (grid[0] - 1, grid[1] - 1)


def test_shares_and_heat_are_sums_of_the_weights(seen):
    one = seen.attention(2, 1, 1)
    shares = one.shares()
    assert set(shares) == {"portrait", "past", "block"}
    assert torch.allclose(sum(shares.values()), torch.ones_like(shares["past"]), atol=1e-5)
    query = one.queries.at(7, 1, 0)
    assert query == 4 + 2
    heat = one.heat(query, "portrait", head=1)
    assert heat.shape == (2, 2) and float(heat.sum()) == pytest.approx(float(shares["portrait"][1, query]), abs=1e-6)
    whole = sum(one.heat(query, kind) for kind in shares)
    assert float(whole.sum()) == pytest.approx(1, abs=1e-5)


def test_chosen_heads_queries_steps_and_blocks(pipe, seen):
    with inspect.record(pipe, step=1, layers=[1], blocks=[1], heads=[1], queries=[5, 2], readouts=False) as some, \
            inspect.record(pipe, step=1, layers=[1], blocks=[1], heads="mean") as mean:
        list(pipe.steps(tone(1.44), face(), "hello", CONFIG))
    assert some.keys == ((1, 1, 1),)
    for part in ("self", "text", "sound"):
        whole = seen.attention(1, 1, 1, part).weights
        assert torch.allclose(some.attention(1, 1, 1, part).weights, whole[1:, [5, 2]], atol=1e-6)
        assert torch.allclose(mean.attention(1, 1, 1, part).weights, whole.mean(0, keepdim=True), atol=1e-6)
    assert some.attention(1, 1, 1).queries.row.tolist() == [0, 1]


# ------------------------------------------------------------------------------------------- read-outs, and costs

def test_the_last_layers_read_out_is_the_steps_own_prediction(seen, plain):
    for step in plain:
        assert torch.allclose(seen.readout(step.block, step.index, 1), step.clean, atol=1e-5)
    assert not torch.allclose(seen.readout(0, 0, 0), plain[0].clean, atol=1e-3)
    assert seen.pictures(0, 1, 0).shape == (12, 32, 32, 3)


def test_a_layers_read_out_is_the_head_on_its_output(pipe, seen):
    """The network cut off after its first layer answers what was read out of it."""
    model, kept = pipe.backend.transformer, pipe.backend.transformer.blocks
    model.blocks = kept[:1]
    try:
        cut = next(iter(pipe.steps(tone(1.44), face(), "hello", CONFIG)))
    finally:
        model.blocks = kept
    assert torch.allclose(seen.readout(0, 0, 0), cut.clean, atol=1e-5)


def test_nothing_is_left_behind_and_nothing_is_there_when_it_is_off(pipe):
    model = pipe.backend.transformer
    assert hooks(model) == 0
    steps = pipe.steps(tone(1.44), face(), "hello", CONFIG)
    with pytest.raises(ZeroDivisionError), inspect.record(pipe, step=0, layers=[0]):
        next(steps)
        assert hooks(model) == 3                            # between two calls only those on the whole network
        raise ZeroDivisionError
    assert hooks(model) == 0


def test_a_failing_run_takes_the_hooks_of_its_layers_along(pipe, monkeypatch):
    model = pipe.backend.transformer
    with inspect.record(pipe, layers=[0, 1]) as seen:
        monkeypatch.setattr(model, "output_head", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(iter(pipe.steps(tone(0.5), face(), "", CONFIG)))
        assert hooks(model) == 3
        monkeypatch.undo()
        list(pipe.steps(tone(0.48), face(), "", CONFIG))
    assert (0, 1, 1) in seen.keys and hooks(model) == 0


def test_guidance_calls_twice_and_only_the_conditioned_call_is_kept(seen):
    base = Pipeline(FakeBackend(student=False))
    with inspect.record(base, layers=[1]) as guided:
        list(base.steps(tone(1.44), face(), "hello", replace(CONFIG, guidance=2.0)))
    assert guided.keys == tuple((block, step, 1) for block in range(3) for step in range(2))
    first = guided.attention(0, 0, 1, "text").weights
    assert torch.equal(first, seen.attention(0, 0, 1, "text").weights)


def test_a_second_run_takes_the_place_of_the_first(pipe):
    config = GenerationConfig(sample_steps=1, duration_s=0.48)
    with inspect.record(pipe, layers=[0]) as seen:
        list(pipe.steps(tone(0.48), face(), "hello", config))
        first = seen.attention(0, 0, 0).weights
        list(pipe.steps(tone(0.48), face(), "hello", replace(config, base_seed=1)))
    assert seen.keys == ((0, 0, 0),) and not torch.equal(seen.attention(0, 0, 0).weights, first)


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(pipe):
    with inspect.record(pipe, layers=[0], most_bytes=12_000) as seen:
        list(pipe.steps(tone(1.44), face(), "hello", CONFIG))
    assert 0 < seen.bytes <= 12_000 and seen.keys[-1] == (2, 1, 0) and seen.keys[0] != (0, 0, 0)
    with pytest.raises(InputError, match="is not kept"):
        seen.attention(0, 0, 0)


@pytest.mark.parametrize(("options", "words"), [
    ({"layers": [2]}, "layers is .2.; give numbers from 0 to 1"), ({"heads": [5]}, "heads is"),
    ({"parts": ["audio"]}, "no attention 'audio'"), ({"queries": []}, "queries are"), ({"layers": []}, "layers is")])
def test_what_is_not_there_is_refused_at_once(pipe, options, words):
    with pytest.raises(InputError, match=words):
        inspect.record(pipe, **options)


@pytest.mark.parametrize(("options", "words"), [
    ({"most_bytes": 100}, "more than most_bytes"), ({"queries": [12]}, "a block has 12 tokens")])
def test_what_does_not_fit_is_refused_when_the_run_begins(pipe, options, words):
    with inspect.record(pipe, **options), pytest.raises(InputError, match=words):
        next(iter(pipe.steps(tone(1.44), face(), "", CONFIG)))


def test_a_layer_without_sound_says_so(seen):
    with pytest.raises(InputError, match="only some layers attend to the sound"):
        seen.attention(0, 0, 0, "sound")


# ------------------------------------------------------------------------------------------- the sound's time

def test_a_sound_token_depends_on_no_sound_after_its_latent_frame(pipe, seen):
    reach = seen.sound_reach(1)                             # (F, tokens, 9 + 4F)
    assert reach.shape == (3, 5, 21) and torch.allclose(reach[:, :4].sum(2), torch.ones(3, 4), atol=1e-5)
    assert float(reach[:, 4].abs().max()) == 0              # the learned token listens to nothing
    for frame in range(3):
        assert float(reach[frame, :, 9 + 4 * frame + 4:].abs().sum()) == 0
        assert float(reach[frame, :4, 9 + 4 * frame:9 + 4 * frame + 4].sum()) > 0


def test_a_changed_frame_of_sound_changes_the_tokens_that_depend_on_it(pipe, seen):
    audio = seen._audio[1]
    changed = audio.clone()
    changed[..., 14] += 0.1
    encode = pipe.backend.transformer.casual_audio_encoder
    moved = (encode(changed)[0] - encode(audio)[0])[0, 3:, :4].abs().amax(2) > 1e-7          # (F, tokens)
    assert torch.equal(moved, seen.sound_reach(1)[:, :4, 14] > 0)


def test_attention_to_sound_has_a_place_in_time(seen):
    weights, reach = seen.attention(1, 0, 1, "sound"), seen.sound_reach(1)
    profile = seen.sound_profile(1, 0, 1)
    learned = weights.weights[:, :, 4].mean(0).unflatten(0, (3, 4)).mean(1)
    assert torch.allclose(profile.sum(1), 1 - learned, atol=1e-5)
    assert torch.allclose(seen.sound_profile(1, 0, 1, [0, 1, 2, 3])[0], profile[0], atol=1e-6)
    at_once = torch.zeros(3, 21)
    at_once[torch.arange(3), 9 + 4 * torch.arange(3)] = 1.0  # the first of each latent frame's own video frames
    assert torch.allclose(inspect.sound_lag_ms(at_once, 25.0), torch.full((3,), -60.0))
    assert reach.shape[2] == profile.shape[1]


def test_the_sound_is_known_where_only_a_later_step_is_recorded_and_under_guidance(seen):
    base = Pipeline(FakeBackend(student=False))
    with inspect.record(base, step=1, layers=[1]) as some:
        list(base.steps(tone(1.44), face(), "hello", replace(CONFIG, guidance=2.0)))
    assert torch.equal(some.sound_reach(2), seen.sound_reach(2)) and float(some._audio[0].abs().sum()) > 0


# ------------------------------------------------------------------------------------------- hidden keys

def test_hidden_keys_get_no_attention_and_the_others_share_it(pipe, seen, plain):
    hidden, queries = [0, 5, 17], [2, 7]
    with inspect.hide(pipe, hidden, queries=queries, layers=[1], step=1, blocks=[1]):
        with inspect.record(pipe, step=1, layers=[1], blocks=[1], values=True) as other:
            steps = list(pipe.steps(tone(1.44), face(), "hello", CONFIG))
    before, after = seen.attention(1, 1, 1), other.attention(1, 1, 1)
    weights = before.weights[:, queries].clone()             # the queries come from the layer below: they are the same
    weights[:, :, hidden] = 0
    weights /= weights.sum(2, keepdim=True)
    assert torch.allclose(weights @ before.values, after.output[:, queries], atol=1e-5)
    untouched = [token for token in range(12) if token not in queries]
    assert torch.allclose(before.output[:, untouched], after.output[:, untouched], atol=1e-5)
    assert torch.equal(steps[2].x, plain[2].x) and not torch.equal(steps[3].x, plain[3].x)
    assert hooks(pipe.backend.transformer) == 0


def test_keys_that_a_block_does_not_see_cannot_be_hidden(pipe):
    with inspect.hide(pipe, [16]), pytest.raises(InputError, match="block 0 sees 16"):
        next(iter(pipe.steps(tone(1.44), face(), "", CONFIG)))
    with pytest.raises(InputError, match="layers is"):
        inspect.hide(pipe, [0], layers=[9])
