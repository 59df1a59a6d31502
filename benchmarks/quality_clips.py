"""The clips that the quality of mini is measured on: true ones, those of each setting, and what is read off them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from mini_networks import Networks
from torch import Tensor

from liveavatar.avatars.motion import CONTROLS, talk
from liveavatar.avatars.traits import identity_index, motion_index
from liveavatar.backends.devices import bfloat16_is_faster
from liveavatar.conditions import controls_vector
from liveavatar.metrics.regressor import COLOURS, FaceRegressor
from liveavatar.sampler import trained_schedule
from liveavatar.training.clips import Clips
from liveavatar.training.dataset import ClipCondition, encode, encode_audio, rollout
from liveavatar.transformer import AUDIO_HISTORY, CausalS2VTransformer

BLOCK_FRAMES = 12
DECODED_TOGETHER = 8          # clips
READ_TOGETHER = 512           # pictures
SILENT_APERTURE = 0.05        # truth: closed, and nobody speaks
PRESSED = 0.5                 # truth: this much pressed together are lips in p, b and m only
LIPS = {"aperture": "mouth_aperture", "width": "mouth_width", "rounding": "lip_rounding"}
BEAT, POINT = (CONTROLS["gesture"].index(name) for name in ("beat", "point"))


@dataclass(frozen=True)
class Setting:
    """One way to make the videos."""

    network: str              # "base", or the name of a student
    steps: int
    solver: str = "euler"
    guidance: float = 1.0

    @property
    def name(self) -> str:
        guided = f", guidance {self.guidance:g}" if self.guidance != 1 else ""
        return f"{self.network} {self.steps}{', renoise' if self.solver == 'renoise' else ''}{guided}"

    @property
    def forwards(self) -> int:
        return self.steps * (1 if self.guidance == 1 else 2)


def settings_of(networks: Networks) -> Iterator[Setting]:
    """Every row that these networks allow, the most telling ones first."""
    solver = networks.trained.solver
    yield from (Setting("base", steps) for steps in (32, 4, 2, 1))
    yield from (Setting(name, 4, solver) for name in networks.students)
    for name in networks.students:
        yield from (Setting(name, steps, solver) for steps in (1, 2, 3, 5, 6, 7, 8))
    yield Setting("base", 8)
    yield from (Setting("base", steps, guidance=1.5) for steps in (32, 4))
    other = "renoise" if solver == "euler" else "euler"
    yield from (Setting(name, 4, other) for name in networks.students)


@dataclass(frozen=True)
class Truth:
    """Clips of unseen people and voices, and all that is known about them. T frames, without the audio history."""

    condition: ClipCondition
    video: Tensor             # (B, 3, T, H, W)
    otherwise: Tensor         # the same people saying the same, but head, hands and eyes move otherwise
    motion: Tensor            # (B, T, NM)
    colours: Tensor           # (B, K, 3) of COLOURS
    points: Tensor            # (B, T, P, 2) in the order of LANDMARKS
    loudness: Tensor          # (B, T) envelope of the speech
    silent: Tensor            # (B, T) bool
    pressed: Tensor           # (B, T) bool: lips together, for p, b and m
    gesture: Tensor           # (B,)

    def trait(self, name: str) -> Tensor:
        return self.motion[..., motion_index(name)]


@torch.no_grad()
def draw_truth(clips: Clips, networks: Networks, count: int, frames: int) -> Truth:
    drawn = clips.draw(count, frames, portrait=True, lead=AUDIO_HISTORY)
    motion = drawn.motion
    columns = [identity_index(f"{name}_{channel}") for name in COLOURS for channel in ("red", "green", "blue")]
    resting = motion[..., motion_index("mouth_aperture")] < SILENT_APERTURE
    silent = resting & (drawn.speaking == 0)
    otherwise = talk(drawn.visemes.cpu(), drawn.loudness.cpu(), drawn.controls.cpu(), clips.generator, clips.chance)
    otherwise = otherwise.to(clips.device)
    condition = ClipCondition(encode(networks.vae.encode_portrait, drawn.portrait),
                         encode_audio(networks.audio_encoder, drawn.mel), controls_vector(drawn.controls))
    return Truth(condition, drawn.video, clips.worlds[0].source.film(drawn.identity, otherwise)[0], motion,
                 drawn.identity[:, columns].unflatten(1, (-1, 3)), drawn.points, drawn.loudness, silent,
                 motion[..., motion_index("lip_press")] > PRESSED, drawn.controls[:, 0])


@dataclass(frozen=True)
class Readings:
    """What the regressor reads off videos."""

    traits: dict[str, Tensor]     # name -> (B, T)
    colours: Tensor               # (B, T, K, 3)
    features: Tensor              # (B, T, 192)
    textures: Tensor              # (B, T, 288)


@torch.no_grad()
def read(regressor: FaceRegressor, video: Tensor) -> Readings:
    """video (B, 3, T, H, W)"""
    B, _, T = video.shape[:3]
    pictures = video.transpose(1, 2).flatten(0, 1)
    pieces = [piece.contiguous() for piece in pictures.split(READ_TOGETHER)]
    readings = [regressor(piece) for piece in pieces]
    names = (*LIPS.values(), "left_hand_y", "right_hand_y")
    traits = {name: torch.cat([one[name] for one in readings]).float().view(B, T) for name in names}
    return Readings(traits, torch.cat([one.colours for one in readings]).float().view(B, T, -1, 3),
                    torch.cat([one.features for one in readings]).unflatten(0, (B, T)),
                    torch.cat([regressor.textures(piece) for piece in pieces]).unflatten(0, (B, T)))


def as_it_runs(device: torch.device) -> torch.autocast:
    """On a CPU whatever mini would choose there for a video; a GPU makes its own choice."""
    return torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu" and bfloat16_is_faster())


@torch.no_grad()
def decode(networks: Networks, latents: Tensor) -> Tensor:
    """(B, C, F, h, w) -> (B, 3, T, H, W) float"""
    return torch.cat([encode(networks.vae.decode, piece) for piece in latents.split(DECODED_TOGETHER)])


@torch.no_grad()
def reconstruct(networks: Networks, video: Tensor) -> Tensor:
    with as_it_runs(video.device):
        latents = torch.cat([encode(networks.vae.encode, piece) for piece in video.split(DECODED_TOGETHER)])
        return decode(networks, latents)


def make(networks: Networks, model: CausalS2VTransformer, setting: Setting, condition: ClipCondition, noise: Tensor,
         batch: int) -> Tensor:
    """Videos (B, 3, T, H, W) of one setting; noise (B, C, F, h, w)."""
    made = []
    for first in range(0, len(noise), batch):
        part = slice(first, first + batch)
        fresh = torch.Generator(noise.device).manual_seed(first)
        with as_it_runs(noise.device):
            schedule = trained_schedule(setting.steps, networks.trained.shift)
            latents, _ = rollout(model, noise[part], condition[part], schedule, setting.solver, fresh,
                                 setting.guidance)[-1]
            made.append(decode(networks, latents))
    return torch.cat(made)


def noise_for(condition: ClipCondition, frames: int, seed: int) -> Tensor:
    """Noise of whole clips, the same on every device. (B, C, F, h, w)"""
    B, C, _, h, w = condition.reference.shape
    noise = torch.randn(B, C, frames // 4, h, w, generator=torch.Generator().manual_seed(seed))
    return noise.to(condition.reference.device)


def network(networks: Networks, setting: Setting) -> CausalS2VTransformer:
    return networks.base if setting.network == "base" else networks.students[setting.network]
