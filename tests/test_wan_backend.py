"""wan-s2v-14b as a whole at tiny size: from the released folders to a video, aligned, marked, and gone on with."""

import itertools
import json
import shutil
import types
import warnings
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from fakes import face, tone

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")

from wan_fakes import (
    AUDIO_NET,
    LOADED,
    SMALL,
    TEXT_NET,
    VAE_NET,
    small_lora,
    small_transformer,
    write_checkpoint,
)

import liveavatar
from liveavatar.backends import Backend, find
from liveavatar.backends.wan import checkpoints, preset
from liveavatar.cli import main
from liveavatar.config import GenerationConfig
from liveavatar.inputs import size_of_video
from liveavatar.lora import merge_lora
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError, Step
from liveavatar.video import VideoWriter

CONFIG = GenerationConfig(size="64*64", sample_steps=2, infer_frames=12)
SECONDS = 0.9                                                      # 23 pictures, two blocks


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """ckpt/Wan2.2-S2V-14B and ckpt/LiveAvatar, as the released README asks for them."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("ckpt")
    write_checkpoint(folder / "Wan2.2-S2V-14B")
    (folder / "LiveAvatar").mkdir()
    save_file(small_lora(small_transformer()), folder / "LiveAvatar" / "liveavatar.safetensors")
    return folder


def load(downloads, **options):
    options = {"config": LOADED, "conditioning": "multi-gpu", "device": "cpu"} | options
    return liveavatar.load("wan-s2v-14b", checkpoint_dir=downloads / "Wan2.2-S2V-14B",
                           lora=downloads / "LiveAvatar", **options)


@pytest.fixture(scope="module")
def pipe(downloads):
    return load(downloads)


@pytest.fixture(scope="module")
def told(pipe):
    return pipe.condition(tone(SECONDS), face(80, 80), "a dwarf laughs", CONFIG)


@pytest.fixture(scope="module")
def blocks(pipe, told):
    return list(pipe.events(told, config=CONFIG))


def pictures_of(events):
    return torch.cat([event.frames for event in events if isinstance(event, Block)])


def test_the_same_calls_look_into_this_model_as_into_mini(pipe, told, blocks):
    """Motion is among the keys; weights reproduce the kernel's output up to its rounding; the run stays the same."""
    from liveavatar import inspect

    with inspect.record(pipe, layers=[0, 1], blocks=[1], heads=[1], values=True) as seen:
        steps = list(pipe.steps(told, config=CONFIG))
    assert all(torch.equal(one.x, other.x) for one, other in
               zip(steps, (event for event in blocks if not isinstance(event, Block)), strict=True))
    one, rounding = seen.attention(1, 0, 1), 1e-5 if pipe.backend.dtype == torch.float32 else 2e-2
    assert set(one.shares()) == {"portrait", "motion", "past", "block"}
    assert torch.allclose(one.weights.sum(2), torch.ones(one.weights.shape[:2]), atol=1e-5)
    assert torch.allclose(one.weights @ one.values, one.output, atol=rounding)
    assert seen.attention(1, 0, 1, "sound").weights.shape[2] == 5
    last = next(step for step in steps if (step.block, step.index) == (1, 0))
    assert torch.allclose(seen.readout(1, 0, 1).float(), last.clean.float(), atol=rounding)


def test_what_the_model_is_told_has_the_shapes_the_interface_names(pipe):
    backend: Backend = pipe.backend
    features = pipe.encode_audio(tone(SECONDS))
    assert features.values.shape == (1, 3, 16, 23) and features.rms.shape == (23,)
    assert pipe.encode_text("a dwarf laughs").shape == (1, 4, 16)
    reference, motion = pipe.encode_image(face(80, 80), CONFIG)
    assert reference.shape == (1, 16, 1, 8, 8) and motion.shape == (1, 16, 19, 8, 8)
    assert backend.trained.schedule == "released" and not backend.sees_past_sound


def test_the_adapter_is_in_the_weights(pipe):
    expected = small_transformer().bfloat16().float()
    merge_lora(expected, small_lora(expected), preset.LORA_ALPHA)
    for name, value in pipe.backend.transformer.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=0, atol=0)


