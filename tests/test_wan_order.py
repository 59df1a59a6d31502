"""Order of events in wan-s2v-14b: words, sound and portrait are encoded before the transformer's weights are loaded."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from fakes import face, tone
from ports import free_port

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
from wan_fakes import LOADED, TEXT_NET, small_lora, small_transformer, small_vae, write_checkpoint

import liveavatar
from liveavatar import parallel, pipeline, streaming
from liveavatar.backends.wan import backend as wan_backend
from liveavatar.backends.wan import loading as wan
from liveavatar.backends.wan import preset
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.backends.wan.text import random_text_encoder
from liveavatar.backends.wan.vae import StreamingWanVAE, WanDecoder
from liveavatar.config import GenerationConfig
from liveavatar.parallel import generation
from liveavatar.types import InputError
from liveavatar.vram.plan import plan
from widgets import Planner

CONFIG = GenerationConfig(size="64*64", sample_steps=2, infer_frames=12)
RANDOM = {"weights": "random", "conditioning": "multi-gpu", "device": "cpu"}
TINY = RANDOM | {"config": "tiny"}
ARTICLE = {"gpu": "RTX 4090", "gpus": 4, "size": "688*368"}

pytestmark = pytest.mark.filterwarnings("ignore:random weights")


@pytest.fixture
def events(monkeypatch):
    """Names of what happens, in order; with the loading, which encoders are alive then."""
    noted, networks = [], {}

    def note(owner, name, event):
        plain = getattr(owner, name)

        def noting(*given, **options):
            noted.append(event)
            return plain(*given, **options)

        monkeypatch.setattr(owner, name, noting)

    def keep_reference(name, plain):
        def noting(*given):
            encoder = plain(*given)
            networks[name] = weakref.ref(encoder.network)
            return encoder
        return noting

    plain_loading = wan.bring_transformer

    def loading(*given, **options):
        gc.collect()
        noted.append(("weights", [name for name, network in networks.items() if network() is not None]))
        return plain_loading(*given, **options)

    for name in ("text", "audio"):
        for kind in ("random", "read"):
            function = f"{kind}_{name}_encoder"
            monkeypatch.setattr(wan, function, keep_reference(name, getattr(wan, function)))
    monkeypatch.setattr(wan, "bring_transformer", loading)
    note(wan.AudioEncoder, "encode_audio", "sound")
    note(wan_backend, "encode_reference", "portrait")
    note(wan.TextEncoder, "encode_text", "words")
    note(pipeline, "roll_out", "steps")
    note(streaming, "roll_out", "steps")
    return noted


@pytest.fixture
def one_rank(monkeypatch):
    """The environment of a single process that torchrun has started."""
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def tiny(monkeypatch):
    """Tiny networks where `generate` has no option for them, as `config` is its own."""
    asked = preset.Networks.asked
    monkeypatch.setattr(preset.Networks, "asked", lambda config: asked("tiny"))


def test_one_video_is_encoded_first_and_its_encoders_are_gone_when_weights_come(events, tiny, tmp_path):
    video = liveavatar.generate(tone(0.4), face(80, 80), "hello", CONFIG, output=tmp_path / "out.mp4",
                                backend="wan-s2v-14b", progress=False, **RANDOM)
    assert events == ["sound", "portrait", "words", ("weights", []), "steps"] and video.complete


def test_so_it_is_under_torchrun(events, tiny, one_rank, tmp_path):
    video = parallel.generate(tone(0.4), face(80, 80), "hello", CONFIG, output=tmp_path / "out.mp4",
                              backend="wan-s2v-14b", progress=False, **RANDOM)
    assert events == ["sound", "portrait", "words", ("weights", [])] and video.complete


def test_a_rank_that_only_decodes_never_loads_the_transformer(events, monkeypatch):
    pipe = liveavatar.load("wan-s2v-14b", **TINY)
    condition = pipe.condition(tone(0.4), face(80, 80), "hello", CONFIG)
    monkeypatch.setattr(generation, "receive_latents",
                        lambda backend, condition, *_: [parallel.empty_latents(backend, condition)])
    monkeypatch.setattr(generation, "decode_video", lambda pipeline, latents, *_: latents)
    rank, layout = SimpleNamespace(rank=2), parallel.Layout.of(2, 3)
    made = generation.run_rank(pipe, None, condition, CONFIG, rank, layout, None, None, None, False)
    assert made[0].shape == (1, 16, 3, 8, 8) and made[0].dtype == torch.float32
    assert [event for event in events if event[0] == "weights"] == []


def test_the_video_is_the_same_whatever_comes_first():
    late, early = (liveavatar.load("wan-s2v-14b", **TINY) for _ in range(2))
    early.load_weights()
    steps = [list(pipe.steps(tone(0.4), face(80, 80), "hello", CONFIG)) for pipe in (late, early)]
    assert len(steps[0]) == 2
    for one, other in zip(*steps, strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.velocity, other.velocity)
    assert not late.backend.transformer.patch_embedding.weight.is_inference()       # it can be moved and changed later


def test_an_interactive_pipeline_keeps_its_encoders_and_loads_once(events):
    pipe = liveavatar.load("wan-s2v-14b", **TINY)
    assert events == []                                              # nothing is loaded before it is needed
    first = next(pipe.steps(tone(0.4), face(80, 80), "hello", CONFIG))
    other = next(pipe.steps(tone(0.4), face(80, 80), "something else", CONFIG))
    assert events == ["sound", "portrait", "words", ("weights", ["text", "audio"]), "steps",
                      "sound", "portrait", "words", "steps"]
    assert not torch.equal(first.velocity, other.velocity)


def test_after_loading_the_adapter_is_gone(tmp_path, monkeypatch):
    adapters = []

    def read(path):
        state = small_lora(small_transformer())
        adapters.extend(map(weakref.ref, state.values()))
        return state

    monkeypatch.setattr(wan.checkpoints, "read_lora", read)
    monkeypatch.setattr(wan.checkpoints, "lora_file", lambda path: tmp_path / "Wan" / "config.json")
    pipe = liveavatar.load("wan-s2v-14b", checkpoint_dir=write_checkpoint(tmp_path / "Wan"), lora="x", config=LOADED,
                           device="cpu")
    assert all(adapter() is not None for adapter in adapters)
    pipe.load_weights()
    gc.collect()
    assert adapters and not [adapter for adapter in adapters if adapter() is not None]


def test_a_prompt_for_which_the_gpu_has_no_room_is_encoded_on_the_cpu(monkeypatch):
    config = {"feed_forward_proj": "gated-gelu", "dropout_rate": 0.0} | TEXT_NET
    at_home = random_text_encoder(config, torch.float32, OffloadPolicy(torch.device("cpu")))
    elsewhere = random_text_encoder(config, torch.float32, OffloadPolicy(torch.device("cuda"), to_host=True))

    def full(offload, network):
        raise torch.OutOfMemoryError("CUDA out of memory")

    expected = at_home.encode_text("hello")
    monkeypatch.setattr(OffloadPolicy, "on_device", full)
    with pytest.warns(UserWarning, match="the prompt is encoded on the CPU"):
        assert torch.equal(elsewhere.encode_text("hello"), expected)
    with pytest.raises(torch.OutOfMemoryError):
        at_home.encode_text("hello")                                        # there is no other place


def test_released_encoders_are_said_to_be_gone():
    pipe = liveavatar.load("wan-s2v-14b", **TINY)
    pipe.backend.release_encoders()
    with pytest.raises(InputError, match="the text encoder of this pipeline has been released"):
        pipe.encode_text("hello")


def test_while_a_block_is_decoded_the_old_memory_goes_as_the_new_one_comes(monkeypatch):
    vae = StreamingWanVAE(small_vae())
    latents = torch.randn(1, 16, 3, 8, 8)
    decoder = WanDecoder(vae, None, "multi-gpu")
    decoder.decode(latents)
    branch, before = decoder.fork(), [weakref.ref(one) for one in decoder._memory if isinstance(one, torch.Tensor)]
    expected = branch.decode(latents)                                # the memory is shared with the fork, so it stays
    assert all(one() is not None for one in before)
    del branch
    alive, plain = [], vae.vae.decoder.conv_out.forward

    def look(*given):
        alive.append(sum(one() is not None for one in before))
        return plain(*given)

    monkeypatch.setattr(vae.vae.decoder.conv_out, "forward", look)
    assert torch.equal(decoder.decode(latents), expected)
    assert len(before) > 10 and alive == [1, 0, 0]                   # its own, then none


# ------------------------------------------------------------------------------------------------ the plan

def test_the_plan_has_the_same_order():
    made = plan(gpu="H200", size="384*256", weights="fp8")
    stages = [moment.stage for moment in made.moments]
    assert stages[:7] == ["load", "audio", "portrait", "text", "merge", "quantise", "prefill"]
    assert all("transformer" not in moment.owners for moment in made.moments[:4])
    assert all("text_encoder" not in moment.owners for moment in made.moments[4:])
    several = plan(gpu="H200", size="384*256", gpus=5)
    assert several.roles[4] == "VAE"
    assert all("transformer" not in moment.owners for moment in several.devices[4])


def test_four_small_cards_are_enough_for_8_bits_and_the_planner_says_so():
    made = plan(**ARTICLE, weights="fp8", caches="fp8", offload_kv_cache=True)
    assert made.verdict == "fits" and made.peak.bytes < 22.0 * 2**30       # 22.15 GiB are usable, says the article
    view = Planner(**ARTICLE, fp8=True, fp8_caches=True, offload_kv_cache=True)
    assert view.plan.verdict == "fits" and view.plan.peak == made.peak
