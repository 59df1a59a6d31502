"""What a cell names: recordings and portraits. The same name is always the same sound and the same person."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from liveavatar.backends import find_for
from liveavatar.files import Stamp, stamp, user_path
from liveavatar.study.grid import Cell
from liveavatar.types import InputError, Phoneme, Portrait, Speech
from liveavatar.wording import did_you_mean

KEPT = Path(__file__).parent / "recordings"       # what the study says, spoken once
PINK_FROM_HZ = 50.0                # below, noise has no more power than there


@dataclass(frozen=True)
class Materials:
    """The inputs of one cell."""

    heard: Speech        # what goes into the pipeline, noise included
    spoken: Speech       # the same words without noise: the truth for lips, with phonemes where they are known
    portrait: Portrait


def gather(cell: Cell) -> Materials:
    """Bring a cell's recording, with its noise, and its portrait."""
    spoken = first_seconds(recording(cell.recording), cell.seconds)
    heard = spoken if cell.noise_db is None else with_noise(spoken, cell.noise_db)
    options = {} if cell.options else {"student": cell.model == "student", "weights": cell.weights}
    kind = find_for(cell.backend, options)
    return Materials(heard, spoken, portrait(cell.portrait, kind.expects_rendered))


def recording(name: str) -> Speech:
    """Read a shipped sample by name, "voice|words" as it is kept for the study or else spoken now, or a file."""
    return _recording(name, stamp(user_path(name)))


@cache
def _recording(name: str, _: Stamp | None) -> Speech:
    """Remember what was read; a file that was replaced under its name is read again."""
    from liveavatar.audio import load_audio
    from liveavatar.speech import samples

    if name in (kept := kept_recordings()):
        return kept[name]
    if "|" in name:
        return spoken_now(name)
    known = samples()
    if name in known:
        return known[name]
    if not Path(name).suffix:
        raise InputError(f"recording {name!r} is unknown; give {', '.join(known)}, a file, or \"voice|words to say\""
                         + did_you_mean(name, known))
    return load_audio(name)


def spoken_now(name: str) -> Speech:
    """Speak "voice|words" by the synthesisers of this machine."""
    from liveavatar.speech import speak

    voice, _, words = name.partition("|")
    return speak(words.strip(), voice.strip())


@cache
def kept_recordings() -> dict[str, Speech]:
    """Return the recordings of the study: the same sound on every machine, whichever synthesisers it has."""
    import soundfile

    kept = {}
    for number, (name, phonemes) in enumerate(json.loads((KEPT / "phonemes.json").read_text("utf-8")).items()):
        wave, rate_hz = soundfile.read(KEPT / f"{number}.flac", dtype="float32")
        kept[name] = Speech(wave, rate_hz, tuple(Phoneme(*one) for one in phonemes), name.partition("|")[2])
    return kept


def keep_recordings(names: Iterable[str]) -> None:
    """Speak them anew and keep them."""
    import soundfile

    KEPT.mkdir(exist_ok=True)
    lines = []
    for number, name in enumerate(names):
        speech = spoken_now(name)
        soundfile.write(KEPT / f"{number}.flac", speech.wave, speech.rate_hz, subtype="PCM_16")
        phonemes = [[one.symbol, round(one.start_s, 4), round(one.end_s, 4)] for one in speech.phonemes]
        lines.append(f"  {json.dumps(name)}: {json.dumps(phonemes, ensure_ascii=False)}")
    (KEPT / "phonemes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def portrait(name: str, expects_rendered: bool = False) -> Portrait:
    """Return the avatar of a seed, the shipped photograph of that name ("woman", "man"), or the portrait in a file.

    expects_rendered: warn of a picture that was not rendered, for models that know no others
    """
    return _portrait(name, expects_rendered, stamp(user_path(name)))


@cache
def _portrait(name: str, expects_rendered: bool, found: Stamp | None) -> Portrait:
    from liveavatar.avatars.portraits import avatar
    from liveavatar.conditions import load_portrait, sample_portraits

    if name.lstrip("-").isdigit():
        return avatar(int(name))
    shipped = {} if found else sample_portraits()
    return shipped[name] if name in shipped else load_portrait(name, expects_rendered)


def first_seconds(speech: Speech, seconds: float) -> Speech:
    """Return the beginning of a recording, with the phonemes that are heard in it."""
    end_s = min(seconds, speech.duration_s)
    phonemes = tuple(replace(phoneme, end_s=min(phoneme.end_s, end_s)) for phoneme in speech.phonemes
                     if phoneme.start_s < end_s)
    sound = None if speech.sound is None else speech.sound.cut(0, end_s)
    return replace(speech, wave=speech.wave[:round(end_s * speech.rate_hz)], phonemes=phonemes).with_sound(sound)


def with_noise(speech: Speech, snr_db: float) -> Speech:
    """Add steady pink noise, like a fan, so many dB below the speech (its speaking parts, not its pauses). What would
    be too loud for a file is made quieter as a whole."""
    from liveavatar.audio import active_rms

    noise = pink_noise(len(speech.wave), speech.rate_hz)
    gain = active_rms(speech.wave, speech.rate_hz) / 10 ** (snr_db / 20)
    mixed = speech.wave + gain * noise
    return replace(speech, wave=(mixed / max(1.0, 1.001 * np.abs(mixed).max())).astype(np.float32))


def pink_noise(samples: int, rate_hz: int, seed: int = 0) -> np.ndarray:
    """Make noise whose power falls as 1/f above 50 Hz; root mean square 1. (samples,) float64"""
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / rate_hz)
    pink = np.fft.irfft(white / np.sqrt(np.maximum(frequencies, PINK_FROM_HZ)), samples)
    return pink / np.sqrt(np.mean(pink**2))


def fingerprint(materials: Materials) -> dict[str, str]:
    """Return short hashes of the inputs, for a cell's key."""
    def short(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()[:16]

    return {"heard": short(materials.heard.wave.tobytes()),
            "portrait": short(materials.portrait.pixels.numpy().tobytes())}
