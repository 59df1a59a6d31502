"""The GPU benchmarks at tiny size: they go through, survive a failing row and keep to their budget."""

import json
import sys
from pathlib import Path

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
    import socket

    import wan_tpp

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(wan_tpp, "STEADY", 1)
    monkeypatch.setattr(wan_tpp, "COUNTED", 2)
    monkeypatch.setattr(sys, "argv", ["wan_tpp.py", "--tiny", "--sample_steps", "2", "--out", str(tmp_path / "tpp")])
    wan_tpp.main()
    text = (tmp_path / "tpp.md").read_text()
    assert "x real time. One GPU alone" in text and "| 0 | steps 0 to 1 and VAE | " in text
    assert (tmp_path / "tpp.png").stat().st_size > 1000 and (tmp_path / "tpp.json").stat().st_size > 100
