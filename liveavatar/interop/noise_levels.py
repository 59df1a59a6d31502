"""Noise levels of diffusers' schedulers, and the prediction of the clean latent, in one convention for all families.

Every family mixes a clean latent with noise: sample = alpha * clean + sigma * noise.

    flow matching                  alpha = 1 - sigma                  FlowMatchEuler..., UniPC with flow sigmas
    variance preserving (DDPM)     alpha^2 + sigma^2 = 1              DDIM, DDPM, LCM, CogVideoX..., DPM-Solver, UniPC
    variance exploding (Karras)    alpha = 1                          Euler, Heun, LMS

Divided by alpha + sigma each is a flow matching sample at the noise share s = sigma / (alpha + sigma):
sample / (alpha + sigma) = (1 - s) * clean + s * noise. So clean = x - s * velocity with velocity = noise - clean, as in
`liveavatar.sampler` (Lipman et al. 2022, arXiv:2210.02747; predictions: Salimans & Ho 2022, arXiv:2202.00512).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

from liveavatar.types import InputError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin
    from torch import Tensor

PREDICTIONS = ("epsilon", "sample", "original_sample", "v_prediction", "flow_prediction")
RENOISING = ("LCMScheduler", "FlowMatchLCMScheduler")              # jump to the clean latent and add fresh noise
FIRST_ORDER = ("FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler", "DDIMScheduler", "CogVideoXDDIMScheduler")
CLIPPING = ("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "LCMScheduler",
            "HeunDiscreteScheduler", "UnCLIPScheduler")         # others have the option and do nothing about it


@dataclass(frozen=True)
class NoiseLevel:
    """One noise level: sample = alpha * clean + sigma * noise."""

    alpha: float
    sigma: float

    @property
    def share(self) -> float:
        """Return the share of noise, 1 pure noise and 0 clean: the sigma of flow matching."""
        return self.sigma / self.scale

    @property
    def scale(self) -> float:
        """Divide a sample by this to get the flow matching sample of the same clean latent and noise."""
        return self.alpha + self.sigma


def check_scheduler(scheduler: SchedulerMixin) -> None:
    """Raise InputError unless noise levels and predictions of this scheduler are known here."""
    name = type(scheduler).__name__
    if is_flow(scheduler):
        return
    known = scheduler.config.get("prediction_type") in PREDICTIONS and not hasattr(scheduler, "precondition_outputs")
    if not known or not (hasattr(scheduler, "alphas_cumprod") or hasattr(scheduler, "sigmas")):
        raise InputError(f"the scheduler is {name}, whose predictions are not known here; use one of flow matching or "
                         "one like DDIM, for example pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)")


def is_flow(scheduler: SchedulerMixin) -> bool:
    """Tell whether a scheduler solves a flow matching model."""
    config = scheduler.config
    return (type(scheduler).__name__.startswith("FlowMatch") or config.get("prediction_type") == "flow_prediction"
            or bool(config.get("use_flow_sigmas")))


def solver_of(scheduler: SchedulerMixin) -> str:
    """Name the solver as `liveavatar.sampler` does: "euler", "renoise", or "" for one that it does not have."""
    name = type(scheduler).__name__
    return "renoise" if name in RENOISING else "euler" if name in FIRST_ORDER else ""


def noise_levels(scheduler: SchedulerMixin) -> tuple[NoiseLevel, ...]:
    """Return the noise level before every step and the one after the last, after `set_timesteps`."""
    if hasattr(scheduler, "sigmas"):
        sigmas = [float(sigma) for sigma in scheduler.sigmas]
        if is_flow(scheduler):
            if scheduler.config.get("invert_sigmas"):
                sigmas = [1 - sigma for sigma in sigmas]
            return tuple(NoiseLevel(1 - sigma, sigma) for sigma in sigmas)
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):          # the ratio is stored of a variance preserving sample
            return tuple(NoiseLevel(1 / hypot(1, sigma), sigma / hypot(1, sigma)) for sigma in sigmas)
        return tuple(NoiseLevel(1.0, sigma) for sigma in sigmas)
    cumulated = [float(scheduler.alphas_cumprod[int(time)]) for time in scheduler.timesteps]
    last = 1.0 if type(scheduler).__name__ in RENOISING else float(getattr(scheduler, "final_alpha_cumprod", 1.0))
    return tuple(NoiseLevel(value ** 0.5, max(1 - value, 0.0) ** 0.5) for value in (*cumulated, last))


def predict(scheduler: SchedulerMixin, sample: Tensor, output: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
    """Return the predicted clean latent, and the velocity noise - clean, both in the shape of `sample`, float32.

    sample  the latent at `level`, as the scheduler keeps it
    output  what the model answered, after guidance; twice the channels where it predicts a variance too
    """
    if output.shape[1] == 2 * sample.shape[1]:
        output = output.chunk(2, 1)[0]
    x, output = sample.float(), output.float()
    clean = predict_clean(scheduler, x, output, level)
    if scheduler.config.get("clip_sample") and type(scheduler).__name__ in CLIPPING:
        reach = scheduler.config.get("clip_sample_range", 1.0)
        clean = clean.clamp(-reach, reach)
    if level.sigma == 0:
        return clean, x.new_zeros(x.shape)
    return clean, (x - level.alpha * clean) / level.sigma - clean


def predict_clean(scheduler: SchedulerMixin, x: Tensor, output: Tensor, level: NoiseLevel) -> Tensor:
    """Solve sample = alpha * clean + sigma * noise for the clean latent, given what the model predicts."""
    if is_flow(scheduler):
        return x + level.sigma * output if scheduler.config.get("invert_sigmas") else x - level.sigma * output
    prediction = scheduler.config.prediction_type
    if prediction == "epsilon":
        return (x - level.sigma * output) / max(level.alpha, 1e-6)
    if prediction == "v_prediction":                               # of the sample at unit variance
        length = hypot(level.alpha, level.sigma)
        return (level.alpha * x / length - level.sigma * output) / length
    return output
