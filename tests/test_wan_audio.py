"""Sound of wan-s2v-14b: one pass as released, pieces that agree with it, a memory that does not grow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes import tone

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")

from wan_fakes import AUDIO_NET, write_audio

from liveavatar.backends.wan import audio, checkpoints, preset
from liveavatar.backends.wan.audio import AudioEncoder, pieces, places, random_audio_encoder, read_audio_encoder
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.types import InputError, Speech

AT_HOME = OffloadPolicy(torch.device("cpu"))
PIECES_DIFFER_AT_MOST = 0.05       # of the features' size: hearing 2 s instead of 6 s at once, with untrained layers


def speech(seconds, seed=0):
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 16_000)).astype(np.float32)
    return replace(tone(seconds), wave=(tone(seconds).wave + 0.1 * noise).astype(np.float32))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    write_audio(folder)
    return read_audio_encoder(folder / checkpoints.AUDIO, torch.float32, AT_HOME)


def in_pieces(encoder, piece_s, context_s):
    return AudioEncoder(encoder.network, AT_HOME, piece_s, context_s)


@torch.inference_mode()
def as_released(network, wave, clips):
    """The released code: all at once, stretched from 50 to 30 a second, the nearest of them 25 times a second."""
    wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    layers = network(torch.from_numpy(wave)[None], output_hidden_states=True).hidden_states
    hidden = torch.cat(layers)                                                             # (layers, M, A)
    stretched = F.interpolate(hidden.transpose(1, 2), size=int(hidden.shape[1] / 50 * 30), mode="linear",
                              align_corners=True)
    values = torch.zeros(*stretched.shape[:2], 48 * clips)
    for frame in range(48 * clips):
        index = round(frame * 1.2)                                                         # half to even
        if index < stretched.shape[2]:
            values[:, :, frame] = stretched[:, :, index]
    return values


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.92, 2.03])
def test_one_pass_is_what_the_released_code_hears(encoder, seconds):
    said = speech(seconds)
    features = encoder.encode_audio(said)
    T = -(-len(said.wave) // 640)
    assert features.values.shape == (1, 3, 16, T) and features.rms.shape == (T,) and features.fps == 25
    torch.testing.assert_close(features.values[0], as_released(encoder.network, said.wave, 2)[..., :T],
                               rtol=1e-4, atol=1e-5)


def test_where_each_frame_looks():
    where = places(frames=6, hidden=10)                            # 10 hidden frames become 6 at 30 a second
    assert where.tolist() == pytest.approx([0.0, 1.8, 3.6, 7.2, 9.0, -1.0])


def test_pieces_cover_everything_once_and_hear_more_than_they_keep():
    cut = list(pieces(hidden=95, piece=30, context=10))
    assert [(piece.first, piece.last) for piece in cut] == [(0, 30), (30, 60), (60, 90), (90, 95)]
    assert [(piece.heard_first, piece.heard_last) for piece in cut] == [(0, 40), (20, 70), (50, 95), (80, 95)]
    assert len(list(pieces(hidden=50, piece=30, context=10))) == 1


def test_pieces_line_up_exactly_when_no_layer_looks_far(encoder):
    """With attention silenced, what remains sees less than the overlap: pieces and one pass agree everywhere."""
    kept = {}
    for layer in encoder.network.encoder.layers:
        projection = layer.attention.out_proj
        kept[projection] = projection.weight.clone(), projection.bias.clone()
        projection.weight.zero_(), projection.bias.zero_()
    said = speech(6.1)
    whole, cut = encoder.encode_audio(said).values, in_pieces(encoder, 1.0, 0.5).encode_audio(said).values
    for projection, (weight, bias) in kept.items():
        projection.weight.copy_(weight), projection.bias.copy_(bias)
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)


def test_pieces_differ_from_one_pass_by_what_attention_did_not_hear(encoder):
    said = speech(6.1)
    whole, cut = encoder.encode_audio(said).values, in_pieces(encoder, 1.0, 0.5).encode_audio(said).values
    error = (cut - whole).norm() / whole.norm()
    assert 0 < error < PIECES_DIFFER_AT_MOST


def test_up_to_a_minute_is_one_pass(encoder):
    assert len(list(pieces(encoder.hidden_frames(59 * 16_000), encoder.piece, encoder.context))) == 1


def test_the_network_never_hears_more_than_a_piece_and_its_surroundings(encoder, monkeypatch):
    heard = []
    forward = encoder.network.forward
    monkeypatch.setattr(encoder.network, "forward", lambda x, **rest: (heard.append(x.shape[1]), forward(x, **rest))[1])
    in_pieces(encoder, 1.0, 0.5).encode_audio(speech(9.0))
    assert len(heard) == 9 and max(heard) <= 2.0 * 16_000 + 80


def test_long_features_lie_in_a_file_and_are_the_same(encoder, monkeypatch):
    said = speech(1.3)
    here = encoder.encode_audio(said).values
    mapped = []
    monkeypatch.setattr(torch, "from_file", lambda *given, real=torch.from_file, **how: (mapped.append(given),
                                                                                         real(*given, **how))[1])
    monkeypatch.setattr(audio, "LARGEST_IN_MEMORY", 0)
    assert torch.equal(encoder.encode_audio(said).values, here) and len(mapped) == 1


def test_too_short_to_be_heard(encoder):
    with pytest.raises(InputError, match="20 ms of sound are too short"):
        encoder.encode_audio(Speech(np.zeros(320, np.float32), 16_000))


def test_silence_is_heard_without_dividing_by_nothing(encoder):
    assert encoder.encode_audio(Speech(np.zeros(16_000, np.float32), 16_000)).values.isfinite().all()


def test_a_folder_that_lacks_a_layer_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    write_audio(tmp_path)
    path = tmp_path / checkpoints.AUDIO / "model.safetensors"
    state = load_file(path)
    state.pop(next(name for name in state if "layers.1.feed_forward.output_dense.weight" in name))
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="it lacks encoder.layers.1.feed_forward.output_dense.weight"):
        read_audio_encoder(tmp_path / checkpoints.AUDIO, torch.float32, AT_HOME)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="wav2vec2-large-xlsr-53-english cannot be used"):
        read_audio_encoder(tmp_path / checkpoints.AUDIO, torch.float32, AT_HOME)


def test_the_full_size_hears_25_layers_of_1024():
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        full = AudioEncoder(Wav2Vec2Model(Wav2Vec2Config(**preset.WAV2VEC2_LARGE)), AT_HOME)
    assert full.shape == (25, 1024) and (full.stride, full.window) == (320, 400)
    assert full.hidden_frames(16_000) == 49
    small = random_audio_encoder(preset.WAV2VEC2_LARGE | AUDIO_NET, torch.float32, AT_HOME)
    assert small.encode_audio(speech(0.5)).values.isfinite().all()