def test_the_same_events_as_mini(blocks):
    assert [(type(event), event.block if isinstance(event, Step) else event.index) for event in blocks] == [
        (Step, 0), (Step, 0), (Block, 0), (Step, 1), (Step, 1), (Block, 1)]
    assert [len(event.frames) for event in blocks if isinstance(event, Block)] == [12, 11]
    steps = [event for event in blocks if isinstance(event, Step)]
    assert steps[0].sigma == 1 and steps[1].sigma == pytest.approx(3 * 0.002994 / (1 + 2 * 0.002994), rel=1e-3)


def test_one_seed_is_one_video(pipe, told, blocks):
    ours = torch.stack([event.x for event in blocks if isinstance(event, Step)])
    for seed, same in ((CONFIG.base_seed, True), (1, False)):
        steps = pipe.steps(told, config=replace(CONFIG, base_seed=seed))
        assert torch.equal(torch.stack([step.x for step in steps]), ours) == same


def test_it_branches_as_mini_does(pipe):
    run = Run.of(pipe, tone(SECONDS), face(80, 80), "a dwarf laughs", CONFIG)
    run.start().result()
    for change in ({}, {"prompt": "warm light"}):
        branch = run.branch(1, 1, **change)
        branch.start().result()
        same = [torch.equal(run.step_record(*key).x, branch.step_record(*key).x) for key in run.recorded_steps]
        assert same == [True, True, True, not change]
        assert torch.equal(run.blocks[1].frames, branch.blocks[1].frames) == same[3]
    first = run.branch(1, 0, seed=7)
    first.start().result()
    assert not torch.equal(run.step_record(1, 0).x, first.step_record(1, 0).x)


def test_the_released_trim_shows_each_picture_120_ms_early(pipe, told, blocks, monkeypatch):
    monkeypatch.setattr(pipe.backend, "trim_frames", 3)            # what released_trim=True sets
    early = list(pipe.events(told, config=CONFIG))
    assert torch.equal(pictures_of(early), pictures_of(blocks)[3:])
    assert [event.start_s for event in early if isinstance(event, Block)] == [0, 9 / 25]


def test_a_stopped_run_is_gone_on_with_and_its_video_says_where_it_comes_from(pipe, blocks, tmp_path):
    stop = Event()
    film = pipe.stream(tone(SECONDS), face(80, 80), "a dwarf laughs", CONFIG, output=tmp_path / "out.mp4",
                     run_dir=tmp_path / "run", stop=stop)
    for event in film:
        if isinstance(event, Block):
            stop.set()
    video = liveavatar.resume(tmp_path / "run", progress=False)
    assert (video.frames, video.size, video.complete) == (23, (64, 64), True)
    said = liveavatar.read_provenance(video.path)["backend"]
    assert said["name"] == "wan-s2v-14b" and len(said["fingerprint"]) == len(said["lora"]) == 16
    assert "ckpt" not in str(said)                                 # a folder's name is nobody's business
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "run" / "block_00001.safetensors")
    last = [event for event in blocks if isinstance(event, Block)][1]
    assert any(torch.equal(value, last.latents) for value in saved.values())


SHORT = replace(CONFIG, ring_frames=3, portrait_sink=False, cache_level="clean")


@pytest.mark.parametrize("option", ["offload_kv_cache", "condition_in_rings"])
def test_a_short_ring_without_portrait_and_one_clean_cache_work_in_every_layout(downloads, pipe, told, blocks, option):
    """The portrait is seen in block 0 alone; the steps of block 0 see what they always see."""
    plain, other = (list(one.steps(told, config=SHORT)) for one in (pipe, load(downloads, **{option: True})))
    steps = [event for event in blocks if isinstance(event, Step)]
    assert [torch.equal(a.x, b.x) for a, b in zip(plain, steps, strict=True)] == [True, True, False, False]
    assert all(torch.equal(a.x, b.x) for a, b in zip(plain, other, strict=True))
    assert len({id(step.cache.k) for step in plain}) == 1 and plain[0].cache.capacity == 3
    fp8 = list(load(downloads, fp8_attention=True).steps(told, config=SHORT))
    error = (fp8[-1].velocity - plain[-1].velocity).norm() / plain[-1].velocity.norm()
    assert 0 < error < 0.5


