"""Training speech: what is stored can be read back, and spoiling the sound never moves it in time."""

import numpy as np
import pytest
import torch

from liveavatar import speech
from liveavatar.audio import MEL_FLOOR, SILENCE, active_rms, mel_of
from liveavatar.speech.espeak import open_espeak
from liveavatar.speech.flite import flite_voices
from liveavatar.training import augmentation, corpus, sentences, speakers
from liveavatar.types import Phoneme, Speech

RATE = 16000
needs_espeak = pytest.mark.skipif(open_espeak() is None, reason="espeak-ng is not installed")
needs_both = pytest.mark.skipif(open_espeak() is None or not flite_voices(), reason="no synthesisers")


def bursts(seconds: float = 4.0) -> np.ndarray:
    """Voice-like buzz, on and off every 0.4 s."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.cos(2 * np.pi * 130 * k * time_s) / k for k in range(1, 30))
    return (0.1 * buzz * (time_s // 0.4 % 2 == 1)).astype(np.float32)


def lag_ms(clean: np.ndarray, spoiled: np.ndarray) -> float:
    """How much later the spoiled sound's loudness is, from the phase of its 1.25 Hz on-and-off."""
    def phase(wave: np.ndarray) -> float:
        loud = np.sqrt(np.square(wave).reshape(-1, 80).mean(1))
        return float(np.angle((loud * np.exp(-2j * np.pi * 1.25 * np.arange(len(loud)) / 200)).sum()))

    return (phase(clean) - phase(spoiled)) / (2 * np.pi * 1.25) * 1000


EFFECTS = [augmentation.vary_level, augmentation.equalise, augmentation.add_reverb, augmentation.clip_peaks,
           augmentation.limit_band, augmentation.quantise]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("seed", range(3))
def test_an_effect_changes_the_sound_but_not_its_time(effect, seed):
    wave = bursts()
    spoiled = effect(wave, np.random.default_rng(seed))
    assert spoiled.shape == wave.shape and spoiled.dtype == np.float32 and np.isfinite(spoiled).all()
    assert np.abs(spoiled - wave).max() > 1e-4
    late = 60 if effect is augmentation.add_reverb else 15       # the direct sound stays, the tail comes after
    assert abs(lag_ms(wave, spoiled)) < late


def test_a_room_does_not_delay_the_direct_sound():
    click = np.zeros(RATE, np.float32)
    click[4000] = 1.0
    heard = augmentation.add_reverb(click, np.random.default_rng(0))
    assert np.argmax(np.abs(heard)) == 4000 and np.abs(heard[:4000]).max() < 1e-6


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum"])
def test_noise_has_the_loudness_asked_for(kind, monkeypatch):
    original = augmentation.make_noise
    monkeypatch.setattr(augmentation, "make_noise", lambda _, *rest: original(kind, *rest))
    wave = bursts()
    noises = [augmentation.add_noise(wave, np.random.default_rng(seed), "train") - wave for seed in range(8)]
    below_db = [20 * np.log10(active_rms(wave) / np.sqrt(np.square(noise).mean())) for noise in noises]
    assert all(-0.5 < db < 45 for db in below_db) and max(below_db) - min(below_db) > 8


def test_speed_takes_the_phonemes_along():
    said = Speech(bursts(2.0), RATE, (Phoneme("a", 0.4, 0.8),))
    fast = augmentation.change_speed(said, 1.25)
    assert fast.duration_s == pytest.approx(1.6, abs=1e-3)
    assert fast.phonemes[0].start_s == pytest.approx(0.32, abs=1e-3)
    loud = np.abs(fast.wave) > 0.05
    assert np.argmax(loud) / RATE == pytest.approx(0.32, abs=0.005)


def test_held_sentences_words_and_voices_are_never_trained_on():
    for pool in (sentences.english, sentences.words):
        assert pool("train") and pool("held") and not set(pool("train")) & set(pool("held"))
    trained = {text for texts in sentences.other("train").values() for text in texts}
    assert not trained & {text for texts in sentences.other("held").values() for text in texts}
    rng = np.random.default_rng(0)
    voices = {split: {speakers.choose_voice(rng, split)[0] for _ in range(2000)} for split in ("train", "held")}
    assert not voices["train"] & voices["held"]
    assert not set(speakers.VARIANTS) & set(speakers.HELD_VARIANTS)


@needs_espeak
def test_every_espeak_voice_of_the_corpus_exists():
    known = set(speech.available_variants())
    assert set(speakers.VARIANTS) | set(speakers.HELD_VARIANTS) <= known
    languages = {*speakers.ACCENTS, *speakers.HELD_ACCENTS, *sentences.other("train"), *sentences.other("held")}
    assert {f"espeak:{language}" for language in languages} <= set(speech.available_voices())


@needs_both
def test_an_utterance_is_stored_as_it_was_heard():
    """Held speech stays clean, so what is stored can be computed again from its recipe."""
    seed, index = 3, 1
    made = corpus.make_utterance("held", seed, index)
    frames = len(made.visemes)
    assert 6 * 25 <= frames <= 21 * 25
    assert made.mel.shape == (2 * frames, 64) and made.loudness.shape == made.speaking.shape == (frames,)
    assert all(array.dtype == np.uint8 for array in (made.mel, made.visemes, made.loudness, made.speaking))
    assert 0.4 < made.speaking.mean() < 0.95
    aperture = made.visemes[:, 0] / 100 - 1
    resting = np.convolve(made.speaking, np.ones(5), "same") == 0
    assert resting.sum() > 5 and aperture[resting].max() < 0.1                       # pauses: the mouth is closed
    assert np.corrcoef(aperture, made.loudness)[0, 1] > 0.4


def test_a_corpus_can_be_saved_and_read_back(tmp_path):
    rng = np.random.default_rng(0)

    def fake(frames: int, voice: str) -> corpus.Utterance:
        parts = [rng.integers(0, 255, shape, np.uint8) for shape in ((2 * frames, 64), (frames, 7), frames)]
        return corpus.Utterance(*parts, rng.integers(0, 2, frames).astype(np.uint8), voice)

    made = [("train", fake(30, "flite:slt")), ("train", fake(50, "espeak:en-us+f3")), ("held", fake(40, "flite:awb"))]
    corpus.save_corpus(tmp_path / "deep" / "corpus.npz", made)
    read = corpus.load_corpus(tmp_path / "deep" / "corpus.npz")
    assert read.starts().tolist() == [0, 30, 80] and read.utterances("held") == [2]
    assert read.voice == ("flite:slt", "espeak:en-us+f3", "flite:awb")
    assert torch.equal(read.mel[160:], torch.from_numpy(made[2][1].mel))
    assert torch.equal(read.visemes[30:80], torch.from_numpy(made[1][1].visemes))
    assert not list(tmp_path.rglob("*.part"))


def test_stored_numbers_mean_what_the_module_says():
    mel = mel_of(bursts(1.0))
    stored = torch.from_numpy(np.round((mel.numpy() - corpus.MEL_LOW) / corpus.MEL_STEP).astype(np.uint8))
    assert (corpus.mel_values(stored) - mel).abs().max() <= corpus.MEL_STEP / 2 + 1e-5
    assert corpus.mel_values(torch.zeros(1, dtype=torch.uint8)) == pytest.approx(SILENCE)
    assert SILENCE == pytest.approx((np.log10(MEL_FLOOR) + 2.5) / 1.5)
    assert corpus.viseme_values(torch.tensor([0, 100, 200], dtype=torch.uint8)).tolist() == [-1, 0, 1]
    assert corpus.loudness_values(torch.tensor([255], dtype=torch.uint8)).tolist() == [1]
