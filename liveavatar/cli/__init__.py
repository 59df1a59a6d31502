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
    liveavatar workshop
    liveavatar workshop --pack FOLDER

Options have the names of the released Live Avatar; dashes may stand for underscores. ~ is the home folder in every
path. Ctrl-C and SIGTERM end a video where it stands: what is done can be played.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from liveavatar.cli.commands import add_avatar, add_demo, add_doctor, add_lab, add_preprocess, add_workshop
from liveavatar.cli.generate import add_generate
from liveavatar.cli.parsing import Parser, plain_warnings, print_help, with_underscores
from liveavatar.memory_errors import is_out_of_memory, out_of_memory_sentence
from liveavatar.study.cli import add_commands as add_study
from liveavatar.types import InputError
from liveavatar.version import __version__
from liveavatar.vram.cli import add_plan
from liveavatar.wording import did_you_mean

FAILED, BAD_INPUT, INTERRUPTED, OUTPUT_CLOSED = 1, 2, 130, 141          # of a signal: 128 and its number
MAY_BE_EMPTY = ("prompt", "text", "transcript")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:         # else torch prints a page where a rank ends
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for stream in (sys.stdout, sys.stderr):                # names of files need not be text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        check_current_folder()
        asked = parse(with_underscores(sys.argv[1:] if arguments is None else arguments))
        refuse_empty(asked)
        with plain_warnings():
            code = asked.run(asked)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"liveavatar: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("liveavatar: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:                                # of `| head`: its reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # what is left must not fail at the exit
        return OUTPUT_CLOSED
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f"liveavatar: {out_of_memory_sentence(error)}", file=sys.stderr)
        return FAILED


def check_current_folder() -> None:
    """Raise InputError where the folder that relative names start at was removed; torch would not load there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise InputError("the current folder was removed or replaced; change to another one (cd), then try again"
                         ) from None


def refuse_empty(asked: argparse.Namespace) -> None:
    """Raise InputError for a value that is empty, as of a variable of the shell that is not set: as the name of a file
    it would mean the current folder."""
    for name, value in vars(asked).items():
        if value == "" and name not in MAY_BE_EMPTY:
            raise InputError(f"{name} is empty; give a value, or leave it out (is a variable of the shell not set?)")


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


def make_parser() -> tuple[Parser, argparse._SubParsersAction]:
    """Return the parser, and its commands."""
    parser = Parser(prog="liveavatar", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=lambda _: print_help(parser))
    commands = parser.add_subparsers(title="commands", dest="command", metavar="command")
    add_generate(commands.add_parser("generate", help="a portrait speaks: sound and picture to a video"))
    add_preprocess(commands)
    add_avatar(commands)
    add_plan(commands.add_parser("plan", help="will it fit, how fast, what to change: before anything is loaded"))
    add_lab(commands)
    add_study(commands)
    add_demo(commands)
    add_doctor(commands)
    add_workshop(commands)
    return parser, commands


if __name__ == "__main__":
    sys.exit(main())
