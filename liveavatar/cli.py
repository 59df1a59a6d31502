"""The command line. Bad input is answered with one sentence and exit code 2, before weights load.

    liveavatar generate --audio speech.wav --image portrait.png --prompt "smiling, in warm light" --output out.mp4
    liveavatar generate --again out.mp4 --base_seed 7 --output other.mp4
    liveavatar avatar --seed 7 --output portrait.png
    liveavatar sweep --grid steps=3,4,5 --grid seed=1,2 --out sweep --report report.html
    liveavatar report sweep --output report.html
    liveavatar inspect-video clip.mp4 --report report.html
    liveavatar audio-preprocess --input speech.wav --output features.safetensors
    liveavatar plan --size "704*384" --sample_steps 4 --gpu "RTX 4090" --gpus 5
    liveavatar lab
    liveavatar demo
    liveavatar doctor

Options have the names of the released Live Avatar; dashes may stand for underscores. ~ is the home folder in every
path. Ctrl-C and SIGTERM end a video where it stands: what is done can be played.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from liveavatar.config import GenerationConfig, parse_size
from liveavatar.files import fault_of, free_name, printable, user_path
from liveavatar.memory_errors import is_out_of_memory, out_of_memory_sentence
from liveavatar.signals import Stop, stop_on_signals
from liveavatar.study.cli import add_commands as add_study
from liveavatar.types import InputError, escape_controls
from liveavatar.version import __version__
from liveavatar.wording import did_you_mean

if TYPE_CHECKING:
    from liveavatar.runs.recipe import Recipe
    from liveavatar.types import Speech
    from liveavatar.video import Video

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130          # of a signal: 128 and its number
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WORKBENCH = "00_workbench.ipynb"
LAB_SETTINGS = Path(__file__).resolve().parent / "jupyter"     # defaults: JupyterLab does not ask about its news
DEFAULTS = GenerationConfig()
DEFAULT_STUDENT = 4
DEFAULT_VOICE = "espeak:en-us"
DEFAULT_OUTPUT, DEFAULT_FEATURES, DEFAULT_PORTRAIT = "out.mp4", "features.safetensors", "portrait.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:         # else torch prints a page where a rank ends
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for stream in (sys.stdout, sys.stderr):                # names of files need not be text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        asked = parse(with_underscores(sys.argv[1:] if arguments is None else arguments))
        with plain_warnings():
            return asked.run(asked)
    except InputError as error:
        print(f"liveavatar: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("liveavatar: stopped", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f"liveavatar: {out_of_memory_sentence(error)}", file=sys.stderr)
        return FAILED


# --------------------------------------------------------------------------------------------------------- commands

def generate(asked: argparse.Namespace) -> int:
    """Make a video in which a portrait speaks; return the exit code."""
    if asked.resume is not None:
        return go_on(asked)
    recipe = None if asked.again is None else use_recipe(asked)
    options = load_options(asked)
    settings = {option.name: getattr(asked, option.name) for option in fields(GenerationConfig)
                if getattr(asked, option.name, None) is not None}
    config = GenerationConfig(**settings)
    if recipe is None:
        check_names(asked)
    if asked.teacher is False and config.guidance != 1.0:
        raise InputError(f"--sample_guide_scale is {config.guidance}; only the many-step base gains from guidance: "
                         "add --teacher, or leave it out")

    from liveavatar.video import check_output  # from here on libraries are needed, weights are not yet

    output = check_output(output_of(asked, DEFAULT_OUTPUT))
    from liveavatar import pipeline

    if asked.backend == "wan-s2v-14b":
        from liveavatar.vram.fit import check_fit

        check_fit(config, options, asked.force)
    audio = spoken(asked.text, asked.voice) if asked.text is not None else asked.audio
    if recipe is not None:
        from liveavatar.runs import inputs_of

        audio, asked.image = inputs_of(recipe, audio, asked.image)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:         # one of several processes that torchrun has started
        return by_many(asked, audio, config, output, options)
    with stop_on_signals() as stop:
        video = pipeline.generate(audio, asked.image, asked.prompt, config, output=output,
                                  backend=asked.backend, run_dir=asked.run_dir, stop=stop, **options)
    return report(video, stop)


def use_recipe(asked: argparse.Namespace) -> Recipe:
    """Take from a video of ours all that was not given: model, prompt and settings. -> its recipe"""
    from liveavatar.runs import read_recipe

    if asked.audio is not None and asked.text is not None:
        raise InputError("give either --audio speech.wav or --text \"Hello.\", not both")
    recipe = read_recipe(asked.again)
    for option in fields(GenerationConfig):
        given, kept = getattr(asked, option.name, None), getattr(recipe.config, option.name)
        if given is None or given == getattr(DEFAULTS, option.name):
            setattr(asked, option.name, kept)
    asked.prompt = asked.prompt or recipe.prompt
    model = recipe.backend
    asked.backend = model.get("name", asked.backend)
    if asked.dtype == "auto":
        asked.dtype = model.get("dtype", "auto")
    if model.get("student") is False:
        asked.teacher = True
    elif "student" in model and asked.student == DEFAULT_STUDENT:
        asked.student = model["student"]
    return recipe


def load_options(asked: argparse.Namespace) -> dict:
    """Return the options of the chosen model's `load`."""
    from liveavatar.backends.wan import options as wan

    if asked.backend == wan.NAME:
        asked.guidance = asked.guidance or None            # 0 in released scripts: the distilled model has none
        return wan.chosen(asked)
    wan.refuse_elsewhere(asked)
    return {"student": False if asked.teacher else asked.student, "dtype": asked.dtype, "compile": asked.compile,
            "device": asked.device, "weights": asked.weights}


