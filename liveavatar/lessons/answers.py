"""Judge an answer by its value: numbers, and small groups of numbers, of whatever library they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from liveavatar.types import escape_controls

SHOWN = 60                   # characters of an answer that are repeated in a message


class UnsuitableAnswer(Exception):
    """The answer is not of the kind that was asked for; the message says which kind is."""


@dataclass(frozen=True)
class Verdict:
    """Hold what was found about an answer."""

    right: bool
    shown: str               # the answer as it was understood
    remark: str = ""         # what this wrong value probably is; "" where that is not known


Judge = Callable[[object], Verdict]


def number(expected: float, within: float = 0.0, slips: Mapping[float, str] | None = None) -> Judge:
    """Return a judge of one number.

    within: how far from `expected` an answer may be. slips: {a value that is often answered: what it is}. An answer
    that is no number raises UnsuitableAnswer.
    """
    def judge(answer: object) -> Verdict:
        value = as_number(answer)
        if is_near(value, expected, within):
            return Verdict(True, f"{value:g}")
        remarks = [said for slip, said in (slips or {}).items() if is_slip(value, slip, within)]
        return Verdict(False, f"{value:g}", remarks[0] if remarks else "")

    return judge


def numbers(*places: tuple[float, ...], within: float = 0.0,
            slips: Mapping[tuple[float, ...], str] | None = None) -> Judge:
    """Return a judge of a group of numbers, such as a point (x, y). Each of `places` is right. Else as `number`."""
    count = len(places[0])

    def judge(answer: object) -> Verdict:
        values = as_numbers(answer, count)
        shown = f"({', '.join(f'{value:g}' for value in values)})"
        if any(all(is_near(value, one, within) for value, one in zip(values, place, strict=True)) for place in places):
            return Verdict(True, shown)
        remarks = [said for slip, said in (slips or {}).items()
                   if all(is_slip(value, one, within) for value, one in zip(values, slip, strict=True))]
        return Verdict(False, shown, remarks[0] if remarks else "")

    return judge


def is_near(value: float, expected: float, within: float) -> bool:
    """Tell whether a value is within the tolerance, but for the rounding of floating point numbers."""
    return abs(value - expected) <= within + 1e-9 * max(1.0, abs(expected))


def is_slip(value: float, slip: float, within: float) -> bool:
    """Tell whether a wrong value is this slip: nearer than the tolerance of a right one where that is wide."""
    return is_near(value, slip, max(0.02 * abs(slip), min(within, 0.01)))


def is_unanswered(answer: object) -> bool:
    """Tell whether an answer still has the three dots of the question, alone or in a group."""
    return answer is ... or (isinstance(answer, (tuple, list)) and any(one is ... for one in answer))


def as_number(answer: Any) -> float:
    """Convert Python's and NumPy's numbers and tensors of one element. Raises UnsuitableAnswer for all else."""
    if isinstance(answer, (bool, str, bytes, type(None))) or callable(answer):
        raise UnsuitableAnswer(f"a number is asked for, and this is {described(answer)}")
    if math.prod(shape_of(answer)) != 1:
        raise UnsuitableAnswer(f"one number is asked for, and this is {described(answer)}")
    try:
        value = float(answer.item() if hasattr(answer, "item") else answer)
    except Exception as error:                           # whatever an object's own conversion raises
        raise UnsuitableAnswer(f"a number is asked for, and this is {described(answer)}") from error
    if not math.isfinite(value):
        raise UnsuitableAnswer(f"this is {value}, which is no finite number: has something been divided by zero?")
    return value


def as_numbers(answer: Any, count: int) -> tuple[float, ...]:
    """Convert a tuple, list, array or tensor of so many numbers. Raises UnsuitableAnswer for all else."""
    wanted = f"{count} numbers are asked for, as in ({', '.join(['1.5'] * count)})"
    if isinstance(answer, (str, bytes, Mapping)) or callable(answer):
        raise UnsuitableAnswer(f"{wanted}, and this is {described(answer)}")
    try:
        values = answer.flatten().tolist() if hasattr(answer, "flatten") else list(answer)
    except Exception as error:
        raise UnsuitableAnswer(f"{wanted}, and this is {described(answer)}") from error
    if len(values) != count:
        raise UnsuitableAnswer(f"{wanted}, and these are {len(values)}: {described(answer)}")
    return tuple(as_number(value) for value in values)


def shape_of(answer: Any) -> tuple[int, ...]:
    """Return the shape of an array or a tensor; () for all else, modules and classes included."""
    shape = getattr(answer, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) else ()


def described(answer: Any) -> str:
    """Say in a few words what came: its kind and its value, its shape, or what can be taken from it."""
    if answer is None:
        return "None, as of a line that only prints"
    kind = f"{'an' if type(answer).__name__[0] in 'AEIOaeio' else 'a'} {type(answer).__name__}"
    if shape_of(answer):
        return f"{kind} of shape {shape_of(answer)}"
    if isinstance(answer, str):
        return f"text, {escape_controls(repr(answer[:SHOWN]))}"
    if callable(answer):
        return f"{kind} that was not called: are its brackets () missing?"
    if is_dataclass(answer):
        return f"{kind}; take one of its values: {', '.join(one.name for one in fields(answer))}"
    try:
        text = escape_controls(repr(answer))
    except Exception:                                    # an int of more digits than Python writes, a faulty class
        return kind
    return f"{kind}, {text if len(text) <= SHOWN else text[:SHOWN] + ' ...'}"
