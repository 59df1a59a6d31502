"""Sound files as people have them: joined, with several tracks, with gaps; and the video's sound, which is theirs."""

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from fakes import FakeBackend, face

from liveavatar import pipeline
from liveavatar.audio import load_audio
from liveavatar.backends import BACKENDS
from liveavatar.config import GenerationConfig
from liveavatar.sound import Track
from liveavatar.soundtrack import encoding_of
from liveavatar.types import Speech

RATE = 48_000


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    monkeypatch.chdir(tmp_path)


def tone(seconds, hz=440.0, rate_hz=RATE, level=0.3):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def hiss(seconds, rate_hz=RATE):
    return np.random.default_rng(0).standard_normal(round(seconds * rate_hz)).astype(np.float32) * 0.1


def encode(name, waves, codec="aac", gap_s=0.0, picture_s=0.0, default=0, **options):
    """A file with a sound track for each wave (samples, channels), perhaps with a gap in the middle, and pictures."""
    with av.open(name, "w", **options) as container:
        tracks = [container.add_stream(codec, rate=RATE, layout="mono" if wave.ndim == 1 else "stereo")
                  for wave in waves]
        if picture_s:
            pictures = container.add_stream("mpeg4", rate=25)
            pictures.width = pictures.height = 32
        for number, track in enumerate(tracks):
            track.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for track, wave in zip(tracks, waves, strict=True):
            for first in range(0, len(wave), 1024):
                piece = wave[first:first + 1024]
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.reshape(len(piece), -1).T), "fltp",
                                                   track.layout.name)
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = first + (round(gap_s * RATE) if first > len(wave) // 2 else 0)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        for _ in range(round(25 * picture_s)):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        if picture_s:
            container.mux(pictures.encode(None))
    return name


def join(name, *parts):
    Path(name).write_bytes(b"".join(part if isinstance(part, bytes) else Path(part).read_bytes() for part in parts))
    return name


def save(name, wave, rate_hz=RATE, **options):
    soundfile.write(name, wave, rate_hz, **options)
    return name


def read(name):
    """Read without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_audio(name)


# ------------------------------------------------------------------------------------------------ joined files

def streamed(name):
    """A wav file as it is written to a stream: nobody knew its length when the header was written."""
    data = Path(name).read_bytes()
    return data[:4] + b"\xff" * 4 + data[8:].replace(b"data" + data[40:44], b"data" + b"\xff" * 4, 1)


TAGS = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10), b"TAG" + bytes(125)     # before and behind an mp3
JOINED = {
    "mp3": lambda: join("all.mp3", save("a.mp3", tone(1)), save("b.mp3", tone(1.5, 600))),
    "mp3 with tags": lambda: join("all.mp3", TAGS[0], save("a.mp3", tone(1)), TAGS[1], TAGS[0],
                                  save("b.mp3", tone(1.5, 600)), TAGS[1]),
    "mp3 of two rates": lambda: join("all.mp3", save("a.mp3", tone(1)),
                                     save("b.mp3", tone(1.5, 600, 24_000), 24_000)),
    "ogg": lambda: join("all.ogg", save("a.ogg", tone(1)), save("b.ogg", tone(1.5, 600))),
    "opus": lambda: join("all.opus", save("a.ogg", tone(1), subtype="OPUS"), save("b.ogg", tone(1.5, 600),
                                                                                 subtype="OPUS")),
    "wav": lambda: join("all.wav", save("a.wav", tone(1)), save("b.wav", tone(1.5, 600))),
    "wav of two rates": lambda: join("all.wav", save("a.wav", tone(1)), save("b.wav", tone(1.5, 600, 24_000), 24_000,
                                                                             subtype="PCM_24")),
    "wav without lengths": lambda: join("all.wav", streamed(save("a.wav", tone(1))),
                                        streamed(save("b.wav", tone(1.5, 600)))),
    "flac": lambda: join("all.flac", save("a.flac", tone(1)), save("b.flac", tone(1.5, 600))),
}


@pytest.mark.parametrize("kind", JOINED)
def test_all_pieces_of_a_joined_file_are_heard(kind):
    """As text-to-speech servers deliver them."""
    speech = read(JOINED[kind]())
    assert speech.duration_s == pytest.approx(2.5, abs=0.1)
    pitches = [np.abs(np.fft.rfft(speech.wave[round(at * 16_000):][:4000])).argmax() * 4 for at in (0.4, 2.0)]
    assert pitches == [440, 600]


def test_a_joined_wav_file_that_is_cut_off_in_a_header_is_said():
    name = join("all.wav", save("a.wav", tone(1)), Path(save("b.wav", tone(1))).read_bytes()[:20])
    with pytest.warns(UserWarning, match=r"breaks off after 1\.00 s"):
        assert load_audio(name).duration_s == 1.0


# ------------------------------------------------------------------------------------------------ where it ends

def without_header(name):
    """Take the first frame of an mp3 away, which says how many there are."""
    data = Path(name).read_bytes()
    rate = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[data[2] >> 4] * 1000
    Path(name).write_bytes(data[144 * rate // RATE + (data[2] >> 1 & 1):])
    return name


LOUD_THEN_SILENT = np.concatenate([hiss(1), tone(3, level=0.0)])    # the first seconds take most of the bits
ALL_READ = {
    "ADTS": (lambda: encode("a.aac", [LOUD_THEN_SILENT], format="adts"), 4.0),
    "VBR mp3 without a header": (lambda: without_header(save("a.mp3", LOUD_THEN_SILENT, bitrate_mode="VARIABLE")), 4.0),
    "mp4 whose picture outlasts its sound": (lambda: encode("a.mp4", [tone(1)], picture_s=4), 1.0),
    "mkv whose picture outlasts its sound": (lambda: encode("a.mkv", [tone(1)], picture_s=4), 1.0),
    "mp4 with a gap": (lambda: encode("a.mp4", [tone(2)], gap_s=2.0), 2.0),
    "mka with a gap": (lambda: encode("a.mka", [tone(2)], gap_s=2.0), 2.0),
}


@pytest.mark.parametrize("kind", ALL_READ)
def test_what_was_read_to_its_end_does_not_break_off(kind):
    make, seconds = ALL_READ[kind]
    assert read(make()).duration_s == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", None), ("a.flac", None), ("a.mka", "aac"), ("a.mp4", "aac")])
def test_what_breaks_off_is_said(name, codec):
    """An mp4 has its index in front, as files on the web have."""
    if codec is None:
        save(name, hiss(4))
    else:
        encode(name, [hiss(4)], codec, options={"movflags": "+faststart"} if name == "a.mp4" else {})
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[:len(data) // 2])
    with pytest.warns(UserWarning, match=r"breaks off after [12]\.\d\d s"):
        assert 1.0 < load_audio(name).duration_s < 3.0


@pytest.mark.filterwarnings("ignore:a.mp3 goes up to")
def test_a_damaged_place_is_left_out_and_said():
    data = bytearray(Path(save("a.mp3", hiss(4))).read_bytes())
    middle = len(data) // 2
    data[middle:middle + 2000] = bytes(2000)
    Path("a.mp3").write_bytes(data)
    with pytest.warns(UserWarning, match="damaged in 1 place|damaged in . places"):
        assert load_audio("a.mp3").duration_s == pytest.approx(4, abs=0.3)


def test_no_library_writes_to_the_terminal(capfd):
    for data in (Path(save("a.mp3", hiss(1))).read_bytes()[:-500], b"\xff\xfb\x90\x64" + bytes(3000), b"ID3 no"):
        Path("a.mp3").write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load_audio("a.mp3")
            except ValueError:
                pass
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------------------------ several tracks

@pytest.mark.parametrize("default", [0, 1])
def test_of_several_tracks_the_default_one_is_heard(default):
    name = encode("film.mkv", [tone(1, level=0.1), tone(1, level=0.5)], "libopus", default=default)
    with pytest.warns(UserWarning, match=f"2 sound tracks; number {default + 1} is used"):
        speech = load_audio(name)
    assert np.abs(speech.wave[4000:12_000]).max() == pytest.approx((0.1, 0.5)[default], rel=0.1)


# ------------------------------------------------------------------------------------------------ the video's sound

def sound_of(path):
    """Rate, layout, samples (n, channels) and metadata of a video's sound."""
    with av.open(str(path)) as container:
        resampler, parts = av.AudioResampler("flt"), []
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray().reshape(part.samples, -1) for part in resampler.resample(frame)]
        stream = container.streams.audio[0]
        return stream.rate, stream.layout.name, np.concatenate(parts), stream.codec_context.name


