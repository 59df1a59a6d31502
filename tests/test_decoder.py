"""Latents to pictures, block by block."""

import torch
from fakes import PlainVAE

from liveavatar.decoder import Decoder, decode_block, to_pictures


def test_values_are_rounded_to_the_nearest_of_256_and_cut_at_the_ends():
    video = torch.tensor([-0.5, 0.0, 0.5 / 255 + 1e-4, 1.0, 1.5]).expand(1, 3, 1, 1, 5)
    assert to_pictures(video)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_pictures_are_time_height_width_colour():
    latents = torch.zeros(1, 4, 3, 2, 5)
    latents[:, 0] = 9
    pictures, _ = decode_block(PlainVAE(), latents, None)
    assert pictures.shape == (12, 16, 40, 3) and pictures.dtype == torch.uint8
    assert pictures[0, 0, 0].tolist() == [255, 128, 128]


def test_block_by_block_equals_all_at_once():
    from liveavatar.backends.mini.vae import VAEConfig, VideoVAE
    torch.manual_seed(0)
    vae = VideoVAE(VAEConfig(8, 4, (4, 4, 4), (1, 1, 1), (8, 8, 8), (1, 1, 1))).eval().requires_grad_(False)
    for block in vae.modules():                       # a new residual block adds nothing: let them speak
        if hasattr(block, "out"):
            torch.nn.init.normal_(block.out.weight, std=0.1)
    latents = torch.randn(1, 4, 9, 4, 4)
    decoder, streamed = Decoder(vae), []
    for block in latents.split(3, 2):
        fork = decoder.fork()
        fork.decode(torch.randn(1, 4, 3, 4, 4))       # what a fork decodes changes nothing
        streamed.append(decoder.decode(block))
    whole = to_pictures(vae.decode(latents)).int()
    assert (torch.cat(streamed).int() - whole).abs().max() <= 1        # one rounding


def test_memory_travels_and_a_new_decoder_has_none():
    _, memory = decode_block(PlainVAE(), torch.zeros(1, 4, 3, 2, 2), None)
    _, memory = decode_block(PlainVAE(), torch.zeros(1, 4, 3, 2, 2), memory)
    assert int(memory[0]) == 6
    assert Decoder(PlainVAE())._memory is None
