"""Ring, portrait sink and clean cache: what each of them lets a block see, and that runs with them go on and branch."""

from dataclasses import replace
from itertools import islice
from threading import Event

import pytest
import torch
from fakes import FakeBackend, face, tone

from liveavatar.cache import ConditionCache
from liveavatar.config import GenerationConfig
from liveavatar.inspect import record
from liveavatar.pipeline import Pipeline
from liveavatar.rollout import beginning, constants_of, roll_out, steps_of_block
from liveavatar.runs import read_recipe
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError

CONFIG = GenerationConfig(sample_steps=2, size=(32, 32))
OTHERWISE = replace(CONFIG, ring_frames=9, portrait_sink=False, cache_level="clean")
SECONDS = 2.2                                                           # five blocks; the ring as trained holds two


@pytest.fixture(scope="module")
def pipe():
    return Pipeline(FakeBackend())


def latents_of(pipe, config):
    return [step.x for step in pipe.steps(tone(SECONDS), face(32, 32), "", config) if step.last]


def equal(ours, theirs):
    return [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)]


def test_left_alone_they_are_as_trained(pipe):
    said = replace(CONFIG, ring_frames=6, portrait_sink=True, cache_level="own")
    assert all(equal(latents_of(pipe, CONFIG), latents_of(pipe, said)))


@pytest.mark.parametrize("frames", [3, 9])
def test_a_ring_of_another_length_is_that_of_a_network_trained_with_it(pipe, frames):
    other = FakeBackend()
    other.transformer.register_to_config(cache_frames=frames)
    ours = latents_of(pipe, replace(CONFIG, ring_frames=frames))
    assert all(equal(ours, latents_of(Pipeline(other), CONFIG)))
    assert not all(equal(ours, latents_of(pipe, CONFIG)))


@torch.inference_mode()
def test_a_forgotten_portrait_is_seen_until_the_ring_is_full_and_not_after(pipe):
    config = replace(CONFIG, portrait_sink=False)
    assert equal(latents_of(pipe, config), latents_of(pipe, CONFIG)) == [True, True, False, False, False]
    backend, condition = pipe.backend, pipe.condition(tone(SECONDS), face(32, 32), "", config)
    constants = constants_of(backend, condition, config)
    seen = constants.cond.portrait
    changed = replace(constants, cond=replace(constants.cond, portrait=ConditionCache(
        seen.k + 1, seen.v + 1, seen.reference_tokens, seen.grid)))
    made = list(roll_out(backend, condition, config))
    for block, forgotten in ((1, False), (3, True)):
        before = next(rollout for _, rollout in made if rollout is not None and rollout.block == block)
        before = replace(before, caches=tuple(cache.clone() for cache in before.caches))
        ends = [list(steps_of_block(backend, kept, config, before))[-1].x for kept in (constants, changed)]
        assert torch.equal(*ends) == forgotten


def test_what_looks_at_attention_knows_that_the_portrait_is_forgotten(pipe):
    with record(pipe, layers=[0], blocks=[1, 2]) as seen:
        list(pipe.steps(tone(SECONDS), face(32, 32), "", replace(CONFIG, portrait_sink=False)))
    assert "portrait" in seen.attention(1, 0, 0).shares()
    one = seen.attention(2, 0, 0)
    assert set(one.shares()) == {"past", "block"} and len(one.keys.kind) == one.weights.shape[2]


@torch.inference_mode()
def test_one_clean_cache_holds_finished_blocks_at_noise_level_0(pipe):
    """The same by hand: every step gets a copy of the clean ring, and the finished block a pass of its own."""
    config, backend = replace(CONFIG, cache_level="clean"), pipe.backend
    condition = pipe.condition(tone(SECONDS), face(32, 32), "", config)
    constants = constants_of(backend, condition, config)
    rollout = beginning(backend, constants, config)
    assert rollout.caches[0] is rollout.caches[1]
    ring, expected = rollout.caches[0].clone(), []
    plain = replace(constants, clean_level=None)
    for block in range(5):
        copies = tuple(ring.clone() for _ in range(2))
        steps = list(steps_of_block(backend, plain, config, replace(rollout, block=block, caches=copies)))
        expected.append(steps[-1].x)
        heard = pipe.backend.transformer.encode_audio
        from liveavatar.rollout import audio_of_block
        from liveavatar.transformer import Context

        context = Context(constants.cond.text, heard(audio_of_block(condition.audio, block, 12, True)))
        _, ring = backend.transformer(steps[-1].x, constants.clean_level, context, constants.cond.portrait, ring)
    assert all(equal(latents_of(pipe, config), expected))


def test_a_stopped_run_with_them_goes_on_to_the_same_latents(pipe, tmp_path):
    stop = Event()
    for event in pipe.stream(tone(SECONDS), face(32, 32), "", OTHERWISE, output=tmp_path / "a.mp4",
                             run_dir=tmp_path / "run", stop=stop):
        if isinstance(event, Block) and event.index == 3:
            stop.set()
    assert read_recipe(tmp_path / "run").config == OTHERWISE
    video = pipe.resume(tmp_path / "run", keep_latents=True, progress=False)
    assert all(equal(video.latents, latents_of(pipe, OTHERWISE)))


def test_a_branch_without_changes_stays_its_parent(pipe):
    run = Run.of(pipe, tone(SECONDS), face(32, 32), "", OTHERWISE)
    run.start().result()
    branch = run.branch(3, 1)
    branch.start().result()
    assert all(torch.equal(run.step_record(*key).x, branch.step_record(*key).x) for key in run.recorded_steps)


def test_guidance_has_a_clean_cache_for_either_branch():
    teacher = Pipeline(FakeBackend(student=False))
    config = replace(CONFIG, cache_level="clean", guidance=2.0)
    own = latents_of(teacher, replace(config, cache_level="own"))
    assert equal(latents_of(teacher, config), own) == [True, False, False, False, False]


@pytest.mark.parametrize(("changes", "words"), [
    ({"ring_frames": 4}, "ring_frames is 4; a ring holds whole blocks of 3"), ({"ring_frames": 0}, "from 3 to 48"),
    ({"ring_frames": True}, "ring_frames is True"), ({"portrait_sink": "no"}, "must be True or False"),
    ({"cache_level": "cleen"}, "did you mean 'clean'")])
def test_nonsense_is_refused_with_its_value(changes, words):
    with pytest.raises(InputError, match=words):
        GenerationConfig(**changes)


def test_processes_that_share_the_steps_cannot_share_one_cache(tmp_path):
    from liveavatar import parallel

    with pytest.raises(InputError, match="start without torchrun"):
        parallel.generate(tone(0.5), face(), config=OTHERWISE, output=tmp_path / "a.mp4")


def test_the_first_block_needs_no_ring(pipe):
    steps = islice(pipe.steps(tone(SECONDS), face(32, 32), "", OTHERWISE), 2)
    assert all(torch.equal(a.x, b.x) for a, b in
               zip(steps, pipe.steps(tone(SECONDS), face(32, 32), "", CONFIG), strict=False))
