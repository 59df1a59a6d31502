"""Any video is inspected: what was planted is found, what is missing is said, what cannot be read is refused."""

import json
import math
import runpy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import tone
from talking import talking

from liveavatar import cli
from liveavatar.avatars import avatar
from liveavatar.faces.track import FaceTrack
from liveavatar.inspection import clip as clip_module
from liveavatar.inspection import inspect_clip, inspect_video, read_clip
from liveavatar.inspection.clip import shifted
from liveavatar.inspection.decoding import decode, even_pictures, read_header
from liveavatar.inspection.lip_findings import find_sync
from liveavatar.inspection.pictures import changes_of, cuts_of, find_seams, lab_of, slope_per_minute
from liveavatar.inspection.sync import RATE_HZ, sync_of
from liveavatar.metrics import sound_kinds
from liveavatar.phonemes import RECOGNISED, Recognition
from liveavatar.speech import join, samples, viseme_curves
from liveavatar.study.inspection_page import inspection_page
from liveavatar.types import Speech
from liveavatar.video import VideoWriter
from liveavatar.voice_activity import WINDOW_S

FPS = 25
FRAMES = 150
encode = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "inspect_video.py"))["encode"]
CODECS = {"mp4": ("libx264", {}, "aac"), "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "libopus"),
          "avi": ("mpeg4", {"qscale": "4", "flags": "+qscale"}, "pcm_s16le")}


def regular(count: int, fps: int = FPS) -> list[Fraction]:
    return [Fraction(number, fps) for number in range(count)]


@pytest.fixture(scope="module")
def film():
    return talking(frames=FRAMES)


@pytest.fixture(scope="module")
def mp4(film, tmp_path_factory):
    path = tmp_path_factory.mktemp("inspected") / "true.mp4"
    with VideoWriter(path, (96, 96), FPS, cut(film.speech, FRAMES)) as writer:
        writer.write(film.frames)
    return path


@pytest.fixture(scope="module")
def clip(mp4):
    return read_clip(mp4)


def cut(speech: Speech, frames: int) -> Speech:
    length_s = frames / FPS
    return replace(speech, wave=speech.wave[:round(length_s * speech.rate_hz)],
                   phonemes=tuple(one for one in speech.phonemes if one.end_s <= length_s))


# ---------------------------------------------------------------------------------------------- lips against sound
@pytest.fixture(scope="module")
def spoken():
    """The mouth that says the samples, at RATE_HZ, and their sound."""
    speech = join(list(samples().values()), [0.3] * (len(samples()) + 1))
    return viseme_curves(speech.phonemes, speech.duration_s, RATE_HZ)[:, 0].double(), speech


def sync_with(opening: torch.Tensor, speech: Speech):
    return sync_of(opening, torch.ones(len(opening), dtype=torch.bool), speech)


def moved(curve: torch.Tensor, late_ms: np.ndarray | float) -> torch.Tensor:
    time_s = np.arange(len(curve)) / RATE_HZ
    return torch.from_numpy(np.interp(time_s - np.asarray(late_ms) / 1000, time_s, curve.numpy()))


def test_true_lips_are_on_time_without_drift_or_jump(spoken):
    sync = sync_with(*spoken)
    assert sync.applies and abs(sync.offset_ms) < 2 * sync.uncertainty_ms < 40
    assert sync.jumps == () and not sync.drifts and abs(sync.drift_ms_per_minute) < 3 * sync.drift_uncertainty


@pytest.mark.parametrize("late_ms", [-700, -200, 36, 450])
def test_a_planted_delay_is_found(spoken, late_ms):
    opening, speech = spoken
    assert sync_with(moved(opening, late_ms), speech).offset_ms - sync_with(*spoken).offset_ms == pytest.approx(
        late_ms, abs=3)


@pytest.mark.parametrize("by_ms, at_s", [(120, 8.3), (-160, 6.1), (200, 11.7)])
def test_a_planted_jump_is_found_in_the_right_second(spoken, by_ms, at_s):
    opening, speech = spoken
    late_ms = np.where(np.arange(len(opening)) / RATE_HZ < at_s, 0, by_ms)
    jumps = sync_with(moved(opening, late_ms), speech).jumps
    assert len(jumps) == 1 and jumps[0].by_ms == pytest.approx(by_ms, abs=30)
    assert abs(jumps[0].time_s - at_s) < 1


