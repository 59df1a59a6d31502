"""Phonemes of recordings: found where they are English, and said to be missing where they are not."""

from importlib.util import find_spec

import numpy as np
import pytest

from liveavatar import phonemes
from liveavatar.phonemes import ALIGNED, agreement_of, find_phonemes, grouped, pieces_of, spelled, words_of
from liveavatar.speech import samples
from liveavatar.types import InputError, Phoneme, Speech

needs_pocketsphinx = pytest.mark.skipif(find_spec("pocketsphinx") is None,
                                        reason="needs PocketSphinx: pip install 'liveavatar[phonemes]'")


def starts(speech_phonemes, symbols):
    return np.array([one.start_s for one in speech_phonemes if one.symbol in symbols])


@needs_pocketsphinx
def test_a_transcript_gives_the_times_of_its_phonemes():
    speech = samples()["steps"]
    found = find_phonemes(speech, speech.text)
    assert (found.how, found.reason) == (ALIGNED, "")
    assert found.phonemes[0].start_s == 0 and found.phonemes[-1].end_s == pytest.approx(speech.duration_s, abs=1e-3)
    true, read = (starts(one, ("b", "p", "m", "s")) for one in (speech.phonemes, found.phonemes))
    assert len(true) == len(read) and np.median(np.abs(true - read)) <= 0.02


@needs_pocketsphinx
def test_a_transcript_of_another_recording_is_refused():
    found = find_phonemes(samples()["steps"], "completely different words were spoken in this sentence yesterday")
    assert not found.phonemes and "does not fit" in found.reason


def test_without_pocketsphinx_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(phonemes, "find_spec", lambda _: None)
    assert "pip install 'liveavatar[phonemes]'" in find_phonemes(samples()["steps"]).reason


def test_other_languages_and_silence_have_no_phonemes(monkeypatch):
    monkeypatch.setattr(phonemes, "find_spec", lambda _: True)
    assert "'de'" in find_phonemes(samples()["steps"], language="de").reason
    assert "silent" in find_phonemes(Speech(np.zeros(32000, np.float32), 16000)).reason


@pytest.mark.parametrize(("transcript", "says"), [("It costs 25 pounds.", "'25'; write numbers as words"),
                                                  ("\u4f60\u597d", "holds no English word")])
def test_a_transcript_that_cannot_be_read_is_refused(transcript, says):
    with pytest.raises(InputError, match=says):
        words_of(transcript)


def test_words_are_split_and_unknown_ones_spelled():
    assert words_of("Don\u2019t stop, O'Brien!") == ["don't", "stop", "o'brien"]
    assert spelled("ship") == "SH IH P"


def test_long_recordings_are_cut_at_their_quietest_moments():
    wave = np.ones(30 * 16000, np.float32)
    for quiet_s in (9, 17):
        wave[quiet_s * 16000:round((quiet_s + 0.4) * 16000)] = 0
    pieces = list(pieces_of(wave))
    assert [first for first, _ in pieces[1:]] == [last for _, last in pieces[:-1]] and pieces[-1][1] == len(wave)
    assert abs(pieces[0][1] / 16000 - 9.2) < 0.2 and abs(pieces[1][1] / 16000 - 17.2) < 0.2


def test_words_are_grouped_at_their_longest_pauses_without_losing_any():
    words = [(f"w{n}", n + 0.1 + (0.5 if n == 8 else 0), n + 0.9) for n in range(30)]
    pieces = list(grouped(words, 30.5))
    assert [word for *_, part in pieces for word in part] == [word for word, *_ in words]
    assert pieces[0][2][-1] == "w7" and pieces[-1][1] == 30.5 and all(b - a <= 12.6 for a, b, _ in pieces)


def test_what_is_recognised_in_music_is_silence(monkeypatch):
    phones = (Phoneme("sil", 0, 1), Phoneme("b", 1, 2), Phoneme("eh", 2, 3), Phoneme("k", 3, 4), Phoneme("sil", 4, 5))
    assert list(phonemes._spoken(phones, [(0.9, 2.0)])) == [*phones[:2], Phoneme("sil", 2, 5)]
    monkeypatch.setattr(phonemes, "find_spec", lambda _: True)
    monkeypatch.setattr(phonemes, "holds_speech", lambda _: False)
    assert "music or noise" in find_phonemes(samples()["steps"]).reason


def test_agreement_counts_the_spoken_frames():
    one = [Phoneme("sil", 0, 1), Phoneme("b", 1, 2), Phoneme("eh", 2, 3)]
    other = [Phoneme("sil", 0, 1), Phoneme("b", 1, 2), Phoneme("ih", 2, 3)]
    assert agreement_of(one, one) == 1 and agreement_of(one, other) == 0.5 and agreement_of((), one) == 0
