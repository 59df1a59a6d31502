"""The study of the released weights: from folders laid out as released, tiny, to its table, and on to verdicts."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")

from safetensors.torch import save_file
from test_study_claims import made
from wan_fakes import LOADED, small_lora, small_transformer, write_checkpoint

import liveavatar
from liveavatar.study import real
from liveavatar.study.cell_result import pipeline_of, warm_up
from liveavatar.study.claims import CONFIRMED, ON_14B, OPEN, REFUTED, judge_all
from liveavatar.study.materials import recording
from liveavatar.study.plan import RECORDINGS
from liveavatar.study.table import Table, read_table
from liveavatar.types import InputError
from liveavatar.vram.prediction import BlockTime

TINY = dict(config=LOADED, conditioning="multi-gpu", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def known_plan():
    """A block takes 1 s to decode and 2 s a step; plans themselves are tested in test_vram_plan.py."""
    time = BlockTime(2.0, 2.0, 1.0, 0.0, 0.0, deadline_s=0.48)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "planned", lambda options, gpu, size, steps: SimpleNamespace(sentence="fits", time=time))
        yield


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """The two folders, as the released README asks for them."""
    folder = tmp_path_factory.mktemp("ckpt")
    write_checkpoint(folder / "Wan2.2-S2V-14B")
    save_file(small_lora(small_transformer()), folder / "liveavatar.safetensors")
    yield folder
    pipeline_of.cache_clear()
    warm_up.cache_clear()


def study(downloads, out, *more):
    files = ["--ckpt_dir", str(downloads / "Wan2.2-S2V-14B"), "--lora", str(downloads / "liveavatar.safetensors")]
    return real.main([*files, "--size", "64*64", "--seconds", "0.48", "--recordings", RECORDINGS[0], "--out", str(out),
                      "--threads", "1", *more], **TINY)


@pytest.fixture(scope="module")
def first(downloads, tmp_path_factory):
    """One person at two numbers of steps."""
    out = tmp_path_factory.mktemp("study")
    assert study(downloads, out, "--portraits", "woman", "--steps", "1", "2", "--by_step") == 0
    return out


def test_the_table_has_cost_figures_of_the_face_and_where_rows_come_from(first):
    table = read_table(first / "real_study.csv")
    assert [row["steps"] for row in table.finished] == [1, 2] and len(table.guesses) == 3
    for row in table.finished:
        assert row["backend"] == "wan-s2v-14b" and row["schedule"] == "released" and row["block_ms"] > 0
        assert row["face.seen_share"] == 0.0                       # untrained: nobody is seen, and that is said
        assert row["weights_id"].startswith("wan-s2v-14b ") and "LoRA" in row["weights_id"]
        assert row["machine"] and row["commit"]


def test_what_is_sent_names_no_folder(first, downloads):
    sent = (first / "real_study.csv").read_text() + (first / "real_study.json").read_text()
    assert str(downloads) not in sent and "ckpt" not in sent and "checkpoint_dir" not in sent
    assert json.loads((first / "real_study.json").read_text())["videos"] == 2


def test_errors_that_are_sent_name_no_folder(tmp_path):
    portrait = tmp_path / "my faces" / "anna.jpg"
    row = {"portrait": str(portrait), "recording": "welcome", "error": f"{portrait} cannot be read; "
           "/home/me/ckpt/model.safetensors, C:\\Users\\me\\lora.bin and voices/me.wav are missing: 3 of 4"}
    [sent] = real.shareable(Table([row]))
    assert sent["error"] == "anna.jpg cannot be read; model.safetensors, lora.bin and me.wav are missing: 3 of 4"
    assert list(real.shareable(Table([row | {"error": ""}])))[0]["error"] == ""


def test_it_goes_on_where_it_was_and_makes_nothing_twice(first, downloads, capsys):
    before = {path: path.stat().st_mtime_ns for path in first.rglob("video.mp4")}
    assert study(downloads, first, "--portraits", "woman", "--steps", "1", "2", "3", "--by_step") == 0
    assert "3 of 3 videos, 0 failed" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in first.rglob("video.mp4")}
    assert len(after) == 3 and before.items() <= after.items()


def test_other_weights_are_other_videos(downloads, tmp_path):
    from liveavatar.study.cell_result import named_weights

    lora = tmp_path / "liveavatar.safetensors"
    save_file({name: value + 1 for name, value in small_lora(small_transformer()).items()}, lora)
    folder = str(downloads / "Wan2.2-S2V-14B")
    one, other = (named_weights("wan-s2v-14b", json.dumps({"checkpoint_dir": folder, "lora": str(file)}))
                  for file in (downloads / "liveavatar.safetensors", lora))
    assert one != other and folder not in one


def test_the_base_model_is_loaded_without_lora_and_takes_guidance(downloads):
    cells = real.Asked({"checkpoint_dir": "ckpt", "lora": "lora"}, teacher=True).cells()
    bases = [cell for cell in cells if cell.model == "teacher"]
    assert {(cell.steps, cell.guidance, cell.options) for cell in bases} == {
        (steps, 4.5, '{"checkpoint_dir": "ckpt"}') for steps in (4, 16)}
    with pytest.warns(UserWarning, match="no LoRA"):
        base = liveavatar.load("wan-s2v-14b", checkpoint_dir=downloads / "Wan2.2-S2V-14B", **TINY)
    assert base.backend.about()["student"] is False                # else guidance would be refused


def test_cost_is_said_before_anything_is_made(downloads, tmp_path, capsys):
    assert real.main(["--ckpt_dir", "nowhere", "--lora", "nowhere", "--dry_run", "--gpu", "H200"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("88 videos: 2 people, 11 recordings, steps 3, 4, 5, 6.") and "wide intervals" in said
    assert said.count("704*384, ") == 4
    shown_s = 2 * sum(recording(name).duration_s for name in (*real.SAMPLES, *RECORDINGS))
    seconds = shown_s / 0.48 * (4 * 1 + 2 * (3 + 4 + 5 + 6))            # of all blocks at all four numbers of steps
    assert f"about {seconds / 60:.0f} minutes of generating on H200" in said


@pytest.mark.parametrize("given, words", [
    (["--ckpt_dir", "nowhere", "--lora", "nowhere"], "nowhere does not exist"),
    (["--ckpt_dir", "nowhere"], "--lora is missing")])
def test_missing_weights_are_refused_before_anything_is_made(given, words, tmp_path):
    with pytest.raises(InputError, match=words):
        real.main([*given, "--gpu", "H200", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- what the table settles

def of_released(column, values, **more):
    return made(column, values, **({"backend": "wan-s2v-14b", "schedule": "released", "weights_id": "wan-s2v-14b a",
                                    "prompt": real.PROMPT} | more))


@pytest.mark.parametrize("three, four, verdict", [(0.3, 0.6, CONFIRMED), (0.6, 0.6, REFUTED)])
def test_rows_of_the_released_weights_settle_what_mini_cannot(three, four, verdict):
    rows = of_released("face.loudness_correlation", {3: three, 4: four})
    rows = [row | {"face.offset_abs_ms": 40.0} for row in rows]
    found = judge_all(Table(rows))["lips-3-4"]
    assert found.verdict == verdict and found.at(ON_14B)[0].figures


def test_untrained_weights_settle_nothing():
    rows = of_released("face.loudness_correlation", {3: 0.3, 4: 0.6}, weights_id="wan-s2v-14b random-0")
    found = judge_all(Table(rows))["lips-3-4"]
    assert found.verdict == OPEN and "nobody has sent results" in found.why
