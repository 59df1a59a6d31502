"""The linear probe: what it reads where the answer is known, and the shipped one on a small true picture."""

import pytest
import torch

from liveavatar.metrics import probe as probes
from liveavatar.metrics.probe import NAMES, QUANTITIES, features, load_probe, save_probe
from liveavatar.study.probe_figure import draw_probe
from liveavatar.training import moments as drawn
from liveavatar.training import probe as training
from liveavatar.training.moments import Moments
from liveavatar.types import InputError

SHAPE = 2, 16, 16


def made_moments(count: int, seed: int) -> Moments:
    """Latents of which every value to read is a linear function, strong in one channel, and much that says nothing."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, len(NAMES), generator=generator)
    maps = torch.randn(len(NAMES), *SHAPE, generator=torch.Generator().manual_seed(0))
    maps = torch.nn.functional.avg_pool2d(maps, 4).repeat_interleave(4, -1).repeat_interleave(4, -2) * 4
    other = 0.3 * torch.randn(count, *SHAPE, generator=generator)
    person = torch.randn(count, *SHAPE, generator=generator)            # the same in clip and portrait
    moved, stayed = len(probes.MOVED), len(probes.STAYED)
    clean = torch.einsum("nk,kchw->nchw", values[:, :moved], maps[:moved]) * 0.2 + other
    shown = torch.einsum("nk,kchw->nchw", values[:, moved:], maps[-stayed:]) * 0.2 + 0.2 * person
    return Moments(clean + shown, shown, values * 0.5 + 1)


@pytest.fixture(scope="module")
def trained():
    return training.train(made_moments(160, 1), made_moments(40, 2))


def test_unit_noise_has_the_covariance_that_is_assumed():
    noise = torch.randn(20_000, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    seen = features(noise)
    assumed = training.noise_covariance((1, 8, 8))
    assert torch.allclose(seen.T @ seen / len(seen), assumed.float(), atol=0.05)
    assert torch.allclose(assumed.diagonal(), torch.ones(len(assumed), dtype=torch.float64))


def test_features_of_several_channels_lie_where_their_covariance_says():
    noise = torch.randn(20_000, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    seen = features(noise)
    assert torch.allclose(seen.T @ seen / len(seen), training.noise_covariance((2, 8, 8)).float(), atol=0.05)


def test_what_is_linear_is_read_and_noise_takes_it_away(trained):
    for quantity in QUANTITIES:
        means = [mean for mean, low, high in trained.r2(quantity)]
        assert all(low - 1e-6 <= mean <= high + 1e-6 for mean, low, high in trained.r2(quantity))
        assert means[-1] > 0.9 and abs(means[0]) < 0.1                      # clean, and pure noise
        assert means[0] < means[7] < means[-1] + 0.02


def test_pure_noise_reads_the_mean(trained):
    read = trained.read(torch.randn(1, 2, 3, 16, 16), 1.0, torch.randn(1, 2, 1, 16, 16))
    means = [*trained.moved.values.tolist(), *trained.stayed.values.tolist()]
    assert tuple(read) == NAMES and all(torch.allclose(value, torch.full((3,), means[n]), atol=1e-4)
                                           for n, value in enumerate(read.values()))


def test_a_probe_is_kept(trained, tmp_path):
    save_probe(trained, tmp_path / "probe.safetensors")
    again, x = load_probe(tmp_path / "probe.safetensors"), torch.randn(1, 2, 2, 16, 16)
    assert again.about["r2"] == {name: [list(one) for one in trained.r2(name)] for name in QUANTITIES}
    for name, value in trained.read(x, 0.5, x[:, :, :1]).items():
        assert torch.allclose(again.read(x, 0.5, x[:, :, :1])[name], value, atol=1e-3)


def test_what_cannot_be_read_is_refused(trained, tmp_path):
    with pytest.raises(InputError, match=r"shape \(2, 8, 8\)"):
        trained.read(torch.zeros(1, 2, 1, 16, 16), 0.5, torch.zeros(1, 2, 1, 8, 8))
    with pytest.raises(InputError, match="sigma is 1.5"):
        trained.read(torch.zeros(1, 2, 1, 16, 16), 1.5, torch.zeros(1, 2, 1, 16, 16))
    with pytest.raises(InputError, match="quantity is 'nose'"):
        trained.r2("nose")
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no probe"):
        load_probe(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="split is 'val'"):
        drawn.draw_moments(None, "val", 1, (32, 32), torch.Generator(), False)


class Mean(torch.nn.Linear):
    """Stands for a VAE: the latent frame is what was seen, minus the picture before."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def encode(self, video: torch.Tensor) -> torch.Tensor:
        return video.diff(dim=2).sum(2, keepdim=True)


@pytest.mark.parametrize(("split", "moving"), [("train", False), ("held", True)])
def test_moments_are_true_pictures_with_what_drew_them(split, moving):
    found = drawn.draw_moments(Mean(), split, 2, (32, 32), torch.Generator().manual_seed(4), moving)
    assert found.latents.shape == found.portraits.shape == (2, 3, 32, 32) and found.targets.shape == (2, len(NAMES))
    assert bool(found.latents.any()) == moving and not found.portraits.any()
    colours = found.targets[:, [NAMES.index(name) for name in drawn.COLOURS]]
    assert ((colours >= 0) & (colours <= 1)).all()
    assert set(found.targets[:, NAMES.index("light_warm")].tolist()) <= {0, 1}


def test_the_shipped_probe_is_small_and_belongs_to_the_shipped_weights():
    from liveavatar.backends.mini import WEIGHTS
    from liveavatar.weights import read_manifest

    probe = load_probe()
    assert probes.SHIPPED.stat().st_size < 100_000
    assert probe.about["weights"] == read_manifest(WEIGHTS).fingerprint
    assert len(probe.sigmas) == len(probe.r2("light"))
    assert draw_probe(probe, (1.0, 0.5, 0.0)).png.startswith(b"\x89PNG")


def test_the_script_draws_fits_judges_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "DIRECTIONS", 8)
    monkeypatch.setattr(training, "RIDGES", (0.3,))
    work, size = tmp_path / "work", (64, 64)
    probe = training.main(["--work", str(work), "--out", str(tmp_path / "probe.safetensors"), "--report",
                           str(tmp_path / "probe"), "--count", "5", "--held", "2", "--size", "64*64"])
    assert probe.about["trained"] == 5 and probe.about["held"] == 2 and probe.about["shape"] == [16, 8, 8]
    assert (tmp_path / "probe.md").read_text().count("\n| ") == 2 + len(training.SIGMAS)
    assert "mouth opening" in capsys.readouterr().out
    monkeypatch.setattr(training, "draw_moments", None)                     # all is kept: nothing is drawn again
    assert len(training.moments_of(None, "train", 5, size, 0, work).targets) == 5
