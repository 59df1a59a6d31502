"""Out of memory, injected at every stage of a run: it is explained, what was held is let go, the model works on."""

import weakref

import pytest
import torch
from fakes import face, tone

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
from wan_fakes import SMALL

import liveavatar
from liveavatar.config import GenerationConfig
from liveavatar.memory_errors import is_out_of_memory
from liveavatar.runs.run import Run
from liveavatar.types import Step
from liveavatar.vram.oom import OutOfMemoryReport
from liveavatar.vram.plan import plan
from liveavatar.vram.watch import MemoryWatch

GIB = 2**30
CONFIG = GenerationConfig(size="64*64", sample_steps=2)
STAGES = {   # where it is injected -> at which call, and what is said then
    "audio": (1, "the sound was encoded"), "portrait": (2, "the portrait was encoded"),
    "text": (1, "the prompt was encoded"), "prefill": (1, "the condition was prefilled"),
    "caches": (1, "the caches were laid out"), "step": (4, "block 0, step 1 was made"),
    "decode": (9, "block 0 was decoded")}


@pytest.fixture(scope="module")
def pipe():
    with pytest.warns(UserWarning, match="random weights"):
        return liveavatar.load("wan-s2v-14b", weights="random", config=SMALL, conditioning="multi-gpu", device="cpu")


def latents(pipe):
    return [event.x for event in pipe.events(tone(0.9), face(80, 80), "hello", CONFIG) if isinstance(event, Step)]


@pytest.fixture(scope="module")
def expected(pipe):
    return latents(pipe)


@pytest.mark.parametrize("stage", STAGES)
def test_out_of_memory_at_any_stage_is_explained_and_what_it_held_is_let_go(pipe, expected, stage, monkeypatch):
    backend = pipe.backend
    owner, name = {"audio": (backend.audio.network, "forward"), "portrait": (backend.vae, "encode_stream"),
                   "text": (backend.text.network, "forward"), "prefill": (backend.transformer.blocks[0], "forward"),
                   "caches": (backend, "new_caches"), "step": (backend.transformer, "run_layer"),
                   "decode": (backend.vae, "decode_latent")}[stage]
    plain, calls, held = getattr(owner, name), [], []

    def refuse(*given, **options):
        calls.append(0)
        ballast = torch.zeros(2**20)
        if len(calls) == STAGES[stage][0]:
            held.append(weakref.ref(ballast))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 PiB")
        return plain(*given, **options)

    monkeypatch.setattr(owner, name, refuse)
    run = Run.of(pipe, tone(0.9), face(80, 80), "hello", CONFIG)
    watch = MemoryWatch.of(run)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run.start().result()
    watch.stop()
    monkeypatch.undo()
    assert watch.oom_report.when == STAGES[stage][1] and caught.value.__notes__ == [watch.oom_report.description]
    assert held[0]() is None                                       # although the error is still here
    assert all(torch.equal(one, other) for one, other in zip(latents(pipe), expected, strict=True))


def test_it_says_who_grew_what_was_planned_and_what_would_fit():
    grown = {"weights": 0, "caches": 9 * GIB, "vae": 0, "rest": 2 * GIB}
    made = OutOfMemoryReport("block 0, step 2 was made", grown, plan(size="384*256", gpu="RTX 5090"))
    assert made.owner == "caches"
    said = made.description
    assert "grown since the run began: caches by 9.00 GiB, activations and all else by 2.00 GiB" in said
    assert "the plan: does not fit: " in said and "the cheapest change that fits: " in said
    fitting = OutOfMemoryReport("it ran", grown, plan(size="384*256", gpu="H200"))
    assert "does another program use this GPU?" in fitting.description
    unknown = OutOfMemoryReport("it ran", dict.fromkeys(grown, 0), None)
    assert unknown.description.endswith("make fewer steps or a smaller size")


def test_only_a_full_gpu_is_out_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")) and not is_out_of_memory(ValueError("memory"))
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError as error:
            raise RuntimeError("a block could not be made") from error
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(None)
