"""Options that may stand alone or with True or False behind them, as the released command line has them."""

from __future__ import annotations

import argparse


def truth(text: str) -> bool:
    """Parse True or False after a switch. Raises ArgumentTypeError for anything else."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return known[text.lower()]


def add_switch(parser: argparse._ActionsContainer, name: str, default: bool | None, text: str) -> None:
    """Add an option that may stand alone or with True or False behind it."""
    parser.add_argument(name, nargs="?", const=True, default=default, type=truth, metavar="True|False", help=text)