def video_of(audio, output="out.mp4", **settings):
    return pipeline.generate(audio, face(), "", GenerationConfig(sample_steps=1, **settings), output=output,
                             backend="fake", progress=False)


def levels(samples):
    return np.sqrt(np.square(samples[4000:20_000]).mean(0))


@pytest.mark.parametrize(("output", "codec"), [("out.mp4", "aac"), ("out.webm", "opus")])
def test_the_video_has_the_users_own_sound(output, codec):
    """Two channels at 48 kHz, of which the model hears the mean at 16 kHz."""
    save("a.wav", np.stack([tone(1, 9000, level=0.4), tone(1, 700, level=0.2)], 1), subtype="FLOAT")
    rate, layout, samples, written = sound_of(video_of("a.wav", output).path)
    assert (rate, layout, written.removeprefix("lib")) == (RATE, "stereo", codec)
    assert levels(samples) == pytest.approx([0.4 / 2 ** 0.5, 0.2 / 2 ** 0.5], rel=0.1)
    left = np.abs(np.fft.rfft(samples[4800:24_000, 0])).argmax() * RATE / 19_200
    assert left == pytest.approx(9000, abs=5)                    # which 16 kHz cannot hold


@pytest.mark.parametrize("output", ["out.mp4", "out.webm"])
def test_surround_stays_surround(output):
    six = np.stack([tone(1, 400 + 100 * channel, level=0.05 * (channel + 1)) for channel in range(6)], 1)
    six[:, 3] = 0                                                # the bass channel is cut off at 120 Hz
    save("a.wav", six, subtype="FLOAT")
    _, layout, samples, _ = sound_of(video_of("a.wav", output).path)
    assert layout == "5.1" and levels(samples) == pytest.approx(levels(six), rel=0.15, abs=0.005)


