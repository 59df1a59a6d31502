"""Read a command line: a parser that answers in one sentence, and options that several commands share."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from liveavatar.types import InputError, escape_controls
from liveavatar.wording import did_you_mean


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print each warning in one line, without file names and line numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_: print(f"note: {escape_controls(str(message))}", file=sys.stderr)
        yield


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence, like everything else here."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message of argparse, and the nearest known word."""
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        hint = did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else ""
        message = message.replace("argument command: invalid choice:", "unknown command")
        raise InputError(f"{message}; see {self.prog} --help{hint}")


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
    """Add which stretch of the recording is used, and how it is cleaned."""
    parser.add_argument("--start", "--start_s", dest="start_s", type=float, default=0.0,
                        help="seconds of the recording to skip; torchrun takes only --start_s for ours")
    parser.add_argument("--duration", dest="duration_s", type=float, default=None, help="seconds to use")
    parser.add_argument("--clean", default=None, help="wiener or noisereduce: what the model hears, not the video")
