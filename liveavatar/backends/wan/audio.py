"""Sound -> what the transformer hears during each video frame: all hidden layers of wav2vec2-large.

    wave 16 kHz -> unit variance -> wav2vec2, about 50 a second -> every other one at 25 a second, as released:
    stretched to 30 a second by straight lines, then the nearest to each video frame is taken

A recording of up to about a minute is heard in one pass, as released. A longer one is heard in pieces that overlap, so
the network's memory stays the same however long it is; its features go to a file that is mapped, not loaded. The layers
attend to all the sound they are given, so the features of pieces are not exactly those of one pass.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.backends.wan.checkpoints import damaged
from liveavatar.backends.wan.networks import randomise
from liveavatar.backends.wan.offload import OffloadPolicy
from liveavatar.types import AudioFeatures, InputError, Speech

if TYPE_CHECKING:
    from transformers import Wav2Vec2Model

RATE_HZ, FPS = 16_000, 25.0
HIDDEN_HZ, STRETCHED_HZ = 50, 30
PIECE_S, CONTEXT_S = 40.0, 10.0        # kept of each piece, and heard besides on either side
LARGEST_IN_MEMORY = 2**30              # bytes of features; more go to a file


@dataclass(frozen=True)
class Piece:
    """A stretch of hidden frames to be kept, and the longer one to be heard for it."""

    first: int
    last: int         # one past the end
    heard_first: int
    heard_last: int


def pieces(hidden: int, piece: int, context: int) -> Iterator[Piece]:
    """Cut `hidden` frames; one piece when little more than one would be heard anyway."""
    if hidden <= piece + 2 * context:
        piece = hidden
    for first in range(0, hidden, piece):
        last = min(first + piece, hidden)
        yield Piece(first, last, max(first - context, 0), min(last + context, hidden))


def places(frames: int, hidden: int) -> Tensor:
    """Return where between the hidden frames each video frame looks: (frames,) float64, -1 for "past the end".

    The released code stretches 50 a second to 30, end on end, and then takes the nearest of them 25 times a second.
    """
    stretched = int(hidden / HIDDEN_HZ * STRETCHED_HZ)
    index = (torch.arange(frames, dtype=torch.float64) * (STRETCHED_HZ / FPS)).round()     # half to even, as numpy
    where = index * ((hidden - 1) / max(stretched - 1, 1))
    return torch.where(index < stretched, where, -1.0)


class AudioEncoder:
    """Sound -> features."""

    def __init__(self, network: Wav2Vec2Model, offload: OffloadPolicy, piece_s: float = PIECE_S,
                 context_s: float = CONTEXT_S) -> None:
        self.network, self.offload = network, offload
        self.piece, self.context = round(piece_s * HIDDEN_HZ), round(context_s * HIDDEN_HZ)
        config = network.config
        self.stride = math.prod(config.conv_stride)                                        # samples: 320
        self.window = 1 + sum((kernel - 1) * math.prod(config.conv_stride[:layer])         # samples: 400
                              for layer, kernel in enumerate(config.conv_kernel))
        self.shape = (config.num_hidden_layers + 1, config.hidden_size)

    def hidden_frames(self, samples: int) -> int:
        return (samples - self.window) // self.stride + 1

    def encode_audio(self, speech: Speech) -> AudioFeatures:
        """Return values (1, layers, A, T) in the network's precision, T = ceil(25 N / 16000)"""
        samples = len(speech.wave)
        hidden, frames = self.hidden_frames(samples), math.ceil(round(samples * FPS / RATE_HZ, 6))
        if hidden < 2:
            raise InputError(f"{samples / speech.rate_hz * 1000:.0f} ms of sound are too short to be heard; give at "
                             "least 0.2 s")
        where = places(frames, hidden)
        values = room(frames, self.shape, self.network.dtype)
        for frame, found in self.pieces_of(speech.wave, where, hidden):
            values[frame:frame + len(found)] = found
        values[where < 0] = 0.0                                                            # past the end, as released
        return AudioFeatures(values.permute(1, 2, 0)[None], FPS, loudness(speech.wave, frames))

    @torch.inference_mode()
    def pieces_of(self, wave: np.ndarray, where: Tensor, hidden: int) -> Iterator[tuple[int, Tensor]]:
        """Yield first video frame and features (n, layers, A), piece after piece."""
        mean, scale = wave.mean(dtype=np.float64), 1 / math.sqrt(wave.var(dtype=np.float64) + 1e-7)
        with self.offload.on_device(self.network) as network:
            for piece in pieces(hidden, self.piece, self.context):
                chosen = ((where >= piece.first) & (where < piece.last)).nonzero()[:, 0]
                if not len(chosen):
                    continue
                end = len(wave) if piece.heard_last == hidden else (piece.heard_last - 1) * self.stride + self.window
                heard = (wave[piece.heard_first * self.stride:end] - mean) * scale
                inputs = torch.from_numpy(heard.astype(np.float32))[None].to(self.offload.device, network.dtype)
                layers = network(inputs, output_hidden_states=True).hidden_states
                yield int(chosen[0]), between(layers, where[chosen] - piece.heard_first).cpu()


