"""Where `torch.compile` cannot work, one sentence says what is missing, before weights are loaded."""

import sys

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import CppCompileError, GPUTooOldForTriton, InductorError, InvalidCxxCompiler, TritonMissing

import liveavatar
from liveavatar import cli, demo
from liveavatar.backends.wan import launch, recorded
from liveavatar.compiling import check_compiler, compile_function
from liveavatar.types import InputError


@pytest.fixture
def compiler(monkeypatch):
    """compiler(error): torch's compiler raises it; None: the function is left as it is."""
    def replace(error):
        def compiled(function, **options):
            def fail(*arguments, **named):
                raise error
            return function if error is None else fail
        monkeypatch.setattr(torch, "compile", compiled)
    check_compiler.cache_clear()
    yield replace
    check_compiler.cache_clear()


def no_compiler():
    return InductorError(InvalidCxxCompiler(), None)


@pytest.mark.parametrize(("error", "words"), [
    (no_compiler(), "no C\\+\\+ compiler was found; install one .*g\\+\\+"),
    (InductorError(CppCompileError(["g++"], "fatal error: Python.h: No such file or directory"), None), "python3-dev"),
    (InductorError(CppCompileError(["clang"], "fatal error: 'omp.h' file not found"), None), "has no OpenMP"),
    (InductorError(CppCompileError(["g++"], "internal compiler error: killed"), None), "killed"),
    (TritonMissing(None), "Triton"),
    (GPUTooOldForTriton(type("Card", (), {"name": "K80", "major": 3, "minor": 7})(), None), "too old for Triton"),
    (BackendCompilerFailed(print, RuntimeError("Failed to find C compiler. Please specify"), None), "install gcc"),
    (BackendCompilerFailed(print, RuntimeError("something new\nat length"), None), "something new"),
])
def test_whatever_is_missing_is_one_sentence_with_a_remedy(compiler, error, words):
    compiler(error)
    with pytest.raises(InputError, match=words) as refused:
        check_compiler("cpu")
    assert "\n" not in str(refused.value) and "--compile" in str(refused.value) and len(str(refused.value)) < 500
    assert refused.value.__suppress_context__                # not the hundred lines of what the compiler said


def test_errors_that_are_not_the_compilers_pass(compiler):
    compiler(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        compile_function(lambda x: x)(torch.ones(1))


@pytest.mark.parametrize("backend", ["mini", "wan-s2v-14b"])
def test_a_model_is_refused_before_its_weights_are_looked_for(compiler, backend, tmp_path):
    compiler(no_compiler())
    folder = {"mini": {"weights": tmp_path / "none"}, "wan-s2v-14b": {"checkpoint_dir": tmp_path / "none"}}[backend]
    with pytest.raises(InputError, match="no C\\+\\+ compiler"):
        liveavatar.load(backend, compile=True, device="cpu", **folder)


def test_the_command_line_says_it_in_a_line(compiler, tmp_path, capsys):
    compiler(no_compiler())
    portrait = tmp_path / "portrait.png"
    assert cli.main(["avatar", "--output", str(portrait)]) == 0
    recording = demo.NOTEBOOKS.parent / "liveavatar" / "samples" / "welcome.flac"
    capsys.readouterr()
    assert cli.main(["generate", "--audio", str(recording), "--image", str(portrait), "--compile",
                     "--output", str(tmp_path / "out.mp4")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("liveavatar: torch cannot compile here: no C++ compiler") and "\n" not in said


def test_a_failure_of_a_later_piece_is_one_sentence_too(compiler):
    compiler(None)
    check_compiler("cpu")
    compiler(no_compiler())
    with pytest.raises(InputError, match="no C\\+\\+ compiler"):
        compile_function(torch.relu)(torch.ones(1))


def test_a_gpu_that_records_no_graphs_is_said_in_a_sentence(monkeypatch):
    def fail(error):
        def graph(*arguments, **named):
            raise error
        monkeypatch.setattr(recorded, "Graph", graph)
    steps = recorded.RecordedSteps(None)
    monkeypatch.setattr(steps, "_pool_of", lambda condition: None)
    fail(RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore"))
    with pytest.raises(InputError, match="not permitted when stream is capturing.*--record_steps False"):
        steps._record(None, [], None)
    fail(torch.OutOfMemoryError("no memory"))
    with pytest.raises(torch.OutOfMemoryError):
        steps._record(None, [], None)


def test_a_triton_that_cannot_be_loaded_is_left_out_with_a_word(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "triton", None)                       # importing it fails
    with pytest.warns(UserWarning, match="Triton is installed but cannot be loaded"):
        assert launch.triton_works() is False
