"""The command line: what it makes, what it says, how it ends."""

import os
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import torch
from fakes import FakeBackend, face, tone, wait_until
from safetensors import safe_open

import liveavatar
from liveavatar import cli
from liveavatar.backends import BACKENDS
from liveavatar.cli import commands
from liveavatar.cli.generate import add_generate
from liveavatar.video import read_frames, read_provenance

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A recording, a picture, a backend that is quick, and a folder to write to."""
    import soundfile
    from PIL import Image
    monkeypatch.setitem(BACKENDS, "fake", "fakes:FakeBackend")
    monkeypatch.setattr(FakeBackend, "loaded", 0)
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech.wav", tone(1.5).wave, 16_000)
    Image.fromarray(face().pixels.mul(255).byte().permute(1, 2, 0).numpy()).save("portrait.png")
    return ["generate", "--backend", "fake", "--audio", "speech.wav", "--image", "portrait.png", "--sample_steps", "2"]


def test_generate_makes_the_video_and_says_how_fast(given, capsys):
    assert cli.main([*given, "--prompt", "hello", "--base_seed", "7", "--label"]) == 0
    assert len(list(read_frames("out.mp4"))) == 38
    said = capsys.readouterr().out
    assert said.startswith("out.mp4: 1.52 s of video, ") and "x real time, first picture after" in said
    facts = read_provenance("out.mp4")
    assert facts["seed"] == 7 and facts["config"]["sample_steps"] == 2 and facts["config"]["label"] is True


def test_every_option_of_the_released_command_line_is_understood(given):
    assert cli.main([*given, "--output", "deep/er/a.webm", "--size", "48*48", "--infer_frames", "12", "--num_clip", "2",
                     "--base_seed", "1", "--sample_solver", "euler", "--enable_online_decode", "--offload_model", "1",
                     "--sample_shift", "5", "--clean", "wiener"]) == 0
    assert len(list(read_frames("deep/er/a.webm"))) == 24


def test_dashes_may_stand_for_underscores(given):
    assert cli.main([*given, "--num-clip=1", "--infer-frames", "12", "--enable-online-decode", "false"]) == 0
    assert len(list(read_frames("out.mp4"))) == 12


def test_a_stretch_of_the_recording(given):
    assert cli.main([*given, "--start", "0.5", "--duration", "0.5"]) == 0
    assert len(list(read_frames("out.mp4"))) == 13


def test_torchrun_lets_our_options_through():
    """It looks at ours too, and refuses one that could be the beginning of several of its own."""
    import argparse

    from torch.distributed.run import get_args_parser

    parser = argparse.ArgumentParser()
    add_generate(parser)
    refused = []
    for action in parser._actions:
        for option in action.option_strings:
            try:
                get_args_parser().parse_args(["-m", "liveavatar", "generate", option, "1"])
            except SystemExit:
                refused.append(option)
    assert refused == ["--start"]                                                  # which has another name


def test_text_is_spoken(given, monkeypatch):
    from liveavatar import speech
    heard = []
    monkeypatch.setattr(speech, "speak", lambda text, voice: heard.append((text, voice)) or tone(0.5))
    where = given.index("--audio")
    assert cli.main([*given[:where], *given[where + 2:], "--text", "Good day.", "--voice", "flite:slt"]) == 0
    assert heard == [("Good day.", "flite:slt")] and len(list(read_frames("out.mp4"))) == 13


def test_a_run_folder_can_be_gone_on_with(given):
    assert cli.main([*given, "--run_dir", "run"]) == 0
    first = list(read_frames("out.mp4"))
    Path("out.mp4").unlink()
    assert cli.main(["generate", "--resume", "run"]) == 0
    assert all((a == b).all() for a, b in zip(first, read_frames("out.mp4"), strict=True))
    assert cli.main(["generate", "--resume", "run", "--audio", "speech.wav"]) == 2


def interrupt_with(number, monkeypatch):
    """The signal comes while the second block is decoded."""
    decoded = []
    once = FakeBackend.decoder

    def decoder(backend, condition=None):
        inner = once(backend)

        class Interrupting:
            def decode(self, latents):
                decoded.append(latents)
                if len(decoded) == 2:
                    signal.raise_signal(number)
                return inner.decode(latents)

        return Interrupting()

    monkeypatch.setattr(FakeBackend, "decoder", decoder)


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Whoever starts the tests with nohup or & has some of them ignored."""
    ignored = [number for number, _ in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_interrupted_it_leaves_what_is_done(given, capsys, monkeypatch, number, code):
    """Ctrl-C; docker stop, Slurm and timeout; a terminal that is closed."""
    interrupt_with(number, monkeypatch)
    before = signal.getsignal(number)
    assert cli.main(given) == code
    assert len(list(read_frames("out.mp4"))) == 24
    assert "stopped before the end" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored(given, monkeypatch):
    """As with nohup."""
    interrupt_with(signal.SIGHUP, monkeypatch)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(given) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_script_that_is_ended_leaves_what_is_done(given, monkeypatch, number, ending):
    """Pipeline.render in a program of one's own."""
    from liveavatar.pipeline import load

    interrupt_with(number, monkeypatch)
    with pytest.raises(ending):
        load("fake").render("speech.wav", "portrait.png", output="out.mp4", progress=False)
    assert len(list(read_frames("out.mp4"))) >= 12 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_whoever_waits_for_a_run_and_is_ended_leaves_what_is_done(given):
    from liveavatar.pipeline import Pipeline
    from liveavatar.runs.run import Run

    run = Run.of(Pipeline(FakeBackend(pause_s=0.05)), "speech.wav", "portrait.png", output="out.mp4")
    told, before = [], signal.getsignal(signal.SIGTERM)

    def end(_: object) -> None:
        if run.done_s and not told:
            told.append(1)
            wait_until(lambda: signal.getsignal(signal.SIGTERM) is not before)         # somebody waits for the run
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: run.stopping)

    run.subscribe(end)
    with pytest.raises(SystemExit):
        run.start().result()
    assert run.state == "stopped" and len(list(read_frames("out.mp4"))) >= 12


