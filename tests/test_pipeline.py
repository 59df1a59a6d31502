"""The whole river: lengths, seeds, stopping, dying and going on."""

import os
import time
import weakref
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until
from prepared import prepared

from liveavatar import pipeline
from liveavatar.backends import BACKENDS
from liveavatar.config import GenerationConfig, parse_size, size_text
from liveavatar.pipeline import Pipeline
from liveavatar.rollout import audio_of_block, block_generator
from liveavatar.runfolder import RunFolder
from liveavatar.types import Block, InputError, Step
from liveavatar.video import Video, read_frames, read_provenance

TWO_STEPS = GenerationConfig(sample_steps=2)
GREY = replace(face(), pixels=torch.full((3, 64, 64), 0.4))


@pytest.fixture(scope="module")
def pipe():
    return Pipeline(FakeBackend())


def latents_of(pipe, speech, config=TWO_STEPS):
    return [step.x for step in pipe.steps(speech, face(), "hello", config) if step.last]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


# ------------------------------------------------------------------------------------------------------- configuration

def test_a_size_is_width_times_height_outside_and_height_first_inside():
    assert GenerationConfig(size="160*96").size == (96, 160) == parse_size((96, 160))
    assert size_text((96, 160)) == "160*96"


def test_a_config_survives_json():
    config = GenerationConfig(sample_steps=2, size="160*96", schedule=(1.0, 0.5, 0.0))
    import json
    assert GenerationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


# -------------------------------------------------------------------------------------------------------------- stages

def test_stages_called_one_by_one_give_what_the_whole_gives(pipe):
    speech, portrait = tone(1.0), face()
    features = pipe.encode_audio(speech)
    reference, motion = pipe.encode_image(portrait)
    condition = pipe.condition(speech, portrait, "hello", TWO_STEPS)
    assert torch.equal(condition.audio, features.values) and torch.equal(condition.reference, reference)
    assert motion is None and torch.equal(condition.text, pipe.encode_text("hello"))
    by_hand = [step.x for step in pipe.steps(condition, config=TWO_STEPS) if step.last]
    blocks = [event for event in pipe.events(speech, portrait, "hello", TWO_STEPS) if isinstance(event, Block)]
    assert same(by_hand, [block.latents for block in blocks])
    pictures = torch.cat(list(pipe.decode(by_hand, frames=25)))
    assert torch.equal(pictures, torch.cat([block.frames for block in blocks]))


def test_events_come_in_the_order_of_the_work(pipe):
    events = list(pipe.events(tone(0.9), face(), "", TWO_STEPS))
    assert [(type(event).__name__, event.block if isinstance(event, Step) else event.index) for event in events] == [
        ("Step", 0), ("Step", 0), ("Block", 0), ("Step", 1), ("Step", 1), ("Block", 1)]
    assert [event.start_s for event in events if isinstance(event, Block)] == [0, 0.48]


def test_deferred_decoding_gives_the_same_pictures_later(pipe):
    at_once = list(pipe.events(tone(0.9), face(), "", TWO_STEPS))
    later = list(pipe.events(tone(0.9), face(), "", replace(TWO_STEPS, enable_online_decode=False)))
    assert [type(event) for event in later] == [Step] * 4 + [Block] * 2
    frames = [torch.cat([event.frames for event in events if isinstance(event, Block)]) for events in (at_once, later)]
    assert torch.equal(*frames)


@pytest.mark.parametrize(("seconds", "frames"), [(0.04, 1), (0.48, 12), (0.4801, 13), (1.0, 25)])
def test_pictures_last_as_long_as_the_sound(pipe, seconds, frames):
    blocks = [event for event in pipe.events(tone(seconds), face(), "", GenerationConfig(sample_steps=1))
              if isinstance(event, Block)]
    assert sum(len(block.frames) for block in blocks) == frames


def test_num_clip_caps_the_length(pipe):
    config = GenerationConfig(sample_steps=1, infer_frames=12, num_clip=2)
    assert pipe.condition(tone(3), face(), "", config).frames == 24