def test_streams_are_compared_as_those_of_mini_are(pipe):
    from liveavatar.study import DriftStudy, stability_settings

    names = [setting.name for setting in stability_settings(pipe)]
    assert f"ring of {pipe.backend.transformer.config.cache_frames}" not in names and "re-noise" in names
    settings = [setting for setting in stability_settings(pipe) if setting.name in ("as trained", "one clean cache")]
    study = DriftStudy(pipe, tone(1.0), face(80, 80), "a dwarf laughs", settings=settings, seconds=1.0, config=CONFIG)
    assert [(name, point.block) for name, point in study.blocks()] == [
        ("as trained", 0), ("one clean cache", 0), ("as trained", 1), ("one clean cache", 1)]
    assert study["as trained"].newest.shape == (64, 64, 3) and len(study.table()) == 2


@pytest.mark.parametrize("option", ["offload_kv_cache", "condition_in_rings"])
def test_however_rings_are_laid_out_the_video_is_the_same(downloads, told, blocks, option):
    steps = load(downloads, **{option: True}).steps(told, config=CONFIG)
    for here, there in zip(steps, (event for event in blocks if isinstance(event, Step)), strict=True):
        assert torch.equal(here.x, there.x)


def test_a_pose_video_moves_the_picture(pipe, blocks, tmp_path):
    pose = tmp_path / "pose.mp4"
    with VideoWriter(pose, (64, 64), 25.0) as writer:
        writer.write(np.random.default_rng(0).integers(0, 255, (14, 64, 64, 3), np.uint8))
        writer.close()
    following = replace(CONFIG, pose_video=str(pose))
    condition = pipe.condition(tone(SECONDS), face(80, 80), "a dwarf laughs", following)
    assert condition.pose.shape == (1, 16, 6, 8, 8)                # two clips of three latents
    posed = list(pipe.steps(condition, config=following))
    assert len(posed) == 4 and not torch.equal(posed[0].velocity, blocks[0].velocity)
    with pytest.raises(InputError, match="mini follows no pose video"):
        liveavatar.generate(tone(SECONDS), face(64, 64), "", following, output=tmp_path / "mini.mp4")


def test_steps_of_any_number_and_one_ring_for_each(pipe, told):
    for steps in (1, 5):
        config = replace(CONFIG, sample_steps=steps)
        made = list(itertools.islice(pipe.steps(told, config=config), steps))
        assert [step.index for step in made] == list(range(steps)) and made[-1].last
        assert len({id(step.cache.k) for step in made}) == steps


def test_the_size_follows_the_portrait():
    backend = find("wan-s2v-14b")
    assert size_of_video(backend, None, face(720, 400)) == (704, 384)
    assert size_of_video(backend, (384, 256), face(1024, 1024)) == (256, 256)


def test_every_word_of_the_prompt_is_read(pipe, recwarn):
    pipe.encode_text("a dwarf who hammers iron")
    assert not [warning for warning in recwarn if "does not know" in str(warning.message)]


@pytest.fixture(scope="module")
def untrained():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pipe = liveavatar.load("wan-s2v-14b", weights="random", config=SMALL, fp8=True, conditioning="multi-gpu",
                               device="cpu")
    return pipe, [str(warning.message) for warning in said]


def test_random_weights_need_no_file_and_mark_every_picture(untrained):
    pipe, said = untrained
    assert any("its pictures mean nothing" in line for line in said) and "untrained=True" in repr(pipe)
    pictures = pictures_of(pipe.events(tone(0.4), face(80, 80), "hello", CONFIG))
    corner = pictures[:, -10:-1, -38:-1]
    assert pictures.shape == (10, 64, 64, 3)
    assert ((corner == 255) | (corner < 64)).all()                 # white letters on a darkened ground


