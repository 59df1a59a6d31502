"""Reading, cleaning and hearing: known signals in, known numbers out; bad files are refused in words."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch

from liveavatar import audio, sound
from liveavatar.types import InputError, Speech

RATE = audio.RATE_HZ


def tone(seconds: float, hz: float = 440.0, rate_hz: int = RATE, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def syllables(seconds: float, level: float = 0.3, seed: int = 0) -> np.ndarray:
    """Noise in bursts of 200 ms, 200 ms apart: loud, silent, loud, ..."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * level / 3
    return (noise * (np.arange(len(noise)) // (RATE // 5) % 2 == 0)).astype(np.float32)


# ---- log-mel -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cuts", [[], [1], [319, 320, 321, 639, 640, 641], list(range(0, 12345, 777)), [12344]])
def test_log_mel_equals_librosa_however_the_wave_is_cut(cuts):
    import librosa

    wave = np.random.default_rng(1).standard_normal(12345).astype(np.float32) * 0.1
    wave[4000:8000] = 0
    expected = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=640, hop_length=320, n_mels=64, fmin=50, fmax=7600)
    stream = audio.LogMel()
    pieces = [stream.feed(piece) for piece in np.split(wave, cuts)] + [stream.finish()]
    power = 10 ** torch.cat(pieces).double().numpy()
    np.testing.assert_allclose(power, np.maximum(expected.T, audio.MEL_FLOOR), rtol=1e-5)


def test_windows_are_the_mel_frames_around_each_video_frame():
    mel = torch.randn(2, 2 * 7 + 10, 64)
    heard = audio.windows(mel)
    assert heard.shape == (2, 768, 7)
    for frame in range(7):
        assert torch.equal(heard[:, :, frame], mel[:, 2 * frame:2 * frame + 12].reshape(2, 768))


def test_windows_refuse_a_mel_that_is_too_short():
    with pytest.raises(ValueError, match="11 mel frames"):
        audio.windows(torch.zeros(11, 64))


def test_hear_shows_every_frame_its_past_and_future():
    speech = Speech(syllables(2.0), RATE)
    heard = audio.mel_features(speech)
    mel = audio.mel_of(speech.wave)
    assert heard.values.shape == (1, 1, 768, 50) and heard.rms.shape == (50,) and heard.fps == 25
    assert torch.equal(heard.values[0, 0, :, 20].reshape(12, 64), mel[2 * 20 - 4:2 * 20 + 8])
    assert (heard.values[0, 0, :4 * 64, 0] == audio.SILENCE).all()                # nothing before the first sample


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (639, 1), (640, 1), (641, 2), (16000, 25), (16001, 26)])
def test_frames_cover_every_sample(samples, frames):
    heard = audio.mel_features(Speech(tone(2.0)[:samples], RATE))
    assert heard.frames == len(heard.rms) == frames


def test_hearing_is_the_same_every_time_and_does_not_depend_on_loudness():
    wave = syllables(3.0)
    loud, again, quiet = (audio.mel_features(Speech(w, RATE)).values
                          for w in (wave, wave.copy(), wave * np.float32(0.03)))
    assert torch.equal(loud, again)
    torch.testing.assert_close(loud, quiet, atol=2e-3, rtol=0)


def test_hearing_in_pieces_equals_hearing_at_once(monkeypatch):
    wave = syllables(4.0)
    at_once = audio.mel_of(wave)
    monkeypatch.setattr(audio, "PIECE_S", 0.37)
    torch.testing.assert_close(audio.mel_of(wave), at_once, atol=1e-6, rtol=0)


def test_hear_refuses_another_rate_and_another_fps():
    with pytest.raises(InputError, match="44100 Hz"):
        audio.mel_features(Speech(tone(1.0), 44100))
    with pytest.raises(InputError, match="fps=30.*use 25"):
        audio.mel_features(Speech(tone(1.0), RATE), fps=30)
    with pytest.raises(InputError, match="empty"):
        audio.mel_features(Speech(np.zeros(0, np.float32), RATE))


# ---- loudness ------------------------------------------------------------------------------------------------

def test_active_rms_looks_at_speech_only():
    speech = syllables(4.0)
    spoken = math.sqrt(np.square(speech[speech != 0], dtype=np.float64).mean())
    silence = np.zeros(20 * RATE, np.float32)
    hiss = np.random.default_rng(2).standard_normal(len(speech) + len(silence)).astype(np.float32) * spoken / 100
    click = np.zeros_like(speech)
    click[RATE // 4] = 1.0
    for wave in (speech, np.concatenate([silence, speech]), np.concatenate([speech, silence]) + hiss, speech + click):
        assert audio.active_rms(wave) == pytest.approx(spoken, rel=0.06)
    assert audio.active_rms(silence) == 0.0


def test_the_envelope_rises_with_speech_and_is_never_late():
    wave = np.concatenate([np.zeros(RATE, np.float32), tone(1.0), np.zeros(RATE, np.float32)])
    envelope = audio.loudness_envelope(wave)
    middle = (torch.arange(75) + 0.5) / 25
    assert envelope.shape == (75,) and 0 <= envelope.min() and envelope.max() <= 1
    assert (envelope * middle).sum() / envelope.sum() == pytest.approx(1.5, abs=0.005)     # centred: no delay
    assert envelope[37] == pytest.approx(1 / 1.2, abs=0.01) and envelope[5] < 0.01


# ---- reading -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rate_hz", "channels", "subtype"), [
    (8000, 1, "PCM_16"), (16000, 1, "PCM_16"), (22050, 2, "PCM_24"), (44100, 1, "PCM_U8"), (48000, 9, "FLOAT"),
    (192000, 2, "PCM_32")])