def test_it_can_run_on_a_thread_where_there_are_no_signals(given):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(given)))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("name", ["features.safetensors", "features.pt"])
def test_audio_preprocess_writes_what_the_model_hears_without_weights(given, name):
    assert cli.main(["audio-preprocess", "--backend", "fake", "--input", "speech.wav", "--output", name]) == 0
    if name.endswith(".pt"):
        features = torch.load(name, weights_only=True)
    else:
        with safe_open(name, "pt") as file:
            features = {key: file.get_tensor(key) for key in file.keys()} | {"fps": float(file.metadata()["fps"])}  # noqa
    assert features["values"].shape == (1, 1, 4, 38) and features["rms"].shape == (38,) and features["fps"] == 25
    assert FakeBackend.loaded == 0


def test_avatar_draws_somebody(tmp_path, capsys):
    portrait = tmp_path / "portrait.png"
    assert cli.main(["avatar", "--seed", "7", "--output", str(portrait), "--size", "64*96"]) == 0
    from PIL import Image
    with Image.open(portrait) as picture:
        assert picture.size == (64, 96)
    assert liveavatar.load_portrait(portrait).identity is not None      # it knows who it shows
    assert cli.main(["avatar", "--seed", "7", "--trait", "glasses=true", "--output", str(portrait), "-y"]) == 0
    assert cli.main(["avatar", "--trait", "glasses"]) == 2
    assert "write name=value" in capsys.readouterr().err


def test_lab_starts_jupyter_on_the_notebooks_and_trusts_them(monkeypatch, tmp_path):
    import nbformat
    from nbformat.sign import NotebookNotary

    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    lesson = nbformat.read(ROOT / "notebooks" / "00_workbench.ipynb", 4)
    assert not NotebookNotary().check_signature(lesson)
    started = []

    class Server:
        def __init__(self, command, env):
            settings = Path(env["JUPYTER_CONFIG_PATH"], "labconfig", "default_setting_overrides.json")
            assert '"fetchNews": "false"' in settings.read_text()
            started.append(command)

        def wait(self):
            if len(started) == 1:                          # Ctrl-C is the server's affair: it is waited for
                started.append("interrupted")
                raise KeyboardInterrupt
            return 0

    monkeypatch.setattr(commands.subprocess, "Popen", Server)
    for user, allowed in ((0, True), (1000, False)):
        started.clear()
        monkeypatch.setattr(commands.os, "geteuid", lambda user=user: user, raising=False)
        assert cli.main(["lab", "--", "--no-browser"]) == 0
        command, interrupted = started
        assert command[:3] == [sys.executable, "-m", "jupyterlab"] and command[-1] == "--no-browser"
        assert f"--ServerApp.root_dir={ROOT}" in command     # links from notebooks to ../docs stay inside of it
        assert "--LabApp.default_url=/lab/tree/notebooks/00_workbench.ipynb" in command
        assert ("--ServerApp.allow_root=True" in command) is allowed
    assert NotebookNotary().check_signature(lesson)      # else the page, reloaded, shows no live view


