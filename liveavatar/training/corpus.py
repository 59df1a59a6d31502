"""Make the training speech: many voices, rooms and microphones, with the mouth that belongs to each sound.

    python -m liveavatar.training.corpus --output .train/corpus.npz --hours 3.3 --held_hours 0.4

Utterances of 6 to 20 s: several sentences with pauses, spoken by espeak-ng and flite. The mouth comes from the phoneme
times; the sound is then augmented (noise, rooms, telephones, ...) so that real recordings drive the mouth as well as
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

from liveavatar.audio import RATE_HZ, SILENCE, loudness_envelope, mel_of
from liveavatar.speech import speaking, viseme_curves
from liveavatar.training.augmentation import augment, change_speed, make_noise
from liveavatar.training.speakers import LONGEST_S, SHORTEST_S, clean_utterance
from liveavatar.types import Phoneme, Speech

FPS = 25.0
MEL_LOW, MEL_STEP = SILENCE, 0.04              # 0.04 = 0.6 dB; 0 is silence
WITHOUT_SPEECH = 0.05                          # share of training utterances


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
        wave = augment(speech, rng)
    return stored_utterance(wave, speech, loudness_envelope(speech.wave, FPS).numpy(), voice)


def utterance_without_speech(rng: np.random.Generator) -> Utterance:
    """Make noise, music or knocks, during which a mouth stays shut."""
    samples = int(rng.uniform(SHORTEST_S, LONGEST_S) * RATE_HZ)
    kind = str(rng.choice(["white", "pink", "brown", "hum", "music", "clicks"], p=[0.1, 0.15, 0.1, 0.1, 0.35, 0.2]))
    wave = make_noise(kind, samples, rng, "train")
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