def test_a_planted_drift_is_found_and_is_no_jump(spoken):
    opening, speech = (torch.cat([spoken[0]] * 3), replace(spoken[1], wave=np.tile(spoken[1].wave, 3)))
    minutes = np.arange(len(opening)) / RATE_HZ / 60
    sync = sync_with(moved(opening, 150 * minutes), speech)
    assert sync.drifts and sync.jumps == ()
    assert abs(sync.drift_ms_per_minute - 150) < 3 * sync.drift_uncertainty < 100


def test_the_sound_of_another_video_has_no_delay(spoken):
    opening, speech = spoken
    other = replace(speech, wave=np.roll(speech.wave, 6 * speech.rate_hz), phonemes=())
    sync = sync_with(opening, other)
    assert not sync.applies and "hardly agree" in sync.reason and math.isnan(sync.offset_ms)


@pytest.mark.parametrize("opening, says", [(torch.rand(150).double(), "too short"),
                                           (torch.full((900,), 0.2).double(), "does not move")])
def test_what_has_no_delay_says_why(spoken, opening, says):
    assert says in sync_with(opening, spoken[1]).reason


# ---------------------------------------------------------------------------------------------- real files
def delay_frames(path: Path, **options) -> float:
    return find_sync(read_clip(path, **options)).offset_ms * FPS / 1000


@pytest.mark.parametrize("kind, shift", [("mp4", 5), ("webm", -5), ("avi", 3)])
def test_shifts_in_real_codecs_are_found_within_a_fraction_of_a_frame(film, clip, tmp_path, kind, shift):
    codec, options, sound = CODECS[kind]
    speech = shifted(cut(film.speech, FRAMES), -shift / FPS)
    path = encode(tmp_path / f"clip.{kind}", film.frames.numpy(), speech, regular(FRAMES), codec, options,
                  sound_codec=sound)
    assert delay_frames(path) - find_sync(clip).offset_ms * FPS / 1000 == pytest.approx(shift, abs=0.15)


def test_another_frame_rate_or_uneven_times_do_not_move_the_result(film, clip, tmp_path):
    frames, speech, true_ms = film.frames.numpy(), cut(film.speech, FRAMES), find_sync(clip).offset_ms
    faster = read_clip(encode(tmp_path / "30.mp4", frames, speech, regular(FRAMES), fps=Fraction(30000, 1001),
                              graph="fps=fps=30000/1001"))
    assert faster.fps == pytest.approx(29.97, abs=0.3) and find_sync(faster).offset_ms == pytest.approx(true_ms, abs=5)
    kept = [index for index in range(FRAMES) if index % 6 != 3]
    uneven = read_clip(encode(tmp_path / "vfr.mp4", frames[kept], speech, [regular(FRAMES)[index] for index in kept]))
    assert uneven.variable_rate and uneven.duration_s == pytest.approx(FRAMES / FPS)
    assert find_sync(uneven).offset_ms == pytest.approx(true_ms, abs=12)


def test_time_stamps_count_also_where_the_sound_begins_later(film, clip, tmp_path):
    path = encode(tmp_path / "late.mkv", film.frames.numpy(), cut(film.speech, FRAMES), regular(FRAMES),
                  sound_codec="flac", sound_hz=16000, sound_at_s=0.12)
    assert find_sync(read_clip(path)).offset_ms == pytest.approx(find_sync(clip).offset_ms - 120, abs=6)


def test_another_sound_replaces_the_own_one_at_any_rate(film, clip, tmp_path):
    import soundfile

    speech = shifted(cut(film.speech, FRAMES), 0.08)
    soundfile.write(tmp_path / "other.wav", speech.wave[::2], speech.rate_hz // 2)
    found = inspect_video(clip.path, tmp_path / "other.wav")
    assert found["offset_ms"].value == pytest.approx(find_sync(clip).offset_ms - 80, abs=8)


def test_pictures_are_turned_as_players_turn_them(tmp_path):
    import av

    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:12, :24] = (255, 0, 0)                                       # red in the upper left corner
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        stream.set_display_rotation(90)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    seen = next(decode(tmp_path / "turned.mp4")).pictures[0]
    assert read_header(tmp_path / "turned.mp4").size == (96, 48) == seen.shape[:2]
    assert seen[90, 5, 0] > 150 and seen[5, 5, 0] < 60                    # now in the lower left