@pytest.mark.filterwarnings("ignore:random weights")
@pytest.mark.parametrize("fp8", [False, True])
def test_in_the_precision_of_gpus(fp8):
    pipe = liveavatar.load("wan-s2v-14b", weights="random", config=SMALL, dtype="bfloat16", fp8=fp8,
                           conditioning="multi-gpu", device="cpu")
    condition = pipe.condition(tone(0.3), face(80, 80), "hello", CONFIG)
    assert condition.audio.dtype == condition.text.dtype == torch.bfloat16
    step = next(pipe.steps(condition, config=CONFIG))
    assert step.x.dtype == step.velocity.dtype == step.cache.k.dtype == torch.bfloat16 and step.x.isfinite().all()
    assert next(pipe.decode([step.x], condition=condition)).shape == (12, 64, 64, 3)


def test_without_a_lora_the_user_is_told(downloads):
    with pytest.warns(UserWarning, match="no LoRA is given"):
        liveavatar.load("wan-s2v-14b", checkpoint_dir=downloads / "Wan2.2-S2V-14B", config=LOADED, device="cpu")


def test_attention_in_8_bits_goes_all_the_way_and_changes_the_video_a_little(downloads, told, blocks):
    pipe = load(downloads, fp8_attention=True)
    made = [event for event in pipe.events(told, config=CONFIG) if isinstance(event, Block)]
    plain = [event for event in blocks if isinstance(event, Block)]
    for here, there in zip(made, plain, strict=True):
        assert 0 < (here.latents - there.latents).norm() / there.latents.norm() < 0.05
    about = pipe.backend.about()
    assert about["fp8_attention"] and about["fp8_cache"]


@pytest.mark.parametrize(("options", "said"), [
    ({}, "checkpoint_dir is missing .*hf download Wan-AI/Wan2.2-S2V-14B .*weights=\"random\""),
    ({"checkpoint_dir": "nowhere"}, "checkpoint_dir nowhere does not exist"),
    ({"weights": "random", "lora": "x.safetensors"}, "takes no files"),
    ({"weights": "other"}, 'weights is \'other\'; known: "released"'),
    ({"conditioning": "other"}, "conditioning is 'other'"),
    ({"condition_in_rings": True, "fp8_cache": True}, "condition_in_rings is for rings on the GPU in full precision"),
    ({"fp8_attention": True, "offload_kv_cache": True}, "fp8_attention has rings of its own on the GPU"),
    ({"dtype": "int8"}, "dtype is 'int8'; known: auto, float32, bfloat16"),
    ({"weights": "random", "config": "huge"}, "config is 'huge'; known by name: \"tiny\""),
    ({"weights": "random", "config": {"ears": {}}}, "unknown network 'ears'; known: transformer, text, audio, vae"),
])
def test_what_cannot_be_loaded_is_said_in_one_sentence(options, said):
    with pytest.raises(InputError, match=said):
        liveavatar.load("wan-s2v-14b", **options)


def test_a_lora_for_another_model_is_refused(downloads, tmp_path):
    from safetensors.torch import save_file

    state = small_lora(small_transformer())
    state.pop("base_model.model.blocks.1.self_attn.q.lora_A.default.weight")
    save_file(state, tmp_path / "half.safetensors")
    with pytest.raises(InputError, match=r"matches 23 of 24 modules; first missing: \['blocks.1.self_attn.q'\]"):
        liveavatar.load("wan-s2v-14b", checkpoint_dir=downloads / "Wan2.2-S2V-14B", lora=tmp_path / "half.safetensors",
                        config=LOADED, device="cpu")


@pytest.mark.parametrize(("changed", "said"), [
    ({"ffn_dim": 64}, r"ffn.* in diffusion_pytorch_model-\S+ is .*, config.json asks for"),
    ({"num_layers": 3}, "the checkpoint holds no blocks.2.* for which config.json asks"),
    ({"num_layers": 1, "audio_inject_layers": [0]}, "the checkpoint holds blocks.1.* config.json has no place"),
])
def test_a_wrong_configuration_is_not_blamed_on_the_lora(downloads, tmp_path, changed, said):
    folder = shutil.copytree(downloads / "Wan2.2-S2V-14B", tmp_path / "Wan2.2-S2V-14B")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(InputError, match=said):
        liveavatar.load("wan-s2v-14b", checkpoint_dir=folder, lora=downloads / "LiveAvatar", config=LOADED,
                        device="cpu")


# ------------------------------------------------------------------------------------------------ command line

