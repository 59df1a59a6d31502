"""Latents as pictures: a map that is recovered, a decoder that is asked, files that can be opened."""

import io

import numpy as np
import pytest
from fakes import FakeBackend
from PIL import Image

from liveavatar.preview import (
    LatentMap,
    decode_exactly,
    fit_map,
    histogram,
    jpeg,
    map_of,
    png,
    principal_map,
    signed_bytes,
    strip,
)
from liveavatar.types import InputError

DRAW = np.random.default_rng(0)


def test_a_linear_decoder_is_recovered_exactly():
    weights, bias = DRAW.normal(size=(16, 3)) * 0.05, np.array([0.5, 0.4, 0.6])
    latents = DRAW.normal(size=(500, 16))
    fitted = fit_map(latents, latents @ weights + bias)
    assert np.allclose(fitted.weights, weights, atol=1e-3) and np.allclose(fitted.bias, bias, atol=1e-3)
    assert fitted.explained == pytest.approx(1, abs=1e-3)
    again = LatentMap.from_dict(fitted.to_dict())
    assert np.array_equal(again.weights, fitted.weights) and again.source == "fitted"


def test_colours_have_the_shape_of_the_latents():
    plain = LatentMap(np.eye(4, 3, dtype=np.float32), np.zeros(3, np.float32), 1.0)
    latents = np.zeros((4, 3, 2, 5), np.float32)
    latents[0, 1, 0, 2] = 1.0
    colours = plain.colours(latents)
    assert colours.shape == (3, 2, 5, 3) and colours[1, 0, 2].tolist() == [255, 0, 0]
    assert plain.directions(latents)[0, 0, 0].tolist() == [128, 128, 128]


def test_the_map_of_a_backend_shows_what_its_decoder_shows():
    backend = FakeBackend()
    fitted = map_of(backend)
    assert fitted.explained > 0.9 and map_of(backend) is fitted
    assert fitted.weights[3] == pytest.approx([0, 0, 0], abs=1e-3)      # a channel that its decoder ignores


def test_without_a_decoder_the_main_directions_become_colours():
    latents = DRAW.normal(size=(8, 3, 6, 6)).astype(np.float32)
    latents[5] *= 10
    found = principal_map(latents)
    assert found.source == "principal" and np.abs(found.weights[5]).max() > 0.01
    assert found.colours(latents).std() > 10


def test_decoding_continues_the_block_before():
    import torch
    backend = FakeBackend()
    blocks = torch.randn(2, 1, 4, 3, 4, 4)
    whole = backend.decoder()
    whole.decode(blocks[0])
    assert np.array_equal(decode_exactly(backend, blocks[1], blocks[0]), whole.decode(blocks[1]).numpy())


def test_files_can_be_opened():
    picture = DRAW.integers(0, 255, (16, 24, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    assert Image.open(io.BytesIO(jpeg(picture))).size == (24, 16)
    frames = np.stack([picture, picture])
    assert strip(frames).shape == (16, 48, 3) and strip(frames, 8).shape == (8, 24, 3)


def test_signed_values_are_grey_at_zero_and_histograms_lose_nothing():
    assert signed_bytes(np.array([-9.0, -3, 0, 3]), 3.0).tolist() == [0, 0, 128, 255]
    counts = histogram(np.array([-99.0, 0.01, 0.02, 99]))
    assert sum(counts) == 4 and counts[0] == 1 and counts[-1] == 1 and counts[24] == 2


def test_a_fit_needs_a_colour_for_every_pixel():
    with pytest.raises(InputError, match="3 latent pixels against 2"):
        fit_map(np.zeros((3, 4)), np.zeros((2, 3)))


def test_the_shipped_weights_have_their_map():
    import liveavatar
    from liveavatar.preview import SHIPPED, name_of_vae
    try:
        backend = liveavatar.load("mini", dtype="float32").backend
    except InputError as problem:
        pytest.skip(str(problem))
    assert name_of_vae(backend) in SHIPPED.read_text(), "the VAE was trained anew: python -m liveavatar.preview"
    assert map_of(backend).explained > 0.9