def test_even_pictures_show_what_is_seen_at_that_time(tmp_path):
    frames = np.stack([np.full((32, 32, 3), 40 * number, np.uint8) for number in range(4)])
    times = [Fraction(0), Fraction(1, 10), Fraction(4, 10), Fraction(5, 10)]
    path = encode(tmp_path / "uneven.mp4", frames, None, times)
    seen = [round(float(picture.mean()) / 40) for picture in even_pictures(path, 10.0)]
    assert seen == [0, 1, 1, 1, 2, 3]


# ---------------------------------------------------------------------------------------------- what is missing
def test_no_sound_is_said_and_the_rest_is_measured(film, tmp_path):
    found = inspect_video(encode(tmp_path / "mute.mp4", film.frames[:40].numpy(), None, regular(40)))
    assert math.isnan(found["offset_ms"].value) and "the video has no sound" in found.verdict
    assert found["cuts_count"].value == 0 and not math.isnan(found["opening_share"].value)


def test_no_face_is_said(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    found = inspect_video(encode(tmp_path / "noise.mp4", frames, tone(0.8), regular(20)))
    assert "no face is found" in found.verdict and math.isnan(found["skin_change_delta_e"].value)


def test_several_faces_are_said(film, clip, tmp_path):
    other = (255 * avatar(7, size=(96, 96)).pixels).byte().permute(1, 2, 0).expand(12, -1, -1, -1).numpy()
    both = np.concatenate([film.frames[:12].numpy(), other], 2)
    two = read_clip(encode(tmp_path / "two.mp4", both, None, regular(12)))
    assert two.most_faces == 2 and clip.most_faces == 1
    assert "2 faces are seen at once" in inspection_page(inspect_clip(two))


def test_a_moment_is_too_short_and_says_so(clip, mp4):
    found = inspect_video(mp4, duration_s=0.4)
    assert "too short" in found["offset_ms"].verdict and found["offset_ms"].trust == "none"
    assert "too few" in found["seam_ratio"].verdict


# ---------------------------------------------------------------------------------------------- the figures
def test_every_figure_has_value_direction_trust_and_a_sentence(clip):
    found = inspect_clip(clip)
    figures = json.loads(found.to_json())["figures"]
    assert len(figures) == len(found.findings) > 20
    for name, figure in figures.items():
        assert figure["verdict"].endswith(".") and figure["better"] and figure["trusted_because"], name
        assert figure["trust"] in ("good", "fair", "poor", "none")
        assert (figure["value"] is None) == (figure["trust"] == "none"), name
    assert len(found.table().splitlines()) == len(figures)


def test_phonemes_that_are_known_tell_of_closure(clip, film):
    known = inspect_clip(replace(clip, speech=cut(film.speech, FRAMES)))["closure_share"]
    assert known.value > 0.5 and "p, b and m" in known.verdict
    assert "not known" in inspect_clip(clip)["closure_share"].verdict


def test_recognised_phonemes_tell_of_closure_and_of_the_opening_by_sound(clip, film, monkeypatch):
    spoken = cut(film.speech, FRAMES)
    monkeypatch.setattr(clip_module, "find_phonemes",
                        lambda *_: Recognition(spoken.phonemes, spoken.text, RECOGNISED, 0.7))
    found = inspect_clip(clip_module.recognised(clip))
    assert found["closure_share"].value > 0.5 and RECOGNISED in found["closure_share"].trusted_because
    assert found["sounds_correlation"].value > 0.6
    backwards = [replace(one, start_s=5.5 - one.end_s, end_s=5.5 - one.start_s) for one in spoken.phonemes[::-1]
                 if one.end_s < 5.5]
    other = inspect_clip(replace(clip, speech=replace(clip.speech, phonemes=tuple(backwards))))
    assert other["sounds_correlation"].value < 0.3


def test_another_language_is_not_recognised_and_says_so(clip):
    found = inspect_clip(clip_module.recognised(clip, language="de"))
    assert "only those of English" in found["closure_share"].verdict
    assert math.isnan(found["sounds_correlation"].value) and not math.isnan(found["loudness_correlation"].value)


def test_a_mouth_that_moves_to_music_is_said_and_has_no_delay(clip, monkeypatch):
    heard = torch.zeros(round(clip.speech.duration_s / WINDOW_S) + 1)
    monkeypatch.setattr(sound_kinds, "speech_probability", lambda _: heard)
    found = inspect_clip(replace(clip))
    assert math.isnan(found["offset_ms"].value) and "nobody speaks" in found["offset_ms"].verdict
    assert found["nonspeech_share"].value > 0.8 and "music or noise" in found["nonspeech_share"].verdict
    assert found["nonspeech_motion_ratio"].value > 0.5 and found["nonspeech_motion_ratio"].state == "fault"
    heard[:len(heard) // 2] = 1
    half = inspect_clip(replace(clip))
    assert 0.2 < half["nonspeech_share"].value < 0.6 and not math.isnan(half["offset_ms"].value)
    assert "The mouth moves where only music or noise is heard" in half["nonspeech_motion_ratio"].verdict


def test_every_figure_is_on_the_page(clip):
    page, found = inspection_page(inspect_clip(clip)), inspect_clip(clip)
    assert [one.name for one in found.findings if f"<code>{one.name}</code>" not in page] == []


def with_pictures(clip, change):
    """The clip, its small pictures changed by a factor for each of them (T,)."""
    factors = change(clip.times_s)
    small = (clip.thumbnails.float() * factors[:, None, None, None]).round().clamp(0, 255).byte()
    skin = clip.pixels.skin * factors[:, None].float()
    return replace(clip, thumbnails=small, pixels=replace(clip.pixels, skin=skin))


def looped(clip, times: int):
    """The clip, forth and back again and again: longer."""
    order = torch.cat([torch.arange(len(clip)), torch.arange(len(clip)).flip(0)] * times)
    track = FaceTrack(clip.track.points[order], clip.track.presence[order], clip.track.size)
    pixels = replace(clip.pixels, **{name: getattr(clip.pixels, name)[order] for name in
                                     ("skin", "mouth_detail", "eye_detail", "teeth", "aligned")})
    return replace(clip, times_s=torch.arange(len(order)).double() / FPS, key=clip.key[order], track=track,
                   thumbnails=clip.thumbnails[order], pixels=pixels, speech=None, soundless="no sound")


@pytest.fixture(scope="module")
def longer(clip):
    return looped(clip, 1)


def test_a_picture_that_darkens_is_seen(longer):
    found = inspect_clip(with_pictures(longer, lambda times: 1 - 0.2 * times / times[-1]))
    plain = inspect_clip(longer)
    assert plain["brightness_change_levels"].state == plain["skin_change_delta_e"].state == "fine"
    assert found["brightness_change_levels"].value < -15 and "darker" in found["brightness_change_levels"].verdict
    assert found["skin_change_delta_e"].value > 5 and found["brightness_drift_levels_per_minute"].value < -100


def test_a_picture_that_pulses_is_seen(longer):
    found = inspect_clip(with_pictures(longer, lambda times: 1 + 0.02 * torch.sin(2 * math.pi * 5 * times)))
    assert inspect_clip(longer)["flicker_levels"].state == "fine"
    assert found["flicker_levels"].state != "fine" and "pulses 5.0 times" in found["flicker_levels"].verdict


def test_a_head_that_stands_still_and_another_face_are_seen(longer):
    frozen = FaceTrack(longer.track.points[:1].expand(len(longer), -1, -1), longer.track.presence, longer.track.size)
    assert inspect_clip(replace(longer, track=frozen))["frozen_head_share"].state == "fault"
    assert inspect_clip(longer)["frozen_head_share"].state == "fine"
    aligned = longer.pixels.aligned.clone()
    aligned[len(longer) // 2:] = aligned[len(longer) // 2:].flip(1)
    other = inspect_clip(replace(longer, pixels=replace(longer.pixels, aligned=aligned)))["identity_change_share"]
    same = inspect_clip(longer)["identity_change_share"]
    assert same.state == "fine" and other.state == "fault" and other.value > 0.5


def test_seams_are_found_by_themselves_and_at_a_given_length():
    generator = torch.Generator().manual_seed(0)
    changes = torch.rand(240, generator=generator) + 1
    key = torch.zeros(241, dtype=torch.bool)
    assert not find_seams(changes, key).found
    changes[7::16] *= 1.8
    seams = find_seams(changes, key)
    assert (seams.period, seams.first) == (16, 8) and seams.ratio == pytest.approx(1.8, abs=0.3)
    assert find_seams(changes, key, 16).ratio == pytest.approx(seams.ratio)
    assert find_seams(changes, key, 15).clarity < 3.5
    key[8::16] = True
    assert find_seams(changes, key).at_key_frames


def test_cuts_and_repetitions_are_counted():
    generator = np.random.default_rng(0)
    pictures = torch.from_numpy(generator.integers(0, 8, (40, 24, 24, 3), dtype=np.uint8)) + 60
    pictures[20:] += 90
    changes = changes_of(pictures)
    assert cuts_of(changes).tolist() == [20]
    assert changes_of(pictures[:1].expand(5, -1, -1, -1)).tolist() == [0.0] * 4


def test_colours_are_those_of_the_standard():
    white, red, grey = lab_of(torch.tensor([[255, 255, 255], [255, 0, 0], [119, 119, 119]]))
    assert white.tolist() == pytest.approx([100, 0, 0], abs=0.02)
    assert red.tolist() == pytest.approx([53.24, 80.09, 67.20], abs=0.05) and grey[0] == pytest.approx(50, abs=0.2)
    assert slope_per_minute(torch.arange(5.0), torch.arange(5.0) * 2) == pytest.approx(120)


# ---------------------------------------------------------------------------------------------- command and page
def test_the_page_plays_scrubs_and_asks_nobody(mp4, tmp_path, capsys):
    asked = ["inspect-video", str(mp4), "--duration", "2.4", "--report", str(tmp_path / "r.html"), "--json"]
    assert cli.main(asked) == 0
    said = json.loads(capsys.readouterr().out)
    page = (tmp_path / "r.html").read_text()
    assert said["verdict"].split(".")[0] in page and "default-src 'none'" in page
    assert "data:video/mp4;base64," in page and page.count("rv-cursor") > 5 and "http" not in page.replace(
        "http-equiv", "")
    assert "nan" not in page.split('id="data"')[0].split("base64,")[0].lower()


def test_a_file_that_browsers_do_not_play_is_copied_for_the_page(film, tmp_path):
    codec, options, sound = CODECS["avi"]
    path = encode(tmp_path / "old.avi", film.frames[:20].numpy(), tone(0.8), regular(20), codec, options,
                  sound_codec=sound)
    assert "data:video/mp4;base64," in inspection_page(inspect_video(path))


@pytest.mark.parametrize("arguments, says", [
    (["missing.mp4"], "there is no file missing.mp4"),
    (["words.mp4"], "not a video that can be read"),
    (["sound.wav"], "holds no pictures"),
    (["true.mp4", "--sound", "missing.wav"], "there is no file missing.wav"),
    (["true.mp4", "--sound", "words.mp4"], "not a sound file"),
    (["true.mp4", "--duration", "-1"], "duration is -1"),
    (["true.mp4", "--block-frames", "1"], "block_frames is 1"),
    (["true.mp4", "--report", "page.pdf"], "a report is a web page"),
    (["true.mp4", "--blockframes", "9"], "did you mean"),
])
def test_bad_input_is_one_sentence_and_exit_code_2(mp4, tmp_path, monkeypatch, capsys, arguments, says):
    import soundfile

    monkeypatch.chdir(tmp_path)
    (tmp_path / "true.mp4").symlink_to(mp4)
    (tmp_path / "words.mp4").write_text("no video at all\n" * 9)
    soundfile.write(tmp_path / "sound.wav", tone(0.5).wave, 16000)
    assert cli.main(["inspect-video", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and "Traceback" not in error