def test_a_stretch_of_the_speech_may_be_asked_for(pipe):
    speech = pipe.load_audio(tone(2.0), GenerationConfig(start_s=0.5, duration_s=1.0))
    assert len(speech.wave) == 16_000 and speech.wave[0] == tone(2.0).wave[8_000]


def test_a_size_is_an_area_and_the_portrait_gives_the_shape(pipe):
    config = GenerationConfig(size="48*48")
    assert pipe.encode_image(face(100, 200), config)[0].shape[-2:] == (4, 8)        # 64*32 px
    assert pipe.encode_image(face(100, 200))[0].shape[-2:] == (4, 4)                # the backend's own square


# ---------------------------------------------------------------------------------------------------------------- seeds

def test_the_same_seed_gives_the_same_latents_and_another_seed_others(pipe):
    first, second = latents_of(pipe, tone(2)), latents_of(pipe, tone(2))
    assert same(first, second)
    assert not same(first, latents_of(pipe, tone(2), replace(TWO_STEPS, base_seed=421)))


def test_noise_of_a_block_needs_no_draws_before_it():
    assert block_generator(420, 7).initial_seed() == block_generator(420, 7).initial_seed()
    assert len({block_generator(seed, block).initial_seed() for seed in (1, 2) for block in range(50)}) == 100


def test_both_solvers_and_guidance_change_the_latents():
    teacher = Pipeline(FakeBackend(student=False))
    plain = latents_of(teacher, tone(1.5))
    assert not same(plain, latents_of(teacher, tone(1.5), replace(TWO_STEPS, sample_solver="renoise")))
    assert not same(plain, latents_of(teacher, tone(1.5), replace(TWO_STEPS, guidance=2.0)))


def test_a_block_hears_the_sound_before_it_or_its_own_beginning():
    audio = torch.arange(30.0).view(1, 1, 1, 30)
    assert audio_of_block(audio, 1, 12, sees_past=True).flatten().tolist() == list(range(3, 24))
    assert audio_of_block(audio, 1, 12, sees_past=False).flatten().tolist() == [12.0] * 9 + list(range(12, 24))
    assert audio_of_block(audio, 2, 12, sees_past=True).flatten().tolist()[-7:] == [29.0] * 7
    assert audio_of_block(audio, 0, 12, sees_past=True).flatten().tolist()[:10] == [0.0] * 10


# ---------------------------------------------------------------------------------------------------------------- video

def test_a_video_has_every_frame_and_says_what_made_it(pipe, tmp_path):
    video = pipe.render(tone(1.1), face(), "hello", TWO_STEPS, output=tmp_path / "out.mp4", keep_latents=True,
                        progress=False)
    assert (video.frames, video.complete, len(video.latents)) == (28, True, 3)
    assert len(list(read_frames(video.path))) == 28
    assert video.x_realtime == pytest.approx(video.duration_s / sum(video.seconds.values()))
    assert 0 < video.first_picture_s < sum(video.seconds.values())
    facts = read_provenance(video.path)
    assert facts["generated"] is True and facts["seed"] == 420 and facts["by"].startswith("liveavatar ")
    assert facts["backend"]["fingerprint"] == "tiny" and len(facts["inputs"]["audio"]["sha256"]) == 64
    assert facts["inputs"]["prompt"]["text"] == "hello"
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(("portrait", "asked", "marked"), [
    (GREY, None, True), (replace(GREY, identity=torch.zeros(3)), None, False), (GREY, False, False)])
def test_the_video_of_a_photograph_is_marked_visibly(pipe, tmp_path, portrait, asked, marked):
    config = replace(TWO_STEPS, label=asked)
    video = pipe.render(tone(0.5), portrait, "hello", config, output=tmp_path / "out.mp4", progress=False)
    corner = next(read_frames(video.path))[-12:, -16:]
    assert (corner.min(-1) > 200).any() == marked and read_provenance(video.path)["config"]["label"] is marked


