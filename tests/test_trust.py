"""Short versions of the trust campaign: damaged runs, damaged files, odd names."""

import gc
import random
import shutil
import sys
import weakref
from pathlib import Path

import pytest
import torch
from fakes import FakeBackend, PlainVAE, face, tone

from liveavatar import cli
from liveavatar.backends import BACKENDS
from liveavatar.checksums import check_values, pack_tensors, read_tensors, with_crc
from liveavatar.config import GenerationConfig
from liveavatar.memory_errors import is_out_of_memory
from liveavatar.pipeline import Pipeline
from liveavatar.runfolder import RunFolder
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
TWO_STEPS = GenerationConfig(sample_steps=2)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run folder as it is left after three blocks, and the latents of the whole video."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    pipe = Pipeline(FakeBackend())
    stream = pipe.stream(tone(2.0), face(), "hello", TWO_STEPS, output=folder.with_name("out.mp4"), run_dir=folder)
    for event in stream:
        if isinstance(event, Block) and event.index == 2:
            stream.close()
    return folder, [step.x for step in pipe.steps(tone(2.0), face(), "hello", TWO_STEPS) if step.last]


@pytest.mark.parametrize("name", ["run.json", "audio.wav", "portrait.safetensors", "block_00000.safetensors",
                                  "block_00002.safetensors", "caches_0.safetensors", "caches_1.safetensors"])
@pytest.mark.parametrize("how", ["truncated", "zeroed", "flipped"])
def test_a_damaged_run_is_gone_on_with_correctly_or_refused(stopped, tmp_path, name, how):
    folder, whole = stopped
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    data = bytearray((run / name).read_bytes())
    at = random.Random(f"{name} {how}").randrange(len(data))
    data[at:] = {"truncated": b"", "zeroed": bytes(len(data) - at),
                 "flipped": bytes([data[at] ^ 4]) + data[at + 1:]}[how]
    (run / name).write_bytes(data)
    try:
        video = Pipeline(FakeBackend()).resume(run, output=tmp_path / "out.mp4", keep_latents=True, progress=False)
    except InputError as refused:
        assert "\n" not in str(refused) and not name.startswith(("block", "caches"))
        return
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(video.latents, whole, strict=True))


def test_a_changed_step_of_a_run_folder_is_refused_and_the_others_are_read(stopped, tmp_path):
    run = RunFolder(Path(shutil.copytree(stopped[0], tmp_path / "run")))
    whole = {key: run.steps().step(*key).x for key in ((0, 0), (0, 1), (1, 0))}
    path = run.path / "steps" / "trace_00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 4                                                  # the last number of the last tensor
    path.write_bytes(data)
    refused = []
    for key, x in whole.items():
        try:
            assert torch.equal(run.steps().step(*key).x, x)
        except InputError as error:
            refused.append(key)
            assert "checksum" in str(error) and "\n" not in str(error)
    assert len(refused) == 1 and refused[0][0] == 0
    text = (run.path / "steps" / "trace.json").read_text()
    (run.path / "steps" / "trace.json").write_text(text.replace('"index": 1', '"index": 0', 1))
    with pytest.raises(InputError, match="checksum"):
        run.steps()


def test_the_sound_is_let_go_once_it_is_encoded(tmp_path, monkeypatch):
    import soundfile

    from liveavatar import audio

    soundfile.write(tmp_path / "in.wav", tone(1.0).wave, 16_000)
    read, load = [], audio.load_audio

    def load_and_note(*given):
        speech = load(*given)
        read.append(weakref.ref(speech))
        return speech

    monkeypatch.setattr(audio, "load_audio", load_and_note)
    stream = Pipeline(FakeBackend()).stream(str(tmp_path / "in.wav"), face(), "", TWO_STEPS,
                                            output=tmp_path / "out.mp4")
    next(event for event in stream if isinstance(event, Block))
    gc.collect()
    assert len(read) == 1 and read[0]() is None
    assert list(stream)[-1].complete


SHORTAGES = {"MemoryError": MemoryError(), "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:124] "
             "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
             "GPU": torch.OutOfMemoryError("CUDA out of memory")}


