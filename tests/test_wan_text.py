"""Words of wan-s2v-14b: UMT5 under the released names, padding as released."""

import pytest
import torch

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")

from wan_fakes import TEXT_NET, write_text

from liveavatar.backends.wan import checkpoints, preset
from liveavatar.backends.wan.offload import OffloadPolicy, moved_weights
from liveavatar.backends.wan.text import empty_encoder, random_text_encoder, read_text_encoder, tidy, transformers_name

CONFIG = preset.UMT5_XXL | TEXT_NET
AT_HOME = OffloadPolicy(torch.device("cpu"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    write_text(folder)
    return read_text_encoder(folder / checkpoints.TEXT, folder / checkpoints.TOKENIZER, CONFIG, torch.float32, AT_HOME)


def test_names_of_the_released_file():
    assert transformers_name("token_embedding.weight") == "shared.weight"
    assert transformers_name("blocks.23.attn.q.weight") == "encoder.block.23.layer.0.SelfAttention.q.weight"
    assert transformers_name("blocks.3.ffn.gate.0.weight") == "encoder.block.3.layer.1.DenseReluDense.wi_0.weight"
    assert transformers_name("norm.weight") == "encoder.final_layer_norm.weight"
    assert transformers_name("stranger.weight") == "stranger.weight"


def test_the_full_encoder_has_the_released_size():
    full = empty_encoder(preset.UMT5_XXL)
    assert sum(parameter.numel() for parameter in full.parameters()) == 5_680_910_336
    assert len(set(full.state_dict()) - {"encoder.embed_tokens.weight"}) == 242


def test_only_the_words_are_computed_and_equal_the_masked_512_rows_of_the_released_code(encoder):
    ids = encoder.tokenize("a dwarf laughs")
    assert ids == [3, 4, 5, 1]
    padded = torch.zeros(1, 512, dtype=torch.long)
    padded[0, :4] = torch.tensor(ids)
    masked = encoder.network(padded, attention_mask=(padded != 0).long()).last_hidden_state[:, :4]
    torch.testing.assert_close(encoder.encode_text("a dwarf laughs"), masked, rtol=1e-5, atol=1e-5)


def test_a_long_prompt_is_cut_and_still_ends(encoder):
    assert encoder.encode_text("laughs " * 900).shape == (1, 512, 16)
    assert encoder.encode_text("laughs " * 900, most_tokens=24).shape == (1, 24, 16)
    assert encoder.encode_text("").shape == (1, 1, 16)


def test_a_network_that_rests_elsewhere_is_given_back_as_it_was(encoder):
    network, before = encoder.network, encoder.network.shared.weight.data_ptr()
    expected = encoder.encode_text("a dwarf")
    with torch.inference_mode(), pytest.raises(ZeroDivisionError), moved_weights(network, torch.clone):
        assert network.shared.weight.data_ptr() != before
        assert torch.equal(encoder.encode_text("a dwarf"), expected)
        raise ZeroDivisionError                                    # whatever happens meanwhile
    assert network.shared.weight.data_ptr() == before and not network.shared.weight.is_inference()
    assert network.encoder.embed_tokens.weight is network.shared.weight
    assert OffloadPolicy(torch.device("cuda"), to_host=True).storage_device.type == "cpu"


def test_text_is_tidied_as_in_training():
    assert tidy("  A&amp;amp;B \n\t “warm”  light’s ") == "A&B \"warm\" light's"


def test_random_words_need_no_tokenizer():
    encoder = random_text_encoder(CONFIG, torch.float32, AT_HOME)
    features = encoder.encode_text("né")
    assert features.shape == (1, 4, 16) and features.isfinite().all()           # three bytes and the end
    assert encoder.network.encoder.embed_tokens.weight is encoder.network.shared.weight
