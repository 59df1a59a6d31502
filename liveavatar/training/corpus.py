"""Make the training speech: many voices, rooms and microphones, with the mouth that belongs to each sound.

    python -m liveavatar.training.corpus --output .train/corpus.npz --hours 3.3 --held_hours 0.4

Utterances of 6 to 20 s: several sentences with pauses, spoken by espeak-ng and flite. The mouth comes from the phoneme
times; the sound is then spoiled (noise, rooms, telephones, ...) so that real recordings drive the mouth as well as
synthetic ones. Held utterances use other voices and other sentences, and stay clean.

The file (numpy .npz, members compressed by LZMA unless --plain; read it with `load_corpus`). All utterances one after
another:

    mel       (2 * total frames, 64) uint8   normalised log-mel as audio.mel_of gives it (which `mel_features` cuts
                                             into windows): value = MEL_LOW + MEL_STEP * q; 2 rows per video frame
    visemes   (total frames, 7)      uint8   VISEME_PARAMETERS in the middle of each frame: value = q / 100 - 1
    loudness  (total frames,)        uint8   loudness_envelope of the clean sound, 0..1 (for nods): value = q / 255
    speaking  (total frames,)        uint8   1 while a sound is spoken, 0 in pauses
    frames    (utterances,)          int32   video frames of each utterance, 25 a second
    voice     (utterances,)          str     e.g. "flite:slt", "espeak:en-us+f3"
    split     (utterances,)          str     "train" or "held": no voice and no sentence is in both

A clip cut from the middle of an utterance should have its true neighbours, as far as the audio encoder
sees (`SpeechTable.log_mel`); beyond the ends of the utterance there is SILENCE (liveavatar.audio).
"""

from __future__ import annotations

import argparse
import multiprocessing
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liveavatar.audio import RATE_HZ, SILENCE, active_rms, loudness_envelope, mel_of
from liveavatar.speech import join, speak, speaking, viseme_curves
from liveavatar.training import sentences
from liveavatar.types import Phoneme, Speech

FPS = 25.0
MEL_LOW, MEL_STEP = SILENCE, 0.04              # 0.04 = 0.6 dB; 0 is silence
SHORTEST_S, LONGEST_S = 6.0, 20.0
WITHOUT_SPEECH = 0.05                          # share of training utterances

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
VARIANTS = ("f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m7", "m8", "klatt", "klatt2", "klatt4", "klatt6",
            "Alex", "Andy", "Alicia", "Andrea", "Denis", "Diogo", "Gene", "Hugo", "Jacky", "Lee", "Marco", "Mario",
            "Michael", "Nguyen", "adam", "anika", "announcer", "antonio", "aunty", "belinda", "boris", "caleb", "ed",
            "edward", "grandpa", "gustave", "iven", "john", "max", "miguel", "pablo", "paul", "pedro", "quincy", "rob",
            "sandro", "shelby", "steph", "travis", "victor", "whisper", "zac")
HELD_ACCENTS = ("en-gb-x-rp", *ACCENTS)
HELD_VARIANTS = ("f4", "m6", "klatt3", "Annie", "david", "linda", "grandma", "robert", "steph2", "norbert")
FLITE = {"train": (("slt", 0.36), ("rms", 0.34), ("kal16", 0.2), ("kal", 0.1)), "held": (("awb", 1.0),)}


@dataclass(frozen=True)
class Utterance:
    """One utterance as it is stored."""

    mel: np.ndarray         # (2 T, 64) uint8
    visemes: np.ndarray     # (T, 7) uint8
    loudness: np.ndarray    # (T,) uint8
    speaking: np.ndarray    # (T,) uint8
    voice: str


