"""Train the linear probe of mini's latents, and judge it on held clips at every noise level.

    python -m liveavatar.training.probe --work .train/probe --out liveavatar/metrics/probe.safetensors \\
        --report benchmarks/results/probe

Drawing the pictures takes minutes on a CPU and is kept in --work, so that it can go on later; the fit takes less than
a minute. A ridge regression needs only means and covariances of the clean latents, since noise of a known level adds a
known covariance. The directions that it uses at some noise levels span a small space, which is what is shipped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from liveavatar.backends.mini import MiniBackend
from liveavatar.backends.mini.vae import VideoVAE
from liveavatar.config import parse_size
from liveavatar.metrics.probe import (
    COARSE,
    MOVED,
    NAMES,
    QUANTITIES,
    STAYED,
    Probe,
    Readout,
    features,
    save_probe,
)
from liveavatar.training.moments import Moments, draw_moments

SIGMAS = (1.0, 0.975, 0.95, 0.9, 0.85, 0.75, 0.65, 0.5, 0.35, 0.25, 0.1, 0.05, 0.0)     # where it is judged
FITTED = (0.95, 0.85, 0.65, 0.35, 0.0)                  # whose directions are kept
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)     # noise variance that is added; chosen for each value on the last fifth
DIRECTIONS = 12                                         # of each readout
NOISES = 8                                              # draws of noise for each held clip and level
RESAMPLES = 500
NOT_SINGULAR = 1e-4
PIECE, AT_ONCE = 16, 8                                  # moments in a file; drawn and encoded together


def moments_of(vae: VideoVAE, split: str, count: int, size: tuple[int, int], seed: int, work: Path) -> Moments:
    """Draw and encode moments in pieces; what `work` has already is read."""
    pieces = []
    for number, first in enumerate(range(0, count, PIECE)):
        path = work / f"{split}-{number:02d}.safetensors"
        if not path.is_file():
            generator = torch.Generator().manual_seed(seed + number)
            Moments.joined([draw_moments(vae, split, min(AT_ONCE, count - at), size, generator, split == "held")
                            for at in range(first, min(first + PIECE, count), AT_ONCE)]).save(path)
        pieces.append(Moments.load(path))
    return Moments.joined(pieces)


def fit(moments: Moments, ridges: Tensor) -> Probe:
    """Fit a probe by ridge regression in closed form, and keep the directions that it uses at FITTED noise levels.

    ridges: (K,) noise variance that is added for each of NAMES
    """
    seen, still = features(moments.latents).double(), features(moments.portraits).double()
    noise = noise_covariance(moments.latents.shape[1:])
    counts = len(MOVED), len(STAYED)
    moved, stayed = moments.targets.double().split(counts, 1)
    of_moved, of_stayed = ridges.double().split(counts)
    return Probe(fit_readout(seen - still, moved, noise, of_moved), fit_readout(seen, stayed, noise, of_stayed),
                 {"shape": list(moments.latents.shape[1:]), "sigmas": list(SIGMAS), "r2": {}})


def fit_readout(seen: Tensor, values: Tensor, noise: Tensor, ridges: Tensor) -> Readout:
    """Fit one readout of clean features (N, D) to values (N, K). noise: (D, D) covariance of unit noise's features."""
    noise = noise + NOT_SINGULAR * torch.eye(len(noise), dtype=noise.dtype)     # cells at the mouth are seen twice
    mean, centre = seen.mean(0), values.mean(0)
    away = seen - mean
    covariance = away.T @ away / (len(away) - 1)
    cross = away.T @ (values - centre) / (len(away) - 1)
    used = []
    for sigma in FITTED:
        for ridge in ridges.unique():
            spread = (1 - sigma) ** 2 * covariance + (sigma**2 + ridge) * noise
            weights = torch.linalg.solve(spread, (1 - sigma) * cross[:, ridges == ridge])
            used.append(weights / weights.norm(dim=0).clamp(min=1e-12))
    basis = torch.linalg.svd(torch.cat(used, 1), full_matrices=False).U[:, :DIRECTIONS].half().double()    # as kept
    covariances = basis.T @ covariance @ basis, basis.T @ noise @ basis, basis.T @ cross
    return Readout(*(part.float() for part in (basis, mean @ basis, *covariances, centre, ridges)))


