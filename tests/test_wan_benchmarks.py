"""The GPU benchmarks at tiny size: they go through, survive a failing row and keep to their budget."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))


@pytest.fixture
def speed(monkeypatch):
    import wan_speed

    monkeypatch.setattr(wan_speed, "FILLING", 1)
    monkeypatch.setattr(wan_speed, "RECORDING", 0)
    monkeypatch.setattr(wan_speed, "TIMED", 1)
    return wan_speed


def test_speed_writes_a_table_although_one_row_fails(speed, tmp_path, monkeypatch):
    rows = [speed.ROWS[1], speed.Row("broken", 1, steps=0), speed.Row("fp8, fp8 caches", 2, speed.ROWS[1].name,
                                                                      fp8=True, fp8_cache=True)]
    found = list(speed.run(speed.Bench((64, 64), tiny=True), rows, budget_s=60))
    assert found[0]["step_ms"] > 0 and "error" in found[1] and found[2]["decode_ms"] > 0
    speed.write(found, "about", "command", tmp_path / "speed")
    text = (tmp_path / "speed.md").read_text()
    assert "| broken | 1 | " in text and len(json.loads((tmp_path / "speed.json").read_text())["rows"]) == 3


def test_what_does_not_fit_into_the_budget_is_skipped_and_said(speed):
    found = next(speed.run(speed.Bench((64, 64), tiny=True), [speed.ROWS[0]], budget_s=-1))
    assert "were spent" in found["skipped"]
    assert any("skipped: " in line for line in speed.table([found]))


def test_memory_is_compared_stage_by_stage_and_drawn(tmp_path, monkeypatch):
    import wan_memory

    monkeypatch.setattr(wan_memory, "SIZES", ("64*64",))
    row = {"precision": "bf16", "size": "64*64", "steps": 3, "reserved": 1.0}
    for number, stage in enumerate(wan_memory.STAGES):
        row |= {f"planned {stage}": 10.0 + number, f"measured {stage}": 10.0}
    assert wan_memory.shares(row) == (1.4, 1.4)
    failed = {"precision": "fp8", "size": "64*64", "steps": 3, "failed": "OutOfMemoryError: no"}
    wan_memory.write([row, failed], "about", "command", tmp_path / "memory")
    assert "1.400 missed" in (tmp_path / "memory.md").read_text()
    assert wan_memory.read(tmp_path / "memory")[0]["planned decode"] == 13.0
    wan_memory.draw(wan_memory.read(tmp_path / "memory"), "about", tmp_path / "memory")
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_attention_in_8_bits_is_compared_with_float32(tmp_path, monkeypatch):
    import wan_attention

    monkeypatch.setattr(sys, "argv", ["wan_attention.py", "--tiny", "--out", str(tmp_path / "attention")])
    wan_attention.main()
    last = (tmp_path / "attention.md").read_text().splitlines()[-1]
    assert last.startswith("| queries, keys and values rounded") and 0.01 < float(last.split("|")[-2]) < 0.08


def test_several_gpus_are_compared_with_one(tmp_path, monkeypatch):
    import wan_tpp
    from ports import free_port

    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(wan_tpp, "STEADY", 1)
    monkeypatch.setattr(wan_tpp, "COUNTED", 2)
    monkeypatch.setattr(sys, "argv", ["wan_tpp.py", "--tiny", "--sample_steps", "2", "--out", str(tmp_path / "tpp")])
    wan_tpp.main()
    text = (tmp_path / "tpp.md").read_text()
    assert "x real time. One GPU alone" in text and "| 0 | steps 0 to 1 and VAE | " in text
    assert (tmp_path / "tpp.png").stat().st_size > 1000 and (tmp_path / "tpp.json").stat().st_size > 100


def test_small_cards_go_the_whole_path_and_a_row_above_its_card_fails(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
    import wan_small_cards as small

    monkeypatch.setattr(small, "FILLING", 1)
    monkeypatch.setattr(small, "TIMED", 1)
    monkeypatch.setattr(small.Row, "planned", lambda row: SimpleNamespace(
        peak=SimpleNamespace(bytes=2**34), verdict="does not fit" if row.weights == "bf16" else "fits"))
    rows = [small.Row(16, "384*256", "nf4"), small.Row(24, "384*256", "bf16"), small.Row(24, "384*256", "fp8"),
            small.Row(24, "384*256", "nf4", compiled=True)]
    bench, used = small.Bench(tiny=True), iter(({"peak": 9.0, "reserved": 10.0, "card": 11.0},) * 3
                                               + ({"peak": 20.0, "reserved": 21.9, "card": 22.4},) * 3)
    monkeypatch.setattr(small, "memory", lambda device: next(used))
    found = list(small.run(bench, rows[:3], budget_s=60))
    assert found[0]["step_s"] > 0 and found[0]["bus_bytes"] == 0 and "error" not in found[0]
    assert "does not fit" in found[1]["skipped"]
    assert "22.40 GiB are more than the card's 22.0 GiB" in found[2]["error"]
    found += small.run(bench, rows[3:], budget_s=-1)
    assert "were spent" in found[3]["skipped"]
    small.write(found, "about", "command", tmp_path / "small")
    text = (tmp_path / "small.md").read_text()
    assert "**failed**: 22.40 GiB" in text and len(json.loads((tmp_path / "small.json").read_text())["rows"]) == 4
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_what_the_rings_send_over_the_bus_is_counted():
    import torch
    import wan_small_cards as small

    from liveavatar.backends.wan import split_cache

    bus, here, there = small.Bus(), torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4, device="meta")
    with bus.counted():
        split_cache.copy_by_heads(there, here)
        split_cache.copy_by_heads(here, here.clone())
    assert bus.bytes == here.nbytes and split_cache.copy_by_heads.__module__ == split_cache.__name__


def test_the_error_of_every_format_is_written_down(tmp_path):
    import wan_rounding as rounding

    config = rounding.NETWORKS["tiny"][0]
    found = list(rounding.rows({"tiny": (config, 8)}, ("outliers",)))
    by_name = {row["format"]: row for row in found}
    searched, largest = (next(row for name, row in by_name.items() if name.startswith(start))
                         for start in ("nf4, groups of 64, scale searched", "nf4, groups of 64, scale the largest"))
    assert 0.05 < searched["weights"] < largest["weights"] < 0.2
    assert all(0 < row["latents"] < 0.5 for row in found)
    text = rounding.table(found, "command")
    assert text.count("\n|") == len(found) + 2 and "What this cannot tell" in text


def test_folders_of_zeros_in_the_released_layout_go_the_whole_way_to_pictures(tmp_path, capfd):
    import wan_folders
    import wan_loading

    base, lora = wan_folders.write_folders(tmp_path, tiny=True)
    found = wan_loading.work(str(base), str(lora), {"config": "tiny", "nf4": True}, "picture", "64*64")
    assert capfd.readouterr().err == ""                               # no bars of the libraries that read the files
    seconds = [found["seconds"][stage] for stage in wan_loading.STAGES]
    assert seconds == sorted(seconds)
    failed = wan_loading.row("bf16", tmp_path / "nowhere", lora, "loaded", tiny=True)
    wan_loading.write(tmp_path / "loading", "about", [{"name": "nf4"} | found, failed], None)
    text = (tmp_path / "loading.md").read_text()
    assert "| nf4 | " in text and "nowhere does not exist; get it with: hf download" in text