@dataclass(frozen=True)
class Corpus:
    """The training speech, all utterances one after another; see the module's first lines."""

    mel: Tensor             # (2 * total, 64) uint8
    visemes: Tensor         # (total, 7) uint8
    loudness: Tensor        # (total,) uint8
    speaking: Tensor        # (total,) uint8
    frames: Tensor          # (utterances,) int64
    voice: tuple[str, ...]
    split: tuple[str, ...]

    def starts(self) -> Tensor:
        """Return the first video frame of each utterance: (utterances,) int64."""
        return self.frames.cumsum(0) - self.frames

    def utterances(self, split: str) -> list[int]:
        """List the numbers of the utterances that belong to "train" or "held"."""
        return [index for index, name in enumerate(self.split) if name == split]


def load_corpus(path: str | Path) -> Corpus:
    """Load what `save_corpus` wrote."""
    with np.load(path) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in ("mel", "visemes", "loudness", "speaking")}
        return Corpus(**arrays, frames=torch.from_numpy(file["frames"]).long(), voice=tuple(file["voice"].tolist()),
                      split=tuple(file["split"].tolist()))


def mel_values(stored: Tensor) -> Tensor:
    """Convert stored uint8 to normalised log-mel, float32"""
    return stored.float() * MEL_STEP + MEL_LOW


def viseme_values(stored: Tensor) -> Tensor:
    """Convert stored uint8 to the seven mouth parameters, float32"""
    return stored.float() / 100 - 1


def loudness_values(stored: Tensor) -> Tensor:
    """Convert stored uint8 to the loudness envelope 0..1, float32"""
    return stored.float() / 255


# --------------------------------------------------------------------------------------------------------------
# What is said, and by whom
# --------------------------------------------------------------------------------------------------------------

def choose(rng: np.random.Generator, options: list | tuple) -> object:
    """Choose one of the options, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def choose_voice(rng: np.random.Generator, split: str) -> tuple[str, str | None]:
    """Choose a voice for `speak`, and name its language when it is not English"""
    kind = rng.random()
    if kind < 0.4:
        names, shares = zip(*FLITE[split], strict=True)
        return f"flite:{rng.choice(names, p=shares)}", None
    variants = VARIANTS if split == "train" else HELD_VARIANTS
    variant = f"+{choose(rng, variants)}"
    if kind < 0.85:
        return f"espeak:{choose(rng, ACCENTS if split == 'train' else HELD_ACCENTS)}{variant}", None
    language = choose(rng, tuple(sentences.other(split)))
    return f"espeak:{language}{variant}", language


def choose_sentence(rng: np.random.Generator, split: str, language: str | None) -> str:
    """Choose a written sentence, or words in a row without sense (English only)."""
    if language:
        return choose(rng, sentences.other(split)[language])
    if rng.random() < 0.55:
        return choose(rng, sentences.english(split))
    words = [choose(rng, sentences.words(split)) for _ in range(int(rng.integers(3, 10)))]
    if len(words) > 5 and rng.random() < 0.4:
        words[2] += ","
    return " ".join(words) + choose(rng, ".?!.")


def choose_gap_s(rng: np.random.Generator) -> float:
    """Choose the silence between sentences: mostly short, sometimes long enough for the mouth to settle."""
    return float(rng.uniform(0.3, 0.7) if rng.random() < 0.5 else rng.uniform(0.7, 2.2))


def clean_utterance(rng: np.random.Generator, split: str) -> tuple[Speech, str]:
    """Speak sentences with pauses between them: 6 to 20 s."""
    voice, language = choose_voice(rng, split)
    style = {"rate": float(rng.uniform(0.75, 1.3)), "melody": float(rng.uniform(0.5, 1.6)),
             "pitch": 1.0 if voice == "flite:rms" else float(2 ** rng.uniform(-0.45, 0.45))}
    wanted_s = rng.uniform(SHORTEST_S + 1, LONGEST_S - 3)
    parts, gaps_s = [], [float(rng.uniform(0.1, 1.0))]
    while sum(part.duration_s for part in parts) + sum(gaps_s) < wanted_s:
        parts.append(speak(choose_sentence(rng, split, language), voice, **style))
        gaps_s.append(choose_gap_s(rng))
    while len(parts) > 1 and sum(part.duration_s for part in parts) + sum(gaps_s) > LONGEST_S:
        parts.pop()
        gaps_s.pop()
    return join(parts, gaps_s), voice


# --------------------------------------------------------------------------------------------------------------
# Spoiling the sound
# --------------------------------------------------------------------------------------------------------------

def change_speed(speech: Speech, factor: float) -> Speech:
    """Play faster (factor > 1): pitch and formants go up, as from a smaller throat; phoneme times follow."""
    import soxr

    wave = soxr.resample(speech.wave, RATE_HZ * factor, RATE_HZ).astype(np.float32)
    scale = len(wave) / len(speech.wave)
    phonemes = tuple(Phoneme(p.symbol, p.start_s * scale, p.end_s * scale) for p in speech.phonemes)
    return Speech(wave, RATE_HZ, phonemes, speech.text)


def filtered(wave: np.ndarray, gain_of_hz: object) -> np.ndarray:
    """Multiply the spectrum by gain_of_hz(frequencies): no delay, no phase."""
    size = 1 << (len(wave) + RATE_HZ // 2).bit_length()
    spectrum = np.fft.rfft(wave, size) * gain_of_hz(np.fft.rfftfreq(size, 1 / RATE_HZ))
    return np.fft.irfft(spectrum, size)[:len(wave)].astype(np.float32)


def equalised(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the microphone: tilt the spectrum by up to 4 dB an octave around 1 kHz; add three broad bumps of up to 8
    dB."""
    tilt_db = rng.uniform(-4, 4)
    bumps = [(rng.uniform(-3, 3), rng.uniform(0.4, 1.2), rng.uniform(-8, 8)) for _ in range(3)]

    def gain(hz: np.ndarray) -> np.ndarray:
        octave = np.log2(np.maximum(hz, 60) / 1000)
        db = tilt_db * octave + sum(db * np.exp(-0.5 * ((octave - at) / width) ** 2) for at, width, db in bumps)
        return 10 ** (db / 20)

    return filtered(wave, gain)


