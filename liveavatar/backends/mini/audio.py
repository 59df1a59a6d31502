"""The audio encoder of mini: what wav2vec2 is to the released model, small, trained on speech whose mouth is known.

    mel of a recording --windows--> what surrounds each video frame --AudioEncoder--> its features

A stack of convolutions over time. Each frame looks BEFORE frames back and AFTER ahead, and no further, so a recording
may be encoded in pieces and gives the same. Letters: B clips, T video frames, D features of a frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.audio import FEATURES, MEL_AFTER, MEL_BANDS, MEL_BEFORE, MEL_PER_FRAME, SILENCE, windows

LAYERS = 6
BACK, AHEAD = 3, 1                                  # video frames a layer sees on either side
BEFORE, AFTER = LAYERS * BACK, LAYERS * AHEAD       # and all of them together: 0.72 s and 0.24 s
PIECE_FRAMES = 1500                                 # of a recording encoded at a time: a minute


class AudioEncoderLayer(nn.Module):
    """A residual block over a few neighbouring frames: norm, linear, SiLU, linear.

    The names `look`, `think`, `enter` and `leave` are those of tensors in weight files.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.look = nn.Linear((BACK + 1 + AHEAD) * dim, hidden)
        self.think = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each frame what its neighbours say: (B, T + BACK + AHEAD, D) -> (B, T, D)"""
        around = self.norm(x).unfold(1, BACK + 1 + AHEAD, 1).flatten(2)
        return x[:, BACK:-AHEAD] + self.think(F.silu(self.look(around)))


class AudioEncoder(nn.Module):
    """Encode windows of mel around each video frame as features of its speech."""

    def __init__(self, dim: int = 256, hidden: int = 384) -> None:
        super().__init__()
        self.dim = dim
        self.enter = nn.Linear(FEATURES, dim)
        self.layers = nn.ModuleList(AudioEncoderLayer(dim, hidden) for _ in range(LAYERS))
        self.leave = nn.LayerNorm(dim)

    def forward(self, mel: Tensor) -> Tensor:
        """Encode mel (B, 768, BEFORE + T + AFTER) of `liveavatar.audio.windows`  ->  (B, D, T)"""
        x = self.enter(mel.transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        return self.leave(x).transpose(1, 2)

    @torch.no_grad()
    def encode(self, mel: Tensor) -> Tensor:
        """Encode a whole recording in pieces: mel (768, T) of `audio.mel_features`, silence around it  ->  (D, T)"""
        T = mel.shape[-1]
        features = torch.empty(self.dim, T)
        for first in range(0, T, PIECE_FRAMES):
            last = min(first + PIECE_FRAMES, T)
            near = mel_around(mel, first - BEFORE, last + AFTER)
            features[:, first:last] = self(windows(near)[None].to(self.enter.weight))[0]
        return features


def mel_around(mel: Tensor, first: int, last: int) -> Tensor:
    """Return the mel that windows of frames first..last are cut of, silence beyond the recording: mel (768, T) of
    `liveavatar.audio.mel_features`  ->  (2 (last - first) + 10, 64)"""
    reach = -(-(MEL_AFTER - MEL_PER_FRAME) // MEL_PER_FRAME)                             # frames
    begin, end = max(first - reach, 0), min(last + reach, mel.shape[-1])
    own = mel[:, begin:end].unflatten(0, (-1, MEL_BANDS))[MEL_BEFORE:MEL_BEFORE + MEL_PER_FRAME]     # (2, 64, n)
    rows = own.permute(2, 0, 1).flatten(0, 1)
    before = MEL_PER_FRAME * (begin - first) + MEL_BEFORE                                # below 0: too many
    after = MEL_PER_FRAME * (last - end) + MEL_AFTER - MEL_PER_FRAME
    return F.pad(rows, (0, 0, before, after), value=SILENCE)