@pytest.mark.parametrize("online", [True, False])
def test_closing_the_generator_leaves_what_is_done(pipe, tmp_path, online):
    config = replace(TWO_STEPS, enable_online_decode=online)
    film = pipe.stream(tone(3), face(), "", config, output=tmp_path / "out.mp4")
    steps = (event for event in film if isinstance(event, Step))
    for _ in range(5):
        next(steps)                        # two blocks are made, and one step of the third
    film.close()
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 24
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_an_event_stops_between_two_steps(pipe, tmp_path):
    stop = Event()
    events = []
    for event in pipe.stream(tone(3), face(), "", TWO_STEPS, output=tmp_path / "out.mp4", stop=stop):
        events.append(event)
        if isinstance(event, Step) and (event.block, event.index) == (1, 0):
            stop.set()
    assert isinstance(events[-1], Video) and not events[-1].complete
    assert events[-1].frames == 12 == len(list(read_frames(tmp_path / "out.mp4")))
    assert sum(isinstance(event, Step) for event in events) == 3


def test_stopped_before_the_first_picture_nothing_is_left(pipe, tmp_path):
    stop = Event()
    stop.set()
    video = pipe.render(tone(1), face(), "", TWO_STEPS, output=tmp_path / "out.mp4", stop=stop, progress=False)
    assert video.frames == 0 and os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_the_length(pipe):
    """Of the pictures and latents made so far only the newest are still alive."""
    made = []
    for event in pipe.events(tone(6), face(), "", TWO_STEPS):
        made += [weakref.ref(event.frames), weakref.ref(event.latents)] if isinstance(event, Block) else []
        assert sum(one() is not None for one in made) <= 4
    assert len(made) == 2 * 13


@pytest.mark.parametrize("config, frames", [(TWO_STEPS, 75), (replace(TWO_STEPS, infer_frames=12, num_clip=2), 24)])
def test_features_of_the_sound_are_in_memory_once(pipe, monkeypatch, config, frames):
    """Those of 10,000 s take 256 MB with mini. A video that is shorter than its sound keeps what it needs of them."""
    encoded, encode = [], pipe.backend.encode_audio
    monkeypatch.setattr(pipe.backend, "encode_audio", lambda speech: encoded.append(encode(speech)) or encoded[0])
    audio = pipe.condition(tone(3), face(), "", config).audio
    values = encoded[0].values
    assert torch.equal(audio, values[..., :frames])
    assert audio.untyped_storage().nbytes() == audio.nbytes
    assert (audio.data_ptr() == values.data_ptr()) == (frames == 75)


# -------------------------------------------------------------------------------------------------------- going on

def test_a_finished_run_can_be_filmed_again(pipe, tmp_path):
    video = pipe.render(tone(2), face(), "", TWO_STEPS, output=tmp_path / "a.mp4", run_dir=tmp_path / "run",
                        keep_latents=True, progress=False)
    again = pipe.resume(tmp_path / "run", output=tmp_path / "b.mp4", keep_latents=True, progress=False)
    assert same(video.latents, again.latents) and again.frames == video.frames


@pytest.mark.parametrize(("student", "config"), [
    (True, GenerationConfig(sample_steps=3)), (False, GenerationConfig(sample_steps=2, guidance=1.5))])
def test_a_stopped_run_goes_on_to_the_same_latents(tmp_path, student, config):
    pipe = Pipeline(FakeBackend(student))
    whole = latents_of(pipe, tone(4), config)
    film = pipe.stream(tone(4), face(), "hello", config, output=tmp_path / "out.mp4", run_dir=tmp_path / "run")
    for event in film:
        if isinstance(event, Step) and event.block == 5:       # the ring of two blocks has wrapped
            film.close()
    video = Pipeline(FakeBackend(student)).resume(tmp_path / "run", keep_latents=True, progress=False)
    assert same(whole, video.latents) and video.complete and video.frames == 100


def run_until_killed(folder: Path) -> None:
    """Make a video that goes no further than its eighth block."""
    backend, decoded = FakeBackend(), []
    decode = backend.vae.decode_stream

    def decode_some(latents, memory):
        decoded.append(0)
        time.sleep(0.05 if len(decoded) < 8 else 600)
        return decode(latents, memory)

    backend.vae.decode_stream = decode_some
    Pipeline(backend).render(tone(6), face(), "hello", GenerationConfig(sample_steps=2), output=folder / "out.mp4",
                             run_dir=folder / "run", progress=False)


