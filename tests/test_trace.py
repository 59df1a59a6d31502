"""What a trace remembers, and how much room it takes."""

import pytest
import torch

from liveavatar.trace import MIB, Trace
from liveavatar.types import Block, InputError, Step

SIGMAS = (1.0, 0.5, 0.0)


def some_steps(blocks, side=8):
    generator = torch.Generator().manual_seed(0)
    for block in range(blocks):
        for index in range(2):
            x, clean, velocity = torch.randn(3, 1, 4, 3, side, side, generator=generator).bfloat16()
            yield Step(block, index, 2, SIGMAS[index], SIGMAS[index + 1], x, clean, velocity, None, 1.5, {"caches": 10})


def same(ours, theirs):
    numbers = ("block", "index", "steps", "sigma", "sigma_next", "milliseconds", "bytes")
    return (all(getattr(ours, name) == getattr(theirs, name) for name in numbers)
            and all(torch.equal(getattr(ours, name), getattr(theirs, name)) for name in ("x", "clean", "velocity")))


def traced(steps, **options):
    trace = Trace(**options)
    for step in steps:
        trace.record(step)
    return trace


def test_replay_gives_the_same_values_in_the_order_of_the_run():
    steps = list(some_steps(3))
    assert all(same(*pair) for pair in zip(traced(steps).replay(), steps, strict=True))


def test_a_trace_copies_so_that_later_writing_does_not_reach_it():
    step = next(some_steps(1))
    trace = traced([step])
    before = step.x.clone()
    step.x.zero_()
    assert torch.equal(trace.step(0, 0).x, before)


def test_memory_is_bounded_and_spilled_blocks_read_the_same(tmp_path):
    steps = list(some_steps(6))
    step_bytes = 3 * steps[0].x.nbytes
    trace = traced(steps, limit_bytes=4 * step_bytes, folder=tmp_path)
    assert trace.bytes <= 4 * step_bytes and trace.spilled == (0, 1, 2, 3)
    assert len(list(tmp_path.iterdir())) == 4
    assert all(same(*pair) for pair in zip(trace, steps, strict=True))


def test_one_block_larger_than_the_limit_still_works():
    steps = list(some_steps(2))
    trace = traced(steps, limit_bytes=1)
    assert trace.bytes == 0 and all(same(*pair) for pair in zip(trace, steps, strict=True))


def test_saved_and_loaded_it_is_the_same_and_takes_no_memory(tmp_path):
    steps = list(some_steps(4))
    traced(steps, limit_bytes=5 * 3 * steps[0].x.nbytes).save(tmp_path / "trace")
    loaded = Trace.load(tmp_path / "trace")
    assert loaded.bytes == 0 and loaded.blocks == (0, 1, 2, 3) and len(loaded) == 8
    assert all(same(*pair) for pair in zip(loaded, steps, strict=True))


def test_without_velocity_it_takes_a_third_less_room(tmp_path):
    full, less = traced(some_steps(2)), traced(some_steps(2), velocity=False)
    assert less.bytes * 3 == full.bytes * 2
    assert less.step(1, 1).velocity is None
    assert Trace.load(less.save(tmp_path)).step(0, 0).velocity is None


def test_steps_are_had_by_number_also_from_the_end():
    trace = traced(some_steps(3))
    assert (trace.step(-1, -1).block, trace.step(-1, -1).index) == (2, 1)
    with pytest.raises(InputError, match="block 9 is not in this trace; it has blocks 0 to 2"):
        trace.step(9, 0)
    with pytest.raises(InputError, match="it has nothing"):
        Trace().step(0, 0)


def test_events_pass_through_and_only_steps_are_kept():
    trace = Trace()
    block = Block(0, torch.zeros(1), torch.zeros(1), 0.0, 0.0)
    events = [*some_steps(1), block]
    assert list(trace.watch(iter(events))) == events and len(trace) == 2


def test_a_step_that_comes_again_replaces_the_first():
    steps = list(some_steps(1))
    trace = traced(steps + steps)
    assert len(trace) == 2 and trace.bytes == 2 * 3 * steps[0].x.nbytes


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no trace"):
        Trace.load(tmp_path)
    trace = traced(some_steps(1), limit_bytes=1, folder=tmp_path)
    (tmp_path / "trace_00000.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="missing or damaged"):
        trace.step(0, 0)
    with pytest.raises(InputError, match=f"for example {512 * MIB}"):
        Trace(limit_bytes=0)