def by_many(asked: argparse.Namespace, audio: object, config: GenerationConfig, output: Path, options: dict) -> int:
    """Generate by several processes, each with its own steps."""
    if asked.run_dir is not None:
        raise InputError("--run_dir is kept by one process only; leave it out, or start without torchrun")
    from liveavatar import parallel

    try:
        with stop_on_signals() as stop:
            video = parallel.generate(audio, asked.image, asked.prompt, config, output=output, backend=asked.backend,
                                      stop=stop, **options)
    except parallel.PeerFailure as failure:
        print(f"liveavatar: {failure}", file=sys.stderr)
        parallel.exit_now(1)
    return 0 if video is None else report(video, stop)


def go_on(asked: argparse.Namespace) -> int:
    """Finish a run that was stopped or killed."""
    given = [name for name in ("audio", "image", "text", "run_dir") if getattr(asked, name) is not None]
    if given:
        raise InputError(f"--resume goes on with the inputs of that run; leave out --{' and --'.join(given)}")
    if not (user_path(asked.resume) / "run.json").is_file():
        raise InputError(f"{asked.resume} holds no run (no run.json); give the folder that was passed as --run_dir")
    from liveavatar import pipeline

    output = None if asked.output is None else output_of(asked, DEFAULT_OUTPUT)      # None: the run's own file
    with stop_on_signals() as stop:
        return report(pipeline.resume(asked.resume, output=output, stop=stop), stop)


def audio_preprocess(asked: argparse.Namespace) -> int:
    """Write what the model hears to a file."""
    config = GenerationConfig(start_s=asked.start_s, duration_s=asked.duration_s, clean=asked.clean)
    check_file("--input", asked.input, "a recording such as speech.wav")
    output = output_of(asked, DEFAULT_FEATURES)
    if output.suffix.lower() not in (".safetensors", ".pt"):
        raise InputError(f"--output is {output}; features are written as .safetensors or .pt")
    from liveavatar.backends import find
    from liveavatar.inputs import encode_audio, prepare_audio

    backend = find(asked.backend)
    speech = prepare_audio(backend, asked.input, config)
    if backend.name == "mini":                             # its weights are at hand
        backend = backend.load(device="cpu")
    elif not hasattr(backend.encode_audio, "__self__"):            # no class method: it needs weights
        raise InputError(f"{backend.name} hears with networks of its own; from Python: "
                         f"liveavatar.load({backend.name!r}, ...).encode_audio({asked.input!r})")
    features = encode_audio(backend, speech, config)
    tensors = {"values": features.values.contiguous(), "rms": features.rms.contiguous()}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(tensors, {"fps": str(features.fps)}, output)
    except OSError as error:
        raise InputError(f"output {output} cannot be written: {error.strerror or error}; choose another") from error
    layers, size, frames = features.values.shape[1:]
    print(f"{printable(output)}: {frames} video frames at {features.fps:g} a second, {layers} x {size} features each")
    return 0