@pytest.mark.parametrize(("rate_hz", "written_hz"), [(8000, 8000), (22_050, 22_050), (44_100, 44_100),
                                                     (37_800, 44_100), (192_000, 48_000)])
def test_the_rate_is_the_recordings_own_as_far_as_the_codec_knows_it(rate_hz, written_hz):
    save("a.wav", tone(0.5, rate_hz=rate_hz), rate_hz)
    assert sound_of(video_of("a.wav").path)[0] == written_hz


def test_bits_a_second_are_those_of_good_quality():
    assert encoding_of("aac", 48_000, "stereo", 2).bit_rate == 192_000
    assert encoding_of("libopus", 48_000, "stereo", 2).bit_rate == 128_000
    assert encoding_of("aac", 16_000, "mono", 1).bit_rate == 96_000          # speech that was made here


def test_nine_microphones_become_one_channel():
    save("a.wav", np.repeat(tone(0.5)[:, None], 9, 1))
    assert sound_of(video_of("a.wav").path)[1] == "mono"


def test_a_stretch_of_the_recording_is_the_same_stretch_in_the_video():
    wave = tone(3, level=0.0)
    wave[RATE + 12_000:RATE + 12_480] = 0.9                      # a click of 10 ms, 0.25 s into the stretch
    save("a.wav", wave)
    for audio, settings in (("a.wav", {"start_s": 1.0, "duration_s": 1.0}),
                            (load_audio("a.wav"), {"start_s": 1.0, "duration_s": 1.0}),
                            (load_audio("a.wav", 0.5, 2.0), {"start_s": 0.5})):
        samples = sound_of(video_of(audio, **settings).path)[2]
        assert np.abs(samples[:, 0]).argmax() / RATE == pytest.approx(0.255, abs=0.012)