@pytest.mark.parametrize(("arguments", "words"), [
    (["generate", "--sample_steps", "four"], "invalid int value: 'four'"),
    (["generate", "--label", "perhaps"], "'perhaps' is neither True nor False"),
    (["generate", "--schedule", "1,a,0"], "is not a list of numbers"),
    (["generate", "--nonsense"], "unrecognized arguments: --nonsense"),
    (["generate", "--sampel-steps", "3"], "did you mean '--sample_steps'?"),
    (["genrate", "--sample_steps", "3"], "unknown command 'genrate'"),
    (["genrate"], "did you mean 'generate'?"),
    (["generate", "--backend", "minni", "--audio", __file__, "--image", __file__], "did you mean 'mini'?"),
    (["generate", "--sample_solver", "eular"], "did you mean 'euler'?"),
    (["generate", "--ring_frames", "4"], "ring_frames is 4"), (["generate", "--cache_level", "own1"], "mean 'own'?"),
    (["generate", "--schedule", "relased"], "did you mean 'released'?"),
    (["generate", "--clean", "weiner"], "did you mean 'wiener'?"),
    (["avatar", "--trait", "hiar=long"], "did you mean 'hair'"),
    (["sweep", "--grid", "stpes=1,2"], "did you mean 'steps'?"),
    (["plan", "--gpu", "RTX 4900"], "did you mean RTX 4090"),
    (["plan", "--spread", "ttp"], "did you mean 'tpp'?"),
    (["generate"], "give either --audio speech.wav or --text"),
    (["generate", "--audio", "a", "--text", "b"], "not both"),
    (["generate", "--text", "hello"], "--image is missing"),
    (["generate", "--resume", "nowhere"], "nowhere holds no run"),
    (["generate", "--sample_guide_scale", "2", "--audio", __file__, "--image", __file__], "add --teacher"),
    (["audio-preprocess", "--input", __file__, "--output", "a.npz"], ".safetensors or .pt"),
    (["avatar", "--output", "me.jpg"], "portraits are PNG files"),
])
def test_a_wrong_command_is_answered_in_one_line(capsys, arguments, words):
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("liveavatar: ") and said.err.count("\n") == 1 and words in said.err


def test_a_slip_of_the_finger_does_not_wake_torch():
    script = ("import sys; from liveavatar.cli import main; code = main(['generate', '--size', '7*7']); "
              "print(code, 'torch' in sys.modules)")
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.split() == ["2", "False"] and "7*7" in ran.stderr


def test_help_names_every_command_and_is_the_answer_to_none(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in said for name in ("generate", "audio-preprocess", "avatar", "lab"))
    assert cli.main([]) == 0 and capsys.readouterr().out == said


def test_public_names_are_all_there():
    assert [name for name in liveavatar.__all__ if getattr(liveavatar, name, None) is None] == []
    with pytest.raises(AttributeError, match="has no 'portrait'"):
        _ = liveavatar.portrait


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project.get("version", liveavatar.__version__) == liveavatar.__version__


def test_a_reader_that_has_seen_enough_is_no_fault():
    """As with `liveavatar ... | head`: the reader is gone before anything is written."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "liveavatar", "plan", "--cards"]
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (ran.stderr, ran.returncode) == (b"", 141)


@pytest.mark.parametrize("words", [
    "generate --audio a.wav --image a.png --run_dir=", "generate --again=", "workshop --pack=", "avatar --output=",
    "sweep --grid steps=3 --out=", "report --output="])
def test_a_variable_of_the_shell_that_is_not_set_is_no_folder(monkeypatch, tmp_path, capsys, words):
    monkeypatch.chdir(tmp_path)
    arguments = words.split()
    assert cli.main(["report", "", *arguments[1:]] if arguments[0] == "report" else arguments) == 2
    assert "is empty; give a value" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