def test_a_killed_run_goes_on_to_the_same_latents(pipe, tmp_path):
    process = prepared().Process(target=run_until_killed, args=(tmp_path,))
    process.start()
    wait_until((tmp_path / "run" / "block_00004.safetensors").exists)
    process.kill()
    process.join()
    assert not (tmp_path / "out.mp4").exists()                 # nothing half-written under the final name
    made = RunFolder(tmp_path / "run").finished()
    assert 5 <= made < 13
    video = pipe.resume(tmp_path / "run", keep_latents=True, progress=False)
    assert same(latents_of(pipe, tone(6)), video.latents)
    assert video.frames == 150 == len(list(read_frames(tmp_path / "out.mp4")))


def test_damaged_caches_fall_back_to_the_block_before(pipe, tmp_path):
    film = pipe.stream(tone(3), face(), "hello", TWO_STEPS, output=tmp_path / "out.mp4", run_dir=tmp_path / "run")
    for event in film:
        if isinstance(event, Block) and event.index == 4:
            film.close()
    (tmp_path / "run" / "caches_0.safetensors").write_bytes(b"half a fi")
    assert RunFolder(tmp_path / "run").next_block() == 4
    video = pipe.resume(tmp_path / "run", keep_latents=True, progress=False)
    assert same(latents_of(pipe, tone(3)), video.latents)


def test_a_run_is_not_begun_twice_nor_gone_on_with_by_another_model(pipe, tmp_path):
    pipe.render(tone(0.5), face(), "", TWO_STEPS, output=tmp_path / "a.mp4", run_dir=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="already holds a run"):
        pipe.render(tone(0.5), face(), "", TWO_STEPS, output=tmp_path / "a.mp4", run_dir=tmp_path / "run")
    with pytest.raises(InputError, match="was begun with student True"):
        Pipeline(FakeBackend(student=False)).resume(tmp_path / "run")
    with pytest.raises(InputError, match="holds no run"):
        pipe.resume(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["portrait.png", "audio.wav", "sound.original"])
def test_a_run_folder_replaces_no_file_of_the_user(pipe, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"has a file {name}, which a run would replace"):
        pipe.render(tone(0.5), face(), "", TWO_STEPS, output=tmp_path / "a.mp4", run_dir=tmp_path, progress=False)
    assert (tmp_path / name).read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / "portrait.safetensors").write_text("of a run that was killed while it began")
    pipe.render(tone(0.5), face(), "", TWO_STEPS, output=tmp_path / "a.mp4", run_dir=tmp_path, progress=False)
    assert (tmp_path / "run.json").exists()


# ------------------------------------------------------------------------------------------------------------ one call

def test_generate_and_resume_load_the_backend_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    video = pipeline.generate(tone(0.5), face(), "", TWO_STEPS, output=tmp_path / "out.webm", backend="fake",
                              run_dir=tmp_path / "run", progress=False)
    assert video.frames == 13
    assert pipeline.resume(tmp_path / "run", output=tmp_path / "again.mp4", progress=False).frames == 13


def test_a_distilled_student_refuses_guidance(pipe):
    with pytest.raises(InputError, match="guidance is 2.0"):
        next(pipe.steps(tone(1), face(), "", GenerationConfig(guidance=2.0)))


def test_phonemes_move_with_the_stretch_that_is_heard():
    from liveavatar.inputs import cut
    from liveavatar.types import Phoneme, Speech

    said = tuple(Phoneme(symbol, i / 2, (i + 1) / 2) for i, symbol in enumerate("pata"))
    speech = Speech(torch.zeros(32_000).numpy(), 16_000, said)
    heard = cut(speech, 0.25, 1.0)
    assert heard.duration_s == 1.0
    assert heard.phonemes == (Phoneme("p", 0.0, 0.25), Phoneme("a", 0.25, 0.75), Phoneme("t", 0.75, 1.0))