def avatar(asked: argparse.Namespace) -> int:
    """Draw a portrait of somebody who does not exist."""
    output = output_of(asked, DEFAULT_PORTRAIT)
    if output.suffix.lower() != ".png":
        raise InputError(f"--output is {output}; portraits are PNG files, which can carry who they show: portrait.png")
    size = parse_size(asked.size)
    traits = dict(trait_of(text) for text in asked.trait)
    from liveavatar.avatars.portraits import avatar as make
    from liveavatar.avatars.portraits import save_portrait

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save_portrait(make(asked.seed, size, asked.world, **traits), output)
    except OSError as error:
        raise InputError(f"output {output} cannot be written: {error.strerror or error}; choose another") from error
    print(f"{printable(output)}: {asked.size}")
    return 0


def lab(asked: argparse.Namespace) -> int:
    """Open the workbench in JupyterLab. Its root is the checkout, so that links from notebooks to docs/ are found."""
    if not NOTEBOOKS.is_dir():
        raise InputError(f"{NOTEBOOKS} is missing; run this in a checkout of the project, where notebooks/ is")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={NOTEBOOKS.parent}",
               f"--LabApp.default_url=/lab/tree/{NOTEBOOKS.name}/{WORKBENCH}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:       # as in containers; Jupyter would refuse
        command.append("--ServerApp.allow_root=True")
    settings = os.pathsep.join(filter(None, [str(LAB_SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")]))
    server = subprocess.Popen([*command, *asked.rest], env=os.environ | {"JUPYTER_CONFIG_PATH": settings})
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:                          # the server has got it too, and asks what is meant
            continue


def demo(asked: argparse.Namespace) -> int:
    """Run the first notebook without a browser."""
    from liveavatar.demo import main as run

    return run(["--out", asked.out])


def doctor(asked: argparse.Namespace) -> int:
    """Say what is wrong here, and what to do."""
    from liveavatar.doctor import main as run

    return run(asked.json)


# ------------------------------------------------------------------------------------------------ what commands share

def check_names(asked: argparse.Namespace) -> None:
    """Refuse inputs that cannot be used, as far as their names alone tell."""
    if (asked.audio is None) == (asked.text is None):
        raise InputError("give either --audio speech.wav or --text \"Hello.\""
                         + (", not both" if asked.audio is not None else ""))
    if asked.image is None:
        raise InputError("--image is missing; give a portrait, or make one: "
                         "liveavatar avatar --seed 7 --output portrait.png")
    if asked.audio is not None:
        check_file("--audio", asked.audio, "a recording such as speech.wav")
    check_file("--image", asked.image, "a picture such as portrait.png")


def check_file(option: str, path: str, example: str) -> None:
    fault = fault_of(user_path(path))
    if fault:
        raise InputError(f"{option} {path} {fault}; give {example}")


def output_of(asked: argparse.Namespace, default: str) -> Path:
    """Return where to write: what exists is not overwritten unless that was asked for."""
    if asked.output is None:
        return Path(default) if asked.overwrite else free_name(Path(default))
    path = user_path(asked.output)
    if os.path.isfile(path) and not asked.overwrite:
        raise InputError(f"output {path} exists; add --overwrite to replace it, or choose another --output")
    return path


def spoken(text: str, voice: str) -> Speech:
    from liveavatar.speech import speak

    return speak(text, voice)


def trait_of(text: str) -> tuple[str, str | bool | float]:
    """Parse hair=long, glasses=true or eye_size=1.1"""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise InputError(f"--trait is {text!r}; write name=value, for example hair=long or glasses=true")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        return name, float(value)
    except ValueError:
        return name, value


def save_tensors(tensors: dict, about: dict[str, str], path: Path) -> None:
    """Write under a hidden name, then rename."""
    from liveavatar.files import write_whole

    if path.suffix.lower() == ".pt":
        import torch

        write_whole(path, lambda part: torch.save(tensors | {"fps": float(about["fps"])}, part))
    else:
        from safetensors.torch import save

        write_whole(path, lambda part: part.write_bytes(save(tensors, about)))


def report(video: Video, stop: Stop) -> int:
    if not video.frames:
        print("liveavatar: stopped before the first picture; nothing was written", file=sys.stderr)
        return stop.exit_code
    print(f"{printable(video.path)}: {video.duration_s:.2f} s of video, {video.x_realtime:.2f}x real time, first "
          f"picture after {video.first_picture_s:.2f} s" + ("" if video.complete else "; stopped before the end"))
    return 0 if video.complete else stop.exit_code


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print each warning in one line, without file names and line numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_: print(f"note: {escape_controls(str(message))}", file=sys.stderr)
        yield


# ------------------------------------------------------------------------------------------------------------ options

class Parser(argparse.ArgumentParser):
    """Refuses in one sentence, like everything else here."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        hint = did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else ""
        message = message.replace("argument command: invalid choice:", "unknown command")
        raise InputError(f"{message}; see {self.prog} --help{hint}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; an option that is nearly one of ours is answered with it."""
    parser, commands = make_parser()
    asked, strangers = parser.parse_known_args(arguments)
    if strangers:
        command = commands.choices[asked.command]
        option = next((word.partition("=")[0] for word in strangers if word.startswith("--")), "")
        hint = did_you_mean(option, command._option_string_actions) if option else ""
        command.error(f"unrecognized arguments: {' '.join(strangers)}{hint}")
    return asked


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """Replace hyphens in options: --sample-steps is --sample_steps. What follows a lone -- is not ours."""
    ours = list(arguments)
    for place, argument in enumerate(ours):
        if argument == "--":
            break
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            ours[place] = f"--{name.replace('-', '_')}{equals}{value}"
    return ours


def truth(text: str) -> bool:
    """Parse True or False after a switch, as in the released command line."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return known[text.lower()]


def levels(text: str) -> str | tuple[float, ...]:
    """Parse a schedule's name, or noise levels separated by commas."""
    if "," not in text:
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,0.9,0.75,0.5,0") from None


def student_name(text: str) -> int | str:
    """Parse a number of steps, or the name of a student."""
    return int(text) if text.isdigit() else text


def add_switch(parser: argparse.ArgumentParser, name: str, default: bool, text: str) -> None:
    parser.add_argument(name, nargs="?", const=True, default=default, type=truth, metavar="True|False", help=text)


def make_parser() -> tuple[Parser, argparse._SubParsersAction]:
    """Return the parser, and its commands."""
    parser = Parser(prog="liveavatar", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=lambda _: print_help(parser))
    commands = parser.add_subparsers(title="commands", dest="command", metavar="command")
    add_generate(commands.add_parser("generate", help="a portrait speaks: sound and picture to a video"))

    heard = commands.add_parser("audio-preprocess", help="what the model hears, as a file")
    heard.add_argument("--input", required=True, help="recording")
    add_output(heard, DEFAULT_FEATURES, ".safetensors or .pt")
    heard.add_argument("--backend", default="mini")
    add_stretch(heard)
    heard.set_defaults(run=audio_preprocess)

    made = commands.add_parser("avatar", help="a portrait of somebody who does not exist")
    made.add_argument("--seed", type=int, default=None, help="the same number is the same person")
    add_output(made, DEFAULT_PORTRAIT, ".png")
    made.add_argument("--size", default="256*256", help="width*height (default: %(default)s)")
    made.add_argument("--trait", action="append", default=[], metavar="NAME=VALUE",
                      help="hair=long, glasses=true, eye_size=1.1 ...; may be repeated")
    made.add_argument("--world", choices=["plain", "rich"], default="rich",
                      help="rich: drawn with shading and texture, as mini knows people (default: %(default)s)")
    made.set_defaults(run=avatar)

    from liveavatar.vram.cli import add_plan

    add_plan(commands.add_parser("plan", help="will it fit, how fast, what to change: before anything is loaded"))

    shown = commands.add_parser("lab", help="the workbench in JupyterLab")
    shown.add_argument("rest", nargs="*", help="options for jupyter lab, after --")
    shown.set_defaults(run=lab)

    add_study(commands)

    first = commands.add_parser("demo", help="the first notebook, run without a browser")
    first.add_argument("--out", default="out", help="folder for what it leaves (default: %(default)s)")
    first.set_defaults(run=demo)

    examined = commands.add_parser("doctor", help="is anything wrong with this installation or machine? what to do?")
    examined.add_argument("--json", action="store_true", help="for programs")
    examined.set_defaults(run=doctor)
    return parser, commands


def print_help(parser: Parser) -> int:
    """Answer a bare `liveavatar`."""
    parser.print_help()
    return 0


def add_output(parser: argparse._ActionsContainer, default: str, text: str, *names: str) -> None:
    """Add --output and --overwrite, the same rule for all that a command writes."""
    stem, _, ending = default.rpartition(".")
    parser.add_argument("--output", *names, help=f"{text} (default: {default}, or the next free name {stem}-2.{ending}"
                                                 ", ...); what exists is kept, unless there is --overwrite")
    parser.add_argument("--overwrite", "-y", action="store_true", help="replace --output where it exists")


def add_stretch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", "--start_s", dest="start_s", type=float, default=0.0,
                        help="seconds of the recording to skip; torchrun takes only --start_s for ours")
    parser.add_argument("--duration", dest="duration_s", type=float, default=None, help="seconds to use")
    parser.add_argument("--clean", default=None, help="wiener or noisereduce: what the model hears, not the video")


def add_generate(parser: argparse.ArgumentParser) -> None:
    given = parser.add_argument_group("inputs")
    given.add_argument("--audio", help="recording: wav, mp3, flac, ogg, m4a ...")
    given.add_argument("--text", help="words to be spoken by a synthetic voice instead of a recording")
    given.add_argument("--voice", default=DEFAULT_VOICE, help="for --text (default: %(default)s)")
    given.add_argument("--image", help="portrait")
    given.add_argument("--again", metavar="VIDEO", help="make a video of ours, or a run folder, again: model, prompt "
                       "and settings are its own unless given here; inputs are found by their hashes beside it or in "
                       "the current folder")
    given.add_argument("--prompt", default="", help="how: gesture, mood, lighting, energy")
    add_stretch(given)

    asked = parser.add_argument_group("video")
    add_output(asked, DEFAULT_OUTPUT, ".mp4 or .webm", "--save_file")
    asked.add_argument("--size", help="width*height, an area: the aspect follows the portrait (default: the model's)")
    asked.add_argument("--crop", help="of a photograph: auto, none, or a box left,top,right,bottom in pixels "
                                      "(default: auto)")
    asked.add_argument("--infer_frames", type=int, help=f"video frames in a clip (default: {DEFAULTS.infer_frames})")
    asked.add_argument("--num_clip", type=int, help="at most so many clips (default: as long as the sound)")
    add_switch(asked, "--label", None, "burn a small visible mark into the video (default: into that of a photograph)")

    sampled = parser.add_argument_group("sampling")
    sampled.add_argument("--sample_steps", type=int, help=f"denoising steps (default: {DEFAULTS.sample_steps})")
    sampled.add_argument("--base_seed", type=int, help=f"one seed is one video (default: {DEFAULTS.base_seed})")
    sampled.add_argument("--sample_solver", help="euler or renoise (default: what the weights were trained with)")
    sampled.add_argument("--schedule", type=levels, help="trained, released, linear or noise levels: 1,0.9,0.75,0.5,0")
    sampled.add_argument("--sample_shift", dest="shift", type=float, help="(default: as the weights were trained)")
    sampled.add_argument("--portrait_strength", type=float, help="1: the whole portrait, less: blurred, 0: none "
                                                                 "(default: 1)")
    sampled.add_argument("--sound_strength", type=float, help="1: the sound as it is, less: mixed with noise, 0: none "
                                                              "(default: 1)")
    sampled.add_argument("--sample_guide_scale", dest="guidance", type=float, help="with --teacher only (default: 1)")

    model = parser.add_argument_group("model")
    model.add_argument("--backend", default="mini", help="(default: %(default)s)")
    add_switch(model, "--teacher", False, "the many-step base instead of the fast student")
    model.add_argument("--student", type=student_name, default=DEFAULT_STUDENT,
                       help="the student distilled for so many steps (default: %(default)s)")
    model.add_argument("--weights", default="shipped", help="shipped, random or a folder (default: %(default)s)")
    model.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (default: %(default)s)")
    model.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add_switch(model, "--compile", False, "compile first: needs a C++ compiler, pays for long videos")
    add_switch(model, "--enable_online_decode", True, "decode each block when it is ready (default), or all at the end")
    add_switch(model, "--force", False, "go on although the plan says that it will not fit (wan-s2v-14b)")
    add_switch(model, "--offload_model", None, "move parts to main memory while they rest (no effect on a CPU)")
    from liveavatar.backends.wan.options import add_options

    add_options(parser, add_switch)

    state = parser.add_argument_group("going on after a stop or a crash")
    state.add_argument("--run_dir", help="keep what is needed to go on in this folder")
    state.add_argument("--resume", metavar="RUN_DIR", help="go on with the run in this folder")
    parser.set_defaults(run=generate)


if __name__ == "__main__":
    sys.exit(main())
