"""wan-s2v-14b at a size for tests: the same networks with few channels, and the released folders with them inside."""

import json
import sys
from pathlib import Path

import torch

from liveavatar.backends.wan.checkpoints import AUDIO, CONFIG, INDEX, TEXT, TOKENIZER, VAE
from liveavatar.backends.wan.preset import TINY
from liveavatar.backends.wan.text import transformers_name
from liveavatar.lora import targets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from wan_folders import RELEASED, released_vae_names, text_names, write_tokenizer  # noqa: E402

TEXT_NET, AUDIO_NET, VAE_NET = (TINY[name] for name in ("text", "audio", "vae"))
TRANSFORMER = TINY["transformer"] | dict(dim=24, ffn_dim=32, cache_frames=6)
SMALL = {"transformer": TRANSFORMER, "text": TEXT_NET, "audio": AUDIO_NET, "vae": VAE_NET}
LOADED = {"transformer": {"audio_layers": 3, "cache_frames": 6}, "text": TEXT_NET, "vae": VAE_NET}   # from the folders

WORDS = "<pad> </s> <unk> a dwarf laughs in warm light".split()
SHARDS = 3


def write_checkpoint(folder: Path) -> Path:
    """The folder of Wan2.2-S2V-14B as it is downloaded, small."""
    folder.mkdir(parents=True)
    write_transformer(folder)
    write_text(folder)
    write_vae(folder)
    write_audio(folder)
    return folder


def traced_graphs(monkeypatch) -> list:
    """The graphs that torch.compile makes from now on; they are only traced, and run as they are."""
    graphs, compile_ = [], torch.compile

    def graph_of(graph, _):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda work, dynamic, options=None: compile_(work, dynamic=dynamic,
                                                                                       backend=graph_of))
    return graphs


def off(one, other):
    """How far, of the norm."""
    return ((one.float() - other.float()).norm() / other.float().norm()).item()


def small_transformer():
    from liveavatar.transformer import CausalS2VTransformer

    torch.manual_seed(1)
    return CausalS2VTransformer.from_config(TRANSFORMER)


def write_transformer(folder):
    from safetensors.torch import save_file

    state = small_transformer().bfloat16().state_dict()
    names = {name: f"diffusion_pytorch_model-{number % SHARDS + 1:05d}-of-{SHARDS:05d}.safetensors"
             for number, name in enumerate(state)}
    for file in set(names.values()):
        save_file({name: value.contiguous() for name, value in state.items() if names[name] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    released = {name: value for name, value in TRANSFORMER.items() if name not in ("audio_layers", "cache_frames")}
    released |= RELEASED | {"audio_inject_layers": [1]}
    (folder / CONFIG).write_text(json.dumps(released))


def write_text(folder):
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(2)
    network = UMT5EncoderModel(UMT5Config(**TEXT_NET, feed_forward_proj="gated-gelu", dropout_rate=0.0))
    state = network.state_dict()
    torch.save({name: state[transformers_name(name)].bfloat16() for name in text_names(TEXT_NET["num_layers"])},
               folder / TEXT)
    (folder / TOKENIZER).mkdir(parents=True)
    write_tokenizer(folder / TOKENIZER / "tokenizer.json", WORDS)


def small_vae():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(3)
    return AutoencoderKLWan(**VAE_NET).eval()


def write_vae(folder):
    state = small_vae().state_dict()
    torch.save({theirs: state[ours] for ours, theirs in released_vae_names(state).items()}, folder / VAE)


def write_audio(folder):
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(4)
    config = Wav2Vec2Config(**AUDIO_NET, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
                            vocab_size=33)
    Wav2Vec2ForCTC(config).save_pretrained(folder / AUDIO)


def small_lora(model, rank=4):
    """An adapter for every target, under the released names."""
    torch.manual_seed(5)
    state = {}
    for name, linear in targets(model).items():
        state[f"base_model.model.{name}.lora_A.default.weight"] = torch.randn(rank, linear.in_features) * 0.1
        state[f"base_model.model.{name}.lora_B.default.weight"] = torch.randn(linear.out_features, rank) * 0.1
    return state
