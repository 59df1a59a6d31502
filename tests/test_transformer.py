"""One transformer class: it equals the released network, and its three ways of running agree."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from liveavatar.sampler import denoise_block, model_levels, trained_schedule
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer, Context

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
TINY = {"dim": 32, "ffn_dim": 48, "num_heads": 2, "num_layers": 3, "freq_dim": 16, "text_dim": 6, "text_len": 3,
        "audio_dim": 8, "audio_layers": 2, "audio_inject_layers": (0, 2), "in_dim": 4, "out_dim": 4, "cond_dim": 4,
        "cache_frames": 6}


def tiny(seed: int = 0, **options) -> CausalS2VTransformer:
    torch.manual_seed(seed)
    model = CausalS2VTransformer(**{**TINY, "enable_framepack": False, "released_rounding": False, **options}).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def told(model, frames, motion=False):
    """Inputs of a clip of `frames` latent frames: noise, audio with its history, text, condition."""
    noise = torch.randn(1, 4, frames, 16, 8)
    audio = torch.randn(1, 2, 8, AUDIO_HISTORY + 4 * frames)
    text = model.encode_text(torch.randn(1, 3, 6))
    condition = model.prefill(torch.randn(1, 4, 1, 16, 8), torch.randn(1, 4, 19, 16, 8) if motion else None, text)
    return noise, audio, text, condition


def audio_of(audio, block):
    return audio[..., 12 * block:12 * (block + 1) + AUDIO_HISTORY]


@torch.inference_mode()
def test_matches_the_released_network():
    import parity
    errors = parity.compare(Path(__file__).parent / "data" / "wan_s2v_tiny.safetensors")
    assert errors["condition keys"] < 1e-5 and errors["condition values"] < 1e-5
    assert max(errors.values()) < 5e-4      # what is left are bfloat16 roundings that fall the other way


@torch.inference_mode()
@pytest.mark.parametrize("motion", [False, True])
def test_streaming_equals_one_parallel_pass_per_noise_level(motion):
    model = tiny(enable_framepack=motion)
    noise, audio, text, condition = told(model, frames=15, motion=motion)      # 5 blocks through a ring of 2
    schedule = trained_schedule(3)
    caches, streamed = tuple(model.new_cache(condition) for _ in range(3)), []
    for block in range(5):
        context = Context(text, model.encode_audio(audio_of(audio, block)))
        steps = list(denoise_block(model, noise[:, :, 3 * block:3 * block + 3], context, condition, caches, schedule))
        caches = tuple(step.cache for step in steps)
        streamed.append(steps[-1].x)
    x, context = noise, Context(text, model.encode_audio(audio))
    for level, share in zip(model_levels(model, schedule, "cpu"), schedule.shares, strict=True):
        x = x - share * model.forward_clip(x, level, context, condition)
    torch.testing.assert_close(torch.cat(streamed, 2), x, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_audio_history_beyond_nine_frames_changes_nothing():
    model = tiny()
    audio = torch.randn(1, 2, 8, 12)
    released = model.casual_audio_encoder(F.pad(audio, (73, 0, 0, 0), mode="replicate"))
    ours = model.casual_audio_encoder(F.pad(audio, (AUDIO_HISTORY, 0, 0, 0), mode="replicate"))
    for long, short in zip(released, ours, strict=True):
        torch.testing.assert_close(long[:, -3:], short[:, -3:])


@torch.inference_mode()
def test_a_block_after_a_thousand_hours_is_made_like_any_other():
    model = tiny()
    noise, audio, text, condition = told(model, frames=3)
    context, level = Context(text, model.encode_audio(audio)), model.modulate(torch.full((1, 1), 900.0))
    filled = model.new_cache(condition)
    torch.nn.init.normal_(filled.v)
    velocities = [model(noise, level, context, condition, replace(filled, end=end))[0] for end in (12, 9 * 10 ** 7)]
    torch.testing.assert_close(*velocities, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_future_cannot_be_heard():
    model = tiny()
    noise, audio, text, condition = told(model, frames=9)
    level, later = model.modulate(torch.full((1, 1), 500.0)), audio.clone()
    later[..., AUDIO_HISTORY + 4 * 6:] += 1
    before, after = (model.forward_clip(noise, level, Context(text, model.encode_audio(a)), condition)
                     for a in (audio, later))
    torch.testing.assert_close(before[:, :, :6], after[:, :, :6])
    assert not torch.allclose(before[:, :, 6:], after[:, :, 6:])


def test_the_released_configuration_has_the_released_size():
    with torch.device("meta"):
        model = CausalS2VTransformer()
    assert sum(p.numel() for p in model.parameters()) == 16_295_755_609
    assert len(model.state_dict()) == 1260


def test_saving_and_loading_changes_nothing(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    again = CausalS2VTransformer.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_refuses_a_ring_with_a_seam_inside_a_block():
    with pytest.raises(ValueError, match="multiple, such as 12"):
        tiny(cache_frames=10)
