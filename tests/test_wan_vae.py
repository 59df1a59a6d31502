"""Pictures of wan-s2v-14b: streams equal to one-shot calls bit for bit, portraits and poses encoded as released.

diffusers' one-shot calls go through every convolution latent by latent but for one of 1 x 1 x 1, which takes all at
once. How many columns a product has decides on some processors how it is summed, so there the last bits differ. The
one-shot calls here take that convolution latent by latent too; one test says that diffusers' own are as good as equal.
"""

import numpy as np
import pytest
import torch
from fakes import face
from wan_fakes import off, small_vae

from liveavatar.backends.wan.backend import Marked
from liveavatar.backends.wan.pose import check_pose_video, pictures_of, pose_latents
from liveavatar.backends.wan.vae import StreamingWanVAE, WanDecoder, encode_reference
from liveavatar.backends.wan.vae_gpu import suit_gpu
from liveavatar.conditions import fit_portrait, released_size
from liveavatar.decoder import to_pictures
from liveavatar.types import InputError

SIDE = 16


class OneByOne(torch.nn.Module):
    """A convolution that looks neither back nor ahead, given a latent at a time."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return torch.cat([self.conv(latent) for latent in x.split(1, 2)], 2)


@pytest.fixture(scope="module")
def released():
    """As it is in diffusers."""
    from wan_fakes import small_vae

    return small_vae().requires_grad_(False)


@pytest.fixture(scope="module")
def plain():
    from wan_fakes import small_vae

    vae = small_vae().requires_grad_(False)
    vae.quant_conv, vae.post_quant_conv = OneByOne(vae.quant_conv), OneByOne(vae.post_quant_conv)
    return vae


@pytest.fixture(scope="module")
def vae(released):
    return StreamingWanVAE(released)


def scaled(vae, latents):
    return latents * vae.std + vae.mean


@torch.inference_mode()
def decoded_at_once(plain, vae, latents):
    return plain.decode(scaled(vae, latents)).sample * 0.5 + 0.5


@torch.inference_mode()
def encoded_at_once(plain, vae, video):
    return (plain.encode(2 * video - 1).latent_dist.mean - vae.mean) / vae.std


@torch.inference_mode()
def test_laid_out_for_a_gpu_it_computes_the_same(vae):
    from wan_fakes import small_vae

    other = StreamingWanVAE(suit_gpu(small_vae().requires_grad_(False)))
    video = torch.rand(1, 3, 9, SIDE, SIDE)
    latents = other.encode(video)
    assert off(latents, vae.encode(video)) < 1e-4                       # sums are added in another order
    assert off(other.decode_stream(latents)[0], vae.decode_stream(latents)[0]) < 1e-4


@pytest.mark.parametrize("split", [(6,), (1, 5), (3, 3), (1, 1, 1, 1, 1, 1)])
@torch.inference_mode()
def test_any_split_decodes_to_the_same_bits(plain, vae, split):
    latents = torch.randn(1, 16, 6, 2, 2, generator=torch.Generator().manual_seed(1))
    memory, pictures = None, []
    for piece in latents.split(split, 2):
        video, memory = vae.decode_stream(piece, memory)
        pictures.append(video)
    assert torch.equal(torch.cat(pictures, 2), decoded_at_once(plain, vae, latents))


def test_whole_calls_of_diffusers_differ_in_their_last_bits_at_most(plain, released, vae):
    latents = torch.randn(1, 16, 6, 2, 2, generator=torch.Generator().manual_seed(1))
    video = torch.rand(1, 3, 13, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    for call, given in ((decoded_at_once, latents), (encoded_at_once, video)):
        torch.testing.assert_close(call(plain, vae, given), call(released, vae, given), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_two_videos_decoded_in_turn_never_meet(plain, vae):
    one, other = torch.randn(2, 1, 16, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    memories, pictures = [None, None], [[], []]
    for frame in range(4):
        for index, latents in enumerate((one, other)):
            video, memories[index] = vae.decode_stream(latents[:, :, frame:frame + 1], memories[index])
            pictures[index].append(video)
    for latents, made in zip((one, other), pictures, strict=True):
        assert torch.equal(torch.cat(made, 2), decoded_at_once(plain, vae, latents))


def test_encoding_as_a_stream_gives_the_same_bits(plain, vae):
    video = torch.rand(1, 3, 13, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    assert torch.equal(vae.encode(video), encoded_at_once(plain, vae, video))


@pytest.mark.parametrize(("conditioning", "pictures", "portrait"), [("single-gpu", 365, 1), ("multi-gpu", 73, 0)])
def test_a_portrait_is_seen_as_released(plain, vae, conditioning, pictures, portrait):
    picture = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    seen = encode_reference(vae, picture, conditioning)
    still = picture[None, :, None].expand(-1, -1, pictures, -1, -1)
    motion = encoded_at_once(plain, vae, still)
    assert torch.equal(seen.motion, motion[:, :, -19:])
    alone = still[:, :, :5 if portrait else 1]
    assert torch.equal(seen.reference, encoded_at_once(plain, vae, alone)[:, :, portrait:])


def test_a_still_picture_is_only_encoded_until_nothing_changes(vae, monkeypatch):
    calls = []
    stream = vae.encode_stream
    monkeypatch.setattr(vae, "encode_stream", lambda *given: (calls.append(1), stream(*given))[1])
    assert len(list(vae.encode_still(torch.rand(3, SIDE, SIDE), 365))) == 92
    assert len(calls) < 40


def test_decoding_begins_as_if_the_portrait_had_stood_still(plain, vae):
    """The same pictures as the released code's: motion latents and the clip decoded together, the last ones kept.

    It has 92 of them; after 39 nothing changes any more.
    """
    generator = torch.Generator().manual_seed(5)
    motion = torch.randn(1, 16, 1, 2, 2, generator=generator).expand(-1, -1, 19, -1, -1)
    clip = torch.randn(1, 16, 6, 2, 2, generator=generator)
    decoder = WanDecoder(vae, motion, "single-gpu")
    pictures = torch.cat([decoder.decode(block) for block in clip.split(3, 2)])
    together = decoded_at_once(plain, vae, torch.cat([motion[:, :, :1].expand(-1, -1, 42, -1, -1), clip], 2))
    assert pictures.shape == (24, SIDE, SIDE, 3)
    assert torch.equal(pictures, to_pictures(together[:, :, -24:]))


def test_the_released_multi_gpu_warm_up_is_seven_latents(plain, vae):
    generator = torch.Generator().manual_seed(6)
    motion, clip = (torch.randn(1, 16, F, 2, 2, generator=generator) for F in (19, 3))
    pictures = WanDecoder(vae, motion, "multi-gpu").decode(clip)
    together = decoded_at_once(plain, vae, torch.cat([motion[:, :, :7], clip], 2))
    assert torch.equal(pictures, to_pictures(together[:, :, 25:]))


def test_without_a_portrait_the_first_latent_stands_for_it(vae):
    decoder, latents = WanDecoder(vae, None, "single-gpu"), torch.randn(1, 16, 1, 2, 2)
    assert decoder.decode(latents).shape == (4, SIDE, SIDE, 3)
    for fork in (decoder.fork(), Marked(decoder).fork()._decoder):       # go on from here, and leave this one as it is
        fork.decode(torch.randn(1, 16, 1, 2, 2))
    again = WanDecoder(vae, None, "single-gpu")
    again.decode(latents)
    assert torch.equal(decoder.fork().decode(latents), again.decode(latents))


def test_all_of_it_goes_to_its_device(tmp_path):
    from wan_fakes import VAE_NET, write_vae

    from liveavatar.backends.wan.checkpoints import VAE
    from liveavatar.backends.wan.vae import read_vae

    write_vae(tmp_path)
    vae = read_vae(tmp_path / VAE, VAE_NET, torch.device("meta"), torch.bfloat16)
    assert {held.device.type for held in (*vae.parameters(), *vae.buffers())} == {"meta"}


def test_an_unknown_conditioning_is_refused(vae):
    with pytest.raises(InputError, match="conditioning is 'other'; known: single-gpu, multi-gpu"):
        encode_reference(vae, torch.rand(3, SIDE, SIDE), "other")


# ---------------------------------------------------------------------------------------------- pose

@pytest.fixture(scope="module")
def dance(tmp_path_factory):
    """Twenty pictures at 25 a second, each a little brighter."""
    from liveavatar.video import VideoWriter

    path = tmp_path_factory.mktemp("pose") / "dance.mp4"
    with VideoWriter(path, (SIDE, SIDE), 25.0) as writer:
        writer.write(np.stack([np.full((SIDE, SIDE, 3), 10 * index, np.uint8) for index in range(20)]))
        writer.close()
    return path


def test_a_pose_video_is_encoded_clip_by_clip_as_released(plain, vae, dance):
    size, clip = (SIDE, SIDE), 12
    pictures = torch.stack(list(pictures_of(dance, 25.0, size)), 1)[None]
    assert pictures.shape[2] == 20
    pictures = torch.cat([pictures, torch.zeros(1, 3, 4, SIDE, SIDE)], 2)                  # black past the end
    expected = [encoded_at_once(plain, vae, torch.cat([part[:, :, :1], part], 2))[:, :, 1:]
                for part in pictures.split(clip, 2)]
    ours = pose_latents(vae, dance, size, frames=20, clip_frames=clip, fps=25.0)
    assert torch.equal(ours, torch.cat(expected, 2)) and ours.shape == (1, 16, 6, 2, 2)


def test_half_the_rate_is_every_picture_and_twice_the_rate_every_other(dance):
    assert len(list(pictures_of(dance, 50.0, (SIDE, SIDE)))) == 20
    assert len(list(pictures_of(dance, 12.5, (SIDE, SIDE)))) == 10


def test_a_pose_video_that_is_none(tmp_path):
    with pytest.raises(InputError, match="does not exist; give a video file"):
        check_pose_video(tmp_path / "none.mp4")
    (tmp_path / "words.mp4").write_text("words")
    with pytest.raises(InputError, match="is not a video that can be read"):
        check_pose_video(tmp_path / "words.mp4")


# ---------------------------------------------------------------------------------------------- size

AREAS = ((256, 384), (368, 688), (384, 704), (400, 720))            # (height, width)
SIZES = {   # what the released code was seen to choose, width x height, for each area
    (720, 400): ((384, 256), (640, 384), (704, 384), (704, 384)),
    (400, 720): ((256, 384), (384, 640), (384, 704), (384, 704)),
    (1080, 1920): ((256, 384), (384, 640), (384, 704), (384, 704)),
    (1024, 1024): ((256, 256), (448, 448), (512, 512), (512, 512)),
    (768, 1024): ((256, 384), (384, 512), (448, 576), (448, 640)),
    (828, 772): ((320, 256), (512, 448), (512, 512), (512, 512)),
    (300, 300): ((256, 256), (320, 320), (320, 320), (320, 320)),
}


@pytest.mark.parametrize("picture", SIZES)
def test_the_size_is_the_one_the_released_code_chooses(picture):
    width, height = picture
    assert tuple(released_size(height, width, area)[::-1] for area in AREAS) == SIZES[picture]


@pytest.mark.parametrize("shape", [(1, 20), (20, 1), (33, 4000), (5000, 5000), (64, 64)])
def test_any_shape_gets_a_size_within_the_area(shape):
    height, width = released_size(*(64 * side for side in shape), (384, 704))
    assert height % 64 == width % 64 == 0 and 0 < height * width <= 384 * 704


def test_too_few_pixels_are_refused():
    with pytest.raises(InputError, match="32\\*32 has too few pixels for sides that are multiples of 64"):
        released_size(100, 100, (32, 32))


def test_no_black_bars_where_the_released_code_leaves_13_columns():
    white = face(720, 400)
    white.pixels.fill_(1.0)
    size = released_size(720, 400, (384, 704))
    assert fit_portrait(white, size).min() > 0.999


def test_decoding_one_picture_after_another_makes_the_same_pictures():
    """The same sums: equal in float64, where their order is not seen; in float32 a rounding apart."""
    vae, latents = StreamingWanVAE(small_vae()).requires_grad_(False), torch.randn(1, 16, 3, 8, 8)
    for dtype, far in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
        vae, videos, memories = vae.to(dtype), [], []
        for vae.by_frame in (False, True):
            first, memory = vae.decode_stream(latents.to(dtype))
            second, memory = vae.decode_stream(latents.flip(2).to(dtype), memory)
            videos.append(torch.cat([first, second], 2))
            memories.append([one for one in memory if isinstance(one, torch.Tensor)])
        assert videos[0].shape[2] == 21 and (videos[0] - videos[1]).abs().max() < far
        assert [one.shape for one in memories[0]] == [one.shape for one in memories[1]]
