"""flite through its program, whose option `-psdur` prints when each phone ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np

from liveavatar.speech.espeak import INSTALL
from liveavatar.types import InputError, Phoneme
from liveavatar.wording import did_you_mean

_FLITE_PITCH_HZ = {"slt": 167.0, "awb": 128.0, "kal": 95.0, "kal16": 95.0}     # each voice's own mean


@cache
def flite_voices() -> tuple[str, ...]:
    """List the voices of flite; none where it is not installed."""
    if shutil.which("flite") is None:
        return ()
    listed = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=False).stdout
    names = listed.partition(":")[2].split()
    return tuple(name for name in names if name != "awb_time")     # awb_time only tells the time


def speak_flite(text: str, name: str, rate: float, pitch: float, melody: float
                 ) -> tuple[np.ndarray, int, list[Phoneme]]:
    """Let flite say a text. -> wave (N,) float32 in [-1, 1], its rate in Hz, phonemes with their times

    name: one of `flite_voices`; rate, pitch, melody as in `synthesis.speak`. Raises InputError where flite is missing,
    does not know the name, or fails.
    """
    import soundfile

    voices = flite_voices()
    if not voices:
        raise InputError(f"the voice 'flite:{name}' needs flite, which is not installed; {INSTALL}")
    if name not in voices:
        raise InputError(f"flite does not know the voice {name!r}; known: {', '.join(voices)}"
                         + did_you_mean(name, voices))
    if pitch != 1.0 and name not in _FLITE_PITCH_HZ:
        warnings.warn(f"flite's voice {name!r} keeps its own pitch; pitch={pitch:g} is ignored", stacklevel=3)
    settings = [f"duration_stretch={1 / rate:.4f}"]
    if pitch != 1.0 and name in _FLITE_PITCH_HZ:
        settings.append(f"int_f0_target_mean={_FLITE_PITCH_HZ[name] * pitch:.1f}")
    if melody != 1.0:
        settings.append(f"int_f0_target_stddev={15 * melody:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "speech.wav"))
        command = ["flite", "-voice", name, "-t", text, "-o", path, "-psdur"]
        command += [part for setting in settings for part in ("--setf", setting)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not Path(path).exists():
            raise InputError(f"flite could not speak {text[:40]!r}: {done.stderr.strip()[:200]}; give plain words")
        wave, rate_hz = soundfile.read(path, dtype="float32")
    phonemes, start_s = [], 0.0
    for symbol, end in re.findall(r"(\S+):([0-9.]+)", done.stdout):
        if float(end) > start_s:
            phonemes.append(Phoneme(symbol, start_s, float(end)))
        start_s = float(end)
    return wave, rate_hz, phonemes
