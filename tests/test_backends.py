"""mini behind its interface: what is saved as weights is what runs, and what runs is what it was given."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from fakes import TINY, face, tone

from liveavatar.audio import pad_mel, windows
from liveavatar.backends import Backend, Trained, devices, mini
from liveavatar.backends.devices import choose_dtype
from liveavatar.backends.mini import MiniBackend
from liveavatar.backends.mini.audio import AHEAD, BACK, LAYERS, AudioEncoder
from liveavatar.backends.mini.vae import VAEConfig, VideoVAE
from liveavatar.config import GenerationConfig
from liveavatar.lora import Adapter
from liveavatar.pipeline import Pipeline, generate
from liveavatar.speech import samples
from liveavatar.training.audio_encoder import AudioEncoderProbe, export_audio_encoder
from liveavatar.training.ship import ship
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.types import InputError, Prompt
from liveavatar.video import Video
from liveavatar.weights import FILE_BYTES, load_part, read_manifest, save_part, split_by_size

SMALL_VAE = VAEConfig(8, 16, (4, 4, 4), (1, 1, 1), (8, 8, 8), (1, 1, 1))
SMALL = TINY | dict(in_dim=16, out_dim=16, cond_dim=16, text_dim=19, text_len=4, audio_dim=256, patch=2,
                    prediction="velocity", detail_channels=0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with a small base, its VAE and a student's LoRA; the base's weights, and those of the student."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    base, vae = CausalS2VTransformer.from_config(SMALL), VideoVAE(SMALL_VAE)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    save_part(folder, "base", before, {**SMALL, "trained": asdict(Trained(32, "euler"))})
    save_part(folder, "vae", vae.state_dict(), asdict(SMALL_VAE))
    save_part(folder, "ear", AudioEncoder().state_dict())
    adapter = Adapter(base, rank=4, alpha=8.0)
    for b in adapter.B:
        torch.nn.init.normal_(b)
    adapter.write()
    save_part(folder, "student-4", adapter.released_state(), {"alpha": 8.0, "trained": asdict(Trained(4, "renoise"))})
    return folder, before, base.state_dict()


def test_the_base_comes_back_and_the_student_is_the_base_plus_its_lora(weights):
    folder, base, adapted = weights
    teacher = MiniBackend.load(student=False, weights=folder, dtype="float32")
    student = MiniBackend.load(weights=folder, dtype="float32")
    assert teacher.trained == Trained(32, "euler") and student.trained == Trained(4, "renoise")
    first = "blocks.0.ffn.0.weight"
    assert torch.equal(teacher.transformer.state_dict()[first], base[first])
    torch.testing.assert_close(student.transformer.state_dict()[first], adapted[first])
    assert not torch.equal(base[first], adapted[first])
    assert student.about()["fingerprint"] == teacher.about()["fingerprint"]


def test_the_study_counts_the_weights_of_all_networks(weights):
    from liveavatar.study.cost import cost
    from liveavatar.vram.owned import bytes_of_weights

    pipe = Pipeline(MiniBackend.load(weights=weights[0]))
    steps = list(pipe.steps(tone(0.4), face(), "", GenerationConfig(sample_steps=1, size="64*64")))
    found = cost(pipe, steps, Video(Path("video.mp4"), 10, (64, 64), 25.0, 1.0, 1.0), 1.0)["weights_mib"]
    assert found == pytest.approx(bytes_of_weights(pipe.backend) / 2**20, rel=1e-3)


def test_a_video_from_saved_weights(weights, tmp_path):
    pipe = Pipeline(MiniBackend.load(weights=weights[0]))
    config = GenerationConfig(sample_steps=2, size="64*64")
    video = pipe.render(tone(0.8), face(), "smiling", config, output=tmp_path / "out.mp4", progress=False)
    assert (video.frames, video.size, video.complete) == (20, (64, 64), True)


@pytest.mark.filterwarnings("ignore:no voice was found", "ignore:no face was found")
def test_inputs_are_prepared_as_the_weights_expect_before_they_are_loaded(weights, tmp_path):
    folder = shutil.copytree(weights[0], tmp_path / "weights")
    config = read_manifest(folder).config["base"] | {"trained": asdict(Trained(32, size=(64, 32), photographs=True))}
    save_part(folder, "base", load_part(read_manifest(folder), "base"), config)
    video = generate(tone(0.4), face(80, 40), config=GenerationConfig(sample_steps=1), output=tmp_path / "out.mp4",
                     weights=folder, student=False, progress=False)
    assert video.size == (64, 32)
    with pytest.raises(InputError, match="student is 5"):
        generate(tone(0.4), face(), output=tmp_path / "no.mp4", weights=folder, student=5)
    with pytest.raises(InputError, match="weights are missing"):
        generate(tone(0.4), face(), output=tmp_path / "no.mp4", weights=tmp_path)


def test_what_the_model_is_told_has_the_shapes_the_interface_names(weights):
    backend: Backend = MiniBackend.load(weights=weights[0], dtype="float32")
    features = backend.encode_audio(tone(1.0))
    assert features.values.shape == (1, 1, 256, 25) and features.rms.shape == (25,)
    assert backend.encode_text(Prompt("")).shape == (1, 4, 19)
    reference, motion = backend.encode_image(face(), (64, 96))
    assert reference.shape == (1, 16, 1, 8, 12) and motion is None
    assert backend.decoder().decode(torch.zeros(1, 16, 3, 8, 12)).shape == (12, 64, 96, 3)


def test_the_audio_encoder_gives_the_same_in_pieces_and_sees_only_so_far(monkeypatch):
    torch.manual_seed(0)
    encoder, mel = AudioEncoder().eval(), torch.randn(200, 64)
    near = windows(pad_mel(mel))
    whole = encoder.encode(near)
    assert whole.shape == (encoder.dim, 100)
    monkeypatch.setattr("liveavatar.backends.mini.audio.PIECE_FRAMES", 30)
    torch.testing.assert_close(encoder.encode(near), whole, atol=1e-5, rtol=1e-4)
    mel[100:] = 0                                                  # from frame 50 on another sound
    first = int((encoder.encode(windows(pad_mel(mel))) != whole).any(0).nonzero()[0])
    assert first >= 50 - LAYERS * AHEAD - 4                        # a window looks up to 4 frames ahead
    mel[:100] = 0
    assert torch.allclose(encoder.encode(windows(pad_mel(mel)))[:, 50 + LAYERS * BACK + 2:94],
                          encoder.encode(windows(pad_mel(torch.zeros(200, 64))))[:, 50 + LAYERS * BACK + 2:94],
                          atol=1e-5)


def test_parts_that_were_not_trained_again_are_shipped_as_they_were(weights, tmp_path):
    folder, work = tmp_path / "weights", tmp_path / "work"
    shutil.copytree(weights[0], folder)
    before = read_manifest(folder).sha256
    (work / "listener").mkdir(parents=True)
    export_audio_encoder(AudioEncoderProbe(32, 4), work / "listener" / "listener.safetensors")
    ship(work, folder, "euler")
    after = read_manifest(folder).sha256
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"ear-00.safetensors"}


def test_random_weights_are_always_the_same(monkeypatch):
    monkeypatch.setattr(mini, "base_options", lambda manifest: SMALL)
    before = torch.get_rng_state()
    first, second = (mini.random_networks()[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)              # and nobody else's dice are touched


def test_precision_follows_the_machine(monkeypatch):
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(devices, "bfloat16_is_faster", lambda has=has: has)
        assert choose_dtype("auto", torch.device("cpu")) == expected
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("float32", torch.device("cuda")) == torch.float32


def test_eight_bits_keep_every_row_within_one_percent_and_the_rest_exactly(tmp_path):
    torch.manual_seed(0)
    tensors = {"matrix": torch.randn(64, 96) * torch.logspace(-3, 3, 64)[:, None], "bias": torch.randn(64).half(),
               "zeros": torch.zeros(64, 96), "count": torch.arange(3)}
    back = load_part(save_part(tmp_path, "base", tensors, dtype=torch.int8), "base")
    assert set(back) == set(tensors) and back["matrix"].dtype == torch.float32
    rows = (back["matrix"] - tensors["matrix"]).norm(dim=1) / tensors["matrix"].norm(dim=1)
    assert rows.max() < 0.01 and rows.mean() < 0.007
    assert all(torch.equal(back[name].to(tensors[name]), tensors[name]) for name in ("bias", "zeros", "count"))


def test_weights_are_cut_into_files_that_stay_within_the_limit(tmp_path):
    tensors = {str(n): torch.full((2**20,), float(n)) for n in range(9)}        # 4 MiB each
    manifest = save_part(tmp_path, "base", tensors)
    assert len(manifest.parts["base"]) == 3
    assert all((tmp_path / name).stat().st_size <= FILE_BYTES for name in manifest.parts["base"])
    back = load_part(manifest, "base")
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert len(split_by_size(tensors, torch.bfloat16)) == 2
    save_part(tmp_path, "base", {"0": torch.zeros(1)})                          # what it was is gone
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(("student", "settings", "said"), [
    (True, {}, []),
    (True, {"sample_steps": 8}, []),
    (True, {"sample_steps": 40}, ["40 steps are far more than the 4"]),
    (False, {"sample_steps": 40}, []),
    (True, {"size": "160*96"}, []),
    (True, {"size": "512*512"}, ["size 512*512 is larger than 256*256"]),
])
def test_what_the_weights_were_not_trained_for_is_said(student, settings, said):
    backend = MiniBackend.load(weights="random", dtype="float32", student=student)
    remarks = list(backend.remarks(samples()["welcome"], GenerationConfig(**settings)))
    assert len(remarks) == len(said) and all(remark.startswith(words) for remark, words in zip(remarks, said,
                                                                                              strict=True))