def test_a_resumed_run_has_the_recordings_sound_too():
    save("a.wav", np.stack([tone(1), tone(1, level=0.1)], 1))
    pipeline.generate("a.wav", face(), "", GenerationConfig(sample_steps=1), output="out.mp4", backend="fake",
                      run_dir="run", progress=False)
    Path("a.wav").unlink()
    before = sound_of("out.mp4")
    after = sound_of(pipeline.resume("run", progress=False).path)
    assert after[:2] == before[:2] == (RATE, "stereo")
    np.testing.assert_array_equal(after[2], before[2])


def test_a_saved_run_keeps_the_recording(tmp_path):
    from liveavatar.runs.loading import replay
    from liveavatar.runs.run import Run

    save("a.wav", np.stack([tone(1), tone(1, level=0.1)], 1))
    run = Run.of(pipeline.Pipeline(FakeBackend()), "a.wav", face(), "", GenerationConfig(sample_steps=1)).start()
    run.result()
    kept = replay(run.save(tmp_path / "seen")).speech.sound
    assert (kept.rate_hz, kept.layout) == (RATE, "stereo") and sum(map(len, kept.pieces())) == RATE


def test_a_recording_that_was_replaced_is_not_mixed_with_what_the_model_heard():
    save("a.wav", np.stack([tone(1), tone(1)], 1))
    speech = load_audio("a.wav")
    save("a.wav", tone(2, 900))
    with pytest.warns(UserWarning, match="a.wav has changed since it was read"):
        assert sound_of(video_of(speech).path)[:2] == (16_000, "mono")


def test_another_wave_is_another_sound():
    """Speech that was changed, with noise for instance, is what the video gets."""
    from dataclasses import replace

    save("a.wav", tone(1))
    speech = load_audio("a.wav")
    assert speech.sound is not None and replace(speech, wave=speech.wave * 0.5).sound is None
    assert Speech(speech.wave, 16_000) .sound is None


@pytest.mark.parametrize("name", ["long.wav", "long.flac"])
def test_a_late_stretch_is_skipped_to_and_has_the_same_samples(monkeypatch, tmp_path, name):
    from liveavatar import sound

    path = tmp_path / name
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (RATE * 8, 2)).astype(np.float32)
    soundfile.write(path, noise, RATE, subtype="PCM_16")
    first, last = round(6.123 * RATE), round(7.5 * RATE)
    with Track(path) as track:
        read_through = np.concatenate(list(track.pieces()))[first:last]
    monkeypatch.setattr(sound, "SEEK_FROM_S", 1.0)
    with Track(path) as track:
        skipped_to = np.concatenate(list(track.stretch(first, last)))
    with Track(path) as track:
        assert RATE < track._skip_towards(first) <= first
    assert np.array_equal(read_through, skipped_to)


def test_a_large_recording_is_known_by_its_length_and_its_ends(monkeypatch, tmp_path):
    from liveavatar import runfolder

    monkeypatch.setattr(runfolder, "WHOLE_BYTES", 100)
    monkeypatch.setattr(runfolder, "END_BYTES", 10)
    data, known = bytes(range(200)), set()
    for place, changed in enumerate((data, data[:-1], data[:-1] + b"x", b"x" + data[1:])):
        path = tmp_path / f"{place}.wav"
        path.write_bytes(changed)
        known.add(runfolder.fingerprint_of(path))
    assert len(known) == 4
    (tmp_path / "small").write_bytes(b"small")
    assert runfolder.fingerprint_of(tmp_path / "small") == runfolder.sha256_of(tmp_path / "small")


def test_a_wav_file_that_is_as_long_as_it_says_is_not_searched(monkeypatch, tmp_path):
    from liveavatar import joined

    soundfile.write(tmp_path / "one.wav", np.zeros(RATE, np.float32), RATE)
    monkeypatch.setattr(joined, "header_places", lambda _: pytest.fail("it was searched"))
    with open(tmp_path / "one.wav", "rb") as file:
        assert list(joined.wav_parts(file)) == []
