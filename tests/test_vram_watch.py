"""The memory sampler: what it reads, to whom it gives it, what it costs, and that it can be kept."""

import gc
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until

from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from liveavatar.types import InputError
from liveavatar.vram.memory_record import OWNERS, Label, MemoryRecord, thin_record
from liveavatar.vram.meters import GpuMeter, ProcessMeter, meter_for
from liveavatar.vram.owned import bytes_of_vae_state, bytes_of_weights
from liveavatar.vram.watch import MemoryWatch

MIB = 2**20


class Script:
    """A meter that reads what it is told to."""

    names, main, device, total, description = ("process",), "process", "a script", 1000, "As written."

    def __init__(self, *readings: int) -> None:
        self.readings = list(readings)

    def read(self) -> dict[str, int]:
        return {"process": self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]}


def make_run(seconds: float = 0.96, pause_s: float = 0.0) -> Run:
    config = GenerationConfig(size=(32, 32))
    return Run.of(Pipeline(FakeBackend(pause_s=pause_s)), tone(seconds), face(32, 32), "", config)


@pytest.fixture(scope="module")
def watched() -> tuple[Run, MemoryWatch]:
    """Two blocks of four steps, each decoded in 0.15 s."""
    run = make_run(pause_s=0.15)
    watch = MemoryWatch.of(run, period_s=0.01)
    run.start().result()
    return run, watch


def test_without_a_gpu_it_says_in_words_that_it_is_this_process():
    meter = meter_for(FakeBackend())
    assert isinstance(meter, ProcessMeter) and "No NVIDIA GPU" in meter.description
    assert 10 * MIB < meter.read()["process"] < meter.total


def test_a_hundred_megabytes_are_seen_and_so_is_their_end():
    """The meter is played: what other tests of this process free meanwhile is not measured along."""
    meter = Script(500 * MIB)
    with MemoryWatch(period_s=0.01, meter=meter) as watch:
        wait_until(lambda: len(watch.record) > 3)
        meter.readings = [600 * MIB]
        wait_until(lambda: watch.record.left_over == 100 * MIB)
        meter.readings = [500 * MIB]
        wait_until(lambda: watch.record.left_over == 0)
    assert watch.record.peak.bytes == 600 * MIB


