"""mini and the 14B as a diffusers pipeline: the latents of `liveavatar.load`, called, saved and opened as there."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from fakes import face, tone

import liveavatar
from liveavatar import GenerationConfig, LiveAvatarPipeline
from liveavatar.types import InputError

pytestmark = pytest.mark.filterwarnings("ignore:random weights", "ignore:no (voice|face) was found",
                                        "ignore:.*rendered avatar")
LOADED = {"mini": {"weights": "random", "dtype": "float32"},
          "wan-s2v-14b": {"weights": "random", "config": "tiny"}}
SIDES = {"mini": 32, "wan-s2v-14b": 64}
INPUTS = {"image": face(), "audio": tone(0.6), "prompt": "smiling", "num_inference_steps": 2,
          "config": GenerationConfig(size=(32, 32))}


def load(name: str) -> LiveAvatarPipeline:
    if name != "mini":
        pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
    pipe = LiveAvatarPipeline(liveavatar.load(name, device="cpu", **LOADED[name]).backend)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(pipe: LiveAvatarPipeline, seed: int = 7) -> torch.Tensor:
    side = SIDES[pipe.backend.name]
    return pipe(**INPUTS, height=side, width=side, generator=seeded(seed), output_type="latent").frames


@pytest.fixture(scope="module")
def mini() -> LiveAvatarPipeline:
    return load("mini")


@pytest.mark.parametrize("name", LOADED)
def test_one_seed_gives_the_latents_of_load_and_a_saved_folder_gives_them_again(name, tmp_path):
    pipe = load(name)
    assert isinstance(pipe, DiffusionPipeline)
    config = GenerationConfig(size=(SIDES[name],) * 2, sample_steps=2, base_seed=7)
    steps = pipe.pipeline.steps(INPUTS["audio"], INPUTS["image"], "smiling", config)
    assert torch.equal(latents(pipe), torch.cat([step.x for step in steps if step.last], 2))
    with torch.no_grad():
        next(pipe.transformer.parameters()).mul_(1.5)                # what was changed is saved too
    changed = latents(pipe)
    pipe.save_pretrained(tmp_path / "saved")
    again = LiveAvatarPipeline.from_pretrained(tmp_path / "saved")
    again.set_progress_bar_config(disable=True)
    assert torch.equal(latents(again), changed) and dict(again.config["options"]) == dict(pipe.config["options"])


def test_another_seed_is_another_video_and_without_one_it_is_drawn_from_torch(mini):
    assert not torch.equal(latents(mini), latents(mini, 8))
    videos = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            videos.append(mini(**INPUTS, output_type="latent").frames)
    assert torch.equal(*videos)


def test_every_output_type_is_the_same_video(mini):
    made = {kind: mini(**INPUTS, generator=seeded(), output_type=kind, return_dict=False)[0]
            for kind in ("np", "pt", "pil")}
    assert made["np"].shape == (1, 15, 32, 32, 3) and 0 <= made["np"].min() and made["np"].max() <= 1
    assert np.array_equal(made["pt"].permute(0, 1, 3, 4, 2).numpy(), made["np"])
    assert np.array_equal(np.stack([np.asarray(frame) for frame in made["pil"][0]]), (made["np"][0] * 255).round())
    assert mini(**INPUTS, generator=seeded()).fps == 25


def test_a_callback_sees_every_step_of_every_block_and_can_interrupt(mini):
    seen = []

    def look(pipe, index, timestep, tensors):
        seen.append((index, float(timestep), tuple(tensors["latents"].shape)))
        pipe._interrupt = index == 1
        return tensors

    frames = mini(**INPUTS, generator=seeded(), callback_on_step_end=look).frames
    assert [index for index, *_ in seen] == [0, 1] and seen[0][1:] == (1000, (1, 16, 3, 4, 4))
    assert frames.shape[1] == 12                                     # the first block alone
    seen.clear()
    assert len(latents(mini)[0, 0]) == 6 and not seen                # an interruption is of one call


def test_components_make_the_same_pipeline(mini):
    other = LiveAvatarPipeline(**mini.components)
    assert other.transformer is mini.transformer and other.to("cpu") is other
    assert set(mini.networks()) >= {"transformer", "vae"} and (mini.device.type, mini.dtype) == ("cpu", torch.float32)


@pytest.mark.parametrize("asked, said", [
    ({"output_type": "gif"}, "output_type is 'gif'; known: 'np'"),
    ({"height": 64}, "height is 64 and width is None; give both"),
    ({"generator": [seeded()]}, "generator is list; give one torch.Generator"),
    ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, r"a callback can be given \['latents'\]"),
    ({"callback_on_step_end": lambda *given: {"latents": torch.zeros(1)}}, "can look and interrupt, not change them"),
    ({"callback_on_step_end": lambda pipe, *given: setattr(pipe, "_interrupt", True)}, "before its first block"),
    ({"num_inference_steps": 0}, "sample_steps is 0"),
])
def test_what_cannot_be_used_is_said(mini, asked, said):
    with pytest.raises(InputError, match=said):
        mini(**{**INPUTS, **asked})


def test_what_cannot_be_opened_saved_or_moved_is_said(mini, tmp_path):
    with pytest.raises(InputError, match="holds no LiveAvatarPipeline"):
        LiveAvatarPipeline.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="no option 'variant'"):
        mini.save_pretrained(tmp_path, variant="fp16")
    with pytest.raises(InputError, match="load it as you want it"):
        mini.to(torch.float16)
    mini.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"transformer", "vae", "ear"}
    with pytest.raises(InputError, match="torch_dtype is torch.float16; known: torch.float32"):
        LiveAvatarPipeline.from_pretrained(tmp_path, torch_dtype=torch.float16)
    (tmp_path / "vae" / "model.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(InputError, match="does not fit this version of the network"):
        LiveAvatarPipeline.from_pretrained(tmp_path)
