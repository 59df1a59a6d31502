"""wan-s2v-14b at a size for tests: the same networks with few channels, and the released folders with them inside."""

import json
from pathlib import Path

import torch

from liveavatar.backends.wan.checkpoints import AUDIO, CONFIG, INDEX, TEXT, TOKENIZER, VAE
from liveavatar.backends.wan.preset import TINY
from liveavatar.backends.wan.text import transformers_name
from liveavatar.lora import targets

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
    released |= {"_class_name": "WanModel_S2V", "model_type": "s2v", "enable_adain": True, "adain_mode": "attn_norm",
                 "zero_timestep": True, "framepack_drop_mode": "padd", "audio_inject_layers": [1]}
    (folder / CONFIG).write_text(json.dumps(released))


def write_text(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(2)
    network = UMT5EncoderModel(UMT5Config(**TEXT_NET, feed_forward_proj="gated-gelu", dropout_rate=0.0))
    parts = ("attn.q", "attn.k", "attn.v", "attn.o", "pos_embedding.embedding", "norm1", "norm2", "ffn.gate.0",
             "ffn.fc1", "ffn.fc2")
    released = ["token_embedding", "norm", *(f"blocks.{block}.{part}" for block in range(2) for part in parts)]
    state = network.state_dict()
    torch.save({f"{name}.weight": state[transformers_name(f"{name}.weight")].bfloat16() for name in released},
               folder / TEXT)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    (folder / TOKENIZER).mkdir(parents=True)
    tokenizer.save(str(folder / TOKENIZER / "tokenizer.json"))


def small_vae():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(3)
    return AutoencoderKLWan(**VAE_NET).eval()


def released_vae_names(names):
    """diffusers' name -> name in Wan2.1_VAE.pth, found by asking diffusers' own converter about every likely name."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    weights = ("weight", "bias")
    in_residual = [f"residual.{part}" for part in ("0.gamma", "3.gamma", "2.weight", "2.bias", "6.weight", "6.bias")]
    in_attention = ["norm.gamma", *(f"{part}.{kind}" for part in ("to_qkv", "proj") for kind in weights)]
    in_stage = in_residual + [f"{part}.{kind}" for part in ("shortcut", "resample.1", "time_conv") for kind in weights]
    likely = [f"{part}.{kind}" for part in ("conv1", "conv2", "encoder.conv1", "decoder.conv1") for kind in weights]
    for side, stages in (("encoder", "downsamples"), ("decoder", "upsamples")):
        likely += [f"{side}.middle.{place}.{name}" for place in (0, 2) for name in in_residual]
        likely += [f"{side}.middle.1.{name}" for name in in_attention]
        likely += [f"{side}.head.{name}" for name in ("0.gamma", "2.weight", "2.bias")]
        likely += [f"{side}.{stages}.{place}.{name}" for place in range(15) for name in in_stage]
    return {ours: theirs for ours, theirs in convert_wan_vae_to_diffusers({name: name for name in likely}).items()
            if ours in names}


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
