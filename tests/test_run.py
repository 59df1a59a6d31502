"""A run on a worker thread: what is seen, how it is steered, how it ends. No clock decides a test."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import FakeBackend, face, run_elsewhere, tone
from safetensors.torch import load_file

from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.info import RingState, RunInfo, StateChange
from liveavatar.runs.loading import replay
from liveavatar.runs.run import Run
from liveavatar.trace import Trace
from liveavatar.types import Block, InputError, Step
from liveavatar.video import Video

FOUR = GenerationConfig(size=(32, 32))
PATIENCE_S = 300


def make_run(seconds: float = 0.96, backend: FakeBackend | None = None, **options) -> Run:
    """Two blocks of four steps, unless more is asked for."""
    return Run.of(Pipeline(backend or FakeBackend()), tone(seconds), face(32, 32), "", FOUR, **options)


class Witness:
    """A subscriber that remembers, and can wait for something to happen."""

    def __init__(self, run: Run) -> None:
        self.events, self.threads, self._arrived = [], set(), threading.Condition()
        self.unsubscribe = run.subscribe(self)

    def __call__(self, event) -> None:
        with self._arrived:
            self.events.append(event)
            self.threads.add(threading.current_thread().name)
            self._arrived.notify_all()

    def wait_for(self, happened) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: happened(self.events), PATIENCE_S)

    def wait_for_state(self, state: str, times: int = 1) -> None:
        self.wait_for(lambda events: self.states(events).count(state) >= times)

    def states(self, events=None) -> list[str]:
        return [event.state for event in events or self.events if isinstance(event, StateChange)]

    @property
    def kinds(self) -> str:
        return "".join(type(event).__name__[0] for event in self.events if not isinstance(event, StateChange))


def test_a_run_yields_every_step_and_block_from_its_own_thread():
    run = make_run()
    witness = Witness(run)
    assert run.state == "ready"
    trace = run.start().result()
    assert witness.kinds == "SSSSBSSSSB"
    assert witness.states() == ["running", "finished"]
    assert "liveavatar-run" in witness.threads
    assert run.state == "finished" and run.progress == 1.0 and run.done_s == pytest.approx(0.96)
    assert len(trace) == 8 and trace is run.trace
    assert 0 < run.first_picture_s < run.work_s and run.x_realtime > 0


def test_it_makes_the_same_latents_as_the_pipeline_alone():
    alone = list(Pipeline(FakeBackend()).steps(tone(0.96), face(32, 32), "", FOUR))
    trace = make_run().start().result()
    assert all(torch.equal(trace.step(step.block, step.index).x, step.x) for step in alone)


def test_without_an_output_the_portrait_is_cropped_once_too():
    pipe, config = Pipeline(FakeBackend()), replace(FOUR, crop=(16, 16, 64, 64))
    run = Run.of(pipe, tone(0.96), face(), "hello", config)
    run.start().result()
    ours = [step.x for step in pipe.steps(tone(0.96), face(), "hello", config)]
    assert all(torch.equal(run.step_record(*key).x, x) for key, x in zip(run.recorded_steps, ours, strict=True))


def test_with_an_output_the_result_is_a_video(tmp_path):
    run = make_run(output=tmp_path / "out.mp4")
    video = run.start().result()
    assert isinstance(video, Video) and video.path.exists() and video.complete and run.video is video


def test_bad_input_is_refused_before_anything_begins():
    with pytest.raises(InputError, match="avi"):
        make_run(output="out.avi")
    with pytest.raises(InputError, match="start\\(\\)"):
        make_run().result()


def test_stop_ends_within_one_step_and_keeps_what_is_done(tmp_path):
    run = make_run(9.6, output=tmp_path / "out.mp4")
    witness = Witness(run)
    run.subscribe(lambda event: run.stop() if isinstance(event, Step) and (event.block, event.index) == (1, 1) else 0)
    video = run.start().result()
    steps = [event for event in witness.events if isinstance(event, Step)]
    assert (steps[-1].block, steps[-1].index) == (1, 1)
    assert run.state == "stopped" and not video.complete and video.frames == 12


def test_stop_before_the_start_and_while_paused():
    never = make_run()
    never.stop()
    assert never.state == "stopped"
    paused = make_run()
    witness = Witness(paused)
    paused.step()
    witness.wait_for_state("paused")
    paused.stop()
    paused.result()
    assert paused.state == "stopped" and witness.kinds == "S"


def test_one_step_at_a_time_then_one_block_then_the_rest():
    run = make_run()
    witness = Witness(run)
    for count in (1, 2):
        run.step()
        witness.wait_for_state("paused", count)
        assert witness.kinds == "S" * count
    run.next_block()
    witness.wait_for_state("paused", 3)
    assert witness.kinds == "SSSSB"
    run.resume()
    run.result()
    assert witness.kinds == "SSSSBSSSSB"


def test_stepping_gives_the_same_latents_as_running_through():
    stepped, through = make_run(), make_run()
    witness = Witness(stepped)
    for count in range(1, 9):
        stepped.step()
        witness.wait_for_state("paused", count)
    stepped.resume()
    for one, other in zip(stepped.result(), through.start().result(), strict=True):
        assert torch.equal(one.x, other.x)


def test_pause_rests_between_steps():
    run = make_run(9.6)
    witness = Witness(run)
    run.subscribe(lambda event: run.pause() if isinstance(event, Step) and event.index == 2 else None)
    run.start()
    witness.wait_for_state("paused")
    assert run.state == "paused" and witness.kinds == "SSS"
    run.toggle()
    witness.wait_for_state("paused", 2)
    assert witness.kinds == "SSSSBSSS"
    run.stop()
    run.result()


def test_a_step_asked_for_before_the_worker_has_come_to_rest_is_made():
    run = make_run(9.6)
    witness = Witness(run)
    run.subscribe(lambda event: (run.pause(), run.step()) if isinstance(event, Step) and event.index == 1 else None)
    run.start()
    witness.wait_for_state("paused", 2)                  # the first is that of pause() itself
    assert witness.kinds == "SSS"
    run.stop()
    run.result()


def test_the_error_of_the_worker_is_kept_and_raised_again():
    backend = FakeBackend()
    backend.decoder = lambda condition=None: None
    run = make_run(backend=backend)
    witness = Witness(run)
    for _ in range(2):
        with pytest.raises(AttributeError, match="decode"):
            run.start().result() if run.state == "ready" else run.result()
    assert run.state == "failed" and isinstance(run.error, AttributeError)
    assert witness.states()[-1] == "failed"
    with pytest.raises(InputError, match="over"):
        run.start()


def test_a_subscriber_that_raises_is_dropped_and_the_run_goes_on():
    run = make_run()
    calls = []

    def clumsy(event) -> None:
        calls.append(event)
        raise RuntimeError("oh")

    run.subscribe(clumsy)
    witness = Witness(run)
    run.start().result()
    assert len(calls) == 1 and witness.kinds == "SSSSBSSSSB"
    assert run.subscriber_errors[0][0] is clumsy and str(run.subscriber_errors[0][1]) == "oh"


def test_who_unsubscribes_hears_no_more():
    run = make_run()
    witness = Witness(run)
    witness.unsubscribe()
    run.start().result()
    assert witness.events == []


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many():
    run = make_run()
    stream, roomy = run.events(size=4), run.events()
    run.start().result()
    last = list(stream)
    assert len(last) == 4 and last[-1] == StateChange("finished") and stream.lost == 8
    assert sum(isinstance(event, (Step, Block)) for event in roomy) == 10
    assert list(run.events()) == []


def test_an_interrupt_while_waiting_stops_the_run(monkeypatch):
    run = make_run(9.6)
    waits = iter([KeyboardInterrupt()])
    real = run.wait

    def wait(timeout_s=None):
        for error in waits:
            raise error
        return real(timeout_s)

    monkeypatch.setattr(run, "wait", wait)
    witness = Witness(run)
    run.step()
    witness.wait_for_state("paused")
    with pytest.raises(KeyboardInterrupt):
        run.result()
    assert run.state == "stopped"


def test_a_run_can_be_awaited():
    async def wait_for(run: Run):
        return await run

    assert isinstance(run_elsewhere(wait_for(make_run().start())), Trace)


def test_nothing_is_printed(capfd):
    make_run().start().result()
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""


def test_marks_follow_one_another_and_name_what_was_done():
    run = make_run()
    run.start().result()
    assert [span.stage for span in run.spans] == ["prepare", *["step"] * 4, "decode", *["step"] * 4, "decode"]
    assert all(a.ended_s <= b.began_s + 1e-6 for a, b in zip(run.spans, run.spans[1:], strict=False))


def test_pictures_are_found_by_time():
    run = make_run()
    run.start().result()
    second = run.blocks[1]
    assert torch.equal(run.picture_at(0.48), second.frames[0])
    assert torch.equal(run.picture_at(0.95), second.frames[11])
    assert make_run().picture_at(0.0) is None


def test_only_so_many_pictures_are_kept():
    run = make_run(1.92)
    run.keep_bytes = 2 * 12 * 32 * 32 * 3
    run.start().result()
    assert [block.index for block in run.blocks] == [2, 3] and run.picture_at(0) is None


def test_time_is_found_in_block_latent_frame_and_video_frame():
    info = RunInfo(fps=25, frames_per_latent=4, block_latents=3, frames=30)
    assert info.blocks == 3 and info.block_s == pytest.approx(0.48)
    assert [info.block_at(time_s) for time_s in (0, 0.47, 0.48, 9)] == [0, 0, 1, 2]
    assert [info.latent_at(time_s) for time_s in (0, 0.16, 0.32, 0.48)] == [0, 1, 2, 0]
    assert info.frame_at(0.4801) == 12 and info.frame_at(9) == 29


def test_rings_hold_the_newest_frames_and_wrap():
    ring = RingState(level=0, end=7, capacity=6, frame_tokens=4, condition_tokens=2, bytes=100)
    assert ring.held == (1, 2, 3, 4, 5, 6) and ring.slot == 1 and ring.wrapped and not ring.has_motion
    run = make_run(1.44)
    run.start().result()
    assert run.rings[3].end == 9 and run.rings[3].held == (3, 4, 5, 6, 7, 8)
    assert run.ring_at(1, 1, level=1).end == 6 and run.ring_at(1, 1, level=2).end == 3


def test_a_saved_run_is_replayed_with_the_same_events(tmp_path):
    run = make_run()
    witness = Witness(run)
    run.start().result()
    again = replay(run.save(tmp_path / "seen"))
    assert again.state == "ready" and again.info == run.info and len(again.trace) == 8
    assert again.rings == run.rings and torch.equal(again.picture_at(0.5), run.picture_at(0.5))
    assert (again.speech.wave == run.speech.wave).all()
    second = Witness(again)
    again.start().result()
    assert second.kinds == witness.kinds
    for one, other in zip(witness.events[1:-1], second.events[1:-1], strict=True):
        assert not isinstance(one, Step) or torch.equal(one.clean, other.clean)


def test_a_run_saved_before_is_opened_and_saved_again_in_the_same_format(tmp_path):
    """tests/data/saved_run was written before RunInfo and StageSpan had these names."""
    before = Path(__file__).parent / "data" / "saved_run"
    run = replay(before)
    assert run.recorded_steps == ((0, 0), (0, 1), (1, 0), (1, 1)) and run.info.sigmas == (1.0, 0.75, 0.0)
    assert [len(block.frames) for block in run.blocks] == [12, 3] and run.done_s == pytest.approx(0.6)
    after = run.save(tmp_path / "again")
    assert sorted(path.name for path in after.iterdir()) == sorted(path.name for path in before.iterdir())
    first, second = (json.loads((folder / "run.json").read_text()) for folder in (before, after))
    first["facts"]["config"] = GenerationConfig().to_dict() | first["facts"]["config"]      # newer settings: defaults
    assert first == second
    for name in ("frames", "portrait", "speech"):
        first, second = (load_file(folder / f"{name}.safetensors") for folder in (before, after))
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_names_of_version_0_1_still_work_and_say_what_they_are_now():
    import liveavatar.run as old

    run = make_run()
    for name, value in {"facts": run.info, "marks": (), "seen": (), "complaints": []}.items():
        with pytest.warns(DeprecationWarning, match=f"Run.{name} is now ."):
            assert getattr(run, name) == value
    with pytest.warns(DeprecationWarning, match="RunInfo"):
        assert old.Facts is RunInfo
    assert old.Run is Run and old.FINISHED == "finished"


def test_a_bare_trace_can_be_replayed(tmp_path):
    trace = make_run().start().result()
    for source in (trace, trace.save(tmp_path / "trace")):
        run = replay(source)
        assert run.info.steps == 4 and run.info.blocks == 2 and run.ring_at(0, 0, 0) is None
        run.start().result()
        assert run.state == "finished"
    assert replay(Trace()).info.blocks == 0


def test_a_trace_of_another_version_is_refused_in_words(tmp_path):
    folder = make_run().start().result().save(tmp_path / "trace")
    (folder / "trace.json").write_text('{"format": 7}')
    with pytest.raises(InputError, match="format 7"):
        replay(folder)
    with pytest.raises(InputError, match="no run that can be read"):
        replay(tmp_path / "nothing")
