"""Speech whose phoneme times are known, and the mouth that follows from them."""

import math
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from liveavatar import speech
from liveavatar.speech import (
    VISEME_PARAMETERS,
    VISEMES,
    espeak,
    flite,
    join,
    speak,
    speaking,
    synthesis,
    viseme_curves,
    viseme_of,
    visemes,
)
from liveavatar.speech.espeak import open_espeak
from liveavatar.types import InputError, Phoneme, Speech

APERTURE, WIDTH, ROUNDING, TEETH, TONGUE, PRESS, TUCK = range(7)
needs_espeak = pytest.mark.skipif(open_espeak() is None, reason="espeak-ng is not installed")
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
both = [pytest.param("espeak:en-us", marks=needs_espeak), pytest.param("flite:slt", marks=needs_flite)]


def sounds(*symbols: str, each_s: float = 0.2) -> tuple[Phoneme, ...]:
    return tuple(Phoneme(symbol, i * each_s, (i + 1) * each_s) for i, symbol in enumerate(symbols))


# ---- visemes -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("symbol", "visemes"), [
    ("m", ("p",)), ("b", ("p",)), ("aɪ", ("a", "ih")), ("tʃ", ("t", "sh")), ("ɑːɹ", ("ah", "r")), ("uː", ("u",)),
    ("ch", ("t", "sh")), ("ay", ("a", "ih")), ("ow", ("o", "oo")), ("ng", ("k",)), ("a", ("a",)), ("f", ("f",)),
    ("pau", ("sil",)), ("_:", ("sil",)), ("", ("sil",)), ("☃", ("sil",))])
def test_visemes_of_ipa_and_arpabet(symbol, visemes):
    assert viseme_of(symbol) == visemes


def test_every_symbol_of_the_tables_has_a_viseme():
    assert set(visemes.IPA.values()) <= set(VISEMES)
    assert {viseme for names in visemes.ARPABET.values() for viseme in names.split()} <= set(VISEMES)
    assert all(len(row) == len(VISEME_PARAMETERS) + 1 for row in VISEMES.values())


@pytest.mark.parametrize(("duration_s", "frames"), [(1.0, 25), (0.04, 1), (0.041, 2), (0.3, 8), (7.2, 180)])
def test_there_is_one_row_per_video_frame(duration_s, frames):
    curves = viseme_curves((), duration_s)
    assert curves.shape == (frames, 7) and curves.dtype == torch.float32
    assert (curves - torch.tensor(VISEMES["sil"][:7])).abs().max() < 1e-6            # nothing said: the mouth rests


def test_a_held_sound_reaches_its_target():
    curves = viseme_curves([Phoneme("ɑ", 0.0, 1.0)], 1.0)
    assert torch.allclose(curves[12], torch.tensor(VISEMES["ah"][:7]), atol=1e-3)


def test_lips_close_fully_for_m_and_open_for_a():
    curves = viseme_curves(sounds("ɑ", "m", "ɑ", "f", "ɑ", each_s=0.12), 0.6)
    assert curves[4, APERTURE] < 0.05 and curves[4, PRESS] > 0.8                     # middle of m: 0.18 s
    assert curves[10, TUCK] > 0.8                                                    # middle of f: 0.42 s
    assert min(curves[1, APERTURE], curves[7, APERTURE], curves[13, APERTURE]) > 0.7


def test_rounding_is_seen_before_the_vowel_is_heard():
    """Coarticulation: in "s" before "u" the lips round earlier than in "s" before "i"."""
    before_u = viseme_curves(sounds("s", "u"), 0.4)[4, ROUNDING]                     # 0.18 s, 20 ms ahead
    before_i = viseme_curves(sounds("s", "i"), 0.4)[4, ROUNDING]
    assert before_u > before_i + 0.1


def test_curves_move_with_the_sounds():
    """Two frames later in the sound is two frames later in the mouth: no lag."""
    said = sounds("m", "ɑ", "s", "oʊ", "f", "i")
    later = tuple(Phoneme(p.symbol, p.start_s + 0.08, p.end_s + 0.08) for p in said)
    early, late = viseme_curves(said, 2.0), viseme_curves(later, 2.0)
    assert torch.allclose(early[5:40], late[7:42], atol=1e-6)


def test_speaking_is_true_in_sounds_only():
    spoken = speaking([Phoneme("_", 0.0, 0.4), Phoneme("m", 0.4, 0.6), Phoneme("_:", 0.6, 1.0)], 1.0)
    assert spoken.nonzero().flatten().tolist() == [10, 11, 12, 13, 14]