def between(layers: tuple[Tensor, ...], where: Tensor) -> Tensor:
    """Interpolate between hidden frames: layers of (1, M, A), where (n,)  ->  (n, layers, A)"""
    device, dtype = layers[0].device, layers[0].dtype
    before = where.floor().long().to(device)
    after = (before + 1).clamp(max=layers[0].shape[1] - 1)
    share = (where.to(device) - before).float()[:, None]
    return torch.stack([torch.lerp(layer[0, before].float(), layer[0, after].float(), share).to(dtype)
                        for layer in layers], 1)


def room(frames: int, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return an empty tensor (frames, layers, A) to be written: in memory, or in a file without a name that goes when
    the tensor goes."""
    size = (frames, *shape)
    if math.prod(size) * dtype.itemsize <= LARGEST_IN_MEMORY:
        return torch.empty(size, dtype=dtype)
    with tempfile.NamedTemporaryFile(prefix="liveavatar-heard-") as file:
        return torch.from_file(file.name, shared=True, size=math.prod(size), dtype=dtype).view(size)


def loudness(wave: np.ndarray, frames: int) -> Tensor:
    """Return RMS of each video frame, 0..1: (T,)"""
    hop = round(RATE_HZ / FPS)
    power = np.square(np.pad(wave, (0, frames * hop - len(wave))), dtype=np.float64).reshape(frames, hop).mean(1)
    return torch.from_numpy(np.sqrt(power).clip(0, 1)).float()


def read_audio_encoder(folder: Path, dtype: torch.dtype, offload: OffloadPolicy) -> AudioEncoder:
    """Read the encoder from the released folder; the letters it was trained to write are left out."""
    from transformers import Wav2Vec2Model
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()                                  # it would list the letters' weights as unexpected
    logging.disable_progress_bar()
    try:
        network, report = Wav2Vec2Model.from_pretrained(str(folder), local_files_only=True, dtype=dtype,
                                                        output_loading_info=True)
    except Exception as error:                                     # of many kinds: safetensors, json, pickle, its own
        raise damaged(folder, str(error) or type(error).__name__) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    lacking = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if lacking:
        raise damaged(folder, f"it lacks {lacking[0]}" + (f" and {len(lacking) - 1} more" if lacking[1:] else ""))
    return AudioEncoder(network.requires_grad_(False).eval(), offload)


def random_audio_encoder(config: dict, dtype: torch.dtype, offload: OffloadPolicy) -> AudioEncoder:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        network = Wav2Vec2Model(Wav2Vec2Config(**config))
    return AudioEncoder(randomise(network, offload.storage_device, dtype), offload)