@pytest.mark.parametrize("kind", SHORTAGES)
def test_memory_that_does_not_suffice_is_one_sentence_and_the_error_holds_none_of_it(kind, tmp_path, monkeypatch,
                                                                                    capsys):
    held, plain = [], PlainVAE.decode_stream

    def refuse(self, latents, memory):
        ballast = torch.ones(1000)
        held.append(weakref.ref(ballast))
        raise SHORTAGES[kind].with_traceback(None)

    monkeypatch.setattr(PlainVAE, "decode_stream", refuse)
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    run = Run.of(Pipeline(FakeBackend()), tone(0.6), face(), "", TWO_STEPS)
    with pytest.raises(type(SHORTAGES[kind])):
        run.start().result()
    assert run.state == "failed" and is_out_of_memory(run.error) and held[-1]() is None
    write_inputs(tmp_path)
    arguments = ["generate", "--backend", "fake", "--audio", str(tmp_path / "in.wav"), "--image",
                 str(tmp_path / "in.png"), "--output", str(tmp_path / "out.mp4")]
    assert cli.main(arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("liveavatar: the ") and "ran out of memory" in last and held[-1]() is None
    assert list(tmp_path.glob("*.mp4")) == [] and list(tmp_path.glob(".*")) == []
    monkeypatch.setattr(PlainVAE, "decode_stream", plain)
    assert cli.main(arguments) == 0


def write_inputs(folder):
    import soundfile

    from liveavatar.avatars.portraits import avatar, save_portrait

    soundfile.write(folder / "in.wav", tone(0.6).wave, 16_000)
    save_portrait(avatar(3, (64, 64)), folder / "in.png")


def test_no_file_of_the_package_runs_what_a_file_says():
    from faults.security import sources

    (attempt,) = sources(1, 0, 1)
    assert attempt.survived, attempt.seen


def test_checksums_find_one_changed_number_and_one_changed_word(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack_tensors({"a": torch.arange(4.0).bfloat16()}, {"block": "1"}))
    assert read_tensors(path)[1] == {"block": "1"}
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="checksum"):
        read_tensors(path)
    with pytest.raises(ValueError, match="checksum"):
        check_values(with_crc({"seed": 1}) | {"seed": 2})


def test_a_picture_from_a_file_gives_the_latents_of_its_resumed_run(tmp_path, monkeypatch):
    """Pixels of a file lie in memory in another order than those of a run folder: sums must not depend on it."""
    from liveavatar.inputs import prepare_portrait

    pixels = face(40, 56).pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not pixels.is_contiguous()
    assert prepare_portrait(FakeBackend, type(face())(pixels), TWO_STEPS)[0].pixels.is_contiguous()


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31mred", "\x9b31m", "\u202eback", "\u2028"])
def test_no_name_steers_a_terminal(name, capsys):
    assert cli.main(["generate", "--audio", f"{name}.wav", "--image", "a.png"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and name not in said and said.isprintable() is False
    assert said.rstrip("\n").isprintable()


@pytest.mark.parametrize("kind", ["trace", "manifest", "timeline", "sweep"])
def test_saved_json_with_other_values_opens_or_is_refused(kind, monkeypatch):
    from faults.bad_input import try_json

    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    for number in range(6):
        assert try_json("other-json", kind, 2, number)[1] == ""


def test_mutations_are_the_same_for_the_same_seed():
    from faults.attempts import chance
    from faults.mutations import damaged

    data = bytes(range(256)) * 8
    assert all(damaged(data, chance("a", 1, i)) == damaged(data, chance("a", 1, i)) for i in range(30))


def test_a_later_line_replaces_that_of_the_same_attempts_and_rows_that_were_not_run_say_so(tmp_path):
    import trust

    line = {"row": "killed", "seed": 1, "first": 0, "tried": 5, "survived": 4,
            "failures": [{"case": "3: x", "seen": "y"}]}
    path = tmp_path / "trust.jsonl"
    trust.keep(line, path)
    lines = trust.keep(line | {"survived": 5, "failures": []}, path)
    assert len(lines) == 1 and "| 1 | 5 | 5 | 100 |" in trust.table(lines) and "not run" in trust.table(lines)