# ---- speak ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("voice", both)
def test_spoken_phonemes_are_in_order_and_inside_the_sound(voice):
    said = speak("Hello, my big boy. How are you?", voice)
    assert said.rate_hz == 16000 and said.wave.dtype == np.float32 and np.abs(said.wave).max() <= 1
    assert 1.5 < said.duration_s < 4
    times = [(p.start_s, p.end_s) for p in said.phonemes]
    assert all(start < end for start, end in times)
    assert all(a[1] <= b[0] + 1e-6 for a, b in zip(times, times[1:], strict=False))
    assert times[0][0] >= 0 and times[-1][1] <= said.duration_s + 0.01
    first_two = [viseme_of(p.symbol)[0] for p in said.phonemes if not speech.is_pause(p)][:2]
    assert first_two in (["h", "schwa"], ["h", "eh"])


@pytest.mark.parametrize("voice", both)
def test_the_marks_fit_the_sound(voice):
    """Hiss lies where the marks say "s", voice where they say "a", nothing in the pauses."""
    said = speak("So, sir, I saw a star. Ah, so far, so slow, see the sea.", voice)
    spectrum = np.abs(np.lib.stride_tricks.sliding_window_view(np.pad(said.wave, 160), 320)[::80] @ _fourier()) ** 2
    high = spectrum[:, 80:].sum(1) / (spectrum.sum(1) + 1e-9)                        # share above 4 kHz, every 5 ms
    power = spectrum.sum(1) / spectrum.sum(1).max()

    def mean_at(curve: np.ndarray, visemes: set[str]) -> float:
        middles = [(p.start_s + p.end_s) / 2 for p in said.phonemes if viseme_of(p.symbol)[0] in visemes]
        return float(np.mean([curve[min(round(m * 200), len(curve) - 1)] for m in middles]))

    assert mean_at(high, {"s"}) > 0.3 > 0.1 > mean_at(high, {"a", "ah", "aw"})
    assert mean_at(power, {"a", "ah", "aw"}) > 20 * mean_at(power, {"sil"})


def _fourier() -> np.ndarray:
    """Hann window and real Fourier transform of 320 samples, as one matrix: (320, 161)."""
    angles = 2j * math.pi * np.outer(np.arange(320), np.arange(161)) / 320
    return np.hanning(320)[:, None] * np.exp(-angles)


@pytest.mark.parametrize("voice", both)
def test_the_mouth_opens_with_the_sound(voice):
    from liveavatar.audio import loudness_envelope

    said = join([speak(text, voice) for text in ("The apple fell far.", "Bob and papa are happy.")], [0.5, 1.0, 0.5])
    aperture = viseme_curves(said.phonemes, said.duration_s)[:, APERTURE]
    loudness = loudness_envelope(said.wave, sigma_s=0.04)
    assert torch.corrcoef(torch.stack([aperture, loudness]))[0, 1] > 0.5
    silent = ~torch.nn.functional.max_pool1d(speaking(said.phonemes, said.duration_s)[None].float(), 5, 1, 2)[0].bool()
    assert silent.sum() > 30 and aperture[silent].max() < 0.1                        # two frames away from any sound


@pytest.mark.parametrize("voice", both)
def test_rate_and_pitch_are_obeyed(voice):
    text = "Nine new lamps will shine in the morning."
    plain, fast, high = speak(text, voice), speak(text, voice, rate=1.5), speak(text, voice, pitch=1.5)
    assert plain.duration_s / fast.duration_s == pytest.approx(1.5, rel=0.25)
    assert _pitch_hz(high.wave) / _pitch_hz(plain.wave) == pytest.approx(1.5, rel=0.15)


