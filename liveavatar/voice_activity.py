"""When somebody speaks in a recording, by Silero VAD: music and noise are told from speech, however loud they are.

    Speech --speech_probability--> (M,) of every 32 ms --speech_segments--> (from, to) in s

Silero VAD (https://github.com/snakers4/silero-vad, MIT licence) is optional: `pip install 'liveavatar[vad]'`. Only the
weights are read from its package. Its own code sets the number of threads of the whole process, and goes through a
recording window by window; here the network (a short-time spectrum, four convolutions, one LSTM) runs over many windows
at once. Both give the same probabilities (tests/test_voice.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.audio import RATE_HZ, SPEECH_RMS, active_rms
from liveavatar.caught_warnings import ignored_warnings
from liveavatar.types import Speech

WINDOW, CONTEXT = 512, 64                 # samples: of a window, and of the one before that it sees as well
WINDOW_S = WINDOW / RATE_HZ
PIECE = 2048                              # windows whose spectra are in memory at a time: 65 s
BEGINS, ENDS = 0.5, 0.35                  # probability at which speech begins, and below which it ends: Silero's own
SHORTEST_S, SHORTEST_PAUSE_S = 0.1, 0.2   # of speech, and of a pause in it
INSTALL = "install Silero VAD with: pip install 'liveavatar[vad]'"
SPECTRUM = 129                            # bins of the spectrum; below them in its table: their imaginary parts
STRIDES = (1, 2, 2, 1)                    # of the convolutions
NAMES = {"stft.forward_basis_buffer": "basis", "decoder.decoder.2.": "output.",
         **{f"encoder.{index}.reparam_conv.": f"convolutions.{index}." for index in range(len(STRIDES))},
         **{f"decoder.rnn.{name}": f"lstm.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}}


class VoiceNetwork(nn.Module):
    """Silero VAD of 16 kHz: windows of sound -> the probability that somebody speaks in each."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.zeros(2 * SPECTRUM, 1, 256))
        widths = (SPECTRUM, 128, 64, 64, 128)
        self.convolutions = nn.ModuleList(nn.Conv1d(before, after, 3, stride, 1) for before, after, stride
                                          in zip(widths, widths[1:], STRIDES, strict=False))
        self.lstm = nn.LSTM(128, 128)
        self.output = nn.Conv1d(128, 1, 1)

    @torch.inference_mode()
    def forward(self, wave: Tensor) -> Tensor:
        """Tell how likely speech is. wave (N,) at 16 kHz -> (M,) probability, M = ceil(N / WINDOW)"""
        count = -(-len(wave) // WINDOW)
        windows = F.pad(wave, (CONTEXT, count * WINDOW - len(wave))).unfold(0, CONTEXT + WINDOW, WINDOW)     # (M, 576)
        found, state = [], None
        for piece in windows.split(PIECE):
            described, state = self.lstm(self._describe(piece)[:, None], state)                       # (m, 1, 128)
            found.append(self.output(described.relu().transpose(1, 2)).sigmoid().flatten())
        return torch.cat(found) if found else wave.new_empty(0)

    def _describe(self, windows: Tensor) -> Tensor:
        """Describe windows (m, 576) -> (m, 128)"""
        parts = F.conv1d(F.pad(windows[:, None], (0, CONTEXT), mode="reflect"), self.basis, stride=128)
        described = (parts[:, :SPECTRUM].square() + parts[:, SPECTRUM:].square()).sqrt()              # (m, 129, 4)
        for convolution in self.convolutions:
            described = convolution(described).relu()
        return described.squeeze(-1)


@cache
def voice_network() -> VoiceNetwork | None:
    """Read the network from the installed package; None without it, or with a warning where it is another one."""
    place = find_spec("silero_vad")
    if place is None:
        return None
    network = VoiceNetwork()
    path = Path(place.origin).parent / "data" / "silero_vad.jit"
    try:
        with ignored_warnings(DeprecationWarning):                         # torch means to give up this format
            state = torch.jit.load(str(path), map_location="cpu")._model.state_dict()
        network.load_state_dict({renamed(name): values for name, values in state.items()})
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        warnings.warn(f"Silero VAD cannot be read from {path} ({reason}); a simpler rule tells speech from other "
                      "sound. To mend it: pip install --force-reinstall 'silero-vad>=6.2.3,<7'", stacklevel=2)
        return None
    return network.eval().requires_grad_(False)


def renamed(name: str) -> str:
    """Return our name of one of Silero's weights."""
    for theirs, ours in NAMES.items():
        if name.startswith(theirs):
            return ours + name[len(theirs):]
    return name


def speech_probability(speech: Speech) -> Tensor | None:
    """Return the probability that somebody speaks in each WINDOW_S of a recording: (M,); None without Silero VAD.

    speech: at 16 kHz, of any loudness. Raises ValueError for another rate.
    """
    network = voice_network()
    if network is None:
        return None
    if speech.rate_hz != RATE_HZ:
        raise ValueError(f"the speech is at {speech.rate_hz} Hz; Silero VAD is given {RATE_HZ} Hz")
    loudness = active_rms(speech.wave, speech.rate_hz)
    gain = SPEECH_RMS / loudness if loudness > 0 else 1.0
    return network((torch.from_numpy(speech.wave) * gain).clamp(-1, 1))


def speech_segments(probability: Tensor) -> list[tuple[float, float]]:
    """Return when somebody speaks, (from, to) in s: from BEGINS on until ENDS, short pauses and clicks left out."""
    merged: list[tuple[float, float]] = []
    for first, last in _raw_segments(probability.tolist()):
        begin_s, end_s = first * WINDOW_S, last * WINDOW_S
        if merged and begin_s - merged[-1][1] < SHORTEST_PAUSE_S:
            merged[-1] = (merged[-1][0], end_s)
        else:
            merged.append((begin_s, end_s))
    return [(begin_s, end_s) for begin_s, end_s in merged if end_s - begin_s >= SHORTEST_S]


def _raw_segments(probability: list[float]) -> Iterator[tuple[int, int]]:
    """Yield the first window of each stretch of speech, and the first one after it."""
    first = None
    for index, value in enumerate(probability):
        if first is None and value >= BEGINS:
            first = index
        elif first is not None and value < ENDS:
            yield first, index
            first = None
    if first is not None:
        yield first, len(probability)
