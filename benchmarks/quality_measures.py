"""Measures of a row of the table of mini_quality.py: against the truth, and on real recordings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from mini_networks import Networks
from quality_clips import BEAT, BLOCK_FRAMES, LIPS, POINT, Readings, Setting, Truth, make, noise_for, read
from torch import Tensor

from liveavatar.avatars.landmarks import LANDMARKS
from liveavatar.avatars.motion import CONTROLS, portrait_pose
from liveavatar.conditions import controls_vector
from liveavatar.metrics.quality import (
    BootstrapEstimate,
    Likeness,
    box_square_error,
    closed,
    closures,
    colour_error,
    corner_square_error,
    draw_people,
    frame_difference,
    lag,
    mean,
    seam,
    share,
    silent_frames,
    square_error,
    temporal_correlation,
)
from liveavatar.training.clips import Clips
from liveavatar.training.dataset import ClipCondition, encode
from liveavatar.transformer import CausalS2VTransformer
from liveavatar.types import InputError

# boxes in which quality is measured: width and height, pixels of a 128 px picture
BOXES_PX = {"mouth": (("mouth_center",), 36, 24), "eyes": (("left_eye", "right_eye"), 20, 14),
            "hands": (("left_hand", "right_hand"), 30, 30)}
Row = dict[str, BootstrapEstimate]


@dataclass(frozen=True)
class Judge:
    """What every row is measured against."""

    truth: Truth
    people: Tensor            # (1 + R, B) of draw_people
    likeness: dict[str, Likeness]

    @classmethod
    def of(cls, truth: Truth, seen: Readings) -> Judge:
        """seen: what is read off the true videos"""
        people = draw_people(len(truth.video))
        return cls(truth, people, {name: Likeness(getattr(seen, name), people) for name in LIKENESSES})


LIKENESSES = {"features": "content", "textures": "texture"}     # of Readings -> as they are called in the table


def measure(video: Tensor, seen: Readings, judge: Judge) -> Row:
    """One row of the table."""
    truth, people = judge.truth, judge.people
    aperture, true_aperture = seen.traits["mouth_aperture"], truth.trait("mouth_aperture")
    late = lag(aperture, true_aperture).frames
    change, corners = frame_difference(video), corner_square_error(video, truth.video)
    row = {f"{name}_correlation": mean(temporal_correlation(seen.traits[trait], truth.trait(trait)), people)
           for name, trait in LIPS.items()}
    row |= {f"{name}_distance": judge.likeness[key].distance(getattr(seen, key)) for key, name in LIKENESSES.items()}
    return row | {
        "lag_frames": mean(late.abs(), people), "late_frames": mean(late, people),
        "aperture_error": mean((aperture - true_aperture).abs().mean(1), people),
        "closed_share": share((closed(aperture) & truth.silent).sum(1), truth.silent.sum(1), people),
        "pressed_share": share(*closures(aperture, truth.pressed), people),
        "hand_correlation": hand_correlation(seen, truth, people),
        "colour_error": mean(colour_error(seen.colours, truth.colours), people),
        "corner_psnr_db": mean(corners.mean(1), people).decibel(),
        "corner_psnr_last_db": mean(corners[:, -8:].mean(1), people).decibel(),
        "frame_difference": mean(change.mean(1), people), "seam": mean(seam(change, BLOCK_FRAMES), people),
        "loudness_correlation": mean(lag(aperture, truth.loudness).correlation, people)}


def hand_correlation(seen: Readings, truth: Truth, people: Tensor) -> BootstrapEstimate:
    """Height of the hands that follow the voice: both when they beat, the left one when it points."""
    scores = []
    for side, gestures in (("left", (BEAT, POINT)), ("right", (BEAT,))):
        moves = torch.stack([truth.gesture == gesture for gesture in gestures]).any(0)
        name = f"{side}_hand_y"
        scores.append(temporal_correlation(seen.traits[name], truth.trait(name)).where(moves, math.nan))
    both = torch.stack(scores)
    return share(both.nan_to_num(0).sum(0), (~both.isnan()).sum(0), people)


def measure_boxes(video: Tensor, judge: Judge) -> Row:
    """PSNR in dB of whole pictures and of boxes around mouth, eyes and hands."""
    truth, people = judge.truth, judge.people
    row = {"psnr_whole_db": mean(square_error(video, truth.video).mean(1), people).decibel()}
    scale = min(video.shape[-2:]) / 128
    for name, (places, width, height) in BOXES_PX.items():
        boxes = [box_square_error(video, truth.video, truth.points[:, :, LANDMARKS.index(place)],
                                  (width * scale, height * scale)) for place in places]
        squares, pixels = (sum(one.sum(1) for one in part) for part in zip(*boxes, strict=True))
        row[f"psnr_{name}_db"] = share(squares, pixels, people).decibel()
    return row


@torch.no_grad()
def judge_recordings(paths: list[Path], networks: Networks, model: CausalS2VTransformer, setting: Setting, clips: Clips,
                     frames: int, batch: int) -> dict:
    """Real voices, cut into pieces of `frames`, each spoken by another unseen face.

    Correlation of the mouth's opening with the loudness envelope at the best delay, mean over pieces; the share of
    silent frames with a closed mouth.
    """
    pieces_of = [cut(path, frames, networks) for path in paths]
    heard, loudness, silent = (torch.cat(parts) for parts in zip(*pieces_of, strict=True))
    dice = torch.Generator().manual_seed(5)
    B = len(heard)
    avatars = clips.worlds[0].source
    identity = avatars.identities[torch.randperm(len(avatars.identities), generator=dice)[:B]]
    controls = torch.stack([torch.randint(len(choices), (B,), generator=dice) for choices in CONTROLS.values()], 1)
    pose = portrait_pose(B, dice).to(clips.device)
    portraits = avatars.portrait(identity, pose)
    condition = ClipCondition(encode(networks.vae.encode_portrait, portraits), heard.to(clips.device),
                         controls_vector(controls).to(clips.device))
    noise = noise_for(condition, frames, seed=6)
    video = make(networks, model, setting, condition, noise, batch)
    aperture = read(networks.regressor, video).traits["mouth_aperture"]
    agreement = lag(aperture, loudness.to(aperture.device))
    silent, pieces = silent.to(aperture.device), draw_people(B)
    return {"pieces": B, "frames": frames, "loudness_correlation": mean(agreement.correlation, pieces),
            "late_frames": mean(agreement.frames, pieces), "silent_frames": int(silent.sum()),
            "closed_share": share((closed(aperture) & silent).sum(1), silent.sum(1), pieces)}


def cut(path: Path, frames: int, networks: Networks) -> tuple[Tensor, Tensor, Tensor]:
    """A recording in whole pieces: audio (B, 1, D, history + T), loudness (B, T), silent (B, T)."""
    from liveavatar.audio import load_audio, loudness_envelope, mel_features
    from liveavatar.rollout import audio_of_block

    speech = load_audio(path)
    features = mel_features(speech)
    count = features.frames // frames
    if count == 0:
        raise InputError(f"{path} lasts {speech.duration_s:.1f} s; give recordings of {frames / features.fps:.1f} s or "
                         "more, or fewer --frames")
    condition = networks.audio_encoder.encode(features.values[0, 0])[None, None]
    heard = torch.cat([audio_of_block(condition, piece, frames, True) for piece in range(count)])
    loudness = loudness_envelope(speech.wave)[:count * frames].view(count, frames)
    silent = silent_frames(torch.from_numpy(speech.wave), features.frames)[:count * frames].view(count, frames)
    return heard, loudness, silent
