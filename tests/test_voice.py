"""Voices are told from noise, clicks, hum and music, so that a recording without one is remarked on."""

import warnings

import numpy as np
import pytest
from fakes import face

import liveavatar
from liveavatar.config import GenerationConfig
from liveavatar.inputs import prepare
from liveavatar.speech import samples
from liveavatar.study.materials import kept_recordings, with_noise
from liveavatar.types import Speech
from liveavatar.voice import holds_speech

RATE = 16_000
TIME_S = np.arange(4 * RATE) / RATE
NOISE = np.random.default_rng(0).standard_normal(len(TIME_S))


def struck(interval_s, sound):
    """A short sound again and again."""
    wave = np.zeros(len(TIME_S))
    for first in range(0, len(wave) - len(sound), round(interval_s * RATE)):
        wave[first:first + len(sound)] += sound
    return wave


def chords():
    pitches = [(262, 330, 392), (294, 349, 440), (330, 392, 494), (262, 330, 392)] * 2
    notes = [sum(np.sin(2 * np.pi * hz * over * TIME_S[:RATE // 2]) / over for hz in chord for over in (1, 2, 3, 4))
             for chord in pitches]
    return np.concatenate(notes)


WITHOUT = {
    "silence": 0 * TIME_S,
    "hiss": NOISE,
    "clicks": struck(0.5, NOISE[:30]),
    "clicks in hiss": struck(0.5, NOISE[:30]) + 0.005 * NOISE,
    "knocking": struck(0.8, np.sin(2 * np.pi * 120 * TIME_S[:1600]) * np.exp(-40 * TIME_S[:1600])),
    "hum": sum(np.sin(2 * np.pi * 50 * over * TIME_S) / over for over in range(1, 8)),
    "a tone": np.sin(2 * np.pi * 200 * TIME_S),
    "breath": NOISE * np.clip(np.sin(2 * np.pi * 0.3 * TIME_S), 0, 1),
    "drums": struck(0.25, NOISE[:3200] * np.exp(-25 * TIME_S[:3200])),
    "chords": chords(),
}


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_is_no_voice_is_not_taken_for_one(kind):
    wave = WITHOUT[kind]
    assert not holds_speech(Speech((0.3 * wave / max(np.abs(wave).max(), 1)).astype(np.float32), RATE))


@pytest.mark.parametrize("speech", [*samples().values(), *kept_recordings().values()], ids=lambda one: one.text[:20])
def test_every_voice_is_found_loud_or_soft_and_in_noise(speech):
    assert holds_speech(speech) and holds_speech(with_noise(speech, 5))
    assert holds_speech(Speech(speech.wave * np.float32(0.01), RATE))
    long = np.concatenate([np.zeros(20 * RATE, np.float32), speech.wave])
    assert holds_speech(Speech(long, RATE))


def test_a_recording_without_a_voice_is_remarked_on_and_silence_is_not():
    pipe = liveavatar.load("mini", weights="random", dtype="float32")

    def said(wave):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            prepare(pipe.backend, Speech(wave.astype(np.float32), RATE), face(), "", GenerationConfig())
        return [str(note.message).partition(";")[0] for note in notes]

    assert said(0.1 * NOISE) == ["no voice was found in the sound"]
    assert said(0 * NOISE) == said(samples()["welcome"].wave) == []
