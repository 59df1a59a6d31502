"""Voices are told from noise, clicks, hum and music, so that a recording without one is remarked on."""

import runpy
import warnings
from pathlib import Path

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
WITHOUT = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "no_voice.py"))["sounds"]()


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_is_no_voice_is_not_taken_for_one(kind):
    assert not holds_speech(Speech(WITHOUT[kind], RATE))


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
            prepare(pipe.backend, Speech(wave.astype(np.float32), RATE), face(), "", GenerationConfig(crop="none"))
        return [str(note.message).partition(";")[0] for note in notes]

    assert said(WITHOUT["hiss"]) == ["no voice was found in the sound"]
    assert said(WITHOUT["silence"]) == said(samples()["welcome"].wave) == []