def test_the_memory_of_this_process_is_read():
    meter = ProcessMeter()

    def grown() -> int:
        gc.collect()
        before = meter.read()["process"]
        ballast = np.ones(200 * MIB // 8)
        return meter.read()["process"] - before if len(ballast) else 0

    wait_until(lambda: 160 * MIB < grown() < 240 * MIB)    # others take memory away, now and then


def test_even_a_short_block_is_seen_at_its_beginning_and_its_end():
    meter = Script(500 * MIB)
    with MemoryWatch(period_s=10, meter=meter) as watch:
        meter.readings = [700 * MIB]
    record = watch.record
    assert len(record) >= 2 and record.left_over == 200 * MIB and (np.diff(record.times_s) > 0).all()
    assert record.peak.when == "while it was watched"


def test_many_may_be_called_after_a_look():
    watch, called = MemoryWatch(period_s=0.005), []
    watch.subscribe(lambda: called.append("first"))
    unsubscribe = watch.subscribe(lambda: called.append("second"))
    with watch:
        wait_until(lambda: {"first", "second"} <= set(called))
        unsubscribe()
        wait_until(lambda: called[-3:] == ["first"] * 3)


def test_it_begins_and_ends_with_its_run(watched):
    run, watch = watched
    wait_until(lambda: not watch.going)
    record = watch.record
    assert record.times_s[0] < record.labels[1].began_s and record.times_s[-1] > record.labels[-1].ended_s
    assert (np.diff(record.times_s) > 0).all()


def test_labels_are_what_the_run_did(watched):
    labels = watched[1].record.labels
    steps = [(label.block, label.step) for label in labels if label.stage == "step"]
    assert steps == [(block, step) for block in (0, 1) for step in range(4)]
    decoding = [label.description for label in labels if label.stage == "decode"]
    assert decoding == ["block 0, decoding", "block 1, decoding"]


def test_a_moment_knows_what_was_done_then(watched):
    record = watched[1].record
    decoding = next(label for label in record.labels if label.stage == "decode")
    middle_s = (decoding.began_s + decoding.ended_s) / 2
    assert record.when(middle_s) == "block 0, decoding" and record.label_at(middle_s) == decoding
    assert record.when(record.times_s[-1] + 9) == "after the run" and record.when(-1) == "before the run"


def test_owners_add_up_to_the_whole(watched):
    run, watch = watched
    record = watch.record
    last = {name: int(record.series[name][-1]) for name in OWNERS}
    assert last["weights"] == bytes_of_weights(run.backend) > 0
    assert last["caches"] == sum(ring.bytes for ring in run.rings.values()) > 0
    assert record.series["caches"][0] == 0 and last["vae"] == 8            # the fake VAE remembers one number
    assert np.array_equal(sum(record.series[name] for name in OWNERS), record.values)


def test_state_of_the_real_vae_is_found_without_decoding():
    from liveavatar.backends.mini import random_networks

    _, vae, _ = random_networks()
    latents = torch.randn(1, 16, 3, 4, 4)
    with torch.inference_mode():
        _, memory = vae.decode_stream(latents, None)
    assert bytes_of_vae_state(SimpleNamespace(vae=vae), latents) == sum(tensor.nbytes for tensor in memory) > 0
    assert bytes_of_vae_state(None, latents) == 0


def test_state_of_the_released_vae_is_found_once_for_each_size(monkeypatch):
    pytest.importorskip("diffusers")
    from wan_fakes import small_vae

    from liveavatar.backends.wan.vae import StreamingWanVAE
    from liveavatar.vram import owned

    backend = SimpleNamespace(vae=StreamingWanVAE(small_vae().requires_grad_(False)))
    for side in (2, 4):
        latents = torch.randn(1, 16, 3, side, side)
        with torch.inference_mode():
            _, memory = backend.vae.decode_stream(latents, None)
        held = sum(one.nbytes for one in memory if isinstance(one, torch.Tensor))
        assert bytes_of_vae_state(backend, latents) == held > 0
    monkeypatch.setattr(owned, "meta_copy", lambda _: pytest.fail("decoded again"))
    assert bytes_of_vae_state(backend, latents) == held


def test_where_there_is_no_proc_the_process_is_asked_all_the_same(monkeypatch):
    from liveavatar.vram import meters

    plain = ProcessMeter()
    monkeypatch.setattr(meters, "resident_from_proc", lambda pid: None)
    asked = ProcessMeter()
    wait_until(lambda: asked.read()["process"] == pytest.approx(plain.read()["process"], rel=0.05))


def test_the_peak_is_the_highest_moment_and_is_named():
    labels = (Label(0.0, 1.0, "step", 0, 0), Label(1.0, 2.0, "decode", 0, -1))
    values = np.array([5, 9, 7])
    record = MemoryRecord(np.array([0.5, 1.5, 2.5]), {"process": values}, "process", labels, "", 10, "")
    assert (record.peak.bytes, record.peak.time_s, record.peak.when) == (9, 1.5, "block 0, decoding")
    assert record.at(1.9) == {"process": 9} and record.left_over == 2


def test_the_peak_is_one_of_the_run_not_of_what_comes_before_or_after():
    labels = (Label(1.0, 2.0, "step", 0, 0), Label(2.0, 3.0, "decode", 0, -1))
    record = MemoryRecord(np.array([0.5, 1.5, 2.5, 3.5]), {"process": np.array([8, 5, 6, 9])}, "process", labels, "",
                          10, "")
    assert (record.peak.bytes, record.peak.when) == (6, "block 0, decoding")


def test_a_record_can_be_kept(watched, tmp_path):
    record = watched[1].record
    again = MemoryRecord.load(record.save(tmp_path / "seen").parent)
    assert again.labels == record.labels and again.description == record.description and again.peak == record.peak
    assert all(np.array_equal(again.series[name], record.series[name]) for name in record.series)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(InputError, match="watch.record.save"):
        MemoryRecord.load(tmp_path)
    with pytest.raises(InputError, match="period_s"):
        MemoryWatch(period_s=0)
    with pytest.raises(InputError, match="nothing has been watched"):
        _ = MemoryWatch(meter=Script(1)).record.peak


def test_hours_are_thinned_without_losing_a_peak():
    watch = MemoryWatch(meter=Script(*([1] * 30), 99, *([2] * 40)))
    watch.max_samples = 16
    for moment in range(60):
        watch.sample(float(moment))
    assert len(watch.record) < 16 and watch.thinned >= 2 and watch.record.peak.bytes == 99


def test_a_picture_of_a_record_keeps_its_peak():
    values = np.ones(1000, np.int64)
    values[777] = 5
    record = MemoryRecord(np.arange(1000.0), {"process": values}, "process", (), "", 10, "")
    thin = thin_record(record, 50)
    assert len(thin) == 50 and thin.peak.bytes == 5 and thin.peak.time_s == 777


def test_a_gpu_is_asked_through_its_driver_and_its_allocator(monkeypatch):
    """Neither is here: both are played."""
    asked = []
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=70, total=100),
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [
            SimpleNamespace(pid=1, usedGpuMemory=20), SimpleNamespace(pid=os.getpid(), usedGpuMemory=50)])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="abc"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda index: {
        "allocated_bytes": {"all": {"current": 30}}, "reserved_bytes": {"all": {"current": 40}}})
    meter = GpuMeter(torch.device("cuda:0"))
    assert meter.read() == {"used": 70, "process": 50, "allocated": 30, "reserved": 40}
    assert meter.main == "process" and meter.total == 100 and "a card" in meter.description
    nvml.nvmlDeviceGetComputeRunningProcesses = lambda handle: []
    meter = GpuMeter(torch.device("cuda:0"))
    assert meter.main == "reserved" and "does not say" in meter.description
    assert asked == ["GPU-abc", "GPU-abc"]
