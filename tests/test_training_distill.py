"""Training of the many-step base and its distillation at toy size, through the real commands."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from liveavatar.backends.mini import preset
from liveavatar.backends.mini.vae import VAEConfig, VideoVAE, save_vae
from liveavatar.sampler import Schedule, trained_schedule
from liveavatar.training import audio_encoder, decoder, distill, review
from liveavatar.training import base as base_stage
from liveavatar.training.checkpoint import load_pieces
from liveavatar.training.dataset import (
    FULL,
    ClipCondition,
    Dataset,
    Strengths,
    clean_from,
    guided,
    rollout,
    velocity,
)
from liveavatar.training.learner import Recording
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer

TINY = {"dim": 32, "ffn_dim": 48, "num_heads": 2, "num_layers": 2, "freq_dim": 16, "text_dim": 19, "text_len": 4,
        "audio_dim": 256, "audio_layers": 1, "num_audio_token": 4, "audio_inject_layers": (0,),
        "enable_framepack": False, "cache_frames": 6, "released_rounding": False, "prediction": "clean",
        "detail_channels": 8}
FRAMES = 60


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """A corpus of two flat utterances, an untrained VAE, and options that make everything tiny."""
    folder = tmp_path_factory.mktemp("toy")
    np.savez(folder / "corpus.npz", mel=np.full((4 * FRAMES, 64), 60, np.uint8),
             visemes=np.full((2 * FRAMES, 7), 100, np.uint8), loudness=np.full(2 * FRAMES, 99, np.uint8),
             speaking=np.ones(2 * FRAMES, np.uint8), frames=np.array([FRAMES] * 2, np.int32),
             voice=np.array(["a", "b"]), split=np.array(["train", "held"]))
    save_vae(VideoVAE(VAEConfig(encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8))), folder / "vae.safetensors")
    return folder, ["--corpus", str(folder / "corpus.npz"), "--vae", str(folder / "vae.safetensors"), "--size", "64*64",
                    "--people", "16", "--clips", "3", "--batch", "2", "--latent_frames", "6", "--device", "cpu",
                    "--log_every", "1"]


@pytest.fixture
def tiny(monkeypatch):
    for module in (preset, base_stage, audio_encoder):
        monkeypatch.setattr(module, "TRANSFORMER", TINY)


def condition(batch=2, frames=6):
    from liveavatar.conditions import controls_vector
    return ClipCondition(torch.randn(batch, 16, 1, 8, 8), torch.randn(batch, 1, 256, AUDIO_HISTORY + 4 * frames),
                controls_vector(torch.zeros(batch, 4, dtype=torch.long)))


def test_base_and_student_are_trained_by_their_commands_and_go_on_when_asked(options, tiny):
    folder, toy = options
    audio_encoder.main(["--corpus", str(folder / "corpus.npz"), "--work", str(folder / "listener"),
                        "--total_steps", "2", "--batch", "2", "--latent_frames", "6", "--device", "cpu"])
    toy = ["--listener", str(folder / "listener" / "listener.safetensors"), *toy]
    base = ["--work", str(folder / "base"), "--total_steps", "4", "--other_sizes", "64*96", *toy]
    base_stage.main([*base, "--steps", "2", "--refresh_steps", "1"])
    base_stage.main([*base, "--resume"])
    weights = base_stage.load_transformer(folder / "base" / "base.safetensors", options_of_toy())
    assert weights.head.head.weight.abs().max() > 0                      # it began at zero: something was learnt
    distill.main(["--work", str(folder / "student"), "--base", str(folder / "base" / "base.safetensors"),
                  "--total_steps", "6", "--rank", "2", *toy])
    adapter, _ = load_pieces(folder / "student", "student")
    assert all(key.startswith("base_model.model.") for key in adapter)
    assert any(value.abs().max() > 0 for key, value in adapter.items() if "lora_B" in key)
    decoder.main(["--work", str(folder / "decoder"), "--base", str(folder / "base" / "base.safetensors"), *toy[:10],
                  "--batch", "2", "--device", "cpu", "--total_steps", "1", "--evaluation_clips", "2",
                  "--evaluation_frames", "4"])
    found = review.main(["--work", str(folder / "review"), "--base", str(folder / "base" / "base.safetensors"),
                         "--students", str(folder / "student:2"), "--base_steps", "2", "--frames", "24", *toy[:10],
                         "--vae", str(folder / "decoder" / "vae.safetensors"), "--clips", "2",
                         "--device", "cpu"])["avatars"]
    assert found["truth"]["detail"] == 1 and {"VAE", "student_2 none after 1"} <= set(found)
    assert (folder / "review" / "avatars_steps_student_2_full.png").exists()


def options_of_toy():
    return preset.transformer_options(VAEConfig())


def test_an_untrained_model_copies_half_of_the_portrait_and_every_weight_but_the_pose_learns():
    model = base_stage.set_trainable(base_stage.new_transformer(TINY))
    x, sigma, same = torch.randn(2, 16, 6, 8, 8), torch.tensor([0.3, 0.9]), condition()
    clean = clean_from(x, velocity(model, x, sigma, same), sigma)
    torch.testing.assert_close(clean, (0.5 * same.reference).expand_as(clean), atol=1e-5, rtol=0)
    torch.nn.init.normal_(model.head.head.weight)
    velocity(model, x, sigma, same).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def distillation(steps=4, rank=2, **options):
    base = base_stage.new_transformer(TINY)
    torch.nn.init.normal_(base.head.head.weight, std=0.1)
    student, fake = distill.Student(base, rank), base_stage.set_trainable(copy.deepcopy(base))
    return distill.Distillation(base, student, fake, trained_schedule(steps), guidance=1.4, **options)


def test_the_student_moves_by_its_last_step_and_the_fake_by_itself():
    work = distillation()
    x = work.roll_out(torch.randn(2, 16, 6, 8, 8), condition(), 2, "renoise", torch.Generator())
    assert not x.requires_grad and x.shape == (2, 16, 6, 8, 8)
    noise, level, even = torch.randn_like(x), torch.tensor([0.3, 0.8]), torch.ones(2, 1, 6, 8, 8)
    assert work.student_gradients(x, 2, condition(), noise, level, even)[1] == 0         # it does not follow
    assert all(b.grad.abs().max() > 0 for b in work.student.trainable.B)
    assert all(p.grad is None for p in work.fake.parameters())
    work.fake_gradients(x, 2, condition(), noise, level, even)
    assert all(p.grad is not None for p in work.fake.parameters() if p.requires_grad)


def test_a_held_step_is_pulled_to_the_bases_own_prediction():
    work, x, even = distillation(), torch.randn(2, 16, 6, 8, 8), torch.ones(2, 1, 6, 8, 8)
    same = condition()
    assert work.holding_gradients(x, 0, same, even) == pytest.approx(0, abs=1e-9)      # an adapter that does nothing
    for b in work.student.trainable.B:
        torch.nn.init.normal_(b, std=0.1)
    work.student.write()
    assert work.holding_gradients(x, 0, same, even) > 0


def test_a_step_that_follows_is_pulled_to_where_smaller_steps_of_the_base_arrive():
    x, same, noise = torch.randn(2, 16, 6, 8, 8), condition(), torch.zeros(2, 16, 6, 8, 8)
    level, even = torch.tensor([0.3, 0.8]), torch.ones(2, 1, 6, 8, 8)
    one, three = (distillation(follow=follow, matching_weight=0.0) for follow in (1, 3))
    one.guidance = 1.0
    matching, following = one.student_gradients(x, 3, same, noise, level, even)
    assert matching == 0 and following == pytest.approx(0, abs=1e-9)     # an untrained adapter takes the base's step
    assert three.student_gradients(x, 3, same, noise, level, even)[1] > 0
    assert all(b.grad.abs().max() > 0 for b in three.student.trainable.B)
    sigma, after = (torch.full((2,), three.schedule.sigmas[step]) for step in (3, 4))
    steps = torch.linspace(float(sigma[0]), float(after[0]), 4)
    arrived = rollout(three.base, x, same, Schedule(tuple(steps.tolist())), guidance=1.4)[-1][0]
    mean = three._mean_velocity(x, sigma, after, same, 3, 1.4)
    torch.testing.assert_close(x + (after - sigma)[:, None, None, None, None] * mean, arrived, atol=1e-4, rtol=1e-4)


def test_held_steps_are_never_matched_and_others_never_held():
    rollouts = distill.Rollouts(distillation(), None, 2, "euler", 2, torch.Generator(), torch.Generator())
    assert {rollouts._exit() for _ in range(40)} == {2, 3}
    assert {rollouts._choose(rollouts.hold) for _ in range(40)} == {0, 1}


def test_a_recording_leaves_gradients_and_does_not_add_them_up():
    weight = torch.nn.Parameter(torch.tensor([2.0]))

    def loss(x):
        value = (weight * x).sum()
        value.backward()
        return value.detach()

    recorded = Recording(loss, [weight])
    assert recorded(torch.tensor([3.0])) == 6 and recorded(torch.tensor([5.0])) == 10
    assert weight.grad == 5


def test_guidance_of_one_is_no_guidance_and_of_zero_is_the_unconditional_answer():
    model = CausalS2VTransformer.from_config(TINY).eval()
    x, sigma, same = torch.randn(2, 16, 6, 8, 8), torch.tensor([0.5, 0.7]), condition()
    with torch.no_grad():
        free = velocity(model, x, sigma, same.unconditional())
        torch.testing.assert_close(guided(model, x, sigma, same, 1.0), velocity(model, x, sigma, same))
        torch.testing.assert_close(guided(model, x, sigma, same, 0.0), free)
    steps = rollout(model, x, same, trained_schedule(2), guidance=1.5)
    assert len(steps) == 2 and torch.equal(steps[-1][0], steps[-1][1])         # the last step ends at what it predicts


# ---------------------------------------------------------------- what is told

@pytest.fixture
def dataset():
    from liveavatar.backends.mini.audio import AFTER, BEFORE, AudioEncoder

    N, T = 60, AUDIO_HISTORY + 4
    return Dataset(AudioEncoder().eval(), torch.zeros(N, 16, 1, 4, 4), torch.ones(N, 16, 1, 4, 4),
                   torch.full((N, 16, 1, 4, 4), 2.0), torch.zeros(N, 2 * (BEFORE + T + AFTER) + 10, 64),
                   condition(N, 1).text, torch.ones(N, 1, 1), torch.zeros(N, 4, 5),
                   *torch.ones(N, 4, 1, 4, 4).split([1, 2, 1], 1),
                   torch.zeros(N, dtype=torch.bool))


def test_portrait_sound_and_words_are_weakened_by_their_shares(dataset):
    everyone, generator = torch.arange(60), torch.Generator().manual_seed(0)
    whole = dataset.condition(everyone, generator, FULL)
    assert (whole.reference == 1).all() and (whole.audio.abs().amax((1, 2, 3)) > 0).all()
    weak = dataset.condition(everyone, generator, Strengths(0.3, 0.3, 0.3, 0.3, 0.3, 0.0))
    kinds = weak.reference[:, 0, 0, 0, 0].tolist()
    assert all(8 < kinds.count(kind) < 35 for kind in (0.0, 1.0, 2.0))
    assert 8 < (weak.audio.abs().amax((1, 2, 3)) == 0).sum() < 30
    said = (weak.text == dataset.text.float()).all(-1).all(-1)
    assert 30 < said.sum() < 55


def test_photographs_are_blurred_but_never_left_out(dataset):
    photographs = replace(dataset, photo=torch.ones(60, dtype=torch.bool))
    weak = photographs.condition(torch.arange(60), torch.Generator().manual_seed(0), Strengths(0.3, 0.3))
    kinds = weak.reference[:, 0, 0, 0, 0].tolist()
    assert kinds.count(0.0) == 0 and 8 < kinds.count(2.0) < 30


def test_clips_are_replaced_in_their_places(dataset):
    new = dataset[:4]
    new.latents.fill_(7.0)
    dataset.replace_clips(10, Dataset(dataset.audio_encoder, *(values[:4] for values in (
        torch.full_like(dataset.latents, 5.0), dataset.reference, dataset.blurred, dataset.mel, dataset.text,
        dataset.mouth, dataset.shapes, dataset.emphasis, dataset.displacement, dataset.known, dataset.photo))))
    assert (dataset.latents[10:14] == 5).all() and (dataset.latents[14:] == 0).all()


def test_the_mouth_is_read_off_the_tokens_that_show_it():
    from liveavatar.avatars.landmarks import LANDMARKS
    from liveavatar.avatars.traits import MOTION, motion_index
    from liveavatar.metrics.regressor import MOUTH
    from liveavatar.training.dataset import mouth_on_tokens, mouth_shapes
    from liveavatar.training.mouth_reader import MouthReader, shape_loss

    points = torch.zeros(1, 4, len(LANDMARKS), 2)
    points[..., LANDMARKS.index("left_eye"), 0], points[..., LANDMARKS.index("right_eye"), 0] = 20.0, 40.0
    points[..., LANDMARKS.index("mouth_center"), :] = torch.tensor([80.0, 48.0])          # of 128 x 64 pixels
    mouth = mouth_on_tokens(points, (64, 128)).float()
    assert mouth.shape == (1, 1, 8) and mouth[0, 0].argmax() == 6 and mouth[0, 0].sum().sub(1).abs() < 1e-2
    motion = torch.zeros(1, 4, len(MOTION))
    motion[..., motion_index(MOUTH[0])] = MOTION[motion_index(MOUTH[0])].high
    shapes = mouth_shapes(motion)
    reader, tokens = MouthReader(16), torch.randn(1, 1, 8, 16, requires_grad=True)
    loss = shape_loss(reader(tokens, mouth), shapes)
    loss.backward()
    assert shapes[..., 0].unique().item() == pytest.approx(1) and (shapes[..., 1:] == 0).all()
    assert loss > 0 and tokens.grad[0, 0].abs().sum(1).argmax() == 6          # the gradient goes where the mouth is