@pytest.fixture
def small(monkeypatch):
    """The released sizes replaced by small ones, as the command line has no option for them."""
    from liveavatar.transformer import CausalS2VTransformer

    monkeypatch.setattr(preset, "UMT5_XXL", preset.UMT5_XXL | TEXT_NET)
    monkeypatch.setattr(preset, "WAV2VEC2_LARGE", preset.WAV2VEC2_LARGE | AUDIO_NET)
    monkeypatch.setattr(preset, "WAN21_VAE", VAE_NET)
    from_config = CausalS2VTransformer.from_config
    monkeypatch.setattr(CausalS2VTransformer, "from_config",
                        lambda config: from_config(config | {"audio_layers": 3, "cache_frames": 6}))


def materials(folder):
    import soundfile

    from liveavatar.avatars.portraits import save_portrait

    save_portrait(face(80, 80), folder / "face.png")
    soundfile.write(folder / "speech.wav", tone(SECONDS).wave, 16_000)
    return ["--image", str(folder / "face.png"), "--audio", str(folder / "speech.wav")]


def test_the_released_script_runs(downloads, small, tmp_path):
    out = tmp_path / "out.mp4"
    asked = ["generate", "--backend", "wan-s2v-14b", "--ckpt_dir", str(downloads / "Wan2.2-S2V-14B"),
             "--load_lora", "--lora_path_dmd", str(downloads / "LiveAvatar"), "--task", "s2v-14B",
             "--ulysses_size", "1", "--size", "64*64", "--base_seed", "420", "--training_config", "s2v_causal_sft.yaml",
             "--offload_model", "True", "--convert_model_dtype", "--prompt", "a dwarf laughs", "--infer_frames", "48",
             "--sample_steps", "2", "--sample_guide_scale", "0", "--num_clip", "10000", "--num_gpus_dit", "1",
             "--sample_solver", "euler", "--single_gpu", "--fp8", "--conditioning", "multi-gpu",
             "--device", "cpu", "--save_file", str(out)]
    assert main(asked + materials(tmp_path)) == 0
    said = liveavatar.read_provenance(out)
    assert said["backend"]["fp8"] and said["config"]["sample_steps"] == 2


@pytest.mark.parametrize(("asked", "said"), [
    (["--backend", "wan-s2v-14b"], "checkpoint_dir is missing (--ckpt_dir)"),
    (["--fp8"], "--fp8 is for the released model; add --backend wan-s2v-14b"),
    (["--backend", "wan-s2v-14b", "--task", "t2v-A14B"], "--task is 't2v-A14B'"),
    (["--backend", "wan-s2v-14b", "--pose_video", "none.mp4"], "pose_video none.mp4 does not exist"),
    (["--backend", "wan-s2v-14b", "--infer_frames", "80"], "the nearest are 72 and 84"),
])
def test_the_command_line_refuses_in_one_sentence(asked, said, tmp_path, capsys):
    out = str(tmp_path / "out.mp4")
    assert main(["generate", *asked, "--output", out, *materials(tmp_path)]) == 2
    assert said in capsys.readouterr().err and not Path(out).exists()


def test_main_memory_that_cannot_hold_the_weights_is_said_before_they_are_read(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=24 * 2**30))
    monkeypatch.setattr(psutil, "swap_memory", lambda: types.SimpleNamespace(total=0))
    with (pytest.warns(UserWarning, match="random weights"),
          pytest.raises(InputError, match="at least 82 GiB .float32.; this machine has 24 GiB .*--backend mini")):
        liveavatar.load("wan-s2v-14b", weights="random", device="cpu")


def test_a_broken_download_is_found_before_anything_is_loaded(downloads, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(downloads / "Wan2.2-S2V-14B", tmp_path / "ckpt")
    (folder / checkpoints.VAE).unlink()
    monkeypatch.setattr("liveavatar.backends.wan.loading.read_audio_encoder", lambda *_: pytest.fail("loaded"))
    asked = ["generate", "--backend", "wan-s2v-14b", "--ckpt_dir", str(folder), "--output", str(tmp_path / "out.mp4")]
    assert main(asked + materials(tmp_path)) == 2
    assert "lacks Wan2.1_VAE.pth; get it with: hf download" in capsys.readouterr().err
