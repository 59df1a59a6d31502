"""The video VAE: shapes, streaming, the memory it carries, saving."""

from dataclasses import replace

import pytest
import torch

from liveavatar.backends.mini.vae import VAEConfig, VideoVAE, load_vae, save_vae
from liveavatar.types import InputError
from liveavatar.warping import warp

SMALL = VAEConfig(encoder_channels=(8, 8, 8), decoder_channels=(16, 8, 8), decoder_blocks=(2, 1, 1))


@pytest.fixture
def vae():
    """A small VAE whose blocks all do something (fresh ones start as the identity)."""
    torch.manual_seed(0)
    vae = VideoVAE(SMALL).eval()
    for parameter in vae.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return vae.requires_grad_(False)


@pytest.mark.parametrize(("T", "H", "W"), [(4, 128, 128), (12, 96, 160), (8, 40, 24)])
def test_any_multiple_of_8_by_8_by_4_goes_in_and_comes_back(vae, T, H, W):
    latents = vae.encode(torch.rand(2, 3, T, H, W))
    assert latents.shape == (2, 16, T // 4, H // 8, W // 8)
    video = vae.decode(latents)
    assert video.shape == (2, 3, T, H, W)
    assert 0 <= video.min() and video.max() <= 1


@pytest.mark.parametrize("tail", [0, 4])
def test_a_stride_of_16_halves_the_latents_once_more(tail):
    vae = VideoVAE(replace(SMALL, stride=16, latent_channels=24, tail=tail)).eval().requires_grad_(False)
    latents = vae.encode(torch.rand(1, 3, 4, 64, 32))
    assert latents.shape == (1, 24, 1, 4, 2)
    assert vae.decode(latents).shape == (1, 3, 4, 64, 32)


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1, 1, 1), (3, 3), (2, 1, 3)])
def test_streaming_equals_one_shot(vae, pieces):
    latents = torch.randn(2, 16, 6, 4, 4)
    memory, streamed = None, []
    for piece in latents.split(pieces, dim=2):
        video, memory = vae.decode_stream(piece, memory)
        streamed.append(video)
    torch.testing.assert_close(torch.cat(streamed, 2), vae.decode(latents), atol=1e-5, rtol=0)


def test_memory_is_one_picture_of_features_per_block(vae):
    short = vae.decode_stream(torch.randn(1, 16, 1, 4, 4))[1]
    long = vae.decode_stream(torch.randn(1, 16, 9, 4, 4))[1]
    assert [m.shape for m in short] == [(1, 16, 4, 4), (1, 16, 4, 4), (1, 8, 8, 8), (1, 8, 16, 16)]
    assert [m.shape for m in long] == [m.shape for m in short]


def test_the_future_changes_nothing(vae):
    latents = torch.randn(1, 16, 4, 4, 4)
    changed = latents.clone()
    changed[:, :, 2:] += 1
    assert torch.equal(vae.decode(latents)[:, :, :8], vae.decode(changed)[:, :, :8])
    assert not torch.equal(vae.decode(latents)[:, :, 8:], vae.decode(changed)[:, :, 8:])


def test_clips_of_a_batch_do_not_see_each_other(vae):
    video = torch.rand(3, 3, 8, 32, 32)
    together = vae.decode(vae.encode(video))
    alone = torch.cat([vae.decode(vae.encode(clip[None])) for clip in video])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_portrait_is_four_copies_of_itself(vae):
    picture = torch.rand(1, 3, 32, 32)
    four = picture[:, :, None].repeat(1, 1, 4, 1, 1)
    assert torch.equal(vae.encode_portrait(picture), vae.encode(four))


def test_normalisation_is_undone_by_decoding(vae):
    video = torch.rand(1, 3, 4, 32, 32)
    mean, _ = vae.posterior(video)
    before = vae.reconstruct(mean).clamp(0, 1)
    vae.latent_mean.uniform_(-1, 1)
    vae.latent_std.uniform_(0.5, 2)
    torch.testing.assert_close(vae.decode(vae.encode(video)), before, atol=1e-5, rtol=0)


def test_bfloat16_stays_near_float32(vae):
    latents = torch.randn(1, 16, 2, 4, 4)
    exact = vae.decode(latents)
    assert (vae.bfloat16().decode(latents.bfloat16()).float() - exact).abs().max() < 0.05


@pytest.mark.parametrize(("shape", "words"), [((1, 3, 6, 32, 32), "6 video frames"), ((1, 3, 4, 30, 33), "33 x 30 px")])
def test_what_does_not_fit_is_refused_with_the_remedy(vae, shape, words):
    with pytest.raises(InputError, match=words):
        vae.encode(torch.rand(shape))


def test_saved_equals_loaded(vae, tmp_path):
    save_vae(vae, tmp_path / "vae.safetensors", dtype=torch.float32)
    loaded = load_vae(tmp_path / "vae.safetensors")
    assert loaded.config == SMALL
    latents = torch.randn(1, 16, 2, 4, 4)
    assert torch.equal(loaded.decode(latents), vae.decode(latents))


def test_the_shipped_size_stays_small():
    vae = VideoVAE()
    assert sum(p.numel() for p in vae.encoder.parameters()) < 4e6
    assert sum(p.numel() for p in vae.decoder.parameters()) < 3.2e6


# ------------------------------------------------------------------ warping

def test_pixels_are_taken_from_where_the_displacement_says():
    picture = torch.rand(1, 3, 6, 8)
    displacement = torch.zeros(1, 2, 6, 8)
    displacement[:, 0], displacement[:, 1] = 2, -1
    taken = warp(picture[:, :, None], displacement[:, :, None])[:, :, 0]
    torch.testing.assert_close(taken[..., 1:, :6], picture[..., :5, 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(taken[..., 1:, 7], picture[..., :5, 7], atol=1e-5, rtol=0)   # the edge, beyond it


def test_settings_that_were_taken_out_are_refused_only_where_they_were_on():
    assert VAEConfig.from_dict({"stride": 16, "copy_channels": 0}) == VAEConfig(stride=16)
    with pytest.raises(InputError, match="made with copy_channels"):
        VAEConfig.from_dict({"copy_channels": 8})