def test_every_rate_width_and_number_of_channels_becomes_the_same_speech(tmp_path, rate_hz, channels, subtype):
    wave = tone(1.0, rate_hz=rate_hz)
    soundfile.write(tmp_path / "a.wav", np.repeat(wave[:, None], channels, 1), rate_hz, subtype=subtype)
    speech = audio.load_audio(tmp_path / "a.wav")
    assert speech.rate_hz == RATE and speech.wave.dtype == np.float32 and speech.wave.shape == (RATE,)
    inside = slice(800, -800)
    np.testing.assert_allclose(speech.wave[inside], tone(1.0)[inside], atol=0.02)


@pytest.mark.parametrize(("channel", "share"), [
    (0, 0.5), (1, 0.5), (2, 0.5 ** 0.5), (3, 0.0), (4, 0.5 ** 1.5), (5, 0.5 ** 1.5)])
def test_surround_is_mixed_down_by_the_usual_coefficients(tmp_path, channel, share):
    """Left, right, middle, bass, behind left, behind right: ITU-R BS.775, then the mean of left and right."""
    six = np.full((RATE, 6), 1e-5, np.float32)
    six[:, channel] = tone(1.0)
    soundfile.write(tmp_path / "a.wav", six, RATE, subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                   # the bass channel alone is silence
        wave = audio.load_audio(tmp_path / "a.wav").wave
    np.testing.assert_allclose(wave, share * tone(1.0), atol=1e-4)


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([tone(1.0, level=0.4), tone(1.0, level=0.2)], 1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE, subtype="FLOAT")
    np.testing.assert_allclose(audio.load_audio(tmp_path / "a.wav").wave, tone(1.0, level=0.3), atol=1e-6)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", None), ("a.ogg", None), ("a.flac", None),
                                             ("a.m4a", "aac"), ("a.webm", "libopus"), ("a.mp4", "aac")])