def band_limited(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the band, as a telephone or an old recording does: soft edges of a third of an octave."""
    low, high = (300, 3400) if rng.random() < 0.5 else (rng.uniform(20, 150), rng.uniform(2500, 6500))

    def gain(hz: np.ndarray) -> np.ndarray:
        octave = np.log2(np.maximum(hz, 1))
        return 1 / (1 + np.exp((np.log2(low) - octave) * 12)) / (1 + np.exp((octave - np.log2(high)) * 12))

    return filtered(wave, gain)


def in_a_room(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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


def noise_like(kind: str, samples: int, rng: np.random.Generator, split: str) -> np.ndarray:
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
    return filtered(rng.standard_normal(samples).astype(np.float32), lambda hz: np.maximum(hz, 30.0) ** -power)


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


def choose_voice_of_babble(rng: np.random.Generator, split: str) -> str:
    """Choose a voice of espeak only, which is fast"""
    return f"espeak:{choose(rng, ACCENTS)}+{choose(rng, VARIANTS if split == 'train' else HELD_VARIANTS)}"


def noisy(wave: np.ndarray, rng: np.random.Generator, split: str) -> np.ndarray:
    """Add noise 0 to 40 dB below the speech, swelling and fading a little."""
    kind = str(rng.choice(["white", "pink", "brown", "hum", "music", "clicks", "babble"],
                          p=[0.2, 0.22, 0.1, 0.08, 0.18, 0.06, 0.16]))
    snr_db = rng.uniform(8, 40) if kind == "babble" else rng.uniform(0, 40)      # louder babble has no owner
    noise = noise_like(kind, len(wave), rng, split)
    swell = np.interp(np.arange(len(wave)), np.linspace(0, len(wave), 8), rng.uniform(0.6, 1.0, 8))
    level = active_rms(wave) * 10 ** (-snr_db / 20) / max(float(np.sqrt(np.square(noise).mean())), 1e-9)
    return (wave + noise * swell * level).astype(np.float32)


def with_breaths(speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Add breaths before speaking: soft noise in the longer pauses, during which the mouth stays as it was."""
    wave = speech.wave.copy()
    level = active_rms(wave)
    for p in speech.phonemes:
        length = int(min(p.end_s - p.start_s - 0.1, rng.uniform(0.2, 0.45)) * RATE_HZ)
        if p.symbol == "_" and p.end_s - p.start_s > 0.4 and rng.random() < 0.7:
            shape = np.hanning(length) * level * 10 ** (-rng.uniform(14, 30) / 20)
            start = int((p.end_s - 0.05) * RATE_HZ) - length
            breath = filtered(rng.standard_normal(length).astype(np.float32), lambda hz: (hz > 400) / (1 + hz / 2500))
            wave[start:start + length] += shape * breath / max(float(breath.std()), 1e-9)
    return wave


def clipped(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clamp peaks, as in a recording that is a little too loud."""
    limit = active_rms(wave) * rng.uniform(1.3, 3)
    return np.clip(wave, -limit, limit)


def coded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quantise to mu-law of 5 to 8 bits, as on a telephone line, or to plain samples of 7 to 10 bits."""
    top = max(float(np.abs(wave).max()), 1e-9)
    x = wave / top
    if rng.random() < 0.6:
        levels = 2 ** int(rng.integers(5, 9)) / 2 - 1
        coded_x = np.round(np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256) * levels) / levels
        return (np.sign(coded_x) * np.expm1(np.abs(coded_x) * np.log(256)) / 255 * top).astype(np.float32)
    levels = 2 ** int(rng.integers(7, 11)) / 2 - 1
    return (np.round(x * levels) / levels * top).astype(np.float32)


def wandering(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the level slowly by up to 6 dB either way, as of a speaker who moves to and fro."""
    points = max(int(len(wave) / RATE_HZ / 3), 2)
    db = np.interp(np.arange(len(wave)), np.linspace(0, len(wave), points), rng.uniform(-6, 6, points))
    return (wave * 10 ** (db / 20)).astype(np.float32)


def spoiled(speech: Speech, rng: np.random.Generator, split: str = "train") -> np.ndarray:
    """Put the speech into a room, in front of a microphone, through a line: (N,) -> (N,), no delay."""
    wave = with_breaths(speech, rng) if rng.random() < 0.35 else speech.wave
    for share, effect in ((0.3, wandering), (0.5, equalised), (0.35, in_a_room), (0.55, partial(noisy, split=split)),
                          (0.15, clipped), (0.2, band_limited), (0.15, coded)):
        if rng.random() < share:
            wave = effect(wave, rng)
    return wave


# --------------------------------------------------------------------------------------------------------------
# Making the file
# --------------------------------------------------------------------------------------------------------------

def make_utterance(split: str, seed: int, index: int) -> Utterance:
    """Make one utterance from the split, the seed and its number alone (but for espeak-ng's phase, see speak)."""
    rng = np.random.default_rng([seed, index, split == "held"])
    if split == "train" and rng.random() < WITHOUT_SPEECH:
        return utterance_without_speech(rng)
    speech, voice = clean_utterance(rng, split)
    wave = speech.wave
    if split == "train" and rng.random() < 0.85:
        if rng.random() < 0.6:
            speech = change_speed(speech, float(2 ** rng.uniform(-0.3, 0.3)))
        wave = spoiled(speech, rng)
    return stored_utterance(wave, speech, loudness_envelope(speech.wave, FPS).numpy(), voice)


def utterance_without_speech(rng: np.random.Generator) -> Utterance:
    """Make noise, music or knocks, during which a mouth stays shut."""
    samples = int(rng.uniform(SHORTEST_S, LONGEST_S) * RATE_HZ)
    kind = str(rng.choice(["white", "pink", "brown", "hum", "music", "clicks"], p=[0.1, 0.15, 0.1, 0.1, 0.35, 0.2]))
    wave = noise_like(kind, samples, rng, "train")
    wave = 0.1 * rng.uniform(0.1, 1) * wave / max(float(np.sqrt(np.square(wave).mean())), 1e-9)
    still = Speech(wave.astype(np.float32), RATE_HZ, (Phoneme("_", 0.0, samples / RATE_HZ),))
    return stored_utterance(still.wave, still, np.zeros_like(loudness_envelope(still.wave, FPS).numpy()), kind)


def stored_utterance(wave: np.ndarray, speech: Speech, loudness: np.ndarray, voice: str) -> Utterance:
    """Round what is heard and what the mouth does to bytes."""
    mel = np.round((mel_of(wave).numpy() - MEL_LOW) / MEL_STEP)
    visemes = np.round(viseme_curves(speech.phonemes, speech.duration_s, FPS).numpy() * 100 + 100)
    spoken = speaking(speech.phonemes, speech.duration_s, FPS).numpy()
    return Utterance(mel.clip(0, 255).astype(np.uint8), visemes.clip(0, 255).astype(np.uint8),
                     np.round(loudness * 255).astype(np.uint8), spoken.astype(np.uint8), voice)


def utterances(split: str, hours: float, seed: int, workers: int) -> Iterator[Utterance]:
    """Make utterances until there are so many hours, in the same order whatever the number of workers."""
    from tqdm import tqdm

    with (multiprocessing.get_context("spawn").Pool(workers) as pool,
          tqdm(total=round(hours * 3600), unit="s", desc=f"speech, {split}") as progress):
        batch = 4 * workers
        index = 0
        while progress.n < progress.total:
            numbers = range(index, index + batch)
            for utterance in pool.imap(partial(make_utterance, split, seed), numbers):
                if progress.n < progress.total:
                    progress.update(round(len(utterance.visemes) / FPS))
                    yield utterance
            index += batch


def save_corpus(path: str | Path, made: list[tuple[str, Utterance]], small: bool = True) -> None:
    """Save a corpus. made: (split, utterance), in the order wanted; not small is four times as large, written at
    once"""
    arrays = {name: np.concatenate([getattr(utterance, name) for _, utterance in made])
              for name in ("mel", "visemes", "loudness", "speaking")}
    arrays["frames"] = np.array([len(utterance.visemes) for _, utterance in made], np.int32)
    arrays["voice"] = np.array([utterance.voice for _, utterance in made])
    arrays["split"] = np.array([split for split, _ in made])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    how = zipfile.ZIP_LZMA if small else zipfile.ZIP_STORED                 # numpy reads both; LZMA beats deflate
    with zipfile.ZipFile(unfinished, "w", how) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    unfinished.replace(path)


def make_corpus(path: str | Path, hours: float, held_hours: float, seed: int = 0, workers: int = 2,
                small: bool = True) -> None:
    """Make and save so many hours of speech for training and of held-out speech; print what there is."""
    made = [(split, utterance) for split, wanted in (("train", hours), ("held", held_hours)) if wanted > 0
            for utterance in utterances(split, wanted, seed, workers)]
    save_corpus(path, made, small)
    seconds = {split: sum(len(u.visemes) for s, u in made if s == split) / FPS for split in ("train", "held")}
    voices = {split: len({u.voice for s, u in made if s == split}) for split in ("train", "held")}
    print(f"{path}: {Path(path).stat().st_size / 1e6:.1f} MB, {len(made)} utterances; " + "; ".join(
        f"{split} {seconds[split] / 3600:.2f} h, {voices[split]} voices" for split in seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=".train/corpus.npz")
    parser.add_argument("--hours", type=float, default=3.3, help="hours of training speech")
    parser.add_argument("--held_hours", type=float, default=0.4, help="hours of speech by voices kept out of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="do not compress: a large file, but no waiting")
    arguments = parser.parse_args()
    make_corpus(arguments.output, arguments.hours, arguments.held_hours, arguments.seed, arguments.workers,
                not arguments.plain)


if __name__ == "__main__":
    main()
