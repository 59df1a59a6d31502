"""Training of the many-step base and its distillation at toy size, through the real commands."""

import copy

import numpy as np
import pytest
import torch

from liveavatar.backends.mini.vae import VAEConfig, VideoVAE, save_vae
from liveavatar.sampler import trained_schedule
from liveavatar.training import dmd, listener, teacher
from liveavatar.training.latents import Material, Told, guided, rollout, velocity
from liveavatar.training.lipreader import LipReader, reader_correlation, train_reader
from liveavatar.training.loop import Recording, load_pieces
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer

TINY = {"dim": 32, "ffn_dim": 48, "num_heads": 2, "num_layers": 2, "freq_dim": 16, "text_dim": 19, "text_len": 4,
        "audio_dim": 256, "audio_layers": 1, "num_audio_token": 4, "audio_inject_layers": (0,),
        "enable_framepack": False, "cache_frames": 6, "released_rounding": False}
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
    return folder, ["--corpus", str(folder / "corpus.npz"), "--vae", str(folder / "vae.safetensors"), "--size", "32*32",
                    "--clips", "3", "--batch", "2", "--latent_frames", "6", "--device", "cpu", "--log_every", "1"]


@pytest.fixture
def tiny(monkeypatch):
    for module in (teacher, listener):
        monkeypatch.setattr(module, "TRANSFORMER", TINY)


def told(batch=2, frames=6):
    from liveavatar.conditions import controls_vector
    return Told(torch.randn(batch, 16, 1, 8, 8), torch.randn(batch, 1, 256, AUDIO_HISTORY + 4 * frames),
                controls_vector(torch.zeros(batch, 4, dtype=torch.long)))


def test_base_and_student_are_trained_by_their_commands_and_go_on_when_asked(options, tiny):
    folder, toy = options
    listener.main(["--corpus", str(folder / "corpus.npz"), "--work", str(folder / "listener"), "--total_steps", "2",
                   "--batch", "2", "--latent_frames", "6", "--device", "cpu"])
    toy = ["--listener", str(folder / "listener" / "listener.safetensors"), *toy]
    base = ["--work", str(folder / "teacher"), "--total_steps", "4", "--other_sizes", "32*48", *toy]
    teacher.main([*base, "--steps", "2"])
    teacher.main([*base, "--resume"])
    weights = teacher.load_transformer(folder / "teacher" / "teacher.safetensors")
    assert weights.head.head.weight.abs().max() > 0                      # it began at zero: something was learnt
    dmd.main(["--work", str(folder / "dmd"), "--teacher", str(folder / "teacher" / "teacher.safetensors"),
              "--total_steps", "6", "--rank", "2", "--reader_steps", "3", *toy])
    adapter, _ = load_pieces(folder / "dmd", "student")
    assert all(key.startswith("base_model.model.") for key in adapter)
    assert any(value.abs().max() > 0 for key, value in adapter.items() if "lora_B" in key)


def test_an_untrained_model_says_nothing_and_every_weight_but_the_pose_learns():
    model = teacher.set_trainable(teacher.new_transformer(TINY))
    x = torch.randn(2, 16, 6, 8, 8)
    answer = velocity(model, x, torch.tensor([0.3, 0.9]), told())
    assert answer.abs().max() == 0
    torch.nn.init.normal_(model.head.head.weight)
    velocity(model, x, torch.tensor([0.3, 0.9]), told()).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_student_moves_by_its_last_step_and_the_fake_by_itself():
    base = teacher.new_transformer(TINY)
    torch.nn.init.normal_(base.head.head.weight, std=0.1)
    student, fake = dmd.Student(base, rank=2), teacher.set_trainable(copy.deepcopy(base))
    work = dmd.Distillation(base, student, fake, trained_schedule(4), guidance=1.4)
    x = work.walk(torch.randn(2, 16, 6, 8, 8), told(), 2, "renoise", torch.Generator())
    assert not x.requires_grad and x.shape == (2, 16, 6, 8, 8)
    noise, level = torch.randn_like(x), torch.tensor([0.3, 0.8])
    work.move_student(x, 2, told(), noise, level, torch.zeros(2, 24, 7))
    assert all(b.grad.abs().max() > 0 for b in student.learns.B)
    assert all(p.grad is None for p in fake.parameters())
    work.move_fake(x, 2, told(), noise, level)
    assert all(p.grad is not None for p in fake.parameters() if p.requires_grad)


def test_lips_pull_the_student_along_the_gradient_of_what_is_read():
    base = teacher.new_transformer(TINY)
    torch.nn.init.normal_(base.head.head.weight, std=0.1)
    reader = LipReader().requires_grad_(False)
    x, noise, level, mouth = torch.randn(2, 16, 6, 8, 8), torch.randn(2, 16, 6, 8, 8), torch.tensor([0.3, 0.8]), \
        torch.ones(2, 24, 7)
    gradients = {}
    heard = told()
    for pull in (0.0, 2.0):
        student = dmd.Student(base, rank=0)
        work = dmd.Distillation(base, student, copy.deepcopy(base), trained_schedule(4), 1.4, reader)
        work.pull.fill_(pull)
        _, _, lips, ratio = work.move_student(x, 2, heard, noise, level, mouth)
        assert lips > 0 and ratio > 0
        gradients[pull] = student.network.head.head.weight.grad.clone()
    student = dmd.Student(base, rank=0)
    sigma = torch.full((2,), trained_schedule(4).sigmas[2])
    made = dmd.clean_guess(x, velocity(student.network, x, sigma, heard), sigma)
    (2 * reader.error(made, mouth)).backward()
    torch.testing.assert_close(gradients[2.0] - gradients[0.0], student.network.head.head.weight.grad,
                               atol=1e-5, rtol=1e-3)


def test_a_reader_of_lips_learns_to_read():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(12, 16, 4, 8, 8, generator=generator)
    mouth = latents[:, :7].mean((3, 4)).mul(8).repeat_interleave(4, 2).transpose(1, 2)         # plain to see
    nothing = torch.zeros(12, 1)
    material = Material(None, latents, nothing, nothing, nothing, mouth)
    torch.manual_seed(0)
    read = reader_correlation(train_reader(material, 150, generator, batch=12), material)
    assert all(value > 0.5 for value in read.values()), read


def test_a_recording_leaves_gradients_and_does_not_add_them_up():
    weight = torch.nn.Parameter(torch.tensor([2.0]))

    def loss(x):
        value = (weight * x).sum()
        value.backward()
        return value.detach()

    recorded = Recording(loss, [weight])
    assert recorded(torch.tensor([3.0])) == 6 and recorded(torch.tensor([5.0])) == 10
    assert weight.grad == 5


def test_guidance_of_one_is_no_guidance_and_silence_is_told_as_nothing():
    model = CausalS2VTransformer.from_config(TINY).eval()
    x, sigma, heard = torch.randn(2, 16, 6, 8, 8), torch.tensor([0.5, 0.7]), told()
    with torch.no_grad():
        free = velocity(model, x, sigma, heard.without())
        torch.testing.assert_close(guided(model, x, sigma, heard, 1.0), velocity(model, x, sigma, heard))
        torch.testing.assert_close(guided(model, x, sigma, heard, 0.0), free)
    assert rollout(model, x, heard, trained_schedule(2), guidance=1.5).shape == x.shape
