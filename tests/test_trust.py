"""Short versions of the trust campaign: damaged runs, damaged files, odd names."""

import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
from fakes import FakeBackend, face, tone

from liveavatar import cli
from liveavatar.backends import BACKENDS
from liveavatar.checksums import check_values, pack_tensors, read_tensors, with_crc
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
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
