"""True renderings of a block of a run by other chance: the same person, sound and wishes, drawn again.

    run, block, seed --draw_pictures--> pictures (T, H, W, 3) uint8
    run, pictures    --encoded--------> Rendering: the pictures, and the latents that mini's VAE makes of them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import LANDMARKS, REGIONS, landmarks, portrait_pose, regions, render, talk
from liveavatar.avatars.renderer import world_of
from liveavatar.avatars.traits import completed
from liveavatar.conditions import controls_of
from liveavatar.runs.info import RUNNING
from liveavatar.speech import viseme_curves
from liveavatar.threads import adapted_threads
from liveavatar.types import InputError, Prompt

if TYPE_CHECKING:
    from liveavatar.runs.run import Run


@dataclass(frozen=True)
class Rendering:
    """One possible video of a block: pictures (T, H, W, 3) 0..1 float32, latents (1, C, F, h, w)."""

    pictures: Tensor
    latents: Tensor


def check_run(run: Run, block: int) -> None:
    """Raise InputError unless the truth of this block can be rendered and encoded."""
    if run.portrait is None or run.portrait.identity is None:
        raise InputError("what is possible can be drawn of avatars only, and this portrait is none; "
                         "use liveavatar.avatar(seed=7)")
    if run.speech is None or not run.speech.phonemes:
        raise InputError("the phonemes of this sound are not known, so it cannot be rendered; use "
                         "liveavatar.samples()[\"welcome\"]")
    if not hasattr(getattr(run.backend, "vae", None), "encode_portrait"):
        raise InputError("what is possible needs the encoder of mini's VAE; open the run with its model: "
                         "liveavatar.runs.replay(folder, pipeline=liveavatar.load(\"mini\"))")
    missing = [step for step in range(run.info.steps) if (block, step) not in run.recorded_steps]
    if missing:
        raise InputError(f"block {block} has no step {missing[0]} yet; run it to the end, and choose one of the blocks "
                         f"0 to {run.info.blocks - 1}")
    if run.state == RUNNING:
        raise InputError("the run is going on and needs the machine; pause it, or wait for its end")


@torch.no_grad()
def draw_pictures(run: Run, block: int, seed: int) -> Tensor:
    """Draw a block, as large as the run's, with all that sound, portrait and prompt leave open drawn from a seed:
    (T, H, W, 3) uint8."""
    identity, first = completed(run.portrait.identity)[None], round(block * run.info.block_s * run.info.fps)
    visemes = viseme_curves(run.speech.phonemes, run.speech.duration_s)
    loudness = loudness_envelope(run.speech.wave, rate_hz=run.speech.rate_hz)
    last = first + run.info.block_frames
    short = max(last - min(len(visemes), len(loudness)), 0)                  # silence after the sound
    visemes = torch.cat([visemes, visemes[-1:].expand(short, -1)])[None, :last]
    loudness = torch.cat([loudness, loudness.new_zeros(short)])[None, :last]
    controls = controls_of(Prompt(**run.provenance["inputs"]["prompt"]))
    motion = talk(visemes, loudness, controls, torch.Generator().manual_seed(seed), world_of(identity))[0, first:last]
    size = run.step_frames.decode(block, 0).shape[1:3]
    with adapted_threads(torch.device("cpu"), ("rendering", size)):
        video = render(identity.expand(len(motion), -1), motion, size)       # (T, 3, H, W)
    return in_8_bits(video.permute(0, 2, 3, 1))


def in_8_bits(pictures: Tensor) -> Tensor:
    """Round pictures of 0..1 to 0..255, uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)


@torch.no_grad()
def encoded(run: Run, pictures: Tensor) -> Rendering:
    """Encode pictures (T, H, W, 3) uint8 by the VAE of a run."""
    video = pictures.float() / 255
    kind = next(run.backend.vae.parameters())
    clip = video.permute(3, 0, 1, 2)[None].to(kind.device, kind.dtype)       # (1, 3, T, H, W)
    with adapted_threads(kind.device, ("encoding", tuple(clip.shape))):
        return Rendering(video, run.backend.vae.encode(clip).float().cpu())


def draw_rendering(run: Run, block: int, seed: int) -> Rendering:
    """Draw a block by other chance, and encode it; see `draw_pictures`."""
    return encoded(run, draw_pictures(run, block, seed))


def parts_of(identity: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return where the parts of the picture are: {name: (H, W) bool}. Face and mouth are boxes around where they are at
    rest; the background is all that is behind the person then."""
    who, pose = completed(identity)[None], portrait_pose(1, torch.Generator().manual_seed(0))
    points = dict(zip(LANDMARKS, landmarks(who, pose, size)[0], strict=True))
    apart = float((points["right_eye"] - points["left_eye"]).norm())
    masks = {"picture": torch.ones(size, dtype=torch.bool)}
    for name, place, across, down in (("face", "head_center", 1.1, 1.4), ("mouth", "mouth_center", 0.6, 0.45)):
        x, y = (float(value) for value in points[place])
        masks[name] = torch.zeros(size, dtype=torch.bool)
        rows, columns = (slice(max(round(middle - reach * apart), 0), max(round(middle + reach * apart), 1))
                         for middle, reach in ((y, down), (x, across)))
        masks[name][rows, columns] = True
    masks["background"] = regions(who, pose, size)[0, REGIONS.index("background")]
    return {name: mask for name, mask in masks.items() if mask.any()}
