"""Voices are told from noise, clicks, hum and music, so that a recording without one is remarked on."""

import runpy
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import face

import liveavatar
from liveavatar import voice
from liveavatar.config import GenerationConfig
from liveavatar.inputs import prepare
from liveavatar.metrics import sound_kinds as sound_kinds_module
from liveavatar.metrics.sound_kinds import sound_kinds
from liveavatar.speech import is_pause, samples
from liveavatar.study.materials import kept_recordings, with_noise
from liveavatar.types import Speech
from liveavatar.voice import follows_rule, holds_speech
from liveavatar.voice_activity import WINDOW, speech_probability, speech_segments, voice_network

needs_silero = pytest.mark.skipif(find_spec("silero_vad") is None,
                                  reason="needs Silero VAD: pip install 'liveavatar[vad]'")
RATE = 16_000
WITHOUT = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "no_voice.py"))["sounds"]()


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_is_no_voice_is_not_taken_for_one(kind):
    speech = Speech(WITHOUT[kind], RATE)
    assert not follows_rule(speech) and not holds_speech(speech)


@pytest.mark.parametrize("speech", [*samples().values(), *kept_recordings().values()], ids=lambda one: one.text[:20])
def test_every_voice_is_found_loud_or_soft_and_in_noise(speech):
    assert holds_speech(speech) and holds_speech(with_noise(speech, 5))
    assert holds_speech(Speech(speech.wave * np.float32(0.01), RATE))
    long = np.concatenate([np.zeros(20 * RATE, np.float32), speech.wave])
    assert holds_speech(Speech(long, RATE)) and follows_rule(Speech(long, RATE))


def test_a_recording_without_a_voice_is_remarked_on_and_silence_is_not():
    pipe = liveavatar.load("mini", weights="random", dtype="float32")

    def said(wave):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            prepare(pipe.backend, Speech(wave.astype(np.float32), RATE), face(), "", GenerationConfig(crop="none"))
        return [str(note.message).partition(";")[0] for note in notes]

    assert said(WITHOUT["hiss"]) == ["no voice was found in the sound"]
    assert said(WITHOUT["silence"]) == said(samples()["welcome"].wave) == []


@needs_silero
def test_the_network_gives_the_probabilities_of_silero_and_finds_the_pauses():
    speech = samples()["welcome"]
    mine, quiet = speech_probability(speech), speech_probability(Speech(speech.wave * np.float32(0.01), RATE))
    assert len(mine) == -(-len(speech.wave) // WINDOW) and (mine - quiet).abs().max() < 1e-3
    path = Path(find_spec("silero_vad").origin).parent / "data" / "silero_vad.jit"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.jit.load(str(path))
    wave = torch.from_numpy(speech.wave[:40 * WINDOW])
    with torch.inference_mode():
        wanted = torch.cat([theirs(part[None], RATE)[0] for part in wave.split(WINDOW)])
        assert (voice_network()(wave) - wanted).abs().max() < 1e-4
    segments = speech_segments(mine)
    spoken = [one for one in speech.phonemes if not is_pause(one)]
    assert segments[0][0] == pytest.approx(spoken[0].start_s, abs=0.12)
    assert segments[-1][1] == pytest.approx(spoken[-1].end_s, abs=0.12)


def test_speech_begins_surely_ends_late_and_short_pauses_and_clicks_are_left_out():
    probability = torch.zeros(100)
    probability[10:20], probability[20:22], probability[23:30], probability[60] = 0.9, 0.4, 0.6, 0.9
    assert speech_segments(probability) == [(pytest.approx(0.32), pytest.approx(0.96))]
    assert speech_segments(torch.empty(0)) == [] and speech_segments(torch.ones(10)) == [(0.0, pytest.approx(0.32))]


def test_silence_speech_and_other_sound_are_told_apart(monkeypatch):
    wave = np.where(np.arange(4 * RATE) < 3 * RATE, 0.1, 0).astype(np.float32)         # 3 s of sound, 1 s of silence
    probability = (torch.arange(125) < 32).float()                                     # somebody speaks for 1 s
    monkeypatch.setattr(sound_kinds_module, "speech_probability", lambda speech: probability)
    kinds = sound_kinds(Speech(wave, RATE), 100)
    assert bool(((kinds.silent.int() + kinds.speaking.int() + kinds.other.int()) == 1).all())
    assert float(kinds.speaking.sum()) / 25 == pytest.approx(1.1, abs=0.1)
    assert kinds.other_segments(25.0) == [(pytest.approx(1.12, abs=0.05), pytest.approx(3.1, abs=0.1))]
    assert kinds.voiceless == "" and kinds.unknown == ""
    probability[:] = 0
    assert "music or noise" in sound_kinds(Speech(wave, RATE), 100).voiceless


def test_without_silero_music_is_not_claimed_to_be_known(monkeypatch):
    monkeypatch.setattr(sound_kinds_module, "speech_probability", lambda speech: None)
    monkeypatch.setattr(voice, "speech_probability", lambda speech: None)
    spoken, hiss = (sound_kinds(speech, 75) for speech in (samples()["steps"], Speech(WITHOUT["hiss"], RATE)))
    assert "pip install 'liveavatar[vad]'" in spoken.unknown and not spoken.other.any() and spoken.voiceless == ""
    assert hiss.unknown == "" and hiss.other.all() and hiss.voiceless
