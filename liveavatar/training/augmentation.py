"""Make clean speech sound like recordings: rooms, microphones, noise, clipping, codecs. (N,) -> (N,), without delay."""

from __future__ import annotations

from functools import partial

import numpy as np

from liveavatar.audio import RATE_HZ, active_rms
from liveavatar.speech import speak
from liveavatar.training.speakers import choose_sentence, choose_voice_of_babble
from liveavatar.types import Phoneme, Speech


def change_speed(speech: Speech, factor: float) -> Speech:
    """Play faster (factor > 1): pitch and formants go up, as from a smaller throat; phoneme times follow."""
    import soxr

    wave = soxr.resample(speech.wave, RATE_HZ * factor, RATE_HZ).astype(np.float32)
    scale = len(wave) / len(speech.wave)
    phonemes = tuple(Phoneme(p.symbol, p.start_s * scale, p.end_s * scale) for p in speech.phonemes)
    return Speech(wave, RATE_HZ, phonemes, speech.text)


def apply_gain(wave: np.ndarray, gain_of_hz: object) -> np.ndarray:
    """Multiply the spectrum by gain_of_hz(frequencies): no delay, no phase."""
    size = 1 << (len(wave) + RATE_HZ // 2).bit_length()
    spectrum = np.fft.rfft(wave, size) * gain_of_hz(np.fft.rfftfreq(size, 1 / RATE_HZ))
    return np.fft.irfft(spectrum, size)[:len(wave)].astype(np.float32)


def equalise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the microphone: tilt the spectrum by up to 4 dB an octave around 1 kHz; add three broad bumps of up to 8
    dB."""
    tilt_db = rng.uniform(-4, 4)
    bumps = [(rng.uniform(-3, 3), rng.uniform(0.4, 1.2), rng.uniform(-8, 8)) for _ in range(3)]

    def gain(hz: np.ndarray) -> np.ndarray:
        octave = np.log2(np.maximum(hz, 60) / 1000)
        db = tilt_db * octave + sum(db * np.exp(-0.5 * ((octave - at) / width) ** 2) for at, width, db in bumps)
        return 10 ** (db / 20)

    return apply_gain(wave, gain)


def limit_band(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the band, as a telephone or an old recording does: soft edges of a third of an octave."""
    low, high = (300, 3400) if rng.random() < 0.5 else (rng.uniform(20, 150), rng.uniform(2500, 6500))

    def gain(hz: np.ndarray) -> np.ndarray:
        octave = np.log2(np.maximum(hz, 1))
        return 1 / (1 + np.exp((np.log2(low) - octave) * 12)) / (1 + np.exp((octave - np.log2(high)) * 12))

    return apply_gain(wave, gain)


def add_reverb(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add an echo: noise that dies away by 60 dB in 0.15 to 0.8 s; the direct sound is not delayed."""
    rt60_s = rng.uniform(0.15, 0.8)
    time_s = np.arange(int(rt60_s * RATE_HZ)) / RATE_HZ
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    tail[:int(rng.uniform(0.002, 0.012) * RATE_HZ)] = 0            # the first wall is a few metres away
    direct_over_tail_db = rng.uniform(0, 15)
    tail *= 10 ** (-direct_over_tail_db / 20) / np.sqrt(np.square(tail).sum())
    size = 1 << (len(wave) + len(tail)).bit_length()
    echo = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[:len(wave)]
    return (wave + echo).astype(np.float32)


def make_noise(kind: str, samples: int, rng: np.random.Generator, split: str) -> np.ndarray:
    """Make one kind of noise: white, pink, brown (wind, traffic), hum (mains, its harmonics), music, clicks or babble
    (three other people). -> (samples,)"""
    if kind == "music":
        return music(samples, rng)
    if kind == "clicks":
        return clicks(samples, rng)
    if kind == "babble":
        return sum(np.resize(speak(choose_sentence(rng, split, None), choose_voice_of_babble(rng, split)).wave, samples)
                   for _ in range(3))
    if kind == "hum":
        time_s = np.arange(samples) / RATE_HZ
        mains = float(rng.choice([50, 60]))
        return sum(np.sin(2 * np.pi * mains * k * time_s + rng.uniform(0, 6)) / k for k in range(1, 8))
    power = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
    return apply_gain(rng.standard_normal(samples).astype(np.float32), lambda hz: np.maximum(hz, 30.0) ** -power)


def music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Play chords and a tune on plucked or held tones, with a beat: enough to know that it is not speech."""
    wave, time_s = np.zeros(samples, np.float32), np.arange(samples) / RATE_HZ
    beat_s, key = rng.uniform(0.25, 0.6), rng.uniform(110, 260)
    for beat in range(int(samples / RATE_HZ / beat_s) + 1):
        first = int(beat * beat_s * RATE_HZ)
        chord = (0, 4, 7) if rng.random() < 0.6 else (0, 3, 7)
        root = float(rng.choice([0, 5, 7, 9, -3]))
        notes = [root + step for step in chord] if beat % 2 == 0 else []
        notes += [root + 12 + float(rng.choice([0, 2, 4, 5, 7, 9]))] if rng.random() < 0.7 else []
        length = min(int(rng.uniform(0.8, 3) * beat_s * RATE_HZ), samples - first)
        if length <= 0:
            break
        local = time_s[:length]
        envelope = np.minimum(local / 0.01, 1) * np.exp(-local * rng.uniform(0.5, 6))
        for note in notes:
            hz = key * 2 ** (note / 12)
            tone = sum(np.sin(2 * np.pi * hz * k * local + rng.uniform(0, 6)) / k ** rng.uniform(0.7, 2)
                       for k in range(1, 7) if hz * k < 7000)
            wave[first:first + length] += (envelope * tone).astype(np.float32)
        if rng.random() < 0.6:
            drum = min(int(0.12 * RATE_HZ), samples - first)
            hit = rng.standard_normal(drum) * np.exp(-np.arange(drum) / RATE_HZ * rng.uniform(20, 80))
            wave[first:first + drum] += (2 * hit).astype(np.float32)
    return wave


def clicks(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Make knocks, keys and clicks at random times over a little hiss."""
    wave = 0.02 * rng.standard_normal(samples).astype(np.float32)
    for _ in range(int(samples / RATE_HZ * rng.uniform(0.5, 6)) + 1):
        first, length = int(rng.integers(samples)), int(rng.uniform(0.003, 0.08) * RATE_HZ)
        length = min(length, samples - first)
        wave[first:first + length] += (rng.uniform(0.3, 2) * rng.standard_normal(length)
                                       * np.exp(-np.linspace(0, 5, length))).astype(np.float32)
    return wave


def add_noise(wave: np.ndarray, rng: np.random.Generator, split: str) -> np.ndarray:
    """Add noise 0 to 40 dB below the speech, swelling and fading a little."""
    kind = str(rng.choice(["white", "pink", "brown", "hum", "music", "clicks", "babble"],
                          p=[0.2, 0.22, 0.1, 0.08, 0.18, 0.06, 0.16]))
    snr_db = rng.uniform(8, 40) if kind == "babble" else rng.uniform(0, 40)      # louder babble has no owner
    noise = make_noise(kind, len(wave), rng, split)
    swell = np.interp(np.arange(len(wave)), np.linspace(0, len(wave), 8), rng.uniform(0.6, 1.0, 8))
    level = active_rms(wave) * 10 ** (-snr_db / 20) / max(float(np.sqrt(np.square(noise).mean())), 1e-9)
    return (wave + noise * swell * level).astype(np.float32)


def add_breaths(speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Add breaths before speaking: soft noise in the longer pauses, during which the mouth stays as it was."""
    wave = speech.wave.copy()
    level = active_rms(wave)
    for p in speech.phonemes:
        length = int(min(p.end_s - p.start_s - 0.1, rng.uniform(0.2, 0.45)) * RATE_HZ)
        if p.symbol == "_" and p.end_s - p.start_s > 0.4 and rng.random() < 0.7:
            shape = np.hanning(length) * level * 10 ** (-rng.uniform(14, 30) / 20)
            start = int((p.end_s - 0.05) * RATE_HZ) - length
            breath = apply_gain(rng.standard_normal(length).astype(np.float32), lambda hz: (hz > 400) / (1 + hz / 2500))
            wave[start:start + length] += shape * breath / max(float(breath.std()), 1e-9)
    return wave


def clip_peaks(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clamp peaks, as in a recording that is a little too loud."""
    limit = active_rms(wave) * rng.uniform(1.3, 3)
    return np.clip(wave, -limit, limit)


def quantise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quantise to mu-law of 5 to 8 bits, as on a telephone line, or to plain samples of 7 to 10 bits."""
    top = max(float(np.abs(wave).max()), 1e-9)
    x = wave / top
    if rng.random() < 0.6:
        levels = 2 ** int(rng.integers(5, 9)) / 2 - 1
        coded_x = np.round(np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256) * levels) / levels
        return (np.sign(coded_x) * np.expm1(np.abs(coded_x) * np.log(256)) / 255 * top).astype(np.float32)
    levels = 2 ** int(rng.integers(7, 11)) / 2 - 1
    return (np.round(x * levels) / levels * top).astype(np.float32)


def vary_level(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the level slowly by up to 6 dB either way, as of a speaker who moves to and fro."""
    points = max(int(len(wave) / RATE_HZ / 3), 2)
    db = np.interp(np.arange(len(wave)), np.linspace(0, len(wave), points), rng.uniform(-6, 6, points))
    return (wave * 10 ** (db / 20)).astype(np.float32)


def augment(speech: Speech, rng: np.random.Generator, split: str = "train") -> np.ndarray:
    """Put the speech into a room, in front of a microphone, through a line: (N,) -> (N,), no delay."""
    wave = add_breaths(speech, rng) if rng.random() < 0.35 else speech.wave
    noisy = partial(add_noise, split=split)
    for share, effect in ((0.3, vary_level), (0.5, equalise), (0.35, add_reverb), (0.55, noisy), (0.15, clip_peaks),
                          (0.2, limit_band), (0.15, quantise)):
        if rng.random() < share:
            wave = effect(wave, rng)
    return wave