def noise_covariance(shape: Iterable[int]) -> Tensor:
    """Return the covariance of the features of unit noise: the parts around the mouth are seen twice. (D, D)"""
    C, h, w = shape
    unit = torch.eye(h * w, dtype=torch.float64).view(-1, 1, h, w)
    one = features(unit)                                            # (h * w, D / C): each channel by itself
    coarse = (h // COARSE) * (w // COARSE)
    order = torch.cat([torch.arange(C)[:, None] * coarse + torch.arange(coarse)[None],
                       C * coarse + torch.arange(C)[:, None] * (one.shape[1] - coarse)
                       + torch.arange(one.shape[1] - coarse)[None]], 1)
    whole = torch.zeros(C * one.shape[1], C * one.shape[1], dtype=torch.float64)
    for columns in order:
        whole[columns[:, None], columns[None]] = one.T @ one
    return whole


def read_noisy(probe: Probe, moments: Moments, sigma: float, generator: torch.Generator, noises: int) -> Tensor:
    """Read held moments under fresh noise. -> (N, noises, K)"""
    rounds = []
    for _ in range(noises):
        noise = torch.randn(moments.latents.shape, generator=generator)
        x = (1 - sigma) * moments.latents + sigma * noise
        rounds.append(torch.stack(list(probe.read_frames(x, sigma, moments.portraits).values()), 1))
    return torch.stack(rounds, 1)


def judge(probe: Probe, held: Moments, noises: int = NOISES) -> dict[str, list[tuple[float, float, float]]]:
    """Measure R² of each quantity at SIGMAS on held moments, the mean over the numbers it consists of, with a 95 %
    bootstrap interval over clips: {quantity: [(mean, low, high), ...]}"""
    generator, found = torch.Generator().manual_seed(5), {name: [] for name in QUANTITIES}
    drawn = torch.randint(len(held.targets), (RESAMPLES, len(held.targets)), generator=generator)
    for sigma in SIGMAS:
        error = (read_noisy(probe, held, sigma, generator, noises) - held.targets[:, None]).square().mean(1)
        value, many = r_squared(error[None], held.targets[None]), r_squared(error[drawn], held.targets[drawn])
        for quantity, names in QUANTITIES.items():
            columns = [NAMES.index(name) for name in names]
            low, high = many[:, columns].mean(1).quantile(torch.tensor([0.025, 0.975]))
            found[quantity].append(tuple(round(float(one), 4) for one in (value[0, columns].mean(), low, high)))
    return found


def r_squared(error: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - squared error over variance: error (B, N, K) squared, truth (B, N, K) -> (B, K)"""
    return 1 - error.mean(1) / truth.var(1, unbiased=False).clamp(min=1e-9)


def choose_ridges(moments: Moments) -> Tensor:
    """Choose the ridge of each value by its R² on the last fifth, averaged over SIGMAS. -> (K,)"""
    cut = len(moments.targets) * 4 // 5
    first, last, means = moments[:cut], moments[cut:], []
    for ridge in RIDGES:
        probe, generator = fit(first, torch.full((len(NAMES),), ridge)), torch.Generator().manual_seed(6)
        errors = [(read_noisy(probe, last, sigma, generator, 1)[:, 0] - last.targets).square() for sigma in SIGMAS]
        means.append(torch.stack([r_squared(error[None], last.targets[None])[0] for error in errors]).mean(0))
    return torch.tensor(RIDGES)[torch.stack(means).argmax(0)]


def train(moments: Moments, held: Moments) -> Probe:
    """Choose the ridges on the last fifth of the training moments, fit on all of them, and judge on held ones."""
    probe = fit(moments, choose_ridges(moments))
    probe.about["r2"] = judge(probe, held)
    return probe


def report(probe: Probe) -> str:
    """Write the results as Markdown."""
    about = probe.about
    lines = ["# What a linear probe reads off mini's noisy latents", "", f"    {about['command']}", "",
             "R² on held clips (other people, voices and sentences; they move) with 95 % intervals over "
             f"{about['held']} clips; trained on {about['trained']} moments of the rich world. Weights of mini: "
             f"{about['weights']}. Light is the mean of warm, cool and spot; identity that of the brightness of skin, "
             "hair and shirt, and of glasses. 0 is no better than the mean of all.", "",
             "| sigma | " + " | ".join(QUANTITIES) + " |", "| ---: |" + " ---: |" * len(QUANTITIES)]
    for number, sigma in enumerate(about["sigmas"]):
        cells = [f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in
                 (about["r2"][name][number] for name in QUANTITIES)]
        lines.append(f"| {sigma:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> Probe:
    """Draw, fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="keeps latents, so that drawing can go on later")
    parser.add_argument("--out", type=Path, required=True, help="file of the probe")
    parser.add_argument("--report", type=Path, help="results, without suffix: .md and .json are written")
    parser.add_argument("--count", type=int, default=640, help="moments for training")
    parser.add_argument("--held", type=int, default=48, help="moments of held clips")
    parser.add_argument("--size", default="128*128", help="width*height")
    arguments = parser.parse_args(argv)
    arguments.work.mkdir(parents=True, exist_ok=True)
    backend, size = MiniBackend.load(), parse_size(arguments.size)
    began = time.perf_counter()
    moments = moments_of(backend.vae, "train", arguments.count, size, 0, arguments.work)
    held = moments_of(backend.vae, "held", arguments.held, size, 1000, arguments.work)
    drawn = time.perf_counter()
    probe = train(moments, held)
    command = f"--count {arguments.count} --held {arguments.held} --size {arguments.size}"
    probe.about.update({"command": f"python -m liveavatar.training.probe {command}", "trained": len(moments.targets),
                        "held": len(held.targets), "weights": backend.about()["fingerprint"]})
    save_probe(probe, arguments.out)
    if arguments.report:
        arguments.report.with_suffix(".md").write_text(report(probe), encoding="utf-8")
        arguments.report.with_suffix(".json").write_text(json.dumps(probe.about, indent=1) + "\n", encoding="utf-8")
    print(f"pictures {drawn - began:.0f} s, fit {time.perf_counter() - drawn:.0f} s\n{report(probe)}", flush=True)
    return probe


if __name__ == "__main__":
    main()