def _pitch_hz(wave: np.ndarray) -> float:
    """Median over loud 40 ms frames of the lag (60..400 Hz) where the autocorrelation peaks."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 640)[::320]
    frames = frames[np.square(frames).sum(1) > np.quantile(np.square(frames).sum(1), 0.6)]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames * np.hanning(640), 2048)) ** 2)[:, 40:267]
    return float(np.median(16000 / (40 + correlation.argmax(1))))


@needs_espeak
def test_an_unknown_voice_is_refused_and_not_replaced_by_the_last_one():
    speak("Good morning.", "espeak:de")
    with pytest.raises(InputError, match="'xx-nowhere'; languages: .*en-us"):
        speak("Good morning.", "espeak:xx-nowhere")
    with pytest.raises(InputError, match="variant 'zork'.*klatt"):
        speak("Good morning.", "espeak:en-us+zork")


@needs_espeak
def test_known_voices_can_all_be_found():
    voices = speech.available_voices()
    assert {"espeak:en-us", "espeak:en", "espeak:de", "espeak:fr"} <= set(voices)
    assert {"f1", "m3", "klatt2"} <= set(speech.available_variants())
    assert not any("mb-" in voice for voice in voices)


@needs_espeak
def test_foreign_words_make_no_false_phonemes():
    """espeak marks a change of language as "(en)": that is no sound."""
    said = speak("Wir sehen ein Meeting im Browser an.", "espeak:de")
    assert not any("(" in p.symbol for p in said.phonemes)


@needs_flite
def test_an_unknown_flite_voice_is_refused():
    with pytest.raises(InputError, match="flite does not know the voice 'bob'; known: .*slt"):
        speak("Good morning.", "flite:bob")


@pytest.mark.parametrize(("arguments", "words"), [
    ({"text": "  "}, "empty"), ({"text": "hi", "voice": "siri"}, "unknown voice 'siri'.*espeak:en-us"),
    ({"text": "hi", "rate": 9}, "rate=9 is outside 0.4..2.5"), ({"text": "hi", "pitch": 0}, "pitch=0 is outside"),
    ({"text": "hi", "rate": math.nan}, "rate=nan")])
def test_what_cannot_be_spoken_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        speak(**arguments)


@needs_espeak
def test_a_text_without_words_is_refused():
    with pytest.raises(InputError, match="can be spoken|no sound"):
        speak("...")


def test_a_missing_synthesiser_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(espeak, "open_espeak", lambda: None)
    monkeypatch.setattr(synthesis, "open_espeak", lambda: None)
    for module in (flite, synthesis):
        monkeypatch.setattr(module, "flite_voices", lambda: ())
    assert speech.available_voices() == ()
    for voice in ("espeak:en-us", "flite:slt"):
        with pytest.raises(InputError, match=r"not installed; install one with: pip install 'liveavatar\[speech\]'"):
            speak("hello", voice)


@pytest.mark.skipif(find_spec("espeakng_loader") is None, reason="needs a wheel: pip install 'liveavatar[speech]'")
def test_the_voices_of_the_wheel_say_when_each_phoneme_begins(monkeypatch):
    monkeypatch.setattr(espeak, "_system_libraries", lambda: [])
    engine = open_espeak.__wrapped__()
    for module in (espeak, synthesis):
        monkeypatch.setattr(module, "open_espeak", lambda: engine)
    said = speak("Bob may move.", "espeak:en-us")
    assert [viseme_of(p.symbol)[0] for p in said.phonemes if not speech.is_pause(p)][:3] == ["p", "ah", "p"]
    assert said.phonemes[0].start_s < 0.05 and said.phonemes[-1].end_s == pytest.approx(said.duration_s, abs=0.01)
    assert {"espeak:en-us", "espeak:de"} <= set(speech.available_voices()) and "f3" in speech.available_variants()


def test_a_library_without_voices_is_passed_over(monkeypatch):
    class Empty:
        espeak_Initialize = staticmethod(lambda *_: -1)

    monkeypatch.setattr(espeak, "_system_libraries", lambda: [("libempty", None)])
    monkeypatch.setattr(espeak, "_wheel_library", lambda: [])
    monkeypatch.setattr(espeak.ctypes, "CDLL", lambda _: Empty())
    assert open_espeak.__wrapped__() is None


# ---- join and samples ----------------------------------------------------------------------------------------

def test_join_moves_the_phonemes_with_their_sound():
    part = Speech(np.ones(8000, np.float32), 16000, (Phoneme("a", 0.1, 0.4),), "a")
    whole = join([part, part], [0.25, 1.0, 0.0])
    assert whole.duration_s == 2.25 and whole.text == "a a"
    heard = [(p.symbol, p.start_s, p.end_s) for p in whole.phonemes]
    assert heard == [("_", 0.0, 0.25), ("a", pytest.approx(0.35), pytest.approx(0.65)), ("_", 0.75, 1.75),
                     ("a", pytest.approx(1.85), pytest.approx(2.15))]
    assert whole.wave[:4000].max() == 0 and whole.wave[4000:12000].min() == 1


def test_the_samples_are_short_known_and_small():
    clips = speech.samples()
    assert len(clips) == 3
    for clip in clips.values():
        assert 4 <= clip.duration_s <= 8 and clip.rate_hz == 16000 and clip.text
        assert clip.phonemes[-1].end_s <= clip.duration_s + 0.01
        assert speaking(clip.phonemes, clip.duration_s).float().mean() > 0.5
    assert all(path.stat().st_size < 200_000 for path in speech.SAMPLES.iterdir())