def test_compressed_files_keep_their_time(tmp_path, name, codec):
    """A burst at 0.5 s is found there within 5 ms, whoever decodes it."""
    wave = np.zeros(48000, np.float32)
    wave[24000:] = tone(0.5, rate_hz=48000)
    write_sound(tmp_path / name, wave, codec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        speech = audio.load_audio(tmp_path / name)
    onset_s = np.argmax(np.abs(speech.wave) > 0.1) / RATE
    assert onset_s == pytest.approx(0.5, abs=0.005)
    assert 0.997 <= speech.duration_s < 1.12           # of vorbis FFmpeg drops the last 128 samples


def write_sound(path, wave: np.ndarray, codec: str | None) -> None:
    if codec is None:
        soundfile.write(path, wave, 48000)
        return
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        fifo, resampler = av.AudioFifo(), av.AudioResampler(stream.format, "mono", 48000)
        frame.pts, frame.time_base = 0, Fraction(1, 48000)        # so that the encoder's delay is told to the player
        for part in resampler.resample(frame):
            fifo.write(part)
        while piece := fifo.read(stream.frame_size or 960, partial=True):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def test_a_stretch_is_cut_out(tmp_path):
    wave = np.linspace(-0.9, 0.9, 3 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    speech = audio.load_audio(tmp_path / "a.wav", start_s=1.0, duration_s=0.5)
    np.testing.assert_array_equal(speech.wave, wave[RATE:RATE + RATE // 2])
    assert audio.load_audio(tmp_path / "a.wav", start_s=2.5, duration_s=9).duration_s == 0.5      # what is there


def test_reading_block_by_block_changes_nothing(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", syllables(2.0), 44100, subtype="FLOAT")
    at_once = audio.load_audio(tmp_path / "a.wav", start_s=0.3)
    monkeypatch.setattr(sound, "BLOCK", 1000)
    np.testing.assert_allclose(audio.load_audio(tmp_path / "a.wav", start_s=0.3).wave, at_once.wave, atol=1e-6)


def with_one(value: float) -> np.ndarray:
    wave = tone(1.0)
    wave[8000] = value
    return wave


BAD_FILES = {          # name: (bytes or wave to write, arguments, words of the message)
    "empty.wav": (b"", {}, "empty.*0 bytes"),
    "no_samples.wav": (np.zeros(0, np.float32), {}, "0 ms.*at least 200 ms"),
    "short.wav": (tone(0.01), {}, "10 ms of sound, at least 200 ms"),
    "nan.wav": (with_one(math.nan), {}, "holds nan at 0.500 s"),
    "infinite.wav": (with_one(math.inf), {}, "holds inf at 0.500 s"),
    "text.wav": (b"Dear diary, today I spoke.\n" * 100, {}, "not a sound file.*Dear diary.*give wav"),
    "zeros.mp3": (bytes(5000), {}, "not a sound file|0 ms"),
    "late.wav": (tone(1.0), {"start_s": 5.0}, "start_s=5 is beyond the end"),
    "before.wav": (tone(1.0), {"start_s": -1.0}, "start_s=-1"),
    "blink.wav": (tone(1.0), {"duration_s": 0.0}, "duration_s=0 "),
    "endless.wav": (tone(1.0), {"duration_s": math.nan}, "duration_s=nan"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path, name):
    content, arguments, words = BAD_FILES[name]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        soundfile.write(tmp_path / name, content, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=words) as refusal:
        audio.load_audio(tmp_path / name, **arguments)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file .*gone.wav"):
        audio.load_audio(tmp_path / "gone.wav")
    with pytest.raises(InputError, match="is a folder"):
        audio.load_audio(tmp_path)


def test_a_film_without_sound_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no sound in it"):
        audio.load_audio(tmp_path / "mute.mp4")


@pytest.mark.parametrize("name", ["cut.mp3", "cut.flac"])
def test_what_decodes_of_a_truncated_file_is_used_with_a_warning(tmp_path, name):
    whole = tmp_path / f"whole_{name}"
    soundfile.write(whole, np.random.default_rng(0).uniform(-0.3, 0.3, 5 * 44100).astype(np.float32), 44100)
    data = whole.read_bytes()
    (tmp_path / name).write_bytes(data[:len(data) * 2 // 5])
    with pytest.warns(UserWarning, match="breaks off after"):
        speech = audio.load_audio(tmp_path / name)
    assert 1.0 < speech.duration_s < 3.0


def test_silence_is_accepted_with_a_warning_and_heard_as_silence(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE, np.float32), RATE)
    with pytest.warns(UserWarning, match="silent; the mouth will stay closed"):
        speech = audio.load_audio(tmp_path / "a.wav")
    assert (audio.mel_features(speech).values == audio.SILENCE).all()


def test_sound_beyond_full_scale_is_turned_down(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0, level=300.0), RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match="times full scale"):
        speech = audio.load_audio(tmp_path / "a.wav")
    assert np.abs(speech.wave).max() == pytest.approx(1.0)


# ---- cleaning ------------------------------------------------------------------------------------------------

def snr_db(clean: np.ndarray, noisy: np.ndarray) -> float:
    return 10 * math.log10(np.square(clean).sum() / np.square(noisy - clean).sum())


def voice_like(seconds: float) -> np.ndarray:
    """A gliding voice of ten harmonics with pauses."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 25 * np.sin(3 * time_s)) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 11)) * np.clip(np.sin(2 * np.pi * 0.8 * time_s) * 3, 0, 1)
    return (0.15 * voice).astype(np.float32)


def test_the_wiener_filter_takes_noise_away_and_keeps_time():
    voice = voice_like(4.0)
    hiss = np.random.default_rng(3).standard_normal(len(voice)).astype(np.float32)
    noisy = voice + hiss * np.sqrt(np.square(voice).mean() / 10 ** 0.5)                      # 5 dB
    cleaned = audio.clean(Speech(noisy, RATE)).wave
    assert snr_db(voice, noisy) == pytest.approx(5, abs=0.2)
    assert snr_db(voice, cleaned) > 11
    assert cleaned.shape == noisy.shape and cleaned.dtype == np.float32


def test_the_wiener_filter_leaves_clean_speech_and_silence_alone():
    voice = voice_like(2.0)
    assert snr_db(voice, audio.clean(Speech(voice, RATE)).wave) > 20
    assert not audio.clean(Speech(np.zeros(RATE, np.float32), RATE)).wave.any()


def test_noisereduce_keeps_the_length():
    pytest.importorskip("noisereduce")
    assert audio.clean(Speech(voice_like(1.0), RATE), "noisereduce").wave.shape == (RATE,)


def test_a_missing_library_and_an_unknown_method_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "noisereduce", None)
    with pytest.raises(InputError, match="pip install noisereduce"):
        audio.clean(Speech(tone(1.0), RATE), "noisereduce")
    with pytest.raises(InputError, match="'bleach'; known: 'wiener', 'noisereduce'"):
        audio.clean(Speech(tone(1.0), RATE), "bleach")
    with pytest.raises(InputError, match="too short"):
        audio.clean(Speech(tone(0.1), RATE))
